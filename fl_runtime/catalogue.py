"""What a configuration can name, each with the first line of its documentation."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from fl_runtime.algorithms import ALGORITHMS
from fl_runtime.data.partitions import PARTITIONS
from fl_runtime.data.registry import BUNDLED
from fl_runtime.execution.registry import EXECUTORS
from fl_runtime.history import EVERYONE
from fl_runtime.running.recruitment import DRIFTS, RULE_NOTES
from fl_runtime.simulation.availability import AVAILABILITIES
from fl_runtime.simulation.delays import DELAY_MODELS
from fl_runtime.training.models import MODELS
from mechanisms.studies.cost_distributions import DISTRIBUTIONS


def catalogue() -> dict[str, dict[str, str]]:
    """Names and descriptions by kind.

    Example:
        >>> catalogue()["partitions"]["iid"]
        'a random deal'
    """
    return {
        "algorithms": _first_lines(ALGORITHMS),
        "data": _first_lines(BUNDLED)
        | {
            "idx:FOLDER": "MNIST-style files of a folder",
            "npz:PATH": "arrays features and labels of a NumPy archive or folder",
            "package.module:function": "a function that returns (features, labels)",
        },
        "models": _first_lines(MODELS)
        | {"package.module:factory": "a function (example_shape, num_classes, hidden) -> Module"},
        "partitions": dict(PARTITIONS),
        "recruitment rules": {EVERYONE: "all clients, unpaid", **RULE_NOTES},
        "cost distributions": _first_lines(DISTRIBUTIONS),
        "cost drifts": dict(DRIFTS),
        "delay models": _first_lines(DELAY_MODELS),
        "availability models": _first_lines(AVAILABILITIES)
        | {"file": "a CSV of client, from, until, with an optional period"},
        "executors": _first_lines(EXECUTORS),
    }


def _first_lines(table: Mapping[str, Any]) -> dict[str, str]:
    """The first line of each entry's docstring."""
    return {name: (inspect.getdoc(item) or "").partition("\n")[0] for name, item in table.items()}
