"""FedRAM in the loop: its stages, its limits, absence, stops, and what it refuses."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fairopt import InvalidInput
from fl_runtime.algorithms import FedRAM
from fl_runtime.algorithms.client_models import ClientModels
from fl_runtime.algorithms.fed_ram_jobs import StagedJobs
from fl_runtime.algorithms.fed_ram_state import FedRAMState, losses_of
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.running.build import Parts, assemble
from fl_runtime.running.experiment import run
from fl_runtime.running.loop import one_round
from fl_runtime.training.job import Update
from tests.fl_runtime.kills import assert_resumes
from tests.fl_runtime.rounds import looped, started

STAGES = {"reference_rounds": 1, "proxy_rounds": 2}


def config(rounds: int = 5, clients: dict[str, Any] | None = None, **algorithm: Any) -> Config:
    """Two tasks of unlike shape on six clients, half of them active."""
    name = algorithm.pop("name", "fed-ram")
    return check_config(
        {
            "run": {"algorithm": name, "num_server_rounds": rounds},
            "task": [
                {"name": "wine", "data": "wine", "model": "mlp", "hidden": [8]},
                {"name": "iris", "data": "iris", "model": "linear", "learning_rate": 0.1},
            ],
            "clients": {"num_clients": 6, "fraction_train": 0.5, **(clients or {})},
            "algorithm": algorithm,
        }
    )


def after(settings: Config, rounds: int) -> tuple[Parts, FedRAMState]:
    """The server's state after some rounds."""
    parts = assemble(settings, 0)
    state = looped(parts, rounds).state
    assert isinstance(state, FedRAMState)
    return parts, state


def rounds_of(settings: Config) -> list[dict[str, Any]]:
    """Rows of the rounds."""
    return [dict(row) for row in run(settings).rows if row["event"] == "round"]


def models_equal(one: Any, two: Any) -> bool:
    """Whether two states have the same models."""
    return all(torch.equal(one[t][k], two[t][k]) for t in one for k in one[t])


def assert_agree(mine: dict[str, Any], other: dict[str, Any]) -> None:
    """Every figure of the other row but for the clock and names."""
    for key in other.keys() - {"server_round", "virtual_time", "arm"}:
        assert mine[key] == (
            pytest.approx(other[key], rel=1e-5) if isinstance(other[key], float) else other[key]
        ), key


def test_each_stage_changes_its_own_models() -> None:
    settings = config(**STAGES)
    _, first = after(settings, 0)
    _, referenced = after(settings, 1)
    assert models_equal(referenced.models, first.models)
    assert {k: len(v) for k, v in referenced.references.heads.items()} == {
        "wine.proxy": 6,
        "iris.proxy": 6,
    }
    _, proxied = after(settings, 3)
    assert models_equal(proxied.agents, first.agents)
    assert not models_equal(proxied.proxies, first.proxies)
    assert proxied.references == ClientModels()
    assert np.ptp(proxied.client_weights) > 0.0
    _, last = after(settings, 5)
    assert not models_equal(last.agents, first.agents)
    assert models_equal(last.proxies, proxied.proxies)
    assert last.task_weights == proxied.task_weights
    assert [row["stage"] for row in rounds_of(settings)] == [1, 2, 2, 3, 3]


def test_rates_of_zero_are_fed_avg_with_the_plain_mean_after_the_stages() -> None:
    ours = rounds_of(config(6, **STAGES, task_rate=0.0, client_rate=0.0))[3:]
    theirs = rounds_of(config(3, name="fed-avg", aggregation="plain"))
    for mine, other in zip(ours, theirs, strict=True):
        assert_agree(mine, other)


def test_without_stages_and_with_a_pull_it_is_fed_prox() -> None:
    ours = rounds_of(config(3, reference_rounds=0, proxy_rounds=0, mu=0.5))
    theirs = rounds_of(config(3, name="fed-prox", mu=0.5, aggregation="plain"))
    for mine, other in zip(ours, theirs, strict=True):
        assert_agree(mine, other)


def test_without_an_agent_the_proxies_are_what_is_reported() -> None:
    """The same proxies as before an agent; the rows are about them."""
    parts, alone = after(config(**STAGES, agent=False), 5)
    _, stage = after(config(reference_rounds=1, proxy_rounds=4), 5)
    assert models_equal(alone.proxies, stage.proxies)
    assert [row["stage"] for row in rounds_of(config(**STAGES, agent=False))] == [1, 2, 2, 2, 2]
    for task in parts.federation.tasks:
        proxy = alone.proxies[f"{task.name}.proxy"]
        assert models_equal({"it": alone.agents[task.name]}, {"it": proxy})
        assert [tuple(v.shape) for v in task.initial.values()] == [
            tuple(v.shape) for v in proxy.values()
        ]


