r"""How far any point of a polytope is from the alpha-fair one; no solver is involved.

For prices lambda >= 0, nu and q = p x^-alpha (priorities p with the weights folded in) with
G' lambda + A' nu >= T' q, every feasible z has

    sum_i p u(x_i) <= sum_i L_i(x_i) + h' lambda + b' nu,    L_i(x) = p_i u(x) - q_i x,

so at the optimum x*, with xi_i the maximiser of L_i,

    sum_i [L_i(xi_i) - L_i(x*_i)] <= D - P* <= D - P(x) = gap.

Every summand is >= 0: the gap bounds each utility on its own. With q = p x^-alpha, xi is x and

    L_i(x_i) - L_i(r x_i) = q_i x_i phi(r),   phi(r) = r - 1 - (r^(1 - alpha) - 1) / (1 - alpha),

and log(x*_i / x_i) lies where phi <= gap / (q_i x_i). The gap is summed from parts that are >= 0,
slack times price and reduced cost times variable, so nothing cancels. Other q > 0 may be given:
the intervals are then around xi = (p / q)^(1 / alpha), and the gap has L(xi) - L(x) of each, which
is of second order. That is sharper where x and prices agree to half of the digits only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fairopt.allocation.polytope.problem import Polytope
from fairopt.arrays import Array, Ints

ULPS = 8.0 * np.finfo(float).eps  # of every sum of the gap, more than it is wrong by
SLIGHT = 1e-9  # relative, as the violation of a constraint that is still a solution
SMALL = 1e-3  # changes for which the curvature of phi is that at zero within SMALL_EXCESS
SMALL_EXCESS = 1.0011
BISECTIONS = 60
LOG_2 = float(np.log(2.0))
LONGEST = 600.0  # e-folds; beyond it there is no bound
LARGER = 1e-6  # relative: what exceeds x_i by more counts as larger, as levels are found to 1e-9


@dataclass(frozen=True, eq=False)
class Certificate:
    """What is proven of a point.

    Attributes:
        feasibility: Largest violation of a constraint, relative to the size of its terms; and what
            prices lack of covering a variable without any upper bound.
        gap: Bound of what the optimum has more, relative to sum q_i x_i; inf where prices prove
            nothing.
        error: (n,) x*_i lies in [x_i / (1 + error_i), x_i (1 + error_i)]; inf where nothing is
            proven, as always at alpha = 0, where optimal utilities need not be unique. At alpha =
            inf no feasible point has x_i (1 + error_i) unless another one has less that has at
            most x_i (relative to the weights).
    """

    feasibility: float
    gap: float
    error: Array

    @property
    def residual(self) -> float:
        """The larger of violation and gap; at alpha = inf of violation and error."""
        return max(self.feasibility, self.gap)


def certify(
    problem: Polytope,
    z: Array,
    prices: Array,
    equality_prices: Array,
    log_unit: float = 0.0,
    utility_prices: Array | None = None,
) -> Certificate:
    """The certificate of a point z and prices for finite alpha.

    Args:
        problem: With finite alpha.
        z: (k,) the point.
        prices: (m,) lambda >= 0, in a unit of exp(log_unit), as the following.
        equality_prices: (e,) nu.
        log_unit: Log of the unit of prices.
        utility_prices: (n,) q, default those of x; at alpha = 0 they count where above p, as prices
            that keep x_i >= 0.
    """
    none = np.full(problem.utilities, np.inf)
    finite = np.isfinite(z).all() and (z >= 0.0).all() and (prices >= 0.0).all()
    if not (finite and np.isfinite(prices).all() and np.isfinite(equality_prices).all()):
        return Certificate(np.inf, np.inf, none)
    violation = infeasibility(problem, z)
    with np.errstate(all="ignore"):
        return _finite(problem, z, (prices, equality_prices, utility_prices), log_unit, violation)


def infeasibility(problem: Polytope, z: Array) -> float:
    """The largest violation relative to |G| z + |h|, |A| z + |b| or, of T z >= 0, |T| z."""
    size_T, size_G, size_A = problem.sizes
    size = size_G @ z + np.abs(problem.h)
    equal = size_A @ z + np.abs(problem.b)
    over = _ratio(np.maximum(problem.G @ z - problem.h, 0.0), size)
    off = _ratio(np.abs(problem.A @ z - problem.b), equal)
    below = _ratio(np.maximum(-(problem.T @ z), 0.0), size_T @ z)
    return float(max(over.max(initial=0.0), off.max(initial=0.0), below.max(initial=0.0)))


def _ratio(part: Array, whole: Array) -> Array:
    """The quotient, 0 where both are 0."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0.0)


