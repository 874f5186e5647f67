"""A small model of asynchronous training: requests in flight, a buffer, versions, no staleness cap.

One task keeps R requests in flight. An update that arrives is `staleness` = versions made since its
request was sent; b updates make a version; then one request is sent with the present version, also
where others end at the same moment. The order of requests that end together is drawn.

The runtime is not imported here: its loop is tested to be such a process.
"""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

Delays = Callable[[np.random.Generator], float]
"""One service time."""


@dataclass
class PendingRequest:
    """One request that was sent and has not returned."""

    finish: float
    number: int
    version: int
    arrivals: int
    tie: float

    def __lt__(self, other: PendingRequest) -> bool:
        """Earlier finish first, the lower draw where they tie."""
        return (self.finish, self.tie) < (other.finish, other.tie)


@dataclass
class Process:
    """R requests of one task served by clients with first-in-first-out queues.

    Args:
        requests: R.
        buffer: b.
        delay: Draws a service time.
        rng: Of delays and clients.
        clients: Queues; 0 gives every request a worker of its own.
        reissue: Requests sent after each arrival, as a function of those in flight.
        stamp_when_started: Take the version when a client starts, not when the request is sent
            (wrong: the request carries its model).
        ties: Of the order of requests that end together.
    """

    requests: int
    buffer: int
    delay: Delays
    rng: np.random.Generator
    clients: int = 0
    reissue: Callable[[int, int], int] = lambda target, pending: target - pending
    stamp_when_started: bool = False
    ties: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    pending: list[PendingRequest] = field(default_factory=list)
    free_at: dict[int, float] = field(default_factory=dict)
    starts: dict[int, float] = field(default_factory=dict)
    sent: int = 0
    arrived: int = 0

    def run(self, updates: int) -> Iterator[tuple[int, int]]:
        """(staleness, other arrivals while in flight) of each update that arrives."""
        made = [0.0]
        for _ in range(self.requests):
            self._send(0.0)
        for _ in range(updates):
            request = heapq.heappop(self.pending)
            version = self.arrived // self.buffer
            carried = request.version
            if self.stamp_when_started:
                carried = bisect.bisect_right(made, self.starts[request.number]) - 1
            yield version - carried, self.arrived - request.arrivals
            self.arrived += 1
            if self.arrived % self.buffer == 0:
                made.append(request.finish)
            for _ in range(self.reissue(self.requests, len(self.pending))):
                self._send(request.finish)

    def unfinished(self) -> int:
        """Arrivals seen so far by the requests still in flight."""
        return sum(self.arrived - request.arrivals for request in self.pending)

    def _send(self, now: float) -> None:
        """A request to a uniformly random client, stamped with the present version."""
        client = int(self.rng.integers(self.clients)) if self.clients else -1 - self.sent
        start = max(now, self.free_at.get(client, 0.0))
        finish = start + self.delay(self.rng)
        self.free_at[client] = finish
        if self.stamp_when_started:
            self.starts[self.sent] = start
        version = self.arrived // self.buffer
        tie = float(self.ties.random())
        request = PendingRequest(finish, self.sent, version, self.arrived, tie)
        heapq.heappush(self.pending, request)
        self.sent += 1


def constant(rng: np.random.Generator) -> float:
    """Every request takes one unit of time."""
    return 1.0


def uniform(rng: np.random.Generator) -> float:
    """Between 0 and 2."""
    return float(rng.uniform(0.0, 2.0))


def shifted_exponential(rng: np.random.Generator) -> float:
    """The law of FedAST's experiments, for a normal client."""
    return 27.0 * (0.074 + float(rng.exponential(0.148)))


def heavy_tailed(rng: np.random.Generator) -> float:
    """Pareto of index 1.2: the mean is finite, the variance is not."""
    return 1.0 + float(rng.pareto(1.2))
