"""Asynchronous arms: their limits, their formulas on hand numbers, staleness, and bad settings."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fairopt import InvalidInput
from fl_runtime.algorithms import FedAsync, FedBuff
from fl_runtime.algorithms.asynchronous import AsynchronousState
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.history import History
from fl_runtime.running.build import assemble
from fl_runtime.running.experiment import run
from fl_runtime.running.preflight import check_all_arms
from fl_runtime.training.job import Update

WINE = {"name": "wine", "data": "wine", "model": "linear"}
IRIS = {"name": "iris", "data": "iris", "model": "linear"}
TAIL = {"model": "shifted-exponential", "shift": 0.5, "mean": 1.0}


def settings(
    algorithm: str,
    rounds: int = 6,
    tasks: tuple[dict[str, Any], ...] = (WINE,),
    clients: dict[str, Any] | None = None,
    run_: dict[str, Any] | None = None,
    **parameters: Any,
) -> Config:
    return check_config(
        {
            "run": {"algorithm": algorithm, "num_server_rounds": rounds, **(run_ or {})},
            "task": list(tasks),
            "clients": {"num_clients": 6, **(clients or {})},
            "algorithm": parameters,
        }
    )


def rows_of(history: History) -> list[dict[str, Any]]:
    """What rows of arms in rounds have as well."""
    rows = history.rounds(history.arms[0], 0)
    return [
        {k: value for k, value in row.items() if k != "arm" and not k.endswith("num-updates")}
        for row in rows
    ]


def figures(row: dict[str, Any]) -> dict[str, Any]:
    """The numbers of a row."""
    return {key: value for key, value in row.items() if key != "event"}


@pytest.mark.filterwarnings("ignore:arm .* is asynchronous:UserWarning")
@pytest.mark.parametrize("executor", ["sequential", "stacked"])
def test_the_first_buffer_of_all_equal_clients_is_a_round_of_federated_averaging(
    executor: str,
) -> None:
    """The same figures but for rounding, since updates are added in another order.

    From then on a client is sent its next job when its answer arrives, so all but the last of them
    get the model that the buffer has not changed yet: their mean staleness is 5 / 6.
    """
    how = {"run_": {"executor": executor}}
    buffered = rows_of(run(settings("fed-buff", buffer_size=6, exponent=0.0, **how)))
    in_rounds = rows_of(run(settings("random", **how)))
    assert figures(buffered[0]) == pytest.approx(figures(in_rounds[0]), rel=1e-5)
    assert [row["virtual_time"] for row in buffered] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert [row["staleness_mean"] for row in buffered] == [0.0, *[5 / 6] * 5]
    assert [row["num-clients"] for row in buffered] == [6] * 6


@pytest.mark.filterwarnings("ignore:arm .* is asynchronous:UserWarning")
def test_a_run_takes_all_that_is_due_at_its_time_limit() -> None:
    """Six clients, two moments, one aggregation per answer; rounds take as many."""
    limit: dict[str, Any] = {"rounds": 99, "run_": {"time_limit": 2.0}}
    assert [row["virtual_time"] for row in rows_of(run(settings("fed-async", **limit)))] == [
        *[1.0] * 6,
        *[2.0] * 6,
    ]
    assert sum(row["num-clients"] for row in rows_of(run(settings("random", **limit)))) == 12


def test_unequal_delays_tell_the_two_apart() -> None:
    """The negative control of the test above: the first answers are not those of all clients."""
    clients = {"delay": TAIL}
    buffered = rows_of(run(settings("fed-buff", buffer_size=6, exponent=0.0, clients=clients)))
    in_rounds = rows_of(run(settings("random", clients=clients)))
    assert figures(buffered[0]) != pytest.approx(figures(in_rounds[0]), rel=1e-5)


@pytest.mark.parametrize(
    ("algorithm", "clients", "warned"),
    [
        ("fed-buff", {}, True),
        ("fed-async", {"dropout": 0.5}, True),
        ("fed-ast", {"speeds": {"shares": [1.0], "factors": [2.0]}}, True),
        ("fed-ast", {"speeds": {"shares": [0.5, 0.5], "factors": [1.0, 2.0]}}, False),
        ("fed-async", {"delay": TAIL}, False),
        ("random", {}, False),
    ],
)
def test_answers_that_all_come_together_are_warned_about(
    algorithm: str, clients: dict[str, Any], warned: bool
) -> None:
    config = settings(algorithm, clients=clients)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_all_arms(config)
    texts = [str(each.message) for each in caught]
    assert len(texts) == warned
    assert all(f'arm "{algorithm}" is asynchronous' in text for text in texts)
    assert not any("\n" in text for text in texts)


def hand_state(value: float = 1.0) -> AsynchronousState:
    """One task `a` of one number, at version 3."""
    return AsynchronousState(
        seed=0,
        server_round=3,
        models={"a": {"w": torch.tensor([value], dtype=torch.float64)}},
        validation_loss={},
        validation_error={},
        versions={"a": 3},
        buffers={"a": ()},
        dispatches=0,
        jobs=(0, 0),
    )


def update(version: int, delta: float, examples: int = 1, start: float = 0.0) -> Update:
    one = {"w": torch.tensor([delta], dtype=torch.float64)}
    origin = {"w": torch.tensor([start], dtype=torch.float64)}
    return Update("a", 0, version, one, examples, payload=origin)


@pytest.mark.parametrize(
    ("parameters", "version", "expected"),
    [
        ({"weighting": "constant"}, 0, 0.5 * 1.0 + 0.5 * 5.0),
        ({"weighting": "polynomial"}, 3, 0.5 * 1.0 + 0.5 * 5.0),
        ({"weighting": "polynomial"}, 0, 0.75 * 1.0 + 0.25 * 5.0),
        ({"weighting": "polynomial", "exponent": 1.0}, 2, 0.75 * 1.0 + 0.25 * 5.0),
        ({"weighting": "hinge", "grace": 3}, 0, 0.5 * 1.0 + 0.5 * 5.0),
        ({"weighting": "hinge", "grace": 2, "slope": 4.0}, 0, 0.9 * 1.0 + 0.1 * 5.0),
    ],
)
def test_fed_async_on_hand_numbers(
    parameters: dict[str, Any], version: int, expected: float
) -> None:
    """From 1 towards 2 + 3; the update is 3 - version versions old."""
    after = FedAsync(mixing=0.5, **parameters).aggregate(
        hand_state(), [update(version, 3.0, start=2.0)]
    )
    assert after.models["a"]["w"].item() == pytest.approx(expected, rel=1e-14)
    assert (after.server_round, after.versions) == (4, {"a": 4})


def test_fed_buff_on_hand_numbers() -> None:
    """Examples 1 and 3, ages 0 and 3, so weights 1 and 1/2: x + 2 (1/4 * 4 + 3/4 * 1/2 * 8)."""
    algorithm = FedBuff(buffer_size=2, server_learning_rate=2.0)
    half = algorithm.aggregate(hand_state(), [update(3, 4.0)])
    assert half.models["a"]["w"].item() == 1.0
    assert (half.server_round, len(half.buffers["a"])) == (3, 1)
    full = algorithm.aggregate(half, [update(0, 8.0, examples=3)])
    assert full.models["a"]["w"].item() == 1.0 + 2.0 * (1.0 + 3.0)
    assert (full.server_round, full.versions, full.buffers) == (4, {"a": 4}, {"a": ()})


def test_states_survive_their_tree() -> None:
    algorithm = FedBuff(buffer_size=3)
    state = algorithm.aggregate(hand_state(), [update(3, 4.0)])
    again = AsynchronousState.from_tree(state.tree())
    assert again.buffers["a"][0].weight == state.buffers["a"][0].weight
    assert replace(again, buffers={}, models={}) == replace(state, buffers={}, models={})


@pytest.mark.parametrize(("concurrency", "buffer"), [(8, 2), (12, 4), (9, 1)])
def test_mean_staleness_is_in_flight_less_one_over_the_buffer(
    concurrency: int, buffer: int
) -> None:
    """In the long run exactly; here within 10 %, over 600 updates after a start-up."""
    history = run(
        settings(
            "fed-buff",
            rounds=700 // buffer,
            clients={"num_clients": 16, "delay": TAIL, "batch_size": 64},
            concurrency=concurrency,
            buffer_size=buffer,
        )
    )
    means = [row["staleness_mean"] for row in rows_of(history)][100 // buffer :]
    assert np.mean(means) == pytest.approx((concurrency - 1) / buffer, rel=0.1)


def test_several_tasks_have_their_own_versions_and_buffers() -> None:
    history = run(
        settings(
            "fed-buff",
            rounds=12,
            tasks=(WINE, IRIS),
            clients={"delay": TAIL},
            buffer_size=[2, 3],
            allocation="fair",
        )
    )
    rows = rows_of(history)
    assert [row["server_round"] for row in rows] == list(range(1, 13))
    times = [row["virtual_time"] for row in rows]
    assert times == sorted(times)
    assert sum(row["wine/num-clients"] for row in rows) > 0
    assert sum(row["iris/num-clients"] for row in rows) > 0


def test_a_bound_of_staleness_drops_and_counts_what_is_older() -> None:
    clients = {"delay": {"model": "exponential"}}
    how: dict[str, Any] = {"rounds": 30, "clients": clients, "buffer_size": 1}
    free = rows_of(run(settings("fed-buff", **how)))
    bound = rows_of(run(settings("fed-buff", max_staleness=2, **how)))
    assert max(row["staleness_max"] for row in free) > 2
    assert max(row["staleness_max"] for row in bound) <= 2
    assert sum(row["num-stale"] for row in bound) > 0
    assert "num-stale" not in free[0]


@pytest.mark.parametrize("algorithm", ["fed-buff", "fed-async"])
def test_both_learn(algorithm: str) -> None:
    history = run(settings(algorithm, rounds=60, clients={"delay": TAIL, "batch_size": 8}))
    rows = rows_of(history)
    assert rows[-1]["wine/eval_acc"] > rows[0]["wine/eval_acc"] + 0.1


@pytest.mark.parametrize(
    ("parameters", "clients", "reason"),
    [
        ({"concurrency": 7}, {}, "algorithm.concurrency = 7"),
        ({"concurrency": 0}, {}, "in 1 .. 6"),
        ({"buffer_size": [1, 2]}, {}, "one per task"),
        ({"buffer_size": 0}, {}, "algorithm.buffer-size = 0"),
        ({"max_staleness": -1}, {}, "algorithm.max-staleness = -1"),
        ({"exponent": -0.5}, {}, "algorithm.exponent"),
        ({"alpha": 0.5}, {}, "a number in [1, inf]"),
        ({}, {"over_selection": 1.5}, "does not work in rounds"),
    ],
)
def test_settings_that_do_not_fit(
    parameters: dict[str, Any], clients: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_all_arms(settings("fed-buff", clients=clients, **parameters))
    assert reason in str(caught.value)


def test_jobs_of_one_version_draw_their_own_orders() -> None:
    parts = assemble(settings("fed-buff", buffer_size=5), seed=0)
    state = parts.algorithm.init(parts.federation, 0)
    seeds = set()
    for _ in range(3):
        state, jobs = parts.algorithm.dispatch(state, parts.federation, 0.0)
        seeds |= {job.seed for job in jobs}
    assert len(seeds) == 18
