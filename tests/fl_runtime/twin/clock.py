"""Virtual time: who is there, how long a job takes, how it ends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fl_runtime.random_streams import stream

Array = np.ndarray[Any, Any]

SHORTEST = 1e-6
"""Of a turn, in units of its mean."""


def speeds(clients: Any, seed: int) -> Array:
    """A factor per client at the start."""
    if clients.speeds is None:
        return np.ones(clients.num_clients)
    return dealt(clients.speeds, clients.num_clients, stream(seed, "speeds"))


def dealt(table: Any, N: int, rng: np.random.Generator) -> Array:
    """Classes of the given shares, dealt at random."""
    shares = np.array(table.shares) / sum(table.shares) * N
    sizes = np.floor(shares).astype(int)
    order = sorted(range(len(sizes)), key=lambda c: (sizes[c] - shares[c], c))
    for c in order[: N - sizes.sum()]:
        sizes[c] += 1
    return rng.permutation(np.repeat(table.factors, sizes))


def delays(table: dict[str, Any], rng: np.random.Generator, n: int) -> Array:
    """Independent delays of a law."""
    law, mean = table["model"], table.get("mean", 1.0)
    if law == "constant":
        return np.full(n, mean)
    if law == "exponential":
        return rng.exponential(mean, n)
    if law == "shifted-exponential":
        return table["shift"] + rng.exponential(mean - table["shift"], n)
    if law == "uniform":
        return rng.uniform(table["low"], table["high"], n)
    if law == "lognormal":
        sigma = table.get("sigma", 1.0)
        return rng.lognormal(math.log(mean) - sigma**2 / 2, sigma, n)
    index = table.get("index", 1.5)
    return mean * (index - 1) / index * (1.0 + rng.pareto(index, n))


@dataclass
class Fates:
    """The draws for one job of every client."""

    length: Array
    fate: list[str]
    tie: Array


class Clock:
    """Delays, losses and availability of one run; all draws by name."""

    def __init__(self, clients: Any, seed: int) -> None:
        self.clients, self.seed = clients, seed
        self.speeds = {0.0: speeds(clients, seed)}
        for k, change in enumerate(clients.speed_changes):
            rng = stream(seed, "speed-changes", k)
            self.speeds[change.at] = dealt(change, clients.num_clients, rng)
        self._turns: dict[int, tuple[np.random.Generator, bool, list[float]]] = {}

    def fates(self, dispatch: int, repeat: int) -> Fates:
        """Of the job that a client is sent in that dispatch after so many others."""
        c, N = self.clients, self.clients.num_clients
        keys = (dispatch, repeat) if repeat else (dispatch,)
        rng = stream(self.seed, "delays", *keys)
        length = delays(c.delay, rng, N)
        dropped = rng.random(N) < c.dropout
        fate = ["drops out" if lost else "answers" for lost in dropped]
        if c.failures:
            rng = stream(self.seed, "failures", *keys)
            failed, share = rng.random(N) < c.failures, rng.random(N)
            for k in np.flatnonzero(failed & ~dropped):
                fate[k], length[k] = "fails", length[k] * share[k]
        return Fates(length, fate, stream(self.seed, "ties", dispatch).random(N))

    def speed(self, begin: float) -> Array:
        """A factor per client, of jobs that begin then."""
        return self.speeds[max(at for at in self.speeds if at <= begin)]

    def idle_time(self, dispatch: int, now: float) -> float:
        """How long nothing happens where there is nothing to wait for."""
        rng = stream(self.seed, "delays", dispatch)
        drawn = delays(self.clients.delay, rng, self.clients.num_clients)
        return float((drawn * self.speed(now)).max()) * max(self.clients.task_delays, default=1.0)

    def present(self, now: float) -> Array:
        """Who can be given a job."""
        table, N = self.clients.availability, self.clients.num_clients
        if "file" in table:
            at = now % table["period"] if "period" in table else now
            rows = np.loadtxt(table["file"], delimiter=",")
            return np.array([any(c == k and a <= at < b for c, a, b in rows) for k in range(N)])
        if table["model"] == "always":
            return np.ones(N, dtype=bool)
        return np.array([self._on(k, table["on"], table["off"], now) for k in range(N)])

    def _on(self, client: int, on: float, off: float, now: float) -> bool:
        """Turns of exponential length, in equilibrium at the start."""
        if client not in self._turns:
            rng = stream(self.seed, "availability", client)
            self._turns[client] = (rng, bool(rng.random() < on / (on + off)), [0.0])
        rng, first_on, changes = self._turns[client]
        while changes[-1] <= now:
            mean = on if first_on == (len(changes) % 2 == 1) else off
            changes.append(changes[-1] + max(rng.exponential(mean), SHORTEST * mean))
        return first_on == (sum(c <= now for c in changes) % 2 == 1)
