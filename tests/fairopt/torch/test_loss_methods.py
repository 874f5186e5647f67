"""Methods that weigh losses: their papers' equations, their state, a training loop."""

import io
import json
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairopt import InvalidInput, Status
from fairopt import torch as ft
from fairopt.torch.loss_methods import AtLosses, is_loss_method

K = 3
GRAM = np.diag([4.0, 1.0, 9.0])
MAKERS = {
    "RLW": lambda: ft.RLW(7),
    "DWA": lambda: ft.DWA(period=2),
    "Uncertainty": ft.Uncertainty,
    "FAMO": ft.FAMO,
    "IMTLL": ft.IMTLL,
    "GradNorm": ft.GradNorm,
}


def loss_sequence(seed=0, steps=40):
    rng = np.random.default_rng(seed)
    return np.exp(rng.normal(size=(steps, K)) - 0.05 * np.arange(steps)[:, None])


def step(method, losses):
    """One step of a loop; what `update` is told is a fixed decrease."""
    gram = GRAM if method.needs_gram else None
    weights = method.weigh(losses, gram=gram).require().weights
    if hasattr(method, "update"):
        method.update(losses * [0.9, 0.5, 0.99])
    return weights


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("way", ["json", "torch", "pickle"])
def test_a_restored_state_goes_on_as_if_nothing_had_happened(name, way):
    losses = loss_sequence()
    straight, first, second = MAKERS[name](), MAKERS[name](), MAKERS[name]()
    expected = [step(straight, row) for row in losses]
    for row in losses[:17]:
        step(first, row)
    saved = first.state.state_dict()
    if way == "json":
        second.state.load_state_dict(json.loads(json.dumps(saved)))
    elif way == "torch":
        buffer = io.BytesIO()
        torch.save(saved, buffer)
        buffer.seek(0)
        second.state.load_state_dict(torch.load(buffer, weights_only=True))
    else:
        second = pickle.loads(pickle.dumps(first))
    for row, weights in zip(losses[17:], expected[17:], strict=True):
        np.testing.assert_array_equal(step(second, row), weights)


@pytest.mark.parametrize("name", MAKERS)
def test_a_saved_state_is_no_view(name):
    method = MAKERS[name]()
    step(method, np.ones(K))
    saved = json.dumps(method.state.state_dict())
    kept = method.state.state_dict()
    step(method, np.full(K, 2.0))
    assert json.dumps(kept) == saved
    method.state.clear()
    assert not method.state.arrays


@pytest.mark.parametrize("name", MAKERS)
def test_losses_of_any_container_give_the_same_weights(name):
    values = [0.5, 2.0, 1.0]
    tensors = [torch.tensor(value, dtype=torch.float64) for value in values]
    for losses in (tensors, dict(zip("abc", tensors, strict=True)), torch.stack(tensors)):
        plain, other = MAKERS[name](), MAKERS[name]()
        for _ in range(3):
            expected = plain.weigh(values, gram=GRAM).weights
            np.testing.assert_array_equal(other.weigh(losses, gram=GRAM).weights, expected)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_no_step(name, bad):
    method = MAKERS[name]()
    step(method, np.ones(K))
    kept = method.state.state_dict()
    solution = method.weigh([1.0, bad, 1.0], gram=GRAM)
    assert (solution.status, solution.worst) == (Status.NOT_FINITE, 1)
    assert not solution.weights.any()
    assert method.state.state_dict() == kept


@pytest.mark.parametrize("name", MAKERS)
def test_an_absent_task_has_no_weight_and_keeps_its_state(name):
    method = MAKERS[name]()
    for row in loss_sequence(steps=6):
        step(method, row)
    kept = {key: array.copy() for key, array in method.state.arrays.items()}
    solution = method.weigh([1.0, math.nan, 2.0], gram=GRAM, present=[True, False, True])
    assert solution.ok
    assert solution.weights[1] == 0.0
    assert (solution.weights[[0, 2]] > 0.0).all()
    for key, array in method.state.arrays.items():
        if array.shape == (K,) and key not in ("before", "total", "count", "older", "newer"):
            assert array[1] == kept[key][1], key
    none = method.weigh([1.0, 1.0, 1.0], gram=GRAM, present=[False] * K)
    assert none.ok
    assert not none.weights.any()


