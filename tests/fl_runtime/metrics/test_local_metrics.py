"""Figures about clients for tasks of any kind, against examples drawn one by one."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from fairopt import InvalidInput
from fl_runtime.algorithms import FedAvg, Local, ServerState
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.data.dataset import Data
from fl_runtime.data.inputs import called
from fl_runtime.data.mixtures import Mixture, OwnExamples
from fl_runtime.metrics.client_metrics import client_figure_names, client_figures
from fl_runtime.metrics.local_metrics import local_figures
from fl_runtime.reporting.report import print_tables, summary_of
from fl_runtime.running.build import Parts, assemble
from fl_runtime.running.experiment import run

SIZE, CLIENTS = 240, 6
X = np.random.default_rng(0).normal(size=(SIZE, 3))
KIND = np.arange(SIZE) % 3
MADE_BY = np.random.default_rng(1).permutation(np.repeat(np.arange(CLIENTS), SIZE // CLIENTS))
Y = X @ [1.0, 2.0, 0.0] + 2.0 * KIND
HERE = __name__


def numbers() -> Data:
    return Data(X, Y, 1, strata=KIND, client=MADE_BY)


def classes() -> Data:
    return Data(X, KIND, 3, client=MADE_BY)


def settings(partition: str = "dirichlet", **task: Any) -> Config:
    return check_config(
        {
            "run": {"algorithm": "fed-avg", "num_server_rounds": 2, "client_metrics": True},
            "task": [
                {
                    "name": "numbers",
                    "data": f"{HERE}:numbers",
                    "model": "linear",
                    "loss": "mse",
                    "metrics": ["rmse", "r2"],
                    "range": [8.0, 0.0],
                    **task,
                },
                {
                    "name": "classes",
                    "data": f"{HERE}:classes",
                    "model": "linear",
                    "metrics": ["acc"],
                    "split": task.get("split"),
                },
            ],
            "clients": {"num_clients": CLIENTS, "partition": partition},
        }
    )


def parts_of(config: Config) -> Parts:
    return assemble(config, 0)


def error_like(task: Any, client: int) -> float:
    """The reference: root of the mean squared error of a draw that is like the client's data."""
    load = called(task.model.requires_grad_(False), task.test.features)[:, 0]
    squares = (load - task.test.targets).double().square().numpy()
    assert isinstance(task.mixture, Mixture)
    total = sum(
        share * squares[task.mixture.test == kind].mean()
        for kind, share in enumerate(task.mixture.shares[client])
    )
    return math.sqrt(total)


def test_every_metric_is_measured_on_what_is_like_a_clients_data() -> None:
    parts = parts_of(settings())
    federation = parts.federation
    state = ServerState.initial(federation, 0)
    task, other = federation.tasks
    found = client_figures(FedAvg(), federation, state, [])
    assert set(found) == set(client_figure_names(federation.tasks))
    task.evaluate(task.initial, task.test)  # its numbers are in the module now
    wanted = np.array([error_like(task, k) for k in range(CLIENTS)])
    assert found["numbers/local_rmse"] == pytest.approx(wanted.mean())
    assert found["numbers/bottom_decile_rmse"] == pytest.approx(wanted.max())
    assert np.ptp(wanted) > 0.1
    plain = task.evaluate(task.initial, task.test).score, other.evaluate(other.initial, other.test)
    gains = [1.0 - plain[0] / 8.0, plain[1].score]
    assert found["id_score"] == pytest.approx(np.mean(gains))
    assert math.isnan(found["ood_score"])  # type: ignore[arg-type]
    assert other.mixture is not None
    guess = other.model(other.test.features).argmax(1)
    hits = other.mixture.local((guess == other.test.targets).numpy())
    sizes = np.array([task.sizes, other.sizes])
    local = np.average([1.0 - wanted / 8.0, hits], axis=0, weights=sizes)
    assert found["local_score"] == pytest.approx(local.mean())
    assert found["bottom_decile_score"] == pytest.approx(local.min())


def test_a_client_is_judged_by_its_own_model_and_the_tasks_it_holds() -> None:
    parts = parts_of(settings())
    eligible = np.ones((CLIENTS, 2), dtype=np.bool_)
    eligible[:2, 0] = False
    federation = replace(parts.federation, eligible=eligible)
    task, other = federation.tasks
    common = {"numbers": {"": task.initial}, "classes": {"": other.initial}}
    found = local_figures(federation, common)
    task.evaluate(task.initial, task.test)
    wanted = np.array([error_like(task, k) for k in range(CLIENTS)])
    assert found["numbers/local_rmse"] == pytest.approx(wanted[2:].mean())
    state = Local().init(federation, 0)
    shifted = {key: value + 1.0 for key, value in task.initial.items()}
    own = client_figures(Local(), federation, state.with_personal({("numbers", 3): shifted}), [])
    task.evaluate(shifted, task.test)
    wanted[3] = error_like(task, 3)
    assert own["numbers/local_rmse"] == pytest.approx(wanted[2:].mean())


