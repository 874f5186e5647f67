"""Tests run in processes forked from one that has loaded PyTorch: `python -m proofs.forked_tests`.

Reads requests from standard input, one JSON object a line, and answers each with another. A request
says what to change (`seeded_imports`), which tests to run, and when to stop; the tests run in a
process of their own, which imports the packages afresh, so that nothing of one request is left for
the next. Examples are those of `make test`, but a failing one is not made smaller.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from proofs.seeded_imports import VARIABLE, Hits, install

ROOT = Path(__file__).parents[1]
PRELOADED = (
    "torch._dynamo",  # imported by the first optimiser
    "torch.func",
    "safetensors.torch",
    "sklearn.datasets",
    "sklearn.metrics",
    "scipy.stats",
    "scipy.optimize",
    "matplotlib.pyplot",
    "pydantic",
    "typer",
    "numba",
    "joblib",
    "networkx",
    "tomli_w",
    "hypothesis",
    "pytest",
)
"""Packages of others only: those of this repository are imported by each process by itself."""
CHANGED = ("fairopt.torch", "fl_runtime")
"""Packages of which nothing may be imported before the fork."""
CHANGED_FOLDERS = tuple(f"{name.replace('.', '/')}/" for name in CHANGED)
ALREADY_IMPORTED = "ignore::pytest.PytestAssertRewriteWarning"
"""Plugins of pytest that were loaded before the fork are not rewritten, which is no loss."""
FIRST_SECONDS = 300.0
"""For imports and collection."""
PASSED, FAILED, OTHER = "passed", "failed", "other"


@dataclass(frozen=True)
class Request:
    """Tests to run under changes.

    Attributes:
        texts: Source by the name of the module that it is compiled for.
        paths: Files and folders to collect.
        tests: Names of the tests to run, in this order but file by file; None for all.
        stop: Whether to stop at the first that fails.
        seconds: Longest time of one test, by name.
        otherwise: Longest time of a test that is not named.
    """

    texts: dict[str, str]
    paths: list[str]
    tests: list[str] | None = None
    stop: bool = True
    seconds: dict[str, float] = field(default_factory=dict)
    otherwise: float = 600.0


@dataclass(frozen=True)
class Ran:
    """One test that was run.

    Attributes:
        test: Its name.
        result: `PASSED`, `FAILED`, or `OTHER` (skipped, or expected to fail).
        seconds: Its time.
        places: Numbers of the marked places that it passed.
    """

    test: str
    result: str
    seconds: float
    places: list[int]


@dataclass(frozen=True)
class Reply:
    """What came of a request.

    Attributes:
        ran: The tests that were run to their end.
        broken: What did not: a file that cannot be imported, or the test during which the process
            died or ran out of time; empty if all went well.
        why: How that was.
    """

    ran: list[Ran]
    broken: str = ""
    why: str = ""


class _Reporter:
    """A plugin that runs the wanted tests and says what comes of each."""

    def __init__(self, request: Request, hits: Hits, out: IO[str]) -> None:
        self._order = None if request.tests is None else {t: i for i, t in enumerate(request.tests)}
        self._hits = hits
        self._out = out
        self._begun = 0.0
        self._result = PASSED

    def say(self, *words: object) -> None:
        """One line for the process that waits."""
        self._out.write(json.dumps(words) + "\n")
        self._out.flush()

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Leave out what is not wanted; files stay together, since fixtures belong to them."""
        if self._order is None:
            return
        order = self._order
        wanted = [item for item in items if item.nodeid in order]
        files: dict[str, int] = {}
        for item in sorted(wanted, key=lambda item: order[item.nodeid]):
            files.setdefault(str(item.path), len(files))
        items[:] = sorted(wanted, key=lambda item: (files[str(item.path)], order[item.nodeid]))

    def pytest_collectreport(self, report: Any) -> None:
        """A file that cannot be imported."""
        if report.failed:
            self.say("broken", report.nodeid, "it cannot be imported")

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins."""
        self._hits.taken()
        self._begun, self._result = time.perf_counter(), OTHER
        self.say("begins", nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """A phase of a test is over."""
        if report.failed:
            self._result = FAILED
        elif report.when == "call" and report.passed and not hasattr(report, "wasxfail"):
            self._result = PASSED if self._result == OTHER else self._result

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """A test is over."""
        seconds = time.perf_counter() - self._begun
        self.say("ran", nodeid, self._result, seconds, self._hits.taken())


def _tests(request: Request, folder: Path, out: IO[str]) -> None:
    """What the forked process does."""
    told = {"texts": request.texts, "log": str(folder / "hits")}
    (folder / "told.json").write_text(json.dumps(told), encoding="utf-8")
    source = Path(__file__).with_name("seeded_imports.py").read_text(encoding="utf-8")
    (folder / "sitecustomize.py").write_text(source, encoding="utf-8")
    os.environ[VARIABLE] = str(folder / "told.json")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), str(ROOT)])
    hits = install(request.texts, folder / "hits", os.getpid())
    import pytest

    for path in request.paths:
        if path.startswith(CHANGED_FOLDERS):  # pytest itself would put a module in the place of a
            with suppress(Exception):  # function of the same name in its package
                importlib.import_module(path.removesuffix(".py").replace("/", "."))
    reporter = _Reporter(request, hits, out)
    flags = ["-q", "--tb=no", "-p", "no:cacheprovider", "-W", ALREADY_IMPORTED]
    if any(path.startswith("tests/") for path in request.paths):
        flags.append("--hypothesis-profile=seeded")
    pytest.main([*flags, *(["-x"] if request.stop else []), *request.paths], plugins=[reporter])
    reporter.say("done")


def _child(request: Request, folder: Path, write: int) -> None:
    """A process group of its own, which prints nowhere and ends with the tests."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    os.chdir(ROOT)
    try:
        with os.fdopen(write, "w", encoding="utf-8") as out:
            try:
                _tests(request, folder, out)
            except BaseException as error:  # whatever stops the tests themselves
                out.write(json.dumps(["broken", "the tests", repr(error)]) + "\n")
                raise
    finally:
        os._exit(0)


