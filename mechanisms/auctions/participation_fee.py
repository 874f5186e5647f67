"""A public price direction and a fee for taking part: an auction for large markets."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairopt.errors import InvalidInput
from mechanisms.auctions.exact.favourites import favourites, largest_sum
from mechanisms.auctions.exact.ranking import exact_outcome
from mechanisms.auctions.floats.menus import count_takers, menu_in_floats, with_need
from mechanisms.auctions.floats.recruitment import empty_tables
from mechanisms.auctions.wide.payments import outcome_of
from mechanisms.bids import Auction, checked_direction, exact_number, in_fractions, read_auction
from mechanisms.integers import checked_capacity
from mechanisms.outcome import Outcome, counting_recruits

SCALE_BITS = 20
"""Significant bits of a scale: a relative step of 1e-6, far below one recruit."""
LARGEST_PRICE = 2**1000
"""Prices above it come near the end of the float64 range and are refused."""


@dataclass(frozen=True)
class Menu:
    """What a client may take: any set of tasks at these prices, less the fee once.

    Args:
        prices: (S,) exact price of each task.
        fee: Exact fee.
    """

    prices: tuple[Fraction, ...]
    fee: Fraction

    @property
    def most(self) -> Fraction:
        """Largest payment: for all tasks together."""
        return self.most_of(len(self.prices))

    def most_of(self, tasks: int) -> Fraction:
        """Largest payment for so many tasks."""
        return Fraction(largest_sum(self.prices, tasks)) - self.fee


def participation_fee(
    bids: ArrayLike,
    budget: Any,
    direction: ArrayLike,
    fee: Any,
    *,
    capacity: int | ArrayLike | None = None,
) -> Outcome:
    r"""Prices t w_s for every task, less a fee t phi for taking part, at the largest safe scale.

    Problem: at scale t a client takes every task with t w_s >= its bid if the surplus
    sum_s (t w_s - b_is)^+ is at least t phi, and nothing otherwise. Client i faces the largest
    scale t_i of the grid t_k = B / (k (sum_s w_s - phi)), k = 1..N, such that

        sum_{j != i} spend_j(t) + t (sum_s w_s - phi) <= B        for t = t_i and all smaller.

    A client that does at most m tasks takes those of largest gain, and sum_s w_s is the sum of the
    m largest w.

    Args:
        bids: (N, S) reported cost of client i for task s, >= 0; `inf` = does not bid.
        budget: B, money available, finite and > 0.
        direction: w, (S,) relative prices > 0. Public: it must not depend on the bids.
        fee: phi, in units of the direction, with 0 <= phi < sum_s w_s. Public as well.
        capacity: m, most tasks that a client does, 1..S; or (N,) one for each client. Public too.
            None: all.

    Returns:
        `Outcome` whose `level` (S,) is the number of recruits of each task. The fee is taken from
        the gains on the tasks, in their order, so that no task is paid below its bid; what counts
        for the client is the sum.

    Method: spending grows with the scale, so the scale is found by bisection; every scale is
    rounded down to 20 significant bits. Floats decide all clear cases and fractions the rest.

    Guarantee: truthful against joint misreports with costs that add up over tasks, individually
    rational, budget feasible. With a capacity as well: a client's largest surplus is a maximum of
    functions of t that are linear where they are positive, so convex, and its slope times t, which
    is what the client is paid, grows with t (ties go to the dearer task). Where costs are
    independent over many tasks the fee recruits more than prices alone can; no minimum is
    guaranteed, and a bad direction can recruit nobody. Float payments are rounded down by a few
    units in the last place.

    Raises:
        InvalidInput: A bid, the budget, the direction, the fee or a capacity does not meet its
            requirement.

    Source: own design.

    Example:
        >>> bids = [[0.0, 1.0], [1.0, 0.0], [4.0, 0.0], [9.0, 9.0]]
        >>> participation_fee(bids, 12.0, [1.0, 1.0], 0.5).payments.sum(axis=1)
        array([3.99999619, 3.99999619, 1.33333206, 0.        ])
    """
    auction = read_auction(bids, budget)
    ratio = checked_direction(direction, fee, auction.num_tasks)
    limits = _limits(capacity, auction, ratio)
    menus = _menus_at(auction, ratio, max(limits))
    if min(limits) < auction.num_tasks:
        return _in_numbers_of(auction, _exact(in_fractions(auction), menus, limits))
    return _exact(auction, menus, limits) if auction.exact else _fast(auction, menus)


def _limits(
    capacity: int | ArrayLike | None, auction: Auction, ratio: tuple[tuple[Fraction, ...], Fraction]
) -> list[int]:
    """Most tasks of each client; a fee that eats up the pay of one of them is refused."""
    if capacity is None:
        return [auction.num_tasks] * auction.num_clients
    limits = checked_capacity(capacity, auction.bids.shape)
    most = largest_sum(ratio[0], min(limits))
    if not ratio[1] < most:
        requirement = f"below the sum of the {min(limits)} largest of the direction, {most}"
        raise InvalidInput("fee", ratio[1], requirement)
    return limits


def _in_numbers_of(auction: Auction, outcome: Outcome) -> Outcome:
    """An exact outcome as the auction's own kind of numbers."""
    cells = [(int(i), int(s)) for i, s in np.argwhere(outcome.winners)]
    return outcome_of(auction, {cell: outcome.payments[cell] for cell in cells})


