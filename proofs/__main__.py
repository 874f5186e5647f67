"""Command line, also called `fairopt-prove`.

python -m proofs [--only NAME] [--deep] [--stop] [--json]
python -m proofs conformance
"""

from __future__ import annotations

import fnmatch
import sys
from pathlib import Path
from typing import Annotated

from fairopt.errors import FairoptError, InvalidInput
from fairopt.extras import exit_without
from proofs.claim import Claim, ClaimResult
from proofs.pages import claims_page
from proofs.registry import all_claims, claims_by_topic
from proofs.report import PLAIN_WIDTH, as_json, table, verify_all

with exit_without("proofs", "hypothesis", "joblib", "mpmath", "z3"):
    import typer
    from rich.console import Console
    from rich.progress import track

FAILED = 1
BAD_INPUT = 2

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Only claims whose name contains or matches this; may be repeated."),
    ] = None,
    deep: Annotated[bool, typer.Option(help="Run the thorough checks: minutes.")] = False,
    stop: Annotated[bool, typer.Option(help="Stop at the first that fails.")] = False,
    json: Annotated[bool, typer.Option(help="Print JSON instead of a table.")] = False,
    markdown: Annotated[
        Path | None, typer.Option(help="Also write the page of all claims, without seconds.")
    ] = None,
) -> None:
    """Check every claim; exit with 1 if one fails or a negative control is accepted.

    A claim that cannot be checked here, for lack of a program, is counted apart.
    """
    if context.invoked_subcommand is not None:
        return
    _check_page(markdown)
    claims = selected(*(only or ["*"]))
    if not claims:
        Console(stderr=True).print(f"--only {' '.join(only or ())}: no claim has such a name")
        raise typer.Exit(BAD_INPUT)
    progress = track(claims, "Checking", console=Console(stderr=True), transient=True)
    results = list(verify_all(progress, deep=deep, stop=stop))
    if markdown is not None:
        markdown.write_text(claims_page(by_topic(results)))
    if json:
        sys.stdout.write(as_json(results) + "\n")
    else:
        width = None if sys.stdout.isatty() else PLAIN_WIDTH
        Console(width=width).print(table(results))
    raise typer.Exit(FAILED if any(result.failed for result in results) else 0)


@app.command()
def conformance(
    markdown: Annotated[
        Path | None, typer.Option(help="Also write the page with witnesses.")
    ] = None,
    libmtl: Annotated[
        Path | None, typer.Option(help="A clone of LibMTL: hold its weightings against the laws.")
    ] = None,
) -> None:
    """Hold our aggregators, common recipes and TorchJD's against the laws of `check_aggregator`."""
    from proofs.conformance_page import broken_promises, conformance_page, libmtl_page, run
    from proofs.libmtl_weightings import libmtl_version, libmtl_weightings

    _check_page(markdown)
    reports = run() if libmtl is None else run(libmtl_weightings(libmtl))
    for name, report in reports.items():
        broken = ", ".join(result.law for result in report.broken) or "nothing"
        sys.stdout.write(f"{name} breaks: {broken}\n")
    if markdown is not None and libmtl is not None:
        markdown.write_text(libmtl_page(reports, libmtl_version(libmtl)))
    elif markdown is not None:
        markdown.write_text(conformance_page(reports))
    promises = broken_promises(reports)
    sys.stdout.writelines(f"CLAIMED AND BROKEN: {promise}\n" for promise in promises)
    raise typer.Exit(FAILED if promises else 0)


def _check_page(markdown: Path | None) -> None:
    """Refuse a page that cannot be written, before the minutes that it takes."""
    if markdown is not None and (markdown.is_dir() or not markdown.parent.is_dir()):
        raise InvalidInput("--markdown", str(markdown), "a file in a folder that exists")


def selected(*patterns: str) -> list[Claim]:
    """Claims whose name contains one of the patterns, or matches it as a shell pattern.

    Example:
        >>> [claim.name for claim in selected("c1-*")]
        ['c1-paying-what-is-asked']
    """
    return [claim for claim in all_claims() if any(_fits(claim.name, each) for each in patterns)]


def _fits(name: str, pattern: str) -> bool:
    """Whether a name contains or matches a pattern."""
    return pattern in name or fnmatch.fnmatch(name, pattern)


def by_topic(results: list[ClaimResult]) -> dict[str, list[ClaimResult]]:
    """Results under the titles of their topics."""
    found = {result.claim.name: result for result in results}
    return {
        title: [found[claim.name] for claim in claims if claim.name in found]
        for title, claims in claims_by_topic().items()
    }


def command_line() -> None:
    """Run the command line; a package that is missing is one line and exit status 2."""
    try:
        app()
    except FairoptError as error:
        Console(stderr=True).print(f"error: {error}", markup=False, soft_wrap=True)
        sys.exit(BAD_INPUT)


if __name__ == "__main__":
    command_line()
