"""Proportional share: one task, one budget, every recruit gets the same pay."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fairopt.errors import InvalidInput
from mechanisms.auctions.budget_fair import budget_fair
from mechanisms.outcome import Outcome


def proportional_share(bids: ArrayLike, budget: Any, *, unit: Any = None) -> Outcome:
    r"""Recruit as many clients for one task as an equal share of the budget can pay.

    Problem: with sorted bids b(1) <= b(2) <= ..., recruit the k cheapest for

        k = max{k : k b(k) <= B},        each paid min(B / k, b(k+1)).

    Args:
        bids: (N,) reported cost of each client, >= 0; `inf` = does not bid.
        budget: B, money available, finite and > 0.
        unit: Payments are multiples of it, as in `max_min_fair`.

    Returns:
        An `Outcome` with one task: `winners` and `payments` have shape (N, 1), `level` is k.

    Guarantee: truthful, individually rational, budget feasible, and k >= ceil(k* / 2) where k* is
    the largest number that bids summing to at most B allow. Ties go to the lower client index;
    a tie costs nobody utility. Float payments are rounded down. With a unit the floor is lost, as
    recruits that bid more than the rounded price leave, and the rest holds.

    Raises:
        InvalidInput: A bid, the budget or the unit does not meet its requirement.

    Source: the proportional-share mechanism of Singer, "Budget feasible mechanisms", FOCS 2010
    (arXiv 1002.2334); payments are the critical bids, derived here from first principles.

    Example:
        >>> outcome = proportional_share([5.0, 6.0, 7.0, 20.0], 20.0)
        >>> outcome.payments.ravel()
        array([7., 7., 0., 0.])
    """
    column = np.asarray(bids)
    if column.ndim != 1 or column.size == 0:
        raise InvalidInput("bids", column.shape, "a row (clients,) with at least one client")
    return budget_fair(column[:, np.newaxis], budget, unit=unit)
