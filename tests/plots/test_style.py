"""Figures leave nothing behind, and the same figure gives the same file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
from plot_inputs import scan_result

from alp_coffea import plots
from alp_coffea.plots.style import log_mass_axis, luminosity_text, set_count_label


def settings() -> dict[str, object]:
    # asking for the backend would choose one and import pyplot
    return {key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != "backend"}


def test_no_global_state_of_matplotlib_is_touched(tmp_path: Path) -> None:
    code = """
import sys
from alp_coffea import plots
assert "matplotlib" not in sys.modules
import matplotlib
matplotlib.rcParams["font.size"] = 7.5
def settings():
    return {key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != "backend"}
before = settings()
figure, ax = plots.new_figure()
with plots.style():
    ax.plot([1, 2], [1, 2], label="$m^2$")
    ax.legend()
plots.save(figure, sys.argv[1], "x")
assert settings() == before
for module in ("matplotlib.pyplot", "mplhep"):
    assert module not in sys.modules, module
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=120)


def test_style_is_restored_after_an_error() -> None:
    before = settings()
    with pytest.raises(RuntimeError, match="drawing"), plots.style():
        raise RuntimeError("drawing failed")
    assert settings() == before


def test_a_user_style_does_not_change_the_figure(tmp_path: Path) -> None:
    scan = scan_result(12)
    plain = plots.save(plots.limits(scan), tmp_path / "plain", "g")
    with matplotlib.rc_context({"font.size": 25, "axes.facecolor": "red", "lines.linewidth": 9}):
        styled = plots.save(plots.limits(scan), tmp_path / "styled", "g")
    for one, other in zip(plain, styled, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_files_are_reproducible_and_complete(tmp_path: Path) -> None:
    scan = scan_result(12)
    first = plots.save(plots.significance(scan), tmp_path / "deep" / "er", "z")
    second = plots.save(plots.significance(scan), tmp_path, "z")
    assert [path.name for path in first] == ["z.pdf", "z.png"]
    assert first[0].read_bytes().startswith(b"%PDF")
    assert first[1].read_bytes().startswith(b"\x89PNG")
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert b"CreationDate" not in first[0].read_bytes()


@pytest.mark.parametrize(
    ("luminosity", "text"),
    [(445.0, r"445 pb$^{-1}$"), (54_240.0, r"54.24 fb$^{-1}$"), (5e7, r"50 ab$^{-1}$")],
)
def test_luminosity_reads_well(luminosity: float, text: str) -> None:
    assert luminosity_text(luminosity) == text


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.2, 9.7, ["0.2", "0.5", "1", "2", "5"]),
        (2.2, 5.8, ["3", "4", "5"]),
        (6.0, 6.9, ["6", "6.2", "6.4", "6.6", "6.8"]),
    ],
)
def test_mass_axes_of_any_range_have_numbers(low: float, high: float, labels: list[str]) -> None:
    figure, ax = plots.new_figure()
    log_mass_axis(ax, low, high)
    figure.canvas.draw()
    shown = [t for t in ax.xaxis.get_major_ticks() if low <= t.get_loc() <= high]
    assert [tick.label1.get_text() for tick in shown] == labels


@pytest.mark.parametrize(
    ("high", "label", "tick"),
    [
        (9e4, "Entries / (1 GeV)", "20000"),
        (2.5e6, "$10^{6}$ entries / (1 GeV)", "1.5"),
        (2e5, "$10^{3}$ entries / (1 GeV)", "150"),
    ],
)
def test_large_counts_have_their_power_of_ten_in_the_label(
    high: float, label: str, tick: str
) -> None:
    with plots.style():
        figure, ax = plots.new_figure()
        ax.set_ylim(0, high)
        set_count_label(ax, "Entries / (1 GeV)")
        figure.canvas.draw()
    assert ax.get_ylabel() == label
    assert ax.yaxis.get_offset_text().get_text() == ""
    assert tick in [text.get_text() for text in ax.get_yticklabels()]
