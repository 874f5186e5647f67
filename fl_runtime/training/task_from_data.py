"""A task from data: split three ways, dealt to clients, tried on two examples."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fairopt.errors import InvalidInput
from fairopt.user_objects import said
from fl_runtime.data.dataset import Data, Dataset, as_data
from fl_runtime.data.inputs import called, parts_of
from fl_runtime.data.mixtures import Mixture, OwnExamples
from fl_runtime.data.partitions import Natural, Partition
from fl_runtime.data.splits import official_split, split_per_client
from fl_runtime.random_streams import stream
from fl_runtime.training.examples import Examples, Shards, examples_of
from fl_runtime.training.losses import CROSS_ENTROPY, Loss, check_parts
from fl_runtime.training.measuring import check_metric
from fl_runtime.training.scores import PLAIN, AnyMetric, Scale
from fl_runtime.training.task import (
    Evaluation,
    LocalTraining,
    Task,
    Units,
    float_state,
    load_params,
)

Split = Literal["pooled", "official", "per-client"]
"""How held-out examples are chosen."""

ScaleEnds = Sequence[float | str]
"""Worst and best score: numbers, "initial" for that of the initial model, or "reference"."""


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
    metrics: Mapping[str, AnyMetric] = PLAIN,
    scale: ScaleEnds | None = None,
    reference: float | None = None,
    split: Split = "pooled",
    trainable: str | None = None,
) -> Task:
    """Split a data set three ways, stratified by class, and deal its training part to clients.

    Tasks on data sets of one family draw the same split and the same deal.

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
        split: `official` for the three parts that the data are marked with, `per-client` to cut
            each client's examples by the fractions instead of each class.
        trainable: Regular expression of the entries that are trained; all of them if None.

    Raises:
        InvalidInput: A class has too few examples for three parts, there are more clients than
            training examples, or targets, loss, metrics and scale do not fit.
    """
    cut = dataset.family or name
    rng, key, fractions = (
        stream(seed, "split", cut),
        f"task.{name}",
        (validation_fraction, test_fraction),
    )
    if split == "official":
        parts = official_split(dataset, validation_fraction, rng, argument=f"{key}.split")
    elif split == "per-client":
        parts = split_per_client(dataset.client, fractions, rng, argument=f"{key}.split")
    else:
        parts = _stratified(dataset, validation_fraction, test_fraction, seed, cut)
    train, validation, test = parts
    deal_by = _dealt_by(dataset, partition)[train]
    shards = partition.split(deal_by, num_clients, stream(seed, "partition", cut))
    dealt, data = [train[shard] for shard in shards], as_data(dataset)
    units = _units(data, train) if data.standardise else None
    if units is not None:
        data = _standardised(data, units)
    whole = examples_of(data, np.concatenate(dealt), device)
    return finished_task(
        name,
        model.to(device),
        training,
        shards=Shards.of(whole, [len(mine) for mine in dealt]),
        validation=examples_of(data, validation, device),
        test=examples_of(data, test, device),
        mixture=_mixture(dataset, partition, test, dealt),
        units=units,
        loss=loss,
        metrics=metrics,
        scale=scale,
        reference=reference,
        trainable=trainable,
    )


def finished_task(
    name: str,
    model: nn.Module,
    training: LocalTraining,
    *,
    shards: Sequence[Examples],
    validation: Examples,
    test: Examples,
    loss: Loss,
    metrics: Mapping[str, AnyMetric],
    mixture: Mixture | OwnExamples | None = None,
    units: Units | None = None,
    scale: ScaleEnds | None = None,
    reference: float | None = None,
    trainable: str | None = None,
) -> Task:
    """The task of those examples, tried on two of them, on the scale of its score.

    See `make_task` for the arguments.
    """
    initial = {key: value.clone() for key, value in trained_entries(name, model, trainable).items()}
    score, metric = next(iter(metrics.items()))
    ends = metric.range if scale is None else scale
    better = Better(score, metric.higher_is_better)
    known = {} if reference is None else {"reference": reference}
    measured = ends is not None and "initial" in ends
    task = Task(
        name=name,
        model=model,
        initial=initial,
        shards=shards,
        validation=validation,
        test=test,
        training=training,
        fixed={
            key: value.clone()
            for key, value in model.state_dict().items()
            if isinstance(value, Tensor) and key not in initial
        },
        mixture=mixture,
        units=units,
        loss=loss,
        metrics=metrics,
        scale=None if measured else _scale(name, ends, known, better),
    )
    check_judged(task)
    if measured:
        known["initial"] = initially(task, task.validation).score
        task = replace(task, scale=_scale(name, ends, known, better))
    return task


def with_shared_inputs(task: Task, others: Sequence[Task]) -> Task:
    """The task with another one's tensors where these are the same numbers: stored once.

    Tasks of one family have the same inputs, split and dealt alike.
    """
    for other in others:
        if isinstance(task.shards, Shards) and isinstance(other.shards, Shards):
            whole = _sharing(task.shards.whole, other.shards.whole)
            held_out = (
                _sharing(task.validation, other.validation),
                _sharing(task.test, other.test),
            )
            if whole is not task.shards.whole and task.sizes == other.sizes:
                shards = Shards.of(whole, task.sizes)
                return replace(task, shards=shards, validation=held_out[0], test=held_out[1])
    return task


def _sharing(mine: Examples, others: Examples) -> Examples:
    """The examples with the other ones' features, if they are equal."""
    one, two = parts_of(mine.features), parts_of(others.features)
    same = one.keys() == two.keys() and all(
        one[name].dtype == two[name].dtype and torch.equal(one[name], two[name]) for name in one
    )
    return replace(mine, features=others.features) if same else mine


