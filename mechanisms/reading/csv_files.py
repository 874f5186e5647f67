"""Bids in a CSV file: a header with the names of the columns, then a row per client.

The file is read in pieces, so that a million rows need little more memory than their numbers.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from fairopt.errors import InvalidInput
from mechanisms.reading.amounts import LARGEST, is_amount, number
from mechanisms.reading.headings import (
    Columns,
    NamedBids,
    columns,
    refuse_numbers,
    unique_names,
)

LARGEST_EXACT = 2_000
"""Clients up to which an auction of ten tasks in fractions takes no more than seconds."""
PIECE = 500
"""Rows that are held as text at a time: few enough to stay in a core's own memory (20,000 took half
as long again)."""
SHOWN = 60
"""Letters of a name in an error: an unclosed quote makes one name of the rest of a file."""
ZEROS = ("0", "0.0", "")
"""Cells that are 0 or no bid and need no second look."""
SMALLEST_FLOAT, LARGEST_FLOAT = float(1 / LARGEST), float(LARGEST)

Rows = list[list[str]]
Cell = tuple[str, str]


def read_csv(
    path: Path, name_column: str, exact: bool | None, advance: Callable[[int], None] | None
) -> NamedBids:
    """Names and bids of a file; arguments and errors are those of `read_bids`."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _read(file, path, name_column, exact, advance)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput("BIDS", str(path), f"a readable CSV file ({error})") from error


def _read(
    file: TextIO,
    path: Path,
    name_column: str,
    exact: bool | None,
    advance: Callable[[int], None] | None,
) -> NamedBids:
    """The rows of an open file, piece by piece."""
    rows = _filled(csv.reader(file))
    header, piece = next(rows, None), list(islice(rows, LARGEST_EXACT + 1))
    if header is None or not piece:
        raise InvalidInput(
            "BIDS", str(path), "a header of task names and a row per client, separated by commas"
        )
    where = columns(str(path), header, name_column)
    floats = not exact if exact is not None else len(piece) > LARGEST_EXACT
    names: list[str] = []
    tables = []
    position = 0
    while piece:
        tables.append(_piece(path, piece, header, where, names, floats=floats))
        piece = list(islice(rows, PIECE))
        if advance is not None:
            read = file.buffer.tell()  # of the bytes: a text file does not tell while it is read
            advance(read - position)
            position = read
    if where.unsure and all(map(is_amount, names)):
        raise refuse_numbers(header[0].strip())
    clients = unique_names("client", names, "lines", lambda index: _line(path, index))
    return NamedBids(clients, where.tasks, np.concatenate(tables))


def _filled(reader: Iterator[list[str]]) -> Iterator[list[str]]:
    """Rows with something in them."""
    return (row for row in reader if any(map(str.strip, row)))


def _line(path: Path, index: int) -> int:
    """Number of the line at which a client's row ends."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        next(islice(_filled(reader), index + 1, None))
        return reader.line_num


def _piece(
    path: Path, rows: Rows, header: list[str], where: Columns, names: list[str], *, floats: bool
) -> NDArray[Any]:
    """Bids of some rows, whose names are added to those before."""
    before, column = len(names), where.names
    for index, row in enumerate(rows, start=before):
        if len(row) != len(header):
            requirement = f"a row of {len(header)} cells, as the header"
            place = f"BIDS, line {_line(path, index)}, client {row[0][:SHOWN]!r}"
            raise InvalidInput(place, row, requirement)
    if column is None:
        names.extend(str(before + i) for i in range(len(rows)))
    else:
        names.extend(row.pop(column) for row in rows)
    cells = list(chain.from_iterable(rows))

    def at(flat: int) -> str:
        client, task = divmod(flat, len(where.tasks))
        name, line = names[before + client].strip(), _line(path, before + client)
        return f"BIDS, line {line}, client {name!r}, task {where.tasks[task]!r}"

    table = _floats(cells, at) if floats else _exact(cells, at)
    return table.reshape(len(rows), len(where.tasks))


def _exact(cells: list[str], at: Callable[[int], str]) -> NDArray[Any]:
    """Cells as exact numbers."""
    table = np.empty(len(cells), dtype=object)
    table[:] = [_number(cell, at, flat) for flat, cell in enumerate(cells)]
    return table


def _number(cell: str, at: Callable[[int], str], flat: int) -> Any:
    """A cell as an exact number; where it stands is only worked out for an error."""
    try:
        return number(cell, "BIDS")
    except InvalidInput as error:
        raise InvalidInput(at(flat), error.value, error.requirement) from error


def _floats(cells: list[str], at: Callable[[int], str]) -> NDArray[np.float64]:
    """Cells as the nearest floats; whatever is not plainly a number is read as `number` does."""
    try:
        table = np.array([float(cell) if cell else math.inf for cell in cells])
    except ValueError:
        table = np.array([_float(cell) for cell in cells])
    plain = (table >= SMALLEST_FLOAT) & (table <= LARGEST_FLOAT)
    for flat in np.flatnonzero(~plain).tolist():
        if cells[flat] not in ZEROS:
            table[flat] = float(_number(cells[flat], at, flat))
    return table


def _float(cell: str) -> float:
    """A cell as a float; NaN where it takes a second look."""
    try:
        return float(cell) if cell else math.inf
    except ValueError:
        return math.nan
