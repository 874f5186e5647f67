"""Outcomes and audits as records and tables."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from mechanisms.audits.report import AuditReport
from mechanisms.outcome import Outcome
from mechanisms.reading.amounts import amount
from mechanisms.reading.headings import NamedBids

UNDECIDED = "not decided: no violation was found, and not every misreport was covered"
"""What stands below a table of laws of which some are neither shown nor refuted."""

if TYPE_CHECKING:
    from rich.table import Table

    from mechanisms.audits.collusion import JointViolation
    from mechanisms.audits.collusion_search import Limits


def outcome_record(named: NamedBids, outcome: Outcome, rule: str, budget: Any) -> dict[str, Any]:
    """An outcome as plain data; exact amounts are also given as text."""
    clients, tasks = np.nonzero(outcome.winners)
    asks, paid = named.bids[clients, tasks].tolist(), outcome.payments[clients, tasks].tolist()
    rows = zip(clients.tolist(), tasks.tolist(), asks, paid, strict=True)
    spend = outcome.spend
    return {
        "rule": rule,
        "budget": float(budget),
        "spend": float(spend),
        **({"spend_exact": str(spend)} if outcome.exact else {}),
        "take_up": dict(zip(named.tasks, outcome.take_up.tolist(), strict=True)),
        "min_take_up": outcome.min_take_up,
        "recruits": [
            {
                "client": named.clients[i],
                "task": named.tasks[s],
                "ask": float(ask),
                "payment": float(pay),
                **({"payment_exact": str(pay)} if outcome.exact else {}),
            }
            for i, s, ask, pay in rows
        ],
    }


def audit_record(named: NamedBids, report: AuditReport, rule: str) -> dict[str, Any]:
    """An audit as plain data."""
    violations = [
        {
            "law": each.law,
            "client": None if each.client is None else named.clients[each.client],
            "truth": _texts(each.truth),
            "report": _texts(each.report),
            "gain": float(each.gain),
            "gain_exact": str(each.gain),
            "sentence": by_name(each.sentence, named),
        }
        for each in report.violations
    ]
    return {
        "rule": rule,
        "truthful": report.truthful,
        "scope": report.scope,
        "method": report.method,
        "laws": dict(report.laws),
        "violations": violations,
    }


def outcome_table(named: NamedBids, outcome: Outcome, title: str) -> Table:
    """Bids and payments, a row per client; recruits show bid -> payment."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("client", *map(escape, named.tasks), title=title, title_justify="left")
    for i, client in enumerate(named.clients):
        table.add_row(
            escape(client), *(_cell(named, outcome, i, s) for s in range(len(named.tasks)))
        )
    counts = [f"[bold]{count}[/]" for count in outcome.take_up]
    table.add_section()
    table.add_row("[bold]recruits[/]", *counts)
    return table


def outcome_summary(named: NamedBids, outcome: Outcome, title: str) -> Table:
    """Recruits and pay of each task, for auctions with too many clients to read."""
    from rich.markup import escape
    from rich.table import Table

    heads = ("task", "recruits", "of bidders", "lowest pay", "highest pay", "spent")
    table = Table(*heads, title=title, title_justify="left")
    for s, task in enumerate(named.tasks):
        paid = outcome.payments[outcome.winners[:, s], s]
        bidders = int((named.bids[:, s] < math.inf).sum())
        cells = [amount(paid.min()), amount(paid.max()), amount(paid.sum())] if len(paid) else []
        table.add_row(escape(task), f"{len(paid):,}", f"{bidders:,}", *cells)
    return table


def audit_table(named: NamedBids, report: AuditReport) -> Table:
    """Laws and what was found."""
    from rich.markup import escape
    from rich.table import Table

    words = {True: "[green]holds[/]", False: "[bold red]violated[/]", None: "[dim]not decided[/]"}
    table = Table("law", "result", "largest violation", title=report.scope, title_justify="left")
    for law, holds in report.laws.items():
        found = next((each.sentence for each in report.violations if each.law == law), "")
        table.add_row(law, words[holds], escape(by_name(found, named)))
    if None in report.laws.values():
        table.caption, table.caption_justify = UNDECIDED, "left"
    return table


def limits_record(named: NamedBids, limits: Limits) -> dict[str, Any]:
    """Collusion and false names as plain data."""

    def record(found: JointViolation | None) -> dict[str, Any] | None:
        if found is None:
            return None
        return {
            "clients": [named.clients[client] for client in found.clients],
            "reports": [_texts(row) for row in found.reports],
            "gain": float(found.gain),
            "gain_exact": str(found.gain),
            "sentence": by_name(found.sentence, named),
        }

    return {
        "collusion": record(limits.collusion),
        "false_name": record(limits.false_name),
        "scope": limits.scope,
    }


def limits_table(named: NamedBids, limits: Limits) -> Table:
    """Collusion and false names."""
    from rich.markup import escape
    from rich.table import Table

    title = f"beyond truthfulness: {limits.scope}"
    table = Table("coalition", "most profitable found", title=title, title_justify="left")
    for name, found in (("two clients", limits.collusion), ("two names", limits.false_name)):
        sentence = None if found is None else escape(by_name(found.sentence, named))
        table.add_row(name, sentence or "[dim]none found[/]")
    return table


def _cell(named: NamedBids, outcome: Outcome, i: int, s: int) -> str:
    """One (client, task): nothing, a bid, or a bid and its payment."""
    bid = named.bids[i, s]
    if bid == math.inf:
        return ""
    if not outcome.winners[i, s]:
        return f"[dim]{amount(bid)}[/]"
    return f"{amount(bid)} -> [bold]{amount(outcome.payments[i, s])}[/]"


def by_name(sentence: str, named: NamedBids) -> str:
    """A sentence of an audit with the names of clients and tasks in place of their numbers.

    Example:
        >>> named = NamedBids(("ann", "bob"), ("a", "b"), np.ones((2, 2)))
        >>> by_name("client 1 bids 3 for task 0", named)
        'client bob bids 3 for task a'
    """
    names = {"client": named.clients, "task": named.tasks}

    def one(match: re.Match[str]) -> str:
        return f"{match[1]} {names[match[1]][int(match[2])]}"

    def two(match: re.Match[str]) -> str:
        return " and ".join(named.clients[int(number)] for number in match.groups())

    def several(match: re.Match[str]) -> str:
        return "tasks " + ", ".join(named.tasks[int(number)] for number in match[1].split(", "))

    sentence = re.sub(r"(?<=^clients )(\d+) and (\d+)", two, sentence)
    sentence = re.sub(r"\btask (\d+(?:, \d+)+)(?= when)", several, sentence)
    return re.sub(r"\b(client|task) (\d+)", one, sentence)


def _texts(row: tuple[Any, ...] | None) -> list[str] | None:
    """A row of bids as text."""
    return None if row is None else ["" if bid == math.inf else str(bid) for bid in row]