def _finite(
    problem: Polytope,
    z: Array,
    prices: tuple[Array, Array, Array | None],
    log_unit: float,
    violation: float,
) -> Certificate:
    """The gap in units of the largest q_i x_i, and what it says of every utility."""
    x = problem.T @ z
    open_ = ~problem.closed if problem.alpha < 1.0 else np.ones(problem.utilities, dtype=bool)
    none = np.where(open_, np.inf, 0.0)
    if problem.alpha > 0.0 and (x[open_] <= 0.0).any():
        return Certificate(violation, np.inf, none)
    log_price = np.where(open_, problem.log_priority - problem.alpha * np.log(x), -np.inf)
    log_price = problem.log_priority if problem.alpha == 0.0 else log_price
    unit = float(np.max(np.where(x > 0.0, log_price + np.log(x), -np.inf)))
    if not np.isfinite(unit):  # nothing to share, at alpha < 1
        return Certificate(violation, np.inf if open_.any() else 0.0, none)
    lam, nu, given = prices
    power = round((unit - log_unit) / LOG_2)  # of two: sums of prices that are zero stay so
    own = np.exp(log_price - (log_unit + power * LOG_2))
    q = own if given is None else np.where(open_, np.ldexp(given, -power), 0.0)
    q = np.maximum(q, own) if problem.alpha == 0.0 else q
    if not (np.isfinite(q).all() and (q[open_] > 0.0).all()):
        return Certificate(violation, np.inf, none)
    gap, short = _gap(problem, z, q, np.ldexp(lam, -power), np.ldexp(nu, -power))
    violation = max(violation, short)
    if problem.alpha == 0.0:
        return Certificate(violation, (gap + float((q - own) @ x)) / float(own @ x), none)
    off = np.where(open_, np.log(q / own) / problem.alpha, 0.0)  # log(x / xi)
    spent = q * x * np.exp(-off)
    gap += float(spent @ np.maximum(loss(off, problem.alpha), 0.0))
    around = np.expm1(np.abs(off) + np.log1p(_interval(gap / spent, problem.alpha)))
    return Certificate(violation, gap / float(spent.sum()), np.where(open_, around, 0.0))


def _gap(problem: Polytope, z: Array, q: Array, lam: Array, nu: Array) -> tuple[float, float]:
    """The gap of prices, repaired so that no variable costs less than it earns.

    All prices are raised by the factor that the worst variable needs. A variable that costs
    nothing and still earns counts with the most it can be. Where no constraint says what that is,
    as for the two parts of a free variable, and at most `SLIGHT` of its terms is missing, it counts
    with what it is: the gap is then that of a problem whose coefficients are changed by the second
    number, as those of violated constraints are.
    """
    G, A, T = problem.G, problem.A, problem.T
    size_T, size_G, size_A = problem.sizes
    cost, earned = G.T @ lam + A.T @ nu, T.T @ q
    size = size_G.T @ lam + size_A.T @ np.abs(nu) + size_T.T @ q
    short = (earned > cost) & (cost > 0.0)
    raised = float(np.max(earned[short] / cost[short], initial=1.0))
    lam, nu, cost = lam * raised, nu * raised, cost * raised
    missing = np.maximum(earned - cost, 0.0) * (cost <= 0.0)
    slight = (missing <= SLIGHT * size) & np.isposinf(problem.bounds)
    short_of = float(_ratio(missing, size)[slight].max(initial=0.0))
    free = _product(missing, np.where(slight, z, problem.bounds))
    slack = np.abs(problem.h - G @ z) + ULPS * (size_G @ z + np.abs(problem.h))
    off = np.abs(problem.b - A @ z) + ULPS * (size_A @ z + np.abs(problem.b))
    unused = (np.maximum(cost - earned, 0.0) + ULPS * raised * size) @ z
    return float(lam @ slack + np.abs(nu) @ off + unused + free), short_of


