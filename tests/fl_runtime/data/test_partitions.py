"""Partitions deal out every example once, in equal shards, skewed as they say."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairopt import InvalidInput
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.data import partitions
from fl_runtime.data.mixtures import Mixture
from fl_runtime.data.partitions import IID, Dirichlet, MissingClasses, Partition
from fl_runtime.data.size_laws import LogNormal, Pareto, SizeLaw, Zipf, drawn_sizes
from fl_runtime.history import encode_row
from fl_runtime.running.build import assemble
from fl_runtime.running.experiment import run

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


LAWS = [LogNormal(1.0), LogNormal(5.0), Pareto(1.2), Pareto(0.05), Zipf(1.0), Zipf(4.0)]
UNEQUAL = [
    IID(sizes={"law": "lognormal", "sigma": 1.5}),
    Dirichlet(0.3, sizes={"law": "pareto"}, min_examples=2),
    MissingClasses(0.5, sizes={"law": "zipf", "exponent": 1.5}),
]


@pytest.mark.parametrize("law", LAWS, ids=repr)
@given(clients=st.integers(1, 40), least=st.integers(1, 5), more=st.integers(0, 200))
def test_sizes_add_up_and_have_a_least(law: SizeLaw, clients: int, least: int, more: int) -> None:
    """Whoever is above the least has a size in proportion to its weight, but for rounding."""
    count = clients * least + more
    sizes = drawn_sizes(law, count, clients, np.random.default_rng(0), least=least)
    assert sizes.sum() == count
    assert sizes.min() >= least
    weights = law.weights(clients, np.random.default_rng(0))
    above = np.flatnonzero(sizes > least)
    if above.size:
        ratio = (sizes[above] - 1) / weights[above], (sizes[above] + 1) / weights[above]
        assert ratio[0].max() <= ratio[1].min() * (1.0 + 1e-9)
    order = np.argsort(weights)
    assert (np.diff(sizes[order]) >= -1).all()


def test_laws_are_those_of_their_names() -> None:
    """Medians and tails of many clients, far from each other's."""
    rng, count = np.random.default_rng(0), 20_000
    logs = np.log(LogNormal(0.7).weights(count, rng))
    assert logs.std() == pytest.approx(0.7, rel=0.02)
    heavy = np.sort(Pareto(1.5).weights(count, rng) ** -1)
    assert heavy[count // 4] / heavy[0] > 100.0
    tail = Pareto(1.5).weights(count, rng)
    tail = tail / tail.min()
    assert (tail > 4.0).mean() == pytest.approx(4.0**-1.5, rel=0.1)
    ranks = np.sort(Zipf(2.0).weights(5, rng))[::-1]
    assert ranks == pytest.approx([1.0, 1 / 4, 1 / 9, 1 / 16, 1 / 25])


@pytest.mark.parametrize("partition", UNEQUAL, ids=repr)
def test_unequal_shards_lose_nothing_and_repeat(partition: Partition) -> None:
    labels = np.arange(300) % 6
    shards, again = (partition.split(labels, 12, np.random.default_rng(3)) for _ in range(2))
    assert sorted(np.concatenate(shards).tolist()) == list(range(300))
    assert all(np.array_equal(one, two) for one, two in zip(shards, again, strict=True))
    sizes = np.array([shard.size for shard in shards])
    assert sizes.max() > 2 * np.median(sizes)
    assert sizes.min() >= partition.min_examples  # type: ignore[attr-defined]


def test_equal_shards_have_a_least_too() -> None:
    with pytest.raises(InvalidInput, match="at most 3, for 3 or more examples"):
        IID(min_examples=3).split(np.zeros(10, dtype=np.int64), 4, np.random.default_rng(0))
    with pytest.raises(InvalidInput, match="at most 3, for 3 or more examples"):
        drawn_sizes(Zipf(), 10, 4, np.random.default_rng(0), least=3)


def unequal(algorithm: str, sizes: dict[str, Any] | None) -> Config:
    """64 training examples of each of eight clients, or as many in unequal shards."""
    partition = {"name": "iid"} | ({} if sizes is None else {"sizes": sizes})
    return check_config(
        {
            "run": {"algorithm": algorithm, "num_server_rounds": 2},
            "task": [{"name": "t", "data": f"{__name__}:eight_times_64", "model": "linear"}],
            "clients": {"num_clients": 8, "partition": partition, "batch_size": 16},
        }
    )


def eight_times_64() -> tuple[np.ndarray, np.ndarray]:
    features = np.random.default_rng(0).normal(size=(640, 3))
    return features, np.arange(640) % 2


def test_fed_nova_is_fed_avg_with_equal_shards_and_is_not_with_unequal_ones() -> None:
    """To the byte: all clients do the same number of steps, or they do not."""
    nova = "tests.fl_runtime.extension.own_algorithms:FedNova"
    for sizes, same in ((None, True), ({"law": "lognormal", "sigma": 1.0}, False)):
        rows = [
            [encode_row({**row, "arm": ""}) for row in run(unequal(name, sizes)).rows]
            for name in ("fed-avg", nova)
        ]
        assert (rows[0] == rows[1]) is same
    task = assemble(unequal(nova, {"law": "lognormal", "sigma": 1.0}), 0).federation.tasks[0]
    assert sum(task.sizes) == 8 * 48
    assert max(task.sizes) > 3 * min(task.sizes)


@pytest.mark.parametrize(
    ("partition", "reason"),
    [
        (
            {"name": "iid", "sizes": {"law": "lognromal"}},
            r"partition.sizes.law = 'lognromal'",
        ),
        ({"name": "iid", "sizes": {"sigma": 1.0}}, "partition.sizes = .*a table with a law"),
        ({"name": "iid", "sizes": {"law": "zipf", "sigma": 1.0}}, "sizes.sigma = 1.0, .*exponent"),
        ({"name": "iid", "sizes": {"law": "pareto", "shape": 0.0}}, "sizes.shape = 0.0, .*> 0"),
        ({"name": "natural", "sizes": {"law": "zipf"}}, "sizes = .*a known key"),
        ({"name": "iid", "sizes": "zipf"}, "partition.sizes = 'zipf'"),
        ({"name": "iid", "min_examples": 0}, "min-examples = 0, .*at least 1"),
        ({"name": "iid", "min_examples": 99}, "num-clients = 8, .*for 99 or more examples"),
    ],
)
def test_sizes_that_are_none_are_refused(partition: dict[str, Any], reason: str) -> None:
    tree = unequal("fed-avg", None).model_dump()
    tree["clients"]["partition"] = partition
    with pytest.raises(InvalidInput, match=reason) as caught:
        run(check_config(tree))
    assert str(caught.value).startswith(("clients.partition", "num-clients"))
