"""Verdicts as a Markdown page, which documentation keeps and a test compares with the claims."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from proofs.claim import KINDS, Verdict

INTRODUCTION = """\
# Claims

Written by `python -m proofs --markdown docs/claims.md`; do not edit. Every claim is a small file of
[proofs/](../proofs), checked as the table says, beside at least one broken twin that the same check
must reject. "All real bids" and "exact" mean what they say; random instances are seeded and
establish nothing beyond themselves; floating-point answers are judged by their residuals, and by
exact rational or interval arithmetic where the table says so.

"""
HEADINGS = ("claim", "statement", "kind", "source", "checked by", "scope", "verdict", "twins")


def claims_page(topics: Mapping[str, Sequence[Verdict]]) -> str:
    """The whole page: the kinds, then a table for each topic. Seconds are left out."""
    total = [verdict for verdicts in topics.values() for verdict in verdicts]
    passed = sum(verdict.passed for verdict in total)
    kinds = "\n".join(f"- **{kind}**: {meaning};" for kind, meaning in KINDS.items())
    summary = f"\n{passed} of {len(total)} claims hold and reject their broken twins.\n"
    tables = (_topic(title, verdicts) for title, verdicts in topics.items() if verdicts)
    return INTRODUCTION + kinds[:-1] + ".\n" + summary + "".join(tables)


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


def _topic(title: str, verdicts: Sequence[Verdict]) -> str:
    """Heading and table of one topic."""
    return f"\n## {title}\n\n" + markdown_table(HEADINGS, map(_row, verdicts))


def _row(verdict: Verdict) -> tuple[str, ...]:
    """Cells of one claim."""
    record = verdict.record()
    statement = f"{record['statement']}. ${record['formula']}$"
    outcome = record["verdict"] if verdict.holds else f"**FAILS**: {verdict.witness}"
    twins = f"{record['twins']} rejected" if verdict.rejects_broken else "**ACCEPTED**"
    cells = (record["kind"], record["source"], record["how"], record["scope"])
    return (f"`{record['claim']}`", statement, *cells, outcome, twins)


def _cell(text: str) -> str:
    """Text that stays within its cell."""
    return str(text).replace("|", "\\|").replace("\n", " ")
