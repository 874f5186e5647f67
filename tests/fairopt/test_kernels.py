"""Compilation: read-only installations work, and the cache follows every source file.

And how kernels are written: short argument lists, and helpers that borrow memory.
"""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fairopt
from fairopt.kernels.jit import source_digest

PACKAGE = Path(fairopt.__file__).parent

DOUBLE = """
from fairopt.kernels.jit import gufunc

@gufunc("void(float64[:], float64[:])", "(n)->(n)")
def double(x, y):
    for i in range(x.shape[0]):
        y[i] = 2.0 * x[i]
"""
PROBE = (
    DOUBLE
    + """
import numpy as np
print(double(np.array([1.0, 2.5])))
"""
)


def test_a_folder_that_cannot_be_written_is_no_obstacle(tmp_path):
    """No cache folder at all: the source's is a file, the user's cannot be made."""
    package = tmp_path / "fairopt"
    shutil.copytree(
        Path(fairopt.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    (package / "kernels" / "probe.py").write_text(PROBE)
    (package / "kernels" / "__pycache__").write_text("a file where a folder should be")
    environment = {**os.environ, "HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null/cache"}
    environment.pop("NUMBA_CACHE_DIR", None)
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    done = subprocess.run(
        [sys.executable, "-c", "import fairopt.kernels.probe"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[2. 5.]"


READ_ONLY = """
import fairopt
from fairopt.kernels.network.normal_matrix import normal_matrix  # the quickest to compile
assert fairopt.__file__.startswith({folder!r}), fairopt.__file__
assert fairopt.alpha_fair_allocation([[1.0]], [2.0], 1.0).ok
"""


def test_a_read_only_installation_solves_and_stays_as_it_was(tmp_path):
    package = tmp_path / "fairopt"
    shutil.copytree(
        Path(fairopt.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    files = sorted(package.rglob("*"))
    for path in (*files, package):
        path.chmod(0o555 if path.is_dir() else 0o444)
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTHONPATH", None)
    environment["NUMBA_CACHE_DIR"] = str(tmp_path / "cache")  # root may write anywhere
    done = subprocess.run(
        [sys.executable, "-c", READ_ONLY.format(folder=str(tmp_path))],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    found = sorted(package.rglob("*"))
    for path in (package, *(p for p in files if p.is_dir())):
        path.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert found == files


@pytest.mark.parametrize("change", ["edit", "add"])
def test_the_digest_sees_every_file(tmp_path, change):
    (tmp_path / "a.py").write_text("x = 1")
    before = source_digest(tmp_path)
    (tmp_path / ("a.py" if change == "edit" else "b.py")).write_text("x = 2")
    assert source_digest(tmp_path) != before


def test_functions_of_two_processes_have_different_symbols():
    """Kernels cached by two processes once crashed a third that loaded both."""
    code = (
        "import fairopt.kernels.jit\n"
        "from numba.core.bytecode import FunctionIdentity\n"
        "print(next(FunctionIdentity._unique_ids))"
    )
    run = [sys.executable, "-c", code]
    first, second = (
        int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
        for _ in range(2)
    )
    assert abs(first - second) > 10_000


THREADS_AND_FORKS = """
import os
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from fairopt import conflict_averse, fairgrad, min_norm, upgrad

rng = np.random.default_rng(0)
G = rng.normal(size=(200, 5, 7))
grams = list(G @ np.swapaxes(G, 1, 2))

def solve(A):
    found = (fairgrad(A, 2.0), min_norm(A), conflict_averse(A, 0.4), upgrad(A))
    return np.concatenate([solution.weights for solution in found])

with ThreadPoolExecutor(8) as pool:  # the first calls race to import the kernels
    threaded = list(pool.map(solve, grams))
alone = [solve(A) for A in grams]
assert all((a == b).all() for a, b in zip(threaded, alone))
child = os.fork()
if child == 0:
    os._exit(0 if all((solve(A) == b).all() for A, b in zip(grams, alone)) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_threads_and_forked_processes_get_the_same_digits():
    run = [sys.executable, "-c", THREADS_AND_FORKS]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "0", done.stderr


RACE = """
import contextlib, os, sys, time, traceback
from pathlib import Path
import numpy as np
from numba.core.caching import Cache

LONGEST = 1.0  # seconds that one process waits for the other, which the lock may hold up
save = Cache.save_overload

def in_turn(*steps):
    # Each save waits for a mark and leaves one: core of A, core of B, loop of B, loop of A.
    turns = iter(steps)
    def saving(self, sig, data):
        awaited, left, early = next(turns)
        if early:
            Path(early).touch()
        end = time.monotonic() + LONGEST
        while not Path(awaited).exists() and time.monotonic() < end:
            time.sleep(0.01)
        save(self, sig, data)
        Path(left).touch()
    Cache.save_overload = saving

def solve():
    from fairopt.kernels import jit
    if sys.argv[1] == "unlocked":
        jit.FileLock = contextlib.nullcontext
    from fairopt.kernels.probe import double
    assert (double(np.array([1.0, 2.5])) == [2.0, 5.0]).all()

def start(*steps):
    child = os.fork()
    if child == 0:
        try:
            if steps:
                in_turn(*steps)
            solve()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return child

def status(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

first = start(("b-compiled", "a-core", ""), ("b-loop", "a-loop", ""))
second = start(("a-core", "b-core", "b-compiled"), ("b-core", "b-loop", ""))
print(status(first), status(second), status(start()))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("lock", ["locked", "unlocked"])
def test_processes_that_compile_at_once_leave_a_sound_cache(tmp_path, lock):
    """The core and the loop of a kernel must come from one process, or loading them crashes.

    Two processes compile at once and save in the worst order; a third loads what they saved.
    """
    package = tmp_path / "fairopt"
    shutil.copytree(
        Path(fairopt.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    (package / "kernels" / "probe.py").write_text(DOUBLE)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", RACE, lock],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    statuses = [int(word) for word in done.stdout.split()]
    assert len(statuses) == 3
    assert (statuses == [0, 0, 0]) == (lock == "locked"), done.stderr


LONGEST_LIST = 8  # positional arguments
BORROWING = {"helper", "solver", "summing"}  # decorators of functions that count no references
NUMBERS = {"None", "bool", "int", "float"}


def functions(source):
    """Each function of a source text with the names of its decorators."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            calls = (d.func if isinstance(d, ast.Call) else d for d in node.decorator_list)
            yield node, {ast.unparse(call).rpartition(".")[2] for call in calls}


def with_long_lists(source):
    """Functions with too many positional arguments; a gufunc has one for each array."""
    return [
        node.name
        for node, decorators in functions(source)
        if len(node.args.posonlyargs + node.args.args) > LONGEST_LIST and "gufunc" not in decorators
    ]


def returning_arrays(source):
    """Functions that count no references, and yet return more than numbers."""
    return [
        node.name
        for node, decorators in functions(source)
        if decorators & BORROWING and not set(words(node.returns)) <= NUMBERS
    ]


def words(annotation):
    """The types in the annotation of a returned value."""
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "tuple":
        parts = annotation.slice
        return [w for part in getattr(parts, "elts", [parts]) for w in words(part)]
    return [ast.unparse(annotation)] if annotation is not None else ["anything"]


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_argument_lists_are_short(path):
    assert with_long_lists(path.read_text()) == []


@pytest.mark.parametrize(
    "path",
    sorted((PACKAGE / "kernels").rglob("*.py")),
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_functions_that_count_no_references_return_numbers(path):
    """Whoever got an array from them would release memory that is not its own."""
    assert returning_arrays(path.read_text()) == []


def test_both_checks_of_sources_can_fail():
    names = ", ".join(f"a{k}" for k in range(LONGEST_LIST + 1))
    assert with_long_lists(f"def f({names}): ...") == ["f"]
    assert with_long_lists(f"@helper\nasync def f({names[:-4]}, /, *, x): ...") == []
    assert with_long_lists(f"@jit.gufunc('()', '()')\ndef f({names}): ...") == []
    for returned in ("", " -> Array", " -> tuple[int, Array]", " -> tuple[tuple[Pairs], int]"):
        assert returning_arrays(f"@helper\ndef f(a){returned}: ...") == ["f"]
        assert returning_arrays(f"@inlined\ndef f(a){returned}: ...") == []
    for returned in (" -> None", " -> bool", " -> tuple[int, tuple[float, bool]]"):
        assert returning_arrays(f"@jit.helper\ndef f(a){returned}: ...") == []


ALL_MEMORY = """
import sys
import numpy as np
from numba import njit
from numba.core.runtime import rtsys
import fairopt

def held():
    found = rtsys.get_allocation_stats()
    return found.alloc - found.free

rng = np.random.default_rng(0)
for K in (1, 2, 5, 30):
    G = rng.normal(size=(9, K, 2 * K))
    G[6:] = G[6:, rng.integers(K, size=K)]  # parallel: at alpha = 200, K = 30 solved for groups
    G[3:] -= (1.0 - 1e-6) * G[3:].mean(axis=1, keepdims=True)  # nearly stationary: refined
    G *= rng.uniform(1.0, 2.0, size=(9, K, 1))
    A = G @ np.swapaxes(G, 1, 2)
    for alpha in (0.0, 2.0, 200.0, np.inf):
        fairopt.fairgrad(A, alpha)
    fairopt.min_norm(A), fairopt.conflict_averse(A, 1.5), fairopt.upgrad(A)
    fairopt.pareto_certificate(A)
for alpha in (1.0, np.inf):
    fairopt.alpha_fair_allocation([[1, 1, 0], [1, 0, 1]], [1.0, 2.0], alpha)
before = held()
kept = njit(lambda n: np.empty(n))(3)
print(before, held())
"""


def test_all_memory_is_given_back():
    """Numba's own count of allocations less releases; an array that is kept shows in it."""
    done = subprocess.run(
        [sys.executable, "-c", ALL_MEMORY],
        env={**os.environ, "NUMBA_NRT_STATS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["0", "1"]
