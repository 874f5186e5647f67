"""The page on configurations names every key and every choice."""

from pathlib import Path

import pytest

from fl_runtime.algorithms import ALGORITHMS
from fl_runtime.complaints import kebab
from fl_runtime.config import (
    ClaimSection,
    ClientsSection,
    RecruitmentSection,
    RunSection,
    TaskSection,
)
from fl_runtime.models import MODELS
from fl_runtime.partitions import PARTITIONS
from fl_runtime.recruitment import RULE_NOTES

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
SECTIONS = (RunSection, TaskSection, ClientsSection, RecruitmentSection, ClaimSection)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_documented(section: type) -> None:
    for name in section.model_fields:  # type: ignore[attr-defined]
        assert f"`{kebab(name)}`" in PAGE


def test_every_choice_is_documented() -> None:
    for table in (ALGORITHMS, MODELS, PARTITIONS, RULE_NOTES):
        for name in table:
            assert f"`{name}`" in PAGE
