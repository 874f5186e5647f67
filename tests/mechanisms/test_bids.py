"""Every refusal of an auction's input names the argument, the value and the requirement."""

import subprocess
import sys
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from fairopt import errors
from mechanisms import (
    Outcome,
    budget_fair,
    cheapest_first,
    clock_auction,
    coverage_share,
    exactly,
    greedy_max_min,
    leave_one_out_level,
    max_min_fair,
    online_posted_price,
    posted_price,
    proportional_share,
    quality_level,
    quality_pruning,
    quality_share,
    random_recruitment,
    sampled_posted_price,
)
from mechanisms.reading.headings import NamedBids

RULES = [budget_fair, max_min_fair, greedy_max_min, cheapest_first]
NAN = float("nan")


@pytest.mark.parametrize("rule", RULES)
def test_what_has_bids_and_names_is_told_how_to_become_a_table(rule):
    named = NamedBids(("ann",), ("mnist",), np.ones((1, 1)))
    with pytest.raises(errors.InvalidInput, match=r"bids = 'NamedBids', .*give the attribute bids"):
        rule(named, 3.0)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("bids", "argument"),
    [
        ([[1.0, 2.0], [NAN, 1.0]], "bids[client 1, task 0]"),
        ([[1.0, -0.5]], "bids[client 0, task 1]"),
        ([[Fraction(1), Fraction(-1, 2)]], "bids[client 0, task 1]"),
        ([[Fraction(1), NAN]], "bids[client 0, task 1]"),
        ([[Fraction(1), "2"]], "bids[client 0, task 1]"),
        ([[Fraction(1), True]], "bids[client 0, task 1]"),
        ([[2**60, 1]], "bids[client 0, task 0]"),
        ([1.0, 2.0], "bids"),
        ([[[1.0]]], "bids"),
        (np.zeros((0, 2)), "bids"),
        (np.zeros((2, 0)), "bids"),
        ([[1.0], [1.0, 2.0]], "bids"),
        ([["a", "b"]], "bids"),
        ([[1j]], "bids"),
        ([[True]], "bids"),
        (None, "bids"),
        (5.0, "bids"),
        ([[Decimal("NaN")]], "bids[client 0, task 0]"),
        ([[Decimal("sNaN")]], "bids[client 0, task 0]"),
        ([[Decimal("1e-2000")]], "bids[client 0, task 0]"),
        ([[1, Decimal("1e999999999")]], "bids[client 0, task 1]"),
        (np.ma.array([[1.0, 2.0]], mask=[[False, True]]), "bids"),
    ],
)
def test_bad_bids(rule, bids, argument):
    with pytest.raises(errors.InvalidInput) as caught:
        rule(bids, 1.0)
    assert caught.value.argument == argument


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "budget",
    [
        0,
        -1.0,
        NAN,
        float("inf"),
        "3",
        None,
        True,
        1j,
        [1.0],
        Fraction(1, 3),
        10**400,
        Decimal("NaN"),
        np.longdouble("0.1"),
        np.array(1.0),
    ],
)
def test_bad_budget(rule, budget):
    with pytest.raises(errors.InvalidInput) as caught:
        rule([[1.0]], budget)
    assert caught.value.argument == "budget"


@pytest.mark.parametrize("reserve", [-1.0, NAN, [1.0, 2.0, 3.0], "x", [[1.0, 2.0]], [1.0, -1.0]])
def test_bad_reserve(reserve):
    with pytest.raises(errors.InvalidInput) as caught:
        max_min_fair([[1.0, 2.0]], 1.0, reserve=reserve)
    assert caught.value.argument.startswith("reserve")


IN_UNITS = {
    "max-min fair": max_min_fair,
    "leave-one-out level": leave_one_out_level,
    "budget fair": budget_fair,
    "proportional share": lambda bids, budget, unit: proportional_share(
        [row[0] for row in bids], budget, unit=unit
    ),
    "posted price": lambda bids, budget, unit: posted_price(bids, [1.0], budget, unit=unit),
    "sampled posted price": lambda bids, budget, unit: sampled_posted_price(
        bids, budget, np.random.default_rng(0), unit=unit
    ),
}


