"""Before a release: does what would be published work where the repository is not?

python release/check.py [--python PYTHON] [--extras NAMES]

Builds the source distribution, and the wheel from it, and installs each in a fresh environment:
first alone, then with its extras. There, in an empty folder, every command line and the first
examples must work; without an extra, each must name it in one line. A row is printed for every
step, and the exit status is 1 if one of them failed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
PYTORCH = "torch==2.13.0"
EXTRAS = "runtime,proofs,reference,highs,network,parquet,tensorboard"
BACKEND = ("build==1.6.1",)
LONGEST = 1800.0
"""Seconds for one step; PyTorch may be a large download."""
COMMAND_LINES = {
    "fairopt-auction": "mechanisms",
    "fairopt-prove": "proofs",
    "fairopt-run": "fl_runtime",
}
HINT = re.compile(r"error: \w+ is not installed: pip install 'fairopt\[\w+\]'\n")
SILENT = re.compile("")
NUMPY_ALONE = """
import sys, fairopt
assert fairopt.__file__.startswith(sys.prefix), fairopt.__file__
loaded = {"scipy", "numba", "torch", "rich"} & set(sys.modules)
assert not loaded, loaded
"""
FIRST_ANSWERS = """
import fairopt, mechanisms
assert fairopt.fairgrad([[2.0, 1.0], [1.0, 2.0]], alpha=2.0).require().ok
rates = fairopt.alpha_fair_allocation([[1, 1, 0], [1, 0, 1]], [1.0, 2.0], alpha=1.0).require().rates
assert rates.round(3).tolist() == [0.423, 0.577, 1.577]
bids = [[2.0, 9.0], [3.0, 4.0], [5.0, 1.0], [8.0, 6.0]]
assert mechanisms.max_min_fair(bids, budget=24.0).spend == 22.0
"""
NO_TORCH = """
import fairopt
try:
    import fairopt.torch
except fairopt.MissingExtra as error:
    assert str(error) == "torch is not installed: pip install 'fairopt[torch]'"
