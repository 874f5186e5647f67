"""All weightings of LibMTL, run from a checkout of it, as functions of a matrix of gradients.

LibMTL looks for classes by name in a trainer; here each is joined to the smallest model there is:
one vector of shared parameters at 0, and the loss 1 + g_k . theta for each task k. The gradients
after its `backward` are the direction, at the first step of a fresh instance, in float64.
"""

from __future__ import annotations

import importlib
import itertools
import subprocess
import sys
import types
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from fairopt.arrays import Array
from fairopt.errors import InvalidInput
from proofs.aggregator_laws import Aggregate
from proofs.torchjd_aggregators import seeded

ARGUMENTS: MappingProxyType[str, dict[str, Any]] = MappingProxyType(
    {
        "EW": {},
        "GradNorm": {"alpha": 1.5},
        "MGDA": {"mgda_gn": "none"},
        "UW": {},
        "DWA": {"T": 2.0},
        "GLS": {},
        "GradDrop": {"leak": 0.0},
        "PCGrad": {},
        "GradVac": {"GradVac_beta": 0.5, "GradVac_group_type": 0},
        "IMTL": {},
        "CAGrad": {"calpha": 0.4, "rescale": 0},
        "Nash_MTL": {"update_weights_every": 1, "optim_niter": 20, "max_norm": 0.0},
        "RLW": {},
        "MoCo": {
            "MoCo_beta": 0.5,
            "MoCo_beta_sigma": 0.5,
            "MoCo_gamma": 0.1,
            "MoCo_gamma_sigma": 0.5,
            "MoCo_rho": 0.0,
        },
        "Aligned_MTL": {},
        "DB_MTL": {"DB_beta": 0.9, "DB_beta_sigma": 0.0},
        "STCH": {"STCH_mu": 1.0, "STCH_warmup_epoch": 4},
        "ExcessMTL": {"robust_step_size": 1e-2},
        "FairGrad": {"FairGrad_alpha": 2.0},
        "FAMO": {"FAMO_w_lr": 0.025, "FAMO_w_gamma": 1e-3},
        "MoDo": {"MoDo_gamma": 1e-3, "MoDo_rho": 0.1},
        "SDMGrad": {"SDMGrad_lamda": 0.3, "SDMGrad_niter": 20},
        "UPGrad": {"UPGrad_norm_eps": 0.0001, "UPGrad_reg_eps": 0.0001},
    }
)
"""Names and arguments: the defaults of its command line, but for `calpha` and `FairGrad_alpha`,
which are those of our solvers, and without rescaling (`CAGrad`) and clipping (`Nash_MTL`)."""
THREE_BATCHES = ("MoDo", "SDMGrad")
"""Those that take the losses of three batches, which are the same here."""


def libmtl_weightings(checkout: Path) -> dict[str, Aggregate]:
    """Those that a checkout has.

    Raises:
        InvalidInput: There is no LibMTL in the folder.
    """
    if not (checkout / "LibMTL" / "weighting" / "__init__.py").is_file():
        raise InvalidInput("--libmtl", str(checkout), "a folder with the package LibMTL in it")
    package = types.ModuleType("LibMTL")  # without its trainer, which wants torchvision
    package.__path__ = [str(checkout / "LibMTL")]
    sys.modules["LibMTL"] = package
    weighting = importlib.import_module("LibMTL.weighting")
    names = [name for name in ARGUMENTS if hasattr(weighting, name)]
    return {f"LibMTL {name}": _called(name, getattr(weighting, name)) for name in names}


def libmtl_version(checkout: Path) -> str:
    """Its commit, if it is a clone."""
    command = ["git", "-C", str(checkout), "rev-parse", "--short=7", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"at commit {done.stdout.strip()}" if done.returncode == 0 else "of an unnamed version"


def _called(name: str, weighting: Any) -> Aggregate:
    """A fresh model for every matrix, with random numbers that are the same in every run."""
    torch = importlib.import_module("torch")
    calls = itertools.count()

    def aggregate(G: Array) -> Array:
        gradients = torch.from_numpy(G)
        with seeded(next(calls), gradients.dtype):
            model = _model(weighting, gradients)
            values = 1.0 + gradients @ model.theta
            losses = torch.stack([values] * 3) if name in THREE_BATCHES else values
            model.backward(losses, **ARGUMENTS[name])
        return np.asarray(model.theta.grad.numpy())

    return aggregate


def _model(weighting: Any, gradients: Any) -> Any:
    """What LibMTL's trainer makes: one class of an architecture and the weighting."""
    torch = importlib.import_module("torch")
    K, D = gradients.shape

    class Architecture(torch.nn.Module):  # type: ignore[misc, name-defined]
        """One shared vector."""

        def __init__(self) -> None:
            super().__init__()
            self.task_num, self.device, self.rep_grad, self.epoch = K, torch.device("cpu"), False, 0
            self.task_name = [str(k) for k in range(K)]
            self.train_loss_buffer = np.ones((K, 2))
            self.encoder = torch.nn.Module()
            self.decoders: dict[str, Any] = {}
            self.encoder.theta = torch.nn.Parameter(torch.zeros(D))

        @property
        def theta(self) -> Any:
            """The shared vector."""
            return self.encoder.theta

        def get_share_params(self) -> Any:
            """It alone."""
            return self.encoder.parameters()

        def zero_grad_share_params(self) -> None:
            """As LibMTL's architectures do."""
            self.encoder.zero_grad(set_to_none=False)

    model = type("Model", (Architecture, weighting), {})()
    model.init_param()
    return model
