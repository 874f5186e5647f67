"""Which models of a run are kept: the last ones, and the best so far by their validation scores.

The best so far are part of the run's state (`RunState.best`), hence of its checkpoint, so a run
that is killed and resumed ends with the same models.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from fl_runtime.algorithms.base import ServerState
from fl_runtime.data.inputs import each
from fl_runtime.running.build import Parts, Told
from fl_runtime.running.model_files import ModelHeader, SavedModel, Which
from fl_runtime.training.task import Evaluation, Params, Task, Units


@dataclass(frozen=True)
class Best:
    """The models of a task with the best validation score so far.

    Attributes:
        score: Their score.
        round: Server round after which they had it.
        models: By the client's number as a string; under no number for all clients.
    """

    score: float
    round: int
    models: Mapping[str, Params]

    def tree(self) -> dict[str, Any]:
        """Plain values and tensors, for a checkpoint."""
        return {"score": self.score, "round": self.round, "models": self.models}

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Self:
        """What `tree` described."""
        return cls(**tree)


def score_of(seen: Evaluation) -> float:
    """What models are compared by."""
    return seen.score


def is_better(score: float, than: float | None, *, higher: bool = True) -> bool:
    """Whether a score beats the best so far; the first of equal ones stays, and NaN beats nothing.

    Args:
        score: Of a model.
        than: The best score so far; None before the first.
        higher: Whether higher scores are better.

    Example:
        >>> is_better(0.5, None), is_better(0.5, 0.5), is_better(float("nan"), 0.5)
        (True, False, False)
        >>> is_better(0.4, 0.5, higher=False)
        True
    """
    if math.isnan(score) or than is None:
        return not math.isnan(score)
    return score > than if higher else score < than


def with_better(
    best: Mapping[str, Best],
    parts: Parts,
    state: ServerState,
    validation: Mapping[str, Evaluation],
) -> dict[str, Best]:
    """The best models by task, after a round that brought these validation figures."""
    found, tasks = dict(best), {task.name: task for task in parts.federation.tasks}
    for name, models in _judged(parts, state):
        score, known = score_of(validation[name]), best.get(name)
        higher = next(iter(tasks[name].metrics.values())).higher_is_better
        if is_better(score, None if known is None else known.score, higher=higher):
            found[name] = Best(score, state.server_round, models)
    return found


def saved_models(
    parts: Parts,
    state: ServerState,
    best: Mapping[str, Best] | None,
    validation: Mapping[str, Evaluation],
    *,
    arm: str,
    digest: str,
) -> Iterator[SavedModel]:
    """The last and the best model of every task, ready to be written.

    Args:
        parts: Of the run.
        state: After its last round.
        best: The best so far; none where they are not kept.
        validation: Figures of the last models.
        arm: Name of the arm.
        digest: Of the configuration.
    """
    last = {
        name: Best(score_of(validation[name]), state.server_round, models)
        for name, models in _judged(parts, state)
    }
    kept: tuple[tuple[Which, Mapping[str, Best]], ...] = (("last", last), ("best", best or {}))
    for task in parts.federation.tasks:
        for which, models in kept:
            if task.name in models:
                told = parts.told[task.name]
                yield _saved(task, told, models[task.name], which, (arm, state.seed, digest))


def _judged(parts: Parts, state: ServerState) -> Iterator[tuple[str, Mapping[str, Params]]]:
    """The models that each task is judged by now."""
    for task, held in zip(parts.federation.tasks, parts.federation.eligible.T, strict=True):
        yield task.name, state.evaluated(task.name, _holders(held))


def _holders(held: Any) -> Collection[int]:
    """Numbers of the clients that hold a task."""
    return np.flatnonzero(held).tolist()


def _saved(
    task: Task, told: Told, models: Best, which: Which, origin: tuple[str, int, str]
) -> SavedModel:
    """A model with its header, and with those entries of the module that are not trained."""
    arm, seed, digest = origin
    header = ModelHeader(
        task=task.name,
        arm=arm,
        seed=seed,
        which=which,
        round=models.round,
        score=models.score,
        digest=digest,
        example_shape=told.example_shape,
        outputs=told.outputs,
        inputs=told.inputs,
        units=None if task.units is None else _listed(task.units),
        clients=tuple(int(client) for client in models.models if client),
    )
    return SavedModel(
        header, {client: task.complete(params) for client, params in models.models.items()}
    )


def _listed(units: Units) -> tuple[Any, Any]:
    """Mean and spread as plain lists."""
    mean, spread = (each(np.ndarray.tolist, one) for one in units)
    return mean, spread
