"""Which task should a client train? Probabilities that favour tasks with a high loss."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.arrays import Array, BoolArray

_SMALLEST_NORMAL = float(np.finfo(np.float64).tiny)  # below it a quotient has lost digits


def client_task_probabilities(
    losses: ArrayLike,
    alpha: float,
    *,
    eligible: ArrayLike | None = None,
    priority: ArrayLike | None = None,
) -> Array:
    r"""Probability of each task for a client that trains one task, alpha-fair in the losses.

    Problem: minimise :math:`\sum_s a_s f_s(w_s)^\alpha` over the models of S tasks when every
    client trains one task only. The gradient with respect to model s is
    :math:`\alpha a_s f_s^{\alpha-1} \nabla f_s`; sampling clients with

    .. math:: p_s = \frac{a_s f_s^{\alpha-1}}{\sum_{s'} a_{s'} f_{s'}^{\alpha-1}}

    replaces the factor in front. Here alpha is the power of a *loss* (not of a utility, as it is
    in `fairopt.fairgrad`): 1 ignores the losses, 2 is linear in them, larger values weigh the worst
    task ever more, and infinity sends every client to it.

    Args:
        losses: f, shape (..., S), finite and >= 0, any unit (only ratios matter; error rates do).
        alpha: Power in [1, inf].
        eligible: (N, S) booleans, the tasks each of N clients may train; (S,) for one client.
        priority: Task weights a, shape (S,) or (..., S), finite and > 0; default ones.

    Returns:
        (..., S), or (..., N, S) with `eligible`. Rows sum to one, except the row of a client with
        no eligible task, which is zero (an idle client).

    Method: softmax of (alpha - 1) log(f / max f) + log a over the eligible tasks, so nothing
    overflows between 1e-300 and 1e300. A zero loss counts with 0^0 = 1: at alpha = 1 it has its
    share, above it has probability zero, and if all eligible losses are zero the shares are those
    of the priorities. At alpha = inf the tasks that tie at the largest loss share likewise.

    Guarantee: p_s / p_t = (a_s / a_t) (f_s / f_t)^(alpha - 1) wherever neither side underflows.

    Raises:
        InvalidInput: for anything outside these ranges or shapes.

    Source: FedFairMMFL (arXiv 2404.13841), the sampling rule of its training part; the ends
    (alpha = inf, zero losses) and the priorities are our completion.

    Example:
        >>> client_task_probabilities([1.0, 2.0, 4.0], alpha=2.0).round(3)
        array([0.143, 0.286, 0.571])
        >>> client_task_probabilities([1.0, 3.0], 2.0, eligible=[[True, True], [True, False]])
        array([[0.25, 0.75],
               [1.  , 0.  ]])
    """
    loss = checks.nonnegative_vector("losses", losses)
    tasks = loss.shape[-1]
    power = checks.number("alpha", alpha, 1.0, np.inf, "a number in [1, inf]")
    share = _priorities(priority, loss)
    allowed = np.ones(tasks, dtype=np.bool_)
    if eligible is not None:
        allowed = checks.bool_array("eligible", eligible, tasks)
    if allowed.ndim > 1:
        loss, share = loss[..., None, :], share[..., None, :]
        checks.broadcastable("eligible", allowed.shape[:-1], loss.shape[:-1])
    return _masked_softmax(_log_power(loss, power, allowed) + np.log(share), allowed)


def _priorities(priority: ArrayLike | None, loss: Array) -> Array:
    """Checked priorities, ones by default."""
    if priority is None:
        return np.ones(loss.shape[-1])
    share = checks.positive_vector("priority", priority, loss.shape[-1])
    checks.broadcastable("priority", share.shape[:-1], loss.shape[:-1])
    return share


def _log_power(loss: Array, power: float, allowed: BoolArray) -> Array:
    """(power - 1) log(loss / largest allowed loss), with 0^0 = 1 and ties at 0."""
    top = np.where(allowed, loss, 0.0).max(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = loss / top
        log_ratio = np.where(ratio >= _SMALLEST_NORMAL, np.log(ratio), np.log(loss) - np.log(top))
        logits = (power - 1.0) * log_ratio
    flat = (loss == top) if power > 1.0 else np.ones_like(loss, dtype=np.bool_)
    return np.where(flat, 0.0, logits)


def _masked_softmax(logits: Array, allowed: BoolArray) -> Array:
    """Softmax over the allowed entries; a row without any is zero."""
    masked = np.where(allowed, logits, -np.inf)
    top = masked.max(axis=-1, keepdims=True)
    mass = np.exp(masked - np.where(np.isfinite(top), top, 0.0))
    total = mass.sum(axis=-1, keepdims=True)
    return np.asarray(mass / np.where(total > 0.0, total, 1.0))
