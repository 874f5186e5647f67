"""Seeded mistakes that the test suite has to catch: which tests reach each, and which one fails.

All mistakes of a list share one run of the tests without any mistake, in which their places are
marked (`marked_places`): it says which tests pass each place, how long every test takes, and that
all of them hold. Then every mistake gets a process of its own, forked from one that has loaded
PyTorch, with the mistake in what `import` gives (`seeded_imports`); no file is changed. There the
tests that pass its place run, file by file, nearest first, to the first that fails; if none does,
the other tests of the same files follow, since what a place leaves behind (a fixture of a module,
something cached) may be judged by a test that does not pass it.

A mistake is caught if a test fails that holds in a run of the same tests of its file, in the same
order, without the mistake.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from pathlib import Path, PurePath
from queue import SimpleQueue
from types import MappingProxyType

from proofs.forked_tests import FAILED, PASSED, ROOT, Ran, Reply, Request, as_reply
from proofs.marked_places import marked
from proofs.mutation_list import Mutation

JUDGES: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {
        "fairopt/torch/": ("tests/fairopt/torch", "fairopt/torch"),
        "fl_runtime/": ("tests/fl_runtime", "fl_runtime"),
    }
)
"""Folders of tests, docstrings included, that a mistake in a folder must fail."""

WORKERS = 2
PARTS = 4
"""Of the run without mistakes, for each process: they take unequal times."""


def judges_of(file: str) -> tuple[str, ...]:
    """Folders of the tests that a file must fail if it is wrong; none if claims judge it.

    Example:
        >>> judges_of("fl_runtime/running/loop.py")
        ('tests/fl_runtime', 'fl_runtime')
        >>> judges_of("fairopt/pareto.py")
        ()
    """
    return next((tests for folder, tests in JUDGES.items() if file.startswith(folder)), ())


def module_of(file: str) -> str:
    """The name under which a file is imported.

    Example:
        >>> module_of("fairopt/torch/__init__.py"), module_of("fl_runtime/history.py")
        ('fairopt.torch', 'fl_runtime.history')
    """
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@dataclass(frozen=True)
class Suite:
    """What the tests do without any mistake.

    Attributes:
        seconds: Of every test that holds, by name.
        reaching: Numbers of the mistakes whose places a test passes, by its name.
        failing: A test that fails anyway, or a file that cannot be imported; empty if all is well.
    """

    seconds: Mapping[str, float]
    reaching: Mapping[str, Sequence[int]]
    failing: str = ""

    def of(self, number: int, file: str) -> list[str]:
        """The tests for a mistake in a file: those that reach it, then others of their files.

        Files come in the order of their distance from the mistake, then of their time for it;
        tests of a file in the order of their time.
        """
        near = [test for test, places in self.reaching.items() if number in places]
        cost: dict[str, float] = {}
        for test in near:
            cost[file_of(test)] = cost.get(file_of(test), 0.0) + self.seconds[test]
        far = [test for test in self.seconds if file_of(test) in cost and test not in set(near)]

        def place(test: str) -> tuple[float, float, str, float]:
            where = file_of(test)
            return distance(where, file), cost[where], where, self.seconds[test]

        return [test for group in (near, far) for test in sorted(group, key=place)]


def distance(tests: str, file: str) -> float:
    """How far a file of tests is from a source: 0 for its own, up to 1 in its room, else up to 2.

    Example:
        >>> distance("tests/fl_runtime/data/test_mixtures.py", "fl_runtime/data/mixtures.py")
        0.0
        >>> distance("tests/fl_runtime/running/test_loop.py", "fl_runtime/data/mixtures.py") > 1.0
        True
    """
    here, there = PurePath(tests.removeprefix("tests/")), PurePath(file)
    alike = SequenceMatcher(None, here.stem.removeprefix("test_"), there.stem).ratio()
    return 1.0 - alike + (here.parent != there.parent)


def file_of(test: str) -> str:
    """The file of a test.

    Example:
        >>> file_of("tests/test_a.py::test_b[x::y]")
        'tests/test_a.py'
    """
    return test.partition("::")[0]


class Workers:
    """Processes that run tests, each one request at a time."""

    def __init__(self, count: int) -> None:
        self._all = [_started() for _ in range(count)]
        self._free: SimpleQueue[subprocess.Popen[str]] = SimpleQueue()
        for process in self._all:
            self._free.put(process)
        self._failed: dict[tuple[str, ...], frozenset[str]] = {}
        self._lock = threading.Lock()

    def run(self, request: Request) -> Reply:
        """Run one request in whichever process is free."""
        process = self._free.get()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(asdict(request)) + "\n")
            process.stdin.flush()
            return as_reply(json.loads(process.stdout.readline()))
        finally:
            self._free.put(process)

    def fails_anyway(self, what: str, tests: tuple[str, ...]) -> bool:
        """Whether a test, or a file, fails without any mistake where these tests run."""
        with self._lock:
            known = self._failed.get(tests)
        if known is None:
            reply = self.run(Request({}, files_of(tests), list(tests), stop=False))
            known = frozenset(one.test for one in reply.ran if one.result == FAILED)
            known |= {reply.broken} - {""}
            with self._lock:
                self._failed[tests] = known
        return what in known

    @contextmanager
    def threads(self) -> Iterator[ThreadPoolExecutor]:
        """One thread for each; whoever leaves before all is done ends the processes too."""
        pool = ThreadPoolExecutor(len(self._all))
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            self.end()
            raise
        finally:
            pool.shutdown()

    def end(self) -> None:
        """End them, and what they are running."""
        for process in self._all:
            process.terminate()
        for process in self._all:
            with process:  # waits, and closes the pipes
                pass


def _started() -> subprocess.Popen[str]:
    """A process that runs the tests of this repository, in one thread."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "proofs.forked_tests"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, text=True)


