"""Newton's method on flows over several paths, eliminated down to the links.

Changes of path rates z, flow prices pi and link prices lambda solve, with a diagonal D of paths and
H of flows,

    dz = D (dpi + e - A'dlambda),    sum of dz over a flow = (a - dpi) / H,
    A dz - barrier dlambda = r .

Eliminating dz and dpi leaves M = A [D - D 1 H / (1 + S H) 1'D] A' + diag(barrier), S = sum of D.
Differences between the paths of a flow matter far below the size of the paths, so the bracket is
never formed: it is a sum of rank-ones without subtraction, as a running mean is updated. With paths
by falling D, T the sum so far and m the mean so far, the next path has sqrt(D T / (T + D)) (path -
m); the mean of all has sqrt(S / (1 + S H)).

Arrays must be contiguous, which is not checked here.
"""

from __future__ import annotations

import math

import numpy as np

from fairopt.arrays import Array
from fairopt.kernels.jit import gufunc, helper, summing
from fairopt.kernels.linear import fill


@helper
def sort_falling(D: Array, begin: int, count: int, order: Array) -> None:
    """Fill the paths of a flow by falling D."""
    for k in range(count):
        place = k
        while place > 0 and D[order[place - 1]] < D[begin + k]:
            order[place] = order[place - 1]
            place -= 1
        order[place] = begin + k


@summing
def add_square(weight: float, vector: Array, u: int, block: Array) -> None:
    """Add weight vector vector' to the lower triangle of a u x u block."""
    for a in range(u):
        factor = weight * vector[a]
        if factor != 0.0:
            for b in range(a + 1):
                block[a * u + b] += factor * vector[b]


_MATRIX = (
    "void(uint32[::1], uint32[::1], float64[::1], uint32[::1], uint32[::1], uint32[::1],"
    " float64[::1], float64[::1], float64[::1], float64, float64[:, ::1], float64[::1])"
)


@gufunc(_MATRIX, "(g),(q),(e),(h),(u),(e),(p),(f),(m),()->(m,m),(m)")
def path_matrix(  # type: ignore[no-untyped-def]
    first, start, entries, union_start, union, local, D, H, barrier, ridge, M, scale
):
    """Fill the lower triangle of M with rows and columns scaled to a diagonal of 1 + ridge.

    `first` has the first path of every flow, `start` the first entry of every path, `union` the
    links of all paths of a flow in increasing order, `local` the place of every entry among them.
    """
    widest, most = np.int64(1), np.int64(1)
    for i in range(H.size):
        u, count = np.int64(union_start[i + 1] - union_start[i]), np.int64(first[i + 1] - first[i])
        if u > widest:
            widest = u
        if count > most:
            most = count
    order, mean = np.empty(most, dtype=np.int64), np.empty(widest)
    vector, block = np.empty(widest), np.empty(widest * widest)
    M[:] = 0.0
    for i in range(H.size):
        begin, count = np.int64(first[i]), np.int64(first[i + 1] - first[i])
        base, u = np.int64(union_start[i]), np.int64(union_start[i + 1] - union_start[i])
        sort_falling(D, begin, count, order)
        total = 0.0
        for a in range(u):
            mean[a] = 0.0
        for a in range(u):
            for b in range(a + 1):
                block[a * u + b] = 0.0
        for k in range(count):
            path = order[k]
            d = D[path]
            if not d > 0.0:
                break
            for a in range(u):
                vector[a] = -mean[a]
            for e in range(start[path], start[path + 1]):
                vector[local[e]] += entries[e]
            share = d / (total + d)
            if total > 0.0:
                add_square(share * total, vector, u, block)
            for a in range(u):
                mean[a] += share * vector[a]
            total += d
        if total > 0.0:
            add_square(total / (1.0 + total * H[i]), mean, u, block)
        for a in range(u):
            row = union[base + a]
            for b in range(a + 1):
                M[row, union[base + b]] += block[a * u + b]
    for l in range(barrier.size):
        scale[l] = 1.0 / math.sqrt(M[l, l] + barrier[l])
        for k in range(l):
            M[l, k] *= scale[l] * scale[k]
        M[l, l] = 1.0 + ridge


_CHANGES = (
    "void(uint32[::1], uint32[::1], uint32[::1], float64[::1], float64[::1], float64[::1],"
    " float64[::1], float64[::1], float64[::1], float64[::1], float64[::1], float64[::1],"
    " float64[::1])"
)


