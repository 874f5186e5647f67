"""Regression, dense and text tasks from TOML, through every system; scores with a direction."""

import itertools
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fairopt.errors import InvalidInput
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import check_config, digest, dump_toml, read_config
from fl_runtime.data.dataset import Data
from fl_runtime.history import History, Score
from fl_runtime.reporting import tables
from fl_runtime.reporting.comparison import compare_runs
from fl_runtime.reporting.plots import plot_run
from fl_runtime.reporting.report import read_run, summary_of
from fl_runtime.running.build import assemble
from fl_runtime.running.experiment import run
from fl_runtime.running.preflight import check_all_arms
from tests.fl_runtime import eight_tasks

HERE = __name__
WIDTH = 8


class Trunk(nn.Module):
    """One layer over the last axis, which models of all three kinds have in common."""

    def __init__(self, embed: nn.Module, outputs: int, place: str) -> None:
        super().__init__()
        self.place = place
        self.trunk = nn.Linear(WIDTH, WIDTH)
        self.middle = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, outputs)
        self.embed = [embed]  # fixed, and no part of the model's state

    def forward(self, x: Tensor | None = None, **parts: Tensor) -> Tensor:
        hidden = torch.relu(self.trunk(self.embed[0](x, **parts)))
        found = self.head(torch.relu(self.middle(hidden)))
        return found.squeeze(-1) if self.place == "number" else found


class Wide(nn.Module):
    """Examples with their features in the last axis, repeated to the common width."""

    def forward(self, x: Tensor) -> Tensor:
        seen = x.movedim(1, -1) if x.ndim == 4 else x
        return seen.repeat(*[1] * (seen.ndim - 1), WIDTH)[..., :WIDTH]


class OneHot(nn.Module):
    def forward(self, x: None, *, ids: Tensor, mask: Tensor) -> Tensor:
        found = (ids[..., None] == torch.arange(WIDTH, device=ids.device)).float()
        return found * mask[..., None]


def regressor(example_shape: tuple[int, ...], outputs: int, hidden: object) -> nn.Module:
    return Trunk(Wide(), 1, "number")


def dense(example_shape: tuple[int, ...], outputs: object, hidden: object) -> nn.Module:
    return Trunk(Wide(), 1, "number")


def reader(example_shape: tuple[int, ...], outputs: int, hidden: object) -> nn.Module:
    return Trunk(OneHot(), outputs, "token")


def regression() -> Data:
    return eight_tasks.holed_regression()


def depth() -> Data:
    return eight_tasks.depth()


def text() -> Data:
    return eight_tasks.masked_text()


TOML = f"""
[run]
algorithm = "ALGORITHM"
num-server-rounds = 2
report-rounds = 1
[[task]]
name = "regression"
data = "{HERE}:regression"
model = "{HERE}:regressor"
loss = "mse"
metrics = ["rmse", "r2"]
range = ["initial", 0.0]
reference = 0.1
target = 0.5
[[task]]
name = "depth"
data = "{HERE}:depth"
model = "{HERE}:dense"
loss = {{ name = "huber", delta = 0.5 }}
metrics = ["mae"]
range = ["initial", "reference"]
reference = 0.2
[[task]]
name = "text"
data = "{HERE}:text"
model = "{HERE}:reader"
loss = "token-cross-entropy"
metrics = ["token-acc", "perplexity"]
reference = 1.0
[clients]
num-clients = 6
batch-size = 4
"""
SYSTEMS = {
    "fed-fair-mmfl": "",
    "fair-grad": "",
    "fed-hca2": '[algorithm]\nshared-layers = ["trunk"]\n',
    "fed-ast": "",
    "fed-ram": "[algorithm]\nreference-rounds = 1\nproxy-rounds = 1\nproxy-hidden = [4]\n",
}


