"""Rates with 50 digits: Newton's method in mpmath on the links that given prices call full."""

from __future__ import annotations

import mpmath
import numpy as np


def exact_rates(R, c, alpha, priority, prices, digits=50, steps=8):
    """Rates at which the full links are exactly full, from prices near the optimum."""
    full = np.flatnonzero(prices > 0.0)
    columns = [np.flatnonzero(R[full, i]) for i in range(R.shape[1])]
    with mpmath.workdps(digits):
        w = [mpmath.mpf(float(p)) for p in priority]
        lam = [mpmath.mpf(float(prices[l])) for l in full]
        limit = [mpmath.mpf(float(c[l])) for l in full]
        A = [[mpmath.mpf(float(R[full[l], i])) for l in column] for i, column in enumerate(columns)]
        a = mpmath.mpf(float(alpha))
        for _ in range(steps):
            x, load, H = _response(A, columns, w, lam, a)
            delta = _solve(H, [u - v for u, v in zip(load, limit, strict=True)])
            lam = [old + delta[k] for k, old in enumerate(lam)]
        x, load, _ = _response(A, columns, w, lam, a)
        worst = max(abs(u / v - 1) for u, v in zip(load, limit, strict=True))
        assert worst < mpmath.mpf(10) ** (-digits // 2)
        return x


def _response(A, columns, w, lam, a):
    m = len(lam)
    load, H, x = [mpmath.mpf(0)] * m, mpmath.zeros(m, m), []
    for entries, column, p in zip(A, columns, w, strict=True):
        q = sum((e * lam[l] for e, l in zip(entries, column, strict=True)), mpmath.mpf(0))
        rate = (p / q) ** (1 / a)
        x.append(rate)
        for e, l in zip(entries, column, strict=True):
            load[l] += e * rate
            for f, k in zip(entries, column, strict=True):
                H[l, k] += e * f * rate / (a * q)
    return x, load, H


def _solve(H, right):
    """Scaled to a unit diagonal: prices of one problem differ by many decades."""
    m = len(right)
    unit = [1 / mpmath.sqrt(H[k, k]) for k in range(m)]
    scaled = mpmath.matrix([[unit[k] * H[k, l] * unit[l] for l in range(m)] for k in range(m)])
    found = mpmath.lu_solve(
        scaled, mpmath.matrix([u * r for u, r in zip(unit, right, strict=True)])
    )
    return [u * f for u, f in zip(unit, found, strict=True)]
