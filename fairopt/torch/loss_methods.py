"""Methods that weigh the losses: from their values alone, or with the lengths of the gradients.

Each is a frozen record with a `state`; `weigh(losses)` gives this step's weights and moves the
state on. Nothing of it belongs to an optimiser of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.arrays import Array, BoolArray
from fairopt.errors import InvalidInput
from fairopt.solution import Solution, Status
from fairopt.torch.learned_numbers import adam_step
from fairopt.torch.method_state import MethodState, generator
from fairopt.torch.task_losses import loss_names, loss_values

if TYPE_CHECKING:
    from typing_extensions import TypeIs

SMALLEST_WEIGHT = 1e-6  # of GradNorm, whose published steps may pass zero


class LossMethod(Protocol):
    """Anything that turns K losses into K weights.

    Attributes:
        needs_gram: Whether `weigh` has to be given the Gram matrix of the gradients.
        state: What it remembers.
    """

    needs_gram: ClassVar[bool]
    state: MethodState

    def weigh(
        self, losses: Any, *, gram: ArrayLike | None = None, present: Sequence[bool] | None = None
    ) -> Solution:
        """Weights of this step: the objective is sum_k weights[k] losses[k]."""


@dataclass(frozen=True)
class AtLosses:
    """A method that weighs losses, at the losses of one step, as one that solves a Gram matrix.

    Args:
        method: Such as `GradNorm()`. Its state moves on with every `solve`.
        losses: As for `LossMethod.weigh`.
        present: As for `LossMethod.weigh`.

    Example:
        >>> AtLosses(FAMO(), [1.0, 3.0]).solve([[1.0, 0.0], [0.0, 1.0]]).weights.round(4)
        array([0.75, 0.25])
    """

    method: LossMethod
    losses: Any
    present: Sequence[bool] | None = None

    def solve(self, gram: ArrayLike, *, gram_error: float | None = None) -> Solution:
        """The weights of this step."""
        A = gram if self.method.needs_gram else None
        return self.method.weigh(self.losses, gram=A, present=self.present)


def is_loss_method(method: object) -> TypeIs[LossMethod]:
    """Whether a method weighs losses, rather than solving for a Gram matrix."""
    return not isinstance(method, type) and callable(getattr(method, "weigh", None))


@dataclass(frozen=True, kw_only=True)
class _LossRecord:
    """What all of them share: checks before the rule is asked, a Solution afterwards."""

    needs_gram: ClassVar[bool] = False
    state: MethodState = field(default_factory=MethodState, compare=False, repr=False)

    def weigh(
        self, losses: Any, *, gram: ArrayLike | None = None, present: Sequence[bool] | None = None
    ) -> Solution:
        """Weights of this step, zero for absent tasks; moves the state of present ones on.

        Args:
            losses: K numbers or scalar tensors, also as a dict or a 1-D tensor.
            gram: (K, K), for `GradNorm` alone.
            present: K booleans, default all.

        Returns:
            `Solution` with the weights. A loss of a present task that is not finite:
            NOT_FINITE, weights zero, and the state stays as it was.

        Raises:
            InvalidInput: for losses that the rule is not defined for, by name.
        """
        values = loss_values(losses)
        K = len(values)
        here = np.ones(K, dtype=np.bool_)
        if present is not None:
            here = checks.bool_array("present", np.asarray(present), K)
        lengths = self._lengths(gram, K)
        if not here.any():
            return Solution(np.zeros(K), Status.OPTIMAL, 0.0, 0)
        known = np.isfinite(values) & np.isfinite(lengths)
        if not known[here].all():
            first = int(np.argmax(here & ~known))
            return Solution(np.zeros(K), Status.NOT_FINITE, np.inf, 0, worst=first)
        self._check(values, here, loss_names(losses, K))
        with np.errstate(all="ignore"):
            weights = np.where(here, self._rule(values, here, lengths), 0.0)
        if not np.isfinite(weights).all():
            return Solution(np.zeros(K), Status.OUT_OF_RANGE, np.inf, 0)
        return Solution(weights, Status.OPTIMAL, 0.0, 0)

    def _lengths(self, gram: ArrayLike | None, K: int) -> Array:
        """Lengths of the gradients, where they are asked for."""
        return np.ones(K)

    def _check(self, values: Array, here: BoolArray, names: list[str]) -> None:
        """Refuse losses for which the rule is not defined."""

    def _rule(self, values: Array, here: BoolArray, lengths: Array) -> Array:
        """Weights; entries of absent tasks do not matter."""
        raise NotImplementedError


def _softmax(logits: Array, here: BoolArray) -> Array:
    """Shares of the present tasks, zero for the others."""
    size = np.where(here, logits, -np.inf)
    powers = np.exp(size - size.max())
    shares: Array = powers / powers.sum()
    return shares


def _refuse(values: Array, good: BoolArray, names: list[str], requirement: str) -> None:
    """Name the first loss that is not good."""
    if not good.all():
        k = int(np.argmin(good))
        raise InvalidInput(names[k], float(values[k]), requirement)


@dataclass(frozen=True)
class RLW(_LossRecord):
    r"""Random loss weighting: the softmax of K standard normal numbers, drawn at every step.

    Args:
        rng: A NumPy generator, or the seed of one. Its place is saved with the state.

    Source: Lin et al. (arXiv 2111.10603), the normal distribution with softmax.

    Example:
        >>> RLW(0).weigh([1.0, 1.0]).weights.sum().round(12)
        np.float64(1.0)
    """

    rng: np.random.Generator | int = 0

    def __post_init__(self) -> None:
        if self.state.rng is None:
            self.state.rng = generator(self.rng)

    def _rule(self, values: Array, here: BoolArray, lengths: Array) -> Array:
        """A softmax of normal numbers."""
        assert self.state.rng is not None
        return _softmax(self.state.rng.standard_normal(len(values)), here)


@dataclass(frozen=True)
class DWA(_LossRecord):
    r"""Dynamic weight average: more weight to losses that fell least from epoch to epoch.

    With L_k(t) the mean loss of task k over epoch t and r_k = L_k(t-1) / L_k(t-2),

    .. math:: \lambda_k = K \, \mathrm{softmax}_k(r / T) ;

    all ones until two epochs are over.

    Args:
        temperature: T > 0.
        period: Steps of an epoch. If None, call `end_epoch()` after each of yours.

    Raises:
        InvalidInput: when an epoch ends whose mean loss is zero or changed its sign, since there
            is no ratio then (negative losses are fine: alpha-fair ones are, for alpha > 1).

    Source: Liu, Johns and Davison (arXiv 1803.10704), equation (7).

    Example:
        >>> method = DWA(period=1)
        >>> for losses in ([4.0, 4.0], [4.0, 2.0]):
        ...     _ = method.weigh(losses)
        >>> method.weigh([4.0, 1.0]).weights.round(3)  # softmax of (1, 1/2) / 2, times 2
        array([1.124, 0.876])
    """

    temperature: float = 2.0
    period: int | None = None

    def __post_init__(self) -> None:
        checks.positive_number("temperature", self.temperature)
        if self.period is not None:
            checks.count("period", self.period, 1)

    def _rule(self, values: Array, here: BoolArray, lengths: Array) -> Array:
        """A softmax of the ratios of the mean losses of two epochs, times the number of tasks."""
        K = values.shape
        if self.period is not None and self.state.get("steps", (1,))[0] >= self.period:
            self.end_epoch()
        older, newer = self.state.get("older", K), self.state.get("newer", K)
        total, count = self.state.get("total", K), self.state.get("count", K)
        total[here] += values[here]
        count[here] += 1.0
        self.state.get("steps", (1,))[0] += 1.0
        if (older[here] == 0.0).any():
            return np.ones(K)
        ratios = np.divide(newer, older, out=np.zeros(K), where=here)
        ratios = np.minimum(ratios, np.finfo(np.float64).max)
        weights: Array = here.sum() * _softmax(ratios / self.temperature, here)
        return weights

    def end_epoch(self) -> None:
        """Close the epoch: its means become those that the next weights compare."""
        if "count" not in self.state.arrays:
            return
        K = self.state.arrays["count"].shape
        newer, count = self.state.get("newer", K), self.state.get("count", K)
        seen = count > 0.0
        mean = np.divide(self.state.get("total", K), count, out=newer.copy(), where=seen)
        good = (mean * np.where(newer == 0.0, mean, newer) > 0.0) | ~seen
        _refuse(mean, good, [f"mean loss[{k}]" for k in range(len(mean))], "of one sign, not zero")
        self.state.arrays["older"] = newer
        self.state.arrays["newer"] = mean
        for name in ("total", "count", "steps"):
            self.state.arrays[name] = np.zeros_like(self.state.arrays[name])


@dataclass(frozen=True)
class Uncertainty(_LossRecord):
    r"""Uncertainty weighting: a learned log variance s_k per task.

    Problem: minimise :math:`\sum_k \tfrac12 e^{-s_k} l_k + \tfrac12 s_k` over the model and s
    together; weights are :math:`\tfrac12 e^{-s_k}`. At rest e^s = l: a weight of 1 / (2 l). Losses
    are meant to be > 0: for others s falls without end.

    Args:
        rate: Learning rate of s, which Adam moves from 0 after every step, as a parameter group of
            its own in a joint optimiser would be.

    Source: Kendall, Gal and Cipolla (arXiv 1705.07115), equation (7) in s = log sigma^2.

    Example:
        >>> Uncertainty().weigh([3.0, 1.0]).weights
        array([0.5, 0.5])
    """

    rate: float = 0.025

    def __post_init__(self) -> None:
        checks.positive_number("rate", self.rate)

    def _rule(self, values: Array, here: BoolArray, lengths: Array) -> Array:
        """Half the inverse of a learned variance."""
        s = self.state.get("log_variance", values.shape)
        weights: Array = 0.5 * np.exp(-s)
        adam_step(self.state, "log_variance", 0.5 - weights * values, self.rate, here)
        return weights


@dataclass(frozen=True)
class IMTLL(_LossRecord):
    r"""IMTL-L, the loss balance of impartial multi-task learning: a learned scale per task.

    Problem: minimise :math:`\sum_k e^{s_k} l_k - s_k` over the model and s together; weights are
    :math:`e^{s_k}`. At rest every weighted loss is one. It is `Uncertainty` with the sign of s
    turned, times two.

    Args:
        rate: As in `Uncertainty`.

    Source: Liu et al., Towards impartial multi-task learning (ICLR 2021), its loss balance.

    Example:
        >>> IMTLL().weigh([3.0, 1.0]).weights
        array([1., 1.])
    """

    rate: float = 0.025

    def __post_init__(self) -> None:
        checks.positive_number("rate", self.rate)

    def _rule(self, values: Array, here: BoolArray, lengths: Array) -> Array:
        """The exponential of a learned number."""
        weights = np.exp(self.state.get("log_scale", values.shape))
        adam_step(self.state, "log_scale", weights * values - 1.0, self.rate, here)
        return weights


@dataclass(frozen=True)
class FAMO(_LossRecord):
    r"""Fast adaptive multitask optimisation: equal decrease of the log losses, from losses alone.

    With z = softmax(xi) and D_k = l_k - b_k + epsilon the weights are :math:`c z_k / D_k`,
    :math:`1/c = \sum_k z_k / D_k`: a convex combination of gradients. After the model's step call
    `update` with the losses of the *same batch*: with
    :math:`\delta_k = \log D_k^{before} - \log D_k^{after}` Adam moves xi against
    :math:`(\partial z / \partial \xi)^\top \delta + \gamma \xi`, so tasks that fell less gain.
    Without `update` z stays uniform.

    Args:
        rate: Learning rate of xi.
        decay: gamma >= 0. Released code has 1e-5; 1e-3 is that of the paper and LibMTL.
        minimum: b, lower bounds of the losses, a number or K of them.
        epsilon: Added to the differences, as in released code; 0 makes the rule free of units.

    Raises:
        InvalidInput: for a loss with D <= 0.

    Source: Liu et al. (arXiv 2306.03792), algorithm 1.

    Example:
        >>> method = FAMO()
        >>> method.weigh([2.0, 1.0]).weights.round(4)
        array([0.3333, 0.6667])
        >>> method.update([1.0, 1.0])  # only the first one fell
        >>> method.weigh([1.0, 1.0]).weights.round(4)
        array([0.4875, 0.5125])
    """

    rate: float = 0.025
    decay: float = 1e-3
    minimum: ArrayLike = 0.0
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        checks.positive_number("rate", self.rate)
        checks.radius("decay", self.decay)
        checks.radius("epsilon", self.epsilon)
        bounds = checks.real_array("minimum", self.minimum)
        finite = np.atleast_1d(np.isfinite(bounds))
        checks.all_where("minimum", np.atleast_1d(bounds), finite, "finite")

    def _gaps(self, values: Array) -> Array:
        """D, (K,)."""
        bounds = np.asarray(self.minimum, dtype=np.float64)
        if bounds.ndim and bounds.shape != values.shape:
            raise InvalidInput("minimum", bounds, f"a number or {len(values)} of them")
        return values - bounds + self.epsilon

    def _check(self, values: Array, here: BoolArray, names: list[str]) -> None:
        """Refuse losses that are not above their minimum."""
        good = (self._gaps(values) > 0.0) | ~here
        _refuse(values, good, names, "> minimum - epsilon")

    def _rule(self, values: Array, here: BoolArray, lengths: Array) -> Array:
        """A softmax of learned numbers, over the gaps of the losses."""
        gaps = np.where(here, self._gaps(values), 1.0)
        z = _softmax(self.state.get("logits", values.shape), here)
        self.state.arrays["before"] = np.where(here, np.log(gaps), np.nan)
        shares = z * (gaps[here].min() / gaps)
        weights: Array = shares / shares.sum()
        return weights

    def update(self, losses: Any) -> None:
        """Learn from the losses of the batch that was just weighed, after the model's step.

        Tasks that were absent, and losses that are not finite, are left out.
        """
        values = loss_values(losses)
        K = values.shape
        before = self.state.get("before", K, np.nan)
        here = np.isfinite(values) & np.isfinite(before)
        if not here.any():
            return
        self._check(values, here, loss_names(losses, len(values)))
        z = _softmax(self.state.get("logits", K), here)
        after = np.log(np.where(here, self._gaps(values), 1.0))
        delta = np.where(here, before - after, 0.0)
        slope = z * (delta - z @ delta) + self.decay * self.state.get("logits", K)
        adam_step(self.state, "logits", slope, self.rate, here)


@dataclass(frozen=True)
class GradNorm(_LossRecord):
    r"""Gradient normalisation: learned weights that give all tasks gradients of equal length.

    With n_k the length of task k's gradient, G_k = w_k n_k, :math:`\bar G` their mean and
    :math:`r_k = \tilde l_k / \mathrm{mean}(\tilde l)`, :math:`\tilde l_k = l_k / l_k(0)`: a step of
    Adam on w against :math:`\sum_k |G_k - \bar G r_k^\alpha|`, the targets held fixed, divided by
    :math:`\bar G` to be free of units; then w is scaled to sum K. Weights of this step are those
    before it; they start at one.

    Args:
        alpha: Strength with which slow tasks are pulled forward, >= 0.
        rate: Learning rate of w.
        initial: l(0), K numbers > 0; default the losses of the first step.

    `weigh` needs `gram=`, the Gram matrix of the gradients for the weights that GradNorm watches
    (the last shared layer in the paper); only its diagonal counts. Weights are kept at 1e-6 at
    least, which the paper leaves open.

    Source: Chen et al. (arXiv 1711.02257), equations (1) and (2), algorithm 1.

    Example:
        >>> import numpy as np
        >>> method = GradNorm(rate=0.1)
        >>> _ = method.weigh([1.0, 1.0], gram=np.diag([4.0, 1.0]))
        >>> method.weigh([1.0, 1.0], gram=np.diag([4.0, 1.0])).weights.round(3)
        array([0.9, 1.1])
    """

    needs_gram: ClassVar[bool] = True
    alpha: float = 1.5
    rate: float = 0.025
    initial: ArrayLike | None = None

    def __post_init__(self) -> None:
        checks.radius("alpha", self.alpha)
        checks.positive_number("rate", self.rate)
        if self.initial is not None:
            checks.positive_vector("initial", self.initial)

    def _lengths(self, gram: ArrayLike | None, K: int) -> Array:
        """Lengths of the gradients, from their Gram matrix."""
        if gram is None:
            raise InvalidInput("gram", gram, "the Gram matrix of the gradients that GradNorm needs")
        A, _ = checks.gram_matrix(gram)
        if A.shape != (K, K):
            raise InvalidInput("gram", f"array of shape {A.shape}", f"of shape ({K}, {K})")
        square = np.diag(A)
        checks.all_where("gram", square, ~(square < 0.0), "with squared lengths on its diagonal")
        return np.sqrt(square)

    def _check(self, values: Array, here: BoolArray, names: list[str]) -> None:
        """Refuse losses that are not positive."""
        _refuse(values, (values > 0.0) | ~here, names, "> 0")

    def _rule(self, values: Array, here: BoolArray, lengths: Array) -> Array:
        """Learned weights, after a step towards equal training rates."""
        K = values.shape
        first = self.state.get("initial", K, np.nan)
        if self.initial is not None:
            first[:] = checks.positive_vector("initial", self.initial, len(values))
        new = np.isnan(first) & here
        first[new] = values[new]
        w = self.state.get("weights", K, 1.0)
        weights = w.copy()
        lengths = lengths / max(lengths[here].max(), np.finfo(np.float64).tiny)
        G = w * lengths
        logs = np.log(np.where(here, values / first, 1.0))
        rate = np.exp(logs - logs[here].max())
        targets = G[here].mean() * (rate / rate[here].mean()) ** self.alpha
        slope = np.sign(G - targets) * lengths / max(G[here].mean(), np.finfo(np.float64).tiny)
        adam_step(self.state, "weights", slope, self.rate, here)
        w = np.maximum(self.state.get("weights", K), SMALLEST_WEIGHT)
        w[here] *= weights[here].sum() / w[here].sum()
        self.state.arrays["weights"] = w
        return weights
