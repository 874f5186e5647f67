"""Figures of runs: what a claim, the summary and a table say of one thing is the same number."""

from __future__ import annotations

import math
import warnings
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from rich.console import Console

from fairopt.errors import InvalidInput
from fl_runtime.algorithms import ALGORITHMS, ByArrival
from fl_runtime.configuration.schema import ClaimSection, Config
from fl_runtime.configuration.toml_files import arm_configs, check_config
from fl_runtime.history import History
from fl_runtime.metrics.round_metrics import training_metrics
from fl_runtime.metrics.run_figures import figures
from fl_runtime.reporting.claim_results import check_claims
from fl_runtime.reporting.report import summary_of
from fl_runtime.reporting.summary import summarise
from fl_runtime.reporting.tables import recruitment_table
from fl_runtime.running import experiment
from fl_runtime.running.build import Parts, assemble
from fl_runtime.running.history_rows import round_columns
from fl_runtime.running.preflight import _check_claimed, _check_claims
from fl_runtime.training.job import Update
from tests.fl_runtime import small
from tests.fl_runtime.representatives import REPRESENTATIVES

TASKS = ("a", "b")
CLIENTS = 6
SUMMED = ("spend", "cost", "budget")
TOTALS = ("compute", "traffic")


@st.composite
def trees(draw: st.DrawFn, algorithm: str) -> dict[str, Any]:
    """Small configurations of one algorithm, with all that puts entries into rows."""
    rounds = draw(st.integers(1, 4))
    stop = {"metric": "min_task_acc", "patience": 1}
    clients: dict[str, Any] = {
        "num_clients": CLIENTS,
        "fraction_train": 0.7,
        "dropout": draw(st.sampled_from([0.0, 0.4])),
        "failures": draw(st.sampled_from([0.0, 0.3])),
        "delay": {"model": "exponential"},
    }
    in_rounds = not issubclass(ALGORITHMS[algorithm], ByArrival)
    if in_rounds and algorithm != "sync-st":
        clients["over_selection"] = draw(st.sampled_from([1.0, 1.4]))
    recruitment = {
        "rule": draw(st.sampled_from(["everyone", "max-min-fair", "random-recruitment"])),
        "budget": draw(st.sampled_from([3.0, [4.0, 2.0]])),
        "every": draw(st.sampled_from([None, 1, 2])),
        "drift": {"model": "geometric-walk", "sigma": 0.5},
    }
    task = {"data": "wine", "model": "mlp", "hidden": [4, 3], "target_accuracy": 0.5}
    table = {} if in_rounds else {"max_staleness": draw(st.sampled_from([None, 1]))}
    if algorithm == "fed-hca2":
        table = {"shared_layers": ["1"]}
    return {
        "run": {
            "algorithm": algorithm,
            "seeds": [0, 1, 2],
            "num_server_rounds": rounds,
            "report_rounds": draw(st.integers(1, 3)),
            "client_metrics": draw(st.booleans()),
            "early_stop": draw(st.sampled_from([None, stop])),
        },
        "task": [{"name": name, **task} for name in TASKS],
        "clients": clients,
        "algorithm": table,
        "recruitment": {k: v for k, v in recruitment.items() if v is not None},
    }


def expected(history: History, arm: str, seed: int, name: str, last: int) -> float:
    """The figure of one run, written from the documentation's table, row by row."""
    rounds, recruitments = history.rounds(arm, seed), history.recruitments(arm, seed)
    task, _, column = name.rpartition("/")
    if name in SUMMED:
        return sum(row[name] for row in recruitments)
    if name in ("min_take_up", "num-recruited"):
        return sum(row[name] for row in recruitments) / len(recruitments)
    if column == "take_up":
        return sum(row["take_up"][task] for row in recruitments) / len(recruitments)
    if column == "clients_per_round":
        return sum(row[f"{task}/num-clients"] for row in rounds) / len(rounds)
    if name == "rounds":
        return len(rounds)
    if name in TOTALS:
        return sum(row[name] for row in rounds)
    if name == "time-to-targets":
        ends = [
            min((r["virtual_time"] for r in rounds if r[f"{t}/eval_acc"] >= 0.5), default=math.inf)
            for t in TASKS
        ]
        return max(ends)
    if name == "compute-to-targets":
        until = expected(history, arm, seed, "time-to-targets", last)
        cost = sum(row["compute"] for row in rounds if row["virtual_time"] <= until)
        return cost if until < math.inf else math.inf
    seen = rounds[-last:]
    behind = [1.0] * len(seen)
    if column == "train_loss":
        behind = [row[name.replace("train_loss", "num-examples")] for row in seen]
    if name == "staleness_mean":
        behind = [
            row["num-updates"] if "num-updates" in row else row["num-clients"] for row in seen
        ]
    pairs = [
        (row.get(name), n) for row, n in zip(seen, behind, strict=True) if n or not sum(behind)
    ]
    if any(value is None for value, _ in pairs):
        return math.nan
    whole = sum(n for _, n in pairs)
    return sum(v * n for v, n in pairs) / whole if whole else sum(v for v, _ in pairs) / len(pairs)


