"""What a float64 Gram matrix leaves open is solved from twice the digits, and nothing else is."""

from __future__ import annotations

import math
import pickle
from dataclasses import fields
from fractions import Fraction

import numpy as np
import pytest
import torch

import fairopt
from benchmarks.problems import degenerate_gradients as degenerate
from benchmarks.problems import exact_directions as oracle
from fairopt import Solution, Status
from fairopt import torch as ft
from fairopt.torch import double_double, escalation
from tests.fairopt.torch.test_torch import METHODS

MARGINS = {
    torch.float64: (1e-5, 1e-7, 3e-8, 1e-9, 1e-11, 1e-12),
    torch.float32: (1e-5, 1e-7, 3e-8, 1e-9, 1e-11, 1e-12),
    torch.bfloat16: (1e-5, 1e-7, 3e-8, 1e-12),
    torch.float16: (1e-5, 1e-7),  # the smallest float16 is 6e-8
}
HALF_ULP = {dtype: 0.5 * torch.finfo(dtype).eps for dtype in MARGINS}
THIRD = [0.0, 0.0, 1.0]
TIGHT = 1.0 + 1e-9  # bounds are attained; the oracle's own last root is rounded


def wedge(margin, dtype=torch.float64):
    """Two tasks that are opposite but for a margin, and a third one (field case S2)."""
    rows = [[1.0, 0.0, 0.0], [-1.0, margin, 0.0], [0.3, -1.0, 0.2]]
    return [torch.tensor(row, dtype=torch.float64).to(dtype) for row in rows]


def exactly(weights, updates):
    """sum_k w_k g_k as fractions."""
    columns = zip(*([Fraction(x) for x in u.double().tolist()] for u in updates), strict=True)
    return [
        sum((w * x for w, x in zip(weights, column, strict=True)), Fraction(0))
        for column in columns
    ]


def off(direction, exact):
    """Their distance."""
    pairs = zip(direction.double().tolist(), exact, strict=True)
    return oracle.root(sum((Fraction(a) - b) ** 2 for a, b in pairs))


def size(numbers):
    return oracle.root(sum((x * x for x in numbers), Fraction(0)))


@pytest.fixture
def formed(monkeypatch):
    """Counts how often a Gram matrix of twice the digits is formed, and of how many positions."""
    counted = []
    plain = escalation.double_gram

    def counting(positions, gram):
        counted.append(len(positions))
        return plain(positions, gram)

    monkeypatch.setattr(escalation, "double_gram", counting)
    return counted


def sought(method, updates):
    """The exact projection as fractions, and the unit of `direction_error`."""
    A = oracle.exact_gram(torch.stack([u.double() for u in updates]).numpy())
    K = len(A)
    if isinstance(method, ft.UPGrad):
        weights = oracle.exact_upgrad(A, [1.0 / K] * K)
        return exactly(weights, updates), sum(oracle.root(A[k][k]) for k in range(K)) / K
    r = [1.0] * K
    if isinstance(method, ft.DualCone):
        r = [1.0 / K] * K if method.reference is None else method.reference
    weights = oracle.exact_projection(A, r)
    return exactly(weights, updates), oracle.length(A, [Fraction(x) for x in r])


@pytest.mark.parametrize("dtype", MARGINS)
@pytest.mark.parametrize("method", [ft.DualCone(THIRD), ft.UPGrad(), ft.FairGrad(0.0)], ids=repr)
def test_thin_wedges_are_decided(method, dtype, formed):
    for margin in MARGINS[dtype]:
        updates = wedge(margin, dtype)
        direction, solution = ft.aggregate(updates, method)
        assert solution.ok
        exact, unit = sought(method, updates)
        rounding = HALF_ULP[dtype] * size(exact) + 1e-7 * (dtype == torch.float16)  # subnormals
        assert off(direction, exact) <= solution.direction_error * unit * TIGHT + rounding
        assert solution.direction_error <= 1e-5
        assert direction.dtype == dtype
    assert formed == [1] * len(MARGINS[dtype])


