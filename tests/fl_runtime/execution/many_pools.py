"""Many random configurations by worker processes.

    python -m tests.fl_runtime.execution.many_pools 100 [FIRST]

Each configuration of `twin.draws` (all algorithms, with drop-outs, failures, kept optimisers and
whatever else they have) runs in one process, by two workers and by three: the same bytes of history
and models. What `test_pool` tries of two algorithms; too long for the suite.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from typing import Any

from rich.console import Console

from fairopt.errors import InvalidInput
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.history import encode_row
from fl_runtime.running.experiment import run
from tests.fl_runtime.twin.draws import drawn

WORKERS = (1, 2, 3)
EXECUTORS = ("sequential", "stacked", "dense")


def history(tree: dict[str, Any], how: str, workers: int) -> bytes:
    """The bytes of a run's history, with stacks of two clients where there are stacks."""
    few = {} if how == "sequential" else {"clients_per_stack": 2}
    run_ = {**tree["run"], "workers": workers, "executor": how, **few}
    return b"".join(map(encode_row, run(check_config({**tree, "run": run_})).rows))


def main(count: int, first: int = 0) -> int:
    """Compare so many configurations from a number on; the number of those that differ."""
    logging.disable(logging.WARNING)  # a line for every run that trains jointly
    console, alike, differ = Console(), Counter[str](), 0
    for number in range(first, first + count):
        tree, how = drawn(number), EXECUTORS[number % len(EXECUTORS)]
        algorithm = tree["run"]["algorithm"]
        try:
            found = {history(tree, how, workers) for workers in WORKERS}
        except InvalidInput as error:
            console.print(f"{number} {algorithm} {how}: {error}", markup=False)
            continue
        alike[algorithm] += len(found) == 1
        differ += len(found) > 1
        result = "alike" if len(found) == 1 else "DIFFERS"
        console.print(f"{number} {algorithm} {how}: {result}", markup=False)
    console.print(", ".join(f"{name} {number}" for name, number in sorted(alike.items())))
    console.print(f"{sum(alike.values())} alike, {differ} differ")
    return differ


if __name__ == "__main__":
    raise SystemExit(min(main(*map(int, sys.argv[1:])), 1))
