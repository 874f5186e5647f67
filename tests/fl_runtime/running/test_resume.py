"""Runs with jobs in flight, buffers, repeated recruitment or patience, stopped at every event."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from fl_runtime.algorithms.base import ServerState
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.history import read_history
from fl_runtime.running.account import Account
from fl_runtime.running.checkpoint import load_checkpoint, save_checkpoint, to_device
from fl_runtime.running.experiment import resume, run
from fl_runtime.running.run_state import RunState
from fl_runtime.running.writer import CHECKPOINT, HISTORY
from fl_runtime.simulation.clock import PendingJob
from fl_runtime.training.job import Job
from tests.fl_runtime.kills import stopped

TASKS = [
    {"name": "wine", "data": "wine", "model": "mlp", "hidden": [4]},
    {"name": "iris", "data": "iris", "model": "linear"},
]
CLIENTS = {
    "num_clients": 8,
    "batch_size": 8,
    "dropout": 0.1,
    "failures": 0.15,
    "delay": {"model": "pareto", "index": 1.5},
    "speeds": {"shares": [0.25, 0.5, 0.25], "factors": [1.3, 1.0, 0.7]},
    "speed_changes": [{"at": 1.0, "shares": [0.5, 0.5], "factors": [1.0, 4.0]}],
    "task_delays": [1.0, 0.5],
    "availability": {"model": "on-off", "on": 4.0, "off": 1.0},
}
FLYING: dict[str, Any] = {
    "run": {"algorithm": "fed-buff", "num_server_rounds": 5, "executor": "stacked"},
    "task": TASKS,
    "clients": CLIENTS,
    "algorithm": {"concurrency": 6, "buffer_size": [3, 2], "max_staleness": 3},
    "arm": [
        {"name": "fair buffers", "algorithm.allocation": "fair"},
        {"name": "one by one", "run.algorithm": "fed-async"},
    ],
}
RECRUITED: dict[str, Any] = {
    "run": {
        "algorithm": "fed-fair-mmfl",
        "num_server_rounds": 40,
        "early_stop": {"metric": "wine/val_loss", "mode": "min", "patience": 2, "min_delta": 0.03},
    },
    "task": TASKS,
    "clients": {**CLIENTS, "fraction_train": 0.4, "over_selection": 1.5},
    "recruitment": {
        "rule": "random-recruitment",
        "budget": [6.0, 8.0, 5.0],
        "every": 2,
        "drift": {"model": "geometric-walk", "sigma": 0.5},
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("tree", [FLYING, RECRUITED], ids=["flying", "recruited"])
def test_a_run_stopped_at_any_event_resumes_to_the_same_bytes(
    tree: dict[str, Any], tmp_path: Path
) -> None:
    settings = check_config(tree)
    run(settings, out=tmp_path / "whole")
    whole = (tmp_path / "whole" / HISTORY).read_bytes()
    assert run(settings).rows == read_history(tmp_path / "whole" / HISTORY).rows
    after = 1
    while stopped(settings, tmp_path / f"{after}", after):
        resume(tmp_path / f"{after}")
        assert (tmp_path / f"{after}" / HISTORY).read_bytes() == whole, after
        after += 1
    assert after > whole.count(b"\n") >= 10


def test_what_those_runs_go_through() -> None:
    """Otherwise the test above would show less than it says."""
    flying = run(check_config(FLYING))
    incidents = [row for arm in flying.arms for row in flying.incidents(arm, 0)]
    assert {row["reason"] for row in incidents} == {"failed"}
    assert all(0 <= row["client"] < 8 for row in incidents)
    rows = [row for arm in flying.arms for row in flying.rounds(arm, 0)]
    assert sum(row["num-failed"] for row in rows) == len(incidents)
    assert sum(row["num-dropped"] for row in rows) > 0
    recruited = run(check_config(RECRUITED))
    arm = recruited.arms[0]
    assert recruited.stopped(arm, 0)
    assert len(recruited.rounds(arm, 0)) < 40
    assert sum(row["num-discarded"] for row in recruited.rounds(arm, 0)) > 0
    recruitments = recruited.recruitments(arm, 0)
    assert [row["server_round"] for row in recruitments] == list(
        range(0, len(recruited.rounds(arm, 0)), 2)
    )
    assert [row["budget"] for row in recruitments][:4] == [6.0, 8.0, 5.0, 5.0][: len(recruitments)]


def test_a_checkpoint_holds_jobs_and_buffers_and_shared_models_once(tmp_path: Path) -> None:
    settings = check_config({**FLYING, "arm": []})
    assert stopped(settings, tmp_path / "run", 5)  # with a filled buffer
    saved = load_checkpoint(tmp_path / "run" / CHECKPOINT)["state"]
    assert saved["flights"]
    assert any(saved["state"]["buffers"].values())
    payloads = {
        (each["job"]["task"], each["job"]["version"]): id(
            next(iter(each["job"]["payload"].values()))
        )
        for each in saved["flights"]
    }
    for each in saved["flights"]:
        key = each["job"]["task"], each["job"]["version"]
        assert id(next(iter(each["job"]["payload"].values()))) == payloads[key]


def test_checkpoints_keep_the_keys_of_earlier_versions() -> None:
    """A tree as earlier versions wrote it is read, and written again with the same keys.

    What those versions did not know is added: draws of ties (jobs then come in the order in which
    they were sent), steps of updates (zero, which no algorithm of those versions reads), an
    account, which stays untold, and the best models, which stay unknown.
    """
    weights = {"w": torch.arange(2.0)}
    job = {
        "task": "wine",
        "client": 3,
        "version": 1,
        "sent_at": 2.0,
        "payload": weights,
        "seed": 7,
        "client_state": {},
        "config": {},
    }
    update = {
        "task": "wine",
        "client": 3,
        "version": 1,
        "delta": weights,
        "num_examples": 5,
        "client_state": {},
        "metrics": {"train_loss": 0.5},
        "payload": {},
    }
    flight = {"finish": 4.5, "number": 8, "wave": 6, "fate": "answers", "begin": 2.5}
    state = ServerState(seed=0, server_round=1, models={}, validation_loss={}, validation_error={})
    tree: dict[str, Any] = {
        "state": state.tree(),
        "now": 3.0,
        "waves": 7,
        "sent": 9,
        "flights": [
            {**flight, "job": job, "update": update},
            {**flight, "number": 9, "job": job, "update": None},
        ],
        "patience": {"best": 0.25, "waited": 1},
        "finished": ["iris"],
    }
    found = RunState.from_tree(tree, ServerState, torch.device("cpu"))
    assert (found.dispatches, found.sent, found.finished) == (7, 9, ("iris",))
    answered, unanswered = found.pending
    assert (answered.dispatch_index, answered.job.client, answered.begin) == (6, 3, 2.5)
    assert answered.update is not None
    assert (answered.update.num_examples, unanswered.update) == (5, None)
    assert found.account is None
    flights = [{**each, "tie": 0.0} for each in tree["flights"]]
    flights[0]["update"] = {**update, "num_steps": 0}
    assert found.tree() == {**tree, "flights": flights, "account": None, "best": None}


def test_ties_and_the_account_survive_a_checkpoint() -> None:
    job = Job("wine", 3, 1, 2.0, {}, seed=7)
    late = PendingJob(4.5, 8, 6, "answers too late", job, begin=2.5, tie=0.25)
    account = Account(answered=2, withdrawn=1)
    state = ServerState(seed=0, server_round=1, models={}, validation_loss={}, validation_error={})
    now = RunState(state, sent=3, pending=(late,), account=account)
    again = RunState.from_tree(now.tree(), ServerState, torch.device("cpu"))
    assert (again.pending, again.account) == ((late,), account)


def test_a_tensor_at_several_places_is_stored_once_and_stays_one(tmp_path: Path) -> None:
    one = torch.arange(3.0)
    save_checkpoint(tmp_path / "c", {"a": one, "b": [one, {"c": one}], "d": one.clone()})
    with safe_open(tmp_path / "c", framework="pt") as file:
        assert len(file.keys()) == 2
    back = to_device(load_checkpoint(tmp_path / "c"), torch.device("cpu"))
    assert back["a"] is back["b"][0] is back["b"][1]["c"]
    assert back["d"] is not back["a"]
    assert torch.equal(back["d"], one)
