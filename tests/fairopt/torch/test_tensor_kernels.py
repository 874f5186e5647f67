"""Gram matrices and combinations of tensors: exact oracles, any structure, any dtype, any range."""

from __future__ import annotations

import logging
import math
from collections import namedtuple
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairopt import InvalidInput, Solution, Status
from fairopt import torch as ft
from fairopt.kernels import tensors, tiles
from fairopt.torch import aggregating, segments, updates

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
UNIT = 2.0**-53
KNOWN_BOUND = (tensors.GRAM_BOUND + 1) * UNIT  # one more for the sum of pieces
PATHS = ["compiled", "device"]


@pytest.fixture(params=PATHS)
def path(request, monkeypatch):
    """The compiled kernels, and what runs on other devices, here on CPU tensors."""
    if request.param == "device":
        monkeypatch.setattr(segments, "readable", lambda column: all(x is None for x in column))
    return request.param


def flat(update):
    """All numbers of an update as fractions of exact value."""
    if isinstance(update, torch.Tensor):
        return [Fraction(x) for x in update.detach().double().reshape(-1).tolist()]
    if update is None:
        return []
    parts = update.values() if isinstance(update, dict) else update
    return [x for part in parts for x in flat(part)]


def exact_gram(rows):
    """Inner products as fractions, of rows of fractions."""
    return [
        [sum((a * b for a, b in zip(x, y, strict=True)), Fraction(0)) for y in rows] for x in rows
    ]


def assert_within(A, exact, bound):
    """Every entry within bound |g_i| |g_j|; squares, so that nothing is rounded."""
    assert (A == A.T).all()
    for i, row in enumerate(exact):
        for j, value in enumerate(row):
            error = abs(Fraction(float(A[i, j])) - value)
            assert error**2 <= Fraction(bound) ** 2 * exact[i][i] * exact[j][j]


def test_the_bound_is_below_the_error_that_solvers_are_told():
    assert ft.gram_error([torch.ones(1)]) >= KNOWN_BOUND
    for lanes in (2, 4, 8):
        assert tiles.TILE**2 % lanes == 0
        roundings = 1 + tiles.STEPS - 1 + tensors.RUNS - 1 + int(math.log2(lanes))
        assert (roundings + 2) * UNIT <= ft.gram_error([torch.ones(1)])
    assert tiles.lanes_of({"avx": True, "avx512f": True}) == 8
    assert tiles.lanes_of({"avx": True}) == 4
    assert tiles.lanes_of({}) == 2


def leaf(rng, shape, dtype, kind):
    """A tensor of one of many layouts."""
    numbers = torch.from_numpy(rng.normal(size=(*shape, 2)) * 2.0 ** rng.integers(-3, 4)).to(dtype)
    plain = numbers[..., 0]  # every second number
    if kind == "strided":
        return plain
    if kind == "transposed":
        return plain.contiguous().mT if plain.ndim > 1 else plain.flip(0) if plain.ndim else plain
    if kind == "expanded":
        return plain.reshape(-1)[:1].expand(shape) if plain.ndim and plain.numel() else plain
    if kind == "parameter":
        return torch.nn.Parameter(plain.contiguous())
    if kind == "graph":
        return plain.contiguous().requires_grad_() * 2.0
    return plain.contiguous()


Pair = namedtuple("Pair", "left right")
LAYOUTS = ["plain", "strided", "transposed", "expanded", "parameter", "graph"]
SHAPES = [(), (0,), (1,), (5,), (3, 3), (2, 2, 2, 2), (131,), (300,)]


