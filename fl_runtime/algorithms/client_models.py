"""Models of clients' own: a trunk that belongs to the client, heads that belong to its tasks.

A client holds several tasks, and which ones may change in mid-run. What it has once (an encoder for
all its tasks) is kept under the client alone, so the models of one client agree in it whichever of
its answers are lost, and a task it is recruited for later starts from the encoder it has.
Everything else is kept under task and client.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from fl_runtime.algorithms.aggregation import add
from fl_runtime.algorithms.base import earlier_version
from fl_runtime.training.task import Params

Pair = tuple[str, int]
"""The name of a task and the number of a client."""


@dataclass(frozen=True)
class ClientModels:
    """What clients have trained and keep; clients are numbers as strings, the keys of checkpoints.

    Attributes:
        shared: Names of the entries that a client has once for all its tasks.
        trunks: Those entries by client.
        heads: All other entries that a client has trained, by task and client; whole models where
            nothing is shared.

    Example:
        >>> import torch
        >>> start, one = {"encoder": torch.zeros(1), "head": torch.zeros(1)}, torch.ones(1)
        >>> models = ClientModels(shared=("encoder",))
        >>> models = models.stepped({"a": start}, {("a", 3): {"encoder": one, "head": one}})
        >>> models.model(start, "b", 3)  # a task that client 3 is recruited for later
        {'encoder': tensor([1.]), 'head': tensor([0.])}
    """

    shared: tuple[str, ...] = ()
    trunks: Mapping[str, Params] = field(default_factory=dict)
    heads: Mapping[str, Mapping[str, Params]] = field(default_factory=dict)

    def model(self, common: Params, task: str, client: int) -> Params:
        """The client's model of a task: its own entries, the common model's where it has none."""
        trunk, head = self.trunks.get(str(client)), self.head(task, client)
        return {**common, **(trunk or {}), **(head or {})} if trunk or head else common

    def head(self, task: str, client: int) -> Params | None:
        """What the client has for that task alone; None if it has never trained the task."""
        return self.heads.get(task, {}).get(str(client))

    def stepped(self, common: Mapping[str, Params], steps: Mapping[Pair, Params]) -> Self:
        """The models after steps; a client's steps agree in the shared entries.

        Args:
            common: By task, the model of those who have none.
            steps: Of the entries that move, by task and client; all others stay what they are, the
                client's or the common ones.
        """
        moved = {
            pair: {key: value for key, value in add(start, step).items() if key in step}
            for pair, step in steps.items()
            for start in [self.model(common[pair[0]], *pair)]
        }
        return self.with_models(moved)

    def with_models(self, found: Mapping[Pair, Params]) -> Self:
        """These models, or entries of them, in place of what those clients had."""
        trunks = dict(self.trunks)
        heads = {task: dict(clients) for task, clients in self.heads.items()}
        for (task, client), params in found.items():
            who, mine = str(client), heads.setdefault(task, {})
            trunk = {key: value for key, value in params.items() if key in self.shared}
            head = {key: value for key, value in params.items() if key not in trunk}
            mine[who] = {**mine.get(who, {}), **head}
            if trunk:
                trunks[who] = {**trunks.get(who, {}), **trunk}
        return replace(self, trunks=trunks, heads=heads)

    def emptied(self) -> Self:
        """The same without any model."""
        return replace(self, trunks={}, heads={})

    def tree(self) -> dict[str, Any]:
        """Plain values and tensors, for a checkpoint."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Self:
        """The models that `tree` described.

        Raises:
            InvalidInput: They are of a version that kept one model per task and client, from which
                nobody can tell what belongs to the client.
        """
        if not tree.keys() <= {each.name for each in fields(cls)}:
            raise earlier_version("models of clients by task")
        return cls(**{**tree, "shared": tuple(tree.get("shared", ()))})
