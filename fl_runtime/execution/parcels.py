"""Objects with tensors for another process: tensors go through memory that both processes see.

A parcel is made once and can be sent to any number of processes. Small ones travel in the message;
of larger ones only the handle of an anonymous memory file does, which the receiver maps, so a model
is copied once however many read it. Such memory has no name and goes away with the last process
that has it open, however that ends.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fl_runtime.training.stacks import Row

ALIGNMENT = 64
"""Bytes, as PyTorch aligns what it allocates."""

INLINE = 2**16
"""Bytes up to which a parcel travels in the message: less than what a socket holds, so that nobody
waits for a reader."""

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Place:
    """Where a tensor is in the memory of its parcel.

    Attributes:
        start: First byte of its storage.
        size: Bytes of its storage.
        view: Type, shape, strides and offset of the tensor in its storage.
        on_gpu: Whether it is to be brought to the receiver's GPU.
    """

    start: int
    size: int
    view: tuple[torch.dtype, tuple[int, ...], tuple[int, ...], int]
    on_gpu: bool


class Parcel:
    """An object that has been packed.

    Args:
        content: What is to be sent: records, mappings, modules, tensors, whatever can be pickled.
        whole: Keep tensors that share memory together, as views of one tensor; otherwise each is
            copied alone, without what else is in its memory.
        known: Tensors that the receiver has already, which only their positions stand for.

    Raises:
        Exception: Whatever pickling raises for what cannot be pickled.
    """

    def __init__(self, content: Any, *, whole: bool = False, known: Sequence[Tensor] = ()) -> None:
        text = io.BytesIO()
        pickler = _Pickler(text, known, whole=whole)
        pickler.dump(content)
        self.text_start = pickler.size
        self.size = self.text_start + text.tell()
        parts = [*pickler.parts, (self.text_start, np.frombuffer(text.getbuffer(), np.uint8))]
        self.inline: bytearray | None = None
        self.file = -1
        if self.size <= INLINE:
            self.inline = bytearray(self.size)
            for start, part in parts:
                self.inline[start : start + part.nbytes] = part.data
        else:
            self.file = _anonymous_file(self.size)
            weakref.finalize(self, os.close, self.file)
            for start, part in parts:
                _write(self.file, start, part)


class Channel:
    """One end of a connection between two processes.

    Args:
        connection: Of the operating system's local sockets.
        device: Where tensors go that the sender has on a GPU.
    """

    def __init__(self, connection: Connection, device: torch.device = CPU) -> None:
        self.connection = connection
        self._device = device

    def send(self, word: str, parcel: Parcel) -> None:
        """Send a word that says what it is, and a parcel.

        Raises:
            OSError: The other process has ended.
        """
        self.connection.send((word, parcel.size, parcel.text_start, parcel.inline is None))
        if parcel.inline is not None:
            self.connection.send_bytes(parcel.inline)
        else:
            reduction.send_handle(self.connection, parcel.file, None)

    def receive(self) -> tuple[str, Received]:
        """The next word, and the parcel that came with it.

        Raises:
            EOFError, OSError: The other process has ended.
        """
        word, size, text_start, shared = self.connection.recv()
        if shared:
            memory = _mapped(reduction.recv_handle(self.connection), size)
        else:
            memory = torch.empty(size, dtype=torch.uint8)
            self.connection.recv_bytes_into(memory.numpy().data)
        return word, Received(memory, text_start, self._device)


@dataclass(frozen=True)
class Received:
    """A parcel at its receiver.

    Attributes:
        memory: Its bytes.
        text_start: The first one after those of tensors.
        device: Where tensors go that the sender has on a GPU.
    """

    memory: Tensor
    text_start: int
    device: torch.device

    def content(self, known: Sequence[Tensor] = ()) -> Any:
        """What was packed; its tensors are views of the memory.

        Args:
            known: What the sender's `known` stands for.

        Raises:
            Exception: Whatever loading it raises.
        """
        text = io.BytesIO(self.memory.numpy()[self.text_start :].tobytes())
        return _Unpickler(text, self.memory, known, self.device).load()


class _Pickler(pickle.Pickler):
    """Leaves tensors out, and says where they are to be."""

    def __init__(self, text: io.BytesIO, known: Sequence[Tensor], *, whole: bool) -> None:
        super().__init__(text, protocol=pickle.HIGHEST_PROTOCOL)
        self._known = {id(tensor): number for number, tensor in enumerate(known)}
        self._whole = whole
        self._starts: dict[int, int] = {}
        self._kept: list[Tensor] = []  # an identity means something as long as its owner lives
        self.parts: list[tuple[int, NDArray[np.uint8]]] = []
        self.size = 0

    def persistent_id(self, found: Any) -> int | Place | None:
        """A known tensor's number, or a tensor's place; None for all else."""
        if type(found) is not Tensor or found.layout is not torch.strided:
            return None
        number = self._known.get(id(found))
        return self._place(found.detach(), id(found)) if number is None else number

    def reducer_override(self, found: Any) -> Any:
        """A row travels without the other rows of its stack."""
        return (dict, (dict(found),)) if isinstance(found, Row) else NotImplemented

    def _place(self, tensor: Tensor, identity: int) -> Place:
        """Where a tensor goes."""
        if self._whole:
            storage = tensor.untyped_storage()
            base = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(storage)
            identity = storage.data_ptr()
        else:
            tensor = tensor.contiguous()
            base = tensor.reshape(-1).view(torch.uint8)
        start = self._starts.get(identity) if base.numel() else self.size
        if start is None:
            start = self._starts[identity] = self.size
            self.parts.append((start, base.cpu().numpy()))
            self.size += -(-base.numel() // ALIGNMENT) * ALIGNMENT
        self._kept.append(tensor)
        offset = int(tensor.storage_offset()) if self._whole else 0
        view = tensor.dtype, tuple(tensor.shape), tensor.stride(), offset
        return Place(start, base.numel(), view, tensor.is_cuda)


class _Unpickler(pickle.Unpickler):
    """Puts tensors back as views of the memory of a parcel."""

    def __init__(
        self, text: io.BytesIO, memory: Tensor, known: Sequence[Tensor], device: torch.device
    ) -> None:
        super().__init__(text)
        self._memory, self._known, self._device = memory, known, device
        self._bases: dict[tuple[int, bool], Tensor] = {}

    def persistent_load(self, found: int | Place) -> Tensor:
        """The tensor that a number or a place stands for."""
        if isinstance(found, int):
            return self._known[found]
        kind, shape, strides, offset = found.view
        if 0 in shape or not found.size:
            return torch.empty(shape, dtype=kind, device=self._device if found.on_gpu else CPU)
        key = found.start, found.on_gpu
        if key not in self._bases:
            base = self._memory[found.start : found.start + found.size]
            self._bases[key] = base.to(self._device) if found.on_gpu else base
        flat = self._bases[key][: found.size // kind.itemsize * kind.itemsize].view(kind)
        return flat.as_strided(shape, strides, flat.storage_offset() + offset)


def shared_tensors(models: Iterator[Sequence[Mapping[str, Tensor]]]) -> list[Tensor]:
    """Tensors that occur in more than one of several lots of models, each once."""
    seen: dict[int, tuple[Tensor, int]] = {}
    for lot in models:
        mine = {id(value): value for model in lot for value in model.values()}
        for identity, value in mine.items():
            seen[identity] = value, seen.get(identity, (value, 0))[1] + 1
    return [value for value, count in seen.values() if count > 1]


def _anonymous_file(size: int) -> int:
    """A file without a name, in memory where the system has such."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("fl_runtime")
    else:
        with tempfile.TemporaryFile() as made:
            file = os.dup(made.fileno())
    os.ftruncate(file, size)
    return file


def _write(file: int, start: int, part: NDArray[np.uint8]) -> None:
    """Write bytes at a place: quicker than through a mapping, whose pages are cleared first."""
    rest = part.data.cast("B")
    while rest:
        written = os.pwrite(file, rest, start)
        start, rest = start + written, rest[written:]


def _mapped(file: int, size: int) -> Tensor:
    """The bytes of a file; what is written to them stays with this process."""
    try:
        return torch.frombuffer(mmap.mmap(file, size, access=mmap.ACCESS_COPY), dtype=torch.uint8)
    finally:
        os.close(file)
