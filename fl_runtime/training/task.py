"""A task: a model, data, a loss, and metrics, the first of which is its score.

Data are the clients' shards and two held-out sets with different purposes:

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
from fl_runtime.data.dataset import Data, Dataset, as_data
from fl_runtime.data.mixtures import Mixture
from fl_runtime.data.partitions import Natural, Partition
from fl_runtime.data.splits import official_split
from fl_runtime.random_streams import stream
from fl_runtime.training.losses import (
    CROSS_ENTROPY,
    Demanding,
    Loss,
    batch_mean,
    batch_sum,
    check_parts,
    counted,
    present,
)
from fl_runtime.training.schedules import Schedule, scheduled
from fl_runtime.training.scores import ACC, PLAIN, PLAIN_SCALE, Metric, Scale, check_statistics

Params = Mapping[str, Tensor]
"""Floating-point entries of a model's state by name."""

Units = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Mean and spread of every feature, each of the shape of one example."""

EVALUATION_BUDGET = 64 * 2**20
"""Bytes of what a model makes of the examples that are evaluated at a time."""

FLOAT_BYTES = 4

BLOCK = 1000
"""Clients whose examples are checked at once, if they have no more than `BLOCK_NUMBERS`."""

BLOCK_NUMBERS = 2**24
"""Numbers that may be copied for a check."""

PARTS = ("features", "targets")
"""Of examples."""

ScaleEnds = Sequence[float | str]
"""Worst and best score: numbers, "initial" for that of the initial model, or "reference"."""


@dataclass(frozen=True)
class Examples:
    """Features and targets as tensors on one device.

    Attributes:
        features: (n, ...) numbers.
        targets: (n, ...) of what the task's loss takes: (n,) int64 for classes. What is missing is
            NaN in floats and -100 in integers.
        weights: (n,) of each example in a training step, or None for ones.
    """

    features: Tensor
    targets: Tensor
    weights: Tensor | None = None

    def __len__(self) -> int:
        return int(self.targets.shape[0])

    @property
    def labels(self) -> Tensor:
        """The targets, where they are classes."""
        return self.targets

    @cached_property
    def complete(self) -> bool:
        """Whether no target is missing."""
        return bool(present(self.targets).all())

    @cached_property
    def num_counted(self) -> int:
        """Examples with at least one target."""
        return len(self) if self.complete else int(counted(self.targets).sum())


class Shards(tuple[Examples, ...]):
    """Examples of every client as views of one tensor, in the order of the clients.

    They are moved to a device and checked at once, which for many small shards is most of the work.

    Attributes:
        whole: The examples of all clients.

    Example:
        >>> whole = Examples(torch.zeros(3, 2), torch.tensor([0, 1, 1]))
        >>> [shard.labels.tolist() for shard in Shards.of(whole, [1, 2])]
        [[0], [1, 1]]
    """

    whole: Examples

    @classmethod
    def of(cls, whole: Examples, sizes: Sequence[int]) -> Shards:
        """The examples cut into shards of those sizes."""
        parts = (torch.split(part, list(sizes)) for part in (whole.features, whole.targets))
        found = cls(map(Examples, *parts))
        found.whole = whole
        for shard in found if whole.complete else ():
            shard.__dict__["complete"] = True  # what is true of the whole need not be asked again
        return found


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
    """One model on one set.

    Attributes:
        loss: Mean over what is counted.
        figures: Metrics by name; the first one is the score.
        error: How far the score is from the best, in units of the worst one's distance (`Scale`):
            of accuracies the share of wrong answers. None where a task has no such scale.
    """

    loss: float
    figures: Mapping[str, float]
    error: float | None

    @classmethod
    def of(cls, loss: float, figures: Mapping[str, float], scale: Scale | None) -> Evaluation:
        """With the error on that scale.

        Example:
            >>> Evaluation.of(0.7, {"acc": 0.75}, Scale(0.0, 1.0)).error
            0.25
        """
        score = next(iter(figures.values()))
        return cls(loss, figures, None if scale is None else scale.error(score))

    @classmethod
    def of_accuracy(cls, loss: float, accuracy: float) -> Evaluation:
        """Of a classifier."""
        return cls.of(loss, {ACC: accuracy}, PLAIN_SCALE)

    @classmethod
    def mean(cls, several: Sequence[Evaluation], scale: Scale | None = None) -> Evaluation:
        """Of several models on one set; not finite if one of them is not."""
        count = len(several)
        figures = {
            name: sum(one.figures[name] for one in several) / count for name in several[0].figures
        }
        return cls.of(sum(one.loss for one in several) / count, figures, scale)

    @property
    def metric(self) -> str:
        """Name of the score."""
        return next(iter(self.figures))

    @property
    def score(self) -> float:
        """The first figure, in its own unit and direction."""
        return next(iter(self.figures.values()))

    @property
    def accuracy(self) -> float:
        """The share of right answers, where that is measured."""
        return self.figures[ACC]


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
        units: Mean and spread of every feature, where examples have been put in these units.
        loss: What is trained on.
        metrics: What is measured, by name; the first one is the score.
        scale: What a score is worth beside those of other tasks; None where nobody says.
        trainer: The user's own local training (`trainers.Trainer`); None for the runtime's.
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
    units: Units | None = None
    loss: Loss = CROSS_ENTROPY
    metrics: Mapping[str, Metric] = field(default_factory=lambda: PLAIN)
    scale: Scale | None = PLAIN_SCALE
    trainer: Any = None

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
    def initial_loss(self) -> float:
        """Validation loss of the initial model."""
        return self.evaluate(self.initial, self.validation).loss

    @cached_property
    def evaluation_batch(self) -> int:
        """Examples that are evaluated at a time: as many as fit into `EVALUATION_BUDGET`."""
        return max(1, EVALUATION_BUDGET // (FLOAT_BYTES * max(1, numbers_saved(self))))

    def evaluate(self, params: Params, examples: Examples) -> Evaluation:
        """Loss and figures of a model of this task.

        A set that is too large for `EVALUATION_BUDGET` is evaluated in batches, whose sums are
        added up in float64.
        """
        load_params(self.model, self.complete(params))
        self.model.eval()
        complete, device = examples.complete, examples.targets.device
        count, size = len(examples), self.evaluation_batch
        loss, number = (torch.zeros((), dtype=torch.float64, device=device) for _ in range(2))
        totals: dict[str, Tensor] = {}
        with torch.no_grad():
            for first in range(0, count, size):
                targets = examples.targets[first : first + size]
                outputs = self.model(examples.features[first : first + size])
                part = batch_mean if count <= size else batch_sum
                value, counts = part(self.loss, outputs, targets, complete=complete)
                loss += value
                number += 1.0 if count <= size else counts
                for name, metric in self.metrics.items():
                    seen = metric.statistics(outputs, targets).double().sum(dim=0)
                    totals[name] = totals[name] + seen if name in totals else seen
        figures = {name: one.value(totals[name].cpu()) for name, one in self.metrics.items()}
        return Evaluation.of(float(loss) / max(float(number), 1.0), figures, self.scale)


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
    dataset: Dataset | Data,
    model: nn.Module,
    training: LocalTraining,
    partition: Partition,
    *,
    num_clients: int,
    seed: int,
    validation_fraction: float = 0.2,
    test_fraction: float = 0.2,
    device: torch.device | str = "cpu",
    loss: Loss = CROSS_ENTROPY,
    metrics: Mapping[str, Metric] = PLAIN,
    scale: ScaleEnds | None = None,
    reference: float | None = None,
    official: bool = False,
) -> Task:
    """Split a data set three ways, stratified by class, and deal its training part to clients.

    Tasks on data sets of one family draw the same split and the same deal. With `official` the
    three parts are those that the data are marked with.

    Args:
        name: Of the task.
        dataset: Examples and targets.
        model: With its initial weights.
        training: Settings of the local optimiser.
        partition: Deals the training part.
        num_clients: Number of clients.
        seed: Of split and deal.
        validation_fraction: Share of the examples that feeds decisions.
        test_fraction: Share of the examples that is only reported.
        device: Where examples and model are to be.
        loss: What is trained on.
        metrics: What is measured.
        scale: Worst and best score; those of the metric if None, if it has such.
        reference: What "reference" in the scale stands for.
        official: Whether the three parts are those that the data are marked with.

    Raises:
        InvalidInput: A class has too few examples for three parts, there are more clients than
            training examples, or targets, loss, metrics and scale do not fit.
    """
    cut = dataset.family or name
    if official:
        rng, key = stream(seed, "split", cut), f"task.{name}.split"
        if isinstance(dataset, Data):
            raise InvalidInput(key, "official", "used with data that have such a split")
        parts = official_split(dataset, validation_fraction, rng, argument=key)
    else:
        parts = _stratified(dataset, validation_fraction, test_fraction, seed, cut)
    train, validation, test = parts
    deal_by = _dealt_by(dataset, partition)[train]
    shards = partition.split(deal_by, num_clients, stream(seed, "partition", cut))
    dealt, data = [train[shard] for shard in shards], as_data(dataset)
    units = _units(data.inputs[train]) if data.standardise else None
    if units is not None:
        data = _standardised(data, units)
    model = model.to(device)
    initial = {key: value.clone() for key, value in float_state(model).items()}
    ends = next(iter(metrics.values())).range if scale is None else scale
    known = {} if reference is None else {"reference": reference}
    measured = ends is not None and "initial" in ends
    task = Task(
        name=name,
        model=model,
        initial=initial,
        shards=Shards.of(
            _examples(data, np.concatenate(dealt), device), [len(mine) for mine in dealt]
        ),
        validation=_examples(data, validation, device),
        test=_examples(data, test, device),
        training=training,
        fixed={
            key: value.clone()
            for key, value in model.state_dict().items()
            if isinstance(value, Tensor) and key not in initial
        },
        mixture=Mixture.of(dataset.cut_by, test, dealt),
        units=units,
        loss=loss,
        metrics=metrics,
        scale=None if measured else _scale(name, ends, known),
    )
    check_judged(task)
    if measured:
        known["initial"] = task.evaluate(task.initial, task.validation).score
        task = replace(task, scale=_scale(name, ends, known))
    return task


def check_judged(task: Task) -> None:
    """Try loss and metrics of a task on two examples, and on all of the validation set.

    Raises:
        InvalidInput: A loss that is not of shape (n,), cannot be differentiated or is not finite at
            the start; a metric that is not of shape (n, m).
    """
    few = task.validation.features[:2], task.validation.targets[:2]
    load_params(task.model, task.complete(task.initial))
    task.model.eval()
    outputs = task.model(few[0])
    check_parts(f"task.{task.name}.loss", task.loss, outputs, few[1])
    for name, metric in task.metrics.items():
        check_statistics(f"task.{task.name}.metrics {name}", metric, outputs.detach(), few[1])


def _scale(name: str, ends: ScaleEnds | None, known: Mapping[str, float]) -> Scale | None:
    """What the score of a task is worth, with what words in the ends stand for.

    Raises:
        InvalidInput: The ends are equal or not finite, or a word stands for nothing.
    """
    if ends is None:
        return None
    key = f"task.{name}.range"
    if unknown := [end for end in ends if isinstance(end, str) and end not in known]:
        raise InvalidInput(key, list(ends), f"used with a {unknown[0]}")
    worst, best = (known[end] if isinstance(end, str) else float(end) for end in ends)
    try:
        return Scale(worst, best)
    except InvalidInput as error:
        raise InvalidInput(key, error.value, error.requirement) from None


def _dealt_by(dataset: Dataset | Data, partition: Partition) -> NDArray[np.int64]:
    """(n,) what a partition goes by: classes, or who made the examples."""
    if not isinstance(partition, Natural):
        return dataset.cut_by
    if isinstance(dataset, Data) or dataset.client is None:
        requirement = "used with data that say who made each example"
        raise InvalidInput("clients.partition", "natural", requirement)
    return dataset.client


def _check_shards(task: Task) -> None:
    """All examples must be of the kind the task is about.

    Raises:
        InvalidInput: Features or targets that do not fit; named are the task and the client.
    """
    outputs, shards = output_shape(task), task.shards
    held_out = [("validation", task.validation), ("test", task.test)]
    named = [(f"client {client}", shard) for client, shard in enumerate(shards)]
    whole = shards.whole if isinstance(shards, Shards) else None
    if (
        whole is not None
        and whole.complete
        and _misfit(whole, task.validation, outputs, task.loss) is None
    ):
        named = []
    for who, examples in [*named, *held_out]:
        found = _misfit(examples, task.validation, outputs, task.loss)
        if found is not None:
            part, value, requirement = found
            raise InvalidInput(f"task {task.name}, {who} {part}", value, requirement)


def _misfit(
    some: Examples, like: Examples, outputs: tuple[int, ...], loss: Loss
) -> tuple[str, object, str] | None:
    """What is wrong with examples: which part, its value, and what it must be."""
    x, y = some.features, some.targets
    rows = (len(some), *like.features.shape[1:])
    if tuple(x.shape) != rows:
        return "features", tuple(x.shape), f"of shape {rows}"
    if x.dtype != like.features.dtype:
        return "features", x.dtype, f"{like.features.dtype} like the task"
    if not bool(torch.isfinite(x).all()):
        return "features", "NaN or infinity", "finite"
    if y.dtype != like.targets.dtype or y.shape[1:] != like.targets.shape[1:]:
        wanted = f"{like.targets.dtype} of shape {('n', *like.targets.shape[1:])} like the task"
        return "targets", f"{y.dtype} {tuple(y.shape)}", wanted
    if some.num_counted == 0:
        return "targets", "all missing", "some that are there"
    found = loss.misfit(outputs, y) if isinstance(loss, Demanding) else None
    return None if found is None else ("targets", *found)


def output_shape(task: Task) -> tuple[int, ...]:
    """Shape of what the model gives for one example."""
    task.model.eval()
    with torch.no_grad():
        return tuple(task.model(task.validation.features[:1]).shape[1:])


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


def _examples(data: Data, index: NDArray[np.int64], device: torch.device | str) -> Examples:
    """Those examples as tensors on the device, floats in the precision that models are made of."""
    return Examples(*(_tensor(part[index], device) for part in (data.inputs, data.targets)))


def _tensor(values: NDArray[Any], device: torch.device | str) -> Tensor:
    """An array on the device."""
    found = torch.from_numpy(values)
    kind = torch.get_default_dtype() if found.is_floating_point() else found.dtype
    if torch.device(device).type == "cuda":
        return found.to(kind).pin_memory().to(device, non_blocking=True)
    return found.to(device, kind)


def _units(train: NDArray[Any]) -> Units:
    """Mean and spread (1 where that is zero) of every feature of the training examples."""
    rows = train.astype(np.float64)
    spread = rows.std(axis=0)
    return rows.mean(axis=0), np.where(spread > 0.0, spread, 1.0)


def _standardised(data: Data, units: Units) -> Data:
    """Every feature minus its mean, over its spread."""
    mean, spread = units
    scaled = ((data.inputs - mean) / spread).astype(np.float32)
    return replace(data, inputs=scaled, standardise=False)


def _stratified(
    dataset: Dataset | Data, validation_fraction: float, test_fraction: float, seed: int, name: str
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Train, validation and test indices, each class cut by the same fractions."""
    rng = stream(seed, "split", name)
    train, validation, test = [], [], []
    cut_by = dataset.cut_by
    for label in range(dataset.num_strata):
        members = rng.permutation(np.flatnonzero(cut_by == label))
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
