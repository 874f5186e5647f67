"""Named properties that several methods share; a test says which ones its method claims.

`solve` is a function from a Gram matrix to a `Solution`. Tolerances are relative.
"""

from __future__ import annotations

import numpy as np

SMALLEST_LOG = 745.0  # minus the log of the smallest float64
SAME_DIGITS = 1e-9  # the scaling law of the design: same digits after scaling by 1e-6 or 1e6


def gram(gradients):
    return gradients @ gradients.T


def unit(vector):
    return vector / np.linalg.norm(vector)


def permutation_equivariance(solve, A, order, rtol=1e-8):
    """Renumbering the tasks renumbers the weights."""
    inner = solve(A).weights
    outer = solve(A[np.ix_(order, order)]).weights
    np.testing.assert_allclose(outer, inner[order], rtol=rtol, atol=rtol * np.abs(inner).max())


def scale_equivariance(solve, A, factor, exponent, rtol=SAME_DIGITS):
    """Gradients times factor multiply the weights by factor^exponent."""
    plain = solve(A).weights
    scaled = solve(A * factor * factor).weights / factor**exponent
    np.testing.assert_allclose(scaled, plain, rtol=rtol, atol=rtol * np.abs(plain).max())


def common_descent(solve, gradients, slack=0.0):
    """The direction makes progress on every task (up to slack, relative to the lengths)."""
    d = solve(gram(gradients)).weights @ gradients
    scale = np.linalg.norm(gradients, axis=1) * np.linalg.norm(d)
    assert (gradients @ d >= -slack * scale).all()


def duplicated_tasks_share(solve, gradients, rtol=1e-7):
    """A task that appears twice gets the same weight twice."""
    doubled = np.concatenate([gradients, gradients])
    w = solve(gram(doubled)).weights
    K = len(gradients)
    np.testing.assert_allclose(w[:K], w[K:], rtol=rtol, atol=rtol * np.abs(w).max())


def batch_agrees_with_loop(solve, batch):
    """A batch gives what its members give alone, bit for bit."""
    together = solve(batch)
    for index in np.ndindex(batch.shape[:-2]):
        alone = solve(batch[index])
        np.testing.assert_array_equal(together.weights[index], alone.weights)
        assert together.status[index] == alone.status
        assert together.residual[index] == alone.residual


def input_is_untouched(solve, A):
    """The caller's array is read only."""
    kept = A.copy()
    A.setflags(write=False)
    solve(A)
    np.testing.assert_array_equal(A, kept)


def certificate_is_valid(gradients, v, bound=1e-6):
    """Convex, and the combination of the gradients vanishes relative to its terms."""
    assert (v >= 0.0).all()
    assert abs(v.sum() - 1.0) < 1e-12
    total = np.abs(v @ gradients).max()
    assert total <= bound * max((v * np.abs(gradients).max(axis=1)).max(), 1e-300)


def explained(A, solution):
    """What rounding of FairGrad weights does to the residual: 8 (K + 4 + logs) half-ulp floors.

    Newton accepts a backward error of 4 K eps, and powers computed by logarithms lose half an ulp
    for each unit of |log w| + |log A_ii|.
    """
    w = solution.weights
    with np.errstate(divide="ignore"):
        logs = np.where(w > 0.0, np.abs(np.log(w)), SMALLEST_LOG)
        logs = logs + np.abs(np.log(np.diagonal(A, axis1=-2, axis2=-1)))
    with np.errstate(invalid="ignore"):
        return 8.0 * (A.shape[-1] + 4.0 + logs.max(axis=-1)) * solution.floor


def ok_is_confirmed(solution, residual, tol, slack):
    """OPTIMAL is confirmed by an independent residual, ok is explained, no residual is too small.

    `slack` is what rounding explains; problems called stationary or out of range have no weights.
    """
    status = np.asarray(solution.status)
    slack = np.broadcast_to(slack, status.shape)
    assert (residual[status == 0] <= 1.000001 * tol).all()
    limited = status == 7
    assert (residual[limited] <= np.maximum(tol, slack[limited])).all()
    weighed = np.isin(status, (0, 2, 3, 7))
    assert (residual <= solution.residual + slack + 1e-12)[weighed].all()


def capacities_scale_rates(rates, R, c, alpha, w, factor, rtol=SAME_DIGITS):
    """All capacities times a factor: all rates times it."""
    plain = rates(R, c, alpha, w)
    np.testing.assert_allclose(rates(R, factor * c, alpha, w), factor * plain, rtol=rtol)


def priorities_have_no_unit(rates, R, c, alpha, w, factor, rtol=SAME_DIGITS):
    """All priorities times a factor: the same rates."""
    plain = rates(R, c, alpha, w)
    np.testing.assert_allclose(rates(R, c, alpha, factor * w), plain, rtol=rtol)


def rows_have_units(rates, R, c, alpha, w, rng, rtol=SAME_DIGITS):
    """A link measured in another unit, capacity and coefficients alike: the same rates."""
    from scipy import sparse

    unit = 10.0 ** rng.uniform(-3.0, 3.0, len(c))
    plain = rates(R, c, alpha, w)
    scaled = sparse.diags_array(unit) @ R
    np.testing.assert_allclose(rates(scaled, unit * c, alpha, w), plain, rtol=rtol)


def priority_is_monotone(rates, R, c, w, alpha, flow, rtol=SAME_DIGITS):
    """A flow whose priority grows never gets less."""
    more = w.copy()
    more[flow] *= 1.7
    before, after = rates(R, c, alpha, w)[flow], rates(R, c, alpha, more)[flow]
    assert after >= before * (1.0 - rtol)


def duplicated_flow_splits(rates, R, c, alpha, w, flow, rtol=1e-8):
    """Two flows of priority p / 2^alpha on one path get what one of priority p gets, half each."""
    plain = rates(R, c, alpha, w)
    half = w.copy()
    half[flow] /= 2.0**alpha
    split = rates(np.column_stack([R, R[:, flow]]), c, alpha, np.append(half, half[flow]))
    expected = np.append(plain, plain[flow])
    expected[[flow, -1]] /= 2.0
    np.testing.assert_allclose(split, expected, rtol=rtol)


def has_bottlenecks(R, c, x, rtol=SAME_DIGITS):
    """Every flow uses a full link on which no flow has more: max-min fairness."""
    full = R @ x >= c * (1.0 - rtol)
    most = np.where(R > 0.0, x, 0.0).max(axis=1)
    for i in range(len(x)):
        assert (full & (R[:, i] > 0.0) & (most <= x[i] * (1.0 + rtol))).any(), i
