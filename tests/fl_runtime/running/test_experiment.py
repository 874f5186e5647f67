"""The loop: what it records, that it repeats, and that a stopped run resumes to the same bytes."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fairopt import InvalidInput
from fl_runtime.configuration.input_hashes import SEEDED
from fl_runtime.configuration.schema import Config, RecruitmentSection, TaskSection
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.data.dataset import Dataset
from fl_runtime.data.partitions import IID
from fl_runtime.running.checkpoint import load_checkpoint, save_checkpoint
from fl_runtime.running.experiment import resume, run
from fl_runtime.running.one_run import Event
from fl_runtime.running.run_folder import CONFIG, RunFolder
from fl_runtime.running.writer import CHECKPOINT, HISTORY
from fl_runtime.training.models import build_model
from fl_runtime.training.task import LocalTraining
from fl_runtime.training.task_from_data import make_task
from tests.fl_runtime.kills import stopped
from tests.fl_runtime.small import config, tree

CONFIG_ = config(
    clients={"dropout": 0.3, "delay": {"model": "shifted-exponential", "shift": 0.5, "mean": 1.0}}
)
RUNS, ROUNDS = 4, 3
EVENTS = RUNS * (ROUNDS + 2)


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
    assert stopped(CONFIG_, tmp_path / "run", stop_at)
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
    """A run folder that was left at its eighth event."""
    assert stopped(settings, parent / "run", after=8)
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


def test_any_flipped_bit_of_a_checkpoint_is_refused(tmp_path: Path) -> None:
    """Or it leaves what is read as it was: some bits are only padding. One bit of every byte."""
    path = tmp_path / "c"
    kept = {
        "model": {"w": torch.tensor([0.1, -2.0]), "b": torch.tensor(True)},
        "steps": torch.arange(2),
        "half": torch.ones(2, 1, dtype=torch.bfloat16),
        "nothing": torch.zeros(0, 3),
        "now": 3.25,
        "sent": 17,
    }
    save_checkpoint(path, kept)
    content, seen = path.read_bytes(), repr(load_checkpoint(path))
    refusals = 0
    for bit in range(0, 8 * len(content), 9):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            assert repr(load_checkpoint(path)) == seen, bit
        except InvalidInput:
            refusals += 1
    assert refusals > 0.9 * 8 / 9 * len(content)


def test_a_flipped_bit_of_a_model_is_refused_by_a_run(tmp_path: Path) -> None:
    folder = stopped_run(tmp_path)
    content = bytearray((folder / CHECKPOINT).read_bytes())
    content[-1] ^= 1
    (folder / CHECKPOINT).write_bytes(content)
    refused(folder, "with the bits that a run wrote")


def test_a_checkpoint_without_a_hash_is_of_the_format_before(tmp_path: Path) -> None:
    text = json.dumps({"a": {"$tensor": "/a"}})
    for header in ({"format": "2", "tree": text}, {"format": "3", "tree": text}):
        save_file({"/a": torch.ones(2)}, tmp_path / "c", metadata=header)
        if header["format"] == "2":
            assert torch.equal(load_checkpoint(tmp_path / "c")["a"], torch.ones(2))
        else:
            with pytest.raises(InvalidInput, match="the bits that a run wrote"):
                load_checkpoint(tmp_path / "c")


def test_a_history_that_lost_lines_is_refused(tmp_path: Path) -> None:
    folder = stopped_run(tmp_path)
    (folder / HISTORY).write_bytes(b"")
    refused(folder, "begins with the lines")


def test_a_history_that_was_edited_is_refused_and_kept(tmp_path: Path) -> None:
    folder = stopped_run(tmp_path)
    text = (folder / HISTORY).read_text()
    (folder / HISTORY).write_text(text.replace('"event"', '"event" '))
    refused(folder, "begins with the lines")


def test_a_missing_checkpoint_is_damage(tmp_path: Path) -> None:
    folder = stopped_run(tmp_path)
    kept = history_bytes(folder)
    (folder / CHECKPOINT).unlink()
    with pytest.raises(InvalidInput, match="checkpoint"):
        resume(folder)
    assert history_bytes(folder) == kept


def test_a_checkpoint_without_its_keys_is_refused(tmp_path: Path) -> None:
    folder = stopped_run(tmp_path)
    save_checkpoint(folder / CHECKPOINT, {"digest": "", "state": None})
    refused(folder, "one written by a run")


def test_two_writers_are_refused(tmp_path: Path) -> None:
    folder = stopped_run(tmp_path)
    with RunFolder(folder).taken_up():
        refused(folder, "no other process is writing")
        with pytest.raises(InvalidInput, match="no other process is writing"):
            run(CONFIG_, out=folder, fresh=True)
    resume(folder)


def test_fresh_keeps_what_is_not_a_run(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    (folder / "plots").mkdir(exist_ok=True)
    (folder / "plots" / "mine.png").write_text("kept")
    with pytest.raises(InvalidInput, match=r"mine\.png"):
        run(CONFIG_, out=folder, fresh=True)
    assert (folder / "plots" / "mine.png").read_text() == "kept"
    assert history_bytes(folder) == history_bytes(whole)


def test_fresh_follows_a_link_to_a_run(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "link").symlink_to(tmp_path / "run")
    run(config(run={"seeds": [5], "num_server_rounds": 1}), out=tmp_path / "link", fresh=True)
    assert history_bytes(tmp_path / "run") != history_bytes(whole)


def test_going_on_with_other_data_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)

    def write(rows: int) -> None:
        labels = np.arange(rows) % 2
        np.savez(tmp_path / "d.npz", features=rng.normal(size=(rows, 2)), labels=labels)

    write(80)
    monkeypatch.chdir(tmp_path)
    tasks = ({"name": "a", "data": "npz:d.npz", "model": "linear"},)
    settings = check_config({**tree(recruitment={"rule": "everyone"}), "task": list(tasks)})
    folder = stopped_run(tmp_path, settings)
    monkeypatch.chdir("/")
    write(100)
    refused(folder, "the data that the run began with")


CALLS = {"loads": 0, "change": 0}
"""How often `whimsical` was called, and from which call on it gives other data."""


def whimsical() -> tuple[np.ndarray, np.ndarray]:
    CALLS["loads"] += 1
    return np.arange(80.0)[:, None] + (CALLS["loads"] >= CALLS["change"]), np.arange(80) % 2


def test_a_data_function_that_gives_other_data_is_refused_at_whichever_load(tmp_path: Path) -> None:
    task = {"name": "a", "data": f"{__name__}:whimsical", "model": "linear"}
    settings = check_config({**tree(recruitment={"rule": "everyone"}), "task": [task]})
    CALLS.update(loads=0, change=10**6)
    run(settings)
    loads = CALLS["loads"]
    assert loads == 2 + 2 + RUNS  # hashed, looked at, tried with either arm, and trained on
    for change in range(2, loads + 1):
        CALLS.update(loads=0, change=change)
        with pytest.raises(InvalidInput, match=f"the same at every load{re.escape(SEEDED)}"):
            run(settings, out=tmp_path / f"{change}")
        assert (tmp_path / f"{change}").exists() == (change > 4)
    CALLS.update(change=10**6)
    assert len(resume(tmp_path / f"{loads}").rows) == EVENTS


KIND: dict[str, Any] = {"standardise": False, "family": ""}
"""What else `kindly` says about its data."""


def kindly() -> Dataset:
    found = Dataset.from_arrays(np.arange(80.0)[:, None], np.arange(80) % 2, source="kindly")
    return replace(found, **KIND)


@pytest.mark.parametrize("change", [{"standardise": True}, {"family": "digits-joint"}])
def test_data_that_are_to_be_used_in_another_way_are_other_data(
    tmp_path: Path, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = {"name": "a", "data": f"{__name__}:kindly", "model": "linear"}
    folder = stopped_run(
        tmp_path, check_config({**tree(recruitment={"rule": "everyone"}), "task": [task]})
    )
    for key, value in change.items():
        monkeypatch.setitem(KIND, key, value)
    refused(folder, "the data that the run began with")


def test_files_that_change_in_mid_run_are_refused(tmp_path: Path) -> None:
    costs, trace = tmp_path / "costs.csv", tmp_path / "trace.csv"
    for file, key in ((costs, "costs"), (trace, "trace")):
        costs.write_text("client,wine,iris\n" + "".join(f"c{i},1,1\n" for i in range(8)))
        trace.write_text("".join(f"{client},0,9\n" for client in range(8)))
        settings = config(
            clients={"availability": {"file": str(trace)}},
            recruitment={"costs": {"file": str(costs)}, "every": 1},
        )

        def change(event: Event, file: Path = file) -> None:
            if event.kind == "round":
                file.write_text(file.read_text().replace("9", "8").replace("1,1", "2,1"))

        with pytest.raises(InvalidInput) as caught:
            run(settings, on_event=change)
        assert f"{key}.csv has changed" in str(caught.value)


def test_other_versions_are_announced(tmp_path: Path) -> None:
    folder = stopped_run(tmp_path)
    text = (folder / CONFIG).read_text()
    (folder / CONFIG).write_text(re.sub(r'torch = ".*"', 'torch = "0.1"', text))
    with pytest.warns(UserWarning, match="torch 0.1"):
        resume(folder)


class Counting(nn.Module):
    """Its output depends on an integer buffer that counts batches."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(inputs, momentum=None)
        self.out = nn.Linear(inputs, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.norm(x))


