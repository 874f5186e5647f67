"""FedHCA2's attention between updates: its formula, and what it does to small and large ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fairopt import cross_attention_weights
from fairopt.arrays import Array
from proofs.claim import IDENTITY, LIMIT, OWN, Claim, Evidence
from proofs.federated.personalisation import DIGITS, FEDHCA2, SEED

Attention = Callable[[Array, int], Array]


def uniform_for_small_updates(attention: Attention, deep: bool) -> str | None:
    """Updates times t: weights are within t^2 max |A| / sqrt(d) of 1 / K; rows sum to one."""
    rng = np.random.default_rng(SEED)
    for _ in range(200 if deep else 20):
        K, D = int(rng.integers(2, 9)), int(rng.integers(1, 60))
        X = rng.normal(size=(K, D))
        A = X @ X.T
        for t in (1e-1, 1e-2, 1e-3):
            spread = np.ptp(t * t * A, axis=1).max() / np.sqrt(D)
            weights = attention(t * t * A, D)
            if not np.abs(weights.sum(axis=1) - 1.0).max() <= 1e-12:
                return f"K {K}, scale {t}: rows sum to {weights.sum(axis=1)}"
            off = np.abs(weights - 1.0 / K).max()
            if not off <= np.expm1(spread) + 1e-15:
                return f"K {K}, scale {t}: {off:.1e} from uniform, bound {np.expm1(spread):.1e}"
    return None


def selfish_for_large_updates(attention: Attention, deep: bool) -> str | None:
    """Updates of equal length times 1e3: every decoder keeps to itself."""
    rng = np.random.default_rng(SEED)
    for _ in range(200 if deep else 20):
        X = rng.normal(size=(4, 30))
        X = X / np.linalg.norm(X, axis=1, keepdims=True)
        off = np.abs(attention(1e6 * X @ X.T, 30) - np.eye(4)).max()
        if not off <= 1e-9:
            return f"{off:.1e} from the identity"
    return None


def attention_by_the_formula(attention: Attention, deep: bool) -> str | None:
    """Log-odds of any two weights are the difference of the products over sqrt(d)."""
    rng = np.random.default_rng(SEED)
    for _ in range(200 if deep else 20):
        K, D = int(rng.integers(2, 9)), int(rng.integers(1, 60))
        X = rng.normal(size=(K, D)) / D**0.25
        A = X @ X.T
        odds = np.log(attention(A, D))
        off = np.abs((odds - odds[:, :1]) - (A - A[:, :1]) / np.sqrt(D)).max()
        if not off <= DIGITS:
            return f"K {K}, d {D}: log-odds are off by {off:.1e}"
    return None


def normalised_attention(gram: Array, dimension: int) -> Array:
    """Attention between updates of unit length: free of scale, never uniform."""
    d = np.sqrt(np.diagonal(gram))
    return cross_attention_weights(gram / np.outer(d, d), 1)


def unscaled(gram: Array, dimension: int) -> Array:
    """Attention that forgets to divide by sqrt(d)."""
    return cross_attention_weights(gram, dimension, temperature=1.0)


CLAIMS = (
    Claim(
        "attention-of-small-updates-is-uniform",
        "attention between small updates is uniform: their mean is added, whichever of them agree",
        r"\lvert a_{ij} - 1/K \rvert \le e^{t^2 \max_i \mathrm{range}_j A_{ij}/\sqrt d} - 1 \to 0",
        f"{OWN}; {FEDHCA2}, hyper cross attention",
        LIMIT,
        "updates scaled by 0.1, 0.01, 0.001",
        "20 sets of up to 8 updates",
        "200 sets of up to 8 updates",
        uniform_for_small_updates,
        cross_attention_weights,
        normalised_attention,
        (
            Evidence(
                "updates scaled by 1000",
                selfish_for_large_updates,
                cross_attention_weights,
                normalised_attention,
            ),
        ),
    ),
    Claim(
        "attention-log-odds",
        "log-odds of attention weights are differences of inner products over the square root of "
        "the dimension",
        r"\log a_{ij} - \log a_{ik} = (\langle x_i, x_j\rangle - \langle x_i, x_k\rangle)/\sqrt d",
        f"{FEDHCA2}, hyper cross attention",
        IDENTITY,
        "random updates",
        "20 sets of up to 8 updates",
        "200 sets of up to 8 updates",
        attention_by_the_formula,
        cross_attention_weights,
        unscaled,
    ),
)