def test_sums_in_float64_would_lose_the_direction():
    """With one float each, or two and plain sums: the terms are 1e12 times the direction."""
    updates = wedge(1e-12)
    direction, solution = ft.aggregate(updates, ft.DualCone(THIRD))
    exact, _ = sought(ft.DualCone(THIRD), updates)
    assert off(direction, exact) < 1e-6
    assert off(ft.combine(updates, solution.weights), exact) > 1e-6
    assert off(ft.combine(updates, solution.weights, np.zeros(3)), exact) > 1e-6
    torch.testing.assert_close(ft.combine(updates, solution.weights, solution.low), direction)


@pytest.mark.parametrize("name", degenerate.FAMILIES)
def test_degenerate_gradients_are_within_the_bound(name):
    rng = np.random.default_rng((7, len(name), ord(name[0])))
    for _ in range(12):
        K = int(rng.integers(2, 6))
        G = degenerate.FAMILIES[name](K, rng)
        updates = list(torch.from_numpy(G))
        r = degenerate.reference(K, rng)[: len(G)].tolist()
        for method in (ft.DualCone(r), ft.UPGrad()):
            direction, solution = ft.aggregate(updates, method)
            exact, unit = sought(method, updates)
            if unit == 0.0 or not math.isfinite(solution.direction_error):
                continue
            rounding = 4e-16 * len(G) * float(np.abs(solution.weights) @ np.linalg.norm(G, axis=1))
            if solution.gram_error < 1e-20:  # twice the digits, rounded once
                rounding = HALF_ULP[torch.float64] * size(exact) * 1.1
            assert off(direction, exact) <= solution.direction_error * unit * TIGHT + rounding
            assert not solution.ok or solution.direction_error <= 1e-5


def test_more_is_decided_than_by_the_gram_matrix():
    alone, together = 0, 0
    for seed in range(60):
        G = degenerate.FAMILIES["thin"](4, np.random.default_rng(seed))
        alone += ft.DualCone().solve(G @ G.T).ok
        together += ft.aggregate(list(torch.from_numpy(G)), ft.DualCone())[1].ok
    assert alone < 50
    assert together > 0.9 * 60


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_nothing_is_computed_where_the_matrix_decides(method, formed):
    rng = np.random.default_rng(3)
    updates = [{"a": torch.from_numpy(rng.normal(size=9)), "b": None} for _ in range(3)]
    for per in ("all", "tensor"):
        assert ft.aggregate([u["a"] for u in updates], method, per=per)[1].ok
    assert ft.aggregate(updates, method)[1].ok
    assert formed == []


@pytest.mark.parametrize(
    "method",
    [ft.FairGrad(2.0), ft.FairGrad(np.inf), ft.MinNorm(), ft.ConflictAverse(0.4), ft.Mean()],
    ids=repr,
)
def test_nothing_is_computed_for_methods_that_cannot_use_it(method, formed):
    for margin in (1e-7, 1e-8):
        ft.aggregate(wedge(margin), method)
    assert formed == []


def test_a_task_without_gradient_costs_nothing(formed):
    """It is stationary exactly, which no digits change."""
    updates = [torch.tensor([1.0, 0.0]), torch.zeros(2)]
    assert ft.aggregate(updates, ft.FairGrad(0.0))[1].status == Status.PARETO_STATIONARY
    assert formed == []


def test_exactly_opposite_tasks_stay_what_they_are(formed):
    """No digits decide the projection; what is stationary is stationary."""
    updates = wedge(0.0)
    direction, solution = ft.aggregate(updates, ft.FairGrad(0.0))
    assert solution.status == Status.PARETO_STATIONARY
    torch.testing.assert_close(direction, torch.zeros(3, dtype=torch.float64))
    np.testing.assert_allclose(solution.certificate, [0.5, 0.5, 0.0], atol=1e-7)
    assert ft.aggregate(updates, ft.DualCone(THIRD))[1].status == Status.UNDECIDED
    assert ft.aggregate(updates, ft.UPGrad())[1].status == Status.UNDECIDED
    assert formed == [1, 1, 1]


