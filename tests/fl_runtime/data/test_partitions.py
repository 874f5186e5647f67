"""Partitions deal out every example once, in equal shards, skewed as they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairopt import InvalidInput
from fl_runtime.data import partitions
from fl_runtime.data.mixtures import Mixture
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


@given(problem=problems(), concentration=st.floats(0.01, 100.0))
def test_mixtures_follow_the_frequencies_of_classes(
    problem: tuple[np.ndarray, int, int], concentration: float
) -> None:
    """Dir(c pi) with c the concentration times the number of classes."""
    labels, clients, seed = problem
    drawn: list[np.ndarray] = []

    def recorded(shape: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        drawn.append(shape)
        return mixtures_of(shape, count, rng)

    mixtures_of = partitions._gamma_mixtures
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partitions, "_gamma_mixtures", recorded)
        Dirichlet(concentration).split(labels, clients, np.random.default_rng(seed))
    classes = int(labels.max()) + 1
    frequencies = np.bincount(labels, minlength=classes) / labels.size
    np.testing.assert_allclose(drawn[0], concentration * classes * frequencies, rtol=1e-12)


@given(problem=problems(), data=st.data())
def test_the_mixture_of_a_client_is_that_of_its_shard(
    problem: tuple[np.ndarray, int, int], data: st.DataObject
) -> None:
    """So the accuracy of a model that knows some strata alone is their share."""
    labels, clients, seed = problem
    labels = np.unique(labels, return_inverse=True)[1]
    shards = IID().split(labels, clients, np.random.default_rng(seed))
    known = np.array(data.draw(st.lists(st.booleans(), min_size=5, max_size=5)))
    everything = np.arange(labels.size)
    found = Mixture.of(labels, everything, shards).local(known[labels])
    present = [float(known[labels[shard]].mean()) for shard in shards]
    np.testing.assert_allclose(found, present, atol=1e-12)
