"""Server rates for the arms of an experiment: the one that reaches all targets soonest.

Arms of different algorithms are not at their best at one rate, so a comparison at a common rate
compares rates. For every arm this runs the file at powers of sqrt(2), on seeds that it does not use
itself, from `--start` upwards and then downwards until two in a row are no better than the best,
and prints the mean virtual time until all targets are reached. A rate is given up once it cannot
become the best, so the mean of the others is not known. The rate is `server-learning-rate`, or
`mixing`, at most 1, where an algorithm has none. The rates in `experiments/fed-ast*.toml` were
chosen with it.

Run with: python benchmarks/server_rates.py [experiments/fed-ast.toml] [--arms fed-buff 'fed-ast*']
          [--start 1] [--seeds 100 101] [--json FILE]
"""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from fl_runtime.algorithms import ALGORITHMS
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import arm_configs, read_config
from fl_runtime.metrics.round_metrics import TIME_TO_TARGETS
from fl_runtime.reporting.claim_results import figures
from fl_runtime.running.experiment import run

SMALL = Path(__file__).parents[1] / "experiments" / "fed-ast-softmax-2.toml"
"""A few minutes; the largest of these files take an hour."""

SEEDS = (100, 101, 102, 103)
"""None of an experiment's own, so that an arm is not chosen by what it is judged by."""

SMALLEST, LARGEST = 1e-3, 1e3
"""Where a search gives up."""

PATIENCE = 2
"""Rates in a row that are no better than the best."""

Times = dict[float, list[float]]


def main() -> None:
    """Tune every arm."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", type=Path, nargs="?", default=SMALL)
    parser.add_argument("--arms", default=["*"], nargs="+", help="patterns of their names")
    parser.add_argument("--start", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    config = read_config(given.config)
    overlap = set(config.run.seeds) & set(given.seeds)
    if overlap:
        parser.error(f"seeds {sorted(overlap)} are those of the experiment")
    if config.run.time_limit is None:
        parser.error("an experiment with a time-limit is needed")
    found: dict[str, Times] = {}
    for name, alone in arm_configs(config.model_copy(update={"claim": ()})).items():
        if any(fnmatch.fnmatch(name, pattern) for pattern in given.arms):
            found[name] = tuned(alone, given.start, given.seeds)
            Console().print(table(f"{given.config.stem}: {name}", found[name]))
            if given.json:
                given.json.write_text(json.dumps(found, indent=1))


def tuned(config: Config, start: float, seeds: Sequence[int]) -> Times:
    """Times at every rate that one arm was tried at, per seed; infinite where it was given up."""
    keys = {field.name for field in dataclasses.fields(ALGORITHMS[config.run.algorithm])}
    key, largest = ("mixing", 1.0) if "mixing" in keys else ("server_learning_rate", LARGEST)

    def times(rate: float, best: float) -> list[float]:
        changed = config.model_copy(update={"algorithm": {**config.algorithm, key: rate}})
        return paired_times(changed, seeds, best * len(seeds))

    return searched(times, min(start, largest), largest)


def paired_times(config: Config, seeds: Sequence[int], left: float) -> list[float]:
    """Times until all targets, one per seed; infinite from where they cannot sum to less."""
    found: list[float] = []
    limit = config.run.time_limit or math.inf
    for seed in seeds:
        section = {"seeds": (seed,), "time_limit": min(limit, left - sum(found))}
        short = config.model_copy(update={"run": config.run.model_copy(update=section)})
        found += figures(run(short), short, config.run.algorithm, TIME_TO_TARGETS).values()
        if sum(found) >= left:
            break
    return found + [math.inf] * (len(seeds) - len(found))


def searched(times: Callable[[float, float], list[float]], start: float, largest: float) -> Times:
    """From the start upwards, then downwards."""
    found = {start: times(start, math.inf)}
    for direction in (1, -1):
        step, worse = 0, 0
        while worse < PATIENCE:
            step += direction
            rate = float(f"{2.0 ** (round(2.0 * math.log2(start) + step) / 2.0):.2g}")
            if not SMALLEST <= rate <= largest:
                break
            best = float(min(map(np.mean, found.values())))
            found[rate] = times(rate, best)
            worse = 0 if np.mean(found[rate]) < best else worse + 1
    return dict(sorted(found.items()))


def table(title: str, found: Times) -> Table:
    """Mean time per rate, the least of them marked."""
    drawn = Table("rate", "mean time until all targets", title=title)
    means = {rate: float(np.mean(times)) for rate, times in found.items()}
    for rate, mean in means.items():
        mark = " *" if mean == min(means.values()) < math.inf else ""
        drawn.add_row(f"{rate:g}", f"{mean:.1f}{mark}" if math.isfinite(mean) else "given up")
    return drawn


if __name__ == "__main__":
    main()
