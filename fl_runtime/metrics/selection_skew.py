"""Are those that train a task an image of all its clients? A figure whose mean is 1 if they are."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray


def selection_skew(shares: NDArray[np.float64], trainers: Collection[int]) -> float:
    r"""Squared distance of the trainers' mixture from that of all, over that of a random choice.

    .. math:: \frac{\lVert \bar q_K - \bar q \rVert^2}
        {\frac{1}{m} \frac{N - m}{N - 1} \frac1N \sum_k \lVert q_k - \bar q \rVert^2}

    Symbols: :math:`q_k` shares of the strata in the examples of client k, means over all N clients
    that have some and over the m different ones that trained.

    The denominator is the expectation of the numerator where every set of m clients is as likely,
    so the mean over rounds is 1 without bias; a bias adds its own squared length. Averages over
    rounds of one recruitment have the luck of that recruitment in them; those over seeds have not.

    Args:
        shares: (num_clients, num_strata), rows of sum one, or of NaN for clients without examples.
        trainers: Numbers of the clients that trained.

    Returns:
        NaN where nobody trained or everybody did, or all clients are alike.

    Source: sampling without replacement; the use of it is ours, after the failure mode "biased
    selection" of FedFairMMFL (arXiv 2404.13841).

    Example:
        >>> kinds = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> selection_skew(kinds, {0, 1}), selection_skew(kinds, {0, 2})
        (3.0, 0.0)
    """
    known = np.isfinite(shares).all(axis=1)
    chosen = np.isin(np.arange(len(shares)), list(trainers)) & known
    N, m = int(known.sum()), int(chosen.sum())
    if not 0 < m < N:
        return math.nan
    centre = shares[known].mean(axis=0)
    spread = float(((shares[known] - centre) ** 2).sum() / N)
    seen = float(((shares[chosen].mean(axis=0) - centre) ** 2).sum())
    return seen / (spread / m * (N - m) / (N - 1)) if spread > 0.0 else math.nan
