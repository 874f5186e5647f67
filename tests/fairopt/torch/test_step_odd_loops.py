"""Odd models and loops in which a step was wrong, or raised, once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fairopt import InvalidInput, Solution, Status, fairgrad, fairgrad_residual
from fairopt import torch as ft
from tests.fairopt.torch.test_step_situations import Model, batch, grads, same


def leaves(count=3, size=2):
    return [torch.zeros(size, dtype=torch.float64, requires_grad=True) for _ in range(count)]


# Gradients that autograd hands out more than once


def offsets(shared, a, b):
    """Two heads in one loss whose gradients are the same tensor, and one that is expanded."""
    return [(shared + a + b + 1.0).square().sum() / 2.0, shared.sum() + 2.0 * a.sum()]


@pytest.mark.parametrize("heads", ["unit", "weighted"])
@pytest.mark.parametrize("method", [ft.FairGrad(2.0), ft.Mean(), ft.FAMO()], ids=repr)
def test_gradients_of_two_parameters_share_no_memory(method, heads):
    shared, a, b = leaves()
    ft.backward(offsets(shared, a, b), [shared], method, heads=heads)
    memory = {p.grad.untyped_storage().data_ptr() for p in (shared, a, b)}
    assert len(memory) == 3
    assert all(p.grad.is_contiguous() for p in (shared, a, b))
    before = [p.grad.clone() for p in (shared, a, b)]
    for p in (shared, a, b):
        p.grad.mul_(0.5)
    for p, g in zip((shared, a, b), before, strict=True):
        torch.testing.assert_close(p.grad, 0.5 * g)


def test_accumulation_of_equal_offsets_is_that_of_plain_backward():
    shared, a, b = leaves()
    _, c, d = leaves()
    for _ in range(3):
        ft.backward(offsets(shared, a, b), [shared], ft.Mean())
        sum(offsets(shared.detach(), c, d)).backward()
    torch.testing.assert_close(a.grad, c.grad)
    torch.testing.assert_close(b.grad, d.grad)


def test_two_shared_parameters_with_one_gradient():
    s, t, u = leaves()
    losses = [(s + t).sum() * (k + 1.0) + u.sum() for k in range(3)]
    ft.backward(losses, [s, t], ft.FAMO())
    assert s.grad.data_ptr() != t.grad.data_ptr()


def test_an_in_place_reduce_counts_every_gradient_once():
    shared, a, b = leaves()
    alone = leaves()
    ft.backward(offsets(*alone), [alone[0]], ft.Mean())
    ft.backward(offsets(shared, a, b), [shared], ft.Mean(), reduce=lambda t: t.mul_(2.0))
    torch.testing.assert_close(a.grad, 2.0 * alone[1].grad)
    torch.testing.assert_close(b.grad, 2.0 * alone[2].grad)


# Backward passes that are not what they seem


class Plain(torch.autograd.Function):
    """tanh whose backward autograd follows without being told that it should not."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.tanh(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        with torch.no_grad():
            slope = 1.0 - torch.tanh(x) ** 2
        return g.detach() * slope if ctx.needs_input_grad[0] else None


def many(trunk, x, K=20):
    torch.manual_seed(1)
    heads = [nn.Linear(8, 1).double() for _ in range(K)]
    z = trunk(x)
    return z, [head(z).square().mean() for head in heads]


@pytest.mark.parametrize("kind", ["function", "hook"])
def test_products_that_disagree_with_the_gradients_are_not_believed(kind):
    torch.manual_seed(0)
    first, second = nn.Linear(5, 8).double(), nn.Linear(8, 8).double()
    x = torch.randn(12, 5, dtype=torch.float64)

    def trunk(x):
        h = first(x)
        if kind == "hook":
            h.register_hook(lambda g: g.detach().clone())
        return second(Plain.apply(h) if kind == "function" else torch.tanh(h))

    P = [*first.parameters(), *second.parameters()]
    z, losses = many(trunk, x)
    rows = [torch.autograd.grad(loss, P, retain_graph=True) for loss in losses]
    G = torch.stack([torch.cat([g.reshape(-1) for g in row]) for row in rows]).numpy()
    solution = ft.backward(losses, P, ft.FairGrad(2.0), features=z).require()
    assert fairgrad_residual(G @ G.T, 2.0, solution.weights) <= 1e-6


# What works once may not work the next time


def embedded(sparse):
    torch.manual_seed(0)
    table, heads = nn.Embedding(10, 6, sparse=sparse), [nn.Linear(6, 1) for _ in range(3)]
    z = table(torch.randint(0, 10, (4, 3))).mean(1)
    losses = [head(z).square().mean() for head in heads]
    return ft.backward(losses, table.parameters(), ft.FairGrad(1.0)).require().weights


