"""One module of a user's own with everything: run from TOML, killed, resumed, edited, refused."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests import forked
from tests.fl_runtime.extension.test_trackers import PAGE

HEAD = '''
"""Data, model, loss, metric, partition and algorithms of one's own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fl_runtime import FedAvg
from fl_runtime.algorithms.base import Memory
from fl_runtime.data.dataset import Data
from fl_runtime.training.job import Update
from fl_runtime.training.task import Params


def waves(count=240):
    """Heights at places, of which some are not known."""
    x = np.random.default_rng(0).uniform(-2.0, 2.0, size=(count, 2)).astype(np.float32)
    y = np.sin(x.sum(axis=1))
    return Data(x, np.where(np.arange(count) % 7 == 0, np.nan, y), 1)


def net(example_shape, outputs, hidden, width=8):
    """Two layers."""
    first, last = torch.nn.Linear(example_shape[0], width), torch.nn.Linear(width, outputs)
    return torch.nn.Sequential(first, torch.nn.Tanh(), last)


@dataclass(frozen=True)
class LogCosh:
    """Between squares and absolute values."""

    def __call__(self, outputs, targets):
        there = ~targets.isnan()
        error = outputs.squeeze(-1) - torch.where(there, targets, 0.0)
        return torch.where(there, torch.log(torch.cosh(error)), 0.0), there.to(outputs.dtype)


@dataclass(frozen=True)
class Within:
    """Share of heights that are met within a distance."""

    distance: float = 0.3
    higher_is_better = True
    range = (0.0, 1.0)

    def statistics(self, outputs, targets):
        there = ~targets.isnan()
        near = ((outputs.squeeze(-1) - targets).abs() <= self.distance) & there
        return torch.stack([near.double(), there.double()], dim=1)

    def value(self, totals):
        return float(totals[0] / totals[1])


@dataclass(frozen=True)
class Growing:
    """The later a client the more it has."""

    def split(self, labels, num_clients, rng):
        ends = np.cumsum(np.arange(num_clients) + 2.0)
        cuts = (ends[:-1] / ends[-1] * labels.size).astype(int)
        return tuple(np.split(rng.permutation(labels.size), cuts))


'''
TOML = """
[run]
algorithm = { name = "mine:FedAdam", rate = 0.01 }
num-server-rounds = 40
[[task]]
name = "waves"
data = "mine:waves"
model = { name = "mine:net", width = 6 }
loss = "mine:LogCosh"
metrics = [{ name = "mine:Within", distance = 0.25 }, "mae"]
[clients]
num-clients = 6
fraction-train = 0.5
batch-size = 8
partition = "mine:Growing"
[[arm]]
name = "adam"
[[arm]]
name = "nova"
"run.algorithm" = "mine:FedNova"
"""
ROWS = 40


def of_the_page() -> str:
    """FedNova and FedAdam as the page shows them."""
    found = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (mine,) = [text for text in found if "class FedNova(" in text]
    return str(mine)


def test_the_page_needs_four_lines_and_five() -> None:
    nova, adam = of_the_page().split("class FedAdam(FedAvg):")
    fed_nova = nova.partition("def coefficients")[2].partition("@dataclass")[0]
    fed_adam = adam.partition("def server_step")[2]
    lines = [[x for x in text.splitlines() if x.strip()] for text in (fed_nova, fed_adam)]
    assert len(lines[0]) == 4  # with the line of its name
    assert len(lines[1]) == 1 + 5


@pytest.mark.slow
def test_a_module_with_everything_runs_resumes_and_is_refused_when_edited(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(HEAD + of_the_page(), encoding="utf-8")
    (tmp_path / "a.toml").write_text(TOML, encoding="utf-8")
    laws = (
        "import fl_runtime as f\n"
        "found = [f.check_loss('mine:LogCosh'), f.check_metric('mine:Within'),\n"
        "         f.check_partition(__import__('mine').Growing()),\n"
        "         f.check_algorithm('mine:FedNova'), f.check_algorithm('mine:FedAdam')]\n"
        "assert found == [[]] * 5, found\n"
    )
    (tmp_path / "laws.py").write_text(laws, encoding="utf-8")
    checked = forked.command("laws", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    whole = forked.command("fl_runtime", "run", "a.toml", "--out", "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    process = forked.start("fl_runtime", "run", "a.toml", "--out", "cut", cwd=tmp_path)
    history = tmp_path / "cut" / "history.jsonl"
    while not (history.exists() and history.read_bytes().count(b"\n") > 5):
        assert process.is_alive()
        time.sleep(0.005)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert history.read_bytes().count(b"\n") < 2 * ROWS  # cut before its end
    own = (tmp_path / "mine.py").read_text(encoding="utf-8")
    (tmp_path / "mine.py").write_text(own.replace("self.rate * m[k]", "m[k]"), encoding="utf-8")
    refused = forked.command("fl_runtime", "resume", "cut", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "has changed, but it must be the source that the run began with" in refused.stderr
    (tmp_path / "mine.py").write_text(own, encoding="utf-8")
    resumed = forked.command("fl_runtime", "resume", "cut", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert history.read_bytes() == (tmp_path / "whole" / "history.jsonl").read_bytes()
