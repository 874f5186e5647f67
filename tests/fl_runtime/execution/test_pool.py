"""Worker processes: the same bytes, errors with their place, deaths without traces."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fairopt.errors import InvalidInput
from fl_runtime.configuration.toml_files import check_config, digest
from fl_runtime.execution.pool import PoolExecutor, WorkerPool
from fl_runtime.execution.registry import make_executor
from fl_runtime.execution.worker_process import WorkerProcess
from fl_runtime.running.build import Parts, assemble
from fl_runtime.running.experiment import resolved, run
from fl_runtime.running.preflight import check_trains
from fl_runtime.training.job import Job, Update
from fl_runtime.training.local_training import Client, Trained, train_locally
from fl_runtime.training.task import LocalTraining, Params, Task, float_state
from tests import forked
from tests.fl_runtime.data import test_sources as sources
from tests.fl_runtime.execution.test_stacked import Normed, jobs_of, ragged_task


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    """Three workers that all tests share, forked from the process that commands are forked from."""
    forked.ready()
    with WorkerPool(3) as found:
        yield found


def polled(executor: Any, jobs: Sequence[Job]) -> list[Update]:
    executor.submit(jobs)
    found: list[Update] = executor.poll()
    assert executor.poll() == []
    return found


def assert_same_bytes(one: Sequence[Update], two: Sequence[Update]) -> None:
    assert len(one) == len(two)
    for mine, other in zip(one, two, strict=True):
        assert replace(mine, delta={}, client_state={}) == replace(other, delta={}, client_state={})
        for a, b in ((mine.delta, other.delta), (mine.client_state, other.client_state)):
            assert a.keys() == b.keys()
            assert all(torch.equal(a[key], b[key]) for key in a)


def with_model(task: Task, model: nn.Module) -> Task:
    state = {key: value.clone() for key, value in float_state(model).items()}
    fixed = {k: v.clone() for k, v in model.state_dict().items() if k not in state}
    return replace(task, model=model, initial=state, fixed=fixed)


@pytest.mark.parametrize(
    ("how", "model"),
    [
        ("sequential", "cnn"),
        ("sequential", "batch norm"),
        ("sequential", "dropout"),
        ("stacked", "mlp"),
        ("stacked", "transformer"),
        ("stacked", "dropout"),
        ("dense", "mlp"),
    ],
)
def test_however_many_they_make_the_same_bytes(how: str, model: str, pool: WorkerPool) -> None:
    settings = LocalTraining(0.05, 2, 30, momentum=0.5, persist_optimizer=True)
    kind, hidden = ("linear", []) if model in ("batch norm", "dropout") else (model, [5])
    task = ragged_task(kind, hidden, settings)
    own = {
        "batch norm": Normed(),
        "dropout": nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10)),
    }
    task = with_model(task, own[model]) if model in own else task
    options = {"measure_start": model != "transformer", "anchor": task.initial, "proximal": 0.1}
    jobs = [replace(job, config=options) for job in jobs_of(task, [*range(7)] * 2, 0.01)]
    jobs[1] = replace(jobs[1], payload=jobs[0].payload)
    jobs[2] = replace(jobs[2], config={**options, "examples": torch.tensor([0, 2, 2])})
    inner = make_executor([task], {task.name: how}, clients_per_stack=2)
    here = polled(inner, jobs)
    assert_same_bytes(here, polled(PoolExecutor(inner, pool), jobs))
    kept = [
        replace(job, client_state=update.client_state)
        for job, update in zip(jobs, here, strict=True)
    ]
    assert_same_bytes(polled(inner, kept), polled(PoolExecutor(inner, pool), kept))


def test_a_model_of_a_stack_travels_alone(pool: WorkerPool) -> None:
    """Personal models are rows of the stack that they were trained in."""
    task = ragged_task("mlp", [5], LocalTraining(0.05, 1, 30))
    inner = make_executor([task], {task.name: "dense"})
    jobs = jobs_of(task, [*range(7)])
    pairs = zip(jobs, polled(inner, jobs), strict=True)
    rows = [replace(job, payload=update.delta) for job, update in pairs]
    assert_same_bytes(polled(inner, rows), polled(PoolExecutor(inner, pool), rows))


@dataclass(frozen=True)
class Odd:
    """A trainer that does what its learning rate says; 0.2 fails, 0.3 ends its process."""

    options: tuple[str, ...] = ()

    def __call__(
        self, model: nn.Module, start: Params, client: Client, settings: LocalTraining
    ) -> Trained:
        if settings.learning_rate == 0.2 and client.seed == 11:
            raise ValueError("this client is odd")
        if settings.learning_rate == 0.3 and client.seed == 11:
            os.kill(os.getpid(), signal.SIGKILL)
        return train_locally(model, start, client, settings)


def odd_task(rate: float) -> Task:
    return replace(ragged_task("linear", [], LocalTraining(rate, 1, 8)), trainer=Odd())


def test_what_goes_wrong_in_a_worker_says_where() -> None:
    forked.ready()
    task = odd_task(0.2)
    with WorkerPool(2) as pool:
        executor = PoolExecutor(make_executor([task], {task.name: "sequential"}), pool)
        executor.submit(jobs_of(task, [0, 1, 2]))
        with pytest.raises(ValueError, match="odd") as caught:
            executor.poll()
        notes = "\n".join(caught.value.__notes__)
        assert "in local training: task digits, client 1, round 2" in notes
        assert "in worker 1" in notes
        assert "test_pool.py" in notes  # the place in the user's code
        assert pool.processes == {}  # nobody is left with half a round
        assert len(polled(executor, jobs_of(task, [0, 2]))) == 2


def small(workers: int, algorithm: str = "fed-avg", **run_: Any) -> Any:
    tasks = [
        {"name": name, "data": "digits", "model": model, "hidden": [4]}
        for name, model in (("a", "mlp"), ("b", "cnn"))
    ]
    whole = {"algorithm": algorithm, "num_server_rounds": 2, "workers": workers, **run_}
    clients = {"num_clients": 6, "batch_size": 50, "delay": {"model": "exponential"}}
    return check_config({"run": whole, "task": tasks, "clients": clients})


def test_a_history_does_not_show_how_many_there_were() -> None:
    """Of personal models; that of an asynchronous run is in `test_pool_deaths`."""
    forked.ready()
    one, two = (small(workers, "ditto", clients_per_stack=2) for workers in (1, 2))
    assert digest(resolved(one)) == digest(resolved(two))
    assert run(one).rows == run(two).rows


def test_the_size_of_stacks_counts_where_it_is_set() -> None:
    plain, cut = small(1), small(1, clients_per_stack=3)
    assert digest(resolved(plain)) != digest(resolved(cut))
    parts = assemble(cut, 0)
    groups = parts.executor.groups(dispatched(parts))  # type: ignore[attr-defined]
    stacked = [len(group.index) for group in groups if group.kind is not None]
    assert stacked == [3, 3]
    assert sorted(index for group in groups for index in group.index) == list(range(12))


@pytest.mark.parametrize("workers", [0, -1, 1000, 1.5, "2"])
def test_numbers_of_workers_that_are_none_are_refused(workers: Any) -> None:
    with pytest.raises(InvalidInput, match=r"run\.workers"):
        small(workers)


def test_options_that_contradict_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"clients-per-stack.*no task is trained as a stack"):
        run(small(1, executor="sequential", clients_per_stack=4))
    with pytest.raises(InvalidInput, match=r"run\.clients-per-stack"):
        small(1, clients_per_stack=1)
    with pytest.raises(InvalidInput, match="device"):
        run(small(2, device="cuda:7"))


def dispatched(parts: Parts) -> list[Job]:
    """The first jobs that an algorithm sends."""
    state = parts.algorithm.init(parts.federation, 0)
    return list(parts.algorithm.dispatch(state, parts.federation, 0.0)[1])


def test_clients_that_are_loaded_one_by_one_are_loaded_there(pool: WorkerPool) -> None:
    parts = assemble(sources.settings("lazy"), 0)
    jobs, inner = dispatched(parts), parts.executor
    loaded = inner.tasks["t"].shards  # type: ignore[attr-defined]
    there = polled(PoolExecutor(inner, pool), jobs)  # type: ignore[arg-type]
    assert not loaded._kept
    assert_same_bytes(polled(inner, jobs), there)
    assert loaded._kept


def test_stacks_that_leave_workers_idle_are_told_of_once(
    pool: WorkerPool, caplog: pytest.LogCaptureFixture
) -> None:
    task = ragged_task("linear", [], LocalTraining(0.1, 1, 8))
    executor = PoolExecutor(make_executor([task], {task.name: "dense"}), pool)
    for _ in range(2):
        polled(executor, jobs_of(task, [0, 1, 2, 3]))
    assert caplog.text.count("only 1 of 3 workers have something to do") == 1


def test_no_jobs_are_no_work(pool: WorkerPool) -> None:
    task = ragged_task("linear", [], LocalTraining(0.1, 1, 8))
    assert polled(PoolExecutor(make_executor([task], {task.name: "dense"}), pool), []) == []


def test_more_workers_than_jobs_are_not_started() -> None:
    forked.ready()
    task = ragged_task("linear", [], LocalTraining(0.1, 1, 8))
    with WorkerPool(50) as pool:
        polled(
            PoolExecutor(make_executor([task], {task.name: "sequential"}), pool), jobs_of(task, [3])
        )
        assert len(pool.processes) == 1


class Noisy(nn.Module):
    """Draws from a generator that everybody has and no job seeds."""

    def __init__(self, draw: Any) -> None:
        super().__init__()
        self.out, self.draw = nn.Linear(64, 10), draw

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(x.flatten(1)) + self.draw()


@pytest.mark.parametrize("draw", [random.random, np.random.rand], ids=["python", "numpy"])
def test_training_that_draws_unseeded_numbers_is_refused(draw: Any) -> None:
    task = with_model(ragged_task("linear", [], LocalTraining(0.1, 1, 8)), Noisy(draw))
    check_trains(task, 1)
    with pytest.raises(InvalidInput, match=r"run\.workers = 2.*draws from random or numpy"):
        check_trains(task, 2)


class Locked(nn.Module):
    """Has what no other process can have."""

    def __init__(self) -> None:
        super().__init__()
        self.out, self.lock = nn.Linear(64, 10), threading.Lock()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(x.flatten(1))


def test_what_cannot_be_sent_is_refused_by_name() -> None:
    task = with_model(ragged_task("linear", [], LocalTraining(0.1, 1, 8)), Locked())
    executor = PoolExecutor(make_executor([task], {task.name: "sequential"}), WorkerPool(2))
    with pytest.raises(InvalidInput, match=r"task\.digits\.model = .Locked.*be sent.*lock"):
        executor.check()


def test_a_source_that_cannot_be_sent_is_refused_by_name() -> None:
    inner: Any = assemble(sources.settings("lazy"), 0).executor
    inner.tasks["t"].shards._load.source.own = lambda: 0
    with pytest.raises(InvalidInput, match=r"task\.t\.data = .*be sent to workers.*lambda"):
        PoolExecutor(inner, WorkerPool(2)).check()


def test_what_cannot_be_loaded_there_is_refused(pool: WorkerPool) -> None:
    """A class that only this process knows, as one of an interactive session."""
    here = type("Here", (Normed,), {"__module__": "tests.fl_runtime.execution.test_pool"})
    globals()["Here"] = here
    try:
        task = with_model(ragged_task("linear", [], LocalTraining(0.1, 1, 8)), here())
        executor = PoolExecutor(make_executor([task], {task.name: "sequential"}), pool)
        with pytest.raises(InvalidInput, match=r"run\.workers.*cannot load.*Here"):
            executor.check()
    finally:
        del globals()["Here"]


def test_a_process_of_joblib_starts_workers_by_a_method_that_fresh_processes_know(monkeypatch):
    class Asked(Exception):
        pass

    def asked(method, force):
        raise Asked(method, force)

    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: "loky")
    monkeypatch.setattr(multiprocessing, "set_start_method", asked)
    with pytest.raises(Asked, match=r"'spawn', True"):
        WorkerProcess(0, "cpu")
