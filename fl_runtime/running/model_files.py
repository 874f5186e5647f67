"""Trained models as files: one safetensors file per task, with a header that says what it is.

    models/ARM/SEED/TASK.safetensors        the model after the last round
    models/ARM/SEED/TASK.best.safetensors   the model with the best validation score so far

The tensors are the whole state of the module (`load_state_dict` takes them), under the names that
the module gives them; where clients have models of their own, all are in the one file, under
``CLIENT/NAME``. What a task is judged by is what is written (`ServerState.evaluated`), so proxies,
references and global models that an algorithm keeps beside it are not. A trunk that tasks share is
in each of their files.

The header is one JSON object under the key `fl_runtime`: task, arm, seed, round, score (of the
validation data), the digest of the configuration, what the factory was told of the data, the units
they were put in, the clients, and a hash of all that and of every tensor. The same model has the
same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from safetensors import SafetensorError
from torch import Tensor

from fairopt.errors import InvalidInput
from fl_runtime.data.inputs import Shapes, each
from fl_runtime.running.checkpoint import hash_of, read_tensors, write_tensors
from fl_runtime.training.task import Params

Which = Literal["best", "last"]

FOLDER = "models"
"""Within the folder of a run."""

SUFFIX = ".safetensors"

_HEADER = "fl_runtime"
_HARMLESS = frozenset(" _-,()+=")
_LONGEST = 180
"""Bytes of a name; file systems take 255, and endings come on top."""


@dataclass(frozen=True)
class ModelHeader:
    """What a model is.

    Attributes:
        task: Name of the task.
        arm: Name of the arm.
        seed: Seed of the run.
        which: `best` or `last`.
        round: Server round after which it was this model.
        score: Its score on the validation data then.
        digest: Of the configuration.
        example_shape: Shape of one example, or shapes of its parts by name.
        outputs: What the factory was told of the targets: the number of classes, or another number
            or shape of outputs.
        units: Mean and spread of every feature, if the data were put in these units; by name where
            inputs have several parts.
        clients: Numbers of the clients whose own models these are; empty for one model for all.
        inputs: Type of the inputs, of data of another kind than classification; by name likewise.
    """

    task: str
    arm: str
    seed: int
    which: Which
    round: int
    score: float
    digest: str
    example_shape: Shapes
    outputs: int | tuple[int, ...]
    units: tuple[Any, Any] | None = None
    clients: tuple[int, ...] = ()
    inputs: str | Mapping[str, str] = ""

    @property
    def place(self) -> Path:
        """Where its file is within the folder of a run."""
        return model_place(self.arm, self.seed, self.task, self.which)


@dataclass(frozen=True)
class SavedModel:
    """A model that is not a module yet.

    Attributes:
        header: What it is.
        states: The state of the module by client, as a string; under no number for all clients.
    """

    header: ModelHeader
    states: Mapping[str, Params]


def model_place(arm: str, seed: int, task: str, which: Which) -> Path:
    """Where the file of a model is within the folder of a run.

    Example:
        >>> model_place("fair, alpha 3/2", 0, "digits.v2", "best").as_posix()
        'models/fair, alpha 3%2F2/0/digits%2Ev2.best.safetensors'
    """
    ending = SUFFIX if which == "last" else f".{which}{SUFFIX}"
    return Path(FOLDER, file_name(arm), str(seed), file_name(task) + ending)


def is_model_file(path: Path) -> bool:
    """Whether a path within the folder of a run is that of a model."""
    parts = path.parts
    return len(parts) == 4 and parts[0] == FOLDER and parts[2].isdigit() and path.suffix == SUFFIX


def file_name(name: str) -> str:
    """Any name as the name of a file, different for different names.

    Letters, digits and a few harmless signs stay, all else is percent-encoded, so
    `urllib.parse.unquote` gives the name back. One that is too long for a file system is cut, and
    ends in a tilde and a hash of the whole (no other does).

    Example:
        >>> file_name("../a.b"), file_name("Größe 1")
        ('%2E%2E%2Fa%2Eb', 'Größe 1')
    """
    found = "".join(
        sign if sign.isalnum() or sign in _HARMLESS else quote(sign, safe="") for sign in name
    )
    found = found.replace(".", "%2E").replace("~", "%7E")
    if len(found.encode()) <= _LONGEST:
        return found
    start = found.encode()[: _LONGEST // 2].decode(errors="ignore")
    return f"{start}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def write_model(folder: Path, model: SavedModel) -> None:
    """Write a model to its place in the folder of a run, whole or not at all."""
    path = folder / model.header.place
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{client}/{name}" if client else name: value.detach().to("cpu").contiguous().clone()
        for client, state in model.states.items()
        for name, value in state.items()
    }
    about = asdict(model.header)
    about["sha256"] = hash_of(_text(about), tensors)
    write_tensors(path, tensors, {_HEADER: _text(about)})


def read_model(path: Path) -> SavedModel:
    """Read a model back.

    Raises:
        InvalidInput: The file is missing or damaged, or was not written by a run.
    """
    try:
        header, tensors = read_tensors(path)
        about = json.loads(header[_HEADER])
        same = _text(about) == header[_HEADER]  # another last digit can be the same number
        if not same or about.pop("sha256") != hash_of(_text(about), tensors):
            raise InvalidInput("model", str(path), "with the bits that a run wrote")
        known = ModelHeader(**about)
        clients = tuple(known.clients)
        shape = each(tuple, known.example_shape)
        outputs = known.outputs if isinstance(known.outputs, int) else tuple(known.outputs)
        whole = replace(known, example_shape=shape, clients=clients, outputs=outputs)
        return SavedModel(whole, _by_client(tensors, clients))
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput("model", str(path), f"a whole model file of a run ({error})") from error


def _by_client(tensors: Mapping[str, Tensor], clients: tuple[int, ...]) -> dict[str, Params]:
    """The tensors of each client's model, or of the one for all."""
    if not clients:
        return {"": tensors}
    found: dict[str, dict[str, Tensor]] = {str(client): {} for client in clients}
    for key, value in tensors.items():
        client, _, name = key.partition("/")
        found[client][name] = value
    return dict(found)


def _text(about: Mapping[str, Any]) -> str:
    """A header as text, the same for the same header."""
    return json.dumps(about, sort_keys=True)
