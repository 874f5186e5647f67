"""Asynchronous algorithms: jobs in flight, buffers, and what age does."""

from __future__ import annotations

from collections import Counter

import numpy as np

from fairopt import request_allocation
from fl_runtime.random_streams import stream
from tests.fl_runtime.twin import local, nets
from tests.fl_runtime.twin.data import whole
from tests.fl_runtime.twin.nets import Model
from tests.fl_runtime.twin.rounds import allocation, drawn, uniform
from tests.fl_runtime.twin.world import Sent, World


class Arrivals:
    """What they have in common: versions, buffers, an idle client for every free place."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.versions = [0] * world.S
        self.buffers: list[list[tuple[float, Sent]]] = [[] for _ in range(world.S)]
        self.given = [0] * world.N

    def version(self, name: str) -> int:
        """How often a model has been replaced."""
        return self.versions[self.world.names.index(name)]

    def age(self, job: Sent) -> int:
        """Versions since it was sent."""
        return self.versions[job.task] - job.version

    def accepts(self, job: Sent) -> bool:
        """Whether it is young enough."""
        bound = self.world.options.get("max_staleness")
        return bound is None or self.age(job) <= bound

    def send(self) -> list[Sent]:
        """Idle clients, until the wanted number is in flight."""
        w, o = self.world, self.world.options
        rng = stream(w.seed, "requests", w.dispatches)
        room = o.get("concurrency", w.N) - len(w.flying)
        willing = np.array([k for k in w.idle() if w.open[k].any()], dtype=np.int64)
        chosen = np.sort(rng.choice(willing, min(room, willing.size), replace=False))
        fair = o.get("allocation", "uniform") == "fair"
        chances = allocation(w) if fair else uniform(w.open)
        draws = rng.random(chosen.size)
        return self.issue(
            [(int(k), drawn(chances[k], u)) for k, u in zip(chosen, draws, strict=True)]
        )

    def issue(self, pairs: list[tuple[int, int | None]]) -> list[Sent]:
        """The current models for those pairs."""
        w, jobs = self.world, []
        for client, task in pairs:
            assert task is not None
            name = w.names[task]
            job = w.job(
                w.problems[task],
                task,
                client,
                start=w.models[name],
                stamp=self.given[client],
                version=self.versions[task],
                seed_name=name,
            )
            job.work.memory = w.remembered((name, client), job.work)
            self.given[client] += 1
            jobs.append(job)
        return jobs

    def compute(self, jobs: list[Sent]) -> None:
        """Train."""
        for job in jobs:
            job.done = local.alone(job.work, self.world.clients)

    def keep(self, jobs: list[Sent]) -> None:
        """What clients keep of their optimisers."""
        for job in jobs:
            if job.work.settings.persist_optimizer:
                self.world.memories[job.name, job.client] = job.answer.memory

    def receive(self, job: Sent) -> bool:
        """Whether the task's model was replaced."""
        raise NotImplementedError

    def replaced(self, task: int, model: Model) -> bool:
        """The next version."""
        self.world.models[self.world.names[task]] = model
        self.versions[task] += 1
        self.buffers[task] = []
        return True

    def stepped(self, task: int, factors: list[float]) -> bool:
        """The next version, by a step along the buffered updates."""
        model = self.world.models[self.world.names[task]]
        deltas = [job.answer.delta for _, job in self.buffers[task]]
        return self.replaced(task, nets.plus(model, nets.total(deltas, factors)))

    def judged(self) -> dict[int, list[Model]]:
        """The models."""
        return {s: [self.world.models[name]] for s, name in enumerate(self.world.names)}

    def forget(self, tasks: set[int]) -> None:
        """Empty the buffers of finished tasks."""
        for task in tasks:
            self.buffers[task] = []


class FedBuff(Arrivals):
    """x += eta sum n_i / n (1 + s_i)^-a D_i over a full buffer."""

    def receive(self, job: Sent) -> bool:
        """Buffer it."""
        o, task = self.world.options, job.task
        self.buffers[task].append(((1.0 + self.age(job)) ** -o.get("exponent", 0.5), job))
        size = o.get("buffer_size", 10)
        if len(self.buffers[task]) < (size if isinstance(size, int) else size[task]):
            return False
        n = sum(each.answer.examples for _, each in self.buffers[task])
        rate = o.get("server_learning_rate", 1.0)
        return self.stepped(
            task, [rate * w * each.answer.examples / n for w, each in self.buffers[task]]
        )


class FedAsync(Arrivals):
    """x = (1 - a_s) x + a_s y."""

    def share(self, age: int) -> float:
        """a_s = a h(s)."""
        o = self.world.options
        a, kind = o.get("mixing", 0.6), o.get("weighting", "polynomial")
        if kind == "polynomial":
            return float(a * (1.0 + age) ** -o.get("exponent", 0.5))
        beyond = age - o.get("grace", 4)
        if kind == "hinge" and beyond > 0:
            return float(a / (o.get("slope", 10.0) * beyond + 1.0))
        return float(a)

    def receive(self, job: Sent) -> bool:
        """Mix the client's model in."""
        a = self.share(self.age(job))
        x = self.world.models[job.name]
        y = nets.plus(job.work.start, job.answer.delta)
        return self.replaced(job.task, {key: (1.0 - a) * x[key] + a * y[key] for key in x})


