"""Learning progress: its definition, what it does not see, and where it fades."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairopt import InvalidInput, client_task_probabilities, learning_progress
from fairopt.learning_progress import LEAST

curves = st.lists(st.floats(1e-3, 1.0), min_size=4, max_size=40)


def test_eight_errors_by_hand():
    errors = [0.9, 0.9, 0.8, 0.6, 0.5, 0.5, 0.4, 0.4]
    assert learning_progress(errors) == pytest.approx((0.8 + 0.6) / 2 - 0.4)
    rising = errors[::-1]
    variance = (2 * 0.1**2 + 0.2**2) / 10
    assert learning_progress(rising) == pytest.approx(math.sqrt(variance * (1 / 2 + 1 / 2)))
    assert learning_progress([0.5] * 4) == LEAST * 0.5
    assert learning_progress([0.0] * 4) == 0.0


@given(curves, st.sampled_from([2.0**-600, 2.0**200]))
def test_the_unit_of_the_errors_does_not_matter(errors, scale):
    scaled = learning_progress(np.array(errors) * scale)
    assert scaled == pytest.approx(scale * learning_progress(errors), rel=1e-12)


@given(curves, st.floats(0.0, 5.0))
def test_a_floor_is_not_seen(errors, floor):
    least = LEAST * (errors[-1] + floor)
    seen = learning_progress(np.array(errors) + floor)
    assert seen == pytest.approx(max(learning_progress(errors), least), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("b", [0.3, 0.5, 1.0])
def test_odds_are_those_of_the_excess_of_power_laws(b):
    """Floors of 0.05 and 0.3, trained 400 and 1,600 times."""
    trained, excess = (400, 1600), (0.3, 0.6)
    seen = [
        learning_progress(floor + c * np.arange(1.0, n + 1.0) ** -b)
        for n, c, floor in zip(trained, excess, (0.05, 0.3), strict=True)
    ]
    left = [c * n**-b for n, c in zip(trained, excess, strict=True)]
    assert seen[0] / seen[1] == pytest.approx(left[0] / left[1], rel=0.01)


def test_a_hopeless_task_loses_its_clients():
    """Shares of a task whose error stays about 0.9, beside one that still learns."""
    rng, shares = np.random.default_rng(0), []
    for n in (8, 32, 128):
        learnt = 0.15 + 0.6 * np.arange(1.0, n + 1.0) ** -0.5
        hopeless = 0.9 + 0.01 * rng.standard_normal(n)
        signals = [learning_progress(learnt), learning_progress(hopeless)]
        shares.append(client_task_probabilities(signals, 3.0)[1])
    by_error = client_task_probabilities([learnt[-1], hopeless[-1]], 3.0)[1]
    assert max(shares) < 0.05
    assert by_error > 0.9


@pytest.mark.parametrize(
    "errors",
    [[], [0.5] * 3, 0.5, [[0.5] * 4], [-0.1] * 4, [math.nan] * 4, [math.inf] * 4, ["a"] * 4],
)
def test_bad_input_is_refused_by_name(errors):
    with pytest.raises(InvalidInput) as caught:
        learning_progress(errors)
    assert caught.value.argument == "errors"


@pytest.mark.parametrize("power", [-1000, -600, 500, 1000])
def test_no_unit_of_the_errors_matters(power):
    errors = np.array([0.9, 0.9, 0.8, 0.6, 0.5, 0.5, 0.4, 0.4])
    assert learning_progress(np.ldexp(errors, power)) == math.ldexp(
        learning_progress(errors), power
    )


def test_from_a_thousandth_of_the_error_on_progress_is_this_thousandth():
    errors = 0.9 + 0.5 / np.arange(1.0, 10_001.0)
    assert learning_progress(errors) == LEAST * errors[-1]
    assert learning_progress([0.0] * 5) == 0.0
