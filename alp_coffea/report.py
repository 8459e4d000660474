"""One self-contained HTML page per run.

Images, styles and scripts are inlined and a content-security policy forbids everything else, so
the page opens from disk and never asks a network. The interactive plots are a few hundred lines of
SVG drawing in ``templates/report.js``: the plotting libraries that could be inlined instead add
1.3 MB (bokeh) to 4.8 MB (plotly) to every page and 25 to 40 MB to every installation.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alp_coffea.events.selection import Cutflow
from alp_coffea.files import atomic
from alp_coffea.plots.arrays import interruptions, poisson_errors, transitions
from alp_coffea.plots.style import CYCLE, injected_text
from alp_coffea.stats.scan import BANDS, COLUMNS, ScanResult
from alp_coffea.stats.signal import SignalModel
from alp_coffea.tables import (
    SCAN_HEADERS,
    cutflow_table,
    is_lost,
    ledger_table,
    number,
    scan_table,
    signal_table,
    table,
)

Array = NDArray[np.float64]

#: Line patterns of the marks in the interactive plots.
_DASHES: Final = {"energy_set": "2 3", "definition": "8 3 2 3"}


class Window(Protocol):
    """What the page needs of a window fit, see :class:`alp_coffea.stats.scan.WindowFit`."""

    @property
    def mass(self) -> float: ...
    @property
    def definition(self) -> str: ...
    @property
    def edges(self) -> Array: ...
    @property
    def data(self) -> Array: ...
    @property
    def background(self) -> Array: ...
    @property
    def signal(self) -> Array: ...
    @property
    def z_local(self) -> float | None: ...
    @property
    def sigma_hat(self) -> float | None: ...
    @property
    def status(self) -> str: ...


def write_report(
    path: Path | str,
    *,
    manifest: Mapping[str, Any],
    cutflows: Mapping[str, Cutflow],
    scan: ScanResult | None = None,
    windows: Iterable[Window] = (),
    figures: Iterable[Path] = (),
    published: Iterable[tuple[str, ArrayLike, ArrayLike]] = (),
    model: SignalModel | None = None,
) -> Path:
    """Write the page of a run.

    Parameters
    ----------
    path
        The HTML file; links to files beside it (workspaces, PDFs, ``scan.csv``) are relative.
    manifest
        Content of ``manifest.json``.
    cutflows
        Cutflow of every sample.
    scan
        The scan, if there is one.
    windows
        Fits for the browser over masses.
    figures
        PNG files to inline; a PDF of the same name is linked.
    published
        Coupling limits of others: name, masses [GeV], couplings [1/GeV].
    model
        Signal model, shown as a table.

    Returns
    -------
    The path written. Raises OSError when it, or a figure, cannot be accessed.
    """
    import jinja2

    path = Path(path)
    fits = sorted(windows, key=lambda fit: fit.mass)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("alp_coffea"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    failed = 0 if scan is None else int((~_drawn(scan)).sum())
    page = environment.get_template("report.html.j2").render(
        title=manifest["title"] or f"Analysis {manifest['analysis']}",
        manifest=manifest,
        synthetic=manifest["synthetic"] or (scan is not None and scan.synthetic),
        complete=manifest["input_complete"],
        period=_period(manifest),
        points=0 if scan is None else len(scan),
        failed=failed,
        injected=_injected(scan),
        facts=_facts(manifest, scan, failed),
        losses=_losses(manifest, scan),
        windows=len(fits),
        scan_table=_markup(_scan_table(scan)),
        workspace_link=_workspace_link(path.parent),
        sample_table=_markup(_sample_table(manifest["samples"])),
        ledger_table=_markup(ledger_table(manifest["ledger"], limit=None)),
        cutflows=[
            (
                sample,
                [_markup(cutflow_table(flow.steps(f), caption=f)) for f in flow.flows()],
            )
            for sample, flow in cutflows.items()
        ],
        signal_table=_markup(
            signal_table(model.fits, limit=None) if model is not None and model.fits else ""
        ),
        figures=[_figure(Path(figure), path.parent) for figure in figures],
        configuration=_pretty(manifest["configuration"]),
        circumstances=_pretty(
            {key: manifest[key] for key in ("host", "executor", "libraries", "stages", "counts")}
        ),
        data=_markup(_json(_data(scan, fits, published, path.parent))),
    )
    with atomic(path) as temporary:
        temporary.write_text(page, "utf-8")
    return path


def _markup(text: str) -> Any:
    """HTML that is already escaped."""
    from markupsafe import Markup

    return Markup(text)


def _json(content: Any) -> str:
    """JSON that can stand in a script element: no character that HTML could read as markup."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _pretty(content: Any) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False)


