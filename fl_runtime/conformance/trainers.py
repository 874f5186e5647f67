"""The laws of local training of the user's own, tried on the clients of a small federation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fl_runtime.algorithms import FedAvg
from fl_runtime.conformance.broken import Broken, Law, other_dice, tried
from fl_runtime.conformance.given import made_of
from fl_runtime.conformance.stage import stage
from fl_runtime.conformance.trees import differences, plain, tensors
from fl_runtime.execution.sequential import SequentialExecutor
from fl_runtime.training.job import Job, Update
from fl_runtime.training.task import Task
from fl_runtime.training.trainers import TRAINER, Trainer, obeyed_by

PULL = 5.0
"""Of a proximal term that is asked of a trainer which says that it obeys one."""


def check_trainer(
    trainer: str | Mapping[str, Any] | Trainer, task: Task | None = None
) -> list[Broken]:
    """The laws that local training of the user's own breaks.

    Laws: it trains, and brings the difference of every entry that was sent, finite; the same for
    the same start, seed and examples, to the last bit, whatever happened before; what it was sent
    and the examples stay as they are; it counts examples that the client has; the options that it
    says it obeys make a difference.

    Args:
        trainer: A function, ``package.module:function``, or a table of that name and arguments.
        task: Of which clients are trained; two classes of points, with a small model, by default.

    Example:
        >>> from fl_runtime.training.local_training import train_locally
        >>> def plain(model, start, client, settings):
        ...     return train_locally(model, start, client, settings)
        >>> check_trainer(plain)
        []
    """
    made: Trainer = made_of(TRAINER, trainer)
    parts = stage(FedAvg(), None)
    whose = replace(parts.federation.tasks[0] if task is None else task, trainer=made)
    obeyed_by(made)
    algorithm, eligible = FedAvg(), parts.federation.eligible[:, :1]
    federation = replace(parts.federation, tasks=(whose,), eligible=eligible)
    state = algorithm.init(federation, 0)
    jobs = algorithm.dispatch(state, federation, 0.0)[1]
    return tried(_laws(whose, made, jobs))


def _laws(task: Task, trainer: Trainer, jobs: Sequence[Job]) -> dict[str, Law]:
    """All laws, over the jobs of one round."""

    def trains() -> Iterator[str]:
        for update in _updates(task, jobs):
            if not update.is_finite:
                yield f"client {update.client}: a difference that is not finite"
        moved = [tensors(plain(update.delta)) for update in _updates(task, jobs)]
        if not any(bool(value.any()) for values in moved for value in values):
            yield "no client's model moves"

    def repeats() -> Iterator[str]:
        found = []
        for dice in (1, 2):
            with other_dice(dice):
                found.append(plain(_updates(task, jobs)))
        yield from differences(found[0], found[1])

    def alone() -> Iterator[str]:
        together = _updates(task, jobs)
        for update, job in reversed(list(zip(together, jobs, strict=True))):
            (again,) = _updates(task, [job])
            for where in differences(plain(update), plain(again)):
                yield f"client {job.client}, trained on its own: {where}"

    def untouched() -> Iterator[str]:
        before = plain([[job.payload for job in jobs], task.initial, _data(task)])
        _updates(task, jobs)
        after = plain([[job.payload for job in jobs], task.initial, _data(task)])
        yield from differences(before, after)

    def counts() -> Iterator[str]:
        for update in _updates(task, jobs):
            size = len(task.shards[update.client]) * task.training.local_epochs
            if not 1 <= update.num_examples <= size:
                yield f"client {update.client}: {update.num_examples} examples of {size}"

    def obeys() -> Iterator[str]:
        if "proximal" in obeyed_by(trainer):
            free = plain([update.delta for update in _updates(task, jobs)])
            pulled = [replace(job, config={**job.config, "proximal": PULL}) for job in jobs]
            held = plain([update.delta for update in _updates(task, pulled)])
            if not list(differences(free, held)):
                yield f"a proximal term of {PULL:g} changes nothing"

    return {
        "trains, and stays finite": trains,
        "the same for the same start and seed": repeats,
        "every client by itself": alone,
        "leaves what it was sent as it is": untouched,
        "counts its examples": counts,
        "obeys what it says": obeys,
    }


def _updates(task: Task, jobs: Sequence[Job]) -> list[Update]:
    """The answers to these jobs, by the executor that trains one client after the other."""
    executor = SequentialExecutor([task])
    executor.submit(jobs)
    return executor.poll()


def _data(task: Task) -> list[Any]:
    """The examples of all clients."""
    return [[shard.features, shard.targets] for shard in task.shards]
