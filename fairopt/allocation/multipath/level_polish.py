r"""The last digits of max-min rates and prices: all levels at once.

Levels are found one after the other, each from rounded rates of the ones before; over hundreds of
them roundings add up, and prices multiply them. In the end

- paths that are too dear at some level carry exactly nothing;
- the rates of level k are multiplied by one factor :math:`1 + \epsilon_k`, and rates on used paths
  by factors of their own, the fullest path of a flow taking what is left to it, so that all links
  with a price are exactly full;
- the prices of each level are multiplied by factors such that used paths of a flow cost the same.

The latter are systems with more unknowns than equations; the least relative change is taken.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fairopt.allocation.methods.newton_system import RIDGE, cholesky, cholesky_solve
from fairopt.arrays import Array, BoolArray, Ints

NEAR = 1e-6  # relative slack of a link that is to be full; another is left alone
ROUNDS = 3
STIFF = 1e-3  # weight of changes of levels beside splits: these come first, where they can
LITTLE = 1e-5  # of a flow's rate: what rounding may leave on a path that is too dear
DEARER = 1e-6  # relative: a path that costs more than this beyond the cheapest is too dear
SMALL = 1e-3  # relative change; larger ones are no last digits


def polished_rates(rows: Any, owner: Ints, level_of: Ints, priced: BoolArray, z: Array) -> Array:
    """Rates on paths at which priced links are full; as they were where that cannot be.

    Args:
        rows: (paths, links) loads of a unit on each path, capacities 1.
        owner: (paths,).
        level_of: (flows,) number of the level of a flow, -1 at its own limit.
        priced: (links,).
        z: (paths,).
    """
    for _ in range(ROUNDS):
        slack = 1.0 - rows.T @ z
        full = np.flatnonzero((priced | (slack < 0.0)) & (np.abs(slack) <= NEAR))
        moved = _fuller(rows, owner, level_of, full, slack[full], z)
        if moved is None or np.abs(1.0 - rows.T @ moved)[full].max() >= np.abs(slack[full]).max():
            break
        z = moved
    return z


def without_idle_paths(rows: Any, owner: Ints, z: Array, prices: Array) -> Array:
    """Rates where paths that a level shows to be too dear carry nothing; the fullest take it.

    Prices of every level hold for all later ones too; where rounding has put a little on such a
    path, splits could not be polished.
    """
    x = np.bincount(owner, z)
    little = (z > 0.0) & (z < LITTLE * x[owner])
    concerned = np.zeros(len(x), dtype=bool)
    concerned[owner[little]] = True
    paths = np.flatnonzero(concerned[owner])
    if not len(paths):
        return z
    begin = np.flatnonzero(np.diff(owner[paths], prepend=-1))
    counts = np.diff(np.append(begin, len(paths)))
    dear, part = np.zeros(len(paths), dtype=bool), rows[paths]
    for lam in prices:
        cost = part @ lam
        dear |= cost * (1.0 - DEARER) > np.repeat(np.minimum.reduceat(cost, begin), counts)
    kept = z.copy()
    kept[paths[dear & little[paths]]] = 0.0
    key, _ = _used(owner, z)
    kept[key] += x - np.bincount(owner, kept)
    return kept


def polished_prices(rows: Any, owner: Ints, z: Array, prices: Array) -> Array:
    """(levels, links) prices at which used paths of a flow cost the same, where that can be."""
    from scipy import sparse

    key, split = _used(owner, z)
    apart = (rows[split] - rows[key[owner[split]]]).T.tocsr()
    better = prices.copy()
    for lam in better:
        priced = np.flatnonzero(lam)
        own = sparse.diags_array(lam[priced]) @ apart[priced]
        concerned = np.unique(own.indices)
        if not len(concerned):
            continue
        own = own[:, concerned]
        off = own.sum(axis=0)
        change = _least_change(own, -off)
        if change is not None and np.abs(off + own.T @ change).sum() < np.abs(off).sum():
            lam[priced] *= 1.0 + change
    return better


def _used(owner: Ints, z: Array) -> tuple[Ints, Ints]:
    """(flows,) the fullest path of each flow, and all other paths that carry something."""
    key = np.lexsort((-z, owner))[np.searchsorted(owner, np.arange(int(owner[-1]) + 1))]
    split = np.flatnonzero(z > 0.0)
    return key, split[key[owner[split]] != split]


def _least_change(matrix: Any, target: Array) -> Array | None:
    """The least change with matrix' change = target; None if it is not small."""
    gram = (matrix.T @ matrix).toarray()
    scale = 1.0 / np.sqrt(np.maximum(gram.diagonal(), np.finfo(float).tiny))
    factor = cholesky(gram * scale[:, None] * scale + RIDGE * np.eye(len(target)))
    if factor is None:
        return None
    change = np.asarray(matrix @ (scale * cholesky_solve(factor, scale * target)))
    return change if np.abs(change).max(initial=0.0) <= SMALL else None


def _fuller(
    rows: Any, owner: Ints, level_of: Ints, full: Ints, slack: Array, z: Array
) -> Array | None:
    """Rates after the least relative changes that fill the links."""
    if not len(full):
        return None
    x = np.bincount(owner, z).astype(np.float64, copy=False)
    key, split = _used(owner, z)
    change = _least_change(_effects(rows[:, full], owner, level_of, key, split, x, z), slack)
    if change is None:
        return None
    levels = len(change) - len(split)
    rates = x * (1.0 + STIFF * np.append(change[:levels], 0.0)[level_of])
    moved = z.copy()
    moved[split] *= 1.0 + change[levels:]
    moved[key] = 0.0
    moved[key] = np.maximum(rates - np.bincount(owner, moved), 0.0)
    return moved


def _effects(
    rows: Any, owner: Ints, level_of: Ints, key: Ints, split: Ints, x: Array, z: Array
) -> Any:
    """(levels + split paths, links) what relative changes of each add to loads."""
    from scipy import sparse

    of_keys, flows = rows[key], np.flatnonzero(level_of >= 0)
    shape = (int(level_of.max()) + 1, len(x))
    levels = sparse.csr_array((STIFF * x[flows], (level_of[flows], flows)), shape=shape) @ of_keys
    paths = sparse.diags_array(z[split]) @ (rows[split] - of_keys[owner[split]])
    return sparse.vstack([levels, paths], format="csr")
