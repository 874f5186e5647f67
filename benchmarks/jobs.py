"""How much faster is a run by several processes, and does it leave the same bytes?

A run in one process and one with `--jobs N` take turns, as commands of their own. Wall-clock ratios
mean something on idle cores only. From processor seconds follows what N idle cores would take: the
serial run its own, the other what its first process spends, which nobody shares, and the N-th part
of what its workers spend.

    python benchmarks/jobs.py [CONFIG.toml] [--jobs 2] [--repeats 3] [--backend fork|loky]
                              [--set key=value]...
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from fl_runtime.running.writer import HISTORY


@dataclass(frozen=True)
class Spent:
    """What a command took: seconds by the clock, and of processors, itself and its workers."""

    wall: float
    own: float
    workers: float

    def on_idle_cores(self, jobs: int) -> float:
        """Seconds that it would take if nobody else were there."""
        return self.own + self.workers / jobs


def timed(*words: object) -> Spent:
    """Run a command to its end.

    A process that waits for its workers hands their seconds on; what it has spent itself it writes
    down as it ends.
    """
    note = Path(tempfile.mkstemp()[1])
    program = (
        "import atexit, os, pathlib, runpy, sys\n"
        "note = pathlib.Path(sys.argv.pop(1))\n"
        "atexit.register(lambda: note.write_text(' '.join(map(str, os.times()[:4]))))\n"
        "runpy.run_module('fl_runtime', run_name='__main__', alter_sys=True)\n"
    )
    began = time.perf_counter()
    command = [sys.executable, "-c", program, str(note), *map(str, words)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall = time.perf_counter() - began
    user, system, their_user, their_system = map(float, note.read_text().split())
    note.unlink()
    return Spent(wall, user + system, their_user + their_system)


def main(
    config: Annotated[Path, typer.Argument()] = Path("experiments/alpha.toml"),
    jobs: int = 2,
    repeats: int = 3,
    backend: str = "fork",
    changes: Annotated[list[str] | None, typer.Option("--set")] = None,
) -> None:
    """Print ratios, medians over the turns."""
    sets = [word for change in changes or () for word in ("--set", change)]
    walls, idle = [], []
    with tempfile.TemporaryDirectory() as parent:
        for turn in range(repeats):
            one, many = (Path(parent, f"{turn} {name}") for name in ("one", "many"))
            alone = timed("run", config, *sets, "--out", one)
            more = ("--jobs", jobs, "--backend", backend)
            side = timed("run", config, *sets, "--out", many, *more)
            walls.append(alone.wall / side.wall)
            idle.append(alone.on_idle_cores(1) / side.on_idle_cores(jobs))
            same = (one / HISTORY).read_bytes() == (many / HISTORY).read_bytes()
            word = "the same bytes" if same else "OTHER BYTES"
            print(
                f"{alone.wall:.1f} s against {side.wall:.1f} s; processors {alone.own:.1f} s "
                f"against {side.own:.1f} s and {side.workers:.1f} s of workers; {word}",
                flush=True,
            )
    found = (statistics.median(each) for each in (walls, idle))
    print(
        f"{config}, {jobs} jobs ({backend}), {os.cpu_count()} cores with a load of "
        f"{os.getloadavg()[0]:.1f}: {next(found):.2f} times as fast by the clock, "
        f"{next(found):.2f} times by processor seconds"
    )


if __name__ == "__main__":
    typer.run(main)