class FedAST(Arrivals):
    """R_m requests per task, buffers of A_m / ratio, and reallocation by heterogeneity."""

    buffered = True

    def __init__(self, world: World) -> None:
        super().__init__(world)
        wanted, S = world.options.get("concurrency", world.N), world.S
        if isinstance(wanted, int):
            wanted = [int(n) for n in request_allocation([1.0] * S, wanted)]
        self.requests = list(wanted)
        self.under_way = [0] * S
        self.since = 0
        self.windows: list[list[Model]] = [[] for _ in range(S)]
        self.estimates: list[list[float]] = [[] for _ in range(S)]

    def send(self) -> list[Sent]:
        """What every task lacks, of clients drawn with replacement from all that can."""
        w = self.world
        self.plan([s for s in range(w.S) if w.open[:, s].any()])
        flying = Counter(job.task for job in w.flying)
        lacks = [r - flying[s] for s, r in enumerate(self.requests)]
        tasks = []
        for _ in range(sum(lacks)):
            s = int(np.argmax(lacks))
            lacks[s] -= 1
            tasks.append(s)
        here, pairs = w.present(), []
        draws = stream(w.seed, "requests", w.dispatches).random(len(tasks))
        for s, u in zip(tasks, draws, strict=True):
            able = np.flatnonzero(w.open[:, s] & here)
            if able.size:
                pairs.append((int(able[int(u * able.size)]), s))
        for s in range(w.S):
            self.under_way[s] = flying[s] + sum(task == s for _, task in pairs)
        return self.issue(pairs)

    def plan(self, unfinished: list[int]) -> None:
        """Requests of closed tasks go to the others; at the end of a period all are shared anew."""
        o = self.world.options
        if not unfinished:
            return
        R = sum(self.requests)
        if {s for s, r in enumerate(self.requests) if r} != set(unfinished):
            old = [float(self.requests[s]) for s in unfinished]
            self.assign(unfinished, request_allocation(old, R, rounding="largest-remainder"))
        period = o.get("period") or max(1, 3 * R // 4) * len(unfinished)
        known = all(self.estimates[s] for s in unfinished)
        if o.get("allocation", "static") == "static" or self.since < period or not known:
            return
        spread = [float(np.mean(self.estimates[s])) for s in unfinished]
        least = max(1, min(int(o.get("ratio", 32.0)), R // len(unfinished)))
        objective = o.get("objective", "equal-error").replace("-", "_")
        self.assign(unfinished, request_allocation(spread, R, objective=objective, minimum=least))
        self.since = 0
        self.estimates = [[] for _ in self.estimates]

    def assign(self, tasks: list[int], counts: object) -> None:
        """Requests of those tasks, none of the others."""
        self.requests = [0] * len(self.requests)
        for s, n in zip(tasks, counts, strict=True):  # type: ignore[call-overload]
            self.requests[s] = int(n)

    def capacity(self, task: int) -> int:
        """b_m = ceil(A_m / ratio)."""
        if not self.buffered:
            return 1
        from fractions import Fraction

        ratio = Fraction(self.world.options.get("ratio", 32.0)).limit_denominator(10**6)
        return max(1, whole(self.under_way[task] / ratio, up=True))

    def receive(self, job: Sent) -> bool:
        """Estimate, buffer, and step along the plain mean."""
        task, o = job.task, self.world.options
        if o.get("allocation", "static") == "dynamic":
            self.since += 1
            self.observe(job)
        self.buffers[task].append((1.0, job))
        b = len(self.buffers[task])
        if b < self.capacity(task):
            return False
        return self.stepped(task, [o.get("server_learning_rate", 0.1) / b] * b)

    def observe(self, job: Sent) -> None:
        """S / (V (eta tau)^2), or the released score."""
        o, s = self.world.options, job.task
        V = o.get("window", 8)
        self.windows[s] = [*self.windows[s], job.answer.delta][-V:]
        if len(self.windows[s]) < V:
            return
        rows = np.array([np.concatenate([v.ravel() for v in d.values()]) for d in self.windows[s]])
        mean = rows.mean(axis=0)
        S = float(((rows - mean) ** 2).sum())
        p, c = self.world.problems[s], self.world.clients
        eta, tau = p.settings.learning_rate, c.local_epochs * -(-p.size(0) // c.batch_size)
        if o.get("estimator", "gradient-variance") == "gradient-variance":
            found = S / (V * (eta * tau) ** 2)
        else:
            signal = float((mean**2).sum())
            rate = o.get("server_learning_rate", 0.1)
            if signal == 0.0:
                return
            found = 0.5 * eta * rate * S / (V * signal) / (eta * tau) ** 2
        self.estimates[s].append(found)


class FedASTNoBuffer(FedAST):
    """With buffers of one."""

    buffered = False