@pytest.mark.filterwarnings("ignore:arm .* trains no model that is reported")
def test_without_an_agent_rows_begin_at_the_untrained_proxy() -> None:
    first = rounds_of(config(1, **STAGES, agent=False))[0]
    parts, state = after(config(1, **STAGES), 0)
    for task in parts.federation.companions:
        seen = task.evaluate(state.models[task.name], task.test)
        assert first[f"{task.name.removesuffix('.proxy')}/eval_loss"] == seen.loss


def test_one_trunk_stays_one() -> None:
    tree = config(5, **STAGES, task_rate=0.5, share_trunk=True).model_dump()
    tree["task"] = [{**tree["task"][0], "name": name} for name in ("wine", "iris")]
    _, state = after(check_config(tree), 5)
    for models in (state.agents, state.proxies):
        one, two = models.values()
        assert torch.equal(one["1.weight"], two["1.weight"])
        assert not torch.equal(one["3.weight"], two["3.weight"])


@pytest.mark.parametrize("dropout", [0.0, 0.3, 0.5])
@pytest.mark.parametrize("absent", ["frozen", "renormalise"])
def test_weights_stay_positive_and_sum_to_one(dropout: float, absent: str) -> None:
    _, state = after(
        config(clients={"dropout": dropout}, reference_rounds=1, proxy_rounds=5, absent=absent), 6
    )
    assert np.sum(state.task_weights, axis=1) == pytest.approx(np.ones(6))
    assert np.min(state.task_weights) > 0.0
    assert np.sum(state.client_weights) == pytest.approx(1.0)
    assert np.min(state.client_weights) > 0.0


def test_who_does_not_answer_keeps_task_and_client_weights() -> None:
    parts, state = after(config(reference_rounds=1, proxy_rounds=3, task_rate=1.0), 1)
    sent, jobs = parts.algorithm.dispatch(state, parts.federation, 0.0)
    parts.executor.submit(jobs)
    silent = jobs[0].client
    answers = [u for u in parts.executor.poll() if u.client != silent]
    answers = [replace(u, payload=state.models[u.task]) for u in answers]
    later = parts.algorithm.aggregate(sent, answers)
    assert isinstance(later, FedRAMState)
    there = {u.client for u in answers}
    for client in range(6):
        kept = later.task_weights[client] == state.task_weights[client]
        assert kept == (client not in there)
        if client not in there:
            assert later.client_weights[client] == state.client_weights[client]


def test_a_proposal_is_computed_from_the_models_that_were_sent() -> None:
    """The task weights of the formula as written, from losses measured here."""
    parts, state = after(config(reference_rounds=1, proxy_rounds=3, task_rate=1.0), 2)
    sent, jobs = parts.algorithm.dispatch(state, parts.federation, 0.0)
    assert isinstance(sent, FedRAMState)
    small, client = parts.federation.companions, jobs[0].client
    held = np.ones(2, dtype=np.bool_)
    own = {task.name: state.reference(task.name, client) for task in small}
    gap = losses_of(small, state.models, client, held) - losses_of(small, own, client, held)
    old = np.array(state.task_weights[client])
    raised = old * np.exp(np.maximum(gap, 0.0))
    expected = 0.01 * old + 0.99 * raised / raised.sum()
    assert sent.proposed[str(client)] == pytest.approx(expected)
    masked = [float(job.config["weights"][0]) for job in jobs if job.client == client]
    assert masked == pytest.approx(np.where(gap > 0, 2 * expected, 0.0), rel=1e-5)


def test_the_sign_of_the_client_rate_turns_the_order_round() -> None:
    one, two = (
        after(config(reference_rounds=1, proxy_rounds=1, client_rate=rate), 2)[1].client_weights
        for rate in (0.1, -0.1)
    )
    assert (np.array(one) - 1 / 6) @ (np.array(two) - 1 / 6) < 0.0


def test_resampled_jobs_have_the_counts_of_the_weights() -> None:
    parts, state = after(config(reference_rounds=1, proxy_rounds=2, task_rate=1.0), 3)
    wine, iris = (len(task.shards[0]) for task in parts.federation.tasks)
    state = replace(state, task_weights=[[0.25, 0.75]] * 6)
    jobs = StagedJobs(state, parts.federation, 0.0).agents(np.array([0]), {})
    counts = [len(job.config["examples"]) for job in jobs]
    assert sum(counts) == wine + iris
    assert counts[1] == pytest.approx(0.75 * (wine + iris), abs=1)
    few, many = (job.config["examples"].tolist() for job in jobs)
    assert len(set(few)) == len(few)  # fewer than there are: without repeats
    assert len(set(many)) < len(many)


