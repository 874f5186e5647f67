r"""From the prices of a similar problem: Newton's method on prices that stay nonnegative.

One step minimises the quadratic model of the dual problem over nonnegative prices,

.. math:: \min_\delta \tfrac12 \delta' H \delta - (A y - 1)' \delta \quad\text{subject to}\quad
    \lambda + \delta \ge 0, \qquad H = A diag(y / (\alpha q)) A',

so that links become or cease to be bottlenecks within a step. Where few links change, all of
it comes from one factor: prices held at zero add a small system. The factor is kept for further
steps while they leave little, as H changes as little as the prices do. With more than `DENSE` links
conjugate gradients take its place, each step to a part of the violation only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from fairopt.allocation.methods.demand import Demand, demand_at, demand_slope, violation
from fairopt.allocation.methods.newton_system import (
    RIDGE,
    cholesky,
    cholesky_solve,
    normal_diagonal,
    normal_matrix,
    normal_product,
)
from fairopt.allocation.presolve.scaled import Scaled
from fairopt.arrays import Array, BoolArray, Ints

DENSE = 2500  # links up to which a factorisation is cheaper than conjugate gradients
STEPS = 30
NEAR_FULL = 3.0  # times the violation: links with less slack may become full
LITTLE = 0.5  # of the violation: a step that leaves more is slow
PATIENCE = 3  # slow steps with one factor, and steps before it is judged
SETTLED = 1e-3  # violation from which on the pace stays the same
WORTH_A_FACTOR = 11  # steps: one and the steps after it take about as long
ENOUGH = 0.95  # of the violation: a step with a new factor that leaves more ends the attempt
FLOORS = (0.0, 0.3)  # of a price after a step: the second if the first goes too far
NARROWEST, WIDEST = 0.01, 0.03  # slack of links that are near full, whatever the violation
MULTIPLICATIVE = 2.0  # the alpha above which prices change in logarithms
LARGEST_RISE = 5.0  # e-folds
ROUNDS = 12  # of finding which prices are zero
MOST_HELD = 200  # prices held at zero beside one factor
SIGN = 1e-9  # relative: smaller prices and overloads have no sign
FORCING = 0.02  # of the violation: what conjugate gradients leave
CG_STEPS = 100
FAR = 0.1  # violation: from beyond, steps by conjugate gradients take longer than ascent


@dataclass(frozen=True, eq=False)
class Factor:
    """The factor of H with a unit diagonal over some of the links, as LAPACK has it."""

    active: Ints
    matrix: Any


class Tracked(NamedTuple):
    """The best demand near a start, its violation, the steps, and the last factor."""

    demand: Demand
    violation: float
    steps: int
    factor: Factor | None


class _Model(Protocol):
    """The quadratic model at some prices."""

    @property
    def active(self) -> Ints:
        """Links that it counts."""

    def step(self, demand: Demand, floor: float) -> Array:
        """The change of their prices, which leaves at least a part of each."""


def track(scaled: Scaled, prices: Array, goal: float, factor: Factor | None) -> Tracked:
    """The best demand near prices; far from the goal if it fails.

    The factor is one of an earlier problem on the same links; it may be none.
    """
    demand = demand_at(scaled, prices)
    worst, pace = violation(demand), _Pace(goal)
    if scaled.links > DENSE and worst > FAR:
        return Tracked(demand, worst, 0, None)
    model: _Model | None = None if factor is None else _Factored(scaled, factor)
    for k in range(STEPS):
        if worst <= goal or not np.isfinite(worst):
            return Tracked(demand, worst, k, _factor(model))
        found, left = _first_good_step(scaled, demand, model, worst)
        if left > ENOUGH * worst or pace.slow:
            model, pace = _model(scaled, demand, worst), _Pace(goal)
            found, left = _first_good_step(scaled, demand, model, worst)
            if left > ENOUGH * worst:
                return Tracked(demand, worst, k + 1, None)
        pace.count(worst, left)
        demand, worst = found, left
    return Tracked(demand, worst, STEPS, _factor(model))


@dataclass
class _Pace:
    """Whether a new factor would be faster than going on with the one that there is."""

    goal: float
    steps: int = 0
    bad: int = 0
    slow: bool = False

    def count(self, worst: float, left: float) -> None:
        """Count a step by what it left of the violation."""
        self.steps += 1
        self.bad = self.bad + 1 if left > LITTLE * worst else 0
        if left <= SETTLED and left > self.goal:
            more = np.log(left / self.goal) / np.log(worst / left)
            self.slow = self.steps >= PATIENCE and more > WORTH_A_FACTOR
        else:
            self.slow = self.bad >= PATIENCE


def factor_at(scaled: Scaled, demand: Demand) -> Factor | None:
    """The factor from which to track problems that are near one with this answer."""
    return _factor(_model(scaled, demand, WIDEST))


def _factor(model: _Model | None) -> Factor | None:
    """That of a model, if it has one."""
    return model.whole if isinstance(model, _Factored) else None


def _first_good_step(
    scaled: Scaled, demand: Demand, model: _Model | None, worst: float
) -> tuple[Demand, float]:
    """The first step that leaves little of the violation, or the last one."""
    found, left = demand, np.inf
    if model is None:
        return found, left
    for floor in FLOORS:
        found, left = _step(scaled, demand, model, floor)
        if left <= LITTLE * worst:
            break
    return found, left


def _step(scaled: Scaled, demand: Demand, model: _Model, floor: float) -> tuple[Demand, float]:
    """The demand after a step of the model, and its violation."""
    active = model.active
    change = model.step(demand, floor)
    if not np.isfinite(change).all():
        return demand, np.inf
    prices = np.where(demand.load < 1.0, floor * demand.prices, demand.prices)
    prices[active] = _changed(demand.prices[active], change, scaled.alpha)
    found = demand_at(scaled, prices)
    return found, violation(found)


def _changed(prices: Array, change: Array, alpha: float) -> Array:
    """Prices after a change; where alpha is large it is one of their logarithms."""
    linear = np.maximum(prices + change, 0.0)
    if alpha <= MULTIPLICATIVE:
        return linear
    relative = np.divide(change, prices, out=np.zeros_like(change), where=prices > 0.0)
    curved = prices * np.exp(np.minimum(relative, LARGEST_RISE))
    return np.where((prices > 0.0) & (linear > 0.0), curved, linear)


def _model(scaled: Scaled, demand: Demand, worst: float) -> _Model | None:
    """The model of the links with a price, or that may need one."""
    diagonal = normal_diagonal(scaled, demand)
    room = min(max(NEAR_FULL * worst, NARROWEST), WIDEST)
    near = (demand.prices > 0.0) | (demand.load > 1.0 - room)
    active = np.flatnonzero(near & (diagonal > 0.0))
    scale = 1.0 / np.sqrt(diagonal[active])
    if not len(active) or not np.isfinite(scale).all():
        return None
    K = demand_slope(scaled, demand)
    if len(active) > DENSE:
        return _Iterative(scaled, K, active, scale)
    H = normal_matrix(scaled, K, active, scale)
    H[np.diag_indices_from(H)] += RIDGE
    factor = cholesky(H)
    return None if factor is None else _Factored(scaled, Factor(active, factor))


@dataclass(eq=False)
class _Factored:
    """With the factor of H, and columns of its inverse for prices that were held at zero."""

    scaled: Scaled
    whole: Factor
    held: BoolArray = field(init=False)
    place: Ints = field(init=False)
    columns: Array = field(init=False)

    def __post_init__(self) -> None:
        size = len(self.active)
        self.held = np.zeros(size, dtype=bool)
        self.place = np.full(size, -1)
        self.columns = np.zeros((size, 0))

    @property
    def active(self) -> Ints:
        """Links of the model."""
        return self.whole.active

    def step(self, demand: Demand, floor: float) -> Array:
        """With an old factor in the scale of the present H."""
        prices, over = demand.prices[self.active], demand.load[self.active] - 1.0
        scale = 1.0 / np.sqrt(normal_diagonal(self.scaled, demand)[self.active])
        least, own = (floor - 1.0) * prices / scale, SIGN * scale * np.abs(over).max()
        first = cholesky_solve(self.whole.matrix, scale * over)
        change = first
        for _ in range(ROUNDS):
            which = np.flatnonzero(self.held)
            change, pull = self._with_held(first, least, which)
            below = ~self.held & (change < (1.0 + SIGN) * least)
            above = which[pull < -own[which]]
            if not below.any() and not len(above):
                break
            self.held |= below
            self.held[above] = False
        return np.asarray(np.maximum(scale * change, (floor - 1.0) * prices))

    def _with_held(self, first: Array, least: Array, which: Ints) -> tuple[Array, Array]:
        """The change with some prices falling to zero exactly, and what holds them there."""
        if not len(which):
            return first, np.zeros(0)
        if not self._know(which):
            return np.full(len(first), np.nan), np.zeros(len(which))
        columns = self.columns[:, self.place[which]]
        try:
            pull = np.asarray(np.linalg.solve(columns[which], least[which] - first[which]))
        except np.linalg.LinAlgError:
            return np.full(len(first), np.nan), np.zeros(len(which))
        return np.asarray(first + columns @ pull), pull

    def _know(self, which: Ints) -> bool:
        """Have the columns of these links."""
        new = which[self.place[which] < 0]
        known = self.columns.shape[1]
        if known + len(new) > MOST_HELD:
            return False
        if len(new):
            unit = np.zeros((len(self.active), len(new)), order="F")
            unit[new, np.arange(len(new))] = 1.0
            self.columns = np.hstack([self.columns, cholesky_solve(self.whole.matrix, unit)])
            self.place[new] = known + np.arange(len(new))
        return True


@dataclass(eq=False)
class _Iterative:
    """By conjugate gradients on the links whose prices are not held at zero."""

    scaled: Scaled
    K: Array
    active: Ints
    scale: Array

    def times(self, vector: Array) -> Array:
        """The scaled H times a vector."""
        whole = np.zeros(self.scaled.links)
        whole[self.active] = self.scale * vector
        product = normal_product(self.scaled, self.K, whole)
        return np.asarray(self.scale * product[self.active] + RIDGE * vector)

    def step(self, demand: Demand, floor: float) -> Array:
        """Solve for the prices that are not held, then look at signs, in turns."""
        prices, over = demand.prices[self.active], demand.load[self.active] - 1.0
        target, least = self.scale * over, (floor - 1.0) * prices / self.scale
        own = self.scale * np.abs(over).max()
        change, held = np.zeros(len(over)), (prices == 0.0) & (over <= 0.0)
        for _ in range(ROUNDS):
            change = self._solved(np.where(held, least, change), target, ~held, FORCING * own)
            pull = self.times(change) - target
            below = ~held & (change < (1.0 + SIGN) * least)
            above = held & (pull < -FORCING * own)
            if not (below | above).any():
                break
            held = (held | below) & ~above
        return np.maximum(self.scale * change, (floor - 1.0) * prices)

    def _solved(self, change: Array, target: Array, free: BoolArray, goal: Array) -> Array:
        """Conjugate gradients from a change, on the free links, until each load is near enough."""
        left = np.where(free, target - self.times(change), 0.0)
        along, size = left, float(left @ left)
        for _ in range(CG_STEPS):
            if (np.abs(left) <= goal).all():
                break
            product = np.where(free, self.times(along), 0.0)
            length = size / float(along @ product)
            change, left = change + length * along, left - length * product
            before, size = size, float(left @ left)
            along = left + (size / before) * along
        return change