"""
COMMANDS = "from typer.main import get_command; from {}.__main__ import app; "
COMMANDS += "print(*getattr(get_command(app), 'commands', ()))"
BIDS = "client,mnist,cifar\nann,1,5\nbob,2,1\ncay,4,3\n"
FILED_CLAIM = "max-min-fair-floor-for-all-sizes"
"""It reads theories of Rocq and recorded auctions, which are no Python files."""
SHORT = ("--set", "num-server-rounds=2", "--set", "seeds=[0]")
EXAMPLES = ("fairgrad_plain_torch.py", "fair_shares_on_polytopes.py", "audit_your_own_auction.py")


class StepFailed(Exception):
    """A step did not do what it should."""


@dataclass
class Report:
    """Rows of the table: what was done, seconds, and the last lines of what went wrong."""

    failed: list[str] = field(default_factory=list)

    def step(self, what: str, command: Sequence[object], folder: Path, **wanted: object) -> str:
        """Run a command; return what it printed on standard output, or nothing if it failed."""
        start, printed, trouble = time.perf_counter(), "", ""
        try:
            printed = _run(command, folder, **wanted)  # type: ignore[arg-type]
        except StepFailed as error:
            trouble = str(error)
            self.failed.append(what)
        seconds = time.perf_counter() - start
        print(f"{'FAILED' if trouble else 'passed':8}{seconds:7.1f} s  {what}", flush=True)
        if trouble:
            print("\n".join(f"{'':19}{line}" for line in trouble.splitlines()[-12:]), flush=True)
        return printed


def _run(
    command: Sequence[object],
    folder: Path,
    status: int = 0,
    error: re.Pattern[str] | None = None,
) -> str:
    """Standard output of a command that must end with a status, and with that on standard error."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    try:
        done = subprocess.run(
            [str(word) for word in command],
            cwd=folder,
            env={**clean, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as trouble:
        raise StepFailed(str(trouble)) from None
    if done.returncode != status:
        raise StepFailed(f"{done.stdout}{done.stderr}\nended with {done.returncode}, not {status}")
    if error is not None and not error.fullmatch(done.stderr):
        raise StepFailed(f"{done.stderr}\nis not one line like {error.pattern}")
    return done.stdout


@dataclass(frozen=True)
class Environment:
    """A fresh environment, and an empty folder in which everything is run."""

    report: Report
    folder: Path
    title: str

    def made_by(self, python: str) -> Environment:
        """This environment, once it exists."""
        self.folder.mkdir()
        self.report.step(f"{self.title}: make it", (python, "-m", "venv", "env"), self.folder)
        self.empty.mkdir()
        return self

    @property
    def empty(self) -> Path:
        """Where commands run."""
        return self.folder / "empty"

    def program(self, name: str) -> Path:
        """A program of the environment."""
        found = self.folder / "env" / ("Scripts" if os.name == "nt" else "bin")
        return found / name

    def step(self, what: str, name: str, *words: object, **wanted: object) -> str:
        """Run a program of the environment."""
        command = (self.program(name), *words)
        return self.report.step(f"{self.title}: {what}", command, self.empty, **wanted)

    def install(self, what: str, *requirements: object) -> None:
        """Install with the pinned versions."""
        words = ("-m", "pip", "install", "--quiet", "--constraint", CONSTRAINTS, *requirements)
        self.step(what, "python", *words)


def built(report: Report, folder: Path, python: str) -> tuple[list[Path], list[Path]]:
    """The source distribution, and the wheel that is built from it."""
    tools = Environment(report, folder / "tools", "build").made_by(python)
    tools.step("install the build tool", "python", "-m", "pip", "install", "--quiet", *BACKEND)
    dist = folder / "dist"
    tools.step("both distributions", "python", "-m", "build", "--outdir", dist, ROOT)
    return sorted(dist.glob("*.whl")), sorted(dist.glob("*.tar.gz"))


def check_alone(here: Environment) -> None:
    """What works without extras works, and what does not says so in one line."""
    here.step("importing loads NumPy alone", "python", "-c", NUMPY_ALONE)
    here.step("fairopt --help", "fairopt", "--help")
    here.step("fairopt compile --help", "fairopt", "compile", "--help")
    here.step("fairopt version", "fairopt", "version")
    here.step("fairopt compile", "fairopt", "compile")
    here.step("first answers, with nothing to compile", "python", "-c", FIRST_ANSWERS, error=SILENT)
    here.step("fairopt.torch names its extra", "python", "-c", NO_TORCH)
    for script, package in COMMAND_LINES.items():
        here.step(f"{script} names its extra", script, status=2, error=HINT)
        words = ("-m", package, "--help")
        here.step(f"python -m {package} names it", "python", *words, status=2, error=HINT)


def check_helps(here: Environment, script: str) -> None:
    """Every command says how it is called."""
    package = COMMAND_LINES[script]
    here.step(f"{script} --help", script, "--help")
    here.step(f"python -m {package} --help", "python", "-m", package, "--help")
    commands = here.step(f"commands of {script}", "python", "-c", COMMANDS.format(package))
    for command in commands.split():
        here.step(f"{script} {command} --help", script, command, "--help")


def check_with(here: Environment, file: Path, extras: str) -> None:
    """The first examples of every package whose extra is tried."""
    if "runtime" in extras:
        here.install("install PyTorch", PYTORCH)
    if extras:
        here.install("install the extras", f"{file}[{extras}]")
        here.step("pip check", "python", "-m", "pip", "check")
    if "proofs" in extras:
        check_proofs(here)
    if "runtime" in extras:
        check_runtime(here)


def check_proofs(here: Environment) -> None:
    """An auction, its audit, and claims."""
    check_helps(here, "fairopt-auction")
    check_helps(here, "fairopt-prove")
    (here.empty / "bids.csv").write_text(BIDS, encoding="utf-8")
    here.step("an auction", "fairopt-auction", "run", "bids.csv", "--budget", "15")
    here.step("its audit", "fairopt-auction", "audit", "bids.csv", "--budget", "15")
    here.step("a claim", "fairopt-prove", "--only", "c1-paying-what-is-asked")
    here.step("a claim that reads files", "fairopt-prove", "--only", FILED_CLAIM)


def check_runtime(here: Environment) -> None:
    """Configurations, runs, and everything that the README and the examples show."""
    check_helps(here, "fairopt-run")
    here.step("names and experiments", "fairopt-run", "list")
    here.step("a configuration to start from", "fairopt-run", "init", "mine.toml")
    here.step("it runs", "fairopt-run", "run", "mine.toml", *SHORT)
    here.step("a shipped experiment by name", "fairopt-run", "run", "demo", *SHORT)
    here.step("it is resumed", "fairopt-run", "resume", "runs/demo")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    snippets = "\n".join(re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL))
    here.step("the README's snippets", "python", "-c", snippets)
    for name in EXAMPLES:
        (here.empty / name).write_bytes((ROOT / "examples" / name).read_bytes())
        here.step(f"examples/{name}", "python", name)


def main() -> int:
    """Check both distributions; return the exit status."""
    parser = argparse.ArgumentParser(description="Build and try what would be published.")
    parser.add_argument("--python", default=sys.executable, help="interpreter to try")
    parser.add_argument("--extras", default=EXTRAS, help="extras to try as well; '' for none")
    wanted = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory(prefix="fairopt-release-") as name:
        wheels, sources = built(report, Path(name), wanted.python)
        if len(wheels) != 1 or len(sources) != 1:
            report.failed.append("one wheel and one source distribution")
        for kind, file in zip(("wheel", "sdist"), (*wheels, *sources), strict=False):
            here = Environment(report, Path(name) / kind, kind).made_by(wanted.python)
            here.install("install it alone", file)
            check_alone(here)
            check_with(here, file, wanted.extras)
    print(f"{len(report.failed)} steps failed" if report.failed else "all steps passed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
