r"""One level of max-min fairness as a linear programme over few paths.

Every flow has a key path, which carries what its other paths do not. With the key paths k(i), the
loads a_p that a unit on path p puts on the links, and rates r_i, the largest level is

.. math:: \max t : \quad \sum_p (a_p - a_{k(p)}) z_p + \sum_i a_{k(i)} r_i \le 1, \quad
    \sum_{p \in P_i} z_p \le r_i, \quad z \ge 0, \quad
    r_i = w_i t \;(\text{open}),\; x_i \;(\text{settled}).

Only paths that are worth using are in it (the pool), and only flows with such a path have a row. A
vertex splits no more flows than links are full, so the programme stays small: 1,000 demands over
four paths end with 1,200 of 4,000 paths, and most levels need a few hundred.

The programme grows by paths and changes where flows settle. `LevelProgramme` solves it afresh by
`scipy.optimize.linprog`; `warm_level_programme` keeps the basis.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fairopt.allocation.methods.linear_programme import programme
from fairopt.arrays import Array, BoolArray, Ints

OVERLOADS = (0.0, 1e-12, 1e-10, 1e-8)  # allowed where settled flows, rounded, do not fit


class Solved(NamedTuple):
    """The level, rates of the pool in its units, and prices: of links, and of the rows of flows."""

    level: float
    z: Array
    prices: Array
    row_prices: Array


class LevelProgramme:
    """The programme over the pool, solved afresh.

    Attributes:
        rows: (paths, links) loads of a unit on each path, capacities 1.
        owner: (paths,).
        key: (flows,) key paths.
        weight: (flows,) w, of one unit of the level.
        rate: (flows,) rates of settled flows, NaN where open.
        pool: Paths in the programme besides key paths.
        unit: (pool,) rates of one unit of their columns, whose largest entries are 1.
        flows: Flows with a row.
        row: (flows,) the place of each in `flows`, -1 for none.
    """

    def __init__(self, rows: Any, owner: Ints, key: Ints, weight: Array) -> None:
        self.rows, self.owner, self.key, self.weight = rows, owner, key, weight
        self.of_keys = rows[key]
        self.rate = np.full(len(key), np.nan)
        self.pool: Ints = np.zeros(0, dtype=np.int64)
        self.unit = np.zeros(0)
        self.flows: Ints = np.zeros(0, dtype=np.int64)
        self.row = np.full(len(key), -1)

    @property
    def open(self) -> BoolArray:
        """(flows,) those that are not settled."""
        return np.asarray(np.isnan(self.rate))

    @property
    def growth(self) -> Array:
        """(flows,) what one unit of the level adds to each rate."""
        return np.where(self.open, self.weight, 0.0)

    @property
    def settled(self) -> Array:
        """(flows,) rates of settled flows, 0 for the others."""
        return np.where(self.open, 0.0, self.rate)

    def add(self, paths: Ints) -> None:
        """Take paths into the pool."""
        fresh = np.unique(self.owner[paths])
        fresh = fresh[self.row[fresh] < 0]
        self.row[fresh] = len(self.flows) + np.arange(len(fresh))
        self.flows = np.append(self.flows, fresh)
        self.pool = np.append(self.pool, paths)
        largest = np.maximum.reduceat(self.rows.data, self.rows.indptr[:-1])[paths]
        self.unit = np.append(self.unit, 1.0 / np.maximum(largest, 1.0))

    def settle(self, flows: Ints, rates: Array) -> None:
        """Hold flows at their rates from now on."""
        self.rate[flows] = rates

    def measure(self, weight: Array) -> None:
        """Count the level in another unit, in which flows have these weights."""
        self.weight = weight

    def columns(self, begin: int = 0) -> Any:
        """(paths, links + flows with a row) of the pool: what each uses instead of its key."""
        from scipy import sparse

        paths, unit = self.pool[begin:], self.unit[begin:]
        more = self.rows[paths] - self.of_keys[self.owner[paths]]
        place = (np.arange(len(paths)), self.row[self.owner[paths]])
        part = sparse.csr_array((np.ones(len(paths)), place), shape=(len(paths), len(self.flows)))
        return sparse.diags_array(unit) @ sparse.hstack([more, part], format="csr")

    def solve(self) -> Solved | None:
        """The largest level, None if HiGHS gives up."""
        from scipy import sparse

        level = np.concatenate([self.of_keys.T @ self.growth, -self.growth[self.flows]])
        limit = np.concatenate([self.room(), self.settled[self.flows]])
        column = sparse.csr_array(level[:, None])
        matrix = sparse.hstack([self.columns().T, column], format="csr")
        cost, links = np.append(np.zeros(len(self.pool)), -1.0), self.rows.shape[1]
        for more in OVERLOADS:
            limit[:links] = self.room() + more
            found = programme(cost, matrix, limit, np.zeros(len(cost)))
            if found.x is not None:
                dual = np.maximum(-found.ineqlin.marginals, 0.0)
                return Solved(float(found.x[-1]), found.x[:-1], dual[:links], dual[links:])
        return None

    def room(self) -> Array:
        """(links,) what key paths of settled flows leave."""
        return np.asarray(1.0 - self.of_keys.T @ self.settled)

    def path_rates(self, found: Solved) -> Array:
        """(paths,) rates, of key paths too; less on all where a flow has settled at less."""
        z = np.zeros(len(self.owner))
        z[self.pool] = np.maximum(found.z, 0.0) * self.unit
        rate = self.growth * found.level + self.settled
        more = rate - np.bincount(self.owner, z, len(rate))
        z[self.key] = np.maximum(more, 0.0)
        kept = np.divide(rate, rate - more, out=np.ones(len(rate)), where=more < 0.0)
        return np.asarray(z * kept[self.owner])
