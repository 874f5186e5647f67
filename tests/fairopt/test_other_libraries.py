"""The examples of `docs/how-to/other-libraries.md` do what they are for."""

from __future__ import annotations

import importlib
import sys
import types

import numpy as np
import pytest
import torch

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
