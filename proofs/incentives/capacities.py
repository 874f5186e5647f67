"""The auction for clients that do a limited number of tasks, against its definition and its floor.

Random budgets do not find overspending: the budgets here stand at, or just below, a value with
which one of the rule's tests compares them.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from mechanisms import Mechanism, Outcome, capacity_max_min, greedy_max_min, max_min_fair
from mechanisms.auctions.exact import clearing_levels
from mechanisms.auctions.exact.assignment import perturbed_costs
from mechanisms.auctions.exact.perturbed import Perturbed
from mechanisms.auctions.exact.ranking import Prices
from mechanisms.auctions.exact.spend_bound import spend_bound
from mechanisms.auctions.wide.payments import outcome_of
from mechanisms.auctions.wide.words import LOW_BITS
from mechanisms.audits.capacity import beyond
from mechanisms.audits.properties import find_irrational_payment, find_overspend
from mechanisms.bids import in_fractions, read_auction
from mechanisms.outcome import counting_recruits
from proofs.claim import BOUND, IDENTITY, OWN, Claim
from proofs.incentives import laws
from proofs.incentives.clearing_by_definition import capacity_one_by_definition
from proofs.incentives.honesty import truthful
from proofs.incentives.instances import NO_BID, Bids, exact_table
from proofs.incentives.laws import shown

FEW, MANY = 250, 5_000
FEW_BY_DEFINITION, MANY_BY_DEFINITION = 60, 1_000
SEED = 41
TINY = Fraction(1, 7)
"""How far below a test's value a budget is put."""
OVERSPENDING = (
    (exact_table([(3, 2), (4, 4), (2, 2), (2, 5), (1, 0), (2, 2), (4, 1), (3, 0)]), Fraction(6)),
    (exact_table([(2, 2), (3, 1), (1, 0), (2, 3), (3, 3), (3, 3), (2, 1)]), Fraction(6)),
)
"""Where the rule without slack pays 7 out of 6."""
TURNED_DOWN = (
    exact_table([(1, 10), (10, 3), (7, 7), (0, 0), (1, 9), (3, 4), (4, 7)]),
    Fraction(28),
)
"""Where a client of the cheapest assignment asks for more than the cap gives."""
OUTSIDERS_TIE = (exact_table([(0, 1), (1, 0), (1, 0), (1, 0)]), Fraction(4))
"""Where ties with outsiders that go to the lowest task overspend."""


def critical_budgets(
    rows: Sequence[Sequence[Any]], weights: Sequence[int], capacity: Sequence[int]
) -> Iterator[Any]:
    """Spend bounds of all levels, for everybody and without each client, with slack or not."""
    market = clearing_levels.Market(weights, capacity, 0)
    absent = [NO_BID] * len(weights)
    for left_out in (None, *range(len(rows))):
        present = [absent if i == left_out else row for i, row in enumerate(rows)]
        before: list[Perturbed] = []
        for level, assignment in market.levels(perturbed_costs(present)):
            marginals = assignment.moves().lower_marginals()
            if level > 0:
                prices = clearing_levels.capped(assignment.moves(), max(marginals))
                yield market.bound(level, prices, marginals).value
                yield without_slack(level, weights, prices, marginals).value
            if level > 1:
                yield market.bound(level - 1, marginals, before).value
            before = marginals


def without_slack(level: int, weights: Any, prices: Any, marginals: Any) -> Perturbed:
    """The spend bound without its slack: truthful, and over the budget on rare profiles."""
    total = Perturbed(0)
    for weight, price in zip(weights, prices, strict=True):
        total = total + level * weight * price
    return total


class MarketWithoutSlack(clearing_levels.Market):
    """Levels judged by what they cost, not by what they cost at most."""

    def bound(self, level: int, prices: list[Perturbed], marginals: list[Perturbed]) -> Perturbed:
        """K sum p."""
        return without_slack(level, self.weights, prices, marginals)


