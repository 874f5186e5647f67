"""Partitions deal out every example once, in equal shards, skewed as they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairopt import InvalidInput
from fl_runtime.data.partitions import IID, Dirichlet, MissingClasses, Partition

PARTITIONS = [IID(), Dirichlet(0.01), Dirichlet(0.3), Dirichlet(100.0), MissingClasses(0.3)]


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, int, int]:
    labels = np.array(draw(st.lists(st.integers(0, 4), min_size=1, max_size=60)))
    return labels, draw(st.integers(1, labels.size)), draw(st.integers(0, 99))


@pytest.mark.parametrize("partition", PARTITIONS, ids=repr)
@given(problem=problems())
def test_a_partition_loses_nothing(
    partition: Partition, problem: tuple[np.ndarray, int, int]
) -> None:
    labels, clients, seed = problem
    shards = partition.split(labels, clients, np.random.default_rng(seed))
    assert len(shards) == clients
    assert sorted(np.concatenate(shards).tolist()) == list(range(labels.size))
    sizes = [shard.size for shard in shards]
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("partition", PARTITIONS, ids=repr)
def test_more_clients_than_examples_is_refused(partition: Partition) -> None:
    with pytest.raises(InvalidInput, match="some client shard is empty"):
        partition.split(np.array([0, 1]), 3, np.random.default_rng(0))


def skew(partition: Partition) -> float:
    """Mean share of a client's most frequent class on ten balanced classes."""
    labels = np.repeat(np.arange(10), 100)
    shards = partition.split(labels, 20, np.random.default_rng(0))
    return float(np.mean([np.bincount(labels[shard]).max() / shard.size for shard in shards]))


def test_smaller_concentration_is_more_skewed() -> None:
    skews = [skew(Dirichlet(concentration)) for concentration in (0.03, 0.3, 3.0, 300.0)]
    assert skews == sorted(skews, reverse=True)
    assert skews[0] > 0.6  # not one: a class that several clients want runs out
    assert skews[-1] < 0.25


def test_missing_classes_holds_the_stated_number() -> None:
    labels = np.repeat(np.arange(10), 100)
    shards = MissingClasses(0.35).split(labels, 10, np.random.default_rng(0))
    assert {len(set(labels[shard])) for shard in shards[:6]} == {3}
