"""Published rules for combining gradients, against what their papers say on the gradients."""

import math

import mpmath
import numpy as np
import pytest

import fairopt
from fairopt import InvalidInput, Status, rivals
from fl_runtime.training.pcgrad import pcgrad_weights
from tests import laws

RULES = {"aligned": rivals.aligned_mtl, "imtl": rivals.imtl_g, "config": rivals.config}
TIES = {"aligned": [1.0, 2.0, 0.5], "config": [1.0, 2.0, 0.5]}


def gradients(seed, K=3, spread=0.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(K, 12)) * 10.0 ** rng.uniform(-spread, spread, (K, 1))


def aligned_on_gradients(G, r):
    """sigma_K U V^T r of the singular value decomposition of the columns."""
    U, s, Vt = np.linalg.svd(G.T, full_matrices=False)
    return s[-1] * (U @ Vt) @ r


def config_on_gradients(G, r):
    """Equations (2) and (3): the pseudo-inverse of the unit gradients, then the length."""
    x = np.linalg.pinv(G / np.linalg.norm(G, axis=1, keepdims=True)) @ r
    unit = x / np.linalg.norm(x)
    return (G @ unit).sum() * unit


def imtl_on_gradients(G, _):
    """The closed form: alpha_{2..K} = g_1 U^T (D U^T)^{-1}, alpha_1 the rest."""
    U = G / np.linalg.norm(G, axis=1, keepdims=True)
    D, U = G[0] - G[1:], U[0] - U[1:]
    rest = G[0] @ U.T @ np.linalg.inv(D @ U.T)
    return np.concatenate([[1.0 - rest.sum()], rest]) @ G


ON_GRADIENTS = {
    "aligned": aligned_on_gradients,
    "imtl": imtl_on_gradients,
    "config": config_on_gradients,
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("K", [2, 3, 8])
@pytest.mark.parametrize("spread", [0.0, 2.0])
def test_the_direction_is_that_of_the_papers_equations_on_the_gradients(rule, K, spread):
    for seed in range(20):
        G = gradients(seed, K, spread)
        r = np.linspace(1.0, 2.0, K)
        arguments = [r] if rule in TIES else []
        solution = RULES[rule](G @ G.T, *arguments)
        assert solution.ok
        assert solution.residual <= 1e-6
        d, expected = solution.weights @ G, ON_GRADIENTS[rule](G, r)
        scale = max(
            np.linalg.norm(expected), (abs(solution.weights) * np.linalg.norm(G, axis=1)).max()
        )
        accuracy = 1e-9 if rule != "imtl" else 1e-7  # its closed form inverts mixed lengths
        assert np.linalg.norm(d - expected) <= accuracy * scale


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("factor", [1e-100, 1e-6, 1e6, 1e100])
def test_the_unit_of_all_gradients_does_not_matter(rule, factor):
    for seed in range(5):
        laws.scale_equivariance(RULES[rule], laws.gram(gradients(seed, 4)), factor, 0.0)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_the_unit_of_one_loss_changes_neither_imtl_nor_config_by_more_than_its_weight(factor):
    """Directions of both are fixed by cosines; the weight of the task takes the factor up."""
    G = gradients(0)
    H = G * np.array([[factor], [1.0], [1.0]])
    for rule in (rivals.imtl_g, rivals.config):
        plain, scaled = rule(G @ G.T).weights @ G, rule(H @ H.T).weights @ H
        assert abs(laws.unit(plain) @ laws.unit(scaled)) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_renumbering_duplicates_batches_and_the_callers_array(rule):
    solve = RULES[rule]
    G = gradients(1, 4)
    laws.permutation_equivariance(solve, laws.gram(G), [2, 0, 3, 1])
    laws.duplicated_tasks_share(solve, G)
    batch = np.array([laws.gram(gradients(seed, 4)) for seed in range(6)]).reshape(2, 3, 4, 4)
    laws.batch_agrees_with_loop(solve, batch)
    laws.input_is_untouched(solve, laws.gram(G))
    assert solve(np.zeros((0, 3, 3))).weights.shape == (0, 3)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "A",
    [np.ones((2, 2)), [[1.0, 2.0], [2.0, 4.0]], laws.gram(gradients(0, 3)[:, :2])],
    ids=["copies", "parallel", "three in a plane"],
)
def test_a_singular_matrix_is_undecided(rule, A):
    solution = RULES[rule](A)
    assert solution.status == Status.UNDECIDED
    assert np.isfinite(solution.weights).all()


