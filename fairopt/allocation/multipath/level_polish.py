r"""The last digits of max-min rates: all levels at once, so that priced links are exactly full.

Levels are found one after the other, each from rounded rates of the ones before; over hundreds of
them roundings add up. Here the rates of level k are multiplied by one factor
:math:`1 + \epsilon_k`, and rates on used paths by factors of their own, the fullest path of a flow
taking what is left to it. The least changes that fill all links with a price are found by normal
equations of links; rates at limits stay.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fairopt.allocation.methods.newton_system import RIDGE, cholesky, cholesky_solve
from fairopt.arrays import Array, BoolArray, Ints

NEAR = 1e-6  # relative slack of a link that is to be full; another is left alone
ROUNDS = 3
SMALL = 1e-3  # relative change of a rate; larger ones are no last digits


def polished(rows: Any, owner: Ints, level_of: Ints, priced: BoolArray, z: Array) -> Array:
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
        full = np.flatnonzero(priced & (np.abs(slack) <= NEAR))
        moved = _step(rows, owner, level_of, full, slack[full], z)
        if moved is None or np.abs(1.0 - rows.T @ moved)[full].max() >= np.abs(slack[full]).max():
            break
        z = moved
    return z


def _step(
    rows: Any, owner: Ints, level_of: Ints, full: Ints, slack: Array, z: Array
) -> Array | None:
    """Rates after the least relative changes that fill the links."""
    if not len(full):
        return None
    x = np.bincount(owner, z).astype(np.float64, copy=False)
    first = np.searchsorted(owner, np.arange(len(x)))
    key = np.lexsort((-z, owner))[first]
    split = np.flatnonzero(z > 0.0)
    split = split[key[owner[split]] != split]
    matrix = _changes(rows[:, full], owner, level_of, key, split, x, z)
    gram = (matrix.T @ matrix).toarray()
    scale = 1.0 / np.sqrt(np.maximum(gram.diagonal(), np.finfo(float).tiny))
    factor = cholesky(gram * scale[:, None] * scale + RIDGE * np.eye(len(full)))
    if factor is None:
        return None
    change = matrix @ (scale * cholesky_solve(factor, scale * slack))
    if not np.abs(change).max() <= SMALL:
        return None
    levels = matrix.shape[0] - len(split)
    rates = x * (1.0 + np.append(change[:levels], 0.0)[level_of])
    moved = z.copy()
    moved[split] *= 1.0 + change[levels:]
    moved[key] = 0.0
    moved[key] = np.maximum(rates - np.bincount(owner, moved), 0.0)
    return moved


def _changes(
    rows: Any, owner: Ints, level_of: Ints, key: Ints, split: Ints, x: Array, z: Array
) -> Any:
    """(levels + split paths, links) what relative changes of each add to loads."""
    from scipy import sparse

    of_keys, flows = rows[key], np.flatnonzero(level_of >= 0)
    shape = (int(level_of.max()) + 1, len(x))
    levels = sparse.csr_array((x[flows], (level_of[flows], flows)), shape=shape) @ of_keys
    paths = sparse.diags_array(z[split]) @ (rows[split] - of_keys[owner[split]])
    return sparse.vstack([levels, paths], format="csr")
