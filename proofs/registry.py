"""Finds the claims: every module of a topic's folder may define `CLAIMS`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from fairopt.extras import extra
from proofs.claim import Claim


def all_claims() -> tuple[Claim, ...]:
    """Every claim of every topic, in the order of file names.

    Raises:
        ValueError: Two claims share a name.
    """
    claims = [claim for topic in claims_by_topic().values() for claim in topic]
    names = [claim.name for claim in claims]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"claims share a name: {', '.join(twice)}")
    return tuple(claims)


def claims_by_topic() -> dict[str, tuple[Claim, ...]]:
    """The claims of each topic under the first line of its folder's docstring.

    Example:
        >>> next(iter(claims_by_topic()))
        'Plausible rules that are wrong, each with the smallest instance we know'
    """
    topics = {}
    for package in _packages():
        found = [getattr(module, "CLAIMS", ()) for module in _modules(package)]
        topics[_title(package)] = tuple(claim for claims in found for claim in claims)
    return topics


def _packages() -> Iterator[ModuleType]:
    """Topics: the folders below this package; modules beside this file hold no claims."""
    here = Path(__file__).parent
    for topic in sorted(path.name for path in here.iterdir() if (path / "__init__.py").exists()):
        yield importlib.import_module(f"proofs.{topic}")


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    """Modules of one topic."""
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda each: each.name):
        with extra("proofs"):
            found = importlib.import_module(f"{package.__name__}.{module.name}")
        yield found


def _title(package: ModuleType) -> str:
    """What a topic calls itself."""
    return (package.__doc__ or package.__name__).strip().splitlines()[0].rstrip(".")
