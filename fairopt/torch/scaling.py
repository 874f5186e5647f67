"""Updates whose squares float64 cannot hold: solved in another unit, a power of two.

Entries of float64 tensors near 1e-170 or 1e170 are ordinary numbers, but their products are not:
the Gram matrix would be zero, or inf. The updates of such a problem are divided by one power of
two, 2^c, exactly; weights go back by w(2^c h) = 2^(-c degree) w(h), where the degree is a property
of the method (`Method.degree`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fairopt.arrays import Array, BoolArray, Ints
from fairopt.solution import GOOD, Solution, Status
from fairopt.torch.double_double import Column
from fairopt.torch.methods import ConflictAverse, DualCone, FairGrad, Mean, MinNorm, UPGrad

LEAST = 2.0**-960  # of a squared norm: 2^50 products of its size may lose their last bit, 2^-1074
MOST = 2.0**1000  # of a squared norm: sums of two such products are finite
SMALLEST = 2.0**-1022  # of a weight with all its digits
_UNIFORM = (ConflictAverse, MinNorm, DualCone, UPGrad, Mean)  # weights do not depend on the unit


@dataclass(frozen=True)
class Scaled:
    """Problems in units in which float64 holds their Gram matrices.

    Attributes:
        groups: For each problem its positions, divided by 2^exponent.
        grams: (problems, K, K).
        exponents: (problems,); 0 where nothing was changed.
        lost: (problems,) where no unit is good for all tasks, or the method's degree is not known.
    """

    groups: list[list[Column]]
    grams: Array
    exponents: Ints
    lost: BoolArray


def degree(method: Any) -> float | None:
    """The d with weights w(s g) = s^-d w(g) for all s > 0; None where it is not known.

    A method of your own says it by an attribute `degree`.

    Example:
        >>> degree(FairGrad(1.0)), degree(MinNorm()), degree(object())
        (1.0, 0.0, None)
    """
    if isinstance(method, FairGrad) and np.ndim(method.alpha) == 0:
        return 2.0 if np.isinf(method.alpha) else 2.0 * method.alpha / (1.0 + method.alpha)
    if isinstance(method, _UNIFORM):
        return 0.0
    declared = getattr(method, "degree", None)
    return float(declared) if isinstance(declared, int | float) else None


def scaled(groups: Sequence[Sequence[Column]], grams: Array, products: Any, method: Any) -> Scaled:
    """The problems, with those out of range in other units.

    Args:
        groups: For each problem the positions it is about.
        grams: (problems, K, K) their Gram matrices.
        products: What forms a Gram matrix of positions.
        method: Its degree decides whether another unit helps.
    """
    result = unscaled(groups, grams.copy())
    for i in np.flatnonzero(_outside(grams).any(axis=-1)).tolist():
        suspects = np.flatnonzero(_outside(grams[i]))
        if not _holds_float64(groups[i]) or not np.any(_largest(groups[i], suspects) > 0.0):
            continue  # tasks without any gradient
        largest = _largest(groups[i], np.arange(grams.shape[-1]))
        if not np.isfinite(largest).all():
            continue  # refused with the Gram matrix
        sizes = np.where(largest > 0.0, np.frexp(largest)[1], -np.inf)
        present = sizes[np.isfinite(sizes)]
        c = round(0.5 * float(present.max() + present.min()))
        if degree(method) is None:
            result.lost[i] = True
            continue
        result.groups[i] = [_divided(column, c) for column in groups[i]]
        result.grams[i] = products(result.groups[i])
        result.exponents[i] = c
        result.lost[i] = bool(_outside(result.grams[i])[np.isfinite(sizes)].any())
    return result


def unscaled(groups: Sequence[Sequence[Column]], grams: Array) -> Scaled:
    """The problems as they are."""
    found = [list(group) for group in groups]
    return Scaled(found, grams, np.zeros(len(grams), np.int64), np.zeros(len(grams), np.bool_))


def _outside(grams: Array) -> BoolArray:
    """Tasks whose squared norm float64 does not hold with all digits, zero among them."""
    squares = np.diagonal(grams, axis1=-2, axis2=-1)
    return np.asarray(~((squares >= LEAST) & (squares <= MOST)))


def _holds_float64(columns: Sequence[Column]) -> bool:
    """Whether squares can leave the range at all: those of float32 and narrower cannot."""
    return any(x is not None and x.dtype == torch.float64 for column in columns for x in column)


def _largest(columns: Sequence[Column], tasks: Ints) -> Array:
    """The size of the largest entry of some tasks; NaN where there is one."""
    found = np.zeros(len(tasks))
    for column in columns:
        for i, k in enumerate(tasks.tolist()):
            x = column[k]
            if x is not None and x.numel() > 0:
                wide = x.detach() if x.dtype.itemsize > 1 else x.detach().float()
                found[i] = np.maximum(found[i], float(wide.abs().amax()))
    return found


def _divided(column: Column, c: int) -> list[Tensor | None]:
    """The tensors divided by 2^c, in float64 on the CPU."""
    found: list[Tensor | None] = []
    for x in column:
        wide = None if x is None else x.detach().to(device="cpu", dtype=torch.float64).numpy()
        found.append(None if wide is None else torch.from_numpy(np.asarray(np.ldexp(wide, -c))))
    return found


def in_given_units(solution: Solution, problems: Scaled, method: Any) -> Solution:
    """The weights for the updates as given; OUT_OF_RANGE where float64 cannot hold them."""
    if not (problems.exponents.any() or problems.lost.any()):
        return solution
    d = degree(method) or 0.0
    shift = -d * problems.exponents.astype(np.float64)
    whole = np.floor(shift)
    factor, whole = np.exp2(shift - whole)[:, None], whole.astype(np.int64)[:, None]
    with np.errstate(over="ignore", under="ignore"):
        weights = np.ldexp(np.atleast_2d(solution.weights) * factor, whole)
        low = None if solution.low is None else np.ldexp(solution.low * factor, whole)
    kept = np.isfinite(weights) & (
        (abs(weights) >= SMALLEST) | (np.atleast_2d(solution.weights) == 0)
    )
    bad = problems.lost | ~kept.all(axis=-1)
    weights = np.where(bad[:, None] & ~np.isfinite(weights), 0.0, weights)
    shape = solution.weights.shape
    moved = replace(
        solution,
        weights=weights.reshape(shape),
        low=None if low is None else low.reshape(shape),
    )
    return without_answer(moved, bad)


def without_answer(solution: Solution, bad: BoolArray) -> Solution:
    """The solution with answers among the bad problems called OUT_OF_RANGE."""
    status = np.atleast_1d(np.asarray(solution.status)).copy()
    claims = np.isin(status, (*GOOD, Status.PARETO_STATIONARY, Status.UNDECIDED))
    if not (bad & claims).any():
        return solution
    status[bad & claims] = Status.OUT_OF_RANGE
    single = np.ndim(solution.status) == 0
    return replace(solution, status=Status(int(status[0])) if single else status)
