"""Flows that may split over several paths: optimal against every feasible split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairopt import Status, alpha_fair_path_allocation
from proofs.claim import TIGHT, Claim
from proofs.fairness.fair_allocation import SEED, Allocate, largest_total
from proofs.gradients.problems import Array

POWERS = (0.5, 1.0, 2.0)
"""Larger ones spread x^-alpha over too many decades for one linear programme to judge."""
PATHS = 3
"""Paths per flow."""
OPTIMAL_WITHIN = 1e-6
"""Relative gain of other rates: residuals of 1e-9 are geometric means of local gaps."""


def no_split_gains(allocate: Allocate, deep: bool) -> str | None:
    """Over all feasible path rates the largest sum of p x^-alpha y is that of the answer."""
    for name, A, owner, c, p in _networks(deep):
        for alpha in POWERS:
            found = allocate(A, owner, c, alpha, priority=p)
            x, z = found.rates, found.path_rates
            if found.status != Status.OPTIMAL:
                return f"{name}, alpha {alpha}: {found.sentence}"
            if not (np.allclose(np.bincount(owner, z), x, rtol=1e-9) and (x > 0.0).all()):
                return f"{name}, alpha {alpha}: path rates {z} do not add up to {x}"
            if not (A @ z <= c * (1.0 + OPTIMAL_WITHIN)).all():
                return f"{name}, alpha {alpha}: a link is overloaded"
            marginal = p * (x / x.max()) ** -alpha
            gain = largest_total(marginal[owner], A, c) / float(marginal @ x) - 1.0
            if not gain <= OPTIMAL_WITHIN:
                return f"{name}, alpha {alpha}: another split gains {gain:.1e}"
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
WORTH_HAVING = 2e-3
"""Relative gain of one flow; rates are known to about the root of the gap that is looked for."""
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
"""Routing, owners, capacities: two dear flows must change paths together for a cheap one."""


def nothing_is_left(allocate: Allocate, deep: bool) -> str | None:
    """In an answer called optimal nobody could have more while all others keep their rates."""
    several = [(name, A, owner, c) for name, A, owner, c, _ in _networks(deep)]
    for name, A, owner, c in [*several, ("chain", *CHAIN)]:
        for alpha in STEEP if deep else STEEP[:1]:
            found = allocate(A, owner, c, alpha)
            if found.status == Status.OPTIMAL:
                for flow in range(len(found.rates)):
                    gain = _gain(A, owner, c, found.rates, flow)
                    if not gain <= WORTH_HAVING:
                        return f"{name}, alpha {alpha}: flow {flow} could have {gain:.1%} more"
    return None


def _gain(A: Array, owner: NDArray[np.intp], c: Array, rates: Array, flow: int) -> float:
    """By how much one flow could have more, relatively, if all others keep their rates."""
    sums = (owner == np.arange(len(rates))[:, None]) * 1.0
    kept = np.delete(np.arange(len(rates)), flow)
    rows, limits = np.vstack([A, -sums[kept]]), np.concatenate([c, -rates[kept]])
    return largest_total(sums[flow], rows, limits) / float(rates[flow]) - 1.0


def prices_alone(A: Any, owner: Any, c: Any, alpha: float, **options: Any) -> Any:
    """Whatever prices accept is called optimal."""
    found = alpha_fair_path_allocation(A, owner, c, alpha, **options)
    accepted = found.status == Status.STEP_LIMIT and found.residual <= OPTIMAL_WITHIN
    return replace(found, status=Status.OPTIMAL) if accepted else found


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
        TIGHT,
        "the maximum by a linear programme, relative 1e-6",
        "6 networks of up to 7 links, 6 flows and 3 paths each, alpha 1/2, 1, 2",
        "60 networks of up to 7 links, 6 flows and 3 paths each, alpha 1/2, 1, 2",
        no_split_gains,
        alpha_fair_path_allocation,
        first_path_only,
    ),
    Claim(
        "optimal-split-flows-leave-nothing",
        "in an answer called optimal no flow could have more while all others keep their rates",
        r"\max_{A z \le c,\, x(z)_{-i} \ge x_{-i}} x(z)_i = x_i",
        "our reconstruction",
        TIGHT,
        "the maximum by a linear programme, relative 2e-3",
        "7 networks of up to 7 links, 7 flows and 3 paths each, alpha 20",
        "61 networks of up to 7 links, 7 flows and 3 paths each, alpha 20 and 50",
        nothing_is_left,
        alpha_fair_path_allocation,
        prices_alone,
    ),
)
