"""Claims: what an interval allows to say, and pages made of it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairopt.errors import InvalidInput
from fl_runtime.configuration.schema import ClaimSection, Config
from fl_runtime.configuration.toml_files import (
    arm_configs,
    check_config,
    digest,
    dump_toml,
    read_config,
)
from fl_runtime.history import History
from fl_runtime.metrics.round_metrics import NO_FIGURES
from fl_runtime.metrics.run_figures import time_to_targets
from fl_runtime.reporting.claim_results import (
    HELD,
    INCONCLUSIVE,
    NOT_HELD,
    TIED,
    check_claims,
    decide,
    expectation,
)
from fl_runtime.reporting.intervals import Interval
from fl_runtime.reporting.report import write_report
from fl_runtime.reporting.results_page import render, sections_of, write_results
from fl_runtime.running import experiment
from fl_runtime.running.preflight import check_all_arms
from tests.fl_runtime import small

CLAIM = {"statement": "fair lifts the worst task", "source": "own", "arm": "fair"}

finite = st.floats(-10, 10)


def claimed(**changes: Any) -> Config:
    """The small configuration with one claim."""
    return check_config({**small.tree(), "claim": [{**CLAIM, **changes}]})


def rows(arm: str, values: dict[int, list[float]]) -> list[dict[str, Any]]:
    """A history of one arm in which the worst task's accuracy is given."""
    found: list[dict[str, Any]] = []
    for seed, series in values.items():
        common = {"arm": arm, "seed": seed}
        found.append({**common, "event": "recruitment", "min_take_up": 3 + seed, "take_up": {}})
        found += [
            {
                **common,
                "event": "round",
                "min_task_acc": x,
                "virtual_time": float(t),
                "a/eval_acc": x,
            }
            for t, x in enumerate(series, start=1)
        ]
    return found


def history(fair: dict[int, list[float]], random: dict[int, list[float]]) -> History:
    """Both arms of the small configuration."""
    return History(rows("fair", fair) + rows("random", random))


@given(mean=finite, half=st.floats(0, 10), margin=st.floats(0.01, 10))
def test_verdicts_are_exclusive_and_mirror_each_other(
    mean: float, half: float, margin: float
) -> None:
    found, mirrored = Interval(mean, half, 5), Interval(-mean, half, 5)
    greater = decide(found, "greater", margin)
    assert greater in (HELD, NOT_HELD, INCONCLUSIVE)
    assert decide(mirrored, "less", -margin) == greater or abs(mean - half - margin) < 1e-12
    if greater == HELD:
        assert decide(found, "less", margin) == NOT_HELD
        assert decide(found, "within", margin) == NOT_HELD
    assert decide(found, "within", margin) == decide(mirrored, "within", margin)


@given(mean=finite, half=st.floats(0, 10), margin=st.floats(0.01, 10))
def test_within_is_held_inside_and_not_held_outside_alone(
    mean: float, half: float, margin: float
) -> None:
    """As sets: the interval lies in [-margin, margin], or has no point in common with it."""
    low, high = mean - half, mean + half
    common = max(low, -margin) <= min(high, margin)
    right = HELD if -margin <= low <= high <= margin else INCONCLUSIVE if common else NOT_HELD
    assert decide(Interval(mean, half, 5), "within", margin) == right


@pytest.mark.parametrize("mean", [-1.0, 1.0])
def test_an_interval_that_reaches_in_decides_nothing(mean: float) -> None:
    assert decide(Interval(mean, 0.5, 5), "within", 0.75) == INCONCLUSIVE
    assert decide(Interval(mean, 0.2, 5), "within", 0.75) == NOT_HELD
    assert decide(Interval(mean, 2.0, 5), "within", 0.75) == INCONCLUSIVE


def test_one_seed_decides_nothing() -> None:
    assert decide(Interval(5.0, math.nan, 1), "greater", 0.0) == INCONCLUSIVE


def test_a_difference_is_paired_by_seed() -> None:
    shared = history({0: [0.5], 1: [0.9], 2: [0.7]}, {0: [0.4], 1: [0.8], 2: [0.6]})
    (result,) = check_claims(shared, claimed(versus="random"))
    assert result.found.mean == pytest.approx(0.1)
    assert result.found.half_width < 1e-12
    assert result.status == HELD
    (reverse,) = check_claims(shared, claimed(versus="random", expect="less"))
    assert reverse.status == NOT_HELD


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, INCONCLUSIVE),
        ({"expect": "less"}, INCONCLUSIVE),
        ({"expect": "within", "margin": 0.01}, HELD),
        ({"margin": -0.02}, HELD),
        ({"margin": 0.02}, NOT_HELD),
        ({"versus": None, "metric": "min_task_acc"}, HELD),
    ],
)
def test_arms_that_tie_with_every_seed_decide_nothing_but_equality(
    changes: dict[str, Any], status: str
) -> None:
    same = {0: [0.5], 1: [0.9], 2: [0.7]}
    (result,) = check_claims(history(same, same), claimed(**{"versus": "random", **changes}))
    assert result.status == status
    assert (result.reason == TIED) == (status == INCONCLUSIVE)
    once = {**same, 2: [0.6]}
    (result,) = check_claims(history(same, once), claimed(**{"versus": "random", **changes}))
    assert result.reason == ""