@pytest.mark.parametrize("rule", IN_UNITS)
@pytest.mark.parametrize(
    "unit",
    [
        0,
        0.0,
        -1.0,
        Fraction(-1, 2),
        NAN,
        float("inf"),
        3.5,
        1e-20,
        "0.01",
        True,
        1j,
        [1.0],
        np.array(1.0),
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("Infinity"),
        Decimal("1e-2000"),
        10**400,
        Decimal("0.01"),
        Fraction(1, 3),
    ],
)
def test_bad_unit(rule, unit):
    with pytest.raises(errors.InvalidInput) as caught:
        IN_UNITS[rule]([[1.0], [2.0]], 3.0, unit=unit)
    assert caught.value.argument == "unit"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rule", IN_UNITS)
def test_a_unit_of_any_kind_of_number(rule):
    expected = IN_UNITS[rule]([[0.25], [0.5], [1.0]], 3.0, unit=0.5)
    for unit in (Decimal("0.5"), Fraction(1, 2), np.float64(0.5), np.float32(0.5)):
        assert IN_UNITS[rule]([[0.25], [0.5], [1.0]], 3, unit=unit) == expected
    exact = exactly([[0.25], [0.5], [1.0]])
    for unit in (0.5, Decimal("0.5"), Fraction(1, 2), np.float32(0.5)):
        assert IN_UNITS[rule](exact, Decimal(3), unit=unit) == expected
    for unit in (1, np.int64(1), 1.0):
        assert IN_UNITS[rule](exact, 3, unit=unit).payments.max() == 1


def test_bad_row_and_generator():
    with pytest.raises(errors.InvalidInput, match="row"):
        proportional_share([[1.0]], 1.0)
    with pytest.raises(errors.InvalidInput, match="rng"):
        random_recruitment([[1.0]], 1.0, 7)
    with pytest.raises(errors.InvalidInput, match="shape"):
        budget_fair([[1.0]], 1.0).utilities([1.0])


@pytest.mark.parametrize("rule", RULES)
def test_any_layout_and_number_type_gives_the_same_answer(rule):
    bids = np.array([[2.0, 9.0], [3.0, 4.0], [5.0, 1.0], [8.0, 6.0]])
    frozen = bids.copy()
    frozen.flags.writeable = False
    expected = rule(bids, 24.0)
    for same in (
        np.asfortranarray(bids),
        bids.astype(np.float32),
        bids.astype(int),
        bids.astype(">f8"),
        bids.tolist(),
        frozen,
        np.repeat(bids, 2, axis=0)[::2],
    ):
        assert rule(same, 24) == expected
    assert (bids == frozen).all()


def test_exact_numbers_may_be_mixed():
    bids = [[Fraction(1, 3), 2], [np.int64(1), 0.5], [np.float64(0.25), float("inf")]]
    outcome = budget_fair(np.array(bids, dtype=object), Fraction(7, 3))
    assert outcome.exact
    assert isinstance(outcome.spend, Fraction)
    assert outcome.spend <= Fraction(7, 3)


def test_exact_auctions_know_no_largest_float():
    bids = np.array([[10**400, 1], [2, 3], [4, 5]], dtype=object)
    outcome = max_min_fair(bids, 10**401)
    assert outcome.take_up.tolist() == [2, 2]
    assert outcome.spend <= 10**401
    tiny = exactly([[0.0, 1.0], [0.0, 2.0]])
    assert max_min_fair(tiny, Fraction(1, 10**400), reserve=10**400).spend == 0


def test_a_masked_array_without_masked_cells_is_a_table():
    bids = np.ma.array([[1.0], [2.0]], mask=[[False], [False]])
    assert max_min_fair(bids, 4.0) == max_min_fair(bids.data, 4.0)


