"""Configurations: what is read, what is refused and in which words, and arms."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairopt import InvalidInput
from fl_runtime.configuration.toml_files import (
    arm_configs,
    check_config,
    digest,
    dump_toml,
    read_config,
    snake_keys,
)
from fl_runtime.running.preflight import check_all_arms
from fl_runtime.running.recruitment import RULE_NOTES, draw_costs
from mechanisms import read_bids
from mechanisms.auctions.registry import RULES
from tests.fl_runtime.small import TOML, config, tree

DOCUMENTED = """
[run]
algorithm = "fed-fair-mmfl"
seeds = [0, 1, 2, 3, 4]
num-server-rounds = 60
device = "cpu"
executor = "auto"
[[task]]
name = "digits"
data = "digits"
model = "mlp"
hidden = [32]
learning-rate = 0.05
target-accuracy = 0.9
[clients]
num-clients = 40
fraction-train = 0.5
partition = "dirichlet"
concentration = 0.3
local-epochs = 2
batch-size = 8
dropout = 0.0
delay = { model = "shifted-exponential", shift = 0.074, mean = 0.148 }
[algorithm]
alpha = 3.0
[recruitment]
rule = "max-min-fair"
budget = 120.0
costs = { distribution = "uniform", low = 0.0, high = 1.0, task-scale = [1] }
[[arm]]
name = "random"
"algorithm.alpha" = 1.0
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text)
    return path


def test_the_documented_file_is_read_with_its_arm(tmp_path: Path) -> None:
    read = read_config(written(tmp_path, DOCUMENTED))
    assert read.clients.delay == {"model": "shifted-exponential", "shift": 0.074, "mean": 0.148}
    arms = arm_configs(read)
    assert {name: arm.algorithm for name, arm in arms.items()} == {
        "fed-fair-mmfl": {"alpha": 3.0},
        "random": {"alpha": 1.0},
    }
    check_all_arms(read)


def test_surplus_task_scales_are_announced() -> None:
    costs = {"distribution": "uniform", "task_scale": [1, 2, 4]}
    with pytest.warns(UserWarning, match="3 entries for 2 tasks"):
        check_all_arms(config(recruitment={"costs": costs}))


def test_both_spellings_are_read_but_not_at_once(tmp_path: Path) -> None:
    snake = TOML.replace("num-server-rounds", "num_server_rounds")
    path = written(tmp_path, TOML)
    assert read_config(path) == read_config(written(tmp_path, snake))
    with pytest.raises(InvalidInput, match="one spelling"):
        snake_keys({"run": {"num-server-rounds": 1, "num_server_rounds": 2}})


@pytest.mark.parametrize("alpha", [1.0, 2.5, math.inf])
def test_a_dumped_configuration_is_the_same_again(tmp_path: Path, alpha: float) -> None:
    first = config(algorithm={"alpha": alpha})
    again = read_config(written(tmp_path, dump_toml(first)))
    assert again == first
    assert digest(again) == digest(first)


def test_the_digest_sees_every_change_but_versions() -> None:
    assert digest(config()) == digest(config().model_copy(update={"versions": {"numpy": "0"}}))
    assert digest(config()) != digest(config(algorithm={"alpha": 2.5}))
    assert digest(config(algorithm={"alpha": 2.0})) != digest(config(algorithm={"alpha": math.inf}))


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("run.seeds=[7]", "run", "seeds", (7,)),
        ("seeds=[7]", "run", "seeds", (7,)),
        ("num-server-rounds=9", "run", "num_server_rounds", 9),
        ("clients.batch_size=3", "clients", "batch_size", 3),
        ("partition=iid", "clients", "partition", "iid"),
        ('recruitment.rule="budget-fair"', "recruitment", "rule", "budget-fair"),
    ],
)
def test_overrides(tmp_path: Path, override: str, section: str, key: str, value: Any) -> None:
    read = read_config(written(tmp_path, TOML), [override])
    assert getattr(getattr(read, section), key) == value


