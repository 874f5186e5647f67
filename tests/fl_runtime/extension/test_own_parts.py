"""Every kind takes a name, ``package.module:object``, or a table, and says what is wrong."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fairopt.errors import InvalidInput
from fl_runtime import FedAvg, run
from fl_runtime.catalogue import KINDS, catalogue, offers
from fl_runtime.configuration.input_hashes import references
from fl_runtime.configuration.toml_files import check_config, dump_toml, read_config
from fl_runtime.extensions import first_line, resolve
from fl_runtime.running import experiment
from fl_runtime.running.build import assemble
from fl_runtime.running.preflight import check_all_arms
from tests.fl_runtime.extension import own_parts

HERE = own_parts.__name__
FULL = f"""
[run]
algorithm = {{ name = "{HERE}:Mine", strength = 2.0 }}
num-server-rounds = 2
callbacks = ["{HERE}:watch"]
[[task]]
name = "points"
data = {{ name = "{HERE}:points", count = 80 }}
model = {{ name = "{HERE}:net", width = 5 }}
optimizer = {{ name = "{HERE}:Signs", factor = 0.5 }}
loss = {{ name = "{HERE}:Smoothed", smoothing = 0.2 }}
metrics = ["{HERE}:margin", "acc"]
trainer = {{ name = "{HERE}:shorter", passes = 2 }}
[clients]
num-clients = 4
partition = {{ name = "{HERE}:InOrder", reverse = true }}
delay = {{ name = "{HERE}:Weekly", mean = 4.0 }}
availability = "{HERE}:EvenHours"
[recruitment]
rule = "{HERE}:everybody_cheap"
budget = 8.0
costs = {{ name = "{HERE}:AllOne", factor = 0.5 }}
"""


@pytest.fixture
def full(tmp_path: Path) -> Path:
    path = tmp_path / "own.toml"
    path.write_text(FULL, encoding="utf-8")
    return path


def small(**changes: Any) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "run": {"algorithm": "random", "num_server_rounds": 1},
        "task": [{"name": "wine", "data": "wine", "model": "linear"}],
        "clients": {"num_clients": 4},
    }
    for key, value in changes.items():
        section, _, leaf = key.partition("__")
        where = tree[section][0] if section == "task" else tree.setdefault(section, {})
        where[leaf] = value
    return tree


def test_one_of_every_kind_runs_and_is_recorded(full: Path, tmp_path: Path) -> None:
    config = read_config(full)
    own_parts.SEEN.clear()
    history = run(config, out=tmp_path / "run")
    assert own_parts.SEEN == ["recruitment", "round", "round", "account"]
    assert history.arms == [f"{HERE}:Mine"]
    again = read_config(tmp_path / "run" / "config.toml")
    parts = assemble(again, 0)
    assert parts.algorithm == own_parts.Mine(strength=2.0)
    assert parts.timing.delay == own_parts.Weekly(4.0)
    assert parts.availability == own_parts.EvenHours()
    assert parts.recruitment.rule == f"{HERE}:everybody_cheap"
    assert parts.recruitment.cost == 2.0
    assert parts.federation.tasks[0].initial["1.weight"].shape == (5, 3)
    assert parts.federation.tasks[0].loss == own_parts.Smoothed(0.2)
    assert list(parts.federation.tasks[0].metrics) == ["margin", "acc"]
    assert history.series(f"{HERE}:Mine", "points/eval_margin").shape == (1, 2)
    named = references(again)
    assert set(named) <= set(again.inputs)
    assert len({again.inputs[name] for name in named}) == 1  # all of one file
    assert len(named) == 11


def test_a_table_of_a_built_in_is_its_name_with_its_own_keys() -> None:
    table = {"name": "dirichlet", "concentration": 0.1}
    one = check_config(small(clients__partition=table, clients__delay="exponential"))
    beside = check_config(small(clients__partition="dirichlet", clients__concentration=0.1))
    assert one.clients.delay == {"model": "exponential"}
    shards = [
        [shard.labels.tolist() for shard in assemble(config, 0).federation.tasks[0].shards]
        for config in (one, beside)
    ]
    assert shards[0] == shards[1]
    rule = {"name": "posted-price", "prices": [0.5]}
    priced = check_config(small(recruitment__rule=rule, recruitment__budget=1.0))
    plain = small(recruitment__rule="posted-price", recruitment__budget=1.0)
    plain["recruitment"]["prices"] = [0.5]
    found = [assemble(c, 0).recruitment for c in (priced, check_config(plain))]
    assert found[0].spend == found[1].spend
    assert found[0].rule == "posted-price"


def test_the_fields_of_an_arms_algorithm_are_its_own() -> None:
    tree = small(algorithm__aggregation="plain")
    tree["arm"] = [
        {"name": "base"},
        {"name": "own", "run.algorithm": {"name": f"{HERE}:Mine", "strength": 3.0}},
    ]
    config = check_config(tree)
    check_all_arms(config)
    assert f"{HERE}:Mine" in references(config)
    text = dump_toml(config)
    assert "strength = 3.0" in text


def test_an_algorithm_has_its_fields_in_one_place() -> None:
    tree = small(algorithm__strength=1.0)
    tree["run"]["algorithm"] = {"name": f"{HERE}:Mine", "strength": 2.0}
    with pytest.raises(InvalidInput, match=r"run\.algorithm"):
        check_config(tree)


def test_leaf_names_of_an_own_algorithm_can_be_set(full: Path) -> None:
    full.write_text(FULL.replace(", strength = 2.0", ""), encoding="utf-8")
    text = FULL.replace(f'{{ name = "{HERE}:Mine", strength = 2.0 }}', f'"{HERE}:Mine"')
    full.write_text(text, encoding="utf-8")
    assert read_config(full, ["strength=4.0"]).algorithm == {"strength": 4.0}


BROKEN = {
    "no_module:Thing": "ModuleNotFoundError.*looked for in the current folder",
    f"{HERE}:Mien": r"has no attribute 'Mien' \(did you mean Mine\?\)",
    f"{HERE}:InOrder": "a dataclass with .*is missing, own_parts.py line ",
    f"{HERE}:watch": "a dataclass with ",
    "half:Thing": r"SyntaxError.*half\.py line 2",
    "unlucky:Thing": r"ZeroDivisionError.*unlucky\.py line 3",
    "unmade:Thing": r"can be made \(RuntimeError: no.*unmade\.py line 6",
}


@pytest.mark.parametrize("reference", BROKEN)
def test_what_is_wrong_with_an_object_has_its_place(
    reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half.py").write_text("x = 1\nclass Thing(:\n", encoding="utf-8")
    (tmp_path / "unlucky.py").write_text("x = 0\n\ny = 1 / x\n", encoding="utf-8")
    text = (
        "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Thing:\n    a: int = 1\n"
    )
    text += "    def __post_init__(self):\n        raise RuntimeError('no')\n"
    (tmp_path / "unmade.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    config = check_config(small(run__algorithm=reference))
    with pytest.raises(InvalidInput, match=rf"(?s)run\.algorithm = .*{BROKEN[reference]}"):
        experiment.run(config)
    for name in ("half", "unlucky", "unmade"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("key", "entry", "said"),
    [
        ("clients__partition", "dirichlett", "did you mean dirichlet"),
        ("clients__partition", {"name": "dirichlet", "concentraton": 1.0}, "did you mean conc"),
        ("clients__partition", {"name": f"{HERE}:InOrder", "revers": True}, "did you mean reverse"),
        ("clients__partition", {"name": f"{HERE}:InOrder", "reverse": 3}, "partition.reverse = 3"),
        ("clients__partition", {"concentration": 1.0}, "or a table with a name"),
        ("clients__partition", 3, "a name, package.module:object, or a table with a name"),
        ("clients__delay", f"{HERE}:InOrder", "a dataclass with mean, draw"),
        ("clients__availability", f"{HERE}:Weekly", "a dataclass with present"),
        ("recruitment__costs", f"{HERE}:EvenHours", "a dataclass with draw"),
        ("recruitment__rule", f"{HERE}:watch", r"own_parts.py line|can be called with bids"),
        ("recruitment__rule", {"name": "budget-fair", "price": 1}, "recruitment.rule.price"),
        ("task__model", {"name": f"{HERE}:net", "widht": 3}, "did you mean width"),
        ("task__model", {"name": "linear", "width": 3}, "and it has none"),
        ("task__data", {"name": f"{HERE}:points", "size": 3}, "can be called with size"),
        ("task__data", {"name": "wine", "size": 3}, "a name alone"),
        ("task__optimizer", "adamm", "did you mean adamw"),
        ("task__optimizer", {"name": f"{HERE}:Signs", "facter": 3}, "did you mean factor"),
        ("task__optimizer", f"{HERE}:points", "can be made with"),
        ("task__schedule", f"{HERE}:AllOne", "a dataclass with factor"),
        ("run__callbacks", [f"{HERE}:wach"], "did you mean watch"),
        ("task__loss", "hubr", "did you mean huber"),
        ("task__loss", {"name": "huber", "dleta": 1.0}, "did you mean delta"),
        ("task__loss", {"name": f"{HERE}:Smoothed", "smoothin": 1.0}, "did you mean smoothing"),
        ("task__loss", {"name": f"{HERE}:margin", "size": 1.0}, r"loss\.size = 1\.0.*absent"),
        ("task__metrics", ["acc", "macro-f"], "did you mean macro-f1"),
        ("task__metrics", [f"{HERE}:Smoothed"], "a metric with a direction"),
        ("task__trainer", f"{HERE}:shortr", "did you mean shorter"),
        ("task__trainer", {"name": f"{HERE}:shorter", "passe": 1}, "did you mean passes"),
        ("task__trainer", "shorter", "package.module:object, a function"),
    ],
)
def test_bad_entries_are_one_line_with_their_key(key: str, entry: Any, said: str) -> None:
    changes = {key: entry}
    if key.startswith("recruitment"):
        changes["recruitment__budget"] = 1.0
        changes.setdefault("recruitment__rule", "budget-fair")
    with pytest.raises(InvalidInput, match=said) as caught:
        run(check_config(small(**changes)))
    assert "\n" not in str(caught.value)


def test_an_own_optimiser_refuses_the_settings_of_built_in_ones() -> None:
    tree = small(task__optimizer=f"{HERE}:Signs", task__momentum=0.5)
    with pytest.raises(InvalidInput, match=r"task\.wine\.optimizer.*without momentum"):
        experiment.run(check_config(tree))


def test_an_optimiser_of_pytorch_trains_one_by_one() -> None:
    entry = {"name": "torch.optim:RMSprop", "alpha": 0.9}
    tree = small(task__optimizer=entry, run__executor="stacked")
    assert experiment.run(check_config(tree)).series("random", "train_loss").shape == (1, 1)


def test_list_has_every_kind_and_a_module_what_it_offers() -> None:
    known = catalogue()
    assert known.keys() >= KINDS.keys()
    assert all("package.module:object" in known[title] for title in KINDS)
    found = offers(HERE)
    assert found == {
        "algorithms": {f"{HERE}:Mine": "FedAvg under another name."},
        "data": {f"{HERE}:points": "Two classes of points."},
        "models": {f"{HERE}:net": "One hidden layer."},
        "partitions": {f"{HERE}:InOrder": "Examples in their order."},
        "recruitment rules": {
            f"{HERE}:everybody_cheap": "Who bids at most the budget over the number of pairs."
        },
        "cost distributions": {f"{HERE}:AllOne": "Costs of one, times a factor."},
        "delay models": {f"{HERE}:Weekly": "A delay of whole days."},
        "availability models": {f"{HERE}:EvenHours": "On in every second hour."},
        "callbacks": {f"{HERE}:watch": "Note the kind of an event."},
        "local optimisers": {f"{HERE}:Signs": "Steps of one length."},
        "losses": {f"{HERE}:Smoothed": "Cross-entropy with targets that are not quite sure."},
        "metrics": {f"{HERE}:margin": "How far the right class is ahead of chance."},
        "trainers": {f"{HERE}:shorter": "Local training with a number of passes of its own."},
    }
    with pytest.raises(InvalidInput, match="--from"):
        offers("no_such_module")


def test_every_built_in_can_be_found() -> None:
    for kind in KINDS.values():
        for name, found in kind.built_ins.items():
            if kind.protocol is kind.maker is None and kind.name != "recruitment rule":
                assert resolve(kind, name) is found


@dataclass(frozen=True, kw_only=True)
class Undocumented(FedAvg):
    pass


def test_a_list_has_ones_own_words_and_neither_a_bases_nor_pythons() -> None:
    assert first_line(Undocumented) == "no docstring; based on FedAvg"
    assert first_line(lambda outputs, targets: outputs) == "no docstring"
    assert first_line(own_parts.Mine) == vars(own_parts.Mine)["__doc__"].partition("\n")[0]
    notes = [note for kind in catalogue().values() for note in kind.values()]
    assert not [note for note in notes if ":math:" in note or "\\" in note]
