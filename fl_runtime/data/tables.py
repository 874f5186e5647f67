"""A table of unlike questions: what diamonds cost, and how they are cut, coloured and clear.

53,940 diamonds with their weight and measures (`ggplot2/diamonds` of `fl_runtime.data.packages`).
From the six numbers a model is to tell one of the other columns (`TASKS`): a regression and three
classifications of 5, 7 and 8 classes. All tasks of the same number of rows are of one `family`,
split and dealt alike by the cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairopt.choices import choose
from fl_runtime.data.dataset import Data
from fl_runtime.data.packages import read_table
from fl_runtime.data.synthetic import GENERATOR_SEED
from fl_runtime.random_streams import stream
from fl_runtime.validation_errors import check_whole

MEASURES = ("carat", "depth", "table", "x", "y", "z")
"""Columns that are known of a diamond."""

GRADES: Mapping[str, tuple[str, ...]] = {
    "cut": ("Fair", "Good", "Very Good", "Premium", "Ideal"),
    "color": ("D", "E", "F", "G", "H", "I", "J"),
    "clarity": ("I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"),
}
"""Classes of the other columns, in the order of the trade."""

TASKS = ("price", *GRADES)
"""What can be asked: the logarithm of the price in dollars, or a grade."""


def diamonds(*, rows: int = 3000, task: str = "price") -> Data:
    """So many diamonds, the same ones at every call, with what is asked of them.

    Args:
        rows: How many.
        task: Which column (`TASKS`).

    Raises:
        MissingData: The package of tables is not installed; it names the command for it.
        InvalidInput: An argument is outside its range.
    """
    choose("task", task, dict.fromkeys(TASKS))
    table = _table()
    count = len(table["price"])
    check_whole("rows", rows, 1, count)
    chosen = stream(GENERATOR_SEED, "diamonds").permutation(count)[:rows]
    inputs = np.stack([table[name][chosen] for name in MEASURES], axis=1)
    price = task == "price"
    return Data(
        inputs,
        np.log(table["price"][chosen]) if price else _graded(table[task][chosen], task),
        1 if price else len(GRADES[task]),
        strata=_graded(table["cut"][chosen], "cut"),
        standardise=True,
        family=f"diamonds-{rows}",
    )


@cache
def _table() -> Mapping[str, NDArray[Any]]:
    """The columns."""
    found = read_table("ggplot2", "diamonds")
    numbers = {name: found[name].to_numpy(np.float64) for name in (*MEASURES, "price")}
    return {**numbers, **{name: found[name].to_numpy(str) for name in GRADES}}


def _graded(words: NDArray[Any], column: str) -> NDArray[np.int64]:
    """Places of grades in their order."""
    return np.array([GRADES[column].index(word) for word in words], dtype=np.int64)
