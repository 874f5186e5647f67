r"""Clients with models of their own: what personalised algorithms share, and local training alone.

**The design, for every personalised algorithm.** The state keeps what clients have trained
(`client_models`) beside one common model per task, which is the model of whoever has none. The
client is sent its own model (`payload`), and the task is evaluated by the mean performance of the
models of all clients that hold it now, on the common held-out sets (`evaluated`). What a subclass
does with the updates is `moved`: the models afterwards.

**One trunk per client** (`share_trunk`). A client that holds several tasks keeps one encoder for
all of them: its local steps are joint (`joint_training`), the trunk along the mean of its tasks'
gradients, every head along its own. The trunk and its optimiser's state belong to the client, heads
and theirs to a pair of task and client. So a client that is recruited for a further task begins
there with its own encoder and the initial head, and goes on where it was when it comes back to one.
All clients begin with the trunk of the first task.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar

import numpy as np

from fairopt import InvalidInput
from fl_runtime.algorithms.aggregation import step_tasks
from fl_runtime.algorithms.base import ServerState, earlier_version
from fl_runtime.algorithms.client_models import ClientModels, Pair
from fl_runtime.algorithms.exchange import NOTHING, Exchange
from fl_runtime.algorithms.fed_avg import FedAvg
from fl_runtime.algorithms.one_trunk import initial_models, step_with_one_trunk
from fl_runtime.algorithms.shared_trunk import PLAIN_MEAN, check_no_buffers, trunk_entries
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Update
from fl_runtime.training.joint_training import check_joint
from fl_runtime.training.task import Params


@dataclass(frozen=True)
class PersonalState(ServerState):
    """State with a model per task and client.

    Attributes:
        own: What clients have trained; all else is as in the task's entry of `models`.
    """

    own: ClientModels = field(default_factory=ClientModels, kw_only=True)

    @property
    def personal(self) -> Mapping[str, Mapping[str, Params]]:
        """The models of all who have trained, by task and by the client's number as a string."""
        return {
            task: {client: self.payload(task, int(client)) for client in clients}
            for task, clients in self.own.heads.items()
        }

    def payload(self, task: str, client: int) -> Params:
        """The client's own model."""
        return self.own.model(self.models[task], task, client)

    def evaluated(self, task: str, holders: Collection[int]) -> Mapping[str, Params]:
        """Models of the clients that hold the task now; the task's own where there is none."""
        mine = {str(client): self.payload(task, client) for client in holders}
        return mine or super().evaluated(task, holders)

    def with_personal(self, found: Mapping[Pair, Params]) -> Self:
        """The state with these models, by task and client."""
        return replace(self, own=self.own.with_models(found))

    def tree(self) -> dict[str, Any]:
        """Plain values and tensors, for a checkpoint."""
        return {**super().tree(), "own": self.own.tree()}

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Self:
        """The state that `tree` described."""
        if "personal" in tree:
            raise earlier_version("models of clients by task")
        return super().from_tree({**tree, "own": ClientModels.from_tree(tree["own"])})


State = TypeVar("State", bound=PersonalState)


@dataclass(frozen=True, kw_only=True)
class Local(FedAvg):
    """Every client trains its own models, without communication.

    Attributes:
        share_trunk: Whether a client's tasks have one encoder.
        shared_layers: Names of layers that make up the encoder, and the base of `FedPer`; all but
            the last layer if empty.
    """

    share_trunk: bool = False
    shared_layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.tasks_per_client != "all":
            raise InvalidInput("tasks_per_client", self.tasks_per_client, '"all"')
        if self.aggregation == "importance":
            raise InvalidInput("aggregation", self.aggregation, "data-weighted or plain")

    @property
    def shares_parts(self) -> bool:
        """The encoder of a client, where its tasks have one."""
        return self.share_trunk

    def init(self, federation: Federation, seed: int) -> PersonalState:
        """The same initial models for all clients.

        Raises:
            InvalidInput: Models without layers in common, or that cannot be trained jointly.
        """
        if self.share_trunk:
            check_joint(federation.tasks)
            for task in federation.tasks:
                check_no_buffers(task)
        layers = self.shared_layers
        models = initial_models(federation.tasks, one_trunk=self.share_trunk, layers=layers)
        own = ClientModels(shared=self.trunk(models))
        return PersonalState(seed, 0, models, {}, {}, own=own)

    def trunk(self, models: Mapping[str, Params]) -> tuple[str, ...]:
        """Entries that a client's tasks train together."""
        return trunk_entries(models, self.shared_layers) if self.share_trunk else ()

    def exchange(self, state: ServerState, task: str) -> Exchange:
        """Nothing."""
        return NOTHING

    def job_options(
        self, federation: Federation, client: int, task: int, weight: float
    ) -> Mapping[str, Any]:
        """Joint training, where a client's tasks have one encoder."""
        plain = super().job_options(federation, client, task, weight)
        if not self.share_trunk or federation.eligible[client].sum() < 2:
            return plain
        models = {each.name: each.initial for each in federation.tasks}
        return {**plain, "joint": PLAIN_MEAN, "shared": self.trunk(models)}

    def seed_name(self, federation: Federation, client: int, task: int) -> str:
        """One order of examples for all tasks of a client where they are trained jointly."""
        own = federation.tasks[int(np.argmax(federation.eligible[client]))].name
        return own if self.share_trunk else super().seed_name(federation, client, task)

    def aggregate(self, state: PersonalState, updates: Sequence[Update]) -> PersonalState:  # type: ignore[override]
        """The models after the updates of this round, and the next round."""
        kept = replace(self.kept(state, updates), server_round=state.server_round + 1)
        return self.moved(kept, updates) if updates else kept

    def kept(self, state: State, updates: Sequence[Update]) -> State:
        """The state with what clients keep beside their models."""
        return state.keep(updates, self.trunk(state.models))

    def moved(self, state: PersonalState, updates: Sequence[Update]) -> PersonalState:
        """The state with the models after these updates: every client goes on with its own."""
        return self.stepped(state, {(u.task, u.client): u.delta for u in updates})

    def stepped(self, state: State, steps: Mapping[Pair, Params]) -> State:
        """The state with these steps of clients' own models."""
        return replace(state, own=state.own.stepped(state.models, steps))

    def averaged(
        self, models: Mapping[str, Params], updates: Sequence[Update]
    ) -> dict[str, Params]:
        """Models after the mean of their updates, with one trunk or each on its own."""
        rule = self.coefficients
        if self.share_trunk:
            return step_with_one_trunk(models, updates, rule, self.shared_layers)
        return step_tasks(models, updates, rule)
