"""Families of task gradients with a wanted property; rows are gradients."""

from __future__ import annotations

import numpy as np


def unit_rows(G):
    return G / np.linalg.norm(G, axis=1)[:, None]


def well(K, rng):
    return unit_rows(rng.normal(size=(K, 2 * K + 3)))


def ill(K, rng):
    """All within 1e-4 of one direction: condition number about 1e8."""
    G = rng.normal(size=(K, 2 * K + 3))
    return unit_rows(unit_rows(G)[:1] + 1e-4 * G)


def rank_deficient(K, rng):
    """Rank K / 2, in an open half space."""
    rank = max(1, K // 2)
    G = rng.normal(size=(K, rank))
    G[:, 0] = np.abs(G[:, 0]) + 0.3 * np.sqrt(rank)
    return unit_rows(G)


def duplicated(K, rng):
    half = well((K + 1) // 2, rng)
    return np.concatenate([half, half])[:K]


def conflicting(K, rng):
    """Two halves at a cosine of about -0.99."""
    sign = np.where(np.arange(K) % 2, -1.0, 1.0)[:, None]
    axis = well(1, rng)
    width = 2 * K + 3
    base = np.zeros((1, width))
    base[:, : axis.shape[1]] = axis[:, :width]
    return unit_rows(sign * base + 0.1 * unit_rows(rng.normal(size=(K, width))))


def half_plane(K, rng):
    G = rng.normal(size=(K, 2))
    G[:, 0] = np.abs(G[:, 0]) + 0.2
    return unit_rows(G)


def mixed_scale(K, rng):
    """Norms over 12 decades."""
    return well(K, rng) * 10.0 ** rng.uniform(-6.0, 6.0, size=(K, 1))


def tiny(K, rng):
    return well(K, rng) * 1e-140


def huge(K, rng):
    return well(K, rng) * 1e140


def near_stationary(K, rng, margin=1e-3):
    """Unit-like gradients whose min-norm point has about the length `margin`."""
    width = 2 * K + 3
    G = unit_rows(rng.normal(size=(K, width)))
    G = G - G.mean(axis=0)
    normal = rng.normal(size=width)
    normal -= np.linalg.lstsq(G, G @ normal, rcond=None)[0]
    return G + margin * normal / np.linalg.norm(normal)


def stationary(K, rng):
    """A random convex combination vanishes (up to rounding)."""
    G = rng.normal(size=(K, K + 2))
    v = rng.dirichlet(np.ones(K)) + 0.05
    G[-1] = -(v[:-1] @ G[:-1]) / v[-1]
    return G


SOLVABLE = {
    "well": well,
    "ill": ill,
    "rank_deficient": rank_deficient,
    "duplicated": duplicated,
    "conflicting": conflicting,
    "half_plane": half_plane,
    "mixed_scale": mixed_scale,
    "tiny": tiny,
    "huge": huge,
}
ALPHAS = (0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 200.0)
