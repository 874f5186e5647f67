"""Requests per task: the exact integer optimum, rounded shares, and the arithmetic below them."""

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fairopt import InvalidInput, request_allocation
from fairopt.apportionment.marginal_greedy import sign_of_roots
from fairopt.apportionment.shares import root_bounds, whole_root

OBJECTIVES = ["equal_error", "sum_of_variances", "sum_of_deviations"]
DIGITS = 60  # of the square roots in the tests; sums that agree to 40 count as equal
SAME = mpmath.mpf(10) ** -40

few_values = st.sampled_from([0.0, 1.0, 2.0, 3.0, 4.0, 8.0, 9.0, 16.0, 26.0])
variances = st.one_of(few_values, st.floats(0.0, 1e3), st.floats(1e-300, 1e300))
objectives = st.sampled_from(OBJECTIVES)


def cost(objective, s2, requests):
    """What is minimised, as a tuple: what tasks without requests miss comes first."""
    pairs = [(Fraction(x), int(r)) for x, r in zip(s2, requests, strict=True)]
    none = sorted((x for x, r in pairs if x and not r), reverse=True)
    parts = sorted((x / max(r, 1) for x, r in pairs if r or not x), reverse=True)
    if objective == "equal_error":
        return (none, parts)
    with mpmath.workdps(DIGITS):
        power = mpmath.mpf(1) if objective == "sum_of_variances" else mpmath.mpf(1) / 2
        missed = mpmath.fsum((mpmath.mpf(x.numerator) / x.denominator) ** power for x in none)
        ratios = (mpmath.mpf(x.numerator) / x.denominator for x in parts)
        return (missed, mpmath.fsum(x**power for x in ratios))


def less(objective, first, second):
    """Whether a cost is below another one by more than rounding."""
    if objective == "equal_error":
        return first < second
    for mine, theirs in zip(first, second, strict=True):
        if abs(mine - theirs) > SAME * (mine + theirs):
            return mine < theirs
    return False


def splits(units, parts, least):
    """Every way to split, those with more for lower indices first."""
    if parts == 1:
        yield (units,)
        return
    for first in range(units - least * (parts - 1), least - 1, -1):
        for rest in splits(units - first, parts - 1, least):
            yield (first, *rest)


def by_brute_force(objective, s2, units, least):
    """The first of the best splits."""
    positive = s2 if any(s2) else [1.0] * len(s2)
    best, value = None, None
    for split in splits(units, len(s2), least):
        found = cost(objective, positive, split)
        if best is None or less(objective, found, value):
            best, value = split, found
    return best


def by_plain_greedy(objective, s2, units, least):
    """From the minimum on, one unit after the other to the task that gains most."""
    counts = [least] * len(s2)
    for _ in range(units - sum(counts)):
        gains = [gain(objective, x, n) for x, n in zip(s2, counts, strict=True)]
        counts[max(range(len(s2)), key=lambda k: (gains[k], -k))] += 1
    return counts


def gain(objective, x, n):
    """What the next unit of a task is worth; first units before all others."""
    if x == 0.0:
        return (-1,)
    if n == 0:
        return (1, x)
    if objective == "equal_error":
        return (0, Fraction(x) / n, -n)
    if objective == "sum_of_variances":
        return (0, Fraction(x) / (n * (n + 1)))
    with mpmath.workdps(DIGITS):
        return (0, mpmath.sqrt(x) * (1 / mpmath.sqrt(n) - 1 / mpmath.sqrt(n + 1)))


def test_rounded_shares_are_not_optimal():
    """14 requests: rounding leaves an error of 3, where 26 / 11 is possible."""
    assert request_allocation([3, 26, 1], 14).tolist() == [2, 11, 1]
    rounded = request_allocation([3, 26, 1], 14, rounding="largest-remainder")
    assert rounded.tolist() == [1, 12, 1]


def test_ties_of_remainders_go_to_the_lower_index():
    """Shares 4.5 and 7.5, and 10.5 and 7.5: no float rounds them before they are compared."""
    assert request_allocation([3, 5], 12, rounding="largest-remainder").tolist() == [5, 7]
    assert request_allocation([7, 5], 18, rounding="largest-remainder").tolist() == [11, 7]
    assert request_allocation([3, 5], 12).tolist() == [5, 7]
    assert request_allocation([7, 5], 18).tolist() == [10, 8]


