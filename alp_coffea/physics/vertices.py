"""Where two tracks cross: the vertex of an electron pair, from helix parameters.

Photons that convert in the beam pipe or the silicon detectors make pairs that do not come from the
interaction (R1 section 6.4: D(e+, e-) < 1 cm). The vertex is found geometrically, without the
tracks' covariance: in the transverse plane the circles cross at two points, of which the one where
the tracks are closest along z is taken, or the one nearer to the z axis where they meet at both;
circles that do not cross have their vertex halfway between the points of closest approach.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from alp_coffea.errors import PhysicsError

#: bending radius [cm] = pT [GeV] / (this * field [T])
_CURVATURE: Final = 0.00299792458
#: tracks meet at both crossings if their distances along z differ by less [cm]
_SAME: Final = 1e-6
#: solenoid field of Belle II [T]
FIELD: Final = 1.5


class Helices(NamedTuple):
    """Tracks at their points of closest approach to the z axis; arrays of shape (n,).

    ``d0`` and ``z0`` [cm] with basf2's signs (d0 > 0 for positive angular momentum about z),
    ``phi`` and ``theta`` [rad] of the momentum there, ``pt`` [GeV] and ``charge`` (+1 or -1).
    """

    d0: NDArray[np.float64]
    phi: NDArray[np.float64]
    z0: NDArray[np.float64]
    theta: NDArray[np.float64]
    pt: NDArray[np.float64]
    charge: NDArray[np.float64]


def pair_vertices(first: Helices, second: Helices, *, field: float = FIELD) -> NDArray[np.float64]:
    """Vertices (x, y, z) [cm] of pairs of tracks, shape (n, 3), relative to the origin of d0, z0.

    ``field`` [T] runs along +z. NaN where a parameter is NaN. The resolution along the flight
    direction is poor for small opening angles, as of conversions: about sqrt(pT sigma(d0)), a
    centimetre for 1 GeV and 30 micrometres.

    Raises PhysicsError if the field is not positive or the numbers of tracks differ.
    """
    if not field > 0:
        raise PhysicsError(f"pair_vertices: field = {field} T must be positive")
    tables = [
        np.column_stack([np.asarray(values, np.float64) for values in helices])
        for helices in (first, second)
    ]
    if tables[0].shape != tables[1].shape:
        raise PhysicsError(
            f"pair_vertices: {tables[0].shape[0]} first and {tables[1].shape[0]} second tracks; "
            "give one of each per pair"
        )
    out = np.empty((tables[0].shape[0], 3))
    _vertices(tables[0], tables[1], _CURVATURE * field, out)
    return out


def pair_distances(first: Helices, second: Helices, *, field: float = FIELD) -> NDArray[np.float64]:
    """Distances [cm] of :func:`pair_vertices` from the origin, shape (n,); R1's D(e+, e-)."""
    vertices = pair_vertices(first, second, field=field)
    return np.asarray(np.linalg.norm(vertices, axis=1))


@njit(cache=True)
def _z(track, x, y, curvature):  # type: ignore[no-untyped-def]
    """z of a helix where it passes the transverse point (x, y) of its circle."""
    d0, phi, z0, theta, pt, charge = track
    radius = pt / curvature
    centre = d0 + charge * radius
    start = math.atan2(charge * math.cos(phi), -charge * math.sin(phi))
    here = math.atan2(y + centre * math.cos(phi), x - centre * math.sin(phi))
    # positive charges turn clockwise
    turn = charge * (start - here)
    turn = math.atan2(math.sin(turn), math.cos(turn))
    return z0 + radius * turn / math.tan(theta)


@njit(cache=True)
def _vertices(first, second, curvature, out):  # type: ignore[no-untyped-def]
    for i in range(out.shape[0]):
        a, b = first[i], second[i]
        radius_a, radius_b = a[4] / curvature, b[4] / curvature
        centre_a, centre_b = a[0] + a[5] * radius_a, b[0] + b[5] * radius_b
        ax, ay = centre_a * math.sin(a[1]), -centre_a * math.cos(a[1])
        bx, by = centre_b * math.sin(b[1]), -centre_b * math.cos(b[1])
        distance = math.hypot(bx - ax, by - ay)
        out[i] = math.nan
        if not distance > 0.0:
            continue
        ux, uy = (bx - ax) / distance, (by - ay) / distance
        along = 0.5 * (distance + (radius_a - radius_b) * (radius_a + radius_b) / distance)
        square = (radius_a - along) * (radius_a + along)
        half = math.sqrt(square) if square > 0.0 else 0.0
        if half == 0.0:
            # apart, or one inside the other: halfway between the closest points
            if distance > radius_a + radius_b:
                along = 0.5 * (radius_a + distance - radius_b)
            elif radius_a > radius_b:
                along = 0.5 * (radius_a + distance + radius_b)
            else:
                along = 0.5 * (distance - radius_b - radius_a)
        nearest = radius = math.inf
        for side in (-1.0, 1.0):
            x = ax + along * ux - side * half * uy
            y = ay + along * uy + side * half * ux
            za, zb = _z(a, x, y, curvature), _z(b, x, y, curvature)
            closer = nearest - abs(za - zb)
            if closer > _SAME or (closer > -_SAME and math.hypot(x, y) < radius):
                nearest, radius = abs(za - zb), math.hypot(x, y)
                out[i, 0] = x
                out[i, 1] = y
                out[i, 2] = 0.5 * (za + zb)
