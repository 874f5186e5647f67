"""Test sets that are evaluated in every k-th round only: everything else stays as it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import fl_runtime
from fairopt import InvalidInput
from fl_runtime.algorithms import FedAvg
from fl_runtime.configuration.schema import Config, EarlyStopTable
from fl_runtime.configuration.toml_files import check_config, digest
from fl_runtime.history import History
from fl_runtime.metrics.run_figures import final, time_to_targets
from fl_runtime.running import one_run
from fl_runtime.running.build import assemble
from fl_runtime.running.evaluation_plan import (
    EVERYTHING,
    Measured,
    evaluation_plan,
    reads_validation,
)
from fl_runtime.running.experiment import run
from fl_runtime.running.loop import Evaluator
from fl_runtime.running.run_folder import PICTURE
from fl_runtime.running.run_state import RunState
from fl_runtime.running.stopping import Patience
from fl_runtime.training.task import Task
from tests.fl_runtime import small
from tests.fl_runtime.kills import assert_resumes

ROUNDS = 8
EVALUATED = (1, 3, 6, 8)


def config(every: int | None, algorithm: str = "fed-avg", **keys: Any) -> Config:
    tree = small.tree(run={"algorithm": algorithm, "num_server_rounds": ROUNDS, **keys})
    tree |= {"algorithm": {}, "arm": [], "recruitment": {}}
    if every is not None:
        tree["run"]["evaluate_every"] = every
    return check_config(tree)


def rounds_of(settings: Config, arm: str = "fed-avg", seed: int = 0) -> list[dict[str, Any]]:
    return run(settings).rounds(arm, seed)


def test_one_is_as_if_it_were_not_there() -> None:
    assert digest(config(1)) == digest(config(None)) != digest(config(2))
    assert run(config(1)).rows == run(config(None)).rows


@pytest.mark.parametrize("keep", ["last+best", "last"])
@pytest.mark.parametrize("algorithm", ["fed-avg", "fed-fair-mmfl"])
def test_what_is_measured_is_what_would_have_been(keep: str, algorithm: str) -> None:
    whole, some = (
        rounds_of(config(every, algorithm, keep_models=keep), algorithm) for every in (1, 3)
    )
    reads = keep == "last+best" or algorithm == "fed-fair-mmfl"
    for one, two in zip(whole, some, strict=True):
        assert [*one, "evaluated"] == list(two)
        due = two["server_round"] in EVALUATED
        assert two["evaluated"] is due
        for key, value in one.items():
            held_out = "/eval_" in key or key in ("jain",) or key.endswith("_task_acc")
            absent = not due and (held_out or ("/val_" in key and not reads))
            assert two[key] == (None if absent else value), key


def test_figures_about_clients_follow_and_costs_are_counted_in_every_round() -> None:
    whole, some = (rounds_of(config(every, client_metrics=True)) for every in (1, 3))
    for one, two in zip(whole, some, strict=True):
        assert {*one, "evaluated"} == two.keys()
        for key in ("compute", "traffic", "wine/update_variance"):
            assert one[key] == two[key]
        expected = one["macro_f1"] if two["evaluated"] else None
        assert two["macro_f1"] == expected


def test_models_are_evaluated_as_seldom_as_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real = Task.evaluate

    def counted(task: Task, params: Any, examples: Any, *, measured: bool = True) -> Any:
        sizes.append(len(examples))
        assert measured == (len(examples) != 5)  # the sample is asked for its loss alone
        return real(task, params, examples, measured=measured)

    monkeypatch.setattr(one_run, "RUIN_SAMPLE", 5)
    settings = config(3, keep_models="none", seeds=[0])
    sets = {len(t.test) for t in assemble(settings, 0).federation.tasks}
    monkeypatch.setattr(Task, "evaluate", counted)
    rows = rounds_of(settings)
    wide = [size for size in sizes if size > 5]
    assert len(wide) <= 2 * 2 * len(EVALUATED) + 4  # tasks, sets, rounds; and the preflight
    assert sizes.count(5) >= ROUNDS
    assert sets
    assert [row["evaluated"] for row in rows].count(True) == len(EVALUATED)


@pytest.mark.parametrize("after", [2, 5, 9])
@pytest.mark.parametrize("keys", [{}, {"early_stop": {"patience": 3}}, {"keep_models": "last"}])
def test_a_run_that_was_stopped_goes_on(keys: dict[str, Any], after: int, tmp_path: Path) -> None:
    assert_resumes(config(3, **keys), tmp_path, after=after)


def test_reports_take_the_last_measured_rounds(tmp_path: Path) -> None:
    """Tables and pictures; a mean over the last three rounds is one over those evaluated."""
    history = fl_runtime.run(config(3, report_rounds=3, seeds=[0, 1]), out=tmp_path / "run")
    rows = history.rounds("fed-avg", 0)
    assert (
        final(rows, "wine/eval_acc", 3) == (rows[5]["wine/eval_acc"] + rows[7]["wine/eval_acc"]) / 2
    )
    assert final(rows, "train_loss", 3) == pytest.approx(
        final(rounds_of(config(1)), "train_loss", 3)
    )
    values = history.series("fed-avg", "wine/eval_acc")
    assert values.shape == (2, ROUNDS)
    assert (values[:, 3:5] == values[:, 2:3]).all()
    assert (tmp_path / "run" / PICTURE).exists()
    summary = (tmp_path / "run" / "summary.json").read_text()
    assert "null" not in summary.partition('"accuracy"')[2].partition("}")[0]


def test_a_null_that_was_measured_stays_undefined() -> None:
    diverged = {"evaluated": True, "a": None}
    assert math.isnan(final([diverged], "a"))
    assert math.isnan(final([{"a": None}, {"a": 1.0}], "a", last=2))
    assert final([{"evaluated": False, "a": None}, {"evaluated": True, "a": 1.0}], "a", 2) == 1.0
    rows = [
        {"event": "round", "arm": "x", "seed": 0, "a": a, "evaluated": seen}
        for a, seen in ((0.5, True), (None, False), (None, True), (None, False))
    ]
    (found,) = History(rows).figures("x", "a")
    assert found[:2].tolist() == [0.5, 0.5]
    assert all(map(math.isnan, found[2:]))


def test_targets_are_reached_where_that_is_seen() -> None:
    rows = rounds_of(config(3, stop_at_targets=False))
    reached = time_to_targets(rows, {"wine": 0.0})
    assert reached == rows[0]["virtual_time"]
    late = [row | {"wine/eval_acc": None, "evaluated": False} for row in rows[:4]] + rows[4:]
    assert time_to_targets(late, {"wine": 0.0}) == rows[5]["virtual_time"]


def test_patience_counts_rounds_and_ends_where_something_is_measured() -> None:
    rule = EarlyStopTable(metric="m", patience=2, mode="max")
    dark = {"m": None, "evaluated": False}
    seen = Patience().after({"m": 0.5, "evaluated": True}, rule)
    for _ in range(5):
        seen = seen.after(dark, rule)
        assert not seen.is_out(rule)
    assert seen.after({"m": 0.5, "evaluated": True}, rule).is_out(rule)
    assert seen.after({"m": 0.6, "evaluated": True}, rule) == Patience(0.6, 0)
    assert Patience(0.5, 0).after(dark, EarlyStopTable(metric="m", patience=1)).waited == 0


@pytest.mark.parametrize("metric", ["min_task_acc", "wine/val_acc", "wine/val_loss"])
def test_the_last_round_is_evaluated_also_where_a_run_stops_early(metric: str) -> None:
    stop = {"metric": metric, "patience": 1, "min_delta": 0.5}
    for seed in (0, 1):
        rows = rounds_of(config(5, early_stop=stop), seed=seed)
        assert len(rows) < ROUNDS
        assert rows[-1]["evaluated"]
        assert rows[-1]["wine/eval_acc"] is not None


@pytest.mark.parametrize(
    ("keys", "algorithm", "validates"),
    [
        ({}, "fed-avg", True),
        ({"keep_models": "last"}, "fed-avg", False),
        ({"keep_models": "none"}, "fed-fair-mmfl", True),
        ({"keep_models": "none", "early_stop": {"patience": 1}}, "fed-avg", False),
        (
            {"keep_models": "none", "early_stop": {"metric": "wine/val_loss", "patience": 1}},
            "fed-avg",
            True,
        ),
    ],
)
def test_validation_sets_are_evaluated_where_something_reads_them(
    keys: dict[str, Any], algorithm: str, validates: bool
) -> None:
    settings = config(3, algorithm, **keys)
    parts = assemble(settings, 0)
    plan = evaluation_plan(settings, parts.algorithm, settings.run.early_stop)
    assert plan.at(2) == Measured(test=False, validation=validates)
    assert plan.at(1) == plan.at(3) == EVERYTHING


def test_a_ruined_model_is_found_by_a_sample() -> None:
    parts = assemble(config(3), 0)
    state, held = parts.algorithm.init(parts.federation, 0), parts.federation.eligible
    evaluator = Evaluator(parts.federation.tasks, sample=4)
    assert evaluator.ruined(state, held) == set()
    broken = {key: torch.full_like(value, 1e30) for key, value in state.models["wine"].items()}
    broken = {key: value * (1e30 if value.ndim > 1 else 1.0) for key, value in broken.items()}
    changed = RunState(state).state
    models = {**changed.models, "wine": broken}
    assert evaluator.ruined(type(changed)(0, 0, models, {}, {}), held) == {"wine"}


@pytest.mark.parametrize("every", [0, -1, 1.5, "2", True])
def test_numbers_of_rounds_that_are_none_are_refused(every: object) -> None:
    tree = small.tree(run={"evaluate_every": every})
    with pytest.raises(InvalidInput, match=r"run\.evaluate-every") as caught:
        check_config(tree)
    assert "\n" not in str(caught.value)


@dataclass(frozen=True, kw_only=True)
class Own(FedAvg):
    """Of which nobody knows what it reads."""


def test_an_algorithm_of_ones_own_may_read_validation_figures() -> None:
    assert reads_validation(Own())
    assert not reads_validation(FedAvg())
