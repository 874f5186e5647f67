"""A training step in the loops people have: each situation that went wrong once."""

from __future__ import annotations

import logging
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from fairopt import InvalidInput, Status, fairgrad
from fairopt import torch as ft
from fairopt.torch import aggregating

TASKS = 3


class Model(nn.Module):
    """A trunk, one head per task, a parameter nobody uses and a frozen layer."""

    def __init__(self, dtype=torch.float64, tasks=TASKS, seed=0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second = nn.Linear(5, 6), nn.Linear(6, 4)
        self.unused, self.frozen = nn.Linear(2, 2), nn.Linear(4, 4)
        self.heads = nn.ModuleList([nn.Linear(4, 1) for _ in range(tasks)])
        self.frozen.requires_grad_(False)
        self.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        """The features."""
        return torch.tanh(self.frozen(torch.tanh(self.second(torch.tanh(self.first(x))))))

    def losses(self, x: Tensor, y: Tensor) -> list[Tensor]:
        """One per head."""
        z = self(x)
        return [(head(z)[:, 0] - y[:, k]).square().mean() for k, head in enumerate(self.heads)]

    @property
    def trunk(self) -> list[nn.Parameter]:
        """What is passed as `shared`, unused and frozen parts included."""
        parts = (self.first, self.second, self.unused, self.frozen)
        return [p for part in parts for p in part.parameters()]


def batch(dtype=torch.float64, n=8, seed=1, tasks=TASKS):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 5, generator=generator, dtype=dtype)
    return x, torch.randn(n, tasks, generator=generator, dtype=dtype)


def grads(model):
    """Every gradient by name, None where there is none."""
    return {name: p.grad for name, p in model.named_parameters()}


def expected(model, losses, alpha, *, priority=None, heads="unit", scale=1.0):
    """The gradients by definition: separate gradients, exact weights, sums."""
    trunk = [p for p in model.trunk if p.requires_grad]
    every = [p for p in model.parameters() if p.requires_grad]
    columns = [torch.autograd.grad(x, every, retain_graph=True, allow_unused=True) for x in losses]
    ids = {id(p) for p in trunk}
    rows = [
        torch.cat(
            [g.reshape(-1) for p, g in zip(every, c, strict=True) if id(p) in ids and g is not None]
        )
        for c in columns
    ]
    G = torch.stack(rows).double().numpy() / scale
    w = fairgrad(G @ G.T, alpha, priority=priority).require().weights
    found = {}
    for i, (name, p) in enumerate((n, p) for n, p in model.named_parameters() if p.requires_grad):
        shared = id(p) in ids
        weights = w if shared or heads == "weighted" else np.ones(len(losses))
        parts = [a * c[i] for a, c in zip(weights, columns, strict=True) if c[i] is not None]
        found[name] = sum(parts) if parts else None
    return found, w


def same(found, wanted, rtol=1e-9):
    for name, g in found.items():
        other = wanted.get(name)
        if g is None or other is None:
            assert g is other, name
            continue
        g = g.to_dense()
        torch.testing.assert_close(
            g, other.to_dense(), rtol=rtol, atol=rtol * float(other.abs().max())
        )


@pytest.mark.parametrize("heads", ["unit", "weighted"])
def test_a_step_is_what_its_definition_says(heads):
    model = Model()
    wanted, w = expected(model, model.losses(*batch()), 2.0, heads=heads)
    solution = ft.backward(model.losses(*batch()), model.trunk, ft.FairGrad(2.0), heads=heads)
    same(grads(model), wanted)
    np.testing.assert_allclose(solution.require().weights, w, rtol=1e-9)


# Losses as people have them


def vector(losses):
    return torch.stack(losses)


def named(losses):
    return {f"task-{k}": loss for k, loss in enumerate(losses)}


def one_entry(losses):
    return [loss.reshape(1) for loss in losses]


