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
from fl_runtime.metrics.round_metrics import CLIENT_METRICS, COST_METRICS, Row
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Update
from fl_runtime.training.task import Params, Task, load_params
from fl_runtime.whole_numbers import whole_up

LOWEST_SHARE = 0.1
"""Of the clients, those with the lowest accuracy: the bottom decile."""

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
        `TASK/update_variance`, `compute`, and `traffic` (`exchange.traffic`).
    """
    guesses = {
        task.name: {
            holder: predictions(task, params)
            for holder, params in state.evaluated(task.name, holders.nonzero()[0].tolist()).items()
        }
        for task, holders in zip(federation.tasks, federation.eligible.T, strict=True)
    }
    return {
        **_over_clients(federation, guesses),
        **_over_classes(federation.tasks, guesses),
        **{
            f"{task.name}/update_variance": update_variance(
                [update.delta for update in updates if update.task == task.name]
            )
            for task in federation.tasks
        },
        "compute": compute((*federation.tasks, *federation.companions), updates),
        "traffic": traffic(updates, partial(algorithm.exchange, state)),
    }


def client_figure_names(tasks: Sequence[str]) -> list[str]:
    """Names of the columns that `client_figures` gives for tasks of those names."""
    per_task = (f"{task}/{name}" for task in tasks for name in ("eval_f1", "update_variance"))
    return [*CLIENT_METRICS, *per_task, *COST_METRICS]


def predictions(task: Task, params: Params) -> NDArray[np.int64]:
    """(num_test,) classes that a model finds likeliest."""
    load_params(task.model, task.complete(params))
    task.model.eval()
    with torch.no_grad():
        outputs = called(task.model, task.test.features)
        return np.asarray(outputs.argmax(dim=1).cpu().numpy())


def bottom_mean(values: Vector) -> float:
    """Mean of the lowest tenth of the values, of one at least.

    Example:
        >>> bottom_mean(np.array([0.5, 0.2, 0.9]))
        0.2
    """
    count = whole_up(LOWEST_SHARE * values.size)
    return float(np.sort(values)[:count].mean())


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
        "id_acc": _mean_of_known(sides[:, 0]),
        "ood_acc": _mean_of_known(sides[:, 1]),
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
    examples = np.array([task.sizes for task in tasks]).T * held
    some = examples.any(axis=1)
    parts = np.where(held, own * examples, 0.0)[some]
    local = parts.sum(axis=1) / examples[some].sum(axis=1)
    known = local.size > 0
    return {
        "local_acc": float(local.mean()) if known else math.nan,
        "bottom_decile_acc": bottom_mean(local) if known else math.nan,
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


def _mean_of_known(values: Vector) -> float:
    """Mean of what is a number; NaN where nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else math.nan
