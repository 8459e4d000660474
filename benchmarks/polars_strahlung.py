"""The final three-photon selection and its mass spectra with polars, for benchmarks/throughput.py.

Only the final selection of one pass: no loose, N-1 or sideband histograms, no cutflow.
"""

from __future__ import annotations

import math
from typing import Any

import awkward as ak
import numpy as np
import polars as pl

from alp_coffea.physics.beams import Beams

FIELDS = ("E", "theta", "phi", "clusterNHits", "clusterZernikeMVA", "clusterTiming")
FIELDS = (*FIELDS, "clusterErrorTiming")
CANDIDATES = ((0, 1, 2), (1, 0, 2), (2, 0, 1))
MASS_BINS = np.linspace(-4.0, 11.0, 15_001)


def select(arrays: ak.Array, beams: Beams) -> dict[str, Any]:
    """Mass histograms and counts of one chunk of branches read with uproot."""
    total = beams.momentum / beams.sqrt_s
    photons = (
        pl.DataFrame({name: ak.to_numpy(ak.flatten(arrays[f"gamma_{name}"])) for name in FIELDS})
        .with_columns(
            pl.Series("event", np.repeat(np.arange(len(arrays)), ak.num(arrays["gamma_E"])))
        )
        .lazy()
        .filter(
            (pl.col("E") >= 0.65)
            & pl.col("theta").is_between(math.radians(37.3), math.radians(123.7), closed="none")
            & (pl.col("clusterNHits") > 1.5)
        )
        .filter(pl.len().over("event") >= 3)
        .sort("event", "E", descending=[False, True])
    )
    tracks = pl.DataFrame(
        {
            "event": np.repeat(np.arange(len(arrays)), ak.num(arrays["track_dr"])),
            **{n: ak.to_numpy(ak.flatten(arrays[f"track_{n}"])) for n in ("nCDCHits", "dr", "dz")},
        }
    ).lazy()
    good = tracks.filter(
        (pl.col("nCDCHits") > 0) & (pl.col("dr").abs() < 1) & (pl.col("dz").abs() < 5)
    ).select(pl.col("event").unique())
    wide = photons.group_by("event", maintain_order=True).agg(
        pl.col(name).get(i).alias(f"{name}{i}") for name in FIELDS for i in range(3)
    )
    wide = wide.join(good, on="event", how="anti")
    wide = wide.with_columns(
        *(_pair_mass2(one, two).alias(f"m{c}") for c, one, two in CANDIDATES),
        *(
            (pl.col(f"theta{one}") - pl.col(f"theta{two}")).abs().alias(f"dt{c}")
            for c, one, two in CANDIDATES
        ),
        *(_delta_phi(one, two).alias(f"dp{c}") for c, one, two in CANDIDATES),
        *((pl.col(f"clusterErrorTiming{i}") ** -2).alias(f"w{i}") for i in range(3)),
    ).with_columns(
        (pl.col("m0") + pl.col("m1") + pl.col("m2")).sqrt().alias("mass"),
        *((pl.col(f"dt{c}") ** 2 + pl.col(f"dp{c}") ** 2).alias(f"d{c}") for c in range(3)),
        (
            sum(pl.col(f"clusterTiming{i}") * pl.col(f"w{i}") for i in range(3))
            / sum(pl.col(f"w{i}") for i in range(3))
        ).alias("mean"),
    )
    nearest = pl.min_horizontal("d0", "d1", "d2")
    zernike = pl.coalesce(
        pl.when(pl.col(f"d{c}") == nearest).then(pl.col(f"clusterZernikeMVA{c}")) for c in range(3)
    )
    chi = pl.max_horizontal(
        (pl.col(f"clusterTiming{i}") - pl.col("mean")).abs() / pl.col(f"clusterErrorTiming{i}")
        for i in range(3)
    )
    apart = pl.all_horizontal(
        (pl.col(f"dt{c}") > 0.014) | (pl.col(f"dp{c}") > 0.4) for c in range(3)
    )
    chosen = wide.filter(
        pl.col("mass").is_between(0.88 * beams.sqrt_s, 1.03 * beams.sqrt_s)
        & (zernike > 0.6)
        & (chi < 10)
        & apart
    ).collect()
    result: dict[str, Any] = {}
    for energy_set, least in {"low_mass": 1.0, "high_mass": 0.65}.items():
        part = chosen.filter(pl.col("E2") >= least)
        result[energy_set] = len(part)
        mass2 = np.concatenate([part[f"m{c}"].to_numpy() for c in range(3)])
        recoil = np.concatenate([_recoil2(part, i, total, beams.sqrt_s) for i in range(3)])
        for name, values in (("diphoton", mass2), ("recoil", recoil)):
            signed = np.copysign(np.sqrt(np.abs(values)), values)
            result[f"{name}_{energy_set}"] = np.histogram(signed, MASS_BINS)[0]
    return result


def _pair_mass2(one: int, two: int) -> pl.Expr:
    t1, t2 = pl.col(f"theta{one}"), pl.col(f"theta{two}")
    half_phi = (0.5 * (pl.col(f"phi{one}") - pl.col(f"phi{two}"))).sin()
    sine2 = (0.5 * (t1 - t2)).sin() ** 2 + t1.sin() * t2.sin() * half_phi**2
    return 4 * pl.col(f"E{one}") * pl.col(f"E{two}") * sine2


def _delta_phi(one: int, two: int) -> pl.Expr:
    difference = (pl.col(f"phi{one}") - pl.col(f"phi{two}")).abs()
    return pl.min_horizontal(difference, 2 * math.pi - difference)


def _recoil2(part: pl.DataFrame, i: int, total: np.ndarray, sqrt_s: float) -> np.ndarray:
    energy, theta, phi = (part[f"{name}{i}"].to_numpy() for name in ("E", "theta", "phi"))
    along = np.sin(theta) * total[1] * np.cos(phi) + total[3] * np.cos(theta)
    return sqrt_s * (sqrt_s - 2 * energy * (total[0] - along))
