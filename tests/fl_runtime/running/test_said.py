"""What a run says about itself: warnings, refusals and signs that a reader would otherwise miss."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import pytest

import fl_runtime
from fairopt.errors import InvalidInput, Unshown
from fl_runtime.configuration.toml_files import arm_configs, check_config
from fl_runtime.metrics.algorithm_metrics import UNTRAINED, signs
from fl_runtime.reporting.results_page import write_results
from fl_runtime.running.experiment import run
from fl_runtime.running.preflight import check_all_arms

LINEAR = {"model": "linear"}
BASE: dict[str, Any] = {
    "run": {"algorithm": "random", "num_server_rounds": 3},
    "task": [{"name": name, "data": name, **LINEAR} for name in ("iris", "wine")],
    "clients": {"num_clients": 6},
}


def tree(**sections: Any) -> dict[str, Any]:
    """The base with sections updated."""
    return {**BASE, **{k: {**BASE.get(k, {}), **v} for k, v in sections.items()}}


@pytest.mark.parametrize(
    ("sections", "argument"),
    [
        ({"clients": {"task_sets": [["iris", "iris"], ["wine"]]}}, "tasks that differ"),
        ({"clients": {"delay": {"model": "constant", "mean": 1e308}}}, "a mean duration below"),
        (
            {
                "run": {"algorithm": "fed-fair-mmfl"},
                "algorithm": {"alpha": float("inf"), "aggregation": "importance"},
            },
            "finite with importance",
        ),
    ],
)
def test_settings_that_could_not_be_meant_are_refused(
    sections: dict[str, Any], argument: str
) -> None:
    with pytest.raises(InvalidInput, match=argument):
        check_all_arms(check_config(tree(**sections)))


def test_nothing_is_compared_with_itself() -> None:
    arms = [{"name": "a"}, {"name": "b", "versus": ["b"]}]
    with pytest.raises(InvalidInput, match="another arm"):
        arm_configs(check_config({**BASE, "arm": arms}))
    claim = {"statement": "s", "source": "o", "arm": "a", "versus": "a"}
    with pytest.raises(InvalidInput, match="another arm"):
        check_config({**BASE, "arm": [{"name": "a"}], "claim": [claim]})


@pytest.mark.parametrize(
    ("delay", "own", "warned"),
    [
        ({"model": "uniform", "low": 1.0, "high": 1.0}, {}, True),
        ({"model": "lognormal", "sigma": 0.0}, {}, True),
        ({"model": "shifted-exponential", "shift": 1.0, "mean": 1.0}, {}, True),
        ({"model": "constant"}, {"concurrency": 1}, False),
        ({"model": "exponential"}, {}, False),
    ],
)
def test_ties_are_warned_about_where_there_are_some(
    delay: dict[str, Any], own: dict[str, Any], warned: bool, recwarn: pytest.WarningsRecorder
) -> None:
    settings = tree(run={"algorithm": "fed-buff"}, clients={"delay": delay}, algorithm=own)
    if warned:
        with pytest.warns(UserWarning, match="in an order that is drawn"):
            check_all_arms(check_config(settings))
    else:
        check_all_arms(check_config(settings))
        assert not recwarn.list


def test_an_empty_recruitment_says_which_rounds_it_costs() -> None:
    recruitment = {
        "rule": "random-recruitment",
        "budget": [4.0, 0.0001, 4.0],
        "every": 1,
        "costs": {"distribution": "uniform", "low": 0.5, "high": 1.0},
    }
    with pytest.warns(UserWarning, match=r"nothing is trained in rounds 2 to 2$"):
        run(check_config({**BASE, "recruitment": recruitment}))


def test_a_run_that_trains_none_of_its_models_says_so() -> None:
    ram = {"algorithm": "fed-ram"}
    short = tree(run=ram, algorithm={"reference_rounds": 1, "proxy_rounds": 5})
    before = r"run\.num-server-rounds = 3, .* first 6 .*proxy-rounds\) .* at least 7\)$"
    with pytest.warns(UserWarning, match=before):
        assert {"arm": "fed-ram", "sign": UNTRAINED} in signs(run(check_config(short)))
    lone = tree(run=ram, algorithm={"reference_rounds": 3, "agent": False})
    with pytest.warns(UserWarning, match=r"first 3 \(reference-rounds\) .* at least 4\)$"):
        check_all_arms(check_config(lone))
    check_all_arms(check_config(tree(run=ram, algorithm={"reference_rounds": 2, "agent": False})))
    enough = tree(
        run={"algorithm": "fed-ram"}, algorithm={"reference_rounds": 0, "proxy_rounds": 1}
    )
    assert all(each["sign"] != UNTRAINED for each in signs(run(check_config(enough))))


def test_joint_training_names_the_setting_that_differs() -> None:
    tasks = [
        {"name": name, "data": "digits", "model": "mlp", "hidden": [4], "learning_rate": rate}
        for name, rate in (("one", 0.1), ("two", 0.2))
    ]
    settings = {**BASE, "task": tasks, "run": {**BASE["run"], "algorithm": "local"}}
    with pytest.raises(InvalidInput, match=re.escape("task.two.learning-rate = 0.2")):
        check_all_arms(check_config({**settings, "algorithm": {"share_trunk": True}}))


def test_a_page_of_results_is_a_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="a file"):
        write_results([], tmp_path)
    assert not tmp_path.with_name(tmp_path.name + ".partial").exists()


def test_a_run_takes_a_configuration() -> None:
    with pytest.raises(InvalidInput, match="as load_config"):
        fl_runtime.run({"run": {}})  # type: ignore[arg-type]


def test_no_refusal_prints_a_word_that_stands_for_no_value() -> None:
    root = Path(fl_runtime.__file__).parent.parent
    word = re.compile(
        r"InvalidInput\(\s*[^()]*?,\s*"
        r'"(nothing|this one|these|changed|none|missing|another[^"]*)"\s*,'
    )
    found = [
        f"{path.name}: {each[0]}"
        for package in ("fairopt", "fl_runtime", "mechanisms")
        for path in sorted((root / package).rglob("*.py"))
        for each in word.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []
    missing = InvalidInput("clients", Unshown.MISSING, "this key is required")
    assert str(pickle.loads(pickle.dumps(missing))) == str(missing)


def test_a_key_of_a_task_is_named_by_the_task() -> None:
    one, two = BASE["task"]
    for task, named in (({**two, "name": "iris"}, "task.1"), (two, "task.wine")):
        settings = {**BASE, "task": [one, {**task, "learning_rate": "x"}]}
        with pytest.raises(InvalidInput, match=re.escape(f"{named}.learning-rate = 'x'")):
            check_config(settings)
    arms = [{"name": "a", "task.wine.learning-rate": "x"}]
    with pytest.raises(InvalidInput, match=re.escape("task.wine.learning-rate = 'x'")):
        arm_configs(check_config({**BASE, "arm": arms}))
    arms = [{"name": "a", "task.wine.learning-rat": 0.1}]
    with pytest.raises(InvalidInput, match=r"may change \(did you mean learning-rate"):
        arm_configs(check_config({**BASE, "arm": arms}))
    arms = [{"name": "a", "task.win.learning-rate": 0.1}]
    with pytest.raises(InvalidInput, match=r"task.win.learning-rate = 0.1, .*did you mean wine"):
        arm_configs(check_config({**BASE, "arm": arms}))
