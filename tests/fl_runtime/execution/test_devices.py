"""What a GPU needs, checked without one: few questions, chunks by its memory, flags."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from fairopt.errors import InvalidInput
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.execution import stacked
from fl_runtime.execution.executor import CUBLAS_WORKSPACE, check_device, repeatable
from fl_runtime.execution.stacked import budgets, clients_per_chunk
from fl_runtime.running.build import assemble
from fl_runtime.running.experiment import run
from fl_runtime.running.loop import Evaluator, one_round
from fl_runtime.running.run_state import RunState
from fl_runtime.training.job import Update, are_finite
from fl_runtime.training.stacks import Rows
from fl_runtime.training.task import LocalTraining
from tests.fl_runtime.execution.test_stacked import ragged_task

ASKING = ("item", "tolist", "__bool__", "__float__", "__int__", "__index__", "cpu", "numpy")
"""Methods of a tensor that wait for its device."""


def _is_word(word: str, args: Any) -> bool:
    """Whether it is among the arguments; the device of a CPU, to which examples go, is none."""
    return any(isinstance(arg, str) and arg == word for arg in args)


class Functions(TorchFunctionMode):
    """Counts what Python asks of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in ASKING or (name == "to" and _is_word("cpu", args)):
            self.asked[name] += 1
        return func(*args, **(kwargs or {}))


class Operations(TorchDispatchMode):
    """Counts numbers that operations read, and shapes that depend on data."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.__name__.split(".")[0] in ("_local_scalar_dense", "nonzero", "masked_select"):
            self.asked[func.__name__] += 1
        return func(*args, **(kwargs or {}))


def questions(clients: int, executor: str, algorithm: str, **task: Any) -> tuple[Any, Any]:
    """Of the second round of a run with that many clients, whose shards are equally large."""
    tree = {
        "run": {"algorithm": algorithm, "num_server_rounds": 3, "executor": executor},
        "task": [{"name": "a", "data": "iris", "model": "mlp", "hidden": [3], **task}],
        "clients": {"num_clients": clients, "batch_size": 2},
    }
    parts = assemble(check_config(tree), 0)
    evaluator = Evaluator(parts.federation.tasks)
    current = RunState(parts.algorithm.init(parts.federation, 0))
    current, _, _ = one_round(parts, current, evaluator)
    with Functions() as functions, Operations() as operations:
        one_round(parts, current, evaluator)
    return functions.asked, operations.asked


@pytest.mark.parametrize("algorithm", ["fed-avg", "fed-prox", "fed-fair-mmfl"])
@pytest.mark.parametrize("executor", ["sequential", "stacked", "dense"])
def test_a_round_asks_the_device_as_often_for_many_clients_as_for_few(
    executor: str, algorithm: str
) -> None:
    few, many = (questions(clients, executor, algorithm) for clients in (9, 30))
    assert few == many
    assert sum(few[0].values()) > 0


@pytest.mark.parametrize("executor", ["stacked", "dense"])
@pytest.mark.parametrize(
    "task",
    [
        {"optimizer": "adamw", "persist_optimizer": True},
        {"momentum": 0.9, "persist_optimizer": True},
        {"clip_gradient": 0.1, "schedule": "inverse-root"},
    ],
    ids=["adamw", "momentum", "clipped"],
)
def test_kept_states_ask_no_more(executor: str, task: dict[str, Any]) -> None:
    few, many = (questions(clients, executor, "fed-avg", **task) for clients in (9, 30))
    assert few == many


def test_a_question_per_client_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: answers that are looked at one by one."""
    from fl_runtime.running import step

    def each(updates: Any) -> list[bool]:
        return [are_finite([update])[0] for update in updates]

    monkeypatch.setattr(step, "are_finite", each)
    few, many = (questions(clients, "sequential", "fed-avg") for clients in (9, 30))
    assert few != many


def test_finite_answers_are_told_from_others_whatever_holds_them() -> None:
    numbers = [1.0, torch.nan, -torch.inf, 0.0]
    stack = Rows({"w": torch.tensor(numbers)[:, None]}).split()
    alone = [{"w": torch.tensor([x]), "v": torch.zeros(2, 2)} for x in numbers]
    updates = [
        Update("a", 0, 0, delta, 1) for pair in zip(stack, alone, strict=True) for delta in pair
    ]
    expected = [True, True, False, False, False, False, True, True]
    assert are_finite(updates) == [update.is_finite for update in updates] == expected
    assert are_finite([]) == []


def test_chunks_go_by_the_memory_that_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda:0")
    asked = []

    def mem_get_info(device: torch.device) -> tuple[int, int]:
        asked.append(device)
        return 3 * 2**30, 80 * 2**30

    monkeypatch.setattr(torch.cuda, "mem_get_info", mem_get_info)
    assert budgets(gpu) == (2**30, 2**30)  # half of three, down to a power of two
    assert asked == [gpu]
    cpu = torch.device("cpu")
    assert budgets(cpu) == (stacked.MEMORY_BUDGET, stacked.CACHE_BUDGET)
    task = ragged_task("mlp", [400], LocalTraining(0.1, 1, 8))
    before = clients_per_chunk(task)
    monkeypatch.setattr(stacked, "budgets", lambda device: (2**30, 2**30))
    assert clients_per_chunk(task) > before


def test_flags_of_a_gpu_are_set_for_a_run_and_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark
    with repeatable(torch.device("cpu")):
        assert not torch.are_deterministic_algorithms_enabled()
        assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    with repeatable(torch.device("cuda:1")):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert (cudnn.deterministic, cudnn.benchmark) == (True, False)
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == CUBLAS_WORKSPACE
    after = torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark
    assert after == before


@pytest.mark.parametrize("name", ["tpu", "cuda:", "cuda:-1", "cuda:01", "cuda:1.5", "CUDA", ""])
def test_devices_that_are_none_are_refused(name: str) -> None:
    run_ = {"algorithm": "fed-avg", "num_server_rounds": 1, "device": name}
    task = {"name": "a", "data": "iris", "model": "linear"}
    with pytest.raises(InvalidInput, match=r"run\.device") as caught:
        check_config({"run": run_, "task": [task], "clients": {"num_clients": 3}})
    assert "\n" not in str(caught.value)


def test_a_gpu_of_a_number_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert check_device("cuda:1") == torch.device("cuda:1")
    assert check_device("cuda") == torch.device("cuda")
    with pytest.raises(InvalidInput, match="one of the 2 CUDA devices"):
        check_device("cuda:2")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("executor", ["sequential", "stacked", "dense"])
def test_a_gpu_repeats_itself_and_agrees_with_the_processor(executor: str) -> None:
    def rows(device: str) -> list[dict[str, Any]]:
        run_ = {
            "algorithm": "fed-avg",
            "num_server_rounds": 2,
            "executor": executor,
            "device": device,
        }
        task = {"name": "a", "data": "digits", "model": "mlp", "hidden": [16]}
        clients = {"num_clients": 20, "partition": "dirichlet"}
        return run(check_config({"run": run_, "task": [task], "clients": clients})).rows

    one, two, processor = rows("cuda"), rows("cuda:0"), rows("cpu")
    assert one == two
    for mine, other in zip(one, processor, strict=True):
        for key, value in mine.items():
            if isinstance(value, float):
                assert other[key] == pytest.approx(value, abs=1e-3), key