def recruits_without_slack(bids: Bids, budget: Any, *, capacity: int = 1) -> Outcome:
    """The auction whose spend bound has no slack."""
    auction = read_auction(bids, budget)
    market = MarketWithoutSlack([1] * auction.num_tasks, [capacity] * len(bids), auction.budget)
    rule = clearing_levels.single_task_prices if capacity == 1 else clearing_levels.bundle_prices
    return outcome_of(auction, rule(market, perturbed_costs(auction.bids.tolist())))


def first_task(bids: Bids, budget: Any) -> Outcome:
    """The default auction, of which each client keeps its first task: not truthful."""
    outcome = max_min_fair(bids, budget)
    first = outcome.winners & (outcome.winners.cumsum(axis=1) == 1)
    return counting_recruits(first, np.where(first, outcome.payments, 0))


def auctions(count: int, *, clients: int = 9, tasks: int = 4) -> Iterator[tuple[Bids, Fraction]]:
    """Random auctions, three of four with a budget at a value of a test, after delicate ones."""
    yield from (*OVERSPENDING, OUTSIDERS_TIE, TURNED_DOWN)
    rng = random.Random(SEED)
    for _ in range(count):
        shape = rng.randint(2, clients), rng.choice([s for s in (1, 2, 2, 3, 4) if s <= tasks])
        top, missing = rng.choice([1, 2, 3, 5]), rng.choice([0.0, 0.15, 0.4])
        rows = [
            [NO_BID if rng.random() < missing else rng.randint(0, top) for _ in range(shape[1])]
            for _ in range(shape[0])
        ]
        values = {v for v in critical_budgets(rows, [1] * shape[1], [1] * shape[0]) if v > 0}
        budget = Fraction(rng.randint(1, top * shape[0] + 1))
        if values and rng.random() < 0.75:
            budget = Fraction(rng.choice(sorted(values)))
            budget = budget - TINY if rng.random() < 0.5 and budget > TINY else budget
        yield exact_table(rows), budget


def solvent(mechanism: Mechanism, deep: bool) -> str | None:
    """Nobody is paid below its bid, and all together at most the budget."""
    for bids, budget in auctions(MANY if deep else FEW):
        outcome = mechanism(bids, budget)
        found = find_overspend(outcome, budget) or find_irrational_payment(outcome, bids)
        if found is not None:
            return f"bids {shown(bids)}, budget {budget}: {found.sentence}"
    return None


def by_definition(mechanism: Mechanism, deep: bool) -> str | None:
    """Menus from the others' bids, assignments by a table over quotas, caps by bisection."""
    count = MANY_BY_DEFINITION if deep else FEW_BY_DEFINITION
    for bids, budget in auctions(count, clients=6, tasks=3):
        rows = [[x if x == NO_BID else int(x) for x in row] for row in bids]
        outcome = mechanism(bids, budget)
        found = {(int(i), int(s)): outcome.payments[i, s] for i, s in np.argwhere(outcome.winners)}
        expected = capacity_one_by_definition(rows, budget)
        if found != expected:
            return f"bids {shown(bids)}, budget {budget}: {found}, not {expected}"
    return None


def crowded() -> Iterator[tuple[Bids, Fraction]]:
    """More clients per task than a compiled form remembers, so that it has to look at all."""
    rng = random.Random(SEED)
    for _ in range(2):
        rows = [[rng.randint(0, 99), rng.randint(0, 99)] for _ in range(96)]
        yield exact_table(rows), Fraction(rng.randint(1500, 4000))


def exhausted() -> tuple[Bids, Fraction]:
    """Clients that can do both tasks leave the first for the second, one after the other."""
    rng = random.Random(SEED)
    both = [[rng.randint(0, 9), rng.randint(0, 9)] for _ in range(68)]
    first = [[rng.randint(20, 29), NO_BID] for _ in range(70)]
    return exact_table([*both, *first]), Fraction(10**6)


