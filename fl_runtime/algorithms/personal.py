r"""Clients with models of their own: what personalised algorithms share, and local training alone.

**The design, for every personalised algorithm.** The state keeps one model per pair of a task and a
client that holds it. The client is sent its own model (`payload`), and the task is evaluated by the
mean performance of all these models on the common held-out sets (`evaluated`). What a subclass does
with the updates is `moved`: the models afterwards.

**One trunk per client** (`share_trunk`). A client that holds several tasks keeps one encoder for
all of them: its local steps are joint (`joint_training`), the trunk along the mean of its tasks'
gradients, every head along its own. All clients begin with the trunk of the first task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self, TypeVar

import numpy as np

from fairopt import InvalidInput
from fl_runtime.algorithms.aggregation import AGGREGATIONS, add, step_tasks
from fl_runtime.algorithms.base import ServerState
from fl_runtime.algorithms.fed_avg import FedAvg
from fl_runtime.algorithms.one_trunk import initial_models, step_with_one_trunk
from fl_runtime.algorithms.shared_trunk import PLAIN_MEAN, check_no_buffers, trunk_entries
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import PRIVATE, Update
from fl_runtime.training.joint_training import check_joint
from fl_runtime.training.task import Params

Personal = Mapping[str, Mapping[str, Params]]
"""Models by task and by the client's number as a string."""


@dataclass(frozen=True)
class PersonalState(ServerState):
    """State with one model per task and client.

    Attributes:
        personal: The models of the clients; who is not in it starts from the task's entry of
            `models`.
    """

    personal: Personal = field(default_factory=dict, kw_only=True)

    def payload(self, task: str, client: int) -> Params:
        """The client's own model."""
        return self.personal.get(task, {}).get(str(client), self.models[task])

    def evaluated(self, task: str) -> Mapping[str, Params]:
        """All clients' models; the task's own where it has no clients."""
        return self.personal.get(task) or super().evaluated(task)

    def with_personal(self, found: Mapping[tuple[str, int], Params]) -> Self:
        """The state with these models, by task and client."""
        models = {task: dict(clients) for task, clients in self.personal.items()}
        for (task, client), params in found.items():
            models.setdefault(task, {})[str(client)] = params
        return replace(self, personal=models)


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

    private: ClassVar[bool] = True
    """Whether personal models never leave their clients."""

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
        pairs = np.argwhere(federation.eligible).tolist()
        names = [task.name for task in federation.tasks]
        state = PersonalState(seed, 0, models, {}, {})
        return state.with_personal({(names[s], k): models[names[s]] for k, s in pairs})

    def job_options(
        self, federation: Federation, client: int, task: int, weight: float
    ) -> Mapping[str, Any]:
        """Joint training, where a client's tasks have one encoder."""
        plain = super().job_options(federation, client, task, weight)
        if self.private:
            plain = {**plain, "echo": {**plain.get("echo", {}), PRIVATE: 1.0}}
        if not self.share_trunk or federation.eligible[client].sum() < 2:
            return plain
        models = {each.name: each.initial for each in federation.tasks}
        return {**plain, "joint": PLAIN_MEAN, "shared": trunk_entries(models, self.shared_layers)}

    def seed_name(self, federation: Federation, client: int, task: int) -> str:
        """One order of examples for all tasks of a client where they are trained jointly."""
        own = federation.tasks[int(np.argmax(federation.eligible[client]))].name
        return own if self.share_trunk else super().seed_name(federation, client, task)

    def aggregate(self, state: PersonalState, updates: Sequence[Update]) -> PersonalState:  # type: ignore[override]
        """The models after the updates of this round, and the next round."""
        kept = replace(state.keep(updates), server_round=state.server_round + 1)
        return self.moved(kept, updates) if updates else kept

    def moved(self, state: PersonalState, updates: Sequence[Update]) -> PersonalState:
        """The state with the models after these updates: every client goes on with its own."""
        return self.stepped(state, {(u.task, u.client): u.delta for u in updates})

    def stepped(self, state: State, steps: Mapping[tuple[str, int], Params]) -> State:
        """The state with these steps of models; a client's encoder stays the same for all tasks.

        So where the answer for one of its tasks was lost, that task's model gets the encoder of the
        others.
        """
        found = {key: add(state.payload(*key), step) for key, step in steps.items()}
        if not self.share_trunk:
            return state.with_personal(found)
        encoders = {
            client: {key: params[key] for key in trunk_entries({task: params}, self.shared_layers)}
            for (task, client), params in found.items()
        }
        lost = {
            (task, client): {**state.payload(task, client), **encoders[client]}
            for task, clients in state.personal.items()
            for client in map(int, clients)
            if client in encoders and (task, client) not in found
        }
        return state.with_personal({**found, **lost})

    def averaged(
        self, models: Mapping[str, Params], updates: Sequence[Update]
    ) -> dict[str, Params]:
        """Models after the mean of their updates, with one trunk or each on its own."""
        rule = AGGREGATIONS[self.aggregation]
        if self.share_trunk:
            return step_with_one_trunk(models, updates, rule, self.shared_layers)
        return step_tasks(models, updates, rule)
