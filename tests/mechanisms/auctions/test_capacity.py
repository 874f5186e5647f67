"""The auction for clients with a capacity: worked examples, its definition, budgets and floors."""

import itertools
import math
import random
from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairopt.errors import InvalidInput
from mechanisms import (
    capacity_max_min,
    exactly,
    greedy_max_min,
    max_min_fair,
    participation_fee,
    posted_price,
    proportional_share,
)
from mechanisms.auctions.exact.clearing_levels import cheapest_affordable, prices_by_levels
from mechanisms.auctions.exact.perturbed import Perturbed
from mechanisms.auctions.exact.spend_bound import spend_bound
from mechanisms.auctions.wide import markets
from mechanisms.auctions.wide.payments import outcome_of
from mechanisms.auctions.wide.words import lowest_exponent, numbers, words, words_of_floats
from mechanisms.bids import read_auction
from proofs.incentives.clearing_by_definition import capacity_one_by_definition
from tests.mechanisms.auctions import capacity_trials as trials
from tests.mechanisms.profiles import as_floats, paid, table

FEW = settings(max_examples=60)
ALL = dict.fromkeys
LOW_CAP = table((1, 4), (2, 3), (4, 1), (3, 2), (5, 5), (6, 4))
SINGLE = table((1, "-"), (2, "-"), (3, "-"), ("-", 1), ("-", 2), ("-", 3), (2, 2))
THREE = table((1, 2, 4), (2, 2, 8), (3, 6, 4), (1, 6, 12), (2, 4, 4), (3, 2, 8), (1, 4, 12))
TIGHT = table((3, 2), (4, 4), (2, 2), (2, 5), (1, 0), (2, 2), (4, 1), (3, 0))
WORKED = [
    (table((8, 8), (2, 1), (3, 8)), 12, [{2: 6}, {}]),
    (table((8, 8), (5, 0), (3, 8)), 12, [{2: 6}, {}]),
    (table((0, 0), (0, 0), (0, 0), (0, 0)), 4, [{2: 1, 3: 1}, {0: 1, 1: 1}]),
    (table((1, 5), (5, 1)), 6, [{}, {}]),
    (table((1, 5), (5, 1)), 10, [{0: 5}, {1: 5}]),
    (table((1,), (2,), (3,), (4,)), 7, [{0: 3, 1: 3}]),
    (LOW_CAP, 12, [{0: 3, 1: 3}, {2: 3, 3: 3}]),
    (LOW_CAP, 16, [{0: 4, 1: 4}, {2: 4, 3: 4}]),
    (LOW_CAP, 20, [{0: 5, 1: 5}, {2: 4, 3: 4}]),
    (SINGLE, 9, [{0: 2, 1: 2}, {3: 2, 4: 2}]),
    (THREE, 30, [{0: 1, 3: 1}, {1: 2, 5: 2}, {2: 4, 4: 4}]),
    (TIGHT, 6, [{4: 2}, {7: 1}]),
    (table((0, 1), (1, 0), (1, 0), (1, 0)), 4, [{0: F(5, 4), 3: 1}, {1: 0, 2: 0}]),
]
OVERSPENDING = [
    (TIGHT, 6, 7),
    (
        table((6, 5), (5, 6), (3, 0), (6, 2), (3, 0), (3, 3), (3, 1), (6, 2), (5, 0), (3, 5)),
        6,
        9,
    ),
    (table((2, 2), (3, 1), (1, 0), (2, 3), (3, 3), (3, 3), (2, 1)), 6, 7),
]
"""Where the rule without slack pays more than the budget: random budgets hardly find these."""


def drawn(seed, **sizes):
    """A random auction, most often with a budget at a value of a test."""
    return trials.draw_trial(random.Random(seed), **sizes)


@pytest.mark.parametrize(("bids", "budget", "recruits"), WORKED)
def test_worked_auction(bids, budget, recruits):
    if bids.shape[1] == 1:
        assert paid(capacity_max_min(bids, budget)) == recruits
        return
    auction = read_auction(bids, budget)
    ones, twos = [1] * bids.shape[1], [1] * len(bids)
    assert paid(outcome_of(auction, prices_by_levels(auction, ones, twos))) == recruits
    assert paid(capacity_max_min(bids, budget)) == recruits
    in_floats = paid(capacity_max_min(as_floats(bids), float(budget)))
    assert in_floats == [{i: float(x) for i, x in task.items()} for task in recruits]


