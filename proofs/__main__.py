"""Command line: `python -m proofs [--only PATTERN] [--deep] [--json]`."""

from __future__ import annotations

import fnmatch
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from proofs.claim import Claim
from proofs.registry import all_claims
from proofs.report import PLAIN_WIDTH, as_json, judge_all, table

FAILED = 1
BAD_INPUT = 2

app = typer.Typer(add_completion=False)


@app.command()
def main(
    only: Annotated[
        str, typer.Option(help="Only claims whose name contains or matches this.")
    ] = "*",
    deep: Annotated[bool, typer.Option(help="Run the thorough checks: minutes.")] = False,
    json: Annotated[bool, typer.Option(help="Print JSON instead of a table.")] = False,
) -> None:
    """Check every claim; exit with 1 if one fails or a broken twin is accepted."""
    claims = selected(only)
    if not claims:
        Console(stderr=True).print(f"--only {only}: no claim has such a name")
        raise typer.Exit(BAD_INPUT)
    progress = track(claims, "Checking", console=Console(stderr=True), transient=True)
    verdicts = list(judge_all(progress, deep=deep))
    if json:
        sys.stdout.write(as_json(verdicts) + "\n")
    else:
        width = None if sys.stdout.isatty() else PLAIN_WIDTH
        Console(width=width).print(table(verdicts))
    raise typer.Exit(0 if all(verdict.passed for verdict in verdicts) else FAILED)


def selected(pattern: str) -> list[Claim]:
    """Claims whose name contains the pattern, or matches it as a shell pattern.

    Example:
        >>> [claim.name for claim in selected("c1-*")]
        ['c1-paying-what-is-asked']
    """
    return [c for c in all_claims() if pattern in c.name or fnmatch.fnmatch(c.name, pattern)]


if __name__ == "__main__":
    app()
