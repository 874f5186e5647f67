"""Command line: ``python -m fl_runtime.flower keys|link|register|node|run``.

A federation in five lines, each on the machine it is about::

    python -m fl_runtime.flower keys KEYS --host example.org --node site-1 --node site-2
    python -m fl_runtime.flower link --host 0.0.0.0 --keys KEYS --database link.db
    python -m fl_runtime.flower register --superlink example.org:8000 --keys KEYS site-1 site-2
    python -m fl_runtime.flower node CONFIG --superlink example.org:8000 --keys KEYS --name site-1
        --clients 0-3
    python -m fl_runtime.flower run CONFIG --superlink example.org:8000 --keys KEYS --out DIR

What is wrong ends with one line that says why, also where Flower's own log does not.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

from fairopt.errors import InvalidInput
from fairopt.extras import exit_without, extra

with exit_without("flower", "torch", "pydantic", "safetensors", "sklearn", "tomli_w"):
    import typer

    from fl_runtime.one_line_errors import one_line_errors

app = typer.Typer(
    help="Train with clients at other machines, which Flower connects.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

PORT = 8000

Superlink = Annotated[str, typer.Option(help="HOST:PORT of the SuperLink.")]
Keys = Annotated[Path | None, typer.Option(help="Folder of certificates and keys.")]
Insecure = Annotated[bool, typer.Option("--insecure", help="No TLS; on one machine only.")]
Home = Annotated[Path, typer.Option(help="Folder of Flower's own files.")]

HOME = Path("runs", "flower")


@app.command()
def keys(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder for all of them.")],
    host: Annotated[list[str], typer.Option(help="Name or address of the SuperLink.")],
    node: Annotated[list[str], typer.Option(help="Name of a node.")] = [],  # noqa: B006
) -> None:
    """Make certificates for the SuperLink, and a key for every node."""
    with one_line_errors():
        with extra("flower"):
            from fl_runtime.flower.keys import make_keys

        for path in make_keys(folder, host, node):
            typer.echo(path)


@app.command()
def link(
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at.")] = PORT,
    keys: Keys = None,
    insecure: Insecure = False,
    database: Annotated[Path | None, typer.Option(help="Where nodes and runs are kept.")] = None,
    home: Home = HOME,
) -> None:
    """Be the SuperLink, which every node connects to; the server's part of a run is its child."""
    with one_line_errors():
        from fl_runtime.flower.programs import Secured, environment, link_command

        command = link_command(host, port, database, Secured.of(keys, insecure, host))
        home.mkdir(parents=True, exist_ok=True)
        os.execve(command[0], command, environment(home.resolve()))


@app.command()
def register(
    nodes: Annotated[list[str], typer.Argument(help="Names of nodes with a key.")],
    superlink: Superlink,
    keys: Annotated[Path, typer.Option(help="Folder of certificates and keys.")],
) -> None:
    """Let nodes in; the SuperLink knows them by their public keys."""
    with one_line_errors():
        from fl_runtime.flower.programs import Secured

        with extra("flower"):
            from fl_runtime.flower.reached import registered

        secured = Secured.of(keys, False, superlink)
        for name in nodes:
            typer.echo(registered(superlink, secured, name))


@app.command()
def node(
    config: Annotated[Path, typer.Argument(help="The node's copy of the configuration.")],
    superlink: Superlink,
    clients: Annotated[str, typer.Option(help="Whose examples are here, such as 0-3,7.")],
    name: Annotated[str, typer.Option(help="What it is called, and its key.")],
    keys: Keys = None,
    insecure: Insecure = False,
    port: Annotated[int, typer.Option(help="A free port of this machine.")] = 8100,
    cold: Annotated[bool, typer.Option("--cold", help="A new program for every message.")] = False,
    largest: Annotated[int, typer.Option(help="Bytes that an answer may have.")] = 2**30,
    patience: Annotated[
        float, typer.Option(help="Seconds until its key has to be let in.")
    ] = 120.0,
    home: Home = HOME,
) -> None:
    """Be a node: train the clients whose examples are here, from one warm process."""
    with one_line_errors():
        from fl_runtime.configuration.toml_files import read_config
        from fl_runtime.flower.programs import Secured, environment, node_command
        from fl_runtime.flower.site import numbers_of
        from fl_runtime.shipped_experiments import file_of

        with extra("flower"):
            from fl_runtime.flower.reached import check_known, check_reached

        told: dict[str, str | int] = {
            "config": str(file_of(config).resolve()),
            "clients": clients,
            "name": name,
            "largest": largest,
        }
        secured, mine = Secured.of(keys, insecure, superlink), numbers_of(clients)
        known = read_config(config).clients.num_clients
        if max(mine) >= known:
            raise InvalidInput("--clients", clients, f"clients of the configuration, 0-{known - 1}")
        command = node_command(superlink, told, port, secured)
        check_reached(superlink, secured)
        check_known(superlink, secured, name, patience)
        surroundings = environment(home.resolve() / name)
        if cold:
            os.execve(command[0], command, surroundings)
        os.environ.update(surroundings)
        with extra("flower"):
            from fl_runtime.flower.warm_node import serve, warm

        warm(str(told["config"]), mine, name)
        serve(command[1:], port)


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="Configuration (TOML), as embedded runs take it.")],
    superlink: Superlink,
    out: Annotated[Path, typer.Option(help="Folder of the run; one that is there is resumed.")],
    keys: Keys = None,
    insecure: Insecure = False,
    gather: Annotated[float, typer.Option(help="Seconds until all clients are there.")] = 300.0,
    deadline: Annotated[
        float, typer.Option(help="Seconds for an answer; 0 for thrice the median.")
    ] = 0.0,
    largest: Annotated[int, typer.Option(help="Bytes that a message may have.")] = 2**30,
) -> None:
    """Hand a run to the SuperLink, and show what happens until it ends."""
    with one_line_errors():
        from fl_runtime.configuration.toml_files import read_config
        from fl_runtime.flower import programs
        from fl_runtime.shipped_experiments import file_of

        with extra("flower"):
            from fl_runtime.flower.reached import check_reached

        read_config(config)
        secured = programs.Secured.of(keys, insecure, superlink)
        check_reached(superlink, secured)
        settings: dict[str, str | int | float] = {
            "config": str(file_of(config).resolve()),
            "out": str(out.resolve()),
            "gather": gather,
            "deadline": deadline,
            "largest": largest,
        }
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder, "home")
            programs.write_connection(home, superlink, secured)
            command = programs.run_command(programs.write_app(Path(folder, "app")), settings)
            subprocess.run(command, env=programs.environment(home), check=False)
        _check_finished(out)


def _check_finished(out: Path) -> None:
    """The exit status is that of the run: Flower's is 0 for any that it has started.

    Raises:
        InvalidInput: It has not come to its end.
    """
    from fl_runtime.running.run_folder import CONFIG, RunFolder

    folder = RunFolder(out)
    if (out / CONFIG).exists() and folder.is_finished(folder.config()):
        return
    begun = "a run that has ended; the log above says why, the same command goes on with it"
    none = "a run that has begun; the log above says why it has not"
    raise InvalidInput("--out", str(out), begun if (out / CONFIG).exists() else none)


if __name__ == "__main__":
    app(prog_name="python -m fl_runtime.flower")
