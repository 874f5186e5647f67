"""A public price direction and a fee for taking part: an auction for large markets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairopt.errors import InvalidInput
from mechanisms.auctions.exact.by_value import rounded_down
from mechanisms.auctions.exact.ranking import exact_outcome
from mechanisms.bids import Auction, checked_direction, exact_number, read_auction
from mechanisms.outcome import Outcome, counting_recruits

SCALE_BITS = 20
"""Significant bits of a scale: a relative step of 1e-6, far below one recruit."""
EPS = 2.0**-52
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
        return sum(self.prices, Fraction(0)) - self.fee


def participation_fee(bids: ArrayLike, budget: Any, direction: ArrayLike, fee: Any) -> Outcome:
    r"""Prices t w_s for every task, less a fee t phi for taking part, at the largest safe scale.

    Problem: at scale t a client takes every task with t w_s >= its bid if the surplus
    sum_s (t w_s - b_is)^+ is at least t phi, and nothing otherwise. Client i faces the largest
    scale t_i of the grid t_k = B / (k (sum_s w_s - phi)), k = 1..N, such that

        sum_{j != i} spend_j(t) + t (sum_s w_s - phi) <= B        for t = t_i and all smaller.

    Args:
        bids: (N, S) reported cost of client i for task s, >= 0; `inf` = does not bid.
        budget: B, money available, finite and > 0.
        direction: w, (S,) relative prices > 0. Public: it must not depend on the bids.
        fee: phi, in units of the direction, with 0 <= phi < sum_s w_s. Public as well.

    Returns:
        `Outcome` whose `level` (S,) is the number of recruits of each task. The fee is taken from
        the gains on the tasks, in their order, so that no task is paid below its bid; what counts
        for the client is the sum.

    Method: spending grows with the scale, so the scale is found by bisection; every scale is
    rounded down to 20 significant bits. Floats decide all clear cases and fractions the rest.

    Guarantee: truthful against joint misreports with costs that add up over tasks, individually
    rational, budget feasible. Where costs are independent over many tasks the fee recruits more
    than prices alone can; no minimum is guaranteed, and a bad direction can recruit nobody. Float
    payments are rounded down by a few units in the last place.

    Raises:
        InvalidInput: A bid, the budget, the direction or the fee does not meet its requirement.

    Source: own design.

    Example:
        >>> bids = [[0.0, 1.0], [1.0, 0.0], [4.0, 0.0], [9.0, 9.0]]
        >>> participation_fee(bids, 12.0, [1.0, 1.0], 0.5).payments.sum(axis=1)
        array([3.99999619, 3.99999619, 1.33333206, 0.        ])
    """
    auction = read_auction(bids, budget)
    ratio = checked_direction(direction, fee, auction.num_tasks)
    takes = _takes_exactly if auction.exact else _takes_fast
    menus = _menus_at(auction, ratio)
    first = _first_level(auction, menus, takes)
    return _outcome(auction, menus, first, takes)


Takes = Callable[[Auction, Menu], NDArray[np.bool_]]
Menus = Callable[[int], Menu]


def _menus_at(auction: Auction, ratio: tuple[tuple[Fraction, ...], Fraction]) -> Menus:
    """Menu of every level k of the grid."""
    direction, fee = ratio
    unit = exact_number(auction.budget) / (sum(direction) - fee)
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


def _first_level(auction: Auction, menus: Menus, takes: Takes) -> int:
    """Smallest k, that is the largest scale, at which all clients together can be paid."""
    low, high = 1, auction.num_clients
    while low < high:
        middle = (low + high) // 2
        menu = menus(middle)
        if _spend(menu, takes(auction, menu)) <= auction.budget:
            high = middle
        else:
            low = middle + 1
    return low


def _spend(menu: Menu, taken: NDArray[np.bool_]) -> Fraction:
    """Exact total pay."""
    counts = zip(menu.prices, taken.sum(axis=0), strict=True)
    gross = sum((price * int(count) for price, count in counts), Fraction(0))
    return gross - menu.fee * int(taken.any(axis=1).sum())


def _outcome(auction: Auction, menus: Menus, first: int, takes: Takes) -> Outcome:
    """Serve every client at the largest scale at which the others leave room for its whole menu."""
    shape = auction.bids.shape
    winners, payments = np.zeros(shape, dtype=bool), _nothing(auction)
    waiting = np.ones(auction.num_clients, dtype=bool)
    for k in range(first, auction.num_clients + 1):
        menu = menus(k)
        taken = takes(auction, menu)
        room = exact_number(auction.budget) - _spend(menu, taken) - menu.most
        served = waiting & _own_spend_covers(menu, taken, -room)
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


def _bundle(menu: Menu, row: NDArray[np.bool_]) -> Fraction:
    """Pay for a set of tasks."""
    return sum((p for p, in_it in zip(menu.prices, row, strict=True) if in_it), -menu.fee)


def _takes_exactly(auction: Auction, menu: Menu) -> NDArray[np.bool_]:
    """(N, S) what each client takes from a menu."""
    return np.array([_favourite(bids, menu) for bids in auction.bids], dtype=bool)


def _favourite(bids: NDArray[Any], menu: Menu) -> list[bool]:
    """Best set of tasks of one client; larger sets win ties."""
    wanted = [bool(bid <= price) for bid, price in zip(bids, menu.prices, strict=True)]
    pairs = zip(bids, menu.prices, wanted, strict=True)
    surplus = sum((price - exact_number(bid) for bid, price, want in pairs if want), Fraction(0))
    return wanted if surplus >= menu.fee else [False] * len(wanted)


def _takes_fast(auction: Auction, menu: Menu) -> NDArray[np.bool_]:
    """The same on floats: clients near a tie are decided in fractions."""
    prices = np.array([float(price) for price in menu.prices])
    bids = auction.bids
    gaps = np.where(np.isfinite(bids), prices - bids, -prices - 1.0)
    wanted = gaps >= 0
    surplus = np.where(wanted, gaps, 0.0).sum(axis=1) - float(menu.fee)
    slack = 4 * (len(prices) + 2) * EPS * (prices.sum() + float(menu.fee))
    close = (abs(gaps) <= 4 * EPS * prices).any(axis=1) | (abs(surplus) <= slack)
    taken = wanted & (surplus >= 0)[:, np.newaxis]
    for client in np.flatnonzero(close):
        taken[client] = _favourite(bids[client], menu)
    return np.asarray(taken)


def _nothing(auction: Auction) -> NDArray[Any]:
    """A table of payments with nothing in it."""
    if auction.exact:
        return exact_outcome({}, auction.bids.shape).payments
    return np.zeros(auction.bids.shape)


def _pay(auction: Auction, menu: Menu, taken: NDArray[np.bool_], payments: NDArray[Any]) -> None:
    """Pay those who take something, the fee being taken from their gains in task order."""
    if not auction.exact:
        _pay_floats(auction, menu, taken, payments)
        return
    for client in np.flatnonzero(taken.any(axis=1)):
        due = menu.fee
        for task in np.flatnonzero(taken[client]):
            part = min(due, menu.prices[task] - auction.bids[client, task])
            payments[client, task] = menu.prices[task] - part
            due = due - part


def _pay_floats(
    auction: Auction, menu: Menu, taken: NDArray[np.bool_], payments: NDArray[Any]
) -> None:
    """The same for all clients at once, never above the exact pay and never below the bid.

    The slack bounds the rounding of every step, so a payment is too small by at most that much.
    """
    rows = taken.any(axis=1)
    due = np.where(rows, float(menu.fee), 0.0)
    slack = 4 * (auction.num_tasks + 2) * EPS * (float(menu.most) + 2 * float(menu.fee))
    for task, exact_price in enumerate(menu.prices):
        price, bid = rounded_down(exact_price), auction.bids[:, task]
        gain = np.where(taken[:, task], price - bid, 0.0)
        part = np.minimum(due, np.maximum(gain, 0.0))
        pay = np.maximum(bid, price - part - (slack if menu.fee else 0.0))
        payments[taken[:, task], task] = pay[taken[:, task]]
        due = due - part
