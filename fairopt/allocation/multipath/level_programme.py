r"""One level of max-min fairness as a linear programme over few paths.

Every flow has a key path, which carries what its other paths do not. With the key paths k(i), the
loads a_p that a unit on path p puts on the links, and rates r_i, the largest level is

.. math:: \max t : \quad \sum_p (a_p - a_{k(p)}) z_p + \sum_i a_{k(i)} r_i \le 1, \quad
    \sum_{p \in P_i} z_p \le r_i, \quad z \ge 0, \quad
    r_i = w_i t \;(\text{open}),\; x_i \;(\text{settled}).

Only paths that are worth using are in it (the pool), and only flows with such a path have a row. A
vertex splits no more flows than links are full, so the programme stays small: a few hundred of the
40,000 paths of 10,000 demands.

The programme grows by paths and changes where flows settle; flows that have come to use one path
only are dropped from time to time, with that as their key path. `LevelProgramme` solves it afresh
by `scipy.optimize.linprog`; `warm_level_programme` keeps the basis.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fairopt.allocation.methods.linear_programme import programme
from fairopt.arrays import Array, BoolArray, Ints

OVERLOADS = (0.0, 1e-10, 1e-9, 1e-8)  # of links, allowed where rounded rates do not fit


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
        largest: (paths,) the largest part of a link that a unit takes.
        weight: (flows,) w, of one unit of the level.
        rate: (flows,) rates of settled flows, NaN where open.
        spare: Relative overload that links may have.
        pool: Paths in the programme besides key paths.
        unit: (pool,) rates of one unit of their columns, whose largest entries are 1.
        flows: Flows with a row.
        row: (flows,) the place of each in `flows`, -1 for none.
    """

    def __init__(self, rows: Any, owner: Ints, key: Ints, weight: Array) -> None:
        self.rows, self.owner, self.key, self.weight = rows, owner, key, weight
        self.of_keys = rows[key]
        self.largest = np.maximum.reduceat(rows.data, rows.indptr[:-1])
        self.rate, self.spare = np.full(len(key), np.nan), 0.0
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
        self.unit = np.append(self.unit, 1.0 / np.maximum(self.largest[paths], 1.0))

    def settle(self, flows: Ints, rates: Array) -> None:
        """Hold flows at their rates from now on."""
        self.rate[flows] = rates

    def measure(self, weight: Array) -> None:
        """Count the level in another unit, in which flows have these weights."""
        self.weight = weight

    def shrink(self, found: Solved) -> None:
        """Drop flows that use one path only, which becomes their key path."""
        pool, key = self.in_use(found)
        row = self.row[self.owner[self.pool]]
        single = key + np.bincount(row, pool, len(self.flows)) == 1
        chosen = pool & single[row]
        self.key[self.owner[self.pool[chosen]]] = self.pool[chosen]
        self.of_keys = self.rows[self.key]
        self.keep(~single[row], ~single)

    def in_use(self, found: Solved) -> tuple[BoolArray, BoolArray]:
        """Whether paths of the pool, and key paths of flows with a row, carry anything."""
        z = self.path_rates(found)
        return z[self.pool] > 0.0, z[self.key[self.flows]] > 0.0

    def keep(self, paths: BoolArray, flows: BoolArray) -> None:
        """Drop the others of the pool, and the rows of the others."""
        self.pool, self.unit = self.pool[paths], self.unit[paths]
        self.row[self.flows] = -1
        self.flows = self.flows[flows]
        self.row[self.flows] = np.arange(len(self.flows))

    def columns(self, begin: int = 0) -> Any:
        """(paths, links + flows with a row) of the pool: what each uses instead of its key."""
        from scipy import sparse

        paths, unit = self.pool[begin:], self.unit[begin:]
        more = self.rows[paths] - self.of_keys[self.owner[paths]]
        place = (np.arange(len(paths)), self.row[self.owner[paths]])
        part = sparse.csr_array((np.ones(len(paths)), place), shape=(len(paths), len(self.flows)))
        return sparse.diags_array(unit) @ sparse.hstack([more, part], format="csr")

    def solve(self) -> Solved | None:
        """The largest level; None if HiGHS gives up.

        Rates of settled flows may be too large by a rounding that prices multiply; so links may be
        overloaded a little where there is no other way, and in all programmes from then on. The
        level is to be taken from the prices, which do not know of it.
        """
        for spare in OVERLOADS:
            if spare > self.spare:
                self.overload(spare)
            found = self.attempt() if spare == self.spare else None
            if found is not None:
                return found
        return None

    def overload(self, spare: float) -> None:
        """Let links have this much more than their capacity."""
        self.spare = spare

    def attempt(self) -> Solved | None:
        """The largest level with the overload as it is."""
        from scipy import sparse

        level = np.concatenate([self.of_keys.T @ self.growth, -self.growth[self.flows]])
        limit = np.concatenate([self.room(), self.settled[self.flows]])
        column = sparse.csr_array(level[:, None])
        matrix = sparse.hstack([self.columns().T, column], format="csr")
        cost, links = np.append(np.zeros(len(self.pool)), -1.0), self.rows.shape[1]
        found = programme(cost, matrix, limit, np.zeros(len(cost)))
        if found.x is None:
            return None
        dual = np.maximum(-found.ineqlin.marginals, 0.0)
        return Solved(float(found.x[-1]), found.x[:-1], dual[:links], dual[links:])

    def room(self) -> Array:
        """(links,) what key paths of settled flows leave."""
        return np.asarray(1.0 + self.spare - self.of_keys.T @ self.settled)

    def path_rates(self, found: Solved) -> Array:
        """(paths,) rates, of key paths too; less on all where a flow has settled at less."""
        z = np.zeros(len(self.owner))
        z[self.pool] = np.maximum(found.z, 0.0) * self.unit
        rate = self.growth * found.level + self.settled
        more = rate - np.bincount(self.owner, z, len(rate))
        z[self.key] = np.maximum(more, 0.0)
        kept = np.divide(rate, rate - more, out=np.ones(len(rate)), where=more < 0.0)
        return np.asarray(z * kept[self.owner])