def _product(amount: Array, bound: Array) -> float:
    """The sum of products, where nothing times inf is nothing."""
    used = amount > 0.0
    return float(amount[used] @ bound[used])


def _interval(budget: Array, alpha: float) -> Array:
    """The e such that phi(r) <= budget only for r in [1 / (1 + e), 1 + e]."""
    if alpha == 0.0:
        return np.full(len(budget), np.inf)
    first = SMALL_EXCESS * np.sqrt(2.0 * budget / alpha)
    large = ~(first * max(1.0, alpha) <= SMALL)
    change = first.copy()
    if large.any():
        both = [_farthest(budget[large], alpha, sign) for sign in (1.0, -1.0)]
        change[large] = np.maximum(*both)
    return np.asarray(np.expm1(change))


def _farthest(budget: Array, alpha: float, sign: float) -> Array:
    """The largest |log r| on one side with phi(r) <= budget, by bisection from outside."""
    low, high = np.zeros_like(budget), np.full_like(budget, LONGEST)
    open_ended = ~(loss(sign * high, alpha) > budget)
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        outside = loss(sign * middle, alpha) > budget
        low, high = np.where(outside, low, middle), np.where(outside, middle, high)
    return np.where(open_ended, np.inf, high)


def loss(change: Array, alpha: float) -> Array:
    """phi(e^change).

    Example:
        >>> loss(np.array([0.0, np.log(2.0)]), 1.0).round(6)
        array([0.      , 0.306853])
    """
    if alpha == 1.0:
        return np.asarray(np.expm1(change) - change)
    with np.errstate(over="ignore"):
        return np.asarray(np.expm1(change) - np.expm1((1.0 - alpha) * change) / (1.0 - alpha))


def certify_max_min(
    problem: Polytope, z: Array, prices: Array, equality_prices: Array, utility_prices: Array
) -> Certificate:
    """The certificate at alpha = inf, from prices of every level.

    For prices lambda, nu, q >= 0 of a level with G' lambda + A' nu >= T' q (T divided by the
    weights), every feasible y has q'(T y) <= h' lambda + b' nu. If y has at least x_j wherever x_j
    is at most x_i, its own excess over x_i is at most

        h' lambda + b' nu - q' x + sum of q_j x_j over those that have more than i,

    divided by q_i; the best level counts. Zero for all i is the definition of max-min.

    Args:
        problem: With alpha = inf.
        z: (k,) the point.
        prices: (levels, m) lambda >= 0.
        equality_prices: (levels, e) nu.
        utility_prices: (levels, n) q >= 0.
    """
    n = problem.utilities
    signs = (prices >= 0.0).all() and (utility_prices >= 0.0).all() and (z >= 0.0).all()
    if not (signs and np.isfinite(z).all()):
        return Certificate(np.inf, np.inf, np.full(n, np.inf))
    violation = infeasibility(problem, z)
    x = problem.levels @ z
    divided = replace(problem, T=problem.levels, weights=np.ones(n))
    error = np.where(problem.closed, 0.0, np.inf)
    with np.errstate(all="ignore"):
        for lam, nu, q in zip(prices, equality_prices, utility_prices, strict=True):
            excess, short = _gap(divided, z, q, lam, nu)
            violation = max(violation, short)
            order = np.argsort(x)
            more = _spent_above(x, q * x, order)
            bound = (excess + more) / (q * x)
            error = np.fmin(error, np.where(q > 0.0, bound, np.inf))
    return Certificate(violation, float(error.max()), error)


def _spent_above(x: Array, spent: Array, order: Ints) -> Array:
    """For every i the sum of `spent` over those with more than x_i."""
    sums = np.concatenate([np.cumsum(spent[order][::-1])[::-1], [0.0]])
    first = np.searchsorted(x[order], x * (1.0 + LARGER), side="right")
    return np.asarray(sums[first])
