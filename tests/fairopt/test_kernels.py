"""Compilation: read-only installations work, and the cache follows every source file."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fairopt
from fairopt.kernels.compiling import source_digest

PROBE = """
import numba
from fairopt.kernels.compiling import gufunc

@gufunc("void(float64[:], float64[:])", "(n)->(n)")
def double(x, y):
    for i in range(x.shape[0]):
        y[i] = 2.0 * x[i]

import numpy as np
print(double(np.array([1.0, 2.5])))
"""


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


@pytest.mark.parametrize("change", ["edit", "add"])
def test_the_digest_sees_every_file(tmp_path, change):
    (tmp_path / "a.py").write_text("x = 1")
    before = source_digest(tmp_path)
    (tmp_path / ("a.py" if change == "edit" else "b.py")).write_text("x = 2")
    assert source_digest(tmp_path) != before


def test_functions_of_two_processes_have_different_symbols():
    """Kernels cached by two processes once crashed a third that loaded both."""
    code = (
        "import fairopt.kernels.compiling\n"
        "from numba.core.bytecode import FunctionIdentity\n"
        "print(next(FunctionIdentity._unique_ids))"
    )
    run = [sys.executable, "-c", code]
    first, second = (
        int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
        for _ in range(2)
    )
    assert abs(first - second) > 10_000