@pytest.mark.parametrize(("bids", "budget", "spent"), OVERSPENDING)
def test_the_rule_without_slack_overspends(bids, budget, spent):
    rows = [[int(cell) for cell in row] for row in bids]
    trial = trials.Trial(rows, F(budget), [1] * len(rows), [1] * len(rows[0]))
    assert trials.without_slack(trial).spend == spent > budget
    assert capacity_max_min(bids, budget).spend <= budget


@FEW
@given(st.integers(0, 10**6))
def test_one_task_per_client_is_its_definition(seed):
    rng = random.Random(seed)
    drawn_trial = trials.draw_trial(rng, top=rng.choice([1, 2, 3, 5]), clients=6, tasks=3)
    ones = [1] * len(drawn_trial.bids)
    trial = trials.Trial(drawn_trial.bids, drawn_trial.budget, ones, [1] * len(drawn_trial.weights))
    if rng.random() < 0.3:
        most = max(1, len(trial.bids) // len(trial.weights))
        weights = [rng.randint(1, min(2, most)) for _ in trial.weights]
        if sum(weights) <= len(trial.bids):
            trial = trials.Trial(trial.bids, trial.budget, ones, weights)
    by_word = capacity_one_by_definition(trial.bids, trial.budget, trial.weights)
    outcome = trial.run()
    found = {(int(i), int(s)): outcome.payments[i, s] for i, s in np.argwhere(outcome.winners)}
    assert found == by_word


@settings(max_examples=100)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 3, 32]))
def test_compiled_form_is_the_exact_one(seed, roster):
    """Also where the cheapest movers that are remembered run out."""
    trial = drawn(seed, top=[2, 3, 10, 1000][seed % 4], clients=12, tasks=4)
    if min(trial.capacity) == len(trial.weights):
        return
    auction = read_auction(trial.table(), trial.budget)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(markets, "ROSTER", roster)
        outcome = trial.run()
        best = greedy_max_min(trial.table(), trial.budget, capacity=trial.capacity)
    exact = prices_by_levels(auction, trial.weights, trial.capacity)
    assert outcome == outcome_of(auction, exact)
    cheapest = outcome_of(auction, cheapest_affordable(auction, trial.capacity))
    assert np.array_equal(best.winners, cheapest.winners)
    assert best.spend == cheapest.spend <= trial.budget


CENTS = st.integers(0, 300).map(lambda k: k / 100)
WIDE = st.sampled_from([5e-324, 1e-300, 1e300, 0.1, 1 / 3, 1e-9, 0.0])


@FEW
@given(st.data(), st.sampled_from([CENTS, WIDE, st.floats(0, 1)]))
def test_floats_decide_as_the_same_numbers_in_fractions(data, cell):
    tasks = data.draw(st.integers(2, 3))
    rows = data.draw(
        st.lists(st.lists(cell, min_size=tasks, max_size=tasks), min_size=1, max_size=7)
    )
    bids = np.array(rows)
    budget = data.draw(st.sampled_from([1.0, 0.3, float(np.sum(np.minimum(bids, 1e3))) or 1.0]))
    floats = capacity_max_min(bids, budget)
    auction = read_auction(exactly(bids), F(budget))
    prices = prices_by_levels(auction, [1] * tasks, [1] * len(rows))
    exact = capacity_max_min(exactly(bids), F(budget))
    assert exact == outcome_of(auction, prices)
    assert np.array_equal(floats.winners, exact.winners)
    assert sum(map(F, floats.payments.flat)) <= F(budget)
    assert (floats.payments[floats.winners] >= bids[floats.winners]).all()
    for cell_, price in prices.items():
        pay = F(floats.payments[cell_])
        assert pay <= price < F(math.nextafter(float(pay), math.inf))


