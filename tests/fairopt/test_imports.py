"""What importing loads: the mathematics must not drag in heavy packages."""

import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "cvxpy",
    "highspy",
    "networkx",
    "numba",
    "scipy",
    "matplotlib",
    "sklearn",
    "z3",
    "rich",
)


@pytest.mark.parametrize("package", ["fairopt", "mechanisms"])
def test_import_loads_numpy_alone(package: str) -> None:
    code = f"import sys, {package}; print(*sorted(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
