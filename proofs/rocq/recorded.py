"""Auctions with the outcomes that the extracted rule wrote down, which Python alone can read."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

from proofs.incentives.instances import NO_BID, Row
from proofs.rocq.auctions import ExactAuction
from proofs.rocq.outcomes import Outcomes, Rows

FILE = Path(__file__).parent / "recorded_auctions.json.gz"
COUNT = 2_000
"""Auctions in the file."""


@dataclass(frozen=True)
class Recorded:
    """One auction and what the proved rules do with it.

    Args:
        auction: The auction.
        outcomes: Written by the extracted program, never by the Python code.
    """

    auction: ExactAuction
    outcomes: Outcomes


@cache
def recorded() -> tuple[Recorded, ...]:
    """All of them, those without a reserve price first.

    Example:
        >>> len(recorded())
        2000
    """
    found = [_read(each) for each in json.loads(gzip.decompress(FILE.read_bytes()))]
    return tuple(sorted(found, key=lambda each: each.auction.reserve is not None))


def write(records: Iterable[tuple[ExactAuction, Outcomes]], path: Path = FILE) -> None:
    """Write a file that `recorded` reads."""
    rows = [_written(auction) | _written(outcomes) for auction, outcomes in records]
    path.write_bytes(gzip.compress(json.dumps(rows).encode(), mtime=0))


def _written(record: Any) -> dict[str, Any]:
    """A record as JSON takes it, where the capacities of an auction are named apart."""
    named = asdict(record)
    if isinstance(record, ExactAuction):
        named["capacity"] = named.pop("capacities")
    return {name: _word(value) for name, value in named.items()}


def _word(value: Any) -> Any:
    """Amounts as words, in lists."""
    if isinstance(value, list | tuple):
        return [_word(each) for each in value]
    return "-" if value is None or value == NO_BID else str(value)


def _read(each: dict[str, Any]) -> Recorded:
    """One auction from JSON."""
    reserve = None if each["reserve"] == "-" else _bids([each["reserve"]])[0]
    auction = ExactAuction(
        _bids(each["bids"]), Fraction(each["budget"]), reserve, tuple(map(int, each["capacity"]))
    )
    offers = tuple(tuple((int(k), _pay(p)) for k, p in row) for row in each["offers"])
    names = ("max_min_fair", "budget_fair", "capacities", "clearing_levels")
    default, share, kept, clearing = (_pays(each[name]) for name in names)
    return Recorded(auction, Outcomes(default, share, kept, clearing, offers))


def _bids(rows: Sequence[Sequence[str]]) -> tuple[Row, ...]:
    """Rows of bids, infinite where nobody bids."""
    return tuple(tuple(NO_BID if x == "-" else Fraction(x) for x in row) for row in rows)


def _pays(rows: Sequence[Sequence[str]]) -> Rows:
    """Rows of payments, None where nobody is recruited."""
    return tuple(tuple(map(_pay, row)) for row in rows)


def _pay(word: str) -> Fraction | None:
    """One payment."""
    return None if word == "-" else Fraction(word)
