"""Flows over several paths, solved again and again: the paths stay, all numbers may change."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.allocation.multipath.result import PathAllocation
from fairopt.allocation.problem import own
from fairopt.allocation.reused_problem import ReusedProblem
from fairopt.arrays import Array
from fairopt.errors import InvalidInput

if TYPE_CHECKING:
    from fairopt.allocation.multipath.solve import Series
    from fairopt.allocation.multipath.stated import Stated


class PathAllocationProblem(ReusedProblem["Stated"]):
    r"""Alpha-fair rates of flows over several paths, for numbers that change and paths that do not.

    .. math:: \max_{z \ge 0} \sum_i p_i u_\alpha(x_i / w_i), \quad x_i = \sum_{p \in P_i} z_p,
        \quad\text{subject to}\quad R z \le c, \quad x \le upper,

    as in `fairopt.alpha_fair_path_allocation`. Checks, sparse forms, pairs of paths and which links
    can matter are worked out once; after a `start` Newton's method goes on from its prices, on the
    links and paths that decided the last time.

    Args:
        routing: (links, paths) R >= 0, an array or a scipy sparse matrix.
        owner: (paths,) number of the flow each path belongs to: sorted, from 0, without a gap.
        capacity: (links,) c >= 0; inf for no limit.
        alpha: Utility power in [0, inf].
        priority: (flows,) p > 0, default ones.
        upper: (flows,) largest rates >= 0, inf for none.
        weights: (flows,) w > 0, default ones.

    All are copied: what happens to them later has no effect. The problem never changes, so threads
    may share it, and it can be pickled.

    Raises:
        InvalidInput: for NaN, negative, complex or text entries, and shapes that do not fit.

    Example:
        >>> from fairopt import PathAllocationProblem
        >>> both_links = [[1, 0, 1], [0, 1, 0]]  # flow 0 has a path over each, flow 1 one path
        >>> problem = PathAllocationProblem(both_links, [0, 0, 1], [1.0, 1.0], alpha=1.0)
        >>> last = problem.solve().require()
        >>> last.rates.round(6)
        array([1., 1.])
        >>> last = problem.solve(capacity=[1.0, 0.5], upper=[0.6, np.inf], start=last).require()
        >>> last.rates.round(6), bool((last.error < 1e-6).all())
        (array([0.6, 0.9]), True)
    """

    def __init__(
        self,
        routing: object,
        owner: ArrayLike,
        capacity: ArrayLike,
        alpha: float,
        *,
        priority: ArrayLike | None = None,
        upper: ArrayLike | None = None,
        weights: ArrayLike | None = None,
    ) -> None:
        from fairopt.allocation.multipath.stated import read_stated

        self.__setstate__(read_stated(routing, owner, capacity, alpha, priority, upper, weights))

    def __setstate__(self, stated: Stated) -> None:
        from fairopt.allocation.multipath.stated import state

        numbers, weights = stated.numbers.own(), own(stated.weights)
        self._stated = state(stated.routes, stated.problem.owner, numbers, weights)
        self._series: Series | None = None

    @property
    def weights(self) -> Array:
        """(flows,)."""
        return self._stated.weights

    def solve(
        self,
        *,
        capacity: ArrayLike | None = None,
        alpha: float | None = None,
        priority: ArrayLike | None = None,
        upper: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        tol: float = 1e-6,
        start: PathAllocation | None = None,
    ) -> PathAllocation:
        """The allocation with these numbers in place of those of the problem, which stays as it is.

        Without `start` it is that of `fairopt.alpha_fair_path_allocation`, to the last bit.

        Args:
            capacity: (links,), default that of the problem, like the following.
            alpha: Utility power.
            priority: (flows,).
            upper: (flows,); an array of inf for none.
            weights: (flows,).
            tol: Largest residual called OPTIMAL.
            start: The last `PathAllocation`; saves time only. What is found from it is taken if
                every rate is certified and the residual is at most tol; otherwise the problem is
                solved from nothing. Not used at alpha = 0 and inf.

        Raises:
            InvalidInput: for NaN, negative, complex or text entries, and shapes that do not fit.
        """
        from fairopt.allocation.multipath.solve import Series, solve

        series = Series() if self._series is None or start is None else replace(self._series)
        stated = self._stated.changed(capacity, alpha, priority, upper, weights)
        near = None if start is None else stated.start(_checked(start, self._stated))
        found = stated.answer(solve(stated.problem, checks.tolerance(tol), near, series))
        self._series = series
        return found

    def __repr__(self) -> str:
        stated = self._stated
        return (
            f"PathAllocationProblem({stated.links} links, {len(stated.problem.owner)} paths,"
            f" {stated.problem.flows} flows, alpha={self.alpha:g})"
        )


def _checked(start: object, stated: Stated) -> PathAllocation:
    """A start if its arrays fit."""
    paths, flows = len(stated.problem.owner), stated.problem.flows
    if isinstance(start, PathAllocation):
        given = start.path_rates, start.prices, start.upper_prices
        fits = tuple(map(np.shape, given)) == ((paths,), (stated.links,), (flows,))
        if fits and all(np.asarray(one).dtype.kind == "f" for one in given):
            return start
    what = f"a PathAllocation of {paths} paths, {stated.links} links and {flows} flows"
    raise InvalidInput("start", start, what)