@settings(max_examples=150)
@given(st.integers(0, 10**6))
def test_within_budget_and_never_below_the_floor(seed):
    trial = drawn(seed, top=[1, 2, 3, 5][seed % 4], clients=10, tasks=4)
    outcome = trial.run()
    assert outcome.spend <= trial.budget
    assert (outcome.winners.sum(axis=1) <= np.array(trial.capacity)).all()
    assert (outcome.utilities(trial.table(), capacity=trial.capacity) >= 0).all()
    best = greedy_max_min(trial.table(), trial.budget, capacity=trial.capacity)
    assert outcome.min_take_up >= trials.floor_of(trial, int(best.level.min()))
    assert best.spend <= trial.budget


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_nobody_gains_by_a_joint_misreport(seed):
    trial = drawn(seed, top=[1, 2, 3][seed % 3], clients=5, tasks=3)
    for client, report, gain in trials.joint_misreports(trial, random.Random(seed), 15):
        assert gain <= 0, f"client {client} gains {gain} by {report}"


@FEW
@given(st.integers(0, 10**6))
def test_one_task_is_proportional_share_and_all_tasks_the_default(seed):
    rng = random.Random(seed)
    bids = table(*[[rng.randint(0, 6)] for _ in range(rng.randint(1, 7))])
    budget = F(rng.randint(1, 20))
    auction = read_auction(bids, budget)
    alone = prices_by_levels(auction, [1], [1] * len(bids))
    assert outcome_of(auction, alone) == proportional_share(bids.ravel(), budget)
    trial = drawn(seed, top=4, clients=6)
    whole = capacity_max_min(trial.table(), trial.budget, capacity=len(trial.weights))
    assert whole == max_min_fair(trial.table(), trial.budget)


@settings(max_examples=40)
@given(st.integers(0, 10**6))
def test_additive_clients_with_weights(seed):
    """Places follow the weights, ones are the default auction, and nobody gains."""
    rng = random.Random(seed)
    tasks, clients = rng.choice([1, 2, 3]), rng.randint(2, 5)
    rows = [[rng.choice([0, 1, 2, 3, math.inf]) for _ in range(tasks)] for _ in range(clients)]
    weights = [rng.randint(1, 2) for _ in range(tasks)]
    trial = trials.Trial(rows, F(rng.randint(1, 12)), [tasks] * clients, weights)
    outcome = trial.run()
    assert outcome.spend <= trial.budget
    for client, report, gain in trials.joint_misreports(trial, rng, 15):
        assert gain <= 0, f"client {client} gains {gain} by {report}"


def test_additive_weights_recruit_in_their_proportion():
    bids = np.ones((12, 2))
    assert capacity_max_min(bids, 9.0, capacity=2, weights=[1, 2]).take_up.tolist() == [3, 6]
    assert capacity_max_min(bids, 9.0, capacity=1, weights=[1, 2]).take_up.tolist() == [3, 6]


def test_slack_is_paid_for_unequal_tasks_only():
    even = [Perturbed(2), Perturbed(2), Perturbed(2)]
    assert spend_bound(4, [1, 1, 1], even, even).value == 24
    dear = [Perturbed(5), Perturbed(2), Perturbed(2)]
    assert spend_bound(4, [1, 1, 1], even, dear).value == 24 + 2 * 3
    assert spend_bound(1, [1, 1], even[:2], dear[:2]).value == 4 + 3
    assert spend_bound(3, [2, 1], even[:2], dear[:2]).value == 18 + 1 * 3


def test_wide_integers():
    values = np.array([0.0, 5e-324, 0.1, 3.0, 2.0**40])
    exponent = lowest_exponent(values[2:])
    assert numbers(words_of_floats(values[2:], exponent)) == [
        int(F(float(x)) / F(2) ** exponent) for x in values[2:]
    ]
    assert lowest_exponent(values) == -1074
    assert lowest_exponent(np.zeros(2)) == 0
    big = np.array([2**119, 2**60 - 1, 7, -5], dtype=object)
    assert numbers(words(big)) == list(big)


def test_clients_in_another_order_change_ties_only():
    rng = np.random.default_rng(3)
    bids = rng.random((20, 3))
    order = rng.permutation(20)
    straight, shuffled = (capacity_max_min(each, 4.0) for each in (bids, bids[order]))
    assert np.array_equal(straight.payments[order], shuffled.payments)
    tied = np.array([[0.0, 0.0], [0.0, 0.0]])
    assert capacity_max_min(tied, 2.0).winners.tolist() == [[False, True], [True, False]]


