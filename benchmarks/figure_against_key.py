"""A figure of a run against a number in which its arms differ: a line per setting of other keys.

For experiments whose arms are a grid. A claim compares two arms; this shows all of them with their
95 % intervals over seeds. Arms that lack the key or the figure are left out; an arm in which some
seed has no finite figure (a target that was never reached) is drawn as an open mark at the mean of
the others, without an interval. Keys are dotted, as in an arm.

Run with: python benchmarks/figure_against_key.py runs/results/fed-ast-buffers --figure
          time-to-targets --against algorithm.ratio --lines clients.partition
          clients.concentration algorithm.concurrency [--out fed-ast-buffers-ratio.png]
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import arm_configs
from fl_runtime.history import History
from fl_runtime.reporting.claim_results import figures
from fl_runtime.reporting.intervals import Interval, interval
from fl_runtime.reporting.report import read_run


@dataclass(frozen=True)
class Mark:
    """One arm.

    Attributes:
        line: Settings of the other keys.
        x: Value of the key.
        found: The figure, over the seeds that have it.
        seeds: How many seeds there are.
    """

    line: str
    x: float
    found: Interval
    seeds: int


def main() -> None:
    """Print and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--figure", required=True)
    parser.add_argument("--against", required=True)
    parser.add_argument("--lines", nargs="*", default=[])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    config, history = read_run(given.folder)
    found = marks(config, history, given.figure, given.against, given.lines)
    Console().print(table(found, given.figure, given.against))
    if given.out:
        draw(found, given.out, given.figure, given.against, config.run.title or "")


def marks(
    config: Config, history: History, figure: str, against: str, lines: Sequence[str]
) -> list[Mark]:
    """The arms that have the key and the figure, in the order of lines, then of the key."""
    found = []
    for name, arm in arm_configs(config).items():
        x = value(arm.model_dump(), against)
        if not isinstance(x, int | float) or name not in history.arms:
            continue
        seen = np.array(list(figures(history, arm, name, figure).values()))
        if np.isfinite(seen).any():
            line = ", ".join(setting(arm.model_dump(), key) for key in lines) or figure
            found.append(Mark(line, float(x), interval(seen[np.isfinite(seen)]), seen.size))
    order = list(dict.fromkeys(mark.line for mark in found))
    return sorted(found, key=lambda mark: (order.index(mark.line), mark.x))


def value(tree: Mapping[str, Any], key: str) -> Any:
    """What stands at a dotted key; None if nothing does.

    Example:
        >>> value({"clients": {"num_clients": 3}}, "clients.num-clients")
        3
    """
    node: Any = tree
    for part in key.replace("-", "_").split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def setting(tree: Mapping[str, Any], key: str) -> str:
    """A key's last part with its value, for a legend."""
    return f"{key.rpartition('.')[2]} {value(tree, key)}"


def table(found: Sequence[Mark], figure: str, against: str) -> Table:
    """One row per arm."""
    drawn = Table("line", against, figure, "seeds with a figure")
    for mark in found:
        counts = f"{mark.found.count} of {mark.seeds}"
        drawn.add_row(mark.line, f"{mark.x:g}", f"{mark.found:.3g}", counts)
    return drawn


def draw(found: Sequence[Mark], path: Path, figure: str, against: str, title: str) -> None:
    """Lines with intervals, evenly spaced over the values of the key."""
    import matplotlib

    matplotlib.use("Agg", force=False)
    from matplotlib import pyplot as plt

    places = sorted({mark.x for mark in found})
    lines = list(dict.fromkeys(mark.line for mark in found))
    with plt.rc_context({"text.parse_math": False, "font.size": 10}):
        picture, axes = plt.subplots(figsize=(8, 5), layout="constrained")
        for number, line in enumerate(lines):
            mine = [mark for mark in found if mark.line == line]
            shift = 0.06 * (number - (len(lines) - 1) / 2)
            at = [places.index(mark.x) + shift for mark in mine]
            means = [mark.found.mean for mark in mine]
            halves = [
                mark.found.half_width if mark.found.count == mark.seeds else 0 for mark in mine
            ]
            drawn = axes.errorbar(
                at, means, np.nan_to_num(halves), capsize=3, marker="o", label=line
            )
            for x, mark in zip(at, mine, strict=True):
                if mark.found.count < mark.seeds:
                    colour = drawn.lines[0].get_color()
                    axes.plot(x, mark.found.mean, "o", mfc="white", color=colour, zorder=5)
        axes.set_xticks(range(len(places)), [f"{x:g}" for x in places])
        axes.set(xlabel=against, ylabel=figure, title=title)
        axes.set_ylim(bottom=0.0)
        axes.grid(alpha=0.25)
        axes.legend()
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.savefig(path, dpi=100)
        plt.close(picture)


if __name__ == "__main__":
    main()
