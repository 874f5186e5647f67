"""FedAST in whole runs: targets, kills in mid-buffer, degenerate cases, and bad settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fairopt import InvalidInput
from fl_runtime.algorithms.fed_ast_requests import FedASTState
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.running.build import Parts, assemble
from fl_runtime.running.checkpoint import load_checkpoint
from fl_runtime.running.experiment import resume, run
from fl_runtime.running.preflight import check_all_arms
from fl_runtime.running.writer import CHECKPOINT, HISTORY
from tests.fl_runtime.kills import stopped
from tests.fl_runtime.rounds import looped

WINE = {"name": "wine", "data": "wine", "model": "linear", "target_accuracy": 0.6}
IRIS = {"name": "iris", "data": "iris", "model": "linear", "target_accuracy": 0.6}
DELAY = {"model": "shifted-exponential", "shift": 0.33, "mean": 1.0}


def configuration(
    algorithm: str, run_: Mapping[str, Any] = {}, tasks: Sequence[Any] = (WINE, IRIS), **own: Any
) -> Config:
    return check_config(
        {
            "run": {"algorithm": algorithm, "num_server_rounds": 40, **run_},
            "task": list(tasks),
            "clients": {"num_clients": 6, "delay": DELAY, "batch_size": 8},
            "algorithm": own,
        }
    )


@pytest.mark.parametrize("algorithm", ["fed-ast", "sync-st", "fed-buff"])
def test_a_run_stops_at_its_targets_and_finished_tasks_stand_still(algorithm: str) -> None:
    history = run(configuration(algorithm, {"stop_at_targets": True, "num_server_rounds": 300}))
    rows, stop = history.rounds(algorithm, 0), history.rows[-2]
    assert stop["event"] == "stop"
    assert (stop["reached"], stop["unreached"]) == (["wine", "iris"], [])
    assert len(rows) < 300
    for task in ("wine", "iris"):
        accuracies = [row[f"{task}/eval_acc"] for row in rows]
        first = next(n for n, accuracy in enumerate(accuracies) if accuracy >= 0.6)
        assert len(set(accuracies[first:])) == 1
        assert not any(row[f"{task}/num-clients"] for row in rows[first + 1 :])


def test_a_target_that_is_never_reached_is_named_at_the_limit() -> None:
    tasks = (WINE, {**IRIS, "target_accuracy": 1.0, "learning_rate": 1e-6})
    history = run(configuration("fed-ast", {"stop_at_targets": True}, tasks))
    assert len(history.rounds("fed-ast", 0)) == 40
    assert history.rows[-2]["unreached"] == ["iris"]


MID_BUFFER: dict[str, Any] = {"ratio": 1.0, "allocation": "dynamic", "window": 2, "period": 4}


@pytest.mark.parametrize("executor", ["sequential", "stacked"])
def test_a_kill_in_mid_buffer_changes_nothing(executor: str, tmp_path: Path) -> None:
    """Three places in a buffer, and a kill after every second event; most checkpoints hold some."""
    settings = configuration(
        "fed-ast", {"executor": executor, "num_server_rounds": 8}, **MID_BUFFER
    )
    run(settings, out=tmp_path / "whole")
    whole, waiting = (tmp_path / "whole" / HISTORY).read_bytes(), []
    for events in (3, 5, 7, 9):
        folder = tmp_path / f"{events}"
        assert stopped(settings, folder, events)
        saved = load_checkpoint(folder / CHECKPOINT)["state"]
        waiting.append(sum(map(len, saved["state"]["buffers"].values())))
        assert len(saved["flights"]) == 5  # of six; the one that came was not yet replaced
        resume(folder)
        assert (folder / HISTORY).read_bytes() == whole
    assert sum(count > 0 for count in waiting) >= 2


def test_rare_checkpoints_lose_rounds_and_nothing_else(tmp_path: Path) -> None:
    """Killed in round 9, with checkpoints at 4 and 8: the bytes are those of any other run."""
    often, rarely = (
        configuration("fed-ast", {"num_server_rounds": 15, "checkpoint_every": every}, **MID_BUFFER)
        for every in (1, 4)
    )
    run(often, out=tmp_path / "whole")
    assert stopped(rarely, tmp_path / "stopped", 10)
    saved = load_checkpoint(tmp_path / "stopped" / CHECKPOINT)["state"]
    assert saved["state"]["server_round"] == 8
    resume(tmp_path / "stopped")
    whole, again = ((tmp_path / name / HISTORY).read_bytes() for name in ("whole", "stopped"))
    assert again == whole


def after(parts: Parts, rounds: int) -> tuple[FedASTState, int]:
    """The server's state after some rounds, and how many jobs there have been."""
    current = looped(parts, rounds)
    assert isinstance(current.state, FedASTState)
    return current.state, current.sent


def without(parts: Parts, pairs: Sequence[tuple[int, int]]) -> Parts:
    """The parts where these clients have not agreed to those tasks."""
    eligible = parts.federation.eligible.copy()
    for client, task in pairs:
        eligible[client, task] = False
    return replace(parts, federation=replace(parts.federation, eligible=eligible))


def test_a_client_without_a_task_is_not_asked_for_it() -> None:
    parts = without(assemble(configuration("fed-ast"), 0), [(0, 1), (1, 0), (1, 1)])
    state = parts.algorithm.init(parts.federation, 0)
    asked = set()
    for _ in range(40):
        state, jobs = parts.algorithm.dispatch(state, parts.federation, 0.0)
        asked |= {(job.client, job.task) for job in jobs}
    assert asked == {(0, "wine")} | {(c, t) for c in range(2, 6) for t in ("wine", "iris")}


