"""Many random configurations: ``python -m tests.fl_runtime.twin.many 1000 [FIRST]``.

Prints the first place where the runtime and its twin differ, per configuration, and at the end a
table: configurations and the largest difference of each algorithm.
"""

from __future__ import annotations

import logging
import sys
from collections import defaultdict
from dataclasses import dataclass

from rich.console import Console
from rich.progress import track
from rich.table import Table

from fl_runtime.configuration.toml_files import check_config
from tests.fl_runtime.twin.agreement import compared
from tests.fl_runtime.twin.draws import drawn


@dataclass
class Tally:
    """What was seen of one algorithm."""

    agreed: int = 0
    differed: int = 0
    close_calls: int = 0
    rows: int = 0
    worst: float = 0.0


def main(count: int, first: int = 0) -> int:
    """Compare so many configurations from a number on; the number of those that differ."""
    logging.disable(logging.WARNING)  # a line for every run that trains jointly
    console, seen = Console(), defaultdict[str, Tally](Tally)
    for number in track(range(first, first + count), "configurations", console=console):
        tree = drawn(number)
        algorithm = tree["run"]["algorithm"]
        found, tally = compared(check_config(tree)), seen[algorithm]
        tally.rows += found.rows
        if found.close_call:
            tally.close_calls += 1
        elif found.agrees:
            tally.agreed += 1
            tally.worst = max(tally.worst, found.worst)
        else:
            tally.differed += 1
            console.print(f"{number} {algorithm}: {found.where}", markup=False)
    console.print(table(seen))
    return sum(tally.differed for tally in seen.values())


def table(seen: dict[str, Tally]) -> Table:
    """One line per algorithm, and their sum."""
    found = Table("algorithm", "agree", "differ", "close calls", "rows", "worst")
    for algorithm, t in sorted(seen.items()):
        cells = (t.agreed, t.differed, t.close_calls, t.rows)
        found.add_row(algorithm, *map(str, cells), f"{t.worst:.1e}")
    tallies = list(seen.values())
    sums = [
        sum(getattr(t, key) for t in tallies)
        for key in ("agreed", "differed", "close_calls", "rows")
    ]
    found.add_row("all", *map(str, sums), f"{max(t.worst for t in tallies):.1e}")
    return found


if __name__ == "__main__":
    raise SystemExit(min(main(*map(int, sys.argv[1:])), 1))
