"""Max-min fairness of flows over several paths: by its definition, and a bound of what is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairopt import Status, alpha_fair_path_allocation
from fairopt.allocation.multipath.max_min_certificate import Gains, largest_gains
from fairopt.arrays import Array
from proofs.claim import BOUND, IDENTITY, OWN, Claim
from proofs.fairness.fair_allocation import SEED, Allocate, largest_total

Owners = NDArray[np.intp]
ROUNDING = 1e-7
"""Relative: linear programmes of SciPy meet constraints to 1e-7."""
BELOW_VOLUME = 1e-9
"""Relative: a rate this near to the flow's volume is at it."""


def no_flow_gains(allocate: Allocate, deep: bool) -> str | None:
    """With volumes and weights: every flow has all it can at no cost to flows with less."""
    for name, A, owner, c in _networks(deep):
        rng = np.random.default_rng([SEED, 19, len(owner)])
        flows = int(owner[-1]) + 1
        upper, weights = rng.uniform(0.2, 4.0, flows), rng.integers(1, 4, flows) * 1.0
        found = allocate(A, owner, c, np.inf, upper=upper, weights=weights)
        x, z = found.rates, found.path_rates
        if found.status != Status.OPTIMAL:
            return f"{name}: {found.sentence}"
        if not (np.allclose(np.bincount(owner, z), x) and (x > 0.0).all()):
            return f"{name}: path rates {z} do not add up to {x}"
        if not ((A @ z <= c * (1 + ROUNDING)).all() and (x <= upper * (1 + ROUNDING)).all()):
            return f"{name}: a link or a volume is exceeded"
        gain = _gains(A, owner, c, x, x / weights)
        gain = np.where(x >= upper * (1.0 - BELOW_VOLUME), 0.0, gain)
        if not gain.max() <= ROUNDING:
            return f"{name}: flow {gain.argmax()} could have {gain.max():.1e} times more"
    return None


def _networks(deep: bool) -> Iterator[tuple[str, Array, Owners, Array]]:
    """(name, paths, owner of every path, capacities): up to 7 links, 6 flows of 1 to 3 paths."""
    for draw in range(80 if deep else 10):
        rng = np.random.default_rng([SEED, 17, draw])
        links, flows = int(rng.integers(2, 8)), int(rng.integers(2, 7))
        owner = np.repeat(np.arange(flows), rng.integers(1, 4, flows))
        A = (rng.random((links, len(owner))) < 0.4).astype(float)
        A[rng.integers(links, size=len(owner)), np.arange(len(owner))] = 1.0
        yield f"draw {draw}", A, owner, rng.integers(1, 10, size=links).astype(float)


def _gains(A: Array, owner: Owners, c: Array, x: Array, level: Array) -> Array:
    """What each flow could gain while others keep their rates, or have at least its level."""
    sums = (owner == np.arange(len(x))[:, None]) * 1.0
    gains = []
    for flow, top in enumerate(level):
        least = x * np.minimum(1.0, top / level)
        rows, limits = np.vstack([A, -sums]), np.concatenate([c, -least * (1.0 - 1e-9)])
        gains.append(largest_total(sums[flow], rows, limits) / float(x[flow]) - 1.0)
    return np.array(gains)


def only_at_their_volumes(A: Any, owner: Any, c: Any, alpha: float, **options: Any) -> Any:
    """Proportional fairness instead."""
    found = alpha_fair_path_allocation(A, owner, c, 1.0, **options)
    return replace(found, status=Status.OPTIMAL)


Bound = Callable[[Any, Owners, Array, Array, Array], Gains]
"""Paths of links of capacity one, owners, log units, path rates, prices of levels to gains."""
SHARP = 1e-12
"""At max-min rates with the prices of their levels, beside rates of a tenth to ten."""


def gains_are_within_the_bound(bound: Bound, deep: bool) -> str | None:
    """Whatever rates and prices are; at max-min rates with prices of the levels it is zero."""
    from scipy import sparse

    for name, A, owner, c in _networks(deep):
        rng = np.random.default_rng([SEED, 23, len(owner)])
        rows = sparse.csr_array(A / c[:, None])
        unit = rng.normal(size=int(owner[-1]) + 1)
        for prices in (rng.random((4, len(c))), np.eye(len(c))):
            z = rng.random(len(owner))
            z = z / (A @ z / c).max() * rng.choice([0.7, 1.0])
            x = np.bincount(owner, z).astype(float)
            found = bound(rows, owner, unit, z, prices).most
            gain = _gains(A / c[:, None], owner, np.ones(len(c)), x, x * np.exp(unit))
            if not (gain <= found * (1.0 + ROUNDING) + ROUNDING).all():
                return f"{name}: rates {x} gain {gain}, beyond {found}"
    shared = sparse.csr_array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.25]])
    z, prices = np.array([0.5, 0.5, 2.0]), np.array([[1.0, 0.0], [0.0, 1.0]])
    least = bound(shared, np.arange(3), np.zeros(3), z, prices).most.max()
    return None if least <= SHARP else f"max-min rates could gain {least:.1e}"


def without_larger_flows(A: Any, owner: Owners, log_unit: Array, z: Array, prices: Array) -> Gains:
    """As if flows with more had nothing to spare."""
    gains = [
        (lam.sum() - pays @ x) / (pays * x)
        for lam in prices
        for x in [np.bincount(owner, z)]
        for pays in [np.array([(A.T @ lam)[owner == i].min() for i in range(len(x))]) + 1e-300]
    ]
    return Gains(np.min(gains, axis=0), np.zeros(len(log_unit)))


CLAIMS = (
    Claim(
        "split-max-min-leaves-nothing",
        "no flow over several paths could have more at no cost to flows with less",
        r"\max_{A z \le c,\, x(z)_j \ge \min(x_j, w_j x_i / w_i)} x(z)_i = x_i",
        "Bertsekas and Gallager 1992",
        IDENTITY,
        "the maximum by a linear programme, relative 1e-7",
        "10 networks of up to 7 links, 6 flows and 3 paths each, with volumes and weights",
        "80 networks of up to 7 links, 6 flows and 3 paths each, with volumes and weights",
        no_flow_gains,
        alpha_fair_path_allocation,
        only_at_their_volumes,
    ),
    Claim(
        "split-gains-are-bounded",
        "what a flow could gain at no cost to flows with less is bounded by any prices",
        r"q_i (y_i - x_i) \le \lambda' s + \sum_p z_p (c_p - q_{o(p)})"
        r" + \sum_{v_j > v_i} q_j x_j (1 - v_i / v_j)",
        OWN,
        BOUND,
        "the largest gain by a linear programme, relative 1e-7",
        "10 networks of up to 7 links, 6 flows and 3 paths each, 2 points each",
        "80 networks of up to 7 links, 6 flows and 3 paths each, 2 points each",
        gains_are_within_the_bound,
        largest_gains,
        without_larger_flows,
    ),
)
