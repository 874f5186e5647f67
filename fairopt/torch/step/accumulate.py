"""Into `.grad`, as autograd does it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def accumulate(pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Add gradients to `.grad`, in place where there is one, and run the hooks that wait for it."""
    with torch.no_grad():
        for p, g in pairs:
            if p.grad is None:
                p.grad = g.detach()
            elif p.grad.layout == torch.strided:
                p.grad.add_(g)
            else:
                p.grad = p.grad + g
            for hook in (getattr(p, "_post_accumulate_grad_hooks", None) or {}).values():
                hook(p)