@pytest.mark.parametrize("name", MAKERS)
def test_another_number_of_tasks_is_refused_until_the_state_is_cleared(name):
    method = MAKERS[name]()
    step(method, np.ones(K))
    if name == "RLW":
        return
    with pytest.raises(InvalidInput, match="clear"):
        method.weigh([1.0, 2.0], gram=np.eye(2))
    method.state.clear()
    assert method.weigh([1.0, 2.0], gram=np.eye(2)).ok


def test_random_weights_are_a_softmax_of_normal_numbers():
    rng = np.random.default_rng(5)
    method = ft.RLW(5)
    for _ in range(4):
        drawn = np.exp(rng.standard_normal(K))
        np.testing.assert_allclose(method.weigh(np.ones(K)).weights, drawn / drawn.sum())
    own = ft.RLW(np.random.default_rng(5))
    assert own.weigh(np.ones(K)).weights[0] == ft.RLW(5).weigh(np.ones(K)).weights[0]


def test_dynamic_weights_follow_equation_seven():
    method, losses = ft.DWA(1.5), loss_sequence(steps=12)
    for epoch in range(4):
        for row in losses[3 * epoch : 3 * epoch + 3]:
            weights = method.weigh(row).weights
            if epoch < 2:
                np.testing.assert_array_equal(weights, np.ones(K))
                continue
            means = losses.reshape(4, 3, K).mean(axis=1)
            powers = np.exp(means[epoch - 1] / means[epoch - 2] / 1.5)
            np.testing.assert_allclose(weights, K * powers / powers.sum(), rtol=1e-13)
        method.end_epoch()


def test_a_period_closes_epochs_by_itself():
    counted, told = ft.DWA(period=3), ft.DWA()
    for i, row in enumerate(loss_sequence(steps=15)):
        np.testing.assert_array_equal(counted.weigh(row).weights, told.weigh(row).weights)
        if i % 3 == 2:
            told.end_epoch()


def test_dynamic_weights_take_negative_losses_and_refuse_a_change_of_sign():
    method = ft.DWA(period=1)
    for value in (-4.0, -2.0, -1.0):
        assert method.weigh([value, -1.0]).ok
    method.weigh([1.0, -1.0])
    with pytest.raises(InvalidInput, match=r"mean loss\[0\]"):
        method.end_epoch()
    ft.DWA().end_epoch()


