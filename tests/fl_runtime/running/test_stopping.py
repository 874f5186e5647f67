"""Early stopping by its definition, and checkpoints that cannot be written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError

from fl_runtime.configuration.schema import EarlyStopTable
from fl_runtime.running import checkpoint
from fl_runtime.running.checkpoint import load_checkpoint, save_checkpoint
from fl_runtime.running.stopping import Patience

VALUES = st.sampled_from([0.1, 0.2, 0.3, 0.4, math.nan, math.inf])


@given(
    values=st.lists(VALUES, max_size=12),
    patience=st.integers(1, 4),
    delta=st.sampled_from([0.0, 0.15]),
    mode=st.sampled_from(["max", "min"]),
)
def test_a_run_stops_after_so_many_rounds_without_a_better_best(
    values: list[float], patience: int, delta: float, mode: Literal["max", "min"]
) -> None:
    rule = EarlyStopTable(metric="jain", patience=patience, min_delta=delta, mode=mode)
    seen, sign = Patience(), 1.0 if mode == "max" else -1.0
    best, last_gain = -math.inf, 0
    for number, value in enumerate(values, start=1):
        seen = seen.after({"jain": value}, rule)
        if math.isfinite(value) and sign * value > best + (delta if best > -math.inf else 0.0):
            best, last_gain = sign * value, number
        assert seen.waited == number - last_gain
        assert seen.best == (None if best == -math.inf else sign * best)
        assert seen.is_out(rule) == (number - last_gain >= patience)


def test_an_earlier_checkpoint_outlives_one_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    save_checkpoint(path, {"w": torch.ones(3), "round": 4})

    def full(tensors: Any, where: Path, metadata: Any) -> None:
        where.write_bytes(b"half of a file")
        raise SafetensorError("no space left")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match="cannot be written"):
        save_checkpoint(path, {"w": torch.zeros(3), "round": 5})
    tree = load_checkpoint(path)
    assert (tree["round"], tree["w"].tolist()) == (4, [1.0, 1.0, 1.0])
    assert [each.name for each in tmp_path.iterdir()] == ["state"]
