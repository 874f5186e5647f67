"""Modules that need Flower are not collected where it is not installed."""

from importlib.util import find_spec

NEED_FLOWER = [
    "client_app",
    "executor",
    "federation",
    "keys",
    "members",
    "records",
    "server_app",
    "warm_node",
]

collect_ignore = [] if find_spec("flwr") else [f"{name}.py" for name in NEED_FLOWER]
