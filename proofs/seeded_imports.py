"""Modules compiled from other text than that of their files: seeded mistakes, and marked places.

The files stay as they are; what is changed is what `import` makes of them, in this process and, by
an environment variable, in the processes it starts. Standard library alone: a copy of this file is
the `sitecustomize` of those processes.
"""

from __future__ import annotations

import builtins
import json
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType

VARIABLE = "FAIROPT_SEEDED"
"""Names the file that tells started processes what to change."""

HIT = "__seeded_hit__"
"""What a marked place calls, with its number."""


class _Changed(SourceFileLoader):
    """Compiles another text in the place of a file's."""

    def __init__(self, name: str, path: str, text: str) -> None:
        super().__init__(name, path)
        self.text = text

    def get_code(self, fullname: str) -> CodeType:
        """The code of that text; nothing is cached on disk."""
        return compile(self.text, self.path, "exec", dont_inherit=True)


class _Finder:
    """Finds the changed modules, and leaves all others to whoever comes next."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = texts

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: object = None
    ) -> ModuleSpec | None:
        """Where the file is, with a loader of the other text."""
        spec = PathFinder.find_spec(name, path) if name in self.texts else None
        if spec is None or spec.origin is None:
            return None
        return spec_from_file_location(
            name,
            spec.origin,
            loader=_Changed(name, spec.origin, self.texts[name]),
            submodule_search_locations=spec.submodule_search_locations,
        )


class Hits:
    """Numbers of the marked places that were passed.

    Those of this process are in `seen`; those of others are lines of a file, which may hold some
    twice.
    """

    def __init__(self, log: Path, main: int) -> None:
        self.seen: set[int] = set()
        self._log = log
        self._main = main

    def __call__(self, place: int) -> None:
        """Say that a place was passed."""
        if place in self.seen:
            return
        self.seen.add(place)
        if os.getpid() != self._main:
            with self._log.open("a", encoding="utf-8") as lines:
                lines.write(f"{place}\n")

    def taken(self) -> list[int]:
        """What was passed since the last call, by whichever process."""
        others = self._log.read_text(encoding="utf-8").split() if self._log.exists() else []
        self._log.unlink(missing_ok=True)
        found = sorted(self.seen | set(map(int, others)))
        self.seen.clear()
        return found


def install(texts: Mapping[str, str], log: Path, main: int) -> Hits:
    """Change what importing those modules gives.

    Args:
        texts: Text by the name of a module that has not been imported yet.
        log: File for what other processes pass.
        main: Number of the process that asks for `Hits.taken`.
    """
    hits = Hits(log, main)
    setattr(builtins, HIT, hits)
    sys.meta_path.insert(0, _Finder(texts))
    return hits


def _install_in_started_process() -> None:
    """What the environment says."""
    if VARIABLE in os.environ:
        told = json.loads(Path(os.environ[VARIABLE]).read_text(encoding="utf-8"))
        install(told["texts"], Path(told["log"]), 0)


if __name__ == "sitecustomize":
    _install_in_started_process()