def test_unit_gradients_that_cancel_are_stationary_for_rules_of_equal_angles():
    plane = [[math.cos(x), math.sin(x)] for x in (0.0, 2.0 * math.pi / 3.0, 4.0 * math.pi / 3.0)]
    for G in (np.array([[1.0, 0.0], [-3.0, 0.0]]), np.array(plane)):
        for rule in (rivals.imtl_g, rivals.config):
            solution = rule(G @ G.T)
            assert solution.status == Status.PARETO_STATIONARY
            assert not solution.weights.any()
            laws.certificate_is_valid(G, solution.certificate)


@pytest.mark.parametrize("rule", RULES)
def test_zero_gradients(rule):
    """One has no angle to anything; Aligned-MTL does not ask for it. All zero: nothing to do."""
    solution = RULES[rule](np.diag([1.0, 0.0, 4.0]))
    assert solution.weights[1] == 0.0
    assert solution.status == (Status.OPTIMAL if rule == "aligned" else Status.UNDECIDED)
    solution = RULES[rule](np.zeros((3, 3)))
    assert solution.status == Status.PARETO_STATIONARY
    assert not solution.weights.any()


def test_imtl_climbs_in_every_task_where_its_weights_would_sum_to_less_than_nothing():
    """A property of the rule as published: equal projections, weights of sum one, all negative."""
    A = np.array([[1.0, 2.0, 9.0], [2.0, 9.0, 10.0], [9.0, 10.0, 100.0]])
    solution = rivals.imtl_g(A)
    assert solution.ok
    assert solution.weights.sum() == pytest.approx(1.0)
    projections = A @ solution.weights / np.sqrt(np.diag(A))
    assert np.ptp(projections) <= 1e-12 * abs(projections).max()
    assert (projections < 0.0).all()
    assert (A @ rivals.config(A).weights > 0.0).all()


@pytest.mark.parametrize("rule", RULES)
def test_the_ends_of_the_floats(rule):
    """Lengths 308 decades apart have an answer or none; subnormal entries are imprecise."""
    apart = RULES[rule](np.diag([1e-307, 1e307, 1e307]))
    assert np.isfinite(apart.weights).all()
    assert apart.status == (Status.UNDECIDED if rule == "aligned" else Status.OPTIMAL)
    subnormal = RULES[rule](np.diag([5e-324, 1.7e308]))
    assert subnormal.status == Status.UNDECIDED
    assert np.isfinite(subnormal.weights).all()


def test_mixed_lengths_keep_their_digits():
    """Eigenvalues of the matrix itself would lose ten digits of these."""
    for seed in range(20):
        solution = rivals.aligned_mtl(laws.gram(gradients(seed, 5, spread=2.0)))
        assert solution.residual <= 1e-9


def vaccinated(A, targets, beta=0.5, seed=0):
    return rivals.gradient_vaccine(A, targets, beta, np.random.default_rng(seed))


def vaccine_on_gradients(G, targets, beta, seed):
    """The update rule and the moving average as the paper states them."""
    rng, targets, total = np.random.default_rng(seed), targets.copy(), np.zeros(G.shape[1])
    for i in range(len(G)):
        g = G[i].copy()
        for j in rng.permutation(len(G)):
            if j == i:
                continue
            n, m = np.linalg.norm(g), np.linalg.norm(G[j])
            phi, aim = g @ G[j] / (n * m), targets[i, j]
            if phi < aim:
                top = n * (aim * math.sqrt(1 - phi**2) - phi * math.sqrt(1 - aim**2))
                g = g + G[j] * top / (m * math.sqrt(1 - aim**2))
            targets[i, j] = (1 - beta) * aim + beta * phi
        total += g
    return total, targets


