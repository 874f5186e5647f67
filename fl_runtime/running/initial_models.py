"""Models that begin with given numbers: those of an earlier run, or a pretrained file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from fairopt.errors import InvalidInput
from fl_runtime.configuration.input_hashes import check_recorded
from fl_runtime.configuration.schema import TaskSection
from fl_runtime.running.checkpoint import read_tensors
from fl_runtime.training.task import load_params


def take_initial(model: nn.Module, section: TaskSection, inputs: Mapping[str, str]) -> None:
    """Put the numbers of a task's `initial` file into its fresh model; nothing without one.

    The file is a safetensors file with entries of the module's state: all of them, or with
    `initial-partial` some (a trunk, say). A model file of a run with one model for all clients is
    one.

    Args:
        model: The task's model, as its factory made it.
        section: The task's table.
        inputs: Fingerprints that the run began with.

    Raises:
        InvalidInput: The file cannot be read or is another one than when the run began, or its
            entries do not fit: a name, a shape, a type, or numbers that are not finite.
    """
    if section.initial is None:
        return
    key = f"task.{section.name}.initial"
    check_recorded(key, {"file": section.initial}, inputs)
    try:
        tensors = read_tensors(Path(section.initial))[1]
    except (OSError, SafetensorError) as error:
        raise InvalidInput(key, section.initial, f"a safetensors file ({error})") from error
    own = {k: v for k, v in model.state_dict().items() if isinstance(v, Tensor)}
    misfit = _misfit(tensors, own, partial=section.initial_partial)
    if misfit is not None:
        raise InvalidInput(key, section.initial, misfit)
    load_params(model, tensors)


def _misfit(
    tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], *, partial: bool
) -> str | None:
    """What entries of a file would have to be to fit the model; None if they do."""
    unknown, absent = sorted(tensors.keys() - own.keys()), sorted(own.keys() - tensors.keys())
    if unknown:
        return f"a file of entries that the model has ({unknown[0]} is none; {_names(own)})"
    if not tensors:
        return "a file with entries of the model"
    if absent and not partial:
        return f"a file with all entries of the model ({absent[0]} is missing), or initial-partial"
    for name, value in tensors.items():
        if value.shape != own[name].shape:
            shapes = tuple(own[name].shape), tuple(value.shape)
            return f"a file whose entry {name} has shape {shapes[0]} (it has {shapes[1]})"
        if value.dtype != own[name].dtype:
            return f"a file whose entry {name} is of {own[name].dtype} (it is of {value.dtype})"
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            return f"a file of finite numbers (entry {name} is not)"
    return None


def _names(own: Mapping[str, Tensor]) -> str:
    """The first entries that there are."""
    shown = ", ".join(list(own)[:4])
    return f"it has {shown}{', ...' if len(own) > 4 else ''}"
