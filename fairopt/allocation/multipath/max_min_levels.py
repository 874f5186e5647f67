"""Linear programmes over path rates: the largest total, and max-min fairness level by level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fairopt.allocation.methods.linear_programme import programme
from fairopt.allocation.multipath.level_polish import (
    polished_prices,
    polished_rates,
    without_idle_paths,
)
from fairopt.allocation.multipath.level_programme import LevelProgramme, Solved
from fairopt.allocation.multipath.link_space import SplitForm
from fairopt.allocation.multipath.presolve import presolve
from fairopt.allocation.multipath.warm_level_programme import level_programme
from fairopt.arrays import EPS, Array, BoolArray, Ints

AT_LIMIT = 1e-12  # relative: a flow this near to its own limit has it
NOTHING = 1e-12  # of the highest price: a price of rounding
SAVED = 1e-13  # of the level: what cheaper paths would save, where none is added any more
SLIGHT = 1e-2  # of it: what one flow would save, where it keeps its paths
NARROW = 1e12  # a path that takes more than this of a link carries nothing worth counting
UNIT = 1.0 / 16.0  # of the level's unit: where the smallest open flow has less, it is a new one


def largest_total(A: Any, owner: Ints, log_weight: Array) -> tuple[Array, Array, int]:
    """Path rates, log prices and steps at alpha = 0."""
    top = float(log_weight.max())
    weight = np.exp(log_weight - top)[owner]
    found = programme(-weight, A, np.ones(A.shape[0]), np.zeros(len(owner)))
    if found.x is None:
        return np.zeros(len(owner)), np.full(A.shape[0], -np.inf), int(found.nit)
    y = np.maximum(found.x, 0.0)
    y = y / max(1.0, float((A @ y).max()))
    prices = np.maximum(-found.ineqlin.marginals, 0.0)
    with np.errstate(divide="ignore"):
        return y, np.log(prices) + top, int(found.nit)


@dataclass(frozen=True, eq=False)
class Levels:
    """Max-min fair rates, in units of flows, and what proves them.

    Attributes:
        y: (paths,).
        prices: (levels, links) of the programme of each level.
        log_first: (links,) logarithm of the level at which a link first has a price, inf for none.
        complete: Whether all flows have stopped.
    """

    y: Array
    prices: Array
    log_first: Array
    complete: bool


def level_by_level(A: Any, owner: Ints, log_unit: Array) -> Levels:
    """Max-min fair rates of A z <= 1: the smallest open rates rise together as far as they can.

    Flows with a multiplier cannot exceed the level in any solution and stop there: their
    multipliers add up to one, so at least one does. A flow whose own limit, such as a volume, is
    below the level that all could have stops at its limit; limits are in no programme.

    Args:
        A: (links, paths) `scipy.sparse.csr_array`, entries > 0.
        owner: (paths,) flow of each path, sorted, from 0.
        log_unit: (flows,) logarithm of the level of a flow with rate 1.
    """
    small = presolve(A, owner, np.zeros(len(log_unit)), np.inf)
    y, log_first = np.zeros(A.shape[1]), np.full(A.shape[0], np.inf)
    limited, prices, complete = small.settled_flow, np.zeros((0, A.shape[0])), True
    y[small.settled] = small.limit[limited]
    if small.form is not None:
        filled = _fill(small.form, log_unit[small.flows])
        y[small.paths], complete = filled.z, filled.complete
        log_first[small.links] = filled.log_first
        prices = np.zeros((len(filled.prices), A.shape[0]))
        prices[:, small.links] = filled.prices
        limited = np.append(limited, small.flows[filled.limited])
    held = small.limit_link[limited]
    log_first[held] = np.log(small.limit[limited]) + log_unit[limited]
    return Levels(y / max(1.0, float((A @ y).max())), prices, log_first, complete)


class _Filled(NamedTuple):
    """`Levels` of the presolved problem, and the flows that are held by their own limits."""

    z: Array
    prices: Array
    log_first: Array
    limited: Ints
    complete: bool


class _Record:
    """What levels have shown: their prices, the first level of a link, that of a flow."""

    def __init__(self, form: SplitForm) -> None:
        self.prices: list[Array] = []
        self.first = np.full(form.links, -1)
        self.level_of = np.full(form.flows, -1)

    def note(self, prices: Array, stopped: BoolArray) -> None:
        """One more level."""
        self.first[(prices > 0.0) & (self.first < 0)] = len(self.prices)
        self.level_of[stopped] = len(self.prices)
        self.prices.append(prices)


def _fill(form: SplitForm, log_unit: Array) -> _Filled:
    """All levels; it ends early where HiGHS gives up."""
    size = float(log_unit.min())
    level = level_programme(form.rows, form.owner, _leanest(form), np.exp(size - log_unit))
    record, z, most = _Record(form), np.zeros(len(form.owner)), form.links
    while level.open.any():
        size = _measured(level, log_unit, size)
        top = _highest(level, form)
        if top is None:
            break
        rates = level.weight * top.reached
        stopped = level.open & (form.upper <= rates * (1.0 + AT_LIMIT))
        if not stopped.any():
            stopped = level.open & (top.pays > 0.0)
            record.note(top.prices, stopped)
        level.settle(np.flatnonzero(stopped), np.minimum(form.upper, rates)[stopped])
        z = level.path_rates(top.found)
        if len(level.flows) > most:
            level.shrink(top.found)
            most = len(level.flows) + form.links
    complete = not level.open.any()
    prices = np.array(record.prices).reshape(len(record.prices), form.links)
    if complete:
        z = without_idle_paths(form.rows, form.owner, z, prices)
        z = polished_rates(form.rows, form.owner, record.level_of, record.first >= 0, z)
        prices = polished_prices(form.rows, form.owner, z, prices)
    log_first = _log_levels(form, log_unit, record.level_of, z)[record.first]
    limited = np.flatnonzero(~level.open & (record.level_of < 0))
    return _Filled(z, prices, log_first, limited, complete)


def _log_levels(form: SplitForm, log_unit: Array, level_of: Ints, z: Array) -> Array:
    """Logarithms of all levels, and inf in the last place."""
    number, flow = np.unique(level_of, return_index=True)
    flow = flow[number >= 0]
    return np.append(np.log(form.total(z)[flow]) + log_unit[flow], np.inf)


def _leanest(form: SplitForm) -> Ints:
    """(flows,) the path of each flow that takes least of its links together."""
    taken = np.add.reduceat(form.rows.data, form.rows.indptr[:-1])
    return np.asarray(np.lexsort((taken, form.owner))[form.first])


def _measured(level: LevelProgramme, log_unit: Array, size: float) -> float:
    """The logarithm of the unit of the level, changed where the smallest open flow has outgrown it.

    Tolerances of HiGHS are absolute, and small coefficients are dropped.
    """
    smallest = float(log_unit[level.open].min())
    if np.exp(size - smallest) >= UNIT:
        return size
    level.measure(np.exp(smallest - log_unit))
    return smallest


class _Top(NamedTuple):
    """The highest level, prices of links and flows, and the point."""

    reached: float
    prices: Array
    pays: Array
    found: Solved


def _highest(level: LevelProgramme, form: SplitForm) -> _Top | None:
    """The level over all paths: those that would be cheaper are taken in until none is."""
    narrow = level.largest > NARROW
    while True:
        found = level.solve()
        if found is None or not found.level > 0.0:
            return None
        prices = np.where(found.prices > NOTHING * found.prices.max(), found.prices, 0.0)
        cost = np.where(narrow, np.inf, form.rows @ prices)
        pays = form.cheapest(cost)
        cheaper = _worth_taking(level, form, found, cost, pays)
        if not len(cheaper):
            break
        level.add(cheaper)
    prices = _covering(form, narrow, prices, pays)
    reached = _dual_value(level, prices, pays)
    return _Top(reached, prices, pays, found) if 0.0 < reached < np.inf else None


def _covering(form: SplitForm, narrow: BoolArray, prices: Array, pays: Array) -> Array:
    """Prices at which narrow paths cost no less than their flows pay: slightly more on one link."""
    if not narrow.any():
        return prices
    raised = prices.copy()
    for path in np.flatnonzero(narrow & (form.rows @ prices < pays[form.owner])):
        entries = slice(form.rows.indptr[path], form.rows.indptr[path + 1])
        link, taken = form.rows.indices[entries], form.rows.data[entries]
        missing = pays[form.owner[path]] - float(taken @ raised[link])
        raised[link[taken.argmax()]] += max(missing, 0.0) / float(taken.max())
    return raised


def _dual_value(level: LevelProgramme, prices: Array, pays: Array) -> float:
    """The level that prices allow; rates of settled flows are exact in it, not rounded by HiGHS."""
    with np.errstate(all="ignore"):
        return float((prices.sum() - pays @ level.settled) / (pays @ level.growth))


def _worth_taking(
    level: LevelProgramme, form: SplitForm, found: Solved, cost: Array, pays: Array
) -> Ints:
    """The cheapest path of flows that would save more than rounding on it."""
    dearer = cost[level.key]
    dearer[level.flows] -= found.row_prices
    saved = (level.growth * found.level + level.settled) * (dearer - pays)
    least = SAVED * found.level + 4.0 * EPS * float(found.prices.sum())
    if not saved.sum() > least:
        return np.zeros(0, dtype=np.int64)
    cheapest = cost <= pays[form.owner]
    cheapest[level.pool], cheapest[level.key] = False, False
    paths = np.flatnonzero(cheapest & (saved > SLIGHT * least)[form.owner])
    _, one = np.unique(form.owner[paths], return_index=True)
    return paths[one]
