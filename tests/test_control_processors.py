"""The control-sample processors against plain loops over events."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
import yaml

from alp_coffea import plots
from alp_coffea.config import load_catalogue
from alp_coffea.events.datasets import open_catalogue
from alp_coffea.execution import load_processor, process_files
from alp_coffea.physics import SUPERKEKB
from alp_coffea.stats.intervals import trigger_efficiency

CUTS = {"energy_min": 0.6, "theta_min": 34.0, "theta_max": 127.0}
CATALOGUE = {
    "samples": [
        {
            "name": name,
            "kind": "background",
            "files": [f"{name}.root"],
            "simulate": {"process": name, "seed": seed, "events": 5000, "cuts": CUTS},
        }
        for name, seed in (("eeg", 3), ("mumug", 4))
    ]
}
#: Bhabha and two-photon events with clusters of other crossings, one per two events.
OUT_OF_TIME = {
    "samples": [
        {
            "name": name,
            "kind": "background",
            "files": [f"{name}.root"],
            "simulate": {
                "process": name,
                "seed": seed,
                "events": 6000,
                "detector": {"background": {"out_of_time": 0.5}},
            },
        }
        for name, seed in (("ee", 5), ("gg", 6))
    ]
}
MUON = 0.1056583755


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a catalogue of radiative lepton pairs."""
    from alp_coffea.simulation import simulate

    folder = tmp_path_factory.mktemp("control")
    (folder / "control.yaml").write_text(yaml.safe_dump(CATALOGUE), "utf-8")
    return simulate(folder / "control.yaml", folder / "input").parent


def run(folder: Path, name: str, sample: str, **options: Any) -> dict[str, Any]:
    catalogue = load_catalogue(folder / "catalogue.yaml")
    records = [r for r in open_catalogue(catalogue) if r.sample == sample]
    settings = options.pop("settings", {})
    processor = load_processor(name, settings, beams=SUPERKEKB)
    return process_files(processor, records, catalogue, **options)[sample]


def events_of(folder: Path, sample: str) -> list[dict[str, Any]]:
    with uproot.open(folder / f"{sample}.root") as file:
        return file["events"].arrays(filter_name=["gamma_*", "track_*", "weight"]).to_list()


def objects(event: dict[str, Any], prefix: str) -> list[dict[str, float]]:
    fields = {k.removeprefix(prefix): v for k, v in event.items() if k.startswith(prefix)}
    count = len(next(iter(fields.values())))
    return [{name: values[i] for name, values in fields.items()} for i in range(count)]


def p4(p: float, theta: float, phi: float, mass: float = 0.0) -> np.ndarray:
    return np.array(
        [
            math.hypot(p, mass),
            p * math.sin(theta) * math.cos(phi),
            p * math.sin(theta) * math.sin(phi),
            p * math.cos(theta),
        ]
    )


def mass(total: np.ndarray) -> float:
    square = float(total[0] ** 2 - total[1:] @ total[1:])
    return math.copysign(math.sqrt(abs(square)), square)


def wrapped(a: float, b: float) -> float:
    difference = abs(a - b) % (2 * math.pi)
    return min(difference, 2 * math.pi - difference)


def good(track: dict[str, float], dz: float = 5.0) -> bool:
    return track["nCDCHits"] > 0 and abs(track["dr"]) < 1 and abs(track["dz"]) < dz


def bhabha(event: dict[str, Any], least: float) -> list[float]:
    """Diphoton masses of the emulated candidates of one selected event (R0 sec. 6.2)."""
    tracks = sorted(
        (t for t in objects(event, "track_") if good(t) and t["clusterE"] > 0),
        key=lambda t: -t["clusterE"],
    )[:2]
    photons = sorted(objects(event, "gamma_"), key=lambda g: -g["clusterE"])[:1]
    if len(tracks) < 2 or not photons:
        return []
    clusters = [(t["clusterE"], t["clusterTheta"], t["clusterPhi"]) for t in tracks]
    clusters += [(g["clusterE"], g["clusterTheta"], g["clusterPhi"]) for g in photons]
    low, high = math.radians(37.3), math.radians(123.7)
    if not all(e >= least and low < theta < high for e, theta, _ in clusters):
        return []
    total = sum(p4(*c) for c in clusters)
    if not 0.88 <= mass(total) / SUPERKEKB.sqrt_s <= 1.03:
        return []
    pairs = [(clusters[i], clusters[j]) for i, j in ((1, 2), (0, 2), (0, 1))]
    if not all(abs(a[1] - b[1]) >= 0.003 or wrapped(a[2], b[2]) >= 0.3 for a, b in pairs):
        return []
    return [mass(p4(*a) + p4(*b)) for a, b in pairs]