Menus = Callable[[int], Menu]


def _menus_at(auction: Auction, ratio: tuple[tuple[Fraction, ...], Fraction], most: int) -> Menus:
    """Menu of every level k of the grid."""
    direction, fee = ratio
    unit = exact_number(auction.budget) / (largest_sum(direction, most) - fee)
    if not auction.exact and unit * sum(direction) >= LARGEST_PRICE:
        requirement = "such that the largest price, budget sum(w) / (sum(w) - fee), is below 2^1000"
        raise InvalidInput("budget", auction.budget, requirement)

    def menu(k: int) -> Menu:
        scale = _truncated(unit / k)
        return Menu(tuple(scale * w for w in direction), scale * fee)

    return menu


def _truncated(value: Fraction) -> Fraction:
    """A number > 0 rounded down to a few significant bits."""
    exponent = value.numerator.bit_length() - value.denominator.bit_length() - SCALE_BITS
    step = Fraction(2) ** exponent
    return step * (value // step)


def _first_level(auction: Auction, spend: Callable[[int], Fraction]) -> int:
    """Smallest k, that is the largest scale, at which all clients together can be paid."""
    low, high = 1, auction.num_clients
    while low < high:
        middle = (low + high) // 2
        if spend(middle) <= auction.budget:
            high = middle
        else:
            low = middle + 1
    return low


def _spend(menu: Menu, taken: NDArray[np.bool_]) -> Fraction:
    """Exact total pay."""
    counts = zip(menu.prices, taken.sum(axis=0), strict=True)
    gross = sum((price * int(count) for price, count in counts), Fraction(0))
    return gross - menu.fee * int(taken.any(axis=1).sum())


def _exact(auction: Auction, menus: Menus, limits: list[int]) -> Outcome:
    """Serve every client at the largest scale at which the others leave room for its whole menu."""
    shape = auction.bids.shape
    winners, payments = np.zeros(shape, dtype=bool), exact_outcome({}, shape).payments
    waiting = np.ones(auction.num_clients, dtype=bool)
    takes = functools.partial(_takes, auction, limits)
    most = np.array(limits)
    first = _first_level(auction, lambda k: _spend(menus(k), takes(menus(k))))
    for k in range(first, auction.num_clients + 1):
        menu = menus(k)
        taken = takes(menu)
        served = np.zeros_like(waiting)
        for tasks in set(limits):
            room = exact_number(auction.budget) - _spend(menu, taken) - menu.most_of(tasks)
            served |= waiting & (most == tasks) & _own_spend_covers(menu, taken, -room)
        winners[served] = taken[served]
        _pay(auction, menu, taken & served[:, np.newaxis], payments)
        waiting &= ~served
        if not waiting.any():
            break
    return counting_recruits(winners, payments)


def _own_spend_covers(menu: Menu, taken: NDArray[np.bool_], need: Fraction) -> NDArray[np.bool_]:
    """(N,) whether what a client itself is paid at this menu is at least `need`."""
    if need <= 0:
        return np.ones(len(taken), dtype=bool)
    patterns, which = np.unique(taken, axis=0, return_inverse=True)
    covers = [row.any() and _bundle(menu, row) >= need for row in patterns]
    return np.asarray(covers, dtype=bool)[which.ravel()]


def _bundle(menu: Menu, row: Sequence[bool] | NDArray[np.bool_]) -> Fraction:
    """Pay for a set of tasks."""
    return sum((p for p, in_it in zip(menu.prices, row, strict=True) if in_it), -menu.fee)


def _takes(auction: Auction, limits: list[int], menu: Menu) -> NDArray[np.bool_]:
    """(N, S) what each client takes from a menu."""
    rows = zip(auction.bids, limits, strict=True)
    return np.array([_favourite(bids, menu, most) for bids, most in rows], dtype=bool)


def _favourite(bids: NDArray[Any], menu: Menu, most: int) -> list[bool]:
    """Best set of tasks of one client, at most so many; larger sets and dearer tasks win ties."""
    wanted = [bool(bid <= price) for bid, price in zip(bids, menu.prices, strict=True)]
    if sum(wanted) > most:
        best = favourites(bids.tolist(), menu.prices, most)
        wanted = [task in best for task in range(len(wanted))]
    pairs = zip(bids, menu.prices, wanted, strict=True)
    surplus = sum((price - exact_number(bid) for bid, price, want in pairs if want), Fraction(0))
    return wanted if surplus >= menu.fee else [False] * len(wanted)


def _pay(auction: Auction, menu: Menu, taken: NDArray[np.bool_], payments: NDArray[Any]) -> None:
    """Pay those who take something, the fee being taken from their gains in task order."""
    for client in np.flatnonzero(taken.any(axis=1)):
        due = menu.fee
        for task in np.flatnonzero(taken[client]):
            part = min(due, menu.prices[task] - auction.bids[client, task])
            payments[client, task] = menu.prices[task] - part
            due = due - part


def _fast(auction: Auction, menus: Menus) -> Outcome:
    """The same decisions on floats, in one pass per scale; payments are rounded down."""
    outcome = (*empty_tables(auction.bids.shape), np.zeros(auction.num_tasks, dtype=np.int64))
    waiting = np.ones(auction.num_clients, dtype=np.bool_)
    first = _first_level(auction, lambda k: _spend_fast(auction, menus(k)))
    for k in range(first, auction.num_clients + 1):
        menu = menus(k)
        need = _spend_fast(auction, menu) + menu.most - exact_number(auction.budget)
        _serve_fast(auction, menu, need, waiting, outcome)
        if not waiting.any():
            break
    return Outcome(*outcome)


def _spend_fast(auction: Auction, menu: Menu) -> Fraction:
    """Exact total pay, where floats decide all clear cases and fractions the rest."""
    takers, close = count_takers(auction.bids, menu_in_floats(menu.prices, menu.fee))
    for client in close:
        row = _favourite(auction.bids[client], menu, auction.num_tasks)
        takers += np.array([*row, any(row)], dtype=np.int64)
    pairs = zip((*menu.prices, -menu.fee), takers, strict=True)
    return sum((amount * int(count) for amount, count in pairs), Fraction(0))


def _serve_fast(
    auction: Auction,
    menu: Menu,
    need: Fraction,
    waiting: NDArray[np.bool_],
    outcome: tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.int64]],
) -> None:
    """Serve those whose own pay is at least `need`: all of the waiting where that is at most 0."""
    from mechanisms.auctions.kernels.menus import pay, serve

    floats, room = menu_in_floats(menu.prices, menu.fee), need <= 0
    terms = with_need(floats.terms, max(need, Fraction(0)))
    close, slack = np.empty(auction.num_clients, dtype=np.int64), floats.slack
    tables = (auction.bids, floats.price, terms, room, slack, floats.pay_slack, waiting, *outcome)
    undecided = serve(*tables, close)
    for client in close[:undecided]:
        bids = auction.bids[client]
        row = _favourite(bids, menu, auction.num_tasks)
        if room or (any(row) and _bundle(menu, row) >= need):
            waiting[client] = False
        if any(row) and not waiting[client]:
            winners, payments, recruits = outcome
            of = (winners[client], payments[client], recruits)
            pay(bids, floats.price, float(menu.fee), floats.pay_slack, *of)
