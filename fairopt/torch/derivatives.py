"""Weights that autograd can differentiate, any number of times, in the Gram matrix."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from fairopt.arrays import Array
from fairopt.checks import LARGEST_ERROR
from fairopt.conflict_averse import conflict_averse
from fairopt.errors import InvalidInput
from fairopt.fairgrad import fairgrad
from fairopt.min_norm import min_norm
from fairopt.solution import GOOD, Solution
from fairopt.torch.adjoints import conflict_averse_adjoint, fairgrad_adjoint, min_norm_adjoint

_Solve = Callable[[Array], Solution]
_Adjoint = Callable[[Tensor, Tensor, Tensor, Solution], Tensor]


class _Weights(torch.autograd.Function):
    """Solve in NumPy; differentiate by the implicit function theorem, in float64 on the CPU.

    `backward` uses differentiable operations of A and of the saved weights, which stand for this
    function itself: differentiating it once more gives second derivatives.
    """

    @staticmethod
    def forward(ctx: Any, A: Tensor, solve: _Solve, adjoint: _Adjoint) -> Tensor:
        """Weights of a solution that is known."""
        ctx.solution, ctx.adjoint = solve(A.detach().numpy()), adjoint
        w = torch.tensor(ctx.solution.weights)
        ctx.save_for_backward(A, w)
        return w

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """The adjoint of the symmetrised matrix, for the solution as it was found."""
        A, w = ctx.saved_tensors
        good = torch.from_numpy(np.isin(ctx.solution.status, GOOD))
        known = torch.where(good, 1.0, math.nan)[..., None, None].to(A.dtype)
        return ctx.adjoint(0.5 * (A + A.mT), w, grad, ctx.solution) * known, None, None


def precision(A: Tensor) -> float:
    """Error of the entries of a Gram matrix of this dtype."""
    return min(4.0 * A.shape[-1] * torch.finfo(A.dtype).eps, LARGEST_ERROR)


def fairgrad_weights(gram: Tensor, alpha: float, *, priority: ArrayLike | None = None) -> Tensor:
    """`fairopt.fairgrad` weights, differentiable in the Gram matrix.

    Method: one linear solve per derivative; derivatives of any order exist while no task changes
    sides (a weight that is zero at alpha = inf, or a priority kept at alpha = 0, stays so).

    Args:
        gram: (..., K, K), real floating-point, on any device.
        alpha: Fairness level, one number in [0, inf].
        priority: (..., K) or None, a constant of the derivative.

    Returns:
        (..., K) of the dtype and on the device of `gram`. Derivatives are NaN where the solution is
        not ok, or where the equations of the supporting tasks are singular to rounding.

    Example:
        >>> A = torch.eye(2, dtype=torch.float64, requires_grad=True)
        >>> fairgrad_weights(A, 1.0).sum().backward()
        >>> A.grad.round(decimals=4)
        tensor([[-0.5000, -0.5000],
                [-0.5000, -0.5000]], dtype=torch.float64)
    """

    def adjoint(A: Tensor, w: Tensor, outer: Tensor, _: Solution) -> Tensor:
        kept = np.asarray(1.0 if priority is None else priority, dtype=np.float64)
        free = w > (torch.from_numpy(kept) if alpha == 0.0 else 0.0)
        return fairgrad_adjoint(A, w, outer, alpha, free)

    return _apply(
        gram,
        lambda A, error: fairgrad(A, alpha, priority=priority, gram_error=error),
        adjoint,
    )


def conflict_averse_weights(gram: Tensor, c: float) -> Tensor:
    """`fairopt.conflict_averse` weights around the mean, differentiable in the Gram matrix.

    NaN derivatives as in `fairgrad_weights`, and where no direction helps every task.
    """

    def adjoint(A: Tensor, w: Tensor, outer: Tensor, solution: Solution) -> Tensor:
        assert solution.dual is not None  # conflict_averse always has multipliers
        result = conflict_averse_adjoint(A, w, outer, c, torch.from_numpy(solution.dual > 0.0))
        if solution.certificate is None or c == 0.0:
            return result
        blocked = torch.from_numpy(~np.isnan(solution.certificate))[..., None]
        return result * torch.where(blocked, math.nan, 1.0)

    return _apply(gram, lambda A, error: conflict_averse(A, c, gram_error=error), adjoint)


def min_norm_weights(gram: Tensor) -> Tensor:
    """`fairopt.min_norm` weights, differentiable in the Gram matrix.

    NaN derivatives as in `fairgrad_weights`.
    """
    return _apply(
        gram,
        lambda A, error: min_norm(A, gram_error=error),
        lambda A, v, outer, _: min_norm_adjoint(A, v, outer),
    )


def _apply(gram: Tensor, solve: Callable[[Array, float], Solution], adjoint: _Adjoint) -> Tensor:
    """Call the autograd function on a real floating tensor."""
    if not isinstance(gram, Tensor) or not gram.is_floating_point():
        raise InvalidInput("gram", gram, "a real floating-point tensor")
    error = precision(gram)
    A = gram.to(device="cpu", dtype=torch.float64)
    result: Tensor = _Weights.apply(A, lambda a: solve(a, error), adjoint)  # type: ignore[no-untyped-call]
    return result.to(device=gram.device, dtype=gram.dtype)
