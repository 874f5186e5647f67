"""Honest rules on random auctions, of which none may be called a liar, and dishonest ones beside.

python -m tests.mechanisms.audits.honest 10000 [FIRST]
"""

from __future__ import annotations

import functools
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from mechanisms import audit, budget_fair, leave_one_out_level, max_min_fair, participation_fee
from mechanisms.audits.violation import TRUTHFUL
from mechanisms.bids import exact_number, exactly
from tests.mechanisms.audits import zoo

HONEST: dict[str, Callable[..., Any]] = {
    "budget fair": budget_fair,
    "max-min fair": max_min_fair,
    "max-min fair with a reserve": functools.partial(max_min_fair, reserve=6),
    "leave-one-out level": leave_one_out_level,
    "fixed price": zoo.fixed_price,
    "second price": zoo.second_price,
    "third price for two": zoo.third_price_for_two,
    "price of others": zoo.price_of_others,
    "lowest of others": zoo.lowest_of_others,
    "dictator": zoo.dictator,
    "bundle": zoo.bundle,
    "max-min fair in units": functools.partial(max_min_fair, unit=2.0**-7),
    "with fee": lambda bids, budget: participation_fee(
        bids, budget, [1] * bids.shape[1], Fraction(1, 2)
    ),
}
"""Truthful on every profile, against joint misreports too."""

DISHONEST: dict[str, Callable[..., Any]] = {
    "pay as bid": zoo.pay_as_bid,
    "tip": zoo.tip,
    "swallowed": zoo.swallowed,
    "second price of plain numbers": zoo.second_price_of_plain,
    "floats pay as bid": zoo.floats_pay_as_bid,
}
"""Rules of which a single ask is a profitable lie wherever somebody is recruited at its own ask."""


@dataclass(frozen=True)
class Verdict:
    """What an audit said of a rule on a profile.

    Args:
        rule: Its name.
        truthful: The audit's verdict.
        method: How it looked.
        wrong: Whether that is wrong.
    """

    rule: str
    truthful: bool | None
    method: str
    wrong: bool


def profile(seed: int) -> tuple[Any, Any]:
    """Bids with ties and absences in one of four kinds of numbers; a budget near a threshold."""
    rng = np.random.default_rng([seed, 17])
    shape = int(rng.integers(1, 7)), int(rng.choice([1, 1, 2, 3]))
    whole = rng.integers(0, 10, shape) if rng.random() < 0.5 else rng.integers(0, 1000, shape)
    kind = [float, Fraction, Decimal, int][int(rng.integers(4))]
    scale = {float: 0.1, Fraction: Fraction(1, 7), Decimal: Decimal("0.01"), int: 1}[kind]
    bids = np.array([kind(int(x)) * scale for x in whole.flat], dtype=object).reshape(shape)
    absent = rng.random(shape) < rng.choice([0.0, 0.2])
    bids[absent] = kind("inf") if kind is Decimal else np.inf
    count = int(rng.integers(1, 1 + whole.size))
    money = max(1, int(np.sort(whole, axis=None)[:count].sum()) + int(rng.integers(-1, 2)))
    budget = kind(money) * scale
    return (bids.astype(float), float(budget)) if kind is float else (bids, budget)


def verdict_on(seed: int) -> Verdict:
    """An honest rule, or, one time in four, one that is not, on a profile of its own."""
    rng = np.random.default_rng([seed, 18])
    bids, budget = profile(seed)
    honest = rng.random() < 0.75
    name, rule = list((HONEST if honest else DISHONEST).items())[
        int(rng.integers(len(HONEST if honest else DISHONEST)))
    ]
    report = audit(rule, bids, budget, samples=60)
    if honest:
        return Verdict(name, report.truthful, report.method, report.truthful is False)
    lies = any(each.law == TRUTHFUL for each in report.violations)
    wrong = report.truthful is True and _can_gain(rule, bids, budget)
    return Verdict(
        name, report.truthful, report.method, wrong or lies != (report.truthful is False)
    )


def _can_gain(rule: Callable[..., Any], bids: Any, budget: Any) -> bool:
    """Whether some client gains by some ask of a grid, written without the audit."""
    if bids.dtype == object:
        bids, budget = exactly(bids), exact_number(budget)
    numbers = bids.astype(object)
    for (client, task), cost in np.ndenumerate(numbers):
        if cost == np.inf:
            continue
        before = _utility(rule, bids, budget, client, numbers[client])
        for other in {x for x in numbers.flat if x < np.inf} | {cost * 2, cost + cost / 2}:
            for factor in (Fraction(1), Fraction(99, 100), Fraction(101, 100)):
                lie = bids.copy()
                lie[client, task] = (
                    Fraction(other) * factor
                    if bids.dtype == object
                    else float(other) * float(factor)
                )
                if _utility(rule, lie, budget, client, numbers[client]) > before + 1e-9:
                    return True
    return False


def _utility(rule: Callable[..., Any], bids: Any, budget: Any, client: int, costs: Any) -> float:
    """Pay less cost."""
    found = rule(bids.copy(), budget)
    won = found.winners[client]
    return float(
        sum(
            Fraction(p) - Fraction(c)
            for w, p, c in zip(won, found.payments[client], costs, strict=True)
            if w
        )
    )


def main() -> None:
    """Print how often which verdict was reached; exit with 1 if one is wrong."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    console = Console(width=100, highlight=False)
    counts: Counter[tuple[str, str, str]] = Counter()
    wrong = []
    for seed in track(range(first, first + count), description="Audits"):
        found = verdict_on(seed)
        counts[found.rule, str(found.truthful), found.method] += 1
        if found.wrong:
            wrong.append(seed)
            console.print(f"wrong: seed {seed}, {found}")
    for key, number in sorted(counts.items()):
        console.print(f"{number:7,} {' '.join(key)}")
    console.print(f"{count:,} audits, {len(wrong)} wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
