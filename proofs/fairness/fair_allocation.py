"""Alpha-fair rates over shared links: optimality, prices, bottlenecks, the ends of the family."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from fairopt import Status, alpha_fair_allocation
from fairopt.arrays import Array
from proofs.claim import BOUND, IDENTITY, LIMIT, OWN, Check, Claim, Evidence

Allocate = Callable[..., Any]
Network = tuple[Array, Array, Array]
"""(routing of zeros and ones, capacities, priorities)."""

SEED = 20260000
ALPHAS = (0.5, 1.0, 2.0, 5.0)
HIGH = (20.0, 50.0, 100.0)
LOW = (0.1, 0.03, 0.01)
OPTIMAL_WITHIN = 1e-7
"""Relative: rates of a residual of 1e-9 on networks of up to 12 flows."""
RATE = 1.0
"""Times alpha: the relative shortfall of the total on these networks."""
SCOPE = "12 networks of up to 6 links and 12 flows"
DEEP_SCOPE = SCOPE.replace("12 n", "100 n")
APPROACH = 1.0
"""Over alpha: the relative distance to max-min rates on these networks; 0.93 is the most seen."""


def networks(deep: bool) -> Iterator[tuple[str, Network]]:
    """Seeded networks: up to 6 links and 12 flows, every flow on some link, whole capacities."""
    for draw in range(100 if deep else 12):
        rng = np.random.default_rng([SEED, draw])
        links, flows = int(rng.integers(1, 7)), int(rng.integers(2, 13))
        routing = (rng.random((links, flows)) < 0.5).astype(float)
        routing[rng.integers(links, size=flows), np.arange(flows)] = 1.0
        capacity = rng.integers(1, 10, size=links).astype(float)
        yield f"draw {draw}", (routing, capacity, rng.uniform(0.5, 2.0, size=flows))


def no_rates_gain(allocate: Allocate, deep: bool) -> str | None:
    """Over all feasible y the largest sum of p x^-alpha (y - x) is zero: one linear programme."""
    for name, (R, c, p) in networks(deep):
        for alpha in ALPHAS:
            x = allocate(R, c, alpha, priority=p).rates
            if not ((x > 0.0).all() and (R @ x <= c * (1.0 + OPTIMAL_WITHIN)).all()):
                return f"{name}, alpha {alpha}: rates {x} are not feasible"
            marginal = p * (x / x.max()) ** -alpha
            gain = largest_total(marginal, R, c) / float(marginal @ x) - 1.0
            if not gain <= OPTIMAL_WITHIN:
                return f"{name}, alpha {alpha}: other rates gain {gain:.1e}"
    return None


def prices_explain(allocate: Allocate, deep: bool) -> str | None:
    """P x^-alpha = R' lambda, lambda >= 0, and only full links have a price."""
    for name, (R, c, p) in networks(deep):
        for alpha in ALPHAS:
            found = allocate(R, c, alpha, priority=p)
            x, price = found.rates, found.prices
            path = R.T @ price + found.upper_prices
            if found.status != Status.OPTIMAL:
                return f"{name}, alpha {alpha}: {found.sentence}"
            if not np.abs(path * x**alpha / p - 1.0).max() <= 10.0 * OPTIMAL_WITHIN:
                return f"{name}, alpha {alpha}: prices {price} do not explain rates {x}"
            idle = 1.0 - (R @ x) / c
            slack = float((price * c * idle).max())
            if not ((price >= 0.0).all() and slack <= OPTIMAL_WITHIN * float(path @ x)):
                return f"{name}, alpha {alpha}: a link with room costs {price}"
    return None


def has_a_bottleneck(allocate: Allocate, deep: bool) -> str | None:
    """At alpha = inf every flow has a full link on which no flow has more."""
    for name, (R, c, _) in networks(deep):
        x = allocate(R, c, np.inf).rates
        full = R @ x >= c * (1.0 - OPTIMAL_WITHIN)
        for flow in range(len(x)):
            peers = [x[R[link] > 0.0].max() for link in np.flatnonzero(full & (R[:, flow] > 0.0))]
            if not peers or x[flow] < min(peers) * (1.0 - OPTIMAL_WITHIN):
                return f"{name}: flow {flow} with rate {x[flow]:.6f} has no bottleneck"
        if not (R @ x <= c * (1.0 + OPTIMAL_WITHIN)).all():
            return f"{name}: a link is overloaded"
    return None


def is_max_min(allocate: Allocate, deep: bool) -> str | None:
    """At alpha = inf the rates are those of progressive filling in fractions."""
    for name, (R, c, _) in networks(deep):
        true = np.array([float(rate) for rate in progressive_filling(R, c)])
        off = np.abs(allocate(R, c, np.inf).rates / true - 1.0).max()
        if not off <= OPTIMAL_WITHIN:
            return f"{name}: rates are off by {off:.1e}"
    return None


def tends_to_max_min(allocate: Allocate, deep: bool) -> str | None:
    """Rates at alpha are within APPROACH / alpha of the max-min ones, relative."""
    for name, (R, c, _) in networks(deep):
        true = np.array([float(rate) for rate in progressive_filling(R, c)])
        for alpha in HIGH:
            off = np.abs(allocate(R, c, alpha).rates / true - 1.0).max()
            if not off <= APPROACH / alpha:
                return f"{name}, alpha {alpha}: {off:.1e} from max-min"
    return None


