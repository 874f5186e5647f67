"""One key per arm, chosen on validation data of other seeds."""

from __future__ import annotations

import copy
import json
import math
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fairopt import InvalidInput
from fl_runtime import runs
from fl_runtime.__main__ import app
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import arm_configs, check_config
from fl_runtime.history import History
from fl_runtime.running.tuning import Choice, Tuning, choice, trials
from fl_runtime.tune_command import chosen_lines
from tests.fl_runtime.small import TOML, TREE

KEY = "task.*.learning-rate"


def config(**run: Any) -> Config:
    tree = copy.deepcopy(TREE)
    tree["run"].update(run)
    return check_config(tree)


def without_targets() -> Config:
    tree = copy.deepcopy(TREE)
    del tree["task"][1]["target_accuracy"]
    return check_config(tree)


def made(losses: dict[int, list[float]], arm: str = "fair") -> History:
    """Rounds with the losses of two tasks, by seed; the last row counts."""
    take_up = {"take_up": {"wine": 8, "iris": 8}}
    rows: list[dict[str, Any]] = []
    for seed, (wine, iris) in losses.items():
        rows.append({"event": "recruitment", "arm": arm, "seed": seed, **take_up})
        for count, scale in ((1, 9.0), (2, 1.0)):
            seen = {"wine/val_loss": scale * wine, "iris/val_loss": scale * iris}
            rows.append({"event": "round", "arm": arm, "seed": seed, "server_round": count, **seen})
    return History(rows)


def test_every_arm_at_a_value_is_that_arm_but_for_the_key_seeds_and_models() -> None:
    tuned = trials(config(), Tuning(KEY, (0.1, 0.5), (100,)))
    assert list(tuned) == ["random", "fair"]
    for name, arm in arm_configs(config()).items():
        for value, trial in tuned[name].items():
            assert {task.learning_rate for task in trial.task} == {value}
            assert trial.run.seeds == (100,)
            assert trial.algorithm == arm.algorithm
            assert trial.recruitment == arm.recruitment
            assert list(arm_configs(trial)) == [name]


def test_the_unit_of_a_task_does_not_decide() -> None:
    """Four times better in a small unit is more than twice worse in a large one."""
    (trial,) = trials(config(), Tuning(KEY, (0.1,), (100, 101), arms=("fair",)))["fair"].values()
    runs_at = {
        0.1: (made({100: [1000.0, 0.01], 101: [1000.0, 0.01]}), trial),
        0.5: (made({100: [2000.0, 0.0025], 101: [2000.0, 0.0025]}), trial),
    }
    found = choice("fair", runs_at, "val_loss")
    assert found.chosen == 0.5
    assert found.figures[0.1] == pytest.approx([math.sqrt(10.0)] * 2)
    assert found.at_the_end


def test_a_value_with_a_run_that_fails_is_never_chosen() -> None:
    (trial,) = trials(config(), Tuning(KEY, (0.1,), (100, 101), arms=("fair",)))["fair"].values()
    broken = made({100: [0.001, 0.001], 101: [math.nan, 0.001]}), trial
    fine = made({100: [5.0, 5.0], 101: [5.0, 5.0]}), trial
    assert choice("fair", {0.1: broken, 0.5: fine}, "val_loss").chosen == 0.5
    assert choice("fair", {0.1: broken}, "val_loss").chosen is None


@pytest.mark.parametrize(
    ("wrong", "argument"),
    [
        ({"seeds": (1, 2)}, "seeds"),
        ({"seeds": ()}, "seeds"),
        ({"values": ()}, "values"),
        ({"values": (0.1, 0.1)}, "values"),
        ({"values": (-1.0,)}, "learning-rate"),
        ({"key": "run.seeds"}, "run.seeds"),
        ({"key": "learning-rate"}, r"task\.\*\.learning-rate"),
        ({"arms": ("fare*",)}, "arms"),
        ({"by": "val_los"}, "by"),
        ({"by": "time-to-targets"}, "no task has a target"),
    ],
)
def test_what_is_refused(wrong: dict[str, Any], argument: str) -> None:
    with pytest.raises(InvalidInput, match=argument):
        trials(
            without_targets(), Tuning(**{"key": KEY, "values": (0.1,), "seeds": (100,), **wrong})
        )


@pytest.mark.parametrize("named", [True, False])
def test_the_lines_for_the_file_are_toml_of_the_arms_that_were_tried(named: bool) -> None:
    """Put into the file they give every arm its trial's settings, and make none more."""
    whole = tomllib.loads(TOML)
    own = {"versus": ["fair"], "clients.delay": {"model": "uniform", "low": 0.5, "high": 1.5}}
    whole["arm"] = [{**whole["arm"][1], **own, "task.iris.learning-rate": 0.2}]
    whole["arm"] += [{"name": 'odd "one"', "algorithm.alpha": 2.0}]
    whole["arm"] += [{"name": "fair"}] if named else []
    base = "fair" if named else "fed-fair-mmfl"
    whole["arm"][0]["versus"] = [base]
    config, tuning = check_config(whole), Tuning(KEY, (0.1, 0.5), (100,))
    tried = trials(config, tuning)
    found = [Choice(name, {0.1: (1.0,), 0.5: (0.5,)}, 0.5, True) for name in tried]
    lines = list(chosen_lines(found, config, tuning))
    pasted = {arm["name"]: arm for arm in tomllib.loads("\n".join(lines))["arm"]}
    assert base not in pasted
    start = lines.index(f'# "{base}" is the file as it stands; in every [[task]] of the file:')
    assert lines[start + 1].startswith("# learning-rate = 0.5")
    for task in whole["task"]:
        task |= tomllib.loads(lines[start + 1].removeprefix("# "))
    whole["arm"] = [pasted.get(arm["name"], arm) for arm in whole["arm"]]
    new = arm_configs(check_config(whole))
    assert list(new) == list(tried)
    assert check_config(whole).arm[0].versus == (base,)
    for name, arm in new.items():
        for part in ("task", "algorithm", "clients", "recruitment", "server"):
            assert getattr(arm, part) == getattr(tried[name][0.5], part)


