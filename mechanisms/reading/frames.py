"""Bids in data frames of pandas, Polars and PyArrow, and in Parquet files.

None of these libraries is imported for a frame: it has columns with names, and a column tells what
is missing in it and turns itself into an array.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import numbers
import re
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairopt.errors import InvalidInput
from mechanisms.bids import LARGEST_INTEGER, exactly
from mechanisms.reading.headings import (
    FILE,
    NO_NAMES,
    Columns,
    NamedBids,
    columns,
    refuse_numbers,
    unique_names,
)

PARQUET = (".parquet", ".pq")
"""How the names of Parquet files end."""
BID = "a number >= 0; a missing value or inf for no bid"
SMALL_INTEGER = "at most 2^53, or a decimal"
INDEX_LEVEL = re.compile(r"__index_level_\d+__")
"""Columns in which pandas keeps the index of a frame that it writes to a file."""
INTEGERS = re.compile(r"u?int\d+", re.IGNORECASE)
"""Names of the types of integers, which missing values turn into floats."""


def is_frame(source: Any) -> bool:
    """Whether something has named columns, as data frames and Arrow tables do."""
    if not (hasattr(source, "__len__") and hasattr(source, "__getitem__")):
        return False
    return hasattr(source, "column_names") or hasattr(source, "columns")


def read_frame(frame: Any, name_column: str, exact: bool | None, place: str = FILE) -> NamedBids:
    """Names and bids of a frame; arguments and errors are those of `read_bids`.

    Errors begin with `place`, which is the type of a frame, or says that it was read from a file.
    """
    keys = list(frame.column_names if hasattr(frame, "column_names") else frame.columns)
    keys = [key for key in keys if not INDEX_LEVEL.fullmatch(str(key))]
    headings = [str(key) for key in keys]
    if not keys or not len(frame):
        requirement = "at least one task's column and one client's row"
        raise InvalidInput(place, f"{len(frame)} rows, columns {headings}", requirement)
    twice = next((name for name in headings if headings.count(name) > 1), None)
    if twice is not None:
        raise InvalidInput(f"{place}.columns", twice, "a heading that stands once")
    if len(headings) == 1 and name_column != NO_NAMES:
        requirement = f"a column of names and at least one task{_names_in_index(frame)}"
        raise InvalidInput(f"{place}.columns", headings[0], requirement)
    where = columns(", ".join(headings), headings, name_column, place)
    clients = _clients(frame, keys, where, place)
    tables = [
        _column(frame[keys[c]], clients, f"{place}, column {task!r}")
        for c, task in zip(where.others, where.tasks, strict=True)
    ]
    given = any(table.dtype == object for table in tables)
    bids = np.stack([exactly(t) if given or exact else t for t in tables], axis=1)
    if exact is False and given:
        bids = _in_floats(bids, clients, where.tasks, place)
    return NamedBids(clients, where.tasks, np.ascontiguousarray(bids))


def _clients(frame: Any, keys: Sequence[Any], where: Columns, place: str) -> tuple[str, ...]:
    """The clients' names, or the numbers of the rows."""
    if where.names is None:
        return tuple(str(i) for i in range(len(frame)))
    key = keys[where.names]
    column = frame[key]
    cells = np.asarray(column)
    if where.unsure and cells.dtype.kind in "iuf":
        error = refuse_numbers(str(key), place)
        requirement = error.requirement + _names_in_index(frame)
        raise InvalidInput(error.argument, error.value, requirement)
    empty = _missing(column)
    named = ["" if none else str(cell) for cell, none in zip(cells, empty, strict=True)]
    if "" in named:
        row = f"{place}, column {str(key)!r}, row {named.index('')}"
        raise InvalidInput(row, "", "a client's name")
    try:
        return unique_names("client", named, "rows", 0, place)
    except InvalidInput as error:
        requirement = f"{error.requirement}; a row is a client and a column a task{_PIVOT}"
        raise InvalidInput(error.argument, error.value, requirement) from None


_PIVOT = " (frame.pivot makes that of a row for each bid)"


def _names_in_index(frame: Any) -> str:
    """A hint where a frame of pandas has names beside its rows."""
    index = getattr(frame, "index", None)
    if not hasattr(frame, "reset_index") or np.asarray(index).dtype.kind in "iuf":
        return ""
    return "; names in the index become a column by frame.reset_index()"


