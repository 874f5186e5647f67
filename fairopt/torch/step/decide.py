"""From gradients, or products with them, to the direction of a step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fairopt.arrays import Array
from fairopt.solution import Solution, Status
from fairopt.torch.escalation import escalated
from fairopt.torch.methods import FairGrad, Method, solved
from fairopt.torch.scaling import in_given_units, scaled, unscaled
from fairopt.torch.step.accumulate import copied
from fairopt.torch.step.differentiate import CONVOLUTION, FEW_TASKS, Heads, Way, down_to
from fairopt.torch.step.finite import all_finite
from fairopt.torch.step.gradient_rows import Rows
from fairopt.torch.step.matrix_free import Products, fairgrad_by_products
from fairopt.torch.step.ranks import Ranks
from fairopt.torch.updates import columns, combinations, gram_matrix

AGREEMENT = 1e-3  # of products with the gradients by two ways, relative to their lengths
CLEARLY_WRONG = 0.05  # no rounding: the operations of this trunk are not tried again


@dataclass(frozen=True)
class Decision:
    """What the tasks that count agreed on.

    Attributes:
        solution: Weights of these tasks, in units of unscaled losses.
        gradients: The direction as (parameter, gradient) pairs, with the scale of the losses.
        heads: Gradients of all other parameters.
        mean: Length of the mean gradient, in units of unscaled losses.
        scale: Of the losses.
        owned: Whether these gradients lie in memory of their own.
        own: Length of the direction, in units of unscaled losses, where it is spread over ranks.
        largest: No entry of the direction is larger, in units of scaled losses; inf if not known.
    """

    solution: Solution
    gradients: list[tuple[Tensor, Tensor]]
    heads: Heads
    mean: float
    scale: float
    owned: bool = False
    own: float | None = None
    largest: float = math.inf

    @property
    def finite(self) -> bool:
        """Whether the gradients of the shared parameters are."""
        return self.solution.status != Status.NOT_FINITE

    @property
    def doubtful(self) -> list[Tensor]:
        """Gradients of shared parameters that may have overflowed."""
        return [g for _, g in self.gradients if not self.largest < torch.finfo(g.dtype).max]

    def checked(self, others: Sequence[Tensor]) -> tuple[Decision, bool]:
        """With the status of what is not finite; and whether all that would be written is.

        Args:
            others: Gradients of the heads, summed.
        """
        if not self.finite:
            return self, False
        if not all_finite(others):
            rows = [[g for _, g in row] for row in self.heads.rows]
            tasks = _none(self.solution)
            if len(rows) == len(tasks):
                tasks = np.array([not all_finite(row) for row in rows])
            return replace(self, solution=not_finite(tasks)), False
        if not all_finite(self.doubtful):
            if self.largest == math.inf:  # nothing says that the gradients were finite
                return replace(self, solution=not_finite(_none(self.solution))), False
            return replace(self, solution=replace(self.solution, status=Status.OUT_OF_RANGE)), False
        return self, True

    def of_mean_length(self) -> Decision:
        """The same direction at the length of the mean gradient; zero stays zero."""
        own = self.own
        if own is None:
            own = math.sqrt(sum(_square(g) for _, g in self.gradients)) / self.scale
        if not (self.finite and 0.0 < own < math.inf and math.isfinite(self.mean)):
            return self
        factor, low = self.mean / own, self.solution.low
        solution = replace(
            self.solution,
            weights=self.solution.weights * factor,
            low=None if low is None else low * factor,
        )
        longer = [(p, g * factor) for p, g in self.gradients]
        return replace(
            self, solution=solution, gradients=longer, largest=self.largest * max(factor, 1.0)
        )


def _none(solution: Solution) -> Array:
    """No task in particular."""
    return np.zeros(len(solution.weights), dtype=np.bool_)


def _square(g: Tensor) -> float:
    """Squared length in float64."""
    values = g.coalesce().values() if g.layout == torch.sparse_coo else g
    wide = torch.float64 if values.device.type != "mps" else torch.float32
    return float(values.to(wide).square().sum())


def decide(rows: Rows, heads: Heads, method: Method, scale: float, gram: Ranks) -> Decision:
    """The direction from all gradients; `gram` adds up Gram matrices of disjoint parameters."""
    positions = columns(rows.updates)
    A = gram_matrix(positions)
    if gram.alone:
        problem = scaled([positions], A[None], gram_matrix, method)
    else:
        problem = unscaled([positions], gram.total(torch.from_numpy(A)).numpy()[None])
    A = problem.grams[0] / scale**2
    if not np.isfinite(A).all():
        solution = not_finite(~np.isfinite(np.diagonal(A)))
        total = combinations(positions, [[1.0] * rows.K] * len(positions), [None] * len(positions))
        return Decision(solution, rows.gradients(total), heads, math.nan, scale)
    solution, again = solved(method, A), list[int]()
    if gram.alone:
        solution, again = escalated(method, solution, problem.groups, problem.grams)
    solution = in_given_units(solution, problem, method)
    low = np.zeros(rows.K) if solution.low is None and again else solution.low
    weights = [solution.weights.tolist()] * len(positions)
    direction = combinations(positions, weights, [low] * len(positions))
    unit = float(np.ldexp(1.0, problem.exponents[0]))
    mean = math.sqrt(max(float(A.sum()), 0.0)) / rows.K * unit
    largest = 2.0 * scale * unit * float(np.abs(solution.weights) @ np.sqrt(np.diagonal(A)))
    own = (
        None if gram.alone else math.sqrt(max(float(solution.weights @ A @ solution.weights), 0.0))
    )
    return Decision(solution, rows.gradients(direction), heads, mean, scale, True, own, largest)


def not_finite(tasks: Array) -> Solution:
    """The solution of a step in which these tasks (booleans) have gradients that are not finite."""
    first = int(np.argmax(tasks)) if tasks.any() else -1
    return Solution(np.zeros(len(tasks)), Status.NOT_FINITE, math.inf, 0, worst=first)


def decide_by_losses(
    way: Way, solution: Solution, scale: float, ranks: Ranks, retain_graph: bool
) -> Decision:
    """The gradient of the weighted losses, heads included, in one pass."""
    finite = solution.status != Status.NOT_FINITE
    weights = solution.weights.tolist() if finite else [1.0] * len(way.losses)
    total = torch.stack([w * x for w, x in zip(weights, way.losses, strict=True)]).sum()
    inputs, found = [*way.parameters, *way.heads], list[Tensor | None]()
    if total.requires_grad:
        found += torch.autograd.grad(total, inputs, retain_graph=retain_graph, allow_unused=True)
    found += [None] * (len(inputs) - len(found))
    shared = found[: len(way.parameters)]
    known = zip(way.parameters, shared, strict=True)
    if ranks.alone:
        pairs = [(p, g) for p, g in known if g is not None]
    else:
        pairs = [
            (p, ranks.total(torch.zeros_like(p) if g is None else copied(g.to_dense())))
            for p, g in known
        ]
    heads = Heads(way.heads)
    heads.add(range(len(way.heads)), found[len(way.parameters) :])
    return Decision(solution, pairs, heads, math.nan, scale)


def suits_products(way: Way, method: Method) -> bool:
    """Whether products with the trunk are the cheaper way.

    The rule: features were given, FairGrad at a finite alpha above 0, many tasks, and a trunk whose
    double backward exists and is not that of convolutions.
    """
    return (
        way.given
        and isinstance(method, FairGrad)
        and np.ndim(method.alpha) == 0
        and 0.0 < method.alpha < math.inf
        and len(way.losses) >= FEW_TASKS
        and not any(CONVOLUTION in kind for kind in way.kinds)
        and way.kinds not in _no_double_backward
    )


def decide_by_products(
    way: Way, method: Method, scale: float, tol: float, mean_length: bool, retain_graph: bool
) -> Decision | None:
    """FairGrad's direction by products with the trunk alone; None where it was not found."""
    assert isinstance(method, FairGrad)
    K = len(way.losses)
    priority = np.ones(K) if method.priority is None else np.asarray(method.priority, np.float64)
    try:
        heads, features = down_to(way)
        product = Products(way.outputs, way.parameters, features, scale)
        square = float(product(np.ones(K)).sum()) if mean_length else 0.0
        found = fairgrad_by_products(product, float(method.alpha), priority, tol, 2 * K)
        wrong = math.inf if found is None else product.disagreement(found.weights, found.progress)
    except np.linalg.LinAlgError:  # weights grew without end: nearly stationary
        return None
    except RuntimeError:  # no double backward, as in fused attention
        _no_double_backward.add(way.kinds)
        return None
    if found is None:
        return None
    if not wrong <= AGREEMENT:
        if wrong > CLEARLY_WRONG:
            _no_double_backward.add(way.kinds)
        return None
    direction = product.direction
    if not retain_graph:  # frees the graph, as a plain backward pass would
        product.back(found.weights, retain_graph=False)
    solution = Solution(found.weights, Status.OPTIMAL, found.residual, found.products)
    pairs = zip(way.parameters, direction, strict=True)
    mean = math.sqrt(max(square, 0.0)) / K
    return Decision(solution, [(p, g) for p, g in pairs if g is not None], heads, mean, scale)


_no_double_backward: set[frozenset[str]] = set()
"""Operations whose backward pass could not be differentiated in this process."""
