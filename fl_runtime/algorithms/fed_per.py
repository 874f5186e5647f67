"""FedPer: a base that all clients share, and heads that stay with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from fl_runtime.algorithms.personal import Local, PersonalState
from fl_runtime.algorithms.shared_trunk import trunk_entries
from fl_runtime.training.job import Update


@dataclass(frozen=True, kw_only=True)
class FedPer(Local):
    r"""A base that is averaged over clients, and heads that stay with them.

    The base of a task is its `shared_layers`; with `share_trunk` there is one for all tasks, which
    takes the mean over tasks of their mean steps. Clients that were not active get the new base
    too, since they would download it before they train again.

    Source: Arivazhagan et al. 2019 (arXiv 1912.00818), algorithms 1 and 2.
    """

    private: ClassVar[bool] = False

    def moved(self, state: PersonalState, updates: Sequence[Update]) -> PersonalState:
        """Own steps for heads, the mean for the base."""
        bases = {
            task: {key: params[key] for key in trunk_entries({task: params}, self.shared_layers)}
            for task, params in self.averaged(state.models, updates).items()
        }
        models = {task: {**params, **bases[task]} for task, params in state.models.items()}
        own = super().moved(state, updates).personal
        personal = {
            task: {client: {**params, **bases[task]} for client, params in clients.items()}
            for task, clients in own.items()
        }
        return replace(state, models=models, personal=personal)
