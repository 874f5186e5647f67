"""Clients with models of their own: local training, FedPer, Ditto."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.fl_runtime.twin import directions, local, nets
from tests.fl_runtime.twin.nets import Model
from tests.fl_runtime.twin.rounds import FedAvg
from tests.fl_runtime.twin.world import Sent, World


class Local(FedAvg):
    """Every client goes on with its own models; with one trunk for all its tasks on request.

    What belongs to a client: with a trunk, one trunk and a head per task; else a model per task.
    """

    always_shares = False

    def __init__(self, world: World) -> None:
        super().__init__(world)
        w = world
        self.share = w.options.get("share_trunk", self.always_shares)
        self.shared = w.options.get("shared_layers", ())
        self.own: dict[tuple[int, int], Model] = {}
        self.trunks: dict[int, Model] = {}
        if self.share:
            first = w.problems[0].initial
            self.trunk = nets.trunk_of(first, self.shared)
            for name in w.names:
                w.models[name] = {**w.models[name], **nets.part(first, self.trunk)}

    def payload(self, task: int, client: int) -> Model:
        """The client's own model; the initial one of whoever has none yet."""
        model = self.own.get((task, client), self.world.models[self.world.names[task]])
        return {**model, **self.trunks.get(client, {})}

    def judged(self) -> dict[int, list[Model]]:
        """The models of the clients that hold a task now."""
        w = self.world
        return {
            s: [self.payload(s, int(k)) for k in np.flatnonzero(w.eligible[:, s])]
            or [w.models[name]]
            for s, name in enumerate(w.names)
        }

    def seed_name(self, client: int, task: int) -> str:
        """One order for all tasks of a client, where they have one trunk."""
        w = self.world
        return w.names[int(np.argmax(w.open[client])) if self.share else task]

    def prepare(self, job: Sent) -> None:
        """One optimiser of the trunk per client, of the rest per task and client."""
        if self.share:
            job.group = "own"
        job.work.memory = self.recalled(job)

    def recalled(self, job: Sent) -> local.Memory:
        """What the client keeps of the optimisers of that model."""
        w = self.world
        trunk = w.remembered(("trunk", job.group, job.client), job.work) if self.share else {}
        return {**trunk, **w.remembered((job.name, job.client), job.work)}

    def keep(self, jobs: list[Sent]) -> None:
        """The same, afterwards."""
        for job in jobs:
            if not job.work.settings.persist_optimizer:
                continue
            memory = job.answer.memory
            if self.share:
                trunk = {key: memory[key] for key in self.trunk if key in memory}
                self.world.memories["trunk", job.group, job.client] = trunk
                memory = {key: kept for key, kept in memory.items() if key not in trunk}
            self.world.memories[job.name, job.client] = memory

    def jointly(self, jobs: list[Sent]) -> list[local.Done]:
        """The trunk along the mean of the client's gradients."""

        def choose(rows: Any, there: Any, seed: int) -> tuple[Any, str]:
            return directions.weights(directions.MEAN, rows, there, seed)

        return local.together([job.work for job in jobs], self.trunk, choose, self.world.clients)

    def take(self, jobs: list[Sent]) -> None:
        """Everybody's own steps."""
        self.keep(jobs)
        self.step_own({(job.task, job.client): job.answer.delta for job in jobs})

    def step_own(self, steps: dict[tuple[int, int], Model]) -> None:
        """Trunks of clients, and what is the task's."""
        found = {key: nets.plus(self.payload(*key), step) for key, step in steps.items()}
        for (task, client), model in found.items():
            self.own[task, client] = model
            if self.share:
                self.trunks[client] = nets.part(model, self.trunk)

    def averaged(self, names: list[str], jobs: list[Sent]) -> None:
        """Models of these names after the mean of their updates, with one trunk or without."""
        w = self.world
        mine = {name: [job for job in jobs if job.name == name] for name in names}
        steps = {name: self.mean(some) for name, some in mine.items() if some}
        common: Model = {}
        if self.share and steps:
            parts = [nets.part(step, self.trunk) for step in steps.values()]
            common = nets.total(parts, [1.0 / len(parts)] * len(parts))
        for name in names:
            w.models[name] = nets.plus(w.models[name], {**steps.get(name, {}), **common})


class FedPer(Local):
    """A base that all clients share, and heads that stay with them."""

    def base(self, name: str) -> Model:
        """The base of a task."""
        model = self.world.models[name]
        return nets.part(model, nets.trunk_of(model, self.shared))

    def payload(self, task: int, client: int) -> Model:
        """The client's head on the current base."""
        name = self.world.names[task]
        model = self.own.get((task, client), self.world.models[name])
        return {**model, **self.base(name)}

    def take(self, jobs: list[Sent]) -> None:
        """The mean for the base, own steps for heads."""
        super().take(jobs)
        w = self.world
        heads = {
            name: nets.part(model, [k for k in model if k not in self.base(name)])
            for name, model in w.models.items()
        }
        self.averaged(w.names, jobs)
        for name in w.names:
            w.models[name] = {**w.models[name], **heads[name]}


class Ditto(Local):
    """Personal models pulled towards a global one that FedAvg trains beside them."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        for p in world.beside:
            world.models[p.name] = world.models[p.name.removesuffix(".global")]

    def send(self) -> list[Sent]:
        """A personal job and a global one for every pair."""
        w, jobs = self.world, []
        for mine in super().send():
            problem = w.beside[mine.task]
            theirs = w.job(
                problem,
                mine.task,
                mine.client,
                start=w.models[problem.name],
                stamp=self.stamp,
                version=mine.version,
                seed_name=self.seed_name(mine.client, mine.task),
            )
            theirs.group = "global" if self.share else ""
            theirs.work.memory = self.recalled(theirs)
            pull = w.options.get("pull", 0.1)
            if pull:
                mine.work.mu, mine.work.anchor = pull, w.models[problem.name]
            jobs += [mine, theirs]
        return jobs

    def take(self, jobs: list[Sent]) -> None:
        """Personal models by their own steps, global ones by the mean."""
        self.keep(jobs)
        own = [job for job in jobs if not job.name.endswith(".global")]
        self.step_own({(job.task, job.client): job.answer.delta for job in own})
        self.averaged([p.name for p in self.world.beside], jobs)
