"""What a configuration can name: every kind, its built-ins, and what a user's own module offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fl_runtime.algorithms import ALGORITHM
from fl_runtime.algorithms.robust_aggregation import ROBUST_RULE
from fl_runtime.algorithms.server_optimizers import SERVER_OPTIMIZER
from fl_runtime.data.partitions import PARTITION, PARTITIONS
from fl_runtime.data.registry import DATA
from fl_runtime.execution.registry import EXECUTORS
from fl_runtime.extensions import Kind, described, first_line
from fl_runtime.history import EVERYONE
from fl_runtime.running.callbacks import CALLBACK
from fl_runtime.running.recruitment import COST_LAW, DRIFTS, RULE, RULE_NOTES
from fl_runtime.shipped_experiments import titles
from fl_runtime.simulation.availability import AVAILABILITY
from fl_runtime.simulation.delays import DELAY
from fl_runtime.training.client_sampling import CLIENT_SAMPLING
from fl_runtime.training.losses import LOSS
from fl_runtime.training.models import MODEL
from fl_runtime.training.optimizers import OPTIMIZER
from fl_runtime.training.schedules import SCHEDULE
from fl_runtime.training.scores import METRIC
from fl_runtime.training.trainers import TRAINER

KINDS: Mapping[str, Kind] = {
    "algorithms": ALGORITHM,
    "data": DATA,
    "models": MODEL,
    "losses": LOSS,
    "metrics": METRIC,
    "local optimisers": OPTIMIZER,
    "schedules": SCHEDULE,
    "trainers": TRAINER,
    "server optimisers": SERVER_OPTIMIZER,
    "robust aggregations": ROBUST_RULE,
    "partitions": PARTITION,
    "client samplings": CLIENT_SAMPLING,
    "recruitment rules": RULE,
    "cost distributions": COST_LAW,
    "delay models": DELAY,
    "availability models": AVAILABILITY,
    "callbacks": CALLBACK,
}
"""Kinds of which a configuration may name a user's own, in the order of the list."""

_NOTES: Mapping[str, Mapping[str, str]] = {
    "data": {
        "idx:FOLDER": "MNIST-style files of a folder",
        "npz:PATH": "arrays features and labels of a NumPy archive or folder",
    },
    "partitions": PARTITIONS,
    "recruitment rules": {EVERYONE: "all clients, unpaid", **RULE_NOTES},
    "availability models": {"file": "a CSV of client, from, until, with an optional period"},
}
"""What is said of names beside, or instead of, the documentation of an object."""


def catalogue() -> dict[str, dict[str, str]]:
    """Names and descriptions by kind.

    Example:
        >>> catalogue()["partitions"]["iid"]
        'a random deal'
    """
    own = {title: _of_kind(kind, _NOTES.get(title, {})) for title, kind in KINDS.items()}
    rest = {"cost drifts": dict(DRIFTS), "executors": _first_lines(EXECUTORS)}
    rest["experiments"] = titles()
    return {**own, **rest}


def offers(module: str) -> dict[str, dict[str, str]]:
    """What a module of the user's own offers, by kind, as a configuration names it.

    Raises:
        InvalidInput: The module cannot be imported.

    Example:
        >>> offers("fl_runtime.data.partitions")["partitions"]["fl_runtime.data.partitions:IID"]
        "A random deal: every client's class mixture is the population's."
    """
    titles = {kind.name: title for title, kind in KINDS.items()}
    found: dict[str, dict[str, str]] = {}
    for kind, reference, note in described({kind.name: kind for kind in KINDS.values()}, module):
        found.setdefault(titles[kind], {})[reference] = note
    return found


def _of_kind(kind: Kind, notes: Mapping[str, str]) -> dict[str, str]:
    """The names of one kind, and what a user's own is."""
    own = {"package.module:object": kind.wanted}
    return {**_first_lines(kind.built_ins), **notes, **own}


def _first_lines(table: Mapping[str, Any]) -> dict[str, str]:
    """The first line of each entry's documentation."""
    return {name: first_line(item) for name, item in table.items()}
