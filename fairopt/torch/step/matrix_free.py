r"""FairGrad's weights without the Gram matrix, where all losses pass through given features.

With Z_k the gradient of loss k at the features and J the Jacobian of the features, A w = Z J J' Z'w
takes one pass back through the trunk and one forward (as the derivative of the backward pass, which
is linear in what it is fed), whatever the number of tasks. The weights minimise the convex

.. math:: \phi(w) = \tfrac12 w'Aw - \sum_k \int (p_k / w_k)^{1/\alpha} ,

by Newton steps whose linear systems are solved by conjugate gradients with such products, and whose
step lengths need none. Every product made so far improves the preconditioner: it is exact on their
span (the balanced deflation of a first guess). The residual is that of the last product, made anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from fairopt.arrays import Array

FORCING = 0.5  # of the residual that a linear system leaves, while that is large
NEWTON_STEPS = 40
INTERIOR = 0.995  # of the way to the first weight that would vanish
LONGEST = 8.0  # Newton steps in one search
SEARCHES = 60  # halvings
REMEMBERED = 64  # products in the preconditioner
INDEPENDENT = 1e-5  # of the largest eigenvalue: directions that float32 products tell apart
DENSE = 64  # tasks up to which a K x K matrix in the preconditioner pays
READY = 0.9  # of the tolerance, by the running sum of products


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

    def disagreement(self, w: Array, x: Array) -> float:
        """How far x = A w is from the same by gradients of the plain kind, relative to lengths.

        A backward pass that autograd differentiates without complaint may still be another one (it
        was detached, or ran under `no_grad`). Then w'x is not |d|^2, or y'x not the product of d
        with the gradient along another y.
        """
        y = np.where(np.arange(len(w)) % 2, -1.0, 1.0) / np.maximum(self.lengths(), 1e-300)
        y /= np.abs(y).max()
        other = self.back(y, retain_graph=True)
        square, across = self._inner(self.direction, self.direction), self._inner(other, other)
        along = self._inner(self.direction, other)
        first = abs(square - float(w @ x) * self.scale**2) / square
        second = abs(along - float(y @ x) * self.scale**2) / math.sqrt(square * across)
        return max(first, second)

    @staticmethod
    def _inner(left: Sequence[Tensor | None], right: Sequence[Tensor | None]) -> float:
        """Inner product of two directions."""
        pairs = [
            (a, b) for a, b in zip(left, right, strict=True) if a is not None and b is not None
        ]
        return sum(float((a.to_dense().double() * b.to_dense().double()).sum()) for a, b in pairs)

    def means(self) -> Array:
        """Inner products of the gradients at the features, averaged over the first dimension."""
        total = np.zeros((len(self.at_features[0]),) * 2)
        for Z in self.at_features:
            z = (Z.mean(1) if Z.ndim > 1 else Z).reshape(len(Z), -1).double().cpu().numpy()
            total += z @ z.T
        return total / self.scale**2

    def lengths(self) -> Array:
        """Lengths of the gradients at the features, in units of unscaled losses."""
        found = [torch.linalg.vector_norm(Z.flatten(1), dim=1) for Z in self.at_features]
        lengths = np.array([x.double().cpu().numpy() for x in found])
        result: Array = np.sqrt(np.square(lengths).sum(0)) / self.scale
        return result


@dataclass
class MatrixFree:
    """What the iteration found.

    Attributes:
        weights: (K,).
        residual: Largest |s / (p/w)^(1/alpha) - 1| for s = A w from the last product.
        products: Made in all.
        progress: A w of the last product.
    """

    weights: Array
    residual: float
    products: int
    progress: Array


def fairgrad_by_products(
    product: Products, alpha: float, priority: Array, tol: float, most: int
) -> MatrixFree | None:
    """Weights of residual at most `tol` within `most` products, or None."""
    lengths = product.lengths()
    if not (np.isfinite(lengths).all() and lengths.all()):
        return None
    past = _Past(product, lengths**2, product.means() if len(priority) <= DENSE else None, [], [])
    w = priority ** (1.0 / (1.0 + alpha)) * lengths ** (-2.0 * alpha / (1.0 + alpha))
    x = past.product(w)
    if not np.isfinite(x).all() or not float(w @ x) > 0.0:
        return None
    # along a ray: t w'Aw = sum w (p / (t w))^(1/alpha)
    t = (float(w @ (priority / w) ** (1.0 / alpha)) / float(w @ x)) ** (alpha / (1.0 + alpha))
    w, x = w * t, x * t
    for _ in range(NEWTON_STEPS):
        wanted = (priority / w) ** (1.0 / alpha)
        residual = _largest(x, wanted)
        if residual <= READY * tol:
            x = product(w)
            residual = _largest(x, wanted)
            return MatrixFree(w, residual, product.count, x) if residual <= tol else None
        room = most - product.count
        if room <= 0:
            return None
        forcing = min(FORCING, 0.5 * max(residual, tol / residual))
        move, moved = _conjugate_gradients(past, wanted / (alpha * w), wanted - x, forcing, room)
        if not np.isfinite(move).all() or not np.isfinite(moved).all():
            return None
        t = _exact_search(w, x, move, moved, priority, alpha)
        w, x = w + t * move, x + t * moved
    return None


@dataclass
class _Past:
    """Products made so far, and what they teach about A.

    The first guess is m diag(squares) + n means, by the m and n >= 0 that fit the past best.
    """

    make: Products
    squares: Array  # of the gradients at the features
    means: Array | None  # inner products of these gradients, averaged over the batch
    vectors: list[Array]
    results: list[Array]

    def product(self, v: Array) -> Array:
        """A v, remembered."""
        size = float(np.linalg.norm(v))
        result = self.make(v / size)
        self.vectors = [*self.vectors, v / size][-REMEMBERED:]
        self.results = [*self.results, result][-REMEMBERED:]
        return result * size

    def preconditioner(self, H: Array) -> Callable[[Array], Array]:
        """About (A + H)^-1: exact on the span of the past, elsewhere that of the guess E + H.

        With V the past made orthonormal in the product of A + H, and Y = (A + H) V, it is
        V V' + (I - V Y') (E + H)^-1 (I - Y V').
        """
        P, AP = np.array(self.vectors).T, np.array(self.results).T
        solve = self._guess(H, P, AP)
        Y = AP + H[:, None] * P
        size, basis = np.linalg.eigh(0.5 * (P.T @ Y + Y.T @ P))
        kept = size > INDEPENDENT * size[-1]
        turn = basis[:, kept] / np.sqrt(size[kept])
        V, Y = P @ turn, Y @ turn

        def apply(y: Array) -> Array:
            along = V.T @ y
            z = solve(y - Y @ along)
            result: Array = z - V @ (Y.T @ z) + V @ along
            return result

        return apply

    def _guess(self, H: Array, P: Array, AP: Array) -> Callable[[Array], Array]:
        """(E + H)^-1 by the fit in the norm of H^-1."""
        weight = 1.0 / np.sqrt(H)[:, None]
        parts = [self.squares[:, None] * P]
        if self.means is not None:
            parts.append(self.means @ P)
        m = _fit([(weight * part).ravel() for part in parts], (weight * AP).ravel())
        diagonal = H + m[0] * self.squares
        if self.means is None:
            return lambda y: y / diagonal
        inverse = np.asarray(np.linalg.inv(np.diag(diagonal) + m[1] * self.means))
        return lambda y: inverse @ y


def _fit(parts: list[Array], wanted: Array) -> list[float]:
    """Nonnegative factors of one or two vectors whose sum is nearest to the wanted one."""
    alone = [max(float(x @ wanted) / float(x @ x), 0.0) if x.any() else 0.0 for x in parts]
    if len(parts) == 1:
        return alone
    both = np.linalg.lstsq(np.array(parts).T, wanted, rcond=None)[0]
    if (both >= 0.0).all():
        return [float(x) for x in both]
    gains = [f * float(x @ wanted) for f, x in zip(alone, parts, strict=True)]
    return [alone[0], 0.0] if gains[0] >= gains[1] else [0.0, alone[1]]


def _largest(x: Array, wanted: Array) -> float:
    """The residual of `fairopt.fairgrad`."""
    return float(np.max(np.abs(x / wanted - 1.0)))


def _conjugate_gradients(
    past: _Past, H: Array, rest: Array, forcing: float, room: int
) -> tuple[Array, Array]:
    """A step of (A + H) move = rest, and A times it.

    Stops at `forcing` times the first residual, in the norm of the preconditioner.
    """
    move, moved, precondition = np.zeros_like(rest), np.zeros_like(rest), past.preconditioner(H)
    z = precondition(rest)
    before = first = float(rest @ z)
    p = z
    for _ in range(room):
        Ap = past.product(p)
        curvature = float(p @ Ap) + float(p @ (H * p))
        if not curvature > 0.0:
            break
        t = before / curvature
        move, moved, rest = move + t * p, moved + t * Ap, rest - t * (Ap + H * p)
        z = precondition(rest)
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
