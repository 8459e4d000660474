"""Photon triples whose candidates get their masses from the kinematic fit."""

from __future__ import annotations

from functools import cached_property, lru_cache

from alp_coffea.events.candidates import Array, PhotonTriples, Shared
from alp_coffea.physics.beams import Beams
from alp_coffea.physics.kinematic_fit import KinematicFit, fit_photons
from alp_coffea.physics.photon_covariance import PhotonCovariance


@lru_cache(maxsize=16)
def fitted_triples(
    base: type[PhotonTriples], covariance: PhotonCovariance, beams: Beams
) -> type[PhotonTriples]:
    """A kind of triples with ``fit_mass`` (n, 3) [GeV] and ``fit_chi2`` (n,).

    Masses are signed roots, column c of candidate c; both are NaN where the fit failed. The fit has
    the radiated photon's spectrum as prior and robust weights.
    """

    class FittedTriples(base):  # type: ignore[valid-type, misc]
        @cached_property
        def _fit(self) -> KinematicFit:
            return fit_photons(self.E, self.theta, self.phi, covariance, beams)

        @Shared
        def fit_mass(self) -> Array:
            """Fitted masses of the candidates [GeV], shape (n, 3)."""
            return self._fit.mass

        @Shared
        def fit_chi2(self) -> Array:
            """Chi^2 of the kinematic fit, shape (n,)."""
            return self._fit.chi2

    return FittedTriples
