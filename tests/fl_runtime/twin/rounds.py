"""Algorithms in rounds: who is asked for what, and the step of each task's model."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import comb

import numpy as np

from fl_runtime.random_streams import stream
from tests.fl_runtime.twin import local, nets
from tests.fl_runtime.twin.data import Array
from tests.fl_runtime.twin.nets import Model
from tests.fl_runtime.twin.world import Sent, World

LEAST_LOSS = 1e-10
"""In q-FFL, whose power of a loss is infinite at zero for q < 1."""


def drawn(shares: Array, u: float) -> int | None:
    """By inversion of the cumulative shares; None where there are none."""
    if not shares.any():
        return None
    edges = np.cumsum(shares)
    later = np.flatnonzero(edges > u * edges[-1])
    return int(later[0]) if later.size else int(np.flatnonzero(shares)[-1])


def alpha_fair(f: Sequence[float], alpha: float, may: Array, priority: Sequence[float]) -> Array:
    """(N, S) shares in proportion to a f^(alpha - 1) over the tasks of each client."""
    shares = np.zeros(may.shape)
    values, weight = np.array(f), np.array(priority)
    for k, mine in enumerate(may):
        if not mine.any():
            continue
        top = values[mine].max()
        if alpha == 1.0 or top == 0.0:
            power = np.ones(len(f))
        elif np.isinf(alpha):
            power = (values == top).astype(float)
        else:
            power = (values / top) ** (alpha - 1.0)
        shares[k] = np.where(mine, weight * power, 0.0)
        shares[k] /= shares[k].sum()
    return shares


def uniform(may: Array) -> Array:
    """(N, S) equal shares over the tasks of each client."""
    return may / np.maximum(may.sum(axis=1, keepdims=True), 1)


def allocation(world: World) -> Array:
    """(N, S) chances of FedFairMMFL; equal ones while nothing is measured."""
    o = world.options
    if world.round == 0:
        return uniform(world.open)
    signal = world.losses if o.get("signal", "error") == "loss" else world.errors
    if o.get("signal") == "progress":
        tried = [[*old, new] for old, new in zip(world.learnt, world.errors, strict=True)]
        if min(len(tried[s]) for s in range(world.S) if s not in world.finished) < 4:
            return uniform(world.open)
        signal = [0.0 if s in world.finished else progress(e) for s, e in enumerate(tried)]
    priority = o.get("priority") or [1.0] * world.S
    return alpha_fair(signal, o.get("alpha", 3.0), world.open, priority)


def progress(errors: list[float]) -> float:
    """The fall from the second to the last quarter, or what chance explains, or a thousandth."""
    n = len(errors)
    quarters = [errors[n // 4 : n // 2], errors[3 * n // 4 :]]
    old, new = (sum(part) / len(part) for part in quarters)
    steps = [(b - a) ** 2 for a, b in pairwise(errors[n // 4 :])]
    chance = sum(steps) / (2 * len(steps)) * sum(1 / len(part) for part in quarters)
    return max(old - new, chance**0.5, errors[-1] / 1000)


class Rounds:
    """What all algorithms in rounds have in common: one job per pair, one model per task."""

    default_aggregation = "data-weighted"

    def __init__(self, world: World) -> None:
        self.world = world
        self.aggregation = world.options.get("aggregation", self.default_aggregation)
        self.algorithm = world.config.run.algorithm

    def wait(self) -> tuple[str, int | None]:
        """For all clients, or for the first so many, of the round or of every task."""
        w = self.world
        return "round", w.active if w.clients.over_selection > 1.0 else None

    @property
    def stamp(self) -> int:
        """What addresses the streams of a round."""
        return self.world.round

    def version(self, name: str) -> int:
        """Of a model."""
        return self.stamp

    def select(self) -> tuple[list[int], np.random.Generator]:
        """The clients of this round, and what further draws come from."""
        w = self.world
        rng = stream(w.seed, "dispatch", self.stamp)
        idle = w.idle()
        chosen = np.sort(rng.choice(idle, min(w.selected, idle.size), replace=False))
        return [int(k) for k in chosen], rng

    def send(self) -> list[Sent]:
        """The jobs of a round."""
        chosen, rng = self.select()
        jobs = [self.job(k, s) for k, s in self.pairs(chosen, rng)]
        if self.aggregation == "importance" and jobs:
            included = self.inclusion()
            there = np.isin(np.arange(self.world.N), self.world.idle())
            for job in jobs:
                share = self.shares(job.task, there & self.world.open[:, job.task])
                job.notes["importance"] = share[job.client] / included[job.client, job.task]
        return jobs

    def inclusion(self) -> Array:
        """(N, S) chance to be asked, given that task, to answer, and to be counted."""
        w, idle = self.world, self.world.idle()
        chances, asked = self.chances(), min(w.selected, idle.size)
        able = int((chances[idle] > 0.0).any(axis=1).sum())
        counts = 1.0
        if w.clients.over_selection > 1.0:
            counts = first_chance(w.active, asked, able, idle.size, w.answers)
        return chances * asked / idle.size * w.answers * counts

    def pairs(self, chosen: list[int], rng: np.random.Generator) -> list[tuple[int, int]]:
        """Clients and tasks."""
        chances = self.chances()
        draws = rng.random(len(chosen))
        found = [(k, drawn(chances[k], u)) for k, u in zip(chosen, draws, strict=True)]
        return [(k, s) for k, s in found if s is not None]

    def chances(self) -> Array:
        """(N, S) of a client that is asked."""
        if self.algorithm == "fed-fair-mmfl":
            return allocation(self.world)
        return uniform(self.world.open)

    def seed_name(self, client: int, task: int) -> str:
        """Jobs of a client and round with one name see their examples in one order."""
        return self.world.names[task]

    def job(self, client: int, task: int) -> Sent:
        """The job of one pair."""
        w = self.world
        job = w.job(
            w.problems[task],
            task,
            client,
            start=self.payload(task, client),
            stamp=self.stamp,
            version=self.version(w.names[task]),
            seed_name=self.seed_name(client, task),
        )
        job.work.memory = w.remembered((job.name, client), job.work)
        self.prepare(job)
        return job

    def prepare(self, job: Sent) -> None:
        """Options of a job."""

    def payload(self, task: int, client: int) -> Model:
        """What a client starts from."""
        return self.world.models[self.world.names[task]]

    def judged(self) -> dict[int, list[Model]]:
        """The models that stand for each task."""
        w = self.world
        return {s: [w.models[name]] for s, name in enumerate(w.names)}

    def compute(self, jobs: list[Sent]) -> None:
        """Train; jobs of one client and group together."""
        groups: dict[tuple[int, str], list[Sent]] = {}
        for job in jobs:
            if job.group:
                groups.setdefault((job.client, job.group), []).append(job)
            else:
                job.done = local.alone(job.work, self.world.clients)
        for mine in groups.values():
            found = self.jointly(mine)
            for job, done in zip(mine, found, strict=True):
                job.done = done

    def jointly(self, jobs: list[Sent]) -> list[local.Done]:
        """Several tasks of one client."""
        raise NotImplementedError

    def keep(self, jobs: list[Sent]) -> None:
        """What clients keep of their optimisers."""
        for job in jobs:
            if job.work.settings.persist_optimizer:
                self.world.memories[job.name, job.client] = job.answer.memory

    def take(self, jobs: list[Sent]) -> None:
        """The models after a round's answers."""
        w = self.world
        self.keep(jobs)
        for s, name in enumerate(w.names):
            mine = [job for job in jobs if job.task == s]
            if mine:
                w.models[name] = nets.plus(w.models[name], self.mean(mine))
                w.learnt[s] += w.errors[s : s + 1]

    def mean(self, jobs: list[Sent]) -> Model:
        """The step of one model."""
        return nets.total([job.answer.delta for job in jobs], self.coefficients(jobs))

    def coefficients(self, jobs: list[Sent]) -> list[float]:
        """Of the updates of one model."""
        if self.aggregation == "plain":
            return [1.0 / len(jobs)] * len(jobs)
        if self.aggregation == "importance":
            return [job.notes["importance"] for job in jobs]
        return self.coefficients_by_data(jobs)

    def coefficients_by_data(self, jobs: list[Sent]) -> list[float]:
        """Shares of examples."""
        n = sum(job.answer.examples for job in jobs)
        return [job.answer.examples / n for job in jobs]

    def forget(self, tasks: set[int]) -> None:
        """Nothing is kept from round to round."""

    def shares(self, task: int, who: Array) -> Array:
        """(N,) shares of a task's examples over those clients."""
        w = self.world
        sizes = np.array([w.problems[task].size(k) for k in range(w.N)]) * who
        return sizes / max(sizes.sum(), 1)


