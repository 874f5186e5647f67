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


@pytest.mark.parametrize("rich", [True, False])
def test_every_kernel_is_compiled_with_and_without_a_progress_bar(rich, capsys, monkeypatch):
    if not rich:
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert command_line.main(["compile"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("fairopt: every kernel is ready in ")
    assert bool(printed.err) == rich
    assert "fairopt.kernels.gram.fairgrad_quick" in sys.modules


def test_where_nothing_can_be_kept_the_command_says_so(capsys, monkeypatch):
    monkeypatch.setattr("fairopt.kernels.kernel_cache.writable", lambda: None)
    assert command_line.main(["compile"]) == 1
    assert "no folder can be written" in capsys.readouterr().err


@pytest.mark.slow
def test_after_the_command_no_first_call_compiles(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    run = [sys.executable, "-m", "fairopt", "compile"]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=True)
    assert "compiling" not in done.stderr
    kept = sorted(tmp_path.rglob("*"))
    code = "import fairopt as f; f.fairgrad([[1.0]], 2.0), f.upgrad([[1.0]]), f.min_norm([[1.0]])"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert sorted(tmp_path.rglob("*")) == kept