def test_bhabha_control_agrees_with_a_plain_loop(control: Path) -> None:
    output = run(control, "bhabha_control", "eeg", chunksize=1300)
    events = events_of(control, "eeg")
    for energy_set, least in {"low_mass": 1.0, "high_mass": 0.65}.items():
        selected = [masses for event in events if (masses := bhabha(event, least))]
        assert len(selected) > 500
        assert output["cutflow"].steps(energy_set)[-1].events == len(selected)
        spectrum = output["histograms"]["mass"][
            {"energy_set": energy_set, "definition": "diphoton"}
        ].project("mass")
        expected = np.histogram(np.concatenate(selected), spectrum.axes[0].edges)[0]
        assert np.abs(np.cumsum(spectrum.values() - expected)).max() <= 1
    assert output["selected"] == len(selected)


def dimuon(event: dict[str, Any]) -> tuple[float, float] | None:
    """(E, p_recoil) of one selected event (R0 sec. 8.3.1)."""
    muons = [t for t in objects(event, "track_") if good(t)]
    photons = sorted(objects(event, "gamma_"), key=lambda g: -g["E"])
    if len(muons) != 2 or sum(m["charge"] for m in muons) != 0 or not photons:
        return None
    photon, *others = photons
    recoil = SUPERKEKB.momentum - sum(p4(m["p"], m["theta"], m["phi"], MUON) for m in muons)
    p = math.sqrt(recoil[1:] @ recoil[1:])
    theta, phi = math.acos(recoil[3] / p), math.atan2(recoil[2], recoil[1])
    both = sum(p4(m["p"], m["theta"], m["phi"], MUON) for m in muons)
    passed = (
        photon["E"] > 1.0
        and all(other["E"] < 0.5 for other in others)
        and photon["clusterNHits"] > 1.5
        and abs(photon["clusterTiming"]) < 200
        and photon["minC2TDist"] > 50
        and math.radians(37.3) < photon["theta"] < math.radians(123.7)
        and all(0.05 <= m["clusterE"] <= 0.25 and m["p"] > 2 for m in muons)
        and 9.8 <= mass(both + p4(photon["E"], photon["theta"], photon["phi"])) <= 10.8
        and mass(both) >= 1.0
        and abs(photon["theta"] - theta) < 0.1
        and wrapped(photon["phi"], phi) < 0.1
        and 0.5 < photon["E"] / p < 1.5
    )
    return (photon["E"], p) if passed else None


def momentum(event: dict[str, Any], sigma: float = 0.0, axis: int = 0) -> np.ndarray:
    """Recoil (3,) of the good tracks, all parameters ``axis`` (pt, theta, phi) a sigma higher."""
    total = SUPERKEKB.momentum[1:].copy()
    for track in (t for t in objects(event, "track_") if good(t)):
        pt, theta, phi = track["pt"], track["theta"], track["phi"]
        pt += sigma * track["ptErr"] * (axis == 0)
        theta += sigma * track["thetaErr"] * (axis == 1)
        phi += sigma * track["phiErr"] * (axis == 2)
        total -= pt * np.array([math.cos(phi), math.sin(phi), 1 / math.tan(theta)])
    return total


def test_dimuon_photon_agrees_with_a_plain_loop(control: Path) -> None:
    output = run(control, "dimuon_photon", "mumug", chunksize=1300)
    selected = [found for e in events_of(control, "mumug") if (found := dimuon(e)) is not None]
    assert len(selected) > 300
    assert output["cutflow"].steps("dimuon_photon")[-1].events == len(selected)
    energy, momentum = np.array(selected).T
    ours = output["histograms"]["resolution"]
    theirs = ours.copy().reset().fill(p_recoil=momentum, difference=energy - momentum)
    assert np.abs(np.cumsum(ours.values() - theirs.values(), axis=1)).max() <= 1


