"""The problem as the caller stated it, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.allocation.routes import Routes, restricted
from fairopt.arrays import Array, BoolArray, Ints
from fairopt.errors import InvalidInput

REQUIREMENT = "a (links, flows) array or scipy sparse matrix of finite numbers >= 0"
LARGEST = 2**31 - 1  # entries and flows that 32-bit indices can count


@dataclass(frozen=True, eq=False)
class Problem:
    """Maximise sum_i p_i u_alpha(x_i) subject to R x <= c, 0 <= x <= upper.

    Attributes:
        routing: (links, flows) `scipy.sparse.csr_array`, entries > 0, none twice.
        capacity: (links,) >= 0, inf for a link without a limit.
        alpha: In [0, inf].
        priority: (flows,) > 0.
        upper: (flows,) >= 0, inf for a flow without a limit.
    """

    routing: Any
    capacity: Array
    alpha: float
    priority: Array
    upper: Array

    @cached_property
    def routes(self) -> Routes:
        """What follows from the routing alone."""
        return Routes(self.routing)

    @property
    def by_flow(self) -> Any:
        """The transposed routing, (flows, links) in compressed rows."""
        return self.routes.by_flow

    @property
    def link(self) -> Ints:
        """Link of every entry, in the order of `by_flow`."""
        return self.routes.link

    @property
    def log_entry(self) -> Array:
        """Logarithm of every entry, in the order of `by_flow`."""
        return self.routes.log_entry

    @property
    def flow(self) -> Ints:
        """Flow of every entry, in the order of `by_flow`."""
        return self.routes.flow

    @cached_property
    def log_limit(self) -> Array:
        """log(c_l / R_li) of every entry, in the order of `by_flow`: the rate that fills l."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.capacity)[self.link] - self.log_entry)

    @cached_property
    def forced(self) -> BoolArray:
        """Flows that can only have rate zero: a link without capacity, or upper = 0."""
        none: BoolArray = self.upper == 0.0
        closed = self.capacity == 0.0
        if closed.any():
            none[self.flow[closed[self.link]]] = True
        return none

    @cached_property
    def unlimited(self) -> BoolArray:
        """Flows that nothing limits."""
        free = np.isposinf(self.upper)
        limits = np.isfinite(self.capacity)
        if limits.all():
            return np.asarray(free & (np.diff(self.by_flow.indptr) == 0))
        free[self.flow[limits[self.link]]] = False
        return free

    @cached_property
    def infeasible(self) -> BoolArray:
        """Flows that can only have rate zero where that has no utility: 1 <= alpha < inf.

        Below 1 rate zero is worth zero, and at inf rates are compared, not utilities.
        """
        return self.forced if 1.0 <= self.alpha < np.inf else np.zeros(self.flows, dtype=bool)

    @cached_property
    def closed(self) -> BoolArray:
        """(links,) used links without capacity: no finite price keeps their flows at rate zero."""
        return np.asarray((np.diff(self.routing.indptr) > 0) & (self.capacity == 0.0))

    @property
    def numbers(self) -> Numbers:
        """What may change while the routing stays."""
        return Numbers(self.capacity, self.alpha, self.priority, self.upper)

    def restricted(self, flows: Ints) -> Problem:
        """The problem of some of the flows alone, on the same links."""
        numbers = self.capacity, self.alpha, self.priority[flows], self.upper[flows]
        return with_routes(self.routes.made(restricted, flows), *numbers)

    @property
    def links(self) -> int:
        """Number of links."""
        return int(self.routing.shape[0])

    @property
    def flows(self) -> int:
        """Number of flows."""
        return int(self.routing.shape[1])


def with_routes(
    routes: Routes, capacity: Array, alpha: float, priority: Array, upper: Array
) -> Problem:
    """The problem over routes that are known, with all that was made from them."""
    problem = Problem(routes.matrix, capacity, alpha, priority, upper)
    problem.__dict__["routes"] = routes
    return problem


class Numbers(NamedTuple):
    """What of a problem may change while its routing stays."""

    capacity: Array
    alpha: float
    priority: Array
    upper: Array

    def changed(
        self,
        capacity: ArrayLike | None = None,
        alpha: object | None = None,
        priority: ArrayLike | None = None,
        upper: ArrayLike | None = None,
    ) -> Numbers:
        """These with those that are given in their place, which are checked."""
        links, flows = len(self.capacity), len(self.priority)
        return Numbers(
            self.capacity if capacity is None else limits("capacity", capacity, links, "links"),
            self.alpha if alpha is None else power("alpha", alpha),
            self.priority if priority is None else positive_of_each("priority", priority, flows),
            self.upper if upper is None else limits("upper", upper, flows, "flows"),
        )

    def own(self) -> Numbers:
        """Copies that nobody can write to."""
        return Numbers(own(self.capacity), self.alpha, own(self.priority), own(self.upper))


