"""Auctions against sorting the same bids, in one process, interleaved; medians and ratios."""

from __future__ import annotations

import statistics
import time
import tracemalloc

import numpy as np

from mechanisms import (
    budget_fair,
    cheapest_first,
    greedy_max_min,
    leave_one_out_level,
    level_max_min,
    max_min_fair,
    participation_fee,
    posted_price,
)

TASKS = 10
SIZES = {100: 200, 1_000: 100, 10_000: 30, 100_000: 9, 1_000_000: 5}
"""Clients -> rounds."""


def contiguous(bids, budget):
    """Sort every task in memory of its own: the copy and the sort."""
    return np.sort(np.ascontiguousarray(bids.T), axis=1)


def selection(bids, budget):
    """The floor of any rule that looks at all bids: one order statistic per task, half way down."""
    return np.partition(np.ascontiguousarray(bids.T), len(bids) // 2, axis=1)


def posted(bids, budget):
    """Prices that about half of the clients accept, until the money is spent."""
    return posted_price(bids, np.ones(bids.shape[1]), budget)


def fee(bids, budget):
    """Equal prices and a fee of a quarter of their sum."""
    return participation_fee(bids, budget, np.ones(bids.shape[1]), bids.shape[1] / 4)


RULES = {
    "sort": lambda bids, budget: np.sort(bids, axis=0),
    "contiguous sort": contiguous,
    "one selection": selection,
    "budget_fair": budget_fair,
    "level_max_min": level_max_min,
    "leave_one_out_level": leave_one_out_level,
    "max_min_fair": max_min_fair,
    "cheapest_first": cheapest_first,
    "greedy_max_min": greedy_max_min,
    "posted_price": posted,
    "participation_fee": fee,
}


def seconds(rule, bids, budget):
    """Time of one call."""
    start = time.perf_counter()
    rule(bids, budget)
    return time.perf_counter() - start


def peak(rule, bids, budget):
    """Memory that one call needs at its worst beyond its input, in units of the input."""
    tracemalloc.start()
    rule(bids, budget)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most / bids.nbytes


def main() -> None:
    """Print a table of medians relative to numpy.sort(bids, axis=0), then of memory."""
    print(f"ratio to numpy.sort(bids, axis=0), {TASKS} tasks, lognormal bids; budget 0.05 per bid")
    print(f"{'clients':>9} {'sort ms':>9} " + " ".join(f"{name:>20}" for name in list(RULES)[1:]))
    for clients, rounds in SIZES.items():
        bids = np.random.default_rng(0).lognormal(size=(clients, TASKS))
        budget = 0.05 * bids.size
        for rule in RULES.values():
            rule(bids, budget)
        times = [[seconds(rule, bids, budget) for rule in RULES.values()] for _ in range(rounds)]
        sort, *rest = (statistics.median(column) for column in zip(*times, strict=True))
        ratios = " ".join(f"{each / sort:>20.2f}" for each in rest)
        print(f"{clients:>9} {1e3 * sort:>9.3f} {ratios}", flush=True)
    heights = " ".join(f"{peak(rule, bids, budget):>20.2f}" for rule in list(RULES.values())[1:])
    print(f"peak memory beyond the bids, in units of their {bids.nbytes / 1e6:.0f} MB:")
    print(f"{clients:>9} {'':>9} {heights}")


if __name__ == "__main__":
    main()
