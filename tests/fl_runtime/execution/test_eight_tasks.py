"""Every kind of task is trained alike by all executors: ragged, with holes, of several parts."""

from dataclasses import replace

import pytest
import torch

from fl_runtime.execution import stacked
from fl_runtime.execution.sequential import SequentialExecutor
from fl_runtime.execution.stacked import DenseExecutor, StackedExecutor, stackable
from fl_runtime.training.job import Job, Update
from fl_runtime.training.task import Examples, LocalTraining, Task
from tests.fl_runtime.eight_tasks import KINDS, small_task

AGREEMENT = 1e-6  # of float32 sums in another order, after few steps of length about 0.1
PLAIN = LocalTraining(0.05, 2, 4)


def ragged(kind: str, settings: LocalTraining = PLAIN) -> Task:
    """Shards of 2 to 10 examples."""
    task = small_task(kind, settings)
    shards = tuple(shard.at(slice(2 + 2 * k)) for k, shard in enumerate(task.shards))
    return replace(task, shards=shards)


def both(task: Task, **options: object) -> list[list[Update]]:
    jobs = [
        Job(task.name, k, 0, 0.0, task.initial, seed=k, config=options)
        for k in range(len(task.shards))
    ]
    found = []
    for kind in (SequentialExecutor, StackedExecutor, DenseExecutor):
        executor = kind([task])
        executor.submit(jobs)
        found.append(executor.poll())
    return found


def assert_agree(one: list[Update], *others: list[Update]) -> None:
    pairs = [pair for two in others for pair in zip(one, two, strict=True)]
    for first, second in pairs:
        assert first.num_examples == second.num_examples
        assert first.metrics == pytest.approx(second.metrics, rel=AGREEMENT, abs=AGREEMENT)
        for key, value in first.delta.items():
            torch.testing.assert_close(second.delta[key], value, rtol=0, atol=AGREEMENT)
        assert any(bool(value.any()) for value in first.delta.values())


@pytest.mark.parametrize("kind", KINDS)
def test_all_executors_agree(kind: str) -> None:
    task = ragged(kind)
    assert stackable(task)
    assert_agree(*both(task, measure_start=True, measure_end=True))


@pytest.mark.parametrize("kind", ["regression with holes", "text", "graphs"])
def test_weights_momentum_and_decay_agree(kind: str) -> None:
    task = ragged(kind, replace(PLAIN, momentum=0.9, weight_decay=0.01))
    shard = task.shards[-1]
    task = replace(task, shards=(shard, shard))
    assert_agree(*both(task, weights=torch.linspace(0.0, 2.0, len(shard))))


def test_examples_without_a_target_do_not_count() -> None:
    """An update's weight is of examples with a target; a client with none of them stands still."""
    task = ragged("regression with holes")
    counts = [int((~shard.targets.isnan()).sum()) for shard in task.shards]
    assert counts != [len(shard) for shard in task.shards]
    for updates in both(task):
        assert [update.num_examples for update in updates] == counts
    shard = task.shards[-1]
    nothing = Examples(shard.features, torch.full_like(shard.targets, torch.nan))
    blank = torch.nonzero(shard.targets.isnan()).flatten()
    assert len(blank) > 0
    whole = replace(task, shards=(shard,) * 2)
    for updates in both(whole, examples=blank):
        assert all(update.num_examples == 0 for update in updates)
        assert not any(bool(v.any()) for update in updates for v in update.delta.values())
    with pytest.raises(ValueError, match=r"client 1 targets = .all missing"):
        replace(task, shards=(shard, nothing))


@pytest.mark.parametrize("kind", ["graphs", "pixels"])
def test_a_client_that_is_large_and_mostly_missing_agrees(kind: str) -> None:
    """Unequal shards: one client with almost all examples, of which few have targets."""
    task = ragged(kind, replace(PLAIN, weight_by="counts", batch_size=3))
    shard = task.shards[-1]
    blank = torch.nan if shard.targets.is_floating_point() else -100
    targets = shard.targets.clone()
    targets[2:] = blank
    wide = Examples(shard.features, targets)
    task = replace(task, shards=(shard.at(slice(1, 2)), wide, shard.at(slice(2, 4)), shard))
    updates = both(task)
    assert_agree(*updates)
    for found in updates:
        assert [u.num_examples for u in found] == [s.num_targets for s in task.shards]
        assert found[1].num_examples < found[3].num_examples


def test_a_mask_that_is_forgotten_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: one executor counts what is missing."""
    real = stacked.loss_parts

    def careless(loss, outputs, targets):
        sums, counts = real(loss, outputs, targets)
        return sums, torch.ones_like(counts)

    task = ragged("regression with holes")
    monkeypatch.setattr(stacked, "loss_parts", careless)
    with pytest.raises(AssertionError):
        assert_agree(*both(task))


def test_dense_targets_count_towards_the_chunk() -> None:
    """Where targets are images, fewer clients fit than where they are labels."""
    task = ragged("depth")
    assert stacked._numbers_per_example(task) == 2 * 16 + 16
    assert stacked._numbers_per_example(ragged("labels")) == 3