def counting(shape: tuple[int, ...], classes: int, hidden: list[int]) -> nn.Module:
    return Counting(shape[0], classes)


def test_integer_buffers_do_not_leak_between_clients_or_runs(tmp_path: Path) -> None:
    task = TaskSection(name="wine", data="wine", model=f"{__name__}:counting")
    settings = config(clients={"num_clients": 8, "batch_size": 50}).model_copy(
        update={"task": (task,), "recruitment": RecruitmentSection(), "arm": ()}
    )
    whole = run(settings)
    assert stopped(settings, tmp_path / "run", after=4)
    assert resume(tmp_path / "run").rows == whole.rows


def test_time_that_does_not_move_ends_the_run() -> None:
    delay = {"model": "constant", "mean": 1e-17}
    endless = config(run={"num_server_rounds": None, "time_limit": 2.0}, clients={"delay": delay})
    with pytest.raises(InvalidInput, match=r"run.time-limit"):
        run(endless)


def test_an_arm_without_recruits_is_announced() -> None:
    poor = config(run={"seeds": [0]}, recruitment={"budget": 1e-9})
    with pytest.warns(UserWarning, match="nobody is recruited"):
        history = run(poor)
    assert history.rounds("fair", 0)[0]["num-clients"] == 0


def test_paths_may_be_words(whole: Path) -> None:
    assert resume(str(whole)).arms == ["random", "fair"]


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


def huge() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return 1e20 * rng.normal(size=(120, 3)), np.arange(120) % 3


def test_updates_that_are_not_finite_are_counted_and_do_not_reach_a_model() -> None:
    task = TaskSection(name="huge", data=f"{__name__}:huge", model="linear", learning_rate=1e6)
    wild = config(run={"seeds": [0]}).model_copy(
        update={"task": (task,), "recruitment": RecruitmentSection(), "arm": ()}
    )
    rows = run(wild).rounds("fed-fair-mmfl", 0)
    assert sum(row["num-rejected"] for row in rows) > 0
    assert all(row["huge/eval_loss"] is not None for row in rows)


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
