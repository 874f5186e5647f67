"""Worked auctions, solved by hand and by a second program, to the exact fraction."""

from fractions import Fraction as F

import numpy as np
import pytest

from mechanisms import budget_fair, greedy_max_min, max_min_fair, proportional_share
from tests.mechanisms.profiles import as_floats, paid, table

C3 = table((1, 5), (2, 1), (4, 3))
PROFILES = {
    "O1": (table((2, 9), (3, 4), (5, 1), (8, 6)), 24),
    "O2": (table((1, 2, 3), (2, 3, 1), (3, 1, 2), (4, 4, 4), (6, 6, 6)), 36),
    "O3": (table((1, 10), (2, 10), (3, 12), (4, 14), (5, 20)), 60),
    "O4": (table((5,), (6,), (7,), (20,)), 20),
    "O5": (table((2, "-"), (3, "-"), (7, "-"), ("-", 1), ("-", 4), ("-", 5)), 22),
    "O6": (table((1, 6), (2, 7), (3, 8), (4, 9), (5, 10), (6, 11)), 40),
    "O7": (C3, 15),
    "other-task tests": (table(("-", 0), (0, 0), ("-", 0)), 5),
    "three tasks, even optimum": (table((0, 0, 0), (0, 0, 2), (2, 2, 2)), 3),
}
BUDGET_FAIR = {
    "O1": [{0: 5, 1: 5}, {1: 6, 2: 6}],
    "O2": [dict.fromkeys((0, 1, 2), 4)] * 3,
    "O3": [dict.fromkeys(range(5), 6), {0: 12, 1: 12}],
    "O4": [{0: 7, 1: 7}],
    "O5": [{0: F(11, 2), 1: F(11, 2)}, {3: 5, 4: 5}],
    "O6": [dict.fromkeys(range(4), 5), {0: 8, 1: 8}],
    "O7": [{0: F(15, 4), 1: F(15, 4)}, {1: F(15, 4), 2: F(15, 4)}],
}
MAX_MIN_FAIR = {
    "O1": [{0: 5, 1: 5}, {1: 6, 2: 6}],
    "O2": [dict.fromkeys((0, 1, 2), 4)] * 3,
    "O3": [dict.fromkeys((0, 1, 2), 4), dict.fromkeys((0, 1, 2), 14)],
    "O4": [{0: 7, 1: 7}],
    "O5": [{0: 6, 1: 6}, {3: 5, 4: 5}],
    "O6": [dict.fromkeys((0, 1, 2), 4), dict.fromkeys((0, 1, 2), F(25, 3))],
    "O7": [{0: F(15, 4)}, {1: 3, 2: F(15, 4)}],
    "other-task tests": [{1: 5}, {0: 0}],
    "three tasks, even optimum": [{}, {}, {0: 1}],
}
OPTIMUM = {"O1": 3, "O2": 4, "O3": 4, "O4": 3, "O5": 3, "O6": 4, "O7": 2}
EXPECTED = [
    *((budget_fair, name, recruits) for name, recruits in BUDGET_FAIR.items()),
    *((max_min_fair, name, recruits) for name, recruits in MAX_MIN_FAIR.items()),
]


@pytest.mark.parametrize(("rule", "name", "recruits"), EXPECTED)
def test_worked_auction(rule, name, recruits):
    bids, budget = PROFILES[name]
    assert paid(rule(bids, budget)) == recruits


@pytest.mark.parametrize(("rule", "name", "recruits"), EXPECTED)
def test_worked_auction_in_floats(rule, name, recruits):
    bids, budget = PROFILES[name]
    rounded = paid(rule(as_floats(bids), float(budget)))
    assert [list(task) for task in rounded] == [list(task) for task in recruits]
    for task, exact in zip(rounded, recruits, strict=True):
        for client, payment in task.items():
            assert F(payment) <= exact[client] < F(np.nextafter(payment, np.inf))


@pytest.mark.parametrize(("name", "level"), OPTIMUM.items())
def test_full_information_optimum(name, level):
    bids, budget = PROFILES[name]
    for outcome in (greedy_max_min(bids, budget), greedy_max_min(as_floats(bids), budget)):
        assert (outcome.level == level).all()
        assert outcome.min_take_up == level
        assert (outcome.payments[outcome.winners] == bids[outcome.winners]).all()


def test_spend_of_worked_auctions():
    assert budget_fair(*PROFILES["O2"]).spend == 36
    assert budget_fair(*PROFILES["O3"]).spend == 54
    assert max_min_fair(*PROFILES["O5"]).spend == 22


def test_one_task_is_a_row():
    outcome = proportional_share([5, 6, 7, 20], 20)
    assert paid(outcome) == [{0: 7, 1: 7}]
    assert outcome.level == 2
