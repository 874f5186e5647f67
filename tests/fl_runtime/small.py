"""Small configurations that train in well under a second."""

from __future__ import annotations

import copy
from typing import Any

from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import check_config

TREE: dict[str, Any] = {
    "run": {"algorithm": "fed-fair-mmfl", "seeds": [0, 1], "num_server_rounds": 3},
    "task": [
        {"name": "wine", "data": "wine", "model": "mlp", "hidden": [4]},
        {"name": "iris", "data": "iris", "model": "linear", "target_accuracy": 0.5},
    ],
    "clients": {"num_clients": 8, "fraction_train": 0.5, "partition": "dirichlet"},
    "algorithm": {"alpha": 2.0},
    "recruitment": {
        "rule": "max-min-fair",
        "budget": 3.0,
        "costs": {"distribution": "uniform", "task_scale": [1.0, 2.0]},
    },
    "arm": [
        {"name": "random", "run.algorithm": "random", "recruitment.rule": "everyone"},
        {"name": "fair"},
    ],
}

TOML = """
[run]
algorithm = "fed-fair-mmfl"
seeds = [0, 1]
num-server-rounds = 4
[[task]]
name = "wine"
data = "wine"
model = "mlp"
hidden = [4]
[[task]]
name = "iris"
data = "iris"
model = "linear"
[clients]
num-clients = 8
fraction-train = 0.5
partition = "missing-classes"
dropout = 0.2
delay = { model = "shifted-exponential", shift = 0.5, mean = 1.0 }
[recruitment]
rule = "budget-fair"
budget = 4.0
costs = { distribution = "lognormal" }
[[arm]]
name = "fair"
[[arm]]
name = "random"
"run.algorithm" = "random"
"""


def tree(**sections: dict[str, Any]) -> dict[str, Any]:
    """The small configuration as nested dictionaries, with sections updated."""
    whole = copy.deepcopy(TREE)
    for section, values in sections.items():
        whole[section] = {**whole[section], **values}
    return whole


def config(**sections: dict[str, Any]) -> Config:
    """The small configuration, checked."""
    return check_config(tree(**sections))
