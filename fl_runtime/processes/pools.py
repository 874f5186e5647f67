"""Processes by the name of a backend: forked here, joblib's loky, or those of a cluster."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from joblib import cpu_count

from fl_runtime.processes.each_done import Died, Pool
from fl_runtime.processes.forked import ForkedPool
from mechanisms.backends import Backend, dask_client, ray_cluster

Chosen = tuple[int | None, Backend]
"""Pieces at a time, or None for as many as there are processes, and whose processes."""


class FuturesPool:
    """Processes behind anything that gives a future for a piece.

    Args:
        submit: Begins with a piece.
        deaths: Kinds of errors that say that a process ended, and nothing about the work.
        close: Ends all processes.
    """

    def __init__(
        self,
        submit: Callable[[int], Future[Any]],
        deaths: tuple[type[BaseException], ...],
        close: Callable[[], None],
    ) -> None:
        self._submit, self._deaths, self.close = submit, deaths, close
        self._running: dict[Future[Any], int] = {}

    def start(self, item: int) -> None:
        """Submit a piece."""
        self._running[self._submit(item)] = item

    def finished(self, seconds: float) -> list[tuple[int, Any]]:
        """Pieces that have ended."""
        done = wait(self._running, seconds, FIRST_COMPLETED).done
        return [(self._running.pop(future), self._answer(future)) for future in done]

    def _answer(self, future: Future[Any]) -> Any:
        """What came back."""
        error = future.exception()
        if isinstance(error, self._deaths):
            return Died(type(error).__name__)
        return future.result()


@dataclass(frozen=True)
class Workers:
    """Processes that are there, or can be had.

    Attributes:
        jobs: Pieces of work that they are given at a time.
        backend: Whose they are.
        cluster: What a cluster is spoken to by.
    """

    jobs: int
    backend: Backend
    cluster: Any = None

    def pool(self, work: Callable[[int], Any], files: Sequence[BinaryIO] = ()) -> Pool:
        """The processes, which do this work and do not inherit these files."""
        if self.backend.kind == "fork":
            return ForkedPool(work, files)
        if self.backend.kind == "loky":
            return _loky_pool(work, self.jobs)
        return (_dask_pool if self.backend.kind == "dask" else _ray_pool)(self.cluster, work)


@contextmanager
def connected(chosen: Chosen) -> Iterator[Workers]:
    """So many processes of a backend; as many as it has for None.

    Raises:
        InvalidInput: A cluster does not answer.
    """
    jobs, backend = chosen
    if backend.kind == "dask":
        with dask_client(backend) as client:
            yield Workers(jobs or sum(client.nthreads().values()) or 1, backend, client)
    elif backend.kind == "ray":
        with ray_cluster(backend) as ray:
            yield Workers(jobs or int(ray.cluster_resources()["CPU"]), backend, ray)
    else:
        yield Workers(jobs or cpu_count(), backend)


def _loky_pool(work: Callable[[int], Any], jobs: int) -> FuturesPool:
    """Fresh processes of this machine; when one dies all end, and others follow."""
    from joblib.externals.loky import ProcessPoolExecutor

    def more() -> Any:
        # An interrupt from a keyboard reaches all processes; what it means the first one says.
        interrupts = (signal.SIGINT, signal.SIG_IGN)
        return ProcessPoolExecutor(jobs, initializer=signal.signal, initargs=interrupts)

    def submit(item: int) -> Future[Any]:
        try:
            return executors[-1].submit(work, item)  # type: ignore[no-any-return]
        except BrokenExecutor:
            executors.append(more())
            return executors[-1].submit(work, item)  # type: ignore[no-any-return]

    def close() -> None:
        for executor in executors:
            executor.shutdown(wait=True, kill_workers=True)

    executors = [more()]
    return FuturesPool(submit, (BrokenExecutor,), close)


def _dask_pool(client: Any, work: Callable[[int], Any]) -> FuturesPool:
    """The workers of a Dask cluster. Dask itself gives a piece to other workers when one dies."""
    from distributed import KilledWorker

    executor = client.get_executor(pure=False)
    return FuturesPool(
        lambda item: executor.submit(work, item),
        (KilledWorker,),
        lambda: executor.shutdown(wait=False),
    )


def _ray_pool(ray: Any, work: Callable[[int], Any]) -> FuturesPool:
    """The workers of a Ray cluster."""

    def answer(item: int) -> Any:
        return work(item)

    remote = ray.remote(max_retries=0)(answer)
    begun: list[Any] = []

    def submit(item: int) -> Future[Any]:
        begun.append(remote.remote(item))
        return begun[-1].future()  # type: ignore[no-any-return]

    def close() -> None:
        for reference in begun:
            ray.cancel(reference, force=True)

    errors = ray.exceptions
    deaths = (errors.WorkerCrashedError, errors.OutOfMemoryError, errors.NodeDiedError)
    return FuturesPool(submit, deaths, close)
