"""Alpha-fair utilities on a polytope, and the certificate of any point."""

from __future__ import annotations

from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.allocation.polytope.certificate import Certificate
from fairopt.allocation.polytope.result import PolytopeAllocation


def alpha_fair_on_polytope(
    T: object,
    *,
    G: object = None,
    h: ArrayLike | None = None,
    A: object = None,
    b: ArrayLike | None = None,
    alpha: float,
    weights: ArrayLike | None = None,
    priority: ArrayLike | None = None,
    tol: float = 1e-3,
) -> PolytopeAllocation:
    r"""Alpha-fair utilities that are linear in a point of a polytope.

    Problem:

    .. math:: \max_z \sum_i p_i u_\alpha\bigl((T z)_i / w_i\bigr) \quad\text{subject to}\quad
        G z \le h,\; A z = b,\; z \ge 0, \qquad u_\alpha(x) = \frac{x^{1-\alpha}}{1-\alpha}
        \;(\log x \text{ at } \alpha = 1).

    alpha = 0 is the largest weighted total, 1 Nash welfare, inf lexicographic max-min of
    (T z)_i / w_i (priorities have no effect). Utilities are >= 0: where T has negative entries,
    T z >= 0 is a constraint too.

    Args:
        T: (n, k) dense or scipy sparse: utility i is (T z)_i.
        G: (m, k) the same, default no inequalities.
        h: (m,) given where G is.
        A: (e, k) the same, default no equalities. Redundant ones are dropped, priced 0.
        b: (e,) given where A is.
        alpha: In [0, 200], or inf.
        weights: (n,) w > 0, default ones: the unit, or fair share, of every utility.
        priority: (n,) p > 0, default ones.
        tol: Largest certified relative error of a utility that is called OPTIMAL. The error itself
            is usually far smaller: the result has it.

    Returns:
        `PolytopeAllocation`. INFEASIBLE where no z meets the constraints (`farkas` proves it), and
        where 1 <= alpha < inf and a utility can only be zero (`certificate` names it); below 1 and
        at inf such utilities are 0 and the answer is OPTIMAL. UNBOUNDED where nothing limits a
        utility. In both cases the others have the utilities of the problem without those named.
        STEP_LIMIT where the certificate is not good enough: prices of utilities that are a
        thousandfold apart differ by 1e60 at alpha = 20, and no float64 price shows what the lower
        ones could have. OUT_OF_RANGE where the prices p x^-alpha leave float64.

    Units: (h, b) times c > 0 gives c times the utilities, for c and units of rows of T with their
    weights that are powers of two to the last digit, as long as float64 holds the prices.

    Method: units by Ruiz scaling, redundant equalities by pivoted QR, a primal-dual interior point
    with Mehrotra's predictor and corrector and dense Cholesky factors (rows or variables, whichever
    are fewer), a large alpha by continuation; HiGHS at alpha = 0 and, level by level, at inf, and
    for the reason where nothing is certified.

    Guarantee: OPTIMAL means that `polytope_certificate` of what is returned proves every utility
    right to tol, relative (at alpha = 0: the total to 1e-8), and that no constraint is violated by
    more than 1e-9 of the size of its terms. The proof is in float64 with allowances for rounding;
    a violation counts to first order. That a utility is zero is proven to 1e-10 of the terms of the
    constraints that make it so. INFEASIBLE has a verified `farkas`: right-hand sides contradict
    each other by 1e-9 of its terms and by more than rounding of the largest one.

    Raises:
        InvalidInput: for NaN, inf, complex or text entries, and shapes that do not fit.

    Source: Mo and Walrand 2000 (alpha-fairness); Mehrotra 1992 (predictor-corrector); Ruiz 2001
    (scaling). The certificate (`fairopt.allocation.polytope.certificate`) is our own.

    Example:
        >>> from fairopt import alpha_fair_on_polytope
        >>> speed = [[2.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 3.0]]  # two jobs on two machines
        >>> machines = [[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]]
        >>> found = alpha_fair_on_polytope(speed, G=machines, h=[1.0, 1.0], alpha=1.0).require()
        >>> found.utilities.round(6), found.prices.round(6)
        (array([2., 3.]), array([1., 1.]))
    """
    from fairopt.allocation.polytope.problem import read
    from fairopt.allocation.polytope.solve import solve

    problem = read(T, G, h, A, b, alpha, weights, priority)
    return solve(problem, checks.tolerance(tol))


def polytope_certificate(
    T: object,
    *,
    point: ArrayLike,
    prices: ArrayLike,
    equality_prices: ArrayLike | None = None,
    utility_prices: ArrayLike | None = None,
    G: object = None,
    h: ArrayLike | None = None,
    A: object = None,
    b: ArrayLike | None = None,
    alpha: float,
    weights: ArrayLike | None = None,
    priority: ArrayLike | None = None,
) -> Certificate:
    r"""What any point and prices prove about the alpha-fair utilities; no solver is involved.

    For finite alpha, with :math:`q_i = p_i (x_i / w_i)^{-\alpha} / w_i`, prices that do not cover
    utilities are raised until :math:`G'\lambda + A'\nu \ge T'q`. Then

    .. math:: gap = \lambda'(h - G z) + |\nu|'|b - A z| + (G'\lambda + A'\nu - T'q)'z

    bounds the sum over i of what the exact :math:`x^*_i` loses against :math:`x_i` at price q_i,
    :math:`q_i x_i (r - 1 - (r^{1-\alpha} - 1) / (1 - \alpha))` with r = x*_i / x_i, and each of
    these is >= 0: so it bounds r. All parts are >= 0, and 8 ulp of their terms are added.

    Args:
        T: (n, k), as in `alpha_fair_on_polytope`, like all that is not explained here.
        G: (m, k).
        h: (m,).
        A: (e, k).
        b: (e,).
        alpha: Utility power.
        weights: (n,).
        priority: (n,).
        point: (k,) z.
        prices: (m,) lambda; at alpha = inf (levels, m).
        equality_prices: (e,) nu, needed where A is given; at alpha = inf (levels, e).
        utility_prices: (n,) q, default p (x / w)^-alpha / w of the point: other prices > 0 give
            intervals around what they would buy (at alpha = 0 they count where above p / w, as
            prices that keep x_i >= 0). At alpha = inf (levels, n), of (T z) / w, and needed.

    Returns:
        `Certificate` with `feasibility`, `gap` and `error` (n,). Anything missing or negative
        makes them inf.

    Raises:
        InvalidInput: as `alpha_fair_on_polytope`, and for shapes that do not fit.

    Example:
        >>> from fairopt import polytope_certificate
        >>> constraint = {"G": [[1.0, 1.0]], "h": [1.0], "alpha": 1.0}
        >>> unit = [[1.0, 0.0], [0.0, 1.0]]
        >>> proof = polytope_certificate(unit, point=[0.5, 0.5], prices=[2.0], **constraint)
        >>> bool(proof.error.max() < 1e-6)
        True
        >>> far = polytope_certificate(unit, point=[0.4, 0.6], prices=[2.0], **constraint)
        >>> (far.error >= [0.25, 0.2]).all()  # 0.5 / 0.4 and 0.6 / 0.5
        np.True_
    """
    from fairopt.allocation.polytope.judge import judge
    from fairopt.allocation.polytope.problem import read

    problem = read(T, G, h, A, b, alpha, weights, priority)
    return judge(problem, point, prices, equality_prices, utility_prices)