@contextmanager
def workers(count: int | None = None) -> Iterator[Workers]:
    """Processes that run tests, ended at the end."""
    found = Workers(WORKERS if count is None else count)
    try:
        yield found
    finally:
        found.end()


def failure(reply: Reply) -> tuple[str, str]:
    """What failed, and how; empty if nothing did."""
    failed = next((one.test for one in reply.ran if one.result == FAILED), "")
    return (failed, "") if failed else (reply.broken, reply.why)


def record(found: Workers, places: Mapping[int, Mutation]) -> Suite:
    """Run all tests that judge these mistakes, with their places marked."""
    folders = list(dict.fromkeys(path for m in places.values() for path in judges_of(m.file)))
    files = sorted(file for folder in folders for file in files_with_tests(ROOT / folder))
    texts = marked_texts(places)
    parts = [files[k :: WORKERS * PARTS] for k in range(WORKERS * PARTS)]
    with found.threads() as pool:
        requests = [Request(texts, part, stop=False) for part in parts if part]
        replies = list(pool.map(found.run, requests))
    ran: list[Ran] = [one for reply in replies for one in reply.ran]
    good = [one for one in ran if one.result == PASSED]
    failing = next((what for reply in replies for what, _ in [failure(reply)] if what), "")
    return Suite(
        {one.test: one.seconds for one in good}, {one.test: one.places for one in good}, failing
    )


def files_with_tests(folder: Path) -> list[str]:
    """Files with tests or examples below a folder, as paths in the repository."""
    found = [path for path in folder.rglob("*.py") if path.name != "conftest.py"]
    tests = folder.is_relative_to(ROOT / "tests")
    chosen = [
        path
        for path in found
        if (path.name.startswith("test_") if tests else ">>>" in path.read_text(encoding="utf-8"))
    ]
    return [str(path.relative_to(ROOT)) for path in chosen]


def marked_texts(places: Mapping[int, Mutation]) -> dict[str, str]:
    """Sources with the places of the mistakes marked, by module."""
    texts: dict[str, str] = {}
    for file in dict.fromkeys(mutation.file for mutation in places.values()):
        text = (ROOT / file).read_text(encoding="utf-8")
        mine = {n: text.index(m.old) for n, m in places.items() if m.file == file}
        texts[module_of(file)] = marked(text, mine)
    return texts


@dataclass(frozen=True)
class Judgement:
    """What the tests say about a mistake.

    Attributes:
        by: The test that fails with it alone; empty if there is none.
        why: How it fails, if not as tests do; or what was tried.
        seconds: It took.
    """

    by: str
    why: str
    seconds: float


@dataclass(frozen=True)
class Judge:
    """Tries mistakes, several at a time.

    Attributes:
        workers: That run the tests.
        suite: What tests do without mistakes.
    """

    workers: Workers
    suite: Suite

    def all(self, places: Mapping[int, Mutation]) -> Iterator[tuple[int, Judgement]]:
        """Every mistake, as soon as it was tried."""
        with self.workers.threads() as pool:
            tried = {pool.submit(self.one, n, m): n for n, m in places.items()}
            for done in as_completed(tried):
                yield tried[done], done.result()

    def one(self, number: int, mutation: Mutation) -> Judgement:
        """One mistake: run its tests until one fails that holds without it."""
        start, tests = time.perf_counter(), self.suite.of(number, mutation.file)
        text = (ROOT / mutation.file).read_text(encoding="utf-8")
        texts = {module_of(mutation.file): text.replace(mutation.old, mutation.new)}
        while tests:
            reply = self.workers.run(self._request(texts, tests))
            what, why = failure(reply)
            if not what:
                break
            if not self.workers.fails_anyway(what, _until(reply, what, tests)):
                return Judgement(what, why, time.perf_counter() - start)
            tests = _after(what, tests)
        reach = sum(number in places for places in self.suite.reaching.values())
        spent = time.perf_counter() - start
        return Judgement("", f"{reach} tests reach it and hold", spent)

    def _request(self, texts: dict[str, str], tests: list[str]) -> Request:
        """The tests under a change, each with ten times its usual time, and a minute."""
        usual = self.suite.seconds
        limits = {test: 60.0 + 10.0 * usual[test] for test in tests}
        return Request(texts, files_of(tests), tests, seconds=limits)


def files_of(tests: Sequence[str]) -> list[str]:
    """Their files, in order."""
    return list(dict.fromkeys(map(file_of, tests)))


def _until(reply: Reply, what: str, tests: list[str]) -> tuple[str, ...]:
    """The tests that ran in the file of the one that failed, up to it; all of a broken file."""
    done = [one.test for one in reply.ran]
    where = file_of(what)
    ran = [*done, what] if what in tests and what not in done else done if what in done else tests
    return tuple(test for test in ran if file_of(test) == where) or tuple(tests)


def _after(what: str, tests: list[str]) -> list[str]:
    """The tests that come after one, or after those of a file: the others have held."""
    mine = [n for n, test in enumerate(tests) if what in (test, file_of(test))]
    return tests[mine[-1] + 1 :] if mine else []
