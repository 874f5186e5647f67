"""Versions, console scripts and extras agree; `make release-check` does the rest."""

from __future__ import annotations

import importlib
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import fairopt

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SCRIPTS = PROJECT["project"]["scripts"]
EXTRAS = PROJECT["project"]["optional-dependencies"]
SOURCES = [
    path
    for package in ("fairopt", "mechanisms", "proofs", "fl_runtime")
    for path in (ROOT / package).rglob("*.py")
]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_one_version() -> None:
    heads = re.findall(r"^## (\d\S+)", text("CHANGELOG.md"), flags=re.MULTILINE)
    cited = re.search(r"^version: (.*)$", text("CITATION.cff"), flags=re.MULTILINE)
    assert cited is not None
    assert heads[0] == cited[1] == fairopt.__version__


@pytest.mark.parametrize("name", SCRIPTS)
def test_console_scripts_say_how_they_are_called(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module, _, function = SCRIPTS[name].partition(":")
    monkeypatch.setattr(sys, "argv", [f"/somewhere/bin/{name}", "--help"])
    monkeypatch.setattr(sys.modules["__main__"], "__package__", None)  # as that of a script
    with pytest.raises(SystemExit) as stop:
        getattr(importlib.import_module(module), function)()
    assert stop.value.code == 0
    assert re.search(rf"usage: {name} ", capsys.readouterr().out, flags=re.IGNORECASE)


def test_the_release_check_tries_every_script_and_every_extra_of_users() -> None:
    check = text("release/check.py")
    assert all(f'"{name}"' in check for name in SCRIPTS)
    tried = re.search(r'^EXTRAS = "(.*)"$', check, flags=re.MULTILINE)
    assert tried is not None
    brought_by_runtime = {"torch", "mechanisms"}
    elsewhere = {"flower", "dask", "ray", "dev", "peers", "docs"}  # large, or for developers
    assert set(EXTRAS) - elsewhere - brought_by_runtime == set(tried[1].split(",")) - elsewhere


def test_hints_name_extras_that_exist_and_the_page_explains_them() -> None:
    uses = r'(?:with |, )(?:extra|exit_without)\("(\w+)"'
    named = {name for path in SOURCES for name in re.findall(uses, path.read_text())}
    assert {"torch", "mechanisms", "proofs", "runtime", "network", "reference"} <= named
    assert named <= set(EXTRAS)
    page = text("docs/install.md")
    assert all(f"`{name}`" in page for name in (*named, *SCRIPTS))


def test_classifiers_are_of_versions_that_the_page_says_were_tried() -> None:
    classifiers = "\n".join(PROJECT["project"]["classifiers"])
    versions = re.findall(r"Python :: (3\.\d+)$", classifiers, flags=re.MULTILINE)
    rows = [row for row in text("docs/install.md").splitlines() if row.startswith("| Python")]
    tried = {v for row in rows if "not run" not in row for v in re.findall(r"3\.\d+", row)}
    assert set(versions) == tried
