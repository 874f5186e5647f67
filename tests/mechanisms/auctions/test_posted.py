"""Rules with prices that are set without the client's own bid."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fairopt import errors
from mechanisms import exactly, participation_fee, posted_price, sampled_posted_price
from mechanisms.audits.properties import find_menu_dependence, find_profitable_misreport
from tests.mechanisms.profiles import HALVES, float_auctions, table

SETTINGS = settings(max_examples=120)
RATIOS = [0.0, 0.25, 0.5, 0.9]
CLOSE = Fraction(1, 10**12)
"""Float payments of the fee rule may be that much below the exact ones, relative to the budget."""


def assert_close_copy(floats, exact, budget):
    """The same winners, paid the same up to a rounding that is never upwards."""
    assert np.array_equal(floats.winners, exact.winners)
    gaps = [q - Fraction(p) for p, q in zip(floats.payments.flat, exact.payments.flat, strict=True)]
    assert all(0 <= gap <= CLOSE * Fraction(budget) for gap in gaps)


@SETTINGS
@given(float_auctions(), st.sampled_from(RATIOS), st.data())
def test_the_fee_rule_in_floats_is_the_exact_one(auction, ratio, data):
    bids, budget = auction
    weights = st.lists(st.sampled_from([0.5, 1.0, 1.0, 3.0, 0.1]), min_size=4, max_size=4)
    direction = np.array(data.draw(weights)[: bids.shape[1]])
    fee = ratio * float(direction.sum())
    assume(budget < 1e299)  # larger prices are refused
    exact = participation_fee(exactly(bids), budget, direction, fee)
    floats = participation_fee(bids, budget, direction, fee)
    assert_close_copy(floats, exact, budget)
    for outcome in (exact, floats):
        assert sum(map(Fraction, outcome.payments.flat)) <= Fraction(budget)
        assert (outcome.payments[outcome.winners] >= bids[outcome.winners]).all()


def fee_by_definition(bids, budget, direction, fee, truncate):
    """{client: (tasks, total pay)}: every scale tried for every client."""

    def choice(row, scale):
        tasks = [s for s, w in enumerate(direction) if row[s] <= scale * w]
        gain = sum(scale * direction[s] - row[s] for s in tasks)
        return tasks if tasks and gain >= scale * fee else []

    def spend(row, scale):
        tasks = choice(row, scale)
        return sum(scale * direction[s] for s in tasks) - scale * fee if tasks else 0

    top = sum(direction) - fee
    grid = [truncate(Fraction(budget) / (k * top)) for k in range(len(bids), 0, -1)]
    served = {}
    for i, row in enumerate(bids):
        others = [r for j, r in enumerate(bids) if j != i]
        fits = [sum(spend(r, t) for r in others) + t * top <= budget for t in grid]
        safe = itertools.takewhile(lambda pair: pair[1], zip(grid, fits, strict=True))
        scale = max((t for t, _ in safe), default=0)
        served[i] = (choice(row, scale), spend(row, scale)) if scale else ([], 0)
    return served


@settings(max_examples=80)
@given(float_auctions(5, 3, HALVES), st.sampled_from([0, Fraction(1, 4), Fraction(3, 4)]))
def test_the_fee_rule_is_its_definition(auction, ratio):
    from mechanisms.auctions.participation_fee import _truncated

    bids, budget = exactly(auction[0]), Fraction(auction[1])
    direction = [Fraction(1 + s) for s in range(bids.shape[1])]
    fee = ratio * sum(direction)
    outcome = participation_fee(bids, budget, np.array(direction, dtype=object), fee)
    expected = fee_by_definition(bids.tolist(), budget, direction, fee, _truncated)
    for client, (tasks, total) in expected.items():
        assert np.flatnonzero(outcome.winners[client]).tolist() == tasks
        assert outcome.payments[client].sum() == total


@settings(max_examples=20)
@given(float_auctions(3, 2, HALVES), st.sampled_from(RATIOS))
def test_the_fee_rule_is_truthful_for_every_single_bid(auction, ratio):
    bids, budget = auction
    direction = np.ones(bids.shape[1])

    def rule(bids, budget):
        return participation_fee(bids, budget, direction, ratio * bids.shape[1])

    assert find_profitable_misreport(rule, bids, budget, client=0, feigned=True) is None
    assert find_menu_dependence(rule, bids, budget, client=0) is None


def test_a_fee_can_recruit_more_than_prices_alone():
    rng = np.random.default_rng(5)
    bids = rng.random((300, 10))
    budget = 0.5 * bids.sum()
    plain = participation_fee(bids, budget, np.ones(10), 0.0)
    fee = participation_fee(bids, budget, np.ones(10), 2.0)
    assert fee.min_take_up > plain.min_take_up


@SETTINGS
@given(float_auctions(), st.data())
def test_posted_prices_in_floats_are_the_exact_ones(auction, data):
    bids, budget = auction
    cell = st.sampled_from([*HALVES, 0.1, 1 / 3])
    one_list = data.draw(st.booleans())
    shape = bids.shape[1:] if one_list else bids.shape
    flat = data.draw(st.lists(cell, min_size=math.prod(shape), max_size=math.prod(shape)))
    prices = np.array(flat).reshape(shape)
    exact = posted_price(exactly(bids), prices, budget)
    floats = posted_price(bids, prices, budget)
    assert np.array_equal(floats.winners, exact.winners)
    assert np.array_equal(floats.payments, exact.payments)
    left = Fraction(budget)
    for client, menu in enumerate(np.broadcast_to(exactly(prices), bids.shape)):
        met = menu.sum() <= left
        assert exact.winners[client].tolist() == (met & (bids[client] <= menu)).tolist()
        left -= exact.payments[client].sum()
    assert left >= 0


@SETTINGS
@given(float_auctions(max_clients=9), st.integers(0, 2**32 - 1))
def test_sampled_prices_are_truthful_and_affordable(auction, seed):
    bids, budget = auction

    def rule(bids, budget):
        return sampled_posted_price(bids, budget, np.random.default_rng(seed))

    exact, floats = rule(exactly(bids), budget), rule(bids, budget)
    assert np.array_equal(floats.winners, exact.winners)
    assert np.array_equal(floats.payments, exact.payments)
    assert exact.spend <= Fraction(budget)
    assert (exact.payments[exact.winners] >= bids[exact.winners]).all()


@settings(max_examples=20)
@given(float_auctions(4, 2, HALVES), st.integers(0, 99))
def test_posted_rules_are_truthful(auction, seed):
    bids, budget = auction
    prices = np.array([1.0, 0.5])[: bids.shape[1]]
    rules = [
        lambda b, m: posted_price(b, prices, m),
        lambda b, m: sampled_posted_price(b, m, np.random.default_rng(seed)),
    ]
    for rule in rules:
        for client in range(len(bids)):
            assert find_profitable_misreport(rule, bids, budget, client=client) is None


def test_bad_parameters():
    bids = table((1, 2))
    for prices in ([1.0], [[1.0], [2.0]], [1.0, math.inf], [1.0, -1.0], [1.0, math.nan], "ab"):
        with pytest.raises(errors.InvalidInput) as caught:
            posted_price(bids, prices, 3)
        assert caught.value.argument.startswith("prices")
    for direction in ([1.0], [1.0, 0.0], [1.0, math.inf], [1.0, math.nan], [[1.0, 1.0]]):
        with pytest.raises(errors.InvalidInput) as caught:
            participation_fee(bids, 3, direction, 0.0)
        assert caught.value.argument.startswith("direction")
    for fee in (-1.0, 2.0, math.nan, math.inf, "1", None, True):
        with pytest.raises(errors.InvalidInput) as caught:
            participation_fee(bids, 3, [1.0, 1.0], fee)
        assert caught.value.argument == "fee"
    with pytest.raises(errors.InvalidInput, match="rng"):
        sampled_posted_price(bids, 3, None)
    with pytest.raises(errors.InvalidInput, match="budget"):
        participation_fee([[1.0]], 1e305, [1.0], 0.0)


def test_nobody_bids():
    nobody = np.full((3, 2), np.inf)
    assert posted_price(nobody, [1.0, 1.0], 5.0).spend == 0
    assert participation_fee(nobody, 5.0, [1.0, 1.0], 0.5).spend == 0
    assert sampled_posted_price(nobody, 5.0, np.random.default_rng(0)).spend == 0
