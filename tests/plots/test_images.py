"""Figures look as they did: compared with images on the pinned set of libraries only.

Elsewhere fonts and layout differ by pixels, and the other tests here check what the artists hold.
After an intended change, look at the new images: ``python tests/plots/test_images.py`` writes them.
"""

from __future__ import annotations

import importlib.metadata
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from plot_inputs import (
    cutflows,
    mass_histogram,
    scan_result,
    signal_model,
    variable_histogram,
    window_arrays,
)

from alp_coffea import plots

FOLDER = Path(__file__).parent / "images"
PINNED = Path(__file__).parents[2] / "requirements" / "pinned.txt"
#: What decides about pixels.
LIBRARIES = ("matplotlib", "pillow", "contourpy", "kiwisolver")
#: A pixel differs if a channel does by more than so much of 255; so many may.
CONTRAST, PIXELS = 40, 12
DPI = 60


def _published() -> list[tuple[str, np.ndarray, np.ndarray]]:
    mass = np.geomspace(0.2, 9.7, 30)
    return [("Another search", mass, 2e-3 * (1 + 0.1 * mass))]


FIGURES: dict[str, Callable[[], object]] = {
    "limits_g": lambda: plots.limits(scan_result(failed=(40,)), "g", published=_published()),
    "limits_sigma": lambda: plots.limits(scan_result(), "sigma"),
    "significance": lambda: plots.significance(scan_result()),
    "window": lambda: plots.window(
        3.0, "diphoton", *window_arrays(), synthetic=True, z_local=-1.2, sigma_hat=-0.1,
        luminosity=445, injected=("mass=3,sigma=0.5",),
    ),
    "variable": lambda: plots.variable(
        variable_histogram(4000),
        {"ggg": variable_histogram(20_000, weight=0.2, seed=8)},
        energy_set="low_mass",
        synthetic=True,
        luminosity=445,
    ),
    "masses": lambda: plots.masses(
        mass_histogram(8000, peak=False), mass_histogram(40_000, weight=0.2, peak=False),
        definition="diphoton", synthetic=True, luminosity=445,
    ),
    "cutflow": lambda: plots.cutflow(cutflows("data", "ggg"), "low_mass", synthetic=True),
    "interpolation": lambda: plots.interpolation(signal_model()),
    "efficiency": lambda: plots.efficiency(signal_model(), switch=4.0),
    "resolution": lambda: plots.resolution(signal_model(), transition=6.85),
    "regimes": lambda: plots.regimes(sqrt_s=10.58, curves=_published()),
    "speeds": lambda: plots.speeds([("ours", 1.8), ("other", 4.8)], ours=["ours"], title="Time"),
}  # fmt: skip

pinned = pytest.mark.skipif(
    any(
        f"{name}=={importlib.metadata.version(name)}" not in PINNED.read_text("utf-8").split()
        for name in LIBRARIES
    ),
    reason="not the pinned set of libraries",
)


def draw(figure) -> Image.Image:
    buffer = io.BytesIO()
    with plots.style():
        figure.savefig(buffer, format="png", dpi=DPI)
    # 64 colours are plenty for lines on white and make small files
    return Image.open(buffer).convert("RGB").quantize(64, dither=Image.Dither.NONE)


def differing(one: Image.Image, other: Image.Image) -> int:
    """Number of pixels that differ visibly; all of them if the sizes do."""
    if one.size != other.size:
        return one.width * one.height
    a, b = (np.asarray(image.convert("RGB"), dtype=np.int16) for image in (one, other))
    return int((np.abs(a - b).max(axis=2) > CONTRAST).sum())


@pinned
@pytest.mark.parametrize("name", FIGURES)
def test_looks_as_before(name: str, tmp_path: Path) -> None:
    drawn = draw(FIGURES[name]())
    drawn.save(tmp_path / f"{name}.png")
    with Image.open(FOLDER / f"{name}.png") as before:
        assert differing(drawn, before) <= PIXELS, f"compare {tmp_path / name}.png with the image"


@pinned
@pytest.mark.parametrize("change", ["label", "text", "line", "legend"])
def test_a_small_change_is_noticed(change: str) -> None:
    """A label moved by a pixel or two, another digit, a thinner line."""
    figure = FIGURES["limits_g"]()
    ax = figure.axes[0]
    if change == "label":
        figure.canvas.draw()
        figure.set_layout_engine("none")
        ax.xaxis.labelpad += 2 * 72 / DPI
    elif change == "text":
        ax.set_ylabel(ax.get_ylabel().replace("95", "90"))
    elif change == "line":
        for line in ax.lines:
            line.set_linewidth(0.6 * line.get_linewidth())
    else:
        ax.get_legend().get_texts()[0].set_text("Observd")
    with Image.open(FOLDER / "limits_g.png") as before:
        assert differing(draw(figure), before) > PIXELS


def test_images_are_small_and_all_used() -> None:
    files = sorted(FOLDER.glob("*.png"))
    assert [path.stem for path in files] == sorted(FIGURES)
    assert all(path.stat().st_size < 60_000 for path in files)
    assert re.search(r"^matplotlib==", PINNED.read_text("utf-8"), re.MULTILINE)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, figure in FIGURES.items():
        draw(figure()).save(FOLDER / f"{name}.png", optimize=True)
