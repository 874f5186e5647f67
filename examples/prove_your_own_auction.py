"""Prove that your own auction is honest, for all real bids of a small shape, or see why it is not.

Run with `python examples/prove_your_own_auction.py`; it needs Z3 (`pip install z3-solver`).
"""

from __future__ import annotations

from audit_your_own_auction import second_price_per_task

from mechanisms import budget_fair, prove


def main() -> None:
    """One task is honest; two are not: a client can leave the second task without money."""
    print(prove(second_price_per_task, (3, 1)).sentence)
    report = prove(second_price_per_task, (2, 2))
    print(report.sentence)
    assert report.violation is not None
    print("found on bids", report.violation.bids.tolist(), "and budget", report.violation.budget)
    print("on replay the gain is", report.violation.replay(second_price_per_task))
    print(prove(budget_fair, (2, 2), seconds=300).sentence)


if __name__ == "__main__":
    main()
