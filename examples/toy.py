"""The two-task toy problem of CAGrad and Nash-MTL, all starts and all methods in one batch.

Each of the runs (method x start) minimises two losses over a point in the plane with Adam. Every
step forms a (methods, starts, 2, 2) Gram matrix and solves it with one call. Plain linear
scalarisation misses the Pareto front from two of five starts; FairGrad reaches it from all, spread
along it.

Policy at the front: where the two gradients are opposite to rounding the direction is zero
(PARETO_STATIONARY); where the Gram matrix cannot tell, the direction of the matrix as given is
taken. The direction is multiplied by two (the number of tasks) and clipped to length one, as
in released code.

Run with: python examples/toy.py [--steps N] [--alphas 1 inf] [--out toy.png]
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import fairopt

Array = NDArray[np.float64]

STARTS = np.array([(-8.5, 7.5), (0.0, 0.0), (9.0, 9.0), (-7.5, -0.5), (9.0, -1.0)])
LOWER = 5e-6  # floor inside the logarithms
SCALE = 0.1  # of the first loss
FRONT = -8.3552  # height at which the front is drawn


def losses_and_gradients(x: Array) -> tuple[Array, Array]:
    """Losses (..., 2) and their gradients (..., 2, 2) at points (..., 2)."""
    x1, x2 = x[..., 0], x[..., 1]
    t = np.tanh(-x2)
    slope = 1.0 - t * t
    f1, f2 = 0.5 * (-x1 - 7.0) - t, 0.5 * (-x1 + 3.0) + t + 2.0
    a1, da1 = _log_branch(f1, np.stack([np.full_like(x1, -0.5), slope], axis=-1))
    a2, da2 = _log_branch(f2, np.stack([np.full_like(x1, -0.5), -slope], axis=-1))
    b1, db1 = _quadratic_branch(x, 7.0)
    b2, db2 = _quadratic_branch(x, -7.0)
    gate = np.tanh(0.5 * x2)
    rise = 0.5 * (1.0 - gate * gate)
    c1, c2 = np.maximum(gate, 0.0), np.maximum(-gate, 0.0)
    dc1, dc2 = np.where(gate >= 0.0, rise, 0.0), np.where(gate <= 0.0, -rise, 0.0)
    losses = np.stack([SCALE * (a1 * c1 + b1 * c2), a2 * c1 + b2 * c2], axis=-1)
    first = da1 * c1[..., None] + db1 * c2[..., None]
    second = da2 * c1[..., None] + db2 * c2[..., None]
    first[..., 1] += a1 * dc1 + b1 * dc2
    second[..., 1] += a2 * dc1 + b2 * dc2
    return losses, np.stack([SCALE * first, second], axis=-2)


def _log_branch(f: Array, df: Array) -> tuple[Array, Array]:
    """Value and gradient of log max(|f|, LOWER) + 6."""
    inside = np.abs(f) >= LOWER
    value = np.log(np.maximum(np.abs(f), LOWER)) + 6.0
    return value, np.where(inside[..., None], df / np.where(inside, f, 1.0)[..., None], 0.0)


def _quadratic_branch(x: Array, centre: float) -> tuple[Array, Array]:
    """Value and gradient of ((x1 - centre)^2 + 0.1 (x2 + 8)^2) / 10 - 20."""
    off = x - np.array([centre, -8.0])
    weight = np.array([0.1, 0.01])
    return (weight * off * off).sum(axis=-1) - 20.0, 2.0 * weight * off


@dataclass(frozen=True)
class Runs:
    """Paths (saved steps, methods, starts, 2) and the final gradient cosines."""

    paths: Array
    cosines: Array


def directions(gradients: Array, alphas: Array) -> Array:
    """Plain sum for the first method, FairGrad with the given alphas for the others."""
    gram = gradients @ np.swapaxes(gradients, -1, -2)
    weights = np.ones(gradients.shape[:-1])
    weights[1:] = fairopt.fairgrad(gram[1:], alphas[:, None]).weights
    d = 2.0 * (weights[..., None, :] @ gradients)[..., 0, :]
    length = np.linalg.norm(d, axis=-1, keepdims=True)
    return d / np.maximum(length, 1.0)


def simulate(alphas: tuple[float, ...], steps: int = 35_000, rate: float = 1e-3) -> Runs:
    """Adam from every start: the sum of the losses, then FairGrad for every alpha."""
    powers = np.array(alphas)
    x = np.broadcast_to(STARTS, (len(alphas) + 1, len(STARTS), 2)).copy()
    m, v = np.zeros_like(x), np.zeros_like(x)
    paths = []
    for step in range(1, steps + 1):
        _, gradients = losses_and_gradients(x)
        d = directions(gradients, powers)
        m, v = 0.9 * m + 0.1 * d, 0.999 * v + 0.001 * d * d
        x -= rate * (m / (1.0 - 0.9**step)) / (np.sqrt(v / (1.0 - 0.999**step)) + 1e-8)
        if step % 100 == 0:
            paths.append(x.copy())
    _, g = losses_and_gradients(x)
    norms = np.linalg.norm(g, axis=-1)
    return Runs(np.array(paths), (g[..., 0, :] * g[..., 1, :]).sum(-1) / norms.prod(-1))


def plot(runs: Runs, names: list[str], file: str) -> None:
    """One panel per method: contours of the mean loss, paths, end points, the Pareto front."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    grid = np.stack(np.meshgrid(np.linspace(-10, 10, 201), np.linspace(-10, 10, 201)), axis=-1)
    height = losses_and_gradients(grid)[0].mean(axis=-1)
    figure, axes = plt.subplots(1, len(names), figsize=(3.2 * len(names), 3.4), sharey=True)
    for k, (axis, name) in enumerate(zip(axes, names, strict=True)):
        axis.contour(grid[..., 0], grid[..., 1], height, 30, linewidths=0.5)
        axis.plot([-7, 7], [FRONT, FRONT], color="0.6", linewidth=4)
        for j, start in enumerate(STARTS):
            path = np.vstack([start, runs.paths[:, k, j]])
            axis.plot(path[:, 0], path[:, 1], color="k", linewidth=1)
            axis.plot(*path[-1], "*", color="tab:red", markersize=9)
        axis.set_title(name)
    figure.tight_layout()
    figure.savefig(file, dpi=130)


def main() -> None:
    """Run, print the end points, draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=35_000)
    parser.add_argument("--alphas", type=float, nargs="+", default=[0.0, 1.0, 2.0, 10.0, np.inf])
    parser.add_argument("--out", default="toy.png")
    arguments = parser.parse_args()
    alphas = tuple(arguments.alphas)
    runs = simulate(alphas, arguments.steps)
    names = ["sum of losses", *(f"FairGrad, alpha = {alpha:g}" for alpha in alphas)]
    for k, name in enumerate(names):
        ends = "  ".join(
            f"({x[0]:5.2f}, {x[1]:6.3f}; cos {c:5.2f})"
            for x, c in zip(runs.paths[-1, k], runs.cosines[k], strict=True)
        )
        print(f"{name:<22} {ends}")
    plot(runs, names, arguments.out)


if __name__ == "__main__":
    main()
