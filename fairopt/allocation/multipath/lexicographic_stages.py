r"""Lexicographic stages of flows over paths, highest prices first: ranges beyond float64.

At large alpha some flows pay 1e-100 of what others pay. Low prices do not change the rates of the
high-price flows, and a float64 price of a high-price link cannot show what capacity is left to
low-price flows. So flows are settled by price, some decades at a time. In every stage

- settled flows keep their rates, but may change paths: each has a link of its own with its rate as
  capacity, and a weight with which it pays more than all others;
- flows with far lower prices are raised to a floor below all prices that the stage settles, by
  weights that leave them about the rates they have.

So prices of one stage span some fourteen decades at most, whatever alpha is. The price of a link is
that of the first stage in which it is significant for a flow settled there (`stage_merge`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fairopt.allocation.multipath.alpha_continuation import solve_by_continuation
from fairopt.allocation.multipath.log_form import PathForm, drop_negligible_prices
from fairopt.allocation.multipath.path_pairs import Pairs
from fairopt.allocation.multipath.stage_merge import Stage, merge_stages
from fairopt.arrays import Array, BoolArray

DECADE = float(np.log(10.0))
SETTLED = 6.0 * DECADE  # below the highest price not yet settled: prices that a stage settles
SOONEST = 3.0 * DECADE  # below that highest price: where the next stage may begin
ABOVE = 2.0 * DECADE  # that highest price: what settled flows pay
FLOOR = 12.0 * DECADE  # below that highest price: the lowest price in a stage
RAISED = 10.0 * DECADE  # below that highest price: what a raised flow may come to pay
TRIES = 3  # of a stage, while raised flows pay more than RAISED allows
KEPT = 1e-6  # relative: largest change of a settled rate
ENOUGH = 1e-6  # violation at which a stage is solved
MOST_WORK = 4e6  # steps times paths, in all stages: about a minute, enough for some 100 flows


def worth_staging(form: PathForm, z: Array) -> bool:
    """Whether there is more than one stage."""
    log_price = form.log_price(z)
    return bool(np.isfinite(log_price).all() and np.ptp(log_price) > SETTLED)


def solve_in_stages(form: PathForm, z: Array) -> tuple[Array, Array, int] | None:
    """Path rates, link prices and steps, from any path rates; None where stages fail.

    They fail where a settled rate is lost, or after too much work.
    """
    settled, steps = np.zeros(form.flows, dtype=bool), 0
    stages: list[Stage] = []
    while not settled.all():
        found = _solve_stage(form, z, settled)
        if found is None or steps * len(z) > MOST_WORK:
            return None
        z, settled, stage, used = found
        stages.append(stage)
        steps += used
    return *merge_stages(form, z, stages), steps


def _solve_stage(
    form: PathForm, z: Array, settled: BoolArray
) -> tuple[Array, BoolArray, Stage, int] | None:
    """One stage, solved again while raised flows come to pay too much to be neglected."""
    steps = 0
    for _ in range(TRIES):
        log_price = form.log_price(z)
        top = float(log_price[~settled].max())
        raised = ~settled & (log_price < top - FLOOR)
        stage, unit = _stage_problem(form, z, settled, top)
        then, prices, used = solve_by_continuation(stage, ENOUGH)
        steps += used
        changed = np.abs(form.total(then) / form.total(z) - 1.0)
        lost = float(changed[settled].max(initial=0.0)) > KEPT
        if lost or not np.isfinite(changed).all():
            return None
        z = then
        pays = stage.log_price(z)[raised] + unit
        if float(pays.max(initial=-np.inf)) <= top - RAISED:
            break
    log_price = form.log_price(z)
    more = _above_widest_gap(log_price, ~(settled | raised))
    prices = drop_negligible_prices(stage, z, prices)[: form.A.shape[0]]
    with np.errstate(divide="ignore"):
        done = Stage(np.log(prices) + unit, float(log_price[more].min()))
    return z, settled | more, done, steps


def _stage_problem(
    form: PathForm, z: Array, settled: BoolArray, top: float
) -> tuple[PathForm, float]:
    """The problem in which settled flows have links of their own, and the unit of its prices."""
    log_price = form.log_price(z)
    level = np.where(settled, top + ABOVE, np.maximum(log_price, top - FLOOR))
    unit = 0.5 * float(level.max() + level.min())
    weight = form.log_weight + (level - log_price) - unit
    return _with_limits(replace(form, log_weight=weight), form.total(z), settled), unit


def _with_limits(form: PathForm, x: Array, limited: BoolArray) -> PathForm:
    """The problem with one more link for every limited flow, which its rate fills."""
    from scipy import sparse

    which = np.flatnonzero(limited)
    paths = np.flatnonzero(limited[form.owner])
    of = form.owner[paths]
    entries = (1.0 / x[of], (np.searchsorted(which, of), paths))
    own = sparse.csr_array(entries, shape=(len(which), len(form.owner)))
    A = sparse.vstack([form.A, own], format="csr")
    same = sparse.csr_array((form.pairs.difference.shape[0], len(which)))
    apart = sparse.hstack([form.pairs.difference, same], format="csr")
    pairs = Pairs(form.pairs.lower, form.pairs.upper, apart)
    return replace(form, A=A, transposed=A.T.tocsr(), pairs=pairs)


def _above_widest_gap(log_price: Array, among: BoolArray) -> BoolArray:
    """Flows above the widest gap in what they pay, of those gaps that a next stage may follow."""
    falling = np.sort(log_price[among])[::-1]
    below = np.append(falling[1:], -np.inf)
    may_end = (below < falling[0] - SOONEST) & (falling >= falling[0] - SETTLED)
    last = falling[np.argmax(np.where(may_end, falling - below, -1.0))]
    return np.asarray(among & (log_price >= last))
