"""Does a task still learn? What its latest errors say about the error that can be removed."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.arrays import Array
from fairopt.errors import InvalidInput

SHORTEST = 4
"""Errors from which on each of the quarters has one."""

LEAST = 1e-3
"""Of its latest error, the least progress of a task: one that stands still is still tried."""


def learning_progress(errors: ArrayLike) -> float:
    r"""How much of a task's error training still removes, up to a factor that tasks share.

    Problem: some tasks stay bad because they get too little training, some because nothing better
    can be learnt (wrong labels, too small a model). `client_task_probabilities` by error sends
    clients to both; by this figure it sends them to the first alone.

    With :math:`e_j` the validation error after the j-th training of n, :math:`\bar e_2` its mean
    over :math:`n/4 < j \le n/2` and :math:`\bar e_4` over :math:`3n/4 < j \le n`,

    .. math:: g = \max\Big(\bar e_2 - \bar e_4,\ \sigma \sqrt{1/n_2 + 1/n_4},\ 10^{-3} e_n\Big),
        \quad \sigma^2 = \frac{1}{2} \operatorname{mean}_{n/4 < j < n} (e_{j+1} - e_j)^2,

    where :math:`n_2, n_4` count the errors of the two quarters. The second term is the standard
    error of the first: less than that cannot be told from nothing, so a task that has been trained
    little is given the benefit of the doubt, and loses it as n grows.

    Args:
        errors: e, shape (n,) with n >= 4, finite and >= 0, one after every training, the latest
            last. Errors of several tasks must be in one unit.

    Returns:
        g >= 0, in the unit of the errors; zero if the latest error is, and nothing was learnt.

    Guarantee: homogeneous of degree one, and it does not see a constant that is added to all
    errors, beyond the third term. Where :math:`e_j = \phi + c j^{-b}` without noise, the first
    term tends to :math:`\kappa(b)\, c\, n^{-b}` for large n: the excess over the floor
    :math:`\phi`, times a factor that depends on b alone (0.59 for b = 1/2, 1.6 for b = 1). So
    where learning curves are power laws with one exponent, whatever their floors, odds by g are
    odds by what is left to learn, until that is a thousandth of the error: from there on g is this
    thousandth, and a task with a high floor has more of it.

    Limits: it is right where past progress foretells later progress. A task that begins to learn
    late looks like one that cannot; a curve that is geometric rather than a power looks better
    than it is after it has flattened, until the quarters have passed the bend; differences of
    exponent enter as kappa. And it answers another question than the error does: a task whose
    floor is high gets no clients for being bad, so the worst score counts for nothing by itself.

    Raises:
        InvalidInput: for anything outside these ranges or shapes.

    Source: ours, after the break condition of FedFairMMFL (arXiv 2404.13841): losses that are no
    indicator of difficulty.

    Example:
        >>> trainings = np.arange(1, 41)
        >>> learnt, hopeless = 0.1 + 0.5 * trainings**-0.5, np.full(40, 0.9)
        >>> learning_progress(learnt) / learning_progress(hopeless) > 30
        True
    """
    curve = checks.nonnegative_vector("errors", errors)
    if curve.ndim != 1 or curve.size < SHORTEST:
        raise InvalidInput("errors", errors, f"one row of at least {SHORTEST} numbers")
    _, exponent = np.frexp(curve.max())
    return float(np.ldexp(_progress(np.ldexp(curve, -exponent)), exponent))


def _progress(curve: Array) -> float:
    """The progress of errors of at most one."""
    return max(*fall(curve), LEAST * float(curve[-1]))


def fall(curve: Array) -> tuple[float, float]:
    """From the mean of the second quarter to that of the last one, and its standard error.

    Args:
        curve: (n,) values, n >= 4, of a size whose squares are float64 numbers.

    Example:
        >>> fall(np.array([9.0, 4.0, 3.0, 1.0]))[0]
        3.0
    """
    n = curve.size
    second, last, steps = curve[n // 4 : n // 2], curve[3 * n // 4 :], np.diff(curve[n // 4 :])
    noise = math.sqrt(float(steps @ steps) / (2.0 * steps.size))
    error = noise * math.sqrt(1.0 / second.size + 1.0 / last.size)
    return float(second.mean() - last.mean()), error