def test_a_dense_table_before_a_sparse_one():
    np.testing.assert_allclose(embedded(False), embedded(True), rtol=1e-5)


def test_anomaly_detection_after_a_normal_step():
    model = Model()
    weights = []
    for detect in (False, True, False):
        with torch.autograd.set_detect_anomaly(detect):
            solution = ft.backward(model.losses(*batch()), model.trunk, ft.FairGrad(1.0))
        weights.append(solution.require().weights)
    np.testing.assert_allclose(weights[1], weights[0], rtol=1e-9)


def test_a_hook_that_reads_numbers_now_and_then():
    model, seen = Model(), []

    def log(g, step):
        if step % 3 == 2:
            seen.append(float(g.norm()))

    for step in range(6):
        x, y = batch()
        h = model.first(x)
        h.register_hook(lambda g, step=step: log(g, step))
        z = torch.tanh(model.frozen(torch.tanh(model.second(torch.tanh(h)))))
        losses = [(head(z)[:, 0] - y[:, k]).square().mean() for k, head in enumerate(model.heads)]
        ft.backward(losses, model.trunk, ft.FairGrad(1.0)).require()
    assert seen


def test_another_default_device():
    updates = [torch.ones(3, device="cpu"), torch.zeros(3, device="cpu")]
    with torch.device("meta"):
        found = ft.combine(updates, [1.0, 2.0])
        direction, solution = ft.aggregate(updates, ft.Mean())
    torch.testing.assert_close(found, torch.ones(3))
    torch.testing.assert_close(direction, torch.full((3,), 0.5))
    assert solution.ok


# Methods


@pytest.mark.parametrize(
    "method",
    [
        ft.ConFIG([1.0, 2.0, 3.0]),
        ft.AlignedMTL([1.0, 2.0, 3.0]),
        ft.FairGrad(1.0, priority=[1.0, 2.0, 3.0]),
        ft.DualCone([1.0, 2.0, 3.0]),
        ft.GradVac(),
        ft.IMTLG(),
        ft.UPGrad(),
        ft.MinNorm(),
    ],
    ids=repr,
)
def test_every_method_takes_absent_tasks(method):
    model = Model()
    losses = model.losses(*batch())
    solution = ft.backward(losses, model.trunk, method, present=[True, False, True])
    assert solution.require().weights[1] == 0.0


def test_heads_have_the_weights_of_a_method_that_weighs_losses():
    model, other, method, twin = Model(), Model(), ft.GradNorm(rate=0.2), ft.GradNorm(rate=0.2)
    for step in range(4):
        model.zero_grad()
        other.zero_grad()
        ft.backward(model.losses(*batch(seed=step)), model.trunk, method).require()
        trunk = [p for p in other.trunk if p.requires_grad]
        ft.weighted_loss(other.losses(*batch(seed=step)), twin, trunk)[0].backward()
        same(grads(model), grads(other), rtol=1e-8)


def test_the_mean_length_is_not_for_methods_that_weigh_losses():
    model = Model()
    with pytest.raises(InvalidInput, match="length"):
        ft.backward(model.losses(*batch()), model.trunk, ft.FAMO(), length="mean")


class Own:
    """A method of a user's own."""

    def __init__(self, answer) -> None:
        self.answer = answer

    def solve(self, gram, *, gram_error=None):
        return self.answer(gram)


@pytest.mark.parametrize(
    "answer",
    [lambda A: np.ones(3), lambda A: None, lambda A: Solution(np.ones(2), Status.OPTIMAL, 0.0, 0)],
)
def test_methods_that_return_something_else(answer):
    model = Model()
    with pytest.raises(InvalidInput, match="method"):
        ft.backward(model.losses(*batch()), model.trunk, Own(answer))
    updates = [torch.ones(2), torch.ones(2), torch.zeros(2)]
    with pytest.raises(InvalidInput, match="method"):
        ft.aggregate(updates, Own(answer))


def test_a_method_may_write_into_its_matrix():
    model, other = Model(), Model()

    def answer(A):
        found = fairgrad(A, 1.0)
        A[:] = 0.0
        return found

    first = ft.backward(model.losses(*batch()), model.trunk, Own(answer), length="mean")
    second = ft.backward(other.losses(*batch()), other.trunk, ft.FairGrad(1.0), length="mean")
    np.testing.assert_array_equal(first.weights, second.weights)


# Losses


