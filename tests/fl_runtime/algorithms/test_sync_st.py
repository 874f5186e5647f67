"""Simultaneous training in rounds: sets of clients, first answers, its limit, and bad settings."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairopt import InvalidInput
from fl_runtime.algorithms import SyncST
from fl_runtime.algorithms.sync_st import split_sizes
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.running.build import assemble
from fl_runtime.running.experiment import run
from fl_runtime.running.preflight import check_all_arms

WINE = {"name": "wine", "data": "wine", "model": "linear"}
IRIS = {"name": "iris", "data": "iris", "model": "linear"}
DELAY = {"model": "exponential"}


def settings(
    algorithm: str = "sync-st", tasks: tuple[dict[str, Any], ...] = (WINE, IRIS), **own: Any
) -> Config:
    return check_config(
        {
            "run": {"algorithm": algorithm, "num_server_rounds": 6},
            "task": list(tasks),
            "clients": {"num_clients": 12, "fraction_train": 0.75, "delay": DELAY},
            "algorithm": own,
        }
    )


def rows_of(config: Config) -> list[dict[str, Any]]:
    rows = run(config).rounds(config.run.algorithm, 0)
    return [{key: value for key, value in row.items() if key != "arm"} for row in rows]


def test_clients_are_split_in_the_given_ratio_and_none_twice() -> None:
    parts = assemble(settings(split=[2.0, 1.0]), 0)
    state = parts.algorithm.init(parts.federation, 0)
    _, jobs = parts.algorithm.dispatch(state, parts.federation, 0.0)
    assert Counter(job.task for job in jobs) == {"wine": 6, "iris": 3}
    assert len({job.client for job in jobs}) == 9


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.integers(1, 40),
    st.integers(0, 2**32),
)
def test_a_set_has_its_share_rounded_down_or_up(ratio: list[int], count: int, seed: int) -> None:
    """Shares as fractions; where there are enough clients, every task has one."""
    parts = [Fraction(count) * part / sum(ratio) for part in ratio]
    sizes = split_sizes(np.array([float(part) for part in parts]), np.random.default_rng(seed))
    assert sizes.sum() == count
    assert all(0 <= size - math.floor(part) <= 1 for size, part in zip(sizes, parts, strict=True))
    assert all(size == part for size, part in zip(sizes, parts, strict=True) if part == int(part))


@pytest.mark.parametrize("ratio", [(1.0, 1.0, 1.0), (7.0, 5.0), (1.0, 2.0, 4.0), (1.0, 30.0)])
def test_the_expected_size_of_a_set_is_its_share(ratio: tuple[float, ...]) -> None:
    """The remainder is drawn: of eight clients for three tasks, none has three every time."""
    algorithm, rounds, count = SyncST(split=ratio), 4000, 8
    chances = np.tile(np.array(ratio), (count, 1))
    rng = np.random.default_rng(5)
    seen = np.zeros(len(ratio))
    for _ in range(rounds):
        for _, task in algorithm.assignments(chances, np.arange(count), rng):
            seen[task] += 1.0
    share = np.array(ratio) / sum(ratio) * count
    if (share < 1.0).any():
        share = np.array([1.0, 7.0])
    np.testing.assert_allclose(seen / rounds, share, atol=5.0 * 0.5 / rounds**0.5)


def test_the_clients_of_a_finished_task_go_to_the_others() -> None:
    parts = assemble(settings(first=2), 0)
    state = parts.algorithm.init(parts.federation, 0)
    _, jobs = parts.algorithm.dispatch(state, parts.federation.without({"wine"}), 0.0)
    assert [job.task for job in jobs] == ["iris"] * 9


def test_every_task_takes_its_first_answers() -> None:
    rows = rows_of(settings(first=2))
    for row in rows:
        assert (row["wine/num-clients"], row["iris/num-clients"]) == (2, 2)
    assert rows[0]["num-discarded"] == 5
    assert rows[-1]["virtual_time"] < rows_of(settings())[-1]["virtual_time"]


def test_one_task_and_all_answers_is_the_random_arm() -> None:
    assert rows_of(settings(tasks=(WINE,))) == rows_of(settings("random", tasks=(WINE,)))
    assert rows_of(settings(tasks=(WINE,), first=3)) != rows_of(settings(tasks=(WINE,)))


def test_a_round_without_idle_clients_asks_nobody() -> None:
    chances = np.full((4, 2), 0.5)
    nobody = np.array([], dtype=np.int64)
    rng = np.random.default_rng(0)
    assert SyncST().assignments(chances, nobody, rng) == []
    assert SyncST().assignments(np.zeros((4, 2)), np.arange(4), rng) == []


@pytest.mark.parametrize(
    ("own", "clients", "reason"),
    [
        ({"first": 0}, {}, "algorithm.first = 0"),
        ({"split": [1.0]}, {}, "2 numbers, one per task"),
        ({"split": [1.0, 0.0]}, {}, "algorithm.split"),
        ({"server_learning_rate": -1.0}, {}, "algorithm.server-learning-rate"),
        ({}, {"over_selection": 1.5}, "clients.over-selection"),
    ],
)
def test_settings_that_do_not_fit(
    own: dict[str, Any], clients: dict[str, Any], reason: str
) -> None:
    base = settings(**own)
    changed = base.model_copy(update={"clients": base.clients.model_copy(update=clients)})
    with pytest.raises(InvalidInput) as caught:
        check_all_arms(changed)
    assert reason in str(caught.value)
