"""Alpha-fair losses: factors p l^-alpha at any size, in any container, under any method."""

import math

import numpy as np
import pytest
import torch

from fairopt import InvalidInput
from fairopt import torch as ft

ALPHAS = [0.0, 0.3, 1.0, 1.0 + 1e-9, 2.0, 7.5]


def factors(values, alpha, dtype=torch.float64, **options):
    losses = torch.tensor(values, dtype=dtype, requires_grad=True)
    ft.alpha_fair_losses(losses, alpha, **options).sum().backward()
    return losses.grad.double().numpy()


@pytest.mark.parametrize("alpha", ALPHAS)
def test_values_and_gradients_are_those_of_the_utility(alpha):
    values, p = np.array([0.2, 1.0, 5.0]), np.array([1.0, 2.0, 3.0])
    new = ft.alpha_fair_losses(torch.tensor(values), alpha, priority=p).numpy()
    power = np.log(values) if alpha == 1.0 else values ** (1.0 - alpha) / (1.0 - alpha)
    np.testing.assert_allclose(new, p * power, rtol=1e-13)
    np.testing.assert_allclose(factors(values, alpha, priority=p), p * values**-alpha, rtol=1e-13)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0, 2.0, 7.5])
@pytest.mark.parametrize("floor", [None, 1.0])
def test_derivatives_of_both_orders_are_right(alpha, floor):
    losses = torch.tensor([0.3, 2.0, 5.0], dtype=torch.float64, requires_grad=True)

    def transformed(x):
        return ft.alpha_fair_losses(x, alpha, priority=[1.0, 2.0, 3.0], floor=floor)

    assert torch.autograd.gradcheck(transformed, losses)
    assert torch.autograd.gradgradcheck(transformed, losses)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 10.0, 1000.0])
@pytest.mark.parametrize("values", [[1e-300, 1e-298], [1e-30, 1e-29], [1e30, 2e30], [1e-7, 3e4]])
def test_nothing_overflows_and_not_all_vanishes(dtype, alpha, values):
    if not all(0.0 < float(torch.tensor(v, dtype=dtype)) < math.inf for v in values):
        return
    losses = torch.tensor(values, dtype=dtype, requires_grad=True)
    new = ft.alpha_fair_losses(losses, alpha)
    new.sum().backward()
    assert new.isfinite().all()
    assert losses.grad.isfinite().all()
    assert losses.grad.max() > 0.0
    assert losses.dtype == new.dtype


def test_factors_are_exact_wherever_they_are_floats_with_room_to_spare():
    np.testing.assert_allclose(factors([1e-30, 1.0], 1.0, torch.float32), [1e30, 1.0], rtol=1e-6)
    np.testing.assert_allclose(factors([1e-30, 1e30], 2.0), [1e60, 1e-60], rtol=1e-12)


@pytest.mark.parametrize("values", [[1e-200, 2e-200], [1e200, 2e200]])
def test_beyond_that_their_ratios_are_exact(values):
    found = factors(values, 2.0)
    assert found[0] / found[1] == pytest.approx(4.0, rel=1e-12)


def test_a_loss_in_another_unit_changes_nothing_at_alpha_one():
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    for unit in (1.0, 1e-6, 1e6):
        w.grad = None
        (new,) = ft.alpha_fair_losses([unit * (w**2).sum()], 1.0)
        new.backward()
        torch.testing.assert_close(w.grad, torch.tensor([0.4, 0.8]))


def test_the_container_is_kept():
    a, b = torch.tensor(2.0), torch.tensor([4.0])
    assert isinstance(ft.alpha_fair_losses([a, b], 1.0), list)
    assert isinstance(ft.alpha_fair_losses((a, b), 1.0), tuple)
    named = ft.alpha_fair_losses({"a": a, "b": b}, 2.0, priority={"b": 3.0, "a": 1.0})
    assert list(named) == ["a", "b"]
    assert named["b"].shape == (1,)
    assert named["b"].item() == pytest.approx(-0.75)
    vector = ft.alpha_fair_losses(torch.tensor([2.0, 4.0]), 1.0)
    assert vector.shape == (2,)


