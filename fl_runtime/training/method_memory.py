"""What a method remembers from decision to decision, by the names of the tasks.

Some rivals learn one number per task (a log variance, a logit), keep the losses of earlier epochs,
or the cosines of pairs. A run keeps that as nested mappings of numbers, name of the array, task,
and for pairs the other task: any part of the tasks finds its own in it, a checkpoint and a message
hold it to the last bit.

Where clients decide, they start a job from what the server remembers, move it at every step, and
report what is `LEARNT`, each task's part with its own update; the server takes the mean, weighted
by examples, as it does with parameters. Moments of Adam begin anew with every job.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fairopt.torch import MethodState
from fl_runtime.training.job import Update

MethodMemory = Mapping[str, Mapping[str, Any]]
"""Numbers by array and task, or by array and two tasks."""

LEARNT = ("log_variance", "log_scale", "logits", "targets")
"""Arrays that clients report."""

PASSING = ("steps", "total", "count", "before")
"""Arrays that last for a single decision here."""

PREFIX = "learnt|"
"""Of the figures by which clients report."""


def state_of(memory: MethodMemory, tasks: Sequence[str]) -> MethodState:
    """What is remembered of these tasks; zero for one that is new.

    Example:
        >>> state_of({"logits": {"a": 1.0, "b": 2.0}}, ["b", "c"]).arrays
        {'logits': array([2., 0.])}
    """
    state = MethodState()
    for name, rows in memory.items():
        if any(isinstance(row, Mapping) for row in rows.values()):
            found = [[rows.get(one, {}).get(other, 0.0) for other in tasks] for one in tasks]
        else:
            found = [rows.get(task, 0.0) for task in tasks]
        state.arrays[name] = np.array(found, dtype=np.float64)
    return state


def memory_of(state: MethodState, tasks: Sequence[str], before: MethodMemory) -> MethodMemory:
    """What is remembered now: of these tasks what the state says, of others what was before.

    Example:
        >>> state = state_of({"logits": {"a": 1.0}}, ["a"])
        >>> memory_of(state, ["a"], {"logits": {"a": 0.0, "b": 5.0}})
        {'logits': {'a': 1.0, 'b': 5.0}}
    """
    after = dict(before)
    for name, array in state.arrays.items():
        if name in PASSING:
            continue
        known, rows = before.get(name, {}), array.tolist()
        if array.ndim == 2:
            rows = [
                {**known.get(task, {}), **dict(zip(tasks, row, strict=True))}
                for task, row in zip(tasks, rows, strict=True)
            ]
        after[name] = {**known, **dict(zip(tasks, rows, strict=True))}
    return after


def reported(memory: MethodMemory, task: str) -> dict[str, float]:
    """A task's part of what was learnt, as figures of its update.

    Example:
        >>> reported({"logits": {"a": 1.0}, "targets": {"a": {"a": 0.0, "b": 0.5}}}, "a")
        {'learnt|logits': 1.0, 'learnt|targets|a': 0.0, 'learnt|targets|b': 0.5}
    """
    found: dict[str, float] = {}
    for name in LEARNT:
        value = memory.get(name, {}).get(task)
        if isinstance(value, Mapping):
            found |= {f"{PREFIX}{name}|{other}": number for other, number in value.items()}
        elif value is not None:
            found[PREFIX + name] = value
    return found


def averaged(before: MethodMemory, updates: Sequence[Update]) -> MethodMemory:
    """What the server remembers after clients reported; what nobody reported stays.

    Example:
        >>> some = [Update("a", k, 0, {}, k, metrics={"learnt|logits": 1.0 * k}) for k in (1, 3)]
        >>> averaged({"logits": {"b": 7.0}}, some)
        {'logits': {'b': 7.0, 'a': 2.5}}
    """
    after = {name: dict(rows) for name, rows in before.items()}
    for task in dict.fromkeys(update.task for update in updates):
        mine = [update for update in updates if update.task == task]
        keys = dict.fromkeys(key for u in mine for key in u.metrics if key.startswith(PREFIX))
        for key in keys:
            name, _, other = key.removeprefix(PREFIX).partition("|")
            rows = after.setdefault(name, {})
            mean = _mean((u.metrics[key], u.num_examples) for u in mine if key in u.metrics)
            rows[task] = {**rows.get(task, {}), other: mean} if other else mean
    return after


def _mean(pairs: Iterable[tuple[float, int]]) -> float:
    """The mean of numbers, weighted by counts."""
    given = list(pairs)
    total = sum(count for _, count in given)
    if total == 0:
        return math.fsum(number for number, _ in given) / len(given)
    return math.fsum(number * count for number, count in given) / total
