"""Command line, also called `fairopt`.

python -m fairopt version
python -m fairopt compile

`version` prints what a report of a mistake should hold: the versions that are installed.

`compile` compiles every kernel that is not on disk yet, so that no later process has to: when an
image is built, or before many processes start. It needs no more than the package itself. It shows a
progress bar at a terminal where `rich` is installed, and a line for each kernel elsewhere.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import pkgutil
import platform
import sys
from collections.abc import Iterator, Sequence

from fairopt import __version__
from fairopt.extras import hint

KERNELS = ("fairopt.kernels", "mechanisms.auctions.kernels")
"""Packages whose modules are compiled by importing them; both are always installed."""
BASE = ("numpy", "scipy", "numba")
OPTIONAL = (
    ("torch", "torch"),
    ("cvxpy", "reference"),
    ("networkx", "network"),
    ("typer", "mechanisms"),
    ("pyarrow", "parquet"),
    ("hypothesis", "proofs"),
    ("pydantic", "runtime"),
    ("tensorboard", "tensorboard"),
)
"""For each extra a distribution that it brings and the ones before do not."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    called = "fairopt" if sys.argv[0].endswith("fairopt") else "python -m fairopt"
    parser = argparse.ArgumentParser(prog=called, description="Exact fair solvers.")
    parser.add_argument("--version", action="version", version=f"fairopt {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("compile", help="compile every kernel now, so that no first call has to")
    commands.add_parser("version", help="print the versions of fairopt, Python and the packages")
    wanted = parser.parse_args(arguments)
    return compile_all() if wanted.command == "compile" else print_versions()


def print_versions() -> int:
    """Print the versions that are installed, one to a line; return the exit status."""
    print(f"fairopt {__version__}")
    print(f"python {platform.python_version()} ({platform.platform()})")
    for name in BASE:
        print(f"{name} {importlib.metadata.version(name)}")
    for name, extra in OPTIONAL:
        try:
            print(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            print(hint(name, extra))
    return 0


def compile_all() -> int:
    """Import every module of kernels, which compiles or finds them; return the exit status."""
    from fairopt.kernels import kernel_cache

    names = sorted(_modules())
    kernel_cache.say_nothing()
    for name in _with_progress(names):
        importlib.import_module(name)
    folder = kernel_cache.writable()
    if folder is None:
        print("fairopt: no folder can be written, so nothing is kept", file=sys.stderr)
        return 1
    print(f"fairopt: every kernel is ready in {folder}")
    return 0


def _modules() -> list[str]:
    """All modules of compiled kernels."""
    packages = [importlib.import_module(name) for name in KERNELS]
    found = [pkgutil.walk_packages(each.__path__, f"{each.__name__}.") for each in packages]
    return [module.name for each in found for module in each if not module.ispkg]


def _with_progress(names: Sequence[str]) -> Iterator[str]:
    """The names one by one, with a bar on standard error, or a line for each name."""
    if importlib.util.find_spec("rich") is None or not sys.stderr.isatty():
        for number, name in enumerate(names, start=1):
            place = f"{number} of {len(names)}"
            print(f"fairopt: {place}, {name.rpartition('.')[2]}", file=sys.stderr, flush=True)
            yield name
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    what = TextColumn("{task.description}")
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), what)
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=len(names))
        for name in names:
            bar.update(task, description=name.rpartition(".")[2])
            yield name
            bar.advance(task)
        bar.update(task, description="")


if __name__ == "__main__":
    sys.exit(main())
