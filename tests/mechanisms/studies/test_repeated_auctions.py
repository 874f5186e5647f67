"""Auctions over rounds: what adds up, what stays truthful, and where misreports pay."""

import math
from fractions import Fraction

import numpy as np
import pytest

from fairopt import errors
from fairopt.utility import jain_index
from mechanisms import (
    budget_fair,
    exactly,
    greedy_max_min,
    leave_one_out_level,
    level_max_min,
    max_min_fair,
)
from mechanisms.studies.cost_distributions import Abstaining, TwoPoint, Uniform
from mechanisms.studies.cost_drift import GeometricWalk, MeanReverting
from mechanisms.studies.repeated_auctions import (
    audit_rounds,
    every_round,
    find_profitable_plan,
    learned_budget,
    learned_reserve,
    repeated_auction,
)

WALKS = [GeometricWalk(sigma=0.3), MeanReverting(sigma=0.3)]


@pytest.mark.parametrize("walk", WALKS)
def test_rounds_add_up(walk):
    costs = walk.draw(np.random.default_rng(1), 6, 8, 2)
    done = repeated_auction(every_round(max_min_fair, [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]), costs)
    singles = [max_min_fair(c, b) for c, b in zip(costs, [1.0, 2.0, 3.0] * 2, strict=True)]
    assert [each.outcome for each in done.rounds] == singles
    assert done.take_up.tolist() == sum(each.take_up for each in singles).tolist()
    assert done.client_take_up.sum() == done.take_up.sum()
    assert done.min_take_up == done.take_up.min()
    assert done.spend == [each.spend for each in singles]
    total = sum(each.utilities(c) for each, c in zip(singles, costs, strict=True))
    assert [float(done.utility(i, costs)) for i in range(8)] == pytest.approx(total.tolist())
    assert 0.5 <= done.task_fairness <= 1
    assert 1 / 8 <= done.client_fairness <= 1


@pytest.mark.parametrize("walk", WALKS)
@pytest.mark.parametrize("rule", [budget_fair, leave_one_out_level, max_min_fair])
def test_every_round_by_itself_is_truthful(walk, rule):
    costs = walk.draw(np.random.default_rng(2), 4, 6, 2)
    for policy in (every_round(rule, 3.0), learned_budget(rule, 3.0, 2)):
        reports = audit_rounds(repeated_auction(policy, costs))
        assert [report.truthful for report in reports] == [True] * 4
        assert all(report.ok for report in reports)


def test_learned_reserves_are_truthful_round_by_round_and_not_over_rounds():
    costs = exactly(np.array([[[0.0], [1.0]]] * 2))
    policy = learned_reserve(max_min_fair, Fraction(1))
    assert all(report.truthful for report in audit_rounds(repeated_auction(policy, costs)))
    found = find_profitable_plan(policy, costs, client=0, plans=[[[1], [0]], [[0], [0]]])
    assert found.gain == found.replay(policy) == 1
    assert found.sentence == "client 0 gains 1 over all rounds by bidding 1; 0"
    assert found.replay(every_round(max_min_fair, Fraction(1))) <= 0


def test_a_learned_budget_invites_misreports_without_bound():
    costs = exactly(np.array([[[0.0], [0.0]]] * 2))
    policy = learned_budget(max_min_fair, Fraction(1), 1)
    for bid in (4, 400):
        found = find_profitable_plan(policy, costs, client=0, plans=[[[bid], [0]]])
        assert found.gain == Fraction(bid, 2) - 1


@pytest.mark.parametrize("seed", range(4))
def test_nobody_moves_what_is_learned_from_scouts(seed):
    rng = np.random.default_rng(seed)
    costs = GeometricWalk(sigma=0.2).draw(rng, 4, 8, 2)
    scouts = (0, 3, 5)
    policies = [
        learned_reserve(max_min_fair, 2.0, scouts=scouts),
        learned_budget(max_min_fair, 2.0, 1, scouts=scouts),
    ]
    for policy in policies:
        truthful = repeated_auction(policy, costs)
        assert not truthful.winners[list(scouts)].any()
        for client in (1, 2, 7):
            plans = costs[:, client] * rng.uniform(0.3, 3.0, (15, 4, 2))
            found = find_profitable_plan(policy, costs, client=client, plans=plans)
            assert found is None or found.gain < 1e-12  # payments are rounded down to floats


def test_drifts():
    rng = np.random.default_rng(3)
    start = Abstaining(Uniform(1.0, 2.0), 0.3)
    for walk in (GeometricWalk(start, 0.5), MeanReverting(start, 0.5, 0.5)):
        costs = walk.draw(rng, 5, 30, 3)
        assert costs.shape == (5, 30, 3)
        away = np.isinf(costs)
        assert (away == away[0]).all()
        assert away.any()
        assert (costs >= 0).all()
    still = GeometricWalk(TwoPoint(), 0.0).draw(rng, 3, 4, 2)
    assert (still == still[0]).all()
    mean = GeometricWalk(Uniform(1.0, 1.0), 0.2).draw(rng, 10, 20_000, 1)[-1].mean()
    assert mean == pytest.approx(1.0, abs=0.03)  # standard error 0.0045
    spread = MeanReverting(Uniform(1.0, 1.0), 0.5, 0.1).draw(rng, 40, 20_000, 1)[-1]
    assert np.log(spread).std() == pytest.approx(0.1 / math.sqrt(1 - 0.25), rel=0.05)


def test_nobody_bids_and_the_reserve_is_none():
    costs = np.full((2, 2, 1), np.inf)
    done = repeated_auction(learned_reserve(max_min_fair, 1.0), costs)
    assert done.min_take_up == 0
    assert jain_index([0, 0]) == done.client_fairness == 1.0


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: GeometricWalk(sigma=-1), "sigma"),
        (lambda: MeanReverting(pull=2.0), "pull"),
        (lambda: MeanReverting(sigma=math.nan), "sigma"),
        (lambda: GeometricWalk().draw(np.random.default_rng(0), 0, 1, 1), "num_rounds"),
        (lambda: repeated_auction(every_round(greedy_max_min, 1.0), [[1.0]]), "costs"),
        (
            lambda: repeated_auction(
                every_round(level_max_min, 1.0), [[[1.0]]], bids=[[[1.0]], [[1.0]]]
            ),
            "bids",
        ),
        (
            lambda: find_profitable_plan(
                every_round(level_max_min, 1.0), [[[1.0]]], client=1, plans=[]
            ),
            "client",
        ),
    ],
)
def test_bad_input(call, named):
    with pytest.raises(errors.InvalidInput) as caught:
        call()
    assert caught.value.argument == named
