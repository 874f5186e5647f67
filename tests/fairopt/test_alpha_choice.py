"""How much fairness the losses suggest: the share it gives, its ends, units, refusals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairopt import InvalidInput, client_task_probabilities, suggest_alpha

losses = st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=8)
shares = st.floats(0.05, 0.95)
ROUNDING = 1e-9
"""Of a share: a root to a few digits less than all, times logarithms of ratios up to 1e6."""


def of_the_hardest(values, alpha, priority=None):
    """The share of the hardest task, by the rule itself."""
    p = client_task_probabilities(values, alpha, priority=priority)
    return max(p[s] for s in range(len(values)) if values[s] == max(values))


@given(losses, shares, st.floats(1.0, 20.0))
def test_the_hardest_task_gets_the_share_or_alpha_is_at_an_end(values, share, largest):
    alpha = suggest_alpha(values, share=share, largest=largest)
    seen = of_the_hardest(values, alpha)
    assert 1.0 <= alpha <= largest
    if alpha > 1.0:
        assert seen <= share + ROUNDING
    if alpha < largest:
        assert seen >= share - ROUNDING


@given(losses, shares, st.sampled_from([2.0**-300, 2.0**300]))
def test_units_and_order_do_not_matter(values, share, unit):
    alpha = suggest_alpha(values, share=share)
    assert suggest_alpha(np.array(values) * unit, share=share) == pytest.approx(alpha, rel=1e-9)
    assert suggest_alpha(values[::-1], share=share) == pytest.approx(alpha, rel=1e-9)


def test_two_tasks_in_closed_form():
    alpha = suggest_alpha([4.0, 1.0], share=0.8, largest=10.0)
    assert alpha == pytest.approx(1.0 + math.log(4.0) / math.log(4.0))
    alpha = suggest_alpha([4.0, 1.0], share=0.8, largest=10.0, priority=[1.0, 2.0])
    assert alpha == pytest.approx(1.0 + math.log(8.0) / math.log(4.0))


def test_the_ends():
    assert suggest_alpha([1.0, 1.0, 1.0]) == 3.0
    assert suggest_alpha([1.0, 0.999]) == 3.0
    assert suggest_alpha([0.0, 0.0]) == 3.0
    assert suggest_alpha([1.0]) == 1.0
    assert suggest_alpha([1.0, 0.5], share=0.4) == 1.0
    assert suggest_alpha([1.0, 0.0], share=0.9) == 1.0
    assert suggest_alpha([1e-300, 1e300], share=0.75) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("losses", lambda: suggest_alpha([[1.0, 2.0]])),
        ("losses", lambda: suggest_alpha([-1.0, 2.0])),
        ("share", lambda: suggest_alpha([1.0, 2.0], share=0.0)),
        ("share", lambda: suggest_alpha([1.0, 2.0], share=1.0)),
        ("largest", lambda: suggest_alpha([1.0, 2.0], largest=0.5)),
        ("largest", lambda: suggest_alpha([1.0, 2.0], largest=math.inf)),
        ("priority", lambda: suggest_alpha([1.0, 2.0], priority=[1.0, 0.0])),
        ("priority", lambda: suggest_alpha([1.0, 2.0], priority=[[1.0, 1.0]])),
    ],
)
def test_bad_input_is_refused_by_name(argument, call):
    with pytest.raises(InvalidInput) as caught:
        call()
    assert caught.value.argument == argument


def test_a_limit_beyond_all_reason_changes_nothing():
    with np.errstate(all="raise"):
        assert suggest_alpha([1.0, 1e-5], share=0.9, largest=1e300) == pytest.approx(
            1.19085, rel=1e-5
        )