@pytest.mark.parametrize("form", [list, tuple, iter, vector, named, one_entry])
def test_losses_of_every_form(form):
    model, other = Model(), Model()
    first = ft.backward(model.losses(*batch()), model.trunk, ft.FairGrad(1.0))
    second = ft.backward(form(other.losses(*batch())), iter(other.trunk), ft.FairGrad(1.0))
    same(grads(other), grads(model), rtol=1e-12)
    np.testing.assert_allclose(second.weights, first.weights, rtol=1e-12)
    assert list(second.by_task) == list(named([0] * TASKS) if form is named else map(str, range(3)))


@pytest.mark.parametrize(
    ("losses", "names"),
    [
        ([], "losses"),
        (3.0, "losses"),
        (torch.ones(2, 2), "losses"),
        (torch.tensor(1.0), "losses"),
        ([torch.ones(3)], r"losses\[0\]"),
        ([1.0], r"losses\[0\]"),
        ([torch.tensor(1)], r"losses\[0\]"),
    ],
)
def test_losses_that_are_none(losses, names):
    with pytest.raises(InvalidInput, match=names):
        ft.backward(losses, Model().trunk, ft.FairGrad(1.0))


# S7, S8: scaled losses


@pytest.mark.parametrize("scale", [2.0**16, 3.0, 1e-3, torch.tensor(8.0)])
@pytest.mark.parametrize("alpha", [0.0, 2.0])
def test_scaled_losses_give_the_scaled_direction(scale, alpha):
    model, other = Model(), Model()
    plain = ft.backward(model.losses(*batch()), model.trunk, ft.FairGrad(alpha))
    losses = [loss * scale for loss in other.losses(*batch())]
    scaled = ft.backward(losses, other.trunk, ft.FairGrad(alpha), loss_scale=scale)
    wanted = {n: None if g is None else g * scale for n, g in grads(model).items()}
    same(grads(other), wanted)
    np.testing.assert_allclose(scaled.weights, plain.weights, rtol=1e-9)


def test_a_scaler_changes_nothing_and_the_optimizer_agrees():
    models = [Model(torch.float32) for _ in range(2)]
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    for model, watched in zip(models, (None, scaler), strict=True):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(5):
            optimizer.zero_grad()
            losses = model.losses(*batch(torch.float32, seed=step))
            ft.backward(losses, model.trunk, ft.FairGrad(2.0), loss_scale=watched)
            if watched is None:
                optimizer.step()
            else:
                watched.step(optimizer)
                watched.update()
    pairs = zip(models[0].parameters(), models[1].parameters(), strict=True)
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [lambda: ft.FairGrad(2.0), ft.FAMO, ft.Uncertainty, ft.GradNorm, lambda: ft.DWA(period=1)],
)
def test_a_scaler_changes_no_weights(make):
    watched, plain = [], []
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for weights, scale in ((watched, scaler), (plain, None)):
        model, method = Model(), make()
        for step in range(3):
            losses = model.losses(*batch(seed=step))
            solution = ft.backward(losses, model.trunk, method, loss_scale=scale)
            weights.append(solution.weights)
    np.testing.assert_allclose(watched, plain, rtol=1e-9)


def overflowing(model, k):
    """Losses of which one has an infinite gradient."""
    losses = model.losses(*batch(torch.float32))
    losses[k] = losses[k] * torch.tensor(torch.inf)
    return losses


def test_a_step_that_overflows_is_skipped_by_the_scaler_and_lowers_the_scale(caplog):
    aggregating._said.clear()
    model = Model(torch.float32)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    before = [p.clone() for p in model.parameters()]
    for _ in range(2):
        optimizer.zero_grad()
        with caplog.at_level(logging.WARNING, logger="fairopt.torch"):
            solution = ft.backward(
                overflowing(model, 1), model.trunk, ft.FairGrad(2.0), loss_scale=scaler
            )
        assert solution.status == Status.NOT_FINITE
        assert solution.worst == 1
        assert not solution.ok
        scale = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        assert scaler.get_scale() == 0.5 * scale
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert len([r for r in caplog.records if "not finite" in r.message]) == 1


