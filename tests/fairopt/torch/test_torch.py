"""Tensors in, tensors out: Gram matrices, directions, training steps."""

import abc
import logging
import math
import pickle
import subprocess
import sys
import types

import numpy as np
import pytest
import torch

import fairopt
from fairopt import InvalidInput, Status
from fairopt import torch as ft
from tests import laws
from tests.fairopt import problems

METHODS = [
    ft.FairGrad(2.0),
    ft.FairGrad(0.0),
    ft.FairGrad(np.inf),
    ft.FairGrad(1.0, priority=[1.0, 2.0, 3.0]),
    ft.ConflictAverse(0.4),
    ft.ConflictAverse(0.4, rescale="1+c"),
    ft.ConflictAverse(0.4, rescale="1+c2"),
    ft.MinNorm(),
    ft.DualCone(),
    ft.DualCone([1.0, 2.0, 3.0]),
    ft.UPGrad(),
    ft.Mean(),
]


def updates_of_all_structures(seed=0):
    rng = np.random.default_rng(seed)
    parts = [(2, 3), (), (4,)]
    flat = [[torch.tensor(rng.normal(size=s)) for s in parts] for _ in range(3)]
    yield [torch.cat([p.reshape(-1) for p in u]) for u in flat]
    yield flat
    yield [tuple(u) for u in flat]
    yield [dict(zip("abc", u, strict=True)) for u in flat]
    yield [{"x": u[:2], "y": {"z": u[2]}} for u in flat]
    reordered = dict(zip("cba", flat[1][::-1], strict=True))
    yield [
        dict(zip("abc", flat[0], strict=True)),
        reordered,
        dict(zip("abc", flat[2], strict=True)),
    ]


def test_gram_and_combine_do_not_depend_on_the_structure():
    grams = []
    for updates in updates_of_all_structures():
        grams.append(ft.gram(updates))
        direction = ft.combine(updates, [1.0, -2.0, 0.5])
        assert type(direction) is type(updates[0])
        back = ft.gram([direction, updates[0]])
        w = np.array([1.0, -2.0, 0.5])
        assert back[0, 0] == pytest.approx(w @ grams[0] @ w)
    for A in grams[1:]:
        np.testing.assert_allclose(A, grams[0], rtol=1e-13)
    assert grams[0].dtype == np.float64


def test_gram_accumulates_in_float64_in_blocks(monkeypatch):
    g = torch.rand(5000, dtype=torch.float32) + 1.0
    exact = float((g.double() ** 2).sum())
    assert ft.gram([g])[0, 0] == pytest.approx(exact, rel=1e-14)
    monkeypatch.setattr(ft.segments, "PIECE", 7)
    assert ft.gram([g])[0, 0] == pytest.approx(exact, rel=1e-14)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("draw", [torch.rand, torch.randn])
@pytest.mark.parametrize("K", [3, 8])
def test_entries_are_within_the_error_that_solvers_are_told(dtype, draw, K):
    """Against exact sums: one long run of float64 products errs by hundreds of eps."""
    rows = draw((K, 300_001), generator=torch.Generator().manual_seed(K)).to(dtype)
    wide = rows.double()
    exact = np.array([[math.fsum((a * b).tolist()) for a in wide] for b in wide])
    size = np.sqrt(np.outer(exact.diagonal(), exact.diagonal()))
    split = [list(row.split([100_000, 1, 200_000])) for row in rows]
    for updates in (list(rows), split):
        assert (abs(ft.gram(updates) - exact) <= ft.gram_error(updates) * size).all()
    if draw is torch.rand and dtype is torch.float32:  # sums of bfloat16 products are exact
        assert (abs((wide @ wide.T).numpy() - exact) > ft.gram_error(split) * size).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_are_kept(dtype):
    updates = [torch.randn(50).to(dtype) for _ in range(3)]
    direction, solution = ft.aggregate(updates, ft.FairGrad(1.0))
    assert direction.dtype == dtype
    assert solution.gram_error == ft.gram_error(updates) == 16 * 2.0**-52


def test_unused_parameters_count_as_zero():
    updates = [[torch.ones(2), None], [torch.ones(2), torch.ones(3)]]
    np.testing.assert_array_equal(ft.gram(updates), [[2.0, 2.0], [2.0, 5.0]])
    assert ft.combine([[None], [None]], [1.0, 1.0]) == [None]


@pytest.mark.parametrize(
    "updates",
    [
        [],
        {"a": torch.ones(2)},
        [torch.ones(2), torch.ones(3)],
        [[torch.ones(2)], [torch.ones(2), torch.ones(2)]],
        [{"a": torch.ones(2)}, {"b": torch.ones(2)}],
        [torch.ones(2, dtype=torch.int64)] * 2,
        [torch.ones(2, dtype=torch.complex64)] * 2,
        ["a", "b"],
    ],
)
def test_bad_updates_are_refused(updates):
    with pytest.raises(InvalidInput) as caught:
        ft.gram(updates)
    assert caught.value.argument.startswith("updates")


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_aggregate_is_the_combination_of_the_solution(method):
    for updates in updates_of_all_structures(1):
        direction, solution = ft.aggregate(updates, method)
        assert solution.ok
        expected = ft.combine(updates, solution.weights)
        difference = ft.combine([direction, expected], [1.0, -1.0])
        assert ft.gram([difference])[0, 0] < 1e-28
        assert solution == method.solve(ft.gram(updates), gram_error=ft.gram_error(updates))


