"""How much fairness? An alpha from the losses themselves, so that no task takes all the clients."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.arrays import Array
from fairopt.errors import InvalidInput

_FLOAT_MAX = float(np.finfo(np.float64).max)

SHARE = 0.75
"""Of the clients, the most that one task gets by default: where one task was much harder than two
others, alpha = 2 and 3 gave it 0.68 and 0.90, and both were as good for it (docs/results.md)."""

LARGEST = 3.0
"""The most that is suggested by default: from 5 on noise in the losses decides, and the others lose
more than the worst task gains, whatever the gaps."""

STEPS = 100
"""Newton steps at most; on a sum of exponentials, in logarithms, fewer than ten are usual."""


def suggest_alpha(
    losses: ArrayLike,
    *,
    share: float = SHARE,
    largest: float = LARGEST,
    priority: ArrayLike | None = None,
) -> float:
    r"""The largest alpha at which the hardest task gets no more than a given share of the clients.

    Problem: `client_task_probabilities` has a parameter. Between tasks of similar difficulty any
    moderate alpha does, but a gap of ten to one at alpha = 3 leaves the easy task a hundredth of
    the hard one's clients. With f the losses, a the priorities and h the hardest task (the largest
    loss; of those that tie, the one with the largest priority) this is

    .. math:: \max\Big\{\alpha \in [1, \bar\alpha] :
        \frac{a_h f_h^{\alpha-1}}{\sum_s a_s f_s^{\alpha-1}} \le \sigma\Big\},

    or 1 where the share of h exceeds :math:`\sigma` already with equal chances.

    Args:
        losses: f, shape (S,), finite and >= 0, any unit (error rates do).
        share: :math:`\sigma`, in (0, 1).
        largest: :math:`\bar\alpha`, finite and >= 1: what is suggested where no alpha up to it
            gives the hardest task so much, as between equal tasks.
        priority: a, shape (S,), finite and > 0; default ones.

    Returns:
        alpha in [1, largest].

    Method: with :math:`r_s = f_s / f_h` and :math:`\beta = \alpha - 1` the share is
    :math:`\sigma` where :math:`\log \sum_{s \ne h} (a_s / a_h) r_s^\beta = \log(1/\sigma - 1)`.
    The left side is convex and falls in :math:`\beta`, so Newton's steps from 0 rise to the root
    and never pass it. Between two tasks one step is the answer,
    :math:`\beta = \log((1/\sigma - 1) a_h / a_s) / \log r_s`.

    Guarantee: the share of h never falls in alpha, so at what is returned it is at most the wanted
    one, and equal to it (to rounding) where the result lies strictly between the ends. The unit of
    the losses does not matter. A task without loss gets no clients above alpha = 1 and counts as
    absent: where the others alone leave h more than its share at any alpha, the result is 1.

    Limits: it protects the easy tasks from the hard one; it does not know whether the hard one
    still learns (`learning_progress`), nor how noisy the losses are: `largest` stands for that.

    Raises:
        InvalidInput: for anything outside these ranges or shapes.

    Source: ours; FedFairMMFL (arXiv 2404.13841) leaves the choice of alpha open.

    Example:
        >>> from fairopt import client_task_probabilities
        >>> alpha = suggest_alpha([0.42, 0.1, 0.1])
        >>> round(alpha, 2), client_task_probabilities([0.42, 0.1, 0.1], alpha).round(3)
        (2.25, array([0.75 , 0.125, 0.125]))
        >>> suggest_alpha([0.33, 0.25, 0.2]), round(suggest_alpha([0.4, 0.01]), 2)
        (3.0, 1.3)
    """
    loss = _row("losses", checks.nonnegative_vector("losses", losses))
    wanted = checks.number("share", share, 0.0, 1.0, "a number between 0 and 1")
    if not 0.0 < wanted < 1.0:
        raise InvalidInput("share", share, "a number between 0 and 1")
    most = checks.number("largest", largest, 1.0, _FLOAT_MAX, "a finite number >= 1")
    weight = np.ones(loss.size)
    if priority is not None:
        weight = _row("priority", checks.positive_vector("priority", priority, loss.size))
    return 1.0 + _power(*_others(loss, weight), math.log(1.0 / wanted - 1.0), most - 1.0)


def _row(argument: str, array: Array) -> Array:
    """The array, if it has one axis."""
    if array.ndim != 1:
        raise InvalidInput(argument, f"array of shape {array.shape}", "one row of numbers")
    return array


def _others(loss: Array, weight: Array) -> tuple[Array, Array]:
    """log(f_s / f_h) and log(a_s / a_h) of the other tasks that have a loss."""
    worst = np.flatnonzero(loss == loss.max())
    hardest = worst[np.argmax(weight[worst])]
    others = (np.arange(loss.size) != hardest) & ((loss > 0.0) | (loss[hardest] == 0.0))
    f, a = np.where(loss > 0.0, loss, 1.0), np.log(weight)
    return (np.log(f) - math.log(f[hardest]))[others], (a - a[hardest])[others]


def _power(rates: Array, shifts: Array, target: float, most: float) -> float:
    """The root of log sum exp(shifts + beta rates) = target in [0, most], or the nearer end."""

    def excess(beta: float) -> tuple[float, float]:
        """Left side minus right side, and the slope."""
        with np.errstate(over="ignore"):  # a share that is as good as none
            logs = shifts + beta * rates
        top = float(logs.max())
        if top == -math.inf:
            return top, 0.0
        mass = np.exp(logs - top)
        return top + math.log(float(mass.sum())) - target, float(mass @ rates / mass.sum())

    if not rates.size or excess(0.0)[0] <= 0.0:
        return 0.0
    if excess(most)[0] >= 0.0:
        return most
    beta = 0.0
    for _ in range(STEPS):
        gap, slope = excess(beta)
        new = beta - gap / slope
        if not beta < new < most:
            break
        beta = new
    return beta
