"""Objects of the user's own, by name."""

import sys
from pathlib import Path

import pytest

from fairopt.user_objects import loaded


def test_modules_beside_the_user_are_found_by_installed_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "beside_me.py").write_text("found = 3\n")
    elsewhere = [place for place in sys.path if place not in ("", str(Path.cwd()))]
    monkeypatch.setattr(sys, "path", elsewhere)
    monkeypatch.chdir(tmp_path)
    assert loaded("data", "beside_me:found") == 3
