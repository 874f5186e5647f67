"""Bids with names, from a CSV file, a Parquet file or a data frame."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fairopt.errors import InvalidInput
from mechanisms.reading.csv_files import read_csv
from mechanisms.reading.frames import PARQUET, is_frame, read_frame, read_parquet
from mechanisms.reading.headings import NamedBids


def read_bids(
    source: Any,
    name_column: str = "",
    *,
    exact: bool | None = None,
    advance: Callable[[int], None] | None = None,
) -> NamedBids:
    r"""Read the one written form of bids: named columns, then a row per client.

    One column has the clients' names, the others are tasks. An empty cell, or a missing value of a
    frame, means that the client does not bid. In a CSV file decimals such as 0.1, fractions such as
    1/3 and integers are read exactly, or as the nearest floats.

    Args:
        source: Path of a CSV file with a header, path of a Parquet file (`.parquet` or `.pq`, read
            by PyArrow or Polars), or a data frame of pandas, Polars or PyArrow.
        name_column: Heading of the clients' names; "none" if there are none, and clients are
            numbered from 0. By default the first column, which must not look like asks: its heading
            is one of client, name, id or empty, or some name in it is no number.
        exact: Whether bids are exact numbers rather than floats. By default those of a CSV file are
            exact up to 2,000 clients, and those of a frame where a column has decimals or
            fractions.
        advance: Called with numbers of bytes as a CSV file is read.

    Returns:
        `NamedBids` with `clients`, `tasks` and the (N, S) table `bids`.

    Raises:
        InvalidInput: The source cannot be read or has no header, a first column of numbers stands
            under the heading of a task, a name is missing or stands twice (both places are named),
            a row has another length than the header, or a cell is not a number >= 0. In a frame of
            pandas NaN is a missing value, in one of Polars or PyArrow it is refused.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "bids.csv"
        ...     _ = path.write_text("client,mnist,cifar\nann,0.5,\nbob,1/3,2\n")
        ...     named = read_bids(path, exact=False)
        >>> named.clients, named.tasks, named.bids.tolist()
        (('ann', 'bob'), ('mnist', 'cifar'), [[0.5, inf], [0.3333333333333333, 2.0]])
    """
    if is_frame(source):
        return read_frame(source, name_column, exact, type(source).__name__)
    if not isinstance(source, str | os.PathLike):
        kind = type(source).__name__
        raise InvalidInput("source", kind, "a path, or a data frame of pandas, Polars or PyArrow")
    path = Path(source)
    if path.suffix.lower() in PARQUET:
        return read_frame(read_parquet(path), name_column, exact)
    return read_csv(path, name_column, exact, advance)