def trained_entries(name: str, model: nn.Module, trainable: str | None) -> dict[str, Tensor]:
    """The entries of a model that are trained and sent; all parameters but these are frozen.

    Raises:
        InvalidInput: The pattern is no regular expression, or is found in no entry.
    """
    state = float_state(model)
    if trainable is None:
        return state
    key = f"task.{name}.trainable"
    try:
        found = {entry: value for entry, value in state.items() if re.search(trainable, entry)}
    except re.error as error:
        raise InvalidInput(key, trainable, f"a regular expression ({error})") from error
    if not found:
        requirement = f"found in an entry of the model: {', '.join(state)}"
        raise InvalidInput(key, trainable, requirement)
    for entry, value in model.named_parameters():
        value.requires_grad_(value.requires_grad and entry in found)
    return found


def _mixture(
    dataset: Dataset | Data,
    partition: Partition,
    test: NDArray[np.int64],
    dealt: Sequence[NDArray[np.int64]],
) -> Mixture | OwnExamples:
    """What stands for fresh data of a client: its own test examples, if the data know clients."""
    if isinstance(partition, Natural) and dataset.client is not None:
        return OwnExamples.of(dataset.client, test, dealt)
    return Mixture.of(dataset.cut_by, test, dealt)


def check_judged(task: Task) -> None:
    """Try loss and metrics of a task on two examples, and on all of the validation set.

    Raises:
        InvalidInput: A loss that is not of shape (n,), cannot be differentiated or is not finite at
            the start; a metric that is not of shape (n, m).
    """
    few = task.validation.at(slice(2))
    load_params(task.model, task.complete(task.initial))
    task.model.eval()
    outputs = called(task.model, few.features)
    check_parts(f"task.{task.name}.loss", task.loss, outputs, few.targets)
    for name, metric in task.metrics.items():
        key, count = f"task.{task.name}.metrics {name}", max(len(task.validation), len(task.test))
        check_metric(key, metric, outputs.detach(), few.targets, count)


def initially(task: Task, examples: Examples) -> Evaluation:
    """The initial model on a whole set, where a user's metric may fail on more than two examples.

    Raises:
        InvalidInput: One of the metrics fails.
    """
    try:
        return task.evaluate(task.initial, examples)
    except Exception as error:  # whatever the user's metrics do
        requirement = f"metrics that take all {len(examples)} held-out examples ({said(error)})"
        raise InvalidInput(f"task.{task.name}.metrics", list(task.metrics), requirement) from error


class Better(NamedTuple):
    """The direction of a score.

    Attributes:
        score: Its name.
        higher: Whether more of it is better.
    """

    score: str
    higher: bool


def _scale(
    name: str, ends: ScaleEnds | None, known: Mapping[str, float], better: Better
) -> Scale | None:
    """What the score of a task is worth, with what words in the ends stand for.

    Raises:
        InvalidInput: The ends are equal, not finite or the wrong way round, or a word stands for
            nothing.
    """
    if ends is None:
        return None
    key = f"task.{name}.range"
    if unknown := [end for end in ends if isinstance(end, str) and end not in known]:
        raise InvalidInput(key, list(ends), f"used with a {unknown[0]}")
    worst, best = (known[end] if isinstance(end, str) else float(end) for end in ends)
    try:
        found = Scale(worst, best)
    except InvalidInput as error:
        raise InvalidInput(key, error.value, error.requirement) from None
    if (best > worst) != better.higher:
        way, side = ("higher", "above") if better.higher else ("lower", "below")
        requirement = f"[worst, best] with best {side} worst, as {way} {better.score} is better"
        raise InvalidInput(key, [worst, best], requirement)
    return found


def _dealt_by(dataset: Dataset | Data, partition: Partition) -> NDArray[np.int64]:
    """(n,) what a partition goes by: classes, or who made the examples."""
    if not isinstance(partition, Natural):
        return dataset.cut_by
    if dataset.client is None:
        requirement = "used with data that say who made each example"
        raise InvalidInput("clients.partition", "natural", requirement)
    return dataset.client


def _units(data: Data, train: NDArray[np.int64]) -> Units:
    """Mean and spread (1 where that is zero) of every feature of the training examples.

    Of several parts those that are integers are symbols or masks, and stay as they are.
    """

    def of(part: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        rows = part[train].astype(np.float64)
        spread = rows.std(axis=0)
        return np.asarray(rows.mean(axis=0)), np.where(spread > 0.0, spread, 1.0)

    if not isinstance(data.inputs, Mapping):
        return of(data.inputs)
    found = {name: of(part) for name, part in data.inputs.items() if part.dtype.kind == "f"}
    mean = {name: units[0] for name, units in found.items()}
    return mean, {name: units[1] for name, units in found.items()}


def _standardised(data: Data, units: Units) -> Data:
    """Every feature minus its mean, over its spread."""
    mean, spread = (parts_of(one) for one in units)
    scaled = {
        name: ((part - mean[name]) / spread[name]).astype(np.float32) if name in mean else part
        for name, part in parts_of(data.inputs).items()
    }
    inputs = scaled if isinstance(data.inputs, Mapping) else scaled[""]
    return replace(data, inputs=inputs, standardise=False)


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
