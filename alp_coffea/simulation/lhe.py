"""Events of any generator, from Les Houches event files (optional dependency ``pylhe``).

Four-momenta of MadGraph, BabaYaga and the like go through the same detector response and into
the same ntuples as our own. Frames: an LHE file has its beams along +-z with the energies of its
<init> block; events are boosted along z into the collision CM frame and turned so that the
electron runs along +z.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import awkward as ak
import numpy as np
from numba import njit
from numpy.typing import NDArray

from alp_coffea.errors import ConfigurationError, InputError, MissingFileError, UnreadableFileError
from alp_coffea.physics.beams import SUPERKEKB, Beams
from alp_coffea.rng import purpose_key
from alp_coffea.simulation.columns import Particles
from alp_coffea.simulation.constants import ALP, ELECTRON, PHOTON
from alp_coffea.simulation.draws import start
from alp_coffea.simulation.kinematics import decay_massless

#: how far the file's sqrt(s) may be from that of the beams: more is a mistake
_SQRT_S_TOLERANCE: Final = 0.01
_INCOMING: Final = -1
_STABLE: Final = 1


@dataclass(frozen=True)
class LheEvents:
    """What was read: particles in the collision CM frame and the generator's numbers.

    ``weight``, shape (n,), is normalised to a mean of one; ``cross_section`` and its error [pb]
    are the sums over the file's subprocesses.
    """

    particles: Particles
    weight: NDArray[np.float64]
    cross_section: float
    cross_section_error: float

    def __len__(self) -> int:
        return self.weight.size


def read_lhe(path: str | Path, *, beams: Beams = SUPERKEKB, seed: int = 0) -> LheEvents:
    """Read all events of an LHE file, also gzipped; it must fit into memory.

    ALPs (PDG 9000006) that the file leaves undecayed decay isotropically into two photons, with
    the random stream of ``seed`` and the event number.

    Raises ConfigurationError without ``pylhe``, MissingFileError, UnreadableFileError for a file
    that is not LHE, InputError without events or when its beams are not e+ e- at the sqrt(s) of
    ``beams`` within 1 %.
    """
    try:
        import pylhe
    except ImportError as error:
        raise ConfigurationError(
            "reading LHE files needs pylhe; install it with: pip install 'alp-coffea[lhe]'"
        ) from error
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such LHE file")
    try:
        # pylhe only warns when the file breaks off, and returns the events before
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            file = pylhe.LHEFile.fromfile(str(path))
            events = pylhe.to_awkward(file.events)
    except (RuntimeWarning, ValueError, OSError, EOFError, AttributeError) as error:
        raise UnreadableFileError(f"{path}: not a readable LHE file ({error})") from error
    if len(events) == 0:
        raise InputError(f"{path}: the LHE file has no events")
    init = file.init
    boost, flip = _frame(path, init.initInfo, beams)
    sigma = math.fsum(process.xSection for process in init.procInfo)
    error2 = math.fsum(process.error**2 for process in init.procInfo)
    weight = ak.to_numpy(events.eventinfo.weight).astype(np.float64)
    mean = float(weight.mean())
    if mean == 0.0:
        raise InputError(f"{path}: the event weights of the LHE file sum to zero")
    particles = _particles(events.particles, boost, flip, purpose_key(seed, "decay of LHE ALPs"))
    return LheEvents(particles, weight / mean, sigma, math.sqrt(error2))


def _frame(path: Path, info: Any, beams: Beams) -> tuple[float, float]:
    """Velocity of the CM along z and +1 or -1 for the direction of the electron."""
    codes = int(info.beamA), int(info.beamB)
    energies = float(info.energyA), float(info.energyB)
    if sorted(codes) != [-ELECTRON, ELECTRON]:
        raise InputError(f"{path}: beams have PDG codes {codes}, need 11 and -11")
    sqrt_s = 2.0 * math.sqrt(energies[0] * energies[1])
    if abs(sqrt_s / beams.sqrt_s - 1.0) > _SQRT_S_TOLERANCE:
        raise InputError(
            f"{path}: sqrt(s) = {sqrt_s:.4g} GeV, but the beams have {beams.sqrt_s:.4g} GeV; give "
            "the beams of the file, for example beams=Beams(...)"
        )
    velocity = (energies[0] - energies[1]) / (energies[0] + energies[1])
    return velocity, 1.0 if codes[0] == ELECTRON else -1.0


def _particles(particles: ak.Array, velocity: float, flip: float, key: np.uint64) -> Particles:
    counts = ak.to_numpy(ak.num(particles))
    flat = ak.flatten(particles)
    momentum = flat.vector
    energy, pz = ak.to_numpy(momentum.e), ak.to_numpy(momentum.pz)
    gamma = 1.0 / math.sqrt(1.0 - velocity**2)
    # turning by pi around x takes z to -z and stays right-handed
    p4 = np.stack(
        [
            gamma * (energy - velocity * pz),
            ak.to_numpy(momentum.px),
            flip * ak.to_numpy(momentum.py),
            flip * gamma * (pz - velocity * energy),
        ],
        axis=-1,
    ).astype(np.float64)
    pdg = ak.to_numpy(flat.id).astype(np.int64)
    status = ak.to_numpy(flat.status).astype(np.int64)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    # mother1 counts from 1 within the event; 0 means none
    mother1 = ak.to_numpy(flat.mother1).astype(np.int64)
    of_collision = (mother1 == 0) | (status[np.maximum(first + mother1 - 1, 0)] == _INCOMING)
    mother = np.where(of_collision, 0, pdg[np.maximum(first + mother1 - 1, 0)])

    outgoing = status != _INCOMING
    undecayed = outgoing & (status == _STABLE) & (pdg == ALP)
    # each undecayed ALP is followed by its two photons
    copies = np.where(outgoing, np.where(undecayed, 3, 1), 0)
    event = np.repeat(np.repeat(np.arange(counts.size), counts), copies)
    row = np.repeat(np.arange(pdg.size), copies)
    place = np.arange(row.size) - np.repeat(np.cumsum(copies) - copies, copies)
    daughter = place > 0
    momenta = np.ascontiguousarray(p4[row])
    _decay(momenta, np.flatnonzero(undecayed[row] & ~daughter), event, key)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(event, minlength=counts.size))])
    return Particles(
        p4=momenta,
        pdg=np.where(daughter, PHOTON, pdg[row]),
        mother=np.where(daughter, ALP, mother[row]),
        stable=((status[row] == _STABLE) & ~undecayed[row]) | daughter,
        offsets=offsets.astype(np.int64),
    )


@njit(cache=True)
def _decay(p4, parents, event, key):  # type: ignore[no-untyped-def]
    """Photons of every undecayed ALP into the two rows behind it."""
    state = np.zeros(2, np.uint64)
    for row in parents:
        start(state, key, event[row])
        decay_massless(state, p4[row], p4[row + 1], p4[row + 2])
