"""How good the truthful rules are: recruits, prices, and the fewest recruits of any task."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from mechanisms import (
    Mechanism,
    Outcome,
    budget_fair,
    greedy_max_min,
    leave_one_out_level,
    level_max_min,
    max_min_fair,
)
from mechanisms.auctions.exact.ranking import exact_outcome, kth, ranked, water_level
from proofs.claim import IDENTITY, Check
from proofs.incentives import laws, wrong_rules
from proofs.incentives.honesty import on_random_auctions
from proofs.incentives.instances import Bids

Objection = Callable[[Outcome, Bids, Fraction], "str | None"]


def on_samples(objection: Objection, *, single_task: bool = False, tasks: int = 0) -> Check:
    """Check that no random auction (with so many tasks, if given) has an objection."""

    def check(mechanism: Mechanism, deep: bool) -> str | None:
        least = max(tasks, 1)
        for table, budget in laws.samples(deep, single_task=single_task, least_tasks=least):
            bids = table[:, : tasks or None]
            found = objection(mechanism(bids, budget), bids, budget)
            if found is not None:
                return f"bids {laws.shown(bids)}, budget {budget}: {found}"
        return None

    return check


def dominates(weaker: Mechanism) -> Objection:
    """Every recruit of the weaker rule is one here, at a price at least as high."""

    def objection(outcome: Outcome, bids: Bids, budget: Fraction) -> str | None:
        other = weaker(bids, budget)
        worse = other.winners & ~outcome.winners | (outcome.payments < other.payments)
        return f"worse off somewhere: {worse.tolist()}" if worse.any() else None

    return objection


def equals(other: Mechanism) -> Objection:
    """The same recruits at the same prices."""

    def objection(outcome: Outcome, bids: Bids, budget: Fraction) -> str | None:
        same = outcome.payments.tolist() == other(bids, budget).payments.tolist()
        return None if same else "another outcome"

    return objection


def level_share(bids: Bids, budget: Fraction) -> Outcome:
    """The default rule for clients with one task each, as one level for all.

    Level k is feasible iff every task's k-th bid is at most lambda, the water level of the
    (k+1)-th bids at B / k; the largest feasible k recruits, at the smaller of b(k+1) and lambda.
    """
    rankings = [ranked(column) for column in bids.T]
    level, prices = 0, [Fraction(0) for _ in rankings]
    for k in range(1, len(bids) + 1):
        following = [kth(ranking, k + 1) for ranking in rankings]
        cap = water_level(following, budget / k)
        last = max(kth(ranking, k) for ranking in rankings)
        if last < math.inf and last <= cap:
            level, prices = k, [min(bid, cap) for bid in following]
    cells = {
        (client, task): prices[task]
        for task, ranking in enumerate(rankings)
        for _, client in ranking[:level]
    }
    return exact_outcome(cells, bids.shape, [level] * len(rankings))


def near_common_level(outcome: Outcome, bids: Bids, budget: Fraction) -> str | None:
    """Every task recruits k_A - 1, k_A or k_A + 1 clients."""
    level = level_max_min(bids, budget).level[0]
    inside = (abs(outcome.take_up - level) <= 1).all()
    return None if inside else f"recruits {outcome.take_up}, common level {level}"


def minimum_at_least(name: str, floor: Callable[[Bids, Fraction], int]) -> Objection:
    """The smallest number of recruits has a floor."""

    def objection(outcome: Outcome, bids: Bids, budget: Fraction) -> str | None:
        bound, seen = floor(bids, budget), outcome.min_take_up
        return None if seen >= bound else f"minimum {seen} is below {name} = {bound}"

    return objection


def optimum(bids: Bids, budget: Fraction) -> int:
    """k*, the full-information optimum."""
    return int(greedy_max_min(bids, budget).level[0])


def better_simple_rule(bids: Bids, budget: Fraction) -> int:
    """Minimum of the better of the common level and budget-fair."""
    common = int(level_max_min(bids, budget).level[0])
    return max(common, budget_fair(bids, budget).min_take_up)


CLAIMS = (
    on_random_auctions(
        "max-min-fair-dominates-one-level-per-client-and-task",
        "every recruit of leave_one_out_level is one of max_min_fair, at no lower a price",
        r"x^{+} \le x, \quad p^{+} \le p",
        on_samples(dominates(leave_one_out_level)),
        max_min_fair,
        wrong_rules.one_level_per_client,
    ),
    on_random_auctions(
        "one-level-per-client-and-task-dominates-one-per-client",
        "every recruit with one level per client is one of leave_one_out_level, not paid less",
        r"x^{1} \le x^{+}, \quad p^{1} \le p^{+}",
        on_samples(dominates(wrong_rules.one_level_per_client)),
        leave_one_out_level,
        budget_fair,
    ),
    on_random_auctions(
        "max-min-fair-with-one-task",
        "with one task max_min_fair is the proportional share",
        r"S = 1 \Rightarrow (x, p) = (x, p)^{\mathrm{share}}",
        on_samples(equals(budget_fair), tasks=1),
        max_min_fair,
        leave_one_out_level,
        kind=IDENTITY,
    ),
    on_random_auctions(
        "leave-one-out-level-with-one-task-per-client",
        "for clients with one task each leave_one_out_level is level_max_min",
        r"\lvert S_i \rvert = 1\ \forall i \Rightarrow (x, p)^{+} = (x, p)^{A}",
        on_samples(equals(level_max_min), single_task=True),
        leave_one_out_level,
        max_min_fair,
        kind=IDENTITY,
    ),
    on_random_auctions(
        "max-min-fair-with-one-task-per-client",
        "for clients with one task each max_min_fair is one common level with water-filling caps",
        r"\lvert S_i \rvert = 1\ \forall i \Rightarrow (x, p) = (x, p)^{W}",
        on_samples(equals(level_share), single_task=True),
        max_min_fair,
        leave_one_out_level,
        kind=IDENTITY,
    ),
    on_random_auctions(
        "max-min-fair-dominates-the-common-level-for-one-task-per-client",
        "for clients with one task each every recruit of level_max_min is kept, not paid less",
        r"\lvert S_i \rvert = 1\ \forall i \Rightarrow x^{A} \le x,\ p^{A} \le p",
        on_samples(dominates(level_max_min), single_task=True),
        max_min_fair,
        wrong_rules.one_level_per_client,
    ),
    on_random_auctions(
        "max-min-fair-recruits-near-the-common-level",
        "every task recruits within one of the level of level_max_min",
        r"k_A - 1 \le \sum_i x_{is} \le k_A + 1",
        on_samples(near_common_level),
        max_min_fair,
        budget_fair,
    ),
    on_random_auctions(
        "max-min-fair-floor-of-the-simple-rules",
        "the minimum is at least max(common level, minimum of budget-fair) - 1",
        r"\min_s \sum_i x_{is} \ge \max(k_A, k_{BF}) - 1",
        on_samples(
            minimum_at_least("that", lambda bids, budget: better_simple_rule(bids, budget) - 1)
        ),
        max_min_fair,
        wrong_rules.one_level_per_client,
    ),
    on_random_auctions(
        "max-min-fair-floor-of-the-optimum",
        "the minimum is at least floor((k* - 1) / 2)",
        r"\min_s \sum_i x_{is} \ge \lfloor (k^* - 1)/2 \rfloor",
        on_samples(
            minimum_at_least("floor((k*-1)/2)", lambda bids, b: (optimum(bids, b) - 1) // 2)
        ),
        max_min_fair,
        wrong_rules.price_by_price,
    ),
    on_random_auctions(
        "max-min-fair-floor-with-two-tasks",
        "with two tasks the minimum is at least floor(k* / 2)",
        r"S = 2 \Rightarrow \min_s \sum_i x_{is} \ge \lfloor k^*/2 \rfloor",
        on_samples(minimum_at_least("floor(k*/2)", lambda bids, b: optimum(bids, b) // 2), tasks=2),
        max_min_fair,
        wrong_rules.one_level_per_client,
    ),
    on_random_auctions(
        "common-level-floor",
        "the common level is at least floor(k* / 2)",
        r"k_A \ge \lfloor k^*/2 \rfloor",
        on_samples(minimum_at_least("floor(k*/2)", lambda bids, b: optimum(bids, b) // 2)),
        level_max_min,
        wrong_rules.one_level_per_client,
    ),
    on_random_auctions(
        "budget-fair-floor",
        "the minimum of budget-fair is at least floor((k* + 1) / (S + 1))",
        r"k_{BF} \ge \lfloor (k^* + 1)/(S + 1) \rfloor",
        on_samples(
            minimum_at_least(
                "floor((k*+1)/(S+1))", lambda bids, b: (optimum(bids, b) + 1) // (bids.shape[1] + 1)
            )
        ),
        budget_fair,
        wrong_rules.one_level_per_client,
    ),
)
