"""The laws of partitions, delays, availabilities and cost laws, tried on small cases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_runtime.conformance.broken import Broken, other_dice, tried
from fl_runtime.conformance.given import made_of
from fl_runtime.data.partitions import PARTITION, Partition
from fl_runtime.running.recruitment import COST_LAW
from fl_runtime.simulation.availability import AVAILABILITY, Availability
from fl_runtime.simulation.delays import DELAY, DelayModel
from mechanisms.studies.cost_distributions import CostDistribution

LAYOUTS = (
    np.repeat(np.arange(3), 20),
    np.repeat(np.arange(2), [50, 6]),
    np.random.default_rng(0).integers(5, size=97),
)
"""Labels of balanced, skewed and mixed classes."""

TIMES = (0.0, 0.5, 1.0, 3.25, 10.0, 40.0, 2.0)
"""Out of order, since nobody promises to ask in order."""

DRAWS = 4000
STANDARD_ERRORS = 6.0

SLACK = 0.25
"""Share by which a mean of so many draws may be off for tails without a variance."""


def check_partition(partition: str | Mapping[str, Any] | Partition) -> list[Broken]:
    """The laws that a partition breaks.

    Laws: as many shards as clients, of examples that there are; disjoint and covering; none empty;
    a function of labels, number and generator alone, which leaves the labels as they are.

    Example:
        >>> from fl_runtime.data.partitions import Dirichlet
        >>> check_partition(Dirichlet(0.3))
        []
    """
    made: Partition = made_of(PARTITION, partition)

    def splits() -> Iterator[tuple[Any, int, tuple[NDArray[Any], ...]]]:
        for labels in LAYOUTS:
            for count in (1, 5, 8):
                yield labels, count, made.split(labels, count, np.random.default_rng(1))

    def shape() -> Iterator[str]:
        for labels, count, shards in splits():
            if len(shards) != count:
                yield f"{len(shards)} shards for {count} clients"
            for shard in shards:
                index = np.asarray(shard)
                if index.ndim != 1 or not np.issubdtype(index.dtype, np.integer):
                    yield f"a shard of {index.dtype}, shape {index.shape}"
                elif index.size and not (index.min() >= 0 and index.max() < labels.size):
                    yield f"positions {index.min()} .. {index.max()} of {labels.size} examples"

    def covering() -> Iterator[str]:
        for labels, count, shards in splits():
            times = np.bincount(np.concatenate(shards), minlength=labels.size)
            if (times != 1).any():
                where = int(np.flatnonzero(times != 1)[0])
                yield f"example {where} is dealt {times[where]} times to {count} clients"

    def empty() -> Iterator[str]:
        for _, count, shards in splits():
            for client, shard in enumerate(shards):
                if len(shard) == 0:
                    yield f"client {client} of {count} has nothing"

    def pure() -> Iterator[str]:
        for labels, count, shards in splits():
            kept = labels.copy()
            for seed in (1, 2):
                with other_dice(seed):
                    again = made.split(labels, count, np.random.default_rng(1))
                if not all(np.array_equal(a, b) for a, b in zip(shards, again, strict=True)):
                    yield f"other shards of {count} clients at another call"
            if not np.array_equal(kept, labels):
                yield "labels are changed"

    return tried(
        {
            "a shard for every client": shape,
            "disjoint and covering": covering,
            "no empty shard": empty,
            "a function of labels, number and generator": pure,
        }
    )


def check_delay(delay: str | Mapping[str, Any] | DelayModel) -> list[Broken]:
    """The laws that a delay model breaks.

    Laws: as many finite delays >= 0 as asked for; a function of the generator alone; `mean` is
    positive and what draws have on average.

    Example:
        >>> from fl_runtime.simulation.delays import Pareto
        >>> check_delay(Pareto())
        []
    """
    made: DelayModel = made_of(DELAY, delay)

    def draws() -> Iterator[str]:
        for count in (0, 1, 7):
            found = np.asarray(made.draw(np.random.default_rng(1), count))
            if found.shape != (count,):
                yield f"shape {found.shape} for {count} delays"
            elif not (np.isfinite(found).all() and (found >= 0.0).all()):
                yield f"a delay of {found[~(np.isfinite(found) & (found >= 0.0))][0]}"

    def pure() -> Iterator[str]:
        found = []
        for seed in (1, 2):
            with other_dice(seed):
                found.append(np.asarray(made.draw(np.random.default_rng(1), 9)))
        if not np.array_equal(found[0], found[1]):
            yield "other delays at another call"

    def mean() -> Iterator[str]:
        if not 0.0 < made.mean < np.inf:
            yield f"mean {made.mean}"
            return
        found = np.asarray(made.draw(np.random.default_rng(1), DRAWS), dtype=np.float64)
        error = STANDARD_ERRORS * found.std() / DRAWS**0.5
        if abs(found.mean() - made.mean) > max(error, 1e-9 * made.mean) + (
            SLACK * made.mean if found.max() > DRAWS**0.5 * found.mean() else 0.0
        ):
            yield f"mean {made.mean:g}, but {DRAWS} draws have {found.mean():g}"

    return tried(
        {
            "finite delays, one for each job": draws,
            "a function of the generator": pure,
            "mean is the mean": mean,
        }
    )


def check_availability(availability: str | Mapping[str, Any] | Availability) -> list[Broken]:
    """The laws that an availability breaks.

    Laws: a yes or no for every client; a function of seed, client and time, whenever and in
    whatever order it is asked; no client's presence depends on how many there are.

    Example:
        >>> from fl_runtime.simulation.availability import OnOff
        >>> check_availability(OnOff(on=2.0, off=1.0))
        []
    """
    made: Availability = made_of(AVAILABILITY, availability)

    def shape() -> Iterator[str]:
        for count in (1, 6):
            found = np.asarray(made.present(0, count, 1.5))
            if found.shape != (count,) or found.dtype != np.bool_:
                yield f"{found.dtype} of shape {found.shape} for {count} clients"

    def pure() -> Iterator[str]:
        for seed in (0, 1):
            asked = []
            for dice, times in ((1, TIMES), (2, TIMES[::-1])):
                with other_dice(dice):
                    asked.append({t: made.present(seed, 6, t).copy() for t in times})
            for at in TIMES:
                if not np.array_equal(asked[0][at], asked[1][at]):
                    yield f"seed {seed}, time {at:g}: others at another call"

    def alone() -> Iterator[str]:
        for at in TIMES:
            few, many = (made.present(0, count, at) for count in (6, 9))
            if not np.array_equal(few, many[:6]):
                yield f"time {at:g}: others of the first six where there are nine"

    return tried(
        {
            "a yes or no for every client": shape,
            "a function of seed, client and time": pure,
            "every client by itself": alone,
        }
    )


def check_cost_law(law: str | Mapping[str, Any] | CostDistribution) -> list[Broken]:
    """The laws that a distribution of costs breaks.

    Laws: a table of costs >= 0, infinite for no bid; a function of the generator alone.

    Example:
        >>> from mechanisms.studies.cost_distributions import Uniform
        >>> check_cost_law(Uniform())
        []
    """
    made: CostDistribution = made_of(COST_LAW, law)

    def table() -> Iterator[str]:
        for shape in ((1, 1), (6, 3)):
            found = np.asarray(made.draw(np.random.default_rng(1), *shape))
            if found.shape != shape:
                yield f"shape {found.shape} for {shape}"
            elif not (found >= 0.0).all():
                yield f"a cost of {found[~(found >= 0.0)][0]}"

    def pure() -> Iterator[str]:
        found = []
        for seed in (1, 2):
            with other_dice(seed):
                found.append(np.asarray(made.draw(np.random.default_rng(1), 6, 3)))
        if not np.array_equal(found[0], found[1]):
            yield "other costs at another call"

    return tried({"a table of costs": table, "a function of the generator": pure})
