"""A run as a HEPData submission: limits, fits, efficiency, resolution, cutflow, workspaces.

HEPData (https://www.hepdata.net) keeps the numbers behind plots. A submission is a folder with
``submission.yaml`` and one YAML file per table, uploaded as ``submission.tar.gz``
(https://hepdata-submission.readthedocs.io). hepdata_lib writes it, without ROOT.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from alp_coffea.errors import ConfigurationError, InputError
from alp_coffea.plots.style import SYNTHETIC
from alp_coffea.stats.scan_result import BANDS, ScanResult

if TYPE_CHECKING:
    from alp_coffea.results import Run

#: What stands in a cell without a number.
MISSING: Final = "-"
#: HEPData's names of the process and of its observables.
_REACTION: Final = "E+ E- --> GAMMA A, A --> GAMMA GAMMA"
_QUANTITIES: Final[Mapping[str, tuple[str, str, str]]] = {
    "sigma": ("cross section", "PB", "SIG"),
    "g": ("coupling", "GEV**-1", "COUPLING"),
}

Cell = float | int | str


def write_hepdata(run: Run, folder: Path | str) -> Path:
    """Write a submission into ``folder`` and return its ``submission.tar.gz``.

    Tables: limits on the cross section and on the coupling with their expected bands, the fits,
    efficiency and resolution of the simulated signal, the cutflows. The pyhf workspaces are
    an additional resource. What is simulated, blinded or injected is said in the submission's
    comment and in every table.

    Parameters
    ----------
    run
        A run whose scan is finished.
    folder
        New or empty, or an earlier submission, which is replaced.

    Raises
    ------
    ConfigurationError
        If hepdata_lib is not installed, or ``folder`` holds something else.
    InputError
        If the run has no scan, or no mass hypothesis with a result.
    """
    try:
        import hepdata_lib
    except ImportError as error:
        raise ConfigurationError(
            f"HEPData submissions need hepdata_lib, which is not installed ({error}): "
            "pip install 'alp-coffea[hepdata]'"
        ) from error
    folder = Path(folder).resolve()
    _clear(folder)
    shown = [row for row in run.scan if row["status"] in ("ok", "blinded")]
    if not shown:
        raise InputError(f"{run.folder}: no mass hypothesis has a result to export")
    scan = ScanResult(tuple(shown), run.scan.sqrt_s, run.scan.synthetic, run.scan.meta)
    remarks = _remarks(run)
    submission = hepdata_lib.Submission()
    submission.comment = " ".join([_summary(run), *remarks])
    tables = [
        *(_limits(scan, quantity) for quantity in _QUANTITIES),
        _fits(scan),
        *_signal(run),
        *_cutflows(run),
    ]
    for table in tables:
        submission.add_table(table.build(hepdata_lib, run.scan.sqrt_s, remarks))
    with tempfile.TemporaryDirectory() as temporary:
        archive = Path(temporary) / "workspaces.zip"
        _collect(run, archive)
        submission.add_additional_resource(
            "pyhf workspaces (HistFactory, JSON), one per mass hypothesis; 'sigma' is in units of "
            "the cross section given by the measurement's name",
            str(archive),
            copy_file=True,
            file_type="HistFactory",
        )
        # hepdata_lib puts the archive into the current folder, whatever that is
        with contextlib.chdir(temporary):
            submission.create_files(str(folder), validate=False)
            tar = folder / "submission.tar.gz"
            tar.write_bytes(Path("submission.tar.gz").read_bytes())
    return tar


def _clear(folder: Path) -> None:
    """Remove an earlier submission, and nothing that may be somebody's work."""
    folder.mkdir(parents=True, exist_ok=True)
    present = list(folder.iterdir())
    if present and not (folder / "submission.yaml").is_file():
        raise ConfigurationError(
            f"{folder} is not empty and holds no submission; give a new folder with -o"
        )
    for file in present:
        if file.suffix in (".yaml", ".zip", ".gz"):
            file.unlink()


