"""`python -m PACKAGE WORDS` in processes that are forked from one that has loaded the packages.

Each is a process of its own, which can be killed without harm to anybody, and runs what `python -m`
runs. It only does not import PyTorch again, which takes longer than a small run. What importing
does, and what happens when the interpreter ends, is for tests that start Python itself.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from multiprocessing import forkserver
from pathlib import Path

PRELOADED = (
    "fl_runtime.running.experiment",
    "fl_runtime.configuration.toml_files",
    "fl_runtime.reporting.report",
    "fl_runtime.running.progress",
    "fl_runtime.catalogue",
    "torch._dynamo",  # imported by the first optimiser
    "matplotlib.pyplot",
    "sklearn.datasets",
    "mechanisms.auctions.kernels.exact_comparison",
    "mechanisms.auctions.kernels.menus",
    "mechanisms.auctions.kernels.shares",
    "mechanisms.auctions.kernels.spending",
    "mechanisms.auctions.kernels.water_filling",
    "mechanisms.audits.audit",
    "mechanisms.audits.collusion_search",
    "mechanisms.studies.comparison",
    "typer",
)
"""No `__main__` among them: each process executes its own."""


def ready() -> multiprocessing.context.BaseContext:
    """How to start processes; the one that others are forked from is there afterwards."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    forkserver.ensure_running()
    return context


def start(
    package: str, *words: object, out: Path | None = None, cwd: Path | None = None
) -> multiprocessing.process.BaseProcess:
    """Start a command; what it prints goes to the files `out` and `err` of a folder, or nowhere."""
    context = ready()
    streams = [os.devnull] * 2 if out is None else [str(out / name) for name in ("out", "err")]
    arguments = (package, tuple(map(str, words)), streams, str(cwd or Path.cwd()))
    process = context.Process(target=_main, args=arguments)
    process.start()
    return process


def command(
    package: str, *words: object, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    with tempfile.TemporaryDirectory() as folder:
        process = start(package, *words, out=Path(folder), cwd=cwd)
        process.join()
        texts = [(Path(folder) / name).read_text(encoding="utf-8") for name in ("out", "err")]
        return subprocess.CompletedProcess(list(map(str, words)), process.exitcode or 0, *texts)


def _main(package: str, words: tuple[str, ...], streams: list[str], cwd: str) -> None:
    """What `python -m package words` does, in this process."""
    for number, path in enumerate(streams, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ.pop("COLUMNS", None)  # pytest imports readline, which sets it for all children
    os.chdir(cwd)
    sys.path.insert(0, cwd)
    sys.argv = [package, *words]
    runpy.run_module(package, run_name="__main__", alter_sys=True)