def test_overrides_reach_tasks_and_hyper_parameters(tmp_path: Path) -> None:
    path = written(tmp_path, TOML)
    assert read_config(path, ["alpha=4"]).algorithm == {"alpha": 4}
    dashed = path.with_name("dashed.toml")
    dashed.write_text(TOML.replace('name = "iris"', 'name = "iris-two"'))
    assert read_config(dashed, ["task.iris-two.hidden=[4]"]).task[1].hidden == (4,)
    by_name = read_config(path, ["task.iris.learning-rate=0.5"])
    by_index = read_config(path, ["task.1.learning-rate=0.5"])
    assert by_name == by_index
    assert [task.learning_rate for task in by_name.task] == [0.05, 0.5]


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("alpha", "key=value"),
        ("=3", "key=value"),
        ("alpa=3", "did you mean alpha?"),
        ("name=x", "occurs as task.0.name, task.1.name"),
        ("model=x", "clients.delay.model, task.wine.model, task.iris.model"),
        ("momentum=0.5", "a dotted path such as task.wine.momentum, or task.*.momentum"),
        ("task.cifar.model=cnn", "there is no cifar among wine, iris"),
        ("task.win.model=cnn", "there is no win among wine, iris (did you mean wine?)"),
        ("run.seeds.first=3", "a path to a key of a table"),
    ],
)
def test_overrides_that_are_refused(tmp_path: Path, override: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_config(written(tmp_path, TOML), [override])
    assert reason in str(caught.value)


def changed(section: str, key: str, value: Any) -> dict[str, Any]:
    """The small configuration with one entry set (or removed, for `None`)."""
    whole = tree()
    table = whole["task"][0] if section == "task" else whole[section]
    if value is None:
        del table[key]
    else:
        table[key] = value
    return whole


@pytest.mark.parametrize(
    ("section", "key", "value", "reason"),
    [
        ("run", "round", 3, "run.round = 3, but it must be a known key of [run]"),
        ("run", "num_server_round", 3, "did you mean num-server-rounds?"),
        ("run", "algorithm", "fed-fair-mmlf", "did you mean fed-fair-mmfl?"),
        ("run", "algorithm", None, "run.algorithm is missing: this key is required"),
        ("run", "num_server_rounds", 0, "greater than or equal to 1"),
        ("run", "num_server_rounds", None, "is missing: a run needs it or time-limit"),
        ("run", "seeds", [], "not empty"),
        ("run", "seeds", [1, 1], "seeds that differ"),
        ("run", "seeds", [-1], "greater than or equal to 0"),
        ("run", "device", "tpu", "'cpu' or 'cuda'"),
        ("run", "executor", "flower", "'auto', 'sequential', 'stacked' or 'dense'"),
        ("task", "data", "digit", "did you mean digits?"),
        ("task", "model", "mpl", "did you mean mlp?"),
        ("task", "name", "iris", "tasks with different names"),
        ("task", "learning_rate", 0.0, "greater than 0"),
        ("task", "learning_rate", float("nan"), "task.wine.learning-rate = nan"),
        ("task", "hiden", [3], "did you mean hidden?"),
        ("task", "name", "tab\there", "pattern"),
        ("task", "hidden", [10**9], "less than or equal to"),
        ("task", "learning_rate", 1e300, "less than or equal to"),
        ("run", "threads", 100000, "less than or equal to 256"),
        ("run", "seeds", ["0"], "valid integer"),
        ("run", "seeds", [True], "valid integer"),
        ("run", "seeds", 3, "a list"),
        ("run", "num_server_rounds", "2", "valid integer"),
        ("clients", "num_clients", True, "valid integer"),
        ("algorithm", "alpha", "3", "algorithm.alpha"),
        ("algorithm", "alpha", True, "algorithm.alpha"),
        ("recruitment", "budget", "3", "valid number"),
        ("recruitment", "costs", {"file": "a.csv", "low": 0.1}, "alone, or a distribution"),
        ("clients", "num_clients", 0, "greater than or equal to 1"),
        ("clients", "num_clients", 1000, "some client shard is empty"),
        ("clients", "partition", "dirichlect", "did you mean dirichlet?"),
        ("clients", "concentration", -1.0, "greater than 0"),
        ("clients", "fraction_train", 1.5, "less than or equal to 1"),
        ("clients", "dropout", 1.0, "less than 1"),
        ("clients", "delay", {"model": "constnt"}, "did you mean constant?"),
        ("clients", "delay", {"model": "constant", "mean": 0.0}, "finite and > 0"),
        ("clients", "delay", {"model": "shifted-exponential", "shift": 2, "mean": 1}, "shift 2"),
        ("clients", "delay", {"model": "constant", "maen": 1}, "did you mean mean?"),
        ("algorithm", "alpha", 0.5, "a number in [1, inf]"),
        ("algorithm", "alpha", float("nan"), "a number in [1, inf]"),
        ("algorithm", "alpha", "three", "algorithm.alpha"),
        ("algorithm", "alpa", 1.0, "did you mean alpha?"),
        ("algorithm", "signal", "accuracy", "'loss', 'error' or 'progress'"),
        ("algorithm", "priority", [1.0], "one per task"),
        ("recruitment", "rule", "max-min", "did you mean max-min-fair?"),
        ("recruitment", "budget", None, "budget is missing: rule max-min-fair needs one"),
        ("recruitment", "budget", 0.0, "budget = 0.0, but it must be a finite number > 0"),
        ("recruitment", "budget", -1.0, "a finite number > 0"),
        ("recruitment", "budget", float("inf"), "a finite number > 0"),
        ("recruitment", "costs", {"distribution": "unifrom"}, "did you mean uniform?"),
        ("recruitment", "costs", {"distribution": "uniform", "low": -1.0}, "costs.low = -1.0"),
        ("recruitment", "costs", {"distribution": "uniform", "high": float("nan")}, "costs.high"),
        ("recruitment", "costs", {"distribution": "uniform", "task_scale": [1.0]}, "task-scale"),
        ("recruitment", "costs", {"file": "absent.csv"}, "CSV file"),
    ],
)
def test_bad_values_are_refused_with_key_and_reason(
    section: str, key: str, value: Any, reason: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_all_arms(check_config(changed(section, key, value)))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("costs", "reason"),
    [
        ("c,wine,iris\na,1,2\nb,3,nan\n", "file, client 'b', task 'iris' = 'nan'"),
        ("c,wine,iris\na,1,2\nb,-3,1\n", "file, client 'b', task 'wine' = '-3'"),
        ("c,wine,iris\na,1,2\n", "file = 1, but it must be a row for each of 8 clients"),
        ("c,wine,iris\na,1\n", "a row of 3 cells"),
        ("c,wine,iris\na,1,2\na,1,2\n", "'a', but it must be named once; it stands in lines 2"),
        ("c,wine,rise\na,1,2\n", "a column for each task: wine, iris"),
        ("c,wine\na,1\n", "a column for each task: wine, iris"),
        ("wine,iris\n1,2\n", 'say name-column = "wine" if these are names'),
        ("1,2\n" * 8, "a header"),
        ("c,wine,iris\n", "a header"),
    ],
)
def test_cost_files_with_bad_entries(tmp_path: Path, costs: str, reason: str) -> None:
    file = tmp_path / "costs.csv"
    file.write_text(costs)
    with pytest.raises(InvalidInput) as caught:
        check_all_arms(config(recruitment={"costs": {"file": str(file)}}))
    assert reason in str(caught.value)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_recruits(rule: str) -> None:
    options = {"posted-price": {"prices": [0.3, 0.5]}, "participation-fee": {"fee": 0.1}}
    check_all_arms(config(recruitment={"rule": rule, "budget": 3.0, **options.get(rule, {})}))


def test_rules_have_a_note_each_and_refuse_options_of_others() -> None:
    assert set(RULE_NOTES) == set(RULES)
    with pytest.raises(InvalidInput, match=r"recruitment.prices"):
        check_all_arms(config(recruitment={"prices": [0.3, 0.5]}))


def test_costs_are_uniform_by_default_and_nested_keys_have_both_spellings() -> None:
    check_all_arms(config(recruitment={"costs": {"low": 0.1}}))
    check_all_arms(config(recruitment={"costs": {"task-scale": [1.0, 2.0]}}))


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(TOML, encoding="utf-8-sig")
    read_config(str(path))


def test_cost_file_with_abstentions(tmp_path: Path) -> None:
    file = tmp_path / "costs.csv"
    file.write_text("wine,iris\n0.1,\n" + 7 * "0.2,0.1\n")
    check_all_arms(config(recruitment={"costs": {"file": str(file), "name-column": "none"}}))


def test_a_cost_file_has_its_columns_in_any_order_and_is_the_file_of_an_auction(
    tmp_path: Path,
) -> None:
    file = tmp_path / "costs.csv"
    rows = [f"c{i},{0.5 + i},{'' if i % 2 else 1 + i}" for i in range(8)]
    file.write_text("\n".join(["who,iris,wine", *rows]) + "\n")
    named = read_bids(file, exact=False)
    section = config(recruitment={"costs": {"file": str(file)}}).recruitment
    costs = draw_costs(section, 8, 2, np.random.default_rng(0), tasks=["wine", "iris"])
    assert named.tasks == ("iris", "wine")
    assert costs.tolist() == named.bids[:, ::-1].tolist()


def test_an_arm_that_changes_the_algorithm_starts_from_its_defaults() -> None:
    arms = arm_configs(config())
    assert arms["random"].algorithm == {}
    assert arms["fair"].algorithm == {"alpha": 2.0}
    assert arms["random"].recruitment.rule == "everyone"


def test_an_arm_has_its_own_step_length_for_one_task_or_for_all() -> None:
    whole = tree()
    whole["arm"] += [
        {"name": "all", "task.*.learning-rate": 0.5},
        {"name": "one", "task.iris.learning-rate": 0.25},
    ]
    arms = arm_configs(check_config(whole))
    assert {task.learning_rate for task in arms["all"].task} == {0.5}
    names = [task.name for task in arms["one"].task]
    before = [task.learning_rate for task in arms["fair"].task]
    expected = [0.25 if n == "iris" else rate for n, rate in zip(names, before, strict=True)]
    assert [task.learning_rate for task in arms["one"].task] == expected


@pytest.mark.parametrize(
    ("arm", "reason"),
    [
        ({"name": "fair"}, "arms with different names"),
        ({"name": "random", "algorithm.alpha": 2.0}, "arms with different names"),
        ({"name": "x", "run.seeds": [3]}, "a key an arm may change"),
        ({"name": "x", "task.iris.data": "wine"}, "a key an arm may change"),
        ({"name": "x", "learning-rate": 0.1}, "task.*.learning-rate in all tasks"),
        ({"name": "x", "task.irs.learning-rate": 0.1}, "a path that exists"),
        ({"name": "x", "task.*.learning-rate": -0.1}, "learning-rate"),
        ({"name": "x", "algorithm.alpa": 3.0}, "did you mean alpha?"),
        ({"name": "x", "recruitment.budgte": 3.0}, "did you mean budget?"),
        ({"name": "x", "versus": ["fare"]}, "did you mean fair?"),
    ],
)
def test_arms_that_are_refused(arm: dict[str, Any], reason: str) -> None:
    whole = tree()
    whole["arm"].append(arm)
    with pytest.raises(InvalidInput) as caught:
        check_all_arms(check_config(whole))
    assert reason in str(caught.value)


@pytest.mark.parametrize("content", ["[run", b"\xff\xfe\x00"])
def test_files_that_are_not_toml(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InvalidInput, match="a TOML file"):
        read_config(path)
    with pytest.raises(InvalidInput, match="a readable file"):
        read_config(tmp_path / "absent.toml")
    with pytest.raises(InvalidInput, match="a readable file"):
        read_config(tmp_path)


def test_a_required_key_that_is_misspelt_is_named_as_it_stands() -> None:
    whole = tree()
    whole["clients"]["numclients"] = whole["clients"].pop("num_clients")
    with pytest.raises(InvalidInput, match=r"clients\.numclients .*did you mean num-clients\?"):
        check_config(whole)
