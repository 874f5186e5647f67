"""Payments in multiples of a unit: decided as defined, truthful, within budget in decimals."""

import decimal
import functools
import itertools
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from fairopt import errors
from mechanisms import (
    audit,
    budget_fair,
    exactly,
    leave_one_out_level,
    max_min_fair,
    posted_price,
    proportional_share,
    prove,
    sampled_posted_price,
)
from mechanisms.auctions.rounded_prices import rounded
from mechanisms.audits.properties import find_profitable_report
from mechanisms.audits.run_rule import run_mechanism
from mechanisms.bids import checked_unit, read_auction
from mechanisms.price_unit import PriceUnit
from mechanisms.properties import find_irrational_payment, find_overspend
from tests.mechanisms.auctions import literal
from tests.mechanisms.profiles import HALVES, TIED, float_auctions, paid, table

SETTINGS = settings(max_examples=120)
CENTS = [k / 100 for k in (0, 1, 7, 10, 29, 30, 57, 58, 99, 100, 115)]
"""Floats on either side of their decimals: 0.29 is below, 0.1 above."""
UNITS = [0.01, 0.05, 0.1, 0.25, 0.3, 0.7, 1.0, 0.37, 2.0]
RULES = (max_min_fair, leave_one_out_level, budget_fair)


def at_learned_prices(bids, budget, *, unit=None):
    """Sampled prices with a seed of their own."""
    return sampled_posted_price(bids, budget, np.random.default_rng(7), unit=unit)


def at_posted_prices(bids, budget, *, unit=None):
    """Prices between multiples, different for every task."""
    prices = [Fraction(5 + 3 * task, 4) for task in range(np.shape(bids)[1])]
    return posted_price(bids, np.array(prices, dtype=object), budget, unit=unit)


ALL = (*RULES, at_learned_prices, at_posted_prices)


def multiples(unit, top):
    """All multiples of a float unit as floats, up to a bit above an amount."""
    size = Fraction(str(unit))
    return [Fraction(float(count * size)) for count in range(int(top / size) + 3)]


def rounded_down(price, grid):
    """Largest of some multiples at most a price, by trying all."""
    return max(multiple for multiple in grid if multiple <= price)


@pytest.mark.parametrize("rule", RULES)
@SETTINGS
@given(auction=float_auctions(5, 3, CENTS), unit=st.sampled_from(UNITS))
@example(auction=(np.array([[0.3], [0.3], [0.3]]), 0.6), unit=0.1)
def test_a_unit_only_rounds_prices_and_lets_those_go_that_ask_for_more(rule, auction, unit):
    bids, budget = auction
    assume(unit <= budget)
    before, after = rule(exactly(bids), budget), rule(exactly(bids), budget, unit=unit)
    grid = multiples(unit, budget)
    for cell in np.ndindex(bids.shape):
        price = rounded_down(before.payments[cell], grid)
        stays = before.winners[cell] and Fraction(bids[cell]) <= price
        assert after.winners[cell] == stays
        assert after.payments[cell] == (price if stays else 0)
    assert np.array_equal(after.level, after.take_up)


