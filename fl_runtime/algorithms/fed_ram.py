r"""FedRAM: a small proxy finds out which tasks and clients deserve more, a large agent uses it.

Three stages, one after the other, each a number of rounds; the state's round says which one it is.

1. *Reference*. Every client trains a small model on its own tasks, without communication.
2. *Proxy*. A small global model is trained by FedAvg. Before a client trains, it compares the
   global proxy with its reference and moves its task weights towards what is worse
   (`reweighting.task_weights`); it descends on its weighted excess losses
   (`reweighting.loss_coefficients`). By how much training changed its loss the server moves the
   client weights (`reweighting.client_weights`). A client that does not answer keeps both.
3. *Agent*. The tasks' own models are trained on examples that are drawn anew each round with the
   frequencies of the task weights, and averaged with the client weights.

**The design.** `companions` puts a small model beside each task (`proxies.companion`); their
updates come and go through jobs like all others, under their own names. What a client computes
before its local training (losses of the proxy and of its reference) is computed when its job is
made, and counts once it answers; what it computes afterwards is a wish of the job (`end_loss`).
Random streams are addressed by the round within the stage, so that with both rates zero the agent's
rounds are those of FedAvg with the `plain` mean.

**Where one model serves all tasks** (`share_trunk`): the published agent is one model. Then all but
the last layer of every task's model is kept equal by the mean over tasks of their steps, for the
proxies and each client's references too. Otherwise tasks are trained apart, and task weights decide
how a client divides its work. A client's step on one task is scaled by its weight times its number
of tasks, so equal weights train as usual; under `adamw`, which ignores scale, only the mask acts.

Source: FedRAM (NeurIPS 2025), its listing and prose; the displayed equations are missing, and what
is reconstructed is named where it is done. The treatment of absent clients is a reading of
"frozen". A client whose training of a reference was lost each time compares the proxy with itself,
so that its excess loss is zero; a reference without a finite loss counts as none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from fairopt import InvalidInput
from fl_runtime.algorithms.aggregation import (
    AGGREGATIONS,
    Aggregation,
    Coefficients,
    data_weighted,
    step_tasks,
)
from fl_runtime.algorithms.averaging import FedProx
from fl_runtime.algorithms.one_trunk import initial_models, step_with_one_trunk
from fl_runtime.algorithms.proxies import (
    FedRAMState,
    answered,
    companion,
    first_task_weights,
    losses_of,
    shares_of_held,
    stage_figures,
)
from fl_runtime.algorithms.reweighting import (
    Absent,
    Vector,
    client_weights,
    differential_loss,
    excess_losses,
    loss_coefficients,
    task_weights,
)
from fl_runtime.algorithms.staged_jobs import StagedJobs
from fl_runtime.federation import Federation
from fl_runtime.job import Job, Update
from fl_runtime.streams import stream
from fl_runtime.task import Params, Task


@dataclass(frozen=True, kw_only=True)
class FedRAM(FedProx):
    """Federated reweighting and aggregation; see the module's text.

    Attributes:
        reference_rounds: Length of stage 1; 0: no reference, whose loss then counts as zero.
        proxy_rounds: Length of stage 2; 0: the weights stay as they begin, in proportion to a
            client's examples and equal for clients. All later rounds are the agent's.
        proxy_hidden: Widths of the small models' hidden layers.
        task_rate: Step of the task weights, >= 0; 0 leaves them alone.
        client_rate: Step of the client weights; positive as in the source's formula, negative as in
            its Theorem 2, 0 leaves them alone.
        smoothing: Share of the old task weights in the new ones.
        differential: What a client's loss after training is compared with: the `global` proxy's
            (the listing), or the `reference`'s (Theorem 2).
        absent: `frozen` client weights of those who do not answer, or `renormalise`.
        clip_gradient: A task no worse than its reference adds nothing to the proxy's step;
            otherwise (DoReMi) clipping concerns the weights alone.
        share_trunk: Whether all tasks have one trunk.
        aggregation: Of the agent's updates, times the client weights: `plain` (the source) or
            `data-weighted`.
        mu: Pull of FedProx on the agent's jobs.
    """

    mu: float = 0.0
    aggregation: Aggregation = "plain"
    reference_rounds: int = 2
    proxy_rounds: int = 10
    proxy_hidden: tuple[int, ...] = (4,)
    task_rate: float = 0.1
    client_rate: float = 0.1
    smoothing: float = 0.01
    differential: Literal["global", "reference"] = "global"
    absent: Absent = "frozen"
    clip_gradient: bool = True
    share_trunk: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        checks: tuple[tuple[str, Any, bool, str], ...] = (
            ("reference_rounds", self.reference_rounds, self.reference_rounds >= 0, ">= 0"),
            ("proxy_rounds", self.proxy_rounds, self.proxy_rounds >= 0, ">= 0"),
            ("proxy_hidden", self.proxy_hidden, all(w > 0 for w in self.proxy_hidden), "positive"),
            ("task_rate", self.task_rate, 0.0 <= self.task_rate < np.inf, "finite and >= 0"),
            ("client_rate", self.client_rate, bool(np.isfinite(self.client_rate)), "finite"),
            ("smoothing", self.smoothing, 0.0 <= self.smoothing <= 1.0, "in [0, 1]"),
            ("aggregation", self.aggregation, self.aggregation != "importance", "another one"),
            ("tasks_per_client", self.tasks_per_client, self.tasks_per_client == "all", '"all"'),
        )
        for name, value, fine, requirement in checks:
            if not fine:
                raise InvalidInput(name, value, requirement)

    def stage(self, server_round: int) -> str:
        """The stage of the round after so many."""
        if server_round < self.reference_rounds:
            return "reference"
        return "proxy" if server_round < self.reference_rounds + self.proxy_rounds else "agent"

    @property
    def shares_parts(self) -> bool:
        """The trunk, where there is one for all."""
        return self.share_trunk

    def companions(self, tasks: Sequence[Task], seed: int) -> tuple[Task, ...]:
        """A small proxy beside every task."""
        return tuple(companion(task, self.proxy_hidden, seed) for task in tasks)

    def init(self, federation: Federation, seed: int) -> FedRAMState:
        """Initial models; task weights by size, client weights equal."""
        count = federation.num_clients
        return FedRAMState(
            seed=seed,
            server_round=0,
            models={
                **initial_models(federation.tasks, one_trunk=self.share_trunk),
                **initial_models(federation.companions, one_trunk=self.share_trunk),
            },
            validation_loss={},
            validation_error={},
            task_weights=first_task_weights(federation),
            client_weights=[1.0 / count] * count,
        )

    def dispatch(  # type: ignore[override]
        self, state: FedRAMState, federation: Federation, now: float
    ) -> tuple[FedRAMState, list[Job]]:
        """Jobs of the stage: for all who can be asked in the first, for the active ones later."""
        stage = self.stage(state.server_round)
        active = federation.idle
        if stage != "reference":
            active = federation.draw_active(stream(state.seed, "dispatch", state.stage_round))
        active = active[federation.eligible[active].any(axis=1)]
        jobs = StagedJobs(state, federation, now)
        if stage == "reference":
            return state, jobs.references(active)
        if stage == "agent":
            return state, jobs.agents(active, {"proximal": self.mu} if self.mu else {})
        rows: dict[str, Sequence[float]] = {}
        sent: list[Job] = []
        for client in active.tolist():
            row, its = self._proxy_jobs(jobs, client)
            rows[str(client)] = row.tolist()
            sent += its
        return replace(state, proposed=rows), sent

    def absorb(  # type: ignore[override]
        self, state: FedRAMState, updates: Sequence[Update]
    ) -> FedRAMState:
        """What the stage makes of its answers, and the next round."""
        stage, done = self.stage(state.server_round), state.server_round + 1
        taken = {
            "reference": self._absorb_references,
            "proxy": self._absorb_proxies,
            "agent": self._absorb_agents,
        }[stage](state, updates)
        begins = self.stage(done) != stage
        return replace(
            taken,
            server_round=done,
            stage_start=done if begins else state.stage_start,
            proposed={},
            references={} if self.stage(done) == "agent" else taken.references,
            figures=stage_figures(taken, stage, updates),
        )

    def _proxy_jobs(self, jobs: StagedJobs, client: int) -> tuple[Vector, list[Job]]:
        """The task weights that a client proposes, and its jobs with them."""
        state, tasks = jobs.state, jobs.federation.companions
        held = jobs.federation.eligible[client]
        reference = np.zeros(len(tasks))
        if self.reference_rounds:
            own = {task.name: state.reference(task.name, client) for task in tasks}
            losses = losses_of(tasks, own, client, held)
            reference = np.where(np.isfinite(losses), losses, 0.0)
        excess = excess_losses(losses_of(tasks, state.models, client, held), reference)
        row = task_weights(
            state.task_weights[client],
            excess,
            self.task_rate,
            smoothing=self.smoothing,
            present=held,
        )
        scales = loss_coefficients(shares_of_held(row, held), excess, clip=self.clip_gradient)
        return row, jobs.proxies(client, scales * held.sum(), reference)

    def _absorb_references(self, state: FedRAMState, updates: Sequence[Update]) -> FedRAMState:
        """Every client's own models go on."""
        found: dict[tuple[str, int], Params] = {}
        for client in answered(updates):
            mine = [update for update in updates if update.client == client]
            before = {name: state.reference(name, client) for name in state.proxies}
            after = self._stepped(before, mine, data_weighted)
            found |= {(name, client): params for name, params in after.items()}
        return state.with_references(found)

    def _absorb_proxies(self, state: FedRAMState, updates: Sequence[Update]) -> FedRAMState:
        """The proxies by FedAvg, and the weights of those who answered."""
        if not updates:
            return state
        there = answered(updates)
        differences = np.full(len(state.client_weights), np.nan)
        for client in there:
            differences[client] = self._difference([u for u in updates if u.client == client])
        weights = client_weights(
            state.client_weights,
            differences,
            self.client_rate,
            present=np.isfinite(differences),
            absent=self.absent,
        )
        models = {**state.models, **self._stepped(state.proxies, updates, data_weighted)}
        return replace(state.keep(updates), models=models).with_answers(there, weights)

    def _absorb_agents(self, state: FedRAMState, updates: Sequence[Update]) -> FedRAMState:
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

    def _difference(self, mine: Sequence[Update]) -> float:
        """The differential loss of one client, over the tasks that answered."""
        base = "start_loss" if self.differential == "global" else "reference_loss"
        after, before = ([u.metrics[key] for u in mine] for key in ("end_loss", base))
        return differential_loss(after, before, [u.num_examples for u in mine])