def test_it_is_formed_once_however_often_it_is_asked_for(formed):
    class Twice(ft.DualCone):
        def solve_double(self, gram):
            gram()
            return super().solve_double(gram)

    assert ft.aggregate(wedge(1e-7), Twice(THIRD))[1].ok
    assert formed == [1]


def test_backward_decides_too(formed):
    p = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    rows = wedge(1e-7)
    solution = ft.backward([(p * row).sum() for row in rows], [p], ft.DualCone(THIRD))
    assert solution.ok
    torch.testing.assert_close(p.grad, torch.tensor([0.0, 0.0, 0.2]).double(), atol=1e-8, rtol=0)
    assert formed == [1]


def structured():
    """Positions of every kind: decided, undecided, undecided with large cancelling weights."""
    rng = np.random.default_rng(1)
    plain = [torch.from_numpy(rng.normal(size=(2, 3))) for _ in range(3)]
    names = zip(plain, wedge(1e-7), wedge(1e-11, torch.float32), strict=True)
    return [{"a": a, "b": [b, None], "c": c.reshape(3, 1)} for a, b, c in names]


def test_per_tensor_only_the_open_positions_are_solved_again(formed):
    updates = structured()
    method = ft.DualCone(THIRD)
    direction, solution = ft.aggregate(updates, method, per="tensor")
    assert formed == [1, 1]
    assert solution.ok
    assert pickle.loads(pickle.dumps(solution)) == solution
    for name in (field.name for field in fields(Solution)):
        value = getattr(solution, name)
        if name in ("weights", "low"):
            assert value.shape == (4, 3)
        elif value is not None:
            assert np.shape(value) == (4,)
    leaves = [("a", None, 0), ("b", 0, 1), ("c", None, 3)]
    for key, index, position in leaves:
        part = [u[key] if index is None else u[key][index] for u in updates]
        alone, one = ft.aggregate(part, method)
        got = direction[key] if index is None else direction[key][index]
        torch.testing.assert_close(got, alone, rtol=0.0, atol=0.0)
        np.testing.assert_array_equal(solution.weights[position], one.weights)
        low = np.zeros(3) if one.low is None else one.low
        np.testing.assert_array_equal(solution.low[position], low)
        assert solution.iterations[position] == one.iterations
        assert solution.direction_error[position] == one.direction_error
    assert direction["b"][1] is None
    assert (solution.gram_error < 1e-20).tolist() == [False, True, False, True]


def test_structures_and_unused_parameters(formed):
    """The same wedge in pieces: None is zero, and other dtypes and shapes are the same numbers."""
    rows = torch.tensor([[1, 0, 0], [-1, 2.0**-24, 0], [0.25, -1, 0.1875]], dtype=torch.float64)
    x, y, z = (column.tolist() for column in rows.T)
    whole, one = ft.aggregate(list(rows), ft.UPGrad())
    pieces = [
        {"x": torch.tensor([x[0]]), "y": [None, torch.tensor(z[0], dtype=torch.bfloat16)]},
        {"y": [torch.tensor([[y[1]]]), None], "x": torch.tensor([x[1]])},
        {"x": torch.tensor([x[2]]), "y": [torch.tensor([[y[2]]]), rows[2, 2].bfloat16()]},
    ]
    parted, other = ft.aggregate(pieces, ft.UPGrad())
    assert one.ok
    assert other == one
    assert formed == [1, 3]
    flat = torch.cat([parted["x"], *(part.float().reshape(-1) for part in parted["y"])]).double()
    assert abs(flat - whole)[:2].max() <= 1e-7
    assert abs(flat - whole)[2] <= 2.0**-8 * whole[2]  # that of bfloat16
    assert parted["y"][1].dtype == torch.bfloat16


def test_blocks_do_not_matter(monkeypatch):
    rng = np.random.default_rng(5)
    G = rng.normal(size=(3, 500))
    G[1] = -G[0] + 1e-9 * G[1]
    whole, one = ft.aggregate(list(torch.from_numpy(G)), ft.UPGrad())
    monkeypatch.setattr(double_double, "BLOCK", 7)
    parted, other = ft.aggregate(list(torch.from_numpy(G)), ft.UPGrad())
    assert one.ok
    assert other.ok
    assert other.gram_error > one.gram_error
    torch.testing.assert_close(parted, whole, rtol=1e-7, atol=1e-9)