# --- what ran and on what ------------------------------------------------------------------------


def _period(manifest: Mapping[str, Any]) -> str:
    times = [stage[key] for stage in manifest["stages"].values() for key in ("start", "end")]
    if not times:
        return ""
    return " to ".join(
        time.replace("T", " ").replace("+00:00", " UTC") for time in (min(times), max(times))
    )


def _injected(scan: ScanResult | None) -> str:
    """The signals that were added to the data before the scan, in words."""
    return "" if scan is None else injected_text(scan.meta.get("injected") or ())


def _facts(
    manifest: Mapping[str, Any], scan: ScanResult | None, failed: int
) -> list[tuple[str, str, bool]]:
    """Summary: name, value, whether it is bad news."""
    ledger = manifest["ledger"]
    expected, read = (sum(row[key] for row in ledger) for key in ("expected", "read"))
    lost = sum(map(is_lost, ledger))
    facts = [
        ("Luminosity", f"{number(float(manifest['luminosity']))} pb⁻¹", False),
        ("Files", f"{len(ledger)}" + (f", {lost} with losses" if lost else ""), lost > 0),
        ("Entries read", f"{read:,} of {expected:,}", read != expected),
    ]
    if scan is None or not len(scan):
        return facts
    facts.append(("Mass hypotheses", f"{len(scan)}, {failed} without a result", failed > 0))
    z = np.where(_drawn(scan), scan["z_local"], np.nan)
    if np.isfinite(z).any():
        top = int(np.nanargmax(z))
        facts.append(("Largest local Z", f"{z[top]:.2f} at {scan['mass'][top]:.3f} GeV", False))
    crossing = scan.meta.get("expected_crossing")
    for mass in scan.transitions:
        where = f"{mass:.2f} GeV" + (f", limits cross at {crossing:.2f} GeV" if crossing else "")
        facts.append(("Definitions change", where, bool(scan.warnings)))
    for name, column, unit in (
        ("Median expected limit on σ", "sigma_exp", "pb"),
        ("Best expected limit on g", "g_exp", "GeV⁻¹"),
    ):
        values = scan[column][np.isfinite(scan[column])]
        if len(values):
            value = float(np.median(values) if column == "sigma_exp" else values.min())
            facts.append((name, f"{value:.3g} {unit}", False))
    return facts


def _losses(manifest: Mapping[str, Any], scan: ScanResult | None) -> list[str]:
    lines = [
        f"{row['path']} (sample {row['sample']}): {row['read']:,} of {row['expected']:,} entries "
        f"read, {row['status']}" + (f": {row['reason']}" if row["reason"] else "")
        for row in manifest["ledger"]
        if is_lost(row)
    ]
    shown = lines[:20]
    if len(lines) > len(shown):
        shown.append(f"and {len(lines) - len(shown)} more files, see the ledger")
    if scan is not None:
        shown += scan.warnings
        failed = [row for row in scan if row["status"] not in ("ok", "blinded")]
        shown += [f"{row['mass']:.4g} GeV: {row['status']}" for row in failed[:10]]
        if len(failed) > 10:
            shown.append(f"and {len(failed) - 10} more masses, see the scan table")
    return shown