@pytest.mark.parametrize("heads", ["unit", "weighted"])
@pytest.mark.parametrize("bad", [torch.inf, -torch.inf, torch.nan])
def test_a_step_that_is_not_finite_leaves_grad_as_it_was(bad, heads):
    model = Model(torch.float32)
    for p in model.first.parameters():
        p.grad = torch.ones_like(p)
    before = {n: None if g is None else g.clone() for n, g in grads(model).items()}
    losses = named(model.losses(*batch(torch.float32)))
    losses["task-2"] = losses["task-2"] * bad
    solution = ft.backward(losses, model.trunk, ft.FairGrad(2.0), heads=heads)
    same(grads(model), before)
    assert solution.status == Status.NOT_FINITE
    assert "'task-2'" in solution.sentence
    with pytest.raises(Exception, match="task-2"):
        solution.require()


@pytest.mark.parametrize("bad", range(4))
@pytest.mark.parametrize("absent", range(4))
def test_the_first_task_that_is_not_finite_is_named_among_all(absent, bad):
    p = torch.ones(3, requires_grad=True)
    factors = [torch.inf if k == bad else k + 1.0 for k in range(4)]
    losses = [(p * factor).sum() for factor in factors]
    present = [k != absent for k in range(4)]
    solution = ft.backward(losses, [p], ft.Mean(), present=present)
    assert solution.worst == (bad if bad != absent else -1)
    assert (p.grad is None) == (bad != absent)


def test_a_head_that_is_not_finite_stops_the_step_too():
    model = Model(torch.float32)
    z = model(batch(torch.float32)[0])
    losses = [z.sum(), z.square().sum(), model.heads[0].weight.sum() * torch.inf + z.sum()]
    solution = ft.backward(losses, model.trunk, ft.Mean())
    assert solution.status == Status.NOT_FINITE
    assert all(g is None for g in grads(model).values())


@pytest.mark.parametrize("scale", [0.0, -1.0, torch.inf, torch.nan, "much", True, [1.0]])
def test_loss_scales_that_are_none(scale):
    model = Model()
    with pytest.raises(InvalidInput, match="loss_scale"):
        ft.backward(model.losses(*batch()), model.trunk, ft.Mean(), loss_scale=scale)


# S9, S13, S14: parameters


def test_frozen_and_unused_parameters_keep_none_and_their_values():
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    idle = [*model.unused.parameters(), *model.frozen.parameters()]
    before = [p.clone() for p in idle]
    for _ in range(3):
        optimizer.zero_grad()
        ft.backward(model.losses(*batch()), model.trunk, ft.FairGrad(1.0)).require()
        optimizer.step()
    assert all(p.grad is None for p in idle)
    assert all(torch.equal(a, b) for a, b in zip(before, idle, strict=True))


def test_a_shared_module_that_no_loss_reaches_is_named():
    model = Model()
    with pytest.raises(InvalidInput, match="no loss reaches"):
        ft.backward(model.losses(*batch()), Model().first.parameters(), ft.FairGrad(1.0))
    losses = [loss.detach().requires_grad_() for loss in model.losses(*batch())]
    with pytest.raises(InvalidInput, match="no loss reaches"):
        ft.backward(losses, model.trunk, ft.FairGrad(1.0))


def test_reentrant_checkpointing_is_refused_and_the_other_kind_works():
    model, other = Model(), Model()
    x, y = batch()

    def losses(m, reentrant):
        z = checkpoint(m, x.clone().requires_grad_(), use_reentrant=reentrant)
        return [(head(z)[:, 0] - y[:, k]).square().mean() for k, head in enumerate(m.heads)]

    with pytest.raises(InvalidInput, match="re-entrant"):
        ft.backward(losses(model, True), model.trunk, ft.FairGrad(1.0))
    ft.backward(losses(model, False), model.trunk, ft.FairGrad(1.0)).require()
    ft.backward(other.losses(x, y), other.trunk, ft.FairGrad(1.0))
    same(grads(model), grads(other))


