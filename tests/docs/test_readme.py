"""The README's snippets do what they say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests import forked

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Contents of the fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_python_snippets_print_their_comments(capsys: pytest.CaptureFixture[str]) -> None:
    source = "\n".join(blocks("python"))
    exec(compile(source, "README.md", "exec"), {})
    promised = re.findall(r"^print\(.*\)  # (.*)$", source, flags=re.MULTILINE)
    assert capsys.readouterr().out.splitlines() == promised
    assert len(promised) >= 3


@pytest.mark.slow
def test_command_lines_succeed(tmp_path: Path) -> None:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    commands = [line for line in lines if line.startswith("python -m ")]
    assert len(commands) >= 5
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    for line in commands:
        package, *words = shlex.split(line)[2:]
        done = forked.command(package, *words, cwd=tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stderr}"


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", "\n".join(blocks("bash")), flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


def test_links_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    for page in pages:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