def test_a_client_draws_as_many_examples_as_it_holds() -> None:
    """Those of a task that it lacks do not count, nor does that task's weight."""
    parts, state = after(config(reference_rounds=1, proxy_rounds=2, task_rate=1.0), 3)
    state = replace(state, task_weights=[[0.25, 0.75]] * 6)
    eligible = parts.federation.eligible.copy()
    eligible[0, 1] = False
    staged = StagedJobs(state, replace(parts.federation, eligible=eligible), 0.0)
    wine, iris = (len(task.shards[0]) for task in parts.federation.tasks)
    assert staged.counts(0).tolist() == [wine, 0]
    eligible[0] = [False, True]
    staged = StagedJobs(state, replace(parts.federation, eligible=eligible), 0.0)
    assert staged.counts(0).tolist() == [0, iris]


def test_every_round_and_client_draws_its_own_examples() -> None:
    parts, state = after(config(reference_rounds=1, proxy_rounds=2, task_rate=1.0), 3)
    state = replace(state, task_weights=[[0.25, 0.75]] * 6)

    def drawn(rounds: int, client: int) -> list[list[int]]:
        later = replace(state, server_round=state.server_round + rounds)
        jobs = StagedJobs(later, parts.federation, 0.0).agents(np.array([client]), {})
        return [job.config["examples"].tolist() for job in jobs]

    assert drawn(0, 0) == drawn(0, 0)
    assert drawn(0, 0) != drawn(1, 0) != drawn(2, 0)
    assert drawn(0, 0) != drawn(0, 1)


def test_updates_of_zero_leave_models_and_client_weights() -> None:
    parts, state = after(config(**STAGES), 1)
    sent, jobs = parts.algorithm.dispatch(state, parts.federation, 0.0)
    nothing = [
        Update(
            task=job.task,
            client=job.client,
            version=job.version,
            delta={key: torch.zeros_like(value) for key, value in job.payload.items()},
            num_examples=9,
            metrics={"start_loss": 1.0, "end_loss": 1.0, "reference_loss": 0.5},
        )
        for job in jobs
    ]
    later = parts.algorithm.aggregate(sent, nothing)
    assert isinstance(later, FedRAMState)
    assert models_equal(later.models, state.models)
    assert later.client_weights == pytest.approx(state.client_weights)


def test_a_client_without_a_task_gets_no_job_for_it_and_without_any_none() -> None:
    parts = assemble(config(clients={"fraction_train": 1.0}, **STAGES), 0)
    eligible = np.ones((6, 2), dtype=np.bool_)
    eligible[0, 1] = eligible[1, 0] = eligible[1, 1] = False
    parts = replace(parts, federation=replace(parts.federation, eligible=eligible))
    current, evaluator = started(parts)
    for stage in range(5):
        _, jobs = parts.algorithm.dispatch(current.state, parts.federation, 0.0)
        given = {(job.client, job.task.removesuffix(".proxy")) for job in jobs}
        assert (0, "wine") in given, stage
        assert (0, "iris") not in given, stage
        assert 1 not in {client for client, _ in given}
        current, _, _ = one_round(parts, current, evaluator)
    assert isinstance(current.state, FedRAMState)
    assert np.sum(current.state.task_weights, axis=1) == pytest.approx(np.ones(6))


def test_one_client_and_one_task() -> None:
    tree = config(4, clients={"num_clients": 1, "fraction_train": 1.0}, **STAGES).model_dump()
    tree["task"] = tree["task"][:1]
    _, state = after(check_config(tree), 4)
    assert state.task_weights == [pytest.approx([1.0])]
    assert state.client_weights == pytest.approx([1.0])


@pytest.mark.filterwarnings("ignore:arm .* trains no model that is reported")
def test_rates_that_are_found_keep_a_tenth_of_every_weight() -> None:
    settings = config(
        1 + 6, reference_rounds=1, proxy_rounds=6, task_rate="auto", client_rate="auto"
    )
    _, state = after(settings, 7)
    _, first = after(settings, 1)
    assert set(state.rates) == {"task_rate", "client_rate"}
    assert np.min(state.task_weights) >= 0.1 * np.min(first.task_weights)
    assert np.min(state.client_weights) >= 0.1 / 6
    assert state.task_weights != first.task_weights
    rows = rounds_of(settings)
    assert "task_rate" not in rows[0]
    assert rows[1]["task_rate"] == rows[-1]["task_rate"] == state.rates["task_rate"] > 0.0


