"""Tensors to small arrays and back: Gram matrices, directions, one training step, derivatives.

Everything large stays a tensor here; the decision is made on the (K, K) Gram matrix by the solvers
of `fairopt`. Importing this module imports PyTorch.

Two tasks share one parameter and disagree about it:

    >>> import torch
    >>> from fairopt.torch import FairGrad, backward
    >>> shared = torch.tensor([1.0, 1.0], requires_grad=True)
    >>> losses = [(shared * torch.tensor([1.0, 0.0])).sum(), (shared**2).sum()]
    >>> backward(losses, [shared], FairGrad(alpha=2.0)).status.name
    'OPTIMAL'
    >>> shared.grad.round(decimals=4)
    tensor([1.0978, 0.2680])
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from fairopt import checks
from fairopt.checks import Array
from fairopt.conflict_averse import conflict_averse
from fairopt.dual_cone import dual_cone_projection, upgrad
from fairopt.errors import InvalidInput
from fairopt.fairgrad import fairgrad
from fairopt.implicit import conflict_averse_adjoint, fairgrad_adjoint, min_norm_adjoint
from fairopt.min_norm import min_norm
from fairopt.solution import Solution, Status

BLOCK = 1 << 20  # entries of one tensor lifted to float64 at a time: 8 MB per task
RESCALES = ("none", "1+c", "1+c2")
HEADS = ("unit", "weighted")

_log = logging.getLogger(__name__)


class Method(Protocol):
    """Anything that turns a Gram matrix into a `Solution`."""

    def solve(self, gram: ArrayLike, *, gram_error: float | None = None) -> Solution:
        """Weights of the direction for a (..., K, K) Gram matrix."""


@dataclass(frozen=True)
class FairGrad:
    """`fairopt.fairgrad` with fixed alpha and priorities."""

    alpha: float
    priority: ArrayLike | None = None

    def solve(self, gram: ArrayLike, *, gram_error: float | None = None) -> Solution:
        """The alpha-fair weights."""
        return fairgrad(gram, self.alpha, priority=self.priority, gram_error=gram_error)


@dataclass(frozen=True)
class ConflictAverse:
    """`fairopt.conflict_averse` around the mean, divided by 1 + c or 1 + c^2 on request.

    Released code (CAGrad, FedHCA2) divides by 1 + c^2 by default; the equations do not.
    """

    c: float
    rescale: str = "none"

    def __post_init__(self) -> None:
        checks.choice("rescale", self.rescale, RESCALES)

    def solve(self, gram: ArrayLike, *, gram_error: float | None = None) -> Solution:
        """The conflict-averse weights; residual and dual are those before rescaling."""
        solution = conflict_averse(gram, self.c, gram_error=gram_error)
        divisor = {"none": 1.0, "1+c": 1.0 + self.c, "1+c2": 1.0 + self.c**2}[self.rescale]
        return replace(solution, weights=solution.weights / divisor)


@dataclass(frozen=True)
class MinNorm:
    """`fairopt.min_norm` (MGDA)."""

    def solve(self, gram: ArrayLike, *, gram_error: float | None = None) -> Solution:
        """The min-norm weights."""
        return min_norm(gram, gram_error=gram_error)


@dataclass(frozen=True)
class DualCone:
    """`fairopt.dual_cone_projection` of a reference combination, the mean by default."""

    reference: ArrayLike | None = None

    def solve(self, gram: ArrayLike, *, gram_error: float | None = None) -> Solution:
        """The weights of the projection."""
        K = np.shape(gram)[-1]
        reference = np.full(K, 1.0 / K) if self.reference is None else self.reference
        return dual_cone_projection(gram, reference, gram_error=gram_error)


@dataclass(frozen=True)
class UPGrad:
    """`fairopt.upgrad`: the mean of the projections of every gradient."""

    def solve(self, gram: ArrayLike, *, gram_error: float | None = None) -> Solution:
        """The UPGrad weights."""
        return upgrad(gram, gram_error=gram_error)


@dataclass(frozen=True)
class Mean:
    """Plain linear scalarisation: 1 / K for every task, whatever the matrix."""

    def solve(self, gram: ArrayLike, *, gram_error: float | None = None) -> Solution:
        """Equal weights."""
        A, _ = checks.gram_matrix(gram)
        shape = A.shape[:-2]
        weights = np.full(A.shape[:-1], 1.0 / A.shape[-1])
        if not shape:
            return Solution(weights, Status.OPTIMAL, 0.0, 0)
        zeros = np.zeros(shape, dtype=np.int64)
        return Solution(weights, zeros, np.zeros(shape), zeros)


Update = Any  # a tensor, or a list, tuple or dict of tensors (None stands for zero)


def _leaves(update: Update) -> list[Tensor | None]:
    """The tensors of an update in a fixed order."""
    if isinstance(update, Tensor) or update is None:
        return [update]
    if isinstance(update, dict):
        return [leaf for key in update for leaf in _leaves(update[key])]
    if isinstance(update, list | tuple):
        return [leaf for part in update for leaf in _leaves(part)]
    raise InvalidInput("updates", update, "tensors, or lists or dicts of tensors")


def _columns(updates: Sequence[Update]) -> list[list[Tensor | None]]:
    """For every position in the structure, the K tensors there."""
    if isinstance(updates, dict) or len(updates) == 0:
        raise InvalidInput("updates", updates, "a sequence of at least one update")
    keys = [_structure(update) for update in updates]
    for k, key in enumerate(keys):
        if key != keys[0]:
            raise InvalidInput(f"updates[{k}]", key, f"of the structure of updates[0], {keys[0]}")
    reordered = [updates[0], *(_like(updates[0], update) for update in updates[1:])]
    columns = [list(column) for column in zip(*map(_leaves, reordered), strict=True)]
    for column in columns:
        shapes = {tuple(leaf.shape) for leaf in column if leaf is not None}
        if len(shapes) > 1:
            raise InvalidInput("updates", sorted(shapes), "tensors of equal shapes over the tasks")
        for leaf in column:
            if leaf is not None and not leaf.is_floating_point():
                raise InvalidInput("updates", leaf.dtype, "real floating-point tensors")
    return columns


def _structure(update: Update) -> object:
    """What two updates must have in common, as something printable."""
    if isinstance(update, dict):
        return {key: _structure(update[key]) for key in sorted(update, key=str)}
    if isinstance(update, list | tuple):
        return [_structure(part) for part in update]
    return "tensor"


def _like(first: Update, update: Update) -> Update:
    """The update with its keys in the order of the first one."""
    if isinstance(first, dict):
        return {key: _like(first[key], update[key]) for key in first}
    if isinstance(first, list | tuple):
        return [_like(a, b) for a, b in zip(first, update, strict=True)]
    return update


def _wide(device: torch.device) -> bool:
    """Whether the device computes in float64."""
    return device.type != "mps"


def _products(column: list[Tensor | None]) -> Tensor:
    """Inner products of the K tensors of one position, in float64, still on their device."""
    known = [leaf for leaf in column if leaf is not None]
    if not known:
        return torch.zeros((len(column), len(column)), dtype=torch.float64)
    device = known[0].device if _wide(known[0].device) else torch.device("cpu")
    flat = [
        (torch.zeros_like(known[0]) if leaf is None else leaf).detach().reshape(-1)
        for leaf in column
    ]
    result = torch.zeros((len(column), len(column)), dtype=torch.float64, device=device)
    for begin in range(0, flat[0].numel(), BLOCK):
        rows = [x[begin : begin + BLOCK].to(device=device, dtype=torch.float64) for x in flat]
        block = torch.stack(rows)
        result += block @ block.T
    return 0.5 * (result + result.T)


def _summed(products: list[Tensor]) -> Array:
    """Their sum as a NumPy array, with one transfer from each device."""
    totals: dict[torch.device, Tensor] = {}
    for product in products:
        before = totals.get(product.device)
        totals[product.device] = product if before is None else before + product
    return np.asarray(sum(total.cpu().numpy() for total in totals.values()))


def _stacked(products: list[Tensor]) -> Array:
    """All of them as one NumPy array, with one transfer if they are on one device."""
    if len({product.device for product in products}) == 1:
        return np.asarray(torch.stack(products).cpu().numpy())
    return np.array([product.cpu().numpy() for product in products])


def gram(updates: Sequence[Update]) -> Array:
    """Inner products of K updates, (K, K) float64 NumPy.

    Args:
        updates: K updates of one structure: tensors, or lists or dicts of tensors, of any device
            and floating dtype; None in place of a tensor stands for zero (an unused parameter).

    Method: accumulated in float64 (on the CPU for devices without it), one tensor position at a
    time and in blocks, without concatenating the updates; K x K numbers leave a GPU, once.

    Raises:
        InvalidInput: for different structures or shapes, integer or complex tensors.

    Example:
        >>> gram([{"a": torch.tensor([1.0, 2.0])}, {"a": torch.tensor([0.0, 1.0])}])
        array([[5., 2.],
               [2., 1.]])
    """
    return _summed([_products(column) for column in _columns(updates)])


def gram_error(updates: Sequence[Update]) -> float:
    """Error of the Gram entries in units of unit-norm updates: 4 K eps of their lowest precision.

    Example:
        >>> gram_error([torch.zeros(3), torch.zeros(3)]) == 8 * 2.0**-23
        True
    """
    kinds = {leaf.dtype for update in updates for leaf in _leaves(update) if leaf is not None}
    eps = max((torch.finfo(kind).eps for kind in kinds), default=2.0**-52)
    return min(4.0 * len(updates) * eps, 1.0)


def combine(updates: Sequence[Update], weights: ArrayLike) -> Update:
    """sum_k weights[k] updates[k], of the same structure, dtype and device.

    Summed in float64 where the device has it. None where every update has None.

    Example:
        >>> combine([[torch.ones(2)], [torch.zeros(2)]], [0.25, 1.0])
        [tensor([0.2500, 0.2500])]
    """
    w = checks.finite_vector("weights", weights, len(updates)).tolist()
    return _rebuild(updates[0], iter([_combined(column, w) for column in _columns(updates)]))


def _combined(column: list[Tensor | None], w: list[float]) -> Tensor | None:
    """One position of the combination."""
    known = [(x.detach(), a) for x, a in zip(column, w, strict=True) if x is not None]
    if not known:
        return None
    first = known[0][0]
    wide = torch.float64 if _wide(first.device) else torch.float32
    total = torch.zeros(first.shape, dtype=wide, device=first.device)
    for x, a in known:
        if a != 0.0:
            total.add_(x, alpha=a)
    return total.to(first.dtype)


def _rebuild(update: Update, leaves: Any) -> Update:
    """The structure of an update filled with other leaves."""
    if isinstance(update, dict):
        return {key: _rebuild(update[key], leaves) for key in update}
    if isinstance(update, list):
        return [_rebuild(part, leaves) for part in update]
    if isinstance(update, tuple):
        parts = [_rebuild(part, leaves) for part in update]
        return type(update)(*parts) if hasattr(update, "_fields") else tuple(parts)
    return next(leaves)


def aggregate(
    updates: Sequence[Update], method: Method, *, per: str = "all"
) -> tuple[Update, Solution]:
    """The direction of a method, and the solution it came from.

    Args:
        updates: K updates of one structure.
        method: A record such as `FairGrad(2.0)`.
        per: "all" decides once for the whole update, "tensor" for every tensor of it on its own
            (the solution is then a batch, one row per tensor).

    Returns:
        (direction, solution). If the solution is not ok the direction is the combination of its
        weights (zero at a stationary point); nothing raises unless `.require()` is called.

    Example:
        >>> direction, solution = aggregate([torch.eye(2)[0], torch.eye(2)[1]], FairGrad(1.0))
        >>> direction, solution.ok
        (tensor([1., 1.]), True)
    """
    whole = checks.choice("per", per, ("all", "tensor")) == "all"
    columns = _columns(updates)
    products = [_products(column) for column in columns]
    A = _summed(products) if whole else _stacked(products)
    solution = method.solve(A, gram_error=gram_error(updates))
    _report(solution)
    rows = np.broadcast_to(solution.weights, (len(columns), len(updates))).tolist()
    leaves = [_combined(column, row) for column, row in zip(columns, rows, strict=True)]
    return _rebuild(updates[0], iter(leaves)), solution


def _report(solution: Solution) -> None:
    """Log what a training loop should hear about, once per run and status."""
    for status in (Status.STEP_LIMIT, Status.UNDECIDED):
        if np.any(np.asarray(solution.status) == status):
            _warn_once(status)


@cache
def _warn_once(status: Status) -> None:
    """The cache is the memory of what was said."""
    _log.warning("%s; this is said once", status.sentence)


def backward(
    losses: Sequence[Tensor],
    shared: Sequence[Tensor],
    method: Method,
    *,
    heads: str = "unit",
    retain_graph: bool = False,
) -> Solution:
    """One multi-task backward pass: like `sum(losses).backward()`, with a fair direction.

    Adds the direction to `.grad` of the shared parameters, and to every other parameter the
    gradient of its losses: with weight one ("unit", as released FairGrad code does) or with the
    weights of the solution ("weighted").

    Args:
        losses: K scalar losses.
        shared: Parameters that all tasks share; one a task does not use counts as zero there.
        method: A record such as `FairGrad(2.0)`.
        heads: "unit" or "weighted".
        retain_graph: As in PyTorch.

    Returns:
        The solution; where it is not ok see `aggregate`.

    Raises:
        InvalidInput: for no losses, losses that are no scalars, or no shared parameters.
    """
    unit = checks.choice("heads", heads, HEADS) == "unit"
    parameters = list(shared)
    if not parameters or not losses or any(loss.numel() != 1 for loss in losses):
        raise InvalidInput("losses and shared", len(losses), "scalar losses, shared parameters")
    kept = [p.grad for p in parameters]
    try:
        updates = (_separate_backward if unit else _gradients)(losses, parameters, retain_graph)
        direction, solution = aggregate(updates, method)
        if not unit:
            _differentiate(_weighted_sum(losses, solution), retain_graph)
    finally:
        for p, old in zip(parameters, kept, strict=True):
            p.grad = old
    for p, old, new in zip(parameters, kept, direction, strict=True):
        step = torch.zeros_like(p) if new is None else new
        p.grad = step if old is None else old + step
    return solution


def _separate_backward(
    losses: Sequence[Tensor], parameters: list[Tensor], retain_graph: bool
) -> list[list[Tensor | None]]:
    """One backward pass per loss: heads accumulate, shared gradients are taken away."""
    updates = []
    for k, loss in enumerate(losses):
        for p in parameters:
            p.grad = None
        _differentiate(loss, retain_graph or k + 1 < len(losses))
        updates.append([p.grad for p in parameters])
    return updates


def _gradients(
    losses: Sequence[Tensor], parameters: list[Tensor], _: bool
) -> list[list[Tensor | None]]:
    """Gradients of every loss for the shared parameters alone."""
    for p in parameters:
        p.grad = None
    return [
        list(torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True))
        for loss in losses
    ]


def _weighted_sum(losses: Sequence[Tensor], solution: Solution) -> Tensor:
    """sum_k w_k loss_k."""
    pairs = zip(solution.weights.tolist(), losses, strict=True)
    return torch.stack([w * loss.reshape(()) for w, loss in pairs]).sum()


def _differentiate(loss: Tensor, retain_graph: bool) -> None:
    """Accumulate the gradient of one loss into every parameter."""
    torch.autograd.backward([loss], retain_graph=retain_graph)


class _Weights(torch.autograd.Function):
    """Solve in NumPy; differentiate by the implicit function theorem."""

    @staticmethod
    def forward(ctx: Any, A: Tensor, solve: Callable[[Array], Solution], adjoint: Any) -> Tensor:
        matrix = A.detach().to(device="cpu", dtype=torch.float64).numpy()
        ctx.solution, ctx.matrix, ctx.adjoint = solve(matrix), matrix, adjoint
        return torch.as_tensor(ctx.solution.weights, dtype=A.dtype, device=A.device)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        outer = grad.detach().to(device="cpu", dtype=torch.float64).numpy()
        result = ctx.adjoint(ctx.matrix, ctx.solution, outer)
        return torch.as_tensor(result, dtype=grad.dtype, device=grad.device), None, None


def _precision(A: Tensor) -> float:
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
    error = _precision(gram)
    return _apply(
        gram,
        lambda A: fairgrad(A, alpha, gram_error=error),
        lambda A, solution, outer: fairgrad_adjoint(A, alpha, solution, outer),
    )


def conflict_averse_weights(gram: Tensor, c: float) -> Tensor:
    """`fairopt.conflict_averse` weights around the mean, differentiable in the Gram matrix."""
    return _apply(
        gram,
        lambda A: conflict_averse(A, c),
        lambda A, solution, outer: conflict_averse_adjoint(A, c, solution, outer),
    )


def min_norm_weights(gram: Tensor) -> Tensor:
    """`fairopt.min_norm` weights, differentiable in the Gram matrix."""
    return _apply(gram, min_norm, min_norm_adjoint)


def _apply(gram: Tensor, solve: Any, adjoint: Any) -> Tensor:
    """Call the autograd function on a real floating tensor."""
    if not isinstance(gram, Tensor) or not gram.is_floating_point():
        raise InvalidInput("gram", gram, "a real floating-point tensor")
    result: Tensor = _Weights.apply(gram, solve, adjoint)  # type: ignore[no-untyped-call]
    return result


def _solved(method: Method, A: Tensor) -> Tensor:
    """Weights of a method as a tensor like the Gram matrix."""
    matrix = A.detach().to(device="cpu", dtype=torch.float64).numpy()
    solution = method.solve(matrix, gram_error=_precision(A))
    _report(solution)
    return torch.as_tensor(solution.weights, dtype=A.dtype, device=A.device)


def as_torchjd_weighting(method: Method) -> Any:
    """A TorchJD `Weighting` on Gramians, for its autogram engine. Needs torchjd."""
    base = importlib.import_module("torchjd.aggregation").Weighting

    class FairoptWeighting(base):  # type: ignore[misc, valid-type]
        """Weights of a fairopt method."""

        def forward(self, gramian: Tensor) -> Tensor:
            """Weights of the rows."""
            return _solved(method, gramian)

    return FairoptWeighting()


def as_torchjd_aggregator(method: Method) -> Any:
    """A TorchJD `Aggregator` on Jacobians, for its autojac engine. Needs torchjd."""
    base = importlib.import_module("torchjd.aggregation").Aggregator

    class FairoptAggregator(base):  # type: ignore[misc, valid-type]
        """Direction of a fairopt method."""

        def forward(self, matrix: Tensor) -> Tensor:
            """Combine the rows."""
            direction, _ = aggregate(list(matrix), method)
            return direction  # type: ignore[no-any-return]

    return FairoptAggregator()