def toml(algorithm: str = "fed-fair-mmfl") -> str:
    text = TOML.replace("ALGORITHM", algorithm)
    if algorithm == "fed-hca2":
        text += 'task-sets = [["regression"], ["depth"], ["text"]]\n'
    if algorithm == "fed-ast":
        text += 'delay = { model = "exponential" }\n'
    if algorithm == "fed-ram":
        text = text.replace("num-server-rounds = 2", "num-server-rounds = 4")
    return text + SYSTEMS.get(algorithm, "")


def tree(**first_task: Any) -> dict[str, Any]:
    """The configuration as nested dictionaries, with keys of the first task changed."""
    whole = tomllib.loads(toml())
    whole["task"][0] |= first_task
    whole["task"][0] = {key: value for key, value in whole["task"][0].items() if value is not None}
    return whole


@pytest.fixture(scope="module")
def fair() -> tuple[Config, History]:
    config = check_config(tree())
    return config, run(config)


@pytest.mark.parametrize("algorithm", SYSTEMS)
def test_three_kinds_of_task_run_from_toml(algorithm: str, tmp_path: Path) -> None:
    path = tmp_path / "any.toml"
    path.write_text(toml(algorithm))
    config = read_config(path)
    row = run(config).rounds(algorithm, 0)[-1]
    wanted = {"regression/eval_rmse", "regression/val_r2", "depth/eval_mae", "text/eval_perplexity"}
    assert wanted <= row.keys()
    assert "min_task_acc" not in row
    gains = [row["min_task_score"], row["mean_task_score"], row["jain"]]
    assert gains[0] <= gains[1] < 1.0
    assert all(isinstance(row[f"{task.name}/eval_loss"], float) for task in config.task)


def test_scores_have_their_direction_everywhere(
    fair: tuple[Config, History], tmp_path: Path
) -> None:
    config, history = fair
    assert history.scores == {
        "regression": Score("rmse", False),
        "depth": Score("mae", False),
        "text": Score("token-acc", True),
    }
    rows = history.rounds("fed-fair-mmfl", 0)
    told = history.recruitments("fed-fair-mmfl", 0)[0]["scores"]["regression"]
    assert told["best"] == 0.0
    assert told["worst"] > 0.5
    summary = summary_of(history, config)
    arm = summary["arms"]["fed-fair-mmfl"]
    last = rows[-1]
    changes = [
        -(last["regression/eval_rmse"] - 0.1) / 0.1,
        -(last["depth/eval_mae"] - 0.2) / 0.2,
        last["text/eval_token-acc"] - 1.0,
    ]
    assert arm["delta_m"]["mean"] == pytest.approx(sum(changes) / 3)
    reached = [n for n, row in enumerate(rows, 1) if row["regression/eval_rmse"] <= 0.5]
    assert arm["rounds_to_target"]["regression"]["reached"] == (len(reached) > 0)
    headers = [str(c.header) for c in tables.tasks_table(summary).columns]
    assert headers[1:] == ["regression, rmse ↓", "depth, mae ↓", "text, token-acc ↑"]
    assert "≤ 0.5" in str(tables.targets_table(summary).columns[1].header)
    assert plot_run(history, tmp_path / "picture.png", title="t").is_file()


def test_the_better_arm_has_the_better_rank_in_either_direction() -> None:
    """One arm trains, the other stands still: it is worse by every score."""
    whole = tree(target=None)
    whole["clients"]["local-epochs"] = 3
    whole["run"]["early-stop"] = {"patience": 50, "metric": "depth/val_mae"}
    whole["arm"] = [
        {"name": "fed-avg", "run.algorithm": "fed-avg"},
        {"name": "still", "run.algorithm": "fed-avg", "clients.dropout": 0.99999},
    ]
    whole["claim"] = [
        {"statement": "s", "source": "o", "metric": m, "arm": "fed-avg", **more}
        for m, more in (
            ("delta-m", {}),
            ("mean-task-change", {"versus": "still"}),
            ("min_task_acc", {"versus": "still"}),
            ("mean_task_score", {"versus": "still"}),
        )
    ]
    whole["run"]["seeds"] = [0, 1]
    config = check_config(whole)
    summary = summary_of(run(config), config)
    ranks = {arm: figures["mean_rank"]["mean"] for arm, figures in summary["arms"].items()}
    assert ranks["fed-avg"] < ranks["still"]
    found = [claim["found"]["mean"] for claim in summary["claims"]]
    assert found[0] < 0.0 < min(found[1:])


