"""Alpha-fair utilities on polytopes beside cvxpy with Clarabel.

Fisher markets (buyers times goods variables, a row for each buyer and good) and clusters with
guaranteed minima. All in one process with one BLAS thread, interleaved; a call is timed end to end
in processor time (for cvxpy with modelling, which a user also pays), medians over the rounds.
"error" is the largest relative error of a utility that the certificate leaves open, "Clarabel off"
the largest relative difference of Clarabel's utilities from ours, "ratio" the median over rounds of
Clarabel's time divided by ours.

Run with: python benchmarks/polytope_shares.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

import fairopt
from fairopt.errors import NotSolved
from fairopt.reference import allocation_on_polytope

Array = NDArray[np.float64]
ALPHAS = (0.5, 1.0, 2.0, 5.0)
SIZES = ((10, 5), (30, 15), (60, 30), (100, 40), (300, 20))


def market(buyers: int, goods: int) -> dict[str, Any]:
    """Values in [0.1, 1], budgets in [0.5, 2], one unit of every good."""
    rng = np.random.default_rng([buyers, goods])
    value = rng.uniform(0.1, 1.0, size=(buyers, goods))
    return {
        "T": np.kron(np.eye(buyers), np.ones((1, goods))) * value.ravel(),
        "G": np.kron(np.ones((1, buyers)), np.eye(goods)),
        "h": np.ones(goods),
        "priority": rng.uniform(0.5, 2.0, size=buyers),
    }


def cluster(jobs: int, kinds: int) -> dict[str, Any]:
    """A job uses one machine at a time, all time is used, and an eighth of a share is promised."""
    problem = market(jobs, kinds)
    one = np.kron(np.eye(jobs), np.ones((1, kinds)))
    machines = np.full(kinds, jobs / (2.0 * kinds))
    least = problem["T"] @ np.full(jobs * kinds, 1.0 / (16.0 * kinds))
    return problem | {
        "G": np.vstack([one, -problem["T"]]),
        "h": np.concatenate([np.ones(jobs), -least]),
        "A": problem["G"],
        "b": machines,
    }


DRAWS = 60
DEGENERATE_ALPHAS = (0.0, 0.05, 0.3, 1.0, 2.0, 8.0, 30.0, np.inf)


def degenerate() -> Iterator[dict[str, Any]]:
    """Random rows of zeros and ones, whole right-hand sides: many optimal points and prices."""
    rng = np.random.default_rng(5)
    for _ in range(DRAWS):
        n, k, m = (int(rng.integers(low, high)) for low, high in ((2, 30), (30, 80), (5, 60)))
        T = (rng.random((n, k)) < 0.1) * 1.0
        T[rng.integers(n, size=k), np.arange(k)] = 1.0
        T[np.arange(n), rng.integers(k, size=n)] = 1.0
        G = np.vstack([(rng.random((m, k)) < 0.15) * 1.0, np.ones(k)])
        yield {"T": T, "G": G, "h": np.append(rng.integers(1, 10, m), k).astype(float)}


def solved(alpha: float) -> list[str]:
    """How many degenerate problems are OPTIMAL, and the median time."""
    seconds, good = [], 0
    for problem in degenerate():
        begin = time.process_time()
        good += fairopt.alpha_fair_on_polytope(alpha=alpha, **problem).ok
        seconds.append(time.process_time() - begin)
    return [f"{alpha:g}", f"{good} of {DRAWS}", f"{1e3 * np.median(seconds):.0f}"]


def timed(call: Callable[[], Array]) -> tuple[float, Array | None]:
    """Processor seconds and the utilities, None where there is no answer."""
    begin = time.process_time()
    try:
        found = call()
    except NotSolved:
        return time.process_time() - begin, None
    return time.process_time() - begin, found


def measure(problem: dict[str, Any], alpha: float, rounds: int) -> list[str]:
    """One row of the table."""
    T = problem["T"]
    others = {name: value for name, value in problem.items() if name != "T"}
    ours, theirs = [], []
    x = y = None
    for _ in range(rounds + 1):
        t, x = timed(lambda: fairopt.alpha_fair_on_polytope(T, alpha=alpha, **others).utilities)
        ours.append(t)
        t, y = timed(lambda: allocation_on_polytope(T, alpha, **others))
        theirs.append(t)
    ours, theirs = ours[1:], theirs[1:]  # the first call loads and compiles
    found = fairopt.alpha_fair_on_polytope(T, alpha=alpha, **others)
    off = "-" if y is None or x is None else f"{np.abs(y / x - 1.0).max():.0e}"
    ratio = np.median(np.array(theirs) / np.array(ours))
    return [
        f"{1e3 * np.median(ours):.1f} ({1e3 * min(ours):.1f}-{1e3 * max(ours):.1f})",
        f"{ratio:.1f}" if y is not None else "fails",
        found.status.name,
        str(found.iterations),
        f"{found.error.max():.0e}",
        off,
    ]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    for make in (market, cluster):
        columns = ("size", "alpha", "ours, ms", "ratio", "status", "steps", "error", "Clarabel off")
        table = Table(*columns, title=make.__name__)
        with threadpool_limits(1):
            for size in SIZES:
                for alpha in ALPHAS:
                    name = f"{size[0]} x {size[1]}"
                    table.add_row(name, f"{alpha:g}", *measure(make(*size), alpha, rounds))
        Console(width=110).print(table)
    table = Table("alpha", "OPTIMAL", "median ms", title="degenerate")
    for alpha in DEGENERATE_ALPHAS:
        table.add_row(*solved(alpha))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
