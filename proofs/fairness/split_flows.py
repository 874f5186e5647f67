"""Flows that may split over several paths: optimal against every feasible split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairopt import (
    Status,
    alpha_fair_allocation,
    alpha_fair_path_allocation,
    path_allocation_residual,
)
from fairopt.allocation.multipath.certificate import rate_errors
from fairopt.allocation.multipath.decimal_certificate import decimal_rate_errors
from fairopt.allocation.multipath.decimal_form import DecimalForm, decimals
from fairopt.arrays import Array
from proofs.claim import BOUND, IDENTITY, OWN, Claim
from proofs.fairness.fair_allocation import SEED, Allocate, largest_total

Residual = Callable[[Array, NDArray[np.intp], Array, float, Array, Array], float]
"""Routing, owners, capacities, alpha, path rates, link prices to a residual."""
POWERS = (0.5, 1.0, 2.0)
"""Larger ones spread x^-alpha over too many decades for one linear programme to check."""
PATHS = 3
"""Paths per flow."""
OPTIMAL_WITHIN = 1e-6
"""Relative gain of other rates: residuals of 1e-9 are geometric means of local gaps."""


def no_split_gains(allocate: Allocate, deep: bool) -> str | None:
    """Over all feasible path rates the largest sum of p x^-alpha y is that of the answer."""
    for name, A, owner, c, p in _networks(deep):
        for alpha in POWERS:
            found = allocate(A, owner, c, alpha, priority=p)
            wrong = _unusable(A, owner, c, found)
            if wrong:
                return f"{name}, alpha {alpha}: {wrong}"
            x = found.rates
            marginal = p * (x / x.max()) ** -alpha
            gain = largest_total(marginal[owner], A, c) / float(marginal @ x) - 1.0
            if not gain <= OPTIMAL_WITHIN:
                return f"{name}, alpha {alpha}: another split gains {gain:.1e}"
    return None


def _unusable(A: Array, owner: NDArray[np.intp], c: Array, found: Any) -> str | None:
    """Why this is no feasible split that is called optimal."""
    x, z = found.rates, found.path_rates
    if found.status != Status.OPTIMAL:
        return str(found.sentence)
    if not (np.allclose(np.bincount(owner, z), x, rtol=1e-9) and (x > 0.0).all()):
        return f"path rates {z} do not add up to {x}"
    if not (A @ z <= c * (1.0 + OPTIMAL_WITHIN)).all():
        return "a link is overloaded"
    return None


def _networks(deep: bool) -> Iterator[tuple[str, Array, NDArray[np.intp], Array, Array]]:
    """(name, paths, owner of every path, capacities, priorities): up to 7 links and 6 flows."""
    for draw in range(60 if deep else 6):
        rng = np.random.default_rng([SEED, 3, draw])
        links, flows = int(rng.integers(2, 8)), int(rng.integers(2, 7))
        A = (rng.random((links, PATHS * flows)) < 0.4).astype(float)
        A[rng.integers(links, size=PATHS * flows), np.arange(PATHS * flows)] = 1.0
        owner = np.repeat(np.arange(flows), PATHS)
        capacity = rng.integers(1, 10, size=links).astype(float)
        yield f"draw {draw}", A, owner, capacity, rng.uniform(0.5, 2.0, size=flows)


STEEP = (20.0, 50.0)
"""Powers at which some flows pay 1e-10 of what others pay."""
WORTH_HAVING = 1e-6
"""Relative gain of one flow."""
CHAIN = (
    np.array(
        [
            [float(cell) for cell in row]
            for row in (
                "0000011110001",
                "1101100010001",
                "1100110001001",
                "0011000111101",
                "1101101100010",
                "0010001011111",
                "3323323343325",
            )
        ]
    ),
    np.array([0, 0, 1, 1, 1, 2, 2, 3, 4, 5, 5, 5, 6]),
    np.array([3.0, 3.0, 3.0, 1.0, 1.0, 2.0, 13.0]),
)
"""Routing, owners, capacities: two costly flows must change paths together for a cheap one."""


def nothing_is_left(allocate: Allocate, deep: bool) -> str | None:
    """Every network is solved, and no flow could have more while all others keep their rates."""
    several = [(name, A, owner, c) for name, A, owner, c, _ in _networks(deep)]
    for name, A, owner, c in [*several, ("chain", *CHAIN)]:
        for alpha in STEEP if deep else STEEP[:1]:
            found = allocate(A, owner, c, alpha)
            wrong = _unusable(A, owner, c, found)
            if wrong:
                return f"{name}, alpha {alpha}: {wrong}"
            for flow in range(len(found.rates)):
                gain = _gain(A, owner, c, found.rates, flow)
                if not gain <= WORTH_HAVING:
                    return f"{name}, alpha {alpha}: flow {flow} could have {gain:.1e} times more"
    return None


def _gain(A: Array, owner: NDArray[np.intp], c: Array, rates: Array, flow: int) -> float:
    """By how much one flow could have more, relatively, if all others keep their rates."""
    sums = (owner == np.arange(len(rates))[:, None]) * 1.0
    kept = np.delete(np.arange(len(rates)), flow)
    rows, limits = np.vstack([A, -sums[kept]]), np.concatenate([c, -rates[kept]])
    return largest_total(sums[flow], rows, limits) / float(rates[flow]) - 1.0


SHARED = np.array([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]])
"""Flow 0 crosses link 0 and then link 1, with flow 1, or link 2, with flow 2."""
USERS = np.array([0, 0, 1, 2])
WITHIN = 1e-6
BEYOND = 1e-3


def the_split_of_a_costly_flow_counts(residual: Residual, deep: bool) -> str | None:
    """The best split of a flow that pays far more than others has no residual, another has one."""
    for draw in range(200 if deep else 20):
        rng = np.random.default_rng([SEED, 5, draw])
        narrow, wide, apart = rng.uniform(0.5, 2.0), rng.uniform(8.0, 12.0), rng.uniform(-0.4, 0.4)
        capacity = np.array([narrow, wide, wide + apart])
        for alpha in (0.5, 2.0, 20.0, 50.0, 100.0):
            for first, right in ((0.5 * (narrow - apart), True), (narrow, False)):
                z = np.array([first, narrow - first, wide - first, wide + apart - narrow + first])
                one, other = z[2:] ** -alpha
                prices = np.array([narrow**-alpha - one, one, other])
                found = residual(SHARED, USERS, capacity, alpha, z, prices)
                if not (found <= WITHIN if right else found > BEYOND):
                    return f"capacities {capacity}, alpha {alpha}, rates {z}: residual {found:.1e}"
    return None


Errors = Callable[[Any, NDArray[np.intp], Array, float, Array, Array], Array]
"""Paths of links of capacity one, owners, log weights, alpha, path rates, prices to errors."""
SPREADS = (0.0, 1e-6, 1e-2, 0.3)
"""Of the logarithms of rates and prices about the best ones."""
SHARP = 1e-5
"""Certified at the optimum, beside rates of a tenth to ten and rounding of 1e-15."""
ROUNDING = 1e-12
"""Of rates in closed form."""


def the_best_rates_are_within_the_errors(errors: Errors, deep: bool) -> str | None:
    """Of rates in any point, whatever its prices are; at the optimum errors are small."""
    from scipy import sparse

    for draw in range(200 if deep else 20):
        rng = np.random.default_rng([SEED, 7, draw])
        narrow, wide, apart = rng.uniform(0.5, 2.0), rng.uniform(4.0, 8.0), rng.uniform(-0.4, 0.4)
        capacity = np.array([narrow, wide, wide + apart])
        A = sparse.csr_array(SHARED / capacity[:, None])
        rich = 0.5 * (2.0 * wide + apart - narrow)
        best, first = np.array([narrow, rich, rich]), 0.5 * (narrow - apart)
        for alpha in POWERS:
            one = rich**-alpha
            prices = np.array([narrow**-alpha - one, one, one]) * capacity
            for spread in SPREADS:
                off = np.exp(spread * rng.normal(size=8))
                less = first * min(off[7], 1.0)
                full = np.array([less, narrow - less, wide - less, wide + apart - narrow + less])
                for z, paid in (
                    (np.array([first, narrow - first, rich, rich]) * off[:4], prices * off[4:7]),
                    (full, prices * off[6]),
                ):
                    found = errors(A, USERS, np.zeros(3), alpha, z, paid)
                    away = np.abs(np.bincount(USERS, z) / best - 1.0)
                    if not (away <= found + ROUNDING).all():
                        return (
                            f"draw {draw}, alpha {alpha}: rates off by {away} have errors {found}"
                        )
                    if spread == 0.0 and not found.max() <= SHARP:
                        return f"draw {draw}, alpha {alpha}: the best rates have errors {found}"
    return None


DIGITS = 60
"""Of the certificate in decimals."""


def errors_in_decimals(
    A: Any, owner: NDArray[np.intp], log_weight: Array, alpha: float, z: Array, prices: Array
) -> Array:
    """The certificate of large alpha."""
    priority = decimals(np.exp(log_weight))
    form = DecimalForm(A.T.tocsr(), owner, np.ones(A.shape[0]), priority, alpha)
    return decimal_rate_errors(form, decimals(z), decimals(prices), DIGITS)


def errors_of_demand(
    A: Any, owner: NDArray[np.intp], log_weight: Array, alpha: float, z: Array, prices: Array
) -> Array:
    """How far rates are from the demand at their prices, as if these were right."""
    price = np.minimum.reduceat(A.T @ prices, np.searchsorted(owner, np.arange(len(log_weight))))
    return np.asarray(
        np.abs(np.bincount(owner, z) * (price / np.exp(log_weight)) ** (1 / alpha) - 1)
    )


def by_total_costs(
    A: Array, owner: NDArray[np.intp], c: Array, alpha: float, z: Array, prices: Array
) -> float:
    """A residual that adds up all links of a path before it compares two paths."""
    cost, load = A.T @ prices, A @ z
    price = np.array([cost[owner == flow].min() for flow in range(owner.max() + 1)])
    x = np.bincount(owner, z)
    extra = np.sqrt(z / x[owner] * (1.0 - price[owner] / cost))
    stationary = np.abs(np.log(price) / alpha + np.log(x))
    return float(max((load / c - 1.0).max(), extra.max(), stationary.max()))


def splits_first(A: Any, owner: Any, c: Any, alpha: float, **options: Any) -> Any:
    """Splits that are right at alpha = 1, then the best rates for these splits."""
    easy = alpha_fair_path_allocation(A, owner, c, 1.0, **options)
    share = easy.path_rates / easy.rates[owner]
    mean = np.stack([np.bincount(owner, row * share) for row in np.asarray(A)])
    found = alpha_fair_allocation(mean, c, alpha, **options)
    z = share * found.rates[owner]
    return replace(easy, status=found.status, rates=found.rates, path_rates=z)


def first_path_only(A: Any, owner: Any, c: Any, alpha: float, **options: Any) -> Any:
    """Every flow on its first path; the others stay empty."""
    shut = np.array(A)
    shut[:, np.arange(A.shape[1]) % PATHS > 0] = 1e6
    return alpha_fair_path_allocation(shut, owner, c, alpha, **options)


CLAIMS = (
    Claim(
        "split-flows-are-optimal",
        "no feasible split of the flows over their paths has more marginal utility",
        r"\max_{A z \le c} \sum_i p_i x_i^{-\alpha} \Big(\sum_{k \in P_i} z_k - x_i\Big) = 0",
        "Kelly, Maulloo and Tan 1998",
        IDENTITY,
        "the maximum by a linear programme, relative 1e-6",
        "6 networks of up to 7 links, 6 flows and 3 paths each, alpha 1/2, 1, 2",
        "60 networks of up to 7 links, 6 flows and 3 paths each, alpha 1/2, 1, 2",
        no_split_gains,
        alpha_fair_path_allocation,
        first_path_only,
    ),
    Claim(
        "optimal-split-flows-leave-nothing",
        "large alpha is solved, and no split flow could have more while others keep their rates",
        r"\max_{A z \le c,\, x(z)_{-i} \ge x_{-i}} x(z)_i = x_i",
        OWN,
        IDENTITY,
        "the maximum by a linear programme, relative 1e-6",
        "7 networks of up to 7 links, 7 flows and 3 paths each, alpha 20",
        "61 networks of up to 7 links, 7 flows and 3 paths each, alpha 20 and 50",
        nothing_is_left,
        alpha_fair_path_allocation,
        splits_first,
    ),
    Claim(
        "split-flow-residual-sees-expensive-splits",
        "how a flow splits counts, also where others pay 1e-50 of what it pays",
        r"\rho(z^*, \lambda) \le 10^{-6}, \quad \rho(z, \lambda) > 10^{-3}",
        OWN,
        BOUND,
        "rates and prices in closed form",
        "20 networks of 3 links and 3 flows, alpha 1/2, 2, 20, 50, 100",
        "200 networks of 3 links and 3 flows, alpha 1/2, 2, 20, 50, 100",
        the_split_of_a_costly_flow_counts,
        path_allocation_residual,
        by_total_costs,
    ),
    Claim(
        "split-rates-are-certified",
        "the best rates are within the errors of any point, whatever its prices are",
        r"\lvert x_i - x^*_i\rvert \le \varepsilon_i(z, \lambda)\, x^*_i",
        OWN,
        BOUND,
        "rates in closed form, relative 1e-12",
        "20 networks of 3 links and 3 flows, alpha 1/2, 1, 2, 8 points each",
        "200 networks of 3 links and 3 flows, alpha 1/2, 1, 2, 8 points each",
        the_best_rates_are_within_the_errors,
        rate_errors,
        errors_of_demand,
    ),
    Claim(
        "split-rates-are-certified-in-decimals",
        "the best rates are within the errors of any point, also in as many digits as it takes",
        r"\lvert x_i - x^*_i\rvert \le \varepsilon_i(z, \lambda)\, x^*_i",
        OWN,
        BOUND,
        "rates in closed form, relative 1e-12",
        "20 networks of 3 links and 3 flows, alpha 1/2, 1, 2, 8 points each",
        "200 networks of 3 links and 3 flows, alpha 1/2, 1, 2, 8 points each",
        the_best_rates_are_within_the_errors,
        errors_in_decimals,
        errors_of_demand,
    ),
)
