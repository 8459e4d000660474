"""The price of non-negative coefficients where it is known."""

from __future__ import annotations

import numpy as np
from windows import EDGES, FLAT, MODEL, SQUARES

from alp_coffea.config import Scan
from alp_coffea.stats.background import Spectra
from alp_coffea.stats.basis import compare_bases

KEYS = [(d, e) for d in ("diphoton", "recoil") for e in ("low_mass", "high_mass")]
CENTRES = (SQUARES[1:] + SQUARES[:-1]) / 2


def compared(contents: np.ndarray, background: np.ndarray) -> list:
    return compare_bases(
        Spectra(EDGES, dict.fromkeys(KEYS, contents)),
        Spectra(EDGES, dict.fromkeys(KEYS, background)),
        MODEL,
        Scan(),
        [0.45, 5.0, 8.0],
        luminosity=445.0,
        background_size=100.0,
    )


def test_no_price_where_no_coefficient_is_at_its_bound() -> None:
    rows = compared(np.random.default_rng(1).poisson(500 * FLAT).astype(float), 500 * FLAT)
    assert [row.order for row in rows] == [2, 4, 5]
    for row in rows[1:]:
        assert row.at_zero == 0
        assert abs(row.delta_nll) < 1e-6
        assert abs(row.expected[0] / row.expected[1] - 1) < 1e-6
        assert abs(row.observed[0] / row.observed[1] - 1) < 1e-6
        assert abs(row.spurious_z[0]) < 1e-3


def test_a_deep_valley_needs_free_coefficients() -> None:
    """(x - c)^2 with its zero inside the window has a negative Bernstein coefficient."""
    valley = FLAT * (2 + 8 * (CENTRES - 25) ** 2)
    (row,) = (row for row in compared(valley, valley) if row.mass == 5.0)
    assert row.at_zero > 0
    assert row.delta_nll > 10
    assert abs(row.spurious_z[1]) < 1e-2
    assert abs(row.spurious_z[0]) > 1
