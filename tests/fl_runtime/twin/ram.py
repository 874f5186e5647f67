"""FedRAM: references, a proxy that learns task and client weights, and the agent."""

from __future__ import annotations

import numpy as np

from fl_runtime.random_streams import stream
from tests.fl_runtime.twin import nets
from tests.fl_runtime.twin.data import Array, Set
from tests.fl_runtime.twin.nets import Model
from tests.fl_runtime.twin.rounds import FedAvg
from tests.fl_runtime.twin.world import Sent, World


class FedRAM(FedAvg):
    """Three stages, one after the other."""

    default_aggregation = "plain"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        w, o = world, world.options
        self.references_last = o.get("reference_rounds", 2)
        self.proxies_last = o.get("proxy_rounds", 10)
        self.agent = o.get("agent", True)
        self.share = o.get("share_trunk", False)
        self.begun = 0
        self.small = [p.name for p in w.beside]
        w.models |= {p.name: p.initial for p in w.beside}
        if self.share:
            for names in (w.names, self.small):
                self.trunk_of(names)
        sizes = np.array([[p.size(k) for p in w.problems] for k in range(w.N)], dtype=float)
        self.alpha = sizes / sizes.sum(axis=1, keepdims=True)
        self.weight = np.full(w.N, 1.0 / w.N)
        self.proposed: dict[int, Array] = {}
        self.references: dict[tuple[int, int], Model] = {}
        self.reference_trunks: dict[int, Model] = {}

    def trunk_of(self, names: list[str]) -> None:
        """All models of these names with the trunk of the first."""
        models = self.world.models
        trunk = nets.part(models[names[0]], nets.trunk_of(models[names[0]]))
        for name in names:
            models[name] = {**models[name], **trunk}

    def stage(self, finished: int) -> int:
        """0, 1, 2 after so many rounds."""
        if finished < self.references_last:
            return 0
        return 2 if finished >= self.references_last + self.proxies_last and self.agent else 1

    @property
    def stamp(self) -> int:
        """Rounds within the stage."""
        return self.world.round - self.begun

    def send(self) -> list[Sent]:
        """The jobs of the stage."""
        w = self.world
        stage = self.stage(w.round)
        chosen = [int(k) for k in w.idle()] if stage == 0 else self.select()[0]
        make = (self.reference_jobs, self.proxy_jobs, self.agent_jobs)[stage]
        return [job for k in chosen if w.open[k].any() for job in make(k)]

    def held(self, client: int) -> list[int]:
        """Tasks of a client."""
        return [int(s) for s in np.flatnonzero(self.world.open[client])]

    def small_job(self, task: int, client: int, start: Model, purpose: str = "") -> Sent:
        """A job on a small model."""
        problem = self.world.beside[task]
        return self.world.job(
            problem,
            task,
            client,
            start=start,
            stamp=self.stamp,
            version=self.stamp,
            seed_name=problem.name + purpose,
        )

    def reference_jobs(self, client: int) -> list[Sent]:
        """Every task on its own."""
        return [
            self.small_job(s, client, self.own_reference(s, client), ".reference")
            for s in self.held(client)
        ]

    def own_reference(self, task: int, client: int) -> Model:
        """What a client's reference goes on from."""
        start = self.references.get((task, client), self.world.models[self.small[task]])
        return {**start, **self.reference_trunks.get(client, {})}

    def proxy_jobs(self, client: int) -> list[Sent]:
        """Weights move towards what is worse than its reference; then a weighted step."""
        w, o, held = self.world, self.world.options, self.held(client)
        excess, base = {}, {}
        for s in held:
            proxy, data = w.models[self.small[s]], w.problems[s].shards[client]
            here = nets.mean_loss(proxy, data)
            base[s] = 0.0
            if self.references_last:
                known = (s, client) in self.references
                base[s] = nets.mean_loss(self.own_reference(s, client), data) if known else here
            excess[s] = max(here - base[s], 0.0)
        alpha = self.alpha[client].copy()
        mass = sum(alpha[s] for s in held)
        raised = {s: alpha[s] * np.exp(o.get("task_rate", 0.1) * excess[s]) for s in held}
        keep = o.get("smoothing", 0.01)
        for s in held:
            moved = mass * raised[s] / sum(raised.values())
            alpha[s] = keep * alpha[s] + (1.0 - keep) * moved
        self.proposed[client] = alpha
        jobs = []
        for s in held:
            job = self.small_job(s, client, w.models[self.small[s]])
            share = alpha[s] / sum(alpha[t] for t in held) * len(held)
            better = o.get("clip_gradient", True) and excess[s] == 0.0
            job.work.scale = 0.0 if better else share
            job.work.memory = w.remembered((job.name, client), job.work)
            job.notes["reference"] = base[s]
            jobs.append(job)
        return jobs

    def agent_jobs(self, client: int) -> list[Sent]:
        """On examples drawn anew, in numbers by the task weights."""
        w, held = self.world, self.held(client)
        n = sum(w.problems[s].size(client) for s in held)
        shares = np.array([self.alpha[client, s] for s in held])
        quotas = shares / shares.sum() * n
        counts = np.floor(quotas + 1e-9).astype(int)
        order = sorted(range(len(held)), key=lambda i: (-(quotas[i] - counts[i]), i))
        for i in order[: n - counts.sum()]:
            counts[i] += 1
        jobs = []
        for s, count in zip(held, counts, strict=True):
            if count == 0:
                continue
            job = self.job(client, s)
            data = job.work.data
            if count != len(data.y):
                rng = stream(w.seed, "resample", self.stamp, client, w.names[s])
                rows = rng.choice(len(data.y), int(count), replace=bool(count > len(data.y)))
                job.work.data = Set(data.x[rows], data.y[rows])
            job.work.mu = w.options.get("mu", 0.0)
            jobs.append(job)
        return jobs

    def take(self, jobs: list[Sent]) -> None:
        """What the stage makes of the answers."""
        w = self.world
        stage = self.stage(w.round)
        (self.take_references, self.take_proxies, self.take_agents)[stage](jobs)
        sizes = [sum(v.size for v in job.work.start.values()) * job.answer.examples for job in jobs]
        held = np.where(w.open, self.alpha, 0.0)[w.open.any(axis=1)]
        held /= held.sum(axis=1, keepdims=True)
        w.figures = {"stage": stage + 1, "training_cost": sum(sizes)}
        w.figures |= {
            "min_client_weight": self.weight.min(),
            "max_client_weight": self.weight.max(),
        }
        w.figures |= {
            f"{n}/weight": held[:, s].mean() if len(held) else None for s, n in enumerate(w.names)
        }
        w.figures |= {f"client_weight/{k}": w_k for k, w_k in enumerate(self.weight)}
        self.proposed = {}
        if self.stage(w.round + 1) != stage:
            self.begun = w.round + 1

    def take_references(self, jobs: list[Sent]) -> None:
        """Every client's own."""
        trunk = nets.trunk_of(self.world.beside[0].initial)
        for job in jobs:
            self.references[job.task, job.client] = nets.plus(job.work.start, job.answer.delta)
        for client in {job.client for job in jobs if self.share}:
            mine = [job for job in jobs if job.client == client]
            start = nets.part(mine[0].work.start, trunk)
            steps = [nets.part(job.answer.delta, trunk) for job in mine]
            mean = nets.total(steps, [1.0 / len(steps)] * len(steps))
            self.reference_trunks[client] = nets.plus(start, mean)

    def take_proxies(self, jobs: list[Sent]) -> None:
        """FedAvg, and the weights of those that answered."""
        w, o = self.world, self.world.options
        if not jobs:
            return
        self.keep(jobs)
        there = sorted({job.client for job in jobs})
        raised = self.weight.copy()
        for k in there:
            gaps = []
            for job in (job for job in jobs if job.client == k):
                data = job.work.data
                after = nets.mean_loss(nets.plus(job.work.start, job.answer.delta), data)
                against = job.notes["reference"]
                if o.get("differential", "global") == "global":
                    against = nets.mean_loss(job.work.start, data)
                gaps.append((after - against, len(data.y)))
            d = sum(gap * n for gap, n in gaps) / sum(n for _, n in gaps)
            raised[k] = self.weight[k] * np.exp(o.get("client_rate", 0.1) * d)
            self.alpha[k] = self.proposed[k]
        if o.get("absent", "frozen") == "frozen":
            raised[there] *= self.weight[there].sum() / raised[there].sum()
        else:
            raised /= raised.sum()
        self.weight = raised
        self.step(self.small, jobs, super().coefficients_by_data)
        if not self.agent:
            w.models |= {n: w.models[s] for n, s in zip(w.names, self.small, strict=True)}

    def take_agents(self, jobs: list[Sent]) -> None:
        """By client weights."""
        self.keep(jobs)

        def rule(mine: list[Sent]) -> list[float]:
            shares = np.array(self.coefficients(mine)) * [self.weight[job.client] for job in mine]
            return [float(c) for c in shares / shares.sum()]

        self.step(self.world.names, jobs, rule)

    def step(self, names: list[str], jobs: list[Sent], rule: object) -> None:
        """Models after their updates; one trunk takes the mean over tasks."""
        w = self.world
        mine = {name: [job for job in jobs if job.name == name] for name in names}
        steps = {
            name: nets.total([job.answer.delta for job in some], rule(some))  # type: ignore[operator]
            for name, some in mine.items()
            if some
        }
        common: Model = {}
        if self.share and steps:
            trunk = nets.trunk_of(w.models[names[0]])
            parts = [nets.part(step, trunk) for step in steps.values()]
            common = nets.total(parts, [1.0 / len(parts)] * len(parts))
        for name in names:
            w.models[name] = nets.plus(w.models[name], {**steps.get(name, {}), **common})