def test_targets_are_met_in_the_direction_of_the_score() -> None:
    whole = tree(target=1e9)
    whole["task"][1]["target"] = 1e9
    whole["task"][2]["target"] = 0.0
    whole["run"]["stop-at-targets"] = True
    config = check_config(whole)
    history = run(config)
    assert len(history.rounds("fed-fair-mmfl", 0)) == 1
    assert [row["unreached"] for row in history.rows if row["event"] == "stop"] == [[]]


def test_a_task_without_a_scale_has_no_figures_across_tasks() -> None:
    whole = tree(range=None)
    whole["run"]["algorithm"] = "fed-avg"
    row = run(check_config(whole)).rounds("fed-avg", 0)[-1]
    assert row["min_task_score"] is None is row["jain"]
    assert row["regression/eval_rmse"] > 0.0


def test_early_stopping_goes_down_for_what_is_better_low() -> None:
    whole = tree()
    whole["run"] |= {
        "algorithm": "fed-avg",
        "num-server-rounds": 20,
        "early-stop": {"metric": "depth/val_mae", "patience": 1},
    }
    history = run(check_config(whole))
    values = [row["depth/val_mae"] for row in history.rounds("fed-avg", 0)]
    assert len(values) > 2
    assert all(b < a for a, b in itertools.pairwise(values[:-1]))
    assert history.stopped("fed-avg", 0) == (values[-1] >= values[-2])


def test_young_keys_change_nothing_of_old_configurations() -> None:
    whole = tree(loss=None, metrics=None, range=None, reference=None, target=None)
    whole["task"] = whole["task"][:1]
    config = check_config(whole)
    keys = {line.partition(" = ")[0] for line in dump_toml(config).splitlines()}
    assert keys.isdisjoint({"loss", "metrics", "range", "reference", "target"})
    young = {"loss": "cross-entropy", "reference": 0.5}
    assert digest(check_config({**whole, "task": [whole["task"][0] | young]})) != digest(config)


def all_at_once(outputs: Tensor, targets: Tensor) -> float:
    return 0.0


all_at_once.whole = True  # type: ignore[attr-defined]