@pytest.mark.parametrize("K", [2, 3, 6])
def test_the_vaccine_is_the_papers_procedure(K):
    targets = expected = np.zeros((K, K))
    for seed in range(25):
        G = gradients(seed, K, spread=1.0)
        solution, targets = vaccinated(G @ G.T, targets, 0.3, seed)
        total, expected = vaccine_on_gradients(G, expected, 0.3, seed)
        assert solution.status == Status.OPTIMAL
        assert solution.residual <= 1e-12
        np.testing.assert_allclose(solution.weights @ G, total, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(targets, expected, atol=1e-12)
        big, _ = vaccinated(G @ G.T * 1e160, targets, 0.3, seed)
        small, _ = vaccinated(G @ G.T * 1e-160, targets, 0.3, seed)
        np.testing.assert_allclose(big.weights, small.weights, rtol=laws.SAME_DIGITS)


def test_without_targets_the_vaccine_is_pcgrad():
    A = laws.gram(gradients(3, 5))
    solution, targets = vaccinated(A, np.zeros((5, 5)), beta=0.0, seed=4)
    expected = 5.0 * pcgrad_weights(A, np.random.default_rng(4))
    np.testing.assert_allclose(solution.weights, expected, rtol=1e-12)
    assert not targets.any()


def test_the_vaccine_where_it_breaks_down():
    opposite = [[1.0, -1.0], [-1.0, 1.0]]
    assert vaccinated(opposite, np.zeros((2, 2)))[0].status == Status.UNDECIDED
    solution, targets = vaccinated(np.eye(2), [[1.0, 1.0], [1.0, 1.0]])
    assert solution.status == Status.OUT_OF_RANGE
    assert not solution.weights.any()
    assert targets[0, 1] == 0.5
    solution, targets = vaccinated(np.diag([1.0, 0.0]), np.full((2, 2), 0.5))
    assert solution.weights.tolist() == [1.0, 0.0]
    assert targets[0, 1] == 0.5
    assert vaccinated(np.zeros((2, 2)), np.zeros((2, 2)))[0].status == Status.PARETO_STATIONARY


def test_the_vaccine_of_a_batch_keeps_targets_for_every_problem():
    batch = np.array([laws.gram(gradients(seed)) for seed in range(2)])
    solution, targets = vaccinated(batch, np.zeros((2, 3, 3)))
    assert solution.weights.shape == (2, 3)
    assert (targets[0] != targets[1]).any()


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("preference", lambda: rivals.aligned_mtl(np.eye(2), [1.0, 0.0])),
        ("preference", lambda: rivals.config(np.eye(2), [1.0])),
        ("preference", lambda: rivals.config(np.eye(2), [[1.0, 1.0]])),
        ("targets", lambda: vaccinated(np.eye(2), np.zeros(2))),
        ("targets", lambda: vaccinated(np.eye(2), np.full((2, 2), 1.5))),
        ("targets", lambda: vaccinated(np.eye(2), np.full((2, 2), math.nan))),
        ("beta", lambda: vaccinated(np.eye(2), np.zeros((2, 2)), beta=1.5)),
        ("rng", lambda: rivals.gradient_vaccine(np.eye(2), np.zeros((2, 2)), 0.5, 0)),
        ("gram_error", lambda: rivals.imtl_g(np.eye(2), gram_error=1.0)),
        ("gram", lambda: rivals.imtl_g([[1.0, 2.0], [2.0, 1.0]])),
    ],
)
def test_refusals(argument, call):
    with pytest.raises(InvalidInput) as caught:
        call()
    assert caught.value.argument.startswith(argument)


def test_an_imprecise_matrix_leaves_more_open():
    A = np.array([[1.0, 0.999], [0.999, 1.0]])
    assert rivals.imtl_g(A).ok
    assert rivals.imtl_g(A, gram_error=1e-3).status == Status.UNDECIDED
    assert fairopt.min_norm(A).ok


def degenerate(rng):
    """Gradients that are nearly parallel, opposite or stationary, or of very unequal lengths."""
    K, D = int(rng.integers(2, 5)), int(rng.integers(1, 8))
    G, margin = rng.normal(size=(K, D)), 10.0 ** rng.uniform(-12.0, 0.0)
    kind = rng.integers(4)
    if kind < 2:
        G[1] = (1.0 - 2.0 * kind) * G[0] * rng.uniform(0.5, 2.0) + margin * rng.normal(size=D)
    elif kind == 2:
        G -= G.mean(axis=0) * (1.0 - margin)
    else:
        G *= 10.0 ** rng.uniform(-6.0, 6.0, (K, 1))
    return G


def exact_direction(rule, G):
    """The direction in 60 digits."""
    with mpmath.workdps(60):
        rows = mpmath.matrix(G.tolist())
        A, K = rows * rows.T, len(G)
        if rule == "aligned":
            values, Q = mpmath.eigsy(A)
            shrink = mpmath.diag([mpmath.sqrt(min(values) / value) for value in values])
            weights = Q * shrink * Q.T * mpmath.matrix([mpmath.mpf(1) / K] * K)
        else:
            scale = mpmath.diag([1 / mpmath.sqrt(A[i, i]) for i in range(K)])
            b = mpmath.lu_solve(scale * A * scale, mpmath.matrix([1] * K))
            weights = scale * b
            lengths = sum(1 / scale[i, i] for i in range(K))
            weights *= 1 / sum(weights) if rule == "imtl" else lengths / sum(b)
        return np.array([float(x) for x in rows.T * weights])


@pytest.mark.parametrize("rule", RULES)
def test_what_is_called_ok_is_right_in_sixty_digits(rule):
    rng, good, open_ = np.random.default_rng(0), 0, 0
    for _ in range(200):
        G = degenerate(rng)
        solution = RULES[rule](G @ G.T)
        assert np.isfinite(solution.weights).all()
        if not solution.ok:
            open_ += 1
            continue
        good += 1
        exact = exact_direction(rule, G)
        assert np.linalg.norm(solution.weights @ G - exact) <= 2e-6 * np.linalg.norm(exact)
    assert min(good, open_) > 40