@pytest.mark.parametrize("split", [None, "per-client"])
def test_natural_clients_are_judged_by_what_they_made(split: str | None) -> None:
    parts = parts_of(settings("natural", split=split))
    task, other = parts.federation.tasks
    assert isinstance(other.mixture, OwnExamples)
    rows = {tuple(np.float32(row)): who for row, who in zip(X, MADE_BY, strict=True)}
    made = np.array([rows[tuple(row)] for row in other.test.features.numpy()])
    assert other.mixture.client.tolist() == made.tolist()
    found = client_figures(FedAvg(), parts.federation, ServerState.initial(parts.federation, 0), [])
    other.evaluate(other.initial, other.test)
    hits = (other.model(other.test.features).argmax(1) == other.test.targets).numpy()
    wanted = [hits[made == k].mean() for k in range(CLIENTS) if (made == k).any()]
    assert found["classes/local_acc"] == pytest.approx(np.mean(wanted))
    if split == "per-client":
        for part in (task.validation, task.test):
            made = np.array([rows[tuple(row)] for row in part.features.numpy()])
            assert np.bincount(made).tolist() == [8] * CLIENTS


def test_a_client_without_test_examples_has_no_figure_and_spoils_none() -> None:
    parts = parts_of(settings("natural"))
    task, other = parts.federation.tasks
    some = OwnExamples(np.where(np.arange(len(task.test)) < 5, 0, -1), CLIENTS)
    tasks = (
        replace(task, mixture=some),
        replace(other, mixture=OwnExamples(other.mixture.client * 0, CLIENTS)),
    )  # type: ignore[union-attr]
    federation = replace(parts.federation, tasks=tasks)
    found = client_figures(FedAvg(), federation, ServerState.initial(federation, 0), [])
    task.evaluate(task.initial, task.test)
    with torch.no_grad():
        errors = task.model(task.test.features[:5])[:, 0] - task.test.targets[:5]
    wanted = errors.square().mean().sqrt()
    assert found["numbers/local_rmse"] == pytest.approx(float(wanted), rel=1e-6)
    assert math.isfinite(found["local_score"])  # type: ignore[arg-type]


def test_they_are_in_rows_summaries_and_tables() -> None:
    config = settings()
    history = run(config)
    row = history.rounds("fed-avg", 0)[-1]
    wanted = {"numbers/local_rmse", "classes/local_acc", "local_score", "compute", "traffic"}
    assert wanted <= row.keys()
    assert "local_acc" not in row
    summary = summary_of(history, config)
    assert summary["arms"]["fed-avg"]["clients"]["local_score"]["mean"] == row["local_score"]
    console = Console(width=200, record=True)
    print_tables(summary, console)
    assert f"{row['local_score']:.3f}" in console.export_text()


def test_without_a_scale_tasks_are_not_mixed() -> None:
    row = run(settings(range=None)).rounds("fed-avg", 0)[-1]
    assert row["local_score"] is None
    assert row["numbers/local_rmse"] > 0.0


def test_a_score_of_everything_at_once_is_refused() -> None:
    tree = settings().model_dump()
    tree["task"] = [{**tree["task"][1], "metrics": ["auc"]}]
    with pytest.raises(InvalidInput, match=r"run.client-metrics = True, .*as auc of classes"):
        run(Config.model_validate(tree))
    tree["run"]["client_metrics"] = False
    row = run(Config.model_validate(tree)).rounds("fed-avg", 0)[-1]
    assert 0.0 <= row["classes/eval_auc"] <= 1.0


@pytest.mark.parametrize(
    ("data", "reason"),
    [("wine", "who made each example"), (f"{HERE}:loners", "enough examples for three parts")],
)
def test_a_split_per_client_needs_clients(data: str, reason: str) -> None:
    tree = settings("natural").model_dump()
    tree["task"] = [{**tree["task"][1], "data": data, "split": "per-client"}]
    with pytest.raises(InvalidInput, match=f"task.classes.split = 'per-client', .*{reason}"):
        run(Config.model_validate(tree))


def loners() -> Data:
    return Data(X, KIND, 3, client=np.arange(SIZE))


def test_strata_without_a_test_example_say_nothing() -> None:
    mixture = Mixture(np.array([0, 0]), np.array([[1.0, 0.0], [0.5, 0.5]]))
    found = mixture.of_clients(np.array([[1.0], [3.0]]))
    assert found[0, 0] == 2.0
    assert math.isnan(found[1, 0])
    assert torch.is_tensor(torch.from_numpy(found))