def test_a_share_is_of_the_other_arm() -> None:
    shared = history({0: [0.5], 1: [1.0]}, {0: [0.4], 1: [0.8]})
    (result,) = check_claims(
        shared, claimed(versus="random", relative=True, margin=0.2, expect="within")
    )
    assert result.found.mean == pytest.approx(0.25)
    assert result.status == NOT_HELD


def test_per_cent_worse_is_against_a_third_arm_and_ranks_are_among_all() -> None:
    tree = small.tree()
    tree["arm"] = [*tree["arm"], {"name": "alone", "algorithm.alpha": 2.0}]
    common = {**CLAIM, "versus": "random", "expect": "less"}
    tree["claim"] = [
        {**common, "metric": "percent-worse", "alone": "alone"},
        {**common, "metric": "percent-worse", "alone": "alone", "versus": None},
        {**common, "metric": "mean-rank"},
    ]
    scores = {"fair": [0.6, 0.4], "random": [0.4, 0.3], "alone": [0.8, 0.4]}
    found = [row for arm, (a, b) in scores.items() for row in rows(arm, {0: [a], 1: [b]})]
    three = History([{**row, "take_up": {"a": 1}} for row in found])
    against, itself, ranks = check_claims(three, check_config(tree))
    assert against.found.mean == pytest.approx((-25.0 - 25.0) / 2)
    assert itself.found.mean == pytest.approx((25.0 + 0.0) / 2)
    assert ranks.found.mean == pytest.approx((-1.0 - 1.5) / 2)
    assert against.record()["alone"] == "alone"
    assert "alone" not in ranks.record()


def test_recruitment_and_time_are_metrics() -> None:
    shared = history({0: [0.2, 0.6, 0.7], 1: [0.6, 0.1, 0.1]}, {0: [0.1], 1: [0.1]})
    (take_up,) = check_claims(shared, claimed(metric="min_take_up"))
    assert take_up.found.mean == 3.5
    assert time_to_targets(shared.rounds("fair", 0), {"a": 0.6}) == 2.0
    assert time_to_targets(shared.rounds("fair", 0), {"a": 0.8}) == math.inf


def test_a_target_never_reached_is_inconclusive_and_says_so() -> None:
    tree = small.tree()
    tree["task"][0]["target_accuracy"] = 1.0
    tree["claim"] = [{**CLAIM, "metric": "time-to-targets", "versus": "random", "expect": "less"}]
    config = check_config(tree)
    never = [
        {**row, "wine/eval_acc": 0.1, "iris/eval_acc": 0.9}
        for row in history({0: [0.1], 1: [0.1]}, {0: [0.1], 1: [0.1]}).rows
    ]
    (result,) = check_claims(History(never), config)
    assert result.status == INCONCLUSIVE
    assert "2 of 2 seeds" in result.reason


def test_an_unknown_metric_is_explained() -> None:
    (result,) = check_claims(history({0: [0.1]}, {0: [0.1]}), claimed(metric="min_task_ac"))
    assert result.status == INCONCLUSIVE
    assert "min_task_acc" in result.reason


EVERY_SORT: dict[str, Any] = {
    "run": {
        "algorithm": "fed-fair-mmfl",
        "seeds": [0, 1],
        "num_server_rounds": 4,
        "client_metrics": True,
        "report_rounds": 2,
        "early_stop": {"patience": 3},
        "evaluate_every": 2,
    },
    "clients": {**small.TREE["clients"], "failures": 0.4, "over_selection": 1.5},
    "recruitment": {**small.TREE["recruitment"], "every": 2},
}
"""Rows of every event, with the columns of every setting."""


def test_a_claim_on_any_entry_of_any_row_costs_no_figure(tmp_path: Path) -> None:
    settings = check_config({**small.tree(), **EVERY_SORT})
    found = experiment.run(settings)
    assert {row["event"] for row in found.rows} >= {"recruitment", "round", "incident"}
    entries = sorted({key for row in found.rows for key in row} | {"no-such", "time-to-targets"})
    claims = [
        ClaimSection(statement="s", source="o", arm=arm, versus=versus, metric=metric)
        for metric in entries
        for arm, versus in (("fair", "random"), ("random", "fair"), ("random", None))
    ]
    claimed_all = settings.model_copy(update={"claim": tuple(claims)})
    summary = write_report(tmp_path, found, claimed_all)
    assert len(summary["claims"]) == len(claims)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert (tmp_path / "plots" / "accuracy.png").is_file()
    explained = {c["metric"] for c in summary["claims"] if "claim.metric" in c["reason"]}
    assert explained >= {*NO_FIGURES, "no-such", "reason"}
    assert not explained & {"min_take_up", "spend", "min_task_acc", "train_loss", "server_round"}
    rounds = [c["found"]["mean"] for c in summary["claims"] if c["metric"] == "server_round"]
    assert rounds[2] == 3.5


