"""The level of worst progress in twice the digits.

As in `cagrad_level`: the point of {d: <h_k, d> >= mu b_k} nearest to g0 is g0 + sum u_k h_k, where
u solves the nonnegative programme with q = S y - mu b, and the optimum is the level mu where its
distance N is c |g0|. The programme has M = S + shift I, as everywhere in twice the digits, so it
has one solution at every level, even where no direction has so much progress on all tasks. N^2 =
u'Mu is piecewise quadratic in mu, with N^2' = 2 b'u and N^2'' = 2 b'M_PP^-1 b.
"""

from __future__ import annotations

import math

import numpy as np

from fairopt.arrays import Array, Ints
from fairopt.kernels.double_double import accumulate, add, divide, multiply
from fairopt.kernels.double_double_linear import Double, dot, fill_double, row, solve_factored
from fairopt.kernels.gram.cagrad_level import middle
from fairopt.kernels.gram.double_double_bound import min_norm_on, products
from fairopt.kernels.gram.double_double_cone import Work, begin, cone_of, workspace
from fairopt.kernels.gram.double_double_progress import Ball, ball_of, longest
from fairopt.kernels.gram.double_double_qp import (
    NOT_CONVEX,
    SOLVED,
    Cone,
    nonnegative_minimum,
    warm_support,
)
from fairopt.kernels.jit import allocating, gufunc
from fairopt.kernels.linear import EPS

ROOT_STEPS = 60  # 2 to 4 are usual
ROOT_TOLERANCE = 2.0**-80  # of N^2 against its goal; its rounding is below
SMALLEST_RADIUS = EPS  # below, the ball is its centre
INSIDE = 1.0 - 2.0**-49  # share of the radius that is used: half an ulp must not leave the ball


@allocating
def squared_distance(cone: Cone, u: Double) -> tuple[float, float]:
    """N^2 = u'Mu."""
    n, total, rest = u.high.shape[0], 0.0, 0.0
    for k in range(n):
        if u.high[k] == 0.0:
            continue
        high, low = dot(row(cone.S, k), u, n)
        more, more_low = multiply(u.high[k], u.low[k], cone.shift, 0.0)
        high, low = add(high, low, more, more_low)
        high, low = multiply(high, low, u.high[k], u.low[k])
        total, rest = accumulate(total, rest, high, low)
    return total, rest


@allocating
def slope_and_bend(ball: Ball, work: Work, m: int) -> tuple[float, float]:
    """Halves of the first and of the second derivative of N^2 on the support."""
    slope, bend, x = 0.0, 0.0, work.first.x
    for a in range(m):
        k = work.first.order[a]
        x.high[a], x.low[a] = ball.b[k], 0.0
        slope += ball.b[k] * work.u.high[k]
    solve_factored(work.first.L, x, m)
    for a in range(m):
        bend += ball.b[work.first.order[a]] * x.high[a]
    return slope, bend


@allocating
def step_to_root(missing: float, slope: float, bend: float) -> float:
    """How far the present quadratic has its root, N^2 being `missing` below its goal."""
    if not slope > 0.0:
        return math.inf
    part = missing / slope
    inside = 1.0 + bend / slope * part
    return part / (1.0 + math.sqrt(inside)) if inside >= 0.0 else 0.5 * part


@allocating
def solve_at(
    cone: Cone, ball: Ball, work: Work, level: tuple[float, float], m: int, cap: int
) -> tuple[int, int, int]:
    """The programme at one level, from the state of the one before; (code, m, steps)."""
    for k in range(ball.b.shape[0]):
        high, low = level[0] * -ball.b[k], level[1] * -ball.b[k]
        high, low = add(ball.slope.high[k], ball.slope.low[k], high, low)
        work.q.high[k], work.q.low[k] = high, low
        work.first.allowed[k] = cone.present[k]
    return nonnegative_minimum(cone, work.q, work.u, work.first, m, cap)


@allocating
def bracket(cone: Cone, ball: Ball, goal: float) -> tuple[float, float]:
    """The level of g0 itself, and one that a single task already has too far away."""
    low, first = math.inf, 0.0
    for k in range(ball.b.shape[0]):
        if cone.present[k] and ball.slope.high[k] / ball.b[k] < low:
            low, first = ball.slope.high[k] / ball.b[k], goal / ball.b[k]
    return low, low + 2.0 * first


@allocating
def worst_of_start(cone: Cone, ball: Ball, work: Work) -> float:
    """The worst progress of y + u."""
    worst, n = math.inf, ball.b.shape[0]
    for k in range(n):
        if cone.present[k]:
            high, _ = dot(row(cone.S, k), work.u, n)
            worst = min(worst, (ball.slope.high[k] + high) / ball.b[k])
    return worst


