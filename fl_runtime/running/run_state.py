"""The state of one run between two rounds, and the same as a tree for a checkpoint.

Keys of the tree are part of the checkpoint format. Three are older than the attributes they hold
(`waves`, `flights`, and `wave` of a job in flight) and keep their spelling, so that runs of earlier
versions can be resumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from fl_runtime.algorithms.base import ServerState
from fl_runtime.running.account import Account
from fl_runtime.running.checkpoint import to_device
from fl_runtime.running.kept_models import Best
from fl_runtime.running.stopping import Patience
from fl_runtime.simulation.clock import PendingJob, PendingJobs
from fl_runtime.training.job import Job, Update


@dataclass(frozen=True)
class RunState:
    """Everything that decides how a run goes on.

    Attributes:
        state: The algorithm's own state, with models and buffers.
        now: Virtual time.
        dispatches: Number of dispatches so far.
        sent: Number of jobs sent so far.
        pending: Jobs in flight, with the results that have been computed ahead.
        patience: What early stopping remembers.
        finished: Tasks that have reached their targets, in a run that stops at them.
        account: What became of the jobs that are not in flight; None in a run that an earlier
            version began, which kept none.
        best: The best models so far by task, where they are kept; None in a run that an earlier
            version began, which kept none.
    """

    state: ServerState
    now: float = 0.0
    dispatches: int = 0
    sent: int = 0
    pending: PendingJobs = ()
    patience: Patience = Patience()  # noqa: RUF009
    finished: tuple[str, ...] = ()
    account: Account | None = Account()  # noqa: RUF009
    best: Mapping[str, Best] | None = field(default_factory=dict)

    @property
    def is_due(self) -> bool:
        """Whether a job in flight ends at this very moment."""
        return bool(self.pending) and self.pending[0].finish <= self.now

    def tree(self) -> dict[str, Any]:
        """Plain values and tensors; a tensor that several jobs share stays one object."""
        return {
            "state": self.state.tree(),
            "now": self.now,
            "waves": self.dispatches,
            "sent": self.sent,
            "flights": [_pending_tree(entry) for entry in self.pending],
            "patience": _plain(self.patience),
            "finished": list(self.finished),
            "account": None if self.account is None else _plain(self.account),
            "best": None if self.best is None else {k: b.tree() for k, b in self.best.items()},
        }

    @classmethod
    def from_tree(
        cls, tree: Mapping[str, Any], kind: type[ServerState], device: torch.device
    ) -> RunState:
        """The state that `tree` described.

        Args:
            tree: What a checkpoint holds.
            kind: The algorithm's kind of state.
            device: Where tensors go.
        """
        tree = to_device(tree, device)
        return cls(
            state=kind.from_tree(tree["state"]),
            now=tree["now"],
            dispatches=tree["waves"],
            sent=tree["sent"],
            pending=tuple(_pending_job(each) for each in tree["flights"]),
            patience=Patience(**tree["patience"]),
            finished=tuple(tree.get("finished", ())),
            account=None if tree.get("account") is None else Account(**tree["account"]),
            best=_best(tree.get("best")),
        )


def _best(tree: Mapping[str, Any] | None) -> dict[str, Best] | None:
    """The best models that a tree describes."""
    return None if tree is None else {name: Best.from_tree(each) for name, each in tree.items()}


def _pending_tree(entry: PendingJob) -> dict[str, Any]:
    """A job in flight as plain values."""
    reason = {"reason": entry.reason} if entry.reason else {}
    return {
        **reason,
        "finish": entry.finish,
        "number": entry.number,
        "wave": entry.dispatch_index,
        "fate": entry.fate,
        "job": _plain(entry.job),
        "update": None if entry.update is None else _plain(entry.update),
        "begin": entry.begin,
        "tie": entry.tie,
    }


def _pending_job(tree: Mapping[str, Any]) -> PendingJob:
    """The job in flight that a tree describes."""
    return PendingJob(
        finish=tree["finish"],
        number=tree["number"],
        dispatch_index=tree["wave"],
        fate=tree["fate"],
        job=Job(**tree["job"]),
        update=None if tree["update"] is None else Update(**tree["update"]),
        begin=tree["begin"],
        tie=tree.get("tie", 0.0),
        reason=tree.get("reason", ""),
    )


def _plain(record: Any) -> dict[str, Any]:
    """The fields of a record, one level deep."""
    return {each.name: getattr(record, each.name) for each in fields(record)}
