"""FairGrad: residuals over families, laws, limits, closed forms, statuses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairopt import Status, fairgrad, fairgrad_residual, min_norm, pareto_certificate
from tests import laws
from tests.fairopt import problems


def solver(alpha, **options):
    return lambda A: fairgrad(A, alpha, **options)


@pytest.mark.parametrize("K", [1, 2, 3, 8, 40, 256])
@pytest.mark.parametrize("family", problems.SOLVABLE)
def test_every_family_is_solved_or_at_its_rounding_floor(family, K):
    rng = np.random.default_rng(K)
    for _ in range(1 if K > 8 else 5):
        A = laws.gram(problems.SOLVABLE[family](K, rng))
        for alpha in (0.0, *problems.ALPHAS, np.inf) if K < 256 else (0.5, 2.0, 100.0):
            solution = fairgrad(A, alpha).require()
            residual = fairgrad_residual(A, alpha, solution.weights)
            if solution.status == Status.OPTIMAL:
                assert residual <= 1e-10
            else:
                assert residual <= 2.0 * laws.explained(A, solution)
                assert solution.floor > 1e-13


@pytest.mark.parametrize("family", ["well", "ill", "duplicated", "tiny"])
def test_ordinary_families_are_optimal(family):
    rng = np.random.default_rng(7)
    for K in (1, 2, 3, 8, 40):
        A = laws.gram(problems.SOLVABLE[family](K, rng))
        for alpha in (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 50.0):
            assert fairgrad(A, alpha).status == Status.OPTIMAL


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 20.0])
def test_laws_it_claims(alpha):
    rng = np.random.default_rng(3)
    for K in (1, 2, 5, 12):
        G = problems.well(K, rng)
        A = laws.gram(G)
        laws.permutation_equivariance(solver(alpha), A, rng.permutation(K))
        for factor in (1e-6, 1e6, 1e-100, 1e100):
            exponent = -2.0 * alpha / (1.0 + alpha)
            laws.scale_equivariance(solver(alpha), A, factor, exponent)
        laws.common_descent(solver(alpha), G)
        laws.common_descent(solver(alpha), problems.mixed_scale(K, rng), slack=1e-14)
        laws.duplicated_tasks_share(solver(alpha), G)
        laws.input_is_untouched(solver(alpha), A)
    laws.batch_agrees_with_loop(solver(alpha), _batch(rng))


def _batch(rng):
    good = [laws.gram(problems.well(4, rng)) for _ in range(4)]
    bad = [laws.gram(problems.stationary(4, rng)), np.zeros((4, 4))]
    return np.array(good + bad).reshape(2, 3, 4, 4)


def test_nash_is_alpha_one_with_length_root_k():
    rng = np.random.default_rng(5)
    for K in (1, 3, 9):
        A = laws.gram(problems.mixed_scale(K, rng))
        w = fairgrad(A, 1.0).weights
        np.testing.assert_allclose((A @ w) * w, 1.0, rtol=1e-8)
        G = problems.well(K, rng)
        w = fairgrad(laws.gram(G), 1.0).weights
        assert np.linalg.norm(w @ G) == pytest.approx(np.sqrt(K), rel=1e-10)


def test_alpha_one_ignores_the_scale_of_each_loss():
    rng = np.random.default_rng(6)
    G, c = problems.well(5, rng), 10.0 ** rng.uniform(-3, 3, size=5)
    plain, scaled = fairgrad(laws.gram(G), 1.0), fairgrad(laws.gram(G * c[:, None]), 1.0)
    np.testing.assert_allclose(scaled.weights * c, plain.weights, rtol=1e-9)


@given(st.floats(1e-200, 1e200), st.floats(0.01, 200.0), st.floats(1e-3, 1e3))
def test_one_task(a, alpha, p):
    w = fairgrad([[a]], alpha, priority=[p]).require().weights[0]
    expected = np.exp((np.log(p) - alpha * np.log(a)) / (1.0 + alpha))
    assert w == pytest.approx(expected, rel=1e-11)


@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=6), st.floats(0.05, 100.0))
def test_orthogonal_tasks(a, alpha):
    w = fairgrad(np.diag(a), alpha).require().weights
    np.testing.assert_allclose(w, np.array(a) ** (-alpha / (1.0 + alpha)), rtol=1e-11)


def test_identical_tasks():
    w = fairgrad(np.full((7, 7), 3.0), 2.0).require().weights
    np.testing.assert_allclose(w, 21.0 ** (-2.0 / 3.0), rtol=1e-10)


def test_priorities_are_marginal_utilities():
    rng = np.random.default_rng(8)
    A, p = np.eye(6) + 0.3, 10.0 ** rng.uniform(-3, 3, size=6)
    for alpha in (0.3, 1.0, 4.0):
        w = fairgrad(A, alpha, priority=p).require().weights
        np.testing.assert_allclose(w, p * (A @ w) ** -alpha, rtol=1e-8)
    np.testing.assert_array_equal(
        fairgrad(A, np.inf, priority=p).weights, fairgrad(A, np.inf).weights
    )


def test_large_alpha_is_the_min_norm_direction():
    rng = np.random.default_rng(9)
    for K in (2, 5, 9):
        G = problems.conflicting(K, rng)
        A = laws.gram(G)
        v = min_norm(A).weights
        d = v @ G
        exact = fairgrad(A, np.inf).require().weights
        np.testing.assert_allclose(exact, v / (v @ A @ v), rtol=1e-8, atol=1e-9)
        far = fairgrad(A, 200.0).require().weights @ G
        assert laws.unit(far) @ laws.unit(d) > 0.999
        closer = fairgrad(A, 2000.0).weights @ G
        assert laws.unit(closer) @ laws.unit(d) > 1.0 - 1e-4


def test_small_alpha_is_the_projection_on_the_dual_cone():
    rng = np.random.default_rng(10)
    for K in (2, 4, 8):
        G = problems.conflicting(K, rng)
        A = laws.gram(G)
        limit = fairgrad(A, 0.0).require().weights
        assert (limit >= 1.0).all()
        assert (A @ limit >= -1e-12).all()
        near = fairgrad(A, 1e-3).weights
        assert laws.unit(near @ G) @ laws.unit(limit @ G) > 1.0 - 1e-3
    aligned = np.eye(3) + 0.2
    np.testing.assert_allclose(fairgrad(aligned, 0.0).weights, 1.0)
    np.testing.assert_allclose(fairgrad(aligned, 0.01).weights, 1.0, atol=0.02)


def test_forty_tasks_in_the_plane():
    A = laws.gram(problems.half_plane(40, np.random.default_rng(11)))
    assert fairgrad(A, 2.0).status == Status.OPTIMAL


@pytest.mark.parametrize("alpha", [0.0, 0.01, 0.5, 1.0, 2.0, 50.0, np.inf])
def test_stationary_points_have_no_weights_but_a_certificate(alpha):
    rng = np.random.default_rng(12)
    for K in (2, 3, 6, 15):
        for scales in (np.ones((K, 1)), 10.0 ** rng.uniform(-6, 6, size=(K, 1))):
            G = problems.stationary(K, rng) * scales
            solution = fairgrad(laws.gram(G), alpha)
            assert solution.status in (Status.PARETO_STATIONARY, Status.UNDECIDED)
            laws.certificate_is_valid(G, solution.certificate)
            if solution.status == Status.PARETO_STATIONARY:
                assert (solution.weights == 0.0).all()
            assert not solution.ok


def test_one_zero_gradient_and_all_zero():
    for A, index in ((np.diag([1.0, 0.0, 2.0]), 1), (np.zeros((3, 3)), 0), (np.zeros((1, 1)), 0)):
        solution = fairgrad(A, 2.0)
        assert solution.status == Status.PARETO_STATIONARY
        np.testing.assert_array_equal(solution.certificate, np.eye(len(A))[index])


def test_a_low_precision_gram_matrix_cannot_decide_stationarity():
    g = np.random.default_rng(13).normal(size=100).astype(np.float32)
    G = np.stack([g, -g / np.float32(3.0)])
    A = G.astype(np.float64) @ G.T.astype(np.float64)
    found = fairgrad(A + np.diag([0.0, 1e-7 * A[1, 1]]), 2.0, gram_error=1e-6)
    assert found.status == Status.UNDECIDED
    assert "within 1.0e-06" in found.sentence
    lower = fairgrad((A + np.diag([0.0, 1e-7 * A[1, 1]])).astype(np.float32), 2.0)
    assert lower.status in (Status.UNDECIDED, Status.PARETO_STATIONARY)


@pytest.mark.parametrize("margin", [1e-1, 1e-3, 1e-5, 1e-6])
def test_margins_above_the_precision_are_solved(margin):
    rng = np.random.default_rng(14)
    for K in (3, 8):
        A = laws.gram(problems.near_stationary(K, rng, margin))
        for alpha in (0.5, 2.0, 50.0):
            assert fairgrad(A, alpha).ok, margin
        assert pareto_certificate(A).verdict.name == "NOT_STATIONARY"


@pytest.mark.parametrize("margin", [1e-8, 1e-10, 1e-12])
def test_margins_below_the_precision_are_never_called_optimal(margin):
    rng = np.random.default_rng(15)
    for K in (3, 8):
        G = problems.near_stationary(K, rng, margin)
        for alpha in (0.5, 2.0, 50.0):
            solution = fairgrad(laws.gram(G), alpha)
            assert solution.status in (Status.PARETO_STATIONARY, Status.UNDECIDED)
            laws.certificate_is_valid(G, solution.certificate)


def test_warm_start_takes_fewer_steps_and_gives_the_same_answer():
    rng = np.random.default_rng(17)
    A = laws.gram(problems.conflicting(8, rng))
    cold = fairgrad(A, 2.0)
    warm = fairgrad(A, 2.0, start=cold.weights)
    assert warm.iterations < cold.iterations
    np.testing.assert_allclose(warm.weights, cold.weights, rtol=1e-9)
    odd = fairgrad(A, 2.0, start=np.array([0.0, 1e300, 1e-300, 1, 1, 1, 1, 1]))
    assert odd.ok
    np.testing.assert_allclose(odd.weights, cold.weights, rtol=1e-9)


def test_alpha_and_priority_broadcast_over_a_batch():
    rng = np.random.default_rng(18)
    batch = np.array([laws.gram(problems.well(3, rng)) for _ in range(2)])
    alphas = np.array([[0.0], [0.5], [2.0], [np.inf]])
    p = np.array([1.0, 2.0, 3.0])
    solution = fairgrad(batch, alphas, priority=p)
    assert solution.weights.shape == (4, 2, 3)
    assert solution.status.shape == (4, 2)
    for i, j in np.ndindex(4, 2):
        alone = fairgrad(batch[j], float(alphas[i, 0]), priority=p)
        np.testing.assert_array_equal(solution.weights[i, j], alone.weights)
    assert fairgrad(np.zeros((0, 3, 3)), 1.0).weights.shape == (0, 3)


def test_step_limit_says_so():
    A = laws.gram(problems.conflicting(6, np.random.default_rng(19)))
    stopped = fairgrad(A, 5.0, max_iterations=1)
    assert stopped.status == Status.STEP_LIMIT
    assert stopped.residual == pytest.approx(fairgrad_residual(A, 5.0, stopped.weights), rel=1e-6)
    assert fairgrad(A, 5.0, max_iterations=0).status == Status.STEP_LIMIT


def test_weights_outside_float64_are_out_of_range():
    assert fairgrad([[1e-300]], 1.0, priority=[1e300]).weights[0] == pytest.approx(1e300)
    assert fairgrad([[1e-320]], 1.0, priority=[1e308]).status == Status.OUT_OF_RANGE
    beyond = fairgrad([[1e-320, 0.0], [0.0, 1.0]], 1.0, priority=[1e308, 1.0])
    assert beyond.status == Status.OUT_OF_RANGE
    assert (beyond.weights == 0.0).all()


@pytest.mark.parametrize("alpha", [1e-12, 1e-3, 0.3])
def test_lengths_beyond_the_floats_cost_no_digits(alpha):
    """|g| w may be below the smallest float where neither |g| nor w is; the law of scales holds."""
    A, p = np.array([[1.0, 0.5], [0.5, 2.0]]), np.array([4e-6, 3e5])
    log_a, log_p = np.log(1e-58), np.log(1e-290)
    small = fairgrad(1e-58 * A, alpha, priority=1e-290 * p).require()
    plain = fairgrad(A, alpha, priority=p).require()
    shift = (log_p - alpha * log_a) / (1.0 + alpha)  # from w = p (A w)^-alpha
    np.testing.assert_allclose(np.log(small.weights), np.log(plain.weights) + shift, rtol=1e-12)
    assert fairgrad_residual(1e-58 * A, alpha, small.weights, 1e-290 * p) == pytest.approx(
        small.residual, abs=small.floor
    )


def test_the_residual_rejects_wrong_points():
    A = laws.gram(problems.well(4, np.random.default_rng(20)))
    w = fairgrad(A, 2.0).weights
    assert fairgrad_residual(A, 2.0, w * 1.001) > 1e-4
    assert fairgrad_residual(A, 2.0, np.where([1, 0, 0, 0], 0.0, w)) == np.inf
    assert fairgrad_residual(A, 2.0, -w) == np.inf
    assert fairgrad_residual(A, 2.0, w * np.nan) == np.inf
    assert fairgrad_residual(A, np.inf, np.ones(4)) > 0.1
    assert fairgrad_residual(A, 0.0, 0.5 * np.ones(4)) > 0.01
    assert fairgrad_residual(np.eye(2), 200.0, [1.0, 0.0]) == np.inf
    assert fairgrad_residual([[1.0, 100.0], [100.0, 1e4]], 200.0, [1.0, 0.0]) == 0.0


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 5), st.floats(-150, 150), st.floats(0, 150))
def test_fuzz_gradients_of_any_size(seed, K, centre, spread):
    """Entries between 1e-300 and 1e300: a confirmed answer, or a status that is not ok."""
    rng = np.random.default_rng(seed)
    decades = np.clip(centre + spread * rng.uniform(-1, 1, size=(K, 1)), -149.0, 149.0)
    G = rng.normal(size=(K, rng.integers(1, 7))) * 10.0**decades
    A = laws.gram(G)
    alpha = float(rng.choice([0.0, 0.01, 0.3, 1.0, 2.0, 17.0, 200.0, np.inf]))
    solution = fairgrad(A, alpha)
    residual = fairgrad_residual(A, alpha, solution.weights)
    assert np.isfinite(solution.weights).all()
    if solution.status == Status.OPTIMAL:
        assert residual <= 1.1e-10
    elif solution.status == Status.ROUNDING_LIMITED:
        assert residual <= 2.0 * laws.explained(A, solution)
    elif solution.status == Status.PARETO_STATIONARY:
        laws.certificate_is_valid(G, solution.certificate)
    else:
        assert solution.status in (Status.UNDECIDED, Status.OUT_OF_RANGE, Status.STEP_LIMIT)