@SETTINGS
@given(float_auctions(5, 3, HALVES), st.sampled_from([1, 2, Fraction(1, 3), Fraction(5, 7)]))
def test_exact_units_are_exact(auction, unit):
    bids, budget = auction
    assume(unit <= budget)
    recruits = literal.max_min_fair(exactly(bids).tolist(), Fraction(budget))
    rounded = {cell: unit * (price // unit) for cell, price in recruits.items()}
    expected = {cell: price for cell, price in rounded.items() if bids[cell] <= price}
    found = max_min_fair(exactly(bids), budget, unit=unit)
    assert {
        cell: found.payments[cell] for cell in np.ndindex(bids.shape) if found.winners[cell]
    } == expected


@pytest.mark.parametrize("rule", ALL)
@SETTINGS
@given(auction=float_auctions(7, 3), unit=st.sampled_from(UNITS))
@example(auction=(np.array([[0.1, math.inf], [0.1, 0.2], [0.2, 0.3]]), 0.6), unit=0.1)
def test_floats_decide_and_pay_as_exact_numbers_do(rule, auction, unit):
    bids, budget = auction
    assume(unit <= budget <= unit * 2**49)
    floats = rule(bids, budget, unit=unit)
    exact = rule(exactly(bids), budget, unit=unit)
    assert floats.payments.dtype == np.float64
    assert floats == exact


@pytest.mark.parametrize("rule", ALL)
@SETTINGS
@given(
    auction=float_auctions(8, 3, CENTS),
    unit=st.sampled_from([0.01, 0.05, 0.1, 0.3]),
    ulps=st.integers(-1, 1),
)
def test_sums_in_decimals_are_within_the_budget_as_it_is_written(rule, auction, unit, ulps):
    """A budget of cents, or one that rounding has moved."""
    bids, size = auction[0], Decimal(str(unit))
    cents = max(1.0, round(100 * auction[1])) / 100
    budget = math.nextafter(cents, ulps * math.inf) if ulps else cents
    assume(unit <= budget)
    found = rule(bids, budget, unit=unit)
    counts = [round(Fraction(amount) / Fraction(size)) for amount in found.payments.flat]
    assert [float(count * size) for count in counts] == found.payments.ravel().tolist()
    assert sum(counts) * size <= Decimal(str(budget if ulps > 0 else cents))
    assert find_overspend(found, budget) is None
    assert find_irrational_payment(found, bids) is None


@pytest.mark.parametrize("rule", ALL)
@pytest.mark.parametrize("unit", [Fraction(2, 3), 1, Fraction(3, 2), 0.7])
@settings(max_examples=12)
@given(auction=float_auctions(3, 2, TIED))
def test_no_joint_misreport_of_a_grid_gains(rule, unit, auction):
    bids, budget = exactly(auction[0]), auction[1]
    assume(unit <= budget)
    units = functools.partial(rule, unit=unit)
    reports = list(itertools.product([*TIED, Fraction(2, 3), math.inf], repeat=bids.shape[1]))
    for client in range(len(bids)):
        found = find_profitable_report(units, bids, budget, client=client, reports=reports)
        assert found is None, found.sentence
    outcome = run_mechanism(units, bids, budget)
    assert find_overspend(outcome, budget) is None
    assert find_irrational_payment(outcome, bids) is None


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=25)
@given(auction=float_auctions(5, 3, CENTS), unit=st.sampled_from([0.01, 0.1, 0.7, 1]))
def test_audits_are_exact(rule, auction, unit):
    bids, budget = auction
    assume(unit <= budget)
    units = functools.partial(rule, unit=unit)
    report = audit(units, bids, budget, method="exact")
    assert report.truthful
    assert report.ok
    assert report.laws["menu independent"]
    traced = audit(units, bids[:3], budget, method="exact", joint=False, clients=0)
    assert traced.truthful


@pytest.mark.parametrize("rule", [at_learned_prices, at_posted_prices])
def test_other_rules_with_a_unit_are_traced(rule):
    bids = [[0.3, 1.1], [0.57, 0.7], [1.2, 0.29], [0.1, 2.0], [0.4, 0.9]]
    for unit in (0.1, Fraction(1, 8)):
        report = audit(functools.partial(rule, unit=unit), bids, 6.0, joint=False)
        assert report.method == "exact"
        assert report.ok


def test_a_reserve_and_a_unit_are_seen_together():
    rule = functools.partial(max_min_fair, reserve=5.05, unit=0.1)
    bids = [[2.0, 9.0], [3.0, 4.0], [5.0, 1.0]]
    assert max_min_fair(bids, 30.0, reserve=5.05, unit=0.1).payments.max() == 5.0
    report = audit(rule, bids, 30.0, method="exact")
    assert (report.truthful, report.method) == (True, "exact")


def test_a_small_auction_with_a_unit_is_proved_for_all_real_bids():
    assert prove(functools.partial(max_min_fair, unit=1), (2, 1), budget=3).proved
    with pytest.raises(errors.InvalidInput, match="budget = None"):
        prove(functools.partial(max_min_fair, unit=1), (2, 1))
    assert prove(functools.partial(budget_fair, unit=0.7), (2, 1), budget=2).proved
    with pytest.raises(errors.InvalidInput, match="smt"):
        audit(functools.partial(max_min_fair, unit=1), [[1.0], [2.0]], 3.0, method="smt")


MONEY = table(("0.50", "2.10"), ("0.55", "1.05"), ("0.90", "-"), ("1.00", "1.33"))


def decimals(bids):
    """The same table in decimals."""
    cells = [x if x == math.inf else Decimal(x.numerator) / x.denominator for x in bids.flat]
    return np.array(cells, dtype=object).reshape(bids.shape)


@pytest.mark.parametrize("rule", ALL)
def test_decimals_in_and_a_decimal_unit_are_decimals_out(rule):
    unit, budget = Decimal("0.10"), Decimal("7.77")
    for bids in (decimals(MONEY), MONEY):
        with decimal.localcontext(prec=2):
            found = rule(bids, budget, unit=unit)
            assert {type(amount) for amount in found.payments.flat} == {Decimal}
            assert {amount.as_tuple().exponent for amount in found.payments.flat} == {-2}
            assert isinstance(found.spend, Decimal)
            assert found.spend == sum(map(Fraction, found.payments.flat))
            assert 0 < found.spend <= budget
        assert found.exact
        assert found == rule(MONEY, Fraction(budget), unit=Fraction(unit))
        utilities = found.utilities(bids)
        assert all(isinstance(gain, Fraction) and gain >= 0 for gain in utilities)
    assert {type(x) for x in rule(MONEY, budget, unit=0.1).payments.flat} == {Fraction}
    assert rule([[1.0, 1.0]] * 3, 7.75, unit=Decimal("0.25")).payments.dtype == np.float64


@pytest.mark.parametrize("rule", RULES)
def test_audits_count_decimals(rule):
    units = functools.partial(rule, unit=Decimal("0.05"))
    for options in ({}, {"joint": False}, {"method": "search", "samples": 200}):
        report = audit(units, decimals(MONEY), Decimal("7.77"), **options)
        assert report.truthful is not False
        assert not report.violations
    assert audit(units, decimals(MONEY), Decimal("7.77")).truthful


def test_a_unit_as_large_as_the_budget_leaves_all_or_nothing():
    assert paid(max_min_fair([[3.0], [11.0]], 10.0, unit=10.0)) == [{0: 10.0}]
    assert paid(max_min_fair([[3.0], [4.0]], 10.0, unit=10.0)) == [{}]
    assert proportional_share([5.0, 6.0, 7.0, 20.0], 20.0, unit=2.0).payments.ravel().tolist() == [
        6.0,
        6.0,
        0.0,
        0.0,
    ]


def test_a_unit_that_is_the_budget_is_audited_though_its_decimal_is_above_the_float():
    rule = functools.partial(max_min_fair, unit=0.3)
    assert Fraction("0.3") > Fraction(0.3)
    assert paid(rule([[0.1], [0.4]], 0.3)) == [{0: 0.3}]
    assert audit(rule, [[0.1], [0.4]], 0.3, method="exact").truthful


def test_an_audit_falls_back_where_floats_cannot_hold_the_multiples():
    """Five times the float 0.1 is no float, so floats pay otherwise than fractions."""
    rule = functools.partial(max_min_fair, unit=Fraction(0.1))
    bids, budget = [[0.1], [0.3], [0.7]], 1.0
    report = audit(rule, bids, budget, samples=300)
    assert (report.method, report.truthful) == ("search", None)
    with pytest.raises(errors.InvalidInput, match="unit"):
        audit(functools.partial(max_min_fair, unit=Decimal("0.1")), bids, budget)


def test_a_binary_reading_of_cents_would_lose_one():
    """The float 0.29 is below 29/100: exact multiples would pay 0.28."""
    bids = [[0.1], [0.29], [0.29]]
    assert paid(max_min_fair(bids, 0.6, unit=0.01)) == [{0: 0.29, 1: 0.29}]
    exact = max_min_fair(exactly(bids), Fraction(0.6), unit=Fraction(1, 100))
    assert paid(exact) == [{0: Fraction(28, 100)}]


SIZES = ["0.01", "0.05", "0.3", "7", "1e-5", "0.1234567", "123456.7", "2e15", "1e-40", "3e-300"]


@settings(max_examples=400)
@given(st.sampled_from(SIZES), st.integers(0, 2**51), st.integers(0, 50), st.integers(-2, 2))
def test_floats_are_rounded_to_the_nearest_floats_of_multiples(size, count, halvings, ulps):
    """At multiples and next to them, few and many."""
    size, count = Fraction(size), count >> halvings
    price = float(count * size)
    for _ in range(abs(ulps)):
        price = math.nextafter(price, math.inf if ulps > 0 else 0.0)
    auction = read_auction([[0.0]], 1.0)
    unit = PriceUnit(size, binary=True)
    auction = type(auction)(auction.bids, auction.budget, auction.outside, unit)
    near = int(Fraction(price) / size)
    grid = [Fraction(float(max(near + step, 0) * size)) for step in range(-3, 4)]
    assert Fraction(rounded(np.array([price]), auction)[0]) == rounded_down(price, grid)
    assert unit.round_down(Fraction(price)) == rounded_down(price, grid)


@settings(max_examples=200)
@given(st.fractions(0, 40), st.sampled_from([Fraction(1, 3), Fraction(0.3), Fraction(5)]))
def test_comparisons_alone_find_the_same_multiple(price, size):
    for binary in (False, True):
        unit = PriceUnit(size, binary=binary).scaled(6)
        assert unit.round_down(Compared(price)) == unit.round_down(price)


class Compared:
    """A number that can be compared and nothing else."""

    def __init__(self, value):
        self.value = value

    def __ge__(self, other):
        return self.value >= other


def test_units_that_floats_cannot_tell_apart_are_refused():
    for unit, budget in ((1e-17, 1.0), (0.01, 1e14), (5e-324, 5e-324)):
        for bids in ([[0.0]], exactly([[0.0]])):
            with pytest.raises(errors.InvalidInput, match="at least 2") as caught:
                max_min_fair(bids, budget, unit=unit)
            assert caught.value.argument == "unit"
        assert max_min_fair(exactly([[0.0]]), budget, unit=Fraction(str(unit))).winners.all()
    assert checked_unit(0.01, 1e13, exact=False) == PriceUnit(Fraction(1, 100), binary=True)
