"""What the ranks of a data-parallel job have to agree on before they add anything up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fairopt.errors import InvalidInput

Reduce = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Ranks:
    """One rank's view of all; without a `reduce` it is alone.

    Attributes:
        reduce: Sums (or averages) a tensor over the ranks; None for a single process.
    """

    reduce: Reduce | None

    @property
    def alone(self) -> bool:
        """Whether there is nothing to add up."""
        return self.reduce is None

    def total(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over the ranks."""
        if self.reduce is None:
            return tensor
        if not callable(self.reduce):
            raise InvalidInput("reduce", self.reduce, "a function that sums a tensor over ranks")
        found = self.reduce(tensor)
        if not isinstance(found, Tensor) or found.shape != tensor.shape:
            what = tuple(found.shape) if isinstance(found, Tensor) else found
            requirement = f"a function that returns a tensor of shape {tuple(tensor.shape)}"
            raise InvalidInput("reduce", f"a function that returned {what}", requirement)
        return found

    def anywhere(self, flags: Sequence[bool], like: Tensor) -> list[bool]:
        """Which flags are set on some rank."""
        if self.reduce is None or not flags:
            return list(flags)
        total = self.total(torch.tensor([float(flag) for flag in flags], device=like.device))
        return [count > 0.0 for count in total.tolist()]

    def check_alike(self, sizes: Sequence[int], like: Tensor) -> None:
        """Refuse, on all ranks alike, parameters that are not the same on every rank.

        With the sums of 1, c and c^2 over the ranks, all c are equal iff n sum c^2 = (sum c)^2.
        """
        if self.reduce is None:
            return
        facts = [float(len(sizes)), float(sum(sizes) % 9973)]
        sent = torch.tensor([1.0, *facts, *(c * c for c in facts)], dtype=torch.float64)
        n, a, b, aa, bb = self.total(sent.to(like.device)).tolist()
        if abs(n * aa - a * a) > 1e-9 * a * a or abs(n * bb - b * b) > 1e-9 * b * b:
            raise InvalidInput(
                "losses",
                f"{len(sizes)} parameters beside the shared ones, another number on another rank",
                "losses that reach the same parameters on every rank; compute the loss of a task"
                " that is absent on one rank there too, and say `present`",
            )
