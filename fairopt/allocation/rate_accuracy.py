r"""Rates that float64 does not fix: of flows that fill next to nothing of a full link.

A load is known to its rounding. A flow with 1e-14 of a link can have twice the rate, or none, and
no load shows it, so prices that only such flows would notice are not known either. With relative
changes :math:`z_l = d\lambda_l / \lambda_l` of prices and the share :math:`S_{il}` that link l has
in the price of flow i, prices of flows change by S z, rates by -S z / alpha and loads by

.. math:: -\frac{1}{\alpha} N z, \qquad N_{lk} = \sum_i A_{li} y_i S_{ik} .

Changes below the errors of loads and of prices together, :math:`|N z| \le \delta`, are not seen.
They are no larger than what is paid, :math:`|z_l| \max_i S_{il} \le 1`, which keeps directions
harmless that move no flow's price. What such z do to the price of flow i is bounded in the sense of
least squares: the length of :math:`S_i` in :math:`(N'N / \delta^2 + D^2)^{-1}`, with D the largest
shares. That matrix is never formed: its condition is the square of one that float64 just holds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fairopt.allocation.method_result import MethodResult
from fairopt.allocation.presolve.scaled import Scaled
from fairopt.allocation.residual import Residuals
from fairopt.arrays import BoolArray, Ints

FAINT = 1e-9  # of a full link: rates with less of it are checked
ACCURATE = 1e-3  # relative: flows whose rate may be off by more are named
LOAD_ROUNDING = 1e-14  # relative error of a load
PRICE_ROUNDING = 4e-16  # relative error of a price
MOST_LINKS = 1000  # full links that are factored; beyond, every rate that is checked is named
ROWS = 4096  # flows at a time


def uncertain_flows(scaled: Scaled, found: MethodResult, residuals: Residuals) -> Ints:
    """Flows whose rates may be off by more than ACCURATE, at finite alpha > 0.

    Flows that a bound of their own holds have its rate. The first look costs one pass over the
    entries, and mostly finds nothing to check.
    """
    checked = ~np.isfinite(found.log_bound_prices)
    if residuals.stationarity <= ACCURATE * scaled.alpha:
        checked &= _faint(scaled, found)
    full = np.flatnonzero(np.isfinite(found.log_prices))
    if not checked.any() or len(full) > MOST_LINKS:
        return np.flatnonzero(checked)
    return _off(scaled, found, residuals, full, np.flatnonzero(checked))


def _faint(scaled: Scaled, found: MethodResult) -> BoolArray:
    """Flows that fill less than FAINT of a link with a price."""
    from fairopt.kernels.network.prices_and_loads import faint_flows

    priced = np.isfinite(found.log_prices)
    rates = np.ascontiguousarray(found.rates)
    return np.asarray(faint_flows(*scaled.rows, rates, priced, FAINT))


def _off(
    scaled: Scaled, found: MethodResult, residuals: Residuals, full: Ints, checked: Ints
) -> Ints:
    """Those of the checked flows whose rates may be off."""
    from scipy.linalg import qr, solve_triangular

    alpha = scaled.alpha
    load = max(residuals.feasibility, residuals.slackness, LOAD_ROUNDING)
    price = max(residuals.stationarity, PRICE_ROUNDING)
    share, part = _shares(scaled, found, full)
    largest = share.max(axis=0).toarray().ravel()
    kept = np.flatnonzero(largest > 0.0)
    share = share[:, kept] * (1.0 / largest[kept])
    seen = (part[:, kept].T @ share).toarray() / (load * alpha + price)
    R, order = qr(np.vstack([seen, np.eye(len(kept))]), mode="r", pivoting=True)
    inverse = solve_triangular(R[: len(kept)], np.eye(len(kept)))
    rows = share[checked][:, order]
    change = np.concatenate(
        [np.linalg.norm(rows[k : k + ROWS] @ inverse, axis=1) for k in range(0, len(checked), ROWS)]
    )
    off = (np.minimum(change, 1.0) + price) / alpha
    return np.asarray(checked[off > ACCURATE])


def _shares(scaled: Scaled, found: MethodResult, full: Ints) -> tuple[Any, Any]:
    """(flows, full links) shares of links in prices, and of flows that are free in loads."""
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        log_price = scaled.log_weight - scaled.alpha * np.log(found.rates)
        entry = scaled.log_entry + found.log_prices[scaled.link] - log_price[scaled.flow]
        free = np.where(np.isfinite(found.log_bound_prices), 0.0, found.rates)
        share, part = scaled.by_flow.copy(), scaled.by_flow.copy()
        share.data, part.data = np.exp(entry), part.data * free[scaled.flow]
    return share[:, full], part[:, full]
