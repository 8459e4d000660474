"""Training a feed-forward network with PyTorch, and writing it as ONNX.

The defaults are the published hyperparameters (R1 table 7.3): 12 layers of 170 nodes, ELU, Adam
with 1e-4, batches of 4608, binary cross entropy, a learning rate reduced on plateaus.
"""

from __future__ import annotations

import copy
import importlib.metadata
import itertools
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from alp_coffea.errors import ConfigurationError
from alp_coffea.learning.classifier import INPUT, METADATA, OUTPUT, Classifier
from alp_coffea.learning.samples import TrainingSample

if TYPE_CHECKING:
    import torch

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Hyperparameters:
    """What is not learned; defaults from R1 table 7.3 where it says.

    ``patience`` epochs without a smaller validation loss end the training, and half as many divide
    the learning rate by ``reduction`` (R1 gives neither; the rate's fall is PyTorch's default).
    """

    depth: int = 12
    width: int = 170
    epochs: int = 240
    batch: int = 4608
    learning_rate: float = 1e-4
    patience: int = 20
    reduction: float = 10.0
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not (math.isfinite(value) and (value > 0 or (value == 0 and name == "seed"))):
                raise ConfigurationError(f"training: {name} = {value} must be positive")


@dataclass(frozen=True)
class Epoch:
    """Mean losses of one pass: of the training events while it learned from them, and of the
    validation events after it."""

    number: int
    training: float
    validation: float
    learning_rate: float
    cpu_seconds: float


@dataclass(frozen=True)
class Trained:
    """A classifier and how it came about; ``best`` is the epoch that it was taken from."""

    classifier: Classifier
    history: tuple[Epoch, ...]
    best: int
    settings: Hyperparameters


def train(
    sample: TrainingSample,
    settings: Hyperparameters | None = None,
    *,
    progress: Callable[[Epoch], None] | None = None,
) -> Trained:
    """Train on the events of role ``training``, stop early on those of ``validation``.

    Parameters
    ----------
    sample
        Events of all roles; those of ``test`` are not looked at.
    settings
        Hyperparameters; the same seed and number of threads give the same network on a machine.
    progress
        Called after every epoch.

    Raises ConfigurationError without PyTorch.
    """
    torch = _torch()
    settings = settings or Hyperparameters()
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        return _train(torch, sample, settings, progress)
    finally:
        torch.set_num_threads(threads)


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise ConfigurationError("training needs PyTorch; install alp-coffea[learning]") from error
    return torch


def _train(
    torch: Any,
    sample: TrainingSample,
    settings: Hyperparameters,
    progress: Callable[[Epoch], None] | None,
) -> Trained:
    generator = torch.Generator().manual_seed(settings.seed)
    parts = {
        role: _Tensors.of(torch, sample.of(role).thinned(settings.seed))
        for role in ("training", "validation")
    }
    network = _network(torch, len(sample.ranges), settings, generator)
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser, factor=1 / settings.reduction, patience=max(settings.patience // 2, 1)
    )
    learn = parts["training"]
    start = time.process_time()
    history: list[Epoch] = []
    best, kept = math.inf, copy.deepcopy(network.state_dict())
    best_epoch = 0
    for number in range(1, settings.epochs + 1):
        order = torch.randperm(len(learn.label), generator=generator)
        total = 0.0
        for rows in order.split(settings.batch):
            optimiser.zero_grad()
            loss = learn.loss(torch, network, rows)
            loss.backward()
            optimiser.step()
            total += float(loss.detach()) * len(rows)
        with torch.no_grad():
            validation = float(parts["validation"].loss(torch, network))
        schedule.step(validation)
        rate = float(optimiser.param_groups[0]["lr"])
        epoch = Epoch(number, total / len(order), validation, rate, time.process_time() - start)
        history.append(epoch)
        if progress is not None:
            progress(epoch)
        if validation < best:
            best, best_epoch, kept = validation, number, copy.deepcopy(network.state_dict())
        if number - best_epoch >= settings.patience:
            break
    network.load_state_dict(kept)
    content = to_onnx(network, sample)
    return Trained(Classifier(content, tuple(sample.ranges)), tuple(history), best_epoch, settings)


@dataclass
class _Tensors:
    """Events of one role."""

    features: torch.Tensor
    label: torch.Tensor
    weight: torch.Tensor

    @classmethod
    def of(cls, torch: Any, sample: TrainingSample) -> _Tensors:
        arrays = (sample.scaled, sample.signal, sample.balanced)
        return cls(*(torch.from_numpy(array.astype(np.float32)) for array in arrays))

    def loss(self, torch: Any, network: Any, rows: Any = slice(None)) -> Any:
        """Weighted binary cross entropy; the mean weight is one, so sums over batches agree."""
        logit = network(self.features[rows])[:, 0]
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(
            logit, self.label[rows], reduction="none"
        )
        return (entropy * self.weight[rows]).mean()


def _network(torch: Any, features: int, settings: Hyperparameters, generator: Any) -> Any:
    widths = [features, *[settings.width] * settings.depth]
    layers: list[Any] = []
    for before, after in itertools.pairwise(widths):
        layers += [torch.nn.Linear(before, after), torch.nn.ELU()]
    layers.append(torch.nn.Linear(widths[-1], 1))
    for layer in layers[::2]:
        # as PyTorch does by default, but from our generator, not from a global one
        bound = 1 / math.sqrt(layer.in_features)
        for parameter in (layer.weight, layer.bias):
            torch.nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return torch.nn.Sequential(*layers)


def to_onnx(network: Any, sample: TrainingSample) -> bytes:
    """The network with the scaling of its features before and a sigmoid behind it."""
    from onnx import TensorProto, checker, helper, numpy_helper

    low, high = np.array([*sample.ranges.values()], dtype=np.float32).T
    constants = {
        "low": low, "span": high - low, "zero": np.float32(0), "one": np.float32(1),
    }  # fmt: skip
    nodes = [
        helper.make_node("Sub", [INPUT, "low"], ["above"]),
        helper.make_node("Div", ["above", "span"], ["scaled"]),
        helper.make_node("Clip", ["scaled", "zero", "one"], ["x0"]),
    ]
    linear = [layer for layer in network if hasattr(layer, "weight")]
    for i, layer in enumerate(linear):
        constants[f"w{i}"] = layer.weight.detach().numpy()
        constants[f"b{i}"] = layer.bias.detach().numpy()
        last = i == len(linear) - 1
        out = "logit" if last else f"y{i}"
        nodes.append(helper.make_node("Gemm", [f"x{i}", f"w{i}", f"b{i}"], [out], transB=1))
        if not last:
            nodes.append(helper.make_node("Elu", [out], [f"x{i + 1}"]))
    nodes.append(helper.make_node("Sigmoid", ["logit"], [OUTPUT]))
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["events", len(low)])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["events", 1])],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    # opset and IR version that onnxruntime of the last years reads
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="alp_coffea"
    )
    model.producer_version = importlib.metadata.version("alp-coffea")
    ranges = {name: list(map(float, span)) for name, span in sample.ranges.items()}
    helper.set_model_props(model, {METADATA: json.dumps({"features": ranges})})
    checker.check_model(model)
    content: bytes = model.SerializeToString(deterministic=True)
    return content
