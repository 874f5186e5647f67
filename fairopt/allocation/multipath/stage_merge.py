r"""One answer of the stages of `stages`, and its last digits.

The rates are those of the last stage, the price of a link is that of the first stage in which a
flow that is settled there feels it. Interiors leave traces: rates of 1e-11 on paths that are not
used, room of 1e-11 on links that are full, paths of one flow whose costs agree to 1e-10 only. At
alpha = 100 a rate known to 1e-12 gives a price known to 1e-10. Where prices differ by a hundred
decades every such trace is seen by somebody, hence

- what is on paths that are not used goes to the path that carries most;
- prices change as little as possible, relatively, so that used paths of a flow cost the same;
- rates change as little as possible, relatively, so that links with prices are full.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from fairopt.allocation.multipath.log_form import (
    PathForm,
    felt_by_pairs,
    violation,
    visible,
    without_leftovers,
)
from fairopt.arrays import Array

FELT = float(np.log(1e-2))  # of the lowest price that a stage settles: felt there
UNUSED = (1e-9, 0.0)  # share of a flow on a path that is not used, if it costs more than that
USED = 1e-6  # share of a flow on a path that is used
ALIKE = (0.0, 1e-9)  # relative difference of two paths that have to cost the same, one of them used
SOFT = 1e-5  # weight of a flow's own price, known from its rate only, beside what has to be equal
LINEAR_STEPS = 5
MOST = 0.3  # change of the logarithm of a price in one of them
ROOM = 1e-6  # of a link that is to be full
SEEN = 1e-9  # share of a link's price in what somebody pays: the link is to be full
RANK = 1e-13  # of singular values: rows below say what others say


class Stage(NamedTuple):
    """Prices of links, and the lowest of flows settled there; both as logarithms."""

    prices: Array
    lowest: float


def joined(form: PathForm, z: Array, stages: Sequence[Stage]) -> tuple[Array, Array]:
    """Path rates and link prices: the best of some choices of what is unused, and what is alike."""
    first, found = _of_first(stages), []
    for unused, alike in product(UNUSED, ALIKE):
        rates = _cleared(form, z, first, unused)
        prices = _balanced(form, rates, first, alike)
        filled = _filled(form, rates, prices)
        found.append((filled, without_leftovers(form, filled, prices)))
    return min(found, key=lambda each: violation(form, *each))


def _of_first(stages: Sequence[Stage]) -> Array:
    """The price of every link in the first stage where it is felt, else in the last."""
    prices = stages[-1].prices
    for stage in stages[::-1]:
        prices = np.where(stage.prices >= stage.lowest + FELT, stage.prices, prices)
    return np.asarray(np.exp(prices))


def _cleared(form: PathForm, z: Array, prices: Array, unused: float) -> Array:
    """Path rates without those on paths that are not used."""
    cost = form.transposed @ prices
    extra = 1.0 - form.cheapest(cost)[form.owner] / cost
    share = form.share(z)
    kept = np.where((share < unused) & (share < extra), 0.0, z)
    kept[form.fullest_path(z)] += form.total(z - kept)
    return kept


def _balanced(form: PathForm, z: Array, prices: Array, alike: float) -> Array:
    """Prices with which used paths of a flow, and those that cost about as much, cost the same."""
    used = z > USED * form.total(z)[form.owner]
    lower, upper = used[form.pairs.lower], used[form.pairs.upper]
    first, second = form.pairs.only
    own = form.transposed[form.fullest_path(z)].toarray()
    for _ in range(LINEAR_STEPS):
        left, right, cost = first @ prices, second @ prices, own @ prices
        side = np.maximum(left, right)
        close = (lower & upper) | ((lower | upper) & (np.abs(left - right) < alike * side))
        pair = np.flatnonzero(close & (side > 0.0))
        apart = form.pairs.difference[pair].toarray() / side[pair, None]
        rows = np.vstack([apart, SOFT * own / cost[:, None]]) * prices
        missing = SOFT * (form.log_price(z) - np.log(cost))
        change = _least(rows, np.concatenate([((right - left) / side)[pair], missing]))
        prices = prices * np.exp(np.clip(change, -MOST, MOST))
    return prices


def _filled(form: PathForm, z: Array, prices: Array) -> Array:
    """Path rates with which links are full whose prices somebody sees."""
    cost = form.transposed @ prices
    seen = visible(form, cost, prices, felt_by_pairs(form, form.cheapest(cost)))
    room = 1.0 - form.A @ z
    full = np.flatnonzero((seen > SEEN) & (np.abs(room) < ROOM))
    used = np.flatnonzero(z > USED * form.total(z)[form.owner])
    change = np.ones(len(z))
    change[used] += _least(form.A[full][:, used].toarray() * z[used], room[full])
    return np.asarray(z * np.clip(change, 1.0 - ROOM, 1.0 + ROOM))


def _least(rows: Array, target: Array) -> Array:
    """The least change that does it, or none where there is no number for it."""
    if not (np.isfinite(rows).all() and np.isfinite(target).all()):
        return np.zeros(rows.shape[1])
    return np.asarray(np.linalg.lstsq(rows, target, rcond=RANK)[0])
