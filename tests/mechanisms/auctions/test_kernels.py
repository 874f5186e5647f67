"""The float primitives decide exactly, and compile where nothing can be cached."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mechanisms.auctions.kernels.exact_comparison import decide, fits, share_down
from mechanisms.auctions.kernels.jit import compiled
from mechanisms.auctions.kernels.water_filling import water_level_down
from tests.mechanisms.auctions import literal

AMOUNTS = st.floats(0, 1e300) | st.sampled_from([0.1, 0.2, 0.3, 0.7, 1e-320, 5e-324, 1e16])
SETTINGS = settings(max_examples=400)


@SETTINGS
@given(st.lists(AMOUNTS, min_size=1, max_size=9), st.integers(1, 10**7), st.integers(-3, 3))
def test_a_sum_at_the_edge_of_the_budget_is_decided_exactly(terms, k, ulps):
    exact = k * sum(map(Fraction, terms))
    if not 0 < exact < Fraction(1e307):
        return
    budget = float(exact)
    for _ in range(abs(ulps)):
        budget = math.nextafter(budget, math.inf if ulps > 0 else 0.0)
    assert fits(k, np.array(terms), len(terms), budget) == (exact <= Fraction(budget))


def test_a_plain_float_sum_would_decide_wrongly():
    terms = np.array([0.1, 0.1, 0.1])
    assert float(terms.sum()) > 0.3
    assert not fits(1, terms, 3, 0.3)  # the binary 0.1 is above 1/10, and so is their sum
    tight = math.fsum([0.1, 0.2])
    assert tight == 0.1 + 0.2
    assert fits(1, np.array([0.1, 0.2]), 2, tight) == (
        Fraction(0.1) + Fraction(0.2) <= Fraction(tight)
    )
    assert decide(1, 0.1 + 0.2, 2, tight) == -1


@SETTINGS
@given(st.integers(1, 10**7), st.floats(1e-300, 1e300))
def test_shares_are_rounded_down(k, budget):
    share = share_down(k, budget)
    assert k * Fraction(share) <= Fraction(budget) < k * Fraction(math.nextafter(share, math.inf))


@SETTINGS
@given(
    st.lists(st.floats(0, 100) | st.just(math.inf), min_size=1, max_size=8),
    st.integers(1, 1000),
    st.floats(1e-3, 1e3),
)
def test_water_levels_are_rounded_down(x, k, budget):
    exact = literal.water_level(
        [v if v == math.inf else Fraction(v) for v in x], Fraction(budget) / k
    )
    if exact == math.inf:
        return
    level = water_level_down(k, np.array(x), np.empty(len(x)), budget)
    assert Fraction(level) <= exact < Fraction(math.nextafter(level, math.inf))


def test_a_function_without_a_file_is_compiled_without_a_cache():
    names: dict = {}
    exec("def double(x):\n    return 2.0 * x", names)
    with pytest.raises(RuntimeError, match="cannot cache"):
        __import__("numba").njit(["float64(float64)"], cache=True)(names["double"])
    assert compiled("float64(float64)")(names["double"])(1.5) == 3.0
