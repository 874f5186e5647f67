"""The ways to the gradients and weights of a step agree, and are taken when they should be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

from fairopt import InvalidInput, Solution, Status, fairgrad, fairgrad_residual
from fairopt import torch as ft
from fairopt.torch import training_step
from fairopt.torch.step import differentiate as ways
from fairopt.torch.step.autograd_graph import Graph, edge_of
from fairopt.torch.step.differentiate import Way


class Opaque(torch.autograd.Function):
    """A function that autograd knows and vmap does not."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.from_numpy(np.tanh(x.detach().numpy()))

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return torch.from_numpy(g.detach().numpy() * (1.0 - np.tanh(x.detach().numpy()) ** 2))


def trunks():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    dropped = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 6))
    return {
        "linear": nn.Linear(16, 6),
        "mlp": nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 6), nn.Tanh()),
        "cnn": nn.Sequential(
            nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Flatten()
        ),
        "norm": nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6)),
        "transformer": nn.Sequential(nn.Unflatten(1, (2, 8)), layer, nn.Flatten()),
        "dropout": dropped,
        "opaque": nn.Sequential(nn.Linear(16, 6), Apply(Opaque)),
    }


class Apply(nn.Module):
    """A layer without parameters."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function.apply(x)


def problem(name, K, *, joint=False, seed=0):
    """Trunk, heads and a function that computes features and losses of one batch."""
    trunk = trunks()[name].double()
    torch.manual_seed(seed)
    x = torch.randn(7, 16, dtype=torch.float64)
    width = trunk(x).shape[1]
    heads = nn.ModuleList([nn.Linear(width, 3) for _ in range(1 if joint else K)]).double()
    labels = torch.randint(3, (K, 7))

    def losses():
        torch.manual_seed(1)
        z = trunk(x)
        outputs = [heads[0](z)] * K if joint else [head(z) for head in heads]
        return z, [cross_entropy(out, y) for out, y in zip(outputs, labels, strict=True)]

    return trunk, heads, losses


def jacobian(losses, parameters):
    found = [torch.autograd.grad(x, parameters, retain_graph=True) for x in losses]
    return torch.stack([torch.cat([g.reshape(-1) for g in row]) for row in found]).numpy()


def flat_grad(parameters):
    return torch.cat([p.grad.reshape(-1) for p in parameters]).numpy()


@pytest.mark.parametrize("K", [2, 5, 20])
@pytest.mark.parametrize("name", list(trunks()))
def test_every_trunk_and_way_gives_the_gradients_of_autograd(name, K):
    trunk, heads, losses = problem(name, K)
    P = list(trunk.parameters())
    G = jacobian(losses()[1], P)
    w = fairgrad(G @ G.T, 1.0).require().weights
    for _ in range(2):  # the first step learns, the second frees
        for p in [*P, *heads.parameters()]:
            p.grad = None
        solution = ft.backward(losses()[1], P, ft.FairGrad(1.0)).require()
        np.testing.assert_allclose(solution.weights, w, rtol=1e-8)
        np.testing.assert_allclose(flat_grad(P), w @ G, rtol=1e-8, atol=1e-12)
        unit = torch.autograd.grad(sum(losses()[1]), list(heads.parameters()))
        for p, g in zip(heads.parameters(), unit, strict=True):
            torch.testing.assert_close(p.grad, g)


def test_what_cannot_be_vmapped_is_tried_once_and_looped_over(monkeypatch):
    monkeypatch.setattr(ways, "_refused", set())
    trunk, _, losses = problem("opaque", 20)
    assert not ways._refused
    ft.backward(losses()[1], trunk.parameters(), ft.FairGrad(1.0)).require()
    assert len(ways._refused) == 1


def test_random_layers_are_the_same_for_all_tasks_in_all_ways():
    trunk, _, losses = problem("dropout", 20)
    ft.backward(losses()[1], trunk.parameters(), ft.DualCone()).require()


def way_of(losses, parameters, features=()):
    shared = list(parameters)
    return Way.of(Graph.of(losses), list(losses), shared, shared, features)


def test_losses_meet_at_the_features():
    trunk, _, losses = problem("mlp", 4)
    z, values = losses()
    way = way_of(values, trunk.parameters())
    assert way.meeting == [(z.grad_fn, 0)]
    assert len(way.heads) == 8


def test_losses_that_use_a_shared_parameter_twice_do_not_meet_there():
    trunk, _, losses = problem("mlp", 3)
    z, values = losses()
    values[1] = values[1] + trunk[0].weight.square().sum()
    way = way_of(values, trunk.parameters())
    assert way.meeting == []
    with pytest.raises(InvalidInput, match="features"):
        way_of(values, trunk.parameters(), [z])


def test_a_loss_on_the_way_moves_the_meeting_point_down():
    trunk, _, _ = problem("mlp", 3)
    h = trunk[0](torch.randn(7, 16, dtype=torch.float64))
    z = trunk[2](torch.relu(h))
    way = way_of([z.sum(), z.square().sum(), h.square().sum()], trunk[0].parameters())
    assert way.meeting == [(h.grad_fn, 0)]


def test_leaves_behind_the_meeting_point_that_are_not_shared_get_their_gradient():
    trunk, _, losses = problem("mlp", 3)
    shared = list(trunk[2].parameters())
    ft.backward(losses()[1], shared, ft.FairGrad(1.0)).require()
    unit = torch.autograd.grad(sum(losses()[1]), list(trunk[0].parameters()))
    for p, g in zip(trunk[0].parameters(), unit, strict=True):
        torch.testing.assert_close(p.grad, g)
    shared = list(trunk[0].parameters())  # and those above the shared ones
    for p in trunk.parameters():
        p.grad = None
    ft.backward(losses()[1], shared, ft.FairGrad(1.0)).require()
    unit = torch.autograd.grad(sum(losses()[1]), list(trunk[2].parameters()))
    for p, g in zip(trunk[2].parameters(), unit, strict=True):
        torch.testing.assert_close(p.grad, g)


@st.composite
def graphs(draw):
    """Random computations on four parameters: (parameters, intermediate tensors, losses)."""
    parameters = [torch.full((3,), 0.1 * (i + 1), requires_grad=True) for i in range(4)]
    pool = list(parameters)
    for _ in range(draw(st.integers(1, 10))):
        a = pool[draw(st.integers(0, len(pool) - 1))]
        b = pool[draw(st.integers(0, len(pool) - 1))]
        pool.append(draw(st.sampled_from([a * b, torch.tanh(a), a + b, torch.stack((a, b))[0]])))
    losses = [
        pool[draw(st.integers(0, len(pool) - 1))].sum() for _ in range(draw(st.integers(1, 4)))
    ]
    shared = draw(st.lists(st.sampled_from(range(4)), min_size=1, max_size=4, unique=True))
    return [parameters[i] for i in shared], pool, losses


@settings(max_examples=150)
@given(graphs())
def test_a_meeting_point_is_a_cut_and_none_is_missed(drawn):
    shared, pool, losses = drawn
    graph = Graph.of(losses)
    reached = [p for p in shared if graph.reaches(p)]
    gradients = torch.autograd.grad(sum(losses), shared, retain_graph=True, allow_unused=True)
    assert [g is not None for g in gradients] == [graph.reaches(p) for p in shared]
    if not reached:
        return
    meeting = graph.meeting_point(reached)
    inner = [t for t in pool if t.grad_fn is not None and graph.reaches(t)]
    cuts = [t for t in inner if not graph.misses([t], reached)]
    if meeting:
        # all of the gradient flows through it: stop it there
        node, number = meeting[0]
        zero = lambda grads: tuple(  # noqa: E731
            torch.zeros_like(g) if i == number and g is not None else g for i, g in enumerate(grads)
        )
        handle = node.register_prehook(zero)
        rest = torch.autograd.grad(sum(losses), reached, retain_graph=True, allow_unused=True)
        handle.remove()
        assert all(g is None or not g.any() for g in rest)
    else:
        assert not cuts or all(t.grad_fn in {e[0] for e in graph.roots} for t in cuts)


@st.composite
def branches(draw, pool, apart):
    """Losses with a head each that use some of these tensors, perhaps one several times."""
    places, losses, heads = st.integers(max(len(pool) - 2, 0), len(pool) - 1), [], []
    for k in range(draw(st.sampled_from([2, 3, 17]))):
        fresh = apart or not heads or draw(st.booleans())
        head = torch.full((3,), 0.3 + 0.1 * k, requires_grad=True) if fresh else heads[-1]
        uses = [pool[draw(places)] for _ in range(draw(st.integers(1, 2)))]
        losses.append(sum((torch.sin(z) * head**i).sum() for i, z in enumerate(uses, start=1)))
        heads.append(head)
    return losses, heads


class Falling:
    """A method whose weights are 1, 1/2, 1/3, ... whatever the matrix."""

    def solve(self, gram, *, gram_error=None):
        return Solution(1.0 / np.arange(1.0, len(gram) + 1.0), Status.OPTIMAL, 0.0, 0)


@pytest.mark.parametrize("form", ["any", "heads apart", "heads in common"])
@settings(max_examples=100)
@given(st.data(), st.booleans(), st.sampled_from(["unit", "weighted"]))
def test_a_step_on_any_graph_has_the_gradients_of_autograd(form, data, named, heads):
    shared, pool, losses = data.draw(graphs())
    leaves = pool[:4]
    if form != "any":
        losses, own = data.draw(branches(pool, form == "heads apart"))
        leaves = [*leaves, *own]
    graph = Graph.of(losses)
    reached = [p for p in shared if graph.reaches(p)]
    if not reached:
        return
    rows = [torch.autograd.grad(x, leaves, retain_graph=True, allow_unused=True) for x in losses]
    inner = [t for t in pool if t.grad_fn is not None and graph.reaches(t)]
    cuts = [t for t in inner if not graph.misses([t], reached)]
    ft.backward(losses, shared, Falling(), heads=heads, features=cuts[:1] if named else None)
    for i, p in enumerate(leaves):
        known = [(k, row[i]) for k, row in enumerate(rows) if row[i] is not None]
        weighs = heads == "weighted" or any(p is q for q in shared)
        if known:
            wanted = sum(g / (k + 1.0) if weighs else g for k, g in known)
            torch.testing.assert_close(p.grad, wanted)
        else:
            assert p.grad is None
    filled = list({id(p): p.grad for p in leaves if p.grad is not None}.values())
    wanted = [2.0 * g for g in filled]
    for g in filled:  # none of them is in the memory of another
        g.mul_(2.0)
    assert all(torch.equal(g, twice) for g, twice in zip(filled, wanted, strict=True))


@pytest.mark.parametrize("name", ["linear", "mlp"])
@pytest.mark.parametrize("K", [3, 20])
def test_a_hook_of_a_parameter_sees_one_gradient_at_a_time(name, K):
    trunk, _, losses = problem(name, K)
    seen = []
    parameters = list(trunk.parameters())
    for p in parameters:
        p.register_hook(lambda g, p=p: seen.append(id(p)))
    ft.backward(losses()[1], parameters, ft.FairGrad(1.0)).require()
    assert sorted(seen) == sorted([id(p) for p in parameters] * K)


# Weights by products


@pytest.fixture
def only_products(monkeypatch):
    """No way but products: the exact step, which would hide it if they find nothing, is closed."""

    def closed(*_):
        raise AssertionError("the exact step was taken")

    monkeypatch.setattr(training_step, "differentiate", closed)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("name", ["mlp", "norm", "linear"])
def test_weights_by_products_have_the_residual_they_say(name, alpha, recwarn, only_products):
    K = 24
    trunk, _, losses = problem(name, K)
    P, priority = list(trunk.parameters()), np.linspace(0.5, 2.0, K)
    G = jacobian(losses()[1], P)
    z, values = losses()
    method = ft.FairGrad(alpha, priority=priority)
    solution = ft.backward(values, P, method, features=z, features_tol=1e-3).require()
    true = fairgrad_residual(G @ G.T, alpha, solution.weights, priority=priority)
    assert true <= 1e-3 * (1.0 + 1e-9)
    np.testing.assert_allclose(solution.residual, true, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(flat_grad(P), solution.weights @ G, rtol=1e-8, atol=1e-10)
    exact = fairgrad(G @ G.T, alpha, priority=priority).require().weights
    assert np.max(np.abs(solution.weights / exact - 1.0)) < 1e-2 * (1.0 + alpha)
    assert not len(recwarn)


def test_products_know_scales_lengths_and_absent_tasks(only_products):
    K = 24
    trunk, _, losses = problem("mlp", K)
    P = list(trunk.parameters())
    there = np.arange(K) % 4 > 0
    G = jacobian(losses()[1], P)[there]
    z, values = losses()
    values = [x * 1024.0 if here else x * torch.nan for x, here in zip(values, there, strict=True)]
    options = {"present": there, "loss_scale": 1024.0, "length": "mean", "features_tol": 1e-6}
    solution = ft.backward(values, P, ft.FairGrad(2.0), features=z, **options).require()
    exact = fairgrad(G @ G.T, 2.0).require().weights
    wanted = exact * np.linalg.norm(G.mean(0)) / np.linalg.norm(exact @ G)
    np.testing.assert_allclose(solution.weights[there], wanted, rtol=1e-4)
    assert not solution.weights[~there].any()
    np.testing.assert_allclose(flat_grad(P) / 1024.0, wanted @ G, rtol=1e-4, atol=1e-9)


def test_products_that_find_nothing_leave_it_to_the_exact_step():
    trunk, _, losses = problem("mlp", 20)
    z, values = losses()
    values = [*values[:10], *(-x for x in values[:10])]
    solution = ft.backward(values, trunk.parameters(), ft.FairGrad(1.0), features=z)
    assert solution.status == Status.PARETO_STATIONARY
    z, values = losses()
    values[3] = values[3] * torch.nan
    solution = ft.backward(values, trunk.parameters(), ft.FairGrad(1.0), features=z)
    assert (solution.status, solution.worst) == (Status.NOT_FINITE, 3)


def test_a_trunk_without_double_backward_takes_the_exact_step():
    trunk, _, losses = problem("opaque", 20)
    z, values = losses()
    solution = ft.backward(values, trunk.parameters(), ft.FairGrad(1.0), features=z).require()
    assert solution.residual < 1e-8


def test_several_features():
    torch.manual_seed(0)
    trunk = nn.Linear(5, 8).double()
    h = torch.tanh(trunk(torch.randn(9, 5, dtype=torch.float64)))
    left, right = h[:, :4] * 1.0, h[:, 4:] * 1.0
    heads = torch.randn(20, 2, 4, dtype=torch.float64)
    values = [(left @ a).square().mean() + (right @ b).mean() for a, b in heads]
    P = list(trunk.parameters())
    G = jacobian(values, P)
    method = ft.FairGrad(2.0)
    solution = ft.backward(values, P, method, features=[left, right], retain_graph=True)
    assert fairgrad_residual(G @ G.T, 2.0, solution.require().weights) <= 1e-2
    with pytest.raises(InvalidInput, match="features"):
        ft.backward(values, P, method, features=[left])


def test_losses_that_share_a_head_have_no_branches_of_their_own():
    """A node or a leaf behind two losses belongs to neither, whichever comes first."""
    shared = torch.ones(2, 3, requires_grad=True)
    features = shared * 2.0
    head, own = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    common = features @ head

    def branches(*losses):
        return Graph.of(losses).branches(losses, [edge_of(features)])

    assert branches(common.sum(), common.square().sum()) is None
    assert branches((features @ head).sum(), (features @ head).square().sum()) is None
    first, second = branches((features @ head).sum(), (features @ own).sum())
    assert first.leaves[0] is head
    assert second.leaves[0] is own