def test_below_the_floor_the_function_goes_on_along_its_tangent():
    found = factors([-1.0, 0.0, 0.5, 2.0], 2.0, floor=0.5)
    np.testing.assert_allclose(found, [4.0, 4.0, 4.0, 0.25])
    values = ft.alpha_fair_losses(torch.tensor([-1.0, 0.0, 0.5]), 2.0, floor=0.5)
    torch.testing.assert_close(values, torch.tensor([-8.0, -4.0, -2.0]))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_passes_on_as_nan_gradients(bad):
    found = factors([1.0, bad], 1.0)
    assert found[0] == 1.0
    assert math.isnan(found[1])
    assert not ft.alpha_fair_losses(torch.tensor([bad]), 2.0).isfinite().any()


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("alpha", lambda x: ft.alpha_fair_losses(x, -0.1)),
        ("alpha", lambda x: ft.alpha_fair_losses(x, math.inf)),
        ("alpha", lambda x: ft.alpha_fair_losses(x, math.nan)),
        ("alpha", lambda x: ft.alpha_fair_losses(x, "1")),
        ("losses[1]", lambda x: ft.alpha_fair_losses([x[0], x[0] * 0.0], 1.0)),
        ("losses['b']", lambda x: ft.alpha_fair_losses({"a": x[0], "b": -x[0]}, 1.0)),
        ("losses[0]", lambda x: ft.alpha_fair_losses([x], 1.0)),
        ("losses[0]", lambda x: ft.alpha_fair_losses([1.0], 1.0)),
        ("losses", lambda x: ft.alpha_fair_losses(x.reshape(1, 2), 1.0)),
        ("losses", lambda x: ft.alpha_fair_losses([], 1.0)),
        ("losses", lambda x: ft.alpha_fair_losses(3.0, 1.0)),
        ("losses[0]", lambda x: ft.alpha_fair_losses([torch.tensor(1)], 1.0)),
        ("priority", lambda x: ft.alpha_fair_losses(x, 1.0, priority=[1.0])),
        ("priority", lambda x: ft.alpha_fair_losses(x, 1.0, priority=[1.0, 0.0])),
        ("priority", lambda x: ft.alpha_fair_losses(x, 1.0, priority=[[1.0, 1.0]])),
        ("priority", lambda x: ft.alpha_fair_losses(x, 1.0, priority={"a": 1.0})),
        ("floor", lambda x: ft.alpha_fair_losses(x, 1.0, floor=0.0)),
        ("floor", lambda x: ft.alpha_fair_losses(x, 1.0, floor=math.inf)),
    ],
)
def test_refusals(argument, call):
    with pytest.raises(InvalidInput) as caught:
        call(torch.tensor([1.0, 2.0]))
    assert caught.value.argument == argument


def test_a_zero_loss_is_told_about_the_floor():
    with pytest.raises(InvalidInput, match=r"losses\[0\] = 0.0, .* `floor`"):
        ft.alpha_fair_losses(torch.tensor([0.0, 1.0]), 1.0)


METHODS = [
    ft.FairGrad(2.0), ft.ConflictAverse(0.4), ft.MinNorm(), ft.UPGrad(), ft.DualCone(), ft.Mean(),
    ft.AlignedMTL(), ft.IMTLG(), ft.ConFIG(), ft.GradVac(),
]  # fmt: skip


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_every_method_sees_gradients_times_the_factors(method, alpha):
    """The direction under alpha-fair losses is that of gradients p_k l_k^-alpha g_k."""
    shared = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64, requires_grad=True)
    targets = torch.eye(3, dtype=torch.float64) * 3.0
    losses = [((shared - t) ** 2).sum() for t in targets]
    rows = [torch.autograd.grad(loss, [shared], retain_graph=True)[0] for loss in losses]
    scaled = [g * loss.item() ** -alpha for g, loss in zip(rows, losses, strict=True)]
    fresh = ft.GradVac() if isinstance(method, ft.GradVac) else method
    expected, _ = ft.aggregate(scaled, fresh)
    again = ft.GradVac() if isinstance(method, ft.GradVac) else method
    ft.backward(ft.alpha_fair_losses(losses, alpha), [shared], again)
    torch.testing.assert_close(shared.grad, expected, rtol=1e-8, atol=1e-10)


def test_fairgrad_at_one_is_the_same_with_and_without_logs():
    """Proportional fairness has no unit of the losses: w_k / l_k g_k is w_k g_k again."""
    shared = torch.tensor([1.0, -0.5], dtype=torch.float64, requires_grad=True)
    steps = []
    for alpha in (0.0, 1.0):
        shared.grad = None
        losses = [(shared - 2.0).square().sum(), 100.0 * (shared + 1.0).square().sum()]
        ft.backward(ft.alpha_fair_losses(losses, alpha), [shared], ft.FairGrad(1.0))
        steps.append(shared.grad)
    torch.testing.assert_close(steps[0], steps[1])


def test_a_generator_of_losses_is_a_list_of_them() -> None:
    values = [torch.tensor(x, requires_grad=True) for x in (0.5, 2.0)]
    found = ft.alpha_fair_losses((x for x in values), 1.0)
    assert isinstance(found, list)
    for x, y in zip(found, ft.alpha_fair_losses(values, 1.0), strict=True):
        assert torch.equal(x, y)
    loss, solution = ft.weighted_loss((x for x in values), ft.FAMO())
    assert solution.ok
    assert float(loss.detach()) > 0.0


def test_losses_of_unlike_precision_get_factors_that_all_of_them_can_hold():
    for dtypes in ((torch.float64, torch.float32), (torch.float32, torch.float64)):
        losses = [torch.tensor(1e-30, dtype=one, requires_grad=True) for one in dtypes]
        sum(one.double() for one in ft.alpha_fair_losses(losses, 2.0)).backward()
        grads = [float(one.grad) for one in losses]
        assert np.isfinite(grads).all()
        assert grads[0] == pytest.approx(grads[1], rel=1e-6)
