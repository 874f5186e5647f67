"""The client of the Flower rounds; a module, so that its caches live as long as its worker."""

from __future__ import annotations

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from benchmarks.peers.workload import WORKLOADS, build, train

app = ClientApp()
torch.set_num_threads(1)


@app.train()
def one_client(message: Message, context: Context) -> Message:
    """Train from the parameters in the message."""
    workload = WORKLOADS[message.content["config"]["workload"]]
    model = build(workload)
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    train(model, workload, int(context.node_config["partition-id"]))
    content = RecordDict(
        {
            "arrays": ArrayRecord(model.state_dict()),
            "metrics": MetricRecord({"num-examples": workload.examples}),
        }
    )
    return Message(content=content, reply_to=message)
