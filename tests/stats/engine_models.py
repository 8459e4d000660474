"""Workspaces for the tests of the engine: mass windows and random HistFactory models."""

from __future__ import annotations

from typing import Any

import numpy as np

from alp_coffea.stats import shapes


def window(
    mass: float = 3.0,
    *,
    bins: int = 100,
    order: int = 4,
    events: float = 2000.0,
    scale: float = 20.0,
    seed: int | None = 0,
    high: float = 1e9,
    nuisances: bool = True,
    basis: str = "bernstein",
    staterror: float = 0.0,
    shapesys: float = 0.0,
) -> dict[str, Any]:
    """One mass hypothesis: a Crystal Ball on a polynomial, as in a diphoton mass scan.

    ``scale`` is the number of signal events per unit of the POI; ``seed=None`` gives the Asimov
    data. ``staterror`` and ``shapesys`` are relative uncertainties of every bin.
    """
    width = 0.02 + 0.01 * mass
    edges = mass + width * np.linspace(-20.0, 30.0, bins + 1)
    signal, wide, narrow = (
        scale * shapes.crystal_ball(edges, mass, factor * width, 1.2, 4.0)
        for factor in (1.0, 1.05, 0.95)
    )
    templates = events * getattr(shapes, basis)(edges, order)
    if basis == "bernstein":
        truth = np.exp(-0.8 * np.linspace(0.0, 1.0, order + 1))
        bounds = [0.0, 1e3]
    else:
        truth = 1.0 / (1.0 + np.arange(order + 1.0)) ** 2
        bounds = [-1e3, 1e3]
    background = truth @ templates
    data = background if seed is None else np.random.default_rng(seed).poisson(background)
    modifiers = [{"name": "sigma", "type": "normfactor", "data": None}]
    if nuisances:
        modifiers += [
            {"name": "efficiency", "type": "normsys", "data": {"hi": 1.053, "lo": 0.947}},
            {"name": "luminosity", "type": "normsys", "data": {"hi": 1.007, "lo": 0.993}},
            {
                "name": "width",
                "type": "histosys",
                "data": {"hi_data": wide.tolist(), "lo_data": narrow.tolist()},
            },
        ]
    samples = [{"name": "signal", "data": signal.tolist(), "modifiers": modifiers}]
    for k, template in enumerate(templates):
        own: list[dict[str, Any]] = [{"name": f"b{k}", "type": "normfactor", "data": None}]
        if staterror:
            error = staterror * background / np.sqrt(order + 1.0)
            own.append({"name": "mc_window", "type": "staterror", "data": error.tolist()})
        if shapesys:
            own.append(
                {"name": f"shape{k}", "type": "shapesys", "data": (shapesys * template).tolist()}
            )
        samples.append({"name": f"background{k}", "data": template.tolist(), "modifiers": own})
    parameters = [{"name": "sigma", "bounds": [[0.0, high]], "inits": [0.1]}]
    parameters += [
        {"name": f"b{k}", "bounds": [bounds], "inits": [float(truth[k])]} for k in range(order + 1)
    ]
    return {
        "channels": [{"name": "window", "samples": samples}],
        "observations": [{"name": "window", "data": np.asarray(data, float).tolist()}],
        "measurements": [{"name": "scan", "config": {"poi": "sigma", "parameters": parameters}}],
        "version": "1.0.0",
    }


def random_workspace(
    seed: int, *, bin_factors: bool = True, folded: bool = False
) -> dict[str, Any]:
    """A workspace with one to three channels and a random choice of all modifiers.

    ``folded`` lets both variations of a nuisance parameter go in the same direction, which
    makes likelihoods with several minima.
    """
    rng = np.random.default_rng(seed)

    def variations(size: int) -> tuple[np.ndarray, np.ndarray]:
        up, down = rng.normal(0.0, 0.12, (2, size))
        return np.exp(up), np.exp(down if folded else -np.sign(up) * np.abs(down))

    use_lumi = rng.random() < 0.4
    channels, observations = [], []
    parameters: list[dict[str, Any]] = [{"name": "mu", "bounds": [[0.0, 100.0]], "inits": [0.5]}]
    for c in range(rng.integers(1, 4)):
        bins = int(rng.integers(1, 7))
        samples = []
        total = np.zeros(bins)
        with_staterror = bin_factors and rng.random() < 0.5
        for s in range(rng.integers(2, 5)):
            size = 10.0 ** rng.uniform(0.0, 2.5)
            data = size * rng.dirichlet(np.ones(bins)) * rng.uniform(0.2, 2.0)
            modifiers: list[dict[str, Any]] = []
            if s == 0:
                data *= 0.3
                modifiers.append({"name": "mu", "type": "normfactor", "data": None})
            else:
                total += data
            if s == 1 and rng.random() < 0.5:
                modifiers.append({"name": f"norm{c}", "type": "normfactor", "data": None})
            if use_lumi and rng.random() < 0.7:
                modifiers.append({"name": "lumi", "type": "lumi", "data": None})
            for name in ("syst_a", "syst_b", f"own_{c}"):
                if rng.random() < 0.35:
                    hi, lo = (float(factor[0]) for factor in variations(1))
                    modifiers.append(
                        {"name": name, "type": "normsys", "data": {"hi": hi, "lo": lo}}
                    )
            for name in ("syst_a", "shape"):
                if rng.random() < 0.3:
                    up, down = (data * factor for factor in variations(bins))
                    modifiers.append(
                        {
                            "name": name,
                            "type": "histosys",
                            "data": {"hi_data": up.tolist(), "lo_data": down.tolist()},
                        }
                    )
            if with_staterror and rng.random() < 0.8:
                error = data * rng.uniform(0.02, 0.3, bins) * (rng.random(bins) < 0.9)
                modifiers.append({"name": f"stat_{c}", "type": "staterror", "data": error.tolist()})
            if bin_factors and rng.random() < 0.25:
                error = data * rng.uniform(0.02, 0.3, bins) * (rng.random(bins) < 0.9)
                modifiers.append(
                    {"name": f"free_{c}_{s}", "type": "shapesys", "data": error.tolist()}
                )
            samples.append({"name": f"sample{s}", "data": data.tolist(), "modifiers": modifiers})
        channels.append({"name": f"channel{c}", "samples": samples})
        observed = rng.poisson(total * rng.uniform(0.6, 1.4))
        observations.append({"name": f"channel{c}", "data": observed.astype(float).tolist()})
    if use_lumi:
        parameters.append(
            {
                "name": "lumi",
                "auxdata": [1.0],
                "sigmas": [0.02],
                "bounds": [[0.5, 1.5]],
                "inits": [1.0],
            }
        )
    return {
        "channels": channels,
        "observations": observations,
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": parameters}}],
        "version": "1.0.0",
    }