def in_the_summary(figures_: dict[str, Any], name: str) -> dict[str, Any] | None:
    """What the summary says of a figure; None where it does not speak of it."""
    task, _, column = name.rpartition("/")
    if task in TASKS and column in ("take_up", "clients_per_round"):
        return figures_[column][task]
    if task in TASKS and column == "eval_acc":
        return figures_["accuracy"][task]
    if name in TOTALS:
        return figures_["work"][name]["total"]
    if name == "rounds":
        return None
    found = {**figures_.get("clients", {}), **figures_}.get(name)
    return found if isinstance(found, dict) and "half_width" in found else None


def names_in(tree: Any) -> set[str]:
    """Every key of nested plain data."""
    if isinstance(tree, dict):
        return set(tree) | {name for value in tree.values() for name in names_in(value)}
    return {n for each in tree for n in names_in(each)} if isinstance(tree, list) else set()


def refused(config: Config, parts: Parts) -> bool:
    """Whether a run of it ends before it begins, with one line about the claim."""
    line = ""
    try:
        _check_claims(config)
        _check_claimed(config, next(iter(arm_configs(config))), parts)
    except InvalidInput as error:
        line = str(error)
    assert line.startswith("claim.0.metric = " if line else "")
    assert "\n" not in line
    return bool(line)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", REPRESENTATIVES)
def test_claims_summary_and_rows_agree_on_every_name_there_is(algorithm: str) -> None:
    @settings(max_examples=3, phases=[Phase.explicit, Phase.generate])  # shrinking trains anew
    @given(trees(algorithm))
    def agree(tree: dict[str, Any]) -> None:
        config = check_config(tree)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            history, parts = experiment.run(config), assemble(config, 0)
        (arm,), last = history.arms, config.run.report_rounds
        summary = summary_of(history, config)
        columns = {
            key for s in config.run.seeds for row in history.rounds(arm, s) for key in row
        } - {"event", "arm", "seed"}
        assert columns <= set(round_columns(parts))
        names = {key for row in history.rows for key in row} | names_in(summary)
        names |= {f"{task}/{name}" for task in TASKS for name in ("take_up", "clients_per_round")}
        claimed = set()
        for name in sorted(names | {"time-to-targets", "compute-to-targets", "num-client"}):
            claim = ClaimSection(statement="s", source="o", arm=arm, metric=name)
            one = config.model_copy(update={"claim": (claim,)})
            if refused(one, parts):
                continue
            claimed.add(name)
            (result,) = check_claims(history, one)
            right = [expected(history, arm, seed, name, last) for seed in config.run.seeds]
            if np.isfinite(right).all():
                assert result.found.mean == pytest.approx(np.mean(right), rel=1e-12, abs=1e-12)
                shown = in_the_summary(summary["arms"][arm], name)
                assert shown is None or shown["mean"] == result.found.mean
                assert shown is None or shown["half_width"] == result.found.half_width
            else:
                assert "no figure for" in result.reason
        assert claimed >= columns | {"rounds", "spend", "cost", "min_take_up", "a/take_up"}
        assert not claimed & {"event", "arm", "seed", "rule", "take_up", "reason", "num-client"}
        assert ("budget" in claimed) == (config.recruitment.rule != "everyone")

    agree()


def written(runs: list[tuple[list[float], list[int]]]) -> History:
    """Runs of one arm with one task: payments of recruitments, and clients of rounds."""
    rows: list[dict[str, Any]] = []
    for seed, (payments, clients) in enumerate(runs):
        where = {"arm": "x", "seed": seed}
        for number, paid in enumerate(payments):
            bought = {"take_up": {"a": 3 + 2 * number}, "min_take_up": 3 + 2 * number}
            money = {"rule": "budget-fair", "budget": 2.0, "spend": paid, "cost": paid / 2}
            rows.append({"event": "recruitment", **where, **money, **bought})
        for number, count in enumerate(clients, start=1):
            accuracy = dict.fromkeys(("min_task_acc", "mean_task_acc", "var_task_acc", "jain"), 0.5)
            counted = {"a/num-clients": count, "a/eval_acc": 0.5}
            rows.append({"event": "round", **where, "server_round": number, **accuracy, **counted})
    return History(rows)