class RoundRobin(Rounds):
    """Clients in blocks walk through their tasks."""

    def chances(self) -> Array:
        """One at the task whose turn it is."""
        w = self.world
        turn = np.zeros((w.N, w.S))
        S = int(w.open.any(axis=0).sum())
        for k in range(w.N):
            block = sum((j + 1) * w.N // S <= k for j in range(S))
            mine = np.flatnonzero(w.open[k])
            if mine.size:
                turn[k, mine[(block + w.round) % mine.size]] = 1.0
        return turn


class FedAvg(Rounds):
    """Every task of every active client."""

    def chances(self) -> Array:
        """One for every task, or equal shares."""
        every = self.world.options.get("tasks_per_client", "all") == "all"
        return self.world.open.astype(float) if every else uniform(self.world.open)

    def pairs(self, chosen: list[int], rng: np.random.Generator) -> list[tuple[int, int]]:
        """All pairs, or one task per client."""
        if self.world.options.get("tasks_per_client", "all") == "one":
            return super().pairs(chosen, rng)
        return [(k, s) for k in chosen for s in range(self.world.S) if self.world.open[k, s]]


class FedProx(FedAvg):
    """With a pull towards what was sent."""

    def prepare(self, job: Sent) -> None:
        """Its gradient is mu (w - w_t)."""
        job.work.mu = self.world.options.get("mu", 0.01)


class QFFL(Rounds):
    """q-FedAvg within each task."""

    def coefficients(self, jobs: list[Sent]) -> list[float]:
        """Each is p F^q L over the sum of p (q F^(q-1) L^2 |D|^2 + L F^q)."""
        q = self.world.options.get("q", 1.0)
        top, bottom = [], 0.0
        for p, job in zip(super().coefficients(jobs), jobs, strict=True):
            F = max(nets.mean_loss(job.work.start, job.work.data), LEAST_LOSS)
            L, D = 1.0 / job.work.settings.learning_rate, job.answer.delta
            top.append(p * F**q * L)
            bottom += p * (q * F ** (q - 1) * L**2 * nets.dot(D, D) + L * F**q)
        return [each / bottom for each in top]


class QFFLReleased(Rounds):
    """The released rule: f / ((alpha - 1) (N H)^2 + f) times d / P."""

    def prepare(self, job: Sent) -> None:
        """d, and P = C / S, when the job is sent."""
        w = self.world
        job.notes["d"] = self.shares(job.task, w.open[:, job.task])[job.client]
        job.notes["P"] = w.active / w.N / w.open.any(axis=0).sum()

    def coefficients(self, jobs: list[Sent]) -> list[float]:
        """One factor for all updates of a task."""
        w, alpha = self.world, self.world.options.get("alpha", 3.0)
        p = super().coefficients(jobs)
        f = sum(
            share * nets.mean_loss(job.work.start, job.work.data)
            for share, job in zip(p, jobs, strict=True)
        )
        H = max(
            job.notes["d"] * nets.dot(job.answer.delta, job.answer.delta) ** 0.5 for job in jobs
        )
        factor = f / ((alpha - 1.0) * (w.N * H) ** 2 + f)
        return [factor * job.notes["d"] / job.notes["P"] for job in jobs]


class SyncST(Rounds):
    """Disjoint sets of clients, one per unfinished task, and the first answers of each."""

    def wait(self) -> tuple[str, int | None]:
        """For the first so many of every task."""
        return "task", self.world.options.get("first")

    def sizes(self, clients: int) -> dict[int, float]:
        """Exact sizes of the sets, in the ratio of `split`; at least one where there are enough."""
        w = self.world
        left = [s for s in range(w.S) if w.open[:, s].any()]
        split = w.options.get("split") or [1.0] * w.S
        found: dict[int, float] = {}
        enough, rest = clients >= len(left), float(clients)
        while left:
            now = {s: split[s] / sum(split[t] for t in left) * rest for s in left}
            small = [s for s in left if now[s] < 1.0]
            if not enough or not small:
                return found | now
            found |= dict.fromkeys(small, 1.0)
            left = [s for s in left if s not in small]
            rest -= len(small)
        return found

    def pairs(self, chosen: list[int], rng: np.random.Generator) -> list[tuple[int, int]]:
        """Sets filled in the order of the draws; what does not divide is drawn."""
        w, n = self.world, len(chosen)
        u = rng.random(n)
        exact = self.sizes(n)
        if not exact:
            return []
        whole_part = {s: int(x + 1e-9) for s, x in exact.items()}
        rest = n - sum(whole_part.values())
        if rest:
            order = [int(s) for s in rng.permutation(w.S)]
            parts = [max(exact.get(s, 0.0) - whole_part.get(s, 0), 0.0) for s in order]
            edges = np.cumsum([0.0, *parts]) * rest / sum(parts) - rng.random()
            for s, low, high in zip(order, edges[:-1], edges[1:], strict=True):
                if s in whole_part:  # whole numbers between the edges of its piece
                    whole_part[s] += int(np.ceil(high) - np.ceil(low))
        queue = [s for s in sorted(whole_part) for _ in range(whole_part[s])]
        task = {chosen[i]: s for i, s in zip(np.argsort(u, kind="stable"), queue, strict=True)}
        return [(k, task[k]) for k in chosen if w.open[k, task[k]]]

    def inclusion(self) -> Array:
        """Chance to be in a task's set, of either size, to answer, and to be among its first."""
        w, idle = self.world, self.world.idle()
        found, first = np.zeros((w.N, w.S)), w.options.get("first")
        for s, exact in self.sizes(min(w.selected, idle.size)).items():
            low, able = int(exact), int(w.open[idle, s].sum())
            for size, weight in ((low, 1.0 - (exact - low)), (low + 1, exact - low)):
                if size and able and weight:
                    counts = first_chance(first or size, size, able, idle.size, w.answers)
                    found[:, s] += weight * size / idle.size * counts * w.answers
        return found

    def coefficients(self, jobs: list[Sent]) -> list[float]:
        """Of a step of the server's length."""
        rate = self.world.options.get("server_learning_rate", 1.0)
        return [rate * c for c in super().coefficients(jobs)]


def first_chance(first: int, asked: int, able: int, idle: int, answers: float) -> float:
    """E min(1, first / (1 + X)), X of the other asked ones being able to answer and doing so."""
    total = 0.0
    for there in range(min(asked, able)):
        law = (
            comb(able - 1, there) * comb(idle - able, asked - 1 - there) / comb(idle - 1, asked - 1)
        )
        for x in range(there + 1):
            some = comb(there, x) * answers**x * (1.0 - answers) ** (there - x)
            total += law * some * min(1.0, first / (1.0 + x))
    return total
