"""Analysis and catalogue files: what is accepted, and what the errors say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from alp_coffea.builtin import builtin_folder
from alp_coffea.config import (
    Analysis,
    Catalogue,
    Nuisances,
    Sample,
    Scan,
    Window,
    YieldUncertainty,
    dump_catalogue,
    efficiency_uncertainty,
    load_analysis,
    load_catalogue,
    parse,
)
from alp_coffea.errors import AlpCoffeaError, ConfigurationError


def sample(**changes: Any) -> dict[str, Any]:
    base = {
        "name": "ggg",
        "kind": "background",
        "files": ["ggg.root"],
        "cross_section": {"value": 21.5, "source": "test"},
        "generated_events": 1000,
    }
    return {k: v for k, v in (base | changes).items() if v is not None}


def catalogue(*samples: dict[str, Any]) -> Catalogue:
    return parse(yaml.safe_dump({"samples": list(samples)}), Catalogue, where="c.yaml")


def test_equivalent_luminosity_is_events_over_cross_section() -> None:
    (one,) = catalogue(sample()).samples
    assert one.equivalent_luminosity == pytest.approx(1000 / 21.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fils": ["x.root"]}, r"c.yaml: samples.0.fils \('ggg'\): unknown key; did you mean 'fil"),
        ({"cross_section": {"value": -1, "source": "x"}}, r"cross_section.value .*greater than 0"),
        ({"cross_section": {"vale": 1, "source": "x"}}, r"did you mean 'value'"),
        ({"generated_events": None}, "a background needs 'luminosity', or 'cross_section'"),
        ({"kind": "signal"}, "'mass' is needed by signal samples"),
        ({"kind": "data"}, "data need their recorded 'luminosity'"),
        ({"kind": "bakground"}, "'data', 'background' or 'signal'"),
        ({"files": []}, "'files' is empty"),
        ({"name": "a/b"}, "name"),
        ({"simulate": {"process": "ggg"}}, "exactly one of 'events' and 'luminosity'"),
    ],
)
def test_a_wrong_sample_is_explained(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        catalogue(sample(**changes))


def test_names_must_differ() -> None:
    with pytest.raises(ConfigurationError, match="more than once: ggg"):
        catalogue(sample(), sample())


def test_masses_expand_with_names_files_and_seeds() -> None:
    made = catalogue(
        {
            "name": "signal_{mass}",
            "kind": "signal",
            "masses": [0.5, 3],
            "files": "signal_{mass}.root",
            "simulate": {"process": "signal", "events": 10, "seed": 5},
        }
    )
    assert [s.name for s in made.samples] == ["signal_0.5000", "signal_3.0000"]
    assert made.samples[1].files == ("signal_3.0000.root",)
    assert [s.simulate.seed for s in made.samples if s.simulate] == [5, 6]


def test_a_key_given_twice_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="'processor' is given twice"):
        parse("processor: a\nprocessor: b\ncatalogue: c", Analysis, where="a.yaml")


def test_unknown_scan_key_suggests_the_right_one() -> None:
    text = "catalogue: c\nprocessor: p\nscan: {transitoin: 6.0}"
    with pytest.raises(ConfigurationError, match=r"scan.transitoin.*did you mean 'transition'"):
        parse(text, Analysis, where="a.yaml")


def test_missing_file_suggests_a_neighbour(tmp_path: Path) -> None:
    (tmp_path / "analysis.yaml").write_text("", "utf-8")
    with pytest.raises(ConfigurationError, match="no such file; did you mean 'analysis.yaml'"):
        load_analysis(tmp_path / "analisys.yaml")


def test_unset_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({"samples": [sample(files=["${NTUPLES}/x.root"])]}), "utf-8")
    monkeypatch.delenv("NTUPLES", raising=False)
    with pytest.raises(ConfigurationError, match=r"\$\{NTUPLES\}, which is not set"):
        load_catalogue(path)
    monkeypatch.setenv("NTUPLES", "/data")
    assert load_catalogue(path).samples[0].files == ("/data/x.root",)


def test_paths_are_relative_to_their_file(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"samples": [sample()]}), "utf-8")
    made = load_catalogue(tmp_path / "c.yaml")
    assert made.samples[0].files == (str(tmp_path / "ggg.root"),)


def test_a_catalogue_survives_writing_and_reading(tmp_path: Path) -> None:
    made = catalogue(sample(files=["/data/ggg.root"]), sample(name="b", files=["/data/b.root"]))
    dump_catalogue(made, tmp_path / "copy.yaml")
    assert load_catalogue(tmp_path / "copy.yaml") == made


def test_published_settings_are_the_defaults() -> None:
    scan = Scan()
    assert scan.definition(6.84) == "diphoton"
    assert scan.definition(6.85) == "recoil"
    assert (scan.energy_set(3.99), scan.energy_set(4.0)) == ("low_mass", "high_mass")
    assert scan.window(0.3, "diphoton") == Window(above=0, order=2, left=20, right=30)
    assert scan.window(0.5, "diphoton").order == 4
    assert scan.window(8.0, "recoil") == Window(above=0, order=5, left=25, right=25)
    assert efficiency_uncertainty(Nuisances(), 3.9) == 0.053
    assert efficiency_uncertainty(Nuisances(), 4.0) == 0.045


def test_rows_apply_from_their_lower_edge_in_any_order() -> None:
    rows = (YieldUncertainty(above=5, value=0.2), YieldUncertainty(above=1, value=0.1))
    nuisances = Nuisances(efficiency=rows)
    values = [efficiency_uncertainty(nuisances, m) for m in (0.5, 1.0, 4.9, 5.0)]
    assert values == [0.1, 0.1, 0.1, 0.2]


@pytest.mark.parametrize("room", ["datasets", "analyses"])
def test_built_in_files_load(room: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BELLE2_2018", "/data")
    monkeypatch.setenv("NTUPLES", "/data")
    read = load_catalogue if room == "datasets" else load_analysis
    files = list(builtin_folder(room).glob("*.yaml"))
    assert files
    for path in files:
        read(path)


yaml_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*Catalogue.model_fields, "name", "kind", "files", "mass", "masses"])
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(yaml_values)
def test_any_yaml_is_accepted_or_refused_by_name(content: Any) -> None:
    for model in (Catalogue, Analysis):
        try:
            parse(yaml.safe_dump(content, allow_unicode=True), model, where="x.yaml")
        except AlpCoffeaError as error:
            assert "x.yaml" in str(error)


@given(st.dictionaries(st.sampled_from([*Sample.model_fields, "masses"]), yaml_values, max_size=4))
def test_any_sample_is_accepted_or_refused_by_name(changes: dict[str, Any]) -> None:
    text = yaml.safe_dump({"samples": [sample() | changes]}, allow_unicode=True)
    try:
        parse(text, Catalogue, where="x.yaml")
    except AlpCoffeaError as error:
        assert "x.yaml" in str(error)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conversion": {"join": "stict"}}, "conversion.join .*'strict' or 'identity'"),
        ({"conversion": {"trees": {"x": "Foton"}}}, "x.yaml: trees: 'x: Foton' names no collectio"),
        ({"conversion": {"tree": {}}}, r"conversion.tree \('ggg'\): .*did you mean 'trees'"),
        ({"event_weight": {"per_trak": 0.1}}, "did you mean 'per_track'"),
        ({"event_weight": {"per_track": 2}}, "less than or equal to 1"),
        ({"streams": 4}, "'streams' multiplies the 'luminosity'"),
        ({"luminosity_table": "x.csv"}, "'luminosity_table' and 'good_runs' are for data"),
        ({"kind": "data", "luminosity": 3, "luminosity_table": "x"}, "or a 'luminosity_table'"),
        ({"kind": "data", "luminosity": 3, "good_runs": "x"}, "'good_runs' needs a 'luminosity_ta"),
        ({"kind": "data", "luminosity": 3, "event_weight": "w"}, "data have no 'event_weight'"),
    ],
)
def test_normalisation_and_conversion_are_checked(changes: dict[str, Any], message: str) -> None:
    text = yaml.safe_dump({"samples": [sample() | changes]})
    with pytest.raises(ConfigurationError, match=message):
        parse(text, Catalogue, where="x.yaml")


def test_a_wrong_blinding_policy_is_explained() -> None:
    text = "catalogue: c\nprocessor: p\nblinding: {policy: partial}"
    with pytest.raises(ConfigurationError, match="a.yaml: blinding.policy: .*'exclude_fraction'"):
        parse(text, Analysis, where="a.yaml")


def test_the_published_numbers_carry_their_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BELLE2_2018", "/data")
    catalogue = load_catalogue(builtin_folder("datasets") / "belle2-2018.yaml")
    numbers = {number.quantity: number for number in catalogue.published}
    assert len(numbers) == len(catalogue.published)
    assert all(number.source.startswith("R0") for number in catalogue.published)
    assert numbers["data with E > 0.65 GeV"].error == pytest.approx(15777**0.5, abs=0.5)
    sigma = {s.name: s.cross_section for s in catalogue.samples if s.cross_section is not None}
    assert {name: c.value for name, c in sigma.items()} == {
        "gg": 4010, "ee": 124_500, "pi0g": 2.43, "etag": 0.96, "etaprimeg": 0.03,
    }  # fmt: skip
    # 445/pb of Bhabha events with both tracks lost: 34 600 (R0 eq. 7.2, recomputed)
    lost = 445 * sigma["ee"].value * 0.025**2
    assert lost == pytest.approx(34_600, rel=0.01)


@given(st.text(max_size=60))
def test_any_text_is_accepted_or_refused_by_name(text: str) -> None:
    try:
        parse(text, Catalogue, where="x.yaml")
    except AlpCoffeaError as error:
        assert "x.yaml" in str(error)


def test_a_scan_with_one_definition_and_one_energy_set_uses_them_everywhere() -> None:
    settings = parse("{definitions: [fit], energy_sets: [all]}", Scan, where="s.yaml")
    for mass in (0.3, 4.0, 6.85, 9.5):
        assert settings.definition(mass) == "fit"
        assert settings.energy_set(mass) == "all"
        # R0 table 7.1 at the lowest masses, R2 above
        assert settings.window(mass, "fit").order == (2 if mass < 0.5 else 3)


def test_two_definitions_meet_at_the_transition() -> None:
    settings = Scan(definitions=("fit", "recoil"), transition=5.0)
    assert [settings.definition(mass) for mass in (4.99, 5.0)] == ["fit", "recoil"]


@pytest.mark.parametrize("names", ["[]", "[diphoton, recoil, fit]", "[dipoton]"])
def test_definitions_of_a_scan_are_known_and_one_or_two(names: str) -> None:
    with pytest.raises(ConfigurationError, match="definitions"):
        parse(f"{{definitions: {names}}}", Scan, where="s.yaml")
