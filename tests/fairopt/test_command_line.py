"""`python -m fairopt`: the version, and compiling everything ahead of the first call."""

import importlib.metadata
import importlib.util
import os
import subprocess
import sys

import pytest

from fairopt import __main__ as command_line


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as stop:
        command_line.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"fairopt {importlib.metadata.version('fairopt')}\n"


@pytest.mark.parametrize("words", [[], ["compil"], ["compile", "fairgrad"]])
def test_other_words_are_refused(words, capsys):
    with pytest.raises(SystemExit) as stop:
        command_line.main(words)
    assert stop.value.code == 2
    assert "usage: python -m fairopt" in capsys.readouterr().err


@pytest.mark.parametrize(("rich", "terminal"), [(True, True), (True, False), (False, True)])
def test_every_kernel_is_compiled_with_a_progress_bar_or_a_line(
    rich, terminal, capsys, monkeypatch
):
    if not rich:
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert command_line.main(["compile"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("fairopt: every kernel is ready in ")
    assert printed.err
    assert printed.err.startswith("fairopt: 1 of ") == (not (rich and terminal))
    assert "fairopt.kernels.gram.fairgrad_quick" in sys.modules


def test_where_nothing_can_be_kept_the_command_says_so(capsys, monkeypatch):
    monkeypatch.setattr("fairopt.kernels.kernel_cache.writable", lambda: None)
    assert command_line.main(["compile"]) == 1
    assert "no folder can be written" in capsys.readouterr().err


FIRST_CALLS = """
import fairopt
from fairopt.kernels import kernel_cache
kernel_cache.SILENT = 0.0
fairopt.fairgrad([[1.0]], 2.0), fairopt.upgrad([[1.0]]), fairopt.min_norm([[1.0]])
"""


@pytest.mark.slow
def test_after_the_command_no_first_call_compiles(tmp_path):
    """Where what was compiled is kept; elsewhere the same calls say that they compile."""
    assert command_line.main(["compile"]) == 0
    run = [sys.executable, "-c", FIRST_CALLS]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    elsewhere = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    started = subprocess.Popen(run, env=elsewhere, stderr=subprocess.PIPE, text=True)
    with started:
        assert started.stderr.readline().startswith("fairopt: compiling ")
        started.kill()
