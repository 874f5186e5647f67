r"""Figures of the multi-task literature: how several tasks do together, against each alone.

Both are pure functions of tables of scores. :math:`\sigma_s` is 1 where higher scores of task s are
better and -1 where lower ones are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

Numbers = NDArray[np.float64]

PER_CENT = 100.0


def mean_change(scores: ArrayLike, others: ArrayLike, signs: ArrayLike) -> Numbers:
    r"""Mean over tasks of the relative change of scores, positive where it is for the better.

    .. math:: \frac{1}{S} \sum_s \sigma_s \frac{a_s - b_s}{|b_s|}

    Args:
        scores: (num_tasks, n) scores :math:`a_s`, each in the unit of its task.
        others: (num_tasks, n) scores :math:`b_s` to compare with, in the same units.
        signs: (num_tasks,) :math:`\sigma_s`.

    Returns:
        (n,) shares; NaN where a score to compare with is zero.

    Example:
        >>> mean_change([[1.0], [3.0]], [[0.5], [2.0]], [1.0, -1.0])  # 1 better, 1/2 worse
        array([0.25])
    """
    mine, theirs = (np.asarray(table, dtype=np.float64) for table in (scores, others))
    blank = np.full(mine.shape, np.nan)
    change = np.divide(mine - theirs, np.abs(theirs), out=blank, where=theirs != 0.0)
    return np.asarray((np.asarray(signs)[:, None] * change).mean(axis=0))


def percent_worse(scores: ArrayLike, alone: ArrayLike, signs: ArrayLike) -> Numbers:
    r"""Mean over tasks of how much worse they are than when each is trained alone, in per cent.

    .. math:: \Delta m = \frac{100}{S} \sum_s (-1)^{\delta_s} \frac{M_s - B_s}{B_s}

    with :math:`\delta_s = 1` where higher is better: lower is better, and below zero training
    together helps.

    Args:
        scores: (num_tasks, n) scores :math:`M_s`, each in the unit of its task.
        alone: (num_tasks, n) scores :math:`B_s` of models trained for one task each.
        signs: (num_tasks,) 1 where higher is better, -1 where lower is.

    Returns:
        (n,) per cent; NaN where a task scores zero alone.

    Source: Delta m of FairGrad (arXiv 2402.15638), section 5, there over all metrics of all tasks;
    here over the first metric of each.

    Example:
        An accuracy of 0.6 instead of 0.8 is 25 % worse, an error of 3 instead of 2 is 50 % worse.

        >>> percent_worse([[0.6], [3.0]], [[0.8], [2.0]], [1.0, -1.0])
        array([37.5])
    """
    return -PER_CENT * mean_change(scores, alone, signs)


def mean_ranks(scores: ArrayLike, signs: ArrayLike) -> Numbers:
    """Mean over tasks of the rank of every method, 1 for the best; equal ones share their ranks.

    A rank depends on which methods there are.

    Args:
        scores: (num_methods, num_tasks, n) scores.
        signs: (num_tasks,) 1 where higher is better, -1 where lower is.

    Returns:
        (num_methods, n).

    Source: mean rank (MR) of FairGrad (arXiv 2402.15638), section 5.

    Example:
        >>> mean_ranks([[[0.9], [2.0]], [[0.8], [2.0]]], [1.0, -1.0])[:, 0].tolist()
        [1.25, 1.75]
    """
    table = np.asarray(scores, dtype=np.float64)
    return np.asarray(rankdata(-np.asarray(signs)[:, None] * table, axis=0).mean(axis=1))
