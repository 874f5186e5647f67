"""Figures about clients, classes, compute and traffic: on request, since they take time.

They join a round's row with ``[run] client-metrics = true``. Accuracies are of a task's model, or
of the client's own where clients have models of their own, on the test sets; clients differ in the
tasks they hold and in the mixture of their examples (`mixtures`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from fl_runtime.algorithms.base import Algorithm, ServerState
from fl_runtime.algorithms.exchange import traffic
from fl_runtime.algorithms.reweighting import accuracy_inside_and_outside
from fl_runtime.algorithms.update_variance import mean_and_spread
from fl_runtime.data.inputs import called
from fl_runtime.data.mixtures import Mixture
from fl_runtime.metrics.local_metrics import (
    Models,
    bottom_mean,
    local_figure_names,
    local_figures,
    mean_of_known,
)
from fl_runtime.metrics.round_metrics import CLIENT_METRICS, COST_METRICS, Row
from fl_runtime.metrics.selection_skew import selection_skew
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Update
from fl_runtime.training.scores import ACC
from fl_runtime.training.task import Params, Task, load_params

Vector = NDArray[np.float64]


Guesses = Mapping[str, Mapping[str, NDArray[np.int64]]]
"""(num_test,) likeliest classes by task and by whose model it is, see `ServerState.evaluated`."""


def client_figures(
    algorithm: Algorithm, federation: Federation, state: ServerState, updates: Sequence[Update]
) -> Row:
    """All columns of a round.

    Args:
        algorithm: Says what travels.
        federation: Tasks, and who holds which now.
        state: After the round.
        updates: Of the round.

    Returns:
        `local_acc`: mean over clients of the accuracy on their own kind of examples (over the tasks
            they hold, by their numbers of examples);
        `bottom_decile_acc`: the same over the tenth of the clients with the lowest;
        `id_acc`, `ood_acc`: mean over clients of the accuracy on the test sets of the tasks they
            hold and of those they do not, by size (NaN where no client lacks a task, or clients
            have models of their own, which are of the tasks they hold);
        `TASK/eval_f1`: mean over classes of F1, and over tasks as `macro_f1` and, by size,
            `weighted_f1`;
        `TASK/update_variance`, `TASK/selection_skew` (`selection_skew`, where the mixtures of
            clients are known), `compute`, and `traffic` (`exchange.traffic`).
        Where a task is no classification with all its labels, `local_metrics.local_figures` instead
        of the accuracies and F1.
    """
    models = {
        task.name: state.evaluated(task.name, holders.nonzero()[0].tolist())
        for task, holders in zip(federation.tasks, federation.eligible.T, strict=True)
    }
    return {
        **(_of_classes if are_classes(federation.tasks) else local_figures)(federation, models),
        **cost_figures(algorithm, federation, state, updates),
    }


def cost_figures(
    algorithm: Algorithm, federation: Federation, state: ServerState, updates: Sequence[Update]
) -> Row:
    """The columns that need no model to be evaluated."""
    return {
        **{
            f"{task.name}/update_variance": update_variance(
                [update.delta for update in updates if update.task == task.name]
            )
            for task in federation.tasks
        },
        **{
            f"{task.name}/selection_skew": _skew(task, updates)
            for task in federation.tasks
            if isinstance(task.mixture, Mixture)
        },
        "compute": compute((*federation.tasks, *federation.companions), updates),
        "traffic": traffic(updates, partial(algorithm.exchange, state)),
    }


def _skew(task: Task, updates: Sequence[Update]) -> float:
    """How far the clients of a round are from an image of all of them."""
    assert isinstance(task.mixture, Mixture)
    return selection_skew(
        task.mixture.shares, {update.client for update in updates if update.task == task.name}
    )


def client_figure_names(tasks: Sequence[Task]) -> list[str]:
    """Names of the columns that `client_figures` gives for those tasks."""
    mixed = [task for task in tasks if isinstance(task.mixture, Mixture)]
    variances = [
        *(f"{task.name}/update_variance" for task in tasks),
        *(f"{task.name}/selection_skew" for task in mixed),
    ]
    if not are_classes(tasks):
        return [*local_figure_names(tasks), *variances, *COST_METRICS]
    scores = [f"{task.name}/eval_f1" for task in tasks]
    return [*CLIENT_METRICS, *scores, *variances, *COST_METRICS]


def are_classes(tasks: Sequence[Task]) -> bool:
    """Whether all tasks are classifications with all their labels, so that accuracies compare."""
    return all(
        ACC in task.metrics and task.test.targets.ndim == 1 and task.test.complete for task in tasks
    )


def _of_classes(federation: Federation, models: Mapping[str, Models]) -> Row:
    """Figures about clients and classes of classifications."""
    guesses = {
        task.name: {who: predictions(task, params) for who, params in models[task.name].items()}
        for task in federation.tasks
    }
    return {**_over_clients(federation, guesses), **_over_classes(federation.tasks, guesses)}


def predictions(task: Task, params: Params) -> NDArray[np.int64]:
    """(num_test,) classes that a model finds likeliest."""
    load_params(task.model, task.complete(params))
    task.model.eval()
    with torch.no_grad():
        outputs = called(task.model, task.test.features)
        return np.asarray(outputs.argmax(dim=1).cpu().numpy())


def update_variance(deltas: Sequence[Params]) -> float:
    """Mean squared distance of a round's updates from their mean; NaN for fewer than two."""
    if len(deltas) < 2:
        return math.nan
    return mean_and_spread(deltas)[1] / len(deltas)