def tends_to_the_total(allocate: Allocate, deep: bool) -> str | None:
    """The weighted total at alpha is within RATE alpha of the largest, and equal at alpha = 0."""
    for name, (R, c, p) in networks(deep):
        best = largest_total(p, R, c)
        for alpha in (0.0, *LOW):
            short = 1.0 - float(p @ allocate(R, c, alpha, priority=p).rates) / best
            if not short <= RATE * alpha + OPTIMAL_WITHIN:
                return f"{name}, alpha {alpha}: the total is short by {short:.1e}"
    return None


def progressive_filling(R: Array, c: Array) -> list[Fraction]:
    """Max-min rates: all rise together; who crosses a full link stays.

    Example:
        >>> progressive_filling(np.array([[1.0, 1, 0], [1, 0, 1]]), np.array([1.0, 2.0]))
        [Fraction(1, 2), Fraction(1, 2), Fraction(3, 2)]
    """
    links, flows = R.shape
    rates, level = [Fraction(0)] * flows, Fraction(0)
    rising = set(range(flows))
    room = [Fraction(float(each)) for each in c]
    while rising:
        users = [sum(1 for i in rising if R[link, i]) for link in range(links)]
        step = min(room[link] / users[link] for link in range(links) if users[link])
        level += step
        room = [left - step * users[link] for link, left in enumerate(room)]
        full = [link for link in range(links) if users[link] and room[link] == 0]
        stops = {i for i in rising if any(R[link, i] for link in full)}
        for i in stops:
            rates[i] = level
        rising -= stops
    return rates


def largest_total(value: Array, R: Array, c: Array) -> float:
    """The largest value'y over R y <= c, y >= 0."""
    from scipy.optimize import linprog

    best = np.asarray(linprog(-value, A_ub=R, b_ub=c).x, dtype=np.float64)
    return float(value @ best)


def at_other_powers(routing: Any, capacity: Any, alpha: float, *, priority: Any = None) -> Any:
    """The solver with the power off by a tenth, between 1/4 and 2."""
    power = min(max(1.1 * alpha, 0.25), 2.0)
    return alpha_fair_allocation(routing, capacity, power, priority=priority)


def claim(
    name: str, words: str, formula: str, source: str, kind: str, how: str, check: Check,
    *more: Evidence,
) -> Claim:  # fmt: skip
    """A claim about `fairopt.alpha_fair_allocation` on the seeded networks."""
    return Claim(
        name, words, formula, source, kind, how, SCOPE, DEEP_SCOPE, check, alpha_fair_allocation,
        at_other_powers, more,
    )  # fmt: skip


CLAIMS = (
    claim(
        "fair-rates-are-optimal",
        "no feasible rates have more marginal utility; at alpha = 1 no feasible change has a "
        "positive sum of relative gains",
        r"\max_{R y \le c} \sum_i p_i x_i^{-\alpha} (y_i - x_i) = 0",
        "Kelly, Maulloo and Tan 1998; Mo and Walrand 2000",
        IDENTITY,
        "the maximum by a linear programme, relative 1e-7",
        no_rates_gain,
    ),
    claim(
        "fair-prices-explain-the-rates",
        "every flow's marginal utility is the price of its path, and only full links cost",
        r"p_i x_i^{-\alpha} = \sum_l R_{li} \lambda_l,\quad \lambda_l (c - R x)_l = 0",
        "Kelly, Maulloo and Tan 1998",
        IDENTITY,
        "optimality conditions, relative 1e-7",
        prices_explain,
    ),
    claim(
        "max-min-rates-have-bottlenecks",
        "at alpha = inf every flow has a full link on which no flow has more, and the rates are "
        "those of progressive filling",
        r"\forall i\ \exists l: R_{li} > 0,\ (R x)_l = c_l,\ x_i = \max_{j: R_{lj} > 0} x_j",
        "Bertsekas and Gallager, bottleneck condition",
        BOUND,
        "bottlenecks; progressive filling in fractions",
        has_a_bottleneck,
        Evidence(
            "progressive filling in fractions", is_max_min, alpha_fair_allocation, at_other_powers
        ),
    ),
    claim(
        "fair-rates-tend-to-max-min",
        "as alpha grows the rates tend to the max-min ones",
        r"\lim_{\alpha \to \infty} x^{(\alpha)} = x^{\text{max-min}}",
        "Mo and Walrand 2000",
        LIMIT,
        f"relative distance at most {APPROACH:g} / alpha",
        tends_to_max_min,
    ),
    claim(
        "fair-rates-tend-to-the-largest-total",
        "as alpha vanishes the weighted total tends to the largest one",
        r"\lim_{\alpha \to 0} p^\top x^{(\alpha)} = \max_{R x \le c} p^\top x",
        OWN,
        LIMIT,
        f"relative shortfall at most {RATE:g} alpha",
        tends_to_the_total,
    ),
)
