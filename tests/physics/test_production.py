"""What turns cross sections into couplings."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alp_coffea.errors import InputError
from alp_coffea.physics import theory
from alp_coffea.physics.production import Production, Strahlung, Tabulated, Unspecified

MASSES = np.linspace(0.2, 9.8, 97)


def born_table() -> Tabulated:
    values = theory.cross_section(MASSES, 1e-3, sqrt_s=10.58)
    return Tabulated(MASSES, np.asarray(values), 1e-3)


@given(mass=st.floats(0.2, 9.8), coupling=st.floats(1e-6, 1.0))
def test_couplings_invert_cross_sections(mass: float, coupling: float) -> None:
    for production in (Strahlung(10.58), born_table()):
        sigma = production.cross_section(mass, coupling)
        assert production.coupling(sigma, mass) == pytest.approx(coupling, rel=1e-9)


@given(mass=st.floats(0.2, 9.7), coupling=st.floats(1e-6, 1.0))
def test_a_fine_table_agrees_with_its_closed_form(mass: float, coupling: float) -> None:
    expected = Strahlung(10.58).cross_section(mass, coupling)
    assert born_table().cross_section(mass, coupling) == pytest.approx(expected, rel=5e-3)


def test_tables_are_never_extrapolated() -> None:
    table = born_table()
    for mass in (0.19, 9.81):
        assert math.isnan(table.cross_section(mass, 1e-3))
        assert math.isnan(table.coupling(1.0, mass))


def test_read_a_table(tmp_path: Path) -> None:
    path = tmp_path / "sigma.csv"
    path.write_text("# mass [GeV], cross section [pb], its error\n0.5, 1.588, 0.01\n1 1.053\n\n")
    table = Tabulated.read(path, coupling=1e-3)
    assert table.cross_section(0.5, 2e-3) == pytest.approx(4 * 1.588)
    assert table.cross_section(1.0, 1e-3) == pytest.approx(1.053)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least two lines"),
        ("0.5 1.0\n", "at least two lines"),
        ("0.5\n1.0\n", "at least two lines"),
        ("mass sigma\n0.5 1\n", "no table of cross sections: could not convert"),
        ("0.5 1\n0.5 2\n", "masses must ascend"),
        ("0.5 1\n0.6 -2\n", "cross sections be positive"),
        ("0.5 1\n0.6 nan\n", "positive"),
    ],
)
def test_tables_that_are_none_name_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "sigma.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        Tabulated.read(path, coupling=1e-3)
    assert str(path) in str(caught.value)


def test_without_theory_nothing_is_known() -> None:
    production: Production = Unspecified()
    assert math.isnan(production.cross_section(1.0, 1e-3))
    assert math.isnan(production.coupling(1.0, 1.0))
