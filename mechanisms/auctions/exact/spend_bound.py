"""Most that a round can cost when its clients end on two neighbouring levels."""

from __future__ import annotations

from collections.abc import Sequence

from mechanisms.auctions.exact.perturbed import Perturbed


def spend_bound(
    level: int,
    weights: Sequence[int],
    prices: Sequence[Perturbed],
    marginals: Sequence[Perturbed],
) -> Perturbed:
    r"""g_k(p, m): spending with quotas k w, and the slack for clients that a level leaves behind.

    Problem: max over y, z of

        sum_s (k w_s - y_s) p_s + z_s m_s,   0 <= y_s <= min(k w_s, R), 0 <= z_s <= R - w_s,
                                             sum z <= sum y, sum z <= R floor(S / 2), R = sum w.

    Without the slack the auction is truthful but overspends on rare profiles.

    Args:
        level: k.
        weights: (S,) w, places of each task per level, at least 1.
        prices: (S,) p, what a place costs.
        marginals: (S,) m, what a place left to the level below costs.

    Example:
        Equal prices need no slack; a task dearer than another costs one place of it.

        >>> prices = [Perturbed(2), Perturbed(2)]
        >>> spend_bound(3, [1, 1], prices, prices).value
        12
        >>> spend_bound(3, [1, 1], prices, [Perturbed(5), Perturbed(2)]).value
        15
    """
    steps = sum(weights)
    quotas = [level * weight for weight in weights]
    total = Perturbed(0)
    for quota, price in zip(quotas, prices, strict=True):
        total = total + quota * price
    given_up = _cheapest_first(prices, [min(quota, steps) for quota in quotas])
    gained = _cheapest_first([-m for m in marginals], [steps - weight for weight in weights])
    left = steps * (len(weights) // 2)
    for price, marginal in zip(given_up, gained, strict=False):
        if left == 0 or not -marginal > price:
            break
        total = total - marginal - price
        left -= 1
    return total


def _cheapest_first(amounts: Sequence[Perturbed], counts: Sequence[int]) -> list[Perturbed]:
    """Every amount as often as it counts, in rising order."""
    order = sorted(range(len(amounts)), key=lambda s: amounts[s])
    return [amounts[s] for s in order for _ in range(counts[s])]
