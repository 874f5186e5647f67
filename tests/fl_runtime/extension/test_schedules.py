"""Step sizes by the version of the model, and gradients of bounded length, in every executor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fairopt.errors import InvalidInput
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.execution.executor import Executor
from fl_runtime.execution.sequential import SequentialExecutor
from fl_runtime.execution.stacked import StackedExecutor
from fl_runtime.running.build import assemble
from fl_runtime.running.experiment import run
from fl_runtime.running.preflight import check_all_arms
from fl_runtime.training.job import Job, Update
from fl_runtime.training.schedules import (
    SCHEDULES,
    Cosine,
    ExponentialDecay,
    InverseRoot,
    Schedule,
    Steps,
)
from tests.fl_runtime.kills import assert_resumes

HERE = __name__
ALL: tuple[Schedule, ...] = (
    Cosine(10),
    Cosine(10, warmup=3, floor=0.1),
    Steps(4, by=0.5),
    ExponentialDecay(0.9),
    InverseRoot(5.0),
)


@dataclass(frozen=True)
class Nothing:
    """No change."""

    def factor(self, version: int) -> float:
        """One."""
        return 1.0


@dataclass(frozen=True)
class Fades:
    """To zero, which is refused."""

    def factor(self, version: int) -> float:
        """One, then zero."""
        return float(version < 1)


def tree(
    *, algorithm: str = "fed-avg", executor: str = "sequential", **task: Any
) -> dict[str, Any]:
    return {
        "run": {"algorithm": algorithm, "num_server_rounds": 3, "executor": executor},
        "task": [
            {"name": data, "data": data, "model": "mlp", "hidden": [4], **task}
            for data in ("digits-joint", "digits-joint-parity")
        ],
        "clients": {"num_clients": 5, "batch_size": 64, "delay": {"model": "exponential"}},
    }


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_factors_are_positive_and_fall_after_the_warm_up(schedule: Schedule) -> None:
    factors = [schedule.factor(version) for version in range(40)]
    warm = schedule.warmup if isinstance(schedule, Cosine) else 0
    assert all(0.0 < factor <= 1.0 for factor in factors)
    assert factors[: warm + 1] == sorted(factors[: warm + 1])
    assert factors[warm] == 1.0
    assert factors[warm:] == sorted(factors[warm:], reverse=True)


def test_a_warm_up_and_a_floor() -> None:
    found = [Cosine(4, warmup=2, floor=0.5).factor(version) for version in range(5)]
    assert found == pytest.approx([1 / 3, 2 / 3, 1.0, 0.75, 0.75])


@pytest.mark.parametrize("executor", ["sequential", "stacked"])
@pytest.mark.parametrize("key", ["schedule", "clip_gradient"])
def test_what_changes_nothing_keeps_every_byte(key: str, executor: str) -> None:
    value = f"{HERE}:Nothing" if key == "schedule" else 1e9
    plain, same = (
        run(check_config(tree(executor=executor, momentum=0.5, **own))).rows
        for own in ({}, {key: value})
    )
    assert plain == same


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize(
    "own",
    [
        {"schedule": {"name": "steps", "every": 1, "by": 0.5}},
        {"clip_gradient": 0.05},
        {"schedule": {"name": "cosine", "rounds": 5}, "clip_gradient": 0.05},
    ],
    ids=["schedule", "clipping", "both"],
)
def test_executors_agree(optimizer: str, own: dict[str, Any]) -> None:
    """Jobs of different versions at once, as asynchronous systems send them.

    AdamW divides by the root of small squares, so there last digits count more.
    """
    whole = tree(optimizer=optimizer, learning_rate=0.01, **own)
    parts = assemble(check_config(whole), 0)
    tasks = parts.federation.tasks
    one, other = (
        trained(made(tasks), jobs_of(parts)) for made in (SequentialExecutor, StackedExecutor)
    )
    for mine, theirs in zip(one, other, strict=True):
        assert mine.metrics["learning_rate"] == theirs.metrics["learning_rate"]
        for key in mine.delta:
            worst = float((mine.delta[key] - theirs.delta[key]).abs().max())
            assert worst < (1e-6 if optimizer == "sgd" else 1e-5)


def jobs_of(parts: Any) -> list[Job]:
    """A round of jobs, every third one of one version."""
    state = parts.algorithm.init(parts.federation, 0)
    _, jobs = parts.algorithm.dispatch(state, parts.federation, 0.0)
    return [replace(job, version=number % 3) for number, job in enumerate(jobs)]


def trained(executor: Executor, jobs: list[Job]) -> list[Update]:
    executor.submit(jobs)
    pairs = zip(executor.poll(), jobs, strict=True)
    return [replace(update, payload=job.payload) for update, job in pairs]


@pytest.mark.parametrize("algorithm", ["fed-avg", "ditto", "fed-async", "fair-grad"])
def test_the_step_size_is_that_of_the_jobs_version(algorithm: str) -> None:
    """Of global models beside personal ones and of joint training as well."""
    whole = tree(algorithm=algorithm, schedule={"name": "exponential", "by": 0.5})
    if algorithm == "fair-grad":
        whole["algorithm"] = {"where": "client"}
    parts = assemble(check_config(whole), 0)
    state: Any = parts.algorithm.init(parts.federation, 0)
    versions = set()
    for _ in range(3):
        state, jobs = parts.algorithm.dispatch(state, parts.federation, 0.0)
        updates = trained(parts.executor, jobs)
        for update in updates:
            versions.add(update.version)
            assert update.metrics["learning_rate"] == pytest.approx(0.05 * 0.5**update.version)
        state = parts.algorithm.aggregate(state, updates)
    assert max(versions) >= 2


@pytest.mark.parametrize("executor", ["sequential", "stacked"])
def test_a_clipped_step_is_as_long_as_the_bound(executor: str) -> None:
    """One step per pass: the difference is the scheduled step size times the clipped gradient."""
    halves = {"name": "exponential", "by": 0.5}
    whole = tree(clip_gradient=0.01, schedule=halves, executor=executor)
    whole["clients"]["batch_size"] = 4096
    parts = assemble(check_config(whole), 0)
    state = parts.algorithm.init(parts.federation, 0)
    _, jobs = parts.algorithm.dispatch(state, parts.federation, 0.0)
    for update in trained(parts.executor, [replace(job, version=2) for job in jobs]):
        length = sum(float(value.square().sum()) for value in update.delta.values()) ** 0.5
        assert length == pytest.approx(0.05 * 0.25 * 0.01, rel=1e-3)


def test_a_schedule_resumes_to_equal_bytes(tmp_path: Path) -> None:
    whole = tree(schedule={"name": "cosine", "rounds": 3, "warmup": 1}, clip_gradient=1.0)
    assert_resumes(check_config(whole), tmp_path, after=2)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({"schedule": "cosin"}, "did you mean cosine"),
        ({"schedule": {"name": "cosine"}}, r"schedule\.rounds"),
        ({"schedule": {"name": "cosine", "rounds": 3, "warmup": 3}}, r"warmup = 3.*0 \.\. rounds"),
        ({"schedule": {"name": "steps", "every": 0}}, "an integer >= 1"),
        ({"schedule": {"name": "exponential", "by": 2.0}}, r"by = 2\.0"),
        ({"clip_gradient": 0.0}, "clip-gradient"),
    ],
)
def test_bad_options_are_named(task: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        check_all_arms(check_config(tree(**task)))


def test_a_step_size_of_zero_is_refused() -> None:
    with pytest.raises(InvalidInput, match="schedule at version 1 = 0"):
        run(check_config(tree(schedule=f"{HERE}:Fades")))


def test_every_schedule_has_a_name() -> None:
    assert {type(each) for each in ALL} == set(SCHEDULES.values())
