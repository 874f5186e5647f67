"""Why a SuperLink cannot be reached, in one line: Flower's programs try again and do not say."""

from __future__ import annotations

import socket
import ssl
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from fairopt.errors import InvalidInput
from fl_runtime.flower.programs import (
    CA,
    Secured,
    environment,
    register_command,
    write_connection,
)

PATIENCE = 10.0
"""Seconds for a connection."""

AGAIN = 3.0
"""Seconds between two tries of a key."""

HEARTBEAT = 30.0
"""Seconds between two signs of life that a node promises; here it leaves at once."""


def check_reached(superlink: str, secured: Secured) -> None:
    """Connect once, as Flower will.

    Args:
        superlink: HOST:PORT.
        secured: How to connect.

    Raises:
        InvalidInput: Nothing listens, or TLS fails.
    """
    host, _, port = superlink.rpartition(":")
    if not host or not port.isdigit():
        raise InvalidInput("--superlink", superlink, "HOST:PORT")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), PATIENCE) as plain:
            _check_tls(plain, host.strip("[]"), superlink, secured)
    except OSError as error:
        requirement = f"the address of a SuperLink that runs ({error.strerror or error})"
        raise InvalidInput("--superlink", superlink, requirement) from error


def _check_tls(plain: socket.socket, host: str, superlink: str, secured: Secured) -> None:
    """The SuperLink's certificate is signed by the authority, for this host."""
    if secured.keys is None:
        return
    context = ssl.create_default_context(cafile=str(secured.keys / CA))
    try:
        with context.wrap_socket(plain, server_hostname=host):
            return
    except ssl.SSLCertVerificationError as error:
        requirement = f"one whose certificate {secured.keys / CA} vouches for"
        reason = error.verify_message
        raise InvalidInput("--superlink", superlink, f"{requirement} ({reason})") from error
    except ssl.SSLError as error:
        requirement = f"a SuperLink with TLS ({error.reason or error})"
        raise InvalidInput("--superlink", superlink, requirement) from error


def check_known(superlink: str, secured: Secured, name: str, patience: float) -> None:
    """Try a node's key, where there are keys.

    The SuperLink gives one answer to a key that it does not know and to one whose node is connected
    or was moments ago: a node that was killed can only come back when its loss has been noticed.

    Args:
        superlink: HOST:PORT.
        secured: How to connect.
        name: Of the node.
        patience: Seconds in which it is tried again.

    Raises:
        InvalidInput: The SuperLink does not let the node in.
    """
    if secured.keys is None:
        return
    end = time.monotonic() + patience
    while (said := _refusal(superlink, secured.keys, name)) is not None:
        if time.monotonic() >= end:
            requirement = (
                "one whose key the SuperLink knows (python -m fl_runtime.flower register), "
                f"and that is not connected already ({said})"
            )
            raise InvalidInput("--name", name, requirement)
        time.sleep(AGAIN)


def _refusal(superlink: str, keys: Path, name: str) -> str | None:
    """What the SuperLink says to a node that comes and goes; None if it lets it in."""
    import httpx
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization.ssh import load_ssh_private_key
    from flwr.proto.fleet_pb2 import ActivateNodeRequest, DeactivateNodeRequest
    from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
    from flwr.supercore.primitives.asymmetric import public_key_to_bytes
    from flwr.supernode.fleet_http_client import FleetHttpClient
    from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

    key = load_ssh_private_key((keys / f"{name}.key").read_bytes(), None)
    if not isinstance(key, EllipticCurvePrivateKey):
        raise InvalidInput("--name", name, "that of a node with a key on an elliptic curve")
    proofs: list[Any] = [
        RuntimeVersionHttpInterceptor(component_name="SuperNode"),
        NodeAuthHttpInterceptor(key, key.public_key()),
    ]
    authority, public = (keys / CA).read_bytes(), public_key_to_bytes(key.public_key())
    try:
        with FleetHttpClient.from_server_address(superlink, False, authority, proofs) as client:
            wish = ActivateNodeRequest(public_key=public, heartbeat_interval=HEARTBEAT)
            found = client.ActivateNode(wish)
            client.DeactivateNode(DeactivateNodeRequest(node_id=found.node_id))
    except httpx.HTTPError as error:
        return error.response.text if isinstance(error, httpx.HTTPStatusError) else str(error)
    return None


def registered(superlink: str, secured: Secured, name: str) -> str:
    """Register a node, and what Flower says about it.

    Raises:
        InvalidInput: It has no key here, or Flower refuses it.
    """
    assert secured.keys is not None
    public = secured.keys / f"{name}.pub"
    if not public.is_file():
        raise InvalidInput("NODES", name, f"the name of a node with a key: {public} is missing")
    check_reached(superlink, secured)
    with tempfile.TemporaryDirectory() as folder:
        write_connection(Path(folder), superlink, secured)
        done = subprocess.run(
            register_command(public, name),
            env=environment(Path(folder)),
            capture_output=True,
            text=True,
            check=False,
        )
    said = " ".join((done.stdout + done.stderr).split())
    if done.returncode:
        raise InvalidInput("NODES", name, f"one that Flower registers ({said})")
    return f"{name} is registered"