def test_a_proxy_may_be_of_another_family() -> None:
    """A convolution beside a fully connected agent, and the keys that refuse what does not fit."""
    tree = config(3, reference_rounds=1, proxy_rounds=1).model_dump()
    tree["task"] = [{"name": "digit", "data": "digits", "model": "mlp", "hidden": [4]}]
    tree["clients"] |= {"num_clients": 2, "batch_size": 512}
    tree["algorithm"] |= {"proxy_model": "cnn", "proxy_hidden": []}
    parts = assemble(check_config(tree), 0)
    (small,) = parts.federation.companions
    assert any(value.ndim == 4 for value in small.initial.values())
    tree["algorithm"]["proxy_model"] = "lineaar"
    with pytest.raises(InvalidInput, match=r"algorithm\.proxy-model.*did you mean linear"):
        assemble(check_config(tree), 0)
    tree["algorithm"] |= {"proxy_model": "linear", "proxy_hidden": [4]}
    with pytest.raises(InvalidInput, match=r"algorithm\.proxy-hidden.*absent"):
        assemble(check_config(tree), 0)


def test_rounds_of_small_models_take_their_share_of_time() -> None:
    rows = rounds_of(config(4, {"fraction_train": 1.0}, **STAGES, proxy_delay=0.25))
    assert [row["virtual_time"] for row in rows] == [0.5, 1.0, 1.5, 3.5]
    plain = rounds_of(config(4, {"fraction_train": 1.0}, **STAGES))
    assert [row["virtual_time"] for row in plain] == [2.0, 4.0, 6.0, 8.0]


@pytest.mark.filterwarnings("ignore:arm .* trains no model that is reported")
def test_few_clients_have_a_figure_each() -> None:
    last = rounds_of(config(**STAGES))[-1]
    weights = [last[f"client_weight/{client}"] for client in range(6)]
    assert (min(weights), max(weights)) == (last["min_client_weight"], last["max_client_weight"])
    many = rounds_of(config(1, {"num_clients": 21}, **STAGES))[-1]
    assert "client_weight/0" not in many


@pytest.mark.parametrize("executor", ["sequential", "stacked"])
@pytest.mark.parametrize("events", [1, 2, 3, 4, 5])
def test_a_stop_in_any_stage_resumes_to_the_same_bytes(
    events: int, executor: str, tmp_path: Path
) -> None:
    settings = config(5, clients={"dropout": 0.3}, **STAGES)
    settings = settings.model_copy(
        update={"run": settings.run.model_copy(update={"executor": executor})}
    )
    assert_resumes(settings, tmp_path, after=events + 1)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("reference_rounds", -1),
        ("proxy_rounds", -1),
        ("proxy_hidden", (0,)),
        ("task_rate", -0.1),
        ("task_rate", np.inf),
        ("client_rate", np.nan),
        ("client_rate", "fast"),
        ("task_rate", "fast"),
        ("proxy_delay", 0.0),
        ("smoothing", 1.5),
        ("aggregation", "importance"),
        ("tasks_per_client", "one"),
        ("mu", -1.0),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match=key):
        FedRAM(**{key: value})


def test_a_trunk_of_unlike_shapes_and_a_rate_too_large_are_refused() -> None:
    with pytest.raises(InvalidInput, match="model"):
        run(config(share_trunk=True))
    with pytest.raises(InvalidInput, match=r"client-rate.*weights vanish"):
        run(config(**STAGES, client_rate=1e9))


def test_without_a_reference_of_its_own_a_client_has_no_excess_loss() -> None:
    parts, state = after(config(reference_rounds=1, proxy_rounds=3, task_rate=1.0), 1)
    sent, _ = parts.algorithm.dispatch(
        replace(state, references=ClientModels()), parts.federation, 0.0
    )
    assert isinstance(sent, FedRAMState)
    for client, row in sent.proposed.items():
        assert row == pytest.approx(state.task_weights[int(client)])


def test_losses_that_explode_end_the_run_with_a_bound_of_the_rate() -> None:
    tree = config(5, **STAGES).model_dump()
    tree["task"][0].update(learning_rate=1e6, weight_decay=1e6)
    with pytest.raises(InvalidInput, match=r"client-rate = 0\.1.*at most .*e-"):
        run(check_config(tree))


def test_a_ruined_proxy_is_noticed_like_a_ruined_model() -> None:
    parts, state = after(config(**STAGES), 1)
    _, evaluator = started(parts)
    bad = {k: torch.full_like(v, torch.inf) for k, v in state.models["wine.proxy"].items()}
    worse = replace(state, models={**state.models, "wine.proxy": bad})
    assert evaluator.ruined(worse, parts.federation.eligible) == {"wine.proxy"}
