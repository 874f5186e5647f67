"""Floors of the recruits per task on very many random auctions, for every rule that has one.

The reference counts are whole-array NumPy on integer bids, where floats are exact; only the rules
under test run one auction at a time, in floats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mechanisms import (
    Mechanism,
    budget_fair,
    greedy_max_min,
    leave_one_out_level,
    level_max_min,
    max_min_fair,
)
from proofs.claim import BOUND, OWN, Check, Claim

FEW, MANY = 2_500, 100_000
BATCH = 500
"""Auctions of one shape; shapes change from batch to batch."""
SEED = 8

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
Floor = Callable[[Counts, Counts, Counts, int], Counts]
"""From k*, the common level, the minimum of budget-fair (each (M,)) and S to (M,) floors."""


def batches(total: int, seed: int) -> Iterator[tuple[Floats, Floats]]:
    """(bids (M, N, S), budgets (M,)) with integer bids, frequent ties, and missing bids."""
    rng = np.random.default_rng(seed)
    for _ in range(total // BATCH):
        clients, tasks = int(rng.integers(1, 13)), int(rng.integers(1, 5))
        top = int(rng.integers(1, 13))
        bids = rng.integers(0, top + 1, (BATCH, clients, tasks)).astype(float)
        bids[rng.random(bids.shape) < rng.choice([0.0, 0.0, 0.25])] = np.inf
        budgets = rng.integers(1, top * clients * tasks + 2, BATCH).astype(float)
        yield bids, budgets


def reference(bids: Floats, budgets: Floats) -> tuple[Counts, Counts, Counts]:
    """(k*, common level, minimum of budget-fair), each (M,)."""
    ranked = np.sort(bids, axis=1)
    _, clients, tasks = ranked.shape
    k = np.arange(1, clients + 1)
    optimum = _level(np.cumsum(ranked, axis=1).sum(axis=2), budgets)
    following = np.concatenate([ranked[:, 1:], np.full_like(ranked[:, :1], np.inf)], axis=1)
    common = _level(k * following.sum(axis=2), budgets)
    shares = tasks * k[:, np.newaxis] * ranked <= budgets[:, np.newaxis, np.newaxis]
    return optimum, common, np.asarray(shares.sum(axis=1).min(axis=1))


def _level(costs: Floats, budgets: Floats) -> Counts:
    """(M,) number of levels k = 1, 2, ... whose cost (M, N) is within budget; costs rise."""
    return np.asarray((costs <= budgets[:, np.newaxis]).sum(axis=1))


def of_default(optimum: Counts, common: Counts, shared: Counts, tasks: int) -> Counts:
    """max(k_A, k_BF) - 1 and floor((k* - 1) / 2); floor(k* / 2) with one or two tasks."""
    simple = np.maximum(common, shared) - 1
    return np.asarray(np.maximum(simple, (optimum if tasks <= 2 else optimum - 1) // 2))


def of_one_level(optimum: Counts, common: Counts, shared: Counts, tasks: int) -> Counts:
    """k_A - 1 and floor((k* - 1) / 2)."""
    return np.maximum((optimum - 1) // 2, common - 1)


def half(optimum: Counts, common: Counts, shared: Counts, tasks: int) -> Counts:
    """floor(k* / 2)."""
    return optimum // 2


def share(optimum: Counts, common: Counts, shared: Counts, tasks: int) -> Counts:
    """floor((k* + 1) / (S + 1))."""
    return (optimum + 1) // (tasks + 1)


def all_of_it(optimum: Counts, common: Counts, shared: Counts, tasks: int) -> Counts:
    """k*."""
    return optimum


def holds(floor: Floor) -> Check:
    """Check that a rule never recruits below its floor, nor above the optimum."""

    def check(mechanism: Mechanism, deep: bool) -> str | None:
        for bids, budgets in batches(MANY if deep else FEW, SEED):
            counts = reference(bids, budgets)
            least = floor(*counts, bids.shape[2])
            for one, money, low, best in zip(bids, budgets, least, counts[0], strict=True):
                seen = mechanism(one, float(money)).min_take_up
                if not low <= seen <= best:
                    return f"bids {one.tolist()}, budget {money}: {seen}, not in {low}..{best}"
        return None

    return check


def claim(name: str, words: str, formula: str, floor: Floor, rule: Any, control: Any) -> Claim:
    """A floor; the negative control is a rule that has a lower one."""
    statement = f"the fewest recruits of any task are at least {words}, and at most k*"
    few, many = (f"{count:,} auctions, up to 12 clients and 4 tasks" for count in (FEW, MANY))
    how = "random float auctions, ties frequent"
    bounds = rf"{formula} \le \min_s \sum_i x_{{is}} \le k^*"
    check = holds(floor)
    return Claim(
        f"{name}-take-up", statement, bounds, OWN, BOUND, how, few, many, check, rule, control
    )


CLAIMS = (
    claim(
        "max-min-fair",
        "max(k_A, k_BF) - 1 and floor((k* - 1) / 2), and floor(k* / 2) with up to two tasks",
        r"\max(k_A - 1, k_{BF} - 1, \lfloor (k^* - [S > 2]) / 2 \rfloor)",
        of_default,
        max_min_fair,
        leave_one_out_level,
    ),
    claim(
        "leave-one-out-level",
        "k_A - 1 and floor((k* - 1) / 2)",
        r"\max(k_A - 1, \lfloor (k^* - 1) / 2 \rfloor)",
        of_one_level,
        leave_one_out_level,
        budget_fair,
    ),
    claim(
        "level-max-min",
        "floor(k* / 2)",
        r"\lfloor k^* / 2 \rfloor",
        half,
        level_max_min,
        leave_one_out_level,
    ),
    claim(
        "budget-fair",
        "floor((k* + 1) / (S + 1))",
        r"\lfloor (k^* + 1) / (S + 1) \rfloor",
        share,
        budget_fair,
        level_max_min,
    ),
    claim("greedy-max-min", "k*", "k^*", all_of_it, greedy_max_min, max_min_fair),
)
