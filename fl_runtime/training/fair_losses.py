r"""Alpha-fairness in the losses of any method: what a method sees of a task is scaled by its loss.

With :math:`\ell_k^{1-\alpha} / (1-\alpha)` in place of the loss :math:`\ell_k` (its logarithm at
:math:`\alpha = 1`) every gradient is multiplied by :math:`f_k = \ell_k^{-\alpha}`. On clients the
loss of the batch is transformed itself (`fairopt.torch.alpha_fair_losses`). The server has updates
and mean training losses in place of gradients and losses: `Scaled` gives a method the Gram matrix
of the :math:`f_k \Delta_k` and takes the factors into its weights, so that the caller still
combines, and measures, the updates as they are.

Source: FairGrad (arXiv 2402.15638), alpha-fair loss functions for existing methods; that a server
scales updates by the losses of a round is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product

import numpy as np
import torch
from numpy.typing import ArrayLike

from fairopt.arrays import Array
from fairopt.exact_projection import two_floats
from fairopt.solution import Solution, Status
from fairopt.torch import Method, alpha_fair_losses
from fairopt.torch.methods import PreciseGram

FLOOR = 1e-8
"""Losses below it count as it. Cross-entropy in float32 is zero from about 6e-8 on, while its
gradient is still of that size: a smaller floor would blow up what is nothing but rounding."""

TINY = float(np.finfo(np.float64).tiny)


def loss_factors(losses: Sequence[float], alpha: float, floor: float = FLOOR) -> Array:
    r"""(K,) factors :math:`\max(\ell_k, floor)^{-\alpha}`, all divided by one number if need be.

    NaN for a loss that is not finite.

    Raises:
        InvalidInput: For alpha outside [0, inf), or a floor that is not > 0.

    Example:
        >>> loss_factors([0.5, 4.0, 0.0], 1.0, floor=0.25)
        array([2.  , 0.25, 4.  ])
    """
    leaf = torch.tensor(list(losses), dtype=torch.float64, requires_grad=True)
    (slopes,) = torch.autograd.grad(alpha_fair_losses(leaf, alpha, floor=floor).sum(), leaf)
    return np.asarray(slopes.numpy(), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Scaled:
    """A method that sees every task's update times a factor.

    Attributes:
        method: The record that solves.
        factors: (K,) finite numbers > 0.

    Example:
        >>> from fairopt.torch import Mean
        >>> Scaled(Mean(), np.array([2.0, 1.0])).solve([[1.0, 0.0], [0.0, 1.0]]).weights
        array([1. , 0.5])
    """

    method: Method
    factors: Array

    def solve(self, gram: ArrayLike, *, gram_error: float | None = None) -> Solution:
        """Weights of the updates as they are; OUT_OF_RANGE where float64 cannot hold the others."""
        f = self.factors
        with np.errstate(over="ignore", invalid="ignore"):
            A = np.asarray(gram, dtype=np.float64) * f * f[:, None]
        if not np.isfinite(A).all():
            return Solution(np.zeros(len(f)), Status.OUT_OF_RANGE, np.inf, 0)
        found = self.method.solve(A, gram_error=gram_error)
        low = None if found.low is None else found.low * f
        return replace(found, weights=found.weights * f, low=low)

    def solve_double(self, gram: PreciseGram) -> Solution | None:
        """The same with twice the digits, where the method has them."""
        solve = getattr(self.method, "solve_double", None)
        found: Solution | None = None if solve is None else solve(lambda: self._precise(gram))
        if found is None:
            return None
        second = np.zeros_like(found.weights) if found.low is None else found.low
        pairs = zip(found.weights.tolist(), second.tolist(), self.factors.tolist(), strict=True)
        weights, low = two_floats([(Fraction(a) + Fraction(b)) * Fraction(f) for a, b, f in pairs])
        sizes = np.sqrt(np.diag(gram()[0]))
        error = float(found.direction_error) * float(self.factors @ sizes / max(sizes.sum(), TINY))
        return replace(found, weights=weights, low=low, direction_error=error)

    def _precise(self, gram: PreciseGram) -> tuple[Array, Array, float]:
        """The Gram matrix of the scaled updates in twice the digits."""
        high, low, error = gram()
        f = [Fraction(each) for each in self.factors.tolist()]
        pairs = zip(high.ravel().tolist(), low.ravel().tolist(), product(f, f), strict=True)
        first, second = two_floats([(Fraction(a) + Fraction(b)) * p * q for a, b, (p, q) in pairs])
        return first.reshape(high.shape), second.reshape(high.shape), error
