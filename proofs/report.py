"""Results as a table that a person reads, and as JSON."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from proofs.claim import Claim, ClaimResult, summary

if TYPE_CHECKING:
    from rich.table import Table

PLAIN_WIDTH = 180
"""Columns of text where the output is a file or a pipe and has no width of its own."""
LOG = logging.getLogger(__name__)
COLUMNS = ("claim", "source", "kind", "how checked", "scope", "result", "s", "control rejected")


def verify_all(
    claims: Iterable[Claim], *, deep: bool = False, stop: bool = False
) -> Iterator[ClaimResult]:
    """Verify claims one after the other, all or to the first that fails.

    A check that raises fails its claim, and is logged.
    """
    for claim in claims:
        result = _verified(claim, deep)
        yield result
        if stop and result.failed:
            return


def _verified(claim: Claim, deep: bool) -> ClaimResult:
    """The result, whatever happens."""
    start = time.perf_counter()
    try:
        return claim.verify(deep=deep)
    except Exception as error:
        LOG.exception("the check of %s raises", claim.name)
        witness = f"the check raises {type(error).__name__}: {error}"
        return ClaimResult(claim, deep, witness, "not tried", time.perf_counter() - start)


def table(results: Sequence[ClaimResult]) -> Table:
    """One row per claim."""
    from rich.table import Table

    out = Table(title=summary(results), title_justify="left", show_lines=True)
    for column in COLUMNS:
        out.add_column(column, no_wrap=column == "result" and all(each.holds for each in results))
    for result in results:
        out.add_row(*_cells(result))
    return out


def as_json(results: Sequence[ClaimResult]) -> str:
    """`{"claims": [...]}`."""
    return json.dumps({"claims": [result.record() for result in results]}, indent=2)


def _cells(result: ClaimResult) -> tuple[str, ...]:
    """Cells of one row; what went wrong stands in the result."""
    claim = result.claim
    holds = result.verdict
    if result.witness is not None:
        holds = f"[bold red]FAILS[/]: {_plain(result.witness)}"
    elif result.not_checked is not None:
        holds = f"[yellow]{result.verdict}[/]: {_plain(result.not_checked)}"
    rejected = "yes" if result.rejects_control else "[bold red]NO, ACCEPTED[/]"
    name = f"{claim.name}\n[dim]{_plain(claim.statement)}[/]"
    seconds = f"{result.seconds:.2f}"
    return name, claim.source, claim.kind, claim.how, result.scope, holds, seconds, rejected


def _plain(text: str | None) -> str:
    """Text in which rich sees no markup."""
    return (text or "").replace("[", r"\[")
