"""Kill a run at random moments, resume it every time, and compare with an undisturbed one.

Each configuration is run once in whole. Then it is run again in a process that gets SIGKILL at a
random moment of its work (after a random number of further history lines, and a little later by
the clock), is resumed, killed again, and so on; at last it is resumed to its end. The two histories
must be the same bytes. Without configurations a small one in rounds and a small asynchronous one
are taken.

    python benchmarks/kill_and_resume.py [CONFIG.toml ...] [--moments 20] [--seed 0]
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from fl_runtime.running.writer import HISTORY

SMALL = """
[run]
algorithm = "{algorithm}"
num-server-rounds = 60
[[task]]
name = "wine"
data = "wine"
model = "mlp"
hidden = [4]
[[task]]
name = "iris"
data = "iris"
model = "linear"
[clients]
num-clients = 8
dropout = 0.1
failures = 0.1
delay = {{ model = "pareto" }}
availability = {{ model = "on-off", on = 4.0, off = 1.0 }}
[recruitment]
rule = "budget-fair"
budget = 6.0
every = 5
drift = {{ model = "mean-reverting" }}
"""
ARMS = {"in rounds": "fed-fair-mmfl", "asynchronous": "fed-buff"}

JITTER = 0.05
"""Seconds, a few rounds of a small run: kills fall anywhere in a round, not only after a row."""


def start(*words: object) -> subprocess.Popen[bytes]:
    """A run in a process of its own."""
    command = [sys.executable, "-m", "fl_runtime", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def lines_of(folder: Path) -> int:
    """Lines in the history so far."""
    history = folder / HISTORY
    return history.read_bytes().count(b"\n") if history.exists() else 0


def kill_at(process: subprocess.Popen[bytes], folder: Path, lines: int, wait: float) -> bool:
    """SIGKILL a little after the history has that many lines; whether it was still working."""
    while process.poll() is None and lines_of(folder) < lines:
        time.sleep(0.0005)
    time.sleep(wait)
    working = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return working


def study(config: Path, moments: int, seed: int, parent: Path) -> tuple[int, int, bool]:
    """Kills that hit a working process, history lines, and whether the bytes agree."""
    whole, killed = parent / "whole", parent / "killed"
    start("run", config, "--out", whole).wait()
    lines, rng = lines_of(whole), random.Random(seed)
    hits, process = 0, start("run", config, "--out", killed)
    for at in sorted(rng.randrange(1, lines) for _ in range(moments)):
        hits += kill_at(process, killed, at, rng.uniform(0.0, JITTER))
        process = start("resume", killed)
    process.wait()
    same = (whole / HISTORY).read_bytes() == (killed / HISTORY).read_bytes()
    return hits, lines, same


def report(name: str, config: Path, moments: int, seed: int) -> None:
    """One line: did killing change a byte?"""
    with tempfile.TemporaryDirectory() as parent:
        hits, lines, same = study(config, moments, seed, Path(parent))
    word = "the same bytes" if same else "OTHER BYTES"
    print(f"{name}: {hits} of {moments} kills while working, {lines} lines: {word}", flush=True)


def main(
    configs: Annotated[list[Path] | None, typer.Argument(help="Configurations.")] = None,
    moments: Annotated[int, typer.Option(help="Kills of each.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
) -> None:
    """Say for each configuration whether killing it changed a byte."""
    for config in configs or ():
        report(str(config), config, moments, seed)
    if configs:
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, algorithm in ARMS.items():
            config = Path(folder, "small.toml")
            config.write_text(SMALL.format(algorithm=algorithm))
            report(name, config, moments, seed)


if __name__ == "__main__":
    typer.run(main)
