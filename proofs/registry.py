"""Finds the claims: every module of a topic's folder may define `CLAIMS`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from proofs.claim import Claim


def all_claims() -> tuple[Claim, ...]:
    """Every claim of every topic, in the order of file names.

    Raises:
        ValueError: Two claims share a name.
    """
    claims = [claim for module in _modules() for claim in getattr(module, "CLAIMS", ())]
    names = [claim.name for claim in claims]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"claims share a name: {', '.join(twice)}")
    return tuple(claims)


def _modules() -> Iterator[ModuleType]:
    """Modules in the folders below this package; those beside this file hold no claims."""
    here = Path(__file__).parent
    for topic in sorted(path.name for path in here.iterdir() if (path / "__init__.py").exists()):
        package = importlib.import_module(f"proofs.{topic}")
        for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda each: each.name):
            yield importlib.import_module(f"proofs.{topic}.{module.name}")
