"""Compiled form of `mechanisms.auctions.exact.clearing_levels`, in wide integers.

Amounts that may carry a slope stand in rows (high, low, slope). Letters as there: k level, w places
per level, p and m prices and lower marginals, g the spend bound, lambda the cap of the outsiders.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mechanisms.auctions.kernels.assignment import (
    MARKET,
    MOVES,
    NOBODY,
    OUTSIDER,
    append,
    change_place,
    leading_sign,
    restore,
    saved,
    shift,
    shortest_paths,
    take_back,
    update_arcs,
)
from mechanisms.auctions.kernels.jit import compiled
from mechanisms.auctions.kernels.wide_integers import minus, order, plus, times

Integers = NDArray[np.int64]
Market = tuple[Any, ...]
Moves = tuple[Any, ...]

NOTHING, CLEARING, CAPPED, BELOW = 0, 1, 2, 3
"""What a client gets: nothing, its task at a price or at a cap, or what the level below gives."""

ROWS = "int64[:, ::1]"


@compiled(f"int64({ROWS}, int64, {ROWS}, int64)")
def compare(a: Integers, s: int, b: Integers, t: int) -> int:
    """Sign of a[s] - b[t], by value and then by slope."""
    sign = order(a[s, 0], a[s, 1], b[t, 0], b[t, 1])
    return sign if sign != 0 else int(a[s, 2] > b[t, 2]) - int(a[s, 2] < b[t, 2])


@compiled(f"void({ROWS}, int64[::1], boolean)")
def sort_rows(rows: Integers, ranked: Integers, falling: bool) -> None:
    """Indices of rows in rising or falling order."""
    for j in range(rows.shape[0]):
        ranked[j] = j
        k = j
        while k > 0:
            sign = compare(rows, ranked[k - 1], rows, ranked[k])
            if (sign >= 0) if falling else (sign <= 0):
                break
            ranked[k - 1], ranked[k] = ranked[k], ranked[k - 1]
            k -= 1


@compiled(f"UniTuple(int64, 3)(int64, int64[::1], {ROWS}, {ROWS}, int64[:, ::1])")
def spend_bound(
    level: int, weights: Integers, prices: Integers, marginals: Integers, scratch: Integers
) -> tuple[int, int, int]:
    """g_k(p, m) as (high, low, slope); see `mechanisms.auctions.exact.spend_bound`."""
    tasks, steps = weights.size, weights.sum()
    cheap, dear, given_up, gained = scratch[0], scratch[1], scratch[2], scratch[3]
    high, low, slope = 0, 0, 0
    for s in range(tasks):
        quota = level * weights[s]
        a, b = times(quota, prices[s, 0], prices[s, 1])
        high, low = plus(high, low, a, b)
        slope += quota * prices[s, 2]
        given_up[s], gained[s] = min(quota, steps), steps - weights[s]
    sort_rows(prices, cheap, False)
    sort_rows(marginals, dear, True)
    left, c, d = steps * (tasks // 2), 0, 0
    while left > 0:
        while c < tasks and given_up[cheap[c]] == 0:
            c += 1
        while d < tasks and gained[dear[d]] == 0:
            d += 1
        if c == tasks or d == tasks or compare(marginals, dear[d], prices, cheap[c]) <= 0:
            break
        p, m = prices[cheap[c]], marginals[dear[d]]
        count = min(left, given_up[cheap[c]], gained[dear[d]])
        a, b = minus(m[0], m[1], p[0], p[1])
        a, b = times(count, a, b)
        high, low = plus(high, low, a, b)
        slope += count * (m[2] - p[2])
        given_up[cheap[c]] -= count
        gained[dear[d]] -= count
        left -= count
    return high, low, slope


@compiled(f"void({MARKET}, {MOVES}, {ROWS})")
def lower_marginals(market: Market, moves: Moves, out: Integers) -> None:
    """m_s: what one place less saves; 0 where there is none."""
    length, reached = moves[0], moves[1]
    free = out.shape[0]
    for s in range(free):
        out[s, 0], out[s, 1], out[s, 2] = 0, 0, 0
        if reached[s, free]:
            out[s, 0], out[s, 1] = minus(0, 0, length[s, free, 0], length[s, free, 1])


@compiled(f"int64({ROWS})")
def dearest(rows: Integers) -> int:
    """Index of the largest value."""
    best = 0
    for s in range(1, rows.shape[0]):
        if order(rows[s, 0], rows[s, 1], rows[best, 0], rows[best, 1]) > 0:
            best = s
    return best


@compiled(f"void({MOVES}, {ROWS})")
def nearest_outside(moves: Moves, out: Integers) -> None:
    """min_r D[r][s]: one more place, beyond lambda, if an outsider comes."""
    length = moves[0]
    tasks = out.shape[0]
    for s in range(tasks):
        best = s
        for r in range(tasks):
            if moves[1][r, s] and (
                order(length[r, s, 0], length[r, s, 1], length[best, s, 0], length[best, s, 1]) < 0
            ):
                best = r
        out[s, 0], out[s, 1] = length[best, s, 0], length[best, s, 1]


@compiled(f"void({MOVES}, {ROWS}, int64, int64, int64, {ROWS})")
def capped_prices(
    moves: Moves, outside: Integers, high: int, low: int, slope: int, out: Integers
) -> None:
    """min(D[F][s], lambda + outside[s]) with the slope to the right of lambda."""
    length, reached = moves[0], moves[1]
    free = out.shape[0]
    for s in range(free):
        a, b = plus(high, low, outside[s, 0], outside[s, 1])
        out[s, 0], out[s, 1], out[s, 2] = a, b, slope
        if reached[free, s] and order(length[free, s, 0], length[free, s, 1], a, b) <= 0:
            out[s, 0], out[s, 1], out[s, 2] = length[free, s, 0], length[free, s, 1], 0


@compiled(f"boolean({MARKET}, {MOVES}, int64[::1], int64[:, ::1], int64[:, ::1])")
def raise_level(
    market: Market, moves: Moves, weights: Integers, steps: Integers, scratch: Integers
) -> bool:
    """Fill w_s more places of every task; False if somebody is missing."""
    tasks = weights.size
    for s in range(tasks):
        for _ in range(weights[s]):
            shortest_paths(market, moves, scratch[4])
            if not moves[1][tasks, s]:
                return False
            shift(market, moves, tasks, s, NOBODY, steps)
    return True


@compiled(
    f"int64({MARKET}, {MOVES}, int64[::1], int64[::1], boolean, int64, {ROWS}, {ROWS}, {ROWS})"
)
def largest_level(
    market: Market,
    moves: Moves,
    weights: Integers,
    budget: Integers,
    bundles: bool,
    top: int,
    steps: Integers,
    scratch: Integers,
    rows: Integers,
) -> int:
    """K, from an empty market that is filled level by level; at most `top`.

    With single tasks level k is tested at q_k with a cap that needs no outsiders; with bundles
    the lower marginals of q_{k+1} are the prices.
    """
    tasks = weights.size
    prices, marginals, outside = rows[:tasks], rows[tasks : 2 * tasks], rows[2 * tasks :]
    for level in range(1, top + 1):
        if not raise_level(market, moves, weights, steps, scratch):
            return level - 2 if bundles and level > 1 else level - 1
        shortest_paths(market, moves, scratch[4])
        if bundles:
            lower_marginals(market, moves, prices)
            tested = level - 1
        else:
            lower_marginals(market, moves, marginals)
            nearest_outside(moves, outside)
            cap = dearest(marginals)
            capped_prices(moves, outside, marginals[cap, 0], marginals[cap, 1], 0, prices)
            tested = level
        if tested > 0:
            high, low, _ = spend_bound(tested, weights, prices, marginals, scratch)
            if order(high, low, budget[0], budget[1]) > 0:
                return tested - 1
        if bundles:
            marginals[:] = prices
    return top - 1 if bundles else top


@compiled(f"int64({MARKET}, {MOVES}, int64[::1], int64, {ROWS}, {ROWS})")
def affordable_level(
    market: Market, moves: Moves, budget: Integers, top: int, steps: Integers, scratch: Integers
) -> int:
    """Largest k <= top such that k clients per task cost at most the budget."""
    tasks = market[0].shape[1]
    high, low = 0, 0
    for level in range(1, top + 1):
        for s in range(tasks):
            shortest_paths(market, moves, scratch[4])
            if not moves[1][tasks, s]:
                return level - 1
            high, low = plus(high, low, moves[0][tasks, s, 0], moves[0][tasks, s, 1])
            shift(market, moves, tasks, s, NOBODY, steps)
        if order(high, low, budget[0], budget[1]) > 0:
            return level - 1
    return top


@compiled(f"void({MARKET}, {MOVES}, int64, int64[::1])")
def paths_with_outsider(market: Market, moves: Moves, place: int, cells: Integers) -> None:
    """Shortest paths where an outsider holds a place and works at any other for the same."""
    arc, mover = market[10], market[11]
    tasks = mover.shape[0] - 1
    for s in range(tasks):
        dear = mover[place, s] == NOBODY or order(arc[place, s, 0], arc[place, s, 1], 0, 0) > 0
        if s != place and dear:
            arc[place, s, 0], arc[place, s, 1], mover[place, s] = 0, 0, OUTSIDER
    shortest_paths(market, moves, cells)


@compiled(f"UniTuple(int64, 3)({MOVES}, {ROWS}, {ROWS}, int64, int64, int64, int64[::1], {ROWS})")
def capped_spending(
    moves: Moves,
    rows: Integers,
    scratch: Integers,
    high: int,
    low: int,
    level: int,
    weights: Integers,
    marginals: Integers,
) -> tuple[int, int, int]:
    """h(lambda) as (high, low, slope); rows hold prices (filled), outside and spread."""
    tasks = weights.size
    prices, outside, spread = rows[:tasks], rows[2 * tasks : 3 * tasks], rows[3 * tasks :]
    capped_prices(moves, outside, high, low, 1, prices)
    for s in range(tasks):
        a, b = plus(high, low, spread[s, 0], spread[s, 1])
        marginals[s, 0], marginals[s, 1], marginals[s, 2] = a, b, 1
    high, low, slope = spend_bound(level, weights, prices, marginals, scratch)
    return high, low, slope


@compiled(f"int64({MOVES}, {ROWS}, {ROWS}, int64[::1], boolean, int64[::1])")
def bends(
    moves: Moves,
    rows: Integers,
    points: Integers,
    floor: Integers,
    bounded: bool,
    top: Integers,
) -> int:
    """Caps strictly between floor and top at which the slope can change, sorted after floor."""
    length, reached = moves[0], moves[1]
    tasks = rows.shape[0] // 4
    count = 1
    points[0, 0], points[0, 1], points[0, 2] = floor[0], floor[1], 0
    for t in range(tasks):
        if not reached[tasks, t]:
            continue
        for j in range(2 * tasks, 4 * tasks):
            a, b = minus(length[tasks, t, 0], length[tasks, t, 1], rows[j, 0], rows[j, 1])
            if order(a, b, floor[0], floor[1]) <= 0:
                continue
            if bounded and order(a, b, top[0], top[1]) >= 0:
                continue
            k = count
            while k > 1 and order(points[k - 1, 0], points[k - 1, 1], a, b) > 0:
                points[k, 0], points[k, 1] = points[k - 1, 0], points[k - 1, 1]
                k -= 1
            points[k, 0], points[k, 1] = a, b
            count += 1
    return count


@compiled(f"void({MARKET}, {MOVES}, int64, int64[::1], int64, {ROWS}, {ROWS})")
def cap_without_outsiders(
    market: Market,
    moves: Moves,
    task: int,
    floor: Integers,
    absent: int,
    steps: Integers,
    scratch: Integers,
) -> None:
    """Most that the others save by one place less, wherever the absent client is missing."""
    tasks = market[0].shape[1]
    before = saved(market)
    rows = np.empty((tasks, 3), dtype=np.int64)
    floor[0], floor[1] = 0, 0
    for place in range(tasks):
        shortest_paths(market, moves, scratch[4])
        count = shift(market, moves, place, task, absent, steps)
        shortest_paths(market, moves, scratch[4])
        lower_marginals(market, moves, rows)
        best = dearest(rows)
        if order(rows[best, 0], rows[best, 1], floor[0], floor[1]) > 0:
            floor[0], floor[1] = rows[best, 0], rows[best, 1]
        take_back(market, steps, count)
        restore(market, before)


@compiled(f"boolean({MOVES}, int64, int64, int64, int64[::1])")
def cheaper_to_leave(moves: Moves, t: int, than: int, task: int, cells: Integers) -> bool:
    """Whether the way from t to a task is shorter than from another place, ties broken."""
    length, trail, size = moves[0], moves[3], moves[4]
    sign = order(
        length[t, task, 0], length[t, task, 1], length[than, task, 0], length[than, task, 1]
    )
    if sign != 0:
        return bool(sign < 0)
    count = append(cells, 0, trail[t, task], size[t, task], 1)
    count = append(cells, count, trail[than, task], size[than, task], -1)
    return bool(leading_sign(cells, count) < 0)


@compiled(
    f"int64({MARKET}, {MOVES}, int64[::1], int64[::1], int64, int64, int64, "
    f"{ROWS}, {ROWS}, {ROWS}, {ROWS}, int64[::1])"
)
def offer(
    market: Market,
    moves: Moves,
    weights: Integers,
    budget: Integers,
    level: int,
    client: int,
    task: int,
    steps: Integers,
    scratch: Integers,
    rows: Integers,
    points: Integers,
    answer: Integers,
) -> int:
    """What a client that is left out is offered at level K for its task of sigma_K.

    The market holds the others. `answer` gets (high, low) of the price, or for a cap (high, low)
    of the price at a point below it, (high, low) of the spending there, and its slope.
    """
    tasks = weights.size
    cost = market[0]
    marginals = np.empty((tasks, 3), dtype=np.int64)
    length, reached = moves[0], moves[1]
    shortest_paths(market, moves, scratch[4])
    entry = 0
    for t in range(tasks):
        if not reached[t, task]:
            return BELOW
        if cheaper_to_leave(moves, t, entry, task, scratch[4]):
            entry = t
    spread = rows[3 * tasks :]
    least_high, least_low = length[entry, task, 0], length[entry, task, 1]
    for t in range(tasks):
        a, b = minus(least_high, least_low, length[t, task, 0], length[t, task, 1])
        spread[t, 0], spread[t, 1], spread[t, 2] = a, b, 1
    bounded = reached[tasks, task]
    top = np.zeros(2, dtype=np.int64)
    if bounded:
        top[0], top[1] = minus(
            length[tasks, task, 0], length[tasks, task, 1], least_high, least_low
        )
    before = saved(market)
    count = shift(market, moves, entry, task, client, steps)
    paths_with_outsider(market, moves, entry, scratch[4])
    nearest_outside(moves, rows[2 * tasks : 3 * tasks])
    with_outsider = (length.copy(), reached.copy(), moves[2], moves[3], moves[4])
    take_back(market, steps, count)
    restore(market, before)
    base = spread[task]
    if bounded:
        high, low, _ = capped_spending(
            with_outsider, rows, scratch, top[0], top[1], level, weights, marginals
        )
        if order(high, low, budget[0], budget[1]) <= 0:
            answer[0], answer[1] = plus(top[0], top[1], base[0], base[1])
            return CLEARING
    floor = np.zeros(2, dtype=np.int64)
    cap_without_outsiders(market, moves, task, floor, client, steps, scratch)
    if bounded and order(floor[0], floor[1], top[0], top[1]) >= 0:
        return BELOW
    found = bends(with_outsider, rows, points, floor, bounded, top)
    first, last = -1, found - 1
    while first < last:
        middle = (first + last + 1) // 2
        high, low, _ = capped_spending(
            with_outsider,
            rows,
            scratch,
            points[middle, 0],
            points[middle, 1],
            level,
            weights,
            marginals,
        )
        if order(high, low, budget[0], budget[1]) <= 0:
            first = middle
        else:
            last = middle - 1
    if first < 0:
        return BELOW
    a, b = points[first, 0], points[first, 1]
    high, low, slope = capped_spending(
        with_outsider, rows, scratch, a, b, level, weights, marginals
    )
    answer[0], answer[1] = plus(a, b, base[0], base[1])
    answer[2], answer[3], answer[4] = high, low, slope
    gap = minus(cost[client, task, 0], cost[client, task, 1], answer[0], answer[1])
    if order(gap[0], gap[1], 0, 0) > 0:
        # lam + E >= c  iff  h + slope (c - E - a) <= B
        limit = minus(budget[0], budget[1], high, low)
        needed = times(slope, gap[0], gap[1])
        if order(needed[0], needed[1], limit[0], limit[1]) > 0:
            return NOTHING
    return CAPPED


@compiled(
    f"void({MARKET}, {MOVES}, int64[::1], int64[::1], int64, {ROWS}, {ROWS}, {ROWS}, {ROWS}, "
    "int64[::1], int64[:, ::1])"
)
def single_offers(
    market: Market,
    moves: Moves,
    weights: Integers,
    budget: Integers,
    level: int,
    steps: Integers,
    scratch: Integers,
    rows: Integers,
    points: Integers,
    kind: Integers,
    answers: Integers,
) -> None:
    """The offer of every client of sigma_K, each left out in turn."""
    clients, tasks = market[1].shape
    for i in range(clients):
        if market[6][i] == 0:
            continue
        task = 0
        while not market[5][i, task]:
            task += 1
        before = saved(market)
        change_place(market, i, task, tasks)
        update_arcs(market, i, task, tasks, i)
        kind[i] = offer(
            market,
            moves,
            weights,
            budget,
            level,
            i,
            task,
            steps,
            scratch,
            rows,
            points,
            answers[i],
        )
        change_place(market, i, tasks, task)
        restore(market, before)


@compiled(f"boolean({MARKET}, {MOVES}, int64, boolean[::1], {ROWS}, {ROWS}, {ROWS}, {ROWS})")
def price_bundle(
    market: Market,
    moves: Moves,
    client: int,
    held: NDArray[np.bool_],
    steps: Integers,
    scratch: Integers,
    prices: Integers,
    marginals: Integers,
) -> bool:
    """What the others pay to fill a client's places one by one, and their lower marginals then.

    False if they cannot; the market is as before in any case.
    """
    tasks = held.size
    before = saved(market)
    for s in range(tasks):
        held[s] = market[5][client, s]
        if held[s]:
            change_place(market, client, s, tasks)
    for s in range(tasks):
        if held[s]:
            update_arcs(market, client, s, tasks, client)
    complete, total = True, 0
    for s in range(tasks):
        if held[s] and complete:
            shortest_paths(market, moves, scratch[4])
            complete = moves[1][tasks, s]
            if complete:
                prices[s, 0], prices[s, 1] = moves[0][tasks, s, 0], moves[0][tasks, s, 1]
                total += shift(market, moves, tasks, s, client, steps[total:])
    if complete:
        shortest_paths(market, moves, scratch[4])
        lower_marginals(market, moves, marginals)
    take_back(market, steps, total)
    for s in range(tasks):
        if held[s]:
            change_place(market, client, tasks, s)
    restore(market, before)
    return bool(complete)


@compiled(
    f"void({MARKET}, {MARKET}, {MARKET}, {MOVES}, int64[::1], int64[::1], int64, {ROWS}, {ROWS}, "
    "boolean[:, ::1], int64[:, :, ::1])"
)
def bundle_offers(
    below: Market,
    here: Market,
    above: Market,
    moves: Moves,
    weights: Integers,
    budget: Integers,
    level: int,
    steps: Integers,
    scratch: Integers,
    won: NDArray[np.bool_],
    paid: Integers,
) -> None:
    """Places and pay (N, S, 2) of every client of sigma_K, at level K or K - 1."""
    clients, tasks = won.shape
    held = np.empty(tasks, dtype=np.bool_)
    rows = np.zeros((4, tasks, 3), dtype=np.int64)
    for i in range(clients):
        if here[6][i] == 0:
            continue
        fits = price_bundle(here, moves, i, held, steps, scratch, rows[0], rows[1])
        fits = fits and price_bundle(above, moves, i, held, steps, scratch, rows[2], rows[3])
        if fits:
            high, low, _ = spend_bound(level, weights, rows[3], rows[1], scratch)
            fits = order(high, low, budget[0], budget[1]) <= 0
        if not fits:
            price_bundle(below, moves, i, held, steps, scratch, rows[0], rows[1])
        for s in range(tasks):
            won[i, s] = here[5][i, s] if fits else below[5][i, s]
            if won[i, s]:
                paid[i, s, 0], paid[i, s, 1] = rows[0, s, 0], rows[0, s, 1]