@pytest.mark.parametrize("rounding", ["exact", "largest-remainder"])
def test_whole_shares_of_the_three_objectives(rounding):
    s2 = [1.0, 4.0, 16.0]
    for objective, expected in (
        ("equal_error", [4, 16, 64]),
        ("sum_of_variances", [12, 24, 48]),
        ("sum_of_deviations", [17, 26, 41] if rounding != "exact" else [16, 26, 42]),
    ):
        seen = request_allocation(s2, 84, objective=objective, rounding=rounding)
        assert seen.tolist() == expected, objective
    for s2, options, expected in (
        ([0.0, 0.0, 0.0], {}, [3, 2, 2]),
        ([0.0, 1.0], {}, [1, 6]),
        ([0.0, 1.0], {"minimum": 0}, [0, 7]),
        ([0.0, 1.0], {"minimum": 3}, [3, 4]),
    ):
        assert request_allocation(s2, 7, rounding=rounding, **options).tolist() == expected


@given(
    st.lists(variances, min_size=1, max_size=4), st.integers(0, 9), st.integers(0, 2), objectives
)
@example([3.0, 26.0, 1.0], 11, 1, "equal_error")
@example([2.0, 2.0, 8.0], 4, 0, "sum_of_variances")
@example([5e-324, 1.7e308], 6, 0, "sum_of_deviations")
def test_no_split_is_better(s2, more, least, objective):
    units = more + least * len(s2)
    seen = request_allocation(s2, units, objective=objective, minimum=least)
    assert tuple(seen.tolist()) == by_brute_force(objective, s2, units, least)


@settings(max_examples=20)
@given(
    st.lists(variances, min_size=1, max_size=12).filter(any),
    st.integers(0, 400),
    st.integers(0, 3),
    objectives,
)
def test_it_is_the_plain_greedy(s2, more, least, objective):
    """Which gives one unit at a time from the minimum on and needs no start near the end."""
    units = more + least * len(s2)
    seen = request_allocation(s2, units, objective=objective, minimum=least)
    assert seen.tolist() == by_plain_greedy(objective, s2, units, least)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from([10**4, 10**6, 2**62]), objectives)
def test_large_totals_leave_nothing_to_exchange(seed, total, objective):
    """The last unit of every task was worth more than the next one of any other: an optimum."""
    rng = np.random.default_rng(seed)
    s2 = np.exp(rng.normal(scale=rng.choice([0.1, 2.0, 20.0]), size=40))
    seen = request_allocation(s2, total, objective=objective)
    assert seen.sum() == total
    following = max(gain(objective, x, int(n)) for x, n in zip(s2, seen, strict=True))
    for x, n in zip(s2, seen, strict=True):
        assert n == 1 or gain(objective, x, int(n) - 1) >= following


@given(
    st.lists(variances, min_size=2, max_size=6), st.integers(0, 60), st.integers(0, 2), objectives
)
def test_one_more_request_is_taken_from_nobody(s2, more, least, objective):
    """Largest remainders break this law."""
    total = more + least * len(s2)
    before, after = (
        request_allocation(s2, T, objective=objective, minimum=least) for T in (total, total + 1)
    )
    assert sorted(after - before) == [0] * (len(s2) - 1) + [1]


def test_rounded_shares_can_lose_a_request_when_there_are_more():
    before, after = (
        request_allocation([47, 44, 43, 38, 21], total, rounding="largest-remainder")
        for total in (22, 23)
    )
    assert (after < before).any()


