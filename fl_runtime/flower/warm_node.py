"""A SuperNode whose ClientApps are forked from a process that has loaded everything.

Flower starts a new program for every message, which loads PyTorch anew and builds the tasks anew:
seconds for milliseconds of training. Here one process loads both once, and forks a ClientApp for
every message; so each message still has a process of its own, which ends with it. All that is sent
is sent by Flower's own code. Two of its habits are changed in this process alone: it waits less
between two looks for messages, and it asks this module for ClientApps.

An opt-in, since it reaches into Flower 1.42 beyond what that promises to keep; with ``--cold`` the
plain ``flower-supernode`` is started instead.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, NoReturn

import torch
from flwr.supercore.constant import TaskType
from flwr.supercore.superexec import run_superexec as superexec
from flwr.supercore.superexec.executor import ExecutionSpec, LaunchResult
from flwr.supernode import start_client_internal as supernode
from flwr.supernode.cli.flower_supernode import flower_supernode
from flwr.supernode.runtime.run_clientapp import run_clientapp

from fl_runtime.configuration.toml_files import arm_configs, read_config
from fl_runtime.flower import client_app
from fl_runtime.flower.site import KEPT, site

QUICK = 0.1
"""Seconds between two looks for messages; Flower's are 3, and 0.5 for answers."""


def serve(arguments: Sequence[str], port: int) -> None:
    """Be a SuperNode until a signal ends it.

    Args:
        arguments: Of ``flower-supernode``.
        port: On which its ClientApps reach it.
    """
    torch.set_num_threads(1)  # a process with threads of its own cannot be forked
    child = os.fork()
    if child == 0:
        _be_supernode([*arguments, "--isolation", "process"])

    def ended(*_: object) -> None:
        if os.waitpid(child, os.WNOHANG)[0]:
            os._exit(1)  # its log says why

    signal.signal(signal.SIGCHLD, ended)
    try:
        vars(superexec)["get_executor"] = lambda *_, **__: Forks()
        superexec.run_superexec(runtime_api_address=f"127.0.0.1:{port}", insecure=True)
    finally:
        _end(child)


def _be_supernode(arguments: Sequence[str]) -> None:
    """The process that talks to the SuperLink; it ends when its parent does."""
    parent = os.getppid()

    def sleep(seconds: float) -> None:
        if os.getppid() != parent:
            os._exit(1)
        time.sleep(min(seconds, QUICK))

    vars(supernode)["time"] = SimpleNamespace(sleep=sleep)
    sys.argv = ["flower-supernode", *arguments]
    _end_after(flower_supernode)


class Forks:
    """Starts ClientApps as forks of this process; Flower's `Executor`."""

    def __init__(self) -> None:
        """None yet."""
        self._started: list[int] = []

    def get_eligible_capacity(
        self, supported_task_types: set[TaskType], **_: Any
    ) -> tuple[set[TaskType], set[str]]:
        """ClientApps alone."""
        return supported_task_types & {TaskType.CLIENT_APP}, set()

    def wait_for_capacity(self, *_: Any, **__: Any) -> None:
        """There is always room."""

    def launch(self, spec: ExecutionSpec) -> LaunchResult:
        """Fork a ClientApp."""
        parent, child = os.getpid(), os.fork()
        if child == 0:
            _end_after(
                lambda: run_clientapp(
                    spec.runtime_api_address, spec.token, insecure=True, parent_pid=parent
                )
            )
        self._started.append(child)
        return LaunchResult.accepted()

    def reconcile(self) -> None:
        """Collect ClientApps that have ended."""
        for process in self._started.copy():
            if os.waitpid(process, os.WNOHANG)[0]:
                self._started.remove(process)

    def close(self) -> None:
        """Forks end by themselves."""


def warm(path: str, clients: Sequence[int], name: str) -> None:
    """Build the tasks that forks will need: of the first arms and seeds, on a CPU.

    A process that has used a GPU cannot be forked; there every ClientApp builds its own.

    Raises:
        InvalidInput: The configuration does not hold here.
    """
    assert client_app.app is not None  # loaded, so that forks need not
    config = read_config(path)
    if config.run.device != "cpu":
        return
    runs = [(arm, seed) for seed in config.run.seeds for arm in arm_configs(config)]
    for arm, seed in runs[:KEPT]:
        site(path, arm, seed, tuple(clients), name)


def _end_after(work: Callable[[], object]) -> NoReturn:
    """Do the work of a fork, and end without what its parent does at its own end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        work()
    except SystemExit as end:
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)
    except BaseException:  # noqa: BLE001 (a fork has nobody to raise to)
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def _end(process: int) -> None:
    """End the SuperNode."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(process, signal.SIGTERM)
        os.waitpid(process, 0)
