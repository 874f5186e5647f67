"""What a round's answers cost: computation, traffic, and how far updates are apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.fl_runtime.twin import nets
from tests.fl_runtime.twin.arrivals import Arrivals
from tests.fl_runtime.twin.hca import FedHCA2
from tests.fl_runtime.twin.personal import Ditto, FedPer, Local
from tests.fl_runtime.twin.ram import FedRAM
from tests.fl_runtime.twin.trunks import SharedTrunk
from tests.fl_runtime.twin.world import Sent, World


def columns(world: World, algorithm: Any, jobs: list[Sent], finished: int) -> dict[str, Any]:
    """Parameters times examples times passes; numbers sent; mean squared distance of updates.

    Args:
        world: Tasks and clients.
        algorithm: Says what travels.
        jobs: That were answered and counted.
        finished: Rounds before this one.
    """
    passes = world.clients.local_epochs
    row: dict[str, Any] = {
        "compute": sum(_size(job.work.start) * job.answer.examples * passes for job in jobs),
        "traffic": _traffic(algorithm, jobs, finished),
    }
    for name in world.names:
        rows = np.array([nets.vector(job.answer.delta) for job in jobs if job.name == name])
        spread = None
        if len(rows) > 1:
            spread = float(((rows - rows.mean(axis=0)) ** 2).sum() / len(rows))
        row[f"{name}/update_variance"] = spread
    return row


def _size(model: nets.Model) -> int:
    """Numbers of a model."""
    return sum(value.size for value in model.values())


def _traffic(algorithm: Any, jobs: list[Sent], finished: int) -> int:
    """Numbers to and from clients; what is the same for all tasks of a client, once."""
    total, seen = 0, set()
    for job in jobs:
        own, trunk, together = _exchanged(algorithm, job, finished)
        sizes = {key: value.size for key, value in job.work.start.items()}
        total += 2 * sum(sizes[key] for key in own)
        common = sum(sizes[key] for key in trunk)
        total += common * (job.client not in seen)  # down
        total += common * (job.client not in seen or not together)  # up
        if trunk:
            seen.add(job.client)
    return total


def _exchanged(a: Any, job: Sent, finished: int) -> tuple[list[str], list[str], bool]:
    """Entries of a task alone, entries common to a client's tasks, and whether these come once."""
    model = job.work.start
    if isinstance(a, FedPer):
        base = list(a.base(job.name))
        return ([], base, True) if a.share else (base, [], False)
    if isinstance(a, FedHCA2):
        decoder = [key for keys in a.layers.values() for key in keys]
        return decoder, a.trunk if a.encoder else [], True
    if isinstance(a, Local) and not (isinstance(a, Ditto) and job.name.endswith(".global")):
        return [], [], False
    if isinstance(a, FedRAM) and a.stage(finished) == 0:
        return [], [], False
    trunk: list[str] = []
    together = True
    if isinstance(a, SharedTrunk):
        trunk, together = a.trunk, not a.here
    elif isinstance(a, Ditto) and a.share:
        trunk = a.trunk
    elif isinstance(a, FedRAM) and a.share:
        trunk, together = nets.trunk_of(model), False
    assert not (trunk and isinstance(a, Arrivals))
    return [key for key in model if key not in trunk], trunk, together