def test_pulls_and_errors_of_the_recoil_agree_with_a_plain_loop(control: Path) -> None:
    output = run(control, "dimuon_photon", "mumug", chunksize=1300)
    pulls: list[np.ndarray] = []
    errors: list[float] = []
    for event in events_of(control, "mumug"):
        muons = [t for t in objects(event, "track_") if good(t)]
        if len(muons) != 2 or sum(m["charge"] for m in muons) != 0:
            continue
        both = mass(sum(p4(m["p"], m["theta"], m["phi"], MUON) for m in muons))
        pure = all(0.05 <= m["clusterE"] <= 0.25 and m["p"] > 2 for m in muons)
        pure &= 9.8 <= both <= 10.8
        found = dimuon(event)
        if not pure and found is None:
            continue
        recoil = momentum(event)
        # by differences instead of derivatives, tracks one after the other
        variance = np.zeros((3, 3))
        for kept in range(2):
            alone = only(event, kept)
            for axis in range(3):
                step = (momentum(alone, 1e-3, axis) - momentum(alone, -1e-3, axis)) / 2e-3
                variance += np.outer(step, step)
        if found is not None:
            direction = recoil / np.linalg.norm(recoil)
            errors.append(math.sqrt(direction @ variance @ direction))
            assert found[1] == pytest.approx(np.linalg.norm(recoil), rel=1e-5)
        if pure:
            pulls.append(recoil / np.sqrt(np.diag(variance)))
    assert len(pulls) > 10
    assert output["cutflow"].steps("dimuon")[-1].events == len(pulls)
    ours = output["histograms"]["recoil_pull"]
    for k, name in enumerate("xyz"):
        values = ours[{"component": name}].values(flow=True)
        edges = [-math.inf, *ours.axes["pull"].edges, math.inf]
        theirs = np.histogram(np.array(pulls)[:, k], edges)[0]
        assert np.abs(np.cumsum(values - theirs)).max() <= 1
    ours = output["histograms"]["recoil_error"].project("error")
    theirs = np.histogram(errors, ours.axes[0].edges)[0]
    assert ours.sum().value == pytest.approx(len(errors), abs=30)  # p_recoil outside its bins
    assert np.abs(np.cumsum(ours.values() - theirs)).max() <= 30


def test_unknown_errors_and_truth_are_cut_or_counted(control: Path, tmp_path: Path) -> None:
    """No NaN reaches a histogram without being counted."""
    with uproot.open(control / "mumug.root") as file:
        arrays = file["events"].arrays()
    number = np.arange(len(arrays))
    changed = {
        name: arrays[name] * np.where(number % every == 0, np.nan, 1.0)
        for name, every in (("track_ptErr", 10), ("gamma_mcE", 7))
    }
    fields = {name: arrays[name] for name in arrays.fields} | changed
    table = ak.to_arrow_table(ak.zip(fields, depth_limit=1), extensionarray=False)
    import pyarrow.parquet

    pyarrow.parquet.write_table(table, tmp_path / "mumug.parquet")
    catalogue = yaml.safe_load((control / "catalogue.yaml").read_text("utf-8"))
    catalogue["samples"] = [catalogue["samples"][1] | {"files": ["mumug.parquet"]}]
    (tmp_path / "catalogue.yaml").write_text(yaml.safe_dump(catalogue), "utf-8")
    before = run(control, "dimuon_photon", "mumug")
    after = run(tmp_path, "dimuon_photon", "mumug")
    for flow in ("dimuon", "dimuon_photon"):
        full = {step.cut: step.events for step in before["cutflow"].steps(flow)}
        cut = {step.cut: step.events for step in after["cutflow"].steps(flow)}
        assert full["track_errors"] == full["photon" if flow == "dimuon_photon" else "two_muons"]
        assert cut["track_errors"] == pytest.approx(0.9 * full["track_errors"], rel=0.02)
    selected = after["cutflow"].steps("dimuon_photon")[-1].events
    assert before["counts"]["without_truth"] == 0
    missing = after["counts"]["without_truth"]
    assert missing == pytest.approx(selected / 7, rel=0.35)
    histograms = after["histograms"]
    assert histograms["resolution"].sum(flow=True).value == selected
    assert histograms["calorimeter"].sum(flow=True).value == selected - missing
    assert histograms["recoil_error"].sum(flow=True).value == selected


