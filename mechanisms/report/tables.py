"""Auctions as CSV files and outcomes as records and tables."""

from __future__ import annotations

import csv
import math
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fairopt.errors import InvalidInput
from mechanisms.audits.report import AuditReport
from mechanisms.outcome import Outcome

if TYPE_CHECKING:
    from rich.table import Table

    from mechanisms.audits.collusion import JointViolation
    from mechanisms.audits.collusion_search import Limits

LARGEST = Fraction(10) ** 300
"""Amounts of money beyond it are typing errors, and near the end of the floats."""
NAME_HEADINGS = ("", "client", "clients", "client_id", "id", "name")
"""Headings of a first column that are no task's."""
NO_NAMES = "none"
"""Says that no column has the clients' names."""
EXPONENTS = 1000
"""Decimal exponents beyond it are not multiplied out."""


@dataclass(frozen=True, eq=False)
class NamedBids:
    """Bids with the names of their rows and columns.

    Args:
        clients: N names.
        tasks: S names.
        bids: (N, S) exact bids.
    """

    clients: tuple[str, ...]
    tasks: tuple[str, ...]
    bids: NDArray[Any]


def read_bids(path: str | Path, name_column: str = "") -> NamedBids:
    """Read a CSV file: a header with the names of the columns, then a row per client.

    One column has the clients' names, the others are tasks. An empty cell means that the client
    does not bid. Decimals such as 0.1, fractions such as 1/3 and integers are read exactly.

    Args:
        path: The file.
        name_column: Heading of the clients' names; "none" if there are none, and clients are
            numbered from 0. By default the first column, which must not look like asks: its heading
            is one of client, name, id or empty, or some name in it is no number.

    Raises:
        InvalidInput: The file cannot be read, has no header, has a first column of numbers under
            the heading of a task, a name is missing or stands twice, a row has another length than
            the header, or a cell is not a number >= 0; row and column are named.
    """
    rows = [row for row in _rows(Path(path)) if any(cell.strip() for cell in row)]
    if len(rows) < 2:
        raise InvalidInput(
            "BIDS", str(path), "a header of task names and a row per client, separated by commas"
        )
    header, *body = rows
    for row in body:
        if len(row) != len(header):
            requirement = f"a row of {len(header)} cells, as the header"
            raise InvalidInput(f"BIDS, client {row[0]!r}", row, requirement)
    names, others = _columns(str(path), header, body, name_column)
    tasks = _names("task", [header[column] for column in others])
    named = [str(i) if names is None else row[names] for i, row in enumerate(body)]
    clients = _names("client", named)
    bids = np.empty((len(body), len(tasks)), dtype=object)
    for i, row in enumerate(body):
        for s, column in enumerate(others):
            where = f"BIDS, client {clients[i]!r}, task {tasks[s]!r}"
            bids[i, s] = number(row[column], where)
    return NamedBids(clients, tasks, bids)


def _columns(
    path: str, header: list[str], body: list[list[str]], name_column: str
) -> tuple[int | None, list[int]]:
    """Which column has the clients' names, if one has, and which are tasks."""
    headings = [cell.strip() for cell in header]
    if all(_looks_like_a_number(cell) for cell in headings):
        raise InvalidInput("BIDS, first line", ",".join(headings), "names of the columns: a header")
    everything = list(range(len(headings)))
    if name_column == NO_NAMES:
        return None, everything
    if name_column and name_column not in headings:
        raise InvalidInput("--name-column", name_column, f"none, or one of {', '.join(headings)}")
    names = headings.index(name_column) if name_column else 0
    unsure = not name_column and headings[0].lower() not in NAME_HEADINGS
    if unsure and all(_looks_like_a_number(row[0]) for row in body):
        requirement = (
            "of clients' names, but holds numbers only: say --name-column "
            f"{headings[0]} if these are names, --name-column {NO_NAMES} if they are asks"
        )
        raise InvalidInput("BIDS, first column", headings[0], requirement)
    if len(headings) < 2:
        raise InvalidInput("BIDS", path, "a column of names and at least one task")
    return names, [column for column in everything if column != names]


def _looks_like_a_number(cell: str) -> bool:
    """Whether a cell may be an ask; an empty one is none."""
    try:
        return number(cell, "", infinite=False) is not None
    except InvalidInput:
        return False


def _names(kind: str, cells: list[str]) -> tuple[str, ...]:
    """Stripped names, none empty and all different: a result that names a client must mean one.

    A comma too many at the end of every line would else be a task for which nobody bids.
    """
    names = tuple(cell.strip() for cell in cells)
    if "" in names:
        raise InvalidInput(f"BIDS, {kind} {names.index('') + 1}", "", "named")
    for name, count in Counter(names).items():
        if count > 1:
            raise InvalidInput(f"BIDS, {kind}", name, "named once")
    return names


