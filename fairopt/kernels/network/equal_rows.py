"""Rows of a sparse matrix that are equal bit by bit, found by fingerprints.

Arrays must be contiguous, which is not checked here.
"""

from __future__ import annotations

import numpy as np

from fairopt.kernels.jit import gufunc

_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio
_SHIFT = np.uint64(29)
_FINGERPRINT = "void(uint32[::1], uint32[::1], uint64[::1], boolean[::1], uint64[::1])"


@gufunc(_FINGERPRINT, "(p),(e),(e),(n)->(n)")
def fingerprint(indptr, links, bits, alone, key):  # type: ignore[no-untyped-def]
    """Fill a number that equal rows share and others hardly; rows `alone` share it with none."""
    for i in range(key.size):
        mixed = np.uint64(2 * i + 1) if alone[i] else np.uint64(0)
        for e in range(indptr[i], indptr[i + 1]):
            mixed = (mixed ^ np.uint64(links[e])) * _ODD
            mixed = (mixed ^ (mixed >> _SHIFT) ^ bits[e]) * _ODD
            mixed ^= mixed >> _SHIFT
        key[i] = mixed


_SAME = "void(uint32[::1], uint32[::1], uint64[::1], int64[::1], boolean[::1], boolean[:])"


@gufunc(_SAME, "(p),(e),(e),(n),(n)->()")
def all_equal(indptr, links, bits, like, alone, equal):  # type: ignore[no-untyped-def]
    """Whether every row equals the one it is `like`; rows `alone` may be like themselves only."""
    equal[0] = False
    for i in range(like.size):
        other = like[i]
        if other != i:
            first, start = indptr[i], indptr[other]
            size = indptr[i + 1] - first
            if alone[i] or alone[other] or indptr[other + 1] - start != size:
                return
            for e in range(size):
                if links[first + e] != links[start + e] or bits[first + e] != bits[start + e]:
                    return
    equal[0] = True