def own(array: Array) -> Array:
    """A copy that nobody can write to."""
    copy = np.array(array)
    copy.setflags(write=False)
    return copy


def read_numbers(
    links: int,
    flows: int,
    capacity: ArrayLike,
    alpha: object,
    priority: ArrayLike | None,
    upper: ArrayLike | None,
) -> Numbers:
    """The checked numbers of a problem that is stated; every refusal names the argument."""
    room, power_ = limits("capacity", capacity, links, "links"), power("alpha", alpha)
    plain = Numbers(room, power_, np.ones(flows), np.full(flows, np.inf))
    return plain.changed(priority=priority, upper=upper)


def read(
    routing: object,
    capacity: ArrayLike,
    alpha: object,
    priority: ArrayLike | None = None,
    upper: ArrayLike | None = None,
) -> Problem:
    """The checked problem; every refusal names the argument."""
    routes = Routes(routing_matrix(routing))
    links, flows = routes.matrix.shape
    return with_routes(routes, *read_numbers(links, flows, capacity, alpha, priority, upper))


def power(argument: str, value: object) -> float:
    """A power of the utility."""
    return checks.number(argument, value, 0.0, np.inf, "a number in [0, inf]")


def positive_of_each(argument: str, value: ArrayLike, flows: int) -> Array:
    """One finite number > 0 for every flow."""
    array = number_of_each(argument, value, flows, "flows")
    checks.all_where(argument, array, np.isfinite(array) & (array > 0.0), "finite and > 0")
    return array


def routing_matrix(routing: object) -> Any:
    """(links, flows) in compressed rows: duplicates added, zeros dropped, 32-bit indices."""
    from scipy import sparse

    if sparse.issparse(routing):
        given: Any = routing
        _kind(given.dtype)
        matrix = sparse.csr_array(given, dtype=np.float64).copy()
    else:
        dense = checks.real_array("routing", routing, REQUIREMENT)
        if dense.ndim != 2:
            raise InvalidInput("routing", f"array of shape {dense.shape}", REQUIREMENT)
        matrix = sparse.csr_array(dense)
    if matrix.ndim != 2 or matrix.shape[1] == 0 or max(matrix.nnz, *matrix.shape) > LARGEST:
        what = f"array of shape {matrix.shape}"
        raise InvalidInput("routing", what, "two-dimensional with at least one flow or path")
    checks.all_where("routing", matrix.data, np.isfinite(matrix.data), REQUIREMENT)
    checks.all_where("routing", matrix.data, matrix.data >= 0.0, REQUIREMENT)
    matrix.sum_duplicates()
    checks.all_where("routing", matrix.data, np.isfinite(matrix.data), REQUIREMENT)
    matrix.eliminate_zeros()
    matrix.indices = matrix.indices.astype(np.int32, copy=False)
    matrix.indptr = matrix.indptr.astype(np.int32, copy=False)
    return matrix


def _kind(dtype: np.dtype[Any]) -> None:
    """Refuse sparse matrices of complex numbers, booleans, objects."""
    if dtype.kind not in "fiu":
        raise InvalidInput("routing", f"dtype {dtype}", REQUIREMENT)


def number_of_each(argument: str, value: ArrayLike, size: int, of: str) -> Array:
    """One real number per link or flow."""
    array = checks.real_array(argument, value)
    if array.shape != (size,):
        raise InvalidInput(
            argument,
            f"array of shape {array.shape}",
            f"of shape ({size},), one for each of the {of}",
        )
    return array


def limits(argument: str, value: ArrayLike, size: int, of: str) -> Array:
    """Numbers >= 0, where inf means no limit."""
    array = number_of_each(argument, value, size, of)
    checks.all_where(argument, array, array >= 0.0, "numbers >= 0 (inf for no limit)")
    return array


def start_prices(value: ArrayLike, links: int) -> Array:
    """Prices >= 0 to start from."""
    array = number_of_each("start", value, links, "links")
    checks.all_where("start", array, array >= 0.0, "an Allocation or prices >= 0")
    return array
