"""Mistakes judged by tests: what reaches them, and what fails with them and not without."""

import ast
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from proofs import mutations, mutations_by_tests
from proofs.forked_tests import FAILED, PASSED, ROOT, Ran, Reply, Request
from proofs.marked_places import marked
from proofs.mutation_list import Mutation
from proofs.mutations import CAUGHT, MISSED, STALE, Unsound, run_by_tests
from proofs.mutations_by_tests import JUDGES, Judge, Suite, Workers, judges_of, record, workers
from proofs.runtime_mutation_list import MUTATIONS
from proofs.seeded_imports import HIT

FILE = "fl_runtime/training/pcgrad.py"
RIGHT = "C[i, j] -= product / A[j, j]"
WRONG = Mutation(FILE, "not divided", RIGHT, "C[i, j] -= product")
SYNONYM = Mutation(FILE, "words", "a zero gradient projects nothing", "a zero one projects nothing")
GONE = Mutation(FILE, "gone", "no such text", "")
THOSE_WITHOUT = {
    "fairopt/torch": {
        "task_losses.py",  # containers
    },
    "fl_runtime/algorithms": {
        "fed_avg.py",  # one choice
        "fed_ram_settings.py",  # refusals
    },
    "fl_runtime/execution": set(),
    "fl_runtime/metrics": set(),
    "fl_runtime/simulation": set(),
    "fl_runtime/training": set(),
}
"""Files of each folder that need no mistakes, since they decide nothing."""


@pytest.mark.parametrize("folder", THOSE_WITHOUT)
def test_every_file_that_decides_something_has_mistakes(folder):
    touched = {m.file for m in MUTATIONS}
    files = {p for p in (ROOT / folder).rglob("*.py") if p.name != "__init__.py"}
    without = {p.name for p in files if str(p.relative_to(ROOT)) not in touched}
    assert without == THOSE_WITHOUT[folder]


def test_every_mistake_has_judges_and_these_exist():
    assert all(judges_of(m.file) for m in MUTATIONS)
    assert all((ROOT / folder).is_dir() for folders in JUDGES.values() for folder in folders)


@pytest.mark.parametrize("file", sorted({m.file for m in MUTATIONS}))
def test_marks_change_nothing_but_themselves(file):
    text = (ROOT / file).read_text(encoding="utf-8")
    places = {n: text.index(m.old) for n, m in enumerate(MUTATIONS) if m.file == file}
    tree = ast.parse(marked(text, places))
    assert _numbers(tree) == set(places)
    assert ast.dump(_Unmarked().visit(tree)) == ast.dump(ast.parse(text))


def _numbers(tree):
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {c.args[0].value for c in calls if isinstance(c.func, ast.Name) and c.func.id == HIT}


class _Unmarked(ast.NodeTransformer):
    def visit_Expr(self, node):
        return None if _numbers(ast.Module([node], [])) else node


def test_a_mark_is_passed_iff_its_statement_is():
    source = """
def f(x):
    '''Words.'''
    if x > 2:
        y = (
            "high"
        )
    elif x > 1:
        y = "middle"
    else:
        y = "low"
    return y

CONSTANT = 3

def g():
    return CONSTANT
"""
    words = ["high", "middle", "low", "return y", "CONSTANT = 3", "x > 2", "x > 1"]
    places = {n: source.index(word) for n, word in enumerate(words)}
    passed: list[int] = []
    names: dict = {HIT: passed.append}
    exec(compile(marked(source, places), "marked", "exec"), names)
    assert passed == []

    def by(call, *arguments):
        passed.clear()
        names[call](*arguments)
        return {words[n] for n in passed}

    head = {"CONSTANT = 3", "x > 2", "x > 1"}  # an elif cannot be told from its if
    assert by("f", 3) == {"high", "return y"} | head
    assert by("f", 2) == {"middle", "return y"} | head
    assert by("f", 0) == {"low", "return y"} | head
    assert by("g") == {"CONSTANT = 3"}


class _Scripted(Workers):
    """Workers whose tests fail as they are told."""

    def __init__(self, fails):
        self._failed, self._lock, self.requests = {}, mutations_by_tests.threading.Lock(), []
        self._fails = fails

    def run(self, request: Request) -> Reply:
        self.requests.append(request)
        ran: list[Ran] = []
        for test in request.tests or []:
            wrong = self._fails(test, [one.test for one in ran], bool(request.texts))
            ran.append(Ran(test, FAILED if wrong else PASSED, 0.0, []))
            if wrong and request.stop:
                break
        return Reply(ran)


SUITE = Suite(
    {"a.py::cheap": 1.0, "b.py::dear": 5.0, "a.py::dear": 3.0, "b.py::far": 0.1, "c.py::x": 0.1},
    {"a.py::cheap": [0], "a.py::dear": [0], "b.py::dear": [0], "b.py::far": [], "c.py::x": [1]},
)


def test_tests_come_file_by_file_nearest_first_then_the_rest_of_these_files():
    assert SUITE.of(0, "x.py") == ["a.py::cheap", "a.py::dear", "b.py::dear", "b.py::far"]
    assert SUITE.of(0, "b.py") == ["b.py::dear", "a.py::cheap", "a.py::dear", "b.py::far"]
    assert SUITE.of(1, "x.py") == ["c.py::x"]
    assert SUITE.of(2, "x.py") == []


@pytest.mark.parametrize("by", ["a.py::cheap", "b.py::far"])
def test_what_fails_with_the_mistake_alone_catches_it(by):
    found = Judge(_Scripted(lambda test, _, changed: changed and test == by), SUITE).one(0, WRONG)
    assert found.by == by


