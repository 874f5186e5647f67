"""Alpha-fair rates of flows that may split over several paths."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.allocation.multipath.result import PathAllocation


def alpha_fair_path_allocation(
    routing: object,
    owner: ArrayLike,
    capacity: ArrayLike,
    alpha: float,
    *,
    priority: ArrayLike | None = None,
    upper: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    tol: float = 1e-6,
) -> PathAllocation:
    r"""Alpha-fair rates of flows that each split over their own paths.

    Problem:

    .. math:: \max_{z \ge 0} \sum_i p_i u_\alpha(x_i / w_i), \quad x_i = \sum_{p \in P_i} z_p,
        \quad\text{subject to}\quad R z \le c, \quad x \le upper .

    Flow rates are unique for alpha > 0, path rates need not be: what is certified are flow rates
    and prices.

    Args:
        routing: (links, paths) R >= 0, an array or a scipy sparse matrix.
        owner: (paths,) number of the flow each path belongs to: sorted, from 0, without a gap.
        capacity: (links,) c >= 0; inf for no limit.
        alpha: Utility power in [0, inf].
        priority: (flows,) p > 0, default ones; no effect at alpha = inf.
        upper: (flows,) largest rates >= 0, such as the volumes asked for; inf for none.
        weights: (flows,) w > 0, default ones: flows are compared by x / w, at alpha = inf too.
        tol: Largest residual called OPTIMAL.

    `fairopt.PathAllocationProblem` keeps the paths and goes on from the last answer.

    Returns:
        `PathAllocation`, with the statuses and prices of `alpha_fair_allocation`; a flow can only
        have rate zero if all its paths are closed (or upper is 0), and is unlimited if one path is
        and upper is inf. For alpha < 1 flows with less than 1e-9 of what their best path could
        carry are ROUNDING_LIMITED unless `error` certifies them: a residual of 1e-6 does not.
        `error` bounds the relative error of every rate at finite alpha > 0; at inf it bounds what
        each flow could gain without taking from a flow that has less, or leaving one with less,
        than it has (per weight).

    Method (`fairopt.allocation.multipath`): links that decide nothing are dropped, a primal-dual
    interior point in link space ends at complementarity 1e-11, and Newton's method on used paths
    and full links gives the last digits. What float64 does not certify, as at alpha >= 10 some
    flows pay 1e-10 of what others pay, is solved and certified in decimal numbers with as many
    digits as that takes, from a smaller alpha by doubling. Linear programmes by HiGHS at 0, one per
    level at inf, over the paths that are worth using; where `highspy` is installed (the extra
    `highs`) each starts from the basis of the one before. Meant for up to some thousand flows and
    links (inf: 10,000 to 100,000 flows); decimals take 0.1 to 0.3 s for 30 flows and seconds for 60
    at alpha = 100, and are given up after about a minute of work.

    Guarantee: OPTIMAL means that `path_allocation_residual` is at most tol. For finite alpha > 0
    one of two holds as well: every rate is certified (`error` at most 1e-3); or all conditions of
    optimality are met to 1e-12 and prices p x^-alpha of flows differ by less than ten decades.
    Otherwise STEP_LIMIT, with the flows that are not certified in `sentence`. At inf, that `error`
    is at most tol for every flow; ROUNDING_LIMITED if only float64 is in the way of that, for flows
    that are tiny beside those they share links with (`certificate` has 1 for them).

    Raises:
        InvalidInput: for NaN, negative, complex or text entries, and shapes that do not fit.

    Example:
        >>> from fairopt import alpha_fair_path_allocation
        >>> both_links = [[1, 0, 1], [0, 1, 0]]  # flow 0 has a path over each, flow 1 one path
        >>> found = alpha_fair_path_allocation(both_links, [0, 0, 1], [1.0, 1.0], alpha=1.0)
        >>> found.status.name, found.rates.round(6)
        ('OPTIMAL', array([1., 1.]))
        >>> bool((found.error < 1e-6).all())
        True
        >>> limited = alpha_fair_path_allocation(
        ...     both_links, [0, 0, 1], [1.0, 1.0], alpha=1.0, upper=[1.5, 0.4], weights=[2.0, 1.0]
        ... )
        >>> limited.rates.round(6), limited.upper_prices.round(6)
        (array([1.5, 0.4]), array([0.666667, 2.5     ]))
    """
    from fairopt.allocation.multipath.solve import solve
    from fairopt.allocation.multipath.stated import read_stated

    stated = read_stated(routing, owner, capacity, alpha, priority, upper, weights)
    return stated.answer(solve(stated.problem, checks.tolerance(tol)))


def path_allocation_residual(
    routing: object,
    owner: ArrayLike,
    capacity: ArrayLike,
    alpha: float,
    path_rates: ArrayLike,
    prices: ArrayLike,
    upper_prices: ArrayLike | None = None,
    *,
    priority: ArrayLike | None = None,
    upper: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> float:
    r"""How far path rates and prices are from optimal; no solver is involved.

    With path prices R' lambda and the flow price q_i, the least of them over the paths of i: the
    stationarity and feasibility of `fairopt.allocation_residual`; for every link the geometric mean
    of its unused share and its largest share in a price; for every used path that of how much it is
    used (the largest part it has of its flow or of a link) and its relative extra price. Prices are
    those of paths, and of the links that only one of two paths of a flow uses: the difference
    decides the rates of flows that pay 1e-30 of the common part. Differences far below the price of
    the cheapest flow do not count (at the largest possible rates). The squares of the means are
    local duality gaps: such problems are often degenerate, and flow rates are known to about the
    root of the gap.

    At alpha = inf the highest price on a path takes the place of the sum, priorities have no
    effect, and there are no means, as levels are decided by linear programmes: for every link the
    smaller of its unused share and its largest share in a price counts, for every pair of paths of
    a flow the smaller of the relative extra price of one and the largest part that it fills of a
    link which the other does not use.

    A chain of exchanges between several flows may be better by less than the rounding of each
    price, and yet matter to flows with low prices; `error` of `alpha_fair_path_allocation` tells,
    this function does not.

    Args:
        routing: As in `alpha_fair_path_allocation`, like the following.
        owner: (paths,).
        capacity: (links,).
        alpha: Utility power in [0, inf].
        path_rates: (paths,) z.
        prices: (links,) lambda.
        upper_prices: (flows,) prices of `upper`, default zeros; a limit is a link that all paths of
            its flow use, and a price where there is none makes the residual inf.
        priority: (flows,).
        upper: (flows,).
        weights: (flows,).

    Raises:
        InvalidInput: as `alpha_fair_path_allocation`.

    Example:
        >>> from fairopt import path_allocation_residual
        >>> path_allocation_residual([[1, 0], [0, 1]], [0, 0], [1.0, 1.0], 1.0, [1, 1], [0.5, 0.5])
        0.0
        >>> path_allocation_residual([[1, 0], [0, 1]], [0, 0], [1.0, 1.0], 1.0, [1, 1], [0.5, 0.6])
        0.40...
    """
    from fairopt.allocation.multipath.stated import read_stated

    stated = read_stated(routing, owner, capacity, alpha, priority, upper, weights)
    none = np.zeros(stated.problem.flows)
    return stated.residual(path_rates, prices, none if upper_prices is None else upper_prices)
