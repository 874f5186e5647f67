r"""One answer from the stages of `lexicographic_stages`, corrected in its last digits.

The rates are those of the last stage, the price of a link is that of the first stage in which it is
significant for a flow settled there. Interior points leave small errors: rates of 1e-11 on unused
paths, slack of 1e-11 on full links, paths of one flow whose costs agree to 1e-10 only. At
alpha = 100 a rate known to 1e-12 gives a price known to 1e-10. Where prices differ by a hundred
decades every such error matters to some flow, hence

- rates of unused paths move to the path that carries most;
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
    drop_negligible_prices,
    price_floor,
    price_shares,
    violation,
)
from fairopt.arrays import Array

SIGNIFICANT = float(np.log(1e-2))  # of the lowest settled price: a link's price counts above it
UNUSED = (1e-9, 0.0)  # share of a flow on an unused path, if its relative extra price is more
USED = 1e-6  # least share of a flow on a used path
ALIKE = (0.0, 1e-9)  # relative difference of two paths that have to cost the same, one of them used
SOFT = 1e-5  # weight of a flow's price, known from its rate only, beside equal path costs
LINEAR_STEPS = 5
MOST = 0.3  # largest change of the logarithm of a price in one of them
SLACK = 1e-6  # of a link that is to be full
SEEN = 1e-9  # share of a link's price in the price of a path above which it is to be full
RANK = 1e-13  # of singular values: rows below are linearly dependent


class Stage(NamedTuple):
    """Prices of links, and the lowest of flows settled there; both as logarithms."""

    prices: Array
    lowest: float


def merge_stages(form: PathForm, z: Array, stages: Sequence[Stage]) -> tuple[Array, Array]:
    """Path rates and link prices: the best over thresholds of unused paths and of equal costs."""
    first, found = _first_stage_prices(stages), []
    for unused, alike in product(UNUSED, ALIKE):
        rates = _without_unused_paths(form, z, first, unused)
        prices = _equalised(form, rates, first, alike)
        filled = _filled(form, rates, prices)
        found.append((filled, drop_negligible_prices(form, filled, prices)))
    return min(found, key=lambda each: violation(form, *each))


def _first_stage_prices(stages: Sequence[Stage]) -> Array:
    """The price of every link in the first stage where it is significant, else in the last."""
    prices = stages[-1].prices
    for stage in stages[::-1]:
        prices = np.where(stage.prices >= stage.lowest + SIGNIFICANT, stage.prices, prices)
    return np.asarray(np.exp(prices))


def _without_unused_paths(form: PathForm, z: Array, prices: Array, unused: float) -> Array:
    """Path rates with those of unused paths moved to the path that carries most."""
    cost = form.transposed @ prices
    extra = 1.0 - form.cheapest(cost)[form.owner] / cost
    share = form.share(z)
    kept = np.where((share < unused) & (share < extra), 0.0, z)
    kept[form.fullest_path(z)] += form.total(z - kept)
    return kept


def _equalised(form: PathForm, z: Array, prices: Array, alike: float) -> Array:
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
        change = _least_squares(rows, np.concatenate([((right - left) / side)[pair], missing]))
        prices = prices * np.exp(np.clip(change, -MOST, MOST))
    return prices


def _filled(form: PathForm, z: Array, prices: Array) -> Array:
    """Path rates that fill the links whose price is a visible share of a path price."""
    cost = form.transposed @ prices
    seen = price_shares(form, cost, prices, price_floor(form, form.cheapest(cost)))
    slack = 1.0 - form.A @ z
    full = np.flatnonzero((seen > SEEN) & (np.abs(slack) < SLACK))
    used = np.flatnonzero(z > USED * form.total(z)[form.owner])
    change = np.ones(len(z))
    change[used] += _least_squares(form.A[full][:, used].toarray() * z[used], slack[full])
    return np.asarray(z * np.clip(change, 1.0 - SLACK, 1.0 + SLACK))


def _least_squares(rows: Array, target: Array) -> Array:
    """The least-squares change of least norm; none where the system is not finite."""
    if not (np.isfinite(rows).all() and np.isfinite(target).all()):
        return np.zeros(rows.shape[1])
    return np.asarray(np.linalg.lstsq(rows, target, rcond=RANK)[0])
