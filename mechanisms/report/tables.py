"""Outcomes and audits as records and tables."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mechanisms.audits.report import HOLDS, OPEN, UNCHECKED, VIOLATED, AuditReport, by_name
from mechanisms.audits.violation import CAPACITY, RATIONAL, WITHIN_BUDGET
from mechanisms.outcome import Outcome
from mechanisms.reading.amounts import amount
from mechanisms.reading.headings import NamedBids

COLOURS = {HOLDS: "green", VIOLATED: "bold red", OPEN: "dim", UNCHECKED: "dim"}
"""Of the results of laws."""
LEGENDS = {
    OPEN: "not decided: no violation was found, and not every misreport was covered",
    UNCHECKED: "not checked: this audit did not look at the law",
    "~": "~: rounded; --json has exact fractions, of every violation",
}
"""What stands below the table of an audit in which these words stand."""
AT_THESE_BIDS = (RATIONAL, WITHIN_BUDGET, CAPACITY)
"""Laws that are checked where everybody bids the costs, not at the misreports."""
MEANING = "bid -> payment of recruits; a bid alone does not win; no bid where a cell is empty"
"""What stands below the table of an auction."""

if TYPE_CHECKING:
    from rich.table import Table

    from mechanisms.audits.collusion import JointViolation
    from mechanisms.audits.collusion_search import Limits


def outcome_record(named: NamedBids, outcome: Outcome, rule: str, budget: Any) -> dict[str, Any]:
    """An outcome as plain data; exact amounts are also given as text.

    A bid stands there twice, as `ask` too, which was its only name once.
    """
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
                "bid": float(ask),
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
        "not_checked": list(report.unchecked),
        "violations": violations,
    }


def outcome_table(named: NamedBids, outcome: Outcome, title: str) -> Table:
    """Bids and payments, a row per client with its total; recruits show bid -> payment."""
    from rich.markup import escape
    from rich.table import Table

    heads = ("client", *map(escape, named.tasks), "paid in all")
    table = Table(*heads, title=title, title_justify="left", caption=MEANING)
    table.caption_justify = "left"
    for i, client in enumerate(named.clients):
        cells = (_cell(named, outcome, i, s) for s in range(len(named.tasks)))
        row = slice(i, i + 1)
        own = Outcome(outcome.winners[row], outcome.payments[row], outcome.level)
        table.add_row(escape(client), *cells, amount(own.spend) if own.winners.any() else "")
    counts = [f"[bold]{count}[/]" for count in outcome.take_up]
    table.add_section()
    table.add_row("[bold]recruits[/]", *counts, f"[bold]{amount(outcome.spend)}[/]")
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

    heads = ("law", "result", "largest violation found")
    table = Table(*heads, title=report.scope, title_justify="left", caption_justify="left")
    for law in report.laws:
        result, found = report.result(law), report.worst(law)
        sentence = "" if found is None else by_name(found.sentence, named)
        about = f"{law}, at these bids" if law in AT_THESE_BIDS else law
        table.add_row(about, f"[{COLOURS[result]}]{result}[/]", escape(sentence))
    shown = " ".join(cell for column in table.columns[1:] for cell in map(str, column.cells))
    table.caption = "\n".join(text for word, text in LEGENDS.items() if word in shown) or None
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


def _texts(row: tuple[Any, ...] | None) -> list[str] | None:
    """A row of bids as text."""
    return None if row is None else ["" if bid == math.inf else str(bid) for bid in row]
