"""The last moment of every arm and seed, from which a run can go on for more rounds.

One file per arm and seed, in the order in which they run: the state after the last round and the
rows of the history that have led to it, without those that close a run. So the history of a run
that is extended can be written anew from the beginning, to the bytes of a run that was as long from
the start.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fairopt.errors import InvalidInput
from fl_runtime.configuration.schema import LARGEST_COUNT, Config
from fl_runtime.running.checkpoint import load_checkpoint, save_checkpoint

_KEYS = {"digest", "index", "state", "rows"}


@dataclass(frozen=True)
class Moment:
    """Where an arm with a seed has come to.

    Attributes:
        index: Its place among all arms and seeds.
        digest: Of the configuration.
        state: The tree of its `RunState`.
        rows: Its lines of the history so far.
    """

    index: int
    digest: str
    state: Mapping[str, Any]
    rows: bytes


def write_moment(folder: Path, moment: Moment) -> None:
    """Write a moment, whole or not at all."""
    rows = torch.from_numpy(np.frombuffer(moment.rows, dtype=np.uint8).copy())
    save_checkpoint(_path(folder, moment.index), {**vars(moment), "rows": rows})


def read_moment(folder: Path, index: int, digest: str) -> Moment | None:
    """The moment of an arm and seed; None if none was kept.

    Raises:
        InvalidInput: The file is damaged or belongs to another run.
    """
    path = _path(folder, index)
    if not path.exists():
        return None
    record = load_checkpoint(path)
    if record.keys() != _KEYS or (record["index"], record["digest"]) != (index, digest):
        raise InvalidInput("checkpoint", str(path), "the last moment of this run")
    return Moment(**{**record, "rows": record["rows"].numpy().tobytes()})


def is_moment(path: Path) -> bool:
    """Whether a path within the folder of a run is that of a moment."""
    digits = path.stem.isascii() and path.stem.isdecimal()
    return digits and path == _path(Path("checkpoint"), int(path.stem))


def rows_of(content: bytes, arm: str, seed: int) -> bytes:
    """The lines of a history from the first of an arm and seed on."""
    first = f'{{"event":"recruitment","arm":{json.dumps(arm)},"seed":{seed},'.encode()
    return content[0 if content.startswith(first) else content.index(b"\n" + first) + 1 :]


def check_extension(config: Config, rounds: int) -> None:
    """Refuse a number of rounds that a run cannot be extended to.

    Raises:
        InvalidInput: It is none, fewer than the run has, or the run ends by time alone.
    """
    now = config.run.num_server_rounds
    if now is None:
        raise InvalidInput("rounds", rounds, "left out: the run ends by its time-limit alone")
    if isinstance(rounds, bool) or not isinstance(rounds, int) or not now <= rounds:
        requirement = f"at least {now}: the run is one of {now} rounds, and can only be made longer"
        raise InvalidInput("rounds", rounds, requirement)
    if rounds > LARGEST_COUNT:
        raise InvalidInput("rounds", rounds, f"at most {LARGEST_COUNT}")


def _path(folder: Path, index: int) -> Path:
    """Where the moment of an arm and seed is."""
    return folder / f"{index:03}.safetensors"
