"""Worker processes that die, and what becomes of workers whose run ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from fl_runtime import runs
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.execution.pool import PoolExecutor, WorkerEnded, WorkerPool
from fl_runtime.execution.registry import make_executor
from fl_runtime.running.run_folder import CONFIG, HISTORY, RunFolder
from fl_runtime.training.local_training import Client, Trained, train_locally
from fl_runtime.training.task import LocalTraining, Params, Task
from tests import forked
from tests.fl_runtime.execution.test_stacked import jobs_of, ragged_task
from tests.fl_runtime.kills import stopped

pytestmark = pytest.mark.slow

ODD = 11
"""The seed of the job that goes wrong."""


@dataclass(frozen=True)
class Fatal:
    """A trainer that ends its process, always or (with a marker) once; in this process never."""

    marker: str = ""

    def __call__(
        self, model: nn.Module, start: Params, client: Client, settings: LocalTraining
    ) -> Trained:
        inside = multiprocessing.parent_process() is not None
        odd = client.seed == ODD or bool(self.marker)
        if inside and odd and not (self.marker and Path(self.marker).exists()):
            if self.marker:
                Path(self.marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return train_locally(model, start, client, settings)


class Endless:
    """A trainer that never comes to an end."""

    def __call__(self, *_: Any) -> Trained:
        while True:
            time.sleep(60.0)


def executor_of(trainer: Callable[..., Trained], pool: WorkerPool) -> tuple[PoolExecutor, Task]:
    task = replace(ragged_task("linear", [], LocalTraining(0.1, 1, 8)), trainer=trainer)
    return PoolExecutor(make_executor([task], {task.name: "sequential"}), pool), task


def is_there(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not asked for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def assert_gone(pids: list[int]) -> None:
    assert pids
    end = time.monotonic() + 30.0
    while any(map(is_there, pids)):
        assert time.monotonic() < end, "a worker outlives its run"
        time.sleep(0.02)


def settings_of(workers: int, trainer: Any = None) -> Any:
    kept = {"trainer": trainer} if trainer else {"momentum": 0.5, "persist_optimizer": True}
    return check_config(
        {
            "run": {"algorithm": "fed-buff", "num_server_rounds": 6, "workers": workers},
            "task": [{"name": "a", "data": "iris", "model": "linear", **kept}],
            "clients": {"num_clients": 6, "delay": {"model": "exponential"}},
        }
    )


def test_a_worker_that_dies_leaves_no_trace_in_the_history(tmp_path: Path) -> None:
    forked.ready()
    marker = tmp_path / "marker"
    trainer = {"name": f"{__name__}:Fatal", "marker": str(marker)}
    with pytest.warns(
        UserWarning, match="worker . was killed by signal 9 in local training: task a"
    ):
        runs.run(settings_of(2, trainer), out=tmp_path / "two")
    runs.run(settings_of(1, trainer), out=tmp_path / "one")
    one, two = ((tmp_path / name / HISTORY).read_bytes() for name in ("one", "two"))
    assert one == two
    signs = [RunFolder(tmp_path / name).summary()["signs"] for name in ("one", "two")]
    assert signs[0] == []
    assert [(sign["arm"], sign["sign"][:15]) for sign in signs[1]] == [
        ("fed-buff", "1 worker died a")
    ]


def test_jobs_that_end_every_worker_end_the_run() -> None:
    forked.ready()
    with WorkerPool(2) as pool:
        executor, task = executor_of(Fatal(), pool)
        executor.submit(jobs_of(task, [0, 1, 2]))
        place = (
            r"worker \d was killed by signal 9 in local training: task digits, client 1, round 2"
        )
        with pytest.warns(UserWarning, match=place), pytest.raises(WorkerEnded, match=place):
            executor.poll()
        assert pool.deaths == 2
        assert pool.processes == {}


def test_an_interrupt_ends_all_workers() -> None:
    forked.ready()
    with WorkerPool(2) as pool:
        executor, task = executor_of(Endless(), pool)
        executor.submit(jobs_of(task, [0, 1, 2]))
        seen: list[int] = []

        def interrupt() -> None:
            while len(pool.processes) < 2:
                time.sleep(0.01)
            seen.extend(pool.processes.values())
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            executor.poll()
        assert_gone(seen)


def train_without_end(connection: Connection) -> None:
    """A run that never ends, in a process of its own; says who its workers are.

    They are forked from the process that this one is forked from, which saves another such.
    """
    forkserver._forkserver.ensure_running = lambda: None  # type: ignore[attr-defined]
    pool = WorkerPool(2)
    executor, task = executor_of(Endless(), pool)
    executor.submit(jobs_of(task, [0, 1]))
    threading.Thread(target=executor.poll, daemon=True).start()
    while len(pool.processes) < 2:
        time.sleep(0.01)
    connection.send(list(pool.processes.values()))
    time.sleep(600.0)


def test_workers_do_not_outlive_a_run_that_is_killed() -> None:
    here, there = multiprocessing.Pipe()
    run = forked.ready().Process(target=train_without_end, args=(there,))  # type: ignore[attr-defined]
    run.start()
    workers = here.recv()
    assert all(map(is_there, workers))
    os.kill(run.pid, signal.SIGKILL)
    run.join()
    assert_gone(workers)


def test_idle_workers_take_no_processor_time() -> None:
    forked.ready()
    with WorkerPool(1) as pool:
        executor, task = executor_of(Fatal("/"), pool)
        executor.submit(jobs_of(task, [0]))
        executor.poll()
        (pid,) = pool.processes.values()
        clock = (~pid << 3) | 2  # as clock_getcpuclockid has it
        time.sleep(0.1)
        before = time.clock_gettime(clock)
        time.sleep(0.5)
        assert time.clock_gettime(clock) - before < 0.005


def test_a_run_is_resumed_by_another_number_of_workers(tmp_path: Path) -> None:
    forked.ready()
    runs.run(settings_of(1), out=tmp_path / "whole")
    assert stopped(settings_of(2), tmp_path / "stopped", after=4)
    config = tmp_path / "stopped" / CONFIG
    text = config.read_text(encoding="utf-8")
    assert "workers = 2" in text
    config.write_text(text.replace("workers = 2", "workers = 3"), encoding="utf-8")
    runs.resume(tmp_path / "stopped")
    whole, again = ((tmp_path / name / HISTORY).read_bytes() for name in ("whole", "stopped"))
    assert whole == again