def test_what_fails_after_the_same_tests_without_the_mistake_catches_nothing():
    def fails(test, before, changed):
        return test == "a.py::dear" and "a.py::cheap" in before  # by the order alone

    found = Judge(_Scripted(fails), SUITE).one(0, WRONG)
    assert not found.by
    assert "3 tests reach it" in found.why

    def fails_later(test, before, changed):
        return fails(test, before, changed) or (changed and test == "b.py::dear")

    workers = _Scripted(fails_later)
    assert Judge(workers, SUITE).one(0, WRONG).by == "b.py::dear"
    assert all(WRONG.new in text for r in workers.requests for text in r.texts.values())


def test_another_test_that_fails_without_the_mistake_hides_nothing():
    """A slow machine, say: the test that found the mistake holds, one before it did not end."""

    def fails(test, before, changed):
        return test == ("a.py::dear" if changed else "a.py::cheap")

    assert Judge(_Scripted(fails), SUITE).one(0, WRONG).by == "a.py::dear"


def test_a_mistake_that_no_test_reaches_runs_nothing():
    workers = _Scripted(lambda *_: True)
    assert not Judge(workers, SUITE).one(2, WRONG).by
    assert workers.requests == []


EXAMPLE = "tests/proofs/judged_example.py"


@pytest.fixture(scope="module")
def crew(tmp_path_factory):
    """One process that runs tests, and the file that tells the example what to do."""
    told = tmp_path_factory.mktemp("judged") / "how"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("JUDGED_EXAMPLE", str(told))
        with workers(1) as found:
            yield found, told


@pytest.fixture
def judged(monkeypatch, crew):
    """The example judges the file, in one of its ways."""
    found, told = crew

    def make(how):
        told.write_text(how)
        monkeypatch.setattr(mutations_by_tests, "WORKERS", 1)
        monkeypatch.setattr(mutations_by_tests, "PARTS", 1)
        monkeypatch.setattr(mutations_by_tests, "JUDGES", {FILE: ("tests/proofs",)})
        monkeypatch.setattr(mutations_by_tests, "files_with_tests", lambda _: [EXAMPLE])
        monkeypatch.setattr(found, "_failed", {})
        monkeypatch.setattr(mutations, "workers", lambda: nullcontext(found))
        return found

    return make


@pytest.mark.slow
def test_one_run_says_which_tests_hold_and_which_reach_a_mistake(judged):
    seen = record(judged("fails"), {4: WRONG, 6: SYNONYM})
    both = [4, 6]
    expected = {"test_right": both, "test_elsewhere": [], "test_in_another_process": both}
    assert dict(seen.reaching) == {f"{EXAMPLE}::{test}": p for test, p in expected.items()}
    assert seen.seconds.keys() == seen.reaching.keys()  # none that is skipped or fails as expected
    assert not seen.failing


@pytest.mark.slow
def test_what_is_caught_by_which_test(judged):
    judged("fails")
    found = {o.mutation.what: o for o in run_by_tests([WRONG, SYNONYM, GONE])}
    results = {what: outcome.result for what, outcome in found.items()}
    assert results == {"not divided": CAUGHT, "words": MISSED, "gone": STALE}
    assert found["not divided"].by == f"{EXAMPLE}::test_right"
    assert "2 tests reach it" in found["words"].by
    assert (ROOT / FILE).read_text(encoding="utf-8").count(WRONG.old) == 1


@pytest.mark.slow
def test_started_processes_see_the_mistake(judged):
    judged("fails elsewhere")
    (outcome,) = run_by_tests([WRONG])
    assert outcome.by == f"{EXAMPLE}::test_in_another_process"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "why"), [("dies", "the process died"), ("does not end", "it does not end")]
)
def test_tests_that_do_not_come_back_catch_it(judged, monkeypatch, how, why):
    monkeypatch.setattr(Judge, "_request", _hurried(Judge._request))
    judged(how)
    (outcome,) = run_by_tests([WRONG])
    assert outcome.by == f"{EXAMPLE}::test_right: {why}"


def _hurried(make):
    def request(*arguments):
        found = make(*arguments)
        return Request(found.texts, found.paths, found.tests, seconds={}, otherwise=5.0)

    return request


@pytest.mark.slow
def test_tests_that_fail_anyway_catch_nothing(judged):
    judged("fails anyway")
    with pytest.raises(Unsound, match="test_elsewhere"):
        list(run_by_tests([WRONG]))


@pytest.mark.slow
def test_whoever_kills_it_leaves_nothing_running(tmp_path):
    command = [sys.executable, "-m", "proofs.mutations", "--only", FILE, "--by", "tests"]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    while not list(tmp_path.glob("fairopt-seeded-*/told.json")) and process.poll() is None:
        time.sleep(0.05)
    (told, *_) = tmp_path.glob("fairopt-seeded-*/told.json")
    assert FILE.replace("/", ".").removesuffix(".py") in json.loads(told.read_text())["texts"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert not list(tmp_path.glob("fairopt-seeded-*"))


def test_folders_of_tests_are_collected_file_by_file():
    found = mutations_by_tests.files_with_tests(ROOT / "tests/proofs")
    assert str(Path(__file__).relative_to(ROOT)) in found
    assert not any(name.endswith("conftest.py") for name in found)
    docs = mutations_by_tests.files_with_tests(ROOT / "fl_runtime")
    assert "fl_runtime/random_streams.py" in docs