def _collect(run: Run, archive: Path) -> None:
    """The run's workspaces in one zip file."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, workspace in run.workspaces.items():
            # without a time, so that the same run gives the same bytes
            file.writestr(zipfile.ZipInfo(name), json.dumps(workspace), zipfile.ZIP_DEFLATED)


# --- words ---------------------------------------------------------------------------------------


def _summary(run: Run) -> str:
    title = run.manifest["title"] or f"Analysis {run.manifest['analysis']}"
    return (
        f"{title.rstrip('.')}. Search for an axion-like particle a in e+e- -> gamma a, "
        f"a -> gamma gamma, {run.luminosity:g} pb^-1 at sqrt(s) = {run.scan.sqrt_s:.4g} GeV. "
        f"Made by alp_coffea {run.manifest['alp_coffea']}."
    )


def _remarks(run: Run) -> list[str]:
    """What a reader must know before using any of the numbers."""
    remarks = []
    if run.scan.synthetic:
        remarks.append(f"{SYNTHETIC}: the events are simulated, not measured.")
    if any(row["status"] == "blinded" for row in run.scan):
        remarks.append("BLINDED: there are no observed results; bands are from simulation.")
    injected = run.scan.meta.get("injected") or []
    if injected:
        remarks.append(f"INJECTED SIGNAL added to the data: {', '.join(injected)}.")
    failed = [row for row in run.scan if row["status"] not in ("ok", "blinded")]
    if failed:
        masses = ", ".join(f"{row['mass']:.4g}" for row in failed[:20])
        more = f" and {len(failed) - 20} more" if len(failed) > 20 else ""
        remarks.append(f"Without a result and left out: {masses}{more} GeV.")
    if not run.manifest["input_complete"]:
        remarks.append("INCOMPLETE INPUT: the luminosity is that of the files that were read.")
    return remarks


# --- tables --------------------------------------------------------------------------------------


class _Column:
    """A column: values, and errors by label as (down, up) with their signs, or symmetric."""

    def __init__(
        self,
        name: str,
        values: Iterable[float | str],
        units: str = "",
        *,
        errors: Mapping[str, Sequence[tuple[float, float]] | Sequence[float]] | None = None,
        independent: bool = False,
        qualifiers: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.units, self.independent = name, units, independent
        self.values = [_cell(value) for value in values]
        self.errors = errors or {}
        self.qualifiers = qualifiers or {}


class _Table:
    """A table in HEPData's words, independent of hepdata_lib."""

    def __init__(
        self, name: str, description: str, columns: Sequence[_Column], observables: Sequence[str]
    ) -> None:
        self.name, self.description = name, description
        self.columns, self.observables = columns, observables

    def build(self, library: Any, sqrt_s: float, remarks: Sequence[str]) -> Any:
        table = library.Table(self.name)
        table.description = " ".join([self.description, *remarks])
        table.location = "Output of the analysis"
        table.keywords = {
            "reactions": [_REACTION],
            "observables": list(self.observables),
            "cmenergies": [round(1e3 * sqrt_s) / 1e3],
            "phrases": ["axion-like particle", "upper limit", "e+e- annihilation"],
        }
        for column in self.columns:
            variable = library.Variable(
                column.name,
                is_independent=column.independent,
                is_binned=False,
                units=column.units,
                values=column.values,
                zero_uncertainties_warning=False,
            )
            for label, sizes in column.errors.items():
                symmetric = not isinstance(sizes[0], tuple)
                uncertainty = library.Uncertainty(label, is_symmetric=symmetric)
                uncertainty.values = sizes
                variable.add_uncertainty(uncertainty)
            if not column.independent:
                variable.add_qualifier("SQRT(S)", f"{sqrt_s:.4f}", "GEV")
                for name, value in column.qualifiers.items():
                    variable.add_qualifier(name, value)
            table.add_variable(variable)
        return table


def _cell(value: float | str) -> Cell:
    if isinstance(value, str):
        return value
    return float(value) if np.isfinite(value) else MISSING


def _mass(values: Iterable[float]) -> _Column:
    return _Column("M(A)", values, "GEV", independent=True)


def _limits(scan: ScanResult, quantity: str) -> _Table:
    name, units, observable = _QUANTITIES[quantity]
    level = float(scan["level"][0])
    qualifiers = {"LIMIT": f"{100 * level:g}% CL upper, CLs"}
    low2, low1, median, high1, high2 = (scan[f"{quantity}_{band}"] for band in BANDS)
    bands = {
        "1 s.d.": list(zip(low1 - median, high1 - median, strict=True)),
        "2 s.d.": list(zip(low2 - median, high2 - median, strict=True)),
    }
    observed = scan[f"{quantity}_obs"]
    columns = [_mass(scan["mass"])]
    if np.isfinite(observed).any():
        columns.append(_Column(f"Observed limit on {name}", observed, units, qualifiers=qualifiers))
    columns.append(
        _Column(f"Expected limit on {name}", median, units, errors=bands, qualifiers=qualifiers)
    )
    what = {
        "sigma": "the Born cross section of e+e- -> gamma a over the full solid angle",
        "g": "the coupling g of the axion-like particle to two photons",
    }[quantity]
    return _Table(
        f"Limits on {name}",
        f"{100 * level:g}% CL upper limits (CLs, asymptotic formulae) on {what} against the mass "
        "of a. The uncertainties of the expected limit are the 68% and 95% bands of the "
        "background-only expectation.",
        columns,
        [observable],
    )


