r"""The last digits: Newton's method on the equations of used paths and priced links.

From a point near the end of the central path, guess which paths are used, which links have a price
and which flows are held by their own limit, and solve

.. math:: \pi_i = (A'\lambda)_p \;(p \text{ used}), \quad (A z)_l = 1 \;(l \text{ priced}), \quad
    \pi_i = v_i x_i^{-\alpha} \;(\text{free}), \quad x_i = d_i \;(\text{limited}).

Splits and prices need not be unique: small proximal terms take the nearest, and as residuals are
exact they do not shift the answer. A step ends where a sign would change (a used path empty, a
price zero, an unpriced link full, an unused path cheaper than its flow's price, a limit reached or
of negative price); that member changes sides, and the next step is taken. Setting signs right
after full steps diverges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fairopt.allocation.multipath.interior import Point
from fairopt.allocation.multipath.link_space import Change, SplitForm, newton_system
from fairopt.arrays import Array, BoolArray

FREE_SPLIT = 1e-7  # of q / x: proximal weight of used paths
FREE_PRICE = 1e-9  # of 1 / k: proximal weight of the price of a priced link
FIXED = 1e14  # of 1 / k: holds the price of an unpriced link at 0
HELD = 1e10  # of q / x: holds a limited flow at its limit
EXACT = 1e-14  # residual at which it ends
GOOD = 1e-12  # residual of an answer
FULL_STEPS = 8  # without a change of sides; 2 or 3 are usual
ROUNDING = 1e-13  # relative: signs of less are not seen
LARGEST_FALL = 0.9  # of a rate in one step
MOST_FULL_STEPS = 12  # from a similar problem; two thirds of the ways there take 3 to 8
SHORT, PATIENCE = 0.5, 3  # of a step, and how many of these in a row lead nowhere


class Polished(NamedTuple):
    """Path rates, link prices, prices of limits, the KKT residual, and the steps."""

    z: Array
    prices: Array
    mu: Array
    residual: float
    steps: int


@dataclass
class _Sides:
    """Which paths are used, links priced and flows limited."""

    used: BoolArray
    priced: BoolArray
    limited: BoolArray


class _Values(NamedTuple):
    """Numbers whose signs are kept, relative to their units, in the order of `_flip`."""

    path: Array
    link: Array
    flow: Array


class _Now(NamedTuple):
    """A point with what follows from it; `unit` is that of extra prices of paths."""

    z: Array
    prices: Array
    pi: Array
    x: Array
    q: Array
    cost: Array
    load: Array
    unit: Array


def _now(form: SplitForm, z: Array, prices: Array, pi: Array) -> _Now:
    """A point with everything that the equations need of it."""
    x = form.total(z)
    q = np.exp(form.log_weight - form.alpha * np.log(x))
    cost, load = form.costs_and_loads(z, prices)
    return _Now(z, prices, pi, x, q, cost, load, q[form.owner] + cost)


def polish(form: SplitForm, point: Point, flips: int) -> Polished:
    """The exact solution of the guessed sides, with at most `flips` changes of them."""
    sides, now, highest = _begin(form, point)
    best = Polished(point.z, point.prices, point.mu, np.inf, 0)
    full, steps = 0, 0
    while steps < flips + FULL_STEPS:
        values, residual = _judge(form, sides, now, highest)
        if residual < best.residual:
            best = _polished(form, sides, now, residual)
        if best.residual <= EXACT or full == FULL_STEPS or not np.isfinite(residual):
            break
        d = _step(form, sides, now, highest)
        if d is None or not np.isfinite(d.prices).all():
            break
        length, member = _ratio_test(form, sides, values, now, d, highest)
        steps += 1
        full += member is None
        moved = now.z + length * d.z, np.maximum(now.prices + length * d.prices, 0.0)
        if member is not None:
            _flip(sides, *moved, member)
        now = _now(form, *moved, now.pi + length * d.pi)
    return best._replace(steps=steps)


def resume(form: SplitForm, point: Point) -> Polished:
    """The exact solution from a point near it: full steps, and all signs set right after each.

    Where few members change sides this takes 3 to 8 steps, and it need not end: then the residual
    is large. A step is shortened where a rate would vanish; several such steps in a row lead
    nowhere.
    """
    sides, now, highest = _begin(form, point)
    short, steps, residual = 0, 0, np.inf
    while short < PATIENCE and steps <= MOST_FULL_STEPS and (now.x > 0.0).all():
        values, residual = _judge(form, sides, now, highest)
        if residual <= GOOD or not np.isfinite(residual):
            break
        d = _step(form, sides, now, highest)
        if d is None or not np.isfinite(d.prices).all():
            break
        changes = _relative(form, sides, now, d, highest)
        length = _until_vanishing(now, d)
        short = short + 1 if length < SHORT else 0
        steps += 1
        z, prices = now.z + length * d.z, now.prices + length * d.prices
        now = _now(
            form, *_set_right(sides, values, changes, length, z, prices), now.pi + length * d.pi
        )
    return _polished(form, sides, now, residual)._replace(steps=steps)


def _set_right(
    sides: _Sides, values: _Values, changes: _Values, length: float, z: Array, prices: Array
) -> tuple[Array, Array]:
    """Let all whose sign has changed change sides; what they leave becomes exactly zero."""
    sides_of = (sides.used, sides.priced, sides.limited)
    for side, value, change, left in zip(sides_of, values, changes, (z, prices, None), strict=True):
        wrong = value + length * change < -ROUNDING
        if left is not None:
            left[wrong & side] = 0.0
        side[wrong] ^= True
    return z, np.maximum(prices, 0.0)


def _begin(form: SplitForm, point: Point) -> tuple[_Sides, _Now, Array]:
    """The guessed sides, the point on them, and the units of prices."""
    highest = form.highest_prices(point.q[form.owner] + point.nu, point.prices)
    sides = _guess(form, point, highest)
    pi = point.q.copy()
    pi[form.limited] -= point.mu
    z = np.where(sides.used, point.z, 0.0)
    return sides, _now(form, z, np.where(sides.priced, point.prices, 0.0), pi), highest


def _polished(form: SplitForm, sides: _Sides, now: _Now, residual: float) -> Polished:
    """The point; a limit that is not reached has no price."""
    mu = np.where(sides.limited, np.maximum(now.q - now.pi, 0.0), 0.0)
    return Polished(now.z, now.prices, mu[form.limited], residual, 0)


def _guess(form: SplitForm, point: Point, highest: Array) -> _Sides:
    """The larger of two complementary numbers, each in its unit; the fullest path is used."""
    pays = point.q[form.owner] + point.nu
    used = point.z / form.total(point.z)[form.owner] > point.nu / pays
    last = np.append(form.first[1:], len(point.z)) - 1
    used[np.lexsort((point.z, form.owner))[last]] = True
    limited = np.zeros(form.flows, dtype=bool)
    of = form.limited
    limited[of] = point.mu / point.q[of] > point.t / form.upper[of]
    return _Sides(used, point.prices / highest > point.s, limited)


def _judge(form: SplitForm, sides: _Sides, now: _Now, highest: Array) -> tuple[_Values, float]:
    """The signs to keep, and the residual of all conditions together."""
    extra = (now.cost - now.pi[form.owner]) / now.unit
    share = now.z / now.x[form.owner]
    slack = 1.0 - now.load
    room, own = 1.0 - now.x / form.upper, 1.0 - now.pi / now.q
    off = (
        np.where(sides.used, np.maximum(np.abs(extra), -share), -extra),
        np.where(sides.priced, np.abs(slack), -slack),
        np.where(sides.limited, np.maximum(np.abs(room), -own), np.maximum(np.abs(own), -room)),
    )
    worst = np.max([part.max() for part in off])
    values = _Values(
        np.where(sides.used, share, extra),
        np.where(sides.priced, now.prices / highest, slack),
        np.where(sides.limited, own, room),
    )
    return values, float(np.where(np.isnan(worst), np.inf, worst))


def _step(form: SplitForm, sides: _Sides, now: _Now, highest: Array) -> Change | None:
    """A Newton step on the equations of the sides."""
    stiff = now.q / now.x
    D = np.where(sides.used, 1.0 / (FREE_SPLIT * stiff)[form.owner], 0.0)
    H = np.where(sides.limited, HELD, form.alpha) * stiff
    over = np.where(sides.limited, form.upper, now.x) - now.x
    a = np.where(sides.limited, H * over, now.q - now.pi)
    barrier = np.where(sides.priced, FREE_PRICE, FIXED) / highest
    system = newton_system(form, D, H, barrier)
    if system is None:
        return None
    r = np.where(sides.priced, 1.0 - now.load, 0.0)
    d = system.solve(a, now.pi[form.owner] - now.cost, r)
    return d._replace(prices=np.where(sides.priced, d.prices, 0.0))


def _ratio_test(
    form: SplitForm, sides: _Sides, values: _Values, now: _Now, d: Change, highest: Array
) -> tuple[float, tuple[int, int] | None]:
    """The step to the first change of a sign, and whose it is; 1 and None if there is none."""
    changes = _relative(form, sides, now, d, highest)
    length, member = 1.0, None
    for kind, (value, change) in enumerate(zip(values, changes, strict=True)):
        where = np.flatnonzero(value + change < -ROUNDING)
        if len(where):
            ratio = np.maximum(value[where], 0.0) / -change[where]
            k = int(np.argmin(ratio))
            if ratio[k] < length:
                length, member = float(ratio[k]), (kind, int(where[k]))
    most = _until_vanishing(now, d)
    return (most, None) if most < length else (length, member)


def _relative(form: SplitForm, sides: _Sides, now: _Now, d: Change, highest: Array) -> _Values:
    """The changes of the numbers whose signs are kept."""
    cost, _ = form.costs_and_loads(now.z, d.prices)
    return _Values(
        np.where(sides.used, d.z / now.x[form.owner], (cost - d.pi[form.owner]) / now.unit),
        np.where(sides.priced, d.prices / highest, -d.load),
        np.where(sides.limited, -d.pi / now.q, -d.x / form.upper),
    )


def _until_vanishing(now: _Now, d: Change) -> float:
    """The longest step, at most 1, in which no rate falls by more than `LARGEST_FALL`."""
    fall = float((-d.x / now.x).max())
    return LARGEST_FALL / fall if fall > LARGEST_FALL else 1.0


def _flip(sides: _Sides, z: Array, prices: Array, member: tuple[int, int]) -> None:
    """Let one path, link or flow change sides; what it leaves behind becomes exactly zero."""
    kind, k = member
    side = (sides.used, sides.priced, sides.limited)[kind]
    side[k] = not side[k]
    if kind < 2 and not side[k]:
        (z, prices)[kind][k] = 0.0
