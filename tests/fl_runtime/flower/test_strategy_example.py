"""The strategy for an app of Flower's own: its messages, its steps, and replies that are none."""

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("flwr")
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity

sys.path.insert(0, str(Path(__file__).parents[3] / "examples"))
import flower_strategy as example

NODES = (11, 12, 13, 14)


class Nodes:
    """A grid that knows its nodes only."""

    def get_node_ids(self):
        return list(NODES)


@pytest.fixture
def strategy(monkeypatch):
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)

    def make(**options):
        return example.FairTasks(("a", "b"), np.random.default_rng(0), **options)

    return make


def models():
    W = np.arange(6.0).reshape(2, 3)
    return ArrayRecord({"a/W": Array(W), "b/W": Array(10.0 * W), "b/c": Array(np.ones(1))})


def answer(message, update, **metrics):
    """The reply of a client that adds numbers to what it was sent."""
    arrays = message.content["arrays"]
    new = example.filled(arrays, example.flat(arrays) + update)
    said = MetricRecord({"loss": 1.0, "num-examples": 1, **metrics})
    content = RecordDict({"arrays": ArrayRecord(new), "metrics": said})
    reply = Message(content=content, reply_to=message)
    reply.metadata._src_node_id = message.metadata.dst_node_id
    return reply


def round_of(strategy, number=1):
    sent = strategy.configure_train(number, models(), ConfigRecord(), Nodes())
    return {message.metadata.dst_node_id: message for message in sent}


def test_every_client_gets_one_task_and_its_arrays(strategy):
    for node, message in round_of(strategy()).items():
        task = message.content["config"]["task"]
        names = {"a": ["W"], "b": ["W", "c"]}[task]
        assert node in NODES
        assert list(message.content["arrays"]) == names
        like = models()[f"{task}/W"].numpy()
        np.testing.assert_array_equal(message.content["arrays"]["W"].numpy(), like)


@pytest.mark.parametrize(("losses", "only"), [([1.0, 2.0], "b"), ([2.0, 1.0], "a")])
def test_the_worst_task_has_all_clients_at_alpha_infinity(strategy, losses, only):
    mine = strategy(alpha=np.inf)
    mine.losses[:] = losses
    tasks = {message.content["config"]["task"] for message in round_of(mine).values()}
    assert tasks == {only}


@pytest.mark.parametrize("weigh", [example.fair, example.averse])
def test_the_step_is_the_direction_of_the_weights_at_the_length_of_the_mean(strategy, weigh):
    mine = strategy(alpha=np.inf, weigh=weigh)
    mine.losses[:] = [2.0, 1.0]
    rng = np.random.default_rng(1)
    updates = {node: rng.normal(size=6) + 0.5 for node in NODES}
    replies = [answer(m, updates[node]) for node, m in round_of(mine).items()]
    arrays, metrics = mine.aggregate_train(1, replies)
    G = np.stack([updates[node] for node in NODES])
    step = arrays["a/W"].numpy().ravel() - models()["a/W"].numpy().ravel()
    direction = weigh(G @ G.T).weights @ G
    assert np.linalg.norm(step) == pytest.approx(np.linalg.norm(G.mean(axis=0)))
    np.testing.assert_allclose(step / np.linalg.norm(step), direction / np.linalg.norm(direction))
    assert metrics["a"] == 1.0
    np.testing.assert_array_equal(arrays["b/W"].numpy(), models()["b/W"].numpy())


@pytest.mark.parametrize("update", [np.nan, np.inf])
def test_a_reply_that_is_not_finite_is_left_out(strategy, update):
    mine = strategy(alpha=np.inf)
    mine.losses[:] = [2.0, 1.0]
    sent = round_of(mine)
    good = {node: np.full(6, 1.0 + node) for node in NODES[1:]}
    replies = [answer(sent[node], good.get(node, update)) for node in NODES]
    found, _ = mine.aggregate_train(1, replies)
    expected, _ = mine.aggregate_train(1, replies[1:])
    np.testing.assert_array_equal(found["a/W"].numpy(), expected["a/W"].numpy())


def test_replies_of_another_shape_or_without_a_loss_are_left_out(strategy):
    sent = models()
    mine = example.part(sent, "a")
    good = RecordDict({"arrays": mine, "metrics": MetricRecord({"loss": 0.5})})
    assert example.why_not(good, mine, "arrays") == ""
    wrong = ArrayRecord({"W": Array(np.ones((3, 3)))})
    for arrays, loss, word in (
        (wrong, 0.5, "shape"),
        (example.part(sent, "b"), 0.5, "its arrays"),
        (mine, np.nan, "loss"),
        (mine, -1.0, "loss"),
    ):
        reply = RecordDict({"arrays": arrays, "metrics": MetricRecord({"loss": loss})})
        assert word in example.why_not(reply, mine, "arrays")
    assert "its arrays are []" in example.why_not(RecordDict(), mine, "arrays")


def test_opposed_clients_leave_the_model_where_the_mean_leaves_it(strategy):
    mine = strategy(alpha=np.inf)
    mine.losses[:] = [2.0, 1.0]
    signs = dict(zip(NODES, (1.0, -1.0, 1.0, -1.0), strict=True))
    replies = [answer(m, signs[node]) for node, m in round_of(mine).items()]
    arrays, _ = mine.aggregate_train(1, replies)
    np.testing.assert_allclose(arrays["a/W"].numpy(), models()["a/W"].numpy(), atol=1e-12)


def test_the_app_is_written_with_its_components(tmp_path):
    example.main(tmp_path / "app")
    text = (tmp_path / "app/pyproject.toml").read_text()
    assert 'serverapp = "flower_strategy:server_app"' in text
    assert (tmp_path / "app/flower_strategy.py").is_file()
