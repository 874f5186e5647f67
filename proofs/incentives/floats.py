"""The fast float rules decide as the exact ones, and never pay a cent too much."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from mechanisms import (
    Mechanism,
    Outcome,
    budget_fair,
    cheapest_first,
    greedy_max_min,
    leave_one_out_level,
    level_max_min,
    max_min_fair,
)
from proofs.claim import IDENTITY, OWN, Claim
from proofs.incentives import laws
from proofs.incentives.honesty import in_one_order, truthful
from proofs.incentives.instances import Bids
from proofs.incentives.posted import fee_menu, sampled, unit_prices

ACCURACY = Fraction(1, 10**12)
"""A float payment may be below the exact one by this share of it, or of the budget."""
RULES: tuple[Mechanism, ...] = (
    budget_fair,
    max_min_fair,
    leave_one_out_level,
    level_max_min,
    greedy_max_min,
    cheapest_first,
    in_one_order,
    fee_menu,
    unit_prices,
    sampled,
)


LARGE = 9_000
"""Clients; stretches are looked at from 8,193 on."""
BUDGETS = (2.0e3, 3.0e5)
"""Enough for about 150 and about 1,800 of them per task."""
LARGE_RULES = (
    budget_fair,
    level_max_min,
    greedy_max_min,
    cheapest_first,
    leave_one_out_level,
    max_min_fair,
)
"""The leave-one-out rules take seconds in fractions, so the thorough check has them."""


def same_as_exact(cast: Callable[[Mechanism], Mechanism], deep: bool) -> str | None:
    """The same recruits on floats, payments rounded down, the exact sum within the budget."""
    for rule in RULES:
        fast = cast(rule)
        for table, budget in laws.samples(deep):
            bids = table.astype(np.float64)
            money = float(budget)
            exact = rule(_fractions(bids), Fraction(money))
            seen = fast(bids, money)
            found = _difference(seen, exact, Fraction(money))
            if found is not None:
                name = getattr(rule, "__name__", str(rule))
                return f"{name}, bids {laws.shown(table)}, budget {budget}: {found}"
    return None


def large_as_exact(cast: Callable[[Mechanism], Mechanism], deep: bool) -> str | None:
    """The same beyond the size from which rules look at a stretch of the bids only."""
    rng = np.random.default_rng(laws.SEED)
    bids = rng.integers(0, 3_000, size=(LARGE, 2)) / 7.0
    for rule in LARGE_RULES if deep else LARGE_RULES[:4]:
        for budget in BUDGETS:
            seen = cast(rule)(bids, budget)
            exact = rule(_fractions(bids), Fraction(budget))
            found = _difference(seen, exact, Fraction(budget))
            if found is not None:
                return f"{rule.__name__}, {LARGE} clients, budget {budget}: {found}"
    return None


def _difference(seen: Outcome, exact: Outcome, budget: Fraction) -> str | None:
    """What differs, if anything does."""
    if (seen.winners != exact.winners).any() or (seen.level != exact.level).any():
        return "other recruits"
    paid = [Fraction(float(x)) for x in seen.payments[seen.winners]]
    due = list(exact.payments[exact.winners])
    if sum(paid) > budget:
        return f"{float(sum(paid)) - float(budget):.1e} too much is spent"
    for pay, right in zip(paid, due, strict=True):
        if pay > right:
            return f"{float(pay - right):.1e} too much is paid"
        if right - pay > ACCURACY * (right + budget):
            return f"{float(right - pay):.1e} too little is paid"
    return None


def optimal_level(rule: Mechanism, deep: bool) -> str | None:
    """k* is the largest k for which the k cheapest bids of all tasks sum to at most B."""
    for bids, budget in laws.samples(deep):
        columns = [sorted(x for x in column if x != np.inf) for column in bids.T]
        best = max(
            k
            for k in range(len(bids) + 1)
            if k <= min(map(len, columns)) and sum(sum(c[:k]) for c in columns) <= budget
        )
        seen = rule(bids, budget)
        if seen.min_take_up != best or seen.spend > budget:
            return f"bids {laws.shown(bids)}, budget {budget}: {seen.min_take_up}, not {best}"
    return None


def as_it_is(rule: Mechanism) -> Mechanism:
    """The rule itself."""
    return rule


def single_precision(rule: Mechanism) -> Mechanism:
    """The rule with payments of seven digits."""

    def rounded(bids: Bids, budget: Any) -> Outcome:
        found = rule(bids, budget)
        paid = found.payments.astype(np.float32).astype(np.float64)
        return Outcome(found.winners, paid, found.level)

    return rounded


def largest_total(rule: Mechanism, deep: bool) -> str | None:
    """The number of recruits is the largest m for which the m cheapest bids of all tasks fit."""
    for bids, budget in laws.samples(deep):
        costs = sorted(x for x in bids.flat if x != np.inf)
        best = max(m for m in range(len(costs) + 1) if sum(costs[:m]) <= budget)
        seen = int(rule(bids, budget).winners.sum())
        if seen != best:
            return f"bids {laws.shown(bids)}, budget {budget}: {seen} recruits, not {best}"
    return None


def keeps_a_cent(rule: Mechanism) -> Mechanism:
    """A rule that never spends the last hundredth: strict for weak at the budget."""
    return lambda bids, budget: rule(bids, max(budget - Fraction(1, 100), Fraction(1, 100)))


def with_reserve(bids: Bids, budget: Any) -> Outcome:
    """The default rule beside an outside seller at 3/2."""
    return max_min_fair(bids, budget, reserve=Fraction(3, 2))


def level_with_reserve(bids: Bids, budget: Any) -> Outcome:
    """The leave-one-out level beside an outside seller at 3/2."""
    return leave_one_out_level(bids, budget, reserve=Fraction(3, 2))


def _fractions(bids: Any) -> Bids:
    """Exact values of floats."""
    table = np.empty(bids.shape, dtype=object)
    for cell, bid in np.ndenumerate(bids):
        table[cell] = bid if bid == np.inf else Fraction(float(bid))
    return table


_untruthful_with_reserve = partial(level_max_min, reserve=Fraction(3, 2))

CLAIMS = (
    Claim(
        "float-rules-decide-as-exact-ones",
        "on float bids every rule recruits the same clients as on their exact values, pays at "
        "most the exact payment, and the exact sum of its floats is within the budget",
        r"x^{\mathrm{float}} = x,\quad 0 \le p - p^{\mathrm{float}} \le 10^{-12}(p + B),\quad "
        r"\sum p^{\mathrm{float}} \le B",
        OWN,
        IDENTITY,
        "random auctions with ties, compared in fractions",
        f"10 rules, {laws.SAMPLE_SCOPE}",
        f"10 rules, {laws.DEEP_SAMPLE_SCOPE}",
        same_as_exact,
        as_it_is,
        single_precision,
    ),
    Claim(
        "float-rules-decide-large-auctions-as-exact-ones",
        "the same for auctions so large that the rules look at a stretch of the bids only",
        r"x^{\mathrm{float}} = x,\quad 0 \le p - p^{\mathrm{float}} \le 10^{-12}(p + B)",
        OWN,
        IDENTITY,
        "two auctions with ties, compared in fractions",
        f"4 rules, {LARGE:,} clients, 2 tasks, 2 budgets",
        f"6 rules, {LARGE:,} clients, 2 tasks, 2 budgets",
        large_as_exact,
        as_it_is,
        single_precision,
    ),
    Claim(
        "greedy-max-min-is-optimal",
        "greedy_max_min recruits k*, the largest k for which the k cheapest bids of all tasks fit",
        r"k^* = \max\{k : \textstyle\sum_s \sum_{j \le k} b_s(j) \le B\}",
        OWN,
        IDENTITY,
        "the definition, every k",
        laws.SAMPLE_SCOPE,
        laws.DEEP_SAMPLE_SCOPE,
        optimal_level,
        greedy_max_min,
        keeps_a_cent(greedy_max_min),
    ),
    Claim(
        "cheapest-first-recruits-the-most",
        "cheapest_first recruits as many as any set of bids within the budget: the m cheapest",
        r"\sum_{i,s} x_{is} = \max\{m : \textstyle\sum_{j \le m} b_{(j)} \le B\}",
        OWN,
        IDENTITY,
        "the definition, every m",
        laws.SAMPLE_SCOPE,
        laws.DEEP_SAMPLE_SCOPE,
        largest_total,
        cheapest_first,
        keeps_a_cent(cheapest_first),
    ),
    truthful("max-min-fair-with-reserve", with_reserve, OWN, _untruthful_with_reserve),
    truthful("leave-one-out-level-with-reserve", level_with_reserve, OWN, _untruthful_with_reserve),
)
