"""Command lines of the pages succeed, and the README's make targets exist."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from fl_runtime import check_config, run
from tests import forked

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TUTORIAL = (ROOT / "docs" / "tutorials" / "several-models.md").read_text(encoding="utf-8")


def lines(page: str) -> list[str]:
    """Lines of the fenced blocks of a shell."""
    found = re.findall(r"```bash\n(.*?)```", page, flags=re.DOTALL)
    return [line for block in found for line in block.splitlines()]


@pytest.mark.slow
def test_command_lines_succeed(tmp_path: Path) -> None:
    commands = [line for line in lines(TUTORIAL) if line.startswith("python -m ")]
    assert len(commands) >= 5
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    for line in commands:
        package, *words = shlex.split(line)[2:]
        done = forked.command(package, *words, cwd=tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stderr}"


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^make (\w+)", "\n".join(lines(README)), flags=re.MULTILINE)
    assert targets[:2] == ["demo", "test"]
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


def test_the_two_commands_stand_on_the_first_screen() -> None:
    assert README.index("make test") < README.index("## ")


def test_tasks_of_the_how_to_run_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "how-to" / "bring-a-task.md").read_text(encoding="utf-8")
    files = re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)
    modules = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(files) == 2
    for number, (file, module) in enumerate(zip(files, modules, strict=False)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "mine.py").write_text(module, encoding="utf-8")
        with monkeypatch.context() as here:
            here.syspath_prepend(folder)
            here.delitem(sys.modules, "mine", raising=False)
            history = run(check_config(tomllib.loads(file)))
            sys.modules.pop("mine")
        score = history.series("fed-fair-mmfl", "mean_task_score" if number else "mean_task_acc")
        assert score.shape == (1, 3)
