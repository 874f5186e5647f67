"""Train several models at once on shared clients, fairly: a thin runtime over exact decisions.

>>> from fl_runtime import check_config, run
>>> config = check_config({
...     "run": {"algorithm": "fed-fair-mmfl", "num_server_rounds": 2},
...     "task": [{"name": "wine", "data": "wine", "model": "linear"}],
...     "clients": {"num_clients": 4},
... })
>>> history = run(config)
>>> history.series("fed-fair-mmfl", "mean_task_acc").shape
(1, 2)

Importing the package loads nothing; the first use of a name loads PyTorch and the rest of the extra
`runtime`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from fairopt.extras import extra

if TYPE_CHECKING:
    from fl_runtime.algorithms import FedAvg
    from fl_runtime.configuration.schema import Config
    from fl_runtime.configuration.toml_files import check_config, read_config
    from fl_runtime.conformance import (
        check_aggregation,
        check_algorithm,
        check_availability,
        check_cost_law,
        check_delay,
        check_loss,
        check_metric,
        check_partition,
        check_rule,
        check_sampling,
        check_schedule,
        check_trainer,
    )
    from fl_runtime.data.dataset import Data, Dataset
    from fl_runtime.history import History
    from fl_runtime.running.one_run import Event
    from fl_runtime.running.trained_models import Result, held_out, input_units, load_model
    from fl_runtime.runs import resume, run

_HOMES = {
    "Config": "fl_runtime.configuration.schema",
    "Data": "fl_runtime.data.dataset",
    "Dataset": "fl_runtime.data.dataset",
    "Event": "fl_runtime.running.one_run",
    "FedAvg": "fl_runtime.algorithms",
    "History": "fl_runtime.history",
    "Result": "fl_runtime.running.trained_models",
    "check_aggregation": "fl_runtime.conformance",
    "check_algorithm": "fl_runtime.conformance",
    "check_availability": "fl_runtime.conformance",
    "check_config": "fl_runtime.configuration.toml_files",
    "check_cost_law": "fl_runtime.conformance",
    "check_delay": "fl_runtime.conformance",
    "check_loss": "fl_runtime.conformance",
    "check_metric": "fl_runtime.conformance",
    "check_partition": "fl_runtime.conformance",
    "check_rule": "fl_runtime.conformance",
    "check_sampling": "fl_runtime.conformance",
    "check_schedule": "fl_runtime.conformance",
    "check_trainer": "fl_runtime.conformance",
    "held_out": "fl_runtime.running.trained_models",
    "input_units": "fl_runtime.running.trained_models",
    "load_model": "fl_runtime.running.trained_models",
    "read_config": "fl_runtime.configuration.toml_files",
    "resume": "fl_runtime.runs",
    "run": "fl_runtime.runs",
}
"""The module of every public name."""

__all__ = [
    "Config",
    "Data",
    "Dataset",
    "Event",
    "FedAvg",
    "History",
    "Result",
    "check_aggregation",
    "check_algorithm",
    "check_availability",
    "check_config",
    "check_cost_law",
    "check_delay",
    "check_loss",
    "check_metric",
    "check_partition",
    "check_rule",
    "check_sampling",
    "check_schedule",
    "check_trainer",
    "held_out",
    "input_units",
    "load_model",
    "read_config",
    "resume",
    "run",
]


def __getattr__(name: str) -> object:
    """A public name, loaded by its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with extra("runtime"):
        found: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Public names, loaded or not."""
    return sorted({*globals(), *__all__})
