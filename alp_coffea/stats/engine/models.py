"""The compiled models of many workspaces and what can be asked of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtrc, ndtr

from alp_coffea.errors import ModelError
from alp_coffea.stats.engine import point_fits
from alp_coffea.stats.engine.arrays import Array, Flags, Index
from alp_coffea.stats.engine.batch import Group, build_group, structure_key
from alp_coffea.stats.engine.first_use import compile_kernels
from alp_coffea.stats.engine.histfactory import load_workspaces, read_model
from alp_coffea.stats.engine.results import (
    CheckReport,
    DiscoveryResult,
    EngineScan,
    FitResult,
    LimitResult,
    Status,
    ToyResult,
)

T = TypeVar("T")
_TOY_BATCH = 1024  # fits that run together: they fit into a cache and hide the cost of array code


def compile(workspaces: Any, *, poi: str, measurement: str | int | None = None) -> Engine:  # noqa: A001
    """Compile pyhf workspaces into an :class:`Engine`.

    Args:
        workspaces: a workspace (dict or ``pyhf.Workspace``), a path to a JSON file, a zip of JSON
            files or a folder of them, or a list of these.
        poi: name of the parameter of interest, a ``normfactor`` that every workspace has.
        measurement: name or number of the measurement, by default the first.

    Modifiers: normfactor, normsys (code 4), histosys (code 4p), lumi, staterror, shapesys, in any
    number of channels. Anything else raises :class:`~alp_coffea.errors.ModelError` with the
    workspace, modifier and reason. The first call on an installation also compiles the kernels.
    """
    specs = load_workspaces(workspaces)
    compiled = Engine(specs, poi, measurement)
    compile_kernels(compiled.groups)
    return compiled


class Engine:
    """Compiled models; ``n`` points in the order of the workspaces given to :func:`compile`."""

    def __init__(
        self, specs: Sequence[tuple[str, Any]], poi: str, measurement: str | int | None
    ) -> None:
        models = [read_model(label, spec, poi, measurement) for label, spec in specs]
        keys: dict[Any, list[int]] = {}
        for i, model in enumerate(models):
            keys.setdefault(structure_key(model), []).append(i)
        self.poi = poi
        self.labels = [label for label, _ in specs]
        self.groups = [
            build_group(members, [models[i] for i in members]) for members in keys.values()
        ]
        self._specs = [spec for _, spec in specs]
        self._measurement = measurement
        self._models = models

    @property
    def n(self) -> int:
        """Number of points."""
        return len(self._models)

    def names(self, point: int = 0) -> list[str]:
        """Parameter names of a point, in pyhf's order."""
        return self._models[point].parameter_names

    # ------------------------------------------------------------------ data

    def _counts(self, group: Group, data: Any) -> tuple[Array, Flags]:
        """Counts (points, channels, bins) of a group, and which points have unusable ones."""
        if data is None:
            return group.observed, np.zeros(group.size, dtype=np.bool_)
        counts = np.zeros_like(group.observed)
        bad = np.zeros(group.size, dtype=np.bool_)
        if len(data) != self.n:
            raise ModelError(f"data: {len(data)} rows for {self.n} points; one row each is needed")
        for i, member in enumerate(group.members):
            model = group.models[i]
            row = np.asarray(data[member], dtype=np.float64)
            total = sum(model.bins)
            if row.shape != (total,):
                raise ModelError(
                    f"data of point {member} ({model.label}) have shape {row.shape}; "
                    f"{total} bins are expected (channels {', '.join(model.channels)})"
                )
            start = 0
            for c, nb in enumerate(model.bins):
                counts[i, c, :nb] = row[start : start + nb]
                start += nb
            bad[i] = not (np.isfinite(row).all() and (row >= 0.0).all())
        counts[bad] = 0.0
        return counts, bad

    def _map(self, work: Callable[[Group, Index], T], threads: int) -> list[tuple[Group, Index, T]]:
        """Run ``work(group, points)`` over groups, in ``threads`` pieces each."""
        if threads < 1:
            raise ModelError(f"threads = {threads} where it must be >= 1")
        pieces = [
            (group, piece)
            for group in self.groups
            for piece in np.array_split(np.arange(group.size), min(threads, group.size))
        ]
        if threads == 1:
            return [(group, piece, work(group, piece)) for group, piece in pieces]
        with ThreadPoolExecutor(threads) as pool:
            done = list(pool.map(lambda item: work(*item), pieces))
        return [(*piece, result) for piece, result in zip(pieces, done, strict=True)]

    # ------------------------------------------------------------------ fits

    def fit(self, data: Any = None, poi: ArrayLike | None = None, *, threads: int = 1) -> FitResult:
        """Maximum-likelihood fits of all points.

        Args:
            data: main data per point, n arrays of the channels' bins in pyhf's order; by default
                the workspaces' observations. Auxiliary data are the models'.
            poi: value(s) at which the parameter of interest is held; free by default.
            threads: number of threads; results do not depend on it.
        """
        held = None if poi is None else np.broadcast_to(np.asarray(poi, np.float64), (self.n,))
        counts = {id(group): self._counts(group, data) for group in self.groups}

        def work(group: Group, points: Index) -> point_fits.Snapshot:
            rows = counts[id(group)][0][points]
            here = None if held is None else held[group.members[points]]
            return point_fits.fit(group, points, rows, here)

        pieces = self._map(work, threads)
        return self._fit_result(pieces, counts)

    def _fit_result(
        self,
        pieces: Sequence[tuple[Group, Index, point_fits.Snapshot]],
        counts: dict[int, tuple[Array, Flags]],
    ) -> FitResult:
        n = self.n
        scalars = {
            name: np.zeros(n) for name in ("twice_nll", "poi", "poi_error", "gof_p", "edge", "kkt")
        }
        iterations, status = np.zeros(n, np.int64), np.zeros(n, np.int64)
        values, errors, expected = ([np.zeros(0)] * n for _ in range(3))
        for group, points, raw in pieces:
            members = group.members[points]
            data, bad = counts[id(group)][0][points], counts[id(group)][1][points]
            constant = group.constant[points] + point_fits.saturated(data)
            scalars["twice_nll"][members] = 2.0 * (raw.value + constant)
            scalars["poi"][members] = raw.theta[:, group.poi]
            scalars["poi_error"][members] = raw.poi_error
            scalars["edge"][members] = raw.edge
            scalars["kkt"][members] = raw.kkt
            free = (group.low < group.high) & (group.arrays.precision == 0.0)
            degrees = group.arrays.bins.sum(axis=1) - free.sum(axis=1)
            degrees = degrees[points]
            gof = chdtrc(np.maximum(degrees, 1), 2.0 * np.maximum(raw.value, 0.0))
            scalars["gof_p"][members] = np.where(degrees > 0, gof, np.nan)
            for column in scalars.values():
                column[members[bad]] = np.nan
            iterations[members] = raw.iterations
            status[members] = (
                raw.status
                | np.where(bad, int(Status.BAD_DATA), 0)
                | np.where(degrees > 0, 0, int(Status.NO_DEGREES_OF_FREEDOM))
            )
            for row, (point, member) in enumerate(zip(points, members, strict=True)):
                model = group.models[point]
                values[member], errors[member] = point_fits.in_pyhf_order(
                    group,
                    point,
                    raw.theta[row],
                    raw.errors[row],
                    raw.gamma[row],
                    raw.gamma_errors[row],
                )
                expected[member] = np.concatenate(
                    [raw.nu[row, c, :nb] for c, nb in enumerate(model.bins)]
                )
        return FitResult(
            values=values,
            errors=errors,
            names=[model.parameter_names for model in self._models],
            expected=expected,
            iterations=iterations,
            status=status,
            **scalars,
        )

    def q0(self, data: Any = None, *, threads: int = 1) -> DiscoveryResult:
        """Signed discovery statistic of all points; see :class:`DiscoveryResult`."""
        counts = {id(group): self._counts(group, data) for group in self.groups}

        def work(group: Group, points: Index) -> tuple[point_fits.Snapshot, point_fits.Snapshot]:
            return point_fits.null_and_signed(group, points, counts[id(group)][0][points], 0.0)

        pieces = self._map(work, threads)
        return self._discovery([(g, p, *raw) for g, p, raw in pieces], counts)

    def _discovery(
        self,
        pieces: Sequence[tuple[Group, Index, point_fits.Snapshot, point_fits.Snapshot]],
        counts: dict[int, tuple[Array, Flags]],
    ) -> DiscoveryResult:
        n = self.n
        columns = {name: np.zeros(n) for name in ("q0", "poi", "poi_error", "kkt", "edge")}
        status = np.zeros(n, np.int64)
        for group, points, null, signed in pieces:
            members = group.members[points]
            columns["q0"][members] = point_fits.signed_q(null, signed, group.poi)
            columns["poi"][members] = signed.theta[:, group.poi]
            columns["poi_error"][members] = signed.poi_error
            columns["kkt"][members] = np.maximum(null.kkt, signed.kkt)
            columns["edge"][members] = signed.edge
            bad = counts[id(group)][1][points]
            for column in columns.values():
                column[members[bad]] = np.nan
            status[members] = null.status | signed.status | np.where(bad, int(Status.BAD_DATA), 0)
        z = np.sign(columns["q0"]) * np.sqrt(np.abs(columns["q0"]))
        return DiscoveryResult(z=z, p=ndtr(-z), status=status, **columns)

    def limits(
        self,
        level: float = 0.95,
        data: Any = None,
        *,
        observed: bool = True,
        expected: bool = True,
        threads: int = 1,
    ) -> LimitResult:
        """CLs upper limits of all points at confidence ``level``.

        ``observed=False`` or ``expected=False`` leave the other kind out; the expected limits use
        ``data`` too, through the background-only fit that defines the Asimov data.
        """
        _check_level(level)
        counts = {id(group): self._counts(group, data) for group in self.groups}

        def work(group: Group, points: Index) -> point_fits.Limits:
            return point_fits.limits_only(
                group,
                points,
                counts[id(group)][0][points],
                level,
                observed=observed,
                expected=expected,
            )

        return self._limit_result(self._map(work, threads), counts, level)

    def _limit_result(
        self,
        pieces: Sequence[tuple[Group, Index, point_fits.Limits]],
        counts: dict[int, tuple[Array, Flags]],
        level: float,
    ) -> LimitResult:
        limits, kkt = np.zeros((self.n, 6)), np.zeros((self.n, 6))
        steps, status = np.zeros((self.n, 6), np.int64), np.zeros(self.n, np.int64)
        for group, points, raw in pieces:
            members = group.members[points]
            limits[members], kkt[members], steps[members] = raw.limits, raw.kkt, raw.steps
            bad = counts[id(group)][1][points]
            limits[members[bad]], kkt[members[bad]] = np.nan, np.nan
            status[members] = raw.status | np.where(bad, int(Status.BAD_DATA), 0)
        return LimitResult(limits[:, 5], limits[:, :5], level, kkt, steps, status)

    def scan(
        self,
        level: float = 0.95,
        data: Any = None,
        *,
        observed: bool = True,
        expected: bool = True,
        threads: int = 1,
    ) -> EngineScan:
        """Background-only, free and signed fits and limits of all points in one go."""
        _check_level(level)
        counts = {id(group): self._counts(group, data) for group in self.groups}

        def work(group: Group, points: Index) -> point_fits.PieceScan:
            rows = counts[id(group)][0][points]
            return point_fits.scan(group, points, rows, level, observed=observed, expected=expected)

        pieces = self._map(work, threads)
        limits = self._limit_result([(g, p, raw.limits) for g, p, raw in pieces], counts, level)
        discovery = self._discovery([(g, p, raw.null, raw.signed) for g, p, raw in pieces], counts)
        free = self._fit_result([(g, p, raw.free) for g, p, raw in pieces], counts)
        null = self._fit_result([(g, p, raw.null) for g, p, raw in pieces], counts)
        status = limits.status | discovery.status | free.status
        return EngineScan(self.labels, free, null, discovery, limits, status)

    def fit_toys(self, data: ArrayLike, *, poi: ArrayLike = 0.0, threads: int = 1) -> ToyResult:
        """Null and signed fits of toy data sets with the models of all points.

        Args:
            data: main data, (toys, n, bins) with the channels' bins in pyhf's order; points with
                fewer bins than the last axis use its beginning.
            poi: value(s) of the parameter of interest under the hypothesis that is tested, n or
                one.
            threads: number of threads; results do not depend on it.
        """
        counts = np.asarray(data, dtype=np.float64)
        most = max(sum(model.bins) for model in self._models)
        if counts.ndim != 3 or counts.shape[1] != self.n or counts.shape[2] < most:
            raise ModelError(
                f"toys: data have shape {counts.shape}, expected (toys, {self.n}, {most})"
            )
        held = np.broadcast_to(np.asarray(poi, np.float64), (self.n,))
        toys = counts.shape[0]
        shape = (toys, self.n)
        names = ("q0", "poi", "poi_error", "null_deviance", "deviance", "kkt")
        columns = {name: np.zeros(shape) for name in names}
        status = np.zeros(shape, np.int64)

        def work(item: tuple[Group, Index, Index]) -> None:
            group, rows, points = item
            members = group.members[points]
            own = _split_channels(group, points, counts[rows, members])
            bad: Flags = ~((own.min(axis=(1, 2)) >= 0.0) & (own.max(axis=(1, 2)) < np.inf))
            own[bad] = 0.0
            null, signed = point_fits.null_and_signed(group, points, own, held[members], edge=False)
            place = (rows, members)
            columns["q0"][place] = point_fits.signed_q(null, signed, group.poi, held[members])
            columns["poi"][place] = signed.theta[:, group.poi]
            columns["poi_error"][place] = signed.poi_error
            columns["null_deviance"][place] = 2.0 * null.value
            columns["deviance"][place] = 2.0 * signed.value
            columns["kkt"][place] = np.maximum(null.kkt, signed.kkt)
            for column in columns.values():
                column[rows[bad], members[bad]] = np.nan
            status[place] = null.status | signed.status | np.where(bad, int(Status.BAD_DATA), 0)

        items: list[tuple[Group, Index, Index]] = []
        for group in self.groups:
            toy_row, point_row = np.divmod(np.arange(toys * group.size), group.size)
            pieces = max(1, -(-toy_row.size // _TOY_BATCH))
            items.extend(
                (group, rows, points)
                for rows, points in zip(
                    np.array_split(toy_row, pieces), np.array_split(point_row, pieces), strict=True
                )
            )
        if threads == 1:
            for item in items:
                work(item)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(work, items))
        z = np.sign(columns["q0"]) * np.sqrt(np.abs(columns["q0"]))
        return ToyResult(z=z, status=status, **columns)

    def check(self, n: int = 5, seed: int = 0, *, level: float = 0.95) -> CheckReport:
        """Compare ``n`` random points with pyhf: minima, q0, and CLs at our limits.

        Takes seconds per point, all of them pyhf's. Points whose status is not ok are skipped.
        """
        from alp_coffea.stats.engine.pyhf_check import compare

        scan = self.scan(level)
        good = np.flatnonzero(scan.ok)
        chosen = np.sort(np.random.default_rng(seed).permutation(good)[:n])
        specs = [self._specs[i] for i in chosen]
        return compare(specs, self.poi, self._measurement, scan, chosen, level)


def _check_level(level: float) -> None:
    if not 0.5 < level < 1.0:
        raise ModelError(f"confidence level = {level} where it must be between 0.5 and 1")


def _split_channels(group: Group, points: Index, rows: Array) -> Array:
    """Flat main data (jobs, bins) as (jobs, channels, bins) of the group's arrays."""
    if group.observed.shape[1] == 1 and np.all(group.arrays.bins == rows.shape[1]):
        return rows[:, np.newaxis, :]
    own = np.zeros((points.size, *group.observed.shape[1:]))
    for point in np.unique(points):
        here, start = points == point, 0
        for c, nb in enumerate(group.arrays.bins[point]):
            own[here, c, :nb] = rows[here, start : start + nb]
            start += nb
    return own