@st.composite
def structures(draw):
    """K updates of one random structure, the leaves of any layout and dtype, None among them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    K, T = draw(st.integers(1, 9)), draw(st.integers(1, 4))
    shapes = draw(st.lists(st.sampled_from(SHAPES), min_size=T, max_size=T))
    mixed, one = draw(st.booleans()), draw(st.sampled_from(DTYPES))
    made = []
    for _ in range(K):
        leaves = []
        for shape in shapes:
            dtype = DTYPES[rng.integers(4)] if mixed else one
            x = leaf(rng, shape, dtype, LAYOUTS[rng.integers(len(LAYOUTS))])
            leaves.append(x if rng.random() < 0.85 else None)
        made.append(leaves)
    form = draw(st.sampled_from(["list", "tuple", "dict", "nested"]))
    if form == "tuple":
        return [tuple(leaves) for leaves in made]
    if form == "dict":
        return [dict(enumerate(leaves)) for leaves in made]
    if form == "nested":
        return [Pair({"a": leaves[:1]}, leaves[1:]) for leaves in made]
    return made


def leaves_of(update):
    return updates._leaves(update)


def filled(made):
    """Rows of fractions, zeros in place of None."""
    table = [leaves_of(update) for update in made]
    sizes = [
        max((x.numel() for x in column if x is not None), default=0)
        for column in zip(*table, strict=True)
    ]
    return [
        [v for x, n in zip(row, sizes, strict=True) for v in (flat(x) or [Fraction(0)] * n)]
        for row in table
    ]


@settings(deadline=None)
@given(structures())
def test_gram_of_random_structures_is_exact_to_its_bound(made):
    assert_within(ft.gram(made), exact_gram(filled(made)), KNOWN_BOUND)
    assert np.allclose(updates.gram_matrices(updates.columns(made)).sum(0), ft.gram(made))


@settings(deadline=None)
@given(structures(), st.integers(0, 2**32 - 1))
def test_combinations_of_random_structures_are_sums_rounded_once(made, seed):
    rng = np.random.default_rng(seed)
    w = rng.normal(size=len(made)) * (rng.random(len(made)) < 0.8)
    got = ft.combine(made, w)
    assert type(got) is type(made[0])
    table = [leaves_of(update) for update in made]
    for total, column in zip(leaves_of(got), zip(*table, strict=True), strict=True):
        first = next((x for x in column if x is not None), None)
        if first is None:
            assert total is None
            continue
        assert (total.dtype, total.shape) == (first.dtype, first.shape)
        assert total.is_contiguous()
        assert not total.requires_grad
        pairs = [(x, Fraction(float(a))) for x, a in zip(column, w, strict=True) if x is not None]
        exact = [sum(p) for p in zip(*([a * v for v in flat(x)] for x, a in pairs), strict=True)]
        sizes = [
            sum(map(abs, p))
            for p in zip(*([a * v for v in flat(x)] for x, a in pairs), strict=True)
        ]
        half = Fraction(torch.finfo(first.dtype).eps) / 2
        least = Fraction(torch.finfo(first.dtype).smallest_normal) * 2 * half
        for x, e, size in zip(flat(total), exact, sizes, strict=True):
            twice = half + Fraction(2) ** -25 if half > Fraction(2) ** -24 else half
            assert abs(x - e) <= twice * abs(e) + Fraction(12 * UNIT) * size + least


@pytest.mark.parametrize("D", [1, 47, 1000, 100_003, 2_000_003])
@pytest.mark.parametrize("draw", ["positive", "signs", "constant"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_long_sums_against_exact_ones(D, draw, dtype):
    """Equal terms are lost in one direction: they show what any longer run would err by."""
    rng = np.random.default_rng(D)
    if draw == "constant":
        rows = torch.full((2, D), 0.1, dtype=dtype) * torch.tensor([[1.0], [3.0]], dtype=dtype)
    else:
        numbers = rng.uniform(0.5, 1.0, (2, D)) if draw == "positive" else rng.normal(size=(2, D))
        rows = torch.from_numpy(numbers).to(dtype)
    A = ft.gram(list(rows))
    exact = exact_sums(rows)
    for i in range(2):
        for j in range(2):
            size = math.sqrt(exact[i][i] * exact[j][j])
            assert abs(Fraction(float(A[i, j])) - exact[i][j]) <= KNOWN_BOUND * size


def exact_sums(rows):
    """Inner products of long rows as fractions, by halves of the digits in Python's integers."""
    whole = [[int(x) for x in np.ldexp(row.double().numpy(), 60).tolist()] for row in rows]
    return [
        [Fraction(sum(a * b for a, b in zip(x, y, strict=True)), 2**120) for y in whole]
        for x in whole
    ]


def test_terms_that_a_longer_run_would_lose():
    """One large product, then the largest that rounding to even drops: each of a lane's is lost.

    The order of additions is that of the bound, or more would be.
    """
    D = tensors.BLOCK
    x = torch.full((D,), 2.0**-27, dtype=torch.float64)
    y = torch.full((D,), 2.0**-26, dtype=torch.float64)  # products of 2^-53, half an ulp of one
    x[0] = y[0] = 1.0
    lost = (1.0 + (D - 1) * UNIT - ft.gram([x, y])[0, 1]) / UNIT
    assert 0.0 < lost <= tensors.GRAM_BOUND
    assert lost >= tiles.STEPS - 2