def test_tied_parameters_count_once():
    model, other = Model(), Model()
    tied = ft.backward(model.losses(*batch()), model.trunk * 2, ft.FairGrad(2.0))
    once = ft.backward(other.losses(*batch()), other.trunk, ft.FairGrad(2.0))
    np.testing.assert_array_equal(tied.weights, once.weights)
    same(grads(model), grads(other), rtol=1e-14)


@pytest.mark.parametrize(
    ("shared", "names"),
    [
        ([torch.ones(2, dtype=torch.int64)], r"shared\[0\]"),
        ([torch.ones(2, dtype=torch.complex64, requires_grad=True)], r"shared\[0\]"),
        ([torch.ones(2)], "requires grad"),
        ([], "shared"),
        (["weight"], r"shared\[0\]"),
    ],
)
def test_shared_parameters_that_are_none(shared, names):
    with pytest.raises(InvalidInput, match=names):
        ft.backward(Model().losses(*batch()), shared, ft.FairGrad(1.0))


# S12: absent tasks


def test_absent_tasks_are_left_out_with_their_priorities():
    model, other = Model(), Model()
    priority = np.array([1.0, 5.0, 2.0])
    losses = model.losses(*batch())
    losses[1] = losses[1] * torch.nan
    there = [True, False, True]
    solution = ft.backward(losses, model.trunk, ft.FairGrad(2.0, priority=priority), present=there)
    x, y = batch()
    left = [other.losses(x, y)[k] for k in (0, 2)]
    pair = ft.backward(left, other.trunk, ft.FairGrad(2.0, priority=priority[[0, 2]]))
    np.testing.assert_allclose(solution.require().weights[[0, 2]], pair.weights, rtol=1e-12)
    assert solution.weights[1] == 0.0
    same(grads(model), grads(other), rtol=1e-12)
    assert model.heads[1].weight.grad is None


@pytest.mark.parametrize("form", [list, np.array, torch.tensor])
def test_reference_follows_whoever_is_present(form):
    model, other = Model(), Model()
    reference = [0.2, 0.3, 0.5]
    present = form([False, True, True])
    first = ft.backward(
        model.losses(*batch()), model.trunk, ft.DualCone(reference), present=present
    )
    second = ft.backward(other.losses(*batch())[1:], other.trunk, ft.DualCone(reference[1:]))
    np.testing.assert_allclose(first.weights[1:], second.weights, rtol=1e-12)


def test_nobody_present_is_a_step_of_nothing():
    model = Model()
    solution = ft.backward(
        model.losses(*batch()), model.trunk, ft.FairGrad(1.0), present=[False] * TASKS
    )
    assert solution.ok
    assert not solution.weights.any()
    assert all(g is None for g in grads(model).values())


def test_labels_that_are_often_missing_lose_no_step():
    model = Model(torch.float32)
    rng = np.random.default_rng(0)
    for step in range(60):
        there = rng.random(TASKS) > 0.4
        losses = model.losses(*batch(torch.float32, seed=step))
        losses = [x if here else x * 0.0 for x, here in zip(losses, there, strict=True)]
        solution = ft.backward(losses, model.trunk, ft.FairGrad(2.0), present=there)
        assert solution.ok
        assert (solution.weights > 0.0).tolist() == there.tolist()


@pytest.mark.parametrize("present", [[True], [True] * 4, [0.5, 1.0, 1.0], "yes", 1.0])
def test_masks_that_are_none(present):
    model = Model()
    with pytest.raises(InvalidInput, match="present"):
        ft.backward(model.losses(*batch()), model.trunk, ft.Mean(), present=present)


def test_priorities_of_the_wrong_length_are_named_when_tasks_are_absent():
    model = Model()
    method = ft.FairGrad(1.0, priority=[1.0, 2.0])
    with pytest.raises(InvalidInput, match="priority"):
        ft.backward(model.losses(*batch()), model.trunk, method, present=[True, True, False])


# E4: sparse gradients


