"""Small closed-form rules: utility, multiplicative weights, cross attention, request allocation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairopt import (
    AlphaFair,
    InvalidInput,
    cross_attention_weights,
    multiplicative_weights,
    reference_request_allocation,
)


@given(st.floats(0.05, 20.0), st.floats(1e-3, 1e3))
def test_marginal_is_the_derivative_and_its_inverse_inverts(alpha, x):
    utility = AlphaFair(alpha)
    h = 1e-5 * x
    slope = (utility.value(x + h) - utility.value(x - h)) / (2.0 * h)
    scale = float(utility.marginal(x))
    assert float(slope) == pytest.approx(scale, rel=1e-6, abs=1e-10 * abs(utility.value(x)) / h)
    assert float(utility.inverse_marginal(scale)) == pytest.approx(x, rel=1e-9)


def test_utility_at_the_ends():
    np.testing.assert_array_equal(AlphaFair(0.0).value([0.0, 3.0]), [0.0, 3.0])
    assert AlphaFair(1.0).value(math.e) == pytest.approx(1.0)
    assert AlphaFair(1.0).value(0.0) == -math.inf
    assert AlphaFair(2.0).marginal(0.0) == math.inf
    assert AlphaFair(2).value(2) == -0.5


@pytest.mark.parametrize(
    "call",
    [
        lambda: AlphaFair(-1.0),
        lambda: AlphaFair(math.inf),
        lambda: AlphaFair(math.nan),
        lambda: AlphaFair([1.0, 2.0]),
        lambda: AlphaFair(2.0).value(-1.0),
        lambda: AlphaFair(2.0).marginal(math.nan),
        lambda: AlphaFair(2.0).inverse_marginal(0.0),
        lambda: AlphaFair(0.0).inverse_marginal(1.0),
    ],
)
def test_utility_refusals(call):
    with pytest.raises(InvalidInput):
        call()


def test_fedram_task_weights():
    alpha = [0.5, 0.3, 0.2]
    excess = np.maximum(np.array([1.2, 0.9, 0.4]) - [0.7, 1.0, 0.3], 0.0)
    plain = multiplicative_weights(alpha, excess, 0.1)
    np.testing.assert_allclose(plain, [0.511495, 0.291929, 0.196576], atol=5e-7)
    smooth = multiplicative_weights(alpha, excess, 0.1, smoothing=0.01)
    np.testing.assert_allclose(smooth, [0.511380, 0.292010, 0.196610], atol=5e-7)
    raw = multiplicative_weights(alpha, [0.5, -0.1, 0.1], 0.1, smoothing=0.01)
    np.testing.assert_allclose(raw, [0.512855, 0.289968, 0.197177], atol=5e-7)
    mixed = multiplicative_weights(alpha, excess, 0.1, smoothing=0.01, smooth_towards="uniform")
    np.testing.assert_allclose(mixed, [0.509713, 0.292343, 0.197943], atol=5e-7)


def test_fedram_client_weights_with_both_signs():
    w, d = np.full(3, 1 / 3), [-0.6, -0.1, 0.0]
    for rate, expected in (
        (0.1, [0.321222, 0.337692, 0.341086]),
        (-0.1, [0.345663, 0.328804, 0.325533]),
        (1.0, [0.223672, 0.368772, 0.407556]),
    ):
        np.testing.assert_allclose(multiplicative_weights(w, d, rate), expected, atol=5e-7)


def test_partial_participation():
    w, d, here = [0.4, 0.3, 0.2, 0.1], [-0.6, -0.1, math.nan, 0.2], [True, True, False, True]
    strict = multiplicative_weights(w, d, 0.1, present=here)
    np.testing.assert_allclose(strict, [0.388486, 0.306303, 0.2, 0.105211], atol=5e-7)
    loose = multiplicative_weights(w, d, 0.1, present=here, absent="renormalise")
    np.testing.assert_allclose(loose, [0.386072, 0.304399, 0.204972, 0.104557], atol=5e-7)
    nobody = multiplicative_weights(w, [math.nan] * 4, 0.1, present=[False] * 4, smoothing=0.5)
    np.testing.assert_array_equal(nobody, w)
    mass = multiplicative_weights(w, d, 0.1, present=here, smoothing=1.0, smooth_towards="uniform")
    np.testing.assert_allclose(mass, [0.8 / 3, 0.8 / 3, 0.2, 0.8 / 3])


def test_group_dro_and_doremi():
    np.testing.assert_allclose(
        multiplicative_weights([0.5, 0.5], [1.0, 2.0], 0.01), [0.4975, 0.5025], atol=5e-7
    )
    np.testing.assert_allclose(
        multiplicative_weights([0.5, 0.5], [0.3, -0.2], 1.0), [0.622459, 0.377541], atol=5e-7
    )
    np.testing.assert_allclose(
        multiplicative_weights([0.5, 0.5], [0.3, 0.0], 1.0), [0.574443, 0.425557], atol=5e-7
    )
    np.testing.assert_allclose(
        multiplicative_weights(
            [0.5, 0.5], [0.3, 0.0], 1.0, smoothing=1e-3, smooth_towards="uniform"
        ),
        [0.574368, 0.425632],
        atol=5e-7,
    )


@given(
    st.lists(st.floats(1e-6, 1.0), min_size=2, max_size=6),
    st.floats(-50, 50),
    st.floats(-100, 100),
    st.randoms(use_true_random=False),
)
def test_multiplicative_weights_keep_the_simplex_and_ignore_constants(raw, rate, shift, random):
    w = np.array(raw) / np.sum(raw)
    gains = np.array([random.uniform(-1e3, 1e3) for _ in raw])
    moved = multiplicative_weights(w, gains, rate)
    assert (moved >= 0.0).all()
    assert moved.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(
        multiplicative_weights(w, gains + shift, rate), moved, rtol=1e-7, atol=1e-12
    )
    np.testing.assert_allclose(multiplicative_weights(w, np.full(len(w), shift), rate), w)
    np.testing.assert_allclose(multiplicative_weights(w, gains, 0.0), w)


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("sum of weights", lambda: multiplicative_weights([1.0, 1.0], [0.0, 0.0], 1.0)),
        ("weights", lambda: multiplicative_weights([-0.5, 1.5], [0.0, 0.0], 1.0)),
        ("gains", lambda: multiplicative_weights([0.5, 0.5], [math.nan, 0.0], 1.0)),
        ("gains", lambda: multiplicative_weights([0.5, 0.5], [0.0], 1.0)),
        ("rate", lambda: multiplicative_weights([1.0], [0.0], math.inf)),
        ("smoothing", lambda: multiplicative_weights([1.0], [0.0], 1.0, smoothing=2.0)),
        ("smooth_towards", lambda: multiplicative_weights([1.0], [0.0], 1.0, smooth_towards="x")),
        ("absent", lambda: multiplicative_weights([1.0], [0.0], 1.0, absent="gone")),
        ("present", lambda: multiplicative_weights([1.0], [0.0], 1.0, present=[1])),
        ("temperature", lambda: cross_attention_weights(np.eye(2), 4, temperature=0.0)),
        ("dimension", lambda: cross_attention_weights(np.eye(2), 0)),
        ("gram", lambda: cross_attention_weights([[1.0, 0.5], [0.2, 1.0]], 4)),
        ("gram", lambda: cross_attention_weights([[math.nan]], 4)),
        ("requests", lambda: reference_request_allocation([1.0], [1.5], 2)),
        ("scores", lambda: reference_request_allocation([1.0], [1, 2], 2)),
    ],
)
def test_refusals(argument, call):
    with pytest.raises(InvalidInput) as caught:
        call()
    assert caught.value.argument == argument


def test_cross_attention():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 5, 16))
    A = x @ x.swapaxes(-1, -2)
    a = cross_attention_weights(A, 16)
    assert a.shape == (3, 5, 5)
    np.testing.assert_allclose(a.sum(axis=-1), 1.0)
    order = rng.permutation(5)
    permuted = cross_attention_weights(A[:, order][:, :, order], 16)
    np.testing.assert_allclose(permuted, a[:, order][:, :, order])
    np.testing.assert_allclose(cross_attention_weights(np.full((4, 4), 7.0), 3), 0.25)
    np.testing.assert_allclose(cross_attention_weights(1e-12 * A, 16), 0.2)
    assert np.isfinite(cross_attention_weights(1e300 * np.eye(2), 1)).all()
    np.testing.assert_allclose(
        cross_attention_weights(A, 16, temperature=2.0), cross_attention_weights(2.0 * A, 16)
    )


@pytest.mark.parametrize(
    ("scores", "requests", "quantum", "expected"),
    [
        ([1, 2, 3], [32, 32, 32], 8, [16, 32, 48]),
        ([1, 2, 3], [34, 33, 33], 8, [16, 32, 56]),
        ([0.5, 1, 1.5, 5], [96] * 4, 32, [32, 64, 64, 224]),
        ([0.01, 0.01, 0.01, 10], [96] * 4, 32, [32, 32, 32, 288]),
        ([9, 1, 1, 2], [0, 128, 128, 128], 32, [0, 96, 96, 192]),
    ],
)
def test_the_released_greedy(scores, requests, quantum, expected):
    result = reference_request_allocation(scores, requests, quantum)
    np.testing.assert_array_equal(result, expected)
