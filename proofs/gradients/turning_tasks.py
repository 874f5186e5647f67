"""Tasks that touch a projection, and gradients within an error of which these tasks turn.

A task touches a direction that it is nearly orthogonal to. Within the error of a Gram matrix all
tasks that touch may turn against the direction, or those that hold it towards it and the others
against it. Where a projection then goes far, a bound must have counted tasks outside of the support
and the products of the support with the repair.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fairopt.arrays import Array
from proofs.exact_algebra import Matrix
from proofs.gradients.degenerate import COARSE, STEPS, is_within, problems
from proofs.gradients.problems import SEED, exact_gram, unit

TOUCHES = 1e-3
"""Largest cosine of a task that touches; those of tasks that turn are below 1e-7, others near 1."""
HOLDS = 1e-6
"""Least share of the largest multiplier that is no rounding."""
DRAWS = 2
DEEP_DRAWS = 40
DEPTHS = (80.0, 160.0)
"""Squared distance of the touching tasks' hull from zero, in errors of the matrix: so much above it
that the repair is known well, so little that its products with the support count as its length."""
TIMES = 2.0
"""How far the projection goes, in lengths of the repair."""
SLANT = 0.95
"""Cosine between the repair and where the projection goes."""


def narrow(deep: bool) -> Iterator[tuple[str, Array, Array]]:
    """(name, gradients, reference) of the family `touching`."""
    for name, G, r in problems(deep):
        if name.startswith("touching "):
            yield name, G, r


def released(deep: bool) -> Iterator[tuple[str, Array, Array]]:
    r"""(name, gradients, reference): one task holds the projection, two others may take over.

    The tasks b (it holds, with multiplier x), a+ and a- (they take over, with mu together) and f+
    and f- (opposite but for what lifts all) touch the direction p; the reference is p - x b. With
    an error E and a repair e of length l = E / gamma along the lift, gamma^2 = depth E, gradients
    within the error have their projection at P = p + delta l u, where u has cosine c with e:

    .. math:: \lvert p - P\rvert^2 = X + c \lvert e\rvert \lvert p - P\rvert,\quad
        X = \sum_k x_k \langle h_k, p + e\rangle = 2 x E = (\delta^2 - c \delta) l^2 .

    That is 4 l^2 for delta = 2 and c = 0.95, more than X + |e|^2 = 3.1 l^2. The lemma of `repairs`
    allows 2 X + |e|^2 = 5.2 l^2.
    """
    for draw in range(DEEP_DRAWS if deep else DRAWS):
        rng = np.random.default_rng([SEED, draw])
        frame, _ = np.linalg.qr(rng.normal(size=(6, 6)))
        depth, along = float(rng.uniform(*DEPTHS)), TIMES * SLANT
        excess = 0.5 * TIMES * (TIMES - SLANT)  # X over 2 l^2
        x, lean = excess / depth, excess / (excess + along)
        lift, sine = np.sqrt(depth * COARSE), np.sqrt(1.0 - SLANT**2)
        hold, other = -(1.0 / TIMES + SLANT) / sine, (1.0 / TIMES - SLANT) / sine
        apart = np.sqrt(1.0 - lean**2)
        rows = np.array(  # axes: p, b, between a+ and a-, between f+ and f-, e, across e
            [
                [0.0, 1.0, 0.0, 0.0, 1.02 * lift, hold * lift],
                [0.0, lean, apart, 0.0, 1.02 * lift, other * lift],
                [0.0, lean, -apart, 0.0, 1.02 * lift, other * lift],
                [0.0, 0.0, 0.0, 1.0, lift, 0.0],
                [0.0, 0.0, 0.0, -1.0, lift, 0.0],
            ]
        )
        G = np.vstack([np.eye(6)[0] - x * rows[0], rows]) @ frame
        yield f"released draw {draw}", G * rng.uniform(0.5, 2.0, size=(6, 1)), np.eye(6)[0]


def turned(G: Array, weights: Array, reference: Array) -> Iterator[Matrix]:
    """Exact Gram matrices within `COARSE` of that of G, of gradients whose touching tasks turned.

    Args:
        G: (K, D) gradients.
        weights: Of the direction that they touch.
        reference: Weights of the reference; the tasks that hold the direction have more.
    """
    size, along = np.linalg.norm(G, axis=1), unit(weights @ G)
    held = size * (weights - reference)
    touching = np.abs(G @ along) <= TOUCHES * size
    for towards in (np.zeros_like(touching), held > HOLDS * held.max()):
        turn = STEPS[0] * COARSE * size * touching * np.where(towards, 1.0, -1.0)
        B = exact_gram(G + np.outer(turn, along))
        if is_within(B, G @ G.T, COARSE):
            yield B
