"""Derivatives of the weights with respect to the Gram matrix, by the implicit function theorem.

Each adjoint maps g, the derivative of a number with respect to the weights w, to its derivative
with respect to the symmetric Gram matrix A, with one linear solve. All are written in
differentiable operations of A, w and g: autograd, which knows w as a function of A, takes second
derivatives too.
Shapes: A (..., K, K), w and g (..., K); a support is a boolean (..., K) and a constant.

A system that is singular to rounding, or not finite, has NaN as its solution: the weights have no
derivative there (dependent support, stationary point).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fairopt.arrays import EPS


def fairgrad_adjoint(A: Tensor, w: Tensor, g: Tensor, alpha: float, free: Tensor) -> Tensor:
    r"""Adjoint of A w = (p / w)^(1/alpha).

    dw = -J^-1 dA w with J = A + diag(s / (alpha w)), s = A w, on the support `free`: w > 0. At
    alpha = inf it is A_PP w_P = 1; at alpha = 0 A_PP (w - p)_P = -(A p)_P with `free` w > p.
    """
    J = A
    if 0.0 < alpha < math.inf:
        s = (A @ w[..., None])[..., 0]
        J = A + torch.diag_embed(s / (alpha * torch.where(free, w, 1.0)))
    return _outer(_restricted_solve(J, g, free), w)


def min_norm_adjoint(A: Tensor, v: Tensor, g: Tensor) -> Tensor:
    """Adjoint of v = w / sum w with A_PP w_P = 1 on the support P: v > 0."""
    square = (v[..., None, :] @ A @ v[..., None])[..., 0]
    inner = square * (g - (g * v).sum(-1, keepdim=True))
    return _outer(_restricted_solve(A, inner, v > 0.0), v / square)


def conflict_averse_adjoint(A: Tensor, w: Tensor, g: Tensor, c: float, free: Tensor) -> Tensor:
    """Adjoint of (A w)_P = mu, u'Au = c^2 r'Ar with u = w - r on its support P, r = 1 / K."""
    if c == 0.0:
        return torch.zeros_like(A) * g.sum()  # a function of g for autograd
    r = torch.full_like(w, 1.0 / w.shape[-1])
    u = torch.where(free, w - r, 0.0)
    border = (A @ u[..., None])[..., 0]
    top = torch.cat([A, border[..., None]], dim=-1)
    bottom = torch.cat([-torch.ones_like(w), torch.zeros_like(w[..., :1])], dim=-1)
    rows = torch.cat([free, torch.ones_like(free[..., :1])], dim=-1)
    outer = torch.cat([g, torch.zeros_like(w[..., :1])], dim=-1)
    y = _restricted_solve(torch.cat([top, bottom[..., None, :]], dim=-2), outer, rows)
    ball = c * c * _product(r, r) - _product(u, u)
    return _outer(y[..., :-1], w) + 0.5 * y[..., -1:, None] * ball


def _restricted_solve(J: Tensor, y: Tensor, free: Tensor) -> Tensor:
    """Solve J x = y on the free rows and columns, x = 0 elsewhere; NaN where singular."""
    both = free[..., None] & free[..., None, :]
    J = torch.where(both, J, torch.diag_embed((~free).to(J.dtype)))
    with torch.no_grad():  # any scaling gives the same x; this one makes rows and columns alike
        rows = torch.where(free, J.diagonal(dim1=-2, dim2=-1), 1.0)
        rows = torch.where(rows > 0.0, rows, 1.0).rsqrt()
        columns = (J * rows[..., None]).abs().amax(-2).reciprocal()
        rows = (J * columns[..., None, :]).abs().amax(-1).reciprocal()
        scaled = J * rows[..., None] * columns[..., None, :]
        known = torch.isfinite(scaled).all(-1).all(-1)
        eye = torch.eye(J.shape[-1], dtype=J.dtype)
        safe = torch.where(known[..., None, None], scaled, eye)
        known = known & (torch.linalg.cond(safe) < 1.0 / (J.shape[-1] * EPS))
        nan = torch.where(known, 1.0, math.nan)[..., None]
    scaled = torch.where(known[..., None, None], J * rows[..., None] * columns[..., None, :], eye)
    right = torch.where(free, y, 0.0) * rows
    x: Tensor = torch.linalg.solve(scaled, right[..., None])[..., 0]
    return x * columns * nan


def _product(a: Tensor, b: Tensor) -> Tensor:
    """The outer product a b'."""
    return a[..., None] * b[..., None, :]


def _outer(y: Tensor, w: Tensor) -> Tensor:
    """-(y w' + w y') / 2."""
    return -0.5 * (_product(y, w) + _product(w, y))