class Scripted:
    """A method of a user: UNDECIDED at first, then as it is told."""

    def __init__(self, again):
        self.again = again

    def solve(self, gram, *, gram_error=None):
        weights = np.full(len(gram), 0.5)
        return Solution(weights, Status.UNDECIDED, 1.0, 3, direction_error=0.1)

    def solve_double(self, gram):
        high, low, error = gram()
        assert high.shape == low.shape
        assert error < 1e-29
        return self.again


@pytest.mark.parametrize(
    ("status", "error", "taken"),
    [
        (Status.OPTIMAL, 1e-9, True),
        (Status.ROUNDING_LIMITED, 1e-9, True),
        (Status.PARETO_STATIONARY, math.nan, True),
        (Status.UNDECIDED, 0.01, True),
        (Status.UNDECIDED, 0.2, False),
        (Status.UNDECIDED, math.nan, False),
        (Status.STEP_LIMIT, 0.01, False),
        (Status.OUT_OF_RANGE, 0.01, False),
    ],
)
def test_the_better_answer_is_taken(status, error, taken):
    again = Solution(np.array([2.0, 0.0]), status, 0.0, 4, direction_error=error)
    direction, solution = ft.aggregate([torch.ones(2), torch.ones(2)], Scripted(again))
    assert solution.status == (status if taken else Status.UNDECIDED)
    assert solution.iterations == (7 if taken else 3)
    torch.testing.assert_close(direction, torch.full((2,), 2.0 if taken else 1.0))


def test_a_method_may_decline():
    _, solution = ft.aggregate([torch.ones(2), torch.ones(2)], Scripted(None))
    assert solution.status == Status.UNDECIDED


def test_stacks_of_references_and_priorities_decline():
    gram = pytest.fail
    assert ft.DualCone(np.eye(3)).solve_double(gram) is None
    assert ft.FairGrad(np.array([0.0, 0.0])).solve_double(gram) is None
    assert ft.FairGrad(0.0, np.ones((2, 3))).solve_double(gram) is None
    assert ft.FairGrad(1.0).solve_double(gram) is None


def test_priorities_are_kept():
    updates = wedge(1e-9)
    _, solution = ft.aggregate(updates, ft.FairGrad(0.0, [1.0, 2.0, 3.0]))
    A = oracle.exact_gram(torch.stack(updates).numpy())
    exact = oracle.exact_projection(A, [1.0, 2.0, 3.0])
    parts = np.transpose([solution.weights] + ([] if solution.low is None else [solution.low]))
    assert solution.require() is solution
    assert oracle.distance(A, parts, exact, [1.0, 2.0, 3.0]) <= solution.direction_error * TIGHT


