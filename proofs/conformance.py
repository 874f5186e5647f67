"""Laws for somebody else's code: one line in anybody's test suite.

Example:
    >>> from mechanisms import greedy_max_min, max_min_fair
    >>> check_auction(max_min_fair).passed
    True
    >>> [result.law for result in check_auction(greedy_max_min).broken]
    ['truthful']

    >>> import fairopt
    >>> def fair(gradients):  # (K, D) -> (D,)
    ...     return fairopt.fairgrad(gradients @ gradients.T, alpha=2.0).weights @ gradients
    >>> def mean(gradients):
    ...     return gradients.mean(axis=0)
    >>> check_aggregator(fair, claims=["non-conflicting", "stops where stationary"]).passed
    True
    >>> [result.law for result in check_aggregator(mean, claims=["non-conflicting"]).broken]
    ['non-conflicting']
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mechanisms import Mechanism
from proofs.aggregator_laws import AGGREGATOR_LAWS
from proofs.auction_laws import AUCTION_LAWS
from proofs.law import ConformanceReport, DoesNotConform, Law, LawResult, judge

__all__ = [
    "AGGREGATOR_LAWS",
    "AUCTION_LAWS",
    "ConformanceReport",
    "DoesNotConform",
    "Law",
    "LawResult",
    "check_aggregator",
    "check_auction",
]

Aggregate = Callable[[Any], Any]


def check_aggregator(
    aggregate: Aggregate, *, claims: Sequence[str] | None = None, seed: int = 0
) -> ConformanceReport:
    """Search for violations of the laws of gradient aggregators.

    Few aggregators obey all laws, and some laws exclude each other: which of them yours claims is
    `claims`. Gradients are float64 and small (up to 6 tasks, 9 parameters); passing is evidence,
    not proof.

    Args:
        aggregate: From a (K, D) array of task gradients, one per row, to a direction (D,).
        claims: Names of `AGGREGATOR_LAWS`; all of them by default.
        seed: Of the gradients.

    Returns:
        `ConformanceReport`: `.passed`, `.results` (law, statement, passed, witness, and
        `.replay(aggregate)` at the gradients of the witness), `.require()`.

    Raises:
        InvalidInput: An unknown law.

    Example:
        >>> report = check_aggregator(lambda G: G.sum(axis=0), claims=["within the convex hull"])
        >>> print(report)
        FAILS within the convex hull: plain K=2 draw 0: ... from the hull of the gradients
        >>> report.results[0].replay(lambda G: G.mean(axis=0)) is None
        True
    """
    return judge(dict(AGGREGATOR_LAWS), aggregate, claims, seed)


def check_auction(
    mechanism: Mechanism, *, claims: Sequence[str] | None = None, seed: int = 0
) -> ConformanceReport:
    """Search for violations of the laws of an honest auction by any mechanism.

    Auctions are small (up to 6 clients and 3 tasks), with integer asks and frequent ties, passed
    as float64. Passing is evidence, not proof; `mechanisms.audit` is complete in more cases.

    Args:
        mechanism: `(bids, budget) -> Outcome`.
        claims: Names of `AUCTION_LAWS`; all of them by default.
        seed: Of the auctions and of the misreports.

    Raises:
        InvalidInput: An unknown law.
    """
    return judge(dict(AUCTION_LAWS), mechanism, claims, seed)
