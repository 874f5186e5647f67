"""The problem as the kernels take it, and Newton's method on the prices of its links.

`fairopt.kernels.network.path_system` has the equations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from fairopt.allocation.methods.newton_system import RIDGE, cholesky, cholesky_solve
from fairopt.arrays import Array, Ints
from fairopt.kernels.network import path_system as kernels

OF_LINKS_AND_PATHS = ("first", "start", "link", "bounds", "union")
"""What of a form no number enters."""


@dataclass(frozen=True, eq=False)
class SplitForm:
    """Maximise sum_i v_i u_alpha(x_i), A z <= 1, z >= 0, x_i <= d_i, x sums of z over paths.

    Attributes:
        rows: (paths, links) A' in compressed rows with sorted indices, no row or column empty.
        owner: (paths,) flow of each path, sorted, from 0.
        log_weight: (flows,) log v.
        alpha: Finite and > 0.
        upper: (flows,) d, inf for none.
    """

    rows: Any
    owner: Ints
    log_weight: Array
    alpha: float
    upper: Array

    @property
    def flows(self) -> int:
        """Number of flows."""
        return len(self.log_weight)

    @property
    def links(self) -> int:
        """Number of links."""
        return int(self.rows.shape[1])

    @cached_property
    def limited(self) -> Ints:
        """Flows with a finite limit of their own."""
        return np.flatnonzero(np.isfinite(self.upper))

    @cached_property
    def first(self) -> Any:
        """(flows,) the first path of each flow."""
        return np.searchsorted(self.owner, np.arange(self.flows))

    @cached_property
    def start(self) -> Any:
        """(paths + 1,) the first entry of each path."""
        return self.rows.indptr.astype(np.uint32)

    @cached_property
    def link(self) -> Any:
        """(entries,) link of each entry."""
        return self.rows.indices.astype(np.uint32)

    @cached_property
    def bounds(self) -> Any:
        """(flows + 1,) the first path of each flow, and their number."""
        return np.append(self.first, len(self.owner)).astype(np.uint32)

    @cached_property
    def union(self) -> tuple[Any, Any, Any]:
        """Links of all paths of each flow: where they start, the links, the place of each entry."""
        kernel = kernels.links_of_flows
        start, union, local = kernel(self.bounds, self.start, self.link, np.zeros(self.links))
        return start, union[: start[-1]], local

    def renewed(self, entries: Array, log_weight: Array, alpha: float, upper: Array) -> SplitForm:
        """The same links and paths with other numbers; what follows from the former is kept."""
        from scipy import sparse

        rows = sparse.csr_array((entries, self.rows.indices, self.rows.indptr), self.rows.shape)
        other = SplitForm(rows, self.owner, log_weight, alpha, upper)
        other.__dict__.update({name: getattr(self, name) for name in OF_LINKS_AND_PATHS})
        return other

    def total(self, of_paths: Array) -> Array:
        """Sums over the paths of each flow."""
        return np.asarray(np.add.reduceat(of_paths, self.first))

    def cheapest(self, of_paths: Array) -> Array:
        """Minima over the paths of each flow."""
        return np.asarray(np.minimum.reduceat(of_paths, self.first))

    def costs_and_loads(self, z: Array, prices: Array) -> tuple[Array, Array]:
        """The price of every path and the load of every link."""
        return kernels.costs_and_loads(self.start, self.link, self.rows.data, z, prices)  # type: ignore[no-any-return]

    def highest_prices(self, pays: Array, prices: Array) -> Array:
        """The most that each link's price can be if every path pays `pays` in total."""
        return kernels.highest_prices(self.start, self.link, self.rows.data, pays, prices)  # type: ignore[no-any-return]


class Change(NamedTuple):
    """Changes of path rates, flow rates, flow prices, loads and link prices."""

    z: Array
    x: Array
    pi: Array
    load: Array
    prices: Array


@dataclass(frozen=True, eq=False)
class NewtonSystem:
    """The factorised system at one point, for several right-hand sides."""

    form: SplitForm
    D: Array
    H: Array
    barrier: Array
    factor: Any
    scale: Array

    def solve(self, a: Array, e: Array, r: Array, refined: bool = True) -> Change:
        """The changes; those that only show the way need no step of refinement."""
        right = self._respond(a, e, np.zeros(len(r)))[3] - r
        d_prices = self._times_inverse(right)
        found = self._respond(a, e, d_prices)
        if refined:
            d_prices = d_prices + self._times_inverse(found[3] - self.barrier * d_prices - r)
            found = self._respond(a, e, d_prices)
        return Change(*found, d_prices)

    def _times_inverse(self, right: Array) -> Array:
        """The solution of the system of the prices, from its factor."""
        return self.scale * cholesky_solve(self.factor, self.scale * right)

    def _respond(self, a: Array, e: Array, d_prices: Array) -> tuple[Array, Array, Array, Array]:
        """Changes of rates and paths that follow from changes of the prices."""
        form = self.form
        return kernels.path_changes(  # type: ignore[no-any-return]
            form.bounds, form.start, form.link, form.rows.data, self.D, self.H, a, e, d_prices
        )


def newton_system(form: SplitForm, D: Array, H: Array, barrier: Array) -> NewtonSystem | None:
    """The factor of the links x links matrix, or None where it has none."""
    matrix, scale = kernels.path_matrix(
        form.bounds, form.start, form.rows.data, *form.union, D, H, barrier, RIDGE
    )
    factor = cholesky(matrix) if np.isfinite(scale).all() else None
    return None if factor is None else NewtonSystem(form, D, H, barrier, factor, scale)
