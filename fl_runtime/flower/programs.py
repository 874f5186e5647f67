"""Flower's programs as this library starts them: command lines, environment, and the app's bundle.

Telemetry and checks for updates are off, apps install nothing at run time, and connections without
TLS are refused except between processes of one machine.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import tomli_w

from fairopt.errors import InvalidInput, Unshown
from fl_runtime.flower.handshake import versions_here

QUIET: Mapping[str, str] = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Environment of all of Flower's programs; the interval is that between two looks for work."""

DEFAULTS: Mapping[str, str | int | float] = {
    "config": "",
    "out": "",
    "gather": 300.0,
    "deadline": 0.0,
    "largest": 2**30,
}
"""Keys of a run configuration, which Flower wants to know; see `server_app.Settings`."""

CONNECTION = "federation"
"""What the connection to the SuperLink is called in Flower's own configuration."""

CA, CERTIFICATE, KEY = "ca.pem", "server.pem", "server.key"
"""Files of `keys` that secure connections; nodes have NAME.key and NAME.pub."""


@dataclass(frozen=True)
class Secured:
    """How connections are secured.

    Attributes:
        keys: Folder of what ``python -m fl_runtime.flower keys`` makes; None for no TLS.
    """

    keys: Path | None

    @classmethod
    def of(cls, keys: Path | None, insecure: bool, address: str) -> Secured:
        """With these keys, or without any on one machine.

        Raises:
            InvalidInput: Neither or both, a file is missing, or the address is another machine's.
        """
        if (keys is not None) == insecure:
            given = "both" if insecure else "neither"
            raise InvalidInput("--keys and --insecure", given, "one of them")
        if insecure and not is_loopback(address):
            requirement = "a loopback address with --insecure; other machines need --keys"
            raise InvalidInput("address", address, requirement)
        if keys is not None and not (keys / CA).is_file():
            raise InvalidInput("--keys", str(keys), f"a folder with {CA}")
        return cls(None if keys is None else keys.resolve())

    def client(self) -> list[str]:
        """Options of a program that connects."""
        return ["--insecure"] if self.keys is None else ["--root-certificates", str(self.keys / CA)]

    def server(self) -> list[str]:
        """Options of the SuperLink: with keys, only registered nodes are let in."""
        if self.keys is None:
            return ["--insecure"]
        files = {"--ssl-ca-certfile": CA, "--ssl-certfile": CERTIFICATE, "--ssl-keyfile": KEY}
        found = [word for option, name in files.items() for word in (option, str(self.keys / name))]
        return [*found, "--enable-supernode-auth"]


def is_loopback(address: str) -> bool:
    """Whether HOST or HOST:PORT is this machine for sure.

    Example:
        >>> [is_loopback(a) for a in ("127.0.0.1:9000", "[::1]:9", "localhost", "10.0.0.1:9", "")]
        [True, True, True, False, False]
    """
    host = address.rpartition(":")[0] if address.count(":") == 1 or "]" in address else address
    host = host.strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def program(name: str) -> str:
    """One of Flower's programs beside this Python.

    Raises:
        InvalidInput: The extra is not installed.
    """
    check_installed()
    return str(Path(sys.executable).with_name(name))


def check_installed() -> None:
    """Refuse to go on without Flower.

    Raises:
        InvalidInput: The extra is not installed.
    """
    if find_spec("flwr") is None:
        raise InvalidInput("flwr", Unshown.MISSING, "pip install 'fairopt[flower]'")


def environment(home: Path) -> dict[str, str]:
    """The environment of Flower's programs.

    Args:
        home: A folder of their own, for their settings and installed apps.
    """
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, **QUIET, "FLWR_HOME": str(home), "PATH": beside}


def link_command(host: str, port: int, database: Path | None, secured: Secured) -> list[str]:
    """The SuperLink."""
    kept = [] if database is None else ["--database", str(database)]
    return [
        program("flower-superlink"),
        *("--host", host, "--port", str(port)),
        "--disable-runtime-dependency-installation",
        *kept,
        *secured.server(),
    ]


def node_command(
    superlink: str, config: Mapping[str, str | int], port: int, secured: Secured
) -> list[str]:
    """A SuperNode.

    Args:
        superlink: HOST:PORT.
        config: Of the node (`client_app`); with keys, its name is that of its key.
        port: On which its own ClientApps reach it.
        secured: How it connects.
    """
    said = " ".join(f"{k}={v}" if isinstance(v, int) else f'{k}="{v}"' for k, v in config.items())
    key = [] if secured.keys is None else _key_of(secured.keys, str(config.get("name", "")))
    return [
        program("flower-supernode"),
        *("--superlink", superlink, "--host", "127.0.0.1", "--port", str(port)),
        *("--node-config", said),
        *secured.client(),
        *key,
    ]


def _key_of(keys: Path, name: str) -> list[str]:
    """The option for a node's key."""
    file = keys / f"{name}.key"
    if not file.is_file():
        raise InvalidInput("--name", name, f"that of a node with a key: {file} is missing")
    return ["--auth-supernode-private-key", str(file)]


def run_command(app: Path, settings: Mapping[str, str | int | float]) -> list[str]:
    """Hand the app to the SuperLink."""
    said = " ".join(f'{k}="{v}"' if isinstance(v, str) else f"{k}={v}" for k, v in settings.items())
    return [program("flwr"), "run", str(app), CONNECTION, "--stream", "--run-config", said]


def register_command(public: Path, name: str) -> list[str]:
    """Let a node in."""
    return [program("flwr"), "supernode", "register", str(public), CONNECTION, "--name", name]


def write_connection(home: Path, superlink: str, secured: Secured) -> None:
    """Flower's own configuration, with the connection to the SuperLink."""
    how: dict[str, str | bool] = {"address": superlink}
    if secured.keys is None:
        how["insecure"] = True
    else:
        how["root-certificates"] = str(secured.keys / CA)
    home.mkdir(parents=True, exist_ok=True)
    text = tomli_w.dumps({"superlink": {"default": CONNECTION, CONNECTION: how}})
    (home / "config.toml").write_text(text, encoding="utf-8")


def write_app(folder: Path) -> Path:
    """The app that Flower sends to nodes: two lines, since all machines have this library."""
    package = folder / "fairopt_app"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text('"""The app of a federation."""\n', encoding="utf-8")
    for component in ("server", "client"):
        lines = f"from fl_runtime.flower import {component}_app\n\napp = {component}_app.app\n"
        (package / f"{component}.py").write_text(lines, encoding="utf-8")
    about = {
        "project": {
            "name": "fairopt-app",
            "version": versions_here()["fairopt"].partition(".dev")[0],
            "description": "Several models at once, trained fairly.",
            "license": "Apache-2.0",
            "dependencies": [],
        },
        "tool": {
            "flwr": {
                "app": {
                    "publisher": "fairopt",
                    "components": {
                        "serverapp": "fairopt_app.server:app",
                        "clientapp": "fairopt_app.client:app",
                    },
                    "config": dict(DEFAULTS),
                }
            }
        },
    }
    (folder / "pyproject.toml").write_text(tomli_w.dumps(about), encoding="utf-8")
    return folder