@pytest.mark.parametrize("absent", [None, 0.0, torch.tensor(3), torch.ones(4), "no labels"])
@pytest.mark.parametrize("form", [list, dict])
def test_an_absent_loss_may_be_anything(absent, form):
    model = Model()
    losses = model.losses(*batch())
    losses[1] = absent
    present = [True, False, True]
    if form is dict:
        names = ("a", "b", "c")
        losses = dict(zip(names, losses, strict=True))
        present = dict(zip(names[::-1], present, strict=True))
    solution = ft.backward(losses, model.trunk, ft.FairGrad(1.0), present=present).require()
    assert solution.weights[1] == 0.0


def test_present_by_other_names():
    model = Model()
    losses = dict(zip("abc", model.losses(*batch()), strict=True))
    with pytest.raises(InvalidInput, match="present"):
        ft.backward(losses, model.trunk, ft.Mean(), present={"a": True, "b": True, "d": True})
    with pytest.raises(InvalidInput, match="losses"):
        ft.backward({**losses, "b": None}, model.trunk, ft.Mean())


def test_losses_that_a_rule_is_not_defined_for_are_a_status():
    model, method = Model(), ft.GradNorm()
    losses = model.losses(*batch())
    losses[1] = losses[1] * 0.0
    solution = ft.backward(losses, model.trunk, method)
    assert solution.status == Status.OUT_OF_RANGE
    assert not method.state.arrays


@pytest.mark.parametrize(
    "method", [ft.Uncertainty(rate=0.1), ft.FAMO(), ft.IMTLL(), ft.RLW(0), ft.GradNorm()], ids=repr
)
@pytest.mark.parametrize("taught", [False, True])
def test_a_step_that_is_not_finite_teaches_nothing(method, taught):
    model = Model(torch.float32)
    x, y = batch(torch.float32)
    if taught:
        for _ in range(2):
            ft.backward(model.losses(x, y), model.trunk, method)
    before = method.state.state_dict()
    losses = model.losses(x, y)
    w = model.first.weight
    losses[1] = losses[1] + ((w - w.detach()).abs() ** 0.5).sum()  # finite, its slope is not
    solution = ft.backward(losses, model.trunk, method)
    assert solution.status == Status.NOT_FINITE
    assert method.state.state_dict() == before


# Sentences


def test_a_head_that_is_not_finite_is_named():
    model = Model(torch.float32)
    z = model(batch(torch.float32)[0])
    losses = {"sound": z.sum(), "broken": z.square().sum() + model.heads[0].bias.sum() * torch.inf}
    losses["broken"] = losses["broken"].nan_to_num(posinf=1.0) + model.heads[0].bias.log().sum()
    solution = ft.backward(losses, model.trunk, ft.Mean())
    assert solution.status == Status.NOT_FINITE
    assert "'broken'" in solution.sentence


def test_a_direction_beyond_its_dtype_is_out_of_range():
    p = torch.zeros(2, dtype=torch.float16, requires_grad=True)
    losses = [p[0].float() * 1e-4, p[1].float() * 1e-4]
    solution = ft.backward(losses, [p], ft.FairGrad(np.inf))
    assert solution.status in (Status.OPTIMAL, Status.OUT_OF_RANGE)
    losses = [p[0].float() * 1e-6, p[1].float() * 1e-6]
    q = torch.zeros(2, dtype=torch.float16, requires_grad=True)
    losses = [q[0].float() * 6e-6, q[1].float() * 6e-6]
    solution = ft.backward(losses, [q], ft.FairGrad(np.inf))
    assert solution.status == Status.OUT_OF_RANGE
    assert q.grad is None


def test_a_task_whose_gradient_is_zero_is_named():
    model = Model()
    losses = dict(zip("abc", model.losses(*batch()), strict=True))
    losses["done"] = torch.relu(model(batch()[0]) - 100.0).sum()
    solution = ft.backward(losses, model.trunk, ft.FairGrad(1.0))
    assert solution.status == Status.PARETO_STATIONARY
    assert "'done' alone" in solution.sentence


def test_features_and_reductions_that_are_none():
    model = Model()
    x, y = batch()
    z = model(x)
    losses = [(head(z)[:, 0] - y[:, k]).square().mean() for k, head in enumerate(model.heads)]
    ft.backward(losses, model.trunk, ft.Mean(), features=[z, z], retain_graph=True).require()
    with pytest.raises(InvalidInput, match="features"):
        ft.backward(losses, model.trunk, ft.Mean(), features=3)
    with pytest.raises(InvalidInput, match="reduce"):
        ft.backward(losses, model.trunk, ft.Mean(), reduce=3)


def test_no_gradient_is_wanted_at_all():
    model = Model()
    with torch.inference_mode():
        losses = model.losses(*batch())
    with pytest.raises(InvalidInput, match="no loss reaches"):
        ft.backward(losses, model.trunk, ft.Mean())
