"""What is computed in plain numbers is what logarithms give, which stay within float64 always."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.problems import networks
from fairopt import allocation_residual, alpha_fair_allocation
from fairopt.allocation import residual
from fairopt.allocation.presolve import scaling
from fairopt.allocation.problem import read


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_a_point_has_the_same_residuals(seed):
    rng = np.random.default_rng(seed)
    R, c, alpha, w, u = networks.anything(rng)
    problem = read(R, c, alpha, w, u)
    found = alpha_fair_allocation(R, c, alpha, priority=w, upper=u)
    point = [found.rates, found.prices, found.upper_prices]
    if rng.random() < 0.5:  # any point, not only good ones
        point = [each * rng.uniform(0.5, 1.5, len(each)) for each in point]
    plain = residual.measure_residuals(problem, *point)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(residual, "LARGEST", 0.0)
        logarithms = residual.measure_residuals(problem, *point)
    for name in ("stationarity", "feasibility", "slackness"):
        one, other = getattr(plain, name), getattr(logarithms, name)
        close = 1e-12 * max(1.0, min(alpha, 1e4))
        assert one == pytest.approx(other, rel=1e-9, abs=close, nan_ok=True)


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_the_scaled_problem_is_the_same(seed):
    R, c, alpha, w, u = networks.anything(np.random.default_rng(seed))
    plain = scaling.scale(read(R, c, alpha, w, u)).scaled
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scaling, "MODERATE", 1.0)
        logarithms = scaling.scale(read(R, c, alpha, w, u)).scaled
    if plain is not None:
        np.testing.assert_allclose(plain.by_flow.data, logarithms.by_flow.data, rtol=1e-11)
        np.testing.assert_allclose(plain.log_unit, logarithms.log_unit, rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(plain.by_flow.indices, logarithms.by_flow.indices)


def test_numbers_whose_products_leave_float64_are_judged_in_logarithms():
    """A negative control: without the logarithms this good point would look like no point."""
    R, c, rates = [[1e-200, 1e-200]], [1e-200], [0.5e200 * 1e-200] * 2
    assert allocation_residual(R, c, 1.0, rates, [2e200]) <= 1e-12
    problem = read(R, c, 1.0)
    arrays = [np.array(each) for each in (rates, [2e200], [0.0, 0.0])]
    assert not residual._moderate(problem, *arrays)
