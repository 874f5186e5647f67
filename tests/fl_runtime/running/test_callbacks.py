"""Watchers: composed, and curves for TensorBoard."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
from typer.testing import CliRunner

from fairopt import InvalidInput
from fl_runtime.__main__ import app
from fl_runtime.running.callbacks import tensorboard, together
from fl_runtime.running.experiment import run
from fl_runtime.running.one_run import Event
from tests.fl_runtime.small import TOML, config


def test_watchers_are_called_in_order_for_every_row() -> None:
    calls: list[tuple[str, Event]] = []
    watch = together(
        lambda event: calls.append(("first", event)), lambda event: calls.append(("second", event))
    )
    rows = run(config(run={"seeds": [0]}), on_event=watch).rows
    assert [name for name, _ in calls] == ["first", "second"] * len(rows)
    assert [event.row for _, event in calls[::2]] == rows


class Curves:
    """Stands for TensorBoard's writer."""

    made: ClassVar[dict[str, Curves]] = {}

    def __init__(self, folder: str) -> None:
        self.points: list[tuple[str, float, int, float]] = []
        self.texts: list[tuple[str, str, int]] = []
        self.open = True
        self.made[folder] = self

    def add_scalar(self, name: str, value: float, step: int, walltime: float) -> None:
        self.points.append((name, value, step, walltime))

    def add_text(self, name: str, text: str, step: int) -> None:
        self.texts.append((name, text, step))

    def close(self) -> None:
        self.open = False


@pytest.fixture
def curves(monkeypatch: pytest.MonkeyPatch) -> dict[str, Curves]:
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Curves  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(Curves, "made", {})
    return Curves.made


def test_every_figure_of_every_round_is_a_point(curves: dict[str, Curves], tmp_path: Path) -> None:
    with tensorboard(tmp_path) as watch:
        history = run(config(run={"seeds": [0]}), on_event=watch)
    made = Curves.made
    assert set(made) == {str(tmp_path / arm / "seed-0") for arm in ("random", "fair")}
    fair = made[str(tmp_path / "fair" / "seed-0")]
    rows = history.rounds("fair", 0)
    worst = [point for point in fair.points if point[0] == "min_task_acc"]
    assert worst == [
        ("min_task_acc", row["min_task_acc"], row["server_round"], row["virtual_time"])
        for row in rows
    ]
    assert [text[0] for text in fair.texts] == ["recruitment", "account"]
    assert not any(writer.open for writer in made.values())


def test_without_the_package_there_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InvalidInput, match="the package tensorboard installed"):
        tensorboard(tmp_path).__enter__()
    (tmp_path / "small.toml").write_text(TOML)
    words: list[Any] = ["run", tmp_path / "small.toml", "--out", tmp_path / "run"]
    result = CliRunner().invoke(app, [*map(str, words), "--tensorboard", str(tmp_path / "curves")])
    assert result.exit_code == 2
    assert "the package tensorboard installed" in result.stderr
    assert not (tmp_path / "run").exists()


def test_the_real_writer_takes_it(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with tensorboard(tmp_path) as watch:
        run(config(run={"seeds": [0], "num_server_rounds": 1}), on_event=watch)
    assert len(list(tmp_path.rglob("events.out.tfevents.*"))) == 2
