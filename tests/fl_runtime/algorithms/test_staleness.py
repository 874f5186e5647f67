"""How old answers are in FedAST, on the runtime's own clock: the mean, its limit, and a bound."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from fl_runtime.algorithms.fed_ast import FedAST, FedASTNoBuffer
from fl_runtime.simulation.clock import Timing
from fl_runtime.simulation.delays import Constant, DelayModel, Pareto, ShiftedExponential, Uniform
from tests.fl_runtime.arrivals import Seen, arrivals, federation, vector

ACCURACY = 0.005
"""Relative, of a mean over the answers below."""

FAR = 0.03
"""Relative: what a heavy tail is off by at least, after a quarter of that."""

SLOWNESS = np.repeat([1.3, 1.0, 0.7], [12, 25, 13])
LIGHT = ShiftedExponential(0.3, 1.0)
HEAVY = Pareto(mean=1.0, index=1.2)


def answers(
    algorithm: FedAST, law: DelayModel, slowness: NDArray[np.float64] = SLOWNESS
) -> Iterator[Seen]:
    """What one task gets from fifty clients of three speeds, or from others."""
    clients = federation("A", slowness.size)
    return arrivals(algorithm, clients, Timing(law, slowness), lambda job: vector(0.0))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("law", "requests", "ratio", "count"),
    [
        (Constant(), 20, 4.0, 6_000),
        (Uniform(0.5, 1.5), 20, 4.0, 6_000),
        (ShiftedExponential(0.3, 1.0), 96, 32.0, 20_000),
    ],
)
def test_mean_staleness(law: DelayModel, requests: int, ratio: float, count: int) -> None:
    """(R - 1) / b within 0.5 %, over so many updates after a tenth of them.

    What is under way at the ends of the window is about R / count of the mean: windows of 6,000
    with few requests are off by at most 0.1 %.
    """
    algorithm = FedAST(concurrency=requests, ratio=ratio)
    events = answers(algorithm, law)
    ages = [event.staleness for event in itertools.islice(events, count // 10, count // 10 + count)]
    buffer = algorithm.capacity(requests)
    assert np.mean(ages) == pytest.approx((requests - 1) / buffer, rel=ACCURACY)
    assert np.mean(ages) != pytest.approx(requests / buffer, rel=ACCURACY)


def ages_and_what_is_missing(
    law: DelayModel, requests: int, count: int, slowness: NDArray[np.float64] = SLOWNESS
) -> tuple[int, int]:
    """Summed ages of the first answers, and of the requests that are under way after them."""
    total = 0
    events = answers(FedASTNoBuffer(concurrency=requests), law, slowness)
    for event in itertools.islice(events, count):
        total += event.staleness
    version = event.state.version("A")
    return total, sum(version - entry.job.version for entry in event.pending)


@pytest.mark.parametrize("law", [Constant(), Uniform(0.5, 1.5), LIGHT, HEAVY])
def test_every_answer_makes_all_other_requests_one_version_older(law: DelayModel) -> None:
    """Without buffers, exactly and for every law: what the mean lacks is still under way."""
    answered, under_way = ages_and_what_is_missing(law, 7, 300)
    assert answered + under_way == (7 - 1) * 300


@pytest.mark.slow
def test_a_heavy_tail_is_the_limit_of_the_mean() -> None:
    """With so many clients that no request queues: a tail of index 1.2 keeps long jobs away."""
    many, expected = np.ones(1_000), 19 * 5_000
    light, _ = ages_and_what_is_missing(LIGHT, 20, 5_000, many)
    heavy, under_way = ages_and_what_is_missing(HEAVY, 20, 5_000, many)
    assert light == pytest.approx(expected, rel=ACCURACY)
    assert heavy < (1.0 - FAR) * expected
    assert heavy + under_way == expected
