"""Auctions over several rounds: truthful where nothing is learned from those who are paid."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from mechanisms import greedy_max_min, max_min_fair
from mechanisms.studies.repeated_auctions import (
    Policy,
    RepeatedViolation,
    every_round,
    find_profitable_plan,
    learned_budget,
    learned_reserve,
)
from proofs.claim import BOUND, COUNTEREXAMPLE, OWN, Check, Claim
from proofs.incentives.instances import Row, exact_table, remembered

COSTS = (Fraction(0), Fraction(1), Fraction(3))
"""Of the grid: true costs of every client, and bids of every plan of one client."""
BUDGET = Fraction(3)
SCOUTS = (1, 2)
"""Clients that only inform, where there are such."""


def gains(first: list[Row], second: list[Row], plan: list[Row], gain: Any) -> Check:
    """Check that client 0 gains exactly so much over two rounds by one plan."""
    costs = np.array([exact_table(first), exact_table(second)])
    worked = RepeatedViolation("a worked plan", gain, costs, 0, exact_table(plan))

    def check(policy: Policy, deep: bool) -> str | None:
        seen = worked.replay(policy)
        return None if seen == Fraction(gain) else f"client 0 gains {seen}, not {gain}"

    return check


def no_plan_gains(policy: Policy, deep: bool) -> str | None:
    """No plan of clients 0 and 1 on the grid pays over two rounds of one task."""
    walks = itertools.product(COSTS, COSTS if deep else COSTS[:2])
    for costs in itertools.product(list(walks), repeat=3):
        table = np.array([exact_table([(c[t],) for c in costs]) for t in (0, 1)])
        plans = [exact_table([(a,), (b,)]) for a, b in itertools.product(COSTS, repeat=2)]
        for client in (0, 1):
            found = find_profitable_plan(policy, table, client=client, plans=plans)
            if found is not None:
                return f"costs {table[..., 0].tolist()}: {found.sentence}"
    return None


def claim(
    name: str, statement: str, kind: str, check: Callable[..., Any], rule: Policy, control: Policy
) -> Claim:
    """A claim about a policy."""
    grid = "two rounds, 3 clients, one task, bids 0, 1, 3: all costs and all plans"
    scope = grid if kind == BOUND else "one worked pair of rounds"
    fast = f"{grid}; costs 0, 1 in the second round" if kind == BOUND else scope
    formula = r"\sum_t u_i^t(\text{plan}) \le \sum_t u_i^t(\text{truth})"
    if kind == COUNTEREXAMPLE:
        formula = r"\sum_t u_0^t(\text{plan}) = \sum_t u_0^t(\text{truth}) + 1"
    how = "exact utilities"
    return Claim(name, statement, formula, OWN, kind, how, fast, scope, check, rule, control)


CLAIMS = (
    claim(
        "a-reserve-learned-from-everybody-is-gamed",
        "max_min_fair with last round's median as reserve: a recruit that bids 1, not 0, in the "
        "first round is paid 1, not 0, in the second",
        COUNTEREXAMPLE,
        gains([(0,), (1,)], [(0,), (1,)], [(1,), (0,)], 1),
        learned_reserve(max_min_fair, Fraction(1)),
        learned_reserve(max_min_fair, Fraction(1), scouts=(1,)),
    ),
    claim(
        "a-budget-learned-from-everybody-is-gamed",
        "max_min_fair with a budget that last round's bids would have needed: losing once at a "
        "bid of 4 brings 2 in the next round, and losing at more brings more",
        COUNTEREXAMPLE,
        gains([(0,), (0,)], [(0,), (0,)], [(4,), (0,)], 1),
        learned_budget(max_min_fair, Fraction(1), 1),
        every_round(max_min_fair, Fraction(1)),
    ),
    claim(
        "rounds-that-learn-nothing-are-truthful",
        "max_min_fair at a fixed budget: no plan for two rounds pays, though costs move",
        BOUND,
        no_plan_gains,
        every_round(remembered(max_min_fair), BUDGET),
        every_round(remembered(greedy_max_min), BUDGET),
    ),
    claim(
        "reserves-learned-from-scouts-are-truthful",
        "max_min_fair with the bids of a scout, never recruited, as reserve: no plan pays",
        BOUND,
        no_plan_gains,
        learned_reserve(remembered(max_min_fair), BUDGET, scouts=SCOUTS[1:]),
        learned_reserve(remembered(max_min_fair), BUDGET),
    ),
    claim(
        "budgets-learned-from-scouts-are-truthful",
        "max_min_fair with a budget from the bids of two scouts, never recruited: no plan pays",
        BOUND,
        no_plan_gains,
        learned_budget(remembered(max_min_fair), BUDGET, 1, scouts=SCOUTS),
        learned_budget(remembered(max_min_fair), BUDGET, 1),
    ),
)
