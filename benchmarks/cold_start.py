"""What the first call costs: seconds of processor time, with and without kernels on disk.

Each figure is from a process of its own. `alone` is the whole process, less an interpreter that
does nothing, with an empty cache folder: import, compile, solve. `after fairgrad` is the first call
in a process that has already called `fairgrad`, again with an empty folder. `warm` is as `alone`
with the kernels on disk, as every process but the first finds them. Processor time, not wall time,
so that neighbours count for little; medians over the runs.

Run with: python benchmarks/cold_start.py [--runs 3] [--only 'fairgrad*'] [--json FILE]
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

ROOT = Path(__file__).parents[1]
FIRST = "fairgrad"
CALLS = {
    FIRST: "f.fairgrad(A, 2.0)",
    "fairgrad, alpha = inf": "f.fairgrad(A, np.inf)",
    "fairgrad, nearly stationary": "f.fairgrad(near, 2.0)",
    "conflict_averse": "f.conflict_averse(A, 0.4)",
    "conflict_averse, nearly stationary": "f.conflict_averse(near, 1.5)",
    "min_norm": "f.min_norm(A)",
    "upgrad": "f.upgrad(A)",
    "dual_cone_projection": "f.dual_cone_projection(A, -np.ones(6))",
    "pareto_certificate": "f.pareto_certificate(A)",
    "dual_cone_from_gradients": "f.dual_cone_from_gradients(G, -np.ones(6))",
    "conflict_averse_from_gradients": "f.conflict_averse_from_gradients(H, 1.5)",
    "alpha_fair_allocation": "f.alpha_fair_allocation([[1, 1, 0], [1, 0, 1]], [1.0, 2.0], 1.0)",
}
CODE = """
import sys, time
import numpy as np
import fairopt as f
G = np.random.default_rng(0).normal(size=(6, 15)) + 0.3
A = G @ G.T
H = G - (1.0 - 1e-6) * G.mean(axis=0)
near = H @ H.T
seconds = []
for call in sys.argv[1:]:
    begin = time.process_time()
    eval(call)
    seconds.append(time.process_time() - begin)
print(*seconds)
"""


def process(folder: str, code: str, *calls: str) -> tuple[float, list[float]]:
    """Processor seconds of a process in all, and of each call."""
    paths = (str(ROOT), os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "NUMBA_CACHE_DIR": folder, "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    run = [sys.executable, "-c", code, *calls]
    started = subprocess.Popen(run, env=environment, stdout=-1, stderr=subprocess.DEVNULL)
    assert started.stdout is not None
    text = started.stdout.read()
    _, status, usage = os.wait4(started.pid, 0)
    started.returncode = os.waitstatus_to_exitcode(status)
    if started.returncode:
        raise RuntimeError(f"a process of {calls} ended with {started.returncode}")
    return usage.ru_utime + usage.ru_stime, [float(word) for word in text.split()]


def measure(name: str) -> dict[str, float]:
    """One run of one row."""
    interpreter, _ = process(os.devnull, "pass")
    call = CALLS[name]
    with tempfile.TemporaryDirectory() as folder:
        cold, _ = process(folder, CODE, call)
        warm, _ = process(folder, CODE, call)
    found = {"alone": cold - interpreter, "warm": warm - interpreter}
    if name != FIRST:
        with tempfile.TemporaryDirectory() as folder:
            found["after fairgrad"] = process(folder, CODE, CALLS[FIRST], call)[1][1]
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="*", help="pattern of the rows to measure")
    parser.add_argument("--json", type=Path, help="write the table to this file")
    arguments = parser.parse_args()
    console = Console(stderr=True)
    names = fnmatch.filter(CALLS, arguments.only)
    runs = [n for _ in range(arguments.runs) for n in names]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for name in track(runs, "measuring", console=console, transient=True):
        found[name].append(measure(name))
    rows = {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for name, runs in found.items()
    }
    columns = ("alone", "after fairgrad", "warm")
    table = Table("first call of", *columns, title="processor seconds", title_justify="left")
    for name, row in rows.items():
        table.add_row(name, *(f"{row[key]:.2f}" if key in row else "-" for key in columns))
    Console().print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
