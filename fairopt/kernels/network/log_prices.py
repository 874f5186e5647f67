"""Sums and maxima over the entries of A that only fit into float64 as logarithms, without copies.

Arrays must be contiguous, which is not checked here.
"""

from __future__ import annotations

import math

from fairopt.arrays import Array
from fairopt.kernels.jit import gufunc, helper
from fairopt.kernels.linear import fill
from fairopt.kernels.network.flow_rates import SAME, form_of


@helper
def plain_sums(indptr: Array, links: Array, log_weight: Array, total: Array) -> None:
    """Fill sum_i v_i, the price of a link on its own at alpha = 1."""
    fill(total, 0.0)
    for i in range(log_weight.size):
        weight = math.exp(log_weight[i])
        for e in range(indptr[i], indptr[i + 1]):
            total[links[e]] += weight


_ALONE = (
    "void(uint32[::1], uint32[::1], float64[::1], float64, float64[::1], float64[::1],"
    " float64[::1])"
)


@gufunc(_ALONE, "(p),(e),(e),(),(n),(m)->(m)")
def alone(indptr, links, entries, alpha, log_weight, total, log_price):  # type: ignore[no-untyped-def]
    """Fill alpha log sum_i a_li^(1 - 1 / alpha) v_i^(1 / alpha); `total` is overwritten.

    Each sum is kept relative to its largest term so far.
    """
    if form_of(alpha, log_weight) == SAME:
        plain_sums(indptr, links, log_weight, total)
        for link in range(log_price.size):
            log_price[link] = math.log(total[link])
        return
    slope = 1.0 - 1.0 / alpha
    fill(log_price, -math.inf)
    fill(total, 0.0)
    for i in range(log_weight.size):
        own = log_weight[i] / alpha
        for e in range(indptr[i], indptr[i + 1]):
            link, term = links[e], own
            if slope != 0.0:
                term += slope * math.log(entries[e])
            if term <= log_price[link]:
                total[link] += math.exp(term - log_price[link])
            elif total[link] > 0.0:
                total[link] = 1.0 + total[link] * math.exp(log_price[link] - term)
                log_price[link] = term
            else:
                total[link], log_price[link] = 1.0, term
    for link in range(log_price.size):
        log_price[link] = alpha * (log_price[link] + math.log(total[link]))


_LARGEST = "void(uint32[::1], uint32[::1], float64[::1], float64[::1], float64[::1], float64[::1])"


@gufunc(_LARGEST, "(p),(e),(e),(m),(n)->(n)")
def largest_part(indptr, links, entries, log_prices, least, log_part):  # type: ignore[no-untyped-def]
    """Fill log max_l a_li lambda_l of every flow, or `least` if that is more."""
    for i in range(least.size):
        top = least[i]
        for e in range(indptr[i], indptr[i + 1]):
            top = max(top, math.log(entries[e]) + log_prices[links[e]])
        log_part[i] = top
