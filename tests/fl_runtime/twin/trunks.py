"""Tasks that share a trunk, reconciled by the server or by each client."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from fl_runtime.random_streams import torch_seed
from tests.fl_runtime.twin import directions, local, nets
from tests.fl_runtime.twin.rounds import FedAvg
from tests.fl_runtime.twin.world import Sent, World


class SharedTrunk(FedAvg):
    """One trunk for all tasks, along a common direction; heads by their own means."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        w, first = world, world.problems[0].initial
        self.method = directions.method_of(w.config.run.algorithm, w.options)
        self.here = w.options.get("where", "server") == "server"
        self.alpha, self.floor = w.options.get("loss_alpha", 0.0), w.options.get("loss_floor", 1e-8)
        self.trunk = nets.trunk_of(first, w.options.get("shared_layers", ()))
        for name in w.names:
            w.models[name] = {**w.models[name], **nets.part(first, self.trunk)}

    def seed_name(self, client: int, task: int) -> str:
        """One order of examples for all tasks of a client."""
        return self.world.names[int(np.argmax(self.world.open[client]))]

    def prepare(self, job: Sent) -> None:
        """Trained with the client's other tasks, where clients reconcile them."""
        if self.here:
            return
        job.group = "joint"
        trunk = self.world.remembered(("trunk", job.client), job.work)
        job.work.memory = {**job.work.memory, **trunk}

    def keep(self, jobs: list[Sent]) -> None:
        """Where clients reconcile, one optimiser of the trunk per client."""
        super().keep(jobs)
        for job in jobs:
            if not self.here and job.work.settings.persist_optimizer:
                memory = job.answer.memory
                self.world.memories["trunk", job.client] = {k: memory[k] for k in self.trunk}

    def jointly(self, jobs: list[Sent]) -> list[local.Done]:
        """Every local step is a compromise."""
        tasks = [job.task for job in jobs]

        def choose(rows: Any, there: Any, seed: int) -> tuple[Any, str]:
            return directions.weights(self.method, rows, [tasks[k] for k in there], seed)

        works, clients = [job.work for job in jobs], self.world.clients
        done = local.together(works, self.trunk, choose, clients, self.factor)
        self.world.close_call |= self.method["method"] != "mean" and done[0].close
        return done

    def factor(self, loss: float) -> float:
        """What alpha-fairness in the loss makes of a gradient."""
        return float(max(loss, self.floor) ** -self.alpha)

    def take(self, jobs: list[Sent]) -> None:
        """Mean steps per task, and of their trunks the direction."""
        w = self.world
        self.keep(jobs)
        steps = {
            s: self.mean([job for job in jobs if job.task == s])
            for s in range(w.S)
            if any(job.task == s for job in jobs)
        }
        counts: Counter[str] = Counter()
        common: nets.Model = {}
        if steps:
            parts = [nets.part(step, self.trunk) for step in steps.values()]
            rows = np.array([nets.vector(piece) for piece in parts])
            seed = torch_seed(w.seed, "direction", w.round)
            method = self.method if self.here else directions.MEAN
            self.world.close_call |= method["method"] != "mean" and directions.is_close(rows)
            factors = None
            if self.here and self.alpha:
                factors = np.array([self.factor(self.loss(jobs, s)) for s in steps])
            weights, how = directions.weights(method, rows, list(steps), seed, factors)
            common = nets.total(parts, list(weights))
            counts = Counter([how]) if self.here else sum((j.answer.outcomes for j in jobs), counts)
        for s, name in enumerate(w.names):
            w.models[name] = nets.plus(w.models[name], {**steps.get(s, {}), **common})
        w.figures = {
            "num-decisions": sum(counts.values()),
            "num-stationary": counts["stationary"],
            "num-undecided": counts["undecided"],
        }

    def loss(self, jobs: list[Sent], task: int) -> float:
        """Mean training loss of a task in this round, by examples."""
        mine = [job.answer for job in jobs if job.task == task]
        total = sum(done.examples for done in mine)
        return sum(done.loss * done.examples for done in mine) / total