def adam(start, objective, rate, steps, decay=0.0):
    """PyTorch's Adam on an objective of step and numbers; the numbers before every step."""
    numbers = torch.full((K,), start, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([numbers], lr=rate, weight_decay=decay)
    for t in range(steps):
        yield numbers.detach().numpy().copy()
        optimizer.zero_grad()
        objective(t, numbers).backward()
        optimizer.step()


def test_uncertainty_and_imtll_learn_jointly_as_with_pytorchs_adam():
    losses = torch.tensor(loss_sequence())

    def kendall(t, s):
        return (0.5 * torch.exp(-s) * losses[t] + 0.5 * s).sum()

    def impartial(t, s):
        return (torch.exp(s) * losses[t] - s).sum()

    for method, objective, weight in (
        (ft.Uncertainty(0.05), kendall, lambda s: 0.5 * np.exp(-s)),
        (ft.IMTLL(0.05), impartial, np.exp),
    ):
        for row, s in zip(losses, adam(0.0, objective, 0.05, 40), strict=True):
            np.testing.assert_allclose(method.weigh(row).weights, weight(s), rtol=1e-12)


@pytest.mark.parametrize("losses", [[1e-6, 1.0, 1e6], [1e-200, 1.0, 1e200]])
def test_learned_weights_stay_numbers_at_any_size(losses):
    for method in (ft.Uncertainty(), ft.IMTLL(), ft.FAMO(epsilon=0.0), ft.GradNorm(), ft.DWA()):
        for _ in range(50):
            gram = np.diag([1e-200, 1.0, 1e200])
            assert method.weigh(losses, gram=gram).ok
            if isinstance(method, ft.FAMO):
                method.update(losses)


def test_at_rest_weighted_losses_are_equal():
    losses = [0.3, 1.0, 4.0]
    for method, level in ((ft.Uncertainty(), 0.5), (ft.IMTLL(), 1.0)):
        for _ in range(3000):
            weights = method.weigh(losses).weights
        np.testing.assert_allclose(weights * losses, level, rtol=1e-3)


def test_famo_is_its_algorithm_with_pytorchs_adam():
    losses = torch.tensor(loss_sequence())
    after = losses * torch.tensor([0.9, 0.5, 0.99])
    method = ft.FAMO(rate=0.05, decay=0.01, epsilon=1e-8)

    def objective(t, xi):
        delta = torch.log(losses[t] + 1e-8) - torch.log(after[t] + 1e-8)
        return torch.softmax(xi, 0) @ delta

    for row, new, xi in zip(losses, after, adam(0.0, objective, 0.05, 40, 0.01), strict=True):
        z = np.exp(xi) / np.exp(xi).sum() / (row.numpy() + 1e-8)
        np.testing.assert_allclose(method.weigh(row).weights, z / z.sum(), rtol=1e-11)
        method.update(new)


def test_famo_favours_the_task_that_falls_least_and_does_not_depend_on_units():
    plain, scaled = ft.FAMO(epsilon=0.0), ft.FAMO(epsilon=0.0)
    unit = np.array([1e-6, 1.0, 1e6])
    for row in loss_sequence():
        w, v = plain.weigh(row).weights, scaled.weigh(row * unit).weights
        np.testing.assert_allclose(v * unit / (v * unit).sum(), w / w.sum(), rtol=1e-9)
        plain.update(row * [0.9, 0.5, 0.99])
        scaled.update(row * unit * [0.9, 0.5, 0.99])
    logits = plain.state.arrays["logits"]
    assert logits[2] > logits[0] > logits[1]
    ft.FAMO().update([1.0, 2.0])  # before any step there is nothing to learn from


def test_famo_counts_from_lower_bounds():
    method = ft.FAMO(minimum=[1.0, 0.0, -1.0], epsilon=0.0)
    weights = method.weigh([2.0, 1.0, 0.0]).weights
    np.testing.assert_allclose(weights, np.full(3, 1.0 / 3.0))
    with pytest.raises(InvalidInput, match=r"losses\[0\] = 1.0, but it must be > minimum"):
        method.weigh([1.0, 1.0, 0.0])
    with pytest.raises(InvalidInput, match="minimum"):
        ft.FAMO(minimum=[0.0, 0.0]).weigh(np.ones(K))


def test_gradnorm_is_equations_one_and_two():
    """Adam's first step goes by the signs of the slopes; targets are those of equation (1)."""
    method = ft.GradNorm(alpha=0.5, rate=0.1)
    np.testing.assert_array_equal(method.weigh([1.0, 1.0, 1.0], gram=GRAM).weights, np.ones(K))
    lengths = np.sqrt(np.diag(GRAM))  # 2, 1, 3: mean 2, and all rates are one
    expected = np.array([1.0, 1.1, 0.9])
    second = method.weigh([1.0, 1.0, 4.0], gram=GRAM).weights
    np.testing.assert_allclose(second, expected * K / expected.sum(), rtol=1e-6)
    assert lengths.mean() == 2.0
    assert method.weigh([1.0, 1.0, 1.0], gram=GRAM).weights.sum() == pytest.approx(K)


def test_gradnorm_ends_with_equal_lengths_and_does_not_depend_on_units():
    plain, scaled = ft.GradNorm(alpha=0.0), ft.GradNorm(alpha=0.0)
    for _ in range(400):
        weights = plain.weigh(np.ones(K), gram=GRAM).weights
        again = scaled.weigh(np.full(K, 1e9), gram=GRAM * 1e-12).weights
    np.testing.assert_allclose(again, weights, rtol=1e-9)
    reached = weights * np.sqrt(np.diag(GRAM))
    assert np.ptp(reached) < 0.1 * reached.mean()


def test_gradnorm_pulls_the_slow_task_forward():
    method = ft.GradNorm(alpha=1.5, initial=[1.0, 1.0, 1.0])
    for _ in range(50):
        weights = method.weigh([0.1, 0.1, 1.0], gram=np.eye(K)).weights
    assert weights[2] > 1.0 > weights[0]


def test_gradients_that_are_not_finite_are_no_step_for_gradnorm():
    method = ft.GradNorm()
    solution = method.weigh(np.ones(K), gram=np.diag([1.0, math.nan, 1.0]))
    assert (solution.status, solution.worst) == (Status.NOT_FINITE, 1)
    assert not method.state.arrays
    assert method.weigh(np.ones(K), gram=np.zeros((K, K))).ok


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("rng", lambda: ft.RLW(-1)),
        ("rng", lambda: ft.RLW(1.5)),
        ("rng", lambda: ft.GradVac(rng="a")),
        ("beta", lambda: ft.GradVac(1.5)),
        ("temperature", lambda: ft.DWA(0.0)),
        ("period", lambda: ft.DWA(period=0)),
        ("rate", lambda: ft.Uncertainty(0.0)),
        ("rate", lambda: ft.IMTLL(-1.0)),
        ("rate", lambda: ft.FAMO(math.inf)),
        ("rate", lambda: ft.GradNorm(rate=0.0)),
        ("decay", lambda: ft.FAMO(decay=-1.0)),
        ("epsilon", lambda: ft.FAMO(epsilon=math.nan)),
        ("minimum", lambda: ft.FAMO(minimum=math.nan)),
        ("alpha", lambda: ft.GradNorm(-1.0)),
        ("initial", lambda: ft.GradNorm(initial=[0.0])),
        ("initial", lambda: ft.GradNorm(initial=[1.0]).weigh(np.ones(K), gram=GRAM)),
        ("gram", lambda: ft.GradNorm().weigh(np.ones(K))),
        ("gram", lambda: ft.GradNorm().weigh(np.ones(K), gram=np.eye(2))),
        ("gram", lambda: ft.GradNorm().weigh(np.ones(K), gram=-GRAM)),
        ("losses[1]", lambda: ft.GradNorm().weigh([1.0, 0.0, 1.0], gram=GRAM)),
        ("losses['b']", lambda: ft.FAMO().weigh({"a": 1.0, "b": -1.0})),
        ("losses", lambda: ft.FAMO().weigh([])),
        ("losses", lambda: ft.FAMO().weigh([[1.0, 2.0]])),
        ("losses", lambda: ft.FAMO().weigh("ab")),
        ("present", lambda: ft.FAMO().weigh([1.0, 1.0], present=[True])),
        ("saved", lambda: ft.FAMO().state.load_state_dict({})),
        ("saved", lambda: ft.FAMO().state.load_state_dict(ft.RLW().state.state_dict())),
        ("saved", lambda: ft.RLW().state.load_state_dict(ft.FAMO().state.state_dict())),
        ("saved", lambda: ft.RLW().state.load_state_dict({"arrays": {}, "rng": {"a": 1}})),
        ("method", lambda: ft.weighted_loss([torch.ones(())], ft.FAMO)),
        ("method", lambda: ft.weighted_loss([torch.ones(())], "famo")),
        ("shared", lambda: ft.weighted_loss([torch.ones(())], ft.FairGrad(1.0))),
        ("shared", lambda: ft.weighted_loss([torch.ones(())], ft.GradNorm(), [])),
    ],
)
def test_refusals(argument, call):
    with pytest.raises(InvalidInput) as caught:
        call()
    assert caught.value.argument == argument


