"""Into `.grad`, as autograd does it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def accumulate(pairs: Iterable[tuple[Tensor, Tensor]], owned: bool) -> None:
    """Add gradients to `.grad`, in place where there is one, and run the hooks that wait for it.

    What is not `owned` may share memory with something else (autograd hands out one tensor for both
    terms of a sum, or an expanded one), and is copied.
    """
    with torch.no_grad():
        for p, g in pairs:
            if p.grad is None:
                p.grad = g.detach() if owned else copied(g)
            elif p.grad.layout == torch.strided:
                p.grad.add_(g)
            else:
                p.grad = p.grad + g
            for hook in (getattr(p, "_post_accumulate_grad_hooks", None) or {}).values():
                hook(p)


def copied(g: Tensor) -> Tensor:
    """The same numbers in memory of their own."""
    if g.layout != torch.strided:
        return g.detach().clone()
    return g.detach().clone(memory_format=torch.contiguous_format)