def _lines(read: int, request: Request) -> Iterator[list[Any] | None]:
    """What the child says, None if it is late."""
    limit, rest = FIRST_SECONDS, b""
    while True:
        if not select.select([read], [], [], limit)[0]:
            yield None
            return
        part = os.read(read, 1 << 16)
        if not part:
            return
        *whole, rest = (rest + part).split(b"\n")
        for line in whole:
            words = json.loads(line)
            limit = FIRST_SECONDS
            if words[0] == "begins":
                limit = request.seconds.get(words[1], request.otherwise)
            yield words


def run(request: Request) -> Reply:
    """Run the tests of a request in a process of its own."""
    loaded = [name for name in sys.modules if name.startswith(CHANGED)]
    assert not loaded, f"{loaded[0]} was imported too early"
    with tempfile.TemporaryDirectory(prefix="fairopt-seeded-") as folder:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            _child(request, Path(folder), write)
        os.close(write)
        try:
            return _read(_lines(read, request))
        finally:
            os.close(read)
            _end(child)


def _read(lines: Iterator[list[Any] | None]) -> Reply:
    """The reply behind what a child says."""
    ran: list[Ran] = []
    now = "the tests"
    for words in lines:
        match words:
            case None:
                return Reply(ran, now, "it does not end")
            case ["begins", test]:
                now = test
            case ["ran", *facts]:
                ran.append(Ran(*facts))
            case ["broken", where, why]:
                return Reply(ran, where, why)
            case ["done"]:
                return Reply(ran)
    return Reply(ran, now, "the process died")


def _end(child: int) -> None:
    """End a child and what it started."""
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def main() -> None:
    """Answer requests until there are no more."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
    for name in PRELOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        reply = run(Request(**json.loads(line)))
        sys.stdout.write(json.dumps(asdict(reply)) + "\n")
        sys.stdout.flush()


def as_reply(record: dict[str, Any]) -> Reply:
    """A reply from plain data."""
    return Reply(**{**record, "ran": [Ran(**each) for each in record["ran"]]})


def _stop(number: int, frame: object) -> None:
    """End as after Ctrl-C, so that the child ends too."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
