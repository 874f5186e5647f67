"""Gradient Vaccine: pairs of gradients are turned towards the angles they usually have."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.arrays import Array
from fairopt.errors import InvalidInput
from fairopt.rivals.batches import Found, Problem, graded, solve_each
from fairopt.solution import Solution, Status


def gradient_vaccine(
    gram: ArrayLike,
    targets: ArrayLike,
    beta: float,
    rng: np.random.Generator,
    *,
    gram_error: float | ArrayLike | None = None,
) -> tuple[Solution, Array]:
    r"""Weights of GradVac, and the cosines it aims at from now on.

    Problem: none is solved; it is a procedure. With :math:`g_i' = g_i` at first, for every other
    task j in a random order and phi the cosine of g_i' and g_j: if phi is below the target
    :math:`\hat\phi_{ij}`,

    .. math:: g_i' \leftarrow g_i' + \frac{\|g_i'\| (\hat\phi \sqrt{1-\phi^2} - \phi
              \sqrt{1-\hat\phi^2})}{\|g_j\| \sqrt{1-\hat\phi^2}} \, g_j ,

    after which their cosine is the target; and in any case
    :math:`\hat\phi_{ij} \leftarrow (1-\beta) \hat\phi_{ij} + \beta \phi`. The direction is the sum
    of the g_i'. Targets of zero and beta = 0 make it PCGrad.

    Args:
        gram: (..., K, K), any unit.
        targets: Cosines to aim at in [-1, 1], of the shape of `gram`; zeros at the first step.
        beta: How fast targets follow, in [0, 1].
        rng: Draws the orders.
        gram_error: As in `fairopt.min_norm`.

    Returns:
        (solution, targets of the next step). The residual is the largest difference of a cosine
        from its target just after it was corrected.

    Method: on the cosines alone: row i of E holds the coefficients of g_i' / |g_i| for the unit
    gradients. A pair with a zero gradient has no cosine: it is skipped and keeps its target.

    Guarantee: OPTIMAL where every g_i' that met another gradient is longer than its rounding, else
    UNDECIDED. A target of one cannot be reached by a finite step: OUT_OF_RANGE, weights zero, and
    the targets move on. Gradients times a factor give the same weights.

    Raises:
        InvalidInput: as `fairopt.fairgrad`, or for other targets or beta.

    Source: Wang et al. (arXiv 2010.05874), algorithm 1: its update rule and moving average.

    Example:
        >>> import numpy as np
        >>> gram, rng = [[1.0, -0.5], [-0.5, 1.0]], np.random.default_rng(0)
        >>> solution, targets = gradient_vaccine(gram, np.zeros((2, 2)), 0.5, rng)
        >>> solution.weights, targets[0]
        (array([1.5, 1.5]), array([ 0.  , -0.25]))
    """
    A, _ = checks.gram_matrix(gram)
    decay = checks.number("beta", beta, 0.0, 1.0, "a number in [0, 1]")
    given = checks.real_array("targets", targets)
    if given.shape != A.shape:
        raise InvalidInput("targets", f"array of shape {given.shape}", f"of shape {A.shape}")
    checks.all_where("targets", given, (given >= -1.0) & (given <= 1.0), "cosines in [-1, 1]")
    if not isinstance(rng, np.random.Generator):
        raise InvalidInput("rng", rng, "a numpy.random.Generator")
    after = given.astype(np.float64, copy=True)

    def rule(given: Problem, index: tuple[int, ...]) -> Found:
        return _vaccinated(given, after[index], decay, rng)

    return solve_each(A, gram_error, rule), after


def _vaccinated(given: Problem, targets: Array, beta: float, rng: np.random.Generator) -> Found:
    """One problem; the targets are moved in place."""
    K = len(given.lengths)
    E = np.eye(K)
    vague, worst = False, 0.0
    for i in given.known:
        for j in rng.permutation(K):
            if j == i or given.lengths[j] == 0.0:
                continue
            cosine = _cosine(given, E[i], j)
            if np.isnan(cosine):
                vague = True
                continue
            if cosine < targets[i, j]:
                E[i, j] += _dose(_length(given, E[i]), cosine, targets[i, j])
                again = _cosine(given, E[i], j)
                vague |= bool(np.isnan(again))
                worst = max(worst, 0.0 if np.isnan(again) else abs(again - targets[i, j]))
            targets[i, j] += beta * (cosine - targets[i, j])
    return _weights(given, E), Status.UNDECIDED if vague else graded(worst), worst


def _weights(given: Problem, E: Array) -> Array:
    """What the sum of all rows is in the gradients as they are."""
    known = given.known
    weights = np.zeros(len(E))
    lengths = given.lengths[known] / given.lengths.max()
    weights[known] = lengths @ E[np.ix_(known, known)] / lengths
    return weights


def _length(given: Problem, e: Array) -> float:
    """Length of a combination of unit gradients; NaN where it is rounding."""
    square = float(e @ given.cosines @ e)
    return math.sqrt(square) if square > given.error * np.abs(e).sum() ** 2 else math.nan


def _cosine(given: Problem, e: Array, j: int) -> float:
    """The cosine of a combination and unit gradient j; NaN where it has no length."""
    cosine = float(e @ given.cosines[:, j]) / _length(given, e)
    return min(max(cosine, -1.0), 1.0) if cosine == cosine else math.nan


def _dose(length: float, cosine: float, target: float) -> float:
    """How much of the other unit gradient makes the cosine the target; inf for a target of one."""
    room = math.sqrt((1.0 - target) * (1.0 + target))
    part = target * math.sqrt((1.0 - cosine) * (1.0 + cosine)) - cosine * room
    return length * part / room if room else math.inf
