"""Rates of `alpha_fair_allocation` beside solutions of 50 digits, on seven kinds of networks.

The exact rates are those of Newton's method in mpmath on the links that our prices call full, which
fails if they are the wrong links. Printed is the largest relative error of a rate over all flows
and seeds.

Run with: python benchmarks/allocation_accuracy.py [--flows 40] [--seeds 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

import fairopt

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.problems import networks
from benchmarks.problems.high_precision import exact_rates

ALPHAS = (0.5, 1.0, 2.0, 5.0, 20.0, 50.0, 100.0)


def error(name: str, alpha: float, flows: int, seed: int) -> float:
    """Largest relative rate error."""
    R, c, w = networks.problem(name, flows, seed)
    found = fairopt.alpha_fair_allocation(R, c, alpha, priority=w).require()
    exact = exact_rates(R.toarray(), c, alpha, w, found.prices)
    return max(abs(float(x / e - 1)) for x, e in zip(found.rates, exact, strict=True))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--flows", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the errors to this file")
    arguments = parser.parse_args()
    table = Table("network", *(f"alpha {alpha:g}" for alpha in ALPHAS), title="largest rate error")
    rows: dict[str, list[float]] = {}
    for name in networks.NAMES:
        rows[name] = [
            max(error(name, alpha, arguments.flows, seed) for seed in range(arguments.seeds))
            for alpha in ALPHAS
        ]
        table.add_row(name, *(f"{off:.0e}" for off in rows[name]))
    Console(width=120).print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
