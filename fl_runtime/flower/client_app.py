"""The ClientApp: a node tells about itself, and trains what it is sent.

Its configuration is that of its SuperNode (``--node-config``): `config`, the path of its copy of
the experiment; `clients`, whose examples it has, such as ``"0-3,7"``; `name`; and `largest`, the
bytes that a reply may have.

What goes wrong here is answered by a sentence, since Flower's own error codes give no reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fairopt.errors import InvalidInput
from fairopt.user_objects import said
from fl_runtime.flower.messages import LARGEST, Packed
from fl_runtime.flower.records import content_of, packed_of, refusal_of
from fl_runtime.flower.site import Site, numbers_of, site

app = ClientApp()


@app.query()
def introduce(message: Message, context: Context) -> Message:
    """Who is here, with which data, versions and configuration."""
    return _answered(message, context, lambda here, _: Packed.of(here.introduction().tree()))


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train all jobs of the message."""
    limit = int(context.node_config.get("largest", LARGEST))
    return _answered(message, context, lambda here, tree: _within(limit, here.train(tree)))


def _within(limit: int, reply: Packed) -> Packed:
    """The reply, if it is not larger than the node wants to send."""
    if reply.size > limit:
        requirement = f"at most {limit} bytes (largest of the node's configuration)"
        raise InvalidInput("reply", f"{reply.size} bytes", requirement)
    return reply


def _answered(message: Message, context: Context, work: Callable[[Site, Any], Packed]) -> Message:
    """The reply: what the work gives, or why there is nothing."""
    try:
        tree = packed_of(message.content).tree
        content = content_of(work(_site(context, tree), tree))
    except Exception as error:  # noqa: BLE001 (whatever it is, the server gets to know why)
        content = refusal_of(said(error))
    return Message(content, reply_to=message)


def _site(context: Context, tree: Any) -> Site:
    """This node in the arm and with the seed of the message."""
    config = context.node_config
    for key in ("config", "clients"):
        if key not in config:
            raise InvalidInput("node-config", sorted(config), f"one with {key}")
    return site(
        str(config["config"]),
        tree["arm"],
        int(tree["seed"]),
        numbers_of(str(config["clients"])),
        str(config.get("name", "")),
    )
