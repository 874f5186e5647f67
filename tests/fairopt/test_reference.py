"""The kernels agree with the reference implementations in cvxpy."""

import numpy as np
import pytest

from fairopt import fairgrad, min_norm, reference
from tests import laws
from tests.fairopt import problems

CONIC = 2e-3  # weights of a conic solver at a gap of 1e-12: square roots of it, amplified


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_fairgrad(alpha):
    rng = np.random.default_rng(0)
    for K in (1, 3, 6):
        A, p = laws.gram(problems.well(K, rng)), rng.uniform(0.5, 2.0, size=K)
        ours = fairgrad(A, alpha, priority=p).require().weights
        np.testing.assert_allclose(reference.fairgrad(A, alpha, p), ours, rtol=CONIC)


def test_min_norm():
    rng = np.random.default_rng(1)
    for family in (problems.well, problems.conflicting, problems.stationary):
        A = laws.gram(family(5, rng))
        np.testing.assert_allclose(reference.min_norm(A), min_norm(A).weights, atol=1e-3)


def test_fairgrad_at_zero_is_the_reference_projection():
    rng = np.random.default_rng(2)
    A = laws.gram(problems.conflicting(4, rng))
    expected = reference.dual_cone_projection(A, np.ones(4))
    np.testing.assert_allclose(fairgrad(A, 0.0).weights, expected, rtol=1e-4)