def number(text: str, argument: str, *, infinite: bool = True) -> Any:
    """An exact number >= 0 from text; empty text is infinite, which means no bid.

    Args:
        text: Such as "2", "0.1", "1e-3" or "1/3".
        argument: What to call it in an error.
        infinite: Whether empty text is accepted.

    Raises:
        InvalidInput: It is no number, negative, or so large or small that no float is near it.

    Example:
        >>> number("0.1", "bid"), number(" ", "bid")
        (Fraction(1, 10), inf)
    """
    plain = text.strip()
    if not plain and infinite:
        return math.inf
    requirement = "a number >= 0 such as 2, 0.1 or 1/3" + (", or empty" if infinite else "")
    try:
        value = _fraction(plain)
    except (ValueError, ArithmeticError) as error:
        raise InvalidInput(argument, text, requirement) from error
    if value < 0:
        raise InvalidInput(argument, text, requirement)
    if value and not 1 / LARGEST <= value <= LARGEST:
        raise InvalidInput(argument, text, "0, or between 1e-300 and 1e300")
    return value


def _fraction(text: str) -> Fraction:
    """A fraction from text; a huge exponent never becomes a huge integer."""
    if "/" in text:
        return Fraction(text)
    value = Decimal(text)
    if not value.is_finite():
        raise ValueError(text)
    if value and abs(value.adjusted()) > EXPONENTS:
        return (-1 if value < 0 else 1) * LARGEST * 10
    return Fraction(value)


def _rows(path: Path) -> list[list[str]]:
    """Rows of a CSV file."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput("BIDS", str(path), f"a readable CSV file ({error})") from error


def outcome_record(named: NamedBids, outcome: Outcome, rule: str, budget: Any) -> dict[str, Any]:
    """An outcome as plain data; every amount is also given exactly, as text."""
    recruits = [
        {
            "client": named.clients[i],
            "task": named.tasks[s],
            "ask": float(named.bids[i, s]),
            "payment": float(outcome.payments[i, s]),
            "payment_exact": str(outcome.payments[i, s]),
        }
        for i, s in np.argwhere(outcome.winners)
    ]
    return {
        "rule": rule,
        "budget": float(budget),
        "spend": float(outcome.spend),
        "spend_exact": str(outcome.spend),
        "take_up": dict(zip(named.tasks, outcome.take_up.tolist(), strict=True)),
        "min_take_up": outcome.min_take_up,
        "recruits": recruits,
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
            "sentence": each.sentence,
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


def audit_table(report: AuditReport) -> Table:
    """Laws and what was found."""
    from rich.table import Table

    words = {True: "[green]holds[/]", False: "[bold red]violated[/]", None: "[dim]not decided[/]"}
    table = Table("law", "result", "largest violation", title=report.scope, title_justify="left")
    for law, holds in report.laws.items():
        found = next((each.sentence for each in report.violations if each.law == law), "")
        table.add_row(law, words[holds], found)
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
            "sentence": found.sentence,
        }

    return {
        "collusion": record(limits.collusion),
        "false_name": record(limits.false_name),
        "scope": limits.scope,
    }


def limits_table(limits: Limits) -> Table:
    """Collusion and false names."""
    from rich.table import Table

    title = f"beyond truthfulness: {limits.scope}"
    table = Table("coalition", "most profitable found", title=title, title_justify="left")
    for name, found in (("two clients", limits.collusion), ("two names", limits.false_name)):
        table.add_row(name, "[dim]none found[/]" if found is None else found.sentence)
    return table


def _cell(named: NamedBids, outcome: Outcome, i: int, s: int) -> str:
    """One (client, task): nothing, a bid, or a bid and its payment."""
    bid = named.bids[i, s]
    if bid == math.inf:
        return ""
    if not outcome.winners[i, s]:
        return f"[dim]{amount(bid)}[/]"
    return f"{amount(bid)} -> [bold]{amount(outcome.payments[i, s])}[/]"


def amount(value: Any) -> str:
    """A number for people: exact where it is short, else rounded and marked.

    Example:
        >>> amount(Fraction(25, 2)), amount(Fraction(25, 3)), amount(Fraction(7))
        ('12.5', '~8.33333', '7')
    """
    short = f"{float(value):.6g}"
    return short if value == math.inf or Fraction(short) == value else f"~{short}"


def _texts(row: tuple[Any, ...] | None) -> list[str] | None:
    """A row of bids as text."""
    return None if row is None else ["" if bid == math.inf else str(bid) for bid in row]