@allocating
def following(level: Double, step: float) -> bool:
    """Move the level, which lies between two others: (low, present, high); False at the end."""
    after, rest = add(level.high[1], level.low[1], step, 0.0)
    above, _ = add(after, rest, -level.high[0], -level.low[0])
    below, _ = add(level.high[2], level.low[2], -after, -rest)
    if not (above > 0.0 and below > 0.0):
        after, rest = middle(level.high[0], level.high[2]), 0.0
        if not level.high[0] < after < level.high[2]:
            return False
    level.high[1], level.low[1] = after, rest
    return True


@allocating
def level_root(
    cone: Cone, ball: Ball, work: Work, goal: tuple[float, float], capped: bool, cap: int
) -> tuple[int, int]:
    """Fill u at the level where N is the goal, or at zero if that is less and capped."""
    low, high = bracket(cone, ball, goal[0])
    if goal[0] == 0.0 or (capped and low >= 0.0):
        fill_double(work.u, 0.0)
        return SOLVED, 0
    mu = worst_of_start(cone, ball, work)
    if not low < mu < high:
        mu = middle(low, high)
    level = Double(np.array([low, 0.0 if capped else mu, high]), np.zeros(3))
    testing, steps = capped, 0
    m = warm_support(cone, work.u, work.first)
    if m < 0:
        return NOT_CONVEX, 0
    square, square_low = multiply(goal[0], goal[1], goal[0], goal[1])
    for _ in range(ROOT_STEPS):
        mu, rest = level.high[1], level.low[1]
        code, m, more = solve_at(cone, ball, work, (mu, rest), m, cap - steps)
        steps += more
        if code != SOLVED:
            return code, steps
        missing, lost = squared_distance(cone, work.u)
        missing, _ = add(square, square_low, -missing, -lost)
        if abs(missing) <= ROOT_TOLERANCE * square or (testing and missing > 0.0):
            break
        testing = False
        side = 0 if missing > 0.0 else 2
        level.high[side], level.low[side] = mu, rest
        slope, bend = slope_and_bend(ball, work, m)
        step = step_to_root(missing, slope, bend)
        if abs(step) <= ROOT_TOLERANCE * abs(mu) or not following(level, step):
            break
    return SOLVED, steps


@allocating
def pull_inside(cone: Cone, ball: Ball, work: Work, radius: tuple[float, float]) -> None:
    """Fill v = y + u, with u shortened until it is surely inside the ball."""
    share, share_low = 1.0, 0.0
    high, low = longest(cone, ball.size, work.u)
    if high > radius[0] or (high == radius[0] and low > radius[1]):
        share, share_low = divide(radius[0], radius[1], high, low)
    for k in range(ball.b.shape[0]):
        high, low = multiply(work.u.high[k], work.u.low[k], share, share_low)
        work.v.high[k], work.v.low[k] = add(high, low, ball.y.high[k], ball.y.low[k])


@allocating
def surely_common(cone: Cone, work: Work, cap: int) -> bool:
    """Fill `spare` with the min-norm point; whether some direction surely helps all tasks."""
    point = work.point
    found = min_norm_on(cone, work.second, cone.present, work.q, work.spare, cap)
    products(cone, work.spare, point.z, point.zeta)
    for k in range(point.z.shape[0]):
        if not point.z[k] > point.zeta[k]:
            return False
    return found


@gufunc(
    "void(float64[:,:], float64[:,:], float64, float64[:], float64[:], float64, float64[:],"
    " float64[:], float64, float64[:], float64[:], float64[:,:], float64[:,:], int64[:], int64[:],"
    " int64[:])",
    "(n,n),(n,n),(),(n),(n),(),(t),(n),()->(n),(n),(t,n),(t,n),(),(),()",
)
def double_double_level(
    high: Array,
    low: Array,
    error: float,
    y: Array,
    b: Array,
    c: float,
    known: Array,
    start: Array,
    budget: float,
    v: Array,
    v_low: Array,
    x: Array,
    x_low: Array,
    common: Ints,
    code: Ints,
    steps: Ints,
) -> None:
    """The direction sum v_k h_k of best worst progress in the ball, and two x that bound the best.

    The first x are the multipliers u, the second the min-norm point of the h_k; `common` says
    whether that proves a direction that helps all tasks. If it does not, no level above zero is
    tried. `known` holds bounds of |g0|, `start` multipliers to begin with.
    """
    n = y.shape[0]
    cone, work = cone_of(high, low, error), workspace(n)
    ball = ball_of(cone, y, b, c, known)
    common[0] = 1 if surely_common(cone, work, int(budget)) else 0
    begin(cone, work, y, start)
    radius = c if c >= SMALLEST_RADIUS else 0.0
    goal = multiply(ball.length.high[0], ball.length.low[0], INSIDE * radius, 0.0)
    code[0], steps[0] = level_root(cone, ball, work, goal, common[0] == 0, int(budget))
    pull_inside(cone, ball, work, multiply(ball.length.high[0], ball.length.low[0], radius, 0.0))
    for k in range(n):
        v[k], v_low[k] = work.v.high[k], work.v.low[k]
        x[0, k], x_low[0, k] = work.u.high[k], work.u.low[k]
        x[1, k], x_low[1, k] = work.spare.high[k], work.spare.low[k]
