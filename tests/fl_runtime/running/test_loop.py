"""The loop: over-selection, losses by name, repeated recruitment, early stop, and bad input."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fairopt import InvalidInput
from fl_runtime.algorithms.asynchronous import AsynchronousState
from fl_runtime.configuration.schema import Config, RecruitmentSection
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.data.dataset import Dataset
from fl_runtime.data.partitions import IID
from fl_runtime.execution.sequential import SequentialExecutor
from fl_runtime.running.build import Parts, assemble
from fl_runtime.running.experiment import run
from fl_runtime.running.loop import one_round
from fl_runtime.running.preflight import check_all_arms
from fl_runtime.running.recruitment import recruit
from fl_runtime.running.stopping import Patience
from fl_runtime.training.job import Job, Update
from fl_runtime.training.models import build_model
from fl_runtime.training.task import LocalTraining, Task
from fl_runtime.training.task_from_data import make_task
from tests.fl_runtime.rounds import started
from tests.fl_runtime.small import config

EVERYONE = {"rule": "everyone"}
UNEQUAL = {"model": "uniform", "low": 0.5, "high": 1.5}
CHANGE = {"at": 1.0, "shares": [1.0], "factors": [2.0]}


def single(algorithm: str = "random", /, **sections: dict[str, Any]) -> Config:
    """One arm, one seed, two tasks, eight clients."""
    whole: dict[str, Any] = {
        "run": {"algorithm": algorithm, "num_server_rounds": 4, **sections.pop("run", {})},
        "task": [
            {"name": "wine", "data": "wine", "model": "linear"},
            {"name": "iris", "data": "iris", "model": "linear"},
        ],
        "clients": {"num_clients": 8, **sections.pop("clients", {})},
        **sections,
    }
    return check_config(whole)


def rows_of(settings: Config) -> list[dict[str, Any]]:
    history = run(settings)
    return history.rounds(history.arms[0], 0)


def test_over_selection_is_faster_and_takes_as_many_answers() -> None:
    slow = {"fraction_train": 0.5, "delay": {"model": "pareto", "index": 1.2}}
    plain = rows_of(single(clients=slow))
    more = rows_of(single(clients={**slow, "over_selection": 2.0}))
    assert [row["num-clients"] for row in plain] == [4] * 4
    assert more[0]["num-clients"] == 4
    assert more[0]["num-discarded"] == 4
    assert more[-1]["virtual_time"] < plain[-1]["virtual_time"]
    assert "num-discarded" not in plain[0]


def test_stragglers_are_busy_until_they_end() -> None:
    slow = {
        "fraction_train": 0.5,
        "over_selection": 2.0,
        "delay": {"model": "pareto", "index": 1.2},
    }
    parts = assemble(single(clients=slow), 0)
    current, evaluator = started(parts)
    for _ in range(6):
        busy = {entry.job.client for entry in current.pending if entry.finish > current.now}
        before = current.sent
        current, _, _ = one_round(parts, current, evaluator)
        selected = {entry.job.client for entry in current.pending if entry.number >= before}
        assert not selected & busy
        assert all(entry.finish > current.now for entry in current.pending)
        assert busy or current.now > 0.0


def test_jobs_that_fail_are_counted_and_named_and_the_loop_goes_on() -> None:
    for algorithm in ("random", "fed-buff"):
        history = run(single(algorithm, clients={"failures": 0.6, "delay": UNEQUAL}))
        rows = history.rounds(algorithm, 0)
        incidents = history.incidents(algorithm, 0)
        assert len(rows) == 4
        assert sum(row["num-failed"] for row in rows) == len(incidents) > 0
        assert {row["reason"] for row in incidents} == {"failed"}
        assert {row["task"] for row in incidents} <= {"wine", "iris"}


def test_rounds_in_which_everybody_drops_out_keep_the_model() -> None:
    for algorithm in ("random", "fed-buff", "fed-async"):
        rows = rows_of(single(algorithm, clients={"dropout": 0.9999, "delay": UNEQUAL}))
        assert [row["server_round"] for row in rows] == [1, 2, 3, 4]
        assert {row["num-clients"] for row in rows} == {0}
        assert min(row["num-dropped"] for row in rows) >= 8
        assert len({row["min_task_acc"] for row in rows}) == 1
        times = [row["virtual_time"] for row in rows]
        assert times == sorted(set(times))


class Poisonous(SequentialExecutor):
    """Client 3 answers NaN, client 5 with numbers that overflow, client 6 never."""

    def submit(self, jobs: Iterable[Job]) -> None:
        super().submit(job for job in jobs if job.client != 6)

    def poll(self) -> list[Update]:
        return [self._spoilt(update) for update in super().poll()]

    def _spoilt(self, update: Update) -> Update:
        wrong = {3: float("nan"), 5: 3e38}.get(update.client)
        if wrong is None:
            return update
        delta = {key: torch.full_like(value, wrong) for key, value in update.delta.items()}
        return replace(update, delta=delta)


@pytest.mark.parametrize("algorithm", ["random", "fed-buff", "fed-async"])
def test_bad_updates_are_rejected_counted_and_named(algorithm: str) -> None:
    parts = assemble(single(algorithm, algorithm=BUFFER if algorithm == "fed-buff" else {}), 0)
    parts = replace(parts, executor=Poisonous(parts.federation.tasks))
    current, evaluator = started(parts)
    reasons: dict[str, set[int]] = {}
    for _ in range(40):
        current, stats, row = one_round(parts, current, evaluator)
        for failure in stats.failures:
            reasons.setdefault(failure.reason, set()).add(failure.client)
        assert row["num-rejected"] + stats.failed == len(stats.failures)
        for model in current.state.models.values():
            assert all(bool(torch.isfinite(value).all()) for value in model.values())
    assert reasons["not finite"] == {3}
    assert reasons["failed"] == {6}
    assert 5 in reasons["ruins model"]
    test = evaluator.test(current.state, parts.federation.eligible)
    assert test["wine"].accuracy > 0.0


BUFFER = {"buffer_size": 2}


def test_nobody_but_bad_clients_ends_all_the_same() -> None:
    class Broken(Poisonous):
        def _spoilt(self, update: Update) -> Update:
            return super()._spoilt(replace(update, client=3))

    for algorithm in ("random", "fed-buff"):
        parts = assemble(single(algorithm), 0)
        parts = replace(parts, executor=Broken(parts.federation.tasks))
        current, evaluator = started(parts)
        after, stats, row = one_round(parts, current, evaluator)
        assert after.state.server_round == 1
        assert row["num-clients"] == 0
        assert len(stats.failures) >= 7
        assert after.state.models["wine"] is current.state.models["wine"]


def test_buffers_that_would_ruin_a_model_are_forgotten_and_the_run_ends() -> None:
    """Every update is finite, every pair of them overflows."""

    class Halves(SequentialExecutor):
        def poll(self) -> list[Update]:
            return [self._large(update) for update in super().poll()]

        def _large(self, update: Update) -> Update:
            delta = {key: torch.full_like(value, 3e38) for key, value in update.delta.items()}
            return replace(update, delta=delta)

    settings = single("fed-buff", algorithm={"buffer_size": 2, "server_learning_rate": 2.0})
    parts = assemble(settings, 0)
    parts = replace(parts, executor=Halves(parts.federation.tasks))
    current, evaluator = started(parts)
    first = current.state.models
    for server_round in range(1, 4):
        current, stats, row = one_round(parts, current, evaluator)
        assert current.state.server_round == server_round
        assert {failure.reason for failure in stats.failures} == {"ruins model"}
        assert row["num-rejected"] == len(stats.failures) == 1
        assert isinstance(current.state, AsynchronousState)
        assert not current.state.buffers[stats.failures[0].task]
    assert all(current.state.models[task] is first[task] for task in first)


def test_losses_between_updates_do_not_end_a_round() -> None:
    settings = single(
        "fed-buff",
        run={"num_server_rounds": 3},
        clients={"dropout": 0.5, "delay": UNEQUAL},
        algorithm={"buffer_size": 20},
    )
    rows = rows_of(settings)
    assert all(row["wine/num-clients"] + row["iris/num-clients"] >= 1 for row in rows)
    assert rows[0]["num-dropped"] > 8
    assert rows[0]["num-updates"] >= 20 > 8 >= rows[0]["num-clients"]


def test_later_recruitments_drift_and_the_first_does_not() -> None:
    once = RecruitmentSection(rule="budget-fair", budget=6.0)
    walk = {"model": "geometric-walk", "sigma": 1.0}
    drifting = RecruitmentSection(rule="budget-fair", budget=(6.0, 3.0), every=2, drift=walk)
    all_ = np.ones((20, 2), dtype=np.bool_)
    first, again = recruit(once, all_, 0), recruit(drifting, all_, 0)
    assert (first.eligible == again.eligible).all()
    later = [recruit(drifting, all_, 0, number) for number in range(4)]
    assert [each.budget for each in later] == [6.0, 3.0, 3.0, 3.0]
    assert all(each.spend <= each.budget for each in later)
    assert len({each.eligible.tobytes() for each in later}) > 1
    still = [recruit(once, all_, 0, number) for number in range(3)]
    assert len({each.eligible.tobytes() for each in still}) == 1


def test_recruitment_is_repeated_and_summed_up() -> None:
    from fl_runtime.reporting.summary import summarise

    section = {
        "rule": "max-min-fair",
        "budget": 4.0,
        "every": 2,
        "drift": {"model": "mean-reverting", "sigma": 0.5},
    }
    history = run(single(run={"num_server_rounds": 5}, recruitment=section))
    rows = history.recruitments("random", 0)
    assert [row["server_round"] for row in rows] == [0, 2, 4]
    figures = summarise(history, targets={})["arms"]["random"]
    assert figures["spend"]["mean"] == pytest.approx(sum(row["spend"] for row in rows))
    assert figures["budget"]["mean"] == 12.0


@pytest.mark.parametrize(
    ("values", "mode", "stops"),
    [
        ([0.1, 0.2, 0.2, 0.2], "max", True),
        ([0.1, 0.2, 0.2, 0.3], "max", False),
        ([0.3, 0.2, 0.2, 0.3], "min", True),
        ([0.3, 0.2, 0.1, float("nan")], "min", False),
        ([0.3, float("nan"), float("nan")], "min", True),
    ],
)
def test_patience(values: list[float], mode: str, stops: bool) -> None:
    settings = single(run={"early_stop": {"metric": "jain", "patience": 2, "mode": mode}})
    patience, rule = Patience(), settings.run.early_stop
    for value in values:
        patience = patience.after({"jain": value}, rule)
    assert patience.is_out(rule) == stops


def test_early_stop_ends_a_run_and_says_so() -> None:
    rule = {"metric": "mean_task_acc", "patience": 2, "min_delta": 1.0}
    history = run(single(run={"num_server_rounds": 50, "early_stop": rule}))
    assert history.stopped("random", 0)
    assert [row["server_round"] for row in history.rounds("random", 0)] == [1, 2, 3]
    stop, account = history.rows[-2:]
    assert (stop["event"], stop["metric"]) == ("stop", "mean_task_acc")
    assert account["event"] == "account"


@pytest.mark.parametrize(
    ("section", "table", "reason"),
    [
        ("run", {"num_server_rounds": 0}, "greater than or equal to 1"),
        ("run", {"executor": "flower"}, "it must be 'auto', 'sequential', 'stacked' or 'dense'"),
        ("run", {"early_stop": {"metric": "min_task_ac", "patience": 1}}, "min_task_acc"),
        ("run", {"early_stop": {"patience": 0}}, "run.early-stop.patience"),
        ("run", {"early_stop": {"patience": 1, "mod": "max"}}, "did you mean mode?"),
        ("clients", {"failures": 1.0}, "less than 1"),
        ("clients", {"over_selection": 0.5}, "greater than or equal to 1"),
        ("clients", {"speeds": {"shares": [0.5, 0.6], "factors": [1, 2]}}, "add up to 1"),
        ("clients", {"speeds": {"shares": [1.0], "factors": [1, 2]}}, "speeds.factors"),
        ("clients", {"speed_changes": [CHANGE, CHANGE]}, "times `at` that increase"),
        ("clients", {"speed_changes": [{**CHANGE, "at": 0.0}]}, "greater than 0"),
        (
            "clients",
            {"speeds": {"shares": [1.0], "factors": [1], "factrs": [1]}},
            "did you mean factors?",
        ),
        ("clients", {"task_delays": [1.0]}, "one per task"),
        ("clients", {"delay": {"model": "pareto", "index": 1.0}}, "delay.index"),
        ("clients", {"delay": {"model": "lognormal", "sigma": 9.0}}, "delay.sigma"),
        ("clients", {"delay": {"model": "uniform", "low": 2.0, "high": 1.0}}, "at least low"),
        ("clients", {"delay": {"model": "uniform"}}, "delay.low"),
        ("clients", {"availability": {"model": "on-of"}}, "did you mean on-off?"),
        ("clients", {"availability": {"model": "on-off", "on": 1.0, "off": 0.0}}, "off = 0.0"),
        ("clients", {"availability": {"file": "absent.csv"}}, "client, from, until"),
        ("recruitment", {"every": 0}, "greater than or equal to 1"),
        ("recruitment", {"budget": [3.0, -1.0], "rule": "budget-fair"}, "recruitment.budget"),
        (
            "recruitment",
            {"drift": {"model": "wal"}, "rule": "budget-fair", "budget": 1.0},
            "one of",
        ),
        (
            "recruitment",
            {
                "drift": {"model": "geometric-walk", "sigma": -1.0},
                "rule": "budget-fair",
                "budget": 1.0,
            },
            "recruitment.drift.sigma",
        ),
    ],
)
def test_bad_settings_are_refused(section: str, table: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_all_arms(single(**{section: table}))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no usable CUDA device"):
        check_all_arms(single(run={"device": "cuda"}))


def numbers(declared: int) -> Task:
    """A task of three classes whose data say that there are `declared`."""
    features = np.random.default_rng(0).normal(size=(90, 4)).astype(np.float32)
    dataset = Dataset(features, np.arange(90) % 3, declared)
    model = build_model("linear", (4,), declared, [], seed=0)
    return make_task(
        "numbers", dataset, model, LocalTraining(0.1, 1, 8), IID(), num_clients=5, seed=0
    )


def test_fewer_classes_than_declared_are_refused() -> None:
    with pytest.raises(InvalidInput, match="0 examples of class 3"):
        numbers(declared=4)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"features": lambda x: x[:, :3]}, "features = (11, 3)"),
        ({"features": lambda x: x.double()}, "features = torch.float64"),
        ({"features": lambda x: x.clone().fill_(np.nan)}, "NaN or infinity"),
        ({"targets": lambda y: y[:-1]}, "of shape (10, 4)"),
        ({"targets": lambda y: y.int()}, "int32"),
        ({"targets": lambda y: y + 1}, "targets = 3, but it must be in 0 .. 2"),
        ({"targets": lambda y: y - 1}, "targets = -1, but it must be in 0 .. 2"),
    ],
)
def test_client_data_that_do_not_fit_the_task_are_named(change: Any, reason: str) -> None:
    task = numbers(declared=3)
    shards = list(task.shards)
    ((field, spoil),) = change.items()
    shards[2] = replace(shards[2], **{field: spoil(getattr(shards[2], field))})
    with pytest.raises(InvalidInput) as caught:
        replace(task, shards=tuple(shards))
    assert "task numbers, client 2" in str(caught.value)
    assert reason in str(caught.value)


def test_stacking_ahead_gives_what_training_one_by_one_gives() -> None:
    def figures(executor: str) -> list[float]:
        clients = {"delay": {"model": "exponential"}, "batch_size": 8}
        settings = single("fed-buff", run={"executor": executor}, clients=clients)
        return [row["wine/val_loss"] for row in rows_of(settings)]

    np.testing.assert_allclose(figures("stacked"), figures("sequential"), rtol=1e-5)


def test_jobs_in_flight_are_trained_together() -> None:
    sizes: list[int] = []

    class Counting(SequentialExecutor):
        def poll(self) -> list[Update]:
            updates = super().poll()
            sizes.extend([len(updates)] if updates else [])
            return updates

    clients = {"delay": {"model": "exponential"}, "num_clients": 16}
    parts: Parts = assemble(single("fed-buff", clients=clients), 0)
    parts = replace(parts, executor=Counting(parts.federation.tasks))
    current, evaluator = started(parts)
    for _ in range(10):
        current, _, _ = one_round(parts, current, evaluator)
    assert sizes[0] == 16
    assert np.mean(sizes[1:]) > 4


def test_nothing_is_warned_about_in_a_usual_run() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(config(run={"seeds": [0], "num_server_rounds": 1}))
