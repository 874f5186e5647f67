r"""What FedHCA2 makes of encoders' and of decoders' updates, as pure functions.

Symbols: :math:`\Delta_i` update of client i's encoder, N of them; :math:`x_k` update of one
parameter tensor of decoder k, K of them, d entries each.

Source: FedHCA2 (arXiv 2311.13250), Hyper Conflict-Averse Aggregation and Hyper Cross Attention
Aggregation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fairopt import cross_attention_weights
from fairopt.torch import ConflictAverse, Mean, aggregate
from fl_runtime.training.directions import outcome
from fl_runtime.training.task import Params

Attention = Literal["released", "scale-free"]
Rescale = Literal["none", "1+c2"]


def shared_direction(deltas: Sequence[Params], c: float, rescale: Rescale) -> tuple[Params, str]:
    r"""The direction that every encoder gets a share of.

    .. math:: \tilde U = \arg\max_U \min_i \langle \Delta_i, U \rangle
              \quad\text{s.t. } \|U - \bar\Delta\| \le c \|\bar\Delta\|

    Args:
        deltas: One update per client.
        c: Radius in [0, 1); 0 gives the mean.
        rescale: `1+c2` divides by 1 + c^2 as released code does; the equation does not.

    Returns:
        The direction, and `decided`, or `undecided` where it is the mean instead.
    """
    found, solution = aggregate(list(deltas), ConflictAverse(c, rescale))
    if solution.ok:
        return found, "decided"
    return aggregate(list(deltas), Mean())[0], outcome(solution.status)


@dataclass(frozen=True)
class Mixed:
    """What attention makes of the decoders' updates.

    Attributes:
        deltas: The mixed updates, in the order of the updates.
        entropy: Mean over tensors and decoders of the entropy of the weights over log K: 1 where
            attention is uniform, 0 where every decoder sees one update only. 1 for K = 1.
        own: Mean weight of a decoder's own update.
        weights: (K, K) mean over tensors of what decoder k (row) gives to decoder l; rows sum to 1.
    """

    deltas: Sequence[Params]
    entropy: float
    own: float
    weights: NDArray[np.float64]


def cross_attention(
    deltas: Sequence[Params], attention: Attention, temperature: float = 1.0
) -> Mixed:
    r"""Every decoder's attention to all, tensor by tensor.

    .. math:: \tilde X = \mathrm{softmax}(X X^T / T) X

    Args:
        deltas: K updates with the same entries of the same shapes.
        attention: T = sqrt(d) times `temperature` as `released`, which depends on the unit of the
            updates (small updates are mixed uniformly); or T = `temperature` times their mean
            square norm, `scale-free`.
        temperature: > 0.
    """
    mixed: list[dict[str, Tensor]] = [{} for _ in deltas]
    entropies, owns = [], []
    weights = np.zeros((len(deltas), len(deltas)))
    for key in deltas[0]:
        X = torch.stack([delta[key].flatten() for delta in deltas])
        A = _attention(X, attention, temperature)
        weights += A / len(deltas[0])
        rows = torch.from_numpy(A).to(X) @ X
        for mine, row, delta in zip(mixed, rows, deltas, strict=True):
            mine[key] = row.reshape(delta[key].shape)
        entropies.append(_entropy(A))
        owns.append(float(np.diag(A).mean()))
    return Mixed(mixed, float(np.mean(entropies)), float(np.mean(owns)), weights)


def _attention(X: Tensor, attention: Attention, temperature: float) -> NDArray[np.float64]:
    """(K, K) weights of the updates of one tensor, rows of sum one."""
    rows = X.double()
    gram = (rows @ rows.T).cpu().numpy()
    unit = np.sqrt(X.shape[1]) if attention == "released" else float(np.trace(gram)) / len(gram)
    return cross_attention_weights(gram, X.shape[1], temperature=unit * temperature or 1.0)


def _entropy(A: NDArray[np.float64]) -> float:
    """Mean entropy of the rows, over its maximum."""
    if len(A) == 1:
        return 1.0
    logs = np.log(A, where=A > 0.0, out=np.zeros_like(A))
    return float(-(A * logs).sum(axis=1).mean() / np.log(len(A)))


def attention_figures(mixtures: Sequence[Mixed]) -> dict[str, float]:
    """Means over layers, for the history; nothing where there was no attention."""
    if not mixtures:
        return {}
    return {
        "attention_entropy": float(np.mean([one.entropy for one in mixtures])),
        "attention_own": float(np.mean([one.own for one in mixtures])),
    }


def pair_name(layer: str, task: str, other: str) -> str:
    """What the attention of a task's decoders to another's is called in the history."""
    return f"attention_{layer}/{task}/{other}"


def pair_figures(
    layer: str, tasks: Sequence[str], weights: NDArray[np.float64]
) -> dict[str, float]:
    r"""Attention of one layer by pairs of tasks, for the history.

    The mean of :math:`K A_{kl}` over decoders k of one task and l of another: 1 where attention is
    uniform, up to K.

    Args:
        layer: Its name.
        tasks: K, of every decoder.
        weights: (K, K), rows of sum one.

    Example:
        >>> pair_figures("3", ["a", "b"], np.array([[0.75, 0.25], [0.5, 0.5]]))["attention_3/a/b"]
        0.5
    """
    names, whose = list(dict.fromkeys(tasks)), np.array(tasks)
    return {
        pair_name(layer, one, other): float(
            len(tasks) * weights[np.ix_(whose == one, whose == other)].mean()
        )
        for one in names
        for other in names
    }