def in_wide_integers(mechanism: Any, deep: bool) -> str | None:
    """The same auction in Python's numbers and in floats: unlike capacities, weights, cents."""
    for bids, budget in (exhausted(), *itertools.islice(auctions(FEW), 60)):
        found = greedy_max_min(bids, budget, capacity=1)
        prices = clearing_levels.cheapest_affordable(read_auction(bids, budget), [1] * len(bids))
        if bids.shape[1] > 1 and not _pays(found, prices, exact=True):
            return f"bids {shown(bids)}, budget {budget}: not the cheapest {prices}"
    rng = random.Random(SEED)
    for _ in range(200):
        if (unlike := _unlike_bounds(rng)) is not None:
            return unlike
    for bids, budget in (*crowded(), *auctions(MANY if deep else FEW, clients=8)):
        shape = bids.shape
        capacity = [rng.randint(1, shape[1]) for _ in range(shape[0])]
        capacity = [rng.randint(1, shape[1])] * shape[0] if rng.random() < 0.7 else capacity
        weights = None if rng.random() < 0.7 else [rng.randint(1, 2) for _ in range(shape[1])]
        enough = weights is None or (sum(weights) <= sum(capacity) and max(weights) <= shape[0])
        options = {"capacity": capacity, "weights": weights if enough else None}
        if min(capacity) == shape[1]:
            continue
        scales = [2.0 ** rng.choice([0, 0, 9, 50]) for _ in range(shape[1])]
        cents = bids.astype(np.float64) * rng.choice([1.0, 0.01, 1e-9, 1 / 3]) * scales
        for table, money in ((bids, budget), (cents, float(budget) * 0.1 * max(scales))):
            found = mechanism(table, money, **options)
            auction = in_fractions(read_auction(table, money))
            places = options["weights"] or [1] * shape[1]
            prices = clearing_levels.prices_by_levels(auction, places, capacity)
            if not _pays(found, prices, exact=table.dtype == object):
                return f"bids {table.tolist()}, budget {money}, {options}: {prices} expected"
    return None


def _unlike_bounds(rng: random.Random) -> str | None:
    """A spend bound that the compiled form finds otherwise."""
    from mechanisms.auctions.kernels import clearing_levels as kernel

    compiled: Any = kernel.spend_bound
    tasks, level = rng.randint(1, 5), rng.randint(1, 5)
    weights = [rng.randint(1, 2) for _ in range(tasks)]
    prices, marginals = (
        [Perturbed(rng.randint(0, 9), rng.randint(0, 1)) for _ in range(tasks)] for _ in range(2)
    )
    rows = (
        np.array([[0, each.value, each.part] for each in amounts], dtype=np.int64)
        for amounts in (prices, marginals)
    )
    scratch = np.zeros((4, tasks), dtype=np.int64)
    high, low, slope = compiled(level, np.array(weights, dtype=np.int64), *rows, scratch)
    bound = spend_bound(level, weights, prices, marginals)
    if ((high << LOW_BITS) + low, slope) == (bound.value, bound.part):
        return None
    return f"level {level}, weights {weights}, prices {prices}, marginals {marginals}: {bound}"


def _pays(found: Outcome, prices: Prices, *, exact: bool) -> bool:
    """Whether exactly these cells are recruited, at these prices or the floats just below them."""
    cells = {(int(i), int(s)) for i, s in np.argwhere(found.winners)}
    if cells != set(prices):
        return False
    pairs = [(found.payments[cell], price) for cell, price in prices.items()]
    if exact:
        return all(pay == price for pay, price in pairs)
    return all(
        Fraction(pay) <= price < Fraction(math.nextafter(pay, math.inf)) for pay, price in pairs
    )


def of_one_task(bids: Bids, budget: Any, *, capacity: Any, weights: Any) -> Outcome:
    """The auction that forgets the capacities."""
    return capacity_max_min(bids, budget, weights=weights)


