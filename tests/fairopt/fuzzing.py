"""Random Gram matrices that try to break a solver: degenerate gradients, norms over 300 decades."""

from __future__ import annotations

import numpy as np

ALPHAS = (0.0, 1e-3, 0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 200.0, np.inf)
DECADES = (0, 0, 3, 12, 40, 149)
KINDS = 9


def gradients(kind, K, count, rng):
    """(count, K, D) gradients of one kind."""
    D = int(rng.integers(1, 2 * K + 3))
    G = rng.normal(size=(count, K, D))
    if kind == 0:
        G = G + 3.0 * rng.normal(size=(count, 1, 1)) * rng.normal(size=(count, 1, D))
    if kind == 1:  # nearly stationary
        margin = 10.0 ** rng.uniform(-9.0, 0.0, size=(count, 1, 1))
        G = G - G.mean(axis=1, keepdims=True) + margin * rng.normal(size=(count, 1, D))
    if kind == 2 and K > 1:  # a nearly opposite pair
        scale, noise = (
            10.0 ** rng.uniform(-3, 3, (count, 1)),
            10.0 ** rng.uniform(-12, 0, (count, 1)),
        )
        G[:, 1] = -G[:, 0] * scale + noise * rng.normal(size=(count, D))
    if kind == 3:
        G = np.round(2.0 * G)
    if kind == 4:  # duplicated
        index = rng.integers(0, K, size=(count, K))
        G = np.take_along_axis(G, index[..., None], axis=1)
    if kind == 5:
        G = np.abs(G)
    if kind == 6:  # one ray
        G = np.abs(rng.normal(size=(count, K, 1))) * G[:, :1]
    if kind == 7:  # nearly parallel
        G = G[:, :1] + 10.0 ** rng.uniform(-9.0, 0.0, size=(count, 1, 1)) * G
    return G


def gram_batch(K, count, rng):
    """(count, K, K) finite Gram matrices with entries over up to 1e-300..1e300."""
    G = gradients(int(rng.integers(0, KINDS)), K, count, rng)
    decades = int(rng.choice(DECADES))
    spread = 10.0 ** rng.uniform(-decades, decades, size=(count, K, 1))
    if rng.random() < 0.3:
        spread = spread[:, :1]
    with np.errstate(all="ignore"):
        G = G * spread
        A = G @ np.swapaxes(G, -1, -2)
    A = 0.5 * (A + np.swapaxes(A, -1, -2))
    return A[np.isfinite(A).all(axis=(1, 2))]
