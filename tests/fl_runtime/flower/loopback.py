"""A whole federation on one machine: SuperLink, nodes and runs as processes of their own.

Every process is started in a session of its own and ended by its number, whatever happens; ports
are free ones. Tests use it, and by hand it measures a round, cold and warm:

    python -m tests.fl_runtime.flower.loopback
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Self

NODES = {"site-0": "0-1", "site-1": "2-3", "site-2": "4-5"}
"""Names and clients."""

FLOWER = (sys.executable, "-m", "fl_runtime.flower")

LONGEST = 120.0
"""Seconds after which anything here has gone wrong."""


@dataclass
class Loopback:
    """The processes of a federation.

    Attributes:
        folder: For keys, logs, the SuperLink's database and runs.
        secure: Whether there are TLS and keys.
        cold: Whether nodes start a new program for every message.
        port: Of the SuperLink; the next ones are those of the nodes.
    """

    folder: Path
    secure: bool = True
    cold: bool = False
    port: int = field(default_factory=lambda: free_ports(12))
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.secure and not self._keys.exists():
            names = [word for name in (*NODES, "stranger") for word in ("--node", name)]
            hosts = ("--host", "127.0.0.1", "--host", "localhost")
            subprocess.run(
                [*FLOWER, "keys", self._keys, *hosts, *names], check=True, stdout=subprocess.DEVNULL
            )
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            for process in self.processes.values():
                process.wait(3.0)
        for name in list(self.processes):
            self.kill(name)

    @property
    def address(self) -> str:
        """Of the SuperLink."""
        return f"127.0.0.1:{self.port}"

    @property
    def _keys(self) -> Path:
        return self.folder / "keys"

    @property
    def secured(self) -> list[str]:
        """Options of every command."""
        return ["--keys", str(self._keys)] if self.secure else ["--insecure"]

    def link(self) -> None:
        """Start the SuperLink, and wait until it listens."""
        kept = ("--database", str(self.folder / "link.db"), "--home", str(self.folder / "flower"))
        self.start("link", *FLOWER, "link", "--port", str(self.port), *self.secured, *kept)
        until(lambda: not is_free(self.port), "the SuperLink listens")

    def register(self, *names: str) -> None:
        """Let nodes in."""
        if self.secure:
            where = ("--superlink", self.address, "--keys", str(self._keys))
            subprocess.run([*FLOWER, "register", *where, *names], check=True, timeout=LONGEST)

    def node(
        self, name: str, clients: str, config: Path, *more: str, path: Path | None = None
    ) -> None:
        """Start a node.

        Args:
            name: Its name.
            clients: Whose examples it has.
            config: Its configuration.
            *more: Further options.
            path: Goes before the modules of Python.
        """
        ports = [p for p in range(self.port + 1, self.port + 12) if is_free(p)]
        words = [str(config), "--superlink", self.address, "--name", name, "--clients", clients]
        words += ["--port", str(ports[0]), "--home", str(self.folder / "flower"), *self.secured]
        cold = ["--cold"] if self.cold else []
        self.start(name, *FLOWER, "node", *words, *cold, *more, path=path)
        log = self.folder / f"{name}.log"
        until(
            lambda: b"SuperNode ID" in log.read_bytes() or self.processes[name].poll() is not None,
            f"{name} is there, or has ended",
        )

    def run(self, config: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
        """Begin a run, or go on with it."""
        where = ("--superlink", self.address, "--out", str(out))
        return self.start(
            f"run-{out.name}", *FLOWER, "run", str(config), *where, *self.secured, *more
        )

    def start(self, name: str, *command: str, path: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a process with a log of its own."""
        found = {"PYTHONPATH": os.pathsep.join([str(path), str(Path.cwd())])} if path else {}
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, **found, "OMP_NUM_THREADS": "1"},
            )
        return self.processes[name]

    def kill(self, name: str, how: signal.Signals = signal.SIGKILL) -> None:
        """End a process with its children, and wait for it."""
        process = self.processes[name]
        with suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        try:
            process.wait(10.0)
        except subprocess.TimeoutExpired:
            return
        if how == signal.SIGKILL:
            self.processes.pop(name)

    def server_process(self) -> int | None:
        """The process of the ServerApp: it talks to this SuperLink, whoever is its parent."""
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (folder / "cmdline").read_bytes()
                if b"flwr-serverapp" in words and self.address.encode() in words:
                    return int(folder.name)
        return None

    def log(self, name: str) -> str:
        """What a process has said."""
        return (self.folder / f"{name}.log").read_text(errors="replace")


def free_ports(count: int) -> int:
    """The first of that many ports in a row that are free."""
    for port in range(20000 + os.getpid() % 20000, 60000, count):
        if all(is_free(port + k) for k in range(count)):
            return port
    raise RuntimeError("no free ports")


def is_free(port: int) -> bool:
    """Whether nothing listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def until(holds: Callable[[], bool], what: str, seconds: float = LONGEST) -> None:
    """Wait for something."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.1)


def rows(out: Path, event: str = "round") -> list[dict[str, Any]]:
    """Rows of a run so far."""
    try:
        lines = (out / "history.jsonl").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [row for row in map(json.loads, lines) if row["event"] == event]


@contextmanager
def started(
    folder: Path, config: Path, names: Sequence[str] = tuple(NODES), **how: bool
) -> Iterator[Loopback]:
    """A federation whose SuperLink and nodes run."""
    with Loopback(folder, **how) as here:
        here.link()
        here.register(*NODES)
        for name in names:
            here.node(name, NODES[name], config)
        yield here


CONFIG = """
[run]
algorithm = "fed-fair-mmfl"
seeds = [0]
num-server-rounds = {rounds}
[[task]]
name = "wine"
data = "wine"
model = "mlp"
hidden = [8]
[[task]]
name = "iris"
data = "iris"
model = "linear"
[clients]
num-clients = 6
fraction-train = 1.0
delay = {{ model = "exponential" }}
"""


def measure(*, cold: bool, secure: bool, rounds: int) -> str:
    """Seconds and bytes of a round, as a row of a table."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "experiment.toml"
        config.write_text(CONFIG.format(rounds=rounds))
        began = time.monotonic()
        with started(folder, config, cold=cold, secure=secure) as here:
            ready = time.monotonic() - began
            out = folder / "out"
            here.run(config, out).wait(LONGEST * 4)
            whole = time.monotonic() - began - ready
        spent = [json.loads(line)["seconds"] for line in (out / "timing.jsonl").open()]
        seen = rows(out)
    sent, back = (median(row[f"bytes-{way}"] for row in seen) for way in ("sent", "received"))
    kind = f"{'cold' if cold else 'warm'}, {'TLS' if secure else 'no TLS'}"
    return (
        f"| {kind} | {ready:.0f} | {whole:.0f} | {median(spent):.1f} "
        f"({min(spent):.1f}-{max(spent):.1f}) | {sent:.0f} | {back:.0f} |"
    )


if __name__ == "__main__":
    print("| nodes | start s | whole run s | round s (range) | bytes out | bytes back |")  # noqa: T201
    print("|---|---|---|---|---|---|")  # noqa: T201
    for cold in (False, True):
        print(measure(cold=cold, secure=True, rounds=3 if cold else 6), flush=True)  # noqa: T201
