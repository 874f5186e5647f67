"""What the K x K solvers promise, measured: residuals, statuses, scaling, over all families.

Three tables. FairGrad by family: worst residual of OPTIMAL answers, worst half-ulp floor of
ROUNDING_LIMITED ones, and how many of each status, over alpha from 0.01 to 200 and K from 1 to 256.
Scaling: gradients times 1e-6 and 1e6, worst relative change of the weights after the scaling law.
Fuzz: statuses of every solver on random degenerate problems.

Run with: python -m tests.fairopt.figures [--draws 3] [--fuzz 20000], in the repository.
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from fairopt import (
    Status,
    conflict_averse,
    dual_cone_projection,
    fairgrad,
    fairgrad_residual,
    min_norm,
)
from tests.fairopt import fuzzing, problems

TASKS = (1, 2, 3, 8, 40, 256)
SCALED_TASKS = (2, 3, 8, 40)
SCALES = (1e-6, 1e6)
SOLVERS = {
    "fairgrad": lambda A, rng: fairgrad(A, rng.choice(fuzzing.ALPHAS, len(A))),
    "conflict_averse": lambda A, rng: conflict_averse(A, rng.choice([0.1, 0.4, 0.9, 2.0], len(A))),
    "min_norm": lambda A, rng: min_norm(A),
    "dual_cone_projection": lambda A, rng: dual_cone_projection(A, rng.normal(size=A.shape[:2])),
}


def families(draws: int, rng: np.random.Generator) -> list[list[Any]]:
    """Rows of the first table."""
    rows = []
    for name, make in problems.SOLVABLE.items():
        counts: Counter[str] = Counter()
        worst, floor = 0.0, 0.0
        for K in TASKS:
            for _ in range(draws if K < 256 else 1):
                G = make(K, rng)
                A = G @ G.T
                for alpha in problems.ALPHAS:
                    solution = fairgrad(A, alpha)
                    counts[solution.status.name] += 1
                    if solution.status == Status.OPTIMAL:
                        worst = max(worst, float(fairgrad_residual(A, alpha, solution.weights)))
                    else:
                        floor = max(floor, float(solution.floor))
        rows.append([name, f"{worst:.1e}", f"{floor:.1e}", _shown(counts)])
    return rows


def scaling(draws: int, rng: np.random.Generator) -> list[list[Any]]:
    """Rows of the second table."""
    rows = []
    for name, make in problems.SOLVABLE.items():
        worst, solved = 0.0, 0
        for K in SCALED_TASKS:
            for _ in range(draws):
                A = make(K, rng)
                A = A @ A.T
                for alpha in problems.ALPHAS:
                    plain = fairgrad(A, alpha)
                    for scale in SCALES:
                        scaled = fairgrad(A * scale**2, alpha)
                        law = scale ** (-2.0 * alpha / (1.0 + alpha))
                        if plain.ok and scaled.ok:
                            off = np.abs(scaled.weights / law - plain.weights)
                            worst = max(worst, float((off / plain.weights.max()).max()))
                            solved += 1
        rows.append([name, f"{worst:.1e}", solved])
    return rows


def fuzz(count: int, rng: np.random.Generator) -> list[list[Any]]:
    """Rows of the third table."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in SOLVERS}
    for name, solve in SOLVERS.items():
        while counts[name].total() < count:
            A = fuzzing.gram_batch(int(rng.choice([1, 2, 3, 4, 6, 8, 12])), 200, rng)
            codes = np.asarray(solve(A, rng).status).tolist()
            counts[name].update(Status(code).name for code in codes)
    return [[name, _shown(found)] for name, found in counts.items()]


def _shown(counts: Counter[str]) -> str:
    """The counts, most frequent first."""
    return ", ".join(f"{name} {number}" for name, number in counts.most_common())


def _print(console: Console, title: str, columns: list[str], rows: list[list[Any]]) -> None:
    """One table."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*map(str, row))
    console.print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--fuzz", type=int, default=20_000, help="problems of each solver")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    console = Console(width=120)
    columns = ["family", "worst OPTIMAL residual", "worst floor of the others", "statuses"]
    _print(console, "fairgrad by family", columns, families(arguments.draws, rng))
    columns = ["family", "worst relative change", "problems"]
    _print(console, "gradients x 1e-6 and x 1e6", columns, scaling(arguments.draws, rng))
    _print(console, "fuzz", ["solver", "statuses"], fuzz(arguments.fuzz, rng))


if __name__ == "__main__":
    main()
