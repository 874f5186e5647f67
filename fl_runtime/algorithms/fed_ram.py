r"""FedRAM: a small proxy learns weights of tasks and clients, a large agent is trained with them.

Three stages, one after the other, each a number of rounds; the state's round says which one it is.

1. *Reference*. Every client trains a small model on its own tasks, without communication.
2. *Proxy*. A small global model is trained by FedAvg. Before a client trains, it compares the
   global proxy with its reference and moves its task weights towards what is worse
   (`reweighting.task_weights`); it descends on its weighted excess losses
   (`reweighting.loss_coefficients`). By how much training changed its loss the server moves the
   client weights (`reweighting.client_weights`). A client that does not answer keeps both.
3. *Agent*. The tasks' own models are trained on examples that are drawn anew each round with the
   frequencies of the task weights, and averaged with the client weights.

**The design.** `companions` puts a small model beside each task (`fed_ram_state.companion`); their
updates come and go through jobs like all others, under their own names. What a client computes
before its local training (losses of the proxy and of its reference) is computed when its job is
made, and counts once it answers; what it computes afterwards is an option of the job
(`measure_end`).
Random streams are addressed by the round within the stage, so that with both rates zero the agent's
rounds are those of FedAvg with the `plain` mean.

**Where one model serves all tasks** (`share_trunk`): the published agent is one model. Then all but
the last layer of every task's model is kept equal by the mean over tasks of their steps, for the
proxies and each client's references too. Otherwise tasks are trained apart, and task weights decide
how a client divides its training.

Source: FedRAM (NeurIPS 2025), its listing and prose; the displayed equations are missing, and what
is reconstructed is named where it is done. Where a client has no reference (its training was lost
each time, it was recruited for the task after the first stage, or the reference has no finite loss)
it compares the proxy with itself: the excess loss is zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fairopt import suggest_rate
from fl_runtime.algorithms.aggregation import AGGREGATIONS, Coefficients, data_weighted, step_tasks
from fl_runtime.algorithms.base import ServerState
from fl_runtime.algorithms.client_models import Pair
from fl_runtime.algorithms.exchange import NOTHING, Exchange, everything
from fl_runtime.algorithms.fed_ram_jobs import StagedJobs
from fl_runtime.algorithms.fed_ram_settings import AUTO, FedRAMSettings
from fl_runtime.algorithms.fed_ram_state import (
    CLIENT_WEIGHT,
    MOST_CLIENTS,
    FedRAMState,
    answered,
    changed_loss,
    companion,
    losses_of,
    shares_of_held,
    small_task,
    stage_figures,
)
from fl_runtime.algorithms.one_trunk import mean_of_trunks, step_with_one_trunk
from fl_runtime.algorithms.reweighting import (
    Vector,
    client_weights,
    excess_losses,
    loss_coefficients,
    task_weights,
)
from fl_runtime.algorithms.shared_trunk import trunk_entries
from fl_runtime.random_streams import stream
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Job, Update
from fl_runtime.training.task import Params, Task


@dataclass(frozen=True, kw_only=True)
class FedRAM(FedRAMSettings):
    """Federated reweighting and aggregation in three stages.

    Attributes:
        asks_later: Options of the jobs of its later stages.
    """

    asks_later: ClassVar[tuple[str, ...]] = ("weights", "examples")

    def stage(self, server_round: int) -> str:
        """The stage of the round after so many."""
        if server_round < self.reference_rounds:
            return "reference"
        later = server_round >= self.reference_rounds + self.proxy_rounds
        return "agent" if later and self.agent else "proxy"

    def reported(self, tasks: Sequence[Task], seed: int) -> tuple[Task, ...]:
        """The tasks as they are; without an agent, with the models of their proxies."""
        if self.agent:
            return tuple(tasks)
        return tuple(small_task(task, self.small, seed) for task in tasks)

    def exchange(self, state: ServerState, task: str) -> Exchange:
        """All but references; a trunk is sent once, and what each task makes of it comes back."""
        if self.stage(state.server_round - 1) == "reference":
            return NOTHING
        model = state.models[task]
        return everything(model, trunk_entries({task: model}) if self.share_trunk else ())

    @property
    def shares_parts(self) -> bool:
        """The trunk, where there is one for all."""
        return self.share_trunk

    def own_figures(self, tasks: Sequence[str]) -> tuple[str, ...]:
        """The stage, its cost, and where the weights stand."""
        common = ("stage", "training_cost", "min_client_weight", "max_client_weight")
        asked = {"task_rate": self.task_rate, "client_rate": self.client_rate}
        return (
            *common,
            *(f"{task}/weight" for task in tasks),
            *(f"{CLIENT_WEIGHT}/{client}" for client in range(MOST_CLIENTS)),
            *(name for name, rate in asked.items() if rate == AUTO),
        )

    def companions(self, tasks: Sequence[Task], seed: int) -> tuple[Task, ...]:
        """A small proxy beside every task."""
        return tuple(companion(task, self.small, seed) for task in tasks)

    def init(self, federation: Federation, seed: int) -> FedRAMState:
        """Initial models; task weights by size, client weights equal."""
        return FedRAMState.beginning(federation, seed, one_trunk=self.share_trunk)

    def dispatch(  # type: ignore[override]
        self, state: FedRAMState, federation: Federation, now: float
    ) -> tuple[FedRAMState, list[Job]]:
        """Jobs of the stage: for all available clients in the first, for the active ones later."""
        stage = self.stage(state.server_round)
        active = federation.idle
        if stage != "reference":
            active = federation.draw_active(stream(state.seed, "dispatch", state.stage_round))
        active = active[federation.eligible[active].any(axis=1)]
        state = replace(state, held=federation.eligible.tolist())
        jobs = StagedJobs(state, federation, now)
        if stage == "reference":
            return state, jobs.references(active)
        if stage == "agent":
            return state, jobs.agents(active, {"proximal": self.mu} if self.mu else {})
        seen = {client: self._excess(jobs, client) for client in active.tolist()}
        rate = self._task_rate(state, [excess for excess, _ in seen.values()])
        rows: dict[str, Sequence[float]] = {}
        sent: list[Job] = []
        for client, (excess, reference) in seen.items():
            row, its = self._proxy_jobs(jobs, client, excess, reference, rate)
            rows[str(client)] = row.tolist()
            sent += its
        return replace(self._noted(state, "task_rate", rate), proposed=rows), sent

    def inclusion(  # type: ignore[override]
        self, state: FedRAMState, federation: Federation
    ) -> NDArray[np.float64] | None:
        """All idle clients in the first stage; later the active ones, for tasks they draw from."""
        stage = self.stage(state.server_round)
        chance = federation.selection_chance
        if stage == "reference":
            chance = np.where(chance > 0.0, 1.0, 0.0)
        elif federation.over_selection > 1.0:
            return None
        asked = federation.eligible.copy()
        if stage == "agent":
            jobs = StagedJobs(state, federation, 0.0)
            for client in np.flatnonzero(asked.any(axis=1)).tolist():
                asked[client] = jobs.counts(client) > 0
        return np.asarray(chance[:, None] * asked * federation.answer_chance)

    def aggregate(  # type: ignore[override]
        self, state: FedRAMState, updates: Sequence[Update]
    ) -> FedRAMState:
        """What the stage makes of its answers, and the next round."""
        stage, done = self.stage(state.server_round), state.server_round + 1
        taken = {
            "reference": self._aggregate_references,
            "proxy": self._aggregate_proxies,
            "agent": self._aggregate_agents,
        }[stage](state, updates)
        kept = taken.references if self.stage(done) != "agent" else taken.references.emptied()
        return replace(
            taken,
            server_round=done,
            stage_start=state.stage_start if self.stage(done) == stage else done,
            proposed={},
            references=kept,
            figures=stage_figures(taken, stage, updates),
        )

    def _excess(self, jobs: StagedJobs, client: int) -> tuple[Vector, Vector]:
        """By how much the proxy is worse than a client's references, and the losses of these."""
        state, tasks = jobs.state, jobs.federation.companions
        held = jobs.federation.eligible[client]
        losses, reference = losses_of(tasks, state.models, client, held), np.zeros(len(tasks))
        if self.reference_rounds:
            own = {task.name: state.reference(task.name, client) for task in tasks}
            found = losses_of(tasks, own, client, held)
            reference = np.where(np.isfinite(found), found, losses)
        return excess_losses(losses, reference), reference

    def _proxy_jobs(
        self, jobs: StagedJobs, client: int, excess: Vector, reference: Vector, rate: float
    ) -> tuple[Vector, list[Job]]:
        """The task weights that a client proposes, and its jobs with them."""
        held = jobs.federation.eligible[client]
        row = task_weights(
            jobs.state.task_weights[client],
            excess,
            rate,
            smoothing=self.smoothing,
            present=held,
        )
        scales = loss_coefficients(shares_of_held(row, held), excess, clip=self.clip_gradient)
        return row, jobs.proxies(client, scales * held.sum(), reference)

    def _task_rate(self, state: FedRAMState, excess: Sequence[Vector]) -> float:
        """The step of the task weights; `auto`: by the largest excess loss of the first round."""
        if self.task_rate != AUTO:
            return float(self.task_rate)
        rows = [
            shares_of_held(row, np.array(held))[np.array(held)]
            for row, held in zip(state.task_weights, state.held, strict=True)
            if sum(held) > 1
        ]
        return self._found(state, "task_rate", rows, np.concatenate([*excess, np.zeros(1)]))

    def _client_rate(self, state: FedRAMState, differences: Vector) -> float:
        """The step of the client weights; `auto`: by the largest difference of the first round."""
        if self.client_rate != AUTO:
            return float(self.client_rate)
        rows = [np.asarray(state.client_weights)] if len(state.client_weights) > 1 else []
        return self._found(state, "client_rate", rows, differences)

    def _noted(self, state: FedRAMState, name: str, rate: float) -> FedRAMState:
        """The state that knows a rate, if it is one that had to be found."""
        found = getattr(self, name) == AUTO and rate > 0.0
        return replace(state, rates={**state.rates, name: rate}) if found else state

    def _found(self, state: FedRAMState, name: str, rows: Sequence[Vector], gains: Vector) -> float:
        """The rate that is known, or the one that keeps a tenth of the smallest of the weights."""
        known = state.rates.get(name)
        gap = float(np.abs(gains[np.isfinite(gains)]).max(initial=0.0))
        if known is not None or not rows or gap == 0.0:
            return known or 0.0
        lowest = min(rows, key=lambda row: float(row.min()))
        return suggest_rate(lowest, gap, max(self.proxy_rounds, 1))

    def _aggregate_references(self, state: FedRAMState, updates: Sequence[Update]) -> FedRAMState:
        """The models of those who answered; a client's trunk takes the mean over its tasks."""
        trunk = state.references.shared
        steps: dict[Pair, Params] = {}
        for client in answered(updates):
            mine = {(u.task, client): u.delta for u in updates if u.client == client}
            common = mean_of_trunks(mine.values(), trunk) if trunk else {}
            steps |= {pair: {**delta, **common} for pair, delta in mine.items()}
        return replace(state, references=state.references.stepped(state.models, steps))

    def _aggregate_proxies(self, state: FedRAMState, updates: Sequence[Update]) -> FedRAMState:
        """The proxies by FedAvg, and the weights of those who answered."""
        if not updates:
            return state
        there = answered(updates)
        differences = np.full(len(state.client_weights), np.nan)
        for client in there:
            mine = [update for update in updates if update.client == client]
            differences[client] = changed_loss(mine, self.differential)
        rate = self._client_rate(state, differences)
        weights = client_weights(
            state.client_weights,
            differences,
            rate,
            present=np.isfinite(differences),
            absent=self.absent,
        )
        proxies = self._stepped(state.proxies, updates, data_weighted)
        models = {**state.models, **proxies}
        if not self.agent:
            models |= zip(state.agents, proxies.values(), strict=True)
        after = self._noted(state.keep(updates), "client_rate", rate)
        return replace(after, models=models).with_answers(there, weights)

    def _aggregate_agents(self, state: FedRAMState, updates: Sequence[Update]) -> FedRAMState:
        """The tasks' models, by client weights."""

        def rule(some: Sequence[Update]) -> list[float]:
            shares = np.array(AGGREGATIONS[self.aggregation](some))
            shares *= [state.client_weights[update.client] for update in some]
            return (shares / shares.sum()).tolist()  # type: ignore[no-any-return]

        stepped = self._stepped(state.agents, updates, rule)
        return replace(state.keep(updates), models={**state.models, **stepped})

    def _stepped(
        self, models: Mapping[str, Params], updates: Sequence[Update], rule: Coefficients
    ) -> Mapping[str, Params]:
        """Models after their updates."""
        step = step_with_one_trunk if self.share_trunk else step_tasks
        return step(models, updates, rule)