def embedded(sparse, tied, seed=0):
    torch.manual_seed(seed)
    table = nn.Embedding(50, 4, sparse=sparse).double()
    body = nn.Linear(4, 4).double()
    heads = [nn.Linear(4, 1).double() for _ in range(3)]
    words = torch.tensor([[1, 2, 3], [3, 4, 5], [40, 2, 2]])

    def losses():
        found = [
            head(torch.tanh(body(table(w))))[:, 0].square().sum()
            for head, w in zip(heads, words, strict=True)
        ]
        if tied:
            found[0] = found[0] + table.weight.square().sum() * 0.01
        return found

    return table, body, losses


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 2.0])
def test_sparse_embeddings_agree_with_dense_ones(alpha, tied):
    results = []
    for sparse in (False, True):
        table, body, losses = embedded(sparse, tied)
        shared = [table.weight, *body.parameters()]
        for _ in range(2):  # accumulates as well
            solution = ft.backward(losses(), shared, ft.FairGrad(alpha)).require()
        results.append((solution.weights, table.weight.grad, body.weight.grad))
    (a, dense, g), (b, sparse, h) = results
    np.testing.assert_allclose(a, b, rtol=1e-9)
    torch.testing.assert_close(dense, sparse.to_dense())
    torch.testing.assert_close(g, h)
    assert (sparse.layout == torch.sparse_coo) is not tied


def test_sparse_adam_takes_a_step():
    table, body, losses = embedded(True, False)
    optimizer = torch.optim.SparseAdam([table.weight])
    before = table.weight.detach().clone()
    ft.backward(losses(), [table.weight, *body.parameters()], ft.FairGrad(1.0)).require()
    optimizer.step()
    moved = (table.weight != before).any(1).nonzero()[:, 0].tolist()
    assert moved == [1, 2, 3, 4, 5, 40]


# Loop styles: equal tasks at alpha = 0 are sum(losses).backward()


def equal(model, x, y):
    z = model(x)
    return [(model.heads[0](z)[:, 0] - y[:, 0]).square().mean() for _ in range(TASKS)]


def plain_training(make, steps=4):
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for step in range(steps):
        optimizer.zero_grad()
        sum(equal(model, *batch(seed=step))).backward()
        optimizer.step()
    return model


def fair(losses, model, **options):
    return ft.backward(losses, model.trunk, ft.FairGrad(0.0), **options).require()


def style_plain(model, x, y):
    fair(equal(model, x, y), model)


def style_accumulated(model, x, y):
    for part in (slice(0, 4), slice(4, 8)):
        fair([0.5 * loss for loss in equal(model, x[part], y[part])], model)


def style_checkpoint(model, x, y):
    z = checkpoint(model, x, use_reentrant=False)
    losses = [(model.heads[0](z)[:, 0] - y[:, 0]).square().mean() for _ in range(TASKS)]
    fair(losses, model)


def style_functional(model, x, y):
    parameters = dict(model.named_parameters())
    z = functional_call(model, parameters, (x,))
    losses = [(model.heads[0](z)[:, 0] - y[:, 0]).square().mean() for _ in range(TASKS)]
    fair(losses, model)


def style_vector(model, x, y):
    fair(torch.stack(equal(model, x, y)), model)


def style_features(model, x, y):
    z = model(x)
    losses = [(model.heads[0](z)[:, 0] - y[:, 0]).square().mean() for _ in range(TASKS)]
    fair(losses, model, features=z)


def style_scaled(model, x, y):
    fair([256.0 * loss for loss in equal(model, x, y)], model, loss_scale=256.0)
    for p in model.parameters():
        if p.grad is not None:
            p.grad /= 256.0


def style_compiled(model, x, y):
    forward = torch.compile(model.forward, backend="aot_eager")
    with torch._functorch.config.patch(donated_buffer=False):
        z = forward(x)
        losses = [(model.heads[0](z)[:, 0] - y[:, 0]).square().mean() for _ in range(TASKS)]
        fair(losses, model)


def style_compiled_step(model, x, y):
    """The whole step is compiled, which used to end in a segmentation fault."""

    def step(x, y):
        losses = equal(model, x, y)
        return fair(losses, model)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Dynamo looks at `.grad` of losses
        torch.compile(step, backend="eager")(x, y)


