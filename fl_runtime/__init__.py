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
"""

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
from fl_runtime.history import History
from fl_runtime.running.one_run import Event
from fl_runtime.running.trained_models import Result, input_units, load_model
from fl_runtime.runs import resume, run

__all__ = [
    "Config",
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
    "input_units",
    "load_model",
    "read_config",
    "resume",
    "run",
]
