"""The examples of `docs/how-to/other-libraries.md` do what they are for."""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from fairopt.torch import FairGrad, backward

LIBMTL = ("LibMTL", "LibMTL.weighting", "LibMTL.weighting.abstract_weighting")


def example(name: str) -> types.ModuleType:
    """A file of `examples/`."""
    return importlib.import_module(f"examples.{name}")


def test_released_loops() -> None:
    weight_method = example("weight_method")
    untrained = weight_method.train("fair", steps=0)
    for name in weight_method.METHODS:
        assert all(np.less(weight_method.train(name, steps=20), untrained))


def test_libmtl(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the one class of LibMTL that the weighting inherits from."""
    for name in LIBMTL:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules[LIBMTL[-1]].AbsWeighting = torch.nn.Module  # type: ignore[attr-defined]
    first, last = example("libmtl_weighting").train(steps=20)
    assert (last < first).all()


@pytest.mark.filterwarnings("ignore")  # Lightning's, about everything that it misses
def test_lightning() -> None:
    pytest.importorskip("lightning")
    before, after = example("lightning_module").train(epochs=2)
    assert all(np.less(after, before))


def test_cvxpy() -> None:
    pytest.importorskip("cvxpy")
    theirs, ours = example("beside_cvxpy").residuals(1.0)
    assert ours < 1e-9 < theirs < 1e-3


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_data_frames(library: str) -> None:
    frames = example("bids_from_data_frames")
    frame = pytest.importorskip(library).DataFrame(frames.TABLE)
    paid = frames.payments(frame, budget=24.0)
    assert paid["ann"] == {"mnist": 5.0}
    assert paid["dan"] == {}
    assert sum(amount for row in paid.values() for amount in row.values()) <= 24.0


def test_a_graph_with_demands() -> None:
    pytest.importorskip("networkx")
    demands = example("demands_on_a_graph")
    one, two = demands.rates(1.0), demands.rates(1.0, paths=2)
    assert (one.loads <= one.capacity * (1 + 1e-9)).all()
    assert np.log(two.rates).sum() > np.log(one.rates).sum()  # more paths, a larger optimum


def test_policy_gradients(tmp_path: Path) -> None:
    """A step of the example's stack is `backward`, repetition by repetition; then a tiny run."""
    walks = example("fairgrad_policy_gradients")
    start, goals = walks.initial(2), torch.tensor(walks.GOALS).repeat(2, 1)
    rewards = torch.tensor(walks.UNEQUAL).repeat(2, 1)
    both = walks.Policy(start)
    losses = walks.losses_of(both, goals, rewards, torch.Generator().manual_seed(3))
    walks.descend(losses, both, FairGrad(2.0))
    again = walks.Policy(start)
    losses = walks.losses_of(again, goals, rewards, torch.Generator().manual_seed(3))
    backward(list(losses[1]), again.trunk, FairGrad(2.0))
    for one, two in zip(both.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one.grad[1], two.grad[1], rtol=1e-3, atol=1e-4)
    scores = walks.compared(walks.EQUAL, 2, 1, 0.1)
    assert scores.shape == (1 + len(walks.METHODS), 2, len(walks.GOALS))
    assert ((scores > 0.0) & (scores < 1.3)).all()
    assert walks.table(scores).count("\n") == len(walks.METHODS)
    walks.plot(scores, walks.EQUAL, str(tmp_path / "scores.png"))
    assert (tmp_path / "scores.png").stat().st_size > 0