def only(event: dict[str, Any], kept: int) -> dict[str, Any]:
    """The event with its good track of number ``kept`` as the only track."""
    index = [i for i, t in enumerate(objects(event, "track_")) if good(t)][kept]
    return {k: [v[index]] if k.startswith("track_") else v for k, v in event.items()}


def test_measured_difference_is_the_sum_of_its_parts(control: Path) -> None:
    """R0 8.7: E - p_recoil = (E - E_true) - (p_recoil - E_true), so means add up."""
    histograms = run(control, "dimuon_photon", "mumug")["histograms"]
    means = {}
    for name in ("resolution", "calorimeter", "recoil", "radiation", "tracking"):
        histogram = histograms[name]
        values = histogram.project("difference").values()
        means[name] = np.average(histogram.axes["difference"].centers, weights=values)
    # bins of 5 MeV, and a few entries beyond the axis
    assert means["resolution"] == pytest.approx(means["calorimeter"] - means["recoil"], abs=0.01)
    assert means["recoil"] == pytest.approx(means["radiation"] + means["tracking"], abs=0.003)


def with_bits(folder: Path, target: Path) -> Path:
    """The Bhabha sample with trigger bits: the probe misses every tenth event, some unknown."""
    with uproot.open(folder / "eeg.root") as file:
        arrays = file["events"].arrays()
    n = len(arrays)
    number = np.arange(n)
    reference = (number % 3 > 0).astype(float)
    reference[number % 50 == 7] = np.nan
    table = ak.to_arrow_table(
        ak.zip(
            {name: arrays[name] for name in arrays.fields}
            | {"L1_reference": reference, "L1_probe": (number % 10 > 0).astype(float)},
            depth_limit=1,
        ),
        extensionarray=False,
    )
    import pyarrow.parquet

    pyarrow.parquet.write_table(table, target / "eeg.parquet")
    catalogue = yaml.safe_load((folder / "catalogue.yaml").read_text("utf-8"))
    catalogue["samples"] = [catalogue["samples"][0] | {"files": ["eeg.parquet"]}]
    (target / "catalogue.yaml").write_text(yaml.safe_dump(catalogue), "utf-8")
    return target


def test_trigger_counts_agree_with_a_plain_loop(control: Path, tmp_path: Path) -> None:
    settings = {"reference": "L1_reference", "probe": "L1_probe"}
    output = run(with_bits(control, tmp_path), "trigger", "eeg", settings=settings)
    fired = silent = unknown = 0
    for number, event in enumerate(events_of(control, "eeg")):
        tracks = [
            t
            for t in objects(event, "track_")
            if t["p"] > 1
            and abs(t["dr"]) < 1
            and abs(t["dz"]) < 4
            and t["clusterE"] > 0.65
            and 0.651 < t["theta"] < 2.159
        ]
        photons = [
            g
            for g in objects(event, "gamma_")
            if g["clusterE"] > 0.65 and 0.651 < g["clusterTheta"] < 2.159
        ]
        if len(tracks) != 2 or len(photons) != 1:
            continue
        unknown += number % 50 == 7
        clusters = [p4(t["clusterE"], t["theta"], t["phi"]) for t in tracks]
        clusters += [p4(g["clusterE"], g["clusterTheta"], g["clusterPhi"]) for g in photons]
        inside = 0.8 < mass(sum(clusters)) / SUPERKEKB.sqrt_s < 1.1
        if inside and number % 50 != 7 and number % 3 > 0:
            fired, silent = fired + (number % 10 > 0), silent + (number % 10 == 0)
    (efficiency,) = trigger_efficiency(output["histograms"]["trigger"])
    assert (efficiency.passed, efficiency.total) == (fired, fired + silent)
    assert efficiency.low < 0.9 < efficiency.high
    assert fired > 300
    assert output["counts"]["no_trigger_information"] == unknown


