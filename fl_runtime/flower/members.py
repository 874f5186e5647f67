"""The nodes of a federation as its server knows them: who is welcome, refused, there, or silent."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from flwr.app import Error, Message, MessageType
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fairopt.errors import InvalidInput, Unshown
from fl_runtime.flower.handshake import Introduction, why_refused
from fl_runtime.flower.messages import Packed
from fl_runtime.flower.records import content_of, packed_of
from fl_runtime.flower.records import why_refused as said_why

_log = logging.getLogger(__name__)

LOOKING = 5.0
"""Seconds between two looks for nodes that have come or gone."""

WAITING = 0.2
"""Seconds between two looks for introductions, while nothing else can be done."""

CODES: Mapping[int, str] = {
    ErrorCode.LOAD_CLIENT_APP_EXCEPTION: "its ClientApp cannot be loaded",
    ErrorCode.CLIENT_APP_RAISED_EXCEPTION: "its ClientApp failed",
    ErrorCode.MESSAGE_UNAVAILABLE: "the message is no longer there",
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE: "no reply came in the message's time",
    ErrorCode.NODE_UNAVAILABLE: "the node is lost",
    ErrorCode.INVALID_FAB: "it does not trust the app",
    ErrorCode.CLIENT_APP_CRASHED: "its ClientApp ended without a reply",
}
"""Flower's error codes in words."""


def words_of(error: Error) -> str:
    """An error reply in one line."""
    words = CODES.get(error.code, "an error")
    reason = " ".join((error.reason or "").split())
    return f"{words} (code {error.code}{': ' + reason if reason else ''})"


@dataclass
class Members:
    """Nodes by number.

    Attributes:
        grid: The connection to the SuperLink.
        num_clients: Of the federation.
        versions: Of the server.
        settings: Of the server.
        run: Arm and seed that introductions are about.
        patience: Seconds for which nobody may be there.
        welcome: What welcome nodes told.
        refused: Why others are given no work.
        online: Nodes that the SuperLink knows to be connected.
        silent: Nodes that did not answer in time, until something is heard from them.
    """

    grid: Grid
    num_clients: int
    versions: Mapping[str, str]
    settings: Mapping[str, str]
    run: tuple[str, int]
    patience: float = 300.0
    now: Callable[[], float] = time.monotonic
    welcome: dict[int, Introduction] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    online: set[int] = field(default_factory=set)
    silent: set[int] = field(default_factory=set)
    _asked: dict[str, int] = field(default_factory=dict)
    _later: dict[int, int] = field(default_factory=dict)
    _looked: float = -np.inf

    def gather(self, seconds: float) -> None:
        """Wait until every client is at a welcome node.

        Raises:
            InvalidInput: That time has passed; named are the clients and all nodes that were
                refused.
        """
        end = self.now() + seconds
        while missing := self._without_node():
            if self.now() >= end:
                raise InvalidInput("nodes", self._seen(), self._wanted(missing, seconds))
            self.look()
            time.sleep(WAITING)

    def look(self, *, often: bool = False) -> None:
        """See who is there, and ask those that are not known yet to introduce themselves."""
        if self.now() - self._looked >= (0.0 if often else LOOKING):
            self._looked = self.now()
            self.online = set(self.grid.get_node_ids())
            here = self.online - self.silent
            again = {node for node, other in self._later.items() if other not in here}
            known = self.welcome.keys() | (self.refused.keys() - again)
            self.ask((self.online - known) | (self.silent & self.online))
        self._hear()

    def ask(self, nodes: set[int]) -> None:
        """Ask nodes to introduce themselves, unless they are asked already."""
        arm, seed = self.run
        content = content_of(Packed.of({"arm": arm, "seed": seed}))
        for node in nodes - set(self._asked.values()):
            message = Message(content, node, MessageType.QUERY)
            for number in filter(None, self.grid.push_messages([message])):
                self._asked[number] = node

    def _hear(self) -> None:
        """Take the introductions that have come."""
        if not self._asked:
            return
        for reply in self.grid.pull_messages(list(self._asked)):
            node = self._asked.pop(reply.metadata.reply_to_message_id, None)
            if node is not None:
                self._take(node, reply)

    def _take(self, node: int, reply: Message) -> None:
        """Welcome or refuse a node by its introduction."""
        if reply.has_error():
            if reply.error.code == ErrorCode.NODE_UNAVAILABLE:
                return  # asked again when it is there again
            self._refuse(node, words_of(reply.error))
            return
        try:
            reason = said_why(reply.content)
            if reason is None:
                found = Introduction.from_tree(packed_of(reply.content).tree)
                reason = why_refused(found, self.versions, self.settings)
        except InvalidInput as error:
            reason = str(error)
        reason = reason or self._why_taken(node, found)
        if reason:
            self._refuse(node, reason)
            return
        self.welcome[node] = found
        self.refused.pop(node, None)
        self._later.pop(node, None)
        self.silent.discard(node)
        _log.info("%s is welcome, with %d clients", self.name(node), len(found.clients))

    def _why_taken(self, node: int, found: Introduction) -> str:
        """Why a node cannot have its clients: they do not exist, or are at another node."""
        for client in found.clients:
            if not 0 <= client < self.num_clients:
                return f"it has client {client}, of {self.num_clients} clients"
            other = self.node_of(client)
            if other is None or other == node:
                continue
            if other in self.online - self.silent:
                self._later[node] = other
                return f"client {client} is at {self.name(other)}"
            self.welcome.pop(other)  # lost; its clients have come back under another number
        return ""

    def _refuse(self, node: int, reason: str) -> None:
        """Note and say why a node is given no work."""
        self.refused[node] = reason
        self.welcome.pop(node, None)
        _log.warning("node %d is refused: %s", node, reason)

    def name(self, node: int) -> str:
        """What a node is called."""
        told = self.welcome.get(node)
        return told.name if told is not None and told.name else f"node {node}"

    def node_of(self, client: int) -> int | None:
        """The node that has a client."""
        for node, told in self.welcome.items():
            if client in told.clients:
                return node
        return None

    def present(self, seed: int, num_clients: int, now: float) -> NDArray[np.bool_]:
        """(num_clients,) bool, whose node is connected and answers; see `Availability`.

        Where there is nobody it waits, so that no rounds pass meanwhile.

        Raises:
            InvalidInput: Nobody has come for `patience` seconds.
        """
        end = self.now() + self.patience
        self.look()
        while not (mask := self._mask(num_clients)).any():
            if self.now() >= end:
                requirement = f"none has come within {self.patience:g} s; resume when there are"
                raise InvalidInput("nodes", Unshown.MISSING, requirement)
            time.sleep(WAITING)
            self.look()
        return mask

    def _mask(self, num_clients: int) -> NDArray[np.bool_]:
        """Whose node is connected and answers."""
        here = self.online - self.silent
        mask = np.zeros(num_clients, dtype=np.bool_)
        for node, told in self.welcome.items():
            mask[list(told.clients)] = node in here
        return mask

    def _without_node(self) -> list[int]:
        """Clients that are at no welcome node."""
        return [client for client in range(self.num_clients) if self.node_of(client) is None]

    def _seen(self) -> str:
        """All nodes, in words."""
        told = [f"{self.name(node)} welcome" for node in self.welcome]
        told += [f"node {node} refused: {reason}" for node, reason in self.refused.items()]
        told += [f"node {node} silent" for node in self._asked.values()]
        return "; ".join(told) or "none"

    def _wanted(self, missing: list[int], seconds: float) -> str:
        """What is missing, in words."""
        shown = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
        return f"one for every client within {seconds:g} s; clients without a node: {shown}"
