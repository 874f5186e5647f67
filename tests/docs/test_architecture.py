"""The architecture page names files and functions that exist, and its picture shows all rooms."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from docs.rooms import layers

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
HOP = re.compile(r"^\| \d+ \| `([^`]+)` \| `([^`]+)` \|", re.MULTILINE)
PLACES = re.compile(r"`((?:fairopt|mechanisms|fl_runtime|proofs)/[\w/]+(?:\.py|/))`")


def defined(path: Path) -> set[str]:
    """Functions and classes at the top of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}


def wrong_hops(page: str) -> list[tuple[str, str]]:
    """Hops whose file or function is not there."""
    return [
        (file, name)
        for file, name in HOP.findall(page)
        if not (ROOT / file).is_file() or name not in defined(ROOT / file)
    ]


def test_every_hop_is_a_function_of_its_file() -> None:
    assert len(HOP.findall(PAGE)) > 20
    assert wrong_hops(PAGE) == []


@pytest.mark.parametrize("change", [("`gram`", "`grams`"), ("step.py", "steps.py")])
def test_a_wrong_hop_is_found(change: tuple[str, str]) -> None:
    page = (
        "| 1 | `fl_runtime/running/step.py` | `step` |\n| 2 | `fairopt/torch/updates.py` | `gram` |"
    )
    assert wrong_hops(page) == []
    assert len(wrong_hops(page.replace(*change))) == 1


def test_every_named_place_exists() -> None:
    assert [place for place in PLACES.findall(PAGE) if not (ROOT / place).exists()] == []


def test_the_picture_shows_every_room() -> None:
    picture = (ROOT / "docs" / "rooms.svg").read_text(encoding="utf-8")
    shown = set(re.findall(r">([\w/]+)</text>", picture))
    rooms = {
        room + "/" if (ROOT / package / room).is_dir() else room
        for package, lines in layers().items()
        for line in lines
        for room in line
    }
    assert rooms <= shown
    assert shown - rooms == set(layers())  # the titles
