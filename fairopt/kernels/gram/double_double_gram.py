"""The Gram matrix of gradients in twice the digits, and their combinations.

Products are exact (Dekker). They are added, as sums of two floats, in `LANES` lanes side by side;
the lanes of a block by halves; the blocks one after the other. An addition errs by at most 2^-104
of the sizes of its two terms, so an entry errs by at most 2^-104 times the largest number of
additions that a product goes through (`additions`), times sum |h_ik h_jk| <= |h_i| |h_j|.

Rows must be scaled so that their largest entry is at most 1: products of entries that are smaller
by 2^480 are lost, which `LOST` covers.
"""

from __future__ import annotations

import numpy as np

from fairopt.arrays import Array
from fairopt.kernels.double_double import LOST, SPLITTER, TWICE, accumulate, multiply
from fairopt.kernels.jit import allocating, gufunc

LANES = 64
BLOCK = 2048  # entries of a row; the halves of 64 rows fit the second-level cache


def additions(D: int) -> int:
    """How many additions a product of two entries goes through, at most, but for those to zero."""
    in_lane = -(-min(D, BLOCK) // LANES) - 1
    halves = (min(D, LANES) - 1).bit_length()
    return in_lane + halves + -(-D // BLOCK) - 1


def gram_error(D: int) -> float:
    """A bound of the error of an entry, in units of |h_i| |h_j|."""
    return (additions(D) + 1.0) * TWICE + LOST


@allocating
def split_rows(G: Array, begin: int, m: int, rows: Array, halves: Array) -> None:
    """Copy the next m entries of all rows, zeros up to a multiple of the lanes, and split them."""
    width = -(-m // LANES) * LANES
    for i in range(G.shape[0]):
        for k in range(m):
            rows[i, k] = G[i, begin + k]
        for k in range(m, width):
            rows[i, k] = 0.0
        for k in range(width):
            c = SPLITTER * rows[i, k]
            halves[i, k] = c - (c - rows[i, k])


@allocating
def block_product(
    a: Array, a_half: Array, b: Array, b_half: Array, width: int, sums: Array
) -> tuple[float, float]:
    """Sum of a[k] b[k] over a block, of whole lanes."""
    for l in range(LANES):
        sums[0, l], sums[1, l] = 0.0, 0.0
    for begin in range(0, width, LANES):
        for l in range(LANES):
            x, y, x_half, y_half = a[begin + l], b[begin + l], a_half[begin + l], b_half[begin + l]
            x_rest, y_rest = x - x_half, y - y_half
            product = x * y
            error = x_rest * y_rest - (
                ((product - x_half * y_half) - x_rest * y_half) - x_half * y_rest
            )
            sums[0, l], sums[1, l] = accumulate(sums[0, l], sums[1, l], product, error)
    m = LANES // 2
    while m > 0:
        for l in range(m):
            sums[0, l], sums[1, l] = accumulate(
                sums[0, l], sums[1, l], sums[0, l + m], sums[1, l + m]
            )
        m //= 2
    return sums[0, 0], sums[1, 0]


@gufunc("void(float64[:,:], float64[:,:], float64[:,:])", "(k,d)->(k,k),(k,k)")
def double_double_gram(G: Array, high: Array, low: Array) -> None:
    """Inner products of the rows of G as sums of two floats."""
    K, D = G.shape
    rows, halves = np.empty((K, BLOCK)), np.empty((K, BLOCK))
    sums = np.empty((2, LANES))
    for i in range(K):
        for j in range(K):
            high[i, j], low[i, j] = 0.0, 0.0
    for begin in range(0, D, BLOCK):
        m = min(BLOCK, D - begin)
        width = -(-m // LANES) * LANES
        split_rows(G, begin, m, rows, halves)
        for i in range(K):
            for j in range(i + 1):
                total, rest = block_product(rows[i], halves[i], rows[j], halves[j], width, sums)
                high[i, j], low[i, j] = accumulate(high[i, j], low[i, j], total, rest)
    for i in range(K):
        for j in range(i):
            high[j, i], low[j, i] = high[i, j], low[i, j]


@gufunc(
    "void(float64[:,:], float64[:], float64[:], float64[:], float64[:])",
    "(k,d),(k),(k)->(d),(d)",
)
def double_double_combination(G: Array, v: Array, v_low: Array, high: Array, low: Array) -> None:
    """Sum of (v_k + v_low_k) g_k as a sum of two floats, to (K + 2) 2^-103 sum |v_k g_k|."""
    K, D = G.shape
    sums = np.empty((2, BLOCK))
    for begin in range(0, D, BLOCK):
        m = min(BLOCK, D - begin)
        for k in range(m):
            sums[0, k], sums[1, k] = 0.0, 0.0
        for i in range(K):
            for k in range(m):
                product, error = multiply(v[i], v_low[i], G[i, begin + k], 0.0)
                sums[0, k], sums[1, k] = accumulate(sums[0, k], sums[1, k], product, error)
        for k in range(m):
            high[begin + k], low[begin + k] = sums[0, k], sums[1, k]
