"""The three-photon processor against an independent reading of the selection, event by event."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

from alp_coffea import plots
from alp_coffea.config import load_catalogue
from alp_coffea.events.datasets import open_catalogue
from alp_coffea.events.skims import read_skim, write_index
from alp_coffea.execution import load_processor, process_files
from alp_coffea.physics import SUPERKEKB, Beams
from alp_coffea.rng import combine, normal, purpose_key
from alp_coffea.stats.comparison import yields
from alp_coffea.storage import load_histograms, save_histograms

REFERENCE_EVENTS = 2000


def run(
    folder: Path,
    *,
    settings: dict[str, Any] | None = None,
    samples: tuple[str, ...] = (),
    **options: Any,
) -> dict[str, Any]:
    catalogue = load_catalogue(folder / "input" / "catalogue.yaml")
    records = [r for r in open_catalogue(catalogue) if not samples or r.sample in samples]
    processor = load_processor("strahlung", settings or {}, beams=SUPERKEKB)
    return process_files(processor, records, catalogue, **options)


def cosine(a: tuple[float, float], b: tuple[float, float]) -> float:
    (t1, p1), (t2, p2) = a, b
    return math.sin(t1) * math.sin(t2) * math.cos(p1 - p2) + math.cos(t1) * math.cos(t2)


NOMINAL = {
    "theta": (math.radians(37.3), math.radians(123.7)),
    "mass": (0.88, 1.03),
    "zernike": 0.6,
    "delta_theta": 0.014,
    "delta_phi": 0.40,
}


def reference(
    event: dict[str, Any], energy_min: float, beams: Beams, **changed: Any
) -> list[dict[str, Any]]:
    """Candidates of one event that passes the final selection, written from R0 ch. 5."""
    cuts = NOMINAL | changed
    photons = [
        {name: event[f"gamma_{name}"][i] for name in GAMMA} for i in range(len(event["gamma_E"]))
    ]
    photons = [
        p
        for p in photons
        if p["E"] >= energy_min
        and cuts["theta"][0] < p["theta"] < cuts["theta"][1]
        and p["clusterNHits"] > 1.5
    ]
    if len(photons) < 3:
        return []
    one, two, three = sorted(photons, key=lambda p: -p["E"])[:3]
    triple = (one, two, three)

    def mass2(*members: dict[str, Any]) -> float:
        return sum(
            2 * a["E"] * b["E"] * (1 - cosine((a["theta"], a["phi"]), (b["theta"], b["phi"])))
            for i, a in enumerate(members)
            for b in members[i + 1 :]
        )

    def apart(a: dict[str, Any], b: dict[str, Any]) -> tuple[float, float]:
        phi = abs(a["phi"] - b["phi"])
        return abs(a["theta"] - b["theta"]), min(phi, 2 * math.pi - phi)

    low, high = cuts["mass"]
    if not low * beams.sqrt_s <= math.sqrt(mass2(*triple)) <= high * beams.sqrt_s:
        return []
    for hits, dr, dz in zip(
        event["track_nCDCHits"], event["track_dr"], event["track_dz"], strict=True
    ):
        if hits > 0 and abs(dr) < 1 and abs(dz) < 5:
            return []
    isolation = [sum(d * d for q in triple if q is not p for d in apart(p, q)) for p in triple]
    if not triple[int(np.argmax(isolation))]["clusterZernikeMVA"] > cuts["zernike"]:
        return []
    weights = [p["clusterErrorTiming"] ** -2 for p in triple]
    mean = sum(w * p["clusterTiming"] for w, p in zip(weights, triple, strict=True)) / sum(weights)
    if not max(abs(p["clusterTiming"] - mean) / p["clusterErrorTiming"] for p in triple) < 10:
        return []
    candidates = []
    for recoil in triple:
        daughters = [p for p in triple if p is not recoil]
        dtheta, dphi = apart(*daughters)
        if not (dtheta > cuts["delta_theta"] or dphi > cuts["delta_phi"]):
            return []
        p = recoil["E"] * np.array(
            [
                1.0,
                math.sin(recoil["theta"]) * math.cos(recoil["phi"]),
                math.sin(recoil["theta"]) * math.sin(recoil["phi"]),
                math.cos(recoil["theta"]),
            ]
        )
        total = beams.momentum
        energy_cm = (total[0] * p[0] - total[1:] @ p[1:]) / beams.sqrt_s
        from_alp = [q["genMotherPDG"] == 9000006 for q in triple]
        origin = "other"
        if all(q["isSignal"] == 1 for q in triple) and sum(from_alp) == 2:
            origin = "combinatorial" if recoil["genMotherPDG"] == 9000006 else "true"
        candidates.append(
            {
                "diphoton": mass2(*daughters),
                "recoil": beams.s - 2 * beams.sqrt_s * energy_cm,
                "origin": origin,
            }
        )
    return candidates


GAMMA = (
    "E",
    "theta",
    "phi",
    "clusterNHits",
    "clusterZernikeMVA",
    "clusterTiming",
    "clusterErrorTiming",
    "isSignal",
    "genMotherPDG",
)


def first_events(
    folder: Path, sample: str, **settings: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The processor's output for the first events of a sample, and these events."""
    catalogue = load_catalogue(folder / "input" / "catalogue.yaml")
    records = [r for r in open_catalogue(catalogue) if r.sample == sample]
    records[0].expected = REFERENCE_EVENTS
    processor = load_processor("strahlung", settings, beams=SUPERKEKB)
    output = process_files(processor, records, catalogue, chunksize=700)[sample]
    names = [f"gamma_{name}" for name in GAMMA] + ["track_nCDCHits", "track_dr", "track_dz"]
    names += ["__experiment__", "__run__", "__event__", "__production__"]
    with uproot.open(records[0].path) as file:
        columns = file["events"].arrays(names, entry_stop=REFERENCE_EVENTS)
    return output, columns.to_list()


