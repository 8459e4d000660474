"""What more luminosity would exclude: by scaling, and by scanning expected spectra again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import hist
import numpy as np
from numpy.typing import NDArray

from alp_coffea.config import Scan
from alp_coffea.errors import ModelError
from alp_coffea.physics.production import Production
from alp_coffea.physics.theory import scale_coupling_limit
from alp_coffea.stats.scan import scan
from alp_coffea.stats.scan_result import ScanResult
from alp_coffea.stats.signal import SignalModel
from alp_coffea.stats.systematics import Systematics

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Projection:
    """Median expected couplings [1/GeV] at another ``luminosity`` [1/pb], arrays (n,).

    ``scaled`` is the scan's by L^(-1/4) (R1 eq. 9.1), ``scanned`` that of a scan of the background
    simulation at that luminosity with the same models and uncertainties (NaN where it failed).
    """

    luminosity: float
    masses: Array
    scaled: Array
    scanned: Array


def project(
    result: ScanResult,
    background: hist.Hist,
    model: SignalModel,
    settings: Scan,
    *,
    luminosity: float,
    systematics: Systematics | None = None,
    production: Production | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Projection:
    """Project a scan to another luminosity [1/pb].

    Parameters
    ----------
    result
        The scan to project, all of one luminosity.
    background
        Mass histogram of the expected background at the luminosity of ``result``.

    Raises ModelError if the result is empty or of several luminosities.
    """
    present = np.unique(result["luminosity"])
    if len(present) != 1:
        raise ModelError(f"project: the scan has luminosities {present.tolist()}; needs one")
    now = float(present[0])
    again, _ = scan(
        background * (luminosity / now),
        model,
        settings,
        luminosity=luminosity,
        background=background,
        systematics=systematics,
        production=production,
        blinded=True,
        progress=progress,
    )
    scaled = scale_coupling_limit(result["g_exp"], luminosity_from=now, luminosity_to=luminosity)
    good = again["status"] == "blinded"
    at = np.interp(result["mass"], again["mass"], np.where(good, again["g_exp"], np.nan))
    return Projection(luminosity, result["mass"], scaled, at)
