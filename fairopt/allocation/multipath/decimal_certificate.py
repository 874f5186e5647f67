"""The certificate of `certificate`, in decimals: also for flows that pay 1e-100 of what others pay.

The gap is a sum over all flows, so in float64 it cannot be below 1e-15 of what the dearest flows
pay, and flows that pay less than that are not certified. In decimals it is as small as the point is
exact.
"""

from __future__ import annotations

from decimal import ROUND_UP, Decimal, localcontext

import numpy as np

from fairopt.allocation.multipath.certificate import errors_within
from fairopt.allocation.multipath.decimal_form import ONE, ZERO, DecimalForm, Decimals
from fairopt.arrays import EPS, Array

SPARED = 8  # digits: rounding of sums of at most 1e5 terms of a few operations each


def decimal_rate_errors(form: DecimalForm, z: Decimals, prices: Decimals, digits: int) -> Array:
    """(flows,) certified relative errors of the rates of z, as `certificate.rate_errors`.

    Args:
        form: The problem.
        z: (paths,) rates >= 0; where they overload a link all are judged as if reduced.
        prices: (links,) >= 0.
        digits: In which the sums are taken.

    Example:
        >>> from scipy import sparse
        >>> from fairopt.allocation.multipath.decimal_form import decimals
        >>> one = np.ones(2)
        >>> shared = sparse.csr_array(one[:, None])
        >>> form = DecimalForm(shared, np.arange(2), one[:1], decimals(one), 1.0)
        >>> bool((decimal_rate_errors(form, decimals(one / 2), decimals([2.0]), 50) < 1e-14).all())
        True
        >>> decimal_rate_errors(form, decimals([0.4, 0.6]), decimals([2.0]), 50).round(3)
        array([0.391, 0.62 ])
    """
    with localcontext() as context:
        context.prec = digits
        cost = form.cost(prices)
        price = form.cheapest(cost)
        rate = form.total(z)
        if not (min(price) > 0 and min(rate) > 0):
            return np.full(len(price), np.inf)
        kept = z / max(ONE, max(form.load(z) / form.limit))
        alpha = Decimal(form.alpha)
        best = (form.priority / price) ** (1 / alpha)
        lost = sum(map(_lost, form.total(kept) / best, price * best, [alpha] * len(best)), ZERO)
        paid = prices @ form.limit
        gap = prices @ (form.limit - form.load(kept)) + kept @ (cost - price[form.owner]) + lost
        context.rounding = ROUND_UP
        gap += paid.scaleb(SPARED - digits)
        worth = np.array([float(part) for part in gap / (price * best)])
        off = np.array([float(ratio.ln()) for ratio in rate / best])
    return errors_within(worth, off, form.alpha, 4.0 * EPS)


def _lost(ratio: Decimal, pays: Decimal, alpha: Decimal) -> Decimal:
    """What a rate of `ratio` times the best one loses; `certificate.phi` in decimals."""
    second = ratio.ln() if alpha == 1 else (ratio ** (1 - alpha) - 1) / (1 - alpha)
    return pays * (ratio - 1 - second)
