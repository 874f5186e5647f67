"""Local training of the user's own: what it may do, what is refused, and what repeats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fairopt.errors import InvalidInput
from fl_runtime.configuration.toml_files import check_config, digest
from fl_runtime.conformance import check_trainer
from fl_runtime.running.build import assemble, executors_of
from fl_runtime.running.experiment import run
from fl_runtime.running.preflight import check_all_arms
from fl_runtime.training.job_options import JobOptions
from fl_runtime.training.local_training import Client
from fl_runtime.training.trainers import train_by
from tests.fl_runtime.extension import own_trainers
from tests.fl_runtime.extension.test_own_parts import small
from tests.fl_runtime.kills import assert_resumes

HERE = own_trainers.__name__
ROOT = Path(__file__).parents[3]
BROKEN = {
    "by_dice": "the same for the same start and seed",
    "by_order": "every client by itself",
    "overwriting": "leaves what it was sent as it is",
    "forgetting": "trains, and stays finite",
    "diverging": "trains, and stays finite",
    "miscounting": "counts its examples",
    "failing": "trains, and stays finite",
    "nothing": "trains, and stays finite",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_planted_fault_is_caught_by_its_law(name: str) -> None:
    found = check_trainer(f"{HERE}:{name}")
    assert BROKEN[name] in [each.law for each in found]
    assert all(each.witness and "\n" not in each.witness for each in found)


def test_who_only_says_that_it_obeys_is_found_out() -> None:
    def deaf(model: Any, start: Any, client: Any, settings: Any) -> Any:
        return own_trainers.distil(model, start, client, settings)

    deaf.options = ("proximal",)  # type: ignore[attr-defined]
    assert [each.law for each in check_trainer(deaf)] == ["obeys what it says"]


@pytest.mark.parametrize("entry", ["plain", "distil", {"strength": 2.0}])
def test_sound_trainers_keep_all_laws(entry: Any) -> None:
    named = {"name": f"{HERE}:distil", **entry} if isinstance(entry, dict) else f"{HERE}:{entry}"
    assert check_trainer(named) == []


@pytest.mark.parametrize("algorithm", ["fed-avg", "fed-prox", "q-ffl", "fed-buff", "local"])
def test_the_runtimes_own_training_as_a_trainer_keeps_every_byte(algorithm: str) -> None:
    """Also losses that are measured around it, and the pull of the algorithm."""
    rows = [
        run(
            check_config(
                small(
                    run__algorithm=algorithm,
                    run__executor="sequential",
                    clients__delay="exponential",
                    **own,
                )
            )
        ).rows
        for own in ({}, {"task__trainer": f"{HERE}:plain"})
    ]
    assert rows[0] == rows[1]


def test_distillation_stays_nearer_to_what_was_sent() -> None:
    lengths = []
    for strength in (0.0, 20.0):
        entry = {"name": f"{HERE}:distil", "strength": strength}
        tree = small(run__algorithm="fed-avg", task__trainer=entry, clients__local_epochs=3)
        parts = assemble(check_config(tree), 0)
        state = parts.algorithm.init(parts.federation, 0)
        parts.executor.submit(parts.algorithm.dispatch(state, parts.federation, 0.0)[1])
        flat = [torch.cat([v.flatten() for v in u.delta.values()]) for u in parts.executor.poll()]
        lengths.append(sum(float(one.norm()) for one in flat))
    assert lengths[1] < 0.9 * lengths[0]


def test_it_is_trained_one_by_one_and_resumes(tmp_path: Path) -> None:
    tree = small(task__trainer=f"{HERE}:distil", run__num_server_rounds=3)
    config = check_config(tree)
    assert set(executors_of(config).values()) == {"sequential"}
    assert_resumes(config, tmp_path, after=2)


def test_a_configuration_without_a_trainer_is_as_before() -> None:
    with_one = check_config(small(task__trainer=f"{HERE}:plain"))
    assert digest(with_one) != digest(check_config(small()))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"task__trainer": f"{HERE}:failing"},
            r"trainer = 'failing'.*RuntimeError: no, own_tr.*ne",
        ),
        ({"task__trainer": f"{HERE}:nothing"}, "trainer = 'dict'.*gives a Trained"),
        ({"task__trainer": f"{HERE}:forgetting"}, "all entries that were sent"),
        ({"run__algorithm": "fed-prox"}, "trainer = 'distil'.*one that obeys proximal"),
        (
            {"run__algorithm": "fair-grad", "algorithm__where": "client", "task__model": "mlp"},
            "left out where a client trains its tasks jointly",
        ),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], said: str) -> None:
    tree = small(**{"task__trainer": f"{HERE}:distil", "task__hidden": [3], **changes})
    if tree["task"][0]["model"] == "linear":
        del tree["task"][0]["hidden"]
    with pytest.raises(InvalidInput, match=said) as caught:
        check_all_arms(check_config(tree))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [(), ("weights",)])
def test_options_of_later_stages_are_refused_too(
    options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """FedRAM weighs examples in its second stage, and draws them in its third."""
    monkeypatch.setattr(own_trainers.plain, "options", options)
    tree = small(
        run__algorithm="fed-ram",
        task__trainer=f"{HERE}:plain",
        algorithm__reference_rounds=1,
        algorithm__proxy_rounds=1,
    )
    missing = "examples" if options else "weights"
    with pytest.raises(InvalidInput, match=f"one that obeys {missing}"):
        check_all_arms(check_config(tree))


def test_a_job_that_asks_for_more_in_mid_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_trainers.plain, "options", ())
    parts = assemble(check_config(small(task__trainer=f"{HERE}:plain")), 0)
    (task,) = parts.federation.tasks
    client = Client(task.shards[0], 0, JobOptions(weights=torch.ones(len(task.shards[0]))))
    with pytest.raises(InvalidInput, match="one that obeys weights"):
        train_by(task.trainer, task, task.initial, client, task.training)


def test_losses_before_and_after_are_those_of_both_models() -> None:
    parts = assemble(check_config(small(task__trainer=f"{HERE}:plain")), 0)
    (task,) = parts.federation.tasks
    shard = task.shards[0]
    client = Client(shard, 0, JobOptions(measure_start=True, measure_end=True))
    found = train_by(task.trainer, task, task.initial, client, task.training)
    after = {key: value + found.delta[key] for key, value in task.initial.items()}
    for name, params in (("start_loss", task.initial), ("end_loss", after)):
        assert float(found.metrics[name]) == pytest.approx(task.evaluate(params, shard).loss)
    assert float(found.metrics["end_loss"]) < float(found.metrics["start_loss"])


def test_another_executor_is_refused() -> None:
    tree = small(task__trainer=f"{HERE}:distil", run__executor="stacked")
    with pytest.raises(InvalidInput, match=r"run\.executor = 'stacked'.*sequential or auto"):
        executors_of(check_config(tree))


def test_an_option_that_no_trainer_has_is_refused() -> None:
    def odd(model: Any, start: Any, client: Any, settings: Any) -> Any: ...

    odd.options = ("proximl",)  # type: ignore[attr-defined]
    with pytest.raises(InvalidInput, match="did you mean proximal"):
        check_trainer(odd)


def test_the_page_shows_this_trainer() -> None:
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    text = Path(own_trainers.__file__).read_text(encoding="utf-8")
    body = text[text.index("    teacher =") : text.index("def plain(")].rstrip()
    assert body.replace("  # type: ignore[no-untyped-call]", "") in page
