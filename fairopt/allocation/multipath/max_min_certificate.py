r"""How much more a flow could have at no cost to flows with less: a bound, no solver.

For prices :math:`\lambda \ge 0` let :math:`q_i` be the cheapest path of flow i: every feasible y
has :math:`\sum_j q_j y_j \le \sum_l \lambda_l`. Let x be feasible rates with levels :math:`v_i`. If
all others keep their rates, or at least level :math:`v_i` if theirs is higher, then

.. math:: q_i (y_i - x_i) \le \lambda' s + \sum_p z_p (cost_p - q_{owner}) +
    \sum_{v_j > v_i} q_j x_j (1 - v_i / v_j), \qquad s = 1 - A z .

All terms are nonnegative. The least bound counts, over the prices of every level and over single
links that all paths of i use, such as its volume. Zero for all flows is the definition of max-min
fairness: if some y is better for i at no cost to flows with at most v_i, then so is a short step
from x towards it, and that takes nobody below v_i.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fairopt.allocation.multipath.certificate import ALLOWED
from fairopt.arrays import EPS, Array, Ints


class Gains(NamedTuple):
    """(flows,) largest gains, relative, and what of each allows for rounding."""

    most: Array
    rounding: Array


def largest_gains(A: Any, owner: Ints, log_unit: Array, z: Array, prices: Array) -> Gains:
    r"""Numbers r: no feasible rates have more than (1 + r_i) x_i at no cost to smaller ones.

    Args:
        A: (links, paths) `scipy.sparse` array of entries > 0, capacities 1.
        owner: (paths,) flow of each path, sorted, from 0.
        log_unit: (flows,) logarithm of the level of a flow with rate 1.
        z: (paths,) rates >= 0; where they overload a link they are judged as if reduced.
        prices: (levels, links) >= 0.

    Guarantee: up to rounding it holds for any z and any prices.

    Example:
        >>> from scipy import sparse
        >>> shared = sparse.csr_array([[1.0, 1.0]])
        >>> gains = largest_gains(shared, np.arange(2), np.zeros(2), [0.5, 0.5], [[1.0]])
        >>> bool((gains.most < 1e-14).all())
        True
        >>> largest_gains(shared, np.arange(2), np.zeros(2), [0.4, 0.6], [[1.0]]).most.round(3)
        array([0.5, 0. ])
    """
    flows, rows = len(log_unit), A.T.tocsr()
    first = np.searchsorted(owner, np.arange(flows))
    over = np.maximum(A @ np.asarray(z), 1.0)
    kept = z / np.maximum.reduceat(over[rows.indices], rows.indptr[:-1])
    x, slack = np.add.reduceat(kept, first), np.maximum(1.0 - A @ kept, 0.0)
    with np.errstate(all="ignore"):
        gain = np.maximum(_most_alone(rows, owner, flows) / x - 1.0, 0.0)
        rounding, ranking = np.zeros(flows), _Ranking(np.log(x) + log_unit)
        for lam in np.asarray(prices):
            cost = rows @ lam
            pays = np.minimum.reduceat(cost, first)
            paid = np.where(pays > 0.0, pays * x, 0.0)
            allowed = ALLOWED * EPS * float(lam.sum())
            left = float(lam @ slack) + float(kept @ (cost - pays[owner])) + allowed
            bound = (left + ranking.to_spare(paid)) / paid
            better = bound < gain
            gain[better], rounding[better] = bound[better], (allowed / paid)[better]
    none = np.isnan(gain) | ~(x > 0.0)
    return Gains(np.where(none, np.inf, gain), np.where(none, 0.0, rounding))


def _most_alone(rows: Any, owner: Ints, flows: int) -> Array:
    """(flows,) what links that all paths of a flow use allow it; inf where there is none."""
    links, paths = rows.shape[1], np.bincount(owner, minlength=flows)
    flow = np.repeat(owner, np.diff(rows.indptr))
    pair = flow * links + rows.indices
    order = np.argsort(pair, kind="stable")
    begin = np.flatnonzero(np.diff(pair[order], prepend=-1))
    users, least = (
        np.diff(np.append(begin, len(pair))),
        np.minimum.reduceat(rows.data[order], begin),
    )
    of = flow[order[begin]]
    room = np.full(flows, np.inf)
    np.minimum.at(room, of, np.where(users == paths[of], 1.0 / least, np.inf))
    return room


class _Ranking:
    """Flows by level."""

    def __init__(self, log_level: Array) -> None:
        self.order = np.argsort(log_level)
        self.place = np.argsort(self.order)
        self.level = np.exp(log_level - log_level.max())

    def to_spare(self, paid: Array) -> Array:
        """For every flow what those with a higher level pay for what they have above it."""
        falling = self.order[::-1]
        spent, per_level = np.cumsum(paid[falling]), np.cumsum(paid[falling] / self.level[falling])
        above = (spent - self.level[falling] * per_level)[::-1]
        return np.asarray(np.maximum(above, 0.0)[self.place])
