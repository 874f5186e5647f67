r"""Newton's equations for flows over paths, all in relative changes.

Unknown are a = dz / z and b = d lambda / lambda; extra prices and slacks follow from
complementarity, d nu / nu = g_p - a and ds / s = h_l - b, flow prices from stationarity. Every row
is divided by what it compares, so a flow with price 1e-50 counts as much as one with price 1e50:

- two paths of one flow, p and u, pay alike: nu_p + lambda(u without p) equals
  nu_u + lambda(p without u). Links that both use are left out before anything is added, or small
  prices would be lost by cancellation. The pairs are those of a spanning tree per flow, nearest
  paths first (single linkage): the finest differences are rows of their own;
- the path that carries most pays the price of its flow;
- rates and slack fill a link.

Where splits or prices are not unique the matrix is singular in the limit. A proximal term, of the
shares on both sides of an edge of the tree and of the price of a link, makes it regular; refinement
against the matrix without it removes its effect from whatever is determined.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fairopt.allocation.multipath.log_form import Iterate, PathForm, residuals
from fairopt.arrays import Array, Ints

PROXIMAL = (1e-11, 1e-9, 1e-7)  # relative weights, tried in order
REFINEMENTS = 3
LARGE = 100.0  # a relative change that indicates a singular matrix: the next weight is tried


class Entries(NamedTuple):
    """Entries of a sparse matrix; those of one place add up."""

    row: Ints
    column: Ints
    value: Array


NOTHING = Entries(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


class _Block(NamedTuple):
    """Rows of the matrix: entries, proximal entries, right-hand side."""

    entries: Entries
    proximal: Entries
    right: Array


def newton_change(
    form: PathForm, point: Iterate, path_gap: Array, link_gap: Array
) -> Iterate | None:
    """Relative changes for wanted ones of z nu and lambda s; None where there is no solution."""
    stationary, _, primal = residuals(form, point)
    blocks = (
        _edge_equations(form, point, path_gap),
        _flow_equations(form, point, stationary, path_gap),
        _link_equations(form, point, primal, link_gap),
    )
    found = _solve(blocks, len(point.z) + len(point.prices))
    if found is None:
        return None
    a, b = found[: len(point.z)], found[len(point.z) :]
    d_pi = stationary - form.alpha * form.total(form.share(point.z) * a)
    return Iterate(a, path_gap - a, b, link_gap - b, d_pi)


def _edge_equations(form: PathForm, point: Iterate, gap: Array) -> _Block:
    """The two sides of every edge of the trees pay alike."""
    edge, proximal = _spanning_trees(form, point)
    lower, upper = form.pairs.lower[edge], form.pairs.upper[edge]
    row, column, value = entries_of(form.pairs.difference, edge)
    paid = value * point.prices[column]
    each = np.arange(len(edge))
    left = point.nu[lower] + np.bincount(row, np.maximum(-paid, 0.0), len(edge))
    right = point.nu[upper] + np.bincount(row, np.maximum(paid, 0.0), len(edge))
    first, second = point.nu[lower] / left, point.nu[upper] / right
    price = paid / np.where(paid > 0.0, right[row], left[row])
    entries = Entries(
        np.concatenate([each, each, row]),
        np.concatenate([lower, upper, len(point.z) + column]),
        np.concatenate([first, -second, price]),
    )
    target = np.log(left / right) + first * gap[lower] - second * gap[upper]
    return _Block(entries, proximal, target)


def entries_of(rows: Any, which: Ints) -> Entries:
    """Entries of some of the compressed rows, renumbered; faster than indexing in scipy."""
    start, count = rows.indptr[which], rows.indptr[which + 1] - rows.indptr[which]
    before = np.cumsum(count) - count
    at = np.arange(int(count.sum())) + np.repeat(start - before, count)
    return Entries(np.repeat(np.arange(len(which)), count), rows.indices[at], rows.data[at])


def _spanning_trees(form: PathForm, point: Iterate) -> tuple[Ints, Entries]:
    """Pairs of paths in the minimal spanning trees, nearest first, and their proximal entries."""
    lower, upper = form.pairs.lower, form.pairs.upper
    distance = np.maximum(
        form.pairs.apart @ point.prices, np.maximum(point.nu[lower], point.nu[upper])
    )
    group = [[path] for path in range(len(point.z))]
    edges: list[int] = []
    sides: tuple[list[list[int]], list[list[int]]] = ([], [])
    for pair in np.argsort(distance, kind="stable").tolist():
        one, other = group[lower[pair]], group[upper[pair]]
        if one is other:
            continue
        edges.append(pair)
        sides[0].append(one)
        sides[1].append(other)
        both = one + other
        for path in both:
            group[path] = both
    signed = zip(sides, (1.0, -1.0), strict=True)
    parts = [_side_shares(side, point.z, sign) for side, sign in signed]
    proximal = Entries(*(np.concatenate(part) for part in zip(*parts, strict=True)))
    return np.array(edges, dtype=np.int64), proximal


def _side_shares(side: list[list[int]], z: Array, sign: float) -> Entries:
    """Edge, path and share of what the side carries, for the paths of one side of every edge."""
    row = np.repeat(np.arange(len(side)), [len(paths) for paths in side])
    column = np.array([path for paths in side for path in paths], dtype=np.int64)
    carried = np.bincount(row, z[column], len(side))
    return Entries(row, column, sign * z[column] / carried[row])


def _flow_equations(form: PathForm, point: Iterate, stationary: Array, gap: Array) -> _Block:
    """The path that carries most pays the price of its flow."""
    most = form.fullest_path(point.z)
    row, column, value = entries_of(form.transposed, most)
    paid = value * point.prices[column]
    cost = np.bincount(row, paid, form.flows)
    pays = point.pi + point.nu[most]
    own, extra = point.pi / pays, point.nu[most] / pays
    share = form.share(point.z)
    entries = Entries(
        np.concatenate([np.arange(form.flows), form.owner, row]),
        np.concatenate([most, np.arange(len(point.z)), len(point.z) + column]),
        np.concatenate([extra, form.alpha * share * own[form.owner], paid / cost[row]]),
    )
    return _Block(entries, NOTHING, np.log(pays / cost) + own * stationary + extra * gap[most])


def _link_equations(form: PathForm, point: Iterate, primal: Array, gap: Array) -> _Block:
    """Rates and slack fill every link."""
    each = np.arange(len(point.s))
    at = len(point.z) + each
    row, column, value = entries_of(form.A, each)
    entries = Entries(
        np.concatenate([row, each]),
        np.concatenate([column, at]),
        np.concatenate([value * point.z[column], -point.s]),
    )
    full = 1.0 - primal
    proximal = Entries(each, at, np.full(len(each), -1.0))
    return _Block(entries, proximal, -full * np.log(full) - point.s * gap)


def _solve(blocks: Sequence[_Block], size: int) -> Array | None:
    """The solution with the first proximal weight that leaves it of moderate size."""
    start = np.cumsum([0, *(len(block.right) for block in blocks)])[:-1]
    right = np.concatenate([block.right for block in blocks])
    matrix = _stacked([block.entries for block in blocks], start)
    proximal = _stacked([block.proximal for block in blocks], start)
    if not (np.isfinite(right).all() and np.isfinite(matrix.value).all()):
        return None
    scale = 1.0 / np.bincount(matrix.row, np.abs(matrix.value), size)
    matrix, proximal = (
        part._replace(value=scale[part.row] * part.value) for part in (matrix, proximal)
    )
    found = None
    for weight in PROXIMAL:
        trial = _refined(matrix, proximal._replace(value=weight * proximal.value), scale * right)
        found = trial if trial is not None else found
        if trial is not None and np.abs(trial).max() <= LARGE:
            break
    return found


def _stacked(parts: Sequence[Entries], start: Ints) -> Entries:
    """The entries of blocks of rows as those of one matrix."""
    rows = [part.row + at for part, at in zip(parts, start, strict=True)]
    column, value = (np.concatenate([part[k] for part in parts]) for k in (1, 2))
    return Entries(np.concatenate(rows), column, value)


def _refined(matrix: Entries, proximal: Entries, right: Array) -> Array | None:
    """The solution with the proximal part, and refined without it; None if it is not finite."""
    from scipy import sparse
    from scipy.sparse.linalg import splu

    row, column, value = (np.concatenate(pair) for pair in zip(matrix, proximal, strict=True))
    try:
        factors = splu(sparse.csc_array((value, (row, column)), shape=(len(right), len(right))))
    except RuntimeError:  # exactly singular
        return None
    found = factors.solve(right)
    for _ in range(REFINEMENTS):
        reached = np.bincount(matrix.row, matrix.value * found[matrix.column], len(right))
        found = found + factors.solve(right - reached)
    return np.asarray(found) if np.isfinite(found).all() else None