MENUS = {
    "posted price": lambda bids, budget, m, prices: posted_price(bids, prices, budget, capacity=m),
    "participation fee": lambda bids, budget, m, prices: participation_fee(
        bids, budget, prices, F(1, 2), capacity=m
    ),
    "no fee": lambda bids, budget, m, prices: participation_fee(
        bids, budget, prices, 0, capacity=m
    ),
}


@pytest.mark.parametrize("name", MENUS)
@settings(max_examples=40)
@given(st.integers(0, 10**6))
def test_menus_for_clients_that_do_few_tasks(name, seed):
    """Nobody gains by any report on a grid, the budget holds, and floats decide alike."""
    rng = random.Random(seed)
    tasks, clients = rng.choice([2, 3]), rng.randint(1, 4)
    grid = [0, 1, 2, 3, math.inf]
    rows = [[rng.choice(grid) for _ in range(tasks)] for _ in range(clients)]
    capacity = [rng.randint(1, tasks) for _ in range(clients)]
    prices = [rng.randint(1, 4) for _ in range(tasks)]
    budget = rng.randint(1, 15)

    def run(bids):
        return MENUS[name](
            table(*[["-" if x == math.inf else x for x in row] for row in bids]),
            budget,
            capacity,
            prices,
        )

    outcome = run(rows)
    assert outcome.spend <= budget
    assert (outcome.winners.sum(axis=1) <= capacity).all()
    client = rng.randrange(clients)
    costs = trials.Trial(rows, F(budget), capacity, [1] * tasks)
    truthful = costs.utility(client, outcome)
    assert truthful >= 0
    for report in rng.sample(list(itertools.product(grid, repeat=tasks)), 20):
        feigned = run([report if i == client else row for i, row in enumerate(rows)])
        assert costs.utility(client, feigned) <= truthful
    floats = MENUS[name](np.array(rows, dtype=float), float(budget), capacity, prices)
    assert np.array_equal(floats.winners, outcome.winners)
    assert all(F(x) <= y for x, y in zip(floats.payments.flat, outcome.payments.flat, strict=True))


def test_a_menu_with_the_first_tasks_instead_of_the_best_is_a_lie():
    """The negative control: clients that take what comes first gain by not bidding on it."""
    bids, prices = table((1, 0)), [2, 3]
    best = posted_price(bids, prices, 10, capacity=1)
    assert paid(best) == [{}, {0: 3}]
    assert best.utilities(bids, capacity=1).tolist() == [3]


def test_a_fee_that_eats_the_pay_of_one_task_is_refused():
    with pytest.raises(InvalidInput, match="fee"):
        participation_fee([[1.0, 1.0]], 5.0, [1.0, 1.0], 1.5, capacity=1)


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"capacity": 0}, "capacity"),
        ({"capacity": 3}, "capacity"),
        ({"capacity": 1.5}, "capacity"),
        ({"capacity": True}, "capacity"),
        ({"capacity": "one"}, "capacity"),
        ({"capacity": [1, 2]}, "capacity"),
        ({"capacity": [1, 2, 3]}, "capacity"),
        ({"capacity": [[1, 1, 1]]}, "capacity"),
        ({"capacity": None}, "capacity"),
        ({"weights": [0, 1]}, "weights"),
        ({"weights": [1]}, "weights"),
        ({"weights": 2}, "weights"),
        ({"weights": [1.0, 1.0]}, "weights"),
        ({"weights": [2, 2]}, "weights"),
        ({"weights": [1, 4]}, "weights"),
    ],
)
def test_bad_input_is_one_line(options, argument):
    bids = [[1.0, 2.0], [2.0, 1.0], [3.0, 3.0]]
    with pytest.raises(InvalidInput) as caught:
        capacity_max_min(bids, 10.0, **options)
    assert caught.value.argument == argument
    assert "\n" not in str(caught.value)
    with pytest.raises(InvalidInput):
        greedy_max_min(bids, 10.0, capacity=0)
