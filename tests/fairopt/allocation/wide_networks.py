"""Random networks with capacities of any size, closed links and links without a limit."""

import numpy as np

FINITE = (1e-3, 0.05, 0.3, 0.5, 1.0, 1.5, 2.0, 5.0, 50.0, 1000.0, 1e6)


def network(seed, *, decades=300.0, special=0.5, paths=1):
    """Routing of zeros and ones, owners, capacities between 10^-decades and 10^decades.

    With probability `special` one link is closed, one has no limit, one flow uses only that.
    """
    rng = np.random.default_rng(seed)
    links, flows = int(rng.integers(2, 7)), int(rng.integers(2, 9))
    owner = np.repeat(np.arange(flows), rng.integers(1, paths + 1, flows))
    R = (rng.random((links, len(owner))) < 0.5) * 1.0
    R[rng.integers(links, size=len(owner)), np.arange(len(owner))] = 1.0
    capacity = 10.0 ** rng.uniform(-decades, decades, links)
    if rng.random() < 0.5:  # all of one size, at any size
        capacity = 10.0 ** rng.uniform(-decades, decades) * rng.uniform(1.0, 10.0, links)
    if rng.random() < special:
        capacity[0] = 0.0
    if rng.random() < special:
        capacity[-1] = np.inf
        R[:, rng.integers(len(owner))] = np.eye(links)[-1]
    return R, owner, capacity


def overload(R, capacity, rates):
    """The largest relative overload of a link, in logarithms; 0 without one."""
    kept = np.isfinite(rates) & (rates > 0.0)
    most = 0.0
    for row, room in zip(R[:, kept], capacity, strict=True):
        used = row > 0.0
        if used.any() and room == 0.0:
            return np.inf
        if used.any() and np.isfinite(room):
            filled = np.log(row[used]) + np.log(rates[kept][used]) - np.log(room)
            most = max(most, float(np.exp(filled).sum()) - 1.0)
    return most
