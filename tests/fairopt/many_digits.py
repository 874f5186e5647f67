"""Reference implementation of FairGrad in hundreds of digits, for the matrix exactly as given."""

from __future__ import annotations

import mpmath as mp
import numpy as np

DIGITS = (120, 700)  # progress of 1e-474 of the terms that make it up occurs, but rarely
STEPS = 300
SETTLED = mp.mpf(10) ** -30  # relative change of every dominating variable


def exact_log_weights(A, alpha, p, start):
    """Log w with A w = (p / w)^(1/alpha), by Newton from float weights; None if it does not end.

    Every pair (v, t) = (d w, A w / d) stays on its curve; the dominating one moves linearly. What
    too few digits leave of a cancelling sum is noise, on which the steps do not settle; then all is
    done again with more.
    """
    found = (_with_digits(digits, A, alpha, p, start) for digits in DIGITS)
    return next((each for each in found if each is not None), None)


def _with_digits(digits, A, alpha, p, start):
    """Log w from steps in so many digits; None if they do not settle."""
    with mp.workdps(digits):
        K = len(A)
        S = mp.matrix(A.tolist())
        S = (S + S.T) / 2
        d = [mp.sqrt(S[i, i]) for i in range(K)]
        C = mp.matrix(K, K)
        for i in range(K):
            for j in range(K):
                C[i, j] = S[i, j] / d[i] / d[j]
        theta = mp.mpf(float(alpha)) / (1 + mp.mpf(float(alpha)))
        beta = [
            (1 - theta) * mp.log(mp.mpf(float(p[i]))) + (1 - 2 * theta) * mp.log(d[i])
            for i in range(K)
        ]
        x, tau = _start(C, beta, theta, start, d)
        for _ in range(STEPS):
            change = _step(C, beta, theta, x, tau)
            if change is None or change < SETTLED:
                break
        if change is None or not change < SETTLED:
            return None
        return np.array([float(x[i] - mp.log(d[i])) for i in range(K)])


def _start(C, beta, theta, start, d):
    """Old weights on their curves where there are any, else exact for orthogonal tasks."""
    K, om = len(beta), 1 - theta
    x, tau = [], []
    if all(w > 0.0 for w in start):
        x = [mp.log(mp.mpf(float(start[i]))) + mp.log(d[i]) for i in range(K)]
        t = C * mp.matrix([mp.exp(value) for value in x])
        for i in range(K):
            tau.append((beta[i] - om * x[i]) / theta)
            if t[i] > 0 and mp.log(t[i]) + mp.log(om / theta) > x[i]:
                tau[i] = mp.log(t[i])
                x[i] = (beta[i] - theta * tau[i]) / om
        return x, tau
    for i in range(K):
        log_q = mp.log(sum(max(C[i, j], 0) for j in range(K)))
        x.append(beta[i] - theta * log_q)
        tau.append(x[i] + log_q)
    return x, tau


def _step(C, beta, theta, x, tau):
    """One Newton step in place; the largest relative change, None if it is not possible."""
    K, om, lc = len(beta), 1 - theta, mp.log((1 - theta) / theta)
    v = mp.matrix([mp.exp(value) for value in x])
    t = [mp.exp(value) for value in tau]
    rp = C * v - mp.matrix(t)
    gamma = [1 / mp.sqrt(theta + om * t[i] / v[i]) for i in range(K)]
    H = mp.matrix(K, K)
    for i in range(K):
        for j in range(K):
            H[i, j] = theta * gamma[i] * gamma[j] * C[i, j] if i != j else 1
    try:
        y = mp.lu_solve(H, mp.matrix([-theta * gamma[i] * rp[i] for i in range(K)]))
    except ZeroDivisionError:
        return None
    dv = mp.matrix([gamma[i] * y[i] for i in range(K)])
    dt = C * dv + rp
    largest = mp.mpf(0)
    for i in range(K):
        gap = tau[i] + lc - x[i]
        if gap > 1 or (gap >= -1 and dv[i] < 0):
            largest = max(largest, abs(dt[i]) / t[i])
            tau[i] = _moved(t[i], dt[i], tau[i], beta[i] - om * lc if gap > 1 else tau[i] - 0.5)
            x[i] = (beta[i] - theta * tau[i]) / om
        else:
            largest = max(largest, abs(dv[i]) / v[i])
            x[i] = _moved(v[i], dv[i], x[i], beta[i] + theta * lc if gap < -1 else x[i] - 0.5)
            tau[i] = (beta[i] - om * x[i]) / theta
    return largest


def _moved(value, change, now, stop):
    """Log of value + change; where it falls, not below the corner."""
    lower = min(stop, now) if change < 0 else mp.ninf
    return max(mp.log(value + change), lower) if value + change > 0 else lower
