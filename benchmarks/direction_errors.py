"""Is any direction called ok further from the exact one than its bound says?

Degenerate gradients of seventeen families, answered from their float64 Gram matrix, from narrower
ones, and for other gradients with the same digits; each answer against the exact rational
projection of the gradients as given. Then Gram matrices of real training steps, and the time
against one `numpy.linalg.solve`.

    python -m benchmarks.direction_errors            # a minute
    python -m benchmarks.direction_errors --each 6000 --perturbed 1200   # 100,000 problems
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

import fairopt
from benchmarks.problems import training_steps
from benchmarks.problems.degenerate_gradients import FAMILIES, perturbed, reference, within
from benchmarks.problems.exact_directions import distance, exact_gram, exact_projection
from fairopt import Status

OFF = 1e-6  # an ok answer further away is counted, whatever its bound
ROUNDING = 1e-13  # of the float that holds an exact distance
LARGEST = 6  # tasks


def problems(name: str, count: int, seed: int) -> Iterator[tuple[Any, Any, np.random.Generator]]:
    """Gradients and reference of a family."""
    rng = np.random.default_rng((seed, *name.encode()))
    for _ in range(count):
        K = int(rng.integers(2, LARGEST + 1))
        yield FAMILIES[name](K, rng), reference(K, rng), rng


def family(name: str, each: int, perturbations: int, seed: int) -> dict[str, Any]:
    """Counts of one family."""
    seen: Counter[str] = Counter()
    worst, ratio = 0.0, 0.0
    for number, (G, r, rng) in enumerate(problems(name, each, seed)):
        A = G @ G.T
        found = fairopt.dual_cone_projection(A, r)
        seen[found.status.name] += 1
        exact = exact_gram(G)
        off = distance(exact, found.weights, exact_projection(exact, r), r)
        seen["beyond"] += off > found.direction_error + ROUNDING
        if found.ok:
            worst = max(worst, off)
            seen["off"] += off > OFF
        if found.direction_error > 0.0:
            ratio = max(ratio, off / found.direction_error)
        if number < perturbations and np.isfinite(found.direction_error):
            B = exact_gram(perturbed(G, float(found.gram_error), rng))
            if within(B, A, float(found.gram_error)):
                seen["perturbed"] += 1
                off = distance(B, found.weights, exact_projection(B, r), r)
                seen["perturbed beyond"] += off > found.direction_error + ROUNDING
    return {"family": name, "problems": each, "worst": worst, "ratio": ratio, **seen}


def narrow(count: int, seed: int) -> dict[str, Any]:
    """Statuses of projections and UPGrad on float32 matrices up to 64 tasks."""
    rng = np.random.default_rng(seed)
    seen: Counter[str] = Counter()
    for _ in range(count):
        K = int(rng.choice([4, 8, 16, 32, 64]))
        G = rng.normal(size=(K, max(1, int(K * rng.choice([0.2, 0.5, 0.9, 2.0]))))).astype(
            np.float32
        )
        A = G @ G.T
        seen[fairopt.dual_cone_projection(A, np.full(K, 1.0 / K)).status.name] += 1
        seen[fairopt.upgrad(A).status.name] += 1
    return dict(seen)


def trained(steps: int, seed: int) -> list[dict[str, Any]]:
    """Statuses of every solver on the Gram matrices of real training steps."""
    solvers = {
        "fairgrad 0": lambda A: fairopt.fairgrad(A, 0.0),
        "fairgrad 2": lambda A: fairopt.fairgrad(A, 2.0),
        "projection": lambda A: fairopt.dual_cone_projection(A, np.full(len(A), 1.0 / len(A))),
        "upgrad": fairopt.upgrad,
        "conflict averse .5": lambda A: fairopt.conflict_averse(A, 0.5),
        "min norm": fairopt.min_norm,
    }
    rows = []
    for label, grams in training_steps.runs(steps, seed):
        for name, solve in solvers.items():
            seen = Counter(Status(int(solve(A).status)).name for A in grams)
            rows.append({"run": label, "solver": name, **seen})
    return rows


def table(title: str, rows: list[dict[str, Any]]) -> Table:
    """Rows as a table; a count that is missing is zero."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    result = Table(*keys, title=title)
    for row in rows:
        values = [row.get(key, 0) for key in keys]
        result.add_row(*[f"{v:.1e}" if isinstance(v, float) else str(v) for v in values])
    return result


def total(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """All families together."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    largest = {"worst", "ratio"}
    summed: dict[str, Any] = {"family": "all"}
    for key in keys[1:]:
        values = [row.get(key, 0) for row in rows]
        summed[key] = max(values) if key in largest else sum(values)
    return summed


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=200, help="problems of each family")
    parser.add_argument("--perturbed", type=int, default=100, help="of these, perturbed too")
    parser.add_argument("--narrow", type=int, default=60, help="float32 matrices")
    parser.add_argument("--steps", type=int, default=20, help="training steps of each run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    rows = [
        family(name, given.each, given.perturbed, given.seed)
        for name in track(FAMILIES, "families")
    ]
    rows.append(total(rows))
    found = {
        "families": rows,
        "float32": narrow(given.narrow, given.seed),
        "training": trained(given.steps, given.seed),
    }
    console = Console(width=200)
    console.print(table("from float64 Gram matrices", rows))
    console.print(table("float32 Gram matrices, at most 64 tasks", [found["float32"]]))
    console.print(table("real training steps", found["training"]))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
