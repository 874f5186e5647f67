"""Rules whose prices are rounded down to multiples of a unit keep their laws; rounded up, none."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from mechanisms import (
    Mechanism,
    Outcome,
    budget_fair,
    exactly,
    leave_one_out_level,
    max_min_fair,
)
from proofs.claim import IDENTITY, OWN, Claim
from proofs.incentives import laws
from proofs.incentives.honesty import SINGER, honest
from proofs.incentives.instances import Bids

UNIT = Fraction(3, 2)
"""Some of its multiples are bids of the grids, others lie between."""
TENTHS = 0.1
"""A unit that is no float."""
InUnits = Callable[..., Outcome]


def in_units(rule: InUnits) -> Mechanism:
    """A rule that pays multiples of 3/2, or of the budget where it is smaller."""
    return lambda bids, budget: rule(bids, budget, unit=min(UNIT, budget))


def rounded_up(rule: InUnits) -> Mechanism:
    """The same with prices rounded up."""

    def run(bids: Bids, budget: Any) -> Outcome:
        found, unit = rule(bids, budget), min(UNIT, budget)
        payments = found.payments.copy()
        for cell, price in np.ndenumerate(payments):
            payments[cell] = unit * math.ceil(price / unit)
        return Outcome(found.winners, payments, found.level)

    return run


def same_in_tenths(rule: InUnits, deep: bool) -> str | None:
    """Floats decide and pay as exact numbers do, and their tenths sum to at most the budget."""
    for table, budget in laws.samples(deep):
        bids, money = table.astype(np.float64), float(round(budget * 10)) / 10
        if money < TENTHS:
            continue
        seen = rule(bids, money, unit=TENTHS)
        if seen != rule(exactly(bids), money, unit=TENTHS):
            return f"bids {laws.shown(table)}, budget {money}: floats decide otherwise"
        tenths = sum(round(10 * Fraction(amount)) for amount in seen.payments.flat)
        if Fraction(tenths, 10) > Fraction(str(money)):
            return f"bids {laws.shown(table)}, budget {money}: {tenths} tenths are paid"
    return None


def rounded_to_nearest(bids: Bids, budget: Any, unit: Any) -> Outcome:
    """The default rule with payments rounded to the nearest tenth, floats or not."""
    found = max_min_fair(bids, budget)
    payments = found.payments.copy()
    for cell, price in np.ndenumerate(payments):
        payments[cell] = type(price)(round(10 * price)) / 10
    return Outcome(found.winners, payments, found.level)


CLAIMS = (
    *honest(
        "budget-fair-in-units",
        in_units(budget_fair),
        SINGER,
        rounded_up(budget_fair),
        rounded_up(budget_fair),
    ),
    *honest(
        "max-min-fair-in-units",
        in_units(max_min_fair),
        OWN,
        rounded_up(max_min_fair),
        rounded_up(max_min_fair),
    ),
    *honest(
        "leave-one-out-level-in-units",
        in_units(leave_one_out_level),
        OWN,
        rounded_up(leave_one_out_level),
        rounded_up(leave_one_out_level),
    ),
    *(
        Claim(
            f"float-rules-in-tenths-{name}",
            "with float bids and a unit of 0.1 the rule recruits and pays as on the exact values "
            "of the floats, and the tenths it pays are at most the budget, in decimals",
            r"x^{\mathrm{float}} = x,\quad p^{\mathrm{float}} = p,\quad "
            r"\textstyle\sum_{i,s} \mathrm{round}(10\, p_{is}) \le 10 B",
            OWN,
            IDENTITY,
            "random auctions with ties, compared in fractions",
            laws.SAMPLE_SCOPE,
            laws.DEEP_SAMPLE_SCOPE,
            same_in_tenths,
            rule,
            rounded_to_nearest,
        )
        for name, rule in (
            ("max-min-fair", max_min_fair),
            ("leave-one-out-level", leave_one_out_level),
            ("budget-fair", budget_fair),
        )
    ),
)
