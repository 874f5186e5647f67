"""A clock for coverage: prices that only fall, and an estimate of the optimum that doubles."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from numpy.typing import ArrayLike

from mechanisms.auctions.exact.by_value import Column, per_task
from mechanisms.auctions.exact.coverage import Coverage, coverage
from mechanisms.auctions.exact.ranking import Prices
from mechanisms.auctions.wide.payments import outcome_of
from mechanisms.bids import checked_cover, read_auction
from mechanisms.outcome import Outcome


def clock_auction(
    bids: ArrayLike, budget: Any, covers: ArrayLike, weights: ArrayLike | None = None
) -> Outcome:
    r"""Split the budget equally over the tasks; each buys coverage by a descending clock.

    Problem: client i covers a set of regions, and V(C) is the weight of what the clients C cover.
    Everybody is offered B_s = B / S at first; who bids more leaves. Let W be the client that
    covers most and E = V(W). In every round E doubles, W becomes W', and W starts empty: of the
    clients that stay and are neither in W' nor in W, the one that adds most to V(W) is offered
    the smaller of its last offer and (B_s / E) times what it adds; it joins W or leaves. The round
    ends when V(W) >= E or nobody is left to ask, the auction when all who stay are in W' or W.

    If the offers to W' exceed B_s, its last client is asked again as for joining W at its end.
    With U the longest beginning of W whose offers fit into B_s, and as much of the beginning of W'
    as fits into the rest, the winners are W' or U with that part, whichever covers more; each is
    paid its last offer.

    Args:
        bids: (N, S) reported cost of client i for task s, >= 0; `inf` = does not bid.
        budget: B, money available, finite and > 0.
        covers: (N, R) bool, the regions that each client covers, or (S, N, R) for every task.
            Public or measured. Disjoint regions of weight v_i make the value additive.
        weights: (R,) worth of each region, finite and > 0; all equal by default.

    Returns:
        `Outcome` whose `level` (S,) is the number of recruits of each task.

    Guarantee: truthful against joint misreports of costs that add up over tasks (asked offer by
    offer, obviously strategy-proof on each task), individually rational, budget feasible,
    deterministic. *Proof.* Offers to a client only fall, and while it accepts them nothing hangs
    on its bid. The offers to W' without its last client are at most B_s: B_s / E' times a value
    below E', with E' the estimate of that round.
    *Not* proved here: the published auction covers at least 1 / 4.75 of the optimum. This
    reconstruction was measured, see docs/auctions-values.md, and never fell below that share.

    Raises:
        InvalidInput: A bid, the budget, the table or a weight does not meet its requirement.

    Source: Balkanski, Garimidi, Gkatzelis, Schoepflin and Tan, "Deterministic budget-feasible
    clock auctions", SODA 2022 (arXiv 2107.09239), the auction for monotone submodular values.
    Reconstructed without the paper's text, by way of a third party's program; details may differ.

    Example:
        >>> covers = [[True, True, False], [False, True, True], [False, False, True]]
        >>> clock_auction([[1.0], [1.0], [2.0]], 9.0, covers).payments.ravel()
        array([9., 0., 0.])
    """
    auction = read_auction(bids, budget)
    table, worth = checked_cover(covers, weights, auction.bids.shape)
    prices: Prices = {}
    for task, column, share in per_task(auction):
        clock = _Clock(column, share, coverage(table[task], worth))
        prices.update({(client, task): clock.offers[client] for client in clock.winners()})
    return outcome_of(auction, prices)


@dataclass(eq=False)
class _Clock:
    """One task's auction.

    Attributes:
        bids: (N,) what each client would accept.
        budget: Of the task.
        value: Of sets of clients.
        offers: Last offer to each client that stays.
    """

    bids: Column
    budget: Any
    value: Coverage
    offers: dict[int, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.offers = {i: self.budget for i, bid in enumerate(self.bids) if bid <= self.budget}

    def accepts(self, client: int, group: list[int], estimate: int) -> bool:
        """Lower the offer to a client that would join a group; it stays or leaves."""
        gain = self.value.gain(client, self.value.covered(group))
        offer = min(self.offers[client], self.budget * Fraction(gain, estimate))
        self.offers[client] = offer
        if self.bids[client] <= offer:
            return True
        del self.offers[client]
        return False

    def winners(self) -> list[int]:
        """Run the auction."""
        useful = [client for client in self.offers if self.value.regions[client]]
        if not useful:
            return []
        self.offers = {client: self.offers[client] for client in useful}
        group = [max(useful, key=lambda client: (self.value.of([client]), -client))]
        estimate = self.value.of(group)
        before: list[int] = []
        while self._others(before, group):
            estimate, before = 2 * estimate, group
            group = self._round(before, estimate)
        return self._best_of(before, group, estimate)

    def _round(self, before: list[int], estimate: int) -> list[int]:
        """A new group, in the order in which it was joined."""
        group: list[int] = []
        while self.value.of(group) < estimate and (others := self._others(before, group)):
            covered = self.value.covered(group)
            gains = {client: self.value.gain(client, covered) for client in others}
            client = max(others, key=lambda each: (gains[each], -each))
            if self.accepts(client, group, estimate):
                group.append(client)
        return group

    def _others(self, before: list[int], group: list[int]) -> list[int]:
        """Who stays and belongs to neither group."""
        return [client for client in self.offers if client not in before and client not in group]

    def _best_of(self, before: list[int], group: list[int], estimate: int) -> list[int]:
        """The group before, or what can be paid of the last one with a part of it."""
        if self._sum(before) > self.budget:
            *before, last = before
            if self.accepts(last, group, estimate):
                group = [*group, last]
        start = self._affordable(group, self.budget)
        mixed = start + self._affordable(before, self.budget - self._sum(start))
        return max((before, mixed), key=self.value.of)

    def _sum(self, clients: list[int]) -> Any:
        """Of the last offers."""
        return sum((self.offers[client] for client in clients), Fraction(0))

    def _affordable(self, clients: list[int], money: Any) -> list[int]:
        """The longest beginning that fits."""
        taken: list[int] = []
        for client in clients:
            if self.offers[client] > money:
                break
            money = money - self.offers[client]
            taken.append(client)
        return taken
