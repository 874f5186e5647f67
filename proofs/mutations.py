"""Would a mistake be caught? Seeded mistakes in solvers and auctions, one at a time.

`python -m proofs.mutations [--only PATTERN] [--list]` copies the packages to a temporary folder,
changes one place of the copy, and runs the claims of the touched file there, to the first that
fails, in a process of their own. It prints which mistakes were caught, and by which claim, and
exits with 1 if one was missed or no longer fits the source. Before all that the same claims must
hold of the packages as they are: where one fails anyway, nothing is caught. The packages themselves
are never changed; stopping the run (Ctrl-C, kill) stops the claims too, and removes the copy.

Mistakes in compiled kernels recompile them, which takes minutes each; all together take two hours
of one core.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from proofs.mutation_list import MUTATIONS, PACKAGES, Mutation, claims_of

ROOT = Path(__file__).parents[1]
SECONDS = 900
"""A mistake that makes claims run longer than this counts as caught."""
BASELINE_SECONDS = 3600
"""For all claims of all touched files, kernels compiled first."""
UNSOUND = 2
"""Exit status where claims fail without any mistake."""
CAUGHT, MISSED, STALE = "caught", "MISSED", "STALE"


@dataclass(frozen=True)
class Outcome:
    """What happened to one mistake.

    Args:
        mutation: The mistake.
        result: `CAUGHT`, `MISSED`, or `STALE` if the place is no longer in the source.
        by: The claim that failed, or how the run ended.
        seconds: Of the run.
    """

    mutation: Mutation
    result: str
    by: str
    seconds: float

    def __str__(self) -> str:
        where = f"{self.mutation.file}: {self.mutation.what}"
        return f"{self.result:<7} {self.seconds:6.1f} s  {where}  [{self.by}]"


def run(mutations: Iterable[Mutation]) -> Iterator[Outcome]:
    """Apply and try mistakes one after the other, each on a fresh copy."""
    for mutation in mutations:
        with tempfile.TemporaryDirectory(prefix="fairopt-mutation-") as folder:
            copy = Path(folder)
            for package in PACKAGES:
                shutil.copytree(ROOT / package, copy / package)
            yield run_one(mutation, copy)


def run_one(mutation: Mutation, copy: Path) -> Outcome:
    """Change one place of a copy of the packages and run the claims of that file."""
    start = time.perf_counter()
    if not apply(mutation, copy):
        return Outcome(mutation, STALE, "the place occurs not exactly once in the source", 0.0)
    try:
        done = _claims(claims_of(mutation.file), copy, SECONDS)
    except subprocess.TimeoutExpired:
        return Outcome(mutation, CAUGHT, "it does not end", time.perf_counter() - start)
    return Outcome(mutation, *_reading(done), time.perf_counter() - start)


def baseline(mutations: Iterable[Mutation]) -> str | None:
    """What fails without any mistake, or None: then whatever fails later is a mistake's doing."""
    patterns = dict.fromkeys(name for each in mutations for name in claims_of(each.file))
    result, by = _reading(_claims(patterns, ROOT, BASELINE_SECONDS))
    return by if result == CAUGHT else None


def _claims(
    patterns: Iterable[str], root: Path, seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run the claims that the patterns name on the packages below a folder."""
    names = [word for pattern in patterns for word in ("--only", pattern)]
    command = [sys.executable, "-m", "proofs", "--json", "--stop", *names]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, timeout=seconds
    )


def apply(mutation: Mutation, copy: Path) -> bool:
    """Change the place if it occurs exactly once."""
    path = copy / mutation.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutation.old) != 1:
        return False
    path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    return True


def _reading(done: subprocess.CompletedProcess[str]) -> tuple[str, str]:
    """Result and reason of a finished run."""
    try:
        claims = json.loads(done.stdout)["claims"]
    except json.JSONDecodeError:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return CAUGHT, f"the claims do not run: {last[:80]}"
    failed = [c["claim"] for c in claims if c["result"] != "holds"]
    accepted = [c["claim"] for c in claims if not c["control_rejected"]]
    if failed:
        return CAUGHT, failed[0]
    if accepted:
        return CAUGHT, f"the negative control of {accepted[0]} is accepted"
    return MISSED, f"{len(claims)} claims hold"


def main(
    only: Annotated[str, typer.Option(help="Only mistakes whose file contains this.")] = "",
    listing: Annotated[bool, typer.Option("--list", help="Print them and stop.")] = False,
) -> None:
    """Run the seeded mistakes; exit with 1 if one was missed or no longer fits the source."""
    chosen = [mutation for mutation in MUTATIONS if only in mutation.file]
    if listing:
        sys.stdout.writelines(f"{m.file}: {m.what}\n" for m in chosen)
        return
    if not chosen:
        sys.stderr.write(f"--only {only}: no mistake is in such a file\n")
        raise typer.Exit(UNSOUND)
    signal.signal(signal.SIGTERM, _end)
    failing = baseline(chosen)
    if failing is not None:
        sys.stderr.write(f"without any mistake: {failing}\n")
        raise typer.Exit(UNSOUND)
    results = []
    for outcome in run(chosen):
        sys.stdout.write(f"{outcome}\n")
        sys.stdout.flush()
        results.append(outcome.result)
    sys.stdout.write(f"{results.count(CAUGHT)} of {len(results)} mistakes are caught\n")
    raise typer.Exit(0 if results.count(CAUGHT) == len(results) else 1)


def _end(number: int, frame: object) -> None:
    """End like after Ctrl-C, so that the claims are stopped and the copy is removed."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    typer.run(main)
