"""How many requests each task keeps in flight (FedAST): integers that sum exactly."""

from __future__ import annotations

import math
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairopt import checks
from fairopt.apportionment.largest_remainder import largest_remainder
from fairopt.apportionment.marginal_greedy import exact_optimum
from fairopt.arrays import Array, Ints
from fairopt.errors import InvalidInput

DEGREES = MappingProxyType({"equal_error": 1, "sum_of_variances": 2, "sum_of_deviations": 3})
"""Real-valued optimal requests are proportional to this root of the variances."""
ROUNDINGS = ("exact", "largest-remainder")
LARGEST_TOTAL = 2**63 - 1  # of an int64


def request_allocation(
    heterogeneity: ArrayLike,
    total: int,
    *,
    objective: str = "equal_error",
    quantum: int = 1,
    minimum: int = 1,
    rounding: str = "exact",
) -> Ints:
    r"""Integer requests per task, more for tasks whose clients disagree more.

    Problem: task m averages r_m updates of variance :math:`\sigma_m^2`, which leaves an error of
    about :math:`\sigma_m^2 / r_m`. Over multiples r_m of `quantum` with r_m >= `minimum` and
    :math:`\sum_m r_m` = `total`,

    * ``equal_error``: the least :math:`\max_m \sigma_m^2 / r_m`, then the least of the next
      largest, and so on (:math:`r_m \propto \sigma_m^2`);
    * ``sum_of_variances``: the least :math:`\sum_m \sigma_m^2 / r_m`
      (:math:`r_m \propto \sigma_m`);
    * ``sum_of_deviations``: the least :math:`\sum_m \sigma_m / \sqrt{r_m}`
      (:math:`r_m \propto \sigma_m^{2/3}`)

    (in brackets the real-valued optimum without a minimum). With minimum = 0 a task without
    requests has an error larger than any other, more for a larger variance: the limit of
    :math:`\sigma_m^2 / \epsilon`. Of several optima that with more requests for lower indices.

    Args:
        heterogeneity: Variances s2 >= 0, (S,), any unit; each float counts as its exact value. A
            task of variance zero gets the minimum; where all are zero, all count as equal.
        total: Requests to share, a multiple of quantum.
        objective: One of the three.
        quantum: Every entry is a multiple of it (for buffers of a fixed ratio).
        minimum: Least requests of a task.
        rounding: "exact", the integer optimum, or "largest-remainder": the real-valued optimum,
            where tasks below the minimum are lifted and the rest is shared again, rounded down, and
            the missing quanta to the largest remainders, ties to the lower index. It is near the
            shares but not optimal: see the example.

    Returns:
        (S,) int64, sum exactly `total`, every entry a multiple of `quantum` and >= `minimum`.

    Method: quanta to the task that gains most (`fairopt.apportionment.marginal_greedy`), from a
    start near the end: the time does not grow with the total. All decisions compare integers, roots
    by squaring (`largest-remainder`: by intervals that are narrowed until they decide).

    Guarantee: "exact" is optimal for the variances as given, one more quantum in the total goes to
    one task and takes from nobody, and r_m <= r_n + quantum where s2_m <= s2_n. Its entries can be
    far from the shares: many small tasks that all need a second request take them from a large one.
    "largest-remainder" is within one quantum of the share after lifting.

    Raises:
        InvalidInput: for negative or non-finite variances, a total that is no multiple of the
            quantum, too small for the minimum of every task, or above 2^63 - 1.

    Source: FedAST (arXiv 2406.00302), reallocation; the programme behind it is our reconstruction.
    As divisor methods of apportionment "equal_error" is that of Adams and "sum_of_variances", in
    standard deviations, that of Huntington and Hill.

    Example:
        >>> request_allocation([1.0, 4.0, 16.0], 84)
        array([ 4, 16, 64])
        >>> request_allocation([1.0, 4.0, 16.0], 84, objective="sum_of_variances")
        array([12, 24, 48])
        >>> request_allocation([3.0, 26.0, 1.0], 14)  # largest error 26 / 11 = 2.36
        array([ 2, 11,  1])
        >>> request_allocation([3.0, 26.0, 1.0], 14, rounding="largest-remainder")  # 3 / 1
        array([ 1, 12,  1])
    """
    variance = checks.nonnegative_vector("heterogeneity", heterogeneity)
    if variance.ndim != 1:
        raise InvalidInput("heterogeneity", f"array of shape {variance.shape}", "of shape (S,)")
    degree = DEGREES[checks.choice("objective", objective, tuple(DEGREES))]
    exact = checks.choice("rounding", rounding, ROUNDINGS) == "exact"
    unit = checks.count("quantum", quantum, 1)
    units, rest = divmod(checks.count("total", total, 0), unit)
    if rest:
        raise InvalidInput("total", total, f"a multiple of quantum = {unit}")
    least = -(-checks.count("minimum", minimum, 0) // unit)
    if units < least * len(variance):
        raise InvalidInput("total", total, f"at least {least * unit} for each task")
    if units * unit > LARGEST_TOTAL:
        raise InvalidInput("total", total, "below 2^63")
    share = exact_optimum if exact else largest_remainder
    counts = share(_whole_multiples(variance), degree, units, least)
    return np.array([unit * n for n in counts], dtype=np.int64)


def _whole_multiples(variance: Array) -> list[int]:
    """Whole numbers in exactly the same proportions; ones if there is nothing."""
    if not variance.any():
        return [1] * len(variance)
    ratios = [x.as_integer_ratio() for x in variance.tolist()]
    unit = max(denominator for _, denominator in ratios)  # a power of two, like all of them
    whole = [numerator * (unit // denominator) for numerator, denominator in ratios]
    common = math.gcd(*whole)
    return [n // common for n in whole]


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
