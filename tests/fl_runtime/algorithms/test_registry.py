"""Laws that every algorithm of the registry keeps; a new one is included by being listed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.running.experiment import run
from tests.fl_runtime.kills import assert_resumes
from tests.fl_runtime.representatives import REPRESENTATIVES

ONE_ROUND = 1e-6  # losses after one round; executors differ by the order of float32 sums
IMAGES = ("digits-joint", "digits-joint-parity")
SMALL = {"validation_fraction": 0.4, "test_fraction": 0.45}  # 45 training images per client
VARIANTS: dict[str, dict[str, Any]] = {
    **{name: {"run.algorithm": name} for name in REPRESENTATIVES},
    "uw on clients": {"run.algorithm": "uw", "algorithm.where": "client"},
    "fair-grad on clients": {"run.algorithm": "fair-grad", "algorithm.where": "client"},
    "fed-ram with its agent": {
        "run.algorithm": "fed-ram",
        "algorithm.reference_rounds": 1,
        "algorithm.proxy_rounds": 1,
        "algorithm.task_rate": 0.5,
        "algorithm.share_trunk": True,
    },
    **{
        f"{name} with one trunk": {"run.algorithm": name, "algorithm.share_trunk": True}
        for name in ("local", "fed-per", "ditto")
    },
    "fed-hca2": {
        "run.algorithm": "fed-hca2",
        "algorithm.shared_layers": ["1"],
        "algorithm.rate": 0.5,
    },
    "fed-ram without an agent": {
        "run.algorithm": "fed-ram",
        "algorithm.reference_rounds": 1,
        "algorithm.agent": False,
    },
    "importance": {"run.algorithm": "fed-fair-mmfl", "algorithm.aggregation": "importance"},
    "fed-ast with buffers": {
        "run.algorithm": "fed-ast",
        "algorithm.allocation": "dynamic",
        "algorithm.concurrency": 8,
        "algorithm.ratio": 2.0,
        "algorithm.window": 2,
        "algorithm.period": 2,
    },
    "fed-avg with one task": {"run.algorithm": "fed-avg", "algorithm.tasks_per_client": "one"},
}


def config(overrides: dict[str, Any], executor: str, rounds: int, **task: Any) -> Config:
    """Two label sets of the same images on six clients with a shared shape of models."""
    algorithm = {
        key.removeprefix("algorithm."): value
        for key, value in overrides.items()
        if key.startswith("algorithm.")
    }
    return check_config(
        {
            "run": {
                "algorithm": overrides["run.algorithm"],
                "num_server_rounds": rounds,
                "executor": executor,
            },
            "task": [
                {"name": data, "data": data, "model": "mlp", "hidden": [6, 5], **SMALL, **task}
                for data in IMAGES
            ],
            "clients": {
                "num_clients": 6,
                "fraction_train": 0.5,
                "batch_size": 40,
                "delay": {"model": "uniform", "low": 0.5, "high": 1.5},
            },
            "algorithm": algorithm,
        }
    )


@pytest.mark.filterwarnings("ignore:arm .* trains no model that is reported")
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("executor", ["stacked", "dense"])
def test_executors_agree_after_one_round(variant: str, executor: str) -> None:
    one, two = (
        run(config(VARIANTS[variant], executor, 1)).rows[-2]
        for executor in ("sequential", executor)
    )
    assert one.keys() == two.keys()
    for key, value in one.items():
        if isinstance(value, float):
            assert two[key] == pytest.approx(value, abs=ONE_ROUND, rel=ONE_ROUND), key
        else:
            assert two[key] == value, key
    assert np.isfinite(one["train_loss"])


@pytest.mark.filterwarnings("ignore:arm .* trains no model that is reported")
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_seed_gives_the_same_bytes_also_after_a_stop(variant: str, tmp_path: Path) -> None:
    """With optimiser state kept on clients, which a checkpoint must hold."""
    settings = config(VARIANTS[variant], "sequential", 3, momentum=0.5, persist_optimizer=True)
    assert_resumes(settings, tmp_path, after=3)


@pytest.mark.parametrize("algorithm", ["fed-avg", "fair-grad"])
def test_kept_optimizer_state_changes_the_second_round_alone(algorithm: str) -> None:
    overrides = {"run.algorithm": algorithm}
    kept, fresh = (
        run(config(overrides, "sequential", 3, momentum=0.9, persist_optimizer=keep)).rows
        for keep in (True, False)
    )
    assert kept[1] == fresh[1]
    assert kept[3] != fresh[3]


@pytest.mark.parametrize("executor", ["sequential", "stacked", "dense"])
def test_kept_adamw_state_survives_a_stop(executor: str, tmp_path: Path) -> None:
    adamw = {"optimizer": "adamw", "learning_rate": 0.01, "persist_optimizer": True}
    settings = config({"run.algorithm": "fed-prox"}, executor, 3, **adamw)
    assert_resumes(settings, tmp_path, after=3)
