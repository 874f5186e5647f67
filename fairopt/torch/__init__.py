"""Tensors to small arrays and back: Gram matrices, directions, one training step, derivatives.

Everything large stays a tensor here; the decision is made on the (K, K) Gram matrix by the solvers
of `fairopt`. Importing this module imports PyTorch.

Two tasks share one parameter and disagree about it:

    >>> import torch
    >>> from fairopt.torch import FairGrad, backward
    >>> shared = torch.tensor([1.0, 1.0], requires_grad=True)
    >>> losses = [(shared * torch.tensor([1.0, 0.0])).sum(), (shared**2).sum()]
    >>> backward(losses, [shared], FairGrad(alpha=2.0)).status.name
    'OPTIMAL'
    >>> shared.grad.round(decimals=4)
    tensor([1.0978, 0.2680])
"""

from fairopt.extras import extra

with extra("torch"):
    from fairopt.torch.aggregating import aggregate
    from fairopt.torch.alpha_fair_losses import alpha_fair_losses
    from fairopt.torch.derivatives import (
        conflict_averse_weights,
        fairgrad_weights,
        min_norm_weights,
    )
    from fairopt.torch.gram_rivals import IMTLG, AlignedMTL, ConFIG, GradVac
    from fairopt.torch.libmtl_adapters import as_libmtl_weighting
    from fairopt.torch.loss_methods import DWA, FAMO, IMTLL, RLW, GradNorm, LossMethod, Uncertainty
    from fairopt.torch.method_state import MethodState
    from fairopt.torch.methods import (
        ConflictAverse,
        DualCone,
        FairGrad,
        Mean,
        Method,
        MinNorm,
        PreciseMethod,
        UPGrad,
    )
    from fairopt.torch.torchjd_adapters import (
        as_torchjd_aggregator,
        as_torchjd_scalarizer,
        as_torchjd_weighting,
    )
    from fairopt.torch.training_step import backward
    from fairopt.torch.updates import combine, gram, gram_error
    from fairopt.torch.weight_method_adapters import as_weight_method
    from fairopt.torch.weighted_loss import weighted_loss

__all__ = [
    "gram",
    "gram_error",
    "combine",
    "aggregate",
    "backward",
    "Method",
    "PreciseMethod",
    "FairGrad",
    "ConflictAverse",
    "MinNorm",
    "DualCone",
    "UPGrad",
    "Mean",
    "GradVac",
    "AlignedMTL",
    "IMTLG",
    "ConFIG",
    "LossMethod",
    "MethodState",
    "RLW",
    "DWA",
    "Uncertainty",
    "FAMO",
    "IMTLL",
    "GradNorm",
    "alpha_fair_losses",
    "weighted_loss",
    "fairgrad_weights",
    "conflict_averse_weights",
    "min_norm_weights",
    "as_torchjd_weighting",
    "as_torchjd_aggregator",
    "as_torchjd_scalarizer",
    "as_libmtl_weighting",
    "as_weight_method",
]
