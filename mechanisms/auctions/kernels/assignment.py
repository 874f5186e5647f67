"""Cheapest assignments of clients to tasks in wide integers, with the moves kept up to date.

The compiled form of `mechanisms.auctions.exact.assignment`.

Letters: i client, s task, x and y places, F = S the place of clients that could take another task.
A market is the tuple of arrays that `MARKET` describes; kernels change it in place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mechanisms.auctions.kernels.jit import compiled
from mechanisms.auctions.kernels.wide_integers import minus, order, plus

Integers = NDArray[np.int64]
Market = tuple[Any, ...]
Moves = tuple[Any, ...]

MARKET = (
    "Tuple((int64[:, :, ::1], boolean[:, ::1], int64[:, ::1], int64[:, ::1], int64[::1], "
    "boolean[:, ::1], int64[::1], int64[:, ::1], int64[:, ::1], int64[::1], "
    "int64[:, :, ::1], int64[:, ::1], int64[::1], "
    "int64[:, :, ::1], int64[:, ::1], boolean[:, ::1]))"
)
"""cost (N, S, 2), offered (N, S), queue (S, N) clients by cost, rank (N, S) in it, capacity (N,),
works (N, S), load (N,), staff (S, N), seat (N, S), size (S,),
arc (S+1, S+1, 2), mover (S+1, S+1), head (S,) of the queue,
roster (S, S+1, L) the cheapest movers of each arc, listed (S, S+1), complete (S, S+1)."""
SAVED = (
    "Tuple((int64[:, :, ::1], int64[:, ::1], int64[::1], "
    "int64[:, :, ::1], int64[:, ::1], boolean[:, ::1]))"
)
"""The last six of these."""
MOVES = "Tuple((int64[:, :, ::1], boolean[:, ::1], int64[:, ::1], int64[:, :, ::1], int64[:, ::1]))"
"""length (S+1, S+1, 2), reached, following (S+1, S+1), trail (S+1, S+1, 4S+4), size (S+1, S+1)."""

NOBODY = -1
OUTSIDER = -2


@compiled(f"boolean({MARKET}, int64, int64, int64)")
def could_take(market: Market, i: int, y: int, absent: int) -> bool:
    """Whether a client has room for a task that it does not do yet."""
    return bool(
        i != absent and market[6][i] < market[4][i] and market[1][i, y] and not market[5][i, y]
    )


@compiled(f"UniTuple(int64, 2)({MARKET}, int64, int64, int64)")
def move_cost(market: Market, i: int, x: int, y: int) -> tuple[int, int]:
    """What it costs that client i gives up task x for place y, which may be F."""
    cost = market[0]
    if y == cost.shape[1]:
        return minus(0, 0, cost[i, x, 0], cost[i, x, 1])
    return minus(cost[i, y, 0], cost[i, y, 1], cost[i, x, 0], cost[i, x, 1])


@compiled(f"boolean({MARKET}, int64, int64, int64, int64)")
def moves_cheaper(market: Market, i: int, j: int, x: int, y: int) -> bool:
    """Whether client i moves from task x to place y for less than client j does.

    Ties are those of 2^(iS+s) per cell: on a way up the lower client is cheaper, down the higher.
    """
    if i == j:
        return False
    a, b = move_cost(market, i, x, y)
    c, d = move_cost(market, j, x, y)
    sign = order(a, b, c, d)
    upward = y > x and y != market[0].shape[1]
    return bool(sign < 0 or (sign == 0 and (i < j) == upward))


@compiled(f"boolean({MARKET}, int64, int64, int64)")
def can_move(market: Market, i: int, x: int, y: int) -> bool:
    """Whether client i can give up task x for place y."""
    offered, works = market[1], market[5]
    return bool(works[i, x] and (y == works.shape[1] or (offered[i, y] and not works[i, y])))


@compiled(f"void({MARKET}, int64, int64, int64)")
def enlist(market: Market, i: int, x: int, y: int) -> None:
    """Put client i on the roster of an arc; who is on no roster is no cheaper than its last."""
    roster, listed, complete = market[13][x, y], market[14], market[15]
    count, space = listed[x, y], roster.size
    if count == space or not complete[x, y]:
        complete[x, y] = complete[x, y] and count < space
        if count == 0 or not moves_cheaper(market, i, roster[count - 1], x, y):
            return
        count = min(count, space - 1)
    k = count
    while k > 0 and moves_cheaper(market, i, roster[k - 1], x, y):
        k -= 1
    if k > 0 and roster[k - 1] == i:
        return
    for j in range(count, k, -1):
        roster[j] = roster[j - 1]
    roster[k] = i
    listed[x, y] = count + 1


@compiled(f"void({MARKET}, int64, int64, int64)")
def search_arc(market: Market, x: int, y: int, absent: int) -> None:
    """Find the cheapest move from task x to y anew, on its roster or among all."""
    staff, size, arc, mover = market[7], market[9], market[10], market[11]
    roster, listed, complete = market[13][x, y], market[14], market[15]
    for _ in range(2):
        for j in range(listed[x, y]):
            i = roster[j]
            if i != absent and can_move(market, i, x, y):
                mover[x, y] = i
                arc[x, y, 0], arc[x, y, 1] = move_cost(market, i, x, y)
                return
        if complete[x, y]:
            break
        listed[x, y], complete[x, y] = 0, True
        for j in range(size[x]):
            i = staff[x, j]
            if i != absent and can_move(market, i, x, y):
                enlist(market, i, x, y)
    mover[x, y] = NOBODY


@compiled(f"void({MARKET}, int64, int64, int64)")
def offer_arc(market: Market, i: int, x: int, y: int) -> None:
    """Enlist the move of client i from task x to place y, and take it where it is the cheapest."""
    arc, mover = market[10], market[11]
    if not can_move(market, i, x, y):
        return
    enlist(market, i, x, y)
    if mover[x, y] == NOBODY or moves_cheaper(market, i, mover[x, y], x, y):
        mover[x, y] = i
        arc[x, y, 0], arc[x, y, 1] = move_cost(market, i, x, y)


@compiled(f"void({MARKET}, int64, int64)")
def serve_queue(market: Market, y: int, absent: int) -> None:
    """Find the cheapest client with room for task y, from the head of the queue on."""
    cost, queue, arc, mover, head = market[0], market[2], market[10], market[11], market[12]
    clients, tasks = cost.shape[:2]
    while head[y] < clients and not could_take(market, queue[y, head[y]], y, absent):
        if not market[1][queue[y, head[y]], y]:
            head[y] = clients
            break
        head[y] += 1
    mover[tasks, y] = NOBODY
    if head[y] < clients:
        i = queue[y, head[y]]
        arc[tasks, y, 0], arc[tasks, y, 1], mover[tasks, y] = cost[i, y, 0], cost[i, y, 1], i


@compiled(f"void({MARKET}, int64, int64, int64)")
def change_place(market: Market, i: int, x: int, y: int) -> None:
    """Move client i from place x to place y, without a look at the arcs."""
    works, load, staff, seat, size = market[5], market[6], market[7], market[8], market[9]
    tasks = works.shape[1]
    if x != tasks:
        last = staff[x, size[x] - 1]
        staff[x, seat[i, x]], seat[last, x] = last, seat[i, x]
        size[x] -= 1
        works[i, x] = False
        load[i] -= 1
    if y != tasks:
        staff[y, size[y]], seat[i, y] = i, size[y]
        size[y] += 1
        works[i, y] = True
        load[i] += 1


@compiled(f"void({MARKET}, int64, int64, int64, int64)")
def update_arcs(market: Market, i: int, x: int, y: int, absent: int) -> None:
    """Bring the cheapest moves up to date after client i went from x to y."""
    works, mover, rank, head = market[5], market[11], market[3], market[12]
    tasks = works.shape[1]
    if x != tasks:
        for z in range(tasks + 1):
            if mover[x, z] == i:
                search_arc(market, x, z, absent)
    if i != absent:
        for z in range(tasks):
            if works[i, z]:
                if y != tasks and mover[z, y] == i:
                    search_arc(market, z, y, absent)
                for v in range(tasks + 1):
                    if v != z:
                        offer_arc(market, i, z, v)
    for z in range(tasks):
        if could_take(market, i, z, absent):
            head[z] = min(head[z], rank[i, z])
        elif mover[tasks, z] != i and head[z] != rank[i, z]:
            continue
        serve_queue(market, z, absent)


@compiled(f"void({MARKET})")
def open_market(market: Market) -> None:
    """Set the moves of a market in which nobody works."""
    tasks = market[0].shape[1]
    market[11][:] = NOBODY
    market[14][:] = 0
    market[15][:] = True
    for y in range(tasks):
        serve_queue(market, y, NOBODY)


@compiled("int64(int64[::1], int64, int64[::1], int64, int64)")
def append(cells: Integers, count: int, more: Integers, size: int, sign: int) -> int:
    """Append signed cells, all with the same factor; returns how many there are."""
    for j in range(size):
        cells[count + j] = sign * more[j]
    return count + size


@compiled("int64(int64[::1], int64)")
def leading_sign(cells: Integers, count: int) -> int:
    """Sign of the sum of 2^|cell| with the sign of each cell, of which few are equal."""
    for j in range(1, count):
        cell, k = cells[j], j
        while k > 0 and abs(cells[k - 1]) < abs(cell):
            cells[k] = cells[k - 1]
            k -= 1
        cells[k] = cell
    total = 0
    for j in range(count):
        if j > 0 and total != 0:
            gap = abs(cells[j - 1]) - abs(cells[j])
            if gap > 20 or abs(total) > 2**30:  # what follows is smaller
                break
            total <<= gap
        total += 1 if cells[j] > 0 else -1
    return int(total > 0) - int(total < 0)


@compiled(f"boolean({MOVES}, int64, int64, int64, int64[::1])")
def detour_wins_tie(moves: Moves, x: int, z: int, y: int, cells: Integers) -> bool:
    """Whether the way over z is cheaper than the known one by tie breakers alone."""
    trail, size = moves[3], moves[4]
    count = append(cells, 0, trail[x, z], size[x, z], 1)
    count = append(cells, count, trail[z, y], size[z, y], 1)
    count = append(cells, count, trail[x, y], size[x, y], -1)
    return bool(leading_sign(cells, count) < 0)


@compiled(f"void({MARKET}, {MOVES})")
def single_moves(market: Market, moves: Moves) -> None:
    """Start from the arcs; a trail lists the cells that change, from 1 on, with signs."""
    arc, mover = market[10], market[11]
    length, reached, following, trail, size = moves
    tasks = mover.shape[0] - 1
    for x in range(tasks + 1):
        for y in range(tasks + 1):
            i = mover[x, y]
            reached[x, y], following[x, y], size[x, y] = i != NOBODY, y, 0
            length[x, y, 0], length[x, y, 1] = arc[x, y, 0], arc[x, y, 1]
            if i >= 0 and y != tasks:
                trail[x, y, 0], size[x, y] = i * tasks + y + 1, 1
            if i >= 0 and x != tasks:
                trail[x, y, size[x, y]] = -(i * tasks + x + 1)
                size[x, y] += 1
        length[x, x, 0], length[x, x, 1], reached[x, x], size[x, x] = 0, 0, True, 0


@compiled(f"void({MARKET}, {MOVES}, int64[::1])")
def shortest_paths(market: Market, moves: Moves, cells: Integers) -> None:
    """All shortest paths (Floyd 1962); there are no cheap cycles, so that all are simple."""
    single_moves(market, moves)
    length, reached, following, trail, size = moves
    nodes = reached.shape[0]
    for z in range(nodes):
        for x in range(nodes):
            if x == z or not reached[x, z]:
                continue
            for y in range(nodes):
                if y in (x, z) or not reached[z, y]:
                    continue
                high, low = plus(length[x, z, 0], length[x, z, 1], length[z, y, 0], length[z, y, 1])
                if reached[x, y]:
                    sign = order(high, low, length[x, y, 0], length[x, y, 1])
                    if sign > 0 or (sign == 0 and not detour_wins_tie(moves, x, z, y, cells)):
                        continue
                length[x, y, 0], length[x, y, 1] = high, low
                reached[x, y] = True
                following[x, y] = following[x, z]
                count = append(trail[x, y], 0, trail[x, z], size[x, z], 1)
                size[x, y] = append(trail[x, y], count, trail[z, y], size[z, y], 1)


@compiled(f"int64({MARKET}, {MOVES}, int64, int64, int64, int64[:, ::1])")
def shift(
    market: Market, moves: Moves, start: int, end: int, absent: int, steps: NDArray[np.int64]
) -> int:
    """Give up one place and fill another along the shortest path; the steps are written down."""
    count, x = 0, start
    while x != end:
        y = moves[2][x, end]
        steps[count, 0], steps[count, 1], steps[count, 2] = market[11][x, y], x, y
        count += 1
        x = y
    for j in range(count):
        change_place(market, steps[j, 0], steps[j, 1], steps[j, 2])
    for j in range(count):
        update_arcs(market, steps[j, 0], steps[j, 1], steps[j, 2], absent)
    return count


@compiled(f"void({MARKET}, int64[:, ::1], int64)")
def take_back(market: Market, steps: NDArray[np.int64], count: int) -> None:
    """Undo the steps of a shift; the caller restores the moves."""
    for j in range(count - 1, -1, -1):
        change_place(market, steps[j, 0], steps[j, 2], steps[j, 1])


@compiled(f"{SAVED}({MARKET})")
def saved(market: Market) -> tuple[Any, ...]:
    """A copy of what is known of the moves."""
    return (
        market[10].copy(),
        market[11].copy(),
        market[12].copy(),
        market[13].copy(),
        market[14].copy(),
        market[15].copy(),
    )


@compiled(f"void({MARKET}, {SAVED})")
def restore(market: Market, before: tuple[Any, ...]) -> None:
    """Put the moves back, after the places are as before."""
    market[10][:], market[11][:], market[12][:] = before[0], before[1], before[2]
    market[13][:], market[14][:], market[15][:] = before[3], before[4], before[5]
