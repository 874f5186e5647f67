"""A task: a model to train, the clients' shards, and two held-out sets with different purposes.

`validation` feeds decisions (which task gets the next client); `test` is only ever reported. They
are disjoint, so a rule cannot improve its reported figures by looking at them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fairopt.errors import InvalidInput
from fl_runtime.data.dataset import Dataset
from fl_runtime.data.mixtures import Mixture
from fl_runtime.data.partitions import Partition
from fl_runtime.random_streams import stream
from fl_runtime.training.schedules import Schedule, scheduled

Params = Mapping[str, Tensor]
"""Floating-point entries of a model's state by name."""


EVALUATION_BUDGET = 64 * 2**20
"""Bytes of what a model makes of the examples that are evaluated at a time."""

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Examples:
    """Features and labels as tensors on one device.

    Attributes:
        features: (n, ...) floats.
        labels: (n,) int64.
        weights: (n,) of each example in a training step, or None for ones.
    """

    features: Tensor
    labels: Tensor
    weights: Tensor | None = None

    def __len__(self) -> int:
        return int(self.labels.shape[0])


@dataclass(frozen=True)
class LocalTraining:
    """How a client trains.

    Attributes:
        learning_rate: Step size.
        local_epochs: Passes over the client's shard.
        batch_size: Examples per step; the last batch of a pass may be smaller.
        momentum: Momentum of `sgd`.
        weight_decay: L2 penalty of `sgd`, decoupled decay of `adamw`.
        optimizer: `sgd`, `adamw`, or ``package.module:object``, see `optimizers`.
        nesterov: Nesterov's form of the momentum.
        persist_optimizer: Whether a client keeps its optimiser's state from job to job; otherwise
            every job starts afresh.
        precision: `bfloat16` runs forward and backward passes in mixed precision; parameters,
            losses and optimiser stay float32.
        optimizer_fields: Further arguments of an optimiser of the user's own.
        schedule: What multiplies the step size from version to version; None for nothing.
        clip_gradient: Greatest length of a step's gradient, over all entries; None for any.

    Example:
        >>> LocalTraining(0.1, 1, 8, nesterov=True)
        Traceback (most recent call last):
        ...
        fairopt.errors.InvalidInput: nesterov = True, but it must be false without momentum
    """

    learning_rate: float
    local_epochs: int
    batch_size: int
    momentum: float = 0.0
    weight_decay: float = 0.0
    optimizer: str = "sgd"
    nesterov: bool = False
    persist_optimizer: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"
    optimizer_fields: Mapping[str, Any] = field(default_factory=dict)
    schedule: Schedule | None = None
    clip_gradient: float | None = None

    def __post_init__(self) -> None:
        own = ":" in self.optimizer
        if own and (self.momentum > 0.0 or self.weight_decay > 0.0 or self.persist_optimizer):
            requirement = "used without momentum, weight-decay and persist-optimizer"
            raise InvalidInput("optimizer", self.optimizer, requirement)
        if self.optimizer == "adamw" and self.momentum > 0.0:
            raise InvalidInput("momentum", self.momentum, "0 with optimizer adamw")
        if self.nesterov and self.momentum == 0.0:
            raise InvalidInput("nesterov", True, "false without momentum")
        if self.persist_optimizer and self.optimizer == "sgd" and self.momentum == 0.0:
            requirement = "false for sgd without momentum, which keeps nothing"
            raise InvalidInput("persist_optimizer", True, requirement)

    def at(self, version: int) -> LocalTraining:
        """The settings of jobs that start from that version of the model."""
        if self.schedule is None:
            return self
        rate = scheduled(self.schedule, self.learning_rate, version)
        return replace(self, learning_rate=rate, schedule=None)


@dataclass(frozen=True)
class Evaluation:
    """Mean cross-entropy (nats) and accuracy (0..1) of one model on one set."""

    loss: float
    accuracy: float

    @classmethod
    def mean(cls, several: Sequence[Evaluation]) -> Evaluation:
        """Of several models on one set; not finite if one of them is not."""
        count = len(several)
        return cls(
            sum(one.loss for one in several) / count, sum(one.accuracy for one in several) / count
        )


