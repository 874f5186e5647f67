"""The page of results is of the experiments as they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from fl_runtime.configuration.toml_files import digest, read_config
from fl_runtime.data.packages import MissingData
from fl_runtime.reporting.results_page import render, sections_of
from fl_runtime.running.experiment import resolved

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.toml"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_is_reported_as_it_stands(path: Path) -> None:
    config = read_config(path)
    assert config.claim, "an experiment states what it tests"
    assert f"`{path.name}`, fingerprint `" in PAGE
    for claim in config.claim:
        assert claim.statement in PAGE
    try:
        found = digest(resolved(config))
    except MissingData as missing:
        pytest.skip(f"its fingerprint is of data too: {missing}")
    assert f"`{path.name}`, fingerprint `{found[:12]}`" in PAGE


def test_the_page_counts_its_own_verdicts() -> None:
    assert render(sections_of(PAGE), {}) == PAGE


def test_pictures_are_there() -> None:
    assert (ROOT / "docs" / "results").is_dir()
    for path in EXPERIMENTS:
        assert (ROOT / "docs" / "results" / f"{path.stem}.png").is_file()
