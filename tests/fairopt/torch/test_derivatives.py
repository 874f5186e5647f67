"""First and second derivatives of the weights, against finite differences."""

import numpy as np
import pytest
import torch

import fairopt
from fairopt import InvalidInput
from fairopt import torch as ft
from tests import laws
from tests.fairopt import problems

GOOD = np.eye(2)  # a Gram matrix, but no tensor


def symmetric(K, seed):
    A = laws.gram(problems.well(K, np.random.default_rng(seed)))
    return torch.tensor(0.5 * (A + A.T), requires_grad=True)


CORNER = torch.tensor([[1.0, 1.2, 0.2], [1.2, 2.0, 0.3], [0.2, 0.3, 1.5]]).double()  # a weight is 0


def differentiates(weights, A):
    """First and second derivatives agree with differences of the values and of the first."""
    A = A.detach().requires_grad_()

    def of_symmetric(A):
        return weights(0.5 * (A + A.mT))

    assert torch.autograd.gradcheck(of_symmetric, (A,), eps=1e-6, atol=1e-5, rtol=1e-4)
    return torch.autograd.gradgradcheck(of_symmetric, (A,), eps=1e-6, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0, 2.0, 5.0, 20.0])
def test_fairgrad_derivatives(alpha):
    def logs(A, p=None):
        return torch.log(ft.fairgrad_weights(A, alpha, priority=p))

    for K in (1, 2, 3, 5):
        assert differentiates(logs, torch.eye(K, dtype=torch.float64) + 0.3)
        assert differentiates(logs, symmetric(K, 3))
    conflict = torch.tensor([[1.0, -0.8, 0.1], [-0.8, 1.0, 0.2], [0.1, 0.2, 4.0]]).double()
    assert differentiates(logs, conflict)
    assert differentiates(lambda A: logs(A, [0.5, 1.0, 3.0]), conflict)
    assert differentiates(logs, torch.stack([conflict, CORNER]))


@pytest.mark.parametrize("alpha", [0.0, np.inf])
def test_fairgrad_derivatives_at_the_ends(alpha):
    for A in (symmetric(4, 5), symmetric(3, 0), CORNER):
        assert differentiates(lambda A: ft.fairgrad_weights(A, alpha), A)
    clash = torch.tensor([[1.0, -0.5], [-0.5, 2.0]]).double()
    p = [3.0, 1.0]
    assert differentiates(lambda A: ft.fairgrad_weights(A, alpha, priority=p), clash)


def test_min_norm_derivatives_inside_and_at_corners():
    assert (fairopt.min_norm(CORNER.numpy()).weights == 0.0).any()
    vertex = torch.tensor([[1.0, 2.0], [2.0, 9.0]]).double()
    for A in (symmetric(2, 0), symmetric(4, 1), symmetric(5, 2), CORNER, vertex):
        assert differentiates(ft.min_norm_weights, A)


@pytest.mark.parametrize("c", [0.0, 0.4, 1.5])
def test_conflict_averse_derivatives(c):
    for A in (symmetric(2, 0), symmetric(4, 1), symmetric(5, 3), CORNER):
        assert differentiates(lambda A: ft.conflict_averse_weights(A, c), A)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_derivatives_do_not_depend_on_the_scale(scale):
    """Of a gradient's norm: weights of degree -1 / (1 + alpha) or 0, derivatives of one less."""
    for weights, degree in (
        (lambda A: ft.fairgrad_weights(A, 2.0), -2.0 / 3.0),
        (ft.min_norm_weights, 0.0),
        (lambda A: ft.conflict_averse_weights(A, 0.4), 0.0),
    ):
        slopes = []
        for factor in (1.0, scale):
            A = (factor * symmetric(3, 4).detach()).requires_grad_()
            weights(A)[0].backward()
            slopes.append(A.grad * factor ** (1.0 - degree))
        torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-7, atol=1e-9)


def test_second_derivatives_are_nan_where_first_ones_are():
    A = torch.stack([torch.eye(2), torch.tensor([[1.0, -1.0], [-1.0, 1.0]])]).double()
    A.requires_grad_()
    for weights in (ft.min_norm_weights, lambda A: ft.fairgrad_weights(A, 2.0)):
        (first,) = torch.autograd.grad(weights(A).square().sum(), A, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), A)
        assert torch.isfinite(second[0]).all()
        assert torch.isnan(second[1]).all()


def test_derivatives_of_a_batch_and_where_there_is_none():
    A = torch.stack([symmetric(2, 1), torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).double()])
    A = A.detach().requires_grad_()
    ft.fairgrad_weights(A, 2.0).sum().backward()
    assert torch.isfinite(A.grad[0]).all()
    assert torch.isnan(A.grad[1]).all()
    A.grad = None
    ft.min_norm_weights(A).square().sum().backward()
    assert torch.isnan(A.grad[1]).all()
    single = torch.eye(2, requires_grad=True)
    assert ft.fairgrad_weights(single, 2.0).dtype == torch.float32
    for weights in (
        ft.min_norm_weights,
        lambda A: ft.fairgrad_weights(A, 2.0),
        lambda A: ft.conflict_averse_weights(A, 0.4),
    ):
        for bad in (torch.eye(2, dtype=torch.int64), torch.eye(2, dtype=torch.complex64), GOOD):
            with pytest.raises(InvalidInput):
                weights(bad)


def test_in_a_batch_only_the_stationary_problem_has_no_derivative():
    """Where no direction helps every task the weights jump; its neighbours are smooth."""
    plain = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 6)))
    opposed = torch.zeros(3, 6, dtype=torch.float64)
    opposed[0, 0], opposed[1, 0], opposed[2, 1] = 1.0, -1.0, 1.0
    grams = torch.stack([plain @ plain.T, opposed @ opposed.T]).requires_grad_()
    (slope,) = torch.autograd.grad(ft.conflict_averse_weights(grams, 0.4).sum(), grams)
    assert slope[0].isfinite().all()
    assert slope[1].isnan().all()
