"""Alpha-fair allocation beside cvxpy with Clarabel, ECOS and SCS, and HiGHS for the max-min level.

Random 4-regular networks with shortest-path flows. All solvers run in one process, one BLAS
thread, interleaved; a call is timed end to end (for cvxpy with modelling, which a user also
pays). The rate error is the largest relative one against our own solver at a residual of 1e-13,
itself compared with 50-digit solutions in the tests. "-" is a solver that fails or was not run
because it needs more than its share of time at the next smaller size. "lowest" and "highest" are
our times over the rounds. "solves" and "passes" are our time in units of two floors: one
`numpy.linalg.solve` with as many rows as there are links, which every Newton step contains, and
one product R x.

Run with: python benchmarks/allocation.py [--full] [--rounds 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import time
import warnings
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import networkx
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy import sparse
from scipy.optimize import linprog
from threadpoolctl import threadpool_limits

import fairopt

Array = NDArray[np.float64]

ALPHAS = (0.5, 1.0, 2.0, 5.0, 50.0, np.inf)
SIZES = ((100, 72), (1000, 240))  # flows, directed links
FULL = ((100, 72), (1000, 240), (10_000, 1000), (100_000, 1000))
OURS_ONLY = ((10_000, 1000),)
OURS_FULL = ((100_000, 1000), (1_000_000, 1000))
LIMIT = 1.0  # seconds: a solver that needs more is not run on larger sizes
FULL_LIMIT = 5.0
ONCE = 10.0  # seconds: a solver that needs more is called once
FLOOR_CALLS = 5
SOLVERS = ("CLARABEL", "ECOS", "SCS")


@lru_cache(maxsize=1)
def network(flows: int, links: int) -> tuple[Any, Array, Array]:
    """Routing, capacities in [1, 10], priorities in [0.5, 2]."""
    rng = np.random.default_rng(0)
    graph = networkx.random_regular_graph(4, links // 4, seed=0)
    arcs = {arc: k for k, arc in enumerate(graph.to_directed().edges)}
    paths = dict(networkx.all_pairs_shortest_path(graph))
    nodes = links // 4
    source = rng.integers(nodes, size=flows)
    target = (source + rng.integers(1, nodes, size=flows)) % nodes
    ends = zip(source, target, strict=True)
    used = [[arcs[hop] for hop in pairwise(paths[s][t])] for s, t in ends]
    counts = [len(path) for path in used]
    entries = (np.ones(sum(counts)), (np.concatenate(used), np.repeat(np.arange(flows), counts)))
    R = sparse.csr_array(entries, shape=(len(arcs), flows))
    return R, rng.uniform(1.0, 10.0, len(arcs)), rng.uniform(0.5, 2.0, flows)


def with_cvxpy(solver: str, R: Any, c: Array, w: Array, alpha: float) -> Array:
    """The disciplined model: log, sqrt or power; at alpha = inf the least rate."""
    import cvxpy as cp

    x = cp.Variable(R.shape[1])
    if alpha == np.inf:
        objective = cp.min(x)
    elif alpha == 1.0:
        objective = w @ cp.log(x)
    elif alpha == 0.5:
        objective = 2.0 * (w @ cp.sqrt(x))
    else:
        objective = w @ cp.power(x, 1.0 - alpha) / (1.0 - alpha)
    cp.Problem(cp.Maximize(objective), [R @ x <= c]).solve(solver=solver)
    if x.value is None:
        raise RuntimeError(solver)
    return np.asarray(x.value)


def first_level(R: Any, c: Array) -> Array:
    """The largest least rate, by HiGHS, for every flow."""
    n = R.shape[1]
    one = sparse.csr_array(np.ones((n, 1)))
    rows = sparse.vstack(
        [
            sparse.hstack([R, sparse.csr_array((R.shape[0], 1))]),
            sparse.hstack([-sparse.eye_array(n), one]),
        ],
        format="csr",
    )
    cost = np.zeros(n + 1)
    cost[-1] = -1.0
    found = linprog(cost, A_ub=rows, b_ub=np.concatenate([c, np.zeros(n)]), method="highs")
    return np.full(n, found.x[-1])


Call = Callable[[], Array]


def floors(R: Any, c: Array) -> tuple[float, float]:
    """Seconds of one dense solve with a row for each link, and of one product R x."""
    H, x = (R @ R.T).toarray() + np.eye(R.shape[0]), np.ones(R.shape[1])
    return shortest(lambda: np.linalg.solve(H, c)), shortest(lambda: R @ x)


def shortest(call: Call) -> float:
    """Least seconds of a few calls: a floor is the time without disturbances."""
    seconds = []
    for _ in range(FLOOR_CALLS):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def solvers(R: Any, c: Array, w: Array, alpha: float) -> dict[str, Call]:
    """Ours first."""
    calls: dict[str, Call] = {
        "fairopt": lambda: fairopt.alpha_fair_allocation(R, c, alpha, priority=w).require().rates
    }
    if alpha == np.inf:
        return calls | {"HiGHS, first level": lambda: first_level(R, c)}
    for solver in SOLVERS:
        if importlib.util.find_spec(solver.lower()) is not None:
            calls[f"cvxpy {solver}"] = lambda solver=solver: with_cvxpy(solver, R, c, w, alpha)
    return calls


def measure(
    calls: dict[str, Call], slow: set[str], rounds: int
) -> tuple[dict[str, list[float]], dict[str, Array]]:
    """Seconds of each call, interleaved, and its rates; one round for slow or failing solvers."""
    seconds: dict[str, list[float]] = {}
    rates: dict[str, Array] = {}
    for k in range(rounds):
        for name, call in calls.items():
            done = seconds.get(name, [])
            if name in slow or (k and (not done or done[0] > ONCE)):
                continue
            begin = time.perf_counter()
            try:
                rates[name] = call()
            except Exception as error:
                if name == "fairopt":
                    raise error
                continue
            seconds.setdefault(name, []).append(time.perf_counter() - begin)
    return seconds, rates


def row(
    flows: int, links: int, alpha: float, slow: set[str], rounds: int, limit: float
) -> dict[str, Any]:
    """One line of the table."""
    R, c, w = network(flows, links)
    calls = solvers(R, c, w, alpha)
    fairopt.alpha_fair_allocation(R[:, :50], c, alpha, priority=w[:50])  # imports
    seconds, rates = measure(calls, slow, rounds)
    exact = fairopt.alpha_fair_allocation(R, c, alpha, priority=w, tol=1e-12)
    unit = float(np.median(seconds["fairopt"]))
    found: dict[str, Any] = {"flows": flows, "links": links, "alpha": alpha}
    found["fairopt ms"] = 1e3 * unit
    found["lowest"], found["highest"] = (1e3 * f(seconds["fairopt"]) for f in (min, max))
    solve, product = floors(R, c)
    found["solves"], found["passes"] = unit / solve, unit / product
    found["fairopt residual"] = exact.residual
    for name, times in seconds.items():
        if name == "fairopt":
            continue
        found[f"{name} ratio"] = float(np.median(times)) / unit
        if max(times) > limit:
            slow.add(name)
        if alpha < np.inf and flows <= 10_000:
            found[f"{name} error"] = float(np.abs(rates[name] / exact.rates - 1.0).max())
    return found


def large(flows: int, links: int, alpha: float) -> dict[str, Any]:
    """Ours alone, with the memory of the process."""
    R, c, w = network(flows, links)
    fairopt.alpha_fair_allocation(R[:, :50], c, alpha, priority=w[:50])  # imports
    begin, cpu = time.perf_counter(), time.process_time()
    found = fairopt.alpha_fair_allocation(R, c, alpha, priority=w).require()
    wall, busy = time.perf_counter() - begin, time.process_time() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    solve, product = floors(R, c)
    return {
        "flows": flows,
        "links": links,
        "alpha": alpha,
        "fairopt ms": 1e3 * wall,
        "cpu ms": 1e3 * busy,
        "solves": wall / solve,
        "passes": wall / product,
        "fairopt residual": found.residual,
        "GB": memory,
    }


def table(title: str, rows: list[dict[str, Any]]) -> Table:
    """Three significant digits; "-" for what is missing."""
    columns = list(dict.fromkeys(key for each in rows for key in each))
    made = Table(title=title)
    for column in columns:
        made.add_column(column, justify="right", no_wrap=True)
    for each in rows:
        made.add_row(*(f"{each[k]:.3g}" if k in each else "-" for k in columns))
    return made


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--full", action="store_true", help="up to 1e5 flows, ours 1e6")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write both tables to this file")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # solvers warn about what the error shows
    rows: list[dict[str, Any]] = []
    alone: list[dict[str, Any]] = []
    limit = FULL_LIMIT if arguments.full else LIMIT
    with threadpool_limits(1):
        for size in OURS_ONLY + (OURS_FULL if arguments.full else ()):
            for alpha in ALPHAS:
                alone.append(large(*size, alpha))
                save(arguments.json, rows, alone)
        for alpha in ALPHAS:
            slow: set[str] = set()
            for size in FULL if arguments.full else SIZES:
                rows.append(row(*size, alpha, slow, arguments.rounds, limit))
                save(arguments.json, rows, alone)
    console = Console(width=max(Console().width, 230))
    console.print(table("our milliseconds; others: multiples of them, and their rate errors", rows))
    console.print(table("larger networks", alone))


def save(path: Path | None, rows: list[dict[str, Any]], alone: list[dict[str, Any]]) -> None:
    """Both tables as far as they are known: a run that is stopped leaves what it measured."""
    if path:
        path.write_text(json.dumps({"rows": rows, "large": alone}, indent=1))


if __name__ == "__main__":
    main()
