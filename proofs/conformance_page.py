"""The run behind `docs/conformance.md`: our aggregators, TorchJD's, and common recipes."""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Iterable, Mapping

from proofs.aggregator_laws import Aggregate
from proofs.aggregators import EXACT, OURS, RECIPES
from proofs.conformance import AGGREGATOR_LAWS, check_aggregator
from proofs.conformance_law import ConformanceReport
from proofs.pages import markdown_table
from proofs.torchjd_aggregators import torchjd_aggregators

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
LIBMTL_INTRODUCTION = """\
# Which laws the weightings of LibMTL obey

Written by `python -m proofs conformance --libmtl LIBMTL --markdown docs/conformance-libmtl.md` from
an actual run on a clone of https://github.com/median-research-group/LibMTL; do not edit. The laws
are those of [conformance.md](conformance.md), where it says what a broken law means. Each weighting
is joined to a model of one shared vector (`proofs/libmtl_weightings.py`): what is tested is the
first step of a fresh instance, in float64, with the arguments in that file. Every line under
"Witnesses" names the gradients, which `check_aggregator` draws again from the same seed.

Three lines to read first:

* `Nash_MTL` asks cvxpy for the solver ECOS and goes on silently where it fails. cvxpy does
  not bring ECOS any more; without it the direction is the plain sum of the gradients, to the last
  bit, and all promises of the method are broken. (`pip install ecos` helps.)
* `Aligned_MTL` calls a function that PyTorch has removed, so it raises at the first step.
* `GradDrop` works on gradients of representations only; it raises here.

"""
PACKAGES = ("torchjd", "torch", "cvxpy", "clarabel", "ecos", "scipy", "numpy")
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
        + _others(others)
    )


def libmtl_page(reports: Mapping[str, ConformanceReport], version: str) -> str:
    """The page about a version of LibMTL."""
    head = LIBMTL_INTRODUCTION + f"LibMTL {version}. " + versions()
    return head + "## The weightings\n\n" + _others(reports)


def _others(reports: Mapping[str, ConformanceReport]) -> str:
    """A table of other people's methods, and what was found against each."""
    return (
        markdown_table(OTHERS_HEADING, map(_row, reports.items()))
        + "\n## Witnesses\n"
        + "".join(witnesses(name, report) for name, report in reports.items())
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
    """A list of what was found; an error that breaks several laws is said once."""
    laws: dict[str, list[str]] = {}
    for result in report.broken:
        witness = result.witness or ""
        _, raises, error = witness.partition("raises ")
        same = (text for text in laws if raises and text.endswith(raises + error))
        laws.setdefault(next(same, witness), []).append(result.law)
    return "".join(f"- {', '.join(names)}: {text}\n" for text, names in laws.items()) or "None.\n"


def _names(laws: Iterable[str]) -> str:
    """Names, or a dash."""
    return ", ".join(laws) or "-"
