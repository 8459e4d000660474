"""Photon triples whose candidates get their masses from the kinematic fit."""

from __future__ import annotations

from functools import cached_property, lru_cache
from pathlib import Path

from alp_coffea.builtin import builtin_folder
from alp_coffea.errors import ConfigurationError, suggest
from alp_coffea.events.candidates import Array, PhotonTriples, Shared
from alp_coffea.physics.beams import Beams
from alp_coffea.physics.kinematic_fit import KinematicFit, fit_photons
from alp_coffea.physics.photon_covariance import PhotonCovariance
from alp_coffea.yaml_models import expand_variables

#: Values of the processor option ``masses``.
MASSES = ("pair_and_recoil", "kinematic_fit")


def read_covariance(masses: str, file: str | None) -> PhotonCovariance | None:
    """The photon covariance for the processor options ``masses`` and ``covariance``.

    None for masses that need none. ``${VARIABLE}`` is expanded in the file's name; a relative path
    that does not exist is looked for among the catalogues that come with the package.

    Raises ConfigurationError for options that do not fit together, UnreadableFileError for a file
    that is no covariance.
    """
    if masses not in MASSES:
        raise ConfigurationError(
            f"processor option 'masses': '{masses}' is none of {', '.join(MASSES)}"
            f"{suggest(masses, MASSES)}"
        )
    if masses != "kinematic_fit":
        if file is not None:
            raise ConfigurationError(
                f"processor option 'covariance' is {file}, but is only used with 'masses: "
                "kinematic_fit'; add that, or leave it out"
            )
        return None
    if file is None:
        raise ConfigurationError(
            "processor option 'masses: kinematic_fit' needs 'covariance', the file with the photon "
            "resolution (docs/kinematic-fit.md)"
        )
    where = "processor option 'covariance'"
    path = Path(expand_variables(file, Path(where)))
    ours = builtin_folder("datasets") / path
    return PhotonCovariance.read(ours if ours.is_file() and not path.is_file() else path)


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