def test_arms_that_take_a_value_untuned_are_named() -> None:
    tuning = Tuning(KEY, (0.1, 0.5), (100,), arms=("fair",))
    lines = chosen_lines([Choice("fair", {}, 0.5, False)], config(), tuning)
    assert list(lines)[-1] == "# it then holds for the arms that are not tuned, too: random"


def test_an_arm_is_chosen_by_the_scores_of_its_tasks_on_their_scales() -> None:
    tree = copy.deepcopy(TREE)
    del tree["task"][1]["target_accuracy"]
    tree["task"][1] |= {"metrics": ["rmse"], "range": [4.0, 0.0]}
    by = Tuning(KEY, (0.1,), (100,), "val_score", ("fair",))
    (trial,) = trials(check_config(tree), by)["fair"].values()
    scores = {
        "wine": {"metric": "acc", "higher-is-better": True, "worst": 0.0, "best": 1.0},
        "iris": {"metric": "rmse", "higher-is-better": False, "worst": 4.0, "best": 0.0},
    }

    def scored(acc: float, rmse: float) -> tuple[History, Config]:
        rows = made({100: [1.0, 1.0]}).rows
        rows[0]["scores"] = scores
        rows[-1] |= {"wine/val_acc": acc, "iris/val_rmse": rmse}
        return History(rows), trial

    found = choice("fair", {0.1: scored(0.8, 3.0), 0.5: scored(0.5, 1.0)}, "val_score")
    assert found.figures == {0.1: pytest.approx((0.525,)), 0.5: pytest.approx((0.625,))}
    assert found.chosen == 0.5
    del tree["task"][1]["range"]
    with pytest.raises(InvalidInput, match="val_loss, or task iris with a range"):
        trials(check_config(tree), by)
    with pytest.raises(InvalidInput, match="val_score or val_loss: iris"):
        trials(check_config(tree), Tuning(KEY, (0.1,), (100,), "val_acc"))


def test_the_command_chooses_what_the_runs_say_and_goes_on_with_a_longer_grid(
    tmp_path: Path,
) -> None:
    file = tmp_path / "small.toml"
    file.write_text(TOML)
    words = ["tune", str(file), "--seeds", "100", "--arms", "fair", "--runs", str(tmp_path / "t")]
    first = CliRunner().invoke(app, [*words, "--values", ".1,1", "--json"])
    assert first.exit_code == 0, first.output
    (said,) = json.loads(first.stdout)
    trial = trials(check_config_of(file), Tuning(KEY, (0.1, 1.0), (100,), arms=("fair",)))["fair"]
    twin = {it: (runs.run(alone), alone) for it, alone in trial.items()}
    assert said["chosen"] == choice("fair", twin, "val_loss").chosen
    again = CliRunner().invoke(app, [*words, "--values", ".1,1,0.5"])
    assert again.exit_code == 0, again.output
    assert "small/fair" not in again.output
    assert len(list((tmp_path / "t" / "small" / "fair").iterdir())) == 3
    file.write_text(TOML.replace("num-server-rounds = 4", "num-server-rounds = 5"))
    changed = CliRunner().invoke(app, [*words, "--values", ".1"])
    assert changed.exit_code == 2
    assert "it has changed" in changed.output


def check_config_of(file: Path) -> Config:
    from fl_runtime.configuration.toml_files import read_config

    return read_config(file, [])


def test_a_key_of_all_tasks_replaces_those_of_single_ones_in_either_spelling(
    tmp_path: Path,
) -> None:
    own = '\n"task.*.learning-rate" = 0.1\n"task.iris.learning-rate" = 0.2\n'
    file = tmp_path / "own.toml"
    file.write_text(TOML.replace('name = "fair"', f'name = "fair"{own}'))
    tuned = trials(check_config_of(file), Tuning(KEY, (0.5,), (100,), arms=("fair",)))
    assert {task.learning_rate for task in tuned["fair"][0.5].task} == {0.5}
    words = ["tune", str(file), "--seeds", "100", "--arms", "fair", "--values", "-0.5, 0.5"]
    words += ["--key", "algorithm.loss-alpha", "--runs", str(tmp_path / "t")]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2
    assert not (tmp_path / "t").exists()
    words[words.index("--key") + 1] = KEY
    words[words.index("--values") + 1] = "0.5"
    assert "in place of task.iris.learning-rate" in CliRunner().invoke(app, words).output
