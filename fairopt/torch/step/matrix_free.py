r"""FairGrad's weights without the Gram matrix, where all losses pass through given features.

With Z_k the gradient of loss k at the features and J the Jacobian of the features, A w = Z J J' Z'w
takes one pass back through the trunk and one forward (as the derivative of the backward pass, which
is linear in what it is fed), whatever the number of tasks. The weights minimise the convex

.. math:: \phi(w) = \tfrac12 w'Aw - \sum_k \int (p_k / w_k)^{1/\alpha} ,

by Newton steps whose linear systems are solved by conjugate gradients with such products, and whose
step lengths need none. The residual is that of the last product, made anew.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from fairopt.arrays import Array

FORCING = 0.3  # of the residual that a linear system leaves, while that is large
NEWTON_STEPS = 40
INTERIOR = 0.995  # of the way to the first weight that would vanish
LONGEST = 8.0  # Newton steps in one search
SEARCHES = 60  # halvings


@dataclass
class Products:
    """Products of vectors with the Gram matrix of the gradients.

    Attributes:
        outputs: Edges of the features through which all losses reach the parameters.
        parameters: The shared ones.
        at_features: For each feature the K gradients of the losses there, (K, ...).
        scale: By which the losses were multiplied.
        count: Products made.
        direction: J' Z' w of the last one, one tensor per parameter (None where it is zero).
    """

    outputs: Sequence[GradientEdge]
    parameters: Sequence[Tensor]
    at_features: Sequence[Tensor]
    scale: float
    count: int = 0
    direction: Sequence[Tensor | None] = ()

    def __post_init__(self) -> None:
        self._fed = [torch.zeros_like(Z[0], requires_grad=True) for Z in self.at_features]
        found = torch.autograd.grad(
            self.outputs, self.parameters, self._fed, create_graph=True, allow_unused=True
        )
        self._reached = [i for i, g in enumerate(found) if g is not None and g.requires_grad]
        self._linear = [found[i] for i in self._reached]

    def __call__(self, w: Array) -> Array:
        """A w, in units of unscaled losses."""
        self.count += 1
        self.direction = self.back(w, retain_graph=True)
        moved = torch.autograd.grad(
            self._linear,
            self._fed,
            [self.direction[i] for i in self._reached],
            retain_graph=True,
            allow_unused=True,
        )
        total = np.zeros(len(w))
        for Z, step in zip(self.at_features, moved, strict=True):
            if step is not None:
                total += (Z.flatten(1) @ step.flatten().to(Z.dtype)).double().cpu().numpy()
        return total / self.scale**2

    def back(self, w: Array, *, retain_graph: bool) -> Sequence[Tensor | None]:
        """J' Z' w."""
        fed = [
            (torch.as_tensor(w, dtype=Z.dtype, device=Z.device) @ Z.flatten(1)).view(Z.shape[1:])
            for Z in self.at_features
        ]
        return torch.autograd.grad(
            self.outputs, self.parameters, fed, retain_graph=retain_graph, allow_unused=True
        )

    def lengths(self) -> Array:
        """Lengths of the gradients at the features, in units of unscaled losses."""
        squares = torch.stack([Z.flatten(1).double().square().sum(1) for Z in self.at_features])
        lengths: Array = np.sqrt(squares.sum(0).cpu().numpy()) / self.scale
        return lengths


@dataclass
class MatrixFree:
    """What the iteration found.

    Attributes:
        weights: (K,).
        residual: Largest |s / (p/w)^(1/alpha) - 1| for s = A w from the last product.
        products: Made in all.
        steps: Newton steps.
    """

    weights: Array
    residual: float
    products: int
    steps: int


def fairgrad_by_products(
    product: Products, alpha: float, priority: Array, tol: float, most: int
) -> MatrixFree | None:
    """Weights of residual at most `tol` within `most` products, or None."""
    w = priority ** (1.0 / (1.0 + alpha)) * product.lengths() ** (-2.0 * alpha / (1.0 + alpha))
    x = product(w)
    if not np.isfinite(x).all() or not float(w @ x) > 0.0:
        return None
    # along a ray: t w'Aw = sum w (p / (t w))^(1/alpha)
    t = (float(w @ (priority / w) ** (1.0 / alpha)) / float(w @ x)) ** (alpha / (1.0 + alpha))
    w, x = w * t, x * t
    for step in range(NEWTON_STEPS):
        wanted = (priority / w) ** (1.0 / alpha)
        residual = _largest(x, wanted)
        if residual <= 0.5 * tol:
            x = product(w)
            residual = _largest(x, wanted)
            if residual <= tol:
                return MatrixFree(w, residual, product.count, step)
        room = most - product.count
        if room <= 0:
            return None
        forcing = min(FORCING, max(0.3 * residual, 0.2 * tol))
        move, moved = _conjugate_gradients(product, w, x, wanted, alpha, forcing, room)
        if not np.isfinite(move).all() or not np.isfinite(moved).all():
            return None
        t = _exact_search(w, x, move, moved, priority, alpha)
        w, x = w + t * move, x + t * moved
    return None


def _largest(x: Array, wanted: Array) -> float:
    """The residual of `fairopt.fairgrad`."""
    return float(np.max(np.abs(x / wanted - 1.0)))


def _conjugate_gradients(
    product: Products, w: Array, x: Array, wanted: Array, alpha: float, forcing: float, room: int
) -> tuple[Array, Array]:
    """A step of (A + H) move = wanted - x, H = diag(wanted / (alpha w)), and A times it.

    Preconditioned by H; stops at `forcing` times the first residual in the norm of H^-1.
    """
    H = wanted / (alpha * w)
    move, moved, rest = np.zeros_like(w), np.zeros_like(w), wanted - x
    z = rest / H
    before = first = float(rest @ z)
    p, Ap = z, None
    for _ in range(room):
        Ap = product(p)
        curvature = float(p @ Ap) + float(p @ (H * p))
        if not curvature > 0.0:
            break
        t = before / curvature
        move, moved, rest = move + t * p, moved + t * Ap, rest - t * (Ap + H * p)
        z = rest / H
        now = float(rest @ z)
        if now <= forcing**2 * first:
            break
        p, before = z + (now / before) * p, now
    return move, moved


def _exact_search(
    w: Array, x: Array, move: Array, moved: Array, priority: Array, alpha: float
) -> float:
    """The step length where the derivative of phi vanishes, or as far as weights stay positive."""
    down = move < 0.0
    most = min(LONGEST, INTERIOR * float(np.min(w[down] / -move[down], initial=math.inf)))

    def slope(t: float) -> float:
        marginal = (priority / (w + t * move)) ** (1.0 / alpha)
        return float(move @ (x + t * moved - marginal))

    if slope(most) <= 0.0:
        return most
    low, high = 0.0, most
    for _ in range(SEARCHES):
        t = 0.5 * (low + high)
        low, high = (t, high) if slope(t) < 0.0 else (low, t)
        if high - low <= 1e-3 * high:
            break
    return 0.5 * (low + high)
