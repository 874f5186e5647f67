"""Plug your own auction into the audits: does it invite misreports, and what do they gain?

Run with `python examples/audit_your_own_auction.py`.
"""

from __future__ import annotations

import numpy as np

from mechanisms import Outcome, audit, max_min_fair
from proofs.conformance import check_auction


def second_price_per_task(bids, budget):
    """A rule somebody might write: each task's cheapest client wins at the second bid.

    Tasks come in their order while money lasts. It only compares and subtracts, so the
    audit can follow it on exact numbers, for every bid from zero to infinity.
    """
    winners = np.zeros(bids.shape, dtype=bool)
    payments = np.zeros(bids.shape, dtype=object)
    left = budget
    for task, column in enumerate(bids.T):
        first, second = sorted(range(len(column)), key=lambda i: (column[i], i))[:2]
        if column[second] <= left:
            winners[first, task] = True
            payments[first, task] = column[second]
            left = left - column[second]
    return Outcome(winners, payments, winners.sum(axis=0))


def main() -> None:
    """Audit the rule, replay the best misreport, and compare with the library's default."""
    costs = np.array([[6, 1], [3, 5], [9, 7]])
    budget = 10

    for name, rule in {"mine": second_price_per_task, "max_min_fair": max_min_fair}.items():
        report = audit(rule, costs, budget)
        print(f"{name}: truthful = {report.truthful} ({report.scope})")
        for violation in report.violations:
            gain = violation.replay(rule)
            print(f"  {violation.law}: {violation.sentence} [replayed: {gain}]")

    print("conformance of mine:", [(r.law, r.passed) for r in check_auction(where_defined).results])


def where_defined(bids, budget):
    """The same rule where it is defined: two clients or more, everybody bidding."""
    if len(bids) < 2 or np.isinf(bids).any():
        nobody = np.zeros(bids.shape, dtype=bool)
        return Outcome(nobody, np.zeros(bids.shape), nobody.sum(axis=0))
    return second_price_per_task(bids, budget)


if __name__ == "__main__":
    main()
