"""A run that is extended has the history of one that was as long from the start."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

import fl_runtime
from fairopt import InvalidInput
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import check_config, digest
from fl_runtime.running import run_folder
from fl_runtime.running.checkpoint import load_checkpoint, save_checkpoint
from fl_runtime.running.experiment import resume, run
from fl_runtime.running.model_files import is_model_file, read_model
from fl_runtime.running.moments import is_moment
from fl_runtime.running.one_run import Event
from fl_runtime.running.run_folder import CONFIG, RunFolder
from fl_runtime.running.writer import CHECKPOINT, HISTORY
from tests.fl_runtime import small
from tests.fl_runtime.kills import Killed, stopped
from tests.fl_runtime.running.test_resume import FLYING, RECRUITED

SHORT, LONG = 2, 5


def with_rounds(tree: dict[str, Any], rounds: int, **more: Any) -> Config:
    """The same with that many rounds."""
    changed = copy.deepcopy(tree)
    changed["run"] |= {"num_server_rounds": rounds, **more}
    return check_config(changed)


def history_bytes(folder: Path) -> bytes:
    return (folder / HISTORY).read_bytes()


def assert_same_models(one: Path, other: Path) -> None:
    """The same models, which may name the digests of other configurations."""
    files = [p.relative_to(one) for p in one.rglob("*") if is_model_file(p.relative_to(one))]
    assert files
    for file in files:
        mine, its = (read_model(folder / file) for folder in (one, other))
        assert (mine.header.round, mine.header.score) == (its.header.round, its.header.score)
        for client, state in mine.states.items():
            assert state.keys() == its.states[client].keys()
            assert all(bool((state[k] == its.states[client][k]).all()) for k in state)


@pytest.mark.parametrize(
    ("tree", "more"),
    [
        (small.tree(), {}),
        (small.tree(), {"checkpoint_every": 4}),
        (small.tree(), {"early_stop": {"metric": "min_task_acc", "patience": 2}}),
        (small.tree(), {"evaluate_every": 2}),
        (small.tree(), {"evaluate_every": 3, "early_stop": {"patience": 2}}),
        (FLYING, {}),
        ({**RECRUITED, "run": {**RECRUITED["run"], "early_stop": None}}, {}),
    ],
    ids=[
        "rounds",
        "rare checkpoints",
        "early stop",
        "every second",
        "every third",
        "flying",
        "recruited",
    ],
)
def test_an_extended_run_is_a_longer_run(
    tree: dict[str, Any], more: dict[str, Any], tmp_path: Path
) -> None:
    """Also where it is extended twice, and where an arm has stopped before its last round."""
    run(with_rounds(tree, LONG, **more), out=tmp_path / "whole")
    run(with_rounds(tree, SHORT, **more), out=tmp_path / "run")
    short = history_bytes(tmp_path / "run")
    for rounds in (SHORT, SHORT + 1, LONG, LONG):
        history = resume(tmp_path / "run", rounds=rounds)
        assert (history_bytes(tmp_path / "run") == short) == (rounds == SHORT)
    assert history_bytes(tmp_path / "run") == history_bytes(tmp_path / "whole")
    assert history == resume(tmp_path / "run") == resume(tmp_path / "whole")
    assert_same_models(tmp_path / "whole", tmp_path / "run")
    recorded = RunFolder(tmp_path / "run").config()
    assert recorded.run.extended_from == (SHORT, SHORT + 1)
    assert digest(recorded) == digest(
        with_rounds(tree, SHORT, **more).model_copy(
            update={
                "inputs": recorded.inputs,
                "run": recorded.run.model_copy(
                    update={"num_server_rounds": SHORT, "extended_from": ()}
                ),
            }
        )
    )


@pytest.mark.parametrize("after", range(1, 21, 3))
def test_an_unfinished_run_can_be_extended(tmp_path: Path, after: int) -> None:
    run(with_rounds(small.TREE, LONG), out=tmp_path / "whole")
    assert stopped(with_rounds(small.TREE, SHORT + 1), tmp_path / "run", after)
    resume(tmp_path / "run", rounds=LONG)
    assert history_bytes(tmp_path / "run") == history_bytes(tmp_path / "whole")
    assert_same_models(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize("after", range(1, 15, 2))
def test_a_run_that_is_killed_while_it_is_extended(tmp_path: Path, after: int) -> None:
    """It goes on with the same command, or with a plain resume."""
    run(with_rounds(small.TREE, LONG), out=tmp_path / "whole")
    run(with_rounds(small.TREE, SHORT), out=tmp_path / "run")
    events = 0

    def kill(event: Event) -> None:
        nonlocal events
        events += 1
        assert event.row.get("server_round", SHORT) >= SHORT  # no row is announced again
        if events == after:
            raise Killed

    with pytest.raises(Killed):
        resume(tmp_path / "run", rounds=LONG, on_event=kill)
    folder = RunFolder(tmp_path / "run")
    config = folder.config()
    assert SHORT * 4 <= folder.rounds_done(config, folder.progress(config)) < LONG * 4
    folder.history(config)  # can be read meanwhile
    resume(tmp_path / "run", rounds=LONG if after % 4 == 1 else None)
    assert history_bytes(tmp_path / "run") == history_bytes(tmp_path / "whole")


@pytest.mark.parametrize("write", ["write_moment", "save_checkpoint", "write_whole"])
@pytest.mark.parametrize("done", [False, True])
def test_a_kill_at_any_write_of_an_extension(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: str, done: bool
) -> None:
    """Until the configuration says so, the run is what it was."""
    settings, longer = with_rounds(small.TREE, SHORT + 1), with_rounds(small.TREE, LONG)
    for name, config in (("short", settings), ("long", longer)):
        run(config, out=tmp_path / name)
    assert stopped(settings, tmp_path / "run", 8)
    real = getattr(run_folder, write)

    def kill(*arguments: Any) -> None:
        if done:
            real(*arguments)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(run_folder, write, kill)
        with pytest.raises(Killed):
            resume(tmp_path / "run", rounds=LONG)
    resume(tmp_path / "run")
    name = "long" if (write, done) == ("write_whole", True) else "short"
    assert history_bytes(tmp_path / "run") == history_bytes(tmp_path / name)
    resume(tmp_path / "run", rounds=LONG)
    assert history_bytes(tmp_path / "run") == history_bytes(tmp_path / "long")


def test_a_time_limit_still_holds(tmp_path: Path) -> None:
    limit = {"time_limit": 3.5, "seeds": [0]}
    run(with_rounds(small.TREE, 9, **limit), out=tmp_path / "whole")
    run(with_rounds(small.TREE, SHORT, **limit), out=tmp_path / "run")
    history = resume(tmp_path / "run", rounds=9)
    assert len(history.rounds("fair", 0)) == 4
    assert history_bytes(tmp_path / "run") == history_bytes(tmp_path / "whole")


def test_targets_that_were_reached_stay_reached(tmp_path: Path) -> None:
    tree = small.tree(run={"stop_at_targets": True, "seeds": [0]})
    tree["task"] = [{**each, "target_accuracy": 0.4} for each in tree["task"]]
    run(with_rounds(tree, 8), out=tmp_path / "whole")
    run(with_rounds(tree, 4), out=tmp_path / "run")
    resume(tmp_path / "run", rounds=8)
    assert history_bytes(tmp_path / "run") == history_bytes(tmp_path / "whole")


def test_reports_are_those_of_the_longer_run(tmp_path: Path) -> None:
    fl_runtime.run(with_rounds(small.TREE, LONG), out=tmp_path / "whole")
    fl_runtime.run(with_rounds(small.TREE, SHORT), out=tmp_path / "run")
    fl_runtime.resume(tmp_path / "run", rounds=LONG)
    whole, again = (RunFolder(tmp_path / name).summary() for name in ("whole", "run"))
    assert whole == again


def test_an_extended_configuration_can_be_run_anew(tmp_path: Path) -> None:
    """Then nothing was extended."""
    run(with_rounds(small.TREE, SHORT), out=tmp_path / "run")
    resume(tmp_path / "run", rounds=LONG)
    run(fl_runtime.read_config(tmp_path / "run" / CONFIG), out=tmp_path / "again")
    assert RunFolder(tmp_path / "again").config().run.extended_from == ()
    assert history_bytes(tmp_path / "run") == history_bytes(tmp_path / "again")


@pytest.mark.parametrize(
    ("rounds", "reason"),
    [(1, "least 2"), (0, "least 2"), (True, "least 2"), (2.5, "least 2"), (2**40, "at most")],
)
def test_other_numbers_are_refused(tmp_path: Path, rounds: Any, reason: str) -> None:
    run(with_rounds(small.TREE, SHORT, seeds=[0]), out=tmp_path / "run")
    before = history_bytes(tmp_path / "run")
    with pytest.raises(InvalidInput, match=f"rounds = {rounds}, but it must be .*{reason}"):
        resume(tmp_path / "run", rounds=rounds)
    assert history_bytes(tmp_path / "run") == before
    run(small.config(run={"num_server_rounds": None, "time_limit": 2.0}), out=tmp_path / "time")
    with pytest.raises(InvalidInput, match=r"rounds = 9, .* ends by its time-limit"):
        resume(tmp_path / "time", rounds=9)


def test_a_finished_run_without_its_last_moments_is_refused(tmp_path: Path) -> None:
    """As those of earlier versions, and of `keep-models = "none"`."""
    tree = small.tree(run={"keep_models": "none", "seeds": [0]})
    run(with_rounds(tree, SHORT), out=tmp_path / "run")
    before = history_bytes(tmp_path / "run")
    with pytest.raises(InvalidInput, match=r"rounds = 5, .*random.*its last moment was not kept"):
        resume(tmp_path / "run", rounds=LONG)
    assert history_bytes(tmp_path / "run") == before
    assert RunFolder(tmp_path / "run").config().run.extended_from == ()


def test_an_unfinished_run_of_an_earlier_version_can_be_extended(tmp_path: Path) -> None:
    tree = small.tree(run={"seeds": [0]})
    run(with_rounds(tree, LONG), out=tmp_path / "whole")
    assert stopped(with_rounds(tree, SHORT + 1), tmp_path / "run", 3)
    record = load_checkpoint(tmp_path / "run" / CHECKPOINT)
    del record["state"]["best"]
    save_checkpoint(tmp_path / "run" / CHECKPOINT, record)
    resume(tmp_path / "run", rounds=LONG)
    assert history_bytes(tmp_path / "run") == history_bytes(tmp_path / "whole")


def test_a_damaged_moment_is_refused(tmp_path: Path) -> None:
    run(with_rounds(small.TREE, SHORT, seeds=[0]), out=tmp_path / "run")
    before = history_bytes(tmp_path / "run")
    moments = [tmp_path / "run" / "checkpoint" / f"00{n}.safetensors" for n in (0, 1)]
    first, second = (path.read_bytes() for path in moments)
    for content in (second, first[:-1], first[:-1] + bytes([first[-1] ^ 1])):
        moments[0].write_bytes(content)
        with pytest.raises(InvalidInput, match="checkpoint"):
            resume(tmp_path / "run", rounds=LONG)
        assert history_bytes(tmp_path / "run") == before
    moments[0].write_bytes(first)
    resume(tmp_path / "run", rounds=LONG)


def test_names_of_moments() -> None:
    good = ("checkpoint/000.safetensors", "checkpoint/1234.safetensors")
    bad = (
        "checkpoint/0.safetensors",
        "checkpoint/0000.safetensors",
        "000.safetensors",
        "models/000.safetensors",
        "checkpoint/000.txt",
        "checkpoint/x.safetensors",
    )
    assert all(is_moment(Path(name)) for name in good)
    assert not any(is_moment(Path(name)) for name in bad)
