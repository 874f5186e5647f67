"""A task from data that are loaded client by client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fairopt.errors import InvalidInput
from fl_runtime.data.partitions import Natural, Partition
from fl_runtime.data.sources import HELD_OUT, Source, client_data, held_out_data
from fl_runtime.random_streams import stream
from fl_runtime.training.examples import Examples, examples_of
from fl_runtime.training.lazy_shards import SHARD_CACHE, LazyShards
from fl_runtime.training.losses import Loss
from fl_runtime.training.scores import AnyMetric
from fl_runtime.training.task import LocalTraining, Task, check_examples, output_shape
from fl_runtime.training.task_from_data import ScaleEnds, finished_task


def task_of_source(
    name: str,
    source: Source,
    model: nn.Module,
    training: LocalTraining,
    partition: Partition,
    *,
    num_clients: int,
    seed: int,
    loss: Loss,
    metrics: Mapping[str, AnyMetric],
    device: torch.device | str = "cpu",
    scale: ScaleEnds | None = None,
    reference: float | None = None,
    trainable: str | None = None,
    cache: int = SHARD_CACHE,
) -> Task:
    """A task whose clients are loaded when they train; see `task_from_data.make_task`.

    Clients are checked as they are loaded.

    Args:
        name: Of the task.
        source: Knows the clients, and loads them.
        model: With its initial weights.
        training: Settings of the local optimiser.
        partition: `Natural`; the seed chooses among clients of enough examples.
        num_clients: Number of clients.
        seed: Of their choice.
        loss: What is trained on.
        metrics: What is measured.
        device: Where examples and model are to be.
        scale: Worst and best score.
        reference: What "reference" in the scale stands for.
        trainable: Regular expression of the entries that are trained.
        cache: Bytes of clients that are kept.

    Raises:
        InvalidInput: The partition is another one, there are not so many clients, or examples do
            not fit.
    """
    if not isinstance(partition, Natural):
        requirement = "natural for data that are loaded client by client"
        raise InvalidInput("clients.partition", type(partition).__name__, requirement)
    chosen = _chosen(source, partition, num_clients, seed, name)
    validation, test = (_whole(held_out_data(source, part, name), device) for part in HELD_OUT)
    like = finished_task(
        name,
        model.to(device),
        training,
        shards=(validation,),
        validation=validation,
        test=test,
        loss=loss,
        metrics=metrics,
        scale=scale,
        reference=reference,
        trainable=trainable,
    )
    load = _Loading(source, chosen, like, output_shape(like), device)
    sizes = np.asarray(source.sizes)[chosen].tolist()
    return replace(like, shards=LazyShards(load, sizes, limit=cache))


@dataclass(frozen=True)
class _Loading:
    """How the examples of a client are loaded; a record, so that it can be sent to workers.

    Attributes:
        source: Of the data.
        chosen: Which clients of the source take part.
        like: The task, of whose kind the examples are to be.
        outputs: Shape of what its model gives for an example.
        device: Where they go.
    """

    source: Source
    chosen: NDArray[np.int64]
    like: Task
    outputs: tuple[int, ...]
    device: torch.device | str

    def __call__(self, place: int) -> Examples:
        """The examples of the client at that place."""
        client = int(self.chosen[place])
        found = _whole(client_data(self.source, client, self.like.name), self.device)
        check_examples(self.like, f"client {client}", found, self.outputs)
        return found


def _chosen(source: Source, partition: Natural, count: int, seed: int, name: str) -> Any:
    """Which clients take part, in the order of their numbers."""
    able = np.flatnonzero(np.asarray(source.sizes) >= partition.min_examples)
    if able.size < count:
        least = partition.min_examples
        requirement = f"at most {able.size}, the clients with {least} or more examples"
        raise InvalidInput("num-clients", count, requirement)
    return np.sort(stream(seed, "partition", name).choice(able, count, replace=False))


def _whole(data: Any, device: torch.device | str) -> Examples:
    """All examples of some data."""
    return examples_of(data, np.arange(len(data.targets)), device)
