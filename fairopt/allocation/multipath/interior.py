r"""The central path of flows over several paths, from a cold start to complementarity 1e-10.

With :math:`q_i = \pi_i + \mu_i` the marginal utility of flow i, of which :math:`\mu_i` is the price
of its own limit, path prices :math:`A'\lambda = \pi + \nu`, slack s of links and t of limits,

.. math:: \alpha \log x_i + \log q_i = \log v_i, \quad A z + s = 1, \quad x + t = d, \quad
    z_p \nu_p = \tau x_i q_i, \quad \lambda_l s_l = \tau k_l, \quad \mu_i t_i = \tau x_i q_i ,

where k_l is the most that the price of link l can be: what its cheapest user pays. From anywhere
the path is reached in logarithms, in which complementarity is linear; then it is followed by
Mehrotra's predictor and corrector. The price :math:`\pi` is no logarithm, as it is 0 for a flow
that only its own limit holds. A large alpha is reached through smaller ones: rates hardly move, and
prices are nearly raised to the ratio.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from fairopt.allocation.multipath.link_space import Change, SplitForm, newton_system
from fairopt.arrays import Array

PROXIMAL = 1e-8  # of q / x: keeps exchanges between used paths of equal price from being free
LARGE_GAP = 0.1  # complementarity at which the path is reached from a cold start
SMALL_GAP = 1e-2  # and from one alpha to the next
CENTRED, SETTLED = 1.0, 3.0  # residual and largest change at which it is reached
LONGEST = 4.0  # change of a logarithm in one step; all are shortened alike
LOG_STEPS = 60  # from a cold start; 6 to 20 are usual
WARM_STEPS = 15  # from the answer of a smaller alpha
EASY = 2.0  # alpha that is solved from anywhere
GROWTH, FASTER, SLOWER = 2.0, 1.5, 0.5  # of alpha, its exponents after easy and failed steps
QUICK = 4  # steps: fewer are easy
LEAST_GROWTH = 1.02
LEAST_ROOM = 1e-3  # of a limit at a start
ABOVE = 10.0  # times less: extra prices that a path of a smaller alpha may start with
TO_BOUNDARY = 0.9995
LEAST_CENTRING, MOST_CENTRING = 1e-6, 0.9  # of the present complementarity
BELOW = 0.3  # of the goal: the least complementarity aimed at
STEPS = 60
WAITING = 4  # steps at the target: rounding can keep the residual above ON_PATH
ON_PATH = 1e-9
SECOND_ORDER = 0.03  # affine step below which second-order terms mislead
LARGEST_BEND = 0.5  # of a logarithm, from second-order terms
START_COST = 0.9  # of the cheapest path


class Point(NamedTuple):
    """A point with everything positive; `mu` and `t` are those of limited flows only."""

    z: Array
    nu: Array
    prices: Array
    s: Array
    q: Array
    mu: Array
    t: Array

    def like(self, flat: Array) -> Point:
        """The parts of one long array."""
        parts, begin = [], 0
        for part in self:
            parts.append(flat[begin : begin + len(part)])
            begin += len(part)
        return Point(*parts)


class State(NamedTuple):
    """What both kinds of steps need at a point.

    Attributes:
        x, mu, pi: (flows,) rates, prices of limits and the rest of marginal utilities.
        cost: (paths,) prices of paths.
        stationary, primal, room: Residuals of the equations of flows, links and limits.
        path_unit, link_unit, flow_unit: Units of complementarity.
        off: The largest relative residual.
    """

    x: Array
    mu: Array
    pi: Array
    cost: Array
    stationary: Array
    primal: Array
    room: Array
    path_unit: Array
    link_unit: Array
    flow_unit: Array
    off: float


def first_point(form: SplitForm) -> Point:
    """Rates that fill no link more than half, and prices that meet all but stationarity."""
    none = np.zeros(form.links)
    users = np.bincount(form.link, minlength=form.links)
    fullest = np.maximum.reduceat(form.rows.data * users[form.link], form.start[:-1].astype(int))
    z = 0.5 / fullest
    z = z * np.minimum(1.0, 0.5 * form.upper / form.total(z))[form.owner]
    q = np.exp(form.log_weight - form.alpha * np.log(form.total(z)))
    hops = np.diff(form.rows.indptr)
    prices = form.highest_prices(q[form.owner] / hops, none)
    cost, load = form.costs_and_loads(z, prices)
    pi = START_COST * form.cheapest(cost)
    mu, t = _limits(form, form.total(z), pi, LARGE_GAP)
    q = pi.copy()
    q[form.limited] += mu
    return Point(z, cost - pi[form.owner], prices, 1.0 - load, q, mu, t)


def _limits(form: SplitForm, x: Array, q: Array, tau: float) -> tuple[Array, Array]:
    """Prices and room of the limits of flows."""
    of = form.limited
    t = np.maximum(form.upper[of] - x[of], LEAST_ROOM * form.upper[of])
    return tau * x[of] * q[of] / t, t


def state_of(form: SplitForm, point: Point) -> State:
    """Residuals and units at a point."""
    x = form.total(point.z)
    mu = np.zeros(form.flows)
    mu[form.limited] = point.mu
    pi = point.q - mu
    users = pi[form.owner]
    cost, load = form.costs_and_loads(point.z, point.prices)
    stationary = form.log_weight - form.alpha * np.log(x) - np.log(point.q)
    primal = 1.0 - load - point.s
    room = form.upper[form.limited] - x[form.limited] - point.t
    pays = point.q[form.owner] + point.nu
    unit = x * point.q
    off = max(
        float(np.abs(stationary).max()),
        float((np.abs(point.nu + users - cost) / pays).max()),
        float(np.abs(primal).max()),
        float((np.abs(room) / form.upper[form.limited]).max(initial=0.0)),
    )
    highest = form.highest_prices(pays, point.prices)
    return State(
        x,
        mu,
        pi,
        cost,
        stationary,
        primal,
        room,
        unit[form.owner],
        highest,
        unit[form.limited],
        off,
    )


def log_phase(form: SplitForm, point: Point, tau: float, tries: int) -> tuple[Point, int, bool]:
    """From anywhere to the path near tau; the steps, and whether it was reached."""
    for k in range(tries):
        moved = _log_step(form, point, tau)
        if moved is None:
            return point, k, False
        point, off, largest = moved
        if off < CENTRED and largest < SETTLED:
            return point, k + 1, True
    return point, tries, False


def _log_step(form: SplitForm, point: Point, tau: float) -> tuple[Point, float, float] | None:
    """One Newton step in logarithms, the residual before it and its largest change."""
    z, nu, prices, s, q, mu, t = point
    at = state_of(form, point)
    path_gap = np.log(tau * at.path_unit / (z * nu))
    link_gap = np.log(tau * at.link_unit / (prices * s))
    flow_gap = np.log(tau * at.flow_unit / (mu * t))
    of = form.limited
    H, a = form.alpha * q / at.x, q * at.stationary
    H[of] += mu / t
    a[of] += mu / t * at.room - mu * flow_gap
    e = at.pi[form.owner] + nu * (1.0 + path_gap) - at.cost
    D = 1.0 / (nu / z + PROXIMAL * (q / at.x)[form.owner])
    system = newton_system(form, D, H, s / prices)
    if system is None:
        return None
    d = system.solve(a, e, at.primal - s * link_gap, refined=False)
    log_z, log_price = d.z / z, d.prices / prices
    log_t = (at.room - d.x[of]) / t
    changes = Point(
        log_z,
        path_gap - log_z,
        log_price,
        link_gap - log_price,
        at.stationary - form.alpha * d.x / at.x,
        flow_gap - log_t,
        log_t,
    )
    change = np.concatenate(changes)
    largest = float(np.abs(change).max())
    if not np.isfinite(largest):
        return None
    flat = np.concatenate(point) * np.exp(min(1.0, LONGEST / largest) * change)
    return point.like(flat), at.off, largest


def at_alpha(form: SplitForm, alpha: float) -> SplitForm:
    """The problem at a smaller alpha, with weights v^(alpha / form.alpha)."""
    return replace(form, alpha=alpha, log_weight=form.log_weight * (alpha / form.alpha))


def reach_path(form: SplitForm) -> tuple[Point, int, bool]:
    """A point of the path; a large alpha is reached through smaller ones."""
    now = at_alpha(form, min(form.alpha, EASY))
    point, steps, reached = log_phase(now, first_point(now), LARGE_GAP, LOG_STEPS)
    growth = GROWTH
    if reached and now.alpha < form.alpha:
        point, used, reached = log_phase(now, point, SMALL_GAP, WARM_STEPS)
        steps += used
    while reached and now.alpha < form.alpha:
        then = at_alpha(form, min(now.alpha * growth, form.alpha))
        start = _raised(then, point, then.alpha / now.alpha)
        moved, used, there = log_phase(then, start, SMALL_GAP, WARM_STEPS)
        steps += used
        if there:
            now, point = then, moved
            growth = growth**FASTER if used < QUICK else growth
        else:
            growth = growth**SLOWER
            reached = growth > LEAST_GROWTH
    return point, steps, reached


def _raised(form: SplitForm, point: Point, ratio: float) -> Point:
    """A start from the point of an alpha that was smaller by a factor."""
    x = form.total(point.z)
    q = np.exp(form.log_weight - form.alpha * np.log(x))
    prices = point.prices**ratio
    mu, t = _limits(form, x, q, SMALL_GAP)
    before = point.q[form.limited]
    mu = np.maximum(mu, q[form.limited] * np.minimum(point.mu / before, 1.0 - SMALL_GAP))
    pi = q.copy()
    pi[form.limited] -= mu
    cost, _ = form.costs_and_loads(point.z, prices)
    least = SMALL_GAP * (x * q)[form.owner] / (ABOVE * point.z)
    return Point(point.z, np.maximum(cost - pi[form.owner], least), prices, point.s, q, mu, t)


def follow_path(form: SplitForm, point: Point, goal: float) -> tuple[Point, int]:
    """Mehrotra's predictor and corrector until mean complementarity is `goal`; the steps."""
    waited = 0
    for k in range(STEPS):
        at = state_of(form, point)
        gap = _mean_gap(point, at)
        waited += gap <= goal
        if gap <= goal and (at.off <= ON_PATH or waited > WAITING):
            return point, k
        moved = _corrected_step(form, point, at, gap, goal)
        if moved is None:
            return point, k
        point = moved
    return point, STEPS


