"""Min-norm weights and the stationarity certificate."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from fairopt import (
    InvalidInput,
    Status,
    Verdict,
    min_norm,
    min_norm_residual,
    pareto_certificate,
    pareto_certificate_from_gradients,
)
from tests import laws
from tests.fairopt import problems


@pytest.mark.parametrize("family", problems.SOLVABLE)
def test_every_family_is_exact(family):
    rng = np.random.default_rng(0)
    for K in (1, 2, 3, 8, 40, 120):
        A = laws.gram(problems.SOLVABLE[family](K, rng))
        solution = min_norm(A)
        assert solution.status == Status.OPTIMAL
        assert min_norm_residual(A, solution.weights) <= 1e-12
        assert solution.residual == pytest.approx(min_norm_residual(A, solution.weights), abs=1e-13)
        if family != "mixed_scale":  # there the rounding of a large task's row exceeds v'Av
            v = solution.weights
            assert v @ A @ v - (A @ v).min() <= 1e-9 * (v @ A @ v)


def test_laws_it_claims():
    rng = np.random.default_rng(1)
    for K in (1, 2, 5, 12, 40):
        G = problems.conflicting(K, rng)
        A = laws.gram(G)
        laws.permutation_equivariance(min_norm, A, rng.permutation(K))
        for factor in (1e-6, 1e6, 1e-100, 1e100):
            laws.scale_equivariance(min_norm, A, factor, 0.0)
        laws.common_descent(min_norm, G, slack=1e-13)
        laws.input_is_untouched(min_norm, A)
    batch = np.array([laws.gram(problems.well(4, rng)) for _ in range(6)]).reshape(2, 3, 4, 4)
    laws.batch_agrees_with_loop(min_norm, batch)


def test_agrees_with_nonnegative_least_squares():
    rng = np.random.default_rng(2)
    for K in (2, 5, 9):
        G = problems.conflicting(K, rng)
        u, _ = nnls(np.vstack([G.T, 1e3 * np.ones(K)]), np.r_[np.zeros(G.shape[1]), 1e3])
        v = min_norm(laws.gram(G)).weights
        assert np.linalg.norm(v @ G) == pytest.approx(np.linalg.norm(u @ G / u.sum()), rel=1e-9)


@given(st.floats(0.1, 10.0), st.floats(0.1, 10.0), st.floats(-0.99, 0.99))
def test_two_tasks_in_closed_form(a, b, cosine):
    A = np.array([[a * a, a * b * cosine], [a * b * cosine, b * b]])
    first = (A[1, 1] - A[0, 1]) / (A[0, 0] + A[1, 1] - 2.0 * A[0, 1])
    expected = min(max(first, 0.0), 1.0)
    assert min_norm(A).weights[0] == pytest.approx(expected, abs=1e-12)


def test_a_vertex_is_reached_exactly():
    np.testing.assert_array_equal(min_norm([[1.0, 2.0], [2.0, 9.0]]).weights, [1.0, 0.0])
    np.testing.assert_array_equal(min_norm([[0.0, 0.0], [0.0, 9.0]]).weights, [1.0, 0.0])


def test_stationary_points_are_optimal_and_their_own_certificate():
    rng = np.random.default_rng(3)
    for K in (2, 3, 8, 30):
        G = problems.stationary(K, rng)
        solution = min_norm(laws.gram(G)).require()
        laws.certificate_is_valid(G, solution.weights)
        np.testing.assert_array_equal(solution.certificate, solution.weights)
        assert pareto_certificate(laws.gram(G)).verdict == Verdict.STATIONARY


def test_step_limit_and_warm_start():
    A = laws.gram(problems.conflicting(9, np.random.default_rng(4)))
    assert min_norm(A, max_iterations=0).status == Status.STEP_LIMIT
    assert min_norm(A, max_iterations=2).status == Status.STEP_LIMIT
    cold = min_norm(A)
    warm = min_norm(A, start=cold.weights)
    assert warm.iterations < cold.iterations
    np.testing.assert_allclose(warm.weights, cold.weights, rtol=1e-9)


def test_the_residual_rejects_wrong_points():
    A = laws.gram(problems.well(4, np.random.default_rng(5)))
    assert min_norm_residual(A, np.eye(4)[0]) > 0.1
    assert min_norm_residual(A, 1.01 * min_norm(A).weights) > 1e-3
    assert min_norm_residual(A, np.array([1.5, -0.5, 0.0, 0.0])) >= 0.5
    assert min_norm_residual(A, np.full(4, np.nan)) == np.inf


def test_certificate_verdicts_over_margins_and_scales():
    rng = np.random.default_rng(6)
    for K in (2, 3, 8, 20):
        scales = 10.0 ** rng.uniform(-6, 6, size=(K, 1))
        for margin, verdict in ((1e-3, 2), (1e-6, 2), (1e-12, 0)):
            G = problems.near_stationary(K, rng, margin) * scales
            found = pareto_certificate(laws.gram(G))
            assert found.verdict == verdict
            if verdict == 0:
                laws.certificate_is_valid(G, found.weights)
            else:
                assert found.norm > found.bound
        loose = pareto_certificate(laws.gram(problems.near_stationary(K, rng)), gram_error=1e-4)
        assert loose.verdict == Verdict.UNDECIDED
        assert loose.norm <= loose.bound


def test_certificate_of_a_batch():
    rng = np.random.default_rng(7)
    batch = np.array([laws.gram(f(3, rng)) for f in (problems.well, problems.stationary)])
    found = pareto_certificate(batch)
    np.testing.assert_array_equal(found.verdict, [2, 0])
    assert found.weights.shape == (2, 3)


def moved_to_stationary(G, weights):
    """Gradients that the weights combine to zero, each moved by the min-norm point of its units."""
    size = np.linalg.norm(G, axis=1, keepdims=True)
    v = weights * size[:, 0]
    return G - size * (v / v.sum() @ (G / size))


def test_gradient_error_reports_what_is_stationary_within_it():
    """Stationary gradients within it, or a direction that no move by as much takes away."""
    rng = np.random.default_rng(11)
    for K in (2, 3, 8):
        for margin in (1e-1, 1e-3, 1e-5):
            scales = 10.0 ** rng.uniform(-6, 6, size=(K, 1))
            G = problems.near_stationary(K, rng, margin) * scales
            A = laws.gram(G)
            plain = pareto_certificate(A)
            for factor, within in ((1.01, Verdict.STATIONARY), (0.99, Verdict.NOT_STATIONARY)):
                delta = factor * plain.norm
                found = pareto_certificate(A, gradient_error=delta)
                assert found.within_gradient_error is within
                assert found.gradient_error == delta
                assert (found.verdict, found.norm, found.bound) == (
                    plain.verdict,
                    plain.norm,
                    plain.bound,
                )
                np.testing.assert_array_equal(found.weights, plain.weights)
                unit = G / np.linalg.norm(G, axis=1, keepdims=True)
                if within is Verdict.STATIONARY:
                    near = moved_to_stationary(G, found.weights)
                    moved = np.linalg.norm(near - G, axis=1) / np.linalg.norm(G, axis=1)
                    assert (moved <= delta).all()
                    laws.certificate_is_valid(near, found.weights)
                else:
                    v = found.weights * np.linalg.norm(G, axis=1)
                    d = v / v.sum() @ unit
                    assert (unit @ d > delta * np.linalg.norm(d)).all()


def test_gradient_error_near_the_precision_of_the_matrix():
    A = np.array([[1.0, -1.0], [-1.0, 1.0]])  # margins up to 6e-8 look like this
    words = {1e-9: Verdict.UNDECIDED, 1e-6: Verdict.STATIONARY, 0.0: Verdict.UNDECIDED}
    for delta, within in words.items():
        assert pareto_certificate(A, gradient_error=delta).within_gradient_error is within
    zero = pareto_certificate(np.diag([1.0, 0.0]), gradient_error=0.0)
    assert zero.within_gradient_error is Verdict.STATIONARY
    assert pareto_certificate(A).within_gradient_error is None


def test_gradient_error_of_a_batch_and_in_words():
    batch = np.array([[[1.0, c], [c, 1.0]] for c in (-1.0, 0.0, -0.99)])
    found = pareto_certificate(batch, gradient_error=[1e-3, 1e-3, 0.1])
    np.testing.assert_array_equal(found.within_gradient_error, [0, 2, 0])
    assert found.sentence == (
        "stationary: a convex combination of the gradients vanishes to rounding; "
        "margin 0 <= gradient_error 0.001: stationary for gradients within it"
    )
    one = pareto_certificate(batch[1], gradient_error=1e-3)
    assert one.sentence == (
        "not stationary: some direction makes progress on every task; "
        "margin 0.71 > gradient_error 0.001: not stationary for gradients within it"
    )
    assert pareto_certificate(batch[1]).sentence == Verdict.NOT_STATIONARY.sentence
    assert pareto_certificate(np.zeros((0, 3, 3)), gradient_error=0.1).sentence == "an empty batch"
    doubtful = pareto_certificate(batch[0], gradient_error=1e-9).sentence
    assert doubtful.endswith("margin 0 and gradient_error 1e-09 differ by less than the precision")


def test_a_smaller_certified_margin_is_never_missed():
    """Over exact gradients with the same digits: what is said holds for each of them."""
    rng = np.random.default_rng(12)
    for _ in range(200):
        t = 10.0 ** rng.uniform(-9, -6)  # margin: half the gap of two nearly opposite units
        G = np.array([[1.0, 0.0], [-np.sqrt(1.0 - t * t), t]])
        true = np.sqrt(0.5 - 0.5 * np.sqrt(1.0 - t * t)) if t > 1e-4 else 0.5 * t
        delta = true * 10.0 ** rng.uniform(-1, 1)
        found = pareto_certificate(G @ G.T, gradient_error=delta).within_gradient_error
        if found is Verdict.STATIONARY:
            assert true <= delta
        if found is Verdict.NOT_STATIONARY:
            assert true > delta


@settings(max_examples=80)
@given(st.integers(0, 2**32), st.integers(1, 6), st.floats(-150, 150), st.floats(0, 150))
def test_fuzz_gradients_of_any_size(seed, K, centre, spread):
    rng = np.random.default_rng(seed)
    decades = np.clip(centre + spread * rng.uniform(-1, 1, size=(K, 1)), -149.0, 149.0)
    G = rng.normal(size=(K, rng.integers(1, 7))) * 10.0**decades
    A = laws.gram(G)
    solution = min_norm(A).require()
    assert min_norm_residual(A, solution.weights) <= 1e-12


@pytest.mark.parametrize("margin", [1e-2, 1e-6, 1e-8, 1e-10, 1e-12])
def test_gradients_decide_what_their_gram_matrix_cannot(margin):
    rng = np.random.default_rng(8)
    for K in (2, 3, 8, 20):
        scales = 10.0 ** rng.uniform(-6, 6, size=(K, 1))
        G = problems.near_stationary(K, rng, margin) * scales
        found = pareto_certificate_from_gradients(G)
        assert found.verdict == Verdict.NOT_STATIONARY
        assert 0.05 * margin < found.norm < 20.0 * margin
        laws.certificate_is_valid(G, found.weights, bound=100.0 * margin)


def test_stationary_gradients_and_low_precision():
    rng = np.random.default_rng(9)
    for K in (2, 3, 8, 20):
        G = problems.stationary(K, rng)
        found = pareto_certificate_from_gradients(G)
        assert found.verdict == Verdict.STATIONARY
        laws.certificate_is_valid(G, found.weights, bound=1e-13)
    g = rng.normal(size=100).astype(np.float32)
    pair = np.stack([g, -g / np.float32(3.0)])
    found = pareto_certificate_from_gradients(pair)
    assert found.verdict == Verdict.UNDECIDED
    assert 1e-9 < found.norm < 1e-7
    assert pareto_certificate_from_gradients(pair, gradient_error=0.0).verdict == 2
    np.testing.assert_array_equal(pareto_certificate_from_gradients([[1.0], [0.0]]).weights, [0, 1])
    tiny = pareto_certificate_from_gradients(np.eye(2) * 1e-300)  # its Gram matrix underflows
    assert tiny.verdict == Verdict.NOT_STATIONARY


@pytest.mark.parametrize("bad", [1.0, [1.0], [[np.nan]], [[]], [["a"]], np.zeros((2, 2, 2))])
def test_gradients_are_checked(bad):
    with pytest.raises(InvalidInput):
        pareto_certificate_from_gradients(bad)
