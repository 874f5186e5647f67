"""What of a model travels between a client and the server, and how many numbers that is.

An algorithm declares it (`Algorithm.exchange`). The same numbers are sent once: what a client has
or is sent once for all its tasks counts once per client and round, in either direction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from fl_runtime.training.job import Update


@dataclass(frozen=True)
class Exchange:
    """What travels with the jobs on one task.

    Attributes:
        entries: Names of the entries that are sent to the client, and whose difference comes back.
        once_down: Those among them that are the same in all that a client is sent in a round.
        once_up: Those whose difference is the same in all answers of a client: its tasks have been
            trained together.
    """

    entries: Collection[str]
    once_down: Collection[str] = ()
    once_up: Collection[str] = ()


NOTHING = Exchange(())
"""Of models that never leave their clients."""


def everything(
    entries: Collection[str], trunk: Collection[str] = (), *, together: bool = False
) -> Exchange:
    """All entries.

    Args:
        entries: Of the model.
        trunk: What all tasks have in common.
        together: Whether a client trains its tasks together, and so has one update of the trunk.
    """
    return Exchange(tuple(entries), trunk, trunk if together else ())


def traffic(updates: Sequence[Update], exchange: Callable[[str], Exchange]) -> int:
    """Numbers sent to the clients behind the answers of one round, and back.

    Args:
        updates: The answers.
        exchange: By task, what travels.

    Example:
        >>> import torch
        >>> delta = {"encoder": torch.zeros(3), "decoder": torch.zeros(2), "head": torch.zeros(1)}
        >>> updates = [Update(task, 0, 0, delta, 9) for task in ("a", "b")]
        >>> one = Exchange(("encoder", "decoder"), once_down=("encoder",), once_up=("encoder",))
        >>> traffic(updates, lambda task: one)  # (3 + 2 + 2) each way
        14
    """
    down: dict[tuple[int, int | None, str], int] = {}
    up: dict[tuple[int, int | None, str], int] = {}
    for number, update in enumerate(updates):
        what = exchange(update.task)
        for way, once in ((down, what.once_down), (up, what.once_up)):
            for key in what.entries:
                alone = None if key in once else number
                way[update.client, alone, key] = update.delta[key].numel()
    return sum(down.values()) + sum(up.values())