def _mean_gap(point: Point, at: State) -> float:
    """Mean complementarity in its units."""
    total = float(
        (point.z * point.nu / at.path_unit).sum()
        + (point.prices * point.s / at.link_unit).sum()
        + (point.mu * point.t / at.flow_unit).sum()
    )
    return total / (len(point.z) + len(point.s) + len(point.t))


def _corrected_step(
    form: SplitForm, point: Point, at: State, gap: float, goal: float
) -> Point | None:
    """The affine step, its correction, and the way to the boundary."""
    z, nu, prices, s, q, mu, t = point
    of = form.limited
    H = form.alpha * q / at.x
    H[of] += mu / t
    D = 1.0 / (nu / z + PROXIMAL * (q / at.x)[form.owner])
    system = newton_system(form, D, H, s / prices)
    if system is None:
        return None

    def direction(path: Array, link: Array, flow: Array, bend: Array, last: bool) -> Point:
        """Towards products `path`, `link` and `flow` of complementary pairs."""
        a = q * (at.stationary + bend)
        a[of] += mu + mu / t * at.room - flow / t
        e = at.pi[form.owner] + path / z - at.cost
        d = system.solve(a, e, at.primal + s - link / prices, refined=last)
        return _all_changes(form, point, at, d, (path, link, flow, bend))

    none = np.zeros(form.flows)
    affine = direction(np.zeros_like(z), np.zeros_like(s), np.zeros_like(t), none, False)
    length, ahead = _moved(point, affine)
    if not np.isfinite(length):
        return None
    sigma = min(max((_mean_gap(ahead, at) / gap) ** 3, LEAST_CENTRING), MOST_CENTRING)
    tau = max(sigma * gap, BELOW * goal)
    use = 1.0 if length > SECOND_ORDER else 0.0
    bend = 0.5 * (form.alpha * (form.total(affine.z) / at.x) ** 2 + (affine.q / q) ** 2)
    found = direction(
        tau * at.path_unit - use * affine.z * affine.nu,
        tau * at.link_unit - use * affine.prices * affine.s,
        tau * at.flow_unit - use * affine.mu * affine.t,
        use * np.minimum(bend, LARGEST_BEND),
        True,
    )
    length, moved = _moved(point, found)
    return moved if np.isfinite(length) else None


def _all_changes(
    form: SplitForm,
    point: Point,
    at: State,
    d: Change,
    target: tuple[Array, Array, Array, Array],
) -> Point:
    """The changes of what was eliminated."""
    z, nu, prices, s, q, mu, t = point
    path, link, flow, bend = target
    dt = at.room - d.x[form.limited]
    return Point(
        d.z,
        path / z - nu - nu / z * d.z,
        d.prices,
        link / prices - s - s / prices * d.prices,
        q * (at.stationary + bend - form.alpha * d.x / at.x),
        flow / t - mu - mu / t * dt,
        dt,
    )


def _moved(point: Point, change: Point) -> tuple[float, Point]:
    """The step as far as all stay positive; its length is NaN where a change is not a number."""
    value, step = np.concatenate(point), np.concatenate(change)
    fastest = (-step / value).max()
    length = float(np.minimum(1.0, TO_BOUNDARY / np.maximum(fastest, TO_BOUNDARY)))
    return length, point.like(value + length * step)
