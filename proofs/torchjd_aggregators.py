"""All aggregators of TorchJD, an optional package, as functions of a matrix of gradients."""

from __future__ import annotations

import importlib
import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import numpy as np

from fairopt.arrays import Array
from proofs.aggregator_laws import Aggregate

Arguments = Callable[[int], dict[str, Any]]


def _defaults(K: int) -> dict[str, Any]:
    """None: those of the package."""
    return {}


def _equal_weights(K: int) -> dict[str, Any]:
    """In the gradients' precision."""
    return {"weights": importlib.import_module("torch").full((K,), 1.0 / K)}


AGGREGATORS: MappingProxyType[str, Arguments] = MappingProxyType(
    {
        "Mean": _defaults,
        "Sum": _defaults,
        "Constant": _equal_weights,
        "Random": _defaults,
        "MGDA": _defaults,
        "UPGrad": _defaults,
        "DualProj": _defaults,
        "CAGrad": lambda K: {"c": 0.4},
        "FairGrad": lambda K: {"alpha": 2.0},
        "NashMTL": lambda K: {"n_tasks": K},
        "IMTLG": _defaults,
        "AlignedMTL": _defaults,
        "ConFIG": _defaults,
        "PCGrad": _defaults,
        "GradVac": _defaults,
        "GradDrop": _defaults,
        "ExcessMTL": _defaults,
        "PCD": _defaults,
        "Krum": lambda K: {"n_byzantine": 0, "n_selected": 1},
        "TrimmedMean": lambda K: {"trim_number": (K - 1) // 2},
    }
)
"""Names, and the arguments for K tasks: the defaults where there are any."""
WEIGHTINGS: MappingProxyType[str, Callable[[Any], Any]] = MappingProxyType(
    {
        "MoDo, one batch": lambda package: package.MoDoWeighting(),
        "SDMGrad, one batch": lambda package: package.SDMGradWeighting(),
        "CR-MOGM of MGDA": lambda package: package.CRMOGMWeighting(package.MGDAWeighting()),
    }
)
"""Methods of which there is a weighting only, for the matrix of inner products; some are meant for
the products of two batches, which are the same here."""


def torchjd_aggregators() -> dict[str, Aggregate]:
    """Those that are there; nothing if the package is not installed."""
    try:
        package = importlib.import_module("torchjd.aggregation")
    except ModuleNotFoundError:
        return {}

    def aggregator(name: str) -> Aggregate:
        return _called(lambda K: getattr(package, name)(**AGGREGATORS[name](K)))

    def weighting(name: str) -> Aggregate:
        return _called(lambda K: package.GramianWeightedAggregator(WEIGHTINGS[name](package)))

    return {
        **{f"TorchJD {name}": aggregator(name) for name in AGGREGATORS if hasattr(package, name)},
        **{f"TorchJD {name}": weighting(name) for name in WEIGHTINGS if _there(package, name)},
    }


def _there(package: Any, name: str) -> bool:
    """Whether a weighting can be made."""
    try:
        WEIGHTINGS[name](package)
    except AttributeError:
        return False
    return True


def _called(made: Callable[[int], Any]) -> Aggregate:
    """A fresh aggregator for every matrix, with random numbers that are the same in every run."""
    torch = importlib.import_module("torch")
    calls = itertools.count()

    def aggregate(G: Array) -> Array:
        gradients = torch.from_numpy(G)
        with seeded(next(calls), gradients.dtype):  # other numbers for every call
            return np.asarray(made(len(G))(gradients).numpy())

    return aggregate


@contextmanager
def seeded(seed: int, dtype: Any) -> Iterator[None]:
    """Random numbers from a seed, and new tensors of the gradients' type."""
    torch = importlib.import_module("torch")
    before, state = torch.get_default_dtype(), random.getstate()
    torch.set_default_dtype(dtype)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            random.seed(seed)
            yield
    finally:
        torch.set_default_dtype(before)
        random.setstate(state)
