"""Models side by side: rows read like mappings, and what is made of them keeps every bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fl_runtime.algorithms.aggregation import weighted_sum
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.execution import stacked
from fl_runtime.running.build import assemble
from fl_runtime.running.checkpoint import load_checkpoint, save_checkpoint, to_device
from fl_runtime.running.experiment import run
from fl_runtime.training import task as tasks
from fl_runtime.training.job import Update
from fl_runtime.training.stacks import Row, Rows, alone, gathered
from tests.fl_runtime.small import config


def rows(count: int, seed: int) -> Rows:
    """A stack of small models with numbers of all sizes."""
    made = torch.Generator().manual_seed(seed)
    scale = 10.0 ** torch.randint(-6, 6, (count, 1), generator=made)
    return Rows(
        {
            "weight": torch.randn(count, 3, 2, generator=made) * scale[:, None],
            "bias": torch.randn(count, 2, generator=made) * scale,
        }
    )


def same(one: Any, two: Any) -> bool:
    """Whether two models have the same bits."""
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 4)), min_size=1, max_size=9),
    st.integers(0, 2**32),
)
def test_a_weighted_sum_of_rows_has_the_bits_of_that_of_single_models(
    picked: list[tuple[int, int]], seed: int
) -> None:
    """Rows of two stacks in any order, repeats allowed."""
    both = rows(5, seed), rows(5, seed + 1)
    models = [Row(both[which], index) for which, index in picked]
    shares = np.random.default_rng(seed).normal(size=len(models)).tolist()
    found = weighted_sum(models, shares)
    assert same(found, weighted_sum([alone(model) for model in models], shares))
    stack = gathered(models)
    assert stack is not None
    assert all(same({k: v[i] for k, v in stack.items()}, m) for i, m in enumerate(models))


def test_all_rows_in_order_are_the_stack_itself() -> None:
    mine = rows(4, 0)
    stack = gathered(mine.split())
    assert stack is mine.stack
    assert gathered([mine.split()[0], {"weight": torch.zeros(3, 2)}]) is None
    assert alone(mine.split()[1])["bias"].data_ptr() != mine.split()[1]["bias"].data_ptr()


@given(st.integers(0, 3), st.sampled_from(["weight", "bias"]), st.sampled_from([np.nan, -np.inf]))
def test_one_number_that_is_not_finite_spoils_its_row_alone(
    index: int, key: str, value: float
) -> None:
    mine = rows(4, 1)
    mine.stack[key][index].view(-1)[0] = value
    updates = [Update("t", k, 0, row, 1) for k, row in enumerate(mine.split())]
    assert [update.is_finite for update in updates] == [k != index for k in range(4)]
    plain = [replace(update, delta=alone(update.delta)) for update in updates]
    assert [u.is_finite for u in plain] == [u.is_finite for u in updates]


def test_the_largest_numbers_are_finite() -> None:
    (row,) = Rows({"w": torch.full((1, 50), torch.finfo(torch.float32).max)}).split()
    assert row.is_finite


def test_a_checkpoint_holds_a_stack_once_and_only_the_rows_that_are_left(tmp_path: Path) -> None:
    mine = rows(50, 2)
    row = mine.split()
    path = tmp_path / "one"
    save_checkpoint(path, {"a": [row[7], row[3]], "b": {"c": row[7]}, "plain": mine.stack["bias"]})
    read = to_device(load_checkpoint(path), torch.device("cpu"))
    seven, three, again = *read["a"], read["b"]["c"]
    assert same(seven, row[7])
    assert same(three, row[3])
    assert same(again, row[7])
    assert seven.rows is three.rows is again.rows
    assert len(seven.rows) == 2
    assert torch.equal(read["plain"], mine.stack["bias"])


@pytest.mark.parametrize("algorithm", ["fed-avg", "q-ffl", "fed-buff", "fed-ast"])
def test_the_cut_into_chunks_changes_no_byte(
    algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"buffer_size": 3} if algorithm == "fed-buff" else {}
    settings = config(
        run={"algorithm": algorithm, "executor": "stacked"},
        clients={"delay": {"model": "exponential"}, "failures": 0.1},
    ).model_copy(update={"algorithm": own, "arm": ()})
    whole = run(settings).rows
    for budget in (700, 1):
        monkeypatch.setattr(stacked, "CACHE_BUDGET", budget)
        assert run(settings).rows == whole


def test_clients_of_unlike_size_are_cut_by_size() -> None:
    lengths = [1, 40, 2, 39, 1, 40, 2, 41]
    assert stacked.chunks(lengths, 4) == [[0, 4, 2, 6], [3, 1, 5, 7]]
    assert stacked.chunks([9, 10, 9, 10], 3) == [[0, 1], [2, 3]]


@pytest.mark.parametrize("model", ["linear", "mlp", "cnn"])
def test_evaluation_in_batches_agrees_with_one_piece(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = check_config(
        {
            "run": {"algorithm": "fed-avg", "num_server_rounds": 1},
            "task": [{"name": "digits", "data": "digits", "model": model, "hidden": [8]}]
            if model != "linear"
            else [{"name": "digits", "data": "digits", "model": model}],
            "clients": {"num_clients": 4},
        }
    )
    (task,) = assemble(whole, 0).federation.tasks
    one = task.evaluate(task.initial, task.test)
    monkeypatch.setattr(tasks, "EVALUATION_BUDGET", 70_000)
    (again,) = assemble(whole, 0).federation.tasks
    assert 1 <= again.evaluation_batch < len(again.test)
    found = again.evaluate(again.initial, again.test)
    assert found.accuracy == one.accuracy
    assert found.loss == pytest.approx(one.loss, rel=1e-6)
