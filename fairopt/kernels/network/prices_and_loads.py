"""Flow prices, loads and shares of links in prices, in plain numbers: a point to be judged.

`fairopt.allocation.residual` has the same in logarithms, for numbers whose products leave float64.
Arrays must be contiguous, which is not checked here.
"""

from __future__ import annotations

from fairopt.kernels.jit import gufunc

_TYPES = (
    "void(uint32[::1], uint32[::1], float64[::1], boolean[::1], float64[::1], float64[::1],"
    " float64[::1], boolean, float64[::1], float64[::1], float64[::1])"
)


@gufunc(_TYPES, "(p),(e),(e),(n),(n),(n),(m),()->(n),(m),(m)")
def prices_and_loads(  # type: ignore[no-untyped-def]
    indptr, links, entries, free, rates, own, prices, largest, q, load, share
):
    """Fill q = R' prices + own of free flows, loads R x, and each link's largest share in a q.

    With `largest` it is the largest price on the path, and entries do not count in prices. Shares
    are -1 where no free flow uses the link.
    """
    load[:] = 0.0
    share[:] = -1.0
    for i in range(q.size):
        q[i] = 0.0
        if free[i]:
            total = own[i]
            for e in range(indptr[i], indptr[i + 1]):
                load[links[e]] += entries[e] * rates[i]
                if largest:
                    total = max(total, prices[links[e]])
                else:
                    total += entries[e] * prices[links[e]]
            q[i] = total
            for e in range(indptr[i], indptr[i + 1]):
                part = 1.0 if largest else entries[e]
                share[links[e]] = max(share[links[e]], part / total if total > 0.0 else 0.0)
    for l in range(share.size):
        if share[l] > 0.0:
            share[l] *= prices[l]


_FAINT = (
    "void(uint32[::1], uint32[::1], float64[::1], float64[::1], boolean[::1], float64,"
    " boolean[::1])"
)


@gufunc(_FAINT, "(p),(e),(e),(n),(m),()->(n)")
def faint_flows(  # type: ignore[no-untyped-def]
    indptr, links, entries, rates, counted, least, faint
):
    """Fill whether a flow has less than `least` of a link that counts."""
    for i in range(rates.size):
        faint[i] = False
        for e in range(indptr[i], indptr[i + 1]):
            if counted[links[e]] and entries[e] * rates[i] < least:
                faint[i] = True
