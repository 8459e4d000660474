"""The model card: what a classifier is, what it learned from, and how good it is."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alp_coffea.learning.evaluation import (
    WORKING_POINTS,
    Importance,
    Overtraining,
    Roc,
    Sculpting,
    overtraining,
    roc,
    scores,
    sculpting,
)
from alp_coffea.learning.samples import ROLES, TrainingSample
from alp_coffea.learning.training import Trained

Array = NDArray[np.float64]


class Evaluation:
    """What is known of a trained classifier: curves and tables of its scores.

    Attributes
    ----------
    scores
        By role, (n,).
    roc
        Of the test events, every mass and both classes counting the same.
    auc_by_mass, efficiency_by_mass
        Of the test events of each mass [GeV] against all background; at the working point.
    overtraining
        Training against test events of signal and of background.
    sculpting
        What the working point does to the background's spectrum.
    """

    def __init__(self, trained: Trained, sample: TrainingSample, working_point: float) -> None:
        self.trained = trained
        self.sample = sample
        self.working_point = working_point
        parts = {role: sample.of(role) for role in ROLES}
        self.scores: dict[str, Array] = {
            role: scores(trained.classifier, part) for role, part in parts.items()
        }
        test, score = parts["test"], self.scores["test"]
        weight = test.balanced
        self.roc: Roc = roc(score, test.signal, weight)
        self.auc_by_mass: dict[float, float] = {}
        self.efficiency_by_mass: dict[float, float] = {}
        for mass in np.unique(test.mass[test.signal]):
            kept = ~test.signal | (test.mass == mass)
            curve = roc(score[kept], test.signal[kept], weight[kept])
            self.auc_by_mass[float(mass)] = curve.auc
            self.efficiency_by_mass[float(mass)] = curve.at(working_point)[0]
        self.overtraining: dict[str, Overtraining] = {}
        learned = parts["training"]
        for name, wanted in (("signal", True), ("background", False)):
            rows, others = learned.signal == wanted, test.signal == wanted
            self.overtraining[name] = overtraining(
                self.scores["training"][rows],
                score[others],
                learned.balanced[rows],
                weight[others],
            )
        self.sculpting: Sculpting = sculpting(test, score, working_point)

    def working_points(self) -> list[dict[str, float]]:
        """Efficiencies of signal and background, and of each background sample, by threshold."""
        test, score = self.sample.of("test"), self.scores["test"]
        rows = []
        for threshold in sorted({*WORKING_POINTS, self.working_point}):
            signal, background = self.roc.at(threshold)
            row = {"threshold": threshold, "signal": signal, "background": background}
            for number in np.unique(test.source[~test.signal]):
                of_sample = test.source == number
                weight = test.weight[of_sample]
                passed = weight[score[of_sample] > threshold].sum() / weight.sum()
                row[self.sample.names[number]] = float(passed)
            rows.append(row)
        return rows


def model_card(evaluation: Evaluation, importance: Sequence[Importance] = ()) -> dict[str, Any]:
    """The card as plain data."""
    trained, sample = evaluation.trained, evaluation.sample
    counts = {
        name: {
            role: int(((sample.source == number) & (sample.role == code)).sum())
            for code, role in enumerate(ROLES)
        }
        | {"expected": float(sample.weight[sample.source == number].sum())}
        for number, name in enumerate(sample.names)
    }
    shaped = evaluation.sculpting.chi2
    return {
        "format": "alp_coffea classifier 1",
        "sha256": hashlib.sha256(trained.classifier.content).hexdigest(),
        "alp_coffea": importlib.metadata.version("alp-coffea"),
        "torch": importlib.metadata.version("torch"),
        "machine": platform.machine(),
        "hyperparameters": asdict(trained.settings),
        "features": {name: list(span) for name, span in sample.ranges.items()},
        "samples": counts,
        "epochs": len(trained.history),
        "best_epoch": trained.best,
        "cpu_seconds": trained.history[-1].cpu_seconds,
        "loss": {
            "training": trained.history[trained.best - 1].training,
            "validation": trained.history[trained.best - 1].validation,
        },
        "auc": evaluation.roc.auc,
        "auc_by_mass": {f"{mass:.4f}": auc for mass, auc in evaluation.auc_by_mass.items()},
        "working_point": evaluation.working_point,
        "efficiency_by_mass": {
            f"{mass:.4f}": value for mass, value in evaluation.efficiency_by_mass.items()
        },
        "working_points": evaluation.working_points(),
        "overtraining": {name: asdict(found) for name, found in evaluation.overtraining.items()},
        "sculpting_chi2": float(shaped) if np.isfinite(shaped) else None,
        "importance": [asdict(row) for row in importance],
        "history": [asdict(epoch) for epoch in trained.history],
    }


def markdown(card: dict[str, Any]) -> str:
    """The card for people."""
    settings = card["hyperparameters"]
    lines = [
        "# Event classifier",
        "",
        (
            f"SHA-256 `{card['sha256']}`, made by alp_coffea {card['alp_coffea']} with PyTorch "
            f"{card['torch']} ({card['machine']}), seed {settings['seed']}."
        ),
        "",
        (
            f"{settings['depth']} layers of {settings['width']} nodes, ELU; Adam "
            f"{settings['learning_rate']:g}, batches of {settings['batch']}, binary cross entropy; "
            f"{card['epochs']} epochs, the best was {card['best_epoch']}; "
            f"{card['cpu_seconds']:.0f} CPU seconds."
        ),
        "",
        (
            "All masses and both classes count the same in training and in the numbers below, "
            "which are of test events only. A classifier is as good as the simulation it learned "
            "from: it says nothing about data before its inputs are compared with them."
        ),
        "",
        f"Area under the curve: **{card['auc']:.4f}**",
        "",
        "| threshold | signal kept | background kept |",
        "|---|---|---|",
        *(
            f"| {row['threshold']:g} | {row['signal']:.3f} | {row['background']:.2e} |"
            for row in card["working_points"]
        ),
        "",
        f"| mass [GeV] | AUC | signal kept at {card['working_point']:g} |",
        "|---|---|---|",
        *(
            f"| {float(mass):g} | {auc:.4f} | {card['efficiency_by_mass'][mass]:.3f} |"
            for mass, auc in card["auc_by_mass"].items()
        ),
        "",
        "| sample | training | validation | test | expected events |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {row['training']} | {row['validation']} | {row['test']} | "
            f"{row['expected']:.4g} |"
            for name, row in card["samples"].items()
        ),
        "",
        "Overtraining, largest distance of the distributions of training and test scores: "
        + ", ".join(
            f"{name} {row['distance']:.4f} (p = {row['probability']:.2g})"
            for name, row in card["overtraining"].items()
        )
        + ".",
    ]
    if card["importance"]:
        lines += ["", "| trained without | AUC | validation loss |", "|---|---|---|"]
        lines += [
            f"| {', '.join(row['without']) or 'nothing'} | {row['auc']:.4f} | {row['loss']:.4f} |"
            for row in card["importance"]
        ]
    return "\n".join(lines) + "\n"
