"""Results as a Markdown page, which documentation keeps and a test compares with the claims."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from proofs.claim import KINDS, ClaimResult, summary

INTRODUCTION = """\
# Claims

Written by `python -m proofs --markdown docs/claims.md`; do not edit. Every claim is a small file of
[proofs/](../proofs), checked as the table says, beside at least one negative control that the same
check must reject. "All real bids" and "exact" mean what they say; random instances are seeded and
establish nothing beyond themselves; floating-point answers are checked by their residuals, and by
exact rational or interval arithmetic where the table says so.

"""
HEADINGS = ("claim", "statement, *source*, and how it is checked", "result")


def claims_page(topics: Mapping[str, Sequence[ClaimResult]]) -> str:
    """The whole page: the kinds, then a table for each topic. Seconds are left out."""
    total = [result for results in topics.values() for result in results]
    kinds = "\n".join(f"- **{kind}**: {meaning};" for kind, meaning in KINDS.items())
    tables = (_topic(title, results) for title, results in topics.items() if results)
    return INTRODUCTION + kinds[:-1] + f".\n\n{summary(total)}.\n" + "".join(tables)


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    r"""A table whose cells may hold vertical bars.

    Example:
        >>> print(markdown_table(("a", "b"), [("1", "2 | 3")]), end="")
        | a | b |
        | --- | --- |
        | 1 | 2 \| 3 |
    """
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join("| " + " | ".join(map(_cell, line)) + " |\n" for line in lines)


def _topic(title: str, results: Sequence[ClaimResult]) -> str:
    """Heading and table of one topic."""
    return f"\n## {title}\n\n" + markdown_table(HEADINGS, map(_row, results))


def _row(result: ClaimResult) -> tuple[str, ...]:
    """Cells of one claim."""
    record = result.record()
    statement = f"{record['statement']}. ${record['formula']}$"
    outcome = record["result"] if result.witness is None else f"**FAILS**: {result.witness}"
    controls = f"{record['controls']} rejected" if result.rejects_control else "**ACCEPTED**"
    return (
        f"`{record['claim']}`<br>{record['kind']}",
        f"{statement}<br>*{record['source']}*<br>{record['how']}: {record['scope']}",
        f"{outcome}<br>{controls}",
    )


def _cell(text: str) -> str:
    """Text that stays within its cell."""
    return str(text).replace("|", "\\|").replace("\n", " ")
