r"""Newton's equations for flows over paths, all in relative changes.

Unknown are a = dz / z and b = d lambda / lambda; extra prices and room follow from
complementarity, d nu / nu = g_p - a and ds / s = h_l - b, flow prices from stationarity. Every row
is divided by what it compares, so a flow that pays 1e-50 counts as much as one that pays 1e50:

- two paths of one flow, p and u, pay alike: nu_p + lambda(u without p) equals
  nu_u + lambda(p without u). What both use is left out before anything is added, or the small
  would vanish in the large. The pairs are those of a spanning tree per flow, nearest paths first
  (single linkage): the finest differences are rows of their own;
- the path that carries most pays the price of its flow;
- rates and room fill a link.

Where splits or prices are not unique the matrix is singular in the limit. A proximal term, of the
shares on both sides of an edge of the tree and of the price of a link, makes it regular; refinement
against the matrix without it removes its effect from whatever is determined.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fairopt.allocating.path_form import Inside, PathForm, residuals
from fairopt.checks import Array, Ints

PROXIMAL = (1e-11, 1e-9, 1e-7)  # relative weights, tried in order
REFINEMENTS = 3
LARGE = 100.0  # a relative change that speaks of a singular matrix: the next weight is tried


class _Block(NamedTuple):
    """Rows of the matrix: entries, proximal entries, right-hand side."""

    row: Any
    column: Any
    value: Array
    held: tuple[Any, Any, Any]
    right: Array


def newton_change(form: PathForm, point: Inside, path_gap: Array, link_gap: Array) -> Inside | None:
    """Relative changes for wanted ones of z nu and lambda s; None where there is no solution."""
    blocks = (
        _edges(form, point, path_gap),
        _flows(form, point, path_gap),
        _links(form, point, link_gap),
    )
    found = _solve(blocks, len(point.z) + len(point.prices))
    if found is None:
        return None
    a, b = found[: len(point.z)], found[len(point.z) :]
    share = point.z / form.total(point.z)[form.owner]
    stationary = residuals(form, point)[0]
    d_pi = stationary - form.alpha * form.total(share * a)
    return Inside(a, path_gap - a, b, link_gap - b, d_pi)


def _edges(form: PathForm, point: Inside, gap: Array) -> _Block:
    """The two sides of every edge of the trees pay alike."""
    edge = _nearest(form, point)
    lower, upper = form.pairs.lower[edge], form.pairs.upper[edge]
    apart = form.pairs.difference[edge]
    left = point.nu[lower] + (-apart).maximum(0) @ point.prices
    right = point.nu[upper] + apart.maximum(0) @ point.prices
    entry = apart.tocoo()
    side = np.where(entry.data > 0.0, right[entry.row], left[entry.row])
    price = entry.data * point.prices[entry.col] / side
    each = np.arange(len(edge))
    first, second = point.nu[lower] / left, point.nu[upper] / right
    return _Block(
        np.concatenate([each, each, entry.row]),
        np.concatenate([lower, upper, len(point.z) + entry.col]),
        np.concatenate([first, -second, price]),
        _held(lower, upper, point.z),
        np.log(left / right) + first * gap[lower] - second * gap[upper],
    )


def _nearest(form: PathForm, point: Inside) -> Ints:
    """The pairs of paths in the minimal spanning trees, nearest first."""
    from scipy import sparse
    from scipy.sparse.csgraph import minimum_spanning_tree

    lower, upper = form.pairs.lower, form.pairs.upper
    if len(lower) == 0:
        return np.zeros(0, dtype=np.int64)
    distance = np.maximum(form.apart @ point.prices, np.maximum(point.nu[lower], point.nu[upper]))
    order = np.argsort(distance, kind="stable")
    rank = np.empty(len(order))
    rank[order] = np.arange(1, len(order) + 1)
    paths = len(point.z)
    graph = sparse.csr_array((rank, (lower, upper)), shape=(paths, paths))
    kept = np.sort(minimum_spanning_tree(graph).data).astype(np.int64)
    return np.asarray(order[kept - 1])


def _held(lower: Ints, upper: Ints, z: Array) -> tuple[Any, Any, Any]:
    """Proximal entries: the relative change of what flows on either side of an edge."""
    group = [[p] for p in range(len(z))]
    sides: tuple[list[list[int]], list[list[int]]] = ([], [])
    for p, u in zip(lower.tolist(), upper.tolist(), strict=True):
        sides[0].append(group[p])
        sides[1].append(group[u])
        both = group[p] + group[u]
        for path in both:
            group[path] = both
    parts = [_shares(side, z, sign) for side, sign in zip(sides, (1.0, -1.0), strict=True)]
    row, column, value = (np.concatenate(part) for part in zip(*parts, strict=True))
    return row, column, value


def _shares(side: list[list[int]], z: Array, sign: float) -> tuple[Any, Any, Any]:
    """Edge, path and share of what the side carries, for the paths of one side of every edge."""
    row = np.repeat(np.arange(len(side)), [len(paths) for paths in side])
    column = np.array([path for paths in side for path in paths], dtype=np.int64)
    carried = np.bincount(row, z[column], len(side))
    return row, column, sign * z[column] / carried[row]


def _flows(form: PathForm, point: Inside, gap: Array) -> _Block:
    """The path that carries most pays the price of its flow."""
    most = np.lexsort((point.z, form.owner))[np.append(form.first[1:], len(point.z)) - 1]
    cost = (form.transposed @ point.prices)[most]
    pays = point.pi + point.nu[most]
    own, extra = point.pi / pays, point.nu[most] / pays
    share = point.z / form.total(point.z)[form.owner]
    entry = form.transposed[most].tocoo()
    stationary = residuals(form, point)[0]
    nothing = np.zeros(0)
    return _Block(
        np.concatenate([np.arange(form.flows), form.owner, entry.row]),
        np.concatenate([most, np.arange(len(point.z)), len(point.z) + entry.col]),
        np.concatenate(
            [
                extra,
                form.alpha * share * own[form.owner],
                entry.data * point.prices[entry.col] / cost[entry.row],
            ]
        ),
        (nothing, nothing, nothing),
        np.log(pays / cost) + own * stationary + extra * gap[most],
    )


def _links(form: PathForm, point: Inside, gap: Array) -> _Block:
    """Rates and room fill every link."""
    entry = form.A.tocoo()
    each = np.arange(len(point.s))
    at = len(point.z) + each
    full = 1.0 - residuals(form, point)[2]
    return _Block(
        np.concatenate([entry.row, each]),
        np.concatenate([entry.col, at]),
        np.concatenate([entry.data * point.z[entry.col], -point.s]),
        (each, at, np.full(len(each), -1.0)),
        -full * np.log(full) - point.s * gap,
    )


def _solve(blocks: Sequence[_Block], size: int) -> Array | None:
    """The solution with the first proximal weight that leaves it of moderate size."""
    start = np.cumsum([0, *(len(block.right) for block in blocks)])
    matrix = _matrix([(b.row, b.column, b.value) for b in blocks], start, size)
    held = _matrix([b.held for b in blocks], start, size)
    right = np.concatenate([block.right for block in blocks])
    if not (np.isfinite(right).all() and np.isfinite(matrix.data).all()):
        return None
    largest = np.asarray(abs(matrix).max(axis=1).todense()).ravel()
    matrix.data /= np.repeat(largest, np.diff(matrix.indptr))
    held.data /= np.repeat(largest, np.diff(held.indptr))
    found = None
    for weight in PROXIMAL:
        trial = _refined(matrix, weight * held, right / largest)
        found = trial if trial is not None else found
        if trial is not None and np.abs(trial).max() <= LARGE:
            break
    return found


def _matrix(parts: Sequence[tuple[Any, Any, Any]], start: Ints, size: int) -> Any:
    """One matrix of blocks of rows."""
    from scipy import sparse

    row = np.concatenate([part[0] + at for part, at in zip(parts, start[:-1], strict=True)])
    column, value = (np.concatenate([part[k] for part in parts]) for k in (1, 2))
    return sparse.csr_array((value, (row.astype(np.int64), column.astype(np.int64))), (size, size))


def _refined(matrix: Any, held: Any, right: Array) -> Array | None:
    """The solution with the proximal part, and refined without it; None if it is not finite."""
    from scipy.sparse.linalg import splu

    try:
        factors = splu((matrix + held).tocsc())
    except RuntimeError:  # exactly singular
        return None
    found = factors.solve(right)
    for _ in range(REFINEMENTS):
        found = found + factors.solve(right - matrix @ found)
    return np.asarray(found) if np.isfinite(found).all() else None
