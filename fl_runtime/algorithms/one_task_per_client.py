"""Algorithms that differ only in which task an active client trains: at random, or in turn.

One task per client and round, one global model per task, the same choice of aggregation rules, one
barrier per round. In every round all of them draw the same active clients and the same uniform
numbers from the same streams, so arms with one seed are paired.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fairopt import InvalidInput, client_task_probabilities
from fl_runtime.algorithms.base import ServerState
from fl_runtime.algorithms.synchronous import Probabilities, Synchronous
from fl_runtime.training.federation import Federation


@dataclass(frozen=True, kw_only=True)
class OneTaskPerClient(Synchronous):
    """Common part: every active client draws one task."""

    def assignments(
        self,
        probabilities: Probabilities,
        active: NDArray[np.int64],
        rng: Generator,
    ) -> list[tuple[int, int]]:
        """One task per active client that has an eligible one; the others stay idle."""
        return one_each(probabilities, active, rng)


@dataclass(frozen=True)
class RandomAllocation(OneTaskPerClient):
    """Every active client trains one of its tasks, all equally likely."""

    def probabilities(self, state: ServerState, federation: Federation) -> Probabilities:
        """Uniform over eligible tasks."""
        ones = np.ones(len(federation.tasks))
        return client_task_probabilities(ones, 1.0, eligible=federation.eligible)


@dataclass(frozen=True)
class RoundRobin(OneTaskPerClient):
    """Clients walk through their eligible tasks in turn.

    With S unfinished tasks clients form S contiguous blocks, as equal as can be (block j ends
    before client floor((j+1) N / S)); block j starts on its task number j, and every client, active
    or not, moves on by one task per round.

    Source: the round-robin baseline of the FedFairMMFL experiments (arXiv 2404.13841).
    """

    def __post_init__(self) -> None:
        if self.aggregation == "importance":
            requirement = "data-weighted or plain: whose turn it is is not drawn"
            raise InvalidInput("aggregation", self.aggregation, requirement)

    def probabilities(self, state: ServerState, federation: Federation) -> Probabilities:
        """A one at the task whose turn it is."""
        count, unfinished = federation.num_clients, len(federation.open_tasks)
        ends = [(j + 1) * count // unfinished for j in range(unfinished)]
        block = np.searchsorted(ends, np.arange(count), side="right")
        shares = np.zeros(federation.eligible.shape)
        for client in range(count):
            mine = np.flatnonzero(federation.eligible[client])
            if mine.size:
                shares[client, mine[(block[client] + state.server_round) % mine.size]] = 1.0
        return shares


def one_each(
    probabilities: Probabilities, active: NDArray[np.int64], rng: Generator
) -> list[tuple[int, int]]:
    """Pairs (client, task) with one drawn task per active client that may train any."""
    chosen = draw_tasks(probabilities[active], rng.random(active.size))
    pairs = zip(active.tolist(), chosen.tolist(), strict=True)
    return [(client, task) for client, task in pairs if task >= 0]


def draw_tasks(probabilities: Probabilities, draws: NDArray[np.float64]) -> NDArray[np.int64]:
    """One task per row by inversion of the cumulative shares; -1 for a row of zeros.

    Args:
        probabilities: (n, S), rows that sum to one or to zero.
        draws: (n,) uniform numbers in [0, 1).

    Example:
        >>> draw_tasks(np.array([[0.5, 0.5], [0.0, 1.0], [0.0, 0.0]]), np.array([0.2, 0.2, 0.2]))
        array([ 0,  1, -1])
    """
    total = probabilities.sum(axis=1)
    cumulative = np.cumsum(probabilities, axis=1)
    passed = (cumulative <= (draws * total)[:, None]).sum(axis=1)
    last = probabilities.shape[1] - 1 - np.argmax(probabilities[:, ::-1] > 0.0, axis=1)
    return np.where(total > 0.0, np.minimum(passed, last), -1).astype(np.int64)
