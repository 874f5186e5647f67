"""Command line, also called `fairopt-auction`.

python -m mechanisms run|audit BIDS.csv --budget B --rule max-min-fair
python -m mechanisms run|audit BIDS.csv --budget B --rule my_module:my_rule
python -m mechanisms study|rounds --rule my_module:my_rule
"""

from __future__ import annotations

import builtins
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fairopt.errors import FairoptError, InvalidInput
from fairopt.extras import exit_without
from fairopt.user_objects import loaded, said
from mechanisms.auctions.registry import RULES, RuleOptions, is_own, named_rule, options_of
from mechanisms.audits.audit import SAMPLES, audit
from mechanisms.audits.own_rule import blamed
from mechanisms.audits.properties import find_irrational_payment, find_overspend
from mechanisms.audits.report import by_name
from mechanisms.audits.run_rule import run_mechanism
from mechanisms.audits.time_limit import SECONDS, limited
from mechanisms.audits.violation import rounding_error
from mechanisms.outcome import Mechanism, Outcome
from mechanisms.parallel import Bar
from mechanisms.reading.amounts import amount, number
from mechanisms.reading.bids import read_bids
from mechanisms.reading.headings import NamedBids
from mechanisms.report.tables import (
    audit_record,
    audit_table,
    limits_record,
    limits_table,
    outcome_record,
    outcome_summary,
    outcome_table,
)

with exit_without("mechanisms"):
    import typer
    from rich.console import Console

if TYPE_CHECKING:
    from rich.table import Table

VIOLATED = 1
BAD_INPUT = 2
PLAIN_WIDTH = 260
"""Columns of text where the output is a file or a pipe and has no width of its own."""
READABLE = 2_000
"""Clients up to which a table has a row for each; beyond, it has one for each task."""
LONG_FILE, LONG_AUCTION = 10_000_000, 300
"""Bytes of a file, and clients in fractions, from which a person at a terminal sees a bar."""


class Method(StrEnum):
    """How an audit looks."""

    auto = "auto"
    exact = "exact"
    search = "search"
    smt = "smt"


app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Bids = Annotated[
    Path,
    typer.Argument(
        metavar="BIDS.csv", help="Or .parquet. Header: client, task names. Empty: no bid."
    ),
]
Exact = Annotated[
    bool, typer.Option("--exact", help="Compute in fractions, however many clients there are.")
]
NameColumn = Annotated[
    str, typer.Option(help="Heading of the clients' names; none: they are numbered.")
]
Budget = Annotated[str, typer.Option(help="Money available.")]
Rule = Annotated[
    str, typer.Option(help=f"{', '.join(RULES)}; or your own, package.module:function.")
]
OwnRules = Annotated[
    list[str] | None,
    typer.Option(
        "--rule", help="A rule of your own beside them, package.module:function; may be repeated."
    ),
]
Reserve = Annotated[str, typer.Option(help="Outside price: one, or one per task, with commas.")]
Prices = Annotated[str, typer.Option(help="posted-price: one price per task, with commas.")]
Unit = Annotated[str, typer.Option(help="Payments are rounded down to multiples of it: 0.01.")]
Capacity = Annotated[int | None, typer.Option(help="Most tasks that a client does.")]
Weights = Annotated[
    str, typer.Option(help="capacity-max-min: places of each task per level, with commas.")
]
Direction = Annotated[str, typer.Option(help="participation-fee: relative prices, with commas.")]
Fee = Annotated[str, typer.Option(help="participation-fee: the fee.")]


def _checked_seed(seed: int) -> int:
    """A seed as generators take it."""
    if seed < 0:
        raise InvalidInput("--seed", seed, "an integer >= 0")
    return seed