def endless(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs * torch.inf


def only_few(outputs: Tensor, targets: Tensor) -> float:
    if len(targets) > 2:
        raise ValueError("boom")
    return 1.0


only_few.whole = True  # type: ignore[attr-defined]
only_few.higher_is_better = True  # type: ignore[attr-defined]


def no_number(outputs: Tensor, targets: Tensor) -> float:
    return float("nan") if len(targets) > 2 else 1.0


no_number.whole = True  # type: ignore[attr-defined]
no_number.higher_is_better = True  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"range": None}, r"task\.regression\.range is missing: .*signal"),
        ({"range": [1.0, 1.0]}, r"task\.regression\.range"),
        ({"range": ["initial"]}, r"task\.0\.range|task.*range"),
        ({"range": ["reference", 0.0], "reference": None}, r"task\.regression\.range.*reference"),
        ({"loss": "msee"}, r"task\.regression\.loss.*mse"),
        ({"loss": {"name": "huber", "dleta": 1.0}}, r"task\.regression\.loss\.dleta.*delta"),
        ({"loss": f"{HERE}:nothing"}, r"task\.regression\.loss.*nothing"),
        ({"loss": f"{HERE}:endless"}, "task regression.*finite"),
        ({"metrics": ["rmsee"]}, r"task\.regression\.metrics.*rmse"),
        ({"metrics": [f"{HERE}:endless"]}, r"task\.regression\.metrics.*direction"),
        ({"metrics": ["r2", "acc"]}, r"task\.regression\.metrics acc must be .* r2, rmse or mae"),
        ({"metrics": ["r2", "mean-angle"]}, r"task\.regression\.metrics mean-angle must be .*r2"),
        ({"target-accuracy": 0.5, "target": None}, r"target-accuracy.*scored by rmse"),
        ({"target-accuracy": 0.5}, r"target.*absent beside"),
        (
            {"loss": "cross-entropy"},
            r"task\.regression\.loss = 'cross-entropy', .*mse, mae or huber",
        ),
        ({"data": f"{HERE}:nothing"}, r"task\.regression\.data = .*no attribute 'nothing'"),
        ({"data": "no_such_module:x"}, r"task\.regression\.data = .*No module named"),
        ({"data": "wines"}, r"task\.regression\.data = 'wines', .*did you mean wine"),
        ({"trainable": "lora"}, r"task\.regression\.trainable = 'lora', .*trunk\.weight"),
        ({"reference": "nowhere#a"}, r"task\.regression\.reference = 'nowhere#a', .*folder"),
        ({"weight-by": "pixels"}, r"task\.regression\.weight-by = 'pixels'"),
        ({"metrics": [f"{HERE}:all_at_once"]}, r"task\.regression\.metrics.*direction"),
        (
            {"range": [0.0, 3.0]},
            r"task\.regression\.range = \[0\.0, 3\.0\].*as lower rmse is better",
        ),
        ({"range": ["initial", "reference"], "reference": 50.0}, "best below worst, as lower rmse"),
        ({"metrics": ["r2"], "range": [1.0, 0.0]}, "best above worst, as higher r2 is better"),
        ({"metrics": ["rmse", "auc"]}, r"task\.regression\.metrics.*in 0 \.\. 1"),
        ({"metrics": ["rmse", "label-acc"]}, r"task\.regression\.metrics.*in 0 \.\. 1"),
        (
            {"metrics": ["rmse", f"{HERE}:only_few"]},
            r"task\.regression\.metrics.*ValueError: boom.*test_any_task",
        ),
        ({"model": f"{HERE}:nothing"}, r"task\.regression\.model"),
        ({"model": "cnn"}, r"task\.regression\.model = 'cnn'"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    changed: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=message):
        run(check_config(tree(**changed)), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("section", "changed", "message"),
    [
        ("algorithm", {"signal": "loss"}, r"task\.regression\.range.*rmse.*different losses"),
        ("algorithm", {"signal": "error"}, r"task\.regression\.range.*rmse.*no worst value"),
    ],
)
def test_what_compares_unlike_units_is_refused(
    section: str, changed: dict[str, Any], message: str
) -> None:
    whole = tree(range=None)
    whole[section] = {**whole.get(section, {}), **changed}
    with pytest.raises(InvalidInput, match=message):
        run(check_config(whole))


def test_losses_of_unlike_units_are_taken_over_their_start() -> None:
    """The unit of a task's targets decides nothing: a hundredfold loss is a hundredfold start."""
    whole = tree(target=None)
    whole["algorithm"] = {"signal": "loss"}
    whole["run"]["num-server-rounds"] = 1
    parts = assemble(check_config(whole), 0)
    tasks = parts.federation.tasks
    state = replace(parts.algorithm.init(parts.federation, 0), server_round=1)
    shares = []
    for unit in (1.0, 100.0):
        losses = {task.name: task.initial_loss * (1.0 + k) for k, task in enumerate(tasks)}
        scaled = replace(tasks[0])
        scaled.__dict__["initial_loss"] = unit * tasks[0].initial_loss
        federation = replace(parts.federation, tasks=(scaled, *tasks[1:]))
        losses[tasks[0].name] *= unit
        seen = replace(state, validation_loss=losses)
        shares.append(parts.algorithm.probabilities(seen, federation))
    np.testing.assert_allclose(shares[0], shares[1])
    assert shares[0][0].tolist() == pytest.approx([1 / 14, 4 / 14, 9 / 14])