def test_weights_of_a_method_with_second_floats_are_combined_with_them():
    class Two:
        def solve(self, gram, *, gram_error=None):
            low = np.array([1.0, 0.0])
            return Solution(np.full(2, 2.0**60), Status.OPTIMAL, 0.0, 0, low=low)

    updates = [torch.tensor([1.0, 3.0]), torch.tensor([-1.0, -3.0])]
    assert ft.aggregate(updates, Two())[0].tolist() == [1.0, 3.0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_sums_of_two_floats_are_exact_but_for_one_rounding(dtype):
    rng = np.random.default_rng(2)
    for scale in (1.0, 1e9, 1e15):
        rows = [torch.from_numpy(rng.normal(size=5)).to(dtype) for _ in range(3)]
        rows.append(sum(row.double() for row in rows).neg().to(dtype))  # nearly cancels
        weights = scale * (1.0 + 1e-9 * rng.normal(size=4))
        low = weights * 2.0**-54 * rng.uniform(-1.0, 1.0, size=4)
        got = ft.combine(rows, weights, low)
        pairs = zip(weights, low, strict=True)
        exact = exactly([Fraction(a) + Fraction(b) for a, b in pairs], rows)
        for x, e in zip(got.double().tolist(), exact, strict=True):
            if abs(e) < torch.finfo(dtype).max:
                assert abs(Fraction(x) - e) <= abs(e) * Fraction(HALF_ULP[dtype] * 1.01) + 6e-8 * (
                    dtype == torch.float16
                )


def test_two_floats_far_from_one():
    rows = [
        torch.tensor([1e-150, 1e-160], dtype=torch.float64),
        torch.tensor([-1e-150, 1e-160], dtype=torch.float64),
    ]
    got = ft.combine(rows, [1e300, 1e300], [0.0, 0.0])
    torch.testing.assert_close(got, torch.tensor([0.0, 2e140], dtype=torch.float64))
    assert ft.combine([[None], [None]], [1.0, 1.0], [0.0, 0.0]) == [None]
    assert ft.combine([torch.ones(0), torch.ones(0)], [1.0, 1.0], [0.0, 0.0]).shape == (0,)
    with pytest.raises(fairopt.InvalidInput, match="low"):
        ft.combine(rows, [1.0, 1.0], [0.0, math.nan])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("block", [5, 64])
def test_the_gram_matrix_errs_by_less_than_it_says(dtype, block, monkeypatch):
    monkeypatch.setattr(double_double, "BLOCK", block)
    rng = np.random.default_rng(8)
    for scale in ((1.0, 1.0, 1.0), (1e-30, 1.0, 1e18), (1e-140, 1e-120, 1e140)):
        if dtype != torch.float64 and scale[0] < 1e-30:
            continue
        shapes = [(3, 7), (), (11,), (64,)]
        columns = [
            [torch.tensor(s * rng.normal(size=shape)).to(dtype) for s in scale] for shape in shapes
        ]
        columns[1][0], columns[2] = None, [columns[2][0], None, None]
        columns.append([None, None, None])
        flat = [
            np.concatenate(
                [
                    np.zeros(math.prod(shape)) if x is None else x.double().numpy().reshape(-1)
                    for x, shape in zip(row, [*shapes, (2,)], strict=True)
                ]
            )
            for row in zip(*columns, strict=True)
        ]
        exact = oracle.exact_gram(flat)
        plain = np.array([[float(x) for x in row] for row in exact])
        high, low, error = double_double.double_gram(columns, plain)
        assert error < 1e-28
        assert (high == high.T).all()
        for i in range(3):
            for j in range(3):
                miss = abs(Fraction(high[i, j]) + Fraction(low[i, j]) - exact[i][j])
                assert miss <= error * oracle.root(exact[i][i] * exact[j][j]) * TIGHT


def test_digits_that_the_range_of_floats_takes_are_part_of_the_error():
    """Products of 1e-155 have no digits below 1e-324; `aggregate` solves in another unit."""
    for scale in (1e-130, 1e-155):
        rows = [row * scale for row in wedge(1e-7)]
        direction, solution = ft.aggregate(rows, ft.DualCone(THIRD))
        exact, unit = sought(ft.DualCone(THIRD), rows)
        assert solution.ok
        assert off(direction, exact) <= solution.direction_error * unit * TIGHT
        if scale == 1e-155:
            _, _, error = double_double.double_gram([rows], ft.gram(rows))
            assert error > 1e-16


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_cuda():
    updates = wedge(1e-11, torch.float32)
    direction, solution = ft.aggregate([u.cuda() for u in updates], ft.DualCone(THIRD))
    on_cpu, same = ft.aggregate(updates, ft.DualCone(THIRD))
    assert direction.device.type == "cuda"
    assert solution.ok
    torch.testing.assert_close(direction.cpu(), on_cpu)
    np.testing.assert_allclose(solution.weights, same.weights)


def test_combinations_of_weights_far_apart_stay_in_range():
    """The unit is that of the largest term: in the smallest one's the others would overflow."""
    column = [torch.ones(2).double(), torch.ones(2).double()]
    found = double_double.double_combined(column, np.array([2.0**600, 2.0**-600]), np.zeros(2))
    assert found is not None
    assert found.tolist() == [2.0**600] * 2
