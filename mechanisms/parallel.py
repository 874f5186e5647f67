"""The same check for many clients, in one process or, through joblib, in many."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from fairopt.errors import InvalidInput
from fairopt.extras import extra

Result = TypeVar("Result")
Item = TypeVar("Item")

STEPS = 20
"""Steps of a progress bar, after each of which the workers wait for the slowest of them."""
CHUNKS = 2
"""Pieces per worker and step, so that a worker that is done early takes another one."""


def checked_jobs(jobs: Any) -> int | None:
    """A number of processes as joblib counts them: None, or an integer other than 0."""
    if jobs is None:
        return None
    whole = isinstance(jobs, numbers.Integral) and not isinstance(jobs, bool)
    if not whole or jobs == 0:
        raise InvalidInput("jobs", jobs, "an integer >= 1, or -1 for every core, or None")
    return int(jobs)


def for_each(
    check: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    jobs: int | None = None,
    progress: bool = False,
    title: str = "Working",
) -> list[Result]:
    """Results of a function for every item, in the order of the items.

    Args:
        check: Called once per item; sent to the workers if there are several, so it holds all it
            needs and changes nothing outside.
        items: What to call it with.
        jobs: Processes, as joblib's `n_jobs`. None follows a surrounding
            `joblib.parallel_config`, so that a registered backend (Dask, Ray) needs nothing else;
            without one it is a single process.
        progress: Show a bar on the error stream.
        title: Of the bar.

    Raises:
        InvalidInput: `jobs` is 0 or no integer.

    Example:
        >>> for_each(abs, [-2, 3])
        [2, 3]
    """
    with extra("mechanisms"):
        import joblib

    count = checked_jobs(jobs)
    count = count if count is None else min(count, max(len(items), 1))  # no idle processes
    workers = joblib.effective_n_jobs(count)
    size = -(-len(items) // (STEPS * CHUNKS * workers)) if workers > 1 else 1
    chunks = [items[start : start + size] for start in range(0, len(items), size or 1)]
    width = -(-len(chunks) // STEPS) if workers > 1 else 1
    steps = [chunks[start : start + width] for start in range(0, len(chunks), width or 1)]
    results: list[Result] = []
    with joblib.Parallel(n_jobs=count) as pool, Bar(title, len(items), progress) as bar:
        for step in steps:
            for found in pool(joblib.delayed(_run)(check, chunk) for chunk in step):
                results.extend(found)
                bar.advance(len(found))
    return results


def _run(check: Callable[[Item], Result], chunk: Sequence[Item]) -> list[Result]:
    """One piece of the work."""
    return [check(item) for item in chunk]


class Bar:
    """A progress bar on the error stream, or nothing.

    Args:
        title: What goes on.
        total: Number of pieces; None where it is not known, and the bar moves to and fro.
        shown: Whether to show it.
    """

    def __init__(self, title: str, total: int | None, shown: bool) -> None:
        self.bar: Any = None
        if shown:
            with extra("mechanisms"):
                from rich.console import Console
                from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

            column = TimeElapsedColumn() if total is None else MofNCompleteColumn()
            columns = (*Progress.get_default_columns(), column)
            self.bar = Progress(*columns, console=Console(stderr=True))
            self.task = self.bar.add_task(title, total=total)

    def __enter__(self) -> Bar:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def advance(self, count: int) -> None:
        """So many more are done."""
        if self.bar is not None:
            self.bar.advance(self.task, count)
