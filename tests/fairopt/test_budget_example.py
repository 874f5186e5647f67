"""The bridge: FedAST's request shares are alpha-fair allocations on one link."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import budget_over_tasks
from fairopt import request_allocation

variances = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=8).map(np.array)


@settings(max_examples=40)
@given(variances, st.sampled_from(sorted(budget_over_tasks.RULES)))
def test_one_link_gives_the_shares_of_fedast(variance, name):
    shares = budget_over_tasks.RULES[name](variance)
    power = {"equal_error": 1.0, "sum_of_variances": 1 / 2, "sum_of_deviations": 1 / 3}[name]
    expected = variance**power / (variance**power).sum() * budget_over_tasks.TOTAL
    np.testing.assert_allclose(shares, expected, rtol=1e-9)
    if (shares >= 1.0).all():
        counts = request_allocation(
            variance, budget_over_tasks.TOTAL, objective=name, rounding="largest-remainder"
        )
        assert (np.abs(counts - shares) < 1.0 + 1e-6).all()


def test_proportional_fairness_shares_by_priority():
    shares = budget_over_tasks.proportional(np.array([1.0, 3.0]))
    np.testing.assert_allclose(shares, [240.0, 720.0])


def test_the_example_runs(capsys):
    budget_over_tasks.main()
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert budget_over_tasks.two_budgets().prices == pytest.approx([0.0, 0.0], abs=1.0)
