"""Algorithms with a barrier per round: who is active, what is sent, what is added.

In every round all of them draw the same active clients and the same uniform numbers from the same
streams, so arms with one seed are paired.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fairopt import InvalidInput
from fl_runtime.algorithms.aggregation import (
    AGGREGATIONS,
    IMPORTANCE,
    Aggregation,
    add,
    combined,
    importance_weights,
)
from fl_runtime.algorithms.base import InRounds, Memory, ServerState
from fl_runtime.algorithms.inclusion import counted_chance, why_unknown
from fl_runtime.algorithms.server_optimizers import NO_SERVER, Server
from fl_runtime.random_streams import stream, torch_seed
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Job, Update
from fl_runtime.training.task import Params

Probabilities = NDArray[np.float64]

WITHHELD = "num-withheld"
"""Tasks with too few updates for a robust rule, in the history."""


@dataclass(frozen=True, kw_only=True)
class Synchronous(InRounds, ABC):
    r"""One global model per task and one barrier per round.

    A subclass says with which probability a client trains a task (`probabilities`), draws
    accordingly (`assignments`), and may set options of a job (`job_options`). A task's model moves
    by

    .. math:: w \leftarrow w + step\Big(\sum_k c_k \Delta_k\Big)

    where a subclass may choose the :math:`c_k` (`coefficients`) and the step, which may remember
    things from round to round (`server_step`); by default it is the sum itself.

    Attributes:
        aggregation: `data-weighted` mean of a task's updates, `plain` mean, or the unbiased sum of
            `importance` weights (`aggregation.importance_weights`).
        server: What ``[server]`` of a configuration says about steps and updates.
    """

    aggregation: Aggregation = "data-weighted"
    server: Server = NO_SERVER

    def init(self, federation: Federation, seed: int) -> ServerState:
        """Initial models, round 0.

        Raises:
            InvalidInput: `importance` where nobody knows by what chance an answer counts.
        """
        federation.check_sampling()
        why = self.why_unknown(federation)
        if self.aggregation == IMPORTANCE and why:
            requirement = f"data-weighted or plain where only the first answers count: {why}"
            raise InvalidInput("algorithm.aggregation", self.aggregation, requirement)
        self._check_enough(federation)
        return ServerState.initial(federation, seed)

    def _check_enough(self, federation: Federation) -> None:
        """Refuse a robust rule that can never have enough updates."""
        if self.server.rule is None:
            return
        able = federation.eligible.sum(axis=0)
        for task, count in zip(federation.tasks, able.tolist(), strict=True):
            most = min(count, federation.num_active)
            if 0 < most < self.server.rule.fewest:
                requirement = (
                    f"one for at most {most} updates of task {task.name} in a round; "
                    f"it needs {self.server.rule.fewest}"
                )
                name = type(self.server.rule).__name__
                raise InvalidInput("server.aggregation", name, requirement)

    def dispatch(
        self, state: ServerState, federation: Federation, now: float
    ) -> tuple[ServerState, list[Job]]:
        """Jobs for the active clients of this round."""
        rng = stream(state.seed, "dispatch", state.server_round)
        active = federation.draw_active(rng)
        chances = self.probabilities(state, federation)
        weights = np.zeros_like(chances)
        if self.aggregation == IMPORTANCE:
            included = self.inclusion(state, federation)
            assert included is not None  # `init` has asked
            weights = importance_weights(federation, included)
        return state, [
            make_job(
                state,
                federation,
                client,
                task,
                now,
                seed_name=self.seed_name(federation, client, task),
                config=self._options(federation, client, task, float(weights[client, task])),
            )
            for client, task in self.assignments(chances, active, rng)
        ]

    def aggregate(self, state: ServerState, updates: Sequence[Update]) -> ServerState:
        """The models after the updates of this round, and the next round.

        A task that nobody trained keeps its model, and what is remembered of it; so does one that
        has too few updates for a robust rule.
        """
        models, memory, withheld = dict(state.models), dict(state.memory), 0
        for task, params in state.models.items():
            mine = [update for update in updates if update.task == task]
            mean = self._mean(mine) if mine else None
            if mean is not None:
                step, kept = self.server_step(mean, memory.get(task, {}))
                models[task] = add(params, step)
                memory |= {task: kept} if kept else {}
            withheld += bool(mine) and mean is None
        after = replace(state.keep(updates), server_round=state.server_round + 1)
        figures = after.figures if self.server.rule is None else {WITHHELD: withheld}
        return self.concluded(state, replace(after, models=models, memory=memory, figures=figures))

    def concluded(self, before: ServerState, after: ServerState) -> ServerState:
        """The state after a round with what else an algorithm remembers of it; here nothing.

        Args:
            before: The state that the round began with.
            after: The state with the new models.
        """
        return after

    def _mean(self, updates: Sequence[Update]) -> Params | None:
        """The weighted sum of a task's updates, or what stands for it; None if they are too few."""
        if self.server.rule is not None:
            return self.server.combined(updates)
        shares = zip(self.coefficients(updates), updates, strict=True)
        return combined(updates, [c * self.server.shrink(u.delta) for c, u in shares])

    def own_figures(self, tasks: Sequence[str]) -> tuple[str, ...]:
        """Where a robust rule stands for the mean, how many tasks had too few updates for it."""
        return super().own_figures(tasks) if self.server.rule is None else (WITHHELD,)

    def coefficients(self, updates: Sequence[Update]) -> list[float]:
        """What the updates of one task count, by `aggregation`; there is at least one update."""
        return AGGREGATIONS[self.aggregation](updates)

    def server_step(self, mean: Params, memory: Memory) -> tuple[Params, Memory]:
        """The step of one task's model, and what is remembered for the next one.

        Args:
            mean: The sum of the updates with their coefficients, entry by entry.
            memory: What the last step of this task left; empty before the first one.
        """
        optimizer = self.server.optimizer
        return (mean, memory) if optimizer is None else optimizer.step(mean, memory)

    def inclusion(self, state: ServerState, federation: Federation) -> Probabilities | None:
        """Chance that a client is sent a task's job in this round, answers it, and is counted."""
        if self.why_unknown(federation):
            return None
        chances = self.probabilities(state, federation)
        able = int((chances[federation.idle] > 0.0).any(axis=1).sum())
        counted = 1.0
        if federation.over_selection > 1.0 and able:
            counted = counted_chance(
                federation.num_active,
                federation.num_selected,
                able,
                federation.idle.size,
                federation.answer_chance,
            )
        answered = counted * federation.answer_chance
        return np.asarray(federation.selection_chance[:, None] * chances * answered)

    @property
    def jobs_per_client(self) -> int | None:
        """Jobs that an active client gets in a round; None for as many as it has tasks."""
        return 1

    @property
    def answers_once(self) -> bool:
        """Where a client gets a single job."""
        return self.jobs_per_client == 1

    def why_unknown(self, federation: Federation) -> str:
        """Why there is no `inclusion`; empty where there is."""
        return why_unknown(
            federation,
            takes_first=federation.over_selection > 1.0,
            jobs_per_client=self.jobs_per_client,
        )

    @abstractmethod
    def probabilities(self, state: ServerState, federation: Federation) -> Probabilities:
        """(num_clients, num_tasks) probabilities that a client trains a task when it is active."""

    @abstractmethod
    def assignments(
        self,
        probabilities: Probabilities,
        active: NDArray[np.int64],
        rng: Generator,
    ) -> list[tuple[int, int]]:
        """Pairs (client, task); the first draws are one uniform number per active client."""

    def job_options(
        self, federation: Federation, client: int, task: int, weight: float
    ) -> Mapping[str, Any]:
        """Options of one job (`Job.config`), to which an echo of its importance weight is added."""
        return {}

    def _options(
        self, federation: Federation, client: int, task: int, weight: float
    ) -> Mapping[str, Any]:
        """The options of one job, with its importance weight among what it echoes."""
        options = self.job_options(federation, client, task, weight)
        if self.aggregation != IMPORTANCE:
            return options
        return {**options, "echo": {**options.get("echo", {}), IMPORTANCE: weight}}

    def seed_name(self, federation: Federation, client: int, task: int) -> str:
        """Jobs of a client and round with the same name here draw the same numbers."""
        return federation.tasks[task].name


def make_job(
    state: ServerState,
    federation: Federation,
    client: int,
    task: int,
    now: float,
    *,
    seed_name: str,
    config: Mapping[str, Any],
) -> Job:
    """The job of one client on one task, seeded by round, client and a name."""
    name = federation.tasks[task].name
    return Job(
        task=name,
        client=client,
        version=state.server_round,
        sent_at=now,
        payload=state.payload(name, client),
        seed=torch_seed(state.seed, "local", state.server_round, client, seed_name),
        client_state=state.client_state(name, client),
        config=config,
    )