def test_files_hold_what_memory_holds(tmp_path: Path) -> None:
    """Null figures and scores come back from disk, and only runs scored alike are compared."""
    one, other = tree(range=None), tree()
    folders = []
    for name, whole in (("one", one), ("other", other)):
        whole["run"]["algorithm"] = "fed-avg"
        config = check_config(whole)
        history = run(config, out=tmp_path / name)
        read, again = read_run(tmp_path / name)
        assert again.rows == history.rows
        assert read.task == config.task
        folders.append(tmp_path / name)
    with pytest.raises(InvalidInput, match="scored like"):
        compare_runs(folders)


def test_one_client_trains_tasks_with_unlike_losses_together() -> None:
    """Every local step combines gradients of three losses, with holes in the targets."""
    whole = tree()
    whole["run"]["algorithm"] = "fair-grad"
    whole["algorithm"] = {"where": "client"}
    rows = run(check_config(whole)).rounds("fair-grad", 0)
    for name in ("regression", "depth", "text"):
        assert rows[-1][f"{name}/train_loss"] < rows[0][f"{name}/train_loss"]


def test_a_further_metric_that_is_no_number_is_said(caplog: pytest.LogCaptureFixture) -> None:
    whole = tree(metrics=["rmse", f"{HERE}:no_number"])
    whole["run"]["num-server-rounds"] = 1
    with caplog.at_level("WARNING", logger="fl_runtime"):
        run(check_config(whole))
    assert "task regression: no_number is not a number for the initial model" in caplog.text


def line(missing: int = 0) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(60, 3))
    y = x[:, 0] + 1.0
    y[:missing] = np.nan
    return x, y


class Needs(nn.Module):
    """A class that is no factory."""

    def __init__(self, width: int, outputs: int, deep: int) -> None:
        super().__init__()
        self.body = nn.Linear(width, outputs)


def two(example_shape: object, outputs: object, hidden: object) -> nn.Module:
    return nn.Linear(3, 2)


def a_line(missing: int = 0, **task: Any) -> Config:
    data = {"name": f"{HERE}:line", "missing": missing}
    entry = {"name": "line", "data": data, "model": "linear", "loss": "mse", **task}
    settings = {"algorithm": "fed-fair-mmfl", "num_server_rounds": 2}
    arms = [{"name": "a"}, {"name": "b", "clients.dropout": 0.5}]
    clients = {"num_clients": 4}
    return check_config({"run": settings, "task": [entry], "clients": clients, "arm": arms})


def test_a_regression_of_two_arrays_is_scored_by_its_loss(
    caplog: pytest.LogCaptureFixture,
) -> None:
    history = run(a_line(missing=5))
    assert history.rounds("a", 0)[-1]["line/eval_r2"] < 1.0
    said = [each.message for each in caplog.records if "missing" in each.message]
    assert said == ["5 of 60 targets of task line are missing (NaN) and count nothing"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"model": f"{HERE}:Needs"},
            r"task\.line\.model = '.*Needs\(\(3,\), 1, \(\)\) raised.*class",
        ),
        ({"model": f"{HERE}:two"}, r"task\.line\.model must be .*\(n, 1\).* it gives \(n, 2\)"),
        ({"metrics": ["acc"]}, r"task\.line\.metrics acc must be one for float targets, .*r2"),
        ({"loss": "cross-entropy"}, r"task\.line\.loss = 'cross-entropy', .*mse"),
        ({"target-accuracy": 0.5}, "scored by r2"),
    ],
)
def test_a_regression_that_does_not_fit_names_what_to_change(
    changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        check_all_arms(a_line(**changed))
