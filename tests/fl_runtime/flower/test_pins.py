"""The pinned environment is one that Flower can be installed into."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]

NEEDED = [
    "protobuf>=5.28,<7",
    "typer>=0.13,<0.21",
    "rich>=14,<15",
    "packaging>=24,<26",
    "click>=8,<9",
    "numpy>=1.26,<3",
    "grpcio>=1.70,<2",
    "pathspec>=1.0.4,<2",
    "tomli-w>=1.0,<2",
]
"""Of flwr 1.42 what others need too, for where it is not installed."""


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if "==" in line and not line.startswith("#")]
    return {name.lower().replace("_", "-"): version for name, version in pairs}


def needed() -> list[str]:
    try:
        return requires("flwr") or []
    except PackageNotFoundError:
        return NEEDED


@pytest.mark.parametrize("text", [*NEEDED, *(n for n in needed() if "extra ==" not in n)])
def test_every_pin_is_within_what_flower_needs(text: str) -> None:
    wanted, pinned = Requirement(text), pins()
    assert wanted.specifier.contains(pinned[wanted.name.lower().replace("_", "-")])


def test_a_wrong_pin_is_found() -> None:
    assert not Requirement(NEEDED[0]).specifier.contains("7.36.2")


def test_the_pinned_flower_is_the_extra() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    found = re.search(r'^flower = \["(.*?)"\]', text, re.MULTILINE)
    assert found is not None
    assert Requirement(found[1]).specifier.contains(pins()["flwr"])