def test_a_task_that_nobody_can_train_stands_still_and_the_other_goes_on() -> None:
    parts = without(assemble(configuration("fed-ast"), 0), [(client, 1) for client in range(6)])
    state, _ = after(parts, 5)
    assert state.versions == {"wine": 5, "iris": 0}
    assert state.requests == {"wine": 6, "iris": 0}


@pytest.mark.parametrize("estimator", ["gradient-variance", "relative-variance"])
def test_updates_of_zero_leave_models_and_shares_alone(estimator: str) -> None:
    """A step too short for the precision: the variance is zero everywhere, the ratio undefined."""
    short = ({**WINE, "learning_rate": 1e-30}, {**IRIS, "learning_rate": 1e-30})
    own = {"ratio": 1.0, "allocation": "dynamic", "window": 2, "period": 2, "estimator": estimator}
    parts = assemble(configuration("fed-ast", {}, short, **own), 0)
    state, _ = after(parts, 8)
    assert state.requests == {"wine": 3, "iris": 3}
    assert sum(state.versions.values()) == 8
    for task in parts.federation.tasks:
        assert all(torch.equal(state.models[task.name][k], v) for k, v in task.initial.items())


@pytest.mark.parametrize("concurrency", [1, 3])
def test_one_client_and_one_task(concurrency: int) -> None:
    """Its requests queue up; every answer has waited for the others: staleness R - 1."""
    tree = configuration("fed-ast", {}, (WINE,), concurrency=concurrency).model_dump()
    tree["clients"].update(num_clients=1)
    rows = run(check_config(tree)).rounds("fed-ast", 0)
    assert len(rows) == 40
    assert [row["staleness_max"] for row in rows[concurrency:]] == [concurrency - 1] * (
        40 - concurrency
    )


@pytest.mark.parametrize(
    ("own", "local", "reason"),
    [
        ({"server_learning_rate": 1e60}, {}, "ruins model"),
        ({}, {"learning_rate": 1e6, "weight_decay": 1e6}, "not finite"),
    ],
)
def test_a_step_that_overflows_is_rejected_and_no_model_is_harmed(
    own: dict[str, Any], local: dict[str, Any], reason: str
) -> None:
    """On the server, or on the clients."""
    tasks = ({**WINE, **local}, {**IRIS, **local})
    tree = configuration("fed-ast", {"num_server_rounds": 4}, tasks, **own).model_dump()
    tree["clients"].update(local_epochs=4)
    history = run(check_config(tree))
    assert {row["reason"] for row in history.incidents("fed-ast", 0)} == {reason}
    rows = history.rounds("fed-ast", 0)
    assert len(rows) == 4
    assert all(np.isfinite(row["wine/val_loss"]) for row in rows)


def test_a_bound_of_staleness_drops_older_answers() -> None:
    free, bound = (
        run(configuration("fed-ast-no-buffer", **own)).rounds("fed-ast-no-buffer", 0)
        for own in ({}, {"max_staleness": 1})
    )
    assert max(row["staleness_max"] for row in free) > 1
    assert max(row["staleness_max"] for row in bound) <= 1
    assert sum(row["num-stale"] for row in bound) > 0


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        ({"ratio": 0.0}, "algorithm.ratio = 0.0"),
        ({"ratio": 37.5}, "in (0, 37]"),
        ({"ratio": -1.0}, "in (0, 37]"),
        ({"ratio": float("nan")}, "in (0, 37]"),
        ({"ratio": float("inf")}, "in (0, 37]"),
        ({"concurrency": 1}, "algorithm.concurrency = 1"),
        ({"concurrency": 0}, "algorithm.concurrency = 0"),
        ({"concurrency": 10**9}, "(one per task) .. 6000"),
        ({"concurrency": [3]}, "one per task"),
        ({"concurrency": [3, 0]}, "one per task"),
        ({"concurrency": "many"}, "algorithm.concurrency"),
        ({"window": 1}, "algorithm.window"),
        ({"period": 0}, "algorithm.period"),
        ({"server_learning_rate": 0.0}, "algorithm.server-learning-rate"),
        ({"server_step": "sum"}, "algorithm.server-step"),
        ({"objective": "equal"}, "algorithm.objective"),
        ({"max_staleness": -1}, "algorithm.max-staleness"),
    ],
)
def test_settings_that_do_not_fit(own: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_all_arms(configuration("fed-ast", **own))
    assert reason in str(caught.value)


def test_stopping_at_targets_needs_targets() -> None:
    tasks = ({"name": "wine", "data": "wine", "model": "linear"},)
    with pytest.raises(InvalidInput, match="target"):
        check_all_arms(configuration("fed-ast", {"stop_at_targets": True}, tasks))


def test_stopping_at_targets_needs_a_model_per_task() -> None:
    tasks = tuple(
        {"name": name, "data": name, "model": "mlp", "hidden": [4], "target_accuracy": 0.5}
        for name in ("digits-joint", "digits-joint-parity")
    )
    with pytest.raises(InvalidInput, match="share a trunk"):
        check_all_arms(configuration("fair-grad", {"stop_at_targets": True}, tasks))
