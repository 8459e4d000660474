"""Which tracks come from the collision."""

from __future__ import annotations

import awkward as ak


def good_tracks(tracks: ak.Array, dr: float, dz: float) -> ak.Array:
    """Mask of tracks with hits in the drift chamber that pass the interaction point.

    ``dr`` and ``dz`` are the largest distances from it across and along the beam [cm].
    """
    return (tracks.nCDCHits > 0) & (abs(tracks.dr) < dr) & (abs(tracks.dz) < dz)
