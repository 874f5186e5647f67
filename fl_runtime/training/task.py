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

from fairopt.errors import InvalidInput, Unshown
from fl_runtime.data.inputs import called, parts_of
from fl_runtime.data.mixtures import Mixture, OwnExamples
from fl_runtime.training.examples import FLOAT_BYTES, Examples, Shards
from fl_runtime.training.lazy_shards import LazyShards
from fl_runtime.training.losses import CROSS_ENTROPY, Demanding, Loss, batch_mean, batch_sum
from fl_runtime.training.measuring import measures
from fl_runtime.training.schedules import Schedule, scheduled
from fl_runtime.training.scores import ACC, PLAIN, PLAIN_SCALE, AnyMetric, Scale

Params = Mapping[str, Tensor]
"""Floating-point entries of a model's state by name."""

Unit = NDArray[np.float64] | Mapping[str, NDArray[np.float64]]
Units = tuple[Unit, Unit]
"""Mean and spread of every feature, each of the shape of one example; by name of several parts."""

EVALUATION_BUDGET = 64 * 2**20
"""Bytes of what a model makes of the examples that are evaluated at a time."""


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
        weight_by: What an update weighs: the `examples` that have a target, or the `counts` of all
            targets (pixels, tokens, labels).

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
    weight_by: Literal["examples", "counts"] = "examples"

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

    @property
    def counts_examples(self) -> bool:
        """Whether an update weighs by its examples."""
        return self.weight_by == "examples"

    def weight_of(self, examples: Examples) -> int:
        """What an update from training on these examples weighs.

        Example:
            >>> some = Examples(torch.zeros(2, 1), torch.tensor([[1.0, 2.0], [torch.nan, 0.0]]))
            >>> LocalTraining(1.0, 1, 1).weight_of(some)
            2
            >>> LocalTraining(1.0, 1, 1, weight_by="counts").weight_of(some)
            3
        """
        return examples.num_counted if self.counts_examples else examples.num_targets

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
        if scale is None or not figures:
            return cls(loss, figures, None)
        return cls(loss, figures, scale.error(next(iter(figures.values()))))

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
        shards: One set of examples per client, or only the number of each (`remote_shards`).
        validation: Held-out examples for decisions.
        test: Held-out examples for reports.
        training: Settings of the local optimiser.
        mixture: Strata of the test set and of every shard, or who made the test examples, where
            that is known.
        units: Mean and spread of every feature, where examples have been put in these units.
        loss: What is trained on.
        metrics: What is measured, by name; the first one is the score.
        scale: What a score is worth beside those of other tasks; None where nobody says.
        trainer: The user's own local training (`trainers.Trainer`); None for the runtime's.
        pace: How long its jobs take, as a multiple of those of the task that it stands beside.
    """

    name: str
    model: nn.Module
    initial: Params
    shards: Sequence[Examples]
    validation: Examples
    test: Examples
    training: LocalTraining
    fixed: Params = field(default_factory=dict)
    mixture: Mixture | OwnExamples | None = None
    units: Units | None = None
    loss: Loss = CROSS_ENTROPY
    metrics: Mapping[str, AnyMetric] = field(default_factory=lambda: PLAIN)
    scale: Scale | None = PLAIN_SCALE
    trainer: Any = None
    pace: float = 1.0

    def __post_init__(self) -> None:
        empty = [client for client, size in enumerate(self.sizes) if size == 0]
        if empty:
            raise InvalidInput(
                f"task {self.name}", f"client {empty[0]} without examples", "no empty client shard"
            )
        if not any(value.requires_grad for value in self.model.parameters()):
            raise InvalidInput(
                f"task {self.name} model", Unshown.ITSELF, "one with something to train"
            )
        _check_shards(self)

    @property
    def is_remote(self) -> bool:
        """Whether clients' examples are elsewhere, and only their numbers are known here."""
        return bool(getattr(self.shards, "elsewhere", False))

    def complete(self, params: Params) -> Params:
        """Parameters with all other entries of the model's state as they were at the start."""
        return {**self.fixed, **params}

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Examples of every client; none of them is loaded for it."""
        known = getattr(self.shards, "sizes", None)
        return tuple(map(len, self.shards)) if known is None else tuple(known)

    @cached_property
    def initial_loss(self) -> float:
        """Validation loss of the initial model."""
        return self.evaluate(self.initial, self.validation).loss

    @cached_property
    def evaluation_batch(self) -> int:
        """Examples that are evaluated at a time: as many as fit into `EVALUATION_BUDGET`."""
        return max(1, EVALUATION_BUDGET // (FLOAT_BYTES * max(1, numbers_saved(self))))

    def evaluate(self, params: Params, examples: Examples, *, measured: bool = True) -> Evaluation:
        """Loss and figures of a model of this task; the loss alone if not `measured`.

        A set that is too large for `EVALUATION_BUDGET` is evaluated in batches, whose sums are
        added up in float64.
        """
        load_params(self.model, self.complete(params))
        self.model.eval()
        complete, device = examples.complete, examples.targets.device
        count, size = len(examples), self.evaluation_batch
        loss, number = (torch.zeros((), dtype=torch.float64, device=device) for _ in range(2))
        seen = measures(self.metrics if measured else {})
        with torch.no_grad():
            for first in range(0, count, size):
                some = examples.at(slice(first, first + size))
                outputs = called(self.model, some.features)
                part = batch_mean if count <= size else batch_sum
                value, counts = part(self.loss, outputs, some.targets, complete=complete)
                loss += value
                number += 1.0 if count <= size else counts
                for measure in seen.values():
                    measure.add(outputs, some.targets)
        figures = {name: measure.value() for name, measure in seen.items()}
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
        called(task.model, task.validation.at(slice(1)).features)
    return sum(sizes)


def _check_shards(task: Task) -> None:
    """All examples must be of the kind the task is about.

    Raises:
        InvalidInput: Features or targets that do not fit; named are the task and the client.
    """
    outputs, shards = output_shape(task), task.shards
    held_out = [("validation", task.validation), ("test", task.test)]
    whole = shards.whole if isinstance(shards, Shards) else None
    alike = whole is not None and whole.complete and _misfit(whole, task, outputs) is None
    known = alike or task.is_remote or isinstance(shards, LazyShards)
    named = () if known else ((f"client {k}", shard) for k, shard in enumerate(shards))
    for who, examples in (*named, *held_out):
        check_examples(task, who, examples, outputs)


def check_examples(task: Task, who: str, examples: Examples, outputs: tuple[int, ...]) -> None:
    """Examples must be of the kind the task is about.

    Args:
        task: The task.
        who: Whose they are, for the message.
        examples: Somebody's.
        outputs: Shape of what the task's model gives for an example.

    Raises:
        InvalidInput: Features or targets that do not fit.
    """
    found = _misfit(examples, task, outputs)
    if found is not None:
        part, value, requirement = found
        of_task = part in ("loss", "model")
        about = f"task.{task.name}.{part}" if of_task else f"task {task.name}, {who} {part}"
        raise InvalidInput(about, value, requirement)


def _misfit(some: Examples, task: Task, outputs: tuple[int, ...]) -> tuple[str, object, str] | None:
    """What is wrong with examples: which part, its value, and what it must be."""
    like, y = task.validation, some.targets
    mine, wanted = parts_of(some.features), parts_of(like.features)
    if mine.keys() != wanted.keys():
        return "features", sorted(mine), f"{sorted(wanted)} like the task"
    for name, part in wanted.items():
        found = _unlike(mine[name], part, len(some))
        if found is not None:
            return (f"features {name}" if name else "features", *found)
    if y.dtype != like.targets.dtype or y.shape[1:] != like.targets.shape[1:]:
        shape = f"{like.targets.dtype} of shape {('n', *like.targets.shape[1:])} like the task"
        return "targets", f"{y.dtype} {tuple(y.shape)}", shape
    if some.num_counted == 0:
        return "targets", "all missing", "some that are there"
    misfit = task.loss.misfit(outputs, y) if isinstance(task.loss, Demanding) else None
    if misfit is None:
        return None
    value, requirement, *part = misfit
    return (part[0] if part else "targets"), value, requirement


def _unlike(x: Tensor, like: Tensor, count: int) -> tuple[object, str] | None:
    """What keeps a part of some examples from being like that of others."""
    rows = (count, *like.shape[1:])
    if tuple(x.shape) != rows:
        return tuple(x.shape), f"of shape {rows}"
    if x.dtype != like.dtype:
        return x.dtype, f"{like.dtype} like the task"
    return None if bool(torch.isfinite(x).all()) else ("NaN or infinity", "finite")


def output_shape(task: Task) -> tuple[int, ...]:
    """Shape of what the model gives for one example."""
    task.model.eval()
    with torch.no_grad():
        return tuple(called(task.model, task.validation.at(slice(1)).features).shape[1:])


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
