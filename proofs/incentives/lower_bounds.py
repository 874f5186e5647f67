"""What no truthful mechanism can do, whatever its rule."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np

from fairopt.arrays import Array
from proofs.claim import BOUND, OWN, TIGHT, Claim, Evidence
from proofs.incentives.existence import Question, all_profiles, mechanism_exists, proof_profiles

SEED = 20240414
LOW, HIGH = 3, 4
"""Bids x < g of the lower bound, next to 0."""
SIZES = ((2, 1), (3, 1), (4, 1), (5, 1), (1, 2), (2, 2), (3, 2), (4, 2), (2, 3), (3, 3))
"""(clients per task, tasks)."""
GRID_SIZES = ((3, 1), (4, 1), (2, 2))
"""Where mechanisms for the floor itself are found on the complete grid, besides."""
DEEP_GRID_SIZES = (*GRID_SIZES, (5, 1), (3, 2))
SHORT = 1.0 - 1.0 / math.e
MARKET = 3.0
"""The largest quantile; the optimum e / (e - 1) = 1.58 lies inside."""
ROUNDING = 1e-9
"""Of a bisection to 1e-12 and sums of a few dozen terms."""

Floor = Callable[[int, int], int]
Lottery = Callable[[float], float]


def next_floor(clients: int, tasks: int) -> int:
    """The smallest r with 2 r > n + 1 / S."""
    return math.floor(Fraction(clients, 2) + Fraction(1, 2 * tasks)) + 1


def attained_floor(clients: int, tasks: int) -> int:
    """One less: what exists."""
    return next_floor(clients, tasks) - 1


def impossible(floor: Floor, deep: bool) -> str | None:
    """No cheapest-first mechanism keeps this floor: unsat on the profiles of the proof."""
    for clients, tasks in SIZES:
        r = floor(clients, tasks)
        question = _question(clients, tasks, r)
        if mechanism_exists(question, proof_profiles(question, LOW, HIGH)):
            return (
                f"{clients} clients for each of {tasks} tasks: no contradiction at a floor of {r}"
            )
    return None


def possible(floor: Floor, deep: bool) -> str | None:
    """A cheapest-first mechanism with this floor exists on the complete grid."""
    for clients, tasks in DEEP_GRID_SIZES if deep else GRID_SIZES:
        r = floor(clients, tasks)
        question = replace(_question(clients, tasks, next_floor(clients, tasks)), floor=r)
        if not mechanism_exists(question, all_profiles(question, (0, LOW, HIGH))):
            return f"{clients} clients for each of {tasks} tasks: no mechanism has a floor of {r}"
    return None


def _question(clients: int, tasks: int, floor: int) -> Question:
    """The instance of the proof: B is what one profile costs."""
    budget = tasks * (clients - floor) * HIGH + LOW
    return Question(clients, tasks, budget, floor, cheapest_first=True)


def no_floor_at_one(shapes: tuple[int, ...], deep: bool) -> str | None:
    """One bidder for each task at a cost of 1 of 4: no mechanism recruits one for each task."""
    for tasks in shapes:
        question = Question(1, tasks, budget=4, floor=1, cheapest_first=False)
        base = (1,) * tasks
        raised = [(*base[:i], 5 - tasks, *base[i + 1 :]) for i in range(tasks)]
        if mechanism_exists(question, [base, *raised]):
            return f"a mechanism for {tasks} tasks exists"
    return None


def large_market_instance(quantile: float, deep: bool) -> str | None:
    """Costs c(q) = max(0, (1 + m (q - 1)) / q): no mechanism recruits more than 1, k* = e/(e-1).

    In intervals: R(q) = q c(q) >= 1 + m (q - 1), a line through R(1) = 1 = B/n that bounds the
    convex hull, so no mechanism passes q = 1; the cost of the first q clients is
    m (q - 1) + 1 - (m - 1) ln(m q / (m - 1)), exactly 1 at q = e/(e - 1).
    """
    from mpmath.ctx_iv import MPIntervalContext

    iv = MPIntervalContext()
    iv.prec = 120
    e = iv.exp(iv.mpf(1))
    m = (e - 1) / (e - 2)
    q = e / (e - 1) * iv.mpf(quantile)
    cost = m * (q - 1) + 1 - (m - 1) * iv.log(m * q / (m - 1)) - 1
    if not (cost.a <= 0 <= cost.b and cost.b - cost.a < 1e-20):
        return f"the first {float(q.a):.4f} clients cost 1 + {float(cost.a):.2e}"
    return None


def no_lottery_passes(payment: Callable[[float], float], deep: bool) -> str | None:
    """The best lottery over posted prices with an expected payment of 1 recruits exactly 1.

    A price that a share q of the market takes costs q c(q) per client of the optimum's scale; the
    best lottery is a linear programme over the quantiles of a grid.
    """
    from scipy.optimize import linprog

    q = np.linspace(0.0, MARKET, 4001 if deep else 401)
    paid = np.array([payment(float(each)) for each in q])
    best = linprog(-q, A_ub=[paid], b_ub=[1.0], A_eq=[np.ones_like(q)], b_eq=[1.0])
    recruits = float(q @ np.asarray(best.x))
    right = abs(recruits - 1.0) <= ROUNDING
    return None if right else f"the best lottery recruits {recruits:.4f}"


def payment_of_the_law(q: float) -> float:
    """Q c(q) = max(0, 1 + m (q - 1)) for the law of the bound: convex."""
    return max(0.0, 1.0 + (math.e - 1.0) / (math.e - 2.0) * (q - 1.0))


def payment_of_equal_costs_beyond(q: float) -> float:
    """The same up to q = 1, then costs of 1 for all: not convex, and a lottery uses that."""
    return min(payment_of_the_law(q), max(q, 1.0))


def lottery_pointwise(share: Lottery, deep: bool) -> str | None:
    """F - (1 - 1/e) P >= (1 - 1/e) (1 - z), P = z f + integral of f from z to 1."""
    for z in np.linspace(0.0, 2.0, 2001 if deep else 201):
        f = share(z)
        tail = _tail(share, float(z))
        short = f - SHORT * (z * f + tail) - SHORT * (1.0 - z)
        if not short >= -1e-6:
            return f"at z = {z:.3f} it is short by {-short:.2e}"
    return None


def lottery_floor(share: Lottery, deep: bool) -> str | None:
    """Expected recruits of every task are at least (1 - 1/e) k* on random costs."""
    rng = np.random.default_rng(SEED)
    for draw in range(300 if deep else 30):
        n, S = int(rng.integers(2, 15)), int(rng.integers(1, 4))
        costs = np.sort(rng.exponential(size=(n, S)) ** rng.choice([0.3, 1.0, 3.0]), axis=0)
        budget = float(costs.sum() * rng.uniform(0.05, 0.9))
        best = int((np.cumsum(costs.sum(axis=1)) <= budget).sum())
        count = _common_count(share, costs, budget)
        if not count >= SHORT * best - ROUNDING * n:
            return f"draw {draw}: {count:.4f} recruits expected, (1 - 1/e) k* = {SHORT * best:.4f}"
    return None


def _common_count(share: Lottery, costs: Array, budget: float) -> float:
    """The expected count, equal in all tasks, at which expected payments are the budget."""

    def spend(count: float) -> float:
        return sum(_payment(share, column, _scale(share, column, count)) for column in costs.T)

    low, high = 0.0, float(len(costs))
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if spend(middle) <= budget else (low, middle)
    return low


def _scale(share: Lottery, column: Array, count: float) -> float:
    """The scale at which a task expects so many recruits."""
    low, high = 0.0, 1e9
    for _ in range(90):
        middle = math.sqrt(max(low, 1e-9) * high)
        short = sum(share(c / middle) for c in column) < count
        low, high = (middle, high) if short else (low, middle)
    return high


def _payment(share: Lottery, column: Array, scale: float) -> float:
    """Expected threshold payments of one task."""
    ratios = [float(c) / scale for c in column]
    return scale * sum(z * share(z) + _tail(share, z) for z in ratios)


def _tail(share: Lottery, z: float) -> float:
    """Integral of the share from z to 1, in closed form for the two lotteries here."""
    if z >= 1.0:
        return 0.0
    if share is straight:
        return 0.5 * (1.0 - z) ** 2
    y = math.e - (math.e - 1.0) * z
    return (y * math.log(y) - y + 1.0) / (math.e - 1.0)


def matching(z: float) -> float:
    """P(Z >= z) = ln(e - (e - 1) z) on [0, 1]."""
    return math.log(math.e - (math.e - 1.0) * z) if z < 1.0 else 0.0


def straight(z: float) -> float:
    """A uniform price."""
    return max(0.0, 1.0 - z)


CLAIMS = (
    Claim(
        "cheapest-first-lower-bound",
        "a deterministic, truthful, rational mechanism within budget that recruits cheapest first "
        "cannot promise r recruits per task with 2 r > k* + 1/S, and can promise one less on the "
        "grid of the proof",
        r"2 r \le k^* + 1/S",
        f"{OWN}, for single-task clients",
        TIGHT,
        "SMT: all mechanisms on the profiles of the proof, and on complete grids",
        f"unsat for {len(SIZES)} shapes to 5 clients and 3 tasks; sat for 3 shapes, grid 0, 3, 4",
        f"unsat for {len(SIZES)} shapes to 5 clients and 3 tasks; sat for 5 shapes, grid 0, 3, 4",
        impossible,
        next_floor,
        attained_floor,
        (Evidence("SMT on complete grids", possible, attained_floor, next_floor),),
    ),
    Claim(
        "no-floor-where-the-optimum-is-one",
        "with several tasks and one bidder for each, no deterministic, truthful, rational "
        "mechanism within budget recruits all of them whenever all fit",
        r"S \ge 2,\ k^* = 1 \Rightarrow r = 0",
        OWN,
        BOUND,
        "SMT: all mechanisms on the profiles of the proof",
        "two and three tasks, costs 1 and one raised, budget 4; the control has one task",
        "two and three tasks, costs 1 and one raised, budget 4; the control has one task",
        no_floor_at_one,
        (2, 3),
        (1,),
    ),
    Claim(
        "large-market-bound-is-attained-by-a-law",
        "in the limit of infinitely many clients with one task each, whose costs follow the law of "
        "the bound, full information recruits exactly e/(e-1) and the best lottery over posted "
        "prices, with the budget as its expected payment, exactly 1. Finite markets are not meant",
        r"c(q) = \max\big(0, \tfrac{1 + m(q-1)}{q}\big),\ m = \tfrac{e-1}{e-2}: "
        r"\int_0^{e/(e-1)} c = 1",
        f"{OWN}; the same constant as Anari, Goel and Nikzad",
        TIGHT,
        "outward-rounded intervals of 120 bits",
        "one law; 401 prices; the controls are another quantile and a law that is not convex",
        "one law; 4,001 prices; the controls are another quantile and a law that is not convex",
        large_market_instance,
        1.0,
        0.99,
        (
            Evidence(
                "the best lottery by a linear programme",
                no_lottery_passes,
                payment_of_the_law,
                payment_of_equal_costs_beyond,
            ),
        ),
    ),
    Claim(
        "large-market-lottery",
        "prices r_s Z with P(Z >= z) = ln(e - (e - 1) z), the same expected count in all tasks and "
        "expected payments B recruit at least (1 - 1/e) k* in expectation, on every instance",
        r"\mathbb{E}[\text{recruits}] \ge (1 - 1/e)\, k^*",
        OWN,
        BOUND,
        "the pointwise inequality of the proof on a grid; random costs",
        "201 points; 30 random instances of up to 14 clients and 3 tasks",
        "2,001 points; 300 random instances of up to 14 clients and 3 tasks",
        lottery_pointwise,
        matching,
        straight,
        (Evidence("random costs", lottery_floor, matching, straight),),
    ),
)
