r"""Large alpha: the exact solution of used paths and priced links, in as many digits as it takes.

As `polish`, from the sides that float64 suggests: Newton's method on

.. math:: \pi_i = (R'\lambda)_p \;(p \text{ used}), \quad (R z)_l = c_l \;(l \text{ priced}), \quad
    \pi_i = p_i x_i^{-\alpha} ,

where a step ends as soon as a sign would change, and that member changes sides. From a smaller
alpha to twice as much sides hardly change, prices become their squares, and rates hardly move; so a
large alpha costs some ten steps for every doubling. Prices that differ by d decades need 2 d + 80
digits: d for what cheap flows pay, as much again for what is compared in the Newton system.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import NamedTuple

import numpy as np

from fairopt.allocation.multipath.decimal_form import (
    ONE,
    ZERO,
    Change,
    DecimalForm,
    Decimals,
    Sides,
    decimals,
    newton_change,
    none_of,
)
from fairopt.arrays import Array

SPARE = 80  # digits beyond twice the decades of prices
EXACT = 26  # digits to which the conditions hold, beyond those decades
NEAREST = 20  # digits by which what keeps splits and prices where they are is too small to count
LARGEST_FALL = Decimal("0.9")  # of a rate or a price in one step
FLIPS = 200  # changes of sides at one alpha
MOST_STEPS = 300


class DecimalPoint(NamedTuple):
    """Path rates, link prices and flow prices, with their sides."""

    z: Decimals
    prices: Decimals
    pi: Decimals
    sides: Sides


def guessed(form: DecimalForm, z: Array, prices: Array) -> DecimalPoint:
    """A start from float64: the larger of two complementary numbers; fullest paths are used."""
    cost, load = form.rows @ prices, form.rows.T @ z
    x, pi = np.add.reduceat(z, form.first), np.minimum.reduceat(cost, form.first)
    used = z / x[form.owner] > 1.0 - pi[form.owner] / cost
    used |= z == np.maximum.reduceat(z, form.first)[form.owner]
    rows = form.rows.tocoo()
    part = np.zeros(len(prices))
    np.maximum.at(part, rows.col, rows.data * prices[rows.col] / cost[rows.row])
    priced = part > 1.0 - load / form.capacity
    point = decimals(np.where(used, z, 0.0)), decimals(np.where(priced, prices, 0.0))
    return DecimalPoint(*point, decimals(pi), Sides(used, priced))


def decades(form: DecimalForm, z: Decimals) -> int:
    """Of the range of flow prices at the rates of z."""
    x = form.total(z)
    price = [
        float(p.log10()) - form.alpha * float(v.log10())
        for p, v in zip(form.priority, x, strict=True)
    ]
    return int(max(price) - min(price)) + 1


def exact_point(
    form: DecimalForm, start: DecimalPoint, most_steps: float = np.inf
) -> tuple[DecimalPoint | None, int]:
    """The optimum, or None where it takes more changes of sides or steps; and the steps."""
    d = decades(form, start.z)
    with localcontext() as context:
        context.prec = digits_for(d)
        tolerance = ONE.scaleb(-d - EXACT)
        point, flips, steps = _feasible(form, start), 0, 0
        for steps in range(int(min(most_steps, MOST_STEPS))):
            x = form.total(point.z)
            if not min(x) > 0:
                return None, steps
            ratio = form.marginal(x) / point.pi
            values, residual = _judge(form, point, ratio)
            if residual <= tolerance:
                return point, steps
            change = _step(form, point, x, ratio)
            length, member = _ratio_test(form, point, x, values, change, tolerance)
            point = _moved(point, change, length, member)
            flips += member is not None
            if flips > FLIPS:
                break
    return None, steps


def _feasible(form: DecimalForm, start: DecimalPoint) -> DecimalPoint:
    """The start with rates that fit and paths that cost at least what their flow pays."""
    z = start.z / max(ONE, max(form.load(start.z) / form.limit))
    return start._replace(z=z, pi=form.cheapest(form.cost(start.prices)))


def digits_for(decades: int) -> int:
    """Digits that prices take which differ by so many decades."""
    return 2 * decades + SPARE


def at_twice_alpha(form: DecimalForm, point: DecimalPoint) -> DecimalPoint:
    """A start for a problem of twice the alpha: rates as they are, prices squared."""
    with localcontext() as context:
        context.prec = digits_for(decades(form, point.z))
        return point._replace(prices=point.prices**2)


def _judge(
    form: DecimalForm, point: DecimalPoint, ratio: Decimals
) -> tuple[list[Decimals], Decimal]:
    """Numbers whose signs are kept, of paths and of links, and the residual of all conditions."""
    z, prices, pi, (used, priced) = point
    extra = form.cost(prices) / pi[form.owner] - 1
    slack = 1 - form.load(z) / form.limit
    off = (np.where(used, abs(extra), -extra), np.where(priced, abs(slack), -slack), abs(ratio - 1))
    return [np.where(used, z, extra), np.where(priced, prices, slack)], max(map(max, off))


def _step(form: DecimalForm, point: DecimalPoint, x: Decimals, ratio: Decimals) -> Change:
    """Newton's step in the logarithm of rates."""
    z, prices, pi, sides = point
    extra, room = pi[form.owner] - form.cost(prices), form.limit - form.load(z)
    small = ONE.scaleb(-NEAREST)
    missing = pi * np.array([_logarithm(value) for value in ratio], dtype=object)
    alpha = Decimal(form.alpha)
    split, barrier = small * min(pi / x), small * min(x / pi) / alpha
    return newton_change(form, sides, extra, missing, room, alpha * pi / x, split, barrier)


def _logarithm(ratio: Decimal) -> Decimal:
    """Roughly, and zero exactly at 1."""
    off = ratio - 1
    return off - off * off / 2 if abs(off) < Decimal("1e-3") else Decimal(float(ratio.ln()))


def _ratio_test(
    form: DecimalForm,
    point: DecimalPoint,
    x: Decimals,
    values: list[Decimals],
    change: Change,
    tolerance: Decimal,
) -> tuple[Decimal, tuple[int, int] | None]:
    """The step to the first change of a sign, and whose it is; None if there is none."""
    used, priced = point.sides
    pi = point.pi[form.owner]
    cost = (1 + values[0]) * pi
    ahead = (form.cost(change.prices) - cost / pi * change.pi[form.owner]) / pi
    changes = (
        np.where(used, change.z, ahead),
        np.where(priced, change.prices, -form.load(change.z) / form.limit),
    )
    length, member = ONE, None
    for kind, (value, step) in enumerate(zip(values, changes, strict=True)):
        least = none_of(len(value))
        least[~point.sides[kind]] = -tolerance
        for k in np.flatnonzero(value + step < least):
            ratio = max(value[k], ZERO) / -step[k]
            if ratio < length:
                length, member = ratio, (kind, int(k))
    fall = max(max(-change.x / x), max(-change.pi / point.pi))
    return (LARGEST_FALL / fall, None) if fall * length > LARGEST_FALL else (length, member)


def _moved(
    point: DecimalPoint, change: Change, length: Decimal, member: tuple[int, int] | None
) -> DecimalPoint:
    """The end of a step; who changes sides leaves exactly zero behind."""
    z, prices = point.z + length * change.z, point.prices + length * change.prices
    sides = Sides(point.sides.used.copy(), point.sides.priced.copy())
    if member is not None:
        kind, k = member
        sides[kind][k] = not sides[kind][k]
        if not sides[kind][k]:
            (z, prices)[kind][k] = ZERO
    return DecimalPoint(z, prices, point.pi + length * change.pi, sides)
