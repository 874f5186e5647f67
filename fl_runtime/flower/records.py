"""Messages in Flower's records: a text in a configuration, tensors as arrays."""

from __future__ import annotations

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fairopt.errors import InvalidInput
from fl_runtime.flower.messages import Packed

TEXT, TENSORS, REFUSAL = "text", "tensors", "refusal"
"""Names of records, and of the entry in a configuration."""


def content_of(message: Packed) -> RecordDict:
    """The records of a message."""
    arrays = ArrayRecord({key: Array(value.numpy()) for key, value in message.tensors.items()})
    return RecordDict({TEXT: ConfigRecord({TEXT: message.text}), TENSORS: arrays})


def packed_of(content: RecordDict) -> Packed:
    """The message in some records.

    Raises:
        InvalidInput: They are none.
    """
    try:
        text = content.config_records[TEXT][TEXT]
        arrays = content.array_records[TENSORS]
        tensors = {key: torch.from_numpy(arrays[key].numpy().copy()) for key in arrays}
    except (KeyError, TypeError, ValueError) as error:
        requirement = "one with a text and tensors"
        raise InvalidInput("message", str(error), requirement) from error
    return Packed(str(text), tensors)


def refusal_of(reason: str) -> RecordDict:
    """The records of a node that says why it does not answer."""
    return RecordDict({REFUSAL: ConfigRecord({REFUSAL: " ".join(reason.split())})})


def why_refused(content: RecordDict) -> str | None:
    """What a node says why it does not answer; None if it answers."""
    found = content.config_records.get(REFUSAL)
    return None if found is None else str(found.get(REFUSAL, ""))
