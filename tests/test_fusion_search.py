"""The photon-fusion processor against a plain loop over candidates, and its classifier."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
import yaml

from alp_coffea.config import load_catalogue
from alp_coffea.errors import ConfigurationError, InputError
from alp_coffea.events.combinations import combine
from alp_coffea.events.datasets import open_catalogue
from alp_coffea.events.skims import read_features, read_skim, write_index
from alp_coffea.execution import load_processor, process_files
from alp_coffea.physics import SUPERKEKB
from alp_coffea.simulation import cross_section

SEEN = {"theta_min": 16.0, "theta_max": 151.0}
SAMPLES = [
    {"name": "signal_{mass}", "kind": "signal", "masses": [0.5, 5.0]}
    | {"files": ["signal_{mass}.root"]}
    | {"simulate": {"process": "eea", "seed": 11, "events": 3000, "detector": "run1"}
       | {"inside": 0.6, "cuts": SEEN}},
    {"name": "eegg", "kind": "background", "files": ["eegg.root"]}
    | {"simulate": {"process": "eegg", "seed": 3, "events": 3000, "detector": "run1"}
       | {"cuts": {"energy_min": 0.09} | SEEN}},
    {"name": "conversion", "kind": "background", "files": ["conversion.root"]}
    | {"simulate": {"process": "ggg", "seed": 4, "events": 3000, "detector": "run1"}
       | {"conversions": "weight", "cuts": {"energy_min": 0.09} | SEEN}},
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from alp_coffea.simulation import simulate

    folder = tmp_path_factory.mktemp("fusion")
    (folder / "samples.yaml").write_text(yaml.safe_dump({"samples": SAMPLES}), "utf-8")
    simulate(folder / "samples.yaml", folder)
    return folder


@pytest.fixture(scope="module")
def output(folder: Path) -> dict[str, Any]:
    return process(folder, {"skim": {"folder": str(folder / "skim"), "selection": "loose"}})


def process(folder: Path, options: dict[str, Any], chunksize: int = 1000) -> dict[str, Any]:
    catalogue = load_catalogue(folder / "catalogue.yaml")
    processor = load_processor("fusion", options, beams=SUPERKEKB)
    records = open_catalogue(catalogue)
    out: dict[str, Any] = process_files(
        processor, records, catalogue, executor="iterative", chunksize=chunksize
    )
    if options.get("skim"):
        lines = [line for part in out.values() for line in part["skim"]]
        write_index(options["skim"]["folder"], lines, processor.features)
    return out


def vector(energy: float, theta: float, phi: float, mass: float = 0.0) -> np.ndarray:
    p = math.sqrt(energy**2 - mass**2)
    sine = math.sin(theta)
    unit = [sine * math.cos(phi), sine * math.sin(phi), math.cos(theta)]
    return np.array([energy, *(p * x for x in unit)])


def square(p: np.ndarray) -> float:
    return float(p[0] ** 2 - p[1:] @ p[1:])


def candidates(event: dict[str, Any]) -> Iterator[tuple[float, float]]:
    """|m - sqrt(s)| and m(gamma gamma) of every candidate of table 6.1, by its words."""
    g = [dict(zip(event["g"], row, strict=True)) for row in zip(*event["g"].values(), strict=True)]
    t = [dict(zip(event["t"], row, strict=True)) for row in zip(*event["t"].values(), strict=True)]
    good = [x for x in t if abs(x["dr"]) < 1 and abs(x["dz"]) < 3 and x["nCDCHits"] > 0]
    if len(good) not in (2, 3):
        return
    low, high = math.radians(17), math.radians(150)
    photons = [x for x in g if low < x["theta"] < high and x["E"] > 0.1]
    tracks = [x for x in good if x["clusterTrackMatch"] == 1]
    plus = [x for x in tracks if x["charge"] > 0 and x["theta"] > 0.52]
    minus = [x for x in tracks if x["charge"] < 0 and x["theta"] < 2.44]
    me = 0.51099895e-3
    for a, b in itertools.combinations(photons, 2):
        for e, p in itertools.product(minus, plus):
            alp = sum(vector(x["E"], x["theta"], x["phi"]) for x in (a, b))
            pair = [vector(math.hypot(x["p"], me), x["theta"], x["phi"], me) for x in (e, p)]
            total = alp + sum(pair)
            times = [x["clusterTiming"] for x in (a, b, e, p)]
            mean = sum(times) / 4
            if (
                math.hypot(alp[1], alp[2]) > 0.1
                and alp[0] > 0.5
                and square(SUPERKEKB.momentum - total) < 5
                and max(abs(time - mean) for time in times) < 5
            ):
                mass = math.sqrt(square(total))
                yield abs(mass - SUPERKEKB.sqrt_s), math.sqrt(square(alp))


def read(path: Path) -> list[dict[str, Any]]:
    photon = ("E", "theta", "phi", "clusterTiming")
    track = ("charge", "p", "theta", "phi", "dr", "dz", "nCDCHits", "clusterTiming")
    track = (*track, "clusterTrackMatch")
    with uproot.open(path) as file:
        tree = file["events"]
        g = ak.zip({n: tree[f"gamma_{n}"].array() for n in photon})
        t = ak.zip({n: tree[f"track_{n}"].array() for n in track})
        weight = tree["weight"].array(library="np")
    columns = (
        [dict(zip(x.fields, ak.to_list(ak.unzip(x)), strict=True)) for x in y] for y in (g, t)
    )
    return [{"g": a, "t": b, "weight": w} for a, b, w in zip(*columns, weight, strict=True)]


@pytest.mark.parametrize("sample", ["signal_0.5000", "signal_5.0000", "eegg"])
def test_best_candidates_are_those_of_a_plain_loop(
    sample: str, folder: Path, output: dict[str, Any]
) -> None:
    masses, weights = [], []
    for event in read(folder / f"{sample}.root"):
        found = sorted(candidates(event))
        if found:
            masses.append(found[0][1])
            weights.append(event["weight"])
    step = output[sample]["cutflow"].steps("reconstruction")[-1]
    assert step.events == len(masses) > 300
    assert step.weighted == pytest.approx(sum(weights), rel=1e-10)
    filled = output[sample]["histograms"]["mass"][
        {"energy_set": "reconstruction", "definition": "diphoton"}
    ].project("mass")
    expected, _ = np.histogram(masses, filled.axes[0].edges, weights=weights)
    # events whose fit failed are in the cutflow only; roundings move a mass over a bin's edge
    lost = output[sample]["counts"]["failed_fits"]
    assert lost < 0.01 * len(masses)
    apart = np.abs(np.cumsum(filled.values() - expected)).max()
    assert apart <= (lost + 1) * max(weights)


def test_acceptance_is_that_of_the_generator(output: dict[str, Any]) -> None:
    """Two tags and two photons in 17 to 150 degrees."""
    cuts = {"theta_min": math.radians(17), "theta_max": math.radians(150), "frame": "lab"}
    for mass in (0.5, 5.0):
        histogram = output[f"signal_{mass:.4f}"]["histograms"]["acceptance"]
        seen = histogram["two_tags"]
        expected = (
            cross_section("eea", mass=mass, isr=True, points=2**18, **cuts)[0]
            / cross_section("eea", mass=mass, isr=True, points=2**18)[0]
        )
        assert seen.value / 3000 == pytest.approx(expected, abs=4 * seen.variance**0.5 / 3000)
        # all events are in one class
        all_events = output[f"signal_{mass:.4f}"]["cutflow"].steps("selection")[0].weighted
        assert histogram.sum().value == pytest.approx(all_events)


def test_efficiency_by_run(output: dict[str, Any]) -> None:
    runs = output["signal_5.0000"]["histograms"]["runs"]
    assert list(runs.axes["run"]) == [1]
    last = output["signal_5.0000"]["cutflow"].steps("selection")[-1]
    assert runs["selected", sum, sum].value == pytest.approx(last.weighted)


def test_displacement_and_electron_identification(output: dict[str, Any]) -> None:
    """R1 sec. 6.4: 95 % of the signal stays and 85 % of conversions go; 99 % for identification."""

    def share(sample: str, cut: str) -> float:
        steps = output[sample]["cutflow"].steps("selection")
        number = [step.cut for step in steps].index(cut)
        return steps[number].weighted / steps[number - 1].weighted

    assert share("signal_5.0000", "displacement") > 0.95
    assert share("conversion", "displacement") < 0.15
    assert share("signal_5.0000", "electron_id") > 0.95


def test_the_fit_sharpens_the_peak(output: dict[str, Any]) -> None:
    mass = output["signal_5.0000"]["histograms"]["mass"]
    widths = {}
    for definition in ("diphoton", "fit"):
        peak = mass["reconstruction", definition, "true", :]
        cumulative = np.cumsum(peak.values()) / peak.values().sum()
        low, high = np.interp((0.16, 0.84), cumulative, peak.axes[0].edges[1:])
        widths[definition] = (high - low) / 2
        assert abs((low + high) / 2 - 5) < 3 * widths[definition]
    assert widths["fit"] < 0.5 * widths["diphoton"]


def test_the_skim_has_every_feature_before_the_cut_on_the_classifier(
    folder: Path, output: dict[str, Any]
) -> None:
    ranges = read_features(folder / "skim")
    assert len(ranges) == 27  # rows of table 7.1
    table = read_skim(folder / "skim", "signal_5.0000")
    steps = {s.cut: s for s in output["signal_5.0000"]["cutflow"].steps("selection")}
    assert len(table) == steps["kinematic_fit"].events
    assert ak.sum(table.weight) == pytest.approx(steps["kinematic_fit"].weighted)
    assert ak.mean(table.true) > 0.9
    for name, (low, high) in ranges.items():
        inside = (table[name] >= low) & (table[name] <= high)
        # tracks that curl up have no angle at the calorimeter, but those have no cluster either
        assert ak.mean(inside) > 0.99, name
    # Mandelstam variables of massless leptons: s = sqrt(s) - 2E*, t+ + t- = 2E*
    for lepton in ("em", "ep"):
        doubled = table[f"t_plus_{lepton}"] + table[f"t_minus_{lepton}"]
        np.testing.assert_allclose(doubled + table[f"s_{lepton}"], SUPERKEKB.sqrt_s)


def test_chunks_do_not_matter(folder: Path, output: dict[str, Any]) -> None:
    again = process(folder, {}, chunksize=777)
    for sample, part in again.items():
        for name, histogram in part["histograms"].items():
            np.testing.assert_allclose(
                histogram.values(flow=True),
                output[sample]["histograms"][name].values(flow=True),
                rtol=1e-9,
                atol=1e-12,
            )


def test_a_skim_without_features_cannot_be_learned_from(folder: Path, tmp_path: Path) -> None:
    write_index(tmp_path, [])
    with pytest.raises(InputError, match="names no features"):
        read_features(tmp_path)


def test_combinations_of_nothing() -> None:
    empty = combine(
        np.array([3]),
        pair=ak.combinations(ak.Array([[{"E": 1.0}]]), 2, fields=["a", "b"]),
        e=ak.Array([[{"p": 2.0}]]),
    )
    assert len(empty.event) == 0
    assert empty.column("E", "a", "b").shape == (0, 2)
    assert len(empty.best(np.empty(0)).event) == 0


# --- the command ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    from alp_coffea.pipeline import run_analysis

    analysis = {
        "catalogue": "catalogue.yaml",
        "luminosity": 1000,
        "processor": "fusion",
        "options": {"skim": {"folder": str(folder / "skim2"), "selection": "loose"}},
        "theory": "none",
    }
    (folder / "training.yaml").write_text(yaml.safe_dump(analysis), "utf-8")
    run_analysis(folder / "training.yaml", folder / "run", stages=["process"])
    return folder / "run"


def test_training_from_a_run_and_using_what_it_made(
    run: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    from alp_coffea.__main__ import main

    arguments = ["train", str(run), "-o", str(tmp_path), "--working-point", "0.5"]
    small = ["--depth", "2", "--width", "20", "--batch", "128", "--learning-rate", "3e-3"]
    assert main([*arguments, *small, "--epochs", "15", "--patience", "5"]) == 0
    assert "area under the curve 0.9" in capsys.readouterr().out
    made = {path.name for path in tmp_path.iterdir()}
    names = ("loss", "roc", "scores", "sculpting")
    figures = {f"{name}.{kind}" for name in names for kind in ("png", "pdf")}
    assert made == {"classifier.onnx", "card.json", "card.md"} | figures

    classifier = str(tmp_path / "classifier.onnx")
    out = process(folder, {"classifier": classifier, "working_point": 0.5})
    kept = {}
    for sample, part in out.items():
        steps = {step.cut: step.weighted for step in part["cutflow"].steps("selection")}
        kept[sample] = steps["classifier"] / steps["kinematic_fit"]
        assert "classifier" in part["histograms"]
    assert kept["signal_5.0000"] > 2 * kept["eegg"]
    parts = process(folder, {"classifier": classifier, "working_point": 0.5}, chunksize=501)
    assert {n: p["selected"] for n, p in parts.items()} == {
        n: p["selected"] for n, p in out.items()
    }


def test_a_run_without_a_skim_cannot_be_learned_from(
    run: Path, folder: Path, tmp_path: Path
) -> None:
    from alp_coffea.pipeline import Options, run_analysis
    from alp_coffea.results import load
    from alp_coffea.train_command import _skim

    analysis = yaml.safe_load((folder / "training.yaml").read_text("utf-8")) | {"options": {}}
    (folder / "plain.yaml").write_text(yaml.safe_dump(analysis), "utf-8")
    options = Options(limit_chunks=1, chunksize=100, executor="iterative")
    run_analysis(folder / "plain.yaml", tmp_path, stages=["process"], options=options)
    with pytest.raises(ConfigurationError, match="wrote no skim"):
        _skim(load(tmp_path), None)
