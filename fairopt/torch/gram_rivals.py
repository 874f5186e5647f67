"""Records of `fairopt.rivals`: published methods that combine gradients, beside our own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.rivals import aligned_mtl, config, gradient_vaccine, imtl_g
from fairopt.solution import Solution
from fairopt.torch.method_state import MethodState, generator
from fairopt.torch.methods import Method, of_tasks


@dataclass(frozen=True)
class AlignedMTL:
    """`fairopt.rivals.aligned_mtl`: gradients made orthogonal and equally long."""

    degree: ClassVar[float] = 0.0

    preference: ArrayLike | None = None

    def solve(self, gram: ArrayLike, *, gram_error: float | None = None) -> Solution:
        """The Aligned-MTL weights."""
        return aligned_mtl(gram, self.preference, gram_error=gram_error)

    def for_tasks(self, tasks: Sequence[int], K: int) -> AlignedMTL:
        """With the preference of these tasks."""
        return replace(self, preference=of_tasks("preference", self.preference, tasks, K))


@dataclass(frozen=True)
class IMTLG:
    """`fairopt.rivals.imtl_g`: equal projections on all gradients, weights of sum one."""

    degree: ClassVar[float] = 0.0

    def solve(self, gram: ArrayLike, *, gram_error: float | None = None) -> Solution:
        """The IMTL-G weights."""
        return imtl_g(gram, gram_error=gram_error)


@dataclass(frozen=True)
class ConFIG:
    """`fairopt.rivals.config`: equal cosines to all gradients, and the length of their sum."""

    degree: ClassVar[float] = 0.0

    preference: ArrayLike | None = None

    def solve(self, gram: ArrayLike, *, gram_error: float | None = None) -> Solution:
        """The ConFIG weights."""
        return config(gram, self.preference, gram_error=gram_error)

    def for_tasks(self, tasks: Sequence[int], K: int) -> ConFIG:
        """With the preference of these tasks."""
        return replace(self, preference=of_tasks("preference", self.preference, tasks, K))


@dataclass(frozen=True)
class GradVac:
    """`fairopt.rivals.gradient_vaccine` with its targets as `state`: each `solve` moves them on.

    Args:
        beta: How fast targets follow the cosines that are seen, in [0, 1].
        rng: A NumPy generator that draws the orders, or the seed of one.
        state: Holds the targets, of the shape of the Gram matrix, and the generator.

    Example:
        >>> method = GradVac()
        >>> method.solve([[1.0, -0.5], [-0.5, 1.0]]).weights
        array([1.5, 1.5])
        >>> method.state.arrays["targets"]
        array([[ 0.  , -0.25],
               [-0.25,  0.  ]])
    """

    degree: ClassVar[float] = 0.0

    beta: float = 0.5
    rng: np.random.Generator | int = 0
    state: MethodState = field(default_factory=MethodState, compare=False, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        checks.number("beta", self.beta, 0.0, 1.0, "a number in [0, 1]")
        if self.state.rng is None:
            self.state.rng = generator(self.rng)

    def solve(self, gram: ArrayLike, *, gram_error: float | None = None) -> Solution:
        """The GradVac weights."""
        assert self.state.rng is not None
        A, _ = checks.gram_matrix(gram)
        targets = self.state.get("targets", A.shape, argument="gram")
        solution, after = gradient_vaccine(
            A, targets, self.beta, self.state.rng, gram_error=gram_error
        )
        self.state.arrays["targets"] = after
        return solution

    def for_tasks(self, tasks: Sequence[int], K: int) -> Method:
        """The same for some of K tasks: targets between absent ones stay."""
        return _SomeTargets(self, tuple(tasks), K)


@dataclass(frozen=True)
class _SomeTargets:
    """`GradVac` for a step in which tasks are absent."""

    method: GradVac
    tasks: tuple[int, ...]
    K: int

    def solve(self, gram: ArrayLike, *, gram_error: float | None = None) -> Solution:
        """The weights of the tasks that are present."""
        chosen = np.ix_(self.tasks, self.tasks)
        state = self.method.state
        whole = state.get("targets", (self.K, self.K), argument="gram")
        some = GradVac(self.method.beta, state=MethodState(state.rng))
        some.state.arrays["targets"] = whole[chosen]
        solution = some.solve(gram, gram_error=gram_error)
        whole[chosen] = some.state.arrays["targets"]
        return solution
