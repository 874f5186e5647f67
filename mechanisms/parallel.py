"""The same check for many clients, in one process or, through joblib, in many."""

from __future__ import annotations

import importlib
import math
import numbers
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from fairopt.errors import InvalidInput
from fairopt.extras import extra
from mechanisms.backends import checked_backend, dask_client, ray_cluster
from mechanisms.journal import journal_of

Result = TypeVar("Result")
Item = TypeVar("Item")

CHUNK = 1.0
"""Seconds of work that a worker is given at a time: so that sending it does not matter, and a kill
costs little."""


def checked_jobs(jobs: Any) -> int | None:
    """A number of processes: None, an integer of at least 1, or -1 for every core."""
    if jobs is None:
        return None
    whole = isinstance(jobs, numbers.Integral) and not isinstance(jobs, bool)
    if not whole or (jobs < 1 and jobs != -1):
        raise InvalidInput("jobs", jobs, "an integer >= 1, or -1 for every core")
    return int(jobs)


@dataclass(frozen=True)
class Work:
    """Who works, and what is told and kept of it meanwhile.

    Args:
        jobs: Processes, as joblib's `n_jobs`. None follows a surrounding `joblib.parallel_config`,
            so that a registered backend needs nothing else; without one it is a single process.
        progress: Show a bar on the error stream.
        backend: `loky` for processes of this machine, or the address of a cluster,
            `dask://HOST:PORT` or `ray://HOST:PORT`, all of which works where `jobs` is None.
        journal: File to keep results in, from which a study that was killed goes on.

    Raises:
        InvalidInput: A bad number, or a backend that there is not.
    """

    jobs: int | None = None
    progress: bool = False
    backend: str | None = None
    journal: str | Path | None = None

    def __post_init__(self) -> None:
        checked_jobs(self.jobs)
        checked_backend(self.backend, ("loky",))

    @property
    def alone(self) -> bool:
        """Whether nobody asks for more than this process."""
        return self.jobs in (None, 1) and self.backend is None

    @contextmanager
    def configured(self) -> Iterator[int | None]:
        """Joblib with the backend; yields its `n_jobs`.

        Raises:
            InvalidInput: A cluster does not answer.
        """
        import joblib

        backend, count = checked_backend(self.backend, ("loky",)), checked_jobs(self.jobs)
        with ExitStack() as stack:
            options: dict[str, Any] = {}
            if backend is None:
                yield count
                return
            if backend.kind == "dask":
                options = {"client": stack.enter_context(dask_client(backend))}
            elif backend.kind == "ray":
                stack.enter_context(ray_cluster(backend))
                importlib.import_module("ray.util.joblib").register_ray()
            stack.enter_context(joblib.parallel_config(backend.kind, **options))
            yield -1 if count is None else count


def for_each(
    check: Callable[[Item], Result],
    items: Sequence[Item],
    work: Work = Work(),
    *,
    title: str = "Working",
) -> list[Result]:
    """Results of a function for every item, in the order of the items.

    Args:
        check: Called once per item; sent to the workers if there are several, so it holds all it
            needs and changes nothing outside.
        items: What to call it with.
        work: Who works.
        title: Of the bar.

    Raises:
        InvalidInput: A cluster does not answer, or the journal cannot be used.

    Example:
        >>> for_each(abs, [-2, 3])
        [2, 3]
    """
    found: dict[int, Result] = {}
    with ExitStack() as stack:
        journal = None
        if work.journal is not None:
            journal = stack.enter_context(journal_of(work.journal, check, items))
            found.update(journal.known)
        left = [number for number in range(len(items)) if number not in found]
        bar = stack.enter_context(Bar(title, len(items), work.progress))
        bar.advance(len(found))
        alone = work.alone and find_spec("joblib") is None
        for chunk, results in (_one_by_one if alone else _by_joblib)(work, check, items, left):
            if journal is not None:
                journal.write(chunk, results)
            found.update(zip(chunk, results, strict=True))
            bar.advance(len(chunk))
    return [found[number] for number in range(len(items))]


def _one_by_one(
    work: Work, check: Callable[[Item], Result], items: Sequence[Item], left: Sequence[int]
) -> Iterator[tuple[list[int], list[Result]]]:
    """Results in this process, for which nothing has to be installed."""
    for number in left:
        yield [number], [check(items[number])]


def _by_joblib(
    work: Work, check: Callable[[Item], Result], items: Sequence[Item], left: Sequence[int]
) -> Iterator[tuple[list[int], list[Result]]]:
    """Results as processes send them, each with the numbers of its items."""
    with extra("mechanisms"):
        import joblib

    with work.configured() as count:
        count = count if count is None else min(count, max(len(left), 1))  # no idle processes
        pace = _Pace(joblib.effective_n_jobs(count))
        calls = (
            joblib.delayed(_run)(check, chunk, [items[number] for number in chunk])
            for chunk in pace.chunks(left)
        )
        pool = joblib.Parallel(count, return_as=_order(), pre_dispatch="n_jobs", batch_size=1)
        for chunk, results, seconds in pool(calls):
            pace.seen(len(chunk), seconds)
            yield chunk, results


def _order() -> str:
    """How joblib hands results over: as they come, where its backend can."""
    from joblib.parallel import get_active_backend

    comes = get_active_backend()[0].supports_return_generator
    return "generator_unordered" if comes else "list"


def _run(
    check: Callable[[Item], Result], numbers: list[int], chunk: Sequence[Item]
) -> tuple[list[int], list[Result], float]:
    """One piece of the work, and the seconds that it took."""
    began = time.perf_counter()
    results = [check(item) for item in chunk]
    return numbers, results, time.perf_counter() - began


class _Pace:
    """Cuts work into chunks of about `CHUNK` seconds, by what is known of it so far."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._done, self._seconds = 0, 0.0

    def seen(self, count: int, seconds: float) -> None:
        """So many items took so long."""
        self._done += count
        self._seconds += seconds

    def chunks(self, numbers: Sequence[int]) -> Iterator[list[int]]:
        """The numbers in pieces: single ones at first, and at the end no more than a fair share."""
        start = 0
        while start < len(numbers):
            fair = -(-(len(numbers) - start) // self._workers)
            size = max(1, min(fair, self._by_time()))
            yield list(numbers[start : start + size])
            start += size

    def _by_time(self) -> int:
        """Items of a chunk."""
        if not self._done:
            return 1
        return math.ceil(min(CHUNK * self._done / max(self._seconds, 1e-9), 1e9))


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
