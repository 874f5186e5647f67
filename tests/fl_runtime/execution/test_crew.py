"""Threads that train side by side: the same bytes, and no model that could give others."""

from __future__ import annotations

import random
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fairopt.errors import InvalidInput
from fl_runtime.configuration.toml_files import check_config, digest
from fl_runtime.execution import stacked
from fl_runtime.execution.crew import Crew, draws_numbers
from fl_runtime.execution.registry import make_executor
from fl_runtime.running.experiment import resolved, run
from fl_runtime.training.job import Job
from fl_runtime.training.task import LocalTraining, Task, float_state
from tests.fl_runtime.execution.test_stacked import Normed, jobs_of, ragged_task

WORKERS = (1, 2, 3)


def with_model(task: Task, model: nn.Module) -> Task:
    state = {key: value.clone() for key, value in float_state(model).items()}
    fixed = {k: v.clone() for k, v in model.state_dict().items() if k not in state}
    return replace(task, model=model, initial=state, fixed=fixed)


@pytest.mark.parametrize("how", ["sequential", "stacked", "dense"])
@pytest.mark.parametrize("model", ["mlp", "cnn", "transformer", "batch norm"])
def test_however_many_they_make_the_same_bytes(
    how: str, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacked, "CACHE_BUDGET", 1)  # chunks of two clients
    settings = LocalTraining(0.05, 2, 30, momentum=0.5, persist_optimizer=True)
    kind, hidden = ("linear", []) if model == "batch norm" else (model, [5])
    task = ragged_task(kind, hidden, settings)
    task = with_model(task, Normed()) if model == "batch norm" else task
    options = {"measure_start": model != "transformer"}
    jobs = [replace(job, config=options) for job in jobs_of(task, [*range(7)] * 2)]
    found = []
    for workers in WORKERS:
        executor = make_executor([task], {task.name: how}, workers=workers)
        executor.submit(jobs)
        found.append(executor.poll())
    for updates in found[1:]:
        for one, two in zip(found[0], updates, strict=True):
            assert (one.client, one.metrics, one.num_steps) == (
                two.client,
                two.metrics,
                two.num_steps,
            )
            for mine, other in ((one.delta, two.delta), (one.client_state, two.client_state)):
                assert mine.keys() == other.keys()
                assert all(torch.equal(mine[key], other[key]) for key in mine)


def test_workers_are_at_work_at_once_and_have_models_of_their_own() -> None:
    task = ragged_task("linear", [], LocalTraining(0.1, 1, 8))
    crew = Crew([task], 3)
    models = {id(mine[task.name].model) for mine in crew.tasks}
    assert len(models) == 3
    assert all(mine[task.name].shards is task.shards for mine in crew.tasks)
    meeting = threading.Barrier(3, timeout=20.0)
    numbers = crew.map(lambda number, item: (meeting.wait(), number)[1], [0, 1, 2])
    assert sorted(numbers) == [0, 1, 2]


def test_what_goes_wrong_in_a_worker_says_where() -> None:
    task = ragged_task("linear", [], LocalTraining(0.1, 1, 8))
    executor = make_executor([task], {task.name: "sequential"}, workers=2)
    good, bad = jobs_of(task, [0, 1])
    executor.submit([good, replace(bad, payload={"no": torch.zeros(1)})])
    with pytest.raises(KeyError) as caught:
        executor.poll()
    assert "client 1, round 2" in "".join(caught.value.__notes__)


class Noisy(nn.Module):
    """Draws from a generator that everybody has."""

    def __init__(self, draw: Any) -> None:
        super().__init__()
        self.out, self.draw = nn.Linear(64, 10), draw

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(x.flatten(1)) + self.draw()


DRAWS = {
    "torch": lambda: torch.rand(()),
    "numpy": lambda: float(np.random.rand()),  # noqa: NPY002
    "python": lambda: random.random(),
}


@pytest.mark.parametrize("kind", ["dropout", *DRAWS])
def test_models_that_draw_numbers_are_refused(kind: str) -> None:
    plain = ragged_task("linear", [], LocalTraining(0.1, 1, 8))
    assert not draws_numbers(plain)
    dropout = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10))
    task = with_model(plain, dropout if kind == "dropout" else Noisy(DRAWS[kind]))
    before = torch.get_rng_state()
    assert draws_numbers(task)
    assert torch.equal(before, torch.get_rng_state())
    assert len(Crew([task], 1).tasks) == 1
    with pytest.raises(InvalidInput, match=r"run\.workers = 2.*draws random numbers") as caught:
        make_executor([task], {task.name: "sequential"}, workers=2)
    assert "\n" not in str(caught.value)


def test_models_that_cannot_be_copied_are_refused() -> None:
    task = ragged_task("linear", [], LocalTraining(0.1, 1, 8))
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    model.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(InvalidInput, match=r"run\.workers = 2.*cannot be copied"):
        Crew([with_model(task, model)], 2)


def settings_of(workers: int, algorithm: str = "fed-avg") -> Any:
    tasks = [
        {"name": name, "data": "digits", "model": model, "hidden": [4]}
        for name, model in (("a", "mlp"), ("b", "cnn"))
    ]
    run_ = {"algorithm": algorithm, "num_server_rounds": 2, "workers": workers}
    clients = {"num_clients": 6, "batch_size": 50}
    return check_config({"run": run_, "task": tasks, "clients": clients})


def test_a_history_does_not_show_how_many_there_were() -> None:
    assert digest(resolved(settings_of(1))) == digest(resolved(settings_of(2)))
    assert run(settings_of(1)).rows == run(settings_of(2)).rows


@pytest.mark.parametrize("workers", [0, 1000, 1.5, "2"])
def test_numbers_of_workers_that_are_none_are_refused(workers: Any) -> None:
    with pytest.raises(InvalidInput, match=r"run\.workers"):
        settings_of(workers)


def test_no_jobs_are_no_work() -> None:
    task = ragged_task("linear", [], LocalTraining(0.1, 1, 8))
    jobs: list[Job] = []
    executor = make_executor([task], {task.name: "dense"}, workers=2)
    executor.submit(jobs)
    assert executor.poll() == []


def test_every_job_draws_the_numbers_of_its_seed() -> None:
    """A model with dropout, on one shard: by the seed, and by nothing that was drawn before."""
    plain = ragged_task("linear", [], LocalTraining(0.1, 1, 64))
    task = with_model(plain, nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10)))
    once = {"examples": torch.zeros(8, dtype=torch.int64)}  # in any order the same
    jobs = [Job(task.name, 0, 0, 0.0, task.initial, seed, config=once) for seed in (1, 2, 1)]
    executor = make_executor([task], {task.name: "sequential"})
    executor.submit(jobs)
    one, two, again = (update.delta for update in executor.poll())
    for key, value in one.items():
        assert torch.equal(value, again[key])
        assert not torch.equal(value, two[key])