def _fits(scan: ScanResult) -> _Table:
    columns = [
        _mass(scan["mass"]),
        _Column("Mass definition", scan["definition"].tolist()),
        _Column("Photon-energy set", scan["energy_set"].tolist()),
        _Column("Lower end of the fit window", scan["window_low"], "GEV"),
        _Column("Upper end of the fit window", scan["window_high"], "GEV"),
        _Column("Signal efficiency", scan["efficiency"]),
        _Column("Mass resolution", scan["width"], "GEV"),
    ]
    z = scan["z_local"]
    if np.isfinite(z).any():
        columns += [
            _Column("Candidates in the window", scan["n_data"]),
            _Column(
                "Fitted cross section",
                scan["sigma_hat"],
                "PB",
                errors={"fit": _finite(scan["sigma_hat_error"])},
            ),
            _Column("Signed local significance", z),
            _Column("Local p-value", scan["p_local"]),
        ]
    return _Table(
        "Fits",
        "Fit of signal and background at every mass hypothesis: squared-mass window (its edges "
        "as signed roots), interpolated efficiency and resolution, fitted Born cross section "
        "(which may be negative) and local significance.",
        columns,
        ["SIG"],
    )


def _finite(values: Iterable[float]) -> list[float]:
    """Sizes of errors, zero (which HEPData leaves out) for an unknown one."""
    return [float(value) if np.isfinite(value) else 0.0 for value in values]


def _signal(run: Run) -> list[_Table]:
    """Efficiency and resolution at the simulated masses."""
    fits = {(f.mass, f.definition, f.energy_set): f for f in run.signal_model.fits if f.converged}
    if not fits:
        return []
    masses = sorted({mass for mass, _, _ in fits})
    groups = list(dict.fromkeys((definition, energy) for _, definition, energy in fits))

    def columns(value: Callable[[Any], float], error: Callable[[Any], float], unit: str) -> Any:
        for definition, energy in groups:
            chosen = [fits.get((mass, definition, energy)) for mass in masses]
            yield _Column(
                f"{definition}, {energy.replace('_', ' ')}",
                [MISSING if fit is None else value(fit) for fit in chosen],
                unit,
                errors={"stat": _finite(0.0 if fit is None else error(fit) for fit in chosen)},
            )

    return [
        _Table(
            "Signal efficiency",
            "Selected candidates that are the true photon pair, or the true recoil photon, per "
            "simulated signal event at the Born cross section, by mass definition and "
            "photon-energy set. Simulation.",
            [
                _mass(masses),
                *columns(lambda f: f.efficiency, lambda f: f.efficiency_error, ""),
            ],
            ["EFF"],
        ),
        _Table(
            "Mass resolution",
            "Width sigma(m^2)/(2 m) of the Crystal Ball function fitted to the squared mass of "
            "true candidates, by mass definition and photon-energy set. Simulation.",
            [
                _mass(masses),
                *columns(lambda f: f.width, lambda f: f.sigma_error / (2 * f.mass), "GEV"),
            ],
            ["RESOLUTION"],
        ),
    ]


def _cutflows(run: Run) -> list[_Table]:
    """One table per flow: events after each cut, simulation scaled to the luminosity."""
    flows = dict.fromkeys(flow for cutflow in run.cutflow.values() for flow in cutflow.flows())
    tables = []
    for flow in flows:
        columns: list[_Column] = []
        for name, cutflow in run.cutflow.items():
            sample, steps = run.samples[name], cutflow.steps(flow)
            if not steps:
                continue
            cuts = [step.cut.replace("_", " ") for step in steps]
            if not columns:
                columns.append(_Column("Cut", cuts, independent=True))
            elif cuts != columns[0].values:
                continue
            scale = 1.0 if sample["kind"] == "data" else sample["scale"]
            columns.append(
                _Column(
                    f"Events, {name}",
                    [scale * step.weighted for step in steps],
                    errors={"stat": _finite(scale * step.error for step in steps)},
                    qualifiers={"SAMPLE": f"{name} ({sample['kind']})"},
                )
            )
        tables.append(
            _Table(
                f"Cutflow {flow.replace('_', ' ')}"[:64],
                f"Events left after each cut of the selection '{flow.replace('_', ' ')}', "
                f"simulation scaled to {run.luminosity:g} pb^-1 (signal at the coupling or cross "
                "section of its sample).",
                columns,
                ["N"],
            )
        )
    return tables
