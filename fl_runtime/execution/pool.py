"""Worker processes that train side by side, to the same bytes however many there are.

Which jobs are trained together is decided here, by the executor that would train them in this
process; a worker is given one such group at a time, whichever is free. What comes of a group
depends on nothing but its jobs (`worker`), so neither the number of workers nor who is quicker
shows in it.

A worker that dies is replaced, and its group is trained again. A group that ends two workers is
more than they can bear, as when memory runs out: it ends the run with one error.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import wait
from types import TracebackType

import torch

from fairopt.errors import FairoptError, InvalidInput
from fairopt.user_objects import said
from fl_runtime.execution.executor import Group, GroupedExecutor, described
from fl_runtime.execution.parcels import Parcel, shared_tensors
from fl_runtime.execution.stacked import rooms
from fl_runtime.execution.worker import Answer, Settings
from fl_runtime.execution.worker_process import WorkerProcess
from fl_runtime.training.job import Job, Update
from fl_runtime.training.stacks import Row
from fl_runtime.training.task import Task

MOST_DEATHS = 2
"""Workers that a group of jobs may end before it is given up."""

CAN_BE_CUT = 4
"""Clients from which on a stack can be cut into others: none has a single client."""

PARTS = {"model": "model", "loss": "loss", "metrics": "metrics", "trainer": "trainer"}
PARTS |= {"training": "optimizer or schedule", "shards": "data"}
"""Fields of a task that may hold what the user has made, and their keys."""

GUARD = "a script that begins a run needs `if __name__ == '__main__':` around it"


_log = logging.getLogger(__name__)


class WorkerEnded(FairoptError, RuntimeError):
    """Worker processes end instead of training."""


class WorkerPool:
    """Processes that train what they are given; each is started when there is work for it.

    Args:
        count: Most workers.
        device: Where they train; on the GPUs in turn if it is ``cuda`` without a number.

    Attributes:
        deaths: Workers that have died and been replaced.

    Example:
        >>> with WorkerPool(2) as pool:
        ...     pool.train(Parcel(None), [])
        []
    """

    def __init__(self, count: int, device: str = "cpu") -> None:
        if count < 1:
            raise InvalidInput("workers", count, "at least 1")
        self.count, self.deaths = count, 0
        self._device = device
        self._workers: dict[int, WorkerProcess] = {}

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def processes(self) -> dict[int, int]:
        """What the operating system calls the workers that have been started, by their numbers."""
        return {number: worker.pid for number, worker in self._workers.items()}

    def close(self) -> None:
        """End all workers; they have nothing to put in order."""
        for worker in self._workers.values():
            worker.end()
        self._workers.clear()

    def check(self, executor: Parcel) -> None:
        """Have a worker load what it is to train with.

        Raises:
            InvalidInput: It cannot.
            WorkerEnded: Workers cannot be started.
        """
        with self._ended_by_errors():
            for times in range(1, MOST_DEATHS + 1):
                worker = self._worker(0)
                worker.load(executor)
                try:
                    worker.answer()
                except (EOFError, OSError):
                    self._mourn(worker, (), times)
                else:
                    return

    def train(self, executor: Parcel, groups: Sequence[Sequence[Job]]) -> list[Answer]:
        """Train groups of jobs.

        Args:
            executor: What trains them, with its `Settings`.
            groups: Each for one worker.

        Returns:
            An answer for each group, in order.

        Raises:
            WorkerEnded: A group of jobs has ended `MOST_DEATHS` workers.
            Exception: Whatever training raises, with a note that says where.
        """
        models = shared_tensors([job.payload for job in group] for group in groups)
        common = Parcel(models)
        waiting, deaths = deque(range(len(groups))), Counter[int]()
        busy: dict[int, int] = {}
        answers: dict[int, Answer] = {}
        with self._ended_by_errors():
            while len(answers) < len(groups):
                for number in [n for n in range(self.count) if n not in busy][: len(waiting)]:
                    busy[number] = waiting.popleft()
                    worker = self._worker(number)
                    worker.load(executor, common)
                    worker.give(Parcel(groups[busy[number]], known=models))
                for worker in self._heard(busy):
                    index = busy[worker.number]
                    try:
                        found = worker.answer()
                    except (EOFError, OSError):
                        deaths[index] += 1
                        waiting.appendleft(index)
                        self._mourn(worker, groups[index], deaths[index])
                        del busy[worker.number]
                        continue
                    if found is not None:
                        answers[busy.pop(worker.number)] = found
        return [answers[index] for index in range(len(groups))]

    def _worker(self, number: int) -> WorkerProcess:
        """The worker of that number, started if it is not there or is no more."""
        found = self._workers.get(number)
        if found is not None and not found.is_alive:
            self._mourn(found, (), 1)
        if number not in self._workers:
            self._workers[number] = WorkerProcess(
                number, self._device_of(number), torch.device(self._device)
            )
        return self._workers[number]

    def _device_of(self, number: int) -> str:
        """Where a worker trains."""
        if self._device != "cuda":
            return self._device
        return f"cuda:{number % max(1, torch.cuda.device_count())}"

    def _heard(self, busy: Iterable[int]) -> list[WorkerProcess]:
        """Busy workers that have said something, or are no more; waits until there is one."""
        workers = [self._workers[number] for number in busy]
        ready = wait([worker.connection for worker in workers])
        return [worker for worker in workers if worker.connection in ready]

    def _mourn(self, worker: WorkerProcess, jobs: Sequence[Job], times: int) -> None:
        """Forget a worker that has died; its jobs are for another one.

        Raises:
            WorkerEnded: The jobs have ended as many workers as they may.
        """
        doing = f"in local training: {described(jobs)}" if jobs else "while it was idle"
        if not worker.has_loaded:
            doing = "before it had loaded what it was to train"
        what = f"worker {worker.number} {worker.fate} {doing}"
        worker.end()
        del self._workers[worker.number]
        self.deaths += 1
        if times >= MOST_DEATHS:
            raise WorkerEnded(f"{what}, twice" if worker.has_loaded else f"{what}; {GUARD}")
        warnings.warn(f"{what}; another one does its work, to the same results", stacklevel=2)

    @contextmanager
    def _ended_by_errors(self) -> Iterator[None]:
        """What stops half-way ends all workers: nobody would listen to their answers."""
        try:
            yield
        except BaseException:
            self.close()
            raise


class PoolExecutor:
    """Trains by worker processes what another executor would train in this one.

    Args:
        inner: Says how jobs are grouped; workers have copies of it.
        pool: The workers.
    """

    def __init__(self, inner: GroupedExecutor, pool: WorkerPool) -> None:
        self.inner = inner
        self.pool = pool
        self._packed: Parcel | None = None
        self._queue: list[Job] = []
        self._told = False

    def submit(self, jobs: Iterable[Job]) -> None:
        """Queue jobs."""
        self._queue.extend(jobs)

    def poll(self) -> list[Update]:
        """Have everything trained that is queued; updates come in the order of submission."""
        jobs, self._queue = self._queue, []
        groups = self.inner.groups(jobs)
        self._tell(groups)
        several = [[jobs[index] for index in group.index] for group in groups]
        answers = self.pool.train(self._parcel(), several)
        done: dict[int, Update] = {}
        for group, place, answer in zip(groups, rooms(jobs, groups), answers, strict=True):
            done.update(zip(group.index, _placed(answer, place), strict=True))
        return [done[index] for index in range(len(jobs))]

    def check(self) -> None:
        """Try that workers can be given what they need.

        Raises:
            InvalidInput: Some of it cannot be sent, or not be loaded there.
            WorkerEnded: Workers cannot be started.
        """
        self.pool.check(self._parcel())

    def _tell(self, groups: Sequence[Group]) -> None:
        """Say once that smaller stacks would give more workers something to do."""
        largest = max((len(g.index) for g in groups if g.kind is not None), default=0)
        if not self._told and len(groups) < self.pool.count and largest >= CAN_BE_CUT:
            _log.warning(
                "only %d of %d workers have something to do: stacks have up to %d clients, and "
                "run.clients-per-stack makes smaller ones",
                len(groups),
                self.pool.count,
                largest,
            )
            self._told = True

    def _parcel(self) -> Parcel:
        """The other executor, for workers."""
        if self._packed is None:
            try:
                self._packed = Parcel((Settings.here(), self.inner), whole=True)
            except Exception as error:  # whatever the user's objects do when they are pickled
                raise _unsendable(self.inner.tasks, error) from error
        return self._packed


def side_by_side(inner: GroupedExecutor, pool: WorkerPool | None) -> GroupedExecutor | PoolExecutor:
    """The executor, or several workers with copies of it where there is more than one."""
    return inner if pool is None or pool.count == 1 else PoolExecutor(inner, pool)


def _placed(answer: Answer, place: Sequence[Row] | None) -> Sequence[Update]:
    """The updates of a group, with a stack's differences in their place among those of others."""
    if answer.stack is None or place is None:
        return answer.updates
    whole, first = place[0].rows.stack, place[0].index
    for key, value in answer.stack.items():
        whole[key][first : first + len(place)] = value
    return [replace(update, delta=row) for update, row in zip(answer.updates, place, strict=True)]


def _unsendable(tasks: Mapping[str, Task], error: Exception) -> InvalidInput:
    """What of the tasks cannot be sent."""
    for name, task in tasks.items():
        for field, key in PARTS.items():
            part = getattr(task, field)
            try:
                Parcel(part, whole=True)
            except Exception as wrong:  # noqa: BLE001 (as above)
                requirement = f"one that can be sent to workers, or run.workers = 1 ({said(wrong)})"
                return InvalidInput(f"task.{name}.{key}", type(part).__name__, requirement)
    return InvalidInput(
        "run.workers", "several", f"1: tasks cannot be sent to them ({said(error)})"
    )
