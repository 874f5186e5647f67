"""`python -m mechanisms run` on large CSV files, start to table, beside a bare pass of `csv`."""

from __future__ import annotations

import csv
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

TASKS = 10
SIZES = {100_000: 5, 1_000_000: 3}
"""Clients -> rounds."""


def write(path, clients):
    """Lognormal bids of four decimals, every tenth missing."""
    rng = np.random.default_rng(0)
    bids, missing = rng.lognormal(size=(clients, TASKS)), rng.random((clients, TASKS)) < 0.1
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["client", *(f"task{s}" for s in range(TASKS))])
        for i, (row, none) in enumerate(zip(bids.round(4).tolist(), missing.tolist(), strict=True)):
            cells = ["" if no else bid for bid, no in zip(row, none, strict=True)]
            lines.writerow([f"c{i}", *cells])


def bare(path):
    """Rows of text, and nothing made of them."""
    with path.open(newline="") as file:
        return sum(1 for _ in csv.reader(file))


def command(path):
    """The command in a process of its own, with the default rule."""
    line = [sys.executable, "-m", "mechanisms", "run", str(path), "--budget", "50000"]
    subprocess.run(line, check=True, capture_output=True)


def seconds(action, path):
    """Time of one call."""
    start = time.perf_counter()
    action(path)
    return time.perf_counter() - start


def main() -> None:
    """Print medians."""
    print(f"{'clients':>9} {'MB':>5} {'csv s':>7} {'run s':>7} {'ratio':>6}")
    with tempfile.TemporaryDirectory() as folder:
        for clients, rounds in SIZES.items():
            path = Path(folder) / "bids.csv"
            write(path, clients)
            times = [(seconds(bare, path), seconds(command, path)) for _ in range(rounds)]
            text, whole = (statistics.median(each) for each in zip(*times, strict=True))
            size = path.stat().st_size / 1e6
            print(f"{clients:>9} {size:>5.0f} {text:>7.2f} {whole:>7.2f} {whole / text:>6.1f}")


if __name__ == "__main__":
    main()