@gufunc(_CHANGES, "(g),(q),(e),(e),(p),(f),(f),(p),(m)->(p),(f),(f),(m)")
def path_changes(  # type: ignore[no-untyped-def]
    first, start, links, entries, D, H, a, e, d_prices, dz, dx, dpi, load
):
    """Fill changes of path rates, flow rates, flow prices and loads for changes of link prices.

    Where a flow is nearly held by its limit its change is far below those of its paths, whose sum
    would be their rounding: there it is that of the last equation, and the path with the largest D
    takes up the difference, which is nothing in its price.
    """
    fill(load, 0.0)
    for i in range(H.size):
        S, pushed = 0.0, 0.0
        for path in range(first[i], first[i + 1]):
            push = e[path]
            for k in range(start[path], start[path + 1]):
                push -= entries[k] * d_prices[links[k]]
            dz[path] = push
            S += D[path]
            pushed += D[path] * push
        dpi[i] = (a[i] - H[i] * pushed) / (1.0 + S * H[i])
        total, freest = 0.0, first[i]
        for path in range(first[i], first[i + 1]):
            dz[path] = D[path] * (dz[path] + dpi[i])
            total += dz[path]
            if D[path] > D[freest]:
                freest = path
        if S * H[i] > 1.0:
            held = (a[i] - dpi[i]) / H[i]
            dz[freest] += held - total
            total = held
        dx[i] = total
        for path in range(first[i], first[i + 1]):
            if dz[path] != 0.0:
                for k in range(start[path], start[path + 1]):
                    load[links[k]] += entries[k] * dz[path]


_STATE = (
    "void(uint32[::1], uint32[::1], float64[::1], float64[::1], float64[::1], float64[::1],"
    " float64[::1])"
)


@gufunc(_STATE, "(q),(e),(e),(p),(m)->(p),(m)")
def costs_and_loads(start, links, entries, z, prices, cost, load):  # type: ignore[no-untyped-def]
    """Fill the price of every path and the load of every link."""
    fill(load, 0.0)
    for path in range(z.size):
        total = 0.0
        for k in range(start[path], start[path + 1]):
            total += entries[k] * prices[links[k]]
            load[links[k]] += entries[k] * z[path]
        cost[path] = total


_HIGHEST = "void(uint32[::1], uint32[::1], float64[::1], float64[::1], float64[::1], float64[::1])"


@gufunc(_HIGHEST, "(q),(e),(e),(p),(m)->(m)")
def highest_prices(start, links, entries, pays, prices, highest):  # type: ignore[no-untyped-def]
    """Fill the most that the price of a link can be: min over its paths of what they pay / A."""
    fill(highest, math.inf)
    for path in range(pays.size):
        for k in range(start[path], start[path + 1]):
            highest[links[k]] = min(highest[links[k]], pays[path] / entries[k])


_COVERED = "void(uint32[::1], uint32[::1], float64[::1], float64[::1], boolean[::1])"


@gufunc(_COVERED, "(q),(e),(e),(m)->(m)")
def covered_links(start, links, entries, users, covered):  # type: ignore[no-untyped-def]
    """Say which links another one holds below their capacity: every entry of it is as large.

    `users` has the number of paths of each link. Of equal links the first is kept.
    """
    m = users.size
    smaller = np.zeros(m * m, dtype=np.uint32)
    for path in range(start.size - 1):
        for k in range(start[path], start[path + 1]):
            for other in range(start[path], start[path + 1]):
                if entries[k] <= entries[other]:
                    smaller[np.int64(links[k]) * m + np.int64(links[other])] += np.uint32(1)
    for l in range(m):
        covered[l] = False
        for k in range(m):
            as_large = k != l and smaller[l * m + k] == users[l]
            if as_large and (k < l or smaller[k * m + l] != users[k]):
                covered[l] = True
                break


_LINKS = (
    "void(uint32[::1], uint32[::1], uint32[::1], float64[::1], uint32[::1], uint32[::1],"
    " uint32[::1])"
)


@gufunc(_LINKS, "(g),(q),(e),(m)->(g),(e),(e)")
def links_of_flows(first, start, links, like, begin, union, local):  # type: ignore[no-untyped-def]
    """Fill the links of all paths of each flow in increasing order, and the place of every entry.

    `union` has them at the front, `begin` where those of each flow begin; `like` has one number
    for each link.
    """
    place = np.zeros(like.size, dtype=np.int64)
    used = 0
    for i in range(first.size - 1):
        begin[i] = used
        low, high = start[first[i]], start[first[i + 1]]
        size = 0
        for e in range(low, high):
            if place[links[e]] == 0:
                place[links[e]] = 1
                k = used + size
                while k > used and union[k - 1] > links[e]:
                    union[k] = union[k - 1]
                    k -= 1
                union[k] = links[e]
                size += 1
        for k in range(size):
            place[union[used + k]] = k
        for e in range(low, high):
            local[e] = place[links[e]]
        for k in range(size):
            place[union[used + k]] = 0
        used += size
    begin[first.size - 1] = used
    for k in range(used, union.size):
        union[k] = 0
