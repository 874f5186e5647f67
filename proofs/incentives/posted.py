"""Rules whose prices no client moves are truthful: posted prices and the participation fee."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from mechanisms import Outcome, participation_fee, posted_price, sampled_posted_price
from proofs.claim import OWN, Claim
from proofs.incentives import wrong_rules
from proofs.incentives.honesty import honest
from proofs.incentives.instances import Bids


def fee_menu(bids: Bids, budget: Any) -> Outcome:
    """The participation fee at equal prices, with a quarter of their sum as the fee."""
    tasks = bids.shape[1]
    return participation_fee(bids, budget, np.ones(tasks), Fraction(tasks, 4))


def unit_prices(bids: Bids, budget: Any) -> Outcome:
    """A price of 1 for every task."""
    return posted_price(bids, np.ones(bids.shape[1]), budget)


def sampled(bids: Bids, budget: Any) -> Outcome:
    """Prices from a sample that is the same for every profile."""
    return sampled_posted_price(bids, budget, np.random.default_rng(wrong_rules.SAMPLE))


CLAIMS: tuple[Claim, ...] = (
    *honest(
        "participation-fee",
        fee_menu,
        OWN,
        wrong_rules.common_fee_scale,
        wrong_rules.fee_without_room,
    ),
    *honest(
        "posted-price",
        unit_prices,
        OWN,
        wrong_rules.price_by_price,
        wrong_rules.offered_too_late,
    ),
    *honest(
        "sampled-posted-price",
        sampled,
        OWN,
        wrong_rules.own_sample,
        wrong_rules.without_quota,
    ),
)