def _in_floats(
    bids: NDArray[Any], clients: Sequence[str], tasks: Sequence[str], place: str
) -> NDArray[Any]:
    """Exact bids as the nearest floats, where there are such."""
    table = np.empty(bids.shape)
    for (row, task), bid in np.ndenumerate(bids):
        try:
            table[row, task] = float(bid)
        except OverflowError as error:
            where = _cell(f"{place}, column {tasks[task]!r}", row, clients)
            raise InvalidInput(where, bid, "below 1.8e308, or exact=True") from error
    return table


def _cell(column: str, row: int, clients: Sequence[str]) -> str:
    """Which cell of a column an error is about."""
    return f"{column}, row {row} (client {clients[row]!r})"


def _missing(column: Any) -> NDArray[np.bool_]:
    """Which values of a column are missing."""
    found = column.is_null() if hasattr(column, "is_null") else column.isna()
    return np.asarray(found, dtype=bool)


def _column(column: Any, clients: tuple[str, ...], name: str) -> NDArray[Any]:
    """Bids for one task: floats, or exact numbers where the column has decimals or fractions."""
    cells, none = np.asarray(column), _missing(column)
    kind = getattr(column, "type", None) or getattr(column, "dtype", "")

    def refused(row: int) -> InvalidInput:
        cell = cells[row]
        value = cell.item() if isinstance(cell, np.generic) else cell
        found = f" (it is {type(value).__name__} in a column of type {kind or cells.dtype})"
        requirement = BID if _is_number(cell) else f"{BID}{found}"
        return InvalidInput(_cell(name, row, clients), value, requirement)

    if cells.dtype.kind not in "iufO":
        raise refused(int(np.argmin(none)))
    if cells.dtype.kind == "O":
        for row in np.flatnonzero(~none):
            if not _is_number(cells[row]):
                raise refused(int(row))
        cells = np.array([math.inf if m else c for c, m in zip(cells, none, strict=True)], object)
        if not any(isinstance(cell, Decimal | Fraction) for cell in cells):
            whole = [int(cell) for cell in cells if isinstance(cell, int | np.integer)]
            _check_integers(name, max(whole, default=0), LARGEST_INTEGER)
            cells = cells.astype(np.float64)
        else:
            return _nonnegative(exactly(cells), refused)
    if cells.dtype.kind in "iu" and cells.size:
        _check_integers(name, int(cells.max()), LARGEST_INTEGER)
    if cells.dtype.kind == "f" and INTEGERS.fullmatch(str(kind)) and not none.all():
        _check_integers(name, int(cells[~none].max()), LARGEST_INTEGER - 1)
    return _nonnegative(np.where(none, math.inf, cells.astype(np.float64)), refused)


def _check_integers(column: str, largest: int, most: int) -> None:
    """Refuse integers that a float does not hold, or may not have held."""
    if largest > most:
        raise InvalidInput(column, largest, SMALL_INTEGER)


def _nonnegative(table: NDArray[Any], refused: Any) -> NDArray[Any]:
    """The bids, or the error about the first that is negative or not a number."""
    good = np.asarray(table >= 0, dtype=bool)
    if not good.all():
        raise refused(int(np.argmin(good)))
    return table


def _is_number(cell: Any) -> bool:
    """Whether an object is a real number; truth values and text are none."""
    if isinstance(cell, bool | np.bool_) or not isinstance(cell, numbers.Real | Decimal):
        return False
    return not cell.is_nan() if isinstance(cell, Decimal) else bool(cell == cell)  # not NaN


def read_parquet(path: Path) -> Any:
    """The table of a Parquet file, by PyArrow or else by Polars.

    Raises:
        InvalidInput: Neither is installed, or the file is no Parquet file.
    """
    if importlib.util.find_spec("pyarrow") is not None:
        parquet = importlib.import_module("pyarrow.parquet")
        read, failed = parquet.read_table, (OSError, ValueError)
    elif importlib.util.find_spec("polars") is not None:
        polars = importlib.import_module("polars")
        read, failed = polars.read_parquet, (OSError, polars.exceptions.PolarsError)
    else:
        requirement = "a CSV file, since neither pyarrow nor polars is installed"
        raise InvalidInput("BIDS", str(path), f"{requirement} (pip install 'fairopt[parquet]')")
    try:
        return read(str(path))
    except failed as error:
        reason = str(error).partition("\n")[0]
        raise InvalidInput("BIDS", str(path), f"a readable Parquet file ({reason})") from error
