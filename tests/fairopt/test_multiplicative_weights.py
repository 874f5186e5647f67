"""Exponentiated weights beside 50 digits, at every rate, with masks and smoothing; and the ends."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from fairopt import InvalidInput, multiplicative_weights, suggest_rate

ERROR = 2e-12  # relative: a few roundings of scores below 2048 + 745, each 2^-53 of them
TINY = float(np.finfo(np.float64).tiny)  # what is smaller has lost digits
LARGEST = float(np.finfo(np.float64).max)

numbers = st.one_of(
    st.floats(-5.0, 5.0),
    st.floats(-3e3, 3e3),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, 1.0, 2.0, -1.0, LARGEST, -LARGEST, 1e-300, 5e-324]),
)
shares = st.one_of(st.floats(0.0, 1.0), st.sampled_from([0.0, 1.0, 1e-30, 1e-300, 5e-324]))


@st.composite
def problems(draw):
    """Weights with sum one, some zero or tiny, gains, a rate, and who is present."""
    size = draw(st.integers(1, 6))
    raw = np.array(draw(st.lists(shares, min_size=size, max_size=size)))
    assume(raw.sum() > 1e-3)
    gains = np.array(draw(st.lists(numbers, min_size=size, max_size=size)))
    here = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    return raw / raw.sum(), gains, draw(numbers), here


def in_fifty_digits(w, gains, rate, here, frozen, smoothing, uniform):
    """The definition: products first, measured from the best one, then weights, then shares."""
    moving = here if frozen else np.ones_like(here)
    product = [mpmath.mpf(float(d)) * mpmath.mpf(rate) if h else mpmath.mpf(0) for d, h in
               zip(gains, here, strict=True)]  # fmt: skip
    live = [k for k in range(len(w)) if moving[k] and w[k] > 0.0]
    top = max((product[k] for k in live), default=mpmath.mpf(0))
    raised = [mpmath.mpf(0)] * len(w)
    for k in live:
        x = product[k] - top
        raised[k] = mpmath.mpf(float(w[k])) * (mpmath.exp(x) if x > -1e5 else 0)
    mass = mpmath.fsum(mpmath.mpf(float(x)) for x, m in zip(w, moving, strict=True) if m)
    total = mpmath.fsum(raised) or mpmath.mpf(1)
    result = []
    for k, old in enumerate(w):
        target = mass / int(moving.sum()) if uniform and moving[k] else mpmath.mpf(float(old))
        new = mass * raised[k] / total
        mixed = (1 - mpmath.mpf(smoothing)) * new + mpmath.mpf(smoothing) * target
        result.append(mixed if moving[k] else mpmath.mpf(float(old)))
    return np.array([float(x) for x in result])


@given(problems(), st.booleans(), st.sampled_from([0.0, 0.01, 0.5, 1.0]), st.booleans())
@example((np.full(2, 0.5), np.array([2.0, 1.0]), 1e308, np.ones(2, bool)), True, 0.0, False)
@example((np.full(2, 0.5), np.array([1e16, 1e16 + 2.0]), 1.0, np.ones(2, bool)), True, 0.0, False)
@example(
    (np.array([5e-324, 1.0]), np.array([LARGEST, -LARGEST]), 1e-305, np.ones(2, bool)),
    True,
    0.0,
    False,
)
def test_weights_have_all_digits_at_every_rate(problem, frozen, smoothing, uniform):
    w, gains, rate, here = problem
    seen = multiplicative_weights(
        w,
        np.where(here, gains, math.nan),
        rate,
        smoothing=smoothing,
        smooth_towards="uniform" if uniform else "previous",
        present=here,
        absent="frozen" if frozen else "renormalise",
    )
    with mpmath.workdps(50):
        expected = in_fifty_digits(w, gains, rate, here, frozen, smoothing, uniform)
    assert (np.abs(seen - expected) <= ERROR * expected + TINY).all()


def test_where_products_overflow_the_largest_share_in_proportion_to_their_weights():
    for gains, rate, expected in (
        ([2.0, 1.0, 2.0], 1e308, [0.5 / 0.8, 0.0, 0.3 / 0.8]),
        ([-2.0, -1.0, -1.0], 1e308, [0.0, 0.4, 0.6]),
        ([-2.0, -1.0, -1.0], -1e308, [1.0, 0.0, 0.0]),
        ([LARGEST, LARGEST, -LARGEST], LARGEST, [0.5 / 0.7, 0.2 / 0.7, 0.0]),
        ([LARGEST, LARGEST, LARGEST], LARGEST, [0.5, 0.2, 0.3]),
    ):
        seen = multiplicative_weights([0.5, 0.2, 0.3], gains, rate)
        np.testing.assert_allclose(seen, expected, rtol=1e-15)
    assert multiplicative_weights([0.5, 0.5], [2.0, 1.0], 1e308).tolist() == [1.0, 0.0]


def test_a_weight_of_zero_or_an_absent_gain_is_no_candidate_for_the_largest():
    seen = multiplicative_weights([0.0, 0.5, 0.5], [LARGEST, 1.0, 1.0], 1e308)
    assert seen.tolist() == [0.0, 0.5, 0.5]
    seen = multiplicative_weights(
        [0.2, 0.4, 0.4], [math.nan, -1.0, -2.0], 1e308, present=[False, True, True]
    )
    assert seen.tolist() == [0.2, 0.8, 0.0]
    seen = multiplicative_weights(
        [0.2, 0.4, 0.4],
        [math.nan, -1.0, -2.0],
        1e308,
        present=[False, True, True],
        absent="renormalise",
    )
    assert seen.tolist() == [1.0, 0.0, 0.0]  # its gain counts as zero


def test_a_weight_that_underflows_never_returns():
    """Except by uniform smoothing; 1e-300 comes back."""
    gone = multiplicative_weights([0.5, 0.5], [0.0, 800.0], 1.0)
    assert gone.tolist() == [0.0, 1.0]
    for _ in range(3):
        gone = multiplicative_weights(gone, [1e6, 0.0], 1e300)
    assert gone.tolist() == [0.0, 1.0]
    small = multiplicative_weights([0.5, 0.5], [0.0, 690.0], 1.0)
    assert 0.0 < small[0] < 1e-299
    assert multiplicative_weights(small, [690.0, 0.0], 1.0) == pytest.approx([0.5, 0.5])
    kept = multiplicative_weights(
        [0.5, 0.5], [0.0, 800.0], 1.0, smoothing=0.01, smooth_towards="uniform"
    )
    assert multiplicative_weights(kept, [800.0, 0.0], 1.0) == pytest.approx([1.0, 0.0])


def test_rows_of_a_batch_do_not_see_each_other():
    """One row whose products overflow, one whose do not: each as if it were alone."""
    w = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    gains = np.array([[1e300, 2.0, 3.0], [1e-300, 3e-300, 2e-300]])
    together = multiplicative_weights(w, gains, 1e300)
    for row in range(2):
        alone = multiplicative_weights(w[row], gains[row], 1e300)
        np.testing.assert_array_equal(together[row], alone)
    assert (together[1] > 0.0).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_sum_may_be_off_by_the_rounding_of_the_dtype(dtype):
    rng = np.random.default_rng(0)
    for size in (3, 100, 1000):
        for _ in range(20):
            raw = rng.exponential(size=size)
            w = (raw / raw.sum()).astype(dtype)
            for _ in range(5):  # kept in that dtype from step to step
                w = multiplicative_weights(w, rng.normal(size=size), 0.1).astype(dtype)
    slack = max(1e-5, 8.0 * float(np.finfo(dtype).eps))
    with pytest.raises(InvalidInput, match="sum of weights"):
        multiplicative_weights(np.array([0.5, 0.5 + 1.5 * slack], dtype), [0.0, 0.0], 1.0)
    with pytest.raises(InvalidInput, match="sum of weights"):  # in float64 that is no rounding
        multiplicative_weights([0.5, 0.5 + 2e-5], [0.0, 0.0], 1.0)


@given(st.integers(2, 6), st.integers(1, 30), st.sampled_from([1.0, -1.0]), st.integers(0, 99))
def test_no_weight_falls_below_the_floor_of_a_suggested_rate(size, rounds, sign, seed):
    """Whatever the gains of a round, if only they differ by no more than was said."""
    rng = np.random.default_rng(seed)
    w = rng.dirichlet(np.ones(size)) * 0.9 + 0.1 / size
    floor, gap = w.min() * rng.uniform(0.01, 0.99), rng.uniform(0.1, 5.0)
    rate = sign * suggest_rate(w, gap, rounds, floor=floor)
    extreme = rng.random() < 0.5
    for _ in range(rounds):
        gains = gap * (rng.integers(0, 2, size) if extreme else rng.random(size)) + rng.normal()
        w = multiplicative_weights(w, gains, rate)
        assert w.min() >= floor * (1.0 - 1e-9)


def test_a_suggested_rate_is_the_largest_one():
    """The smallest weight that always gains least ends at the floor, by a larger rate below it."""
    start, gains = np.array([0.1, 0.2, 0.3, 0.4]), [0.0, 2.0, 2.0, 2.0]
    rate = suggest_rate(start, 2.0, 7, floor=0.03)
    for factor, expected in ((1.0, 0.03), (1.1, 0.0266), (0.0, 0.1)):
        w = start
        for _ in range(7):
            w = multiplicative_weights(w, gains, factor * rate)
        assert w[0] == pytest.approx(expected, rel=1e-2 if factor > 1.0 else 1e-12)
    assert suggest_rate(start, 2.0, 7) == suggest_rate(start, 2.0, 7, floor=0.01)
    assert suggest_rate([0.1] * 10, 2.3, 50, floor=0.01) == pytest.approx(math.log(11) / 115)


@pytest.mark.parametrize(
    ("wrong", "argument"),
    [
        ({"weights": [1.0]}, "weights"),
        ({"weights": [0.5, 0.0, 0.5]}, "weights"),
        ({"weights": [0.5, 0.6]}, "sum of weights"),
        ({"largest_gap": 0.0}, "largest_gap"),
        ({"rounds": 0}, "rounds"),
        ({"floor": 0.5}, "floor"),
    ],
)
def test_a_rate_is_suggested_for_what_can_fall_only(wrong, argument):
    with pytest.raises(InvalidInput, match=argument):
        suggest_rate(**{"weights": [0.5, 0.5], "largest_gap": 1.0, "rounds": 1} | wrong)


@pytest.mark.parametrize(
    ("weights", "gap", "rounds", "argument"),
    [
        ([0.5, 0.5], 1e-320, 1, "largest_gap"),
        ([0.5, 0.5], 1e308, 10**400, "largest_gap"),
        ([5e-324, 1.0], 1.0, 1, "floor"),
    ],
)
def test_a_rate_that_is_no_number_is_refused(weights, gap, rounds, argument):
    with pytest.raises(InvalidInput, match=argument):
        suggest_rate(weights, gap, rounds)
