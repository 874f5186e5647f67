"""What became of every job of a run: nothing that is asked is lost without a trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from fl_runtime.simulation.clock import PendingJobs


@dataclass(frozen=True)
class Account:
    """How many jobs of a run came to which end.

    Attributes:
        answered: Updates that were aggregated, or buffered.
        stale: Answers that were too old to be accepted.
        discarded: Answers too late for their round, counted when it was over.
        dropped: Jobs that were never answered.
        failed: Jobs that were lost before they were answered.
        rejected: Updates that were not finite or would have ruined a model.
        withdrawn: Jobs in flight of tasks that had reached their target.

    Guarantee: at any time the jobs that were sent are those of the account and those in flight,
    see `account_row`.
    """

    answered: int = 0
    stale: int = 0
    discarded: int = 0
    dropped: int = 0
    failed: int = 0
    rejected: int = 0
    withdrawn: int = 0

    def __add__(self, other: Account) -> Account:
        return Account(*(getattr(self, name) + getattr(other, name) for name in EVENTS))


EVENTS = tuple(each.name for each in fields(Account))
"""The ends that a job can come to."""

IN_FLIGHT = "in_flight"
"""The column for jobs that had not ended when the run did."""


def in_flight(pending: PendingJobs) -> int:
    """Jobs that have not ended and are in no account yet.

    A job whose answer comes too late is in the account already, as discarded.
    """
    return sum(entry.fate != "answers too late" for entry in pending)


def account_row(account: Account, sent: int, pending: PendingJobs) -> dict[str, int]:
    """The account of a run as columns: `asked`, every end, and `in_flight`.

    Example:
        >>> account_row(Account(answered=3, dropped=1), 4, ())["asked"]
        4
    """
    ends = {name: getattr(account, name) for name in EVENTS}
    return {"asked": sent, **ends, IN_FLIGHT: in_flight(pending)}


def is_balanced(row: Mapping[str, Any]) -> bool:
    """Whether everything that was asked for has come to one end, or is in flight.

    Example:
        >>> is_balanced(account_row(Account(answered=3, dropped=1), 4, ()))
        True
        >>> is_balanced(account_row(Account(answered=3), 4, ()))
        False
    """
    return bool(row["asked"] == sum(row[name] for name in (*EVENTS, IN_FLIGHT)))
