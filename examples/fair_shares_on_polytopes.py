"""Four questions that are one: fair utilities x = T z of a plan z that linear constraints allow.

A cluster whose machines suit jobs differently, a market, minimum rates on links, and dominant
resource shares; `fairopt.alpha_fair_on_polytope` certifies every utility on its own.

Run with: python examples/fair_shares_on_polytopes.py
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import fairopt

Array = NDArray[np.float64]


def cluster_shares(speed: Array, machines: Array, alpha: float) -> fairopt.PolytopeAllocation:
    """Throughputs of jobs on machines of several kinds, relative to an equal share of all.

    Args:
        speed: (jobs, kinds) steps per second of a job on a kind of machine.
        machines: (kinds,) how many there are; a job uses one at a time.
        alpha: Utility power; inf is the max-min policy of heterogeneous clusters.

    z[j, k] is the share of time that job j runs on kind k.
    """
    jobs, kinds = speed.shape
    one_job = np.kron(np.eye(jobs), np.ones((1, kinds)))
    one_kind = np.kron(np.ones((1, jobs)), np.eye(kinds))
    throughput = one_job * speed.ravel()
    equal = speed @ (machines / machines.sum()) * min(1.0, machines.sum() / jobs)
    return fairopt.alpha_fair_on_polytope(
        throughput,
        G=np.vstack([one_job, one_kind]),
        h=np.concatenate([np.ones(jobs), machines]),
        alpha=alpha,
        weights=equal,
    ).require()


def fisher_market(value: Array, budget: Array) -> fairopt.PolytopeAllocation:
    """The equilibrium of a market of one unit of every good: largest Nash welfare.

    Args:
        value: (buyers, goods) of a unit.
        budget: (buyers,) money of each.

    Prices of goods are the prices of their supply (Eisenberg and Gale 1959).
    """
    buyers, goods = value.shape
    rows = np.kron(np.eye(buyers), np.ones((1, goods))) * value.ravel()
    supply = np.kron(np.ones((1, buyers)), np.eye(goods))
    return fairopt.alpha_fair_on_polytope(
        rows, G=supply, h=np.ones(goods), alpha=1.0, priority=budget
    ).require()


def guaranteed_rates(routing: Array, capacity: Array, least: Array) -> fairopt.PolytopeAllocation:
    """Proportionally fair rates on links, none below what it was promised."""
    flows = routing.shape[1]
    return fairopt.alpha_fair_on_polytope(
        np.eye(flows),
        G=np.vstack([routing, -np.eye(flows)]),
        h=np.concatenate([capacity, -least]),
        alpha=1.0,
    ).require()


def dominant_shares(demand: Array, total: Array) -> Array:
    """Max-min fair shares of each user's dominant resource (Ghodsi and others 2011).

    Args:
        demand: (users, resources) that one task takes.
        total: (resources,) there are.

    Returns:
        (users,) numbers of tasks.
    """
    dominant = np.max(demand / total, axis=1)
    found = fairopt.alpha_fair_on_polytope(
        np.diag(dominant), G=demand.T, h=total, alpha=np.inf
    ).require()
    return found.point


SPEED = np.array([[4.0, 1.0], [3.0, 2.0], [1.0, 1.0]])
VALUE = np.array([[2.0, 1.0], [1.0, 2.0], [1.0, 1.0]])
BUDGET = np.array([1.0, 1.0, 2.0])


def main() -> None:
    """Print the four."""
    for alpha in (1.0, np.inf):
        found = cluster_shares(SPEED, np.array([1.0, 1.0]), alpha)
        print(f"cluster, alpha {alpha:<4g} throughputs {found.utilities.round(3)}")
    market = fisher_market(VALUE, BUDGET)
    print(
        f"market              utilities {market.utilities.round(3)} prices {market.prices.round(3)}"
    )
    routing = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    rates = guaranteed_rates(routing, np.ones(2), np.array([0.5, 0.0, 0.0])).utilities
    print(f"promised rates      {rates.round(3)}")
    tasks = dominant_shares(np.array([[1.0, 4.0], [3.0, 1.0]]), np.array([9.0, 18.0]))
    print(f"dominant shares     tasks {tasks.round(3)}")


if __name__ == "__main__":
    main()