@pytest.mark.parametrize("sample", ["signal_3.0000", "ggg"])
def test_selection_agrees_with_a_plain_loop(small_input: Path, sample: str) -> None:
    output, events = first_events(small_input, sample)
    histogram = output["histograms"]["mass"]
    for energy_set, energy_min in {"low_mass": 1.0, "high_mass": 0.65}.items():
        expected = histogram.copy().reset()
        selected = 0
        for event in events:
            candidates = reference(event, energy_min, SUPERKEKB)
            selected += bool(candidates)
            for candidate in candidates:
                for definition in ("diphoton", "recoil"):
                    mass2 = candidate[definition]
                    expected.fill(
                        energy_set,
                        definition,
                        candidate["origin"] if sample.startswith("signal") else "other",
                        math.copysign(math.sqrt(abs(mass2)), mass2),
                    )
        assert output["cutflow"].steps(energy_set)[-1].events == selected
        assert selected > 200
        ours = histogram[{"energy_set": energy_set}].values(flow=True)
        theirs = expected[{"energy_set": energy_set}].values(flow=True)
        # the two compute masses with different rounding: an entry may sit on a bin edge
        assert np.abs(np.cumsum(ours - theirs, axis=-1)).max() <= 1
        assert np.count_nonzero(ours - theirs) <= 4


@pytest.mark.parametrize("sample", ["signal_3.0000", "ggg"])
def test_every_event_agrees_with_a_plain_loop(
    small_input: Path, tmp_path: Path, sample: str
) -> None:
    settings = {"skim": {"folder": str(tmp_path), "selection": "final"}}
    output, events = first_events(small_input, sample, **settings)
    write_index(tmp_path, output["skim"])
    found = {row["__event__"]: row for row in read_skim(tmp_path, sample).to_list()}
    expected = {event["__event__"]: reference(event, 0.65, SUPERKEKB) for event in events}
    assert list(found) == [number for number, candidates in expected.items() if candidates]
    for number, row in found.items():
        for definition in ("diphoton", "recoil"):
            # in order of energy of the recoil photon, as the listing
            ours = np.sign(roots := np.array(row[f"triple_{definition}_mass"])) * roots**2
            theirs = [candidate[definition] for candidate in expected[number]]
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-8)


def test_n_minus_1_histograms_remember_their_cuts_and_figures_draw_them(
    small_input: Path, tmp_path: Path
) -> None:
    histograms = run(small_input, samples=("ggg",), chunksize=20_000)["ggg"]["histograms"]
    save_histograms(histograms, tmp_path / "histograms.zip")
    histograms = load_histograms(tmp_path / "histograms.zip")
    mass_window = [0.88 * SUPERKEKB.sqrt_s, 1.03 * SUPERKEKB.sqrt_s]
    expected = {
        "photon_energy": ([1.0], [0.65]),
        "photon_theta": ([math.radians(37.3), math.radians(123.7)],) * 2,
        "cluster_n_hits": ([1.5],) * 2,
        "three_photon_mass": (mass_window,) * 2,
        "zernike_mva": ([0.6],) * 2,
        "timing_chi": ([10.0],) * 2,
    }
    for name, (low_mass, high_mass) in expected.items():
        cuts = {"low_mass": low_mass, "high_mass": high_mass}
        for suffix, wanted in (("_n_minus_1", cuts), ("", {}), ("_loose", {})):
            axis = histograms[f"{name}{suffix}"].axes["x"]
            assert axis.__dict__.get("cuts", {}) == wanted, name
        for energy_set, thresholds in cuts.items():
            shown = {"b": histograms[f"{name}_n_minus_1"]}
            figure = plots.variable(None, shown, energy_set=energy_set, synthetic=True)
            drawn = [line.get_xdata()[0] for line in figure.axes[0].lines]
            assert drawn == thresholds
    plane = histograms["delta_theta_phi_n_minus_1"]
    figure = plots.plane(plane, energy_set="low_mass", synthetic=True)
    (corner,) = figure.axes[0].lines
    assert corner.get_xydata().tolist() == [[0.0, 0.4], [0.014, 0.4], [0.014, 0.0]]


