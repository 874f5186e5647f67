r"""Primal-dual interior point for flows that split over paths, finite alpha > 0.

With path rates z, flow rates x = G z, link prices lambda, flow prices pi and extra prices nu of
paths, the equations are

.. math:: \alpha \log x_i + \log \pi_i = \log v_i, \quad A'\lambda - \nu = G'\pi, \quad A z + s = 1,
    \quad z_p \nu_p = \tau \pi_i, \quad \lambda_l s_l = \tau k_l .

The utility is flat along exchanges between the paths of one flow, so the Newton system is written
as C diag(omega) C' + diag(s / lambda) with one column of C per flow (its mean path) and one
per pair of its paths (their difference): every weight is positive, nothing cancels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fairopt.allocating.newton import RIDGE, factorised_solve
from fairopt.checks import Array, Ints

STEPS = 100
STAY_INSIDE = 0.99  # of the way to the boundary
LEAST_CENTRING = 0.02  # of the present complementarity
NEAR = 1.0  # violation of the equations above which complementarity shrinks only slowly
SLOWLY = 0.3
LEAST = 1e-17  # complementarity aimed at
ENOUGH = 1e-15  # complementarity relative to the prices: unused paths carry nothing visible
EQUATIONS = 1e-12  # violation of the others
PROXIMAL = 1e-6  # of pi / x: keeps exchanges between used paths of equal price from being free
SHORT = 1e-8  # a step that shows that rounding is reached
EASY = 2.0  # alpha that is solved from anywhere
GROWTH = 2.0  # from one alpha to the next
INWARD = 0.9  # weight of the previous answer in the next start
LEAST_SHARE = 0.1  # of the prices of users that a link or a path has at the start
LEAST_ROOM = 0.05  # of a link at the start
LARGEST_LOG = 600.0  # keeps first prices inside float64
LARGEST_MOVE = 2.0  # change of a logarithm that one step may ask for


@dataclass(frozen=True, eq=False)
class PathForm:
    """The scaled problem: A (links, paths) with capacities 1, and the pairs of paths of a flow."""

    A: Any
    transposed: Any
    owner: Ints
    flows: int
    log_weight: Array
    alpha: float
    pairs: tuple[Ints, Ints]
    difference: Any

    def total(self, of_paths: Array) -> Array:
        """Sums over the paths of each flow."""
        return np.bincount(self.owner, of_paths, self.flows).astype(np.float64, copy=False)


def path_form(A: Any, owner: Ints, flows: int, log_weight: Array, alpha: float) -> PathForm:
    """The problem with its pairs of paths."""
    first = np.searchsorted(owner, owner)
    left = [np.arange(first[p], p) for p in range(len(owner))]
    lower = np.concatenate(left) if left else np.zeros(0, dtype=np.int64)
    upper = np.repeat(np.arange(len(owner)), [len(part) for part in left])
    columns = A.tocsc()
    difference = (columns[:, lower] - columns[:, upper]).tocsr()
    pairs = (lower, upper)
    return PathForm(A, A.T.tocsr(), owner, flows, log_weight, alpha, pairs, difference)


@dataclass(eq=False)
class _Point:
    """The iterate."""

    z: Array
    nu: Array
    prices: Array
    s: Array
    pi: Array


def solve_paths(form: PathForm) -> tuple[Array, Array, int]:
    """Path rates, link prices and steps, by way of smaller alpha where alpha is large."""
    weight, alpha = form.log_weight, form.alpha
    stages = [alpha / GROWTH**k for k in range(1, 20) if alpha / GROWTH**k >= EASY][::-1]
    z = _half_full(form)
    shares = np.ones(form.A.shape[0])
    steps = 0
    for stage in [*stages, alpha]:
        now = replace(form, alpha=stage, log_weight=weight * (stage / alpha))
        point, used = _follow(now, _start(now, z, shares))
        steps += used
        z = INWARD * point.z + (1.0 - INWARD) * _half_full(form)
        shares = point.prices / _level(now, point)
    return point.z, point.prices, steps


def _follow(form: PathForm, point: _Point) -> tuple[_Point, int]:
    """The central path from a point inside to its end, and the steps."""
    tau = 1.0
    for k in range(STEPS):
        level = _level(form, point)
        change = _direction(form, point, level, tau)
        if change is None:
            return point, k
        length = _step(point, *change)
        gaps = np.concatenate(
            [point.prices * point.s / level, point.z * point.nu / point.pi[form.owner]]
        )
        off = _off(form, point)
        if (gaps.max() <= ENOUGH and off <= EQUATIONS) or length < SHORT:
            return point, k
        less = SLOWLY if off > NEAR else max(LEAST_CENTRING, (1.0 - length) ** 2)
        tau = max(min(less * float(gaps.mean()), tau), LEAST)
    return point, STEPS


def _half_full(form: PathForm) -> Array:
    """Path rates that fill no link more than half."""
    crowd = form.A @ np.ones(len(form.owner))
    fullest = (form.transposed.multiply(crowd[None, :])).max(axis=1).toarray().ravel()
    return np.asarray(0.5 / np.maximum(fullest, 1.0))


def _start(form: PathForm, z: Array, shares: Array) -> _Point:
    """A point with given path rates, and prices that are given shares of what users pay."""
    log_pi = form.log_weight - form.alpha * np.log(form.total(z))
    pi = np.exp(np.clip(log_pi, -LARGEST_LOG, LARGEST_LOG))
    users = pi[form.owner]
    level = (form.A @ (z * users)) / (form.A @ z)
    prices = level * np.maximum(shares, LEAST_SHARE)
    nu = np.maximum(form.transposed @ prices - users, LEAST_SHARE * users)
    return _Point(z, nu, prices, np.maximum(1.0 - form.A @ z, LEAST_ROOM), pi)


def _level(form: PathForm, point: _Point) -> Array:
    """The mean flow price on each link, weighed by what paths carry."""
    return np.asarray((form.A @ (point.z * point.pi[form.owner])) / (form.A @ point.z))


def _residuals(form: PathForm, point: _Point) -> tuple[Array, Array, Array]:
    """Right-hand sides of the three equations that are not complementarity."""
    log_rate = np.log(form.total(point.z))
    stationary = form.log_weight - form.alpha * log_rate - np.log(point.pi)
    dual = point.nu + point.pi[form.owner] - form.transposed @ point.prices
    return stationary, dual, 1.0 - form.A @ point.z - point.s


def _off(form: PathForm, point: _Point) -> float:
    """How far these equations are from holding, relatively."""
    stationary, dual, primal = _residuals(form, point)
    relative = dual / point.pi[form.owner]
    return float(max(np.abs(part).max() for part in (stationary, relative, primal)))


def _direction(
    form: PathForm, point: _Point, level: Array, tau: float
) -> tuple[Array, Array, Array, Array, Array] | None:
    """Changes of z, nu, prices, s and pi, or None where the system cannot be solved."""
    owner, z, nu, pi = form.owner, point.z, point.nu, point.pi
    stationary, dual, primal = _residuals(form, point)
    stationary = np.clip(stationary, -LARGEST_MOVE, LARGEST_MOVE)
    D = 1.0 / (nu / z + PROXIMAL * (pi / form.total(z))[owner])
    S = form.total(D)
    stiff = form.alpha * pi / form.total(z)
    e = (tau * pi[owner] - z * nu) / z + dual
    grown = pi * stationary / (1.0 + S * stiff)
    k = stiff / (1.0 + S * stiff)

    def rates(extra: Array) -> Array:
        """Change of z for given extra prices, without that of the weights."""
        return np.asarray(D * (extra - (k * form.total(D * extra))[owner]))

    fixed = rates(e) + D * grown[owner]
    target = form.A @ fixed + tau * level / point.prices - point.s - primal
    d_prices = _normal_solve(form, D, S, stiff, point.s / point.prices, target)
    if not np.isfinite(d_prices).all():
        return None
    push = e - form.transposed @ d_prices
    dpi = grown - k * form.total(D * push)
    dz = D * (push + dpi[owner])
    dnu = (tau * pi[owner] - z * nu - nu * dz) / z
    return dz, dnu, d_prices, primal - form.A @ dz, dpi


def _normal_solve(
    form: PathForm, D: Array, S: Array, stiff: Array, barrier: Array, target: Array
) -> Array:
    """Solve (C diag(omega) C' + diag(barrier)) d = target."""
    lower, upper = form.pairs
    mean = form.A.copy()
    share = D / S[form.owner]
    weight = np.sqrt(S / (1.0 + S * stiff))[form.owner] * share
    mean.data = mean.data * weight[mean.indices]
    mean = mean @ _gather(form)
    exchange = form.difference.copy()
    each = np.sqrt(D[lower] * share[upper])
    exchange.data = exchange.data * each[exchange.indices]
    H = np.asarray((mean @ mean.T + exchange @ exchange.T).toarray())
    scale = 1.0 / np.sqrt(np.diagonal(H) + barrier)
    if not (np.isfinite(scale).all() and np.isfinite(target).all()):
        return np.full(len(target), np.nan)
    H *= scale[:, None] * scale
    H[np.diag_indices_from(H)] += scale * scale * barrier + RIDGE
    return scale * factorised_solve(H, scale * target)


def _gather(form: PathForm) -> Any:
    """(paths, flows) with a 1 where a path belongs to a flow."""
    from scipy import sparse

    paths = len(form.owner)
    entries = (np.ones(paths), (np.arange(paths), form.owner))
    return sparse.csr_array(entries, shape=(paths, form.flows))


def _step(point: _Point, dz: Array, dnu: Array, d_prices: Array, ds: Array, dpi: Array) -> float:
    """Move as far as all stay positive; the length."""
    primal = min(_length(point.z, dz), _length(point.s, ds))
    dual = min(_length(point.nu, dnu), _length(point.prices, d_prices), _length(point.pi, dpi))
    length = min(primal, dual)  # one length: stationarity ties rates to prices
    point.z = point.z + length * dz
    point.s = point.s + length * ds
    point.nu = point.nu + length * dnu
    point.prices = point.prices + length * d_prices
    point.pi = point.pi + length * dpi
    return length


def _length(value: Array, change: Array) -> float:
    """The longest step, at most 1, that keeps values positive."""
    ratio = float(np.max(-change / value, initial=0.0))
    return min(1.0, STAY_INSIDE / ratio) if ratio > 0.0 else 1.0
