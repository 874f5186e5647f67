"""Numbered pieces of work in several processes, each answered whatever becomes of a process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fairopt.errors import FairoptError

LOOK = 0.1
"""Seconds after which whoever waits for processes looks at what they have written meanwhile."""


@dataclass(frozen=True)
class Died:
    """A process that ended without an answer.

    Attributes:
        how: What is known of its end, in words.
    """

    how: str


class WorkerDied(FairoptError, RuntimeError):
    """The same piece of work has ended its process twice, the second time with no other beside it.

    Attributes:
        item: Number of the piece.
        how: What is known of the process's end.
    """

    def __init__(self, item: int, how: str) -> None:
        super().__init__(f"piece {item}: its process ended twice ({how})")
        self.item, self.how = item, how


class Pool(Protocol):
    """Processes that work on numbered pieces."""

    def start(self, item: int) -> None:
        """Begin with a piece."""
        ...

    def finished(self, seconds: float) -> list[tuple[int, Any]]:
        """Pieces that have ended, each with its answer or `Died`; waits at most so long for one."""
        ...

    def close(self) -> None:
        """End all processes, whatever they are at."""
        ...


def each_done(
    pool: Pool,
    items: Sequence[int],
    jobs: int,
    *,
    look: Callable[[Collection[int]], None] = lambda running: None,
    died: Callable[[int, str], None] = lambda item, how: None,
) -> Generator[tuple[int, Any], None, None]:
    """Pieces with their answers, as they end.

    A piece whose process died is started once more after all others, with nothing beside it: so it
    has the memory to itself, and it is known whose fault a second death is.

    Args:
        pool: Processes; they are ended when this ends, in whatever way.
        items: Numbers of the pieces, which start in this order.
        jobs: Most pieces at a time.
        look: Called every `LOOK` seconds with those that are being worked on.
        died: Called with a piece whose process died for the first time, and how.

    Raises:
        WorkerDied: A piece has ended its process twice; all others have their answers by then.
    """
    again: list[int] = []
    try:
        for item, answer in _at_once(pool, items, jobs, look):
            if isinstance(answer, Died):
                died(item, answer.how)
                again.append(item)
            else:
                yield item, answer
        guilty = []
        for item, answer in _at_once(pool, again, 1, look):
            if isinstance(answer, Died):
                guilty.append(WorkerDied(item, answer.how))
            else:
                yield item, answer
        if guilty:
            raise guilty[0]
    finally:
        pool.close()


def _at_once(
    pool: Pool, items: Sequence[int], jobs: int, look: Callable[[Collection[int]], None]
) -> Iterator[tuple[int, Any]]:
    """Pieces with their answers, never more than so many at a time."""
    waiting, running = deque(items), set[int]()
    while waiting or running:
        while waiting and len(running) < jobs:
            running.add(waiting[0])
            pool.start(waiting.popleft())
        ended = pool.finished(LOOK)
        look(running)
        for item, answer in ended:
            running.remove(item)
            yield item, answer
