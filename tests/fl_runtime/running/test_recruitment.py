"""Who is recruited: never for a task that a client lacks, by costs and an order of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairopt.errors import InvalidInput
from fl_runtime.configuration.schema import RecruitmentSection
from fl_runtime.configuration.toml_files import digest
from fl_runtime.random_streams import stream
from fl_runtime.running.recruitment import RULE_NOTES, draw_costs, recruit
from tests.fl_runtime.small import config

OPTIONS: dict[str, dict[str, Any]] = {
    "posted-price": {"prices": [0.4, 0.5]},
    "participation-fee": {"fee": 0.1, "direction": [1.0, 2.0]},
}


def section(rule: str, **more: Any) -> RecruitmentSection:
    return RecruitmentSection(rule=rule, budget=3.0, **OPTIONS.get(rule, {}), **more)


@pytest.mark.parametrize("rule", sorted(RULE_NOTES))
@given(seed=st.integers(0, 99), number=st.integers(0, 3), lacking=st.integers(0, 2**16 - 1))
@settings(max_examples=25)
def test_recruits_hold_the_task_and_are_paid_their_cost(
    rule: str, seed: int, number: int, lacking: int
) -> None:
    holds = np.array([lacking >> k & 1 == 0 for k in range(16)]).reshape(8, 2)
    found = recruit(section(rule), holds, seed, number)
    costs = draw_costs(section(rule), 8, 2, stream(seed, "costs"), number)
    assert not (found.eligible & ~holds).any()
    assert found.take_up.tolist() == found.eligible.sum(axis=0).tolist()
    assert found.cost == pytest.approx(costs[found.eligible].sum(), abs=1e-12)
    assert found.cost <= found.spend + 1e-9
    assert found.spend <= 3.0 + 1e-9


@pytest.mark.parametrize("rule", ["max-min-fair", "budget-fair", "posted-price"])
def test_payments_are_multiples_of_a_unit(rule: str) -> None:
    """Both ways of saying so."""
    holds = np.ones((20, 2), dtype=bool)
    found = recruit(section(rule, unit=0.125), holds, 0)
    assert 0.0 < found.spend <= 3.0
    assert found.spend % 0.125 == 0.0
    table = {"name": rule, "unit": 0.125, **OPTIONS.get(rule, {})}
    assert recruit(RecruitmentSection(rule=table, budget=3.0), holds, 0).spend == found.spend
    with pytest.raises(InvalidInput, match=r"unit = 0\.0"):
        recruit(section(rule, unit=0.0), holds, 0)
    with pytest.raises(InvalidInput, match=r"recruitment\.unit"):
        recruit(section("greedy-max-min", unit=0.5), holds, 0)


def test_a_unit_is_part_of_the_fingerprint_where_there_is_one() -> None:
    paid = {"rule": "budget-fair", "budget": 3.0}
    with_unit, other, without = (
        digest(config(recruitment={**paid, **more})) for more in ({"unit": 0.1}, {"unit": 0.2}, {})
    )
    assert len({with_unit, other, without}) == 3


def test_costs_are_not_what_is_paid() -> None:
    """The negative control of the equality above: truthful rules pay more than that."""
    found = recruit(section("budget-fair"), np.ones((20, 2), dtype=bool), 0)
    assert found.cost < 0.999 * found.spend


@pytest.mark.parametrize("rule", ["random-recruitment", "sampled-posted-price"])
def test_every_recruitment_draws_an_order_of_its_own(rule: str) -> None:
    """Of the same costs: recruits differ from one recruitment to another, and repeat with it."""
    holds = np.ones((30, 2), dtype=bool)
    found = [recruit(section(rule), holds, 0, number).eligible for number in range(4)]
    assert len({one.tobytes() for one in found}) == 4
    again = recruit(section(rule), holds, 0, 2).eligible
    assert np.array_equal(again, found[2])


@given(budgets=st.lists(st.floats(0.5, 5.0), min_size=1, max_size=4), number=st.integers(0, 6))
@settings(max_examples=25)
def test_the_last_budget_of_a_list_goes_on(budgets: list[float], number: int) -> None:
    listed = RecruitmentSection(rule="budget-fair", budget=tuple(budgets))
    found = recruit(listed, np.ones((6, 2), dtype=bool), 0, number)
    assert found.budget == budgets[min(number, len(budgets) - 1)]
