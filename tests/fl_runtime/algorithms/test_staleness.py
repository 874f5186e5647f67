"""How old answers are in asynchronous arms, in the runtime's own loop: the mean and its limit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fl_runtime.algorithms import FedAsync, FedBuff
from fl_runtime.algorithms.asynchronous import ByArrival
from fl_runtime.algorithms.fed_ast import FedAST, FedASTNoBuffer
from fl_runtime.simulation.clock import Timing
from fl_runtime.simulation.delays import Constant, DelayModel, Pareto, ShiftedExponential, Uniform
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Job
from tests.fl_runtime.arrivals import Seen, arrivals, federation, vector

ACCURACY = 0.005
"""Relative, of a mean over the answers below."""

FAR = 0.03
"""Relative: what a heavy tail is off by at least, after a quarter of that."""

SLOWNESS = np.repeat([1.3, 1.0, 0.7], [12, 25, 13])
EQUAL = np.ones(20)
TIED = np.repeat([2.0, 1.0, 0.5], [12, 25, 13])
"""Multiples of each other, so that under constant delays answers of all speeds are due together."""

LIGHT = ShiftedExponential(0.3, 1.0)
HEAVY = Pareto(mean=1.0, index=1.2)
LAWS = [
    pytest.param(Constant(), EQUAL, id="constant"),
    pytest.param(Constant(), TIED, id="tied"),
    pytest.param(Uniform(0.5, 1.5), SLOWNESS, id="uniform"),
    pytest.param(LIGHT, SLOWNESS, id="exponential"),
    pytest.param(HEAVY, SLOWNESS, id="heavy-tailed"),
]


def answers(
    algorithm: ByArrival, law: DelayModel, slowness: NDArray[np.float64] = SLOWNESS
) -> Iterator[Seen]:
    """What one task gets in the runtime's loop, from fifty clients of three speeds or others."""
    clients = federation("A", slowness.size)
    return arrivals(algorithm, clients, Timing(law, slowness), lambda job: vector(0.0))


def mean_age(events: Iterator[Seen], count: int) -> float:
    """Of so many answers after a tenth of them."""
    window = itertools.islice(events, count // 10, count // 10 + count)
    return float(np.mean([event.staleness for event in window]))


@pytest.mark.slow
@pytest.mark.parametrize(("law", "slowness"), LAWS[:-1])
@pytest.mark.parametrize(
    "algorithm", [FedAST(concurrency=20, ratio=4.0), FedBuff(concurrency=20, buffer_size=5)]
)
def test_mean_staleness(
    algorithm: ByArrival, law: DelayModel, slowness: NDArray[np.float64]
) -> None:
    """(R - 1) / b within 0.5 %, over 3,000 updates after a tenth of them, constant delays included.

    What is under way at the ends of the window is about R / count of the mean.
    """
    found = mean_age(answers(algorithm, law, slowness), 3_000)
    assert found == pytest.approx((20 - 1) / 5, rel=ACCURACY)
    assert found != pytest.approx(20 / 5, rel=ACCURACY)


@pytest.mark.slow
def test_mean_staleness_of_many_requests() -> None:
    """With 48 requests and buffers of 3."""
    events = answers(FedAST(concurrency=48, ratio=16.0), LIGHT)
    assert mean_age(events, 8_000) == pytest.approx(47 / 3, rel=ACCURACY)


@pytest.mark.parametrize("size", [1, 4, 8])
def test_equal_clients_are_in_step_and_their_mean_staleness_is_exact(size: int) -> None:
    """Eight jobs end at every moment, in whatever order: every moment's mean is 7 / b.

    With buffers of all clients (b = 8) that is 7 / 8: all but one start from the version before.
    """
    algorithm = FedBuff(buffer_size=size, concurrency=8)
    events = itertools.islice(answers(algorithm, Constant(), np.ones(8)), 40)
    ages = np.array([event.staleness for event in events]).reshape(5, 8)
    assert (ages[1:].mean(axis=1) == 7 / size).all()


def test_sending_nothing_until_a_moment_is_over_would_be_found() -> None:
    """The negative control: jobs are sent when no other one is due, and nobody is ever stale."""

    class Hesitant(FedBuff):
        def dispatch(self, state: Any, seen: Federation, now: float) -> tuple[Any, list[Job]]:
            if seen.in_flight:
                return state, []
            return super().dispatch(state, seen, now)

    events = answers(Hesitant(buffer_size=8, concurrency=8), Constant(), np.ones(8))
    assert mean_age(events, 40) == 0.0


def ages_and_what_is_missing(
    algorithm: ByArrival, law: DelayModel, count: int, slowness: NDArray[np.float64] = SLOWNESS
) -> tuple[int, int]:
    """Summed ages of the first answers, and of the requests that are under way after them."""
    total = 0
    events = answers(algorithm, law, slowness)
    for event in itertools.islice(events, count):
        total += event.staleness
    version = event.state.version("A")
    return total, sum(version - entry.job.version for entry in event.pending)


@pytest.mark.parametrize(("law", "slowness"), LAWS)
@pytest.mark.parametrize(
    "algorithm",
    [FedASTNoBuffer(concurrency=7), FedAsync(concurrency=7), FedBuff(concurrency=7, buffer_size=1)],
)
def test_every_answer_makes_all_other_requests_one_version_older(
    algorithm: ByArrival, law: DelayModel, slowness: NDArray[np.float64]
) -> None:
    """Without buffers, exactly and for every law: what the mean lacks is still under way."""
    answered, under_way = ages_and_what_is_missing(algorithm, law, 300, slowness)
    assert answered + under_way == (7 - 1) * 300


@pytest.mark.slow
def test_a_heavy_tail_is_the_limit_of_the_mean() -> None:
    """With so many clients that no request queues: a tail of index 1.2 keeps long jobs away."""
    algorithm, many, expected = FedASTNoBuffer(concurrency=20), np.ones(1_000), 19 * 5_000
    light, _ = ages_and_what_is_missing(algorithm, LIGHT, 5_000, many)
    heavy, under_way = ages_and_what_is_missing(algorithm, HEAVY, 5_000, many)
    assert light == pytest.approx(expected, rel=ACCURACY)
    assert heavy < (1.0 - FAR) * expected
    assert heavy + under_way == expected
