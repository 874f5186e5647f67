"""Command: the Python rules against the extracted ones, on as many random auctions as you like.

`python -m proofs.rocq.differential [--count N] [--seed S] [--kernel M] [--paths]` compares the
outcomes of `max_min_fair` (winners, payments, and level and price of every offer, accepted or not),
of `budget_fair`, of the default auction with capacities and of CLW in fractions, then the compiled
rules on floats, and M auctions inside the kernel; with `--paths` it takes one auction for every
path of the code of both rules instead, ties and missing bids included. It needs coqc, ocamlopt and
ocamlfind; exit status 1 if anything differs, 2 if they are missing. `--record` writes the recorded
auctions anew.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np

from fairopt.extras import exit_without
from mechanisms import Mechanism, Outcome, budget_fair, max_min_fair, prove
from proofs.incentives.instances import NO_BID
from proofs.rocq.auctions import ExactAuction, draw_auction
from proofs.rocq.extraction import MISSING, is_buildable, of_extracted_rule
from proofs.rocq.kernel import kernel_disagrees
from proofs.rocq.outcomes import Rows, of_code
from proofs.rocq.recorded import COUNT, write

with exit_without("proofs"):
    import typer

UNITS = 4
"""Units in the last place by which a float payment may be below the exact one: it is rounded down
from a water level that takes a few operations."""
RECORD_SEED = 2026
PATH_SHAPES = MappingProxyType({(2, 2): True, (3, 1): True, (4, 1): False})
"""Shapes whose paths are all compared, and whether with every pattern of missing bids."""


def differences(auctions: Sequence[ExactAuction]) -> list[str]:
    """Auctions on which the code and the proved rules differ, in words."""
    found = []
    for auction, proved in zip(auctions, of_extracted_rule(auctions), strict=True):
        seen = of_code(auction)
        if seen != proved:
            names = [name for name in vars(seen) if getattr(seen, name) != getattr(proved, name)]
            found.append(f"{', '.join(names)} differ: {auction}")
    return found


def float_differences(auctions: Sequence[ExactAuction]) -> list[str]:
    """Auctions on which the float rules recruit others, or pay more, or less by `UNITS`."""
    binary = [_binary(auction) for auction in auctions]
    found = []
    for auction, proved in zip(binary, of_extracted_rule(binary), strict=True):
        reserve = None if auction.reserve is None else np.array(auction.reserve, dtype=float)
        options = {} if reserve is None else {"reserve": reserve}
        if not _close(max_min_fair, auction, proved.max_min_fair, **options):
            found.append(f"float max_min_fair differs: {auction}")
        if not _close(budget_fair, auction, proved.budget_fair):
            found.append(f"float budget_fair differs: {auction}")
    return found


def auctions_of_paths(
    rule: Mechanism, shape: tuple[int, int], *, missing_bids: bool = False
) -> list[ExactAuction]:
    """One auction for every path of a rule's code at a small shape.

    Example:
        >>> len(auctions_of_paths(budget_fair, (2, 1))) >= 10
        True
    """
    found: list[ExactAuction] = []

    def noted(bids: Any, budget: Any) -> Outcome:
        if isinstance(budget, Fraction):  # the run on plain numbers
            rows = tuple(map(tuple, bids.tolist()))
            found.append(ExactAuction(rows, budget, None, (1,) * len(rows)))
        return rule(bids, budget)

    report = prove(
        noted, shape, checks=("budget",), missing_bids=missing_bids, max_paths=10**6, seconds=10**4
    )
    assert report.proved, report.sentence
    return found


def _binary(auction: ExactAuction) -> ExactAuction:
    """The same auction with every amount rounded to a float, which is a fraction again."""

    def rounded(row: Any) -> Any:
        return tuple(x if x == NO_BID else Fraction(float(x)) for x in row)

    reserve = None if auction.reserve is None else rounded(auction.reserve)
    bids = tuple(map(rounded, auction.bids))
    return ExactAuction(bids, Fraction(float(auction.budget)), reserve, auction.capacities)


def _close(rule: Any, auction: ExactAuction, proved: Rows, **options: Any) -> bool:
    """Whether a float rule recruits the same clients and rounds their payments down a little."""
    seen = rule(np.array(auction.bids, dtype=float), float(auction.budget), **options)
    cells = {(i, s): pay for i, row in enumerate(proved) for s, pay in enumerate(row)}
    return all(
        bool(seen.winners[cell]) == (pay is not None)
        and (pay is None or _rounded_down(float(seen.payments[cell]), pay))
        for cell, pay in cells.items()
    )


def _rounded_down(seen: float, exact: Fraction) -> bool:
    """Whether a float is at most an exact number, and within a few units of it."""
    return 0 <= exact - Fraction(seen) <= UNITS * Fraction(math.ulp(float(exact)))


def main(
    count: Annotated[int, typer.Option(help="Random auctions.")] = 2_000,
    seed: Annotated[int, typer.Option(help="Of the generator.")] = 0,
    kernel: Annotated[int, typer.Option(help="Auctions compared inside the kernel.")] = 200,
    paths: Annotated[bool, typer.Option(help="One auction for every path of the code.")] = False,
    record: Annotated[bool, typer.Option(help="Write the recorded auctions and stop.")] = False,
) -> None:
    """Compare the code with the proved rules; exit with 1 if they differ."""
    if not is_buildable():
        sys.stderr.write(f"{MISSING}\n")
        raise typer.Exit(2)
    if record:
        rng = random.Random(RECORD_SEED)
        auctions = [draw_auction(rng) for _ in range(COUNT)]
        write(zip(auctions, of_extracted_rule(auctions), strict=True))
        return
    rng = random.Random(seed)
    auctions = [draw_auction(rng) for _ in range(count)]
    if paths:
        auctions = [
            auction
            for rule in (max_min_fair, budget_fair)
            for shape, missing in PATH_SHAPES.items()
            for auction in auctions_of_paths(rule, shape, missing_bids=missing)
        ]
    different = differences(auctions)
    rounded = float_differences(auctions)
    objection = kernel_disagrees(auctions[:kernel], list(map(of_code, auctions[:kernel])))
    agrees = "agrees" if objection is None else "objects"
    reserves = sum(auction.reserve is not None for auction in auctions)
    sys.stdout.write(
        f"{len(auctions):,} auctions, {reserves} with a reserve price: "
        f"{len(different)} differ in fractions, {len(rounded)} in floats; "
        f"the kernel {agrees} on {min(kernel, len(auctions))}\n"
    )
    sys.stdout.writelines(f"{each}\n" for each in [*different[:3], *rounded[:3]])
    if objection is not None:
        sys.stdout.write(f"{objection}\n")
    raise typer.Exit(1 if different or rounded or objection else 0)


if __name__ == "__main__":
    typer.run(main)
