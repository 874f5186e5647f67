"""What is optional and not installed is named, with the extra that brings it."""

import pickle
import runpy
import subprocess
import sys

import pytest

import fairopt
from fairopt import MissingExtra
from fairopt.extras import extra, hint

OPTIONAL = ("torch", "cvxpy", "networkx", "joblib", "z3", "hypothesis", "mpmath", "pydantic")
IN_PYTHON = """
import sys
sys.modules.update(dict.fromkeys({names}))
import fairopt, mechanisms
def told(code):
    try:
        exec(code, {{}})
    except fairopt.MissingExtra as error:
        print(error)
told("import fairopt.torch")
told("from fairopt import reference; reference.fairgrad([[1.0]], 1.0)")
told("import mechanisms as m; m.prove(m.budget_fair, (2, 1))")
told("import mechanisms as m; m.audit(m.max_min_fair, [[1, 2], [2, 1]], 9, jobs=2)")
told("import proofs.strategies")
told("import proofs; proofs.all_claims()")
told("import fl_runtime; fl_runtime.run")
"""


def test_in_python_it_is_an_error_with_a_hint():
    code = IN_PYTHON.format(names=OPTIONAL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        hint("torch", "torch"),
        hint("cvxpy", "reference"),
        hint("z3", "mechanisms"),
        hint("joblib", "mechanisms"),
        hint("hypothesis", "proofs"),
        hint("mpmath", "proofs"),
        hint("pydantic", "runtime"),
    ]


@pytest.mark.parametrize(
    ("package", "missing", "extra_of_it"),
    [
        ("mechanisms", "typer", "mechanisms"),
        ("proofs", "rich.console", "proofs"),
        ("proofs", "mpmath", "proofs"),
        ("fl_runtime", "typer", "runtime"),
        ("fl_runtime", "torch", "runtime"),
        ("fl_runtime.flower", "pydantic", "flower"),
    ],
)
def test_a_command_is_one_line_and_status_2(package, missing, extra_of_it, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.delitem(sys.modules, f"{package}.__main__", raising=False)  # executed anew
    monkeypatch.setattr(sys, "argv", [package, "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module(package, run_name="__main__")
    assert stop.value.code == 2
    top = missing.partition(".")[0]
    assert capsys.readouterr() == ("", f"error: {hint(top, extra_of_it)}\n")


@pytest.mark.parametrize(
    ("record", "source"),
    [
        ('{"url": "file:///home/ann/my%20clone", "dir_info": {}}', "/home/ann/my clone"),
        ('{"url": "file:///home/ann/fairopt.whl", "archive_info": {}}', "fairopt"),
        ("no record", "fairopt"),
        (None, "fairopt"),
    ],
)
def test_the_hint_says_where_fairopt_came_from(record, source, monkeypatch):
    class Installed:
        def read_text(self, name):
            return record

    monkeypatch.setattr("importlib.metadata.distribution", lambda name: Installed())
    assert hint("torch", "torch") == f"torch is not installed: pip install '{source}[torch]'"


def test_parts_are_loaded_when_they_are_named():
    code = "import sys, fairopt; before = 'networkx' in sys.modules; fairopt.network; print(before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    with pytest.raises(AttributeError, match="no attribute 'networks'"):
        fairopt.networks  # noqa: B018


def test_a_module_of_ours_that_is_not_there_is_no_missing_extra():
    with pytest.raises(ModuleNotFoundError) as caught, extra("torch"):
        import fairopt.no_such_room  # noqa: F401
    assert not isinstance(caught.value, MissingExtra)


def test_the_innermost_extra_is_named():
    hint = pytest.raises(MissingExtra, match=r"fairopt\[network\]")
    with hint, extra("runtime"), extra("network"):
        import no_such_package  # noqa: F401


def test_what_is_only_looked_for_is_not_loaded():
    code = "import sys; from fairopt.extras import extra\nwith extra('x', 'scipy'): pass\n"
    code += "assert 'scipy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(MissingExtra) as caught, extra("torch", "sys", "no_such_package"):
        pass
    assert (caught.value.name, caught.value.extra) == ("no_such_package", "torch")


def test_the_error_survives_a_process():
    error = pickle.loads(pickle.dumps(MissingExtra("torch", "runtime")))
    assert (error.name, error.extra) == ("torch", "runtime")
    assert str(error) == str(MissingExtra("torch", "runtime"))