@pytest.fixture(scope="module")
def out_of_time(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a catalogue of events with clusters of other crossings."""
    from alp_coffea.simulation import simulate

    folder = tmp_path_factory.mktemp("out_of_time")
    (folder / "catalogue.yaml").write_text(yaml.safe_dump(OUT_OF_TIME), "utf-8")
    return simulate(folder / "catalogue.yaml", folder / "input").parent


def timing_chi(clusters: list[dict[str, float]]) -> float:
    """R0 5.8 and 5.9."""
    weights = [c["clusterErrorTiming"] ** -2 for c in clusters]
    times = [c["clusterTiming"] for c in clusters]
    mean = sum(w * t for w, t in zip(weights, times, strict=True)) / sum(weights)
    return max(abs(c["clusterTiming"] - mean) / c["clusterErrorTiming"] for c in clusters)


def test_timing_of_bhabha_events_agrees_with_a_plain_loop(out_of_time: Path) -> None:
    output = run(out_of_time, "out_of_time", "ee", chunksize=1700)
    expected: dict[str, list[float]] = {"anomalous": [], "normal": []}
    for event in events_of(out_of_time, "ee"):
        tracks = objects(event, "track_")
        if len(tracks) != 2 or sum(t["charge"] for t in tracks) != 0:
            continue
        if not all(t["clusterE"] > 3 for t in tracks):
            continue
        others = [g for g in objects(event, "gamma_") if g["clusterE"] > 0.1]
        kinds = {
            "anomalous": [
                g for g in others if g["clusterE1E9"] > 0.8 and -800 < g["clusterTiming"] < -300
            ],
            "normal": [g for g in others if g["clusterE1E9"] < 0.8 and g["clusterTiming"] > -300],
        }
        label = next((name for name, clusters in kinds.items() if clusters), None)
        if label is not None:
            further = max(kinds[label], key=lambda g: g["clusterE"])
            expected[label].append(timing_chi([*tracks, further]))
    histograms = output["histograms"]
    for label, values in expected.items():
        assert len(values) > 100
        histogram = histograms[f"timing_chi_{label}"]
        ours = histogram.values(flow=True)
        assert ours.sum() == len(values)
        theirs = np.histogram(values, [*histogram.axes["x"].edges, math.inf])[0]
        assert np.abs(np.cumsum(ours[1:] - theirs)).max() <= 1
    # R0 fig. 6.2: anomalous clusters are what t_c < 10 rejects
    below = {
        label: histograms[f"timing_chi_{label}"].values()[:20].sum() / len(values)
        for label, values in expected.items()
    }
    assert below["anomalous"] < 0.05
    assert output["cutflow"].steps("radiative_bhabha")[-1].events == sum(
        map(len, expected.values())
    )


def test_clusters_of_events_with_few_clusters_agree_with_a_plain_loop(out_of_time: Path) -> None:
    output = run(out_of_time, "out_of_time", "gg", chunksize=1700)
    shown: list[dict[str, float]] = []
    events = 0
    for event in events_of(out_of_time, "gg"):
        seen = [
            g
            for g in objects(event, "gamma_")
            if g["clusterE"] > 0.25 and math.radians(17) < g["clusterTheta"] < math.radians(150)
        ]
        if len(seen) in (1, 2):
            events += 1
            barrel = (math.radians(32.2), math.radians(128.7))
            shown += [g for g in seen if barrel[0] < g["clusterTheta"] < barrel[1]]
    assert output["cutflow"].steps("few_clusters")[-1].events == events > 1000
    for name in ("clusterE1E9", "clusterE", "clusterTheta", "clusterPhi"):
        histogram = output["histograms"][f"{name}_against_time"]
        expected = histogram.copy().reset()
        expected.fill([g["clusterTiming"] for g in shown], [g[name] for g in shown])
        np.testing.assert_array_equal(histogram.values(flow=True), expected.values(flow=True))
        figure = plots.plane(histogram, energy_set=None, synthetic=True)
        assert figure.axes[0].get_xlabel() == "Cluster time [ns]"
    # collisions are at zero; beam crossings at any time
    time = output["histograms"]["clusterE_against_time"].project("x").values()
    assert time[48:52].sum() > 0.5 * time.sum()
    assert time[10:35].sum() > 50
