"""The page that says what of the sources is here names only what there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fl_runtime.reporting.results_page import sections_of
from proofs.registry import claims_by_topic

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "coverage.md"
RESULTS = ROOT / "docs" / "results.md"


def rows(text: str) -> Iterator[list[str]]:
    """Cells of the rows of all tables, without heads and rules."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and not set(line) <= set("|- ") and cells[0] != "in the source":
            yield cells


def strangers(text: str, experiments: set[str], claims: set[str]) -> list[str]:
    """Names in backticks of the second column that stand for nothing there is."""
    found = []
    for _, here, _ in rows(text):
        for name in re.findall(r"`([^`]+)`", here):
            if ".toml" in name:
                known = name.removesuffix(".toml") in experiments
            elif "/" in name:
                known = (ROOT / name).is_file()
            else:  # keys and columns have fewer words than claims
                known = name in claims or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+){2,}", name)
            if not known:
                found.append(name)
    return found


def known() -> tuple[set[str], set[str]]:
    experiments = set(sections_of(RESULTS.read_text(encoding="utf-8")))
    return experiments, {claim.name for part in claims_by_topic().values() for claim in part}


def test_every_row_names_what_there_is_and_says_what_came_out() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert strangers(text, *known()) == []
    found = list(rows(text))
    assert len(found) >= 68
    assert all(len(cells) == 3 and all(cells) for cells in found)


@pytest.mark.parametrize("name", ["no-such-experiment.toml", "there-is-no-such-claim"])
def test_a_row_about_nothing_is_noticed(name: str) -> None:
    row = f"| in the source | here | what came out |\n|---|---|---|\n| a | `{name}` | held |\n"
    assert strangers(row, *known()) == [name]
