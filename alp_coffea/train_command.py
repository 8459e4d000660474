"""The subcommand ``alp-coffea train``: a classifier from the skim of a run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from alp_coffea.errors import ConfigurationError
from alp_coffea.files import atomic, write_json

if TYPE_CHECKING:
    from alp_coffea.learning.card import Evaluation
    from alp_coffea.learning.evaluation import Importance
    from alp_coffea.results import Run

OK = 0
#: Hyperparameters on the command line: type and help; defaults are those of R1 table 7.3.
_SETTINGS: Final[dict[str, tuple[type, str]]] = {
    "depth": (int, "hidden layers (12)"),
    "width": (int, "nodes of each (170)"),
    "epochs": (int, "passes over the training events, at most (240)"),
    "batch": (int, "events per step (4608)"),
    "learning_rate": (float, "of Adam (1e-4)"),
    "patience": (int, "epochs without improvement that end the training (20)"),
    "seed": (int, "of the network, the order of events and their roles (0)"),
    "threads": (int, "of PyTorch (1); results depend on it by rounding"),
}


def add_train(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``alp-coffea train``."""
    parser.add_argument(
        "run", type=Path, metavar="RUN",
        help="output folder of a run whose processor wrote a skim and declares 'features'",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--out", type=Path, required=True, metavar="FOLDER",
        help="for classifier.onnx, card.json, card.md and figures",
    )  # fmt: skip
    parser.add_argument("--skim", type=Path, metavar="FOLDER", help="where the skim is, if moved")
    parser.add_argument("--working-point", type=float, default=0.9, metavar="S", help="score (0.9)")
    parser.add_argument(
        "--importance", action="store_true",
        help="also train without each feature (a training per feature)",
    )  # fmt: skip
    for name, (kind, text) in _SETTINGS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="N", help=text)


def train_command(arguments: argparse.Namespace) -> int:
    """Train, evaluate and write; print what matters."""
    from rich.console import Console

    from alp_coffea.learning.card import Evaluation, markdown, model_card
    from alp_coffea.learning.evaluation import importance
    from alp_coffea.learning.samples import TrainingSample
    from alp_coffea.learning.training import Epoch, Hyperparameters, train
    from alp_coffea.results import load

    if not 0 < arguments.working_point < 1:
        raise ConfigurationError(f"--working-point {arguments.working_point} is not within 0 and 1")
    given = {name: getattr(arguments, name) for name in _SETTINGS}
    settings = Hyperparameters(**{k: v for k, v in given.items() if v is not None})
    run = load(arguments.run)
    folder, ranges = _skim(run, arguments.skim)
    sample = TrainingSample.read(run, folder, ranges, seed=settings.seed)
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{int(sample.signal.sum()):,} signal and {int((~sample.signal).sum()):,} background "
        f"events, {len(ranges)} features"
    )

    def tell(epoch: Epoch) -> None:
        console.print(
            f"epoch {epoch.number:3d}: training {epoch.training:.4f}, validation "
            f"{epoch.validation:.4f}, rate {epoch.learning_rate:g}, {epoch.cpu_seconds:.0f} CPU s"
        )

    trained = train(sample, settings, progress=tell)
    evaluation = Evaluation(trained, sample, arguments.working_point)
    rows: list[Importance] = []
    if arguments.importance:
        groups = [(name,) for name in ranges]
        rows = importance(
            sample, groups, settings,
            progress=lambda done, total: console.print(f"importance: {done} of {total}"),
        )  # fmt: skip
    card = model_card(evaluation, rows)
    arguments.out.mkdir(parents=True, exist_ok=True)
    target = arguments.out / "classifier.onnx"
    with atomic(target) as temporary:
        temporary.write_bytes(trained.classifier.content)
    write_json(card, arguments.out / "card.json")
    (arguments.out / "card.md").write_text(markdown(card), "utf-8")
    _draw(evaluation, rows, arguments.out, synthetic=bool(run.manifest["synthetic"]))
    signal, background = evaluation.roc.at(arguments.working_point)
    console.print(
        f"area under the curve {evaluation.roc.auc:.4f}; above {arguments.working_point:g}: "
        f"{signal:.1%} of the signal, {background:.2%} of the background"
    )
    console.print(f"{target}, card.json, card.md and figures beside it")
    return OK


def _skim(run: Run, moved: Path | None) -> tuple[Path, dict[str, tuple[float, float]]]:
    """Folder of the skim of a run, and the features that its processor declares."""
    from alp_coffea.events.skims import SkimSettings, read_features

    if moved is not None:
        return moved, read_features(moved)
    option = run.manifest["configuration"]["analysis"]["options"].get("skim")
    settings = SkimSettings.of(option)
    if settings is None:
        raise ConfigurationError(
            f"{run.folder}: its processor wrote no skim; run it with the processor option 'skim'"
        )
    folder = Path(settings.folder)
    return folder, read_features(folder)


def _draw(evaluation: Evaluation, rows: list[Importance], folder: Path, *, synthetic: bool) -> None:
    from alp_coffea import plots
    from alp_coffea.plots import learning as figures

    trained, sample = evaluation.trained, evaluation.sample
    compared = {
        role: (evaluation.scores[role], part.signal, part.balanced)
        for role in ("training", "test")
        if (part := sample.of(role))
    }
    made: dict[str, Any] = {
        "loss": figures.losses(trained.history, trained.best, synthetic=synthetic),
        "roc": figures.characteristic(
            evaluation.roc, evaluation.working_point, synthetic=synthetic
        ),
        "scores": figures.scores(
            compared, evaluation.overtraining, evaluation.working_point, synthetic=synthetic
        ),
        "sculpting": figures.sculpting(
            evaluation.sculpting, evaluation.efficiency_by_mass, synthetic=synthetic
        ),
    }
    if rows:
        made["importance"] = figures.importance(rows, synthetic=synthetic)
    for name, figure in made.items():
        plots.save(figure, folder, name)
