"""Menus and samples by their definitions, one client and one scale at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from mechanisms import Mechanism, Outcome, participation_fee, sampled_posted_price
from mechanisms.auctions.exact.ranking import kth, largest, ranked
from proofs.claim import BOUND, IDENTITY, OWN, Claim
from proofs.incentives import laws
from proofs.incentives.instances import Bids, exact_table, random_auctions

BITS = 20
"""Significant bits of a scale."""
SEEDS = 5
"""Draws of the generator per auction."""


def half_fee_menu(bids: Bids, budget: Any) -> Outcome:
    """The participation fee at equal prices, half of their sum as the fee: dyadic scales."""
    tasks = bids.shape[1]
    return participation_fee(bids, budget, np.ones(tasks), Fraction(tasks, 2))


def no_tie_menu(bids: Bids, budget: Any) -> Outcome:
    """The same with a slightly larger fee: a client whose surplus is the fee stays away."""
    tasks = bids.shape[1]
    return participation_fee(bids, budget, np.ones(tasks), Fraction(tasks, 2) + Fraction(1, 10**6))


def as_defined(rule: Mechanism, deep: bool) -> str | None:
    """What every client takes and is paid in total at its own scale, found by trying all scales."""
    for bids, budget in _whole_auctions(deep):
        seen = rule(bids, budget)
        for client, (taken, total) in enumerate(_by_definition(bids, budget)):
            won = [bool(x) for x in seen.winners[client]]
            paid = sum(seen.payments[client], Fraction(0))
            if won != taken or paid != total:
                return (
                    f"bids {laws.shown(bids)}, budget {budget}: client {client} is paid {paid} for "
                    f"{won}, not {total} for {taken}"
                )
    return None


def _by_definition(bids: Bids, budget: Fraction) -> Iterator[tuple[list[bool], Fraction]]:
    """Per client the set it takes and its pay, at the largest scale the others leave room for."""
    clients, tasks = bids.shape
    unit = budget / (tasks - Fraction(tasks, 2))
    scales = [_rounded_down(unit / k) for k in range(clients, 0, -1)]
    for i in range(clients):
        best = Fraction(0)
        for t in scales:  # from the smallest on, while it and all smaller ones fit
            others = sum((_take(bids[j], t)[1] for j in range(clients) if j != i), Fraction(0))
            if others + t * Fraction(tasks, 2) > budget:
                break
            best = t
        yield _take(bids[i], best) if best else ([False] * tasks, Fraction(0))


def _take(row: Any, scale: Fraction) -> tuple[list[bool], Fraction]:
    """Best set at a scale, larger sets first where they tie, and its pay."""
    fee = scale * Fraction(len(row), 2)
    wanted = [bool(bid <= scale) for bid in row]
    surplus = sum((scale - bid for bid, want in zip(row, wanted, strict=True) if want), -fee)
    if not any(wanted) or surplus < 0:
        return [False] * len(wanted), Fraction(0)
    return wanted, scale * sum(wanted) - fee


def _rounded_down(value: Fraction) -> Fraction:
    """A number > 0 cut after its first bits, wherever the leading bit stands."""
    step = Fraction(2) ** (value.numerator.bit_length() - value.denominator.bit_length() - BITS)
    return step * (value // step)


def _whole_auctions(deep: bool) -> Iterator[tuple[Bids, Fraction]]:
    """Whole bids from 0 to 4, 1, 2 or 4 tasks, budgets that are multiples of the tasks."""
    rng = np.random.default_rng(laws.SEED)
    for _ in range(4000 if deep else 300):
        shape = (int(rng.integers(1, 7)), int(rng.choice([1, 2, 4])))
        bids = rng.integers(0, 5, size=shape)
        yield exact_table(bids.tolist()), Fraction(int(shape[1] * rng.integers(1, 9)))


def keeps_its_quota(rule: Callable[..., Outcome], deep: bool) -> str | None:
    """Not more recruits than the level of the sample, nor more money than the budget, any draw."""
    for bids, budget in random_auctions(2000 if deep else 300, laws.SEED):
        for seed in range(SEEDS):
            sample = np.random.default_rng(seed).random(len(bids)) < 0.5
            rankings = [ranked(column[sample]) for column in bids.T]

            def fits(k: int, rankings: Any = rankings, budget: Any = budget) -> bool:
                return bool(k * sum(kth(ranking, k) for ranking in rankings) <= budget)

            level = largest(min(map(len, rankings)), fits)
            seen = rule(bids, budget, np.random.default_rng(seed))
            if seen.spend > budget or seen.take_up.max() > level or seen.winners[sample].any():
                return (
                    f"bids {laws.shown(bids)}, budget {budget}, seed {seed}: {seen.take_up} "
                    f"recruits, level {level}, spend {seen.spend}"
                )
    return None


def all_who_accept(bids: Bids, budget: Any, rng: np.random.Generator) -> Outcome:
    """The sample's price for all who take it, whatever the quota."""
    generous = sampled_posted_price(bids, budget, rng)
    price = [max(column) for column in generous.payments.T]
    winners = np.array([[bid <= p for bid, p in zip(row, price, strict=True)] for row in bids])
    payments = winners * np.array(price, dtype=object)
    return Outcome(winners, payments, winners.sum(axis=0))


CLAIMS = (
    Claim(
        "participation-fee-is-its-definition",
        "every client takes its best set at the largest scale of the grid for which, as for all "
        "smaller ones, the others' spending and its own largest fit the budget; ties take part",
        r"t_i = \max\{t : \textstyle\sum_{j \ne i} \mathrm{spend}_j(t') + t' (\sum_s w_s - \phi) "
        r"\le B\ \forall t' \le t\}",
        OWN,
        IDENTITY,
        "every scale of the grid, exact fractions",
        "300 auctions of whole bids, up to 6 clients and 1, 2 or 4 tasks",
        "4,000 auctions of whole bids, up to 6 clients and 1, 2 or 4 tasks",
        as_defined,
        half_fee_menu,
        no_tie_menu,
    ),
    Claim(
        "sampled-posted-price-keeps-its-quota",
        "for every draw no task recruits more than the level that the sample could fill, no client "
        "of the sample is recruited, and payments are within budget",
        r"\textstyle\sum_i x_{is} \le q,\quad x_{is} = 0\ \forall i \in \text{sample},\quad "
        r"\sum p_{is} \le B",
        OWN,
        BOUND,
        "random auctions with ties, exact",
        f"300 random auctions, {SEEDS} draws each",
        f"2,000 random auctions, {SEEDS} draws each",
        keeps_its_quota,
        sampled_posted_price,
        all_who_accept,
    ),
)