@pytest.mark.parametrize(
    ("metric", "versus", "reason"),
    [
        *((name, None, "a figure of the history: a number") for name in NO_FIGURES),
        ("budget", "random", "those with rule = everyone"),
        ("time-to-targets", None, "used with a target"),
        ("compute-to-targets", None, "used with client-metrics"),
    ],
)
def test_claims_on_what_is_no_figure_are_refused_before_a_run(
    metric: str, versus: str | None, reason: str, tmp_path: Path
) -> None:
    tree = small.tree()
    tree["task"][1].pop("target_accuracy")
    tree["claim"] = [CLAIM, {**CLAIM, "metric": metric, "versus": versus}]
    with pytest.raises(InvalidInput) as caught:
        experiment.run(check_config(tree), out=tmp_path / "run")
    assert f"claim.1.metric = '{metric}'" in str(caught.value)
    assert reason in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_claim_on_a_budget_that_there_is_can_be_made() -> None:
    check_all_arms(claimed(metric="budget"))


@pytest.mark.parametrize(
    "wrong",
    [{"arm": "fare"}, {"versus": "rndom"}, {"expect": "more"}, {"relative": True}]
    + [{"metric": "mean-task-change"}, {"metric": "percent-worse"}, {"alone": "random"}]
    + [{"metric": "percent-worse", "alone": "rndom"}]
    + [{"expect": "within"}, {"expect": "within", "margin": -1.0}, {"margin": math.nan}],
)
def test_wrong_claims_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="claim"):
        arm_configs(claimed(**wrong))


def test_claims_do_not_change_the_fingerprint_and_survive_the_file(tmp_path: Path) -> None:
    plain, config = small.config(), claimed(versus="random", published="+5 points")
    assert digest(plain) == digest(config)
    file = tmp_path / "config.toml"
    file.write_text(dump_toml(config), encoding="utf-8")
    assert read_config(file).claim == config.claim


def test_a_page_over_runs(tmp_path: Path) -> None:
    config = claimed(versus="random", published="+0.05", margin=0.0)
    folder = tmp_path / "small"
    found = experiment.run(config, out=folder)
    summary = write_report(folder, found, config)
    assert summary["claims"][0]["verdict"] in (HELD, NOT_HELD, INCONCLUSIVE)
    page = tmp_path / "results.md"
    made = write_results([folder], page)
    text = page.read_text(encoding="utf-8")
    assert "fair lifts the worst task" in text
    assert "+0.05 (own)" in text
    assert f"fingerprint `{digest(made[0].config)[:12]}`" in text
    assert (tmp_path / "results" / "small.png").is_file()
    assert render(sections_of(text), {}) == text
    with pytest.raises(InvalidInput, match="different names"):
        write_results([folder, folder], page)


def test_a_page_shows_tasks_of_no_common_scale_one_by_one(tmp_path: Path) -> None:
    tree = small.tree()
    del tree["algorithm"], tree["recruitment"]
    tree["run"] |= {"algorithm": "random", "num_server_rounds": 1}
    tree["task"][0]["metrics"] = ["perplexity"]
    tree["arm"] = [{"name": "random"}, {"name": "alone", "clients.local-epochs": 2}]
    claim = {**CLAIM, "arm": "random", "metric": "percent-worse", "alone": "alone"}
    config = check_config({**tree, "claim": [claim]})
    (worse,) = check_claims(experiment.run(config, out=tmp_path / "mixed"), config)
    write_results([tmp_path / "mixed"], tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    headers = "| arm | wine (perplexity) | iris (acc) | % worse than alone | mean rank | rounds |"
    assert headers in text
    cells = {
        line.split("|")[1].strip(): line.split("|") for line in text.splitlines() if "±" in line
    }
    assert cells["alone"][4].strip() == "–"
    assert float(cells["random"][4].split("±")[0]) == pytest.approx(worse.found.mean, abs=0.051)
    assert "nan" not in text


def test_an_update_keeps_other_sections_and_counts_all(tmp_path: Path) -> None:
    config = claimed(versus="random")
    page = tmp_path / "results.md"
    with pytest.raises(InvalidInput, match="to update"):
        write_results([], page, update=True)
    for name in ("one", "two"):
        folder = tmp_path / name
        write_report(folder, experiment.run(config, out=folder), config)
        write_results([folder], page, update=name == "two")
    both = page.read_text(encoding="utf-8")
    assert list(sections_of(both)) == ["one", "two"]
    assert "\n2 claims: " in both
    write_results([tmp_path / "one"], page, update=True)
    assert page.read_text(encoding="utf-8") == both


def test_expectations_read_as_symbols() -> None:
    claim = ClaimSection(**CLAIM, versus="random", expect="less", margin=-0.2, relative=True)
    assert expectation(claim) == "< -0.2 of it"