def above_floor(mechanism: Mechanism, deep: bool) -> str | None:
    """At least floor((k* - 3S + 1) / 2) recruits per task, at most one task per client.

    Markets of many clients and few tasks, since the floor says nothing below k* = 3S + 1.
    """
    rng = np.random.default_rng(SEED)
    for _ in range(400 if deep else 40):
        tasks, clients = int(rng.integers(1, 4)), int(rng.integers(30, 80))
        bids = rng.integers(0, rng.integers(2, 30), size=(clients, tasks)).astype(float)
        bids[rng.random(bids.shape) < rng.choice([0.0, 0.2])] = math.inf
        budget = float(max(1, bids[bids < math.inf].sum() * rng.choice([0.05, 0.2, 0.5])))
        best = int(greedy_max_min(bids, budget, capacity=1).level.min())
        outcome = mechanism(bids, budget)
        least = (best - 3 * tasks + 1) // 2
        if outcome.min_take_up < least:
            return f"bids {bids.tolist()}, budget {budget}: {outcome.take_up}, floor {least}"
        if beyond(outcome, [1] * clients).any():
            return f"bids {bids.tolist()}, budget {budget}: a client gets two tasks"
    return None


def with_a_tenth_of_the_money(bids: Bids, budget: Any) -> Outcome:
    """The auction with a tenth of the money: truthful, within budget and below the floor."""
    return capacity_max_min(bids, budget / 10)


def claim(
    name: str,
    statement: str,
    formula: str,
    how: str,
    scopes: tuple[str, str],
    check: Any,
    control: Any,
    kind: str = BOUND,
) -> Claim:
    """A claim about `capacity_max_min` with one task per client."""
    of = (f"capacity-max-min-{name}", statement, formula, OWN, kind, how, *scopes)
    return Claim(*of, check, capacity_max_min, control)


CRITICAL = tuple(
    f"{count:,} auctions, up to 9 clients and 4 tasks, budgets at the values of the tests"
    for count in (FEW, MANY)
)
WORDED = tuple(
    f"{count:,} auctions, up to 6 clients and 3 tasks, budgets at the values of the tests"
    for count in (FEW_BY_DEFINITION, MANY_BY_DEFINITION)
)
LARGER = tuple(f"{count} auctions, 30 to 79 clients, up to 3 tasks" for count in (40, 400))

CLAIMS = (
    truthful("capacity-max-min", capacity_max_min, OWN, first_task),
    claim(
        "solvent",
        "payments sum to at most the budget and nobody is paid below its bid, with at most one "
        "task per client",
        rf"{laws.WITHIN_BUDGET},\quad {laws.RATIONAL}",
        "random exact auctions at critical budgets",
        (CRITICAL[0], CRITICAL[1]),
        solvent,
        recruits_without_slack,
    ),
    claim(
        "is-its-definition",
        "every client gets its best item of a menu that is made of the others' bids alone: the "
        "prices of its largest open level, with outsiders at the largest cap that fits the budget",
        r"\lambda_i(k) = \sup\{\lambda : g_k(P^\lambda_{-i}, \mu^\lambda_{-i}) \le B\},\quad "
        r"p_s = C^\lambda_{-i}(q_k) - C^\lambda_{-i}(q_k - e_s)",
        "menus by brute force, exact",
        (WORDED[0], WORDED[1]),
        by_definition,
        first_task,
        IDENTITY,
    ),
    claim(
        "in-wide-integers",
        "floats, fractions and integers of any size decide alike, ties included, with capacities "
        "that differ between clients and with weights; float payments are the exact ones, rounded "
        "down",
        r"p = \lfloor p_{\text{exact}} \rfloor_{\text{float}}",
        "random auctions in fractions and in floats, against the exact form",
        (CRITICAL[0], CRITICAL[1]),
        in_wide_integers,
        of_one_task,
        IDENTITY,
    ),
    claim(
        "take-up",
        "every task recruits at least floor((k* - 3S + 1) / 2) clients, k* with one task per "
        "client, and no client gets two tasks",
        r"\min_s \sum_i x_{is} \ge \lfloor (k^* - 3S + 1) / 2 \rfloor,\quad \sum_s x_{is} \le 1",
        "random float auctions",
        (LARGER[0], LARGER[1]),
        above_floor,
        with_a_tenth_of_the_money,
    ),
)
