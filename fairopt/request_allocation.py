"""How many requests each task keeps in flight (FedAST): shares, and integers that sum exactly."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairopt import checks
from fairopt.arrays import Array, Ints
from fairopt.errors import InvalidInput

OBJECTIVES = ("equal_error", "sum_of_variances", "sum_of_deviations")


def request_allocation(
    heterogeneity: ArrayLike,
    total: int,
    *,
    objective: str = "equal_error",
    quantum: int = 1,
    minimum: int = 1,
) -> Ints:
    r"""Integer requests per task, more for tasks whose clients disagree more.

    Problem: task m averages R_m updates of variance s2_m, leaving an error of about s2_m / R_m.
    With sum R_m = total:

    - "equal_error": the same error for all (min-max), R_m ~ s2_m, the FedAST rule;
    - "sum_of_variances": least sum of s2_m / R_m, R_m ~ sqrt(s2_m);
    - "sum_of_deviations": least sum of sqrt(s2_m / R_m), R_m ~ s2_m^(1/3).

    Args:
        heterogeneity: Variances s2 >= 0, (S,), any unit.
        total: Requests to share, a multiple of quantum.
        objective: One of the three.
        quantum: Every entry is a multiple of it (for buffers of a fixed ratio).
        minimum: Least requests of a task; tasks below it are lifted, the rest is shared again.

    Returns:
        (S,) int64, sum exactly `total`, every entry a multiple of `quantum` and >= `minimum`.
        If the variances that remain to be shared are all zero, they share equally.

    Method: exact rational shares, then largest remainders (ties to the lower index).

    Guarantee: each entry is within one quantum of its real-valued share after lifting.

    Raises:
        InvalidInput: for negative or non-finite variances, a total that is no multiple of the
            quantum or too small for the minimum of every task.

    Source: FedAST (arXiv 2406.00302), reallocation; the program behind it is our reconstruction.

    Example:
        >>> request_allocation([1.0, 4.0, 16.0], 84)
        array([ 4, 16, 64])
        >>> request_allocation([1.0, 4.0, 16.0], 84, objective="sum_of_variances")
        array([12, 24, 48])
    """
    variance = checks.nonnegative_vector("heterogeneity", heterogeneity)
    if variance.ndim != 1:
        raise InvalidInput("heterogeneity", f"array of shape {variance.shape}", "of shape (S,)")
    kind = checks.choice("objective", objective, OBJECTIVES)
    unit = checks.count("quantum", quantum, 1)
    units, rest = divmod(checks.count("total", total, 0), unit)
    if rest:
        raise InvalidInput("total", total, f"a multiple of quantum = {unit}")
    least = -(-checks.count("minimum", minimum, 0) // unit)
    if units < least * len(variance):
        raise InvalidInput("total", total, f"at least {least * unit} for each task")
    shares = _lifted_shares([Fraction(x) for x in _scores(variance, kind)], units, least)
    return unit * _largest_remainders(shares, units)


def _scores(variance: Array, objective: str) -> list[float]:
    """What the shares are proportional to."""
    scaled = variance / (variance.max() or 1.0)
    if objective == "sum_of_variances":
        scaled = np.sqrt(scaled)
    if objective == "sum_of_deviations":
        scaled = np.cbrt(scaled)
    scores: list[float] = scaled.tolist()
    return scores


def _lifted_shares(scores: list[Fraction], units: int, least: int) -> list[Fraction]:
    """Proportional shares with a floor: lift what is below it and share the rest again."""
    free = set(range(len(scores)))
    while True:
        rest = units - least * (len(scores) - len(free))
        mass = sum((scores[k] for k in free), Fraction(0))
        share = {k: rest * (scores[k] / mass if mass else Fraction(1, len(free))) for k in free}
        low = {k for k in free if share[k] < least}
        if not low:
            return [share.get(k, Fraction(least)) for k in range(len(scores))]
        free -= low


def _largest_remainders(shares: list[Fraction], units: int) -> Ints:
    """Round down, then give the missing units to the largest remainders."""
    whole = [share.numerator // share.denominator for share in shares]
    order = sorted(range(len(shares)), key=lambda k: (whole[k] - shares[k], k))
    for k in order[: units - sum(whole)]:
        whole[k] += 1
    return np.array(whole, dtype=np.int64)


def reference_request_allocation(scores: ArrayLike, requests: ArrayLike, quantum: int) -> Ints:
    """The greedy reallocation as released with FedAST, for comparison.

    Every unfinished task (requests > 0) first receives one quantum. Its priority is the floor of
    its proportional share minus that quantum; while requests remain, the first task of largest
    priority gets a quantum and its priority falls by one.

    The total **overshoots** that of `requests` by up to quantum - 1 if it is no multiple of the
    quantum; `request_allocation` is the clean version.

    Args:
        scores: >= 0, (S,); those of finished tasks are ignored.
        requests: Present requests, (S,) whole numbers, 0 for a finished task.
        quantum: The ratio of requests to buffer size, >= 1.

    Example:
        >>> reference_request_allocation([1.0, 2.0, 3.0], [34, 33, 33], 8)  # 104, not 100
        array([16, 32, 56])
    """
    now = _whole_numbers(requests)
    score = checks.nonnegative_vector("scores", scores, len(now))
    unit = checks.count("quantum", quantum, 1)
    open_task = now > 0
    total = int(now.sum())
    score = np.where(open_task, score, 0.0)
    mass = score.sum()
    share = score / mass if mass > 0.0 else open_task / max(open_task.sum(), 1)
    priority = np.where(open_task, np.floor(total * share) - unit, -np.inf)
    result = np.where(open_task, unit, 0).astype(np.int64)
    while result.sum() < total:
        first = int(np.argmax(priority))
        result[first] += unit
        priority[first] -= unit
    return result


def _whole_numbers(requests: ArrayLike) -> NDArray[np.int64]:
    """Requests as integers >= 0."""
    array = checks.nonnegative_vector("requests", requests)
    checks.all_where("requests", array, array == np.floor(array), "whole numbers")
    if array.ndim != 1:
        raise InvalidInput("requests", f"array of shape {array.shape}", "of shape (S,)")
    return array.astype(np.int64)