def test_pieces_and_threads_do_not_matter(monkeypatch):
    rows = [
        {"a": torch.randn(1000), "b": torch.randn(7, 3), "c": torch.randn(())} for _ in range(5)
    ]
    w = np.linspace(-1.0, 2.0, 5)
    one, direction = ft.gram(rows), ft.combine(rows, w)
    exact = exact_gram([flat(row) for row in rows])
    monkeypatch.setattr(segments, "PIECE", 100)
    before = torch.get_num_threads()
    parted = [(ft.gram(rows), ft.combine(rows, w))]
    try:
        torch.set_num_threads(3)
        parted.append((ft.gram(rows), ft.combine(rows, w)))
    finally:
        torch.set_num_threads(before)
    assert_within(parted[0][0], exact, KNOWN_BOUND)
    assert (parted[0][0] == parted[1][0]).all()
    assert np.allclose(one, parted[0][0], rtol=1e-14)
    for _, other in parted:
        for key in "abc":
            assert torch.equal(other[key], direction[key])


def test_every_number_of_16_bits_is_read_and_written():
    for dtype in (torch.bfloat16, torch.float16):
        bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
        numbers = bits.view(dtype)
        numbers = numbers[numbers.isfinite()]
        assert torch.equal(ft.combine([numbers], [1.0]), numbers)
        wide = ft.combine([torch.zeros(len(numbers), dtype=torch.float64), numbers], [0.5, 1.0])
        assert torch.equal(wide, numbers.double())
    for value in (math.inf, -math.inf, math.nan):
        for dtype in DTYPES:
            x = torch.tensor([value, 1.0], dtype=dtype)
            got = ft.combine([x], [2.0])
            torch.testing.assert_close(got, 2.0 * x, equal_nan=True)


def test_rounding_to_narrow_dtypes_is_that_of_torch():
    rows = [torch.randn(4001, dtype=torch.float64) for _ in range(3)]
    wide = ft.combine([torch.zeros(4001).double(), *rows], [1e-30, 1.0, 2.0, -0.3])
    for dtype in DTYPES:
        mixed = [torch.zeros(4001, dtype=dtype), *rows]
        assert torch.equal(ft.combine(mixed, [1e-30, 1.0, 2.0, -0.3]), wide.to(dtype))


def test_a_weight_of_zero_does_not_read_its_update(path):
    rows = [torch.ones(3), torch.full((3,), math.nan)]
    assert ft.combine(rows, [2.0, 0.0]).tolist() == [2.0, 2.0, 2.0]
    assert ft.combine(rows, [0.0, 0.0]).tolist() == [0.0, 0.0, 0.0]


def test_both_paths_agree(path, monkeypatch):
    rng = np.random.default_rng(4)
    made = [
        {"a": torch.from_numpy(rng.normal(size=(5, 70))).float(), "b": None, "c": torch.tensor(x)}
        for x in (1.0, 2.0, 3.0)
    ]
    made[1]["b"] = torch.ones(300, dtype=torch.bfloat16)
    made[2]["b"] = torch.ones(300, dtype=torch.float64)
    for block in (1 << 22, 3 * 64):
        monkeypatch.setattr(updates, "BLOCK", block)
        assert_within(ft.gram(made), exact_gram(filled(made)), ft.gram_error(made))
        direction, solution = ft.aggregate(made, ft.FairGrad(2.0))
        assert solution.ok
        assert direction["b"].dtype == torch.bfloat16
        torch.testing.assert_close(direction, ft.combine(made, solution.weights), rtol=0, atol=0)
        _, rows = ft.aggregate(made, ft.Mean(), per="tensor")
        assert rows.weights.shape == (3, 3)


def test_8_bit_floats_are_read_by_way_of_float32():
    x = torch.tensor([1.0, -0.5, 3.0]).to(torch.float8_e4m3fn)
    assert ft.gram([x])[0, 0] == 10.25
    assert torch.equal(ft.combine([x], [2.0]).float(), torch.tensor([2.0, -1.0, 6.0]))


def test_nothing_but_the_matrix_leaves_a_device(monkeypatch):
    monkeypatch.setattr(segments, "readable", lambda column: all(x is None for x in column))
    shapes = []
    plain = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda x: shapes.append(tuple(x.shape)) or plain(x))
    made = [{"a": torch.randn(4, 5), "b": [torch.randn(7), torch.randn(3)]} for _ in range(3)]
    ft.aggregate(made, ft.FairGrad(2.0))
    assert shapes == [(3, 3)]
    ft.aggregate(made, ft.FairGrad(2.0), per="tensor")
    assert shapes[1:] == [(3, 3, 3)]