def shifted_edges(sign: int) -> tuple[float, float]:
    """Polar-angle limits when the calorimeter (inner radius 125 cm) moves by 2 mm along z."""
    edges = []
    for degrees in (37.3, 123.7):
        z = 125.0 / math.tan(math.radians(degrees))
        edges.append(math.atan2(125.0, z - sign * 0.2))
    return edges[0], edges[1]


def test_threshold_variations_agree_with_a_plain_loop(small_input: Path) -> None:
    output, events = first_events(small_input, "signal_3.0000", variations=True)
    yields = output["histograms"]["variations"]
    true_mass = output["histograms"]["true_mass_variations"]
    energy_scale = {"photon_energy_up": 1.01, "photon_energy_down": 0.99}
    changed: dict[str, dict[str, Any]] = {name: {} for name in ("nominal", *energy_scale)}
    for sign, direction in ((1, "up"), (-1, "down")):
        changed[f"photon_theta_{direction}"] = {"theta": shifted_edges(sign)}
        changed[f"zernike_mva_{direction}"] = {"zernike": 0.6 + sign * 0.05}
        changed[f"delta_theta_phi_{direction}"] = {
            "delta_theta": 0.014 + sign * 0.005,
            "delta_phi": 0.40 + sign * 0.005,
        }
        changed[f"three_photon_mass_{direction}"] = {
            "mass": (0.88 + sign * 0.002, 1.03 + sign * 0.002)
        }
    assert set(changed) == set(yields.axes["variation"]) - {"photon_resolution_up"}
    differ = 0
    for energy_set, energy_min in {"low_mass": 1.0, "high_mass": 0.65}.items():
        for name, cuts in changed.items():
            least = energy_min * energy_scale.get(name, 1.0)
            selected = [reference(event, least, SUPERKEKB, **cuts) for event in events]
            where = {"variation": name, "energy_set": energy_set}
            assert yields[where].value == sum(map(bool, selected)), name
            true = sum(c["origin"] == "true" for candidates in selected for c in candidates)
            for definition in ("diphoton", "recoil"):
                ours = true_mass[where | {"definition": definition}].sum(flow=True).value
                assert ours == true, name
            differ += yields[where].value != yields[where | {"variation": "nominal"}].value
    assert differ > 10  # of 20


def test_resolution_variation_moves_photons_and_all_that_follows(small_input: Path) -> None:
    output, events = first_events(small_input, "signal_3.0000", variations=True)
    for event in events:
        key = purpose_key(0, "photon_resolution_up")
        for part in ("experiment", "run", "event", "production"):
            key = np.uint64(combine(key, event[f"__{part}__"]))
        event["gamma_E"] = [
            e * (1 + np.interp(e, [0.65, 5.0], [0.02, 0.0]) * normal(key, place))
            for place, e in enumerate(event["gamma_E"])
        ]
    where = {"variation": "photon_resolution_up"}
    for energy_set, energy_min in {"low_mass": 1.0, "high_mass": 0.65}.items():
        selected = [reference(event, energy_min, SUPERKEKB) for event in events]
        yields = output["histograms"]["variations"][where | {"energy_set": energy_set}]
        assert yields.value == sum(map(bool, selected))
        masses = output["histograms"]["true_mass_variations"][where | {"energy_set": energy_set}]
        for definition in ("diphoton", "recoil"):
            spectrum = masses[{"definition": definition}]
            squares = [c[definition] for e in selected for c in e if c["origin"] == "true"]
            roots = np.copysign(np.sqrt(np.abs(squares)), squares)
            expected = np.histogram(roots, spectrum.axes[0].edges)[0]
            assert np.abs(np.cumsum(spectrum.values() - expected)).max() <= 1


