"""One exponentiated update of a probability vector (FedRAM, Group DRO, DoReMi, Hedge); its rate."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.arrays import Array, BoolArray
from fairopt.errors import InvalidInput

SUM_TOLERANCE = 1e-5  # of sum weights = 1: weights kept in float32 over thousands of tasks pass
SUM_ROUNDINGS = 8.0  # the same in eps of the dtype of the weights, where that is more (float16)
PLAIN_PRODUCT = 2048.0
"""Rate times gain up to which products are rounded before they are subtracted: to 2^-42. Beyond it
gains are, and a difference that overflows is then below -2048: no weight, whatever its factor."""


def multiplicative_weights(
    weights: ArrayLike,
    gains: ArrayLike,
    rate: float,
    *,
    smoothing: float = 0.0,
    smooth_towards: str = "previous",
    present: ArrayLike | None = None,
    absent: str = "frozen",
) -> Array:
    r"""Weights moved towards what gains more: w_k exp(rate gain_k), normalised, smoothed.

    Problem: maximise <w, gain> - KL(w || previous) / rate over the simplex. With gains = excess
    losses this is FedRAM's task update (7), with differential losses its client update (11), with
    group losses Group DRO, with clipped excess losses and uniform smoothing DoReMi, with rewards
    Hedge. The caller clips gains where the method does.

    Args:
        weights: Previous weights, (..., K), >= 0 with sum one, to 1e-5 or 8 eps of their dtype.
        gains: (..., K), finite where present; absent entries may be NaN.
        rate: Step size, finite; negative rates favour small gains.
        smoothing: s in [0, 1]: the share of the smoothing target in the result.
        smooth_towards: "previous" (FedRAM) or "uniform" (DoReMi).
        present: (..., K) booleans, who takes part; default all.
        absent: "frozen": absent weights stay and participants keep their total mass (and uniform
            smoothing shares that mass); "renormalise": absent entries have a gain of zero and all
            weights are normalised together.

    Returns:
        (..., K), >= 0, of the same sum as `weights`. An entry of weight zero stays zero (except by
        uniform smoothing), and so a weight that underflows to zero, below about 5e-324 of the
        others, never returns: use smoothing where tasks shall be able to come back.

    Method: softmax of log w + rate gain with the maximum subtracted. Where products are large,
    gains are measured from the best one first, so nothing overflows: in the limit of a large rate
    all weight goes to the largest products, in proportion to their weights if there are several.
    Adding one constant to every gain changes nothing.

    Guarantee: for all finite rates and gains every weight has a relative error of at most 2e-12, or
    is below the smallest normal float (2.2e-308).

    Raises:
        InvalidInput: for anything outside these ranges or shapes.

    Source: FedRAM equations (7) and (11) as reconstructed from its text; the treatment of absent
    clients is our reading of "frozen". Group DRO and DoReMi for their updates.

    Example:
        >>> multiplicative_weights([0.5, 0.5], [1.0, 2.0], 0.01).round(4)
        array([0.4975, 0.5025])
    """
    w = checks.nonnegative_vector("weights", weights)
    K = w.shape[-1]
    _check_sum(weights, w)
    eta = checks.number("rate", rate, -np.finfo(float).max, np.finfo(float).max, "a finite number")
    share = checks.number("smoothing", smoothing, 0.0, 1.0, "a number in [0, 1]")
    uniform = checks.choice("smooth_towards", smooth_towards, ("previous", "uniform")) == "uniform"
    frozen = checks.choice("absent", absent, ("frozen", "renormalise")) == "frozen"
    here = np.ones(K, dtype=bool) if present is None else checks.bool_array("present", present, K)
    gain = checks.task_array("gains", gains, K)
    if not w.shape == gain.shape == here.shape:
        checks.batch_shape(weights=w.shape[:-1], gains=gain.shape[:-1], present=here.shape[:-1])
        w, gain, here = np.broadcast_arrays(w, gain, here)
    checks.all_where("gains", gain, np.isfinite(gain) | ~here, "finite where present")
    moving = here if frozen else np.ones_like(here)
    moved = _exponentiated(w, np.where(here, gain, 0.0), eta, moving)
    target = _uniform(w, moving) if uniform else w
    return np.where(moving, (1.0 - share) * moved + share * target, w)


MOST_ROUNDS = 2**1000
"""More of them count as so many: any rate is then zero in float64."""


def suggest_rate(
    weights: ArrayLike, largest_gap: float, rounds: int, *, floor: float | None = None
) -> float:
    r"""The largest rate with which no weight can fall below a floor within so many rounds.

    Problem: eta = max{ eta : w_k after R updates >= f for all k, whatever the gains }, where the
    gains of one round differ by at most G.

    Args:
        weights: What the updates start from, (..., K), > 0 with sum one; K >= 2.
        largest_gap: G > 0: the largest difference between two gains of one round. For gains in
            [0, l_max], such as excess losses, that is l_max.
        rounds: R >= 1.
        floor: f, above 0 and below every weight; by default a tenth of the smallest weight.

    Returns:
        eta > 0. Its negative is right for rates that favour small gains.

    Method: R updates multiply the odds of a weight against the rest, w / (1 - w), by at least
    exp(-eta G R), and by just that where it always gains least and all others gain G more. So

    .. math:: \eta = \frac{\log\frac{w_{min}}{1 - w_{min}} - \log\frac{f}{1 - f}}{R \, G}.

    Guarantee: with |rate| <= eta no weight ends below f (nor at any time before), and with a larger
    one some gains of that size lead below it. Smoothing towards previous weights, absent weights
    and smaller gaps only keep weights higher.

    Raises:
        InvalidInput: for anything outside these ranges or shapes.

    Source: FedRAM bounds its rate by the numbers of clients and tasks and the largest first loss,
    in a formula that is missing from its text; it says that no first weight may exceed one, which
    is log(K) / l_max from equal weights. This is a bound from the same ingredients for all rounds
    at once: from equal weights and with f = 1 / K^2 it is log(K + 1) / (R l_max).

    Example:
        >>> w = np.full(10, 0.1)
        >>> rate = suggest_rate(w, 0.5, 50)
        >>> round(rate, 4)
        0.0959
        >>> for _ in range(50):
        ...     w = multiplicative_weights(w, [0.0] + [0.5] * 9, rate)
        >>> round(float(w[0]), 9)
        0.01
    """
    w = checks.positive_vector("weights", weights)
    _check_sum(weights, w)
    if w.shape[-1] < 2:
        raise InvalidInput("weights", weights, "at least two, or none can fall")
    gap = checks.positive_number("largest_gap", largest_gap)
    count = checks.count("rounds", rounds, 1)
    smallest = float(w.min())
    least = smallest / 10.0 if floor is None else checks.positive_number("floor", floor)
    if not 0.0 < least < smallest:
        raise InvalidInput("floor", floor, f"above 0 and below the smallest weight, {smallest:.4g}")
    rounds_in_all = float(min(count, MOST_ROUNDS))
    rate = (_log_odds(smallest) - _log_odds(least)) / gap / rounds_in_all
    if not 0.0 < rate < np.inf:
        requirement = "of a size at which the rate is a positive float64 number"
        raise InvalidInput("largest_gap", largest_gap, requirement)
    return rate


def _log_odds(share: float) -> float:
    """Of a weight against the rest."""
    return float(np.log(share) - np.log1p(-share))


def _check_sum(given: ArrayLike, weights: Array) -> None:
    """Refuse weights whose sum is not one."""
    total = weights.sum(axis=-1)
    good = np.atleast_1d(np.abs(total - 1.0) <= _tolerance(given))
    checks.all_where("sum of weights", np.atleast_1d(total), good, "one")


def _tolerance(weights: ArrayLike) -> float:
    """How far from one the weights may sum: what rounding to their dtype explains."""
    dtype = np.asarray(weights).dtype
    eps = float(np.finfo(dtype).eps) if dtype.kind == "f" else 0.0
    return max(SUM_TOLERANCE, SUM_ROUNDINGS * eps)


def _exponentiated(w: Array, gain: Array, eta: float, moving: BoolArray) -> Array:
    """Each moving weight times exp(eta gain), with their mass kept."""
    weighted = moving & (w > 0.0)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        product = eta * gain
        if (np.abs(product) > PLAIN_PRODUCT).any():
            product = eta * (gain - _origin(gain, eta, weighted))
        score = np.log(w) + product
    score = np.where(weighted, score, -np.inf)
    top = score.max(axis=-1, keepdims=True)
    raised = np.exp(score - np.where(np.isfinite(top), top, 0.0))
    norm = raised.sum(axis=-1, keepdims=True)
    return np.asarray(_mass(w, moving) * raised / np.where(norm > 0.0, norm, 1.0))


def _origin(gain: Array, eta: float, weighted: BoolArray) -> Array:
    """What gains are measured from: the best one where products are large, else zero."""
    product = np.where(weighted, np.abs(eta * gain), 0.0).max(axis=-1, keepdims=True)
    largest = np.where(weighted, gain, -np.inf).max(axis=-1, keepdims=True)
    smallest = np.where(weighted, gain, np.inf).min(axis=-1, keepdims=True)
    return np.where(product > PLAIN_PRODUCT, largest if eta > 0.0 else smallest, 0.0)


def _uniform(w: Array, moving: BoolArray) -> Array:
    """The mass of the moving weights in equal parts."""
    return np.asarray(_mass(w, moving) / np.maximum(moving.sum(axis=-1, keepdims=True), 1))


def _mass(w: Array, moving: BoolArray) -> Array:
    """Total of the moving weights."""
    return np.asarray(np.where(moving, w, 0.0).sum(axis=-1, keepdims=True))
