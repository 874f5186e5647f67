"""Seventeen families of gradients on which a solver that trusts its Gram matrix goes wrong.

Every family maps (K, rng) to (K, D) float64 gradients. None is special by name: they are what
training produces (few examples, dead units, opposite heads, copies, units), made extreme.
"""

from __future__ import annotations

import numpy as np


def lowrank(K, rng):
    """More tasks than dimensions."""
    return rng.normal(size=(K, int(rng.integers(1, max(2, K - 1)))))


def near(K, rng):
    """A convex combination nearly vanishes, by 1e-1 to 1e-13."""
    G = rng.normal(size=(K, K + 2))
    v = rng.dirichlet(np.ones(K))
    G[-1] = -(v[:-1] @ G[:-1]) / max(v[-1], 0.02)
    return G + 10.0 ** rng.uniform(-13, -1) * rng.normal(size=G.shape)


def anti(K, rng):
    """A nearly opposite pair among others."""
    G = rng.normal(size=(K, K + 1))
    noise = 10.0 ** rng.uniform(-12, 0)
    G[1] = -G[0] * 10.0 ** rng.uniform(-3, 3) + noise * rng.normal(size=K + 1)
    return G


def dup(K, rng):
    """Nearly equal tasks."""
    G = rng.normal(size=(K, K + 1))
    G[1] = G[0] + 10.0 ** rng.uniform(-15, -2) * rng.normal(size=K + 1)
    return G


def simplexish(K, rng):
    """Corners of a simplex, lifted a little: all conflict with all."""
    G = np.eye(K) - 1.0 / K
    return np.hstack([G, np.full((K, 1), 10.0 ** rng.uniform(-9, 0))])


def nearparallel(K, rng):
    """All within 1e-9 to 1 of one direction."""
    G = rng.normal(size=(K, K + 1))
    return G[:1] + 10.0 ** rng.uniform(-9, 0) * G


def random(K, rng):
    """Nothing special."""
    return rng.normal(size=(K, int(rng.integers(1, 2 * K + 2))))


def ill(K, rng):
    """Singular values over eight decades."""
    U, _ = np.linalg.qr(rng.normal(size=(K, K)))
    V, _ = np.linalg.qr(rng.normal(size=(K, K)))
    return (U * 10.0 ** rng.uniform(-8, 0, K)) @ V


def f32rank(K, rng):
    """Rank-deficient up to the rounding of float32."""
    rank = max(1, K // 2)
    G = rng.normal(size=(K, rank)) @ rng.normal(size=(rank, K + 2))
    return G.astype(np.float32).astype(np.float64)


def opposite(K, rng):
    """Two exactly opposite tasks and others."""
    G = rng.normal(size=(K, K + 1))
    G[1] = -2.0 * G[0]
    return G


def copies(K, rng):
    """Exact copies in other units."""
    G = rng.normal(size=((K + 1) // 2, K + 1))
    return np.concatenate([G, 2.0 * G])[:K]


def integer(K, rng):
    """Small whole numbers: ties and exact dependence."""
    G = rng.integers(-2, 3, size=(K, int(rng.integers(1, K + 2)))).astype(float)
    G[~G.any(axis=1), 0] = 1.0
    return G


def many(K, rng):
    """Positive-mean tasks in few dimensions: many constraints touch."""
    D = int(rng.integers(2, 4))
    G = rng.normal(size=(K, D))
    G[:, 0] = np.abs(G[:, 0]) * 10.0 ** rng.uniform(-6, 0)
    return G


def thin(K, rng):
    """A cone of directions that is only 1e-12 to 1e-1 wide."""
    G = rng.normal(size=(K, K))
    G[:, 0] = 0.0
    G -= G.mean(axis=0)
    G[:, 0] = 10.0 ** rng.uniform(-12, -1)
    return G


def stationary_face(K, rng):
    """Some tasks cancel each other (to rounding), the others do not."""
    G = rng.normal(size=(K, K + 1))
    m = int(rng.integers(2, K + 1))
    v = rng.dirichlet(np.ones(m))
    G[m - 1] = -(v[:-1] @ G[: m - 1]) / max(v[-1], 0.02)
    return G


def centred(K, rng):
    """The mean gradient vanishes up to rounding."""
    G = rng.normal(size=(K, K + 1))
    return G - G.mean(axis=0)


def scales(K, rng):
    """Lengths over sixteen decades."""
    return rng.normal(size=(K, K + 1)) * 10.0 ** rng.uniform(-8, 8, size=(K, 1))


FAMILIES = {
    family.__name__: family
    for family in (
        lowrank,
        near,
        anti,
        dup,
        simplexish,
        nearparallel,
        random,
        ill,
        f32rank,
        opposite,
        copies,
        integer,
        many,
        thin,
        stationary_face,
        centred,
        scales,
    )
}


def reference(K, rng):
    """The mean, one task, or anything."""
    kind = int(rng.integers(0, 3))
    if kind == 0:
        return np.full(K, 1.0 / K)
    if kind == 1:
        return np.eye(K)[int(rng.integers(0, K))]
    return rng.normal(size=K)