@pytest.mark.parametrize(
    "method", [ft.FairGrad(2.0), ft.MinNorm(), ft.ConflictAverse(0.4)], ids=repr
)
def test_the_update_that_is_not_finite_is_named(method):
    made = [{"w": [torch.ones(2), torch.ones(3)]} for _ in range(3)]
    made[2]["w"][1][1] = math.nan
    for per in ("all", "tensor"):
        with pytest.raises(InvalidInput) as caught:
            ft.aggregate(made, method, per=per)
        assert caught.value.argument == "updates[2]['w'][1]"
        assert math.isnan(caught.value.value)


def test_refusals_name_the_tensor():
    good = {"w": torch.ones(2), "b": [torch.ones(1)]}
    for bad, value in (
        (torch.ones(1, dtype=torch.int64), torch.int64),
        (torch.ones(1, dtype=torch.complex64), torch.complex64),
        (torch.ones(3), (3,)),
        (torch.ones(1).to_sparse(), torch.sparse_coo),
    ):
        with pytest.raises(InvalidInput) as caught:
            ft.gram([good, good, {"b": [bad], "w": torch.ones(2)}])
        assert caught.value.argument == "updates[2]['b'][0]"
        assert caught.value.value == value
    for nothing in ([[], []], [{}, {}]):
        with pytest.raises(InvalidInput, match="at least one tensor"):
            ft.aggregate(nothing, ft.MinNorm())
    assert ft.combine([[], []], [1.0, 1.0]) == []


SCALED = [
    ft.FairGrad(0.0),
    ft.FairGrad(0.5),
    ft.FairGrad(1.0),
    ft.FairGrad(2.0),
    ft.FairGrad(2.0, priority=[1.0, 2.0, 3.0]),
    ft.ConflictAverse(0.4),
    ft.MinNorm(),
    ft.DualCone(),
    ft.UPGrad(),
    ft.Mean(),
]


@pytest.mark.parametrize("method", SCALED, ids=repr)
@pytest.mark.parametrize("power", [-900, -565, -300, 300, 565, 900])
def test_squares_out_of_range_are_solved_in_another_unit(method, power):
    """Entries of 1e-170 and 1e170: the direction is that of ordinary units, scaled as it must."""
    rows = [torch.from_numpy(x) for x in np.random.default_rng(0).normal(size=(3, 40))]
    direction, solution = ft.aggregate(rows, method)
    moved, other = ft.aggregate(
        [torch.ldexp(x, torch.tensor(1)) * 2.0 ** (power - 1) for x in rows], method
    )
    degree = ft.scaling.degree(method)
    if abs(degree * power) > 1000:  # the weights are beyond float64
        assert other.status == Status.OUT_OF_RANGE
        return
    assert solution.ok
    assert other.ok
    assert other.residual <= 1e-9
    np.testing.assert_allclose(
        np.log2(other.weights), np.log2(solution.weights) - degree * power, rtol=1e-9
    )
    back = torch.from_numpy(np.ldexp(moved.numpy(), -round(power * (1.0 - degree))))
    fraction = 2.0 ** (power * (1.0 - degree) - round(power * (1.0 - degree)))
    torch.testing.assert_close(back, direction * fraction, rtol=1e-7, atol=1e-9)


def test_tasks_far_apart_in_length():
    """One of 1e-170 beside one of 1: a common unit holds both; of 1e-300 and 1e300 none does."""
    x = torch.from_numpy(np.random.default_rng(1).normal(size=(2, 30)))
    _, solution = ft.aggregate([x[0] * 1e-170, x[1]], ft.FairGrad(1.0))
    assert solution.ok
    _, solution = ft.aggregate([x[0] * 1e-300, x[1] * 1e300], ft.FairGrad(1.0))
    assert solution.status == Status.OUT_OF_RANGE
    _, solution = ft.aggregate([torch.zeros(30).double(), x[1]], ft.FairGrad(1.0))
    assert solution.status == Status.PARETO_STATIONARY  # a task without gradient is what it is


@pytest.mark.parametrize("scale", [1e-170, 1e170])
def test_methods_of_unknown_degree_are_not_called_solved(scale):
    class Own:
        def solve(self, gram, *, gram_error=None):
            if not np.isfinite(gram).all():
                raise InvalidInput("gram[0, 0]", math.inf, "finite")
            return Solution(np.full(2, 0.5), Status.OPTIMAL, 0.0, 0)

    rows = [torch.ones(3).double() * scale, torch.ones(3).double()]
    direction, solution = ft.aggregate(rows, Own())
    assert solution.status == Status.OUT_OF_RANGE
    assert direction.isfinite().all()
    Own.degree = 0.0
    assert ft.aggregate(rows, Own())[1].ok


