"""FedAST's requests: their number per task, the order of refilling, and the draw of clients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from fairopt import InvalidInput, request_allocation
from fl_runtime.algorithms.asynchronous import AsynchronousState, issue
from fl_runtime.algorithms.update_variance import Watch
from fl_runtime.random_streams import stream
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Job

LONGEST_QUEUE = 1000
"""Requests per client, on average; more is a typing error."""


@dataclass(frozen=True)
class FedASTState(AsynchronousState):
    """State of a FedAST server.

    Attributes:
        requests: Wanted requests of each task, R_m; 0 for one that is finished.
        active: Requests of each task under way after the latest dispatch, A_m.
        received: Updates of all tasks since the last reallocation.
        watches: What is remembered of each task's updates.
    """

    requests: Mapping[str, int] = field(default_factory=dict, kw_only=True)
    active: Mapping[str, int] = field(default_factory=dict, kw_only=True)
    received: int = field(default=0, kw_only=True)
    watches: Mapping[str, Watch] = field(default_factory=dict, kw_only=True)

    def tree(self) -> dict[str, Any]:
        """Plain values and tensors, for a checkpoint."""
        watches = {task: dict(vars(watch)) for task, watch in self.watches.items()}
        return {**super().tree(), "watches": watches}

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Self:
        """The state that `tree` described."""
        watches = {task: Watch.from_tree(each) for task, each in tree["watches"].items()}
        return super().from_tree({**tree, "watches": watches})


def first_requests(
    concurrency: int | tuple[int, ...] | None, num_clients: int, num_tasks: int
) -> list[int]:
    """Requests of every task at the start: as given, or equal shares of the total.

    Raises:
        InvalidInput: Fewer requests than tasks, or more than the clients' queues should hold.
    """
    given = concurrency if isinstance(concurrency, tuple) else ()
    if isinstance(concurrency, tuple) and (len(given) != num_tasks or min(given) < 1):
        requirement = f"an integer, or {num_tasks} integers >= 1, one per task"
        raise InvalidInput("algorithm.concurrency", list(given), requirement)
    wanted = sum(given) if isinstance(concurrency, tuple) else concurrency
    total = num_clients if wanted is None else wanted
    if not num_tasks <= total <= LONGEST_QUEUE * num_clients:
        requirement = f"in {num_tasks} (one per task) .. {LONGEST_QUEUE * num_clients}"
        raise InvalidInput("algorithm.concurrency", total, requirement)
    return list(given) if given else request_allocation([1.0] * num_tasks, total).tolist()


def handed_over(requests: Mapping[str, int], unfinished: Sequence[str]) -> Mapping[str, int]:
    """The requests of other tasks shared by the unfinished ones, in proportion to what they have.

    No error is minimised here: shares are rounded, by largest remainders. (The released code rounds
    down and hands out the rest at random.)

    Example:
        >>> handed_over({"a": 4, "b": 2, "c": 6}, ["a", "b"])
        {'a': 8, 'b': 4, 'c': 0}
    """
    wanting = [task for task, count in requests.items() if count > 0]
    if sorted(wanting) == sorted(unfinished):
        return requests
    shares = request_allocation(
        [requests[task] for task in unfinished],
        sum(requests.values()),
        rounding="largest-remainder",
    )
    return dict.fromkeys(requests, 0) | by_task(unfinished, shares.tolist())


def refill(requests: Mapping[str, int], in_flight: Mapping[str, int]) -> list[str]:
    """Tasks of the next requests, in order, so that as many are under way as are wanted.

    The task with the largest deficit is next, the earlier one among equals; what is under way for a
    task that has too much is not taken back.

    Example:
        >>> refill({"a": 2, "b": 3}, {"a": 3, "b": 1})
        ['b']
    """
    missing = {task: wanted - in_flight.get(task, 0) for task, wanted in requests.items()}
    chosen = []
    for _ in range(sum(missing.values())):
        task = max(missing, key=lambda name: missing[name])
        missing[task] -= 1
        chosen.append(task)
    return chosen


def draw_clients(
    state: AsynchronousState, federation: Federation, tasks: Sequence[str]
) -> list[tuple[int, str]]:
    """A client for each request, with replacement; none for a task no client can train now."""
    draws = stream(state.seed, "requests", state.dispatches).random(len(tasks))
    able = federation.eligible & federation.reachable[:, None]
    willing = {
        task.name: np.flatnonzero(able[:, index]) for index, task in enumerate(federation.tasks)
    }
    return [
        (int(willing[task][int(draw * willing[task].size)]), task)
        for task, draw in zip(tasks, draws, strict=True)
        if willing[task].size
    ]


def send(
    state: FedASTState, federation: Federation, pairs: Sequence[tuple[int, str]], now: float
) -> tuple[FedASTState, list[Job]]:
    """The requests for those pairs of client and task, and what is under way with them."""
    under_way = Counter(federation.in_flight) + Counter(task for _, task in pairs)
    active = {task: under_way[task] for task in state.requests}
    return issue(replace(state, active=active), pairs, now)


def by_task(tasks: Collection[str], counts: Collection[int]) -> dict[str, int]:
    """Counts under the names of their tasks."""
    return dict(zip(tasks, counts, strict=True))
