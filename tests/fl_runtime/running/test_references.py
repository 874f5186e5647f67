"""References to finished runs: what is read, recorded and compared, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairopt import InvalidInput
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.reporting.report import read_run, summary_of
from fl_runtime.running.build import assemble
from fl_runtime.running.experiment import resume, run
from tests.fl_runtime.kills import stopped

TASK = {"name": "wine", "data": "wine", "model": "linear"}


def settings(rounds: int = 3, arms: tuple[str, ...] = (), **task: Any) -> Config:
    return check_config(
        {
            "run": {
                "algorithm": "fed-avg",
                "num_server_rounds": rounds,
                "report_rounds": 2,
                "seeds": [0, 1],
            },
            "task": [{**TASK, **task}],
            "clients": {"num_clients": 4},
            "arm": [{"name": name, "clients.local_epochs": k + 1} for k, name in enumerate(arms)],
        }
    )


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("single") / "runs"
    run(settings(arms=("mlp", "long")), out=folder)
    return folder


def test_the_score_of_another_run_is_read_and_recorded(
    single: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(single.parent)
    history = run(settings(reference="runs#long", range=(0.0, "reference")), out=tmp_path / "multi")
    config, _ = read_run(tmp_path / "multi")
    _, other = read_run(single)
    rows = [row for seed in (0, 1) for row in other.rounds("long", seed)[-2:]]
    wanted = np.mean([row["wine/eval_acc"] for row in rows])
    (task,) = config.task
    assert task.reference == f"{single}#long"
    assert task.standard == task.reference_score == pytest.approx(wanted)
    scale = assemble(config, 0).federation.tasks[0].scale
    assert scale is not None
    assert scale.best == pytest.approx(wanted)
    last = [
        np.mean([r["wine/eval_acc"] for r in history.rounds("fed-avg", s)[-2:]]) for s in (0, 1)
    ]
    change = np.mean([(score - wanted) / wanted for score in last])
    arm = summary_of(history, config)["arms"]["fed-avg"]
    assert arm["delta_m"]["mean"] == pytest.approx(change)


def test_a_run_goes_on_by_the_reference_that_it_began_with(single: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(single, copy)
    config = settings(reference=f"{copy}#mlp")
    whole = run(config, out=tmp_path / "whole")
    assert stopped(config, tmp_path / "run", 2)
    assert resume(tmp_path / "run").rows == whole.rows
    assert stopped(config, tmp_path / "other", 2)
    rows = (copy / "history.jsonl").read_text()
    (copy / "history.jsonl").write_text(rows.replace('"seed":1', '"seed":2', 1))
    with pytest.raises(InvalidInput, match=r"#mlp has changed, .*the run began with"):
        resume(tmp_path / "other")


def test_with_one_arm_its_name_may_be_left_out(tmp_path: Path) -> None:
    run(settings(), out=tmp_path / "one")
    run(settings(reference=str(tmp_path / "one")))


def refused(**task: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        run(settings(**task), out="never")
    assert not Path("never").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_no_reference_is_refused_in_one_line(
    single: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    key = "task.wine.reference"
    assert f"{key} = 'nowhere#a', but it must be the folder of a run" in refused(
        reference="nowhere#a"
    )
    (tmp_path / "empty").mkdir()
    assert f"{key} = 'empty#a', but it must be the folder of a run (" in refused(
        reference="empty#a"
    )
    assert "did you mean long?" in refused(reference=f"{single}#lnog")
    assert "with one of its arms: " in refused(reference=str(single))
    assert f"{key} task = 'iris'" in refused(reference=f"{single}#mlp", name="iris").replace(
        "task.iris", "task.wine"
    )
    message = refused(reference=f"{single}#mlp", metrics=["macro-f1"])
    assert "a run that scores the task by macro-f1, not acc" in message
    assert stopped(settings(), tmp_path / "half", 2)
    assert "a finished run (python -m fl_runtime resume half)" in refused(reference="half")
