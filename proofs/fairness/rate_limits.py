"""Capped rates, the residual of rates and prices, and the utility itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fairopt import Status, allocation_residual, alpha_fair_allocation
from fairopt.arrays import Array
from fairopt.utility import AlphaFair
from proofs.claim import BOUND, IDENTITY, OWN, Claim
from proofs.fairness.fair_allocation import ALPHAS, DEEP_SCOPE, SCOPE, SEED, Allocate, networks

Residual = Callable[..., float]
Point = tuple[Array, Array, Array]
"""(rates, link prices, prices of the caps)."""

ONE_PROBLEM = 1e-6
"""Relative difference of rates between two statements of a problem: residuals of 1e-9 each."""
DIGITS = 1e-9
"""Relative: logarithms in the residual, plain quotients here, rates off by factors up to 2."""
MOVES = (0.0, 1e-3, 0.5)
"""Spread of the factors by which points are moved away from the optimum."""
POWERS = (0.0, 0.5, 1.0, 2.0, 7.0)
ABOVE = 1.0 + 2.0**-50
"""A rate may exceed its cap by rounding, a few units in the last place."""
CROWD = 1e-12
"""Rounding of a difference of utilities, relative to the larger one."""


def private_link(allocate: Allocate, deep: bool) -> str | None:
    """A capped flow is a flow with a link of its own: the same rates, at any power."""
    for name, R, c, p, upper in _capped(deep):
        wide, room = np.vstack([R, np.eye(R.shape[1])]), np.concatenate([c, upper])
        for alpha in (*ALPHAS, np.inf):
            capped = allocate(R, c, alpha, priority=p, upper=upper)
            apart = alpha_fair_allocation(wide, room, alpha, priority=p)
            if capped.status != Status.OPTIMAL or not (capped.rates <= upper * ABOVE).all():
                return f"{name}, alpha {alpha}: {capped.sentence}, rates {capped.rates}"
            off = float(np.abs(capped.rates / apart.rates - 1.0).max())
            if not off <= ONE_PROBLEM:
                return f"{name}, alpha {alpha}: rates are off by {off:.1e}"
    return None


def equals_its_definition(residual: Residual, deep: bool) -> str | None:
    """The residual of points at and around the optimum, written out limit by limit.

    The optimum is also tried where links, or caps, are a tenth smaller: only they are violated.
    """
    for name, R, c, p, upper in _capped(deep):
        for alpha in (*ALPHAS, np.inf):
            for move, point in _points(R, c, p, upper, alpha):
                for links, caps in ((1.0, 1.0), (0.9, 1.0), (1.0, 0.9)):
                    of: Any = (R, links * c, alpha, *point)
                    seen = residual(*of, priority=p, upper=caps * upper)
                    due = by_definition(*of, priority=p, upper=caps * upper)
                    if not abs(seen - due) <= DIGITS * (1.0 + due):
                        return f"{name}, alpha {alpha}, moved {move}: {seen:.6e}, not {due:.6e}"
    return None


def by_definition(
    R: Array, c: Array, alpha: float, x: Array, price: Array, own: Array, *,
    priority: Array, upper: Array, in_rates_from: float = 1.0,
) -> float:  # fmt: skip
    """The largest relative violation, as the docstring of `allocation_residual` lists them."""
    paths = R * price[:, np.newaxis]  # what every flow pays on every link
    ends = np.isinf(alpha)
    q = np.maximum(paths.max(axis=0), own) if ends else paths.sum(axis=0) + own
    if ends:
        wrong = np.abs(x * q - 1.0)
    elif alpha < in_rates_from:
        wrong = np.abs(x**alpha * q / priority - 1.0)
    else:
        wrong = np.abs(x / (priority / q) ** (1.0 / alpha) - 1.0)
    over = np.concatenate([R @ x / c - 1.0, x / upper - 1.0])
    idle = (price > 0.0) & ~R.any(axis=1)  # a price that no flow pays
    costly = np.concatenate([np.where(idle, 1.0, (paths / q).max(axis=1)), own / q])
    slack = np.minimum(np.maximum(-over, 0.0), costly)
    return max(float(wrong.max()), float(over.max()), float(slack.max()))


def _points(
    R: Array, c: Array, p: Array, upper: Array, alpha: float
) -> Iterator[tuple[float, Point]]:
    """The optimum, and points some way from it."""
    rng = np.random.default_rng(SEED)
    found = alpha_fair_allocation(R, c, alpha, priority=p, upper=upper)
    best = (found.rates, found.prices, found.upper_prices)
    for move in MOVES:
        x, price, own = (part * (1.0 + move * rng.uniform(-1.0, 1.0, part.shape)) for part in best)
        yield move, (x, price + move * rng.random(price.shape), own)


def _capped(deep: bool) -> Iterator[tuple[str, Array, Array, Array, Array]]:
    """The networks, every flow capped somewhere around its share of its narrowest link."""
    for name, (R, c, p) in networks(deep):
        rng = np.random.default_rng([SEED, len(c), len(p)])
        share = np.where(R > 0.0, (c / R.sum(axis=1).clip(1.0))[:, np.newaxis], np.inf).min(axis=0)
        yield name, R, c, p, share * rng.uniform(0.3, 3.0, size=len(p))


def marginal_is_a_slope(utility: Callable[[float], Any], deep: bool) -> str | None:
    """Concave with slope u': u'(b) (b - a) <= u(b) - u(a) <= u'(a) (b - a), and u' inverts."""
    rng = np.random.default_rng(SEED)
    for alpha in POWERS:
        u = utility(alpha)
        for _ in range(2000 if deep else 200):
            a, b = np.sort(10.0 ** rng.uniform(-3, 3, size=2))
            rise = float(u.value(b) - u.value(a))
            slack = CROWD * max(abs(float(u.value(a))), abs(float(u.value(b))), 1.0)
            low, high = (float(u.marginal(end)) * (b - a) for end in (b, a))
            if not low - slack <= rise <= high + slack:
                return f"alpha {alpha}, {a} to {b}: rise {rise}, slopes {low} to {high}"
            if alpha > 0.0 and not abs(u.inverse_marginal(u.marginal(a)) / a - 1.0) <= DIGITS:
                return f"alpha {alpha}: the rate at the price of {a} is another one"
    return None


def clipped(R: Any, c: Any, alpha: float, *, priority: Any, upper: Any) -> Any:
    """Caps applied to the rates of the problem without caps: what is left is not used."""
    found = alpha_fair_allocation(R, c, alpha, priority=priority)
    found.rates[:] = np.minimum(found.rates, upper)
    return found


def always_in_rates(*problem: Any, **options: Any) -> float:
    """The residual whose stationarity is compared in rates below alpha = 1 too."""
    return by_definition(*problem, **options, in_rates_from=0.0)


def other_power(alpha: float) -> AlphaFair:
    """The utility of a slightly larger power, called by the power that was given."""
    return _Mixed(alpha)


class _Mixed(AlphaFair):
    """Values of one power, slopes of another."""

    def value(self, x: Any) -> Array:
        """U of power alpha + 1/100."""
        return AlphaFair(self.alpha + 0.01).value(x)


CLAIMS = (
    Claim(
        "a-cap-is-a-private-link",
        "rates with caps are those of the network in which every capped flow has a link of its own "
        "with that capacity, max-min fairness included",
        r"x(R, c, u) = x\Big(\begin{pmatrix} R \\ I \end{pmatrix}, "
        r"\begin{pmatrix} c \\ u \end{pmatrix}\Big)",
        OWN,
        IDENTITY,
        "pairs of solves, relative 1e-6",
        f"{SCOPE}, alpha 1/2 to 5 and inf",
        f"{DEEP_SCOPE}, alpha 1/2 to 5 and inf",
        private_link,
        alpha_fair_allocation,
        clipped,
    ),
    Claim(
        "allocation-residual-is-its-definition",
        "the residual of rates and prices is the largest of the relative violations of "
        "stationarity, feasibility and slackness, at the optimum and away from it",
        r"\rho = \max\{\lvert x_i (q_i/p_i)^{1/\alpha} - 1\rvert,\ (R x)_l / c_l - 1,\ "
        r"\min(1 - (R x)_l / c_l, \max_i R_{li} \lambda_l / q_i)\}",
        OWN,
        IDENTITY,
        "the definition, limit by limit",
        f"{SCOPE}, caps, alpha 1/2 to 5 and inf, points moved by 0 to 1/2, limits by a tenth",
        f"{DEEP_SCOPE}, caps, alpha 1/2 to 5 and inf, points moved by 0 to 1/2, limits by a tenth",
        equals_its_definition,
        allocation_residual,
        always_in_rates,
    ),
    Claim(
        "alpha-fair-utility-has-its-slope",
        "the alpha-fair utility is concave and its marginal is its slope, which the inverse undoes",
        r"u'(b)(b - a) \le u(b) - u(a) \le u'(a)(b - a)",
        "Mo and Walrand 2000",
        BOUND,
        "random pairs of rates",
        "200 pairs over six decades, alpha 0, 1/2, 1, 2, 7",
        "2,000 pairs over six decades, alpha 0, 1/2, 1, 2, 7",
        marginal_is_a_slope,
        AlphaFair,
        other_power,
    ),
)
