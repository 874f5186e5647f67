r"""Flows over several paths in decimal numbers of any length, and Newton's method on them.

Where alpha is large, prices differ by a hundred decades, and what the paths of a flow differ by
decides the rates of others that pay 1e-100 of what it pays. No float64 shows that; decimal numbers
of the standard library with twice as many digits do. They take the problem as it was stated, so
that nothing has been rounded before. Arrays hold `decimal.Decimal`; the precision is that of the
context in which a function is called.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from fairopt.arrays import Array, BoolArray, Ints

Decimals = Any  # an array of `Decimal`; NumPy has no type for it
ZERO, ONE = Decimal(0), Decimal(1)


def decimals(numbers: Array) -> Decimals:
    """Exactly the same numbers."""
    found = np.empty(len(numbers), dtype=object)
    found[:] = [Decimal(value) for value in np.asarray(numbers, dtype=float).tolist()]
    return found


def none_of(*shape: int) -> Decimals:
    """Zeros."""
    return np.full(shape, ZERO, dtype=object)


@dataclass(frozen=True, eq=False)
class DecimalForm:
    """Maximise sum_i p_i u_alpha(x_i), R z <= c, z >= 0, x sums of z over the paths of a flow.

    Attributes:
        rows: (paths, links) R' as `scipy.sparse.csr_array`, no row or column empty.
        owner: (paths,) flow of each path, sorted, from 0.
        capacity: (links,) finite and > 0.
        priority: (flows,) decimal.
        alpha: Finite and > 0.
    """

    rows: Any
    owner: Ints
    capacity: Array
    priority: Decimals
    alpha: float

    @cached_property
    def first(self) -> Ints:
        """(flows,) the first path of each flow."""
        return np.searchsorted(self.owner, np.arange(len(self.priority)))

    @cached_property
    def limit(self) -> Decimals:
        """Capacities."""
        return decimals(self.capacity)

    @cached_property
    def entry(self) -> Decimals:
        """(entries,) of R' by path."""
        return decimals(self.rows.data)

    @cached_property
    def path(self) -> Ints:
        """(entries,) path of each entry."""
        return np.repeat(np.arange(len(self.owner)), np.diff(self.rows.indptr))

    @cached_property
    def by_link(self) -> tuple[Ints, Ints]:
        """The entries by link, and where each link begins."""
        order = np.argsort(self.rows.indices, kind="stable")
        links = np.arange(len(self.capacity))
        return order, np.searchsorted(self.rows.indices[order], links)

    @cached_property
    def blocks(self) -> list[tuple[Ints, Decimals]]:
        """For every flow the links of its paths, and its part of R: these links by its paths."""
        found = []
        for begin, end in zip(self.first, np.append(self.first[1:], len(self.owner)), strict=True):
            part = self.rows[begin:end].tocoo()
            links, place = np.unique(part.col, return_inverse=True)
            block = none_of(len(links), end - begin)
            block[place, part.row] = decimals(part.data)
            found.append((links, block))
        return found

    def total(self, of_paths: Decimals) -> Decimals:
        """Sums over the paths of each flow."""
        return np.add.reduceat(of_paths, self.first)

    def cheapest(self, of_paths: Decimals) -> Decimals:
        """Minima over the paths of each flow."""
        return np.minimum.reduceat(of_paths, self.first)

    def cost(self, prices: Decimals) -> Decimals:
        """(paths,) prices of paths."""
        return np.add.reduceat(self.entry * prices[self.rows.indices], self.rows.indptr[:-1])

    def load(self, z: Decimals) -> Decimals:
        """(links,) loads."""
        order, begin = self.by_link
        return np.add.reduceat((self.entry * z[self.path])[order], begin)

    def marginal(self, x: Decimals) -> Decimals:
        """(flows,) what another unit of rate is worth to each flow."""
        power = -int(self.alpha) if self.alpha.is_integer() else -Decimal(self.alpha)
        return self.priority * x**power


class Sides(NamedTuple):
    """Which paths are used and which links have a price."""

    used: BoolArray
    priced: BoolArray


class Change(NamedTuple):
    """Changes of path rates, link prices, flow rates and flow prices."""

    z: Decimals
    prices: Decimals
    x: Decimals
    pi: Decimals


def newton_change(
    form: DecimalForm,
    sides: Sides,
    extra: Decimals,
    missing: Decimals,
    room: Decimals,
    stiff: Decimals,
    split: Decimal,
    barrier: Decimal,
) -> Change:
    r"""The changes with which the linearised equations of the sides hold.

    On used paths :math:`dz = (d\pi + e - R'd\lambda) / split`, of flows
    :math:`stiff \, dx + d\pi = missing`, on priced links :math:`R\,dz - barrier\,d\lambda = room`.

    Args:
        form: The problem.
        sides: Other paths and prices do not change.
        extra: (paths,) e, by how much a path is cheaper than its flow's price.
        missing: (flows,).
        room: (links,).
        stiff: (flows,) > 0.
        split: A small number > 0, with which splits that are not unique move least.
        barrier: The same for prices.
    """
    place = np.cumsum(sides.priced) - 1
    size = int(sides.priced.sum())
    matrix, right = none_of(size, size), -room[sides.priced]
    matrix[np.diag_indices(size)] = barrier
    parts = []
    for i, (links, block) in enumerate(form.blocks):
        paths = form.first[i] + np.arange(block.shape[1])
        kept, seen = sides.used[paths], sides.priced[links]
        B, at, e = block[np.ix_(seen, kept)], place[links[seen]], extra[paths[kept]] + missing[i]
        curve = stiff[i] / (split + len(e) * stiff[i])
        together = B.sum(axis=1) if len(at) else none_of(0)
        if len(at):
            inside = (B @ B.T - np.multiply.outer(together, together) * curve) / split
            matrix[np.ix_(at, at)] += inside
            right[at] += B @ ((e - curve * e.sum()) / split)
        parts.append((paths[kept], at, B, e, curve))
    change = Change(*(none_of(len(k)) for k in (extra, room, missing, missing)))
    change.prices[sides.priced] = solved(matrix, right)
    for i, (paths, at, B, e, curve) in enumerate(parts):
        left = e - B.T @ change.prices[sides.priced][at] if len(at) else e
        change.z[paths] = (left - curve * left.sum()) / split
        change.x[i] = curve / stiff[i] * left.sum()
        change.pi[i] = missing[i] - stiff[i] * change.x[i]
    return change


def solved(matrix: Decimals, right: Decimals) -> Decimals:
    """The solution of a symmetric positive definite system, which is overwritten; skips zeros."""
    for k in range(len(right)):
        below = k + 1 + np.flatnonzero(matrix[k + 1 :, k])
        factor = matrix[below, k] / matrix[k, k]
        matrix[np.ix_(below, below)] -= np.multiply.outer(factor, matrix[k, below])
        right[below] -= factor * right[k]
        matrix[below, k] = factor
    found = right / np.diagonal(matrix)
    for k in reversed(range(len(right))):
        below = k + 1 + np.flatnonzero(matrix[k + 1 :, k])
        if len(below):
            found[k] -= matrix[below, k] @ found[below]
    return found
