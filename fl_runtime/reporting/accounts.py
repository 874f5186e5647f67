"""What became of the jobs of every arm: asked = answered + lost in one way or another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from fl_runtime.history import History
from fl_runtime.running.account import EVENTS, IN_FLIGHT

COLUMNS = ("asked", *EVENTS, IN_FLIGHT)


def account_of(history: History, arm: str) -> dict[str, int] | None:
    """The account of an arm, summed over its seeds; None where a run tells nothing."""
    rows = [history.account(arm, seed) for seed in history.seeds(arm)]
    if not all(rows):
        return None
    return {name: sum(row[name] for row in rows if row) for name in COLUMNS}


def account_table(summary: Mapping[str, Any]) -> Table | None:
    """One line per arm: jobs by the end they came to; None where no arm has an account.

    Ends that nothing came to in any arm are left out; so is a table in which all were answered.
    """
    accounts = {arm: each.get("account") for arm, each in summary["arms"].items()}
    known = {arm: account for arm, account in accounts.items() if account}
    if not known:
        return None
    shown = [name for name in COLUMNS if any(account[name] for account in known.values())]
    if set(shown) <= {"asked", "answered"}:
        return None
    table = Table(title="What became of the jobs")
    table.add_column("arm", no_wrap=True)
    for name in shown:
        table.add_column(name.replace("_", " "), justify="right", no_wrap=True)
    for arm, account in known.items():
        table.add_row(escape(arm), *(str(account[name]) for name in shown))
    table.caption = "over all seeds; asked is the sum of the others"
    return table