@dataclass(frozen=True)
class Task:
    """One learning problem shared by all clients.

    Attributes:
        name: Unique within a federation.
        model: The module; its current weights are scratch space, only its structure matters.
        initial: Initial parameters.
        fixed: Other entries of the model's state (counters), reset before every use, so that
            nothing leaks from one client to the next.
        shards: One set of examples per client.
        validation: Held-out examples for decisions.
        test: Held-out examples for reports.
        training: Settings of the local optimiser.
        mixture: Strata of the test set and of every shard, where they are known.
    """

    name: str
    model: nn.Module
    initial: Params
    shards: tuple[Examples, ...]
    validation: Examples
    test: Examples
    training: LocalTraining
    fixed: Params = field(default_factory=dict)
    mixture: Mixture | None = None

    def __post_init__(self) -> None:
        empty = [client for client, shard in enumerate(self.shards) if len(shard) == 0]
        if empty:
            raise InvalidInput(
                f"task {self.name}", f"client {empty[0]} without examples", "no empty client shard"
            )
        if not any(value.requires_grad for value in self.model.parameters()):
            raise InvalidInput(f"task {self.name} model", "this one", "one with something to train")
        _check_shards(self)

    def complete(self, params: Params) -> Params:
        """Parameters with all other entries of the model's state as they were at the start."""
        return {**self.fixed, **params}

    @cached_property
    def evaluation_batch(self) -> int:
        """Examples that are evaluated at a time: as many as fit into `EVALUATION_BUDGET`."""
        return max(1, EVALUATION_BUDGET // (FLOAT_BYTES * max(1, numbers_saved(self))))

    def evaluate(self, params: Params, examples: Examples) -> Evaluation:
        """Loss and accuracy of a model of this task.

        A set that is too large for `EVALUATION_BUDGET` is evaluated in batches, whose sums are
        added up in float64.
        """
        load_params(self.model, self.complete(params))
        self.model.eval()
        count, size = len(examples), self.evaluation_batch
        reduction = "mean" if count <= size else "sum"
        loss = torch.zeros((), dtype=torch.float64, device=examples.labels.device)
        hits = torch.zeros_like(loss)
        with torch.no_grad():
            for first in range(0, count, size):
                labels = examples.labels[first : first + size]
                logits = self.model(examples.features[first : first + size])
                loss += nn.functional.cross_entropy(logits, labels, reduction=reduction)
                hits += (logits.argmax(dim=1) == labels).sum()
        return Evaluation(float(loss) / (1 if reduction == "mean" else count), float(hits) / count)


def numbers_saved(task: Task) -> int:
    """Numbers that the backward pass needs per example, parameters not counted, as measured."""
    sizes: list[int] = []
    owned = {value.data_ptr() for value in task.model.parameters()}

    def note(tensor: Tensor) -> Tensor:
        sizes.append(0 if tensor.data_ptr() in owned else tensor.numel())
        return tensor

    task.model.eval()  # so that nothing is drawn, and no statistics run
    hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    with torch.enable_grad(), hooks:
        task.model(task.validation.features[:1])
    return sum(sizes)


def make_task(
    name: str,
    dataset: Dataset,
    model: nn.Module,
    training: LocalTraining,
    partition: Partition,
    *,
    num_clients: int,
    seed: int,
    validation_fraction: float = 0.2,
    test_fraction: float = 0.2,
    device: torch.device | str = "cpu",
) -> Task:
    """Split a data set three ways, stratified by class, and deal its training part to clients.

    Tasks on data sets of one family draw the same split and the same deal.

    Raises:
        InvalidInput: A class has too few examples for three parts, or there are more clients than
            training examples.
    """
    cut = dataset.family or name
    parts = _stratified(dataset, validation_fraction, test_fraction, seed, cut)
    train, validation, test = parts
    shards = partition.split(dataset.cut_by[train], num_clients, stream(seed, "partition", cut))
    if dataset.standardise:
        dataset = _standardised(dataset, train)
    model = model.to(device)
    initial = {key: value.clone() for key, value in float_state(model).items()}
    return Task(
        name=name,
        model=model,
        initial=initial,
        shards=tuple(_examples(dataset, train[shard], device) for shard in shards),
        validation=_examples(dataset, validation, device),
        test=_examples(dataset, test, device),
        training=training,
        fixed={
            key: value.clone()
            for key, value in model.state_dict().items()
            if isinstance(value, Tensor) and key not in initial
        },
        mixture=Mixture.of(dataset.cut_by, test, [train[shard] for shard in shards]),
    )


def _check_shards(task: Task) -> None:
    """Every client's examples must be of the kind the task is about.

    Raises:
        InvalidInput: Features or labels that do not fit; named are the task and the client.
    """
    classes = num_logits(task)
    for client, shard in enumerate(task.shards):
        found = _misfit(shard, task.validation, classes)
        if found is not None:
            part, value, requirement = found
            raise InvalidInput(f"task {task.name}, client {client} {part}", value, requirement)


def _misfit(shard: Examples, like: Examples, classes: int) -> tuple[str, object, str] | None:
    """What is wrong with a shard: which part, its value, and what it must be."""
    x, y = shard.features, shard.labels
    rows = (len(shard), *like.features.shape[1:])
    if y.ndim != 1:
        return "labels", tuple(y.shape), "one label per example"
    if tuple(x.shape) != rows:
        return "features", tuple(x.shape), f"of shape {rows}"
    if x.dtype != like.features.dtype:
        return "features", x.dtype, f"{like.features.dtype} like the task"
    if y.dtype != torch.int64:
        return "labels", y.dtype, "torch.int64"
    if not bool(torch.isfinite(x).all()):
        return "features", "NaN or infinity", "finite"
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= classes:
        return "labels", low if low < 0 else high, f"in 0 .. {classes - 1}"
    return None


def num_logits(task: Task) -> int:
    """Classes the model tells apart, from one held-out example."""
    task.model.eval()
    with torch.no_grad():
        return int(task.model(task.validation.features[:1]).shape[-1])


def float_state(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and floating-point buffers, which is what is sent and averaged."""
    state = model.state_dict()
    return {
        key: value
        for key, value in state.items()
        if isinstance(value, Tensor) and value.is_floating_point()
    }


def load_params(model: nn.Module, params: Params) -> None:
    """Copy entries into a module's state; those that are not named stay as they are."""
    state = model.state_dict()
    with torch.no_grad():
        for key, value in params.items():
            state[key].copy_(value)


def _examples(dataset: Dataset, index: NDArray[np.int64], device: torch.device | str) -> Examples:
    """Those examples as tensors on the device, in the precision that PyTorch makes models of."""
    return Examples(
        torch.from_numpy(dataset.features[index]).to(device, torch.get_default_dtype()),
        torch.from_numpy(dataset.labels[index]).to(device),
    )


def _standardised(dataset: Dataset, train: NDArray[np.int64]) -> Dataset:
    """Every feature minus its training mean, over its training spread (1 where that is zero)."""
    rows = dataset.features[train].astype(np.float64)
    spread = rows.std(axis=0)
    scaled = (dataset.features - rows.mean(axis=0)) / np.where(spread > 0.0, spread, 1.0)
    return replace(dataset, features=scaled.astype(np.float32), standardise=False)


def _stratified(
    dataset: Dataset, validation_fraction: float, test_fraction: float, seed: int, name: str
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Train, validation and test indices, each class cut by the same fractions."""
    rng = stream(seed, "split", name)
    train, validation, test = [], [], []
    kinds = dataset.num_classes if dataset.strata is None else int(dataset.strata.max()) + 1
    for label in range(kinds):
        members = rng.permutation(np.flatnonzero(dataset.cut_by == label))
        held = [round(fraction * members.size) for fraction in (validation_fraction, test_fraction)]
        if min(held) < 1 or members.size - sum(held) < 1:
            raise InvalidInput(
                f"task {name}",
                f"{members.size} examples of class {label}",
                "enough for a training, a validation and a test part",
            )
        validation.append(members[: held[0]])
        test.append(members[held[0] : sum(held)])
        train.append(members[sum(held) :])
    return tuple(np.sort(np.concatenate(part)) for part in (train, validation, test))  # type: ignore[return-value]
