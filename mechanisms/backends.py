"""Where processes come from: this machine, or a Dask or Ray cluster at an address."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fairopt.errors import InvalidInput
from fairopt.extras import extra

SECONDS = 10.0
"""In which a cluster must answer."""

LOCAL = ("fork", "loky")
PACKAGES = {"dask": "distributed", "ray": "ray"}
"""What must be installed for a cluster; the extras have the names of the clusters."""
FORM = "dask://HOST:PORT or ray://HOST:PORT"


@dataclass(frozen=True)
class Backend:
    """A kind of processes.

    Attributes:
        kind: `fork`, `loky`, `dask` or `ray`.
        host: Of the cluster.
        port: Of the cluster.
    """

    kind: str
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        """As it is given on the command line."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.kind}://{host}:{self.port}" if self.host else self.kind

    @property
    def is_cluster(self) -> bool:
        """Whether its processes may be on other machines."""
        return self.kind in PACKAGES


def checked_backend(backend: Any, local: tuple[str, ...] = LOCAL) -> Backend | None:
    """A backend by its name or address; None for None.

    Args:
        backend: `fork` or `loky` for processes of this machine, or the address of a cluster.
        local: Names that may be used.

    Raises:
        InvalidInput: It is none of them.
        MissingExtra: Its package is not installed.

    Example:
        >>> checked_backend("loky"), str(checked_backend("loky"))
        (Backend(kind='loky', host='', port=0), 'loky')
    """
    if backend is None or backend in local:
        return backend and Backend(backend)
    requirement = f"{', '.join(local)}, {FORM}"
    try:
        parts = urlsplit(backend)
        found = Backend(parts.scheme, parts.hostname or "", parts.port or 0)
    except (ValueError, AttributeError, TypeError) as error:
        raise InvalidInput("backend", backend, requirement) from error
    plain = not (parts.path or parts.query or parts.fragment or parts.username)
    if not (found.is_cluster and found.host and found.port and plain):
        raise InvalidInput("backend", backend, requirement)
    with extra(found.kind, PACKAGES[found.kind]):
        return found


@contextmanager
def dask_client(backend: Backend) -> Iterator[Any]:
    """A client of a Dask cluster, the current one meanwhile.

    Raises:
        InvalidInput: Nothing answers there, or something else.
    """
    _check_answers(backend)
    from distributed import Client

    address = f"tcp://{str(backend).partition('://')[2]}"
    try:
        client = Client(address, timeout=SECONDS)
    except (OSError, TimeoutError, ValueError) as error:
        raise _silent(backend, error) from error
    with client:
        yield client


@contextmanager
def ray_cluster(backend: Backend) -> Iterator[Any]:
    """The module `ray`, connected to a cluster.

    Raises:
        InvalidInput: Nothing answers there, something else, or other versions of Python or Ray.
    """
    _check_answers(backend)
    import grpc
    import ray

    try:
        with grpc.insecure_channel(str(backend).partition("://")[2]) as channel:
            grpc.channel_ready_future(channel).result(timeout=SECONDS)
        ray.init(str(backend), log_to_driver=False, logging_level="error")
    except (grpc.FutureTimeoutError, ConnectionError, RuntimeError) as error:
        raise _silent(backend, error) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_answers(backend: Backend) -> None:
    """Refuse an address at which nothing listens, before a library waits for it."""
    try:
        socket.create_connection((backend.host, backend.port), timeout=SECONDS).close()
    except OSError as error:
        raise _silent(backend, error) from error


def _silent(backend: Backend, error: Exception) -> InvalidInput:
    """The error about a cluster that does not answer as one."""
    reason = " ".join(str(error).split()) or f"not within {SECONDS:g} seconds"
    return InvalidInput("backend", str(backend), f"a cluster that answers ({reason})")
