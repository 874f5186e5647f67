r"""The small vectors of FedRAM: losses in, task weights, client weights and sample counts out.

Symbols: T tasks, K clients; :math:`\ell` mean losses in nats (a mean, so nothing is divided by the
number of examples again); :math:`\alpha_k` (T,) task weights of client k; w (K,) client weights;
both are positive with sum one. Everything here is a pure function of such vectors; the weights
themselves move by `fairopt.multiplicative_weights`.

Source: FedRAM (NeurIPS 2025) as far as its text can be read, its displayed equations being
missing: (6), (7), (8), (10), (11), (13). What is our reconstruction says so.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairopt import InvalidInput, multiplicative_weights

Vector = NDArray[np.float64]
Absent = Literal["frozen", "renormalise"]


def excess_losses(proxy: ArrayLike, reference: ArrayLike) -> Vector:
    r"""How much worse the proxy is than the reference, :math:`\max(\ell - \ell^{ref}, 0)` (6).

    Example:
        >>> excess_losses([1.2, 0.9, 0.4], [0.7, 1.0, 0.3]).round(6)
        array([0.5, 0. , 0.1])
    """
    return np.maximum(np.asarray(proxy, np.float64) - np.asarray(reference, np.float64), 0.0)


def task_weights(
    weights: ArrayLike,
    excess: ArrayLike,
    rate: float,
    *,
    smoothing: float = 0.0,
    present: ArrayLike | None = None,
) -> Vector:
    r"""The task weights of one client after a round of the proxy (7).

    .. math:: \alpha' = s \alpha + (1 - s) \, \alpha e^{\eta e} / \textstyle\sum \alpha e^{\eta e}

    Args:
        weights: :math:`\alpha`, positive, sum one.
        excess: e, where `present`.
        rate: :math:`\eta`.
        smoothing: s, the share of the old vector (the order of normalising and smoothing is ours).
        present: Tasks that the client holds now; the others keep their weight.

    Raises:
        InvalidInput: A weight would vanish, so the rate is too large for these losses.
    """
    moved = multiplicative_weights(weights, excess, rate, smoothing=smoothing, present=present)
    return _without_zeros("task-rate", rate, moved, excess)


def loss_coefficients(weights: ArrayLike, excess: ArrayLike, *, clip: bool = True) -> Vector:
    r"""Factors of the tasks' gradients in a client's step on the proxy (8).

    The reference is constant, so :math:`\sum_t \alpha_t e_t` has the gradient
    :math:`\sum_t \alpha_t 1[e_t > 0] \nabla \ell_t`: a task that is as good as its reference adds
    nothing. Without `clip` it is :math:`\sum_t \alpha_t \nabla \ell_t`, as in DoReMi.
    """
    alpha = np.asarray(weights, np.float64)
    return np.where(np.asarray(excess) > 0.0, alpha, 0.0) if clip else alpha


def differential_loss(after: ArrayLike, before: ArrayLike, sizes: ArrayLike) -> float:
    r"""Mean loss on all of a client's examples, minus another one (10).

    :math:`d_k = \sum_t n_t (\ell_t - \ell'_t) / \sum_t n_t`. With the loss of the local proxy and
    of the global one, as FedRAM has it, local training makes d negative; with the reference's loss
    as the second, d is what the authors' Theorem 2 speaks of.
    """
    gaps = np.asarray(after, np.float64) - np.asarray(before, np.float64)
    return float(np.average(gaps, weights=np.asarray(sizes, np.float64)))


def client_weights(
    weights: ArrayLike,
    differences: ArrayLike,
    rate: float,
    *,
    present: ArrayLike | None = None,
    absent: Absent = "frozen",
) -> Vector:
    r"""The client weights after a round of the proxy, :math:`w_k e^{\eta d_k}`, normalised (11).

    The source contradicts itself about the sign: its formula, with :math:`\eta > 0`, raises the
    weight of a client with a high d, its Theorem 2 lowers it (:math:`\eta < 0`). Both are offered.

    Args:
        weights: w, positive, sum one.
        differences: d, where `present`.
        rate: :math:`\eta` of either sign.
        present: Clients that answered.
        absent: `frozen`: the others keep their weights, and participants their total;
            `renormalise`: the others have a factor of one and all are normalised together.

    Raises:
        InvalidInput: A weight would vanish, so the rate is too large for these losses.
    """
    moved = multiplicative_weights(weights, differences, rate, present=present, absent=absent)
    return _without_zeros("client-rate", rate, moved, differences)


def resampled_counts(weights: ArrayLike, total: int) -> NDArray[np.int64]:
    r"""Whole numbers of examples per task with sum `total`, as close to :math:`\alpha n` as can be.

    Method: largest remainder, ties to the first task (a reconstruction: the source says only that
    data are resampled by size and weight).

    Example:
        >>> resampled_counts([0.511380, 0.292010, 0.196610], 200)
        array([102,  59,  39])
    """
    alpha = np.asarray(weights, np.float64)
    quotas = alpha / alpha.sum() * total
    counts = np.floor(quotas + WHOLE_SLACK).astype(np.int64)
    late = np.argsort(-(quotas - counts), kind="stable")[: total - int(counts.sum())]
    counts[late] += 1
    return np.asarray(counts)


WHOLE_SLACK = 1e-9
"""A quota of 29.999999999999996 is 30 to whoever gave weights in proportion to sizes."""


def rate_bound(count: int, largest_loss: float) -> float:
    r"""The largest rate for which no first weight :math:`e^{\eta \ell} / n` exceeds one.

    :math:`\ln n / \ell_{max}`; a reconstruction from the ingredients that the authors name.

    Example:
        >>> round(rate_bound(7, 2.3), 3)
        0.846
    """
    if not 0.0 < largest_loss < math.inf:
        raise InvalidInput("largest_loss", largest_loss, "a finite number > 0")
    return math.log(count) / largest_loss


def accuracy_inside_and_outside(
    accuracies: ArrayLike, sizes: ArrayLike, held: ArrayLike
) -> tuple[float, float]:
    """Size-weighted mean accuracy over the tasks a client holds, and over those it does not.

    NaN where there is no such task. The weighting is a reconstruction.
    """
    accuracy, size, mine = np.asarray(accuracies), np.asarray(sizes), np.asarray(held, np.bool_)
    inside, outside = (
        float(np.average(accuracy[some], weights=size[some])) if some.any() else math.nan
        for some in (mine, ~mine)
    )
    return inside, outside


def _without_zeros(name: str, rate: float, weights: Vector, gains: ArrayLike) -> Vector:
    """The weights, none of which may have vanished."""
    if not (weights > 0.0).all():
        largest = float(np.nanmax(np.abs(np.asarray(gains, np.float64))))
        bound = rate_bound(max(len(weights), 2), largest)
        requirement = f"at most {bound:.3g} in size for losses of {largest:.3g}, or weights vanish"
        raise InvalidInput(f"algorithm.{name}", rate, requirement)
    return weights