Seed = Annotated[
    int, typer.Option(help="Of the random rules and of searches.", callback=_checked_seed)
]
TimeLimit = Annotated[
    float, typer.Option(help="Seconds for one run of a rule of your own.", metavar="SECONDS")
]
Jobs = Annotated[int | None, typer.Option(help="Processes; -1 is every core.")]
Backend = Annotated[
    str | None, typer.Option(help="Whose processes: loky, dask://HOST:PORT or ray://HOST:PORT.")
]
Journal = Annotated[
    Path | None,
    typer.Option(help="File that keeps what is found; once killed, the same command goes on."),
]
Progress = Annotated[
    bool,
    typer.Option("--progress", help="Show a bar on the error stream, as at a terminal."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command()
def run(
    bids: Bids,
    budget: Budget,
    rule: Rule = "max-min-fair",
    name_column: NameColumn = "",
    reserve: Reserve = "",
    prices: Prices = "",
    unit: Unit = "",
    capacity: Capacity = None,
    weights: Weights = "",
    direction: Direction = "",
    fee: Fee = "",
    seed: Seed = 0,
    time_limit: TimeLimit = SECONDS,
    exact: Exact = False,
    progress: Progress = False,
    as_json: AsJson = False,
    plot: Annotated[Path | None, typer.Option(help="Also draw the auction to this file.")] = None,
) -> None:
    """Run one auction: in fractions up to 2,000 clients, beyond in floats unless --exact is given.

    With --json all recruits are printed; without, a row per client, or above 2,000 per task.
    """
    _check_picture(plot)
    named = _read(bids, name_column, progress, exact=exact)
    money = _money(budget) if named.exact else float(_money(budget))
    given = Given(reserve, prices, unit, capacity, weights, direction, fee)
    mechanism = named_rule(rule, _options(named, given, seed))
    if is_own(rule):
        mechanism = _timed(mechanism, time_limit)
        named, money = _numbers_of_own(rule, mechanism, named, money)
    clients = len(named.clients)
    long = named.exact and clients >= LONG_AUCTION and sys.stderr.isatty()
    with Bar(f"{rule}, {clients:,} clients", None, progress or long), _own_mistakes(rule):
        outcome = (run_mechanism if is_own(rule) else _run)(mechanism, named.bids, money)
    if is_own(rule):
        _warn(named, outcome, money)
    title = f"{rule}: {amount(outcome.spend)} of {amount(money)} spent"
    if plot is not None:
        from mechanisms.report.plots import save_outcome

        save_outcome(plot, named, outcome, title)
    if as_json:
        _print_json(outcome_record(named, outcome, rule, money), indented=clients <= READABLE)
    else:
        table = outcome_table if clients <= READABLE else outcome_summary
        _console().print(table(named, outcome, title))


@app.command(name="audit")
def audit_command(
    bids: Bids,
    budget: Budget,
    rule: Rule = "max-min-fair",
    name_column: NameColumn = "",
    method: Annotated[Method, typer.Option(help="How to look.")] = Method.auto,
    samples: Annotated[int, typer.Option(help="Misreports that a search tries.")] = SAMPLES,
    reserve: Reserve = "",
    prices: Prices = "",
    unit: Unit = "",
    capacity: Capacity = None,
    weights: Weights = "",
    direction: Direction = "",
    fee: Fee = "",
    seed: Seed = 0,
    time_limit: TimeLimit = SECONDS,
    refusals: Annotated[
        str, typer.Option(help="Error by which your rule refuses an auction: ValueError.")
    ] = "",
    single: Annotated[
        bool,
        typer.Option("--single", help="Misreports of one bid at a time only, which is decided."),
    ] = False,
    limits: Annotated[
        bool, typer.Option("--limits", help="Also search collusion and false names.")
    ] = False,
    jobs: Jobs = None,
    backend: Backend = None,
    journal: Journal = None,
    progress: Progress = False,
    as_json: AsJson = False,
    plot: Annotated[Path | None, typer.Option(help="Also draw what misreports gain.")] = None,
) -> None:
    """Search for profitable misreports of any client, taking the bids as true costs.

    Exit status: 0 nothing found, 1 a law is violated, 2 bad input. Collusion and false names are
    beyond what truthful auctions prevent, so they do not count.
    """
    import numpy as np

    _check_picture(plot)
    named, money = _bids(bids, name_column, True), _money(budget)
    takes = "capacity" in options_of(rule)
    given = Given(reserve, prices, unit, capacity if takes else None, weights, direction, fee)
    mechanism = named_rule(rule, _options(named, given, seed))
    if is_own(rule):
        mechanism = _timed(mechanism, time_limit)
        if not refusals:
            named, money = _numbers_of_own(rule, mechanism, named, money)
    rng = np.random.default_rng(seed)
    hint = "" if refusals else "; if it refuses an auction by this error, say --refusals"
    with _own_mistakes(rule, hint):
        report = audit(
            mechanism,
            named.bids,
            money,
            method=method.value,
            joint=False if single else None,
            samples=samples,
            rng=rng,
            jobs=jobs,
            backend=backend,
            journal=journal,
            progress=_shown(progress),
            capacity=capacity,
            refusals=_error_classes(refusals),
        )
    if plot is not None:
        from mechanisms.report.plots import save_audit

        save_audit(plot, named, report, f"{rule}, budget {amount(money)}")
    found = None
    if limits:
        from mechanisms.audits.collusion_search import find_limits

        found = find_limits(
            mechanism,
            named.bids,
            money,
            rng=rng,
            jobs=jobs,
            backend=backend,
            journal=journal,
            progress=_shown(progress),
        )
    if as_json:
        beyond = {} if found is None else {"limits": limits_record(named, found)}
        _print_json({**audit_record(named, report, rule), **beyond})
    else:
        tables = (
            audit_table(named, report),
            *([] if found is None else [limits_table(named, found)]),
        )
        _print_tables(tables)
    raise typer.Exit(0 if report.ok else VIOLATED)


@app.command()
def study(
    clients: Annotated[int, typer.Option(help="Clients of every auction.")] = 30,
    tasks: Annotated[int, typer.Option(help="Tasks of every auction.")] = 3,
    draws: Annotated[int, typer.Option(help="Auctions for each law and budget.")] = 40,
    budgets: Annotated[str, typer.Option(help="Shares of the sum of all costs.")] = "0.1,0.25,0.5",
    capacity: Capacity = None,
    rule: OwnRules = None,
    time_limit: TimeLimit = SECONDS,
    seed: Seed = 0,
    jobs: Jobs = None,
    backend: Backend = None,
    journal: Journal = None,
    progress: Progress = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Also print recruits by law and budget.")
    ] = False,
    as_json: AsJson = False,
    plot: Annotated[Path | None, typer.Option(help="Also draw the study to this file.")] = None,
) -> None:
    """Compare all rules over drawn auctions: recruits per task, gap, spend, overpayment, floors."""
    from mechanisms.report.studies import plain, save_study, study_tables
    from mechanisms.studies.comparison import compare_rules

    _check_picture(plot)
    shares = [float(number(part, "--budgets", infinite=False)) for part in budgets.split(",")]
    cells = compare_rules(
        num_clients=clients,
        num_tasks=tasks,
        draws=draws,
        budgets=shares,
        capacity=capacity,
        own=_own_rules(rule, capacity, time_limit),
        seed=seed,
        jobs=jobs,
        backend=backend,
        journal=journal,
        progress=_shown(progress),
    )
    if plot is not None:
        save_study(plot, cells, f"{clients} clients, {tasks} tasks, {draws} auctions")
    if as_json:
        _print_json({"cells": [plain(asdict(cell)) for cell in cells]})
    else:
        _print_tables(study_tables(cells, everything=everything))


@app.command()
def rounds(
    number_of_rounds: Annotated[int, typer.Option("--rounds", help="Auctions in a row.")] = 10,
    clients: Annotated[int, typer.Option(help="Clients of every auction.")] = 20,
    tasks: Annotated[int, typer.Option(help="Tasks of every auction.")] = 3,
    draws: Annotated[int, typer.Option(help="Paths of costs for each drift.")] = 5,
    rule: OwnRules = None,
    time_limit: TimeLimit = SECONDS,
    seed: Seed = 0,
    jobs: Jobs = None,
    backend: Backend = None,
    journal: Journal = None,
    progress: Progress = False,
    as_json: AsJson = False,
) -> None:
    """Repeat auctions while costs drift: fairness over time, and where misreports pay."""
    from mechanisms.report.studies import plain, rounds_tables
    from mechanisms.studies.rounds import study_rounds

    by_rule, learning = study_rounds(
        num_rounds=number_of_rounds,
        num_clients=clients,
        num_tasks=tasks,
        draws=draws,
        own=_own_rules(rule, None, time_limit),
        seed=seed,
        jobs=jobs,
        backend=backend,
        journal=journal,
        progress=_shown(progress),
    )
    if as_json:
        record = {"rules": [asdict(each) for each in by_rule]}
        _print_json(plain({**record, "learning": [asdict(each) for each in learning]}))
    else:
        _print_tables(rounds_tables(by_rule, learning))


def main() -> None:
    """Run the command line; bad input is one line on the error stream and exit status 2."""
    try:
        app()
    except FairoptError as error:
        Console(stderr=True).print(f"error: {error}", markup=False, soft_wrap=True)
        sys.exit(BAD_INPUT)


def _read(path: Path, name_column: str, progress: bool, *, exact: bool) -> NamedBids:
    """Bids of a file; says so on the error stream where they are floats."""
    size = path.stat().st_size if path.is_file() else 0
    shown = progress or (size >= LONG_FILE and sys.stderr.isatty())
    with Bar(f"Reading {path.name}", size, shown) as bar:
        named = _bids(path, name_column, exact or None, bar.advance)
    if not named.exact:
        sys.stderr.write(
            f"{len(named.clients):,} clients: computed in floats, with every amount as the nearest "
            "one; --exact computes in fractions\n"
        )
    return named


def _shown(progress: bool) -> bool:
    """Whether there is a bar: where it is asked for, and at a terminal."""
    return progress or sys.stderr.isatty()


def _check_picture(plot: Path | None) -> None:
    """Refuse a picture that cannot be written, before anything is computed."""
    if plot is not None:
        from mechanisms.report.plots import checked_picture

        checked_picture(plot)


def _warn(named: NamedBids, outcome: Outcome, money: Any) -> None:
    """Say on the error stream what no auction should do, with the rounding of floats allowed."""
    found = (find_overspend(outcome, money), find_irrational_payment(outcome, named.bids))
    for each in found:
        if each is not None and each.gain > rounding_error(named.bids, money):
            sentence = by_name(each.sentence, named)
            sys.stderr.write(f"warning: {sentence}: not {each.law}\n")


def _run(mechanism: Mechanism, bids: Any, budget: Any) -> Outcome:
    """What a rule of this package decides."""
    return mechanism(bids, budget)


@contextmanager
def _own_mistakes(rule: str, hint: str = "") -> Iterator[None]:
    """What goes wrong in a user's own rule, in one line with the place in the user's file."""
    if not is_own(rule):
        yield
        return
    with blamed(rule, hint):
        yield


def _timed(mechanism: Mechanism, seconds: float) -> Mechanism:
    """A user's own rule with a limit for every run."""
    if not seconds > 0:
        raise InvalidInput("--time-limit", seconds, "seconds above 0")
    return limited(mechanism, seconds)


def _error_classes(names: str) -> tuple[type[Exception], ...]:
    """Errors that are built in, or are ``package.module:Name``; with commas between."""
    found = []
    for name in filter(None, map(str.strip, names.split(","))):
        kind = loaded("--refusals", name) if ":" in name else getattr(builtins, name, None)
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            requirement = "an error that Python has, or package.module:Error for your own"
            raise InvalidInput("--refusals", name, requirement)
        found.append(kind)
    return tuple(found)


def _own_rules(
    names: Sequence[str] | None, capacity: int | None, time_limit: float
) -> dict[str, Mechanism]:
    """The user's own rules by name; one that takes a capacity is given it."""
    for name in names or ():
        if not is_own(name):
            requirement = "a rule of your own, package.module:function; others are compared anyhow"
            raise InvalidInput("--rule", name, requirement)
    return {
        name: _timed(
            named_rule(
                name, RuleOptions(capacity=capacity if "capacity" in options_of(name) else None)
            ),
            time_limit,
        )
        for name in names or ()
    }


def _numbers_of_own(
    rule: str, mechanism: Mechanism, named: NamedBids, money: Any
) -> tuple[NamedBids, Any]:
    """Bids and budget in the numbers that a user's own rule can compute with, tried once.

    These are fractions if it runs on them, and floats otherwise, which is said on the error stream.
    """
    if not named.exact:
        return named, money
    with _own_mistakes(rule):
        try:
            run_mechanism(mechanism, named.bids, money)
        except FairoptError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it cannot do with fractions
            floats = NamedBids(named.clients, named.tasks, named.bids.astype(float))
            run_mechanism(mechanism, floats.bids, float(money))
            sys.stderr.write(f"{rule} does not run on fractions ({said(error)}): floats are used\n")
            return floats, float(money)
    return named, money


def _bids(
    path: Path, name_column: str, exact: bool | None, advance: Callable[[int], None] | None = None
) -> NamedBids:
    """Bids of a file; errors name options as they stand on the command line."""
    try:
        return read_bids(path, name_column, exact=exact, advance=advance)
    except InvalidInput as error:
        argument = error.argument.replace("name_column", "--name-column")
        requirement = re.sub(r'name_column="(.*?)"', r"--name-column \1", error.requirement)
        raise InvalidInput(argument, error.value, requirement) from error


def _money(text: str) -> Any:
    """The budget."""
    value = number(text, "--budget", infinite=False)
    if value == 0:
        raise InvalidInput("--budget", text, "a number above 0 such as 2, 0.1 or 1/3")
    return value


@dataclass(frozen=True)
class Given:
    """Options of rules as they stand on the command line; empty text is not given."""

    reserve: str
    prices: str
    unit: str
    capacity: int | None
    weights: str
    direction: str
    fee: str


def _options(named: NamedBids, given: Given, seed: int) -> RuleOptions:
    """Options in the numbers of the bids; empty text means that an option is not given.

    Direction and fee stay exact: the rule that takes them makes prices of them that are no floats.
    """
    kind, tasks = object if named.exact else float, len(named.tasks)
    return RuleOptions(
        reserve=_numbers(given.reserve, "--reserve", tasks, scalar=True, kind=kind),
        prices=_numbers(given.prices, "--prices", tasks, kind=kind),
        unit=_amount(given.unit, "--unit", kind),
        capacity=given.capacity,
        weights=_counts(given.weights, "--weights"),
        direction=_numbers(given.direction, "--direction", tasks),
        fee=_amount(given.fee, "--fee", object),
        seed=seed,
    )


def _amount(text: str, option: str, kind: type) -> Any:
    """One number, exact or as the nearest float; None for empty text."""
    if not text.strip():
        return None
    value = number(text, option, infinite=False)
    return value if kind is object else float(value)


def _counts(text: str, option: str) -> list[int] | None:
    """Whole numbers from text with commas; None for empty text."""
    if not text.strip():
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InvalidInput(option, text, "whole numbers with commas, one per task") from error


def _numbers(
    text: str, option: str, count: int, *, scalar: bool = False, kind: type = object
) -> Any:
    """Numbers from text with commas: exact, or the nearest floats."""
    import numpy as np

    if not text.strip():
        return None
    values = [number(part, option, infinite=scalar) for part in text.split(",")]
    if scalar and len(values) == 1:
        values *= count
    if len(values) != count:
        raise InvalidInput(option, text, f"{count} numbers, one per task")
    table = np.empty(count, dtype=object)
    table[:] = values
    return table.astype(kind)


def _console() -> Console:
    """A console; as wide as the terminal or as COLUMNS says, or wide where there is neither."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if known else PLAIN_WIDTH)


def _print_tables(tables: Sequence[Table]) -> None:
    """Tables below each other."""
    console = _console()
    for table in tables:
        console.print(table)


def _print_json(record: dict[str, Any], *, indented: bool = True) -> None:
    """One JSON document on standard output; in one line where it is long, which is much faster."""
    sys.stdout.write(json.dumps(record, indent=2 if indented else None) + "\n")


if __name__ == "__main__":
    main()