@pytest.mark.parametrize("method", [ft.UPGrad, "UPGrad", None], ids=repr)
def test_what_is_no_method_is_refused_by_name(method):
    with pytest.raises(InvalidInput) as caught:
        ft.aggregate([torch.ones(2), torch.ones(2)], method)
    assert caught.value.argument == "method"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_updates_that_are_not_finite_are_refused_by_every_method(method, value):
    with pytest.raises(InvalidInput):
        ft.aggregate([torch.ones(5), torch.full((5,), value)], method)


def test_per_tensor_decides_for_each_tensor():
    updates = next(iter(list(updates_of_all_structures())[1:]))
    direction, solution = ft.aggregate(updates, ft.FairGrad(2.0), per="tensor")
    assert solution.weights.shape == (3, 3)
    for t in (0, 2):
        alone, _ = ft.aggregate([u[t] for u in updates], ft.FairGrad(2.0))
        torch.testing.assert_close(direction[t], alone)


def test_rescaling_divides_the_weights():
    A = laws.gram(problems.well(3, np.random.default_rng(2)))
    plain = ft.ConflictAverse(0.5).solve(A).weights
    np.testing.assert_allclose(ft.ConflictAverse(0.5, "1+c").solve(A).weights, plain / 1.5)
    np.testing.assert_allclose(ft.ConflictAverse(0.5, "1+c2").solve(A).weights, plain / 1.25)
    with pytest.raises(InvalidInput):
        ft.ConflictAverse(0.5, "2")


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_records_pickle_compare_and_are_frozen(method):
    assert pickle.loads(pickle.dumps(method)) == method
    with pytest.raises(AttributeError):
        method.alpha = 3.0
    G = problems.well(3, np.random.default_rng(6))
    assert method.solve(laws.gram(G)).ok
    assert method.solve(np.array([laws.gram(G)] * 2)).weights.shape == (2, 3)


def test_weights_that_do_not_fit_and_unknown_choices_are_refused():
    updates = [torch.ones(2), torch.zeros(2)]
    for argument, call in (
        ("weights", lambda: ft.combine(updates, [1.0])),
        ("weights", lambda: ft.combine(updates, [1.0, np.nan])),
        ("per", lambda: ft.aggregate(updates, ft.MinNorm(), per="layer")),
        ("rescale", lambda: ft.ConflictAverse(0.4, rescale="c")),
    ):
        with pytest.raises(InvalidInput) as caught:
            call()
        assert caught.value.argument == argument


class Unsolved:
    """A method of a user, whose answers are not ok."""

    def __init__(self, status):
        self.status = status

    def solve(self, gram, *, gram_error=None):
        return fairopt.Solution(np.full(len(gram), 0.5), self.status, 1.0, 3)


@pytest.mark.parametrize("status", [s for s in Status if s != Status.OPTIMAL])
def test_what_is_not_ok_still_gives_the_combination_and_raises_on_request_only(status):
    direction, solution = ft.aggregate([torch.ones(2), torch.ones(2)], Unsolved(status))
    torch.testing.assert_close(direction, torch.ones(2))
    assert solution.status == status
    if not solution.ok:
        with pytest.raises(fairopt.NotSolved):
            solution.require()


def test_identical_updates_grow_by_one_plus_c():
    update = torch.randn(7, dtype=torch.float64)
    direction, _ = ft.aggregate([update] * 4, ft.ConflictAverse(0.4, "1+c2"))
    torch.testing.assert_close(direction, update * 1.4 / 1.16)


def two_headed():
    torch.manual_seed(0)
    shared = torch.nn.Linear(4, 6)
    heads = [torch.nn.Linear(6, 2) for _ in range(2)]
    x = torch.randn(9, 4)

    def losses():
        features = torch.tanh(shared(x))
        return [(heads[0](features) ** 2).mean(), (heads[1](features) - 3.0).abs().mean()]

    return shared, heads, losses


@pytest.mark.parametrize("heads_rule", ["unit", "weighted"])
def test_backward_fills_grad_like_one_training_step(heads_rule):
    shared, heads, losses = two_headed()
    solution = ft.backward(losses(), list(shared.parameters()), ft.FairGrad(2.0), heads=heads_rule)
    got = [p.grad.clone() for p in shared.parameters()]
    got_heads = [[p.grad.clone() for p in head.parameters()] for head in heads]
    for parameter in [*shared.parameters(), *(p for h in heads for p in h.parameters())]:
        parameter.grad = None
    w = solution.require().weights
    sum(a * loss for a, loss in zip(w.tolist(), losses(), strict=True)).backward()
    for p, g in zip(shared.parameters(), got, strict=True):
        torch.testing.assert_close(g, p.grad, rtol=1e-4, atol=1e-6)
    for a, head, grads in zip(w.tolist(), heads, got_heads, strict=True):
        for p, g in zip(head.parameters(), grads, strict=True):
            factor = 1.0 if heads_rule == "weighted" else 1.0 / a
            torch.testing.assert_close(g, p.grad * factor, rtol=1e-4, atol=1e-6)


