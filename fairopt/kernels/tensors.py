"""Inner products and combinations of K long vectors that stay where they are, read once each.

A vector is a sequence of segments: addresses of contiguous numbers of float64, float32, bfloat16 or
float16. A few hundred entries of every row are widened to float64 in a cache and used K times
there, in tiles of 4 x 4 sums that stay in registers; the next ones are asked for meanwhile. So a
Gram matrix takes a few times as long as reading the rows.

Rounding of an inner product, in units u = 2^-53 of sum |x_i y_i| <= |x| |y|, and proven for any
number of entries: at most `GRAM_BOUND` u. `tiles.additions` counts the roundings up to a sum of one
block; sums of blocks are added in twice the digits, and their total is rounded once.
"""

from __future__ import annotations

import numpy as np
from numba.np.numpy_support import carray

from fairopt.arrays import Array, Ints
from fairopt.kernels.jit import allocating, gufunc, helper, summing
from fairopt.kernels.tiles import RUN, TILE, add_tile, add_triangle, additions, pointer, prefetch

NOTHING, FLOAT64, FLOAT32, BFLOAT16, FLOAT16 = range(5)
"""Kinds of numbers; a segment of NOTHING is zero, and its address is not read."""

BYTES = (0, 8, 4, 2, 2)
"""Of a number of each kind."""

RUNS = 2  # runs of a block: with 16 rows it fills a first-level cache of 32 kB
BLOCK = RUNS * RUN
GRAM_BOUND = additions(RUNS) + 1
LINE = 64  # bytes that are fetched at a time
WIDTH = 512  # entries of a combination that are summed at a time


@allocating
def widen64(row: Array, address: int, m: int) -> None:
    """Copy float64 numbers."""
    x = carray(pointer(address), (m,), np.float64)
    for d in range(m):
        row[d] = x[d]


@allocating
def widen32(row: Array, address: int, m: int) -> None:
    """Copy float32 numbers."""
    x = carray(pointer(address), (m,), np.float32)
    for d in range(m):
        row[d] = x[d]


@allocating
def widen_bfloat16(row: Array, address: int, m: int) -> None:
    """They are the upper halves of float32 numbers."""
    x = carray(pointer(address), (m,), np.uint16)
    for d in range(m):
        row[d] = np.uint32(np.uint32(x[d]) << 16).view(np.float32)


@allocating
def widen_float16(row: Array, address: int, m: int) -> None:
    """Five bits of exponent become eight; exponents of 0 and 31 are apart."""
    x = carray(pointer(address), (m,), np.uint16)
    for d in range(m):
        size = np.uint32(np.uint32(x[d] & 0x7FFF) << 13)
        offset = 0x38000000 if size < 0x0F800000 else 0x70000000
        value = np.float64(np.uint32(size + offset).view(np.float32))
        if size < 0x00800000:
            value = np.float64(size) * 2.0**-37
        row[d] = -value if x[d] & 0x8000 else value


@allocating
def widen(row: Array, address: int, kind: int, begin: int, m: int) -> None:
    """The m numbers of a segment from `begin` on, in float64."""
    first = address + BYTES[kind] * begin
    if kind == FLOAT32:
        widen32(row, first, m)
    elif kind == FLOAT64:
        widen64(row, first, m)
    elif kind == BFLOAT16:
        widen_bfloat16(row, first, m)
    elif kind == FLOAT16:
        widen_float16(row, first, m)
    else:
        for d in range(m):
            row[d] = 0.0


@allocating
def fetch(address: int, size: int) -> None:
    """Ask for the bytes that will be read next."""
    for line in range(address, address + size, LINE):
        prefetch(line)


