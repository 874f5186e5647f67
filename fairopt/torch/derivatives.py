"""Weights that autograd can differentiate in the Gram matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fairopt.checks import Array
from fairopt.conflict_averse import conflict_averse
from fairopt.errors import InvalidInput
from fairopt.fairgrad import fairgrad
from fairopt.implicit import conflict_averse_adjoint, fairgrad_adjoint, min_norm_adjoint
from fairopt.min_norm import min_norm
from fairopt.solution import Solution


class _Weights(torch.autograd.Function):
    """Solve in NumPy; differentiate by the implicit function theorem."""

    @staticmethod
    def forward(
        ctx: Any, A: Tensor, solve: Callable[[Array, float], Solution], adjoint: Any
    ) -> Tensor:
        matrix = A.detach().to(device="cpu", dtype=torch.float64).numpy()
        ctx.solution, ctx.matrix, ctx.adjoint = solve(matrix, precision(A)), matrix, adjoint
        return torch.as_tensor(ctx.solution.weights, dtype=A.dtype, device=A.device)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        outer = grad.detach().to(device="cpu", dtype=torch.float64).numpy()
        result = ctx.adjoint(ctx.matrix, ctx.solution, outer)
        return torch.as_tensor(result, dtype=grad.dtype, device=grad.device), None, None


def precision(A: Tensor) -> float:
    """Error of the entries of a Gram matrix of this dtype."""
    return min(4.0 * A.shape[-1] * torch.finfo(A.dtype).eps, 1.0)


def fairgrad_weights(gram: Tensor, alpha: float) -> Tensor:
    """`fairopt.fairgrad` weights, differentiable in the Gram matrix (NaN where not ok).

    Example:
        >>> A = torch.eye(2, dtype=torch.float64, requires_grad=True)
        >>> fairgrad_weights(A, 1.0).sum().backward()
        >>> A.grad.round(decimals=4)
        tensor([[-0.5000, -0.5000],
                [-0.5000, -0.5000]], dtype=torch.float64)
    """
    return _apply(
        gram,
        lambda A, error: fairgrad(A, alpha, gram_error=error),
        lambda A, solution, outer: fairgrad_adjoint(A, alpha, solution, outer),
    )


def conflict_averse_weights(gram: Tensor, c: float) -> Tensor:
    """`fairopt.conflict_averse` weights around the mean, differentiable in the Gram matrix."""
    return _apply(
        gram,
        lambda A, error: conflict_averse(A, c, gram_error=error),
        lambda A, solution, outer: conflict_averse_adjoint(A, c, solution, outer),
    )


def min_norm_weights(gram: Tensor) -> Tensor:
    """`fairopt.min_norm` weights, differentiable in the Gram matrix."""
    return _apply(gram, lambda A, error: min_norm(A, gram_error=error), min_norm_adjoint)


def _apply(gram: Tensor, solve: Any, adjoint: Any) -> Tensor:
    """Call the autograd function on a real floating tensor."""
    if not isinstance(gram, Tensor) or not gram.is_floating_point():
        raise InvalidInput("gram", gram, "a real floating-point tensor")
    result: Tensor = _Weights.apply(gram, solve, adjoint)  # type: ignore[no-untyped-call]
    return result