def test_per_tensor_only_the_position_out_of_range_is_moved():
    x = torch.from_numpy(np.random.default_rng(2).normal(size=(2, 2, 9)))
    direction, solution = ft.aggregate(
        [[a, b * 1e-170] for a, b in x], ft.FairGrad(1.0), per="tensor"
    )
    assert solution.ok
    for t, scale in enumerate((1.0, 1e-170)):
        alone, one = ft.aggregate([u[t] * scale for u in x], ft.FairGrad(1.0))
        torch.testing.assert_close(direction[t], alone, rtol=0.0, atol=0.0)
        np.testing.assert_array_equal(solution.weights[t], one.weights)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("per", ["all", "tensor"])
def test_a_direction_that_overflows_its_dtype_is_not_an_answer(dtype, per, caplog, path):
    """At alpha = 10 a direction is long where gradients are short."""
    aggregating._warn_overflow_once.cache_clear()
    rows = [[2.0**-16 * row.to(dtype), torch.ones(2)] for row in torch.eye(2)]
    method = ft.FairGrad(np.inf) if dtype == torch.float16 else Huge()
    with caplog.at_level(logging.WARNING, logger="fairopt.torch"):
        for _ in range(2):
            direction, solution = ft.aggregate([row[:1] for row in rows], method, per=per)
    assert not solution.ok
    assert solution.status == Status.OUT_OF_RANGE
    assert direction[0].isinf().any()
    assert len([r for r in caplog.records if "overflows" in r.message]) == 1
    if dtype == torch.float16 and per == "tensor":
        _, solution = ft.aggregate(rows, method, per=per)
        assert solution.status.tolist() == [Status.OUT_OF_RANGE, Status.OPTIMAL]


def test_a_direction_beyond_float64_is_not_an_answer():
    """Gradients so long that the matrix is solved in another unit: the weights show nothing."""

    class Doubled:
        degree = 0.0

        def solve(self, gram, *, gram_error=None):
            return Solution(np.full(2, 2.0**30), Status.OPTIMAL, 0.0, 0)

    rows = [2.0**power * torch.ones(3).double() for power in (1000, 999)]
    direction, solution = ft.aggregate(rows, Doubled())
    assert direction.isinf().all()
    assert solution.status == Status.OUT_OF_RANGE
    assert ft.aggregate([row * 2.0**-40 for row in rows], Doubled())[1].ok


class Huge:
    """Weights that float64 holds, and a direction that float32 does not."""

    def solve(self, gram, *, gram_error=None):
        weights = np.full(np.shape(gram)[:-1], 1e80)
        if weights.ndim == 1:
            return Solution(weights, Status.OPTIMAL, 0.0, 0)
        zeros = np.zeros(len(gram), dtype=np.int64)
        return Solution(weights, zeros, np.zeros(len(gram)), zeros)


def test_a_direction_near_the_largest_number_is_an_answer():
    rows = [torch.full((4,), 3e38)]
    direction, solution = ft.aggregate(rows, ft.Mean())
    assert solution.ok
    assert torch.equal(direction, rows[0])
    assert ft.aggregate([x * 200 for x in [torch.full((4,), 300.0).half()]], ft.Mean())[1].ok


@given(st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=20))
def test_sums_of_pieces_are_rounded_once(numbers):
    terms = [x * y for x in numbers for y in (1.0, 1e-9, -1.0)]  # which nearly cancel
    found = segments._sum([np.array([[x]]) for x in terms], 1)[0, 0]
    slack = len(terms) * 2.0**-100 * math.fsum(map(abs, terms))
    assert abs(found - math.fsum(terms)) <= 2.0**-52 * abs(found) + slack


@pytest.mark.parametrize("entries", [1, 5])
def test_views_that_stand_for_their_negatives(entries):
    """The imaginary part of a conjugate is one: its memory holds the other sign."""
    view = torch.complex(torch.zeros(entries), torch.arange(1.0, entries + 1.0)).conj().imag
    other = torch.ones(entries)
    assert view.is_neg()
    np.testing.assert_array_equal(ft.gram([view, other]), ft.gram([view.clone(), other]))
    assert ft.gram([view, other])[0, 1] < 0.0
    torch.testing.assert_close(ft.combine([view, other], [1.0, 0.0]), view.clone())
