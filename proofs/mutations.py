"""Would a mistake be caught? Seeded mistakes, by the claims or by the tests that have to fail.

`python -m proofs.mutations [--only PATTERN] [--by tests|claims] [--list]` prints which mistakes
were caught, and by what, and exits with 1 if one was missed or no longer fits the source.

Mistakes in solvers and auctions are judged by claims, one at a time: the packages are copied to a
temporary folder, one place of the copy is changed, and the claims of the touched file run there, to
the first that fails, in a process of their own. Before all that the same claims must hold of the
packages as they are: where one fails anyway, nothing is caught. Mistakes in compiled kernels
recompile them, which takes minutes each; all together take two hours of one core.

Mistakes in `fairopt.torch` and in the runtime, which claims know nothing of, are judged by the test
suite (`mutations_by_tests`); all together take minutes of two cores.

The packages themselves are never changed; stopping the run (Ctrl-C, kill) stops the claims and
tests too, and removes what it made.
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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from fairopt.extras import exit_without
from proofs import runtime_mutation_list
from proofs.mutation_list import MUTATIONS, PACKAGES, Mutation, claims_of
from proofs.mutations_by_tests import Judge, record, workers

with exit_without("proofs"):
    import typer

ROOT = Path(__file__).parents[1]
SECONDS = 900
"""A mistake that makes claims run longer than this counts as caught."""
BASELINE_SECONDS = 3600
"""For all claims of all touched files, kernels compiled first."""
UNSOUND = 2
"""Exit status where claims fail without any mistake."""
CAUGHT, MISSED, STALE = "caught", "MISSED", "STALE"
NOT_ONCE = "the place occurs not exactly once in the source"


class Unsound(Exception):
    """Something fails without any mistake, so nothing can be caught."""


@dataclass(frozen=True)
class Outcome:
    """What happened to one mistake.

    Args:
        mutation: The mistake.
        result: `CAUGHT`, `MISSED`, or `STALE` if the place is no longer in the source.
        by: The claim or test that failed, or how the run ended.
        seconds: Of the run.
    """

    mutation: Mutation
    result: str
    by: str
    seconds: float

    def __str__(self) -> str:
        where = f"{self.mutation.file}: {self.mutation.what}"
        return f"{self.result:<7} {self.seconds:6.1f} s  {where}  [{self.by}]"


def run_by_claims(mutations: Sequence[Mutation]) -> Iterator[Outcome]:
    """Apply and try mistakes one after the other, each on a fresh copy.

    Raises:
        Unsound: A claim fails anyway.
    """
    failing = baseline(mutations)
    if failing is not None:
        raise Unsound(failing)
    for mutation in mutations:
        with tempfile.TemporaryDirectory(prefix="fairopt-mutation-") as folder:
            copy = Path(folder)
            for package in PACKAGES:
                shutil.copytree(ROOT / package, copy / package)
            yield run_one(mutation, copy)


def run_by_tests(mutations: Sequence[Mutation]) -> Iterator[Outcome]:
    """Try mistakes several at a time, each with the tests that reach its place.

    Raises:
        Unsound: A test fails anyway.
    """
    places: dict[int, Mutation] = {}
    for number, mutation in enumerate(mutations):
        if (ROOT / mutation.file).read_text(encoding="utf-8").count(mutation.old) == 1:
            places[number] = mutation
        else:
            yield Outcome(mutation, STALE, NOT_ONCE, 0.0)
    with workers() as found:
        suite = record(found, places)
        if suite.failing:
            raise Unsound(suite.failing)
        judge = Judge(found, suite)
        for number, seen in judge.all(places):
            result = CAUGHT if seen.by else MISSED
            by = ": ".join(filter(None, [seen.by, seen.why]))
            yield Outcome(places[number], result, by, seen.seconds)


def run_one(mutation: Mutation, copy: Path) -> Outcome:
    """Change one place of a copy of the packages and run the claims of that file."""
    start = time.perf_counter()
    if not apply(mutation, copy):
        return Outcome(mutation, STALE, NOT_ONCE, 0.0)
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
    failed = [c["claim"] for c in claims if c["result"] == "fails"]
    accepted = [c["claim"] for c in claims if not c["control_rejected"]]
    if failed:
        return CAUGHT, failed[0]
    if accepted:
        return CAUGHT, f"the negative control of {accepted[0]} is accepted"
    return MISSED, f"{len(claims)} claims hold"


def main(
    only: Annotated[str, typer.Option(help="Only mistakes whose file contains this.")] = "",
    by: Annotated[
        Literal["tests", "claims", "both"], typer.Option(help="Only mistakes judged by these.")
    ] = "both",
    listing: Annotated[bool, typer.Option("--list", help="Print them and stop.")] = False,
) -> None:
    """Run the seeded mistakes; exit with 1 if one was missed or no longer fits the source."""
    tested = [m for m in runtime_mutation_list.MUTATIONS if only in m.file and by != "claims"]
    claimed = [m for m in MUTATIONS if only in m.file and by != "tests"]
    if listing:
        sys.stdout.writelines(f"{m.file}: {m.what}\n" for m in (*tested, *claimed))
        return
    if not (tested or claimed):
        sys.stderr.write(f"--only {only}: no mistake is in such a file\n")
        raise typer.Exit(UNSOUND)
    if tested and not (ROOT / "tests").is_dir():
        sys.stderr.write("tests are in a clone of the repository only; --by claims needs none\n")
        raise typer.Exit(UNSOUND)
    signal.signal(signal.SIGTERM, _end)
    start, results = time.perf_counter(), list[str]()
    try:
        for outcome in _outcomes(tested, claimed):
            sys.stdout.write(f"{outcome}\n")
            sys.stdout.flush()
            results.append(outcome.result)
    except Unsound as failing:
        sys.stderr.write(f"without any mistake: {failing}\n")
        raise typer.Exit(UNSOUND) from None
    minutes = (time.perf_counter() - start) / 60.0
    caught = results.count(CAUGHT)
    sys.stdout.write(f"{caught} of {len(results)} mistakes are caught, in {minutes:.0f} minutes\n")
    raise typer.Exit(0 if caught == len(results) else 1)


def _outcomes(tested: Sequence[Mutation], claimed: Sequence[Mutation]) -> Iterator[Outcome]:
    """Those by tests first: they take minutes."""
    if tested:
        yield from run_by_tests(tested)
    if claimed:
        yield from run_by_claims(claimed)


def _end(number: int, frame: object) -> None:
    """End like after Ctrl-C, so that the claims are stopped and the copy is removed."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    typer.run(main)
