"""The auction for clients that do one task: how its time grows with clients and tasks.

Beside it, interleaved in one process: sorting the same bids, and one optimal assignment at the
quotas of the auction's own level by SciPy (for tables that it solves in seconds). Medians.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
from scipy.optimize import linear_sum_assignment

from mechanisms import capacity_max_min

SIZES = {100: 30, 1_000: 9, 10_000: 3}
"""Clients -> rounds."""
TASKS = (2, 5, 10)
LARGEST_ASSIGNMENT = 1_000
"""Clients up to which SciPy's dense assignment takes seconds at most."""


def assigned(bids, level):
    """One cheapest assignment of `level` clients to every task."""
    linear_sum_assignment(np.repeat(bids, max(level, 1), axis=1))


def seconds(run, *args):
    """Time of one call."""
    start = time.perf_counter()
    run(*args)
    return time.perf_counter() - start


def main() -> None:
    """Print medians, ratios, and the exponents of growth."""
    heads = ("clients", "tasks", "budget", "level", "ms", "/ sort", "/ assignment")
    print(" ".join(f"{head:>12}" for head in heads))
    medians = {}
    for clients, rounds in SIZES.items():
        for tasks in TASKS:
            for share in (0.05, 0.25):
                bids = np.random.default_rng(0).lognormal(size=(clients, tasks))
                budget = share * bids.sum()
                level = capacity_max_min(bids, budget).min_take_up
                times = []
                for _ in range(rounds):
                    row = [seconds(capacity_max_min, bids, budget), seconds(np.sort, bids, 0)]
                    if clients <= LARGEST_ASSIGNMENT:
                        row.append(seconds(assigned, bids, level))
                    times.append(row)
                own, *others = (statistics.median(column) for column in zip(*times, strict=True))
                medians[clients, tasks, share] = own
                ratios = " ".join(f"{own / other:>12.2f}" for other in others)
                row = f"{clients:>12} {tasks:>12} {share:>12} {level:>12} {1e3 * own:>12.1f}"
                print(f"{row} {ratios}", flush=True)
    first, last = min(SIZES), max(SIZES)
    for tasks in TASKS:
        ratio = medians[last, tasks, 0.25] / medians[first, tasks, 0.25]
        power = np.log(ratio) / np.log(last / first)
        print(f"{tasks} tasks: time grows as clients^{power:.2f} at budget 0.25")


if __name__ == "__main__":
    main()
