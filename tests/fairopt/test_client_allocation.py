"""FedFairMMFL client allocation: the odds property, limits, eligibility, refusals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairopt import InvalidInput, client_task_probabilities

losses_any_size = st.lists(st.floats(1e-300, 1e300), min_size=1, max_size=8)
ordinary_losses = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=8)
powers = st.floats(1.0, 6.0)


@given(ordinary_losses, powers)
def test_odds_are_loss_ratios_to_alpha_minus_one(losses, alpha):
    p = client_task_probabilities(losses, alpha)
    for s in range(len(losses)):
        for t in range(len(losses)):
            odds = (losses[s] / losses[t]) ** (alpha - 1.0)
            assert p[s] == pytest.approx(odds * p[t], rel=1e-12)


@given(losses_any_size, st.floats(1.0, 200.0))
def test_a_distribution_for_losses_of_any_size(losses, alpha):
    p = client_task_probabilities(losses, alpha)
    assert np.isfinite(p).all()
    assert (p >= 0.0).all()
    assert p.sum() == pytest.approx(1.0)
    assert p[int(np.argmax(losses))] == p.max()


@given(ordinary_losses, powers, st.sampled_from([2.0**-900, 2.0**900]))
def test_scale_of_the_losses_does_not_matter(losses, alpha, scale):
    np.testing.assert_allclose(
        client_task_probabilities(np.array(losses) * scale, alpha),
        client_task_probabilities(losses, alpha),
        rtol=1e-12,
    )


def test_odds_beyond_the_range_of_a_quotient():
    p = client_task_probabilities([1e-300, 1e300], 1.001)  # the quotient itself underflows
    assert math.log10(p[1] / p[0]) == pytest.approx(0.6, rel=1e-10)


def test_alpha_one_is_uniform_even_with_zero_losses():
    np.testing.assert_array_equal(client_task_probabilities([0.0, 5.0, 1e300], 1.0), [1 / 3] * 3)


def test_zero_losses():
    np.testing.assert_array_equal(client_task_probabilities([0.0, 2.0], 1.5), [0.0, 1.0])
    np.testing.assert_array_equal(client_task_probabilities([0.0, 0.0], 3.0), [0.5, 0.5])
    np.testing.assert_array_equal(client_task_probabilities([0.0, 0.0], math.inf), [0.5, 0.5])


def test_infinite_alpha_splits_ties():
    np.testing.assert_array_equal(
        client_task_probabilities([3.0, 1.0, 3.0], math.inf), [0.5, 0, 0.5]
    )


@given(st.lists(st.floats(0.0, 100.0), min_size=3, max_size=3), powers, st.integers(0, 255))
def test_eligible_rows_agree_with_the_restricted_problem(losses, alpha, bits):
    eligible = np.array([[bool(bits >> (3 * i + j) & 1) for j in range(3)] for i in range(3)])
    rows = client_task_probabilities(losses, alpha, eligible=eligible)
    assert rows.shape == (3, 3)
    for row, allowed in zip(rows, eligible, strict=True):
        assert (row[~allowed] == 0.0).all()
        if allowed.any():
            alone = client_task_probabilities(np.array(losses)[allowed], alpha)
            np.testing.assert_allclose(row[allowed], alone, rtol=1e-12)


def test_batches_and_priorities():
    losses = np.array([[1.0, 2.0], [3.0, 0.0]])
    both = client_task_probabilities(losses, 2.0, priority=[2.0, 1.0])
    np.testing.assert_allclose(both, [[0.5, 0.5], [1.0, 0.0]])
    eligible = np.array([[True, True], [False, True], [False, False]])
    rows = client_task_probabilities(losses, 2.0, eligible=eligible)
    assert rows.shape == (2, 3, 2)
    np.testing.assert_allclose(rows[0], [[1 / 3, 2 / 3], [0, 1], [0, 0]])
    np.testing.assert_allclose(rows[1], [[1, 0], [0, 1], [0, 0]])
    assert client_task_probabilities(np.zeros((0, 3)), 2.0).shape == (0, 3)


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("losses", lambda: client_task_probabilities([-1.0, 2.0], 2.0)),
        ("losses", lambda: client_task_probabilities([math.nan], 2.0)),
        ("losses", lambda: client_task_probabilities([math.inf], 2.0)),
        ("losses", lambda: client_task_probabilities([], 2.0)),
        ("losses", lambda: client_task_probabilities(1.0, 2.0)),
        ("losses", lambda: client_task_probabilities(["a"], 2.0)),
        ("losses", lambda: client_task_probabilities([1j], 2.0)),
        ("losses", lambda: client_task_probabilities([[1.0], [1.0, 2.0]], 2.0)),
        ("alpha", lambda: client_task_probabilities([1.0], 0.5)),
        ("alpha", lambda: client_task_probabilities([1.0], math.nan)),
        ("alpha", lambda: client_task_probabilities([1.0], "2")),
        ("alpha", lambda: client_task_probabilities([1.0], [2.0, 3.0])),
        ("eligible", lambda: client_task_probabilities([1.0, 2.0], 2.0, eligible=[[True]])),
        ("eligible", lambda: client_task_probabilities([1.0, 2.0], 2.0, eligible=[[1, 0]])),
        ("priority", lambda: client_task_probabilities([1.0, 2.0], 2.0, priority=[1.0, 0.0])),
        ("priority", lambda: client_task_probabilities([1.0, 2.0], 2.0, priority=[1.0])),
    ],
)
def test_bad_input_is_refused_by_name(argument, call):
    with pytest.raises(InvalidInput) as caught:
        call()
    assert caught.value.argument == argument
