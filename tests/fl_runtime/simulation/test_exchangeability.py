"""Clients are exchangeable: whatever a server waits for, nobody counts more often by its number.

Every configuration is run with many seeds in the runtime's own loop, without training. Over seeds
the numbers of answers that count are exchangeable between clients, whatever a run's own clients
did; so their sums are compared with the spread inside runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from fl_runtime.algorithms import FedAST, FedAsync, FedAvg, FedBuff, RandomAllocation, SyncST
from fl_runtime.random_streams import stream
from fl_runtime.running.run_state import RunState
from fl_runtime.running.step import step
from fl_runtime.simulation.availability import Always, Availability, OnOff, Turns
from fl_runtime.simulation.clock import PendingJobs, Timing, queue
from fl_runtime.simulation.delays import (
    Constant,
    DelayModel,
    Exponential,
    Lognormal,
    Pareto,
    ShiftedExponential,
    Uniform,
    dealt_speeds,
)
from fl_runtime.training.federation import Federation
from tests.fl_runtime.arrivals import federation, vector
from tests.fl_runtime.driven import Instant, Told, parts_of

Counts = NDArray[np.int64]

COUNT = 8
RUNS = 50
BELOW = 1e-6
"""Of a p-value: less than one configuration in a thousand such tests would get there by chance."""

WAITS: dict[str, tuple[Any, dict[str, float], int]] = {
    "barrier": (RandomAllocation(), {"fraction_train": 0.4}, 4),
    "barrier, all tasks": (FedAvg(), {"fraction_train": 0.4}, 4),
    "over-selection": (RandomAllocation(), {"fraction_train": 0.4, "over_selection": 2.0}, 4),
    "over-selection, all tasks": (FedAvg(), {"fraction_train": 0.4, "over_selection": 2.0}, 4),
    "first of each task": (SyncST(first=2), {}, 4),
    "next arrival": (FedAsync(), {}, 12),
    "next arrival of some": (FedBuff(concurrency=5, buffer_size=2), {}, 12),
    "next arrival, with queues": (FedAST(concurrency=12, ratio=3.0), {}, 12),
}
"""An algorithm, what changes in the federation, and the steps of a run."""

LAWS: list[DelayModel] = [
    Constant(),
    ShiftedExponential(0.5, 1.0),
    Exponential(),
    Uniform(0.5, 1.5),
    Lognormal(),
    Pareto(),
]
TIES = ["over-selection", "over-selection, all tasks", "first of each task", "next arrival"]
"""Waits in which it matters who is first among equals."""


def answers(
    wait: str,
    seed: int,
    timing: Callable[..., Timing] = Timing,
    *,
    law: DelayModel,
    speeds: bool = False,
    availability: Availability = Always(),  # noqa: B008
) -> Counts:
    """(clients,) how many answers of each client count in one run."""
    algorithm, change, steps = WAITS[wait]
    clients: Federation = replace(federation("AB", COUNT), **cast(Any, change))
    factors = (0.5, 1.0) if speeds else (1.0, 1.0)
    slowness = dealt_speeds((0.5, 0.5), factors, COUNT, stream(seed, "speeds"))
    clock = timing(law, slowness, dropout=0.1, failures=0.1)
    still = Instant(lambda job: vector(0.0))
    parts = parts_of(algorithm, clients, clock, still, availability)
    current = RunState(algorithm.init(clients, seed))
    counts = np.zeros(COUNT, dtype=np.int64)
    for _ in range(steps):
        current, seen = step(parts, current, Told(("A", "B")))
        np.add.at(counts, [update.client for update in seen.updates], 1)
    return counts


def p_value(runs: NDArray[np.int64]) -> float:
    """Of sums over runs that are this unequal, if clients are exchangeable within every run.

    Friedman's chi-square with counts in place of ranks: the sums' squared distances from their
    mean, over the variance that permuting the clients of every run would give them.
    """
    inside = runs - runs.mean(axis=1, keepdims=True)
    sums, spread = inside.sum(axis=0), np.square(inside).sum()
    freedom = runs.shape[1] - 1
    if spread == 0.0:
        return 1.0
    return float(stats.chi2.sf(freedom * np.square(sums).sum() / spread, freedom))


def table(wait: str, **how: Any) -> NDArray[np.int64]:
    """(runs, clients) the answers of many seeds."""
    return np.array([answers(wait, seed, **how) for seed in range(RUNS)])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("law", "speeds"),
    [(law, False) for law in LAWS] + [(Constant(), True)],
    ids=lambda value: type(value).__name__ if not isinstance(value, bool) else f"speeds-{value}",
)
@pytest.mark.parametrize("wait", WAITS)
def test_no_client_is_preferred(wait: str, law: DelayModel, speeds: bool) -> None:
    """For clients that are always there, and for those that come and go."""
    for availability in (Always(), Turns(OnOff(on=2.0, off=1.0))):
        found = table(wait, law=law, speeds=speeds, availability=availability)
        assert found.sum() > 3 * RUNS
        assert p_value(found) > BELOW


class InOrder(Timing):
    """Jobs that end together come in the order of their numbers: the lower client is first."""

    def launch(self, *args: Any, **kwargs: Any) -> PendingJobs:
        """The timing's, without draws."""
        return queue([replace(entry, tie=0.0) for entry in super().launch(*args, **kwargs)])


@pytest.mark.parametrize("wait", TIES)
def test_ties_in_the_order_of_clients_would_be_found(wait: str) -> None:
    """The negative control: with constant delays the lowest numbers count, and it is seen."""
    assert p_value(table(wait, timing=InOrder, law=Constant())) < BELOW


def test_the_statistic_has_its_distribution() -> None:
    """On permuted rows of very unequal numbers its p-values are uniform."""
    rng = np.random.default_rng(0)
    row = np.array([0, 0, 0, 1, 1, 2, 5, 20])
    found = [p_value(rng.permuted(np.tile(row, (60, 1)), axis=1)) for _ in range(400)]
    assert stats.kstest(found, "uniform").pvalue > 1e-3
