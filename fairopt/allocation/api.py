"""Alpha-fair shares of links, budgets or machines, and the residual of any answer."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fairopt.allocation.result import Allocation


def alpha_fair_allocation(
    routing: object,
    capacity: ArrayLike,
    alpha: float,
    *,
    priority: ArrayLike | None = None,
    upper: ArrayLike | None = None,
    tol: float = 1e-9,
    start: Allocation | ArrayLike | None = None,
) -> Allocation:
    r"""Alpha-fair rates of flows over links of limited capacity, with the dual prices.

    Problem:

    .. math:: \max_x \sum_i p_i u_\alpha(x_i) \quad\text{subject to}\quad R x \le c,\;
        0 \le x \le upper, \qquad u_\alpha(x) = \frac{x^{1-\alpha}}{1-\alpha} \;(\log x
        \text{ at } \alpha = 1).

    alpha = 0 is the largest weighted total, 1 proportional fairness, 2 least potential delay,
    inf max-min fairness (each rate can only grow at the cost of one that is not larger; priorities
    have no effect).

    Args:
        routing: (links, flows) R >= 0, an array or a scipy sparse matrix: what one unit of flow i
            takes of link l. Duplicate sparse entries add up.
        capacity: (links,) c >= 0; inf for no limit.
        alpha: Utility power in [0, inf].
        priority: (flows,) p > 0, default ones.
        upper: (flows,) largest rates >= 0, inf for none.
        tol: Largest residual called OPTIMAL.
        start: An earlier `Allocation` or prices (links,) of a similar problem; saves time only.
            `fairopt.AllocationProblem` saves more where only numbers change and the routing stays.

    Returns:
        `Allocation`. INFEASIBLE where 1 <= alpha < inf and a flow can only have rate zero (a link
        without capacity, upper = 0): no point has finite utility. For alpha < 1 such rates are
        simply 0, and so they are at inf, where rates are compared and not utilities: OPTIMAL.
        UNBOUNDED where nothing limits a flow. In both cases the other flows have the rates of the
        problem without these, and `sentence` says what became of them. Whatever the status, no
        link is overloaded by more than tol.
        ROUNDING_LIMITED, which is `ok` too, where flows fill so little of a full link that no load
        shows what they have: the residual is at most tol, and yet their rates may be wrong by
        factors. `certificate` and `sentence` name them.
        OUT_OF_RANGE where the prices p x^-alpha leave float64; the sentence says which alpha would
        fit, and the rates are the max-min ones. At alpha = 0 several rates can be optimal; the
        answer is the vertex HiGHS ends at.

    Method: links of a single flow become bounds; the rest is scaled to capacities 1. Accelerated
    multiplicative dual ascent, Newton's method on the prices, a primal-dual interior point if both
    fail; progressive filling at inf, a linear programme at 0.

    Guarantee: OPTIMAL means that `allocation_residual` of what is returned is at most tol. Rates
    that may be off by more than a part in 1,000 all the same are those of ROUNDING_LIMITED, to
    first order in the errors of loads and prices (`fairopt.allocation.rate_accuracy`).

    Raises:
        InvalidInput: for NaN, negative, complex or text entries, and shapes that do not fit.

    Source: Kelly, Maulloo and Tan 1998 (prices), Mo and Walrand 2000 (alpha-fairness), Bertsekas
    and Gallager (progressive filling). The multiplicative step and its analysis
    (`fairopt.allocation.methods.dual_ascent`) are our own construction.

    Example:
        >>> from fairopt import alpha_fair_allocation
        >>> both_links_and_one_each = [[1, 1, 0], [1, 0, 1]]
        >>> alpha_fair_allocation(both_links_and_one_each, [1.0, 1.0], 1.0).require().rates
        array([0.33333333, 0.66666667, 0.66666667])
        >>> alpha_fair_allocation(both_links_and_one_each, [1.0, 1.0], float("inf")).rates
        array([0.5, 0.5, 0.5])
    """
    from fairopt.allocation.problem import read
    from fairopt.allocation.solve import solve_from

    return solve_from(read(routing, capacity, alpha, priority, upper), tol, start)


def allocation_residual(
    routing: object,
    capacity: ArrayLike,
    alpha: float,
    rates: ArrayLike,
    prices: ArrayLike,
    upper_prices: ArrayLike | None = None,
    *,
    priority: ArrayLike | None = None,
    upper: ArrayLike | None = None,
) -> float:
    r"""How far any rates and prices are from optimal; no solver is involved.

    The largest of three violations, all relative and without units. With the flow price
    :math:`q = R'\lambda + \mu`,

    - stationarity: :math:`|x_i / (p_i / q_i)^{1/\alpha} - 1|` (for alpha < 1 the same in prices,
      :math:`|x_i^\alpha q_i / p_i - 1|`);
    - feasibility: overload of a link relative to its capacity, excess of a rate over its bound;
    - slackness: for every limit the smaller of its unused share and the largest share its price
      has in a q_i (1 on an unused link): a limit is used up, or its price could be
      dropped.

    At alpha = inf q_i is the largest price on the path and p does not count (what prices are then,
    `Allocation` says): zero means that every flow has a full link on which no flow has more, or
    can only have rate zero. At alpha = 0 stationarity is the relative
    shortfall of q below p, and slackness the duality gap relative to the larger side.

    Args:
        rates: (flows,) x.
        prices: (links,) lambda.
        upper_prices: (flows,) mu, default zeros.
        routing: As in `alpha_fair_allocation`, like the following.
        capacity: (links,).
        alpha: Utility power.
        priority: (flows,).
        upper: (flows,).

    Returns:
        The residual: 0 is exact, inf for negative or missing numbers, rates of zero that should not
        be, and problems without an optimum.

    Raises:
        InvalidInput: as `alpha_fair_allocation`, and for shapes that do not fit.

    Example:
        >>> from fairopt import allocation_residual
        >>> allocation_residual([[1, 1]], [1.0], 1.0, [0.5, 0.5], [2.0])
        0.0
        >>> round(allocation_residual([[1, 1]], [1.0], 1.0, [0.4, 0.6], [2.0]), 12)
        0.2
    """
    from fairopt.allocation.problem import number_of_each, read
    from fairopt.allocation.residual import measure_residuals

    problem = read(routing, capacity, alpha, priority, upper)
    x = number_of_each("rates", rates, problem.flows, "flows")
    lam = number_of_each("prices", prices, problem.links, "links")
    none = np.zeros(problem.flows)
    own = upper_prices if upper_prices is not None else none
    mu = number_of_each("upper_prices", own, problem.flows, "flows")
    return measure_residuals(problem, x, lam, mu).worst