@given(
    st.lists(st.floats(0.0, 1e12), min_size=1, max_size=7),
    st.integers(1, 60),
    objectives,
    st.integers(1, 5),
    st.integers(0, 9),
    st.sampled_from(["exact", "largest-remainder"]),
)
def test_requests_sum_exactly_and_keep_the_floor(s2, units, objective, quantum, minimum, rounding):
    total = quantum * (units + len(s2) * -(-minimum // quantum))
    result = request_allocation(
        s2, total, objective=objective, quantum=quantum, minimum=minimum, rounding=rounding
    )
    assert result.dtype == np.int64
    assert result.sum() == total
    assert (result % quantum == 0).all()
    assert (result >= minimum).all()
    order = np.argsort(s2, kind="stable")
    assert (np.diff(result[order]) >= -quantum).all()
    again = request_allocation(
        np.array(s2) * 2.0**40,
        total,
        objective=objective,
        quantum=quantum,
        minimum=minimum,
        rounding=rounding,
    )
    np.testing.assert_array_equal(again, result)  # the unit does not matter


@given(st.lists(few_values, min_size=1, max_size=6).filter(any), st.integers(0, 60), objectives)
def test_largest_remainders_of_exact_shares(s2, total, objective):
    """Against shares of 60 digits, where remainders that agree to 40 are ties."""
    degree = 1 + OBJECTIVES.index(objective)
    with mpmath.workdps(DIGITS):
        roots = [mpmath.root(mpmath.mpf(x), degree) for x in s2]
        shares = [total * x / mpmath.fsum(roots) for x in roots]
        whole = [int(mpmath.floor(x + SAME)) for x in shares]
        rest = [mpmath.nint((x - n) / SAME) for x, n in zip(shares, whole, strict=True)]
    order = sorted(range(len(s2)), key=lambda k: (-rest[k], k))
    for k in order[: total - sum(whole)]:
        whole[k] += 1
    seen = request_allocation(
        s2, total, objective=objective, minimum=0, rounding="largest-remainder"
    )
    assert seen.tolist() == whole
    assert all(abs(n - x) < 1 for n, x in zip(whole, shares, strict=True))


def test_ties_of_irrational_shares_go_to_the_lower_index():
    """Roots of 2 and 18 are as 1 and 3: of six 1.5 and 4.5."""
    seen = request_allocation(
        [2, 18], 6, objective="sum_of_variances", rounding="largest-remainder"
    )
    assert seen.tolist() == [2, 4]
    seen = request_allocation(
        [2, 128, 2], 9, objective="sum_of_deviations", minimum=0, rounding="largest-remainder"
    )
    assert seen.tolist() == [2, 6, 1]  # of 1.5, 6, 1.5


@given(st.integers(-400, 400), st.integers(0, 10**5), st.integers(0, 10**5))
def test_signs_of_sums_of_roots(p, x, y):
    with mpmath.workdps(DIGITS):
        value = p + mpmath.sqrt(y) - mpmath.sqrt(x)
        assert sign_of_roots(p, y, x) == (0 if abs(value) < SAME else mpmath.sign(value))


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_signs_of_whole_sums(p, a, b):
    """Squares, where the sum can vanish."""
    for number in (p, -p, a - b):
        assert sign_of_roots(number, b * b, a * a) == np.sign(number + b - a)


@given(st.integers(0, 2**200), st.sampled_from([1, 2, 3]))
def test_whole_roots(n, degree):
    root = whole_root(n, degree)
    assert root**degree <= n < (root + 1) ** degree
    assert whole_root(root**degree, degree) == root


@given(
    st.lists(st.integers(0, 10**20), min_size=1, max_size=5).filter(any),
    st.sampled_from([1, 2, 3]),
    st.integers(0, 80),
)
def test_bounds_of_roots(values, degree, bits):
    """The largest is exact, and every ratio to it lies between the bounds."""
    top = max(values)
    for value, (low, high) in zip(values, root_bounds(values, degree, bits), strict=True):
        assert 0 <= high - low <= 1
        size = top << bits
        assert low**degree * top <= value * size**degree <= high**degree * top
        assert value != top or low == high == size


def test_the_largest_total_fits_and_the_next_is_refused():
    for rounding in ("exact", "largest-remainder"):
        for objective in OBJECTIVES:
            seen = request_allocation(
                [1.0, 3.0, 2.0], 2**63 - 1, objective=objective, rounding=rounding
            )
            assert sum(seen.tolist()) == 2**63 - 1
    with pytest.raises(InvalidInput, match=r"total = 9223372036854775808, .* below 2\^63"):
        request_allocation([1.0], 2**63)


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("total", lambda: request_allocation([1.0, 2.0], 10, quantum=3)),
        ("total", lambda: request_allocation([1.0, 2.0], 1)),
        ("heterogeneity", lambda: request_allocation([-1.0], 4)),
        ("heterogeneity", lambda: request_allocation([math.nan], 4)),
        ("heterogeneity", lambda: request_allocation([[1.0]], 4)),
        ("objective", lambda: request_allocation([1.0], 4, objective="best")),
        ("rounding", lambda: request_allocation([1.0], 4, rounding="nearest")),
        ("rounding", lambda: request_allocation([1.0], 4, rounding=None)),
    ],
)
def test_refusals(argument, call):
    with pytest.raises(InvalidInput) as caught:
        call()
    assert caught.value.argument == argument