def compute(tasks: Sequence[Task], updates: Sequence[Update]) -> int:
    """Parameters times examples times passes, summed over the answers of a round."""
    passes = {task.name: task.training.local_epochs for task in tasks}
    return sum(
        sum(value.numel() for value in update.delta.values())
        * update.num_examples
        * passes[update.task]
        for update in updates
    )


def _over_clients(federation: Federation, guesses: Guesses) -> Row:
    """Accuracy as clients see it: of their mixture, and of tasks they hold or lack."""
    tasks, held = federation.tasks, federation.eligible
    hits = [_hits(task, guesses[task.name], federation.num_clients) for task in tasks]
    accuracy = np.array([[one.mean() for one in mine] for mine in hits]).T
    sizes = [len(task.test) for task in tasks]
    sides = np.array(
        [
            accuracy_inside_and_outside(seen, sizes, mine)
            for seen, mine in zip(accuracy, held, strict=True)
        ]
    )
    row: Row = {
        "id_acc": mean_of_known(sides[:, 0]),
        "ood_acc": mean_of_known(sides[:, 1]),
    }
    mixtures = [task.mixture for task in tasks if task.mixture is not None]
    if len(mixtures) < len(tasks):
        return row
    own = np.array(
        [
            [mixture.local(one)[client] for client, one in enumerate(mine)]
            for mixture, mine in zip(mixtures, hits, strict=True)
        ]
    ).T
    known = held & np.isfinite(own)
    examples = np.array([task.sizes for task in tasks]).T * known
    some = examples.any(axis=1)
    parts = np.where(known, own * examples, 0.0)[some]
    local = parts.sum(axis=1) / examples[some].sum(axis=1)
    return {
        "local_acc": float(local.mean()) if local.size else math.nan,
        "bottom_decile_acc": bottom_mean(local),
        **row,
    }


def _hits(task: Task, guesses: Mapping[str, NDArray[np.int64]], count: int) -> list[Vector]:
    """Per client, 1 where the model it uses is right on a test example; NaN where it has none."""
    labels = task.test.labels.cpu().numpy()
    right = {holder: (guess == labels).astype(np.float64) for holder, guess in guesses.items()}
    common = right.get("", np.full(labels.size, np.nan))
    return [right.get(str(client), common) for client in range(count)]


def _over_classes(tasks: Sequence[Task], guesses: Guesses) -> Row:
    """F1 of every task, and over tasks with equal weights and by size."""
    from sklearn.metrics import f1_score

    def score(task: Task, guess: NDArray[np.int64]) -> float:
        labels = task.test.labels.cpu().numpy()
        return float(f1_score(labels, guess, average="macro", zero_division=0))

    scores = {
        task.name: float(np.mean([score(task, guess) for guess in guesses[task.name].values()]))
        for task in tasks
    }
    values, sizes = list(scores.values()), [len(task.test) for task in tasks]
    return {
        **{f"{name}/eval_f1": score for name, score in scores.items()},
        "macro_f1": float(np.mean(values)),
        "weighted_f1": float(np.average(values, weights=sizes)),
    }