def test_backward_accumulates_and_keeps_the_graph_on_request():
    shared, _, losses = two_headed()
    parameters = list(shared.parameters())
    values = losses()
    ft.backward(values, parameters, ft.MinNorm(), retain_graph=True)
    once = [p.grad.clone() for p in parameters]
    ft.backward(values, parameters, ft.MinNorm())
    for p, g in zip(parameters, once, strict=True):
        torch.testing.assert_close(p.grad, 2.0 * g)
    with pytest.raises(RuntimeError):
        ft.backward(values, parameters, ft.MinNorm())


def test_backward_at_a_stationary_point_adds_nothing():
    p = torch.tensor([1.0, 2.0], requires_grad=True)
    solution = ft.backward([p.sum(), -p.sum()], [p], ft.FairGrad(2.0))
    assert solution.status in (Status.PARETO_STATIONARY, Status.UNDECIDED)
    torch.testing.assert_close(p.grad, torch.zeros(2))


def test_backward_refusals():
    p = torch.ones(2, requires_grad=True)
    for losses, shared in (([], [p]), ([p.sum()], []), ([p * 1.0], [p])):
        with pytest.raises(InvalidInput):
            ft.backward(losses, shared, ft.MinNorm())
    with pytest.raises(InvalidInput, match="heads"):
        ft.backward([p.sum()], [p], ft.MinNorm(), heads="mean")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nearly_opposite_gradients_are_decided_as_they_are(dtype):
    """Their Gram matrix is exact to float64, whatever the dtype."""
    g = torch.randn(1000)
    noisy = -g / 3.0 + 1e-2 * torch.randn(1000) * g.norm() / 1000**0.5
    updates = [g.to(dtype), noisy.to(dtype)]
    _, solution = ft.aggregate(updates, ft.FairGrad(2.0))
    assert solution.status == Status.OPTIMAL
    rows = torch.stack([x.double() for x in updates])
    assert (rows @ (torch.from_numpy(solution.weights) @ rows) > 0.0).all()


def opposite(scale):
    """Two tasks that are opposite up to the rounding of float32."""
    g = torch.randn(1000)
    return [g, -g / scale]


def test_opposite_gradients_are_not_called_certain():
    _, solution = ft.aggregate(opposite(3.0), ft.FairGrad(2.0))
    assert solution.status in (Status.UNDECIDED, Status.PARETO_STATIONARY)
    assert not solution.ok


def test_undecided_is_logged_once(caplog):
    ft.aggregating._said.clear()
    with caplog.at_level(logging.WARNING, logger="fairopt.torch"):
        for _ in range(3):
            ft.aggregate([torch.ones(3)], Unsolved(Status.UNDECIDED))
        assert len(caplog.records) == 1
        for _ in range(3):
            ft.aggregate([torch.ones(3)], Unsolved(Status.STEP_LIMIT))
    assert len(caplog.records) == 2
    assert "undecided" in caplog.text
    assert "step limit" in caplog.text


@pytest.fixture
def fake_torchjd(monkeypatch):
    """The two public base classes of TorchJD: abstract modules with a `forward`."""

    class Weighting(torch.nn.Module, abc.ABC):
        @abc.abstractmethod
        def forward(self, stat): ...

    class Aggregator(torch.nn.Module, abc.ABC):
        @abc.abstractmethod
        def forward(self, matrix): ...

    package, module = types.ModuleType("torchjd"), types.ModuleType("torchjd.aggregation")
    module.Weighting, module.Aggregator = Weighting, Aggregator
    monkeypatch.setitem(sys.modules, "torchjd", package)
    monkeypatch.setitem(sys.modules, "torchjd.aggregation", module)
    return module


def test_torchjd_adapters(fake_torchjd):
    J = torch.randn(3, 20)
    weighting, aggregator = (
        f(ft.UPGrad()) for f in (ft.as_torchjd_weighting, ft.as_torchjd_aggregator)
    )
    assert isinstance(weighting, fake_torchjd.Weighting)
    assert isinstance(aggregator, fake_torchjd.Aggregator)
    torch.testing.assert_close(weighting(J @ J.T) @ J, aggregator(J), rtol=1e-4, atol=1e-5)


def test_torchjd_is_optional():
    code = "import fairopt.torch, sys; print('torchjd' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
    assert fairopt.__name__ == "fairopt"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_cuda():
    updates = [torch.randn(1000, device="cuda") for _ in range(4)]
    direction, solution = ft.aggregate(updates, ft.FairGrad(2.0))
    assert direction.device.type == "cuda"
    on_cpu, _ = ft.aggregate([u.cpu() for u in updates], ft.FairGrad(2.0))
    torch.testing.assert_close(direction.cpu(), on_cpu)
    assert solution.ok
