"""A process for every piece, forked from this one: it begins with all that is loaded here."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, BinaryIO

from fl_runtime.processes.each_done import Died


class ForkedPool:
    """Forks a process per piece, so the system says which piece a process died of.

    Args:
        work: Called with the number of a piece; returns what can be pickled.
        files: Open ones that are this process's alone: a lock on a file that others have inherited
            would last until the last of them has ended.
    """

    def __init__(self, work: Callable[[int], Any], files: Sequence[BinaryIO] = ()) -> None:
        self._work, self._files = work, files
        self._running: dict[Connection, tuple[int, BaseProcess]] = {}

    def start(self, item: int) -> None:
        """Fork a process."""
        context = multiprocessing.get_context("fork")
        reader, writer = context.Pipe(duplex=False)
        process = context.Process(target=_answer, args=(self._work, item, writer, self._files))
        with warnings.catch_warnings():
            # Threads of others, such as TensorBoard's, hold no lock that a piece of work wants.
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        writer.close()  # so that the end of the process is the end of the pipe
        self._running[reader] = item, process

    def finished(self, seconds: float) -> list[tuple[int, Any]]:
        """Pieces that have ended."""
        found = []
        for reader in wait(list(self._running), seconds):
            assert isinstance(reader, Connection)
            item, process = self._running.pop(reader)
            try:
                answer = reader.recv()
            except EOFError:
                process.join()
                answer = Died(_end_of(process.exitcode))
            process.join()
            reader.close()
            found.append((item, answer))
        return found

    def close(self) -> None:
        """Kill what is still running: a piece of work is safe from that at any moment."""
        for reader, (_, process) in self._running.items():
            process.kill()
            process.join()
            reader.close()
        self._running.clear()


def _answer(
    work: Callable[[int], Any], item: int, pipe: Connection, files: Sequence[BinaryIO]
) -> None:
    """What a forked process does: an interrupt is its parent's to decide on, who then ends it."""
    for file in files:
        file.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.stdout = sys.stderr = sys.__stderr__  # the parent's may draw a progress bar
    pipe.send(work(item))


def _end_of(code: int | None) -> str:
    """How a process ended, in words.

    Example:
        >>> _end_of(-9), _end_of(1)
        ('SIGKILL', 'exit status 1')
    """
    return f"exit status {code}" if code is None or code >= 0 else signal.Signals(-code).name
