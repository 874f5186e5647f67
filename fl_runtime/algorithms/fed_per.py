"""FedPer: a base that all clients share, and heads that stay with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fl_runtime.algorithms.base import ServerState
from fl_runtime.algorithms.exchange import Exchange, everything
from fl_runtime.algorithms.personal import Local, PersonalState
from fl_runtime.algorithms.shared_trunk import trunk_entries
from fl_runtime.training.job import Update
from fl_runtime.training.task import Params


@dataclass(frozen=True, kw_only=True)
class FedPer(Local):
    r"""A base that is averaged over clients, and heads that stay with them.

    The base of a task is its `shared_layers`; with `share_trunk` there is one for all tasks, which
    takes the mean over tasks of their mean steps. It is the server's, so clients that were not
    active, or are recruited later, have the new base too.

    Source: Arivazhagan et al. 2019 (arXiv 1912.00818), algorithms 1 and 2.
    """

    def moved(self, state: PersonalState, updates: Sequence[Update]) -> PersonalState:
        """Own steps for heads, the mean for the base."""
        after = self.averaged(state.models, updates)
        models = {
            task: {**params, **{key: after[task][key] for key in self._base(task, params)}}
            for task, params in state.models.items()
        }
        steps = {
            (u.task, u.client): {k: v for k, v in u.delta.items() if k not in base}
            for u in updates
            for base in [self._base(u.task, u.delta)]
        }
        return replace(self.stepped(state, steps), models=models)

    def exchange(self, state: ServerState, task: str) -> Exchange:
        """The base; with one trunk for all tasks, once per client."""
        base = self._base(task, state.models[task])
        return everything(base, base if self.share_trunk else (), together=self.share_trunk)

    def _base(self, task: str, params: Params) -> tuple[str, ...]:
        """Entries of the base."""
        return trunk_entries({task: params}, self.shared_layers)
