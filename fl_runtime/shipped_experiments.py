"""Experiments that are installed with the package: run by name, or copied to start from.

They are the files of the folder `experiments` of the repository. Where a configuration file is
expected, and there is none of that name, the name of one of them will do.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path

from fairopt.choices import choose
from fairopt.errors import InvalidInput

_FOLDER = Path(__file__).parent / "experiments"
_START = Path(__file__).parent / "configuration" / "start.toml"


def experiments() -> Mapping[str, Path]:
    """The file of each shipped experiment.

    Example:
        >>> experiments()["demo"].name
        'demo.toml'
    """
    return {path.stem: path for path in sorted(_FOLDER.glob("*.toml"))}


def titles() -> dict[str, str]:
    """What each shipped experiment is about.

    Example:
        >>> titles()["demo"]
        'Five models, forty clients, one budget'
    """
    read = {name: path.read_text(encoding="utf-8") for name, path in experiments().items()}
    return {name: tomllib.loads(text)["run"]["title"] for name, text in read.items()}


def file_of(config: Path) -> Path:
    """The file itself, or the shipped experiment of that name if there is no such file.

    Example:
        >>> file_of(Path("demo")).name, file_of(Path("elsewhere/demo")).name
        ('demo.toml', 'demo')
    """
    return config if config.is_file() else experiments().get(str(config), config)


def begin(file: Path, name: str | None = None) -> None:
    """Write a configuration to start from.

    Args:
        file: Where to; there must be no such file yet.
        name: A shipped experiment to copy; None for a small one with a comment on every line.

    Raises:
        InvalidInput: The file is there already, or no experiment has such a name.
    """
    source = _START if name is None else choose("--from", name, experiments())
    if file.exists():
        raise InvalidInput("FILE", str(file), "a file that does not exist yet")
    shutil.copyfile(source, file)