def test_records_are_frozen_and_replaced_ones_share_the_state():
    method = ft.FAMO()
    with pytest.raises(AttributeError):
        method.rate = 1.0
    assert replace(method, rate=0.1).state is method.state
    assert ft.FAMO().state is not method.state
    assert ft.FAMO() == ft.FAMO()


def test_loss_methods_are_told_from_others():
    assert all(is_loss_method(make()) for make in MAKERS.values())
    assert not any(map(is_loss_method, [ft.FairGrad(1.0), ft.FAMO, "famo", ft.GradVac()]))


def problem(dtype=torch.float64):
    shared = torch.tensor([1.0, -0.5], dtype=dtype, requires_grad=True)
    head = torch.tensor(2.0, dtype=dtype, requires_grad=True)
    losses = [(shared - 2.0).square().sum(), (head * shared[0] - 1.0).square() + 1.0]
    return shared, head, losses


@pytest.mark.parametrize("method", [ft.FairGrad(2.0), ft.UPGrad(), ft.ConFIG()])
def test_the_weighted_loss_has_the_gradient_of_a_weighted_backward(method):
    shared, head, losses = problem()
    loss, solution = ft.weighted_loss(losses, method, [shared])
    loss.backward()
    other, other_head, losses = problem()
    again = ft.backward(losses, [other], method, heads="weighted")
    np.testing.assert_allclose(solution.weights, again.weights)
    torch.testing.assert_close(shared.grad, other.grad)
    torch.testing.assert_close(head.grad, other_head.grad)


