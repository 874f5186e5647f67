"""Verdicts as a table that a person reads, and as JSON."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from proofs.claim import Claim, Verdict

if TYPE_CHECKING:
    from rich.table import Table

PLAIN_WIDTH = 180
"""Columns of text where the output is a file or a pipe and has no width of its own."""
LOG = logging.getLogger(__name__)
COLUMNS = ("claim", "source", "kind", "how checked", "scope", "verdict", "s", "broken twin")


def judge_all(
    claims: Iterable[Claim], *, deep: bool = False, stop: bool = False
) -> Iterator[Verdict]:
    """Judge claims one after the other, all or to the first that does not pass.

    A check that raises fails its claim, and is logged.
    """
    for claim in claims:
        verdict = _judged(claim, deep)
        yield verdict
        if stop and not verdict.passed:
            return


def _judged(claim: Claim, deep: bool) -> Verdict:
    """The verdict, whatever happens."""
    start = time.perf_counter()
    try:
        return claim.judge(deep=deep)
    except Exception as error:
        LOG.exception("the check of %s raises", claim.name)
        witness = f"the check raises {type(error).__name__}: {error}"
        return Verdict(claim, deep, witness, "not tried", time.perf_counter() - start)


def table(verdicts: Sequence[Verdict]) -> Table:
    """One row per claim."""
    from rich.table import Table

    out = Table(title=_summary(verdicts), title_justify="left", show_lines=True)
    for column in COLUMNS:
        out.add_column(column, no_wrap=column == "verdict" and all(v.holds for v in verdicts))
    for verdict in verdicts:
        out.add_row(*_cells(verdict))
    return out


def as_json(verdicts: Sequence[Verdict]) -> str:
    """`{"claims": [...]}`."""
    return json.dumps({"claims": [verdict.record() for verdict in verdicts]}, indent=2)


def _cells(verdict: Verdict) -> tuple[str, ...]:
    """Cells of one row; what went wrong stands in the verdict."""
    claim = verdict.claim
    holds = "holds" if verdict.holds else f"[bold red]FAILS[/]: {_plain(verdict.witness)}"
    twin = "rejected" if verdict.rejects_broken else "[bold red]ACCEPTED[/]"
    name = f"{claim.name}\n[dim]{_plain(claim.statement)}[/]"
    seconds = f"{verdict.seconds:.2f}"
    return name, claim.source, claim.kind, claim.how, verdict.scope, holds, seconds, twin


def _plain(text: str | None) -> str:
    """Text in which rich sees no markup."""
    return (text or "").replace("[", r"\[")


def _summary(verdicts: Sequence[Verdict]) -> str:
    """Count of claims that passed."""
    passed = sum(verdict.passed for verdict in verdicts)
    return f"{passed} of {len(verdicts)} claims hold and reject their broken twin"
