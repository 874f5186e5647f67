"""Laws for code outside this library: one line in any test suite.

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

from fairopt.errors import InvalidInput
from mechanisms import Mechanism
from mechanisms.audits.time_limit import limited
from proofs.aggregator_laws import AGGREGATOR_LAWS
from proofs.auction_laws import AUCTION_LAWS
from proofs.conformance_law import (
    ConformanceReport,
    DoesNotConform,
    Law,
    LawResult,
    check_laws,
)

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
    aggregate: Aggregate,
    *,
    claims: Sequence[str] | None = None,
    seed: int = 0,
    at_most: int | None = None,
) -> ConformanceReport:
    """Search for violations of the laws of gradient aggregators.

    Few aggregators obey all laws, and some laws exclude each other: which of them yours claims is
    `claims`. Gradients are float64 and small (up to 6 tasks, 9 parameters); passing is evidence,
    not proof. An error that the aggregator raises breaks the law that was tried, and so does a
    direction of another shape or with NaN.

    Args:
        aggregate: From a (K, D) NumPy array of task gradients, one per row, to a direction (D,).
            It is called again and again and must remember nothing between calls.
        claims: Names of `AGGREGATOR_LAWS`; all of them by default, about 1,500 calls.
        seed: Of the gradients.
        at_most: Gradient matrices tried per law, for slow code; all of them by default.

    Returns:
        `ConformanceReport`: `.passed`, `.results` (law, statement, passed, witness, and
        `.replay(aggregate)` at the gradients of the witness), `.require()`.

    Raises:
        InvalidInput: An unknown law, something that cannot be called, `at_most` below 1.

    Example:
        >>> report = check_aggregator(lambda G: G.sum(axis=0), claims=["within the convex hull"])
        >>> print(report)
        FAILS within the convex hull: plain K=2 draw 0: ... from the hull of the gradients
        >>> report.results[0].replay(lambda G: G.mean(axis=0)) is None
        True
    """
    _check_callable("aggregate", aggregate)
    return check_laws(dict(AGGREGATOR_LAWS), aggregate, claims, seed, at_most)


def check_auction(
    mechanism: Mechanism,
    *,
    claims: Sequence[str] | None = None,
    seed: int = 0,
    at_most: int | None = None,
    time_limit: float | None = 10.0,
) -> ConformanceReport:
    """Search for violations of the laws of a truthful auction by any mechanism.

    Auctions are small (1 to 6 clients, 1 to 3 tasks), with integer bids and frequent ties, passed
    as float64; `inf` is a client that does not bid. Misreports are traced where the rule can be,
    and sampled near asks and prices that were paid. Passing is evidence, not proof, and the report
    says so ("not refuted by 40 trials"); `mechanisms.audit` is complete in more cases. An error
    that the mechanism raises breaks the law that was tried, and so does an outcome of another shape
    or with a payment that is no number.

    Args:
        mechanism: `(bids, budget) -> Outcome`; a function of the two, which remembers nothing.
        claims: Names of `AUCTION_LAWS`; all of them by default, about 4,000 calls.
        seed: Of the auctions and of the misreports.
        at_most: Auctions tried per law, for slow code; all 40 by default.
        time_limit: Seconds for one run of the mechanism, after which the law that was tried fails;
            None waits for it (see `mechanisms.audit`).

    Returns:
        `ConformanceReport`, as `check_aggregator` does; the instance of a result is (bids, budget).

    Raises:
        InvalidInput: An unknown law, something that cannot be called, `at_most` below 1.
    """
    _check_callable("mechanism", mechanism)
    return check_laws(dict(AUCTION_LAWS), limited(mechanism, time_limit), claims, seed, at_most)


def _check_callable(argument: str, code: object) -> None:
    """Refuse what is not code."""
    if not callable(code):
        raise InvalidInput(argument, code, "a function or another callable")
