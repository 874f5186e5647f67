"""Rates over several paths, and their certified errors, against solutions with 60 digits.

Small random problems: alpha from 0.1 to 5, priorities, links of capacity zero or without a limit,
links and paths that repeat others. The reference is Newton's method in mpmath on the conditions of
optimality, all of which are then checked; problems that it does not solve are counted apart.

Run with: python -m benchmarks.split_flow_accuracy [--problems 1600] [--first 0]
"""

from __future__ import annotations

import argparse

import numpy as np

from benchmarks.problems.high_precision import exact_path_rates
from fairopt import alpha_fair_path_allocation

ALPHAS = (0.1, 0.3, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
UNDER = 1e-30  # relative: the reference is that exact


def problem(seed):
    """Routing, owners, capacities, priorities and alpha."""
    rng = np.random.default_rng([11, seed])
    m, n = int(rng.integers(2, 9)), int(rng.integers(2, 8))
    owner = np.repeat(np.arange(n), rng.integers(1, 5, n))
    R = (rng.random((m, len(owner))) < rng.uniform(0.2, 0.6)) * 1.0
    R[rng.integers(m, size=len(owner)), np.arange(len(owner))] = 1.0
    c = rng.integers(1, 4, m) * 1.0 if seed % 3 == 0 else rng.uniform(0.5, 10.0, m)
    if seed % 4 == 0:
        R = R * rng.choice([0.5, 1.0, 3.0], R.shape)
    if seed % 5 == 0:
        R, c = np.vstack([R, R[:2]]), np.append(c, c[:2])
    if seed % 7 == 0:
        R, owner = np.repeat(R, 2, axis=1), np.repeat(owner, 2)
    if seed % 6 == 0:
        c[int(rng.integers(len(c)))] = np.inf if seed % 12 else 0.0
    return R, owner, c, rng.uniform(0.5, 2.0, n), ALPHAS[int(rng.integers(len(ALPHAS)))]


def compared(seed):
    """Errors and certified errors of all positive rates, or the reason why there are none."""
    R, owner, c, w, alpha = problem(seed)
    found = alpha_fair_path_allocation(R, owner, c, alpha, priority=w)
    if not found.ok:
        return found.status.name
    exact = exact_path_rates(R, owner, c, alpha, found.path_rates, found.prices, w)
    if exact is None:
        return "no reference"
    kept = [i for i, rate in enumerate(exact) if rate > 0]
    error = np.array([float(abs(found.rates[i] / exact[i] - 1)) for i in kept])
    return error, found.error[kept]


def main():
    """Count, and print every problem whose interval misses the truth."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--problems", type=int, default=1600)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    errors, certified, inside, apart, seed = [], [], 0, {}, arguments.first
    while len(errors) < arguments.problems:
        result = compared(seed)
        if isinstance(result, str):
            apart[result] = apart.get(result, 0) + 1
        else:
            holds = bool((result[0] <= result[1] + UNDER).all())
            inside += holds
            errors.append(result[0].max())
            certified.append(result[1].max())
            if not holds or errors[-1] > 1e-9:
                print(f"problem {seed}: error {errors[-1]:.2g}, certified {certified[-1]:.2g}")
        seed += 1
    print(f"inside the certified interval: {inside} of {len(errors)}; not compared: {apart}")
    print(f"largest error {max(errors):.2g}, median {np.median(errors):.2g}")
    print(f"largest certified {max(certified):.2g}, median {np.median(certified):.2g}")


if __name__ == "__main__":
    main()