class Frame:
    """Stands for tables of other libraries, which convert themselves."""

    def __array__(self, dtype=None, copy=None):
        return np.array([[2.0, 9.0], [3.0, 4.0], [5.0, 1.0]])


def test_tables_of_other_libraries_and_zeros_with_a_sign():
    assert max_min_fair(Frame(), 24.0) == max_min_fair(np.asarray(Frame()), 24.0)
    signed = [[-0.0, 0.0], [0.0, -0.0], [-0.0, 1.0]]
    assert max_min_fair(signed, 3.0) == max_min_fair(np.abs(signed), 3.0)


def test_utilities_of_floats_and_fractions():
    bids = np.array([[2.0, 9.0], [3.0, np.inf], [5.0, 1.0], [8.0, 6.0]])
    for table in (bids, exactly(bids)):
        outcome = max_min_fair(table, 24)
        by_hand = [
            sum(Fraction(outcome.payments[i, s]) - Fraction(bids[i, s]) for s in range(2) if won[s])
            for i, won in enumerate(outcome.winners)
        ]
        assert outcome.utilities(table).tolist() == by_hand


def test_a_winner_that_cannot_do_the_task_loses_everything():
    assert Outcome(np.array([[True]]), np.array([[1.0]]), np.array([1])).utilities([[np.inf]]) == [
        -np.inf
    ]


def test_importing_the_package_loads_numpy_only():
    heavy = "numba scipy torch z3 rich typer matplotlib joblib cvxpy hypothesis"
    code = f"import sys, mechanisms; print([m for m in {heavy.split()!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("rule", [budget_fair, max_min_fair, leave_one_out_level])
def test_decimals_are_exact(rule):
    """Three asks of 0.1 fit 0.3 in decimals; in binary floats two of them do."""
    cents = [[Decimal("0.1")]] * 3
    outcome = rule(cents, Decimal("0.3"))
    same = rule([[Fraction(1, 10)]] * 3, Fraction(3, 10))
    assert outcome == same
    assert outcome.spend <= Fraction(3, 10)
    absent = [[Decimal("0.1"), Decimal("Infinity")], [Decimal(1), Decimal(2)]]
    exact = [[Fraction(1, 10), float("inf")], [1, 2]]
    assert rule(absent, Decimal(4)) == rule(exact, 4)
    with pytest.raises(errors.InvalidInput, match="budget"):
        rule(cents, Decimal("1e999999999"))
    assert rule([[0.5], [0.5]], Decimal(2)) == rule([[0.5], [0.5]], 2.0)
    with pytest.raises(errors.InvalidInput, match="unless the bids are exact"):
        rule([[0.5], [0.5]], Decimal("0.1"))


ONE = [[1.0], [2.0]]


