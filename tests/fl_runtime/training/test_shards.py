"""Shards of many clients are views of one tensor, and are what they would be one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fairopt import InvalidInput
from fl_runtime.data.dataset import Dataset
from fl_runtime.data.mixtures import Mixture
from fl_runtime.data.partitions import IID, Dirichlet, MissingClasses, Partition
from fl_runtime.random_streams import stream
from fl_runtime.training.examples import Shards
from fl_runtime.training.models import build_model
from fl_runtime.training.task import LocalTraining, Task
from fl_runtime.training.task_from_data import make_task

RNG = np.random.default_rng(0)
DATA = Dataset(RNG.standard_normal((200, 3)).astype(np.float32), RNG.integers(0, 4, 200), 4)


def task(partition: Partition, clients: int = 7) -> Task:
    model = build_model("linear", (3,), 4, [], seed=0)
    training = LocalTraining(0.1, 1, 8)
    return make_task("t", DATA, model, training, partition, num_clients=clients, seed=3)


@pytest.mark.parametrize("partition", [IID(), Dirichlet(0.2), MissingClasses(0.5)])
def test_shards_are_views_and_hold_what_the_partition_says(partition: Partition) -> None:
    made = task(partition)
    shards = made.shards
    assert isinstance(shards, Shards)
    whole = shards.whole
    for part in ("features", "labels"):
        one = getattr(whole, part).untyped_storage().data_ptr()
        assert all(getattr(s, part).untyped_storage().data_ptr() == one for s in shards)
    held_out = np.concatenate([made.validation.features, made.test.features])
    train = np.flatnonzero(~(DATA.features[:, None] == held_out).all(axis=2).any(axis=1))
    dealt = partition.split(DATA.labels[train], 7, stream(3, "partition", "t"))
    for shard, mine in zip(shards, dealt, strict=True):
        assert np.array_equal(shard.features, DATA.features[train[mine]])
        assert np.array_equal(shard.labels, DATA.labels[train[mine]])
    slow = [np.bincount(shard.labels, minlength=4) / len(shard) for shard in shards]
    assert made.mixture is not None
    assert np.array_equal(made.mixture.shares, np.array(slow))


def test_the_client_behind_a_bad_example_is_named() -> None:
    """Though all are checked at once."""
    made = task(IID())
    assert isinstance(made.shards, Shards)
    size = len(made.shards[0])
    for part, value in (("targets", 4), ("features", torch.nan)):
        entry: Any = getattr(made.shards.whole, part).clone()
        entry[size] = value
        whole = replace(made.shards.whole, **{part: entry})
        bad = Shards.of(whole, [len(shard) for shard in made.shards])
        with pytest.raises(InvalidInput, match=f"task t, client 1 {part}"):
            replace(made, shards=bad)


def test_part_of_the_shards_is_a_plain_tuple() -> None:
    shards = task(IID()).shards
    assert type(shards[:2]) is tuple


def test_mixtures_of_unequal_shards() -> None:
    strata = np.array([0, 1, 2, 2, 1])
    mixture = Mixture.of(strata, np.array([0]), [np.array([2]), np.array([0, 1, 3, 4])])
    assert mixture.shares.tolist() == [[0.0, 0.0, 1.0], [0.25, 0.5, 0.25]]
