"""The callbacks of `docs/extending.md`, run against trackers of ours with the same calls."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fl_runtime.configuration.toml_files import check_config
from fl_runtime.runs import run
from tests.fl_runtime.extension.test_own_parts import small

PAGE = Path(__file__).parents[3] / "docs" / "extending.md"


def block(name: str) -> str:
    """The Python block of the page that imports a package."""
    found = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (mine,) = [text for text in found if text.startswith(f"import {name}\n")]
    return str(mine)


@dataclass
class Tracker:
    """What both of them do: one run at a time, figures by step."""

    runs: list[dict[str, Any]] = field(default_factory=list)
    open: bool = False

    def start(self, name: str, **about: Any) -> None:
        assert not self.open
        self.open = True
        self.runs.append({"name": name, "steps": {}, **about})

    def log(self, figures: dict[str, float], step: int) -> None:
        assert self.open
        assert all(isinstance(value, int | float) for value in figures.values())
        self.runs[-1]["steps"][step] = figures

    def finish(self) -> None:
        assert self.open
        self.open = False


def wandb(tracker: Tracker) -> ModuleType:
    """`init` gives a run with `log` and `finish`."""
    module: Any = ModuleType("wandb")

    def init(project: str, group: str, name: str) -> Tracker:
        tracker.start(name, project=project, group=group)
        return tracker

    module.init = init
    return module  # type: ignore[no-any-return]


def mlflow(tracker: Tracker) -> ModuleType:
    """Functions of the module, about the run that is active."""
    module: Any = ModuleType("mlflow")
    project: list[str] = []
    module.set_experiment = project.append
    module.active_run = lambda: tracker if tracker.open else None
    module.start_run = lambda run_name: tracker.start(run_name, project=project[-1])
    module.log_metrics = tracker.log
    module.end_run = tracker.finish
    return module  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("make", "argument"), [(wandb, "project"), (mlflow, "experiment")], ids=["wandb", "mlflow"]
)
def test_the_page_s_callback_writes_every_round(
    make: Any, argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = Tracker()
    fake = make(tracker)
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    module = f"tracked_by_{fake.__name__}"
    (tmp_path / f"{module}.py").write_text(block(fake.__name__), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    tree = small(
        run__seeds=[0, 1],
        run__num_server_rounds=2,
        run__callbacks=[{"name": f"{module}:to_{fake.__name__}", argument: "tasks"}],
    )
    tree["arm"] = [{"name": "one"}, {"name": "two", "run.algorithm": "round-robin"}]
    history = run(check_config(tree))
    assert not tracker.open
    names = [f"{arm}, seed {seed}" for seed in (0, 1) for arm in ("one", "two")]
    assert [each["name"] for each in tracker.runs] == names
    assert {each["project"] for each in tracker.runs} == {"tasks"}
    rows = [row for row in history.rows if row["event"] == "round"]
    logged = [figures for each in tracker.runs for figures in each["steps"].values()]
    assert [figures["wine/eval_acc"] for figures in logged] == [r["wine/eval_acc"] for r in rows]
    assert [sorted(each["steps"]) for each in tracker.runs] == [[1, 2]] * 4
    sys.modules.pop(module)