@pytest.mark.parametrize("rule", [quality_share, quality_level, quality_pruning])
@pytest.mark.parametrize(
    ("values", "argument"),
    [
        ([1.0, NAN], "values[client 1]"),
        ([1.0, 0.0], "values[client 1]"),
        ([[1.0], [-1.0]], "values[client 1, task 0]"),
        ([[float("inf")], [1.0]], "values[client 0, task 0]"),
        ([Fraction(1), "2"], "values[client 1]"),
        ([Fraction(1), True], "values[client 1]"),
        ([1.0], "values"),
        ([[1.0, 2.0]], "values"),
        (1.0, "values"),
        (None, "values"),
        ("ab", "values"),
        ([[1.0], [1.0, 2.0]], "values"),
        ([True, False], "values"),
    ],
)
def test_bad_values(rule, values, argument):
    with pytest.raises(errors.InvalidInput) as caught:
        rule(ONE, 5.0, values)
    assert caught.value.argument == argument
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rule", [coverage_share, clock_auction])
@pytest.mark.parametrize(
    ("covers", "weights", "argument"),
    [
        ([[1, 0], [0, 1]], None, "covers"),
        ([True, False], None, "covers"),
        ([[True], [True], [True]], None, "covers"),
        ([[[True], [True]], [[True], [True]]], None, "covers"),
        (np.zeros((2, 0), dtype=bool), None, "covers"),
        (None, None, "covers"),
        ([[True], [True, False]], None, "covers"),
        ([[True], [False]], [1.0, 2.0], "weights"),
        ([[True], [False]], [0.0], "weights[region 0]"),
        ([[True], [False]], [NAN], "weights[region 0]"),
        ([[True], [False]], [-1], "weights[region 0]"),
        ([[True], [False]], 1.0, "weights"),
        ([[True], [False]], "a", "weights"),
    ],
)
def test_bad_covers(rule, covers, weights, argument):
    with pytest.raises(errors.InvalidInput) as caught:
        rule(ONE, 5.0, covers, weights)
    assert caught.value.argument == argument
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"sample": 0}, "sample"),
        ({"sample": 1.0}, "sample"),
        ({"sample": -0.1}, "sample"),
        ({"sample": NAN}, "sample"),
        ({"sample": float("inf")}, "sample"),
        ({"sample": "0.5"}, "sample"),
        ({"sample": None}, "sample"),
        ({"quotas": [0]}, "quotas[task 0]"),
        ({"quotas": [-1]}, "quotas[task 0]"),
        ({"quotas": [1.5]}, "quotas[task 0]"),
        ({"quotas": [NAN]}, "quotas[task 0]"),
        ({"quotas": [True]}, "quotas[task 0]"),
        ({"quotas": [1, 1]}, "quotas"),
        ({"quotas": 3}, "quotas"),
        ({"quotas": [[1], [1, 2]]}, "quotas"),
        ({"quotas": "a"}, "quotas"),
    ],
)
def test_bad_options_of_online_prices(options, argument):
    with pytest.raises(errors.InvalidInput) as caught:
        online_posted_price(ONE, 5.0, np.random.default_rng(0), **options)
    assert caught.value.argument == argument
    assert "\n" not in str(caught.value)
    with pytest.raises(errors.InvalidInput, match="rng"):
        online_posted_price(ONE, 5.0, 0)


@pytest.mark.parametrize(
    "rule",
    [
        lambda bids, budget: quality_share(bids, budget, [1.0]),
        lambda bids, budget: quality_level(bids, budget, [1.0]),
        lambda bids, budget: quality_pruning(bids, budget, [1.0]),
        lambda bids, budget: coverage_share(bids, budget, [[True]]),
        lambda bids, budget: clock_auction(bids, budget, [[True]]),
        lambda bids, budget: online_posted_price(bids, budget, np.random.default_rng(0)),
    ],
)
def test_bids_and_budgets_of_rules_with_more_input(rule):
    for bids, argument in (
        ([[NAN]], "bids[client 0, task 0]"),
        ([[-1.0]], "bids[client 0, task 0]"),
    ):
        with pytest.raises(errors.InvalidInput) as caught:
            rule(bids, 1.0)
        assert caught.value.argument == argument
    for budget in (0.0, NAN, "1", float("inf")):
        with pytest.raises(errors.InvalidInput) as caught:
            rule([[1.0]], budget)
        assert caught.value.argument == "budget"
    nobody = rule([[float("inf")]], 5.0)
    assert nobody.spend == 0
    assert nobody.take_up.tolist() == [0]
    assert rule([[5e-324]], 1e308).spend <= 1e308


@pytest.mark.parametrize("costs", [[[float("nan")], [1.0]], [["a"], ["b"]], [[True], [False]]])
def test_costs_that_are_no_numbers_are_refused(costs):
    outcome = max_min_fair([[1.0], [2.0]], 10.0)
    with pytest.raises(errors.InvalidInput, match="costs"):
        outcome.utilities(costs)
