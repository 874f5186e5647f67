"""Modules that need Flower are not collected where it is not installed."""

from importlib.util import find_spec

NEED_FLOWER = ["records", "members", "executor", "federation", "server_app", "client_app"]

collect_ignore = [] if find_spec("flwr") else [f"{name}.py" for name in NEED_FLOWER]
