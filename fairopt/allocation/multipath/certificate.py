r"""How far each rate can be from the optimal one: a bound from any rates and prices, no solver.

For prices :math:`\lambda \ge 0` let :math:`q_i` be the cheapest path of flow i and
:math:`L_i(x) = v_i u_\alpha(x) - q_i x`, with its maximiser :math:`\xi_i = (v_i / q_i)^{1/\alpha}`.
By weak duality the optimal rates x* and any rates x of feasible z satisfy

.. math:: \sum_i L_i(\xi_i) - L_i(x^*_i) \le gap =
    \lambda' s + \sum_p z_p (cost_p - q_i) + \sum_i L_i(\xi_i) - L_i(x_i), \qquad s = 1 - A z .

All terms are nonnegative, so each flow alone is bounded, and nothing cancels in the gap. As

.. math:: L_i(\xi_i) - L_i(r \xi_i) = q_i \xi_i \varphi(\log r), \qquad
    \varphi(\rho) = e^\rho - 1 - \frac{e^{(1 - \alpha) \rho} - 1}{1 - \alpha},

:math:`\log (x^*_i / \xi_i)` lies where :math:`\varphi \le gap / (q_i \xi_i)`, about
:math:`\pm \sqrt{2 gap / (\alpha q_i \xi_i)}`. Flows that pay little of the total get wide
intervals: float64 prices and rates of the others cannot show more. Limits of single flows are links
here. Sums are those of float64; `ALLOWED` ulps of what is paid are added for their rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fairopt.arrays import EPS, Array, Ints

ALLOWED = 8.0  # ulps of all that is paid, for rounding in the gap
NEAR = 0.5  # of rho max(1, alpha): below it phi is summed as a series, above it two terms cancel
TERMS = 24  # of the series: 0.5^24 / 24! is far below an ulp of the first
SMALL = 1e-3  # of rho max(1, alpha): there phi >= (1 - 2e-3) alpha rho^2 / 2
SLOWER = 1.0011  # > 1 / sqrt(1 - 2e-3)
FARTHEST = 700.0  # e-folds of a rate or a price that are looked at; beyond, the bound is inf
HALVINGS = 60  # of that range: to 700 / 2^60


def rate_errors(
    A: Any, owner: Ints, log_weight: Array, alpha: float, z: Array, prices: Array
) -> Array:
    r"""(flows,) certified :math:`|x_i - x^*_i| / x^*_i`, inf where nothing is certified.

    Args:
        A: (links, paths) `scipy.sparse` array of entries > 0, capacities 1.
        owner: (paths,) flow of each path, sorted, from 0.
        log_weight: (flows,) log v.
        alpha: Finite and > 0.
        z: (paths,) rates >= 0; where they overload a link they are judged as if reduced.
        prices: (links,) lambda >= 0.

    Guarantee: up to rounding the optimal rates are within these errors of the rates of z, whatever
    z and the prices are.

    Example:
        >>> from scipy import sparse
        >>> shared = sparse.csr_array([[1.0, 1.0]])
        >>> errors = rate_errors(shared, np.arange(2), np.zeros(2), 1.0, [0.5, 0.5], [2.0])
        >>> bool((errors < 1e-6).all())
        True
        >>> rate_errors(shared, np.arange(2), np.zeros(2), 1.0, [0.4, 0.6], [2.0]).round(3)
        array([0.391, 0.62 ])
    """
    x = np.bincount(owner, z)
    with np.errstate(all="ignore"):
        price, gap = _price_and_gap(A, owner, log_weight, alpha, np.asarray(z), np.asarray(prices))
        log_best = (log_weight - np.log(price)) / alpha
        worth = gap / np.exp(np.log(price) + log_best)
        rounding = EPS * (4.0 + (np.abs(log_weight) + np.abs(np.log(price)) + 4.0) / alpha)
        error = errors_within(worth, np.log(x) - log_best, alpha, rounding)
    return np.where(~(price > 0.0) | ~(x > 0.0), np.inf, error)


def errors_within(worth: Array, off: Array, alpha: float, rounding: Array | float) -> Array:
    r"""Relative errors of rates that are e^off times the best ones at their prices.

    Args:
        worth: (flows,) gap over what each flow pays at its best rate.
        off: (flows,)
        alpha: Finite and > 0.
        rounding: Absolute, of off.
    """
    below = np.expm1(off + largest_change(worth, alpha, -1.0) + rounding)
    above = -np.expm1(off - largest_change(worth, alpha, 1.0) - rounding)
    error = np.maximum(np.maximum(below, above), 0.0)
    return np.where(np.isnan(error), np.inf, error)


def _price_and_gap(
    A: Any, owner: Ints, log_weight: Array, alpha: float, z: Array, prices: Array
) -> tuple[Array, float]:
    """The cheapest path of every flow, and the duality gap of feasible rates."""
    first = np.searchsorted(owner, np.arange(len(log_weight)))
    rows = A.T.tocsr()
    cost = rows @ prices
    price = np.minimum.reduceat(cost, first)
    over = np.maximum(A @ z, 1.0)
    kept = z / np.maximum.reduceat(over[rows.indices], rows.indptr[:-1])
    slack = np.maximum(1.0 - A @ kept, 0.0)
    best = (log_weight - np.log(price)) / alpha
    off = np.log(np.add.reduceat(kept, first)) - best
    lost = price * np.exp(best) * phi(off, alpha)
    extra = kept * (cost - price[owner])
    paid = float(prices.sum())
    gap = float(prices @ slack) + float(extra.sum()) + float(lost.sum())
    return price, gap + ALLOWED * EPS * paid


def phi(rho: Array, alpha: float) -> Array:
    r"""What a rate :math:`e^\rho` times the best one loses, in units of what is paid.

    Example:
        >>> phi(np.array([1e-9, 1.0]), 1.0) / np.array([5e-19, np.e - 2.0])
        array([1., 1.])
    """
    power = 1.0 - alpha
    near = np.abs(rho) * max(1.0, alpha) < NEAR
    small, large = np.where(near, rho, 0.0), np.where(near, 0.0, rho)
    series, factor = np.zeros_like(small), small
    coefficient, last = 0.0, alpha
    for k in range(2, TERMS):  # the coefficient is 1 - power^(k - 1), summed without cancelling
        factor = factor * small / k
        coefficient, last = coefficient + last, last * power
        series = series + coefficient * factor
    second = large if power == 0.0 else np.expm1(power * large) / power
    return np.where(near, series, np.expm1(large) - second)


def largest_change(worth: Array, alpha: float, sign: float) -> Array:
    """The largest rho >= 0 with phi(sign rho) <= worth, rounded up; inf beyond `FARTHEST`."""
    rho = SLOWER * np.sqrt(2.0 * worth / alpha)
    far = np.flatnonzero(~(rho * max(1.0, alpha) <= SMALL))
    if not len(far):
        return rho
    low, high = np.zeros(len(far)), np.full(len(far), FARTHEST / max(1.0, alpha))
    never = ~(phi(sign * high, alpha) > worth[far])
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        inside = phi(sign * middle, alpha) <= worth[far]
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    rho[far] = np.where(never, np.inf, high)
    return rho
