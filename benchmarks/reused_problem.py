"""A changed problem from the last answer beside the same problem stated afresh.

`AllocationProblem.solve(start=last)` after small changes, and `alpha_fair_allocation` for the same
numbers, interleaved, in processor time of one thread: medians, and quartiles of their ratio.
Changes: "all" capacities by up to 1 %, "few": 1 % of the capacities by up to a half, "demands": 1 %
of the priorities by up to a half, and of the volumes (`upper`) where there are any. Routes are
shortest paths of random 4-regular graphs (`benchmarks/allocation.py`), or "random" links.

With `--graphs FILES` instead `PathAllocationProblem` beside `alpha_fair_path_allocation`, for
demands over their four shortest simple paths (`benchmarks/split_flows.py`), without and with
volumes that hold about a half; "most" is the largest ratio of the rounds.

The peer is what a user of cvxpy would write: capacities as a Parameter, the problem compiled once,
and the warm start of its solver (Clarabel has none). It is run at a size that it solves in seconds,
beside fairopt at the same size.

Run with: python benchmarks/reused_problem.py [--rounds 9] [--quick] [--json FILE]
          [--graphs FILES] [--demands 1000]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy import sparse
from threadpoolctl import threadpool_limits

import fairopt

sys.path.insert(0, str(Path(__file__).parent))
from allocation import network
from split_flows import graph_of, problem

Array = NDArray[np.float64]
Numbers = tuple[Array, Array, Array | None]
"""Capacities, priorities, volumes."""

ALPHAS = (0.5, 1.0, 2.0, 5.0)
KINDS = ("all", "few", "demands")
SIZES = (("graph", 1000), ("graph", 4000), ("random", 1000), ("volumes", 1000))
QUICK = (("graph", 1000),)
FLOWS = 100_000
HOPS = 6
PEER = (1000, 240)  # flows, links
PATHS = 4


def stated(routes: str, links: int) -> tuple[Any, Numbers]:
    """Routing and numbers of a problem with many flows."""
    rng = np.random.default_rng(1)
    if routes != "random":
        R, c, w = network(FLOWS, links)
        return R, (c, w, rng.uniform(0.01, 0.1, FLOWS) if routes == "volumes" else None)
    rows, columns = rng.integers(links, size=FLOWS * HOPS), np.repeat(np.arange(FLOWS), HOPS)
    R = sparse.csr_array((np.ones(FLOWS * HOPS), (rows, columns)), shape=(links, FLOWS))
    R.sum_duplicates()
    return R, (rng.uniform(1.0, 10.0, links), rng.uniform(0.5, 2.0, FLOWS), None)


def changed(numbers: Numbers, kind: str, rng: np.random.Generator) -> Numbers:
    """Other numbers near these."""
    c, w, u = numbers
    if kind == "all":
        return c * rng.uniform(0.99, 1.01, len(c)), w, u
    if kind == "few":
        return some(c, rng), w, u
    return c, some(w, rng), None if u is None else some(u, rng)


def some(array: Array, rng: np.random.Generator) -> Array:
    """One in a hundred of the entries changed by up to a half."""
    which = rng.choice(len(array), max(1, len(array) // 100), replace=False)
    other = array.copy()
    other[which] *= rng.uniform(0.5, 1.5, len(which))
    return other


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    """Processor time of a call, and what it returns."""
    begin = time.process_time()
    found = call()
    return time.process_time() - begin, found


def series(routes: str, links: int, alpha: float, kind: str, rounds: int) -> dict[str, Any]:
    """One line of the table: every round changes the same first problem."""
    R, numbers = stated(routes, links)
    c, w, u = numbers
    kept = fairopt.AllocationProblem(R, c, alpha, priority=w, upper=u)

    def afresh(capacity: Array, **given: Any) -> Any:
        return fairopt.alpha_fair_allocation(R, capacity, alpha, **given)

    return {
        "routes": routes, "links": links, "alpha": alpha, "changes": kind,
        **compared(kept, afresh, numbers, kind, rounds),
    }  # fmt: skip


def compared(
    kept: Any, afresh: Callable[..., Any], numbers: Numbers, kind: str, rounds: int
) -> dict[str, Any]:
    """Times from the last answer and afresh, and what is apart in their rates."""
    first = kept.solve().require()
    rng, cold, warm, off = np.random.default_rng(2), [], [], 0.0
    for _ in range(rounds):
        c, w, u = changed(numbers, kind, rng)
        given: dict[str, Any] = {"capacity": c, "priority": w, "upper": u}
        spent, fresh = seconds(lambda given=given: afresh(**given))
        cold.append(spent)
        spent, found = seconds(lambda given=given: kept.solve(start=first, **given))
        warm.append(spent)
        off = max(off, float(np.abs(found.require().rates / fresh.require().rates - 1.0).max()))
    ratio = np.array(warm) / np.array(cold)
    low, middle, high = np.quantile(ratio, (0.25, 0.5, 0.75))
    return {
        "afresh ms": 1e3 * float(np.median(cold)), "from last ms": 1e3 * float(np.median(warm)),
        "ratio": float(middle), "quarter": float(low), "three quarters": float(high),
        "most": float(ratio.max()), "rates differ": off,
    }  # fmt: skip


def on_graph(file: Path, demands: int, volumes: bool, rounds: int) -> list[dict[str, Any]]:
    """The lines of one graph: flows over several paths."""
    R, owner, c = problem(graph_of(file), demands, PATHS)
    w, u = np.ones(demands), None
    if volumes:
        free = fairopt.alpha_fair_path_allocation(R, owner, c, 1.0).rates
        u = free * np.random.default_rng(1).uniform(0.5, 2.5, demands)
    rows = []
    for alpha in ALPHAS[:3]:
        kept = fairopt.PathAllocationProblem(R, owner, c, alpha, priority=w, upper=u)

        def afresh(capacity: Array, alpha: float = alpha, **given: Any) -> Any:
            return fairopt.alpha_fair_path_allocation(R, owner, capacity, alpha, **given)

        name = f"{file.stem} {demands}" + (" volumes" if volumes else "")
        for kind in KINDS:
            measured = compared(kept, afresh, (c, w, u), kind, rounds)
            rows.append({"graph": name, "alpha": alpha, "changes": kind, **measured})
    return rows


def split_peer(file: Path, demands: int, alpha: float, rounds: int) -> dict[str, Any]:
    """The peer for flows over several paths: Clarabel, all capacities by 1 %."""
    import cvxpy as cp

    R, owner, c = problem(graph_of(file), demands, PATHS)
    gather = sparse.csr_array((np.ones(len(owner)), (owner, np.arange(len(owner)))))
    z, room = cp.Variable(len(owner), nonneg=True), cp.Parameter(len(c), nonneg=True)
    kept = fairopt.PathAllocationProblem(R, owner, c, alpha)
    return beside(kept, utility(gather @ z, alpha), [R @ z <= room], room, c, "CLARABEL", rounds)


def utility(x: Any, alpha: float) -> Any:
    """By the narrowest atoms of cvxpy."""
    import cvxpy as cp

    return {
        0.5: lambda: 2.0 * cp.sum(cp.sqrt(x)),
        1.0: lambda: cp.sum(cp.log(x)),
        2.0: lambda: -cp.sum(cp.inv_pos(x)),
    }[alpha]()


def peer(alpha: float, solver: str, rounds: int) -> dict[str, Any]:
    """A parametrised cvxpy problem after its first solve, and ours at the same size."""
    import cvxpy as cp

    R, c, w = network(*PEER)
    x, room = cp.Variable(R.shape[1]), cp.Parameter(len(c), nonneg=True)
    total = {0.5: lambda: 2.0 * (w @ cp.sqrt(x)), 1.0: lambda: w @ cp.log(x)}[alpha]()
    kept = fairopt.AllocationProblem(R, c, alpha, priority=w)
    return beside(kept, total, [R @ x <= room], room, c, solver, rounds)


def beside(
    kept: Any, total: Any, limits: list[Any], room: Any, c: Array, solver: str, rounds: int
) -> dict[str, Any]:
    """Times of both for changed capacities, and how far apart the utilities are."""
    import cvxpy as cp

    modelled = cp.Problem(cp.Maximize(total), limits)
    last, rng = kept.solve(), np.random.default_rng(2)
    room.value = c
    first = seconds(lambda: modelled.solve(solver=solver, warm_start=True))[0]
    again, here, afresh, off = [], [], [], 0.0
    for _ in range(rounds):
        room.value = now = c * rng.uniform(0.99, 1.01, len(c))
        again.append(seconds(lambda: modelled.solve(solver=solver, warm_start=True))[0])
        afresh.append(seconds(lambda now=now: kept.solve(capacity=now))[0])
        spent, found = seconds(lambda now=now: kept.solve(capacity=now, start=last))
        here.append(spent)
        best = float(modelled.objective.value)
        off = max(off, abs(best - value(found, kept)) / abs(value(found, kept)))
    return {
        "solver": solver, "alpha": kept.alpha, "first ms": 1e3 * first,
        "again ms": 1e3 * float(np.median(again)), "again / first": float(np.median(again)) / first,
        "ours ms": 1e3 * float(np.median(here)),
        "ours / afresh": float(np.median(here) / np.median(afresh)),
        "again / ours": float(np.median(again) / np.median(here)), "utilities differ": off,
    }  # fmt: skip


def value(found: Any, kept: Any) -> float:
    """The total utility."""
    return float(kept.priority @ fairopt.AlphaFair(kept.alpha).value(found.rates))


def table(title: str, rows: list[dict[str, Any]]) -> Table:
    """Three significant digits."""
    made = Table(title=title)
    for column in rows[0]:
        made.add_column(column, justify="right", no_wrap=True)
    for each in rows:
        made.add_row(*(v if isinstance(v, str) else f"{v:.3g}" for v in each.values()))
    return made


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="no peers, one random network")
    parser.add_argument("--graphs", nargs="+", type=Path, help="several paths, on GML files")
    parser.add_argument("--demands", type=int, default=1000)
    parser.add_argument("--json", type=Path, help="write both tables to this file")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # solvers warn about what the error shows
    peers: list[dict[str, Any]] = []
    rounds, title = arguments.rounds, f"{FLOWS:,} flows, processor time"
    beside_title = f"{PEER[0]} flows, {PEER[1]} links, all capacities by 1 %"
    with threadpool_limits(1):
        if arguments.graphs:
            title, beside_title = f"{PATHS} paths, processor time", "all capacities by 1 %"
            rows = [
                row
                for file in arguments.graphs
                for volumes in (False, True)
                for row in on_graph(file, arguments.demands, volumes, rounds)
            ]
            if not arguments.quick:
                peers = [
                    split_peer(file, arguments.demands, alpha, rounds)
                    for file in arguments.graphs
                    for alpha in ALPHAS[:3]
                ]
        else:
            sizes = QUICK if arguments.quick else SIZES
            rows = [
                series(*size, a, kind, rounds) for size in sizes for a in ALPHAS for kind in KINDS
            ]
            if not arguments.quick:
                peers = [peer(a, s, rounds) for a in (0.5, 1.0) for s in ("CLARABEL", "SCS")]
    console = Console(width=max(Console().width, 150))
    console.print(table(title, rows))
    if peers:
        console.print(table(beside_title, peers))
    if arguments.json:
        arguments.json.write_text(json.dumps({"rows": rows, "peers": peers}, indent=1))


if __name__ == "__main__":
    main()
