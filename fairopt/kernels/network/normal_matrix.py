"""S A K A' S of a sparse A, dense, and A K A' times a vector: Newton's method on link prices.

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


_PRODUCT = "void(uint32[::1], uint32[::1], float64[::1], float64[::1], float64[::1], float64[::1])"


@gufunc(_PRODUCT, "(p),(e),(e),(n),(m)->(m)")
def normal_product(indptr, links, entries, K, vector, product):  # type: ignore[no-untyped-def]
    """A K A' times a vector, without forming it."""
    product[:] = 0.0
    for i in range(K.size):
        if K[i] > 0.0:
            total = 0.0
            for e in range(indptr[i], indptr[i + 1]):
                total += entries[e] * vector[links[e]]
            total *= K[i]
            for e in range(indptr[i], indptr[i + 1]):
                product[links[e]] += entries[e] * total


_DIAGONAL = (
    "void(uint32[::1], uint32[::1], float64[::1], float64, boolean[::1], float64[::1],"
    " float64[::1], float64[::1], float64[::1])"
)


@gufunc(_DIAGONAL, "(p),(e),(e),(),(n),(n),(n),(m)->(m)")
def normal_diagonal(  # type: ignore[no-untyped-def]
    indptr, links, entries, alpha, free, q, y, prices, diagonal
):
    """Fill the diagonal of A K A' with K = y / (alpha q), 0 for flows that are not free.

    `prices` only says how many links there are.
    """
    diagonal[:] = 0.0
    for i in range(q.size):
        if free[i]:
            k = y[i] / (alpha * q[i])
            for e in range(indptr[i], indptr[i + 1]):
                diagonal[links[e]] += entries[e] * entries[e] * k