def test_figures_of_seeds_of_unequal_length() -> None:
    history = written([([1.0, 1.5, 2.0], [1, 2, 3]), ([1.0], [7])])
    arm = summarise(history, targets={})["arms"]["x"]
    assert arm["clients_per_round"]["a"]["mean"] == (2.0 + 7.0) / 2
    assert arm["budget"]["mean"] == (6.0 + 2.0) / 2
    assert arm["spend"]["mean"] == (4.5 + 1.0) / 2
    assert arm["take_up"]["a"]["mean"] == arm["min_take_up"]["mean"] == (5.0 + 3.0) / 2
    assert arm["rounds"] == [3, 1]
    assert figures(history, "x", "spend") == {0: 4.5, 1: 1.0}
    console = Console(width=150, file=StringIO())
    console.print(recruitment_table(summarise(history, targets={})))
    (line,) = [line for line in console.file.getvalue().splitlines() if line.startswith("│ x")]
    cells = [cell.strip() for cell in line.split("│")]
    assert cells[2] == "4.0 | 4.5"
    assert cells[5] == "4"


def test_claims_on_what_an_arm_does_not_have_are_refused_before_the_run(tmp_path: Path) -> None:
    for metric, near in (
        ("min_task_ac", "did you mean min_task_acc?"),
        ("num-updates", 'a figure of arm "fair"'),
        ("compute", 'a figure of arm "fair"'),
        ("reason", 'a figure of arm "fair"'),
        ("attention_entropy", 'a figure of arm "fair"'),
    ):
        claim = {"statement": "s", "source": "o", "arm": "fair", "metric": metric}
        config = check_config({**small.tree(), "claim": [claim]})
        with pytest.raises(InvalidInput, match=r"claim\.0\.metric") as caught:
            experiment.run(config, out=tmp_path / "run")
        assert near in str(caught.value)
        assert not list(tmp_path.iterdir())


def update(task: str, client: int, loss: float = 1.0, examples: int = 1) -> Update:
    """An update with nothing in it."""
    delta = {"w": torch.zeros(1)}
    return Update(task, client, 0, delta, examples, {}, {"train_loss": loss}, {})


def test_rows_count_different_clients() -> None:
    answers = [update("a", 1), update("a", 1), update("a", 2), update("b", 1)]
    row = training_metrics(TASKS, answers, answers_once=False)
    assert [row[f"{prefix}num-clients"] for prefix in ("a/", "b/", "")] == [2, 1, 2]
    assert [row[f"{prefix}num-updates"] for prefix in ("a/", "b/", "")] == [3, 1, 4]
    once = training_metrics(TASKS, [update("a", 1), update("b", 2)], answers_once=True)
    assert [once[f"{prefix}num-clients"] for prefix in ("a/", "b/", "")] == [1, 1, 2]
    assert not any("num-updates" in name for name in once)


@pytest.mark.parametrize(
    ("algorithm", "table", "clients", "updates"),
    [
        ("fed-avg", {}, {4}, {8}),
        ("fed-avg", {"tasks_per_client": "one"}, {4}, {None}),
        ("random", {}, {4}, {None}),
        ("local", {}, {4}, {8}),
        ("fed-buff", {"buffer_size": 30}, set(range(1, 9)), set(range(1, 60))),
    ],
)
def test_how_many_clients_and_updates_a_round_has(
    algorithm: str, table: dict[str, Any], clients: set[int], updates: set[int | None]
) -> None:
    tree = small.tree(
        run={"algorithm": algorithm, "seeds": [0]},
        clients={"delay": {"model": "exponential"}},
        recruitment={"rule": "everyone"},
    )
    rows = experiment.run(check_config({**tree, "algorithm": table, "arm": []})).rounds(
        algorithm, 0
    )
    assert {row["num-clients"] for row in rows} <= clients
    assert {row.get("num-updates") for row in rows} <= updates
    if algorithm == "fed-buff":
        assert max(row["num-updates"] for row in rows) > 8
    if algorithm == "fed-avg" and not table:
        assert {row["wine/num-clients"] for row in rows} == {4}
