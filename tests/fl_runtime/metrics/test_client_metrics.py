"""Figures about clients, classes and cost: by hand, against references, and in runs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rich.console import Console

from fl_runtime.algorithms import FedAvg, Local, ServerState
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import digest
from fl_runtime.data.mixtures import Mixture
from fl_runtime.metrics.client_metrics import (
    bottom_mean,
    client_figures,
    compute,
    predictions,
    update_variance,
)
from fl_runtime.metrics.round_metrics import CLIENT_METRICS, COST_METRICS
from fl_runtime.reporting.report import print_tables, summary_of
from fl_runtime.running.build import Parts, assemble
from fl_runtime.running.experiment import run
from fl_runtime.training.job import Update
from tests.fl_runtime.small import config

ROUNDING = 1e-12


def drawn_one_by_one(mixture: Mixture, hits: NDArray[np.bool_], client: int) -> float:
    """The reference: the probability that a draw of the mixture is right, stratum by stratum."""
    total = 0.0
    for stratum, share in enumerate(mixture.shares[client]):
        of_it = [bool(hit) for hit, kind in zip(hits, mixture.test, strict=True) if kind == stratum]
        total += share * sum(of_it) / len(of_it)
    return total


@given(
    hits=st.lists(st.booleans(), min_size=9, max_size=9),
    counts=st.lists(st.tuples(*[st.integers(1, 9)] * 3), min_size=1, max_size=4),
)
def test_local_accuracy_agrees_with_the_reference(
    hits: list[bool], counts: list[tuple[int, int, int]]
) -> None:
    sizes = np.array(counts, dtype=np.float64)
    mixture = Mixture(np.arange(9) % 3, sizes / sizes.sum(axis=1, keepdims=True))
    found = mixture.local(np.array(hits))
    for client in range(len(counts)):
        slow = drawn_one_by_one(mixture, np.array(hits), client)
        assert found[client] == pytest.approx(slow, abs=ROUNDING)


def test_a_client_like_the_test_set_sees_the_plain_accuracy_and_a_lopsided_one_does_not() -> None:
    """The second half is what a metric that forgets the mixture would get wrong."""
    hits = np.array([True, True, True, False, False, True])
    mixture = Mixture(np.array([0, 0, 0, 1, 1, 1]), np.array([[0.5, 0.5], [0.0, 1.0]]))
    assert mixture.local(hits) == pytest.approx([hits.mean(), 1 / 3])


def test_mixtures_are_of_strata_where_labels_are_coarser() -> None:
    """Even or odd is dealt by the digit, so its mixture has ten kinds."""
    tree = config(run={"seeds": [0]}).model_dump()
    tree["task"] = [{**tree["task"][0], "data": "digits-joint-parity"}]
    tree["arm"], tree["recruitment"] = [], {}
    (task,) = assemble(Config.model_validate(tree), 0).federation.tasks
    assert task.mixture is not None
    assert task.mixture.shares.shape == (8, 10)
    assert task.mixture.shares.sum(axis=1) == pytest.approx(np.ones(8))
    assert len(task.mixture.test) == len(task.test)


def plain() -> Parts:
    """Two tasks on eight clients."""
    settings = config(run={"seeds": [0]}, recruitment={"rule": "everyone", "costs": {}})
    return assemble(settings.model_copy(update={"arm": ()}), 0)


def initial(parts: Parts) -> ServerState:
    """With models that nobody has trained."""
    return ServerState.initial(parts.federation, 0)


def test_figures_are_those_of_their_definitions() -> None:
    parts = plain()
    wine, iris = parts.federation.tasks
    eligible = np.ones((8, 2), dtype=np.bool_)
    eligible[:3, 1] = False  # three clients do not hold iris
    federation = replace(parts.federation, eligible=eligible)
    found = client_figures(FedAvg(), federation, initial(parts), [])
    accuracy, f1, local = {}, {}, {}
    for task in (wine, iris):
        guess, truth = predictions(task, task.initial), task.test.labels.numpy()
        accuracy[task.name] = (guess == truth).mean()
        assert accuracy[task.name] == task.evaluate(task.initial, task.test).accuracy
        f1[task.name] = np.mean([f1_of(guess == c, truth == c) for c in range(3)])
        assert task.mixture is not None
        local[task.name] = task.mixture.local(guess == truth)
    sizes = {task.name: len(task.test) for task in (wine, iris)}
    shards = {task.name: np.array([len(s) for s in task.shards]) for task in (wine, iris)}
    both = np.average(list(accuracy.values()), weights=list(sizes.values()))
    own = sum(local[t] * shards[t] * eligible[:, k] for k, t in enumerate(local))
    own = own / sum(shards[t] * eligible[:, k] for k, t in enumerate(local))
    assert found["id_acc"] == pytest.approx((3 * accuracy["wine"] + 5 * both) / 8)
    assert found["ood_acc"] == pytest.approx(accuracy["iris"])
    assert found["local_acc"] == pytest.approx(own.mean())
    assert found["bottom_decile_acc"] == pytest.approx(own.min())
    assert [found[f"{t}/eval_f1"] for t in f1] == pytest.approx(list(f1.values()))
    assert found["macro_f1"] == pytest.approx(np.mean(list(f1.values())))
    weighted = np.average(list(f1.values()), weights=list(sizes.values()))
    assert found["weighted_f1"] == pytest.approx(weighted)


def f1_of(said: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """Twice the hits over what was said and what was so; zero for none of all."""
    whole = int(said.sum() + true.sum())
    return 2.0 * int((said & true).sum()) / whole if whole else 0.0


def test_clients_with_models_of_their_own_are_measured_by_them() -> None:
    parts = plain()
    wine = parts.federation.tasks[0]
    eligible = np.ones((8, 2), dtype=np.bool_)
    eligible[:3, 1] = False
    federation = replace(parts.federation, eligible=eligible)
    state = Local().init(federation, 0)
    found, common = (
        client_figures(Local(), federation, one, []) for one in (state, initial(parts))
    )
    assert found["local_acc"] == pytest.approx(common["local_acc"])
    assert found["id_acc"] == pytest.approx(common["id_acc"])
    assert math.isnan(found["ood_acc"])  # type: ignore[arg-type]
    guess = predictions(wine, wine.initial)
    other = {key: -value for key, value in wine.initial.items()}
    worse = client_figures(Local(), federation, state.with_personal({("wine", 0): other}), [])
    accuracies = [
        float((g == wine.test.labels.numpy()).mean()) for g in (guess, predictions(wine, other))
    ]
    change = (accuracies[1] - accuracies[0]) / 8  # client 0 holds wine alone, one of eight clients
    assert worse["id_acc"] - found["id_acc"] == pytest.approx(change)  # type: ignore[operator]
    assert worse["iris/eval_f1"] == found["iris/eval_f1"]


def test_what_nobody_holds_or_lacks_has_no_figure() -> None:
    parts = plain()
    everything = client_figures(FedAvg(), parts.federation, initial(parts), [])
    assert math.isnan(everything["ood_acc"])  # type: ignore[arg-type]
    nothing = replace(parts.federation, eligible=np.zeros((8, 2), dtype=np.bool_))
    found = client_figures(FedAvg(), nothing, initial(parts), [])
    assert math.isnan(found["id_acc"])  # type: ignore[arg-type]
    assert math.isnan(found["local_acc"])  # type: ignore[arg-type]
    assert found["ood_acc"] == pytest.approx(everything["id_acc"])


def test_the_bottom_decile_is_a_tenth_and_one_at_least() -> None:
    assert bottom_mean(np.arange(10.0)) == 0.0
    assert bottom_mean(np.arange(40.0)[::-1]) == 1.5
    assert bottom_mean(np.array([0.7])) == 0.7


def update(task: str, values: list[float], examples: int, **metrics: float) -> Update:
    return Update(task, 0, 0, {"w": torch.tensor(values)}, examples, metrics=metrics)


def test_variance_and_compute_by_hand() -> None:
    points = [update("wine", point, 5) for point in ([1.0, 0.0], [3.0, 0.0], [2.0, 3.0])]
    assert update_variance([each.delta for each in points]) == pytest.approx(8 / 3)
    assert math.isnan(update_variance([points[0].delta]))
    other = update("iris", [1.0, 1.0, 1.0], 7)
    assert compute(plain().federation.tasks, [*points, other]) == 3 * 2 * 5 + 3 * 7


@pytest.mark.parametrize("name", ["fed-avg", "fed-fair-mmfl", "fed-ast", "fed-async", "fed-ram"])
def test_any_algorithm_has_them_on_request_and_they_change_nothing_else(name: str) -> None:
    own: dict[str, Any] = {"reference_rounds": 1, "proxy_rounds": 1} if name == "fed-ram" else {}
    sections: dict[str, Any] = {
        "run": {"algorithm": name, "seeds": [0]},
        "clients": {"delay": {"model": "uniform", "low": 0.5, "high": 1.5}},
        "recruitment": {"rule": "everyone"},
    }
    base = config(**sections).model_copy(update={"arm": (), "algorithm": own})
    wide = base.model_copy(update={"run": base.run.model_copy(update={"client_metrics": True})})
    rows, more = (run(settings).rounds(name, 0) for settings in (base, wide))
    for row, wider in zip(rows, more, strict=True):
        assert {key: wider[key] for key in row} == row
        extra = wider.keys() - row.keys()
        assert {*CLIENT_METRICS, *COST_METRICS, "wine/update_variance", "iris/eval_f1"} <= extra
    assert digest(base) != digest(wide)


def test_summaries_add_cost_up_and_split_it_by_stage() -> None:
    own = {"reference_rounds": 1, "proxy_rounds": 1}
    sections = {
        "run": {"algorithm": "fed-ram", "client_metrics": True},
        "recruitment": {"rule": "everyone"},
    }
    settings = config(**sections).model_copy(update={"arm": (), "algorithm": own})
    history = run(settings)
    summary = summary_of(history, settings)
    figures = summary["arms"]["fed-ram"]
    for metric in COST_METRICS:
        totals = [sum(row[metric] for row in history.rounds("fed-ram", s)) for s in (0, 1)]
        assert figures["work"][metric]["total"]["mean"] == pytest.approx(np.mean(totals))
        assert sum(figures["work"][metric]["shares"].values()) == pytest.approx(1.0)
    assert figures["work"]["traffic"]["shares"]["1"] == 0.0  # references stay with their clients
    assert figures["work"]["compute"]["shares"]["1"] > 0.0
    assert figures["clients"]["ood_acc"]["mean"] is None
    console = Console(width=200, record=True)
    print_tables(summary, console)
    assert "Clients, classes, compute and traffic" in console.export_text()
