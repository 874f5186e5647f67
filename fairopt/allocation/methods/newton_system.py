"""The linear systems of Newton's method on link prices: a sparse Gram matrix and its factor."""

from __future__ import annotations

from typing import Any

import numpy as np

from fairopt.allocation.methods.demand import Demand
from fairopt.allocation.presolve.scaled import Scaled
from fairopt.arrays import Array
from fairopt.blas_threads import one_thread

RIDGE = 1e-14  # of the unit diagonal: keeps the factorisation of a singular matrix alive
CG_TOLERANCE = 1e-12  # relative: Newton's own error is squared, the last step must be exact
CG_STEPS = 500


def normal_matrix(scaled: Scaled, K: Array, active: Any, scale: Array) -> Array:
    """The lower triangle of diag(scale) A diag(K) A' diag(scale) over the active links."""
    from fairopt.kernels.network import normal_matrix as kernel

    place = np.full(scaled.links, scaled.links, dtype=np.uint32)
    place[active] = np.arange(len(active))
    return np.asarray(kernel.normal_matrix(*scaled.rows, K, place, scale))


def normal_diagonal(scaled: Scaled, demand: Demand) -> Array:
    """The diagonal of A diag(y / (alpha q)) A' over the flows that no bound holds."""
    from fairopt.kernels.network import normal_matrix as kernel

    of = demand.free, demand.flow_price, demand.rates, demand.prices
    return np.asarray(kernel.normal_diagonal(*scaled.rows, scaled.alpha, *of))


def normal_product(scaled: Scaled, K: Array, vector: Array) -> Array:
    """A diag(K) A' times a vector, in one pass."""
    from fairopt.kernels.network import normal_matrix as kernel

    return np.asarray(kernel.normal_product(*scaled.rows, K, vector))


def factorised_solve(H: Array, target: Array) -> Array:
    """H^-1 target for a positive definite lower triangle (overwritten); NaN if it is not."""
    with one_thread(len(H)):
        factor = cholesky(H)
        return np.full(len(target), np.nan) if factor is None else cholesky_solve(factor, target)


def cholesky(H: Array) -> Any:
    """The factor of a lower triangle, which is overwritten; None if it is not positive definite."""
    from scipy.linalg.lapack import dpotrf

    factor, failed = dpotrf(H.T, lower=0, clean=0, overwrite_a=1)  # no copy: H.T is by columns
    return None if failed else factor


def cholesky_solve(factor: Any, target: Array) -> Array:
    """H^-1 target from the factor of H."""
    from scipy.linalg.lapack import dpotrs

    return np.asarray(dpotrs(factor, target, lower=0)[0])


def conjugate_gradients(
    scaled: Scaled, K: Array, active: Any, barrier: Array, scale: Array, target: Array
) -> Array:
    """The Newton system for many links, without forming it."""
    from scipy.sparse.linalg import LinearOperator, cg

    rows = scaled.by_link[active]
    columns = rows.T.tocsr()
    added = scale * scale * barrier + RIDGE

    def times(v: Array) -> Array:
        return np.asarray(scale * (rows @ (K * (columns @ (scale * v)))) + added * v)

    operator = LinearOperator((len(active), len(active)), matvec=times, dtype=np.float64)
    found, _ = cg(operator, target, rtol=CG_TOLERANCE, maxiter=CG_STEPS)
    return np.asarray(found)