def test_variations_do_not_depend_on_chunks_and_data_have_none(small_input: Path) -> None:
    settings = {"variations": True}
    samples = ("signal_3.0000", "pseudo_data")
    whole, parts = (
        run(small_input, settings=settings, samples=samples, chunksize=size)
        for size in (250_000, 1500)
    )
    same(whole, parts, 1e-12)
    assert "variations" in whole["signal_3.0000"]["histograms"]
    assert "variations" not in whole["pseudo_data"]["histograms"]


def same(one: dict[str, Any], two: dict[str, Any], tolerance: float) -> None:
    assert list(one) == list(two) == sorted(one)
    for sample in one:
        assert one[sample]["counts"] == two[sample]["counts"]
        assert one[sample]["selected"] == two[sample]["selected"]
        for a, b in zip(one[sample]["cutflow"], two[sample]["cutflow"], strict=True):
            assert (a.flow, a.cut, a.events) == (b.flow, b.cut, b.events)
            assert a.weighted == pytest.approx(b.weighted, rel=tolerance, abs=0)
        for name, histogram in one[sample]["histograms"].items():
            other = two[sample]["histograms"][name]
            assert histogram.axes == other.axes
            for storage in (lambda h: h.values(flow=True), lambda h: h.variances(flow=True)):
                np.testing.assert_allclose(
                    storage(histogram), storage(other), rtol=tolerance, atol=0
                )


def test_kernels_fill_what_the_readable_version_fills(small_input: Path) -> None:
    samples = ("signal_3.0000", "ggg")
    kernels, readable = (
        run(small_input, settings={"kernels": choice}, samples=samples) for choice in (True, False)
    )
    same(kernels, readable, 0)


def test_result_does_not_depend_on_chunks_or_executor(small_input: Path) -> None:
    whole = run(small_input, chunksize=250_000)
    same(whole, run(small_input, chunksize=10_000), 1e-12)
    same(whole, run(small_input, chunksize=250_000, executor="futures", workers=2), 0)


def test_published_ratio_of_energy_sets(small_input: Path) -> None:
    """R0 table 7.3: 11156/15225 = 0.733 candidates above 1000 and 650 MeV in simulation."""
    cutflow = run(small_input)["ggg"]["cutflow"]
    low, high = (cutflow.steps(energy_set)[-1].events for energy_set in ("low_mass", "high_mass"))
    # one set contains nearly all of the other: binomial error of the ratio
    error = math.sqrt(0.733 * 0.267 / high)
    assert low / high == pytest.approx(11156 / 15225, abs=0.010 + 2 * error)


def test_published_shares_above_one_squared_gev(small_input: Path) -> None:
    """R0 table 7.3, simulation: 14626 of 15225 and 10798 of 11156 have m^2 > 1 GeV^2."""
    mass = run(small_input, samples=("ggg",))["ggg"]["histograms"]["mass"]
    rows = {(row.energy_set, row.region): row.simulation for row in yields(mass, mass)}
    for energy_set, above, whole in (("high_mass", 14626, 15225), ("low_mass", 10798, 11156)):
        n = rows[energy_set, "all"]
        share = rows[energy_set, "m2 > 1"] / n
        error = math.sqrt(3 * share * (1 - share) / n)
        assert share == pytest.approx(above / whole, abs=0.01 + 2 * error)


def test_published_loose_efficiency(small_input: Path) -> None:
    """R0 table 5.1: 65.8 % at 3 GeV, not requiring truth matching."""
    steps = run(small_input, samples=("signal_3.0000",))["signal_3.0000"]["cutflow"].steps("loose")
    efficiency = steps[-1].events / steps[0].events
    # the simulation reproduces table 5.1 within three percent points
    assert efficiency == pytest.approx(0.658, abs=0.03)


def test_signal_truth_classification(small_input: Path) -> None:
    histogram = run(small_input)["signal_3.0000"]["histograms"]["mass"]
    count = {
        origin: histogram[{"energy_set": "low_mass", "definition": "diphoton", "origin": origin}]
        .sum(flow=True)
        .value
        for origin in ("true", "combinatorial", "other")
    }
    assert count["combinatorial"] == 2 * count["true"]
    assert count["other"] < 0.05 * count["true"]
    true = histogram[{"energy_set": "low_mass", "definition": "diphoton", "origin": "true"}]
    median = true.axes[0].centers[np.searchsorted(np.cumsum(true.values()), true.sum().value / 2)]
    assert median == pytest.approx(3.0, abs=0.03)
