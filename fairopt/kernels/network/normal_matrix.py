"""S A K A' S of a sparse A, dense: the matrix of Newton's method on the prices of links.

scipy's sparse product takes about four times as long on a million flows over a thousand links.
Arrays must be contiguous, which is not checked here.
"""

from __future__ import annotations

from fairopt.kernels.jit import gufunc

_TYPES = (
    "void(uint32[::1], uint32[::1], float64[::1], float64[::1], uint32[::1], float64[::1],"
    " float64[:, ::1])"
)


@gufunc(_TYPES, "(p),(e),(e),(n),(m),(a)->(a,a)")
def normal_matrix(indptr, links, entries, K, place, scale, H):  # type: ignore[no-untyped-def]
    """Lower triangle of sum_i K_i a_i a_i', scaled; the rest is zero.

    Row i of A' has its links in increasing order; `place` numbers the wanted links in increasing
    order too, and has a number past the last one for the others.
    """
    size = scale.size
    H[:] = 0.0
    for i in range(K.size):
        k = K[i]
        if k > 0.0:
            for e in range(indptr[i], indptr[i + 1]):
                row = place[links[e]]
                if row < size:
                    factor = k * entries[e] * scale[row]
                    for f in range(indptr[i], e + 1):
                        column = place[links[f]]
                        if column < size:
                            H[row, column] += factor * entries[f] * scale[column]
