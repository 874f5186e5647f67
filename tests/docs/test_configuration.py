"""The page on configurations names every key and every choice."""

import dataclasses
from pathlib import Path

import pytest

from fl_runtime.algorithms import ALGORITHMS
from fl_runtime.configuration.schema import (
    ClaimSection,
    ClientsSection,
    EarlyStopTable,
    RecruitmentSection,
    RunSection,
    ServerSection,
    SpeedsTable,
    TaskSection,
)
from fl_runtime.data.partitions import PARTITIONS
from fl_runtime.running.recruitment import DRIFTS, RULE_NOTES
from fl_runtime.simulation.availability import AVAILABILITIES
from fl_runtime.simulation.delays import DELAY_MODELS
from fl_runtime.training.models import MODELS
from fl_runtime.validation_errors import kebab

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
SECTIONS = (
    RunSection,
    TaskSection,
    ClientsSection,
    RecruitmentSection,
    ServerSection,
    ClaimSection,
)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_documented(section: type) -> None:
    for name in section.model_fields:  # type: ignore[attr-defined]
        assert f"`{kebab(name)}`" in PAGE


@pytest.mark.parametrize("table", [EarlyStopTable, SpeedsTable])
def test_keys_of_tables_within_sections_are_documented(table: type) -> None:
    for name in table.model_fields:  # type: ignore[attr-defined]
        assert f"{kebab(name)} = " in PAGE


def test_every_choice_is_documented() -> None:
    for table in (ALGORITHMS, MODELS, PARTITIONS, RULE_NOTES, DELAY_MODELS):
        for name in table:
            assert f"`{name}`" in PAGE
    for table in (AVAILABILITIES, DRIFTS):
        for name in table:
            assert f'model = "{name}"' in PAGE


@pytest.mark.parametrize("name", ["fed-buff", "fed-async", "fed-ast", "sync-st", "fed-ram"])
def test_every_parameter_of_arms_with_many_is_documented(name: str) -> None:
    for field in dataclasses.fields(ALGORITHMS[name]):
        assert f"`{kebab(field.name)}`" in PAGE
