"""Cheapest assignments of clients to tasks, in exact numbers: a minimum-cost flow on S + 1 nodes.

A node stands for a task; one more, `free`, for clients that could take another task. An arc from x
to y is one client that gives up its place at x for one at y, at the difference of its costs, so a
path moves several clients and changes the number of places at its two ends alone. In an optimum
no cycle is cheap, and every marginal cost is the length of a shortest path.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mechanisms.auctions.exact.perturbed import Perturbed

Row = list[Perturbed | None]
Arc = tuple[Perturbed, int]
"""Cost of a move and the client that makes it."""

OUTSIDER = -1
"""Stands for a client in moves of an outsider."""


def perturbed_costs(bids: Sequence[Sequence[Any]]) -> list[Row]:
    """Every cell with its tie breaker 2^(iS + s): a sum of them belongs to one set of cells only.

    Example:
        >>> perturbed_costs([[3, math.inf]])
        [[Perturbed(value=3, part=1), None]]
    """
    tasks = len(bids[0])
    return [
        [None if bid == math.inf else Perturbed(bid, 1 << (i * tasks + s)) for s, bid in row]
        for i, row in enumerate(list(enumerate(row)) for row in bids)
    ]


@dataclass
class Moves:
    """Cheapest ways to give up one place and fill another.

    Args:
        cost: (S + 1, S + 1) length of the shortest path; None where there is none.
        following: (S + 1, S + 1) first stop on the way.
        arcs: (S + 1, S + 1) cheapest single moves.
    """

    cost: list[Row]
    following: list[list[int]]
    arcs: list[list[Arc | None]]

    @property
    def free(self) -> int:
        """The node of clients that could take another task."""
        return len(self.cost) - 1

    def marginal(self, task: int) -> Perturbed | None:
        """p_s: what one more place costs."""
        return self.cost[self.free][task]

    def marginals(self) -> Row:
        """(S,) what one more place of each task costs."""
        return self.cost[self.free][:-1]

    def lower_marginals(self) -> list[Perturbed]:
        """(S,) m_s: what one place less of each task saves; 0 where there is none."""
        saved = (row[self.free] for row in self.cost[:-1])
        return [Perturbed(0) if cost is None else -cost for cost in saved]

    def path(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """(client, place given up, place taken) along a shortest path."""
        while start != end:
            stop = self.following[start][end]
            arc = self.arcs[start][stop]
            assert arc is not None
            yield arc[1], start, stop
            start = stop


class Assignment:
    """The cheapest assignment that fills some quotas, while the quotas change place by place.

    Args:
        costs: (N, S) perturbed costs; None where a client does not bid.
        capacity: (N,) most tasks of each client.

    Example:
        Two places for task 0 cost 1 + 2; for one more at task 1 client 0 moves there.

        >>> market = Assignment(perturbed_costs([[1, 1], [2, 9], [3, 9]]), [1, 1, 1])
        >>> market.add(0), market.add(0), market.tasks_of
        (True, True, [{0}, {0}, set()])
        >>> market.moves().marginal(1).value
        3
        >>> market.add(1), market.tasks_of
        (True, [{1}, {0}, {0}])
    """

    def __init__(self, costs: list[Row], capacity: Sequence[int]) -> None:
        self.costs = costs
        self.capacity = capacity
        self.tasks_of: list[set[int]] = [set() for _ in costs]

    @property
    def num_tasks(self) -> int:
        """S."""
        return len(self.costs[0])

    def without(self, client: int) -> Assignment:
        """The others, who keep their places; the quotas shrink by the client's tasks."""
        others = self.copy()
        others.costs = [*self.costs]
        others.costs[client] = [None] * self.num_tasks
        others.tasks_of[client] = set()
        return others

    def copy(self) -> Assignment:
        """Another one that starts from the same places."""
        twin = Assignment(self.costs, self.capacity)
        twin.tasks_of = [set(tasks) for tasks in self.tasks_of]
        return twin

    def moves(self, *, outsider_at: int | None = None) -> Moves:
        """Shortest paths between all places.

        Args:
            outsider_at: A place that an outsider holds, who works at any other for the same price.
        """
        arcs = self._arcs()
        if outsider_at is not None:
            for task in range(self.num_tasks):
                known = arcs[outsider_at][task]
                if task != outsider_at and (known is None or known[0] > Perturbed(0)):
                    arcs[outsider_at][task] = Perturbed(0), OUTSIDER
        return shortest_paths(arcs)

    def add(self, task: int) -> bool:
        """Fill one more place of a task; False if nobody is left for it."""
        return self.shift(self.num_tasks, task)

    def shift(self, start: int, end: int) -> bool:
        """Give up one place and fill another, at the least cost; False if that is impossible."""
        moves = self.moves()
        if moves.cost[start][end] is None:
            return False
        for client, given_up, taken in list(moves.path(start, end)):
            self.tasks_of[client].discard(given_up)
            if taken != moves.free:
                self.tasks_of[client].add(taken)
        return True

    def _arcs(self) -> list[list[Arc | None]]:
        """Cheapest single move between any two places."""
        size = self.num_tasks + 1
        arcs: list[list[Arc | None]] = [[None] * size for _ in range(size)]
        for client, tasks in enumerate(self.tasks_of):
            for start, end, cost in self._moves_of(client, tasks):
                known = arcs[start][end]
                if known is None or cost < known[0]:
                    arcs[start][end] = cost, client
        return arcs

    def _moves_of(self, client: int, tasks: set[int]) -> Iterator[tuple[int, int, Perturbed]]:
        """(place given up, place taken, cost) of one client."""
        costs, free = self.costs[client], self.num_tasks
        spare = len(tasks) < self.capacity[client]
        for end, cost in enumerate(costs):
            if cost is None or end in tasks:
                continue
            if spare:
                yield free, end, cost
            yield from ((start, end, cost - _known(costs[start])) for start in tasks)
        yield from ((start, free, -_known(costs[start])) for start in tasks)


def shortest_paths(arcs: list[list[Arc | None]]) -> Moves:
    """All shortest paths (Floyd 1962, "Algorithm 97"); there are no cheap cycles."""
    size = len(arcs)
    cost = [[None if arc is None else arc[0] for arc in row] for row in arcs]
    following = [list(range(size)) for _ in range(size)]
    for node in range(size):
        cost[node][node] = Perturbed(0)
    for middle in range(size):
        for start in range(size):
            first = cost[start][middle]
            if first is None or start == middle:
                continue
            for end, second in enumerate(cost[middle]):
                known = cost[start][end]
                if second is not None and (known is None or first + second < known):
                    cost[start][end] = first + second
                    following[start][end] = following[start][middle]
    return Moves(cost, following, arcs)


def _known(cost: Perturbed | None) -> Perturbed:
    """The cost of a task that a client works on, which is never missing."""
    assert cost is not None
    return cost
