"""Memory and time of what FedHCA2's server does in a round, by the number of clients.

Every decoder attends to every other: K x K weights for each tensor of each layer, and the server
keeps what it last sent to every client. Here K clients of one task each, with updates of normal
numbers, of a model of `--width`: an encoder, a decoder of two layers and a head, as in
`experiments/fed-hca2-clients.toml`. No client trains. Beside it, in turn in one process, the mean
of the same updates (federated averaging). Time is that of the processor, the median over rounds
after the first; memory is what the process has at its peak above what it had with the updates.

    python benchmarks/attention_cost.py [--clients 30 300 1000] [--rounds 3] [--json]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from fl_runtime.algorithms import FedAvg, FedHCA2  # noqa: E402
from fl_runtime.configuration.toml_files import check_config  # noqa: E402
from fl_runtime.running.build import assemble  # noqa: E402
from fl_runtime.training.federation import Federation  # noqa: E402
from fl_runtime.training.job import Update  # noqa: E402

KIB = 1024


def federation(clients: int, width: int) -> Federation:
    """Clients with a few digits each."""
    tree = {
        "run": {"algorithm": "fed-hca2", "num_server_rounds": 1},
        "task": [
            {
                "name": name,
                "data": name,
                "model": "patches",
                "hidden": [width, width, width],
            }
            for name in ("digits-joint", "digits-joint-parity")
        ],
        "clients": {
            "num_clients": clients,
            "task_sets": [["digits-joint"], ["digits-joint-parity"]],
        },
        "algorithm": {"shared_layers": ["encoder"]},
    }
    return assemble(check_config(tree), seed=0).federation


def updates_of(fed: Federation, seed: int) -> list[Update]:
    """One per client."""
    generator = torch.Generator().manual_seed(seed)
    return [
        Update(
            fed.tasks[client % 2].name,
            client,
            0,
            {
                key: 0.01 * torch.randn(value.shape, generator=generator)
                for key, value in fed.tasks[client % 2].initial.items()
            },
            10,
        )
        for client in range(fed.num_clients)
    ]


def peak() -> int:
    """Bytes that the process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB


def measured(clients: int, width: int, rounds: int) -> dict[str, float]:
    """Seconds per round of both, MiB of FedHCA2, and what its state holds."""
    fed = federation(clients, width)
    hca, avg = FedHCA2(shared_layers=("encoder",)), FedAvg()
    mine, theirs = hca.init(fed, 0), avg.init(fed, 0)
    brought = [updates_of(fed, number) for number in range(rounds + 1)]
    before, seconds = peak(), ([], [])  # type: tuple[int, tuple[list[float], list[float]]]
    for some in brought:
        start = time.process_time()
        theirs = avg.aggregate(theirs, some)
        middle = time.process_time()
        mine = hca.aggregate(mine, some)  # type: ignore[assignment]
        seconds[0].append(middle - start)
        seconds[1].append(time.process_time() - middle)
    entries = sum(value.numel() for value in fed.tasks[0].initial.values())
    return {
        "clients": clients,
        "entries": entries,
        "fed_avg": statistics.median(seconds[0][1:]),
        "fed_hca2": statistics.median(seconds[1][1:]),
        "mib": (peak() - before) / KIB**2,
        "mib_of_models": 4 * entries * clients / KIB**2,
    }


def main() -> None:
    """Every number of clients in a process of its own, so that each has its own peak."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, nargs="+", default=[30, 300, 1000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.one:
        print(json.dumps(measured(asked.clients[0], asked.width, asked.rounds)))
        return
    shared = ["--one", "--rounds", str(asked.rounds), "--width", str(asked.width)]
    found = []
    for count in asked.clients:
        command = [sys.executable, __file__, *shared, "--clients", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout))
    if asked.json:
        print(json.dumps(found))
        return
    print("clients  entries  mean, s  FedHCA2, s  ratio  MiB  MiB of all models")
    for one in found:
        ratio = one["fed_hca2"] / one["fed_avg"]
        print(
            f"{one['clients']:7.0f}  {one['entries']:7.0f}  {one['fed_avg']:7.3f}"
            f"  {one['fed_hca2']:10.3f}  {ratio:5.1f}  {one['mib']:3.0f}"
            f"  {one['mib_of_models']:17.0f}"
        )


if __name__ == "__main__":
    main()
