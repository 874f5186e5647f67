"""Clearing levels with one client left out: the exact form of `capacity_max_min`.

Letters: w places of each task per level, q_k = k w the quotas of level k, sigma_k the cheapest
assignment that fills them, p_s(q) and m_s(q) what one place more or less of task s changes, lambda
the price at which imaginary outsiders do any task, g_k the `spend_bound`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mechanisms.auctions.exact.assignment import Assignment, Moves, perturbed_costs
from mechanisms.auctions.exact.integer_scaling import in_integers
from mechanisms.auctions.exact.perturbed import Perturbed, least
from mechanisms.auctions.exact.ranking import Prices, largest
from mechanisms.auctions.exact.spend_bound import spend_bound
from mechanisms.bids import Auction


@dataclass(frozen=True)
class Market:
    """What a level is judged by.

    Args:
        weights: (S,) places per level.
        capacity: (N,) most tasks of each client.
        budget: Money available.
    """

    weights: Sequence[int]
    capacity: Sequence[int]
    budget: Any

    def fits(self, level: int, prices: list[Perturbed], marginals: list[Perturbed]) -> bool:
        """Whether g_k(p, m) <= B."""
        return bool(self.bound(level, prices, marginals).value <= self.budget)

    def bound(self, level: int, prices: list[Perturbed], marginals: list[Perturbed]) -> Perturbed:
        """g_k(p, m)."""
        return spend_bound(level, self.weights, prices, marginals)

    def levels(self, costs: list[Any]) -> Iterator[tuple[int, Assignment]]:
        """(k, sigma_k) for k = 0, 1, ... as far as there are clients; the assignment is reused."""
        assignment = Assignment(costs, self.capacity)
        yield 0, assignment
        for level in itertools.count(1):
            if not raise_by(assignment, self.weights):
                return
            yield level, assignment


def raise_by(assignment: Assignment, places: Sequence[int]) -> bool:
    """Fill that many more places of each task; False if somebody is missing."""
    return all(assignment.add(task) for task, count in enumerate(places) for _ in range(count))


def prices_by_levels(auction: Auction, weights: Sequence[int], capacity: Sequence[int]) -> Prices:
    """Pay of every recruit, with at most so many tasks per client, on exact bids."""
    whole, unit = in_integers(auction)
    market = Market(weights, capacity, whole.budget)
    rule = single_task_prices if max(capacity) == 1 else bundle_prices
    prices = rule(market, perturbed_costs(whole.bids.tolist()))
    return {cell: price * unit for cell, price in prices.items()}


def cheapest_affordable(auction: Auction, capacity: Sequence[int]) -> Prices:
    """Bids of the cheapest assignment of equally many clients per task that the budget pays for."""
    whole, unit = in_integers(auction)
    market = Market([1] * auction.num_tasks, capacity, whole.budget)
    best: Prices = {}
    for _, assignment in market.levels(perturbed_costs(whole.bids.tolist())):
        cells = [(i, s) for i, tasks in enumerate(assignment.tasks_of) for s in tasks]
        if not sum(whole.bids[cell] for cell in cells) <= whole.budget:
            break
        best = {cell: whole.bids[cell] * unit for cell in cells}
    return best


# Clients with one task: clearing prices with a water cap.


def single_task_prices(market: Market, costs: list[Any]) -> Prices:
    """Pay of every recruit where a client does one task at most.

    Nobody but the clients of sigma_K can win, and each of them on level K or K - 1, where K is the
    largest level that is feasible with everybody.
    """
    level, sigma = _clearing_levels(market, costs)
    below = sigma[max(level - 1, 0)]
    clearing = below.moves().marginals()
    paid: Prices = {}
    for client, tasks in enumerate(sigma[level].tasks_of):
        for task in tasks:
            offer = _offer(market, level, sigma[level].without(client), task)
            if offer is None:
                paid.update(
                    {(client, s): _known(clearing[s]).value for s in below.tasks_of[client]}
                )
            elif offer >= _known(costs[client][task]).value:
                paid[client, task] = offer
    return paid


def _clearing_levels(market: Market, costs: list[Any]) -> tuple[int, list[Assignment]]:
    """K, and sigma up to K at least."""
    sigma: list[Assignment] = []
    for level, assignment in market.levels(costs):
        if level > 0 and not _clears(market, level, assignment.moves()):
            break
        sigma.append(assignment.copy())
    return len(sigma) - 1, sigma


def _clears(market: Market, level: int, moves: Moves) -> bool:
    """Whether the spending at the least cap that needs no outsiders fits."""
    marginals = moves.lower_marginals()
    cap = max(marginals)
    return market.fits(level, capped(moves, cap), marginals)


def capped(moves: Moves, cap: Perturbed) -> list[Perturbed]:
    """(S,) what one more place costs if outsiders take any place at a cap."""
    outside = [
        _known(least(moves.cost[r][s] for r in range(moves.free))) for s in range(moves.free)
    ]
    own = moves.marginals()
    return [_known(least([p, cap + beyond])) for p, beyond in zip(own, outside, strict=True)]


def _offer(market: Market, level: int, others: Assignment, task: int) -> Any:
    """Price of a task at level K for a client that is left out; None if the level is not open.

    The others stand where everybody would put them, so one place of the task is empty.
    """
    moves = others.moves()
    gaps = [moves.cost[t][task] for t in range(moves.free)]
    if None in gaps:
        return None
    least_gap = _known(least(gaps))
    spread = [(least_gap - _known(gap)).value for gap in gaps]
    spending = capped_spending(market, level, others, (gaps.index(least_gap), task), spread)
    dear = moves.marginal(task)
    top = None if dear is None else (dear - least_gap).value
    if top is not None and spending(top).value <= market.budget:
        return top + spread[task]
    cap = _largest_cap(spending, _cap_without_outsiders(others, task), top, market.budget)
    return None if cap is None else cap + spread[task]


def _cap_without_outsiders(others: Assignment, task: int) -> Any:
    """Most that the others save by one place less, wherever the client is missing."""
    saved = [Perturbed(0)]
    for place in range(others.num_tasks):
        moved = others.copy()
        moved.shift(place, task)
        saved += moved.moves().lower_marginals()
    return max(saved).value


@dataclass(frozen=True)
class CappedSpending:
    """h(lambda) = g_K(P, mu) of the others, with its slope to the right of lambda.

    Args:
        market: Weights and budget.
        level: K.
        own: (S,) what one more place costs if a client fills it; None where nobody is left.
        outside: (S,) the same, beyond lambda, if an outsider does.
        spread: (S,) what one place less saves, beyond lambda.
    """

    market: Market
    level: int
    own: list[Any]
    outside: list[Any]
    spread: list[Any]

    def __call__(self, cap: Any) -> Perturbed:
        """Value and slope at a cap."""
        prices = [
            _known(least([None if own is None else Perturbed(own), Perturbed(cap + beyond, 1)]))
            for own, beyond in zip(self.own, self.outside, strict=True)
        ]
        marginals = [Perturbed(cap + beyond, 1) for beyond in self.spread]
        return self.market.bound(self.level, prices, marginals)

    def bends(self) -> list[Any]:
        """Caps at which the slope can change."""
        known = [own for own in self.own if own is not None]
        return [own - beyond for own in known for beyond in (*self.outside, *self.spread)]


def capped_spending(
    market: Market, level: int, others: Assignment, gap: tuple[int, int], spread: list[Any]
) -> CappedSpending:
    """Spending h of the others when one outsider fills the place that is cheapest to leave to it.

    Args:
        market: Weights and budget.
        level: K.
        others: With one empty place.
        gap: The place for the outsider, and the one that is empty now.
        spread: (S,) what one place less saves, beyond lambda.
    """
    filled = others.copy()
    filled.shift(*gap)
    moves = filled.moves(outsider_at=gap[0])
    places = range(moves.free)
    own = [None if p is None else p.value for p in moves.marginals()]
    outside = [_known(least(moves.cost[r][s] for r in places)).value for s in places]
    return CappedSpending(market, level, own, outside, spread)


def _largest_cap(spending: CappedSpending, floor: Any, top: Any, budget: Any) -> Any:
    """Largest lambda in [floor, top) at which the spending fits; None if there is none.

    At the top it does not fit; the spending is linear between its bends and never falls.
    """
    if (top is not None and floor >= top) or spending(floor).value > budget:
        return None
    inside = (bend for bend in spending.bends() if bend > floor and (top is None or bend < top))
    points = [floor, *sorted(inside)]
    last = largest(len(points) - 1, lambda j: bool(spending(points[j]).value <= budget))
    at = spending(points[last])
    return points[last] + (budget - at.value) / at.part


# Clients with several tasks: bundles at what they save the others.


def bundle_prices(market: Market, costs: list[Any]) -> Prices:
    """Pay of every recruit where a client does several tasks.

    A client gets its part of sigma_K or of sigma_{K-1}, and is paid what it would cost the others
    to do without it, task by task in their order.
    """
    level, sigma = _bundle_levels(market, costs)
    paid: Prices = {}
    if level == 0:
        return paid
    below, here, above = sigma[level - 1 : level + 2]
    for client in range(len(costs)):
        if here.tasks_of[client]:
            is_open = _bundles_fit(market, level, here, above, client)
            paid.update(_bundle(here if is_open else below, client))
    return paid


def _bundle_levels(market: Market, costs: list[Any]) -> tuple[int, list[Assignment]]:
    """K = max{k : g_k(m(q_{k+1}), m(q_k)) <= B}, and sigma up to K + 1 at least."""
    sigma: list[Assignment] = []
    for level, assignment in market.levels(costs):
        sigma.append(assignment.copy())
        tested = level - 1
        if tested > 0 and not market.fits(tested, *_marginals(sigma[level], sigma[tested])):
            return tested - 1, sigma
    return max(len(sigma) - 2, 0), sigma


def _bundles_fit(
    market: Market, level: int, here: Assignment, above: Assignment, client: int
) -> bool:
    """Whether level K is open for a client: the same test among the others."""
    others = [each.without(client) for each in (above, here)]
    places = [each.tasks_of[client] for each in (above, here)]
    filled = [raise_by(each, _indicator(each, T)) for each, T in zip(others, places, strict=True)]
    return all(filled) and market.fits(level, *_marginals(*others))


def _bundle(assignment: Assignment, client: int) -> Prices:
    """A client's tasks, and what each place costs the others when they fill one after the other."""
    others = assignment.without(client)
    paid: Prices = {}
    for task in sorted(assignment.tasks_of[client]):
        paid[client, task] = _known(others.moves().marginal(task)).value
        others.add(task)
    return paid


def _marginals(*assignments: Assignment) -> Iterator[list[Perturbed]]:
    """Lower marginals of some assignments."""
    return (each.moves().lower_marginals() for each in assignments)


def _indicator(assignment: Assignment, tasks: set[int]) -> list[int]:
    """One place for each of some tasks."""
    return [int(task in tasks) for task in range(assignment.num_tasks)]


def _known(number: Any) -> Any:
    """A number that theory says is there."""
    assert number is not None
    return number
