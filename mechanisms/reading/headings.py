"""Which column has the clients' names, which are tasks, and what names must be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from fairopt.errors import InvalidInput
from mechanisms.reading.amounts import is_amount

NAME_HEADINGS = ("", "client", "clients", "client_id", "id", "name")
"""Headings of a first column that are no task's."""
NO_NAMES = "none"
"""Says that no column has the clients' names."""
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
"""What other programs write between columns."""
FILE = "BIDS"
"""What a file is called in errors, as on the command line; a frame is called by its type."""


@dataclass(frozen=True, eq=False)
class NamedBids:
    """Bids with the names of their rows and columns.

    Args:
        clients: N names.
        tasks: S names.
        bids: (N, S) float64, or exact numbers as an object array; `inf` = does not bid.
    """

    clients: tuple[str, ...]
    tasks: tuple[str, ...]
    bids: NDArray[Any]

    @property
    def exact(self) -> bool:
        """Whether the bids are exact numbers rather than floats."""
        return self.bids.dtype == object


@dataclass(frozen=True)
class Columns:
    """Where names and tasks stand.

    Args:
        names: Column of the clients' names; None if there is none.
        unsure: Whether it was only taken for that, so that its cells must not all be numbers.
        others: Columns of the tasks.
        tasks: Their names.
    """

    names: int | None
    unsure: bool
    others: tuple[int, ...]
    tasks: tuple[str, ...]


def columns(source: str, header: Sequence[str], name_column: str, place: str = FILE) -> Columns:
    """Names and tasks among the columns of a header.

    Args:
        source: What to call the file or frame in an error.
        header: Headings of all columns.
        name_column: Heading of the names; "none" if there are none; empty: the first.
        place: Where errors find it: in a file, or in a kind of data frame.

    Raises:
        InvalidInput: The headings look like a client's asks, no heading is `name_column`, a task
            has no name or the name of another one, or there is no task.

    Example:
        >>> columns("bids.csv", ["client", "a", "b"], "")
        Columns(names=0, unsure=False, others=(1, 2), tasks=('a', 'b'))
    """
    headings = [cell.strip() for cell in header]
    line, wanted = f"{FILE}, first line", "names of the columns: a header"
    if place != FILE:
        line, wanted = f"{place}.columns", "names; of numbers alone a rule takes frame.to_numpy()"
    first_line = InvalidInput(line, ",".join(headings), wanted)
    if all(map(is_amount, headings)):
        raise first_line
    everything = tuple(range(len(headings)))
    if name_column == NO_NAMES:
        return Columns(None, False, everything, unique_names("task", headings, "columns", 1, place))
    if name_column and name_column not in headings:
        raise InvalidInput("name_column", name_column, f"none, or one of {', '.join(headings)}")
    names = headings.index(name_column) if name_column else 0
    unsure = not name_column and headings[0].lower() not in NAME_HEADINGS
    if len(headings) < 2:
        other = next((name for mark, name in SEPARATORS.items() if mark in headings[0]), None)
        commas = f", separated by commas and not by {other}" if other else ""
        raise InvalidInput(place, source, f"a column of names and at least one task{commas}")
    others = tuple(column for column in everything if column != names)
    tasks = [headings[column] for column in others]
    if unsure and all(map(is_amount, tasks)):  # a name and its asks: the first client
        raise first_line
    named = unique_names("task", tasks, "columns", others, place)
    if headings[names]:
        unique_names("column", [headings[names], *named], "columns", (names, *others), place)
    return Columns(names, unsure, others, named)


def refuse_numbers(heading: str, place: str = FILE) -> InvalidInput:
    """The error of a first column that holds numbers only, under no heading of names."""
    requirement = (
        f'one of clients\' names; it holds numbers only: say name_column="{heading}" if these are '
        f'names, name_column="{NO_NAMES}" if they are bids'
    )
    return InvalidInput(f"{place}, first column", heading, requirement)


def unique_names(
    kind: str,
    cells: Sequence[str],
    places: str,
    where: Sequence[int] | int | Callable[[int], int],
    place: str = FILE,
) -> tuple[str, ...]:
    """Stripped names, none empty and all different: a result that names a client must mean one.

    A comma too many at the end of every line would else be a task for which nobody bids.

    Args:
        kind: "client" or "task".
        cells: The names.
        places: What to call the places in an error: "lines", say.
        where: Number of the place of each name: the first one, all of them, or a function.
        place: The file or frame, for errors.
    """
    names = tuple(cell.strip() for cell in cells)
    if "" in names:
        raise InvalidInput(f"{place}, {kind} {names.index('') + 1}", "", "named")
    if len(set(names)) == len(names):
        return names
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        if name in seen:
            found = [_place(where, each) for each in (seen[name], index)]
            requirement = f"named once; it stands in {places} {found[0]} and {found[1]}"
            raise InvalidInput(f"{place}, {kind}", name, requirement)
        seen[name] = index
    raise AssertionError("names that differ by nothing")


def _place(where: Sequence[int] | int | Callable[[int], int], index: int) -> int:
    """Number of the place of a name."""
    if callable(where):
        return where(index)
    return where + index if isinstance(where, int) else where[index] + 1