def _sample_table(samples: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for sample in samples:
        cross_section = sample["cross_section"] or {}
        rows.append(
            {
                "sample": sample["name"],
                "kind": sample["kind"],
                "mass [GeV]": sample["mass"],
                "σ [pb]": cross_section.get("value"),
                "source of σ": cross_section.get("source", ""),
                "luminosity [1/pb]": sample["luminosity"],
                "read [%]": 100 * sample["covered_fraction"],
                "luminosity read [1/pb]": sample["covered_luminosity"],
                "synthetic": "yes" if sample["synthetic"] else "no",
            }
        )
    return table(
        list(rows[0]) if rows else [],
        [list(row.values()) for row in rows],
        lost={n for n, sample in enumerate(samples) if sample["covered_fraction"] < 1},
    )


def _figure(png: Path, folder: Path) -> dict[str, str]:
    pdf = png.with_suffix(".pdf")
    linked = pdf.is_file() and pdf.resolve().is_relative_to(folder.resolve())
    kind, content = _small_image(png)
    return {
        "title": png.stem.replace("_", " "),
        "kind": kind,
        "data": base64.b64encode(content).decode(),
        "pdf": pdf.resolve().relative_to(folder.resolve()).as_posix() if linked else "",
    }


def _small_image(png: Path) -> tuple[str, bytes]:
    """Type and content of an image: lossless WebP has the same pixels in a third of the bytes."""
    from PIL import Image, features

    if not features.check("webp"):  # some distributions build Pillow without
        return "png", png.read_bytes()
    buffer = io.BytesIO()
    with Image.open(png) as image:
        # higher settings take up to fifty times as long to save a further 3 %
        image.convert("RGB").save(buffer, "WEBP", lossless=True, method=2, quality=30)
    return "webp", buffer.getvalue()


# --- the scan ------------------------------------------------------------------------------------


def _drawn(scan: ScanResult) -> NDArray[np.bool_]:
    return np.asarray(scan.ok | (scan["status"] == "blinded"))


def _scan_table(scan: ScanResult | None) -> str:
    if scan is None:
        return ""
    return scan_table(scan.rows, COLUMNS, limit=None, identifier="scan-table")


def _workspace_link(folder: Path) -> str:
    if (folder / "workspaces" / "workspaces.zip").is_file():
        return "workspaces/workspaces.zip"
    return "workspaces/" if (folder / "workspaces").is_dir() else ""


def _data(
    scan: ScanResult | None,
    fits: Sequence[Window],
    published: Iterable[tuple[str, ArrayLike, ArrayLike]],
    folder: Path,
) -> dict[str, Any]:
    """Everything the scripts draw."""
    strongest = [abs(fit.z_local or 0.0) for fit in fits]
    counts = {_count(n) for fit in fits for n in np.asarray(fit.data).tolist()}
    listed = sorted(counts)
    down, up = poisson_errors(np.array(listed, dtype=np.float64))
    return {
        "columns": list(COLUMNS),
        "brief_columns": list(SCAN_HEADERS),
        "scan": None if scan is None or not len(scan) else _scan_data(scan),
        "published": [
            {
                "name": name,
                "mass": _rounded(mass),
                "g": _rounded(coupling),
                "color": CYCLE[position % len(CYCLE)],
            }
            for position, (name, mass, coupling) in enumerate(published)
        ],
        "windows": [_window_data(fit, folder) for fit in fits],
        "first_window": int(np.argmax(strongest)) if strongest else 0,
        # Poisson intervals of every count that occurs, looked up by the scripts
        "errors": {
            str(n): [_digits(d, 4), _digits(u, 4)]
            for n, d, u in zip(listed, down.tolist(), up.tolist(), strict=True)
        },
    }


def _scan_data(scan: ScanResult) -> dict[str, Any]:
    drawn = _drawn(scan)

    def column(name: str) -> list[float | None]:
        return _rounded(np.where(drawn, scan[name], np.nan))

    marks = [
        {"at": mass, "name": f"{old} → {new}", "dash": dash}
        for name, dash in _DASHES.items()
        for mass, old, new in transitions(scan["mass"], scan[name])
    ]
    return {
        "mass": [float(mass) for mass in scan["mass"]],
        "interrupted": interruptions(scan["mass"]),
        "drawn": drawn.tolist(),
        "level": f"{100 * float(np.nanmax(scan['level'])):.3g}%",
        "marks": marks,
        **{name: scan[name].tolist() for name in ("definition", "energy_set", "status")},
        "z": column("z_local"),
        "p": column("p_local"),
        "yield": column("yield"),
        "yield_error": column("yield_error"),
        **{
            quantity: {
                "obs": column(f"{quantity}_obs"),
                "exp": [column(f"{quantity}_{band}") for band in BANDS],
            }
            for quantity in ("sigma", "g")
        },
    }


def _window_data(fit: Window, folder: Path) -> dict[str, Any]:
    workspace = f"workspaces/m_{fit.mass:.4f}.json"
    return {
        "mass": fit.mass,
        "definition": fit.definition,
        "edges": _rounded(fit.edges, 7),
        "data": [_count(n) for n in np.asarray(fit.data).tolist()],
        "background": _rounded(fit.background),
        # far from the peak there is nothing to see, and every digit is repeated 40 000 times
        "signal": _rounded(np.round(fit.signal, 4)),
        "z": None if fit.z_local is None else _digits(fit.z_local, 5),
        "sigma": None if fit.sigma_hat is None else _digits(fit.sigma_hat, 5),
        "status": fit.status,
        "workspace": workspace if (folder / workspace).is_file() else None,
    }


def _count(n: float) -> float:
    """A count as JSON and JavaScript write it, whole numbers without a point."""
    return int(n) if float(n).is_integer() else n


def _rounded(values: ArrayLike, digits: int = 5) -> list[float | None]:
    return [_digits(value, digits) for value in np.asarray(values, dtype=np.float64).tolist()]


def _digits(value: float, digits: int) -> float | None:
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None
