"""From output folders to the calibration of photons: what runs left behind, as plain arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import awkward as ak
import hist
import numpy as np
from numpy.typing import NDArray

from alp_coffea.errors import InputError
from alp_coffea.events.candidates import ALP_PDG
from alp_coffea.events.skims import TRIPLE, read_skim
from alp_coffea.physics.normality import SignalTriples
from alp_coffea.results import Run

#: Histograms of ``processors/dimuon_photon.py`` that calibrations are made of.
NAMES: Final = (
    "recoil_pull", "recoil_pull_below", "recoil_error", "p_recoil",
    "resolution", "calorimeter", "recoil", "radiation", "tracking",
)  # fmt: skip
#: Columns that a skim needs for its signal triples, beside those it always has.
SIGNAL_COLUMNS: Final = ("gamma_E", "gamma_genMotherPDG")


def dimuon_histograms(run: Run, kind: str) -> dict[str, hist.Hist]:
    """Histograms of all samples of a kind together; empty without any."""
    found = {name: run.scaled(name, kind) for name in NAMES}
    return {name: histogram for name, histogram in found.items() if histogram is not None}


def skim_folder(run: Run) -> Path:
    """Where a run of the three-photon search wrote its finally selected events.

    Raises InputError if it wrote none.
    """
    settings = run.manifest["configuration"]["analysis"]["options"].get("skim")
    if settings is None or settings.get("selection", "final") != "final":
        raise InputError(
            f"{run.folder}: the photons of single events are needed; run the analysis with the "
            "processor option 'skim: {folder: FOLDER, selection: final}' (see "
            "docs/photon-resolution.md)"
        )
    return Path(settings["folder"]).expanduser()


def photon_triples(run: Run, kind: str) -> NDArray[np.float64] | None:
    """E, theta and phi of the photons of all samples of a kind, (3, n, 3), lab, GeV and rad.

    Each sample is taken as it is, without weights. None where the run has no such sample.

    Raises InputError if the run wrote no skim, or corrected energies: they are compared with muon
    pairs that are not.
    """
    folder = skim_folder(run)
    options = run.manifest["configuration"]["analysis"]["options"]
    if any(name.startswith("energy") for name in options.get("corrections") or {}):
        raise InputError(
            f"{run.folder}: photon energies of this run are corrected already; use one without "
            "'energy_bias' and 'energy_smearing' under the option 'corrections'"
        )
    columns = [f"{TRIPLE}{name}" for name in ("E", "theta", "phi")]
    samples = [row["name"] for row in run.samples.values() if row["kind"] == kind]
    parts = [read_skim(folder, name, columns) for name in samples]
    if not parts:
        return None
    together = ak.concatenate(parts)
    return np.stack([_rows(together[name]) for name in columns])


def signal_triples(run: Run) -> list[SignalTriples]:
    """True triples of every simulated mass, ascending: two photons of the ALP, one of the beams.

    Raises InputError if the run's skim lacks the photons' energies or mothers.
    """
    folder = skim_folder(run)
    signals = [row for row in run.samples.values() if row["kind"] == "signal"]
    found = []
    for row in sorted(signals, key=lambda row: row["mass"]):
        events = read_skim(folder, row["name"])
        missing = [name for name in SIGNAL_COLUMNS if name not in events.fields]
        if missing:
            raise InputError(
                f"{folder}: the skim has no {', '.join(missing)}; add 'columns: [Photon.E]' and "
                "'truth_columns: [Photon.genMotherPDG]' to the option 'skim'"
            )
        energy, theta, phi = (_rows(events[f"{TRIPLE}{name}"]) for name in ("E", "theta", "phi"))
        # which of the event's photons each one is: corrections may have moved energies a little
        distance = abs(events["gamma_E"][:, np.newaxis] - energy[:, :, np.newaxis])
        position = ak.argmin(distance, axis=2)
        mother = ak.to_numpy(ak.fill_none(events["gamma_genMotherPDG"][position], 0.0))
        daughter = np.abs(mother) == ALP_PDG
        ours = (daughter.sum(axis=1) == 2) & np.isfinite(mother).all(axis=1)
        found.append(
            SignalTriples(
                row["mass"],
                energy[ours],
                theta[ours],
                phi[ours],
                (~daughter[ours]).argmax(axis=1),
            )
        )
    return found


def _rows(column: ak.Array) -> NDArray[np.float64]:
    return np.asarray(ak.to_numpy(ak.to_regular(column)), dtype=np.float64).reshape(-1, 3)
