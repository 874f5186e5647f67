"""The loop: what it records, that it repeats, and that a stopped run resumes to the same bytes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fairopt import InvalidInput
from fl_runtime.checkpoint import load_checkpoint, save_checkpoint
from fl_runtime.config import Config
from fl_runtime.data import Dataset
from fl_runtime.experiment import Event, resume, run
from fl_runtime.models import build_model
from fl_runtime.partitions import IID
from fl_runtime.run_folder import CHECKPOINT, CONFIG, HISTORY, RunFolder
from fl_runtime.task import LocalTraining, make_task
from tests.fl_runtime.small import config

CONFIG_ = config(
    clients={"dropout": 0.3, "delay": {"model": "shifted-exponential", "shift": 0.5, "mean": 1.0}}
)
RUNS, ROUNDS = 4, 3
EVENTS = RUNS * (ROUNDS + 1)


class Killed(BaseException):
    """Stands for a kill: nothing in the code catches it."""


def history_bytes(folder: Path) -> bytes:
    return (folder / HISTORY).read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    run(CONFIG_, out=folder)
    return folder


def test_every_arm_seed_and_round_is_recorded(whole: Path) -> None:
    rows = [json.loads(line) for line in history_bytes(whole).splitlines()]
    assert len(rows) == EVENTS
    assert [(row["seed"], row["arm"]) for row in rows if row["event"] == "recruitment"] == [
        (0, "random"),
        (0, "fair"),
        (1, "random"),
        (1, "fair"),
    ]
    fair = [row for row in rows if row["event"] == "round" and row["arm"] == "fair"]
    assert [row["server_round"] for row in fair] == [1, 2, 3, 1, 2, 3]
    for row in fair:
        accuracies = [row["wine/eval_acc"], row["iris/eval_acc"]]
        assert row["min_task_acc"] == min(accuracies)
        assert row["mean_task_acc"] == pytest.approx(np.mean(accuracies))
        assert row["num-clients"] == row["wine/num-clients"] + row["iris/num-clients"]
    assert any(row["num-dropped"] > 0 for row in fair)


def test_virtual_time_is_the_slowest_job_of_each_round(whole: Path) -> None:
    rows = [json.loads(line) for line in history_bytes(whole).splitlines()]
    times = [row["virtual_time"] for row in rows if row["event"] == "round"]
    steps = np.diff(np.array(times).reshape(RUNS, ROUNDS), axis=1, prepend=0.0)
    assert (steps > 0.5).all()


def test_files_and_memory_hold_the_same_history(whole: Path) -> None:
    in_memory = run(CONFIG_).rows
    assert in_memory == [json.loads(line) for line in history_bytes(whole).splitlines()]


def test_thread_count_is_restored() -> None:
    before = torch.get_num_threads()
    run(config(run={"seeds": [0], "num_server_rounds": 1, "threads": before + 1}))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("stop_at", range(1, EVENTS + 1))
def test_a_run_stopped_at_any_event_resumes_to_the_same_bytes(
    whole: Path, tmp_path: Path, stop_at: int
) -> None:
    seen = 0

    def kill(event: Event) -> None:
        nonlocal seen
        seen += 1
        if seen == stop_at:
            raise Killed

    with pytest.raises(Killed):
        run(CONFIG_, out=tmp_path / "run", on_event=kill)
    resume(tmp_path / "run")
    assert history_bytes(tmp_path / "run") == history_bytes(whole)
    resume(tmp_path / "run")
    assert history_bytes(tmp_path / "run") == history_bytes(whole)


def test_half_a_line_after_the_checkpoint_is_done_again(whole: Path, tmp_path: Path) -> None:
    folder = stopped_run(tmp_path)
    with (folder / HISTORY).open("ab") as history:
        history.write(b'{"event":"round","arm":"fa')
    resume(folder)
    assert history_bytes(folder) == history_bytes(whole)


def stopped_run(parent: Path, settings: Config = CONFIG_) -> Path:
    """A run folder that was left after its seventh event."""
    events = iter(range(7))

    def kill(event: Event) -> None:
        if next(events, None) is None:
            raise Killed

    with pytest.raises(Killed):
        run(settings, out=parent / "run", on_event=kill)
    return parent / "run"


def refused(folder: Path, reason: str) -> None:
    """Resuming fails for that reason and changes no byte of history or checkpoint."""
    before = history_bytes(folder), (folder / CHECKPOINT).read_bytes()
    with pytest.raises(InvalidInput) as caught:
        resume(folder)
    assert reason in str(caught.value)
    assert before == (history_bytes(folder), (folder / CHECKPOINT).read_bytes())


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    folder = stopped_run(tmp_path)
    text = (folder / CONFIG).read_text()
    (folder / CONFIG).write_text(text.replace("alpha = 2.0", "alpha = 4.0"))
    refused(folder, "which has changed")


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "format"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: str) -> None:
    folder = stopped_run(tmp_path)
    path = folder / CHECKPOINT
    content = path.read_bytes()
    match damage:
        case "cut":
            path.write_bytes(content[:-10])
        case "text":
            path.write_text("not a checkpoint")
        case "empty":
            path.write_bytes(b"")
        case "format":
            save_file({}, path, metadata={"format": "0", "tree": "{}"})
    refused(folder, "checkpoint")


def test_a_history_that_lost_lines_is_refused(tmp_path: Path) -> None:
    folder = stopped_run(tmp_path)
    (folder / HISTORY).write_bytes(b"")
    refused(folder, "at least as long as")


def test_two_writers_are_refused(tmp_path: Path) -> None:
    folder = stopped_run(tmp_path)
    with RunFolder(folder).writer(0):
        pass
    shutil.rmtree(folder)
    folder = stopped_run(tmp_path)
    size = len(history_bytes(folder))
    with RunFolder(folder).writer(size):
        refused(folder, "no other process is writing")


def test_a_folder_with_something_in_it_is_left_alone(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    for fresh in (False, True):
        with pytest.raises(InvalidInput, match="a new or empty folder"):
            run(CONFIG_, out=tmp_path, fresh=fresh)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    with pytest.raises(InvalidInput, match="resume goes on"):
        run(CONFIG_, out=whole)


def test_fresh_replaces_an_earlier_run_only_after_all_checks(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    bad = config(recruitment={"budget": -1.0})
    with pytest.raises(InvalidInput, match="budget"):
        run(bad, out=folder, fresh=True)
    assert history_bytes(folder) == history_bytes(whole)
    run(config(run={"seeds": [5], "num_server_rounds": 1}), out=folder, fresh=True)
    assert history_bytes(folder) != history_bytes(whole)


def test_time_limit_ends_a_run() -> None:
    limited = config(
        run={"num_server_rounds": None, "time_limit": 2.5, "seeds": [0]},
        clients={"delay": {"model": "constant", "mean": 1.0}},
    )
    history = run(limited)
    assert [row["virtual_time"] for row in history.rounds("fair", 0)] == [1.0, 2.0, 3.0]


def test_updates_that_are_not_finite_are_counted_and_do_not_reach_a_model() -> None:
    wild = config(run={"seeds": [0]})
    tasks = tuple(task.model_copy(update={"learning_rate": 1e30}) for task in wild.task)
    history = run(wild.model_copy(update={"task": tasks}))
    rows = history.rounds("fair", 0)
    assert sum(row["num-rejected"] for row in rows) > 0
    assert all(np.isfinite(row["wine/eval_loss"]) for row in rows)


def test_checkpoints_keep_trees_exactly(tmp_path: Path) -> None:
    tree = {
        "models": {"a": {"w": torch.tensor([0.1, -0.0, 1e-40])}, "b": {}},
        "list": [1, 0.1, None, "x", True],
        "inf": float("inf"),
    }
    save_checkpoint(tmp_path / "c.safetensors", tree)
    back = load_checkpoint(tmp_path / "c.safetensors")
    assert torch.equal(back["models"]["a"].pop("w"), tree["models"]["a"].pop("w"))
    assert back == tree
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]


def numbered() -> tuple[np.ndarray, np.ndarray]:
    return np.arange(60.0)[:, None], np.arange(60) % 3


def test_no_example_is_used_for_two_purposes() -> None:
    model = build_model("linear", (1,), 3, [], seed=0)
    settings = LocalTraining(0.1, 1, 4)
    dataset = Dataset.from_arrays(*numbered(), source="here")
    task = make_task("n", dataset, model, settings, IID(), num_clients=7, seed=0)
    parts = (task.validation, task.test, *task.shards)
    used = [value for part in parts for value in part.features.flatten().tolist()]
    assert sorted(used) == list(range(60))
