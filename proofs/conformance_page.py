"""The run behind `docs/conformance.md`: our aggregators, TorchJD's, and common recipes."""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Iterable, Mapping

from proofs.aggregator_laws import Aggregate
from proofs.aggregators import EXACT, OURS, RECIPES, torchjd_aggregators
from proofs.conformance import AGGREGATOR_LAWS, check_aggregator
from proofs.conformance_law import ConformanceReport
from proofs.pages import markdown_table

INTRODUCTION = """\
# Which laws aggregators obey

Written by `python -m proofs conformance --markdown docs/conformance.md` from an actual run; do not
edit. Each law is tried on seeded float64 gradients of up to 6 tasks and 9 parameters, edge cases
among them, at a relative accuracy of 1e-6. Passing is evidence, failing is a fact about the
gradients of the witness. Laws exclude each other, and breaking one that a method never promised is
no defect: the mean conflicts with tasks by design, PCGrad is random by design, and several methods
of TorchJD regularise by their default arguments, which were used. Where one of our methods solves
the same problem exactly, the second column of the last table names what is lost on the way. Try
yours: [docs/proofs.md](proofs.md).

"""
PACKAGES = ("torchjd", "torch", "cvxpy", "clarabel", "scipy", "numpy")
"""Whose versions the rows of other people's methods hang on."""
LAWS_HEADING = ("law", "statement")
OTHERS_HEADING = ("method", "breaks, though the exact solution obeys", "breaks besides")
OURS_HEADING = ("method", "claims, all passed", "broken, not claimed")


def run(
    methods: Mapping[str, Aggregate] | None = None,
) -> dict[str, ConformanceReport]:
    """Check methods against all laws: by default ours, the recipes, and TorchJD's if installed."""
    chosen = methods or {name: aggregate for name, (aggregate, _) in OURS.items()} | {
        **RECIPES,
        **torchjd_aggregators(),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the code under test, which has its own ways
        return {name: check_aggregator(aggregate) for name, aggregate in chosen.items()}


def broken_promises(reports: Mapping[str, ConformanceReport]) -> list[str]:
    """Laws that one of our own methods claims and breaks.

    Example:
        >>> broken_promises(run({"min_norm": OURS["min_norm"][0]}))
        []
    """
    return [
        f"{name}: {result.law}: {result.witness}"
        for name, report in reports.items()
        if name in OURS
        for result in report.broken
        if result.law in OURS[name][1]
    ]


def versions() -> str:
    """The installed packages behind the rows of other people's methods, in one line."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name).split('+')[0]}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return f"Run with {', '.join(found)}.\n\n"


def laws_table() -> str:
    """One row for each law."""
    rows = ((name, law.statement) for name, law in AGGREGATOR_LAWS.items())
    return markdown_table(LAWS_HEADING, rows)


def own_table(reports: Mapping[str, ConformanceReport]) -> str:
    """One row for each of our methods."""
    rows = (
        (name, ", ".join(OURS[name][1]), _names(r.law for r in report.broken))
        for name, report in reports.items()
        if name in OURS
    )
    return markdown_table(OURS_HEADING, rows)


def conformance_page(reports: Mapping[str, ConformanceReport]) -> str:
    """The whole page."""
    others = {name: report for name, report in reports.items() if name not in OURS}
    return (
        INTRODUCTION
        + versions()
        + "## The laws\n\n"
        + laws_table()
        + "\n## fairopt\n\n"
        + own_table(reports)
        + "\n## Common practice and TorchJD\n\n"
        + markdown_table(OTHERS_HEADING, map(_row, others.items()))
        + "\n## Witnesses\n"
        + "".join(witnesses(name, report) for name, report in others.items())
    )


def witnesses(name: str, report: ConformanceReport) -> str:
    """What was found against one method."""
    return f"\n### {name}\n\n{_witnesses(report)}"


def _row(item: tuple[str, ConformanceReport]) -> tuple[str, ...]:
    """Names of the laws that one method breaks, by what the mathematics of it would obey."""
    name, report = item
    obeyed = OURS[EXACT[name]][1] if name in EXACT else ()
    numerical = _names(r.law for r in report.broken if r.law in obeyed)
    besides = _names(r.law for r in report.broken if r.law not in obeyed)
    return name, numerical if name in EXACT else "(no exact solution here)", besides


def _witnesses(report: ConformanceReport) -> str:
    """A list of what was found."""
    return "".join(f"- {r.law}: {r.witness}\n" for r in report.broken) or "None.\n"


def _names(laws: Iterable[str]) -> str:
    """Names, or a dash."""
    return ", ".join(laws) or "-"