def test_at_losses_solves_like_a_method_and_aggregates():
    shared, _, losses = problem()
    rows = [torch.autograd.grad(loss, [shared], retain_graph=True)[0] for loss in losses]
    direction, solution = ft.aggregate(rows, AtLosses(ft.GradNorm(), losses))
    torch.testing.assert_close(direction, rows[0] + rows[1])
    assert solution.ok
    loss, _ = ft.weighted_loss(losses, ft.GradNorm(), [shared])
    torch.testing.assert_close(torch.autograd.grad(loss, shared)[0], direction)


def test_an_absent_task_has_no_part_in_the_weighted_loss():
    shared, _, losses = problem()
    absent = [losses[0], losses[1] * math.nan]
    loss, solution = ft.weighted_loss(absent, ft.FAMO(), present=[True, False])
    assert loss.isfinite()
    assert solution.weights[1] == 0.0
    with pytest.raises(InvalidInput, match="present"):
        ft.weighted_loss(losses, ft.MinNorm(), [shared], present=[True, True])


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("alpha", [None, 0.5])
def test_training_lowers_all_losses(name, alpha):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 5, generator=generator)
    goals = (x @ torch.randn(5, K, generator=generator)) * torch.tensor([1.0, 2.0, 0.5])
    model = torch.nn.Sequential(torch.nn.Linear(5, 16), torch.nn.Tanh(), torch.nn.Linear(16, K))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    method, optimizer = MAKERS[name](), torch.optim.Adam(model.parameters(), lr=0.01)
    first = ((model(x) - goals) ** 2).mean(0).detach()
    for _ in range(300):
        losses = ((model(x) - goals) ** 2).mean(0)
        new = losses if alpha is None else ft.alpha_fair_losses(losses, alpha)
        loss, solution = ft.weighted_loss(new, method, list(model[0].parameters()))
        assert solution.ok
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if isinstance(method, ft.FAMO):
            with torch.no_grad():
                after = ((model(x) - goals) ** 2).mean(0)
                method.update(after if alpha is None else ft.alpha_fair_losses(after, alpha))
    last = ((model(x) - goals) ** 2).mean(0).detach()
    assert (last < 0.5 * first).all()


@pytest.mark.parametrize(
    "make", [lambda: ft.DWA(period=1), ft.Uncertainty, ft.IMTLL, ft.FAMO, ft.GradNorm]
)
@settings(max_examples=25)
@given(
    steps=st.lists(st.lists(st.floats(0.1, 10.0), min_size=4, max_size=4), min_size=3, max_size=5),
    present=st.lists(st.booleans(), min_size=4, max_size=4).filter(any),
    sizes=st.lists(st.floats(0.1, 10.0), min_size=4, max_size=4),
)
def test_tasks_that_are_never_there_change_nothing_for_the_others(make, steps, present, sizes):
    """As if the method had been told of the others alone; absent weights are zero."""
    here = np.array(present)
    some, others = make(), make()
    gram = np.diag(np.square(sizes))
    for row in steps:
        losses = np.array(row)
        found = some.weigh(losses, gram=gram, present=present).weights
        alone = others.weigh(losses[here], gram=gram[np.ix_(here, here)]).weights
        np.testing.assert_allclose(found[here], alone, rtol=1e-9)
        assert not found[~here].any()
        for method, seen in ((some, losses), (others, losses[here])):
            if hasattr(method, "update"):
                method.update(0.9 * seen)