STYLES = [
    style_plain,
    style_accumulated,
    style_checkpoint,
    style_functional,
    style_vector,
    style_features,
    style_scaled,
    style_compiled,
    style_compiled_step,
]


@pytest.mark.parametrize("style", STYLES, ids=lambda f: f.__name__)
def test_training_equal_tasks_is_training_their_sum(style):
    wanted, model = plain_training(Model), Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for step in range(4):
        optimizer.zero_grad()
        style(model, *batch(seed=step))
        optimizer.step()
    for a, b in zip(wanted.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_a_task_that_stops_all_is_logged_once(caplog):
    aggregating._said.clear()
    w = torch.ones(2, requires_grad=True)
    with caplog.at_level(logging.WARNING, logger="fairopt.torch"):
        for _ in range(3):
            ft.backward({"far": w.sum(), "met": torch.relu(w[0] - 9.0)}, [w], ft.FairGrad(2.0))
        ft.backward([w[0], -w[0]], [w], ft.FairGrad(2.0))  # nobody in particular
    assert len(caplog.records) == 1
    assert "that of task 'met' alone); `present=` leaves it out" in caplog.records[0].message


@pytest.mark.parametrize(
    ("losses", "options", "words"),
    [
        (lambda w: [w[0], None], {}, "`present=` leaves out a task without labels"),
        (lambda w: [w[0], w], {}, r"losses\[1\] = 'tensor of shape \(2,\)', .* by .mean\(\) say"),
        (lambda w: {"a": w[0], "b": w[1]}, {"present": {"a": True}}, "all losses: 'a', 'b'"),
    ],
)
def test_messages_say_what_to_do(losses, options, words):
    w = torch.ones(2, requires_grad=True)
    with pytest.raises(InvalidInput, match=words):
        ft.backward(losses(w), [w], ft.FairGrad(2.0), **options)


def test_a_generator_of_parameters_that_is_used_up_is_named():
    w = torch.ones(2, requires_grad=True)
    used = iter([w])
    ft.backward([w[0], w[1]], used, ft.FairGrad(2.0))
    with pytest.raises(InvalidInput, match="can be gone through once: make a list"):
        ft.backward([w[0], w[1]], used, ft.FairGrad(2.0))


# Length, hooks, graphs


@pytest.mark.parametrize("method", [ft.FairGrad(2.0), ft.ConflictAverse(0.5), ft.DualCone()])
def test_the_mean_length(method):
    model, other, third = Model(), Model(), Model()
    own = ft.backward(model.losses(*batch()), model.trunk, method)
    mean = ft.backward(other.losses(*batch()), other.trunk, method, length="mean", loss_scale=1.0)
    ft.backward(third.losses(*batch()), third.trunk, ft.Mean())

    def flat(m):
        return torch.cat([p.grad.reshape(-1) for p in m.trunk if p.grad is not None])

    a, b, c = flat(model), flat(other), flat(third)
    torch.testing.assert_close(b.norm(), c.norm())
    torch.testing.assert_close(b / b.norm(), a / a.norm())
    ratio = float(b.norm() / a.norm())
    np.testing.assert_allclose(mean.weights, own.weights * ratio, rtol=1e-9)


def test_hooks_after_accumulation_run_once_per_parameter():
    model, seen = Model(), []
    for name, p in model.named_parameters():
        if p.requires_grad:
            p.register_post_accumulate_grad_hook(lambda p, name=name: seen.append(name))
    ft.backward(model.losses(*batch()), model.trunk, ft.FairGrad(1.0))
    reached = [name for name, g in grads(model).items() if g is not None]
    assert sorted(seen) == sorted(reached)


def test_gradients_are_added_in_place():
    model = Model()
    ft.backward(model.losses(*batch()), model.trunk, ft.FairGrad(1.0))
    kept = {name: (g, g.clone()) for name, g in grads(model).items() if g is not None}
    ft.backward(model.losses(*batch()), model.trunk, ft.FairGrad(1.0))
    for name, (g, first) in kept.items():
        assert dict(model.named_parameters())[name].grad is g
        torch.testing.assert_close(g, 2.0 * first)


@pytest.mark.parametrize("tasks", [3, 20])
@pytest.mark.parametrize("named_features", [False, True])
def test_the_graph_is_freed_unless_it_is_kept(tasks, named_features):
    model = Model(tasks=tasks)
    x, y = batch(tasks=tasks)
    for _ in range(2):  # the first step learns what can be passed at once
        z = model(x)
        losses = [(h(z)[:, 0] - y[:, k]).square().mean() for k, h in enumerate(model.heads)]
        step = partial(
            ft.backward, losses, model.trunk, ft.FairGrad(2.0),
            features=z if named_features else None,
        )  # fmt: skip
        step(retain_graph=True)
        step(retain_graph=True)
        step()
    with pytest.raises(RuntimeError, match="second time"):
        z.sum().backward()


def test_options_that_are_none():
    model = Model()
    step = partial(ft.backward, model.losses(*batch()), model.trunk)
    with pytest.raises(InvalidInput, match="length"):
        step(ft.Mean(), length="short")
    with pytest.raises(InvalidInput, match="reduce_what"):
        step(ft.Mean(), reduce_what="losses")
    with pytest.raises(InvalidInput, match="features_tol"):
        step(ft.Mean(), features_tol=2.0)
    with pytest.raises(InvalidInput, match="method"):
        step("fairgrad")
    with pytest.raises(InvalidInput, match="features"):
        step(ft.Mean(), features=[3.0])


# Methods that weigh losses


def loss_methods():
    return [ft.RLW(0), ft.DWA(period=1), ft.Uncertainty(), ft.FAMO(), ft.IMTLL(), ft.GradNorm()]


@pytest.mark.parametrize("index", range(6))
def test_methods_that_weigh_losses_agree_with_their_weighted_loss(index):
    model, other = Model(), Model()
    method, twin = loss_methods()[index], loss_methods()[index]
    for step in range(4):
        there = [True, step != 2, True]
        scale = 2.0**step
        losses = [x * scale for x in model.losses(*batch(seed=step))]
        if not there[1]:
            losses[1] = losses[1] * torch.nan
        model.zero_grad()
        found = ft.backward(
            losses, model.trunk, method, present=there, loss_scale=scale, heads="weighted"
        )
        other.zero_grad()
        values = other.losses(*batch(seed=step))
        trunk = [p for p in other.trunk if p.requires_grad]
        loss, wanted = ft.weighted_loss(values, twin, trunk, present=there)
        loss.backward()
        np.testing.assert_allclose(found.require().weights, wanted.weights, rtol=1e-9)
        expected_grads = {n: None if g is None else g * scale for n, g in grads(other).items()}
        for k in range(TASKS):
            if not there[k]:
                expected_grads |= {f"heads.{k}.weight": None, f"heads.{k}.bias": None}
        same(grads(model), expected_grads, rtol=1e-8)


def test_a_loss_that_is_not_finite_is_no_step_of_a_method_that_weighs_losses():
    model, method = Model(torch.float32), ft.FAMO()
    losses = model.losses(*batch(torch.float32))
    losses[1] = losses[1] * torch.nan
    solution = ft.backward(losses, model.trunk, method)
    assert (solution.status, solution.worst) == (Status.NOT_FINITE, 1)
    assert all(g is None for g in grads(model).values())
    scaler = torch.amp.GradScaler("cpu")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = model.losses(*batch(torch.float32))
    losses[1] = losses[1] * torch.nan
    ft.backward(losses, model.trunk, method, loss_scale=scaler)
    before = scaler.get_scale()
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() < before


def test_the_vaccine_keeps_its_targets_where_tasks_are_absent():
    model, method = Model(), ft.GradVac(rng=0)
    ft.backward(model.losses(*batch()), model.trunk, method)
    before = method.state.arrays["targets"].copy()
    ft.backward(model.losses(*batch(seed=2)), model.trunk, method, present=[True, False, True])
    after = method.state.arrays["targets"]
    assert np.array_equal(before[1], after[1])
    assert not np.array_equal(before[0], after[0])
