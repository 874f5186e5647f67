"""The program that Rocq extracts from the definitions, compiled by OCaml and run on auctions."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

from proofs.incentives.instances import NO_BID
from proofs.rocq.auctions import ExactAuction
from proofs.rocq.compiler import compile_text, compiled, is_installed
from proofs.rocq.outcomes import Outcomes, Rows

FOLDER = Path(__file__).parent / "extraction"
MISSING = (
    "no OCaml: install the Debian packages coq, ocaml-nox and ocaml-findlib "
    "(apt-get install --no-install-recommends)"
)
BUILD = ("ocamlfind", "ocamlopt", "-w", "-a", "rules.mli", "rules.ml", "driver.ml", "-o", "rules")


def is_buildable() -> bool:
    """Whether the program can be extracted and compiled here."""
    return is_installed() and shutil.which("ocamlfind") is not None


@cache
def program() -> Path:
    """The extracted program, built once in a process.

    Raises:
        RuntimeError: A compiler objects.
    """
    found = compiled()
    folder = Path(found.folder.name)
    done = compile_text((FOLDER / "Main.v").read_text(encoding="utf-8"), folder, "Main")
    if found.error is not None or done.returncode != 0:
        raise RuntimeError(found.error or done.stderr)
    shutil.copy(FOLDER / "driver.ml", folder)
    built = subprocess.run(BUILD, cwd=folder, capture_output=True, text=True)
    if built.returncode != 0:
        raise RuntimeError(built.stderr)
    return folder / "rules"


def of_extracted_rule(auctions: Sequence[ExactAuction]) -> Iterator[Outcomes]:
    """What the proved rule does."""
    text = "".join(f"{_line(auction)}\n" for auction in auctions)
    done = subprocess.run([program()], input=text, capture_output=True, text=True, check=True)
    for auction, line in zip(auctions, done.stdout.splitlines(), strict=True):
        words, tasks = line.split(" "), auction.tasks
        cells = len(auction.bids) * tasks
        parts = [words[k * cells : (k + 1) * cells] for k in range(5)]
        default, share, kept, clearing = (_rows(map(_read, part), tasks) for part in parts[:4])
        yield Outcomes(default, share, kept, clearing, _rows(map(_offer, parts[4]), tasks))


def _line(auction: ExactAuction) -> str:
    """One auction as the program reads it."""
    reserve = auction.reserve or (None,) * auction.tasks
    amounts = (bid for row in auction.bids for bid in row)
    sizes = (str(len(auction.bids)), str(auction.tasks), _write(auction.budget))
    capacities = map(str, auction.capacities)
    return " ".join((*sizes, *map(_write, reserve), *capacities, *map(_write, amounts)))


def _write(amount: Any) -> str:
    """An amount in binary digits."""
    if amount is None or amount == NO_BID:
        return "-"
    return f"{amount.numerator:b}/{amount.denominator:b}"


def _read(word: str) -> Fraction | None:
    """An amount from binary digits."""
    if word == "-":
        return None
    numerator, denominator = word.split("/")
    return Fraction(int(numerator, 2), int(denominator, 2))


def _offer(word: str) -> tuple[int, Fraction | None]:
    """Level and price."""
    level, price = word.split("@")
    return int(level), _read(price)


def _rows(cells: Any, width: int) -> Rows:
    """Rows of a flat table."""
    flat = list(cells)
    return tuple(tuple(flat[k : k + width]) for k in range(0, len(flat), width))
