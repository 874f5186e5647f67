import mpmath
import numpy as np
import pytest

from fairopt import InvalidInput, Status, min_norm, min_norm_from_gradients
from tests.fairopt import problems


def true_length(G, v):
    """Length of the combination by 50 digits."""
    with mpmath.workdps(50):
        d = mpmath.matrix(G.tolist()).T * mpmath.matrix(v.tolist())
        return float(mpmath.norm(d))


def shortest(G):
    """The length on the full support, v ~ A^-1 1, by 50 digits; only if v > 0."""
    with mpmath.workdps(50):
        M = mpmath.matrix(G.tolist())
        u = mpmath.lu_solve(M * M.T, mpmath.ones(len(G), 1))
        assert min(u) > 0
        return float(1 / mpmath.sqrt(sum(u)))


@pytest.mark.parametrize("margin", [1e-4, 1e-7, 1e-9, 1e-11])
def test_lengths_that_a_gram_matrix_cannot_show(margin):
    rng = np.random.default_rng(1)
    for scale in (1.0, 1e-6, 1e6):
        G = problems.near_stationary(4, rng, margin) * scale
        found = min_norm_from_gradients(G).require()
        assert found.status == Status.OPTIMAL
        assert found.certificate is None
        assert true_length(G, found.weights) <= shortest(G) * (1.0 + 1e-14 / margin)


def test_it_gains_digits_over_the_gram_matrix():
    """Five gradients in three dimensions whose min-norm point is about 1e-9 long."""
    rng = np.random.default_rng(0)
    excess = []
    for _ in range(50):
        G = rng.normal(size=(5, 3)) * [1.0, 1e-8, 1e-9]
        G[:, 2] = np.abs(G[:, 2])
        G[:2, 0] = np.abs(G[:2, 0]) * [1.0, -1.0]
        found = min_norm_from_gradients(G).require()
        assert found.certificate is None
        assert found.residual <= 1e-15
        length = true_length(G, found.weights)
        excess.append(true_length(G, min_norm(G @ G.T).weights) / length - 1.0)
    assert min(excess) > -1e-6
    assert np.median(excess) > 0.1


def test_agrees_with_the_gram_matrix_where_that_is_precise():
    rng = np.random.default_rng(3)
    for family in ("well", "conflicting", "half_plane", "mixed_scale"):
        for K in (1, 2, 5, 20):
            G = problems.SOLVABLE[family](K, rng)
            found = min_norm_from_gradients(G).require()
            np.testing.assert_allclose(found.weights @ G, min_norm(G @ G.T).weights @ G, atol=1e-9)


def test_a_vanishing_combination_is_its_certificate():
    G = problems.stationary(5, np.random.default_rng(4))
    found = min_norm_from_gradients(G)
    np.testing.assert_array_equal(found.certificate, found.weights)
    assert min_norm_from_gradients([[0.0, 0.0], [1.0, 0.0]]).weights.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("bad", [[1.0, 2.0], [[np.nan]], [[1j]], np.zeros((0, 3))])
def test_bad_gradients_are_refused(bad):
    with pytest.raises(InvalidInput):
        min_norm_from_gradients(bad)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e300])
def test_the_direction_is_the_combination_rounded_once(scale):
    rng = np.random.default_rng(5)
    for margin in (1.0, 1e-6, 1e-11):
        G = problems.near_stationary(4, rng, margin) * 10.0 ** rng.uniform(-2, 2, (4, 1)) * scale
        found = min_norm_from_gradients(G)
        with mpmath.workdps(60):
            exact = mpmath.matrix(G.tolist()).T * mpmath.matrix(found.weights.tolist())
            np.testing.assert_array_equal(found.direction, [float(x) for x in exact])
    zero = min_norm_from_gradients([[0.0, 0.0], [scale, 0.0]])
    assert zero.direction.tolist() == [0.0, 0.0]
