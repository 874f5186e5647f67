"""Float kernels for menus: any set of tasks at fixed prices, less a fee once.

A price or a fee is an exact number that need not be a float. A bid is at most a price if it is at
most the largest float at or below it; sums are compared by two floats for each price, with room
for what is left of it (`terms`: two floats and the most that is missing; the last row is the fee,
as a negative number).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mechanisms.auctions.kernels.exact_comparison import (
    EXCEEDS,
    FITS,
    PARTIALS,
    UNDECIDED,
    add_exactly,
)
from mechanisms.auctions.kernels.jit import compiled

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@compiled("int64(float64[::1], float64[::1], float64[:, ::1], boolean, float64[::1])")
def covers(bids: Floats, price: Floats, terms: Floats, less_bids: bool, partials: Floats) -> int:
    """Whether the prices of what a client wants, with all further terms, are at least its bids.

    Further terms are those after the prices. Without `less_bids` the bids only say what is wanted.
    """
    tasks = price.size
    count = 0
    for s in range(tasks):
        if bids[s] <= price[s]:
            count = add_exactly(partials, count, terms[s, 0])
            count = add_exactly(partials, count, terms[s, 1])
            if less_bids:
                count = add_exactly(partials, count, -bids[s])
    for j in range(tasks, len(terms)):
        count = add_exactly(partials, count, terms[j, 0])
        count = add_exactly(partials, count, terms[j, 1])
    if count == 0 or partials[count - 1] > 0.0:
        return FITS
    for j in range(len(terms)):
        if j >= tasks or bids[j] <= price[j]:
            count = add_exactly(partials, count, terms[j, 2])
    return EXCEEDS if count > 0 and partials[count - 1] < 0.0 else UNDECIDED


@compiled("int64(float64[::1], float64[::1], float64[:, ::1], float64, float64[::1])")
def takes(bids: Floats, price: Floats, terms: Floats, slack: float, partials: Floats) -> int:
    """Whether a client that wants some task gains at least the fee; `slack` bounds all rounding."""
    surplus = 0.0
    wants = False
    for s in range(price.size):
        if bids[s] <= price[s]:
            surplus += price[s] - bids[s]
            wants = True
    if not wants:
        return EXCEEDS
    fee = -terms[price.size, 0]
    free = fee == 0.0 and terms[price.size, 1] == 0.0 and terms[price.size, 2] == 0.0
    if free or surplus - fee > slack:
        return FITS
    if surplus - fee < -slack:
        return EXCEEDS
    return covers(bids, price, terms, True, partials)


@compiled("int64(float64[:, ::1], float64[::1], float64[:, ::1], float64, int64[::1], int64[::1])")
def count_takers(
    bids: Floats, price: Floats, terms: Floats, slack: float, takers: Integers, close: Integers
) -> int:
    """Count who takes each task, and in the last entry of `takers` who takes any.

    Clients that floats cannot decide are not counted but listed in `close`; returns their number.
    """
    partials = np.empty(PARTIALS)
    undecided = 0
    for i in range(len(bids)):
        decision = takes(bids[i], price, terms, slack, partials)
        if decision == FITS:
            takers[price.size] += 1
            for s in range(price.size):
                if bids[i, s] <= price[s]:
                    takers[s] += 1
        elif decision == UNDECIDED:
            close[undecided] = i
            undecided += 1
    return undecided


@compiled(
    "void(float64[::1], float64[::1], float64, float64, boolean[::1], float64[::1], int64[::1])"
)
def pay(
    bids: Floats,
    price: Floats,
    fee: float,
    slack: float,
    winners: NDArray[np.bool_],
    payments: Floats,
    recruits: Integers,
) -> None:
    """Pay a client for all it wants, the fee being taken from its gains in task order.

    Never above the exact pay and never below the bid: `slack` bounds the rounding of every step.
    """
    due = fee
    for s in range(price.size):
        if bids[s] <= price[s]:
            part = min(due, max(price[s] - bids[s], 0.0))
            winners[s] = True
            payments[s] = max(bids[s], price[s] - part - slack)
            recruits[s] += 1
            due -= part


@compiled(
    "int64(float64[:, ::1], float64[::1], float64[:, ::1], boolean, float64, float64, "
    "boolean[::1], boolean[:, ::1], float64[:, ::1], int64[::1], int64[::1])"
)
def serve(
    bids: Floats,
    price: Floats,
    terms: Floats,
    room: bool,
    slack: float,
    pay_slack: float,
    waiting: NDArray[np.bool_],
    winners: NDArray[np.bool_],
    payments: Floats,
    recruits: Integers,
    close: Integers,
) -> int:
    """Serve those waiting for whom the others leave room: all, or whose own pay covers the need.

    The row of `terms` after the fee is the need, as a negative number. Clients that floats cannot
    decide stay waiting and are listed in `close`; returns their number.
    """
    tasks = price.size
    partials = np.empty(PARTIALS)
    undecided = 0
    for i in range(len(bids)):
        if not waiting[i]:
            continue
        decision = takes(bids[i], price, terms[: tasks + 1], slack, partials)
        if decision == FITS and not room:
            decision = covers(bids[i], price, terms, False, partials)
            if decision == EXCEEDS:
                continue
        if decision == UNDECIDED:
            close[undecided] = i
            undecided += 1
        elif decision == FITS:
            waiting[i] = False
            fee = -terms[tasks, 0]
            pay(bids[i], price, fee, pay_slack, winners[i], payments[i], recruits)
        elif room:
            waiting[i] = False
    return undecided
