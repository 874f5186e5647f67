"""A problem that is solved again and again: the routing stays, capacities and demands change."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from numpy.typing import ArrayLike

from fairopt.allocation.problem import Numbers, Problem, read, with_routes
from fairopt.allocation.result import Allocation
from fairopt.arrays import Array

if TYPE_CHECKING:
    from fairopt.allocation.finite_alpha import Series


class _Stated(Protocol):
    """A checked problem, whatever its routes are."""

    @property
    def numbers(self) -> Numbers:
        """What of it may change."""


Kept = TypeVar("Kept", bound=_Stated)


class ReusedProblem(Generic[Kept]):
    """A checked problem that never changes, and what its last answer left to the next.

    Each kind of routes has a `solve` of its own. What is left saves time only, is replaced as a
    whole and never altered, so threads may share a problem; it is not pickled.
    """

    _stated: Kept
    _series: Any

    def __getstate__(self) -> Kept:
        return self._stated

    @property
    def capacity(self) -> Array:
        """(links,) of the problem; cannot be written to, like the others."""
        return self._stated.numbers.capacity

    @property
    def alpha(self) -> float:
        """Utility power."""
        return self._stated.numbers.alpha

    @property
    def priority(self) -> Array:
        """(flows,)."""
        return self._stated.numbers.priority

    @property
    def upper(self) -> Array:
        """(flows,)."""
        return self._stated.numbers.upper


class AllocationProblem(ReusedProblem[Problem]):
    r"""Alpha-fair rates over links whose capacities, priorities and limits change, not the routing.

    .. math:: \max_x \sum_i p_i u_\alpha(x_i) \quad\text{subject to}\quad R x \le c,\;
        0 \le x \le upper,

    as in `fairopt.alpha_fair_allocation`. What follows from the routing alone is done once: checks,
    both sparse forms, which links are shared or redundant, which flows have identical routes. What
    depends on numbers is done by every call of `solve`, so that no answer depends on earlier ones;
    after a `start` its last digits may, since a factor of an earlier call serves again.

    Args:
        routing: (links, flows) R >= 0, an array or a scipy sparse matrix.
        capacity: (links,) c >= 0; inf for no limit.
        alpha: Utility power in [0, inf].
        priority: (flows,) p > 0, default ones.
        upper: (flows,) largest rates >= 0, inf for none.

    All are copied: what happens to them later has no effect. The problem never changes, so threads
    may share it, and it can be pickled.

    Raises:
        InvalidInput: for NaN, negative, complex or text entries, and shapes that do not fit.

    Example:
        >>> from fairopt import AllocationProblem
        >>> both_links_and_one_each = [[1, 1, 0], [1, 0, 1]]
        >>> problem = AllocationProblem(both_links_and_one_each, [1.0, 1.0], alpha=1.0)
        >>> last = problem.solve().require()
        >>> last.rates
        array([0.33333333, 0.66666667, 0.66666667])
        >>> last = problem.solve(capacity=[1.0, 1.01], start=last).require()
        >>> last.rates.round(6)
        array([0.334988, 0.665012, 0.675012])
    """

    def __init__(
        self,
        routing: object,
        capacity: ArrayLike,
        alpha: float,
        *,
        priority: ArrayLike | None = None,
        upper: ArrayLike | None = None,
    ) -> None:
        self.__setstate__(read(routing, capacity, alpha, priority, upper))

    def __setstate__(self, problem: Problem) -> None:
        self._stated = with_routes(problem.routes, *problem.numbers.own())
        self._series: Series | None = None

    def solve(
        self,
        *,
        capacity: ArrayLike | None = None,
        alpha: float | None = None,
        priority: ArrayLike | None = None,
        upper: ArrayLike | None = None,
        tol: float = 1e-9,
        start: Allocation | ArrayLike | None = None,
    ) -> Allocation:
        """The allocation with these numbers in place of those of the problem, which stays as it is.

        Without `start` it is that of `fairopt.alpha_fair_allocation`, to the last bit.

        Args:
            capacity: (links,), default that of the problem, like the following.
            alpha: Utility power.
            priority: (flows,).
            upper: (flows,); an array of inf for none.
            tol: Largest residual called OPTIMAL.
            start: The last `Allocation`, or prices (links,); saves time only. Where the numbers
                have changed little, Newton's method goes on from its prices.

        Raises:
            InvalidInput: for NaN, negative, complex or text entries, and shapes that do not fit.
        """
        from fairopt.allocation.finite_alpha import Series
        from fairopt.allocation.solve import solve_from

        series = Series() if self._series is None or start is None else replace(self._series)
        numbers = self._stated.numbers.changed(capacity, alpha, priority, upper)
        found = solve_from(with_routes(self._stated.routes, *numbers), tol, start, series)
        self._series = series
        return found

    def __repr__(self) -> str:
        problem = self._stated
        return (
            f"AllocationProblem({problem.links} links, {problem.flows} flows, alpha={self.alpha:g})"
        )
