"""One multi-task training step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor
from torch._compile import _disable_dynamo

from fairopt import checks
from fairopt.errors import InvalidInput
from fairopt.solution import Solution, Status
from fairopt.torch.aggregating import report
from fairopt.torch.loss_methods import LossMethod, is_loss_method
from fairopt.torch.method_state import remembered
from fairopt.torch.methods import Method, checked_method
from fairopt.torch.step.accumulate import accumulate
from fairopt.torch.step.decide import (
    decide,
    decide_by_losses,
    decide_by_products,
    suits_products,
)
from fairopt.torch.step.differentiate import differentiate
from fairopt.torch.step.finite import scaled_losses
from fairopt.torch.step.losses import Losses, features_of, shared_parameters, tasks_of
from fairopt.torch.step.plan import Plan
from fairopt.torch.step.ranks import Ranks, Reduce

HEADS = ("unit", "weighted")
LENGTHS = ("own", "mean")
REDUCED = ("gradients", "gram")


@_disable_dynamo  # as in the optimisers of PyTorch: what is compiled ends here
def backward(
    losses: Losses,
    shared: Iterable[Tensor],
    method: Method | LossMethod,
    *,
    present: ArrayLike | Tensor | None = None,
    loss_scale: Any = None,
    reduce: Reduce | None = None,
    reduce_what: str = "gradients",
    features: Tensor | Sequence[Tensor] | None = None,
    features_tol: float = 1e-2,
    heads: str = "unit",
    length: str = "own",
    retain_graph: bool = False,
) -> Solution:
    r"""One multi-task backward pass: like `sum(losses).backward()`, with a fair direction.

    Adds the direction :math:`d = \sum_k w_k g_k` to `.grad` of the shared parameters, and to every
    other parameter the gradient of its losses: with weight one ("unit", as released FairGrad code
    does) or with the weights of the solution ("weighted"). As in PyTorch, gradients accumulate, and
    parameters that are frozen or that no loss reaches keep `.grad` as it was, None included.

    Nothing raises in a training loop but what a plain `backward()` would raise, or an argument that
    can never be right. A step whose gradients hold NaN or inf returns NOT_FINITE, names the first
    such task, and leaves every `.grad` as it was; it is logged once.

    Args:
        losses: K scalar losses: a list, a 1-D tensor, a dict (its names are in the solution), or
            anything that yields them.
        shared: Parameters that all tasks share; one a task does not use counts as zero there, and
            one that stands there twice (tied weights) counts once.
        method: A record such as `FairGrad(2.0)`, or one that weighs losses such as `FAMO()`: heads
            get its weights too, and but for `GradNorm` it costs one pass. What a method remembers
            does not move in a step that is not finite.
        present: K booleans, or a dict by name; absent tasks (no labels in this batch) are left out
            altogether, whatever stands for their loss. Priorities and references of `method`
            follow, absent weights are 0. Losses that come from one tensor share its graph, and NaN
            in one of them makes the gradients of all NaN (0 NaN is NaN): mask the labels then.
        loss_scale: The number by which the losses were multiplied, or a `torch.amp.GradScaler`;
            then they come unscaled and are scaled here. The direction does not depend on it, and
            `.grad` carries the scale, as after `scaler.scale(loss).backward()`. With a scaler a
            step that is not finite is written to `.grad`, so that `scaler.step` skips it and
            `scaler.update` lowers the scale.
        reduce: Called with a tensor, returns its sum (or mean) over the ranks of a data-parallel
            job. The gradient rows of the tasks are reduced before their Gram matrix is formed,
            since a sum of Gram matrices is not the Gram matrix of sums, and so are the gradients
            of the heads. A task is present if it is on some rank. Take the model out of
            `DistributedDataParallel` (`ddp.module`) or use `ddp.no_sync()`.
        reduce_what: "gradients", or "gram" where the ranks hold disjoint parameters of one model.
        features: The tensor or tensors through which all losses reach `shared`. With 16 tasks or
            more and `FairGrad` at a finite alpha above 0 the weights are then found by products
            with the trunk alone, at a cost that hardly depends on K (`step.matrix_free`), unless
            the trunk has convolutions, whose double backward is slow. Where that does not end, the
            exact step is taken.
        features_tol: Largest residual of weights found so.
        heads: "unit" or "weighted".
        length: "own", or "mean": the direction is given the length of the mean gradient (FairGrad's
            own length grows as gradients shrink); the weights returned are those of that direction.
        retain_graph: As in PyTorch.

    Returns:
        The solution of the K tasks, in units of unscaled losses; where it is not ok see
        `aggregate`. `solution.by_task` has the weights by name.

    Raises:
        InvalidInput: for no losses, losses that are no scalars, no trainable shared parameter, or
            if no loss reaches any of them.

    Example:
        >>> import torch
        >>> from fairopt.torch import FairGrad
        >>> w = torch.tensor([1.0, 1.0], requires_grad=True)
        >>> losses = {"first": w[0], "second": w.square().sum(), "unlabelled": w.sum() * torch.nan}
        >>> solution = backward(losses, [w], FairGrad(2.0), present=[True, True, False])
        >>> {name: round(weight, 3) for name, weight in solution.by_task.items()}
        {'first': 0.83, 'second': 0.134, 'unlabelled': 0.0}
    """
    if not is_loss_method(method):
        checked_method(method)
    unit = checks.choice("heads", heads, HEADS) == "unit" and not is_loss_method(method)
    own = checks.choice("length", length, LENGTHS) == "own"
    if is_loss_method(method) and not own:
        raise InvalidInput("length", length, "'own' for methods that weigh losses")
    checks.choice("reduce_what", reduce_what, REDUCED)
    tasks, parameters = tasks_of(losses, present), shared_parameters(shared)
    tol = checks.number("features_tol", features_tol, 0.0, 1.0, "a number in (0, 1)")
    ranks = Ranks(reduce if reduce_what == "gradients" else None)
    values, scale, watched = scaled_losses(tasks.values, loss_scale)
    plan = Plan.of(tasks, values, parameters, ranks, features_of(features))
    if not plan.chosen:
        return Solution(np.zeros(plan.K), Status.OPTIMAL, 0.0, 0, tasks=tasks.names)
    with remembered(method) as forget:
        restricted, decision = plan.method(method, 1.0 if watched else scale), None
        if is_loss_method(method) and not method.needs_gram:
            weighed = restricted.solve(np.eye(len(plan.chosen)))
            decision = decide_by_losses(plan.way, weighed, scale, ranks, retain_graph)
            unit = True  # the heads have their weights already
        elif ranks.alone and suits_products(plan.way, restricted):
            decision = decide_by_products(plan.way, restricted, scale, tol, not own, retain_graph)
        if decision is None:
            rows = plan.empty_rows()
            found = differentiate(plan.way, rows, retain_graph)
            rows.finish(ranks)
            grams = Ranks(reduce if reduce_what == "gram" else None)
            decision = decide(rows, found, restricted, scale, grams)
        decision = decision if own else decision.of_mean_length()
        others = plan.head_gradients(decision, unit)
        decision, good = decision.checked([g for _, g in others])
        if not good:
            forget()
    if good or watched:
        accumulate(decision.gradients, decision.owned)
        accumulate(others, False)
    solution = plan.whole(decision.solution)
    report(solution)
    return solution
