"""Compiles the Rocq sources, once in a process, and reads what the theorems rest on."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

THEORIES = Path(__file__).parent / "theories"
FILES = (
    "Auction", "ProportionalShare", "Floor", "Capacity", "Assignment", "Menu", "ClearingLevels",
    "SpendBound", "Outsiders", "Refuted", "Executable", "Theorems",
)  # fmt: skip
"""Sources in the order in which they need each other."""
CLOSED = "Closed under the global context"
"""What Rocq prints of a theorem that assumes no axiom."""
MISSING = (
    "no coqc: install the Debian package coq (apt-get install --no-install-recommends coq), "
    "or Rocq from https://rocq-prover.org"
)
SECONDS = 600
"""A compilation that runs longer is given up: all files take half a minute."""


@dataclass(frozen=True)
class Compiled:
    """What the kernel said of all sources.

    Args:
        folder: Where the compiled files are; removed when the process ends.
        error: What it objected to, or None.
        assumptions: For every theorem what it rests on, in Rocq's words.
    """

    folder: tempfile.TemporaryDirectory[str]
    error: str | None
    assumptions: dict[str, str]


def is_installed() -> bool:
    """Whether there is a compiler."""
    return shutil.which("coqc") is not None


def source(name: str) -> str:
    """The text of one file."""
    return (THEORIES / f"{name}.v").read_text(encoding="utf-8")


def lines() -> int:
    """Lines of all sources.

    Example:
        >>> lines() > 2500
        True
    """
    return sum(source(name).count("\n") for name in FILES)


def stated() -> tuple[str, ...]:
    """Names of the theorems of `Theorems.v`, in its order.

    Example:
        >>> stated()[0]
        'max_min_fair_truthful'
    """
    return tuple(re.findall(r"^Theorem (\w+)", source("Theorems"), re.MULTILINE))


@cache
def compiled() -> Compiled:
    """Compile all files. Half a minute, once in a process.

    Raises:
        FileNotFoundError: There is no `coqc`: see `is_installed`.
    """
    folder = tempfile.TemporaryDirectory(prefix="fairopt-rocq-")
    printed = ""
    for name in FILES:
        done = compile_text(source(name), Path(folder.name), name)
        if done.returncode != 0:
            return Compiled(folder, f"{name}.v does not compile: {_last(done.stderr)}", {})
        printed = done.stdout
    return Compiled(folder, None, assumed(printed, source("Theorems")))


def compile_text(
    text: str, folder: Path, name: str, *, library: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Write `name.v` into a folder, compile it there, and say how that went.

    `library` is a folder of compiled files that it may ask for.
    """
    (folder / f"{name}.v").write_text(text, encoding="utf-8")
    found = [] if library is None else ["-Q", library, ""]
    command = ["coqc", "-q", *found, f"{name}.v"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS)


def assumed(printed: str, text: str) -> dict[str, str]:
    r"""For every theorem that a file asks about, what Rocq printed.

    A theorem without axioms has one line; others have "Axioms:" and a list, which stays together.

    Example:
        >>> assumed("Closed under the global context\nAxioms:\nA : True\n",
        ...         "Print Assumptions first.\nPrint Assumptions second.")
        {'first': 'Closed under the global context', 'second': 'Axioms:\nA : True'}
    """
    asked = re.findall(r"^Print Assumptions (\w+)\.", text, re.MULTILINE)
    answers = re.split(rf"\n(?={CLOSED}|Axioms:)", printed.strip())
    return dict(zip(asked, answers, strict=True))


def objection(theorems: tuple[str, ...]) -> str | None:
    """What speaks against some theorems being proved: the kernel, or an axiom; or None."""
    found = compiled()
    if found.error is not None:
        return found.error
    if tuple(found.assumptions) != stated():
        return "Theorems.v does not ask for the assumptions of its theorems, each once, in order"
    for name in theorems:
        if found.assumptions.get(name) != CLOSED:
            return f"{name} rests on: {found.assumptions.get(name, 'nothing, it is not stated')}"
    return None


@cache
def second_checker_objection() -> str | None:
    """What `coqchk`, which reads the compiled files anew, finds: half a minute."""
    command = ["coqchk", "-silent", "-o", "-Q", ".", "", "Theorems"]
    folder = compiled().folder.name
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
    said = " ".join((done.stdout + done.stderr).split())
    return None if done.returncode == 0 and rests_on_nothing(said) else _last(said)


def rests_on_nothing(said: str) -> bool:
    """Whether the summary of `coqchk` lists four kinds of trust, and none of anything.

    Example:
        >>> rests_on_nothing("* Axioms: <none> * Constants/Inductives relying on type-in-type: X")
        False
    """
    kinds = re.findall(r"\* (?!Theory)[^:]+: (\S+)", said)
    return len(kinds) == 4 and set(kinds) == {"<none>"}


def _last(text: str) -> str:
    """The end of an error message on one line."""
    return " ".join(text.split())[-300:]
