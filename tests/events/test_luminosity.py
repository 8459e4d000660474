"""Luminosity by run, good runs, campaigns, and what a run really covers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from alp_coffea.config import Blinding, Catalogue, Sample, load_catalogues
from alp_coffea.errors import AlpCoffeaError, ConfigurationError
from alp_coffea.events.datasets import FileRecord
from alp_coffea.events.luminosity import (
    Coverage,
    Luminosities,
    coverage,
    read_good_runs,
    read_luminosity_table,
)
from alp_coffea.events.weights import equivalent_luminosity, scale
from alp_coffea.physics.production import Strahlung

TABLE = "# 2018\nexperiment, run, luminosity\n3,1,10\n3,2,20.5\n3,3,4\n\n4,1,0\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "lumi.csv"
    path.write_text(TABLE, "utf-8")
    return path


def test_tables_are_read(table: Path) -> None:
    assert read_luminosity_table(table) == {(3, 1): 10, (3, 2): 20.5, (3, 3): 4, (4, 1): 0}
    assert read_good_runs(table) == {(3, 1), (3, 2), (3, 3), (4, 1)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("experiment,runs,luminosity\n", "no column 'run'; did you mean 'runs'"),
        ("", "no column 'experiment'"),
        ("experiment,run,luminosity\n3,1,ten\n", "line 2: luminosity 'ten' of run"),
        ("experiment,run,luminosity\n3,1,-1\n", "line 2: luminosity '-1'"),
        ("experiment,run,luminosity\n3,1,nan\n", "line 2: luminosity 'nan'"),
        ("experiment,run,luminosity\n#\n3,one,1\n", "line 3: experiment '3' and run 'one'"),
        ("experiment,run,luminosity\n3,-1,1\n", "whole numbers >= 0"),
        ("experiment,run,luminosity\n3,1\n", "line 2: expected 3 values"),
        ("experiment,run,luminosity\n3,1,2,3\n", "line 2: expected 3 values"),
        ("experiment,run,luminosity\n3,1,2\n3,1,2\n", r"line 3: run \(experiment 3, run 1\) is"),
    ],
)
def test_mistakes_in_tables_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "lumi.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigurationError, match=f"lumi.csv: .*{message}"):
        read_luminosity_table(path)


def test_a_missing_table_suggests_a_neighbour(table: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file; did you mean 'lumi.csv'"):
        read_luminosity_table(table.with_name("lumy.csv"))


@given(st.text(alphabet='exprimntu,"\n 0123456789.-#é\x00', max_size=60))
def test_any_text_is_a_table_or_refused_by_name(tmp_path_factory: Any, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    for content in (text, "experiment,run,luminosity\n" + text):
        path.write_text(content, "utf-8")
        try:
            read_luminosity_table(path)
        except AlpCoffeaError as error:
            assert "any.csv" in str(error)


def record(runs: dict[tuple[int, int], int], share: float = 1.0, **changes: Any) -> FileRecord:
    entries = sum(runs.values())
    made = FileRecord("data", "x", "events", expected=entries, read=round(share * entries))
    made.runs = runs
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def data(table: Path, **changes: Any) -> Sample:
    content = {"name": "data", "kind": "data", "files": ("x",), "luminosity_table": str(table)}
    return Sample.model_validate(content | changes)


def covered(sample: Sample, *records: FileRecord) -> Coverage:
    return coverage(sample, records, production=Strahlung(10.58))


def test_missing_files_take_their_runs_with_them(table: Path) -> None:
    sample = data(table)
    whole = covered(sample, record({(3, 1): 100, (3, 2): 50}), record({(3, 3): 7, (4, 1): 1}))
    assert (whole.recorded, whole.covered) == (34.5, 34.5)
    # not listed at all
    part = covered(sample, record({(3, 1): 100, (3, 2): 50}))
    assert (part.recorded, part.covered) == (34.5, 30.5)
    assert part.runs == {
        "runs_with_entries": 2,
        "runs_without_entries": 2,
        "luminosity_without_entries": 4,
    }
    (note,) = part.notes
    assert "2 runs of which no entry was read are not counted (4/pb): (experiment 3, run 3)" in note
    # listed, but unreadable; test_file_entries has the details
    broken = record({(3, 3): 7, (4, 1): 1}, status="unusable", read=0)
    assert covered(sample, record({(3, 1): 100, (3, 2): 50}), broken).covered == 30.5


def test_what_is_estimated_about_lost_files_is_said() -> None:
    whole = record({(3, 1): 100})
    broken = FileRecord("data", "y", "events", status="unusable")
    plain = Sample(name="data", kind="data", files=("x",), luminosity=60.0)
    guessed = coverage(plain, [whole, broken], production=Strahlung(10.58))
    assert guessed.covered == pytest.approx(30)
    # one file says nothing about the spread of sizes: 100 +- 100, and the mean of one
    assert guessed.uncertainty == pytest.approx(30 * np.sqrt(2) / 2)
    assert "an estimate (30 +- 21/pb): it is not known what 1 files had" in guessed.notes[0]
    exact = coverage(plain, [whole], production=Strahlung(10.58))
    assert (exact.notes, exact.uncertainty) == ((), None)


def test_half_a_file_is_half_of_its_runs(table: Path) -> None:
    half = covered(data(table), record({(3, 1): 60, (3, 2): 40}, 0.5), record({(3, 1): 60}))
    assert half.covered == pytest.approx(10 * 0.75 + 20.5 * 0.5)


def test_good_runs_limit_the_luminosity(table: Path, tmp_path: Path) -> None:
    good = tmp_path / "good.csv"
    good.write_text("experiment,run\n3,1\n3,3\n9,9\n", "utf-8")
    sample = data(table, good_runs=str(good))
    # run 77 is unknown, but not good either
    result = covered(sample, record({(3, 1): 5, (3, 2): 5, (3, 77): 1}))
    assert (result.recorded, result.covered) == (14, 10)
    assert "1 good runs are not in the luminosity table: (experiment 9, run 9)" in result.notes[1]
    with pytest.raises(ConfigurationError, match=r"run 77\)\. Add them, or leave them out"):
        covered(data(table), record({(3, 1): 5, (3, 77): 1}))
    good.write_text("experiment,run\n3,77\n", "utf-8")
    with pytest.raises(ConfigurationError, match="1 runs with events are not in .*lumi.csv"):
        covered(sample, record({(3, 77): 1}))


def test_blinded_data_are_covered(table: Path) -> None:
    hidden = record({(3, 1): 100, (3, 2): 50, (3, 3): 4, (4, 1): 1}, 0.0, status="blinded")
    assert covered(data(table), hidden).covered == 34.5


def test_streams_and_branching_fractions() -> None:
    def sample(**content: Any) -> Sample:
        return Sample.model_validate(
            {"name": "b", "kind": "background", "files": ("x",), **content}
        )

    assert equivalent_luminosity(sample(luminosity=54.24, streams=4), Strahlung(10.58)) == 4 * 54.24
    # R1: the weight is L_data / (streams L_run)
    assert scale(100.0, 4 * 54.24) == pytest.approx(100 / (4 * 54.24))
    decay = {"value": 2.43, "branching_fraction": 0.988, "source": "R0"}
    made = sample(cross_section=decay, generated_events=45_000)
    assert equivalent_luminosity(made, Strahlung(10.58)) == pytest.approx(45_000 / (2.43 * 0.988))
    assert scale(1.0, None) is None
    assert scale(1.0, 0.0) is None


def test_a_signal_without_cross_section_has_the_born_one() -> None:
    content = {"name": "s", "kind": "signal", "files": ("x",), "mass": 1e-6}
    sample = Sample.model_validate({**content, "generated_events": 20_000})
    # physics: 0.1184 pb at m = 0, g = 1e-3
    assert equivalent_luminosity(sample, Strahlung(10.58)) == pytest.approx(
        20_000 / 0.1184, rel=1e-3
    )


def test_cross_sections_that_theory_and_radiation_do_not_explain_are_remarked_upon() -> None:
    def notes(value: float, **changes: Any) -> tuple[str, ...]:
        content = {"name": "s", "kind": "signal", "files": ("x",), "mass": 3.0}
        given = {"value": value, "source": "generator log"}
        sample = Sample.model_validate(
            {**content, "generated_events": 20_000, "cross_section": given, **changes}
        )
        return coverage(sample, [record({(3, 1): 1})], production=Strahlung(10.58)).notes

    # R0 eq. 2.7 at 3 GeV, by hand: 0.11840 (1 - 9/111.9364)^3 pb
    born = 0.1184 * (1 - 9 / 10.58**2) ** 3
    assert notes(born) == notes(1.04 * born) == notes(0.9 * born) == ()
    (note,) = notes(0.1184)
    assert "0.1184 pb, 1.29 times the theory's 0.0920" in note
    assert notes(1.06 * born)
    assert notes(0.75 * born)
    # the square of the coupling
    assert notes(4 * born, coupling=2e-3) == ()
    assert notes(born, coupling=2e-3)
    decay = {"value": 2 * born, "branching_fraction": 0.5, "source": "x"}
    assert notes(0, cross_section=decay) == ()


# --- campaigns -----------------------------------------------------------------------------------


def campaigns(folder: Path, **beams: Any) -> Catalogue:
    for name, luminosity in (("early", 100.0), ("late", 300.0)):
        content: dict[str, Any] = {
            "samples": [
                {"name": "data", "kind": "data", "files": ["x.root"], "luminosity": luminosity},
                {"name": "gg", "kind": "background", "files": ["y.root"], "luminosity": 1000},
            ]
        }
        if name in beams:
            content["beams"] = {"crossing_angle": beams[name]}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content), "utf-8")
    return load_catalogues([folder / "early.yaml", folder / "late.yaml"])


def test_campaigns_are_scaled_to_their_own_data(tmp_path: Path) -> None:
    catalogue = campaigns(tmp_path)
    names = [sample.name for sample in catalogue.samples]
    assert names == ["early.data", "early.gg", "late.data", "late.gg"]
    shares = {"early.data": 0.5}
    result = {
        sample.name: Coverage(
            sample.luminosity, (sample.luminosity or 0) * shares.get(sample.name, 1), 1
        )
        for sample in catalogue.samples
    }
    luminosities = Luminosities.of(catalogue, result, Blinding())
    assert luminosities.by_campaign == {"early": 50, "late": 300}
    assert luminosities.total == 350
    scaled = [luminosities.of_sample(sample) for sample in catalogue.samples]
    assert scaled == [50, 50, 300, 300]
    # without a campaign: all data
    assert luminosities.of_sample(catalogue.samples[1].model_copy(update={"campaign": ""})) == 350
    part = Luminosities.of(catalogue, result, Blinding(policy="fraction", fraction=0.1))
    assert part.by_campaign == pytest.approx({"early": 5, "late": 30})
    projected = Luminosities.of(catalogue, result, Blinding(), projected=800)
    assert projected.by_campaign == pytest.approx({"early": 100, "late": 600})


def test_without_data_the_projection_counts() -> None:
    sample = {"name": "gg", "kind": "background", "files": ["y.root"], "luminosity": 1000}
    catalogue = Catalogue.model_validate({"samples": [sample]})
    result = {"gg": Coverage(1000, 1000, 1)}
    assert Luminosities.of(catalogue, result, Blinding(), projected=50).total == 50
    assert Luminosities.of(catalogue, result, Blinding()).total == 0


def test_campaigns_share_their_beams(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="late.yaml: its beams are not those of"):
        campaigns(tmp_path, late=0.022)
