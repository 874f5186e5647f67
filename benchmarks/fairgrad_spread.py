"""From which spread of units on FairGrad wins: a picture of `experiments/fairgrad-spread.toml`.

Arms of that file differ in the units that losses of tasks are counted in. A point is the mean over
seeds of Delta m (per cent worse than each task alone, lower is better) with 95 % intervals, over
the decades between the largest and the smallest unit of an arm.

Run with: python benchmarks/fairgrad_spread.py [runs/results/fairgrad-spread]
          [--out docs/fairgrad-spread.png]
(a folder that is not there yet is run first, in a few minutes; without --out nothing is drawn)
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import arm_configs, read_config
from fl_runtime.history import History
from fl_runtime.reporting.intervals import Interval, interval
from fl_runtime.reporting.plots import COLOURS
from fl_runtime.reporting.report import read_run
from fl_runtime.reporting.summary import percent_worse
from fl_runtime.runs import run

ROOT = Path(__file__).parents[1]

EXPERIMENT = ROOT / "experiments" / "fairgrad-spread.toml"

FOLDER = ROOT / "runs" / "results" / "fairgrad-spread"
"""Where `python -m fl_runtime results` runs it."""

ALONE = "alone"
"""The arm that trains every task by itself, whose units do not matter."""

Points = Mapping[float, Interval]


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if not given.folder.exists():
        run(read_config(EXPERIMENT), out=given.folder)
    lines = curves(*read_run(given.folder))
    if given.out:
        draw(lines, given.out)
    for label, points in lines.items():
        print(label, {round(x, 2): format(found, ".1f") for x, found in points.items()})


def curves(config: Config, history: History) -> dict[str, Points]:
    """Delta m over decades, for every method; arms are named "METHOD, so many decades"."""
    found: dict[str, dict[float, Interval]] = defaultdict(dict)
    for arm, alone in arm_configs(config).items():
        if arm != ALONE:
            worse = percent_worse(history, arm, ALONE, config.run.report_rounds)
            label = arm.rpartition(", ")[0] or arm
            found[label][decades(alone)] = interval(list(worse.values()))
    return {label: dict(sorted(points.items())) for label, points in found.items()}


def decades(config: Config) -> float:
    """Powers of ten between the largest and the smallest unit of a configuration's losses.

    A loss without a unit is counted in one.
    """
    tables = [task.loss if isinstance(task.loss, Mapping) else {} for task in config.task]
    units = [float(table.get("unit", 1.0)) for table in tables]
    return math.log10(max(units) / min(units))


def draw(lines: Mapping[str, Points], path: Path) -> None:
    """One line per method."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    for (label, points), colour in zip(lines.items(), COLOURS, strict=False):
        means = [found.mean for found in points.values()]
        bars = [found.half_width for found in points.values()]
        axes.errorbar([*points], means, bars, color=colour, marker="o", capsize=3, label=label)
    axes.axhline(0.0, color="black", linewidth=0.8)
    axes.set_xlabel("spread of the units: decades between the largest and the smallest")
    axes.set_ylabel("per cent worse than each task alone")
    axes.set_title("Five tasks on one trunk: lower is better")
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