@allocating
def aligned(rows: int, width: int) -> Array:
    """Zeros whose rows start at cache lines, and not all in the same set of a cache."""
    words = LINE // 8
    stride = -(-width // words) * words + words
    memory = np.zeros(rows * stride + words)
    first = -(memory.ctypes.data // 8) % words
    return memory[first : first + rows * stride].reshape((rows, stride))


@allocating
def add_block(rows: Array, tiles: int, runs: int, sums: Array, ahead: Ints) -> None:
    """Add the inner products of all rows of a block to sums of two floats.

    Args:
        rows: (4 tiles, `BLOCK`), zero behind the last row and the last entry.
        tiles: Groups of four rows.
        runs: How many runs of every row.
        sums: (tiles, tiles, 2, 16).
        ahead: (2, K) addresses and bytes of what is read next; asked for a few rows at a time, or
            the tiles would wait for memory.
    """
    start, stride = rows.ctypes.data, rows.strides[0]
    K, asked, done, total = ahead.shape[1], 0, 0, tiles * (tiles + 1) // 2
    for i in range(tiles):
        first = start + TILE * i * stride
        for j in range(i):
            add_tile(first, start + TILE * j * stride, stride, runs, sums[i, j].ctypes.data)
            done += 1
            while asked * total < K * done:
                fetch(ahead[0, asked], ahead[1, asked])
                asked += 1
        add_triangle(first, first, stride, runs, sums[i, i].ctypes.data)
        done += 1
        while asked * total < K * done:
            fetch(ahead[0, asked], ahead[1, asked])
            asked += 1


@gufunc("void(int64[:,:], int64[:,:], int64[:], float64[:,:])", "(s,k),(s,k),(s)->(k,k)")
def inner_products(addresses: Ints, kinds: Ints, lengths: Ints, gram: Array) -> None:
    """The Gram matrix of K rows of segments."""
    S, K = addresses.shape
    tiles = -(-K // TILE)
    rows = aligned(TILE * tiles, BLOCK)
    sums, ahead = np.zeros((tiles, tiles, 2, TILE * TILE)), np.zeros((2, K), dtype=np.int64)
    filled = 0
    for s in range(S):
        done = 0
        while done < lengths[s]:
            m = min(BLOCK - filled, lengths[s] - done)
            for k in range(K):
                widen(rows[k][filled:], addresses[s, k], kinds[s, k], done, m)
                size = BYTES[kinds[s, k]]
                ahead[0, k] = addresses[s, k] + size * (done + m)
                ahead[1, k] = size * m
            filled, done = filled + m, done + m
            if filled == BLOCK:
                add_block(rows, tiles, RUNS, sums, ahead)
                filled = 0
    if filled > 0:
        for k in range(K):
            for d in range(filled, BLOCK):
                rows[k, d] = 0.0
        add_block(rows, tiles, -(-filled // RUN), sums, ahead)
    for i in range(K):
        for j in range(i + 1):
            pair = sums[i // TILE, j // TILE]
            p = i % TILE * TILE + j % TILE
            gram[i, j] = pair[0, p] + pair[1, p]
            gram[j, i] = gram[i, j]


@summing
def add_rows(total: Array, w: Array, x0: Array, x1: Array, x2: Array, x3: Array) -> None:
    """Add four rows times their weights to a total."""
    w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
    for d in range(x0.shape[0]):
        total[d] += (w0 * x0[d] + w1 * x1[d]) + (w2 * x2[d] + w3 * x3[d])


@allocating
def add_segments(total: Array, w: Array, four: Ints, kind: int, begin: int, m: int) -> None:
    """The same for segments of float32 or float64, without a copy."""
    first = BYTES[kind] * begin
    p0, p1 = pointer(four[0] + first), pointer(four[1] + first)
    p2, p3 = pointer(four[2] + first), pointer(four[3] + first)
    if kind == FLOAT32:
        x0, x1 = carray(p0, (m,), np.float32), carray(p1, (m,), np.float32)
        x2, x3 = carray(p2, (m,), np.float32), carray(p3, (m,), np.float32)
        add_rows(total, w, x0, x1, x2, x3)
    else:
        y0, y1 = carray(p0, (m,), np.float64), carray(p1, (m,), np.float64)
        y2, y3 = carray(p2, (m,), np.float64), carray(p3, (m,), np.float64)
        add_rows(total, w, y0, y1, y2, y3)


@helper
def common_kind(kinds: Ints) -> int:
    """The kind of four segments; NOTHING if they differ."""
    kind = kinds[0]
    for k in range(1, TILE):
        if kinds[k] != kind:
            return NOTHING
    return kind


@allocating
def add_four(total: Array, w: Array, four: Ints, kinds: Ints, span: Ints, rows: Array) -> None:
    """Add the entries of four segments in span = (begin, m), and ask for those behind it."""
    begin, m = span[0], span[1]
    kind = common_kind(kinds)
    if kind in (FLOAT32, FLOAT64):
        add_segments(total, w, four, kind, begin, m)
    else:
        for k in range(TILE):
            widen(rows[k], four[k], kinds[k], begin, m)
        add_rows(total, w, rows[0][:m], rows[1][:m], rows[2][:m], rows[3][:m])
    for k in range(TILE):
        size = BYTES[kinds[k]]
        fetch(four[k] + size * (begin + m), size * m)


@allocating
def narrow(total: Array, address: int, kind: int, begin: int, m: int) -> None:
    """Write m sums to a segment from `begin` on, each rounded to nearest, ties to even."""
    first = pointer(address + BYTES[kind] * begin)
    if kind == FLOAT64:
        wide = carray(first, (m,), np.float64)
        for d in range(m):
            wide[d] = total[d]
    elif kind == FLOAT32:
        single = carray(first, (m,), np.float32)
        for d in range(m):
            single[d] = total[d]
    else:
        upper = carray(first, (m,), np.uint16)
        for d in range(m):
            x = np.float32(total[d])
            bits = x.view(np.uint32)
            rounded = np.uint32(bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
            upper[d] = rounded if x == x else 0x7FC0


@gufunc(
    "void(int64[:,:], int64[:,:], int64[:], float64[:], int64[:], int64[:], int64[:])",
    "(s,k),(s,k),(s),(k),(s),(s)->()",
)
def combination(
    addresses: Ints,
    kinds: Ints,
    lengths: Ints,
    weights: Array,
    targets: Ints,
    target_kinds: Ints,
    written: Ints,
) -> None:
    """Write sum_k weights[k] row_k, summed in float64, to one more row of segments.

    K is a multiple of four here. The targets are of float64, float32 or bfloat16 (by way of
    float32); `written` counts their entries.
    """
    S, K = addresses.shape
    rows, total = aligned(TILE, WIDTH), np.empty(WIDTH)
    span = np.zeros(2, dtype=np.int64)
    written[0] = 0
    for s in range(S):
        for begin in range(0, lengths[s], WIDTH):
            m = min(WIDTH, lengths[s] - begin)
            span[0], span[1] = begin, m
            for d in range(m):
                total[d] = 0.0
            for i in range(0, K, TILE):
                j = i + TILE
                add_four(total, weights[i:j], addresses[s, i:j], kinds[s, i:j], span, rows)
            narrow(total, targets[s], target_kinds[s], begin, m)
            written[0] += m
