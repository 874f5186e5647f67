"""What to do with a step that is not finite, and with scaled losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fairopt.errors import InvalidInput


def scaled_losses(losses: Sequence[Tensor], loss_scale: Any) -> tuple[list[Tensor], float, bool]:
    """The losses to differentiate, the factor they carry, and whether a scaler watches.

    A number says that the losses carry it already; a `GradScaler` scales them now.
    """
    if loss_scale is None:
        return list(losses), 1.0, False
    if callable(getattr(loss_scale, "scale", None)):
        found = [loss_scale.scale(loss) for loss in losses]
        return found, float(loss_scale.get_scale()), True
    value = loss_scale.item() if isinstance(loss_scale, Tensor) else loss_scale
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise InvalidInput("loss_scale", loss_scale, "a positive number or a GradScaler")
    if not 0.0 < float(value) < math.inf:
        raise InvalidInput("loss_scale", value, "positive and finite")
    return list(losses), float(value), False


def all_finite(tensors: Sequence[Tensor]) -> bool:
    """Whether no entry is NaN or inf, with one answer from each device and dtype."""
    dense = [t.coalesce().values() if t.layout == torch.sparse_coo else t for t in tensors]
    dense = [t for t in dense if t.numel()]
    if not dense:
        return True
    kinds: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for t in dense:
        kinds.setdefault((t.device, t.dtype), []).append(t)
    largest = [torch.stack(torch._foreach_norm(group, math.inf)) for group in kinds.values()]
    return all(bool(norms.isfinite().all()) for norms in largest)
