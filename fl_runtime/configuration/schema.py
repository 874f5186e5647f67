"""What a run is: the records behind a configuration file, each key with its meaning.

Keys are kebab-case in files (snake_case is accepted) and snake_case here. An unknown key is an
error that names the nearest known one. Reading files, overrides and arms is in `toml_files`.
"""

from __future__ import annotations

import itertools
import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    model_validator,
)
from pydantic_core import PydanticCustomError

from fairopt.errors import InvalidInput, Unshown
from fl_runtime.extensions import Entry
from fl_runtime.training.scores import ACC, default_metric, metric_name
from fl_runtime.validation_errors import kebab

LARGEST_STEP = 1e6
"""Of step sizes and penalties; beyond it float32 overflows whatever the data."""

LARGEST_COUNT = 2**31
"""Of examples, clients and rounds: what 32-bit indices hold."""

LARGEST_WIDTH = 2**16
"""Of a hidden layer; wider ones are typing errors on the machines this is made for."""

LARGEST_THREADS = 256
"""More intra-op threads than that crash PyTorch rather than help."""

LARGEST_OVER_SELECTION = 100.0
"""Selecting more clients than that per answer is a typing error."""

EXECUTOR_NAMES = ("auto", "sequential", "stacked", "dense")
"""Of `execution.registry`, and the rule that chooses one."""

SHARE_SLACK = 1e-6
"""0.33 + 0.33 + 0.34 is 1 to whoever wrote it; thirds are written with six digits."""

Item = TypeVar("Item")
Listed = Annotated[tuple[Item, ...], Strict(strict=False)]
"""A list of the file, whose items are checked strictly."""

Name = Annotated[str, Field(min_length=1)]

LONGEST_LABEL = 60
"""Characters of a name in tables and pictures."""

Label = Annotated[
    str, Field(min_length=1, max_length=LONGEST_LABEL, pattern=r"^[^\x00-\x1f\x7f]+$")
]
"""What tables and pictures show: printable, of readable length."""


def _is_entry(value: object) -> Entry:
    """A name, or a table with one."""
    if value == "":
        raise PydanticCustomError("entry", "not empty")
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        return value if len(value) > 1 else str(value["name"])
    if isinstance(value, str):
        return value
    raise PydanticCustomError("entry", "a name, package.module:object, or a table with a name")


Choice = Annotated[Any, AfterValidator(_is_entry)]
"""One of several, see `fl_runtime.extensions`."""


def _table_of(word: str) -> BeforeValidator:
    """A table that spells its ``name`` as another word; a name alone is one without fields."""

    def table(value: object) -> object:
        if isinstance(value, str):
            return {word: value}
        if isinstance(value, dict) and word not in value and "name" in value:
            fields = {key: found for key, found in value.items() if key != "name"}
            return {word: value["name"], **fields}
        return value

    return BeforeValidator(table)


def _is_executor(value: object) -> object:
    """The name of an executor, or a table of them."""
    names = value.values() if isinstance(value, dict) and value else [value]
    if all(name in EXECUTOR_NAMES for name in names if isinstance(name, str)) and all(
        isinstance(name, str) for name in names
    ):
        return value
    known = "', '".join(EXECUTOR_NAMES[:-1])
    requirement = f"'{known}' or '{EXECUTOR_NAMES[-1]}', or a table of them by task"
    raise PydanticCustomError("executor", requirement)


def _is_device(value: str) -> str:
    """The processor, or a GPU with or without its number."""
    if re.fullmatch(r"cpu|cuda(:(0|[1-9][0-9]{0,2}))?", value):
        return value
    raise PydanticCustomError("device", "'cpu' or 'cuda', or a GPU by its number such as 'cuda:1'")


Device = Annotated[str, AfterValidator(_is_device)]
"""Where models train."""

Executors = Annotated[Any, AfterValidator(_is_executor)]
"""How local training is run: one way, or one for every task."""

Model = Annotated[dict[str, Any], _table_of("model")]
Law = Annotated[dict[str, Any], _table_of("distribution")]

Count = Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
End = Finite | Literal["initial", "reference"]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Step = Annotated[float, Field(gt=0.0, le=LARGEST_STEP)]
Fraction = Annotated[float, Field(gt=0.0, le=1.0)]
Factor = Annotated[float, Field(gt=0.0, le=LARGEST_STEP)]
HeldOut = Annotated[float, Field(gt=0.0, lt=0.5)]


class Section(BaseModel):
    """A table of the file: frozen, strict about unknown keys and about types."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, alias_generator=kebab, populate_by_name=True
    )


class EarlyStopTable(Section):
    """``[run] early-stop``: when a run ends early.

    Attributes:
        metric: A figure of the held-out sets, see
            `fl_runtime.metrics.round_metrics.held_out_names`.
        patience: Rounds without an improvement after which the run ends.
        mode: Whether larger values are better; by default as the metric has it.
        min_delta: An improvement counts from this size on.
    """

    metric: Name = "min_task_acc"
    patience: Count
    mode: Literal["max", "min"] | None = None
    min_delta: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0


class RunSection(Section):
    """``[run]``: what is run and for how long.

    Attributes:
        title: What the run is about, for pages made from several runs.
        algorithm: Name of the algorithm, or ``package.module:object``; as a table with its fields
            it fills ``[algorithm]``.
        seeds: One run per seed; all arms share the seeds, which makes comparisons paired.
        num_server_rounds: Rounds, or None to go by `time_limit`.
        time_limit: Virtual time after which no new round starts.
        device: Where models train: `cpu`, `cuda`, or a GPU by its number, ``cuda:1``.
        executor: How local training is run, or a table with a way for each task; `auto`, also for
            tasks that it does not name, follows a fixed rule and is recorded resolved.
        threads: Intra-op threads of PyTorch; one is fastest for small models.
        workers: Processes that train clients (or stacks of them) side by side, to the same bytes
            however many; 1 trains in the run's own process.
        clients_per_stack: Most clients that are trained as one stack; as many as fit in memory and
            cache if None. Smaller stacks give several workers something to do at once.
        evaluate_every: Test sets are evaluated in the first round, every so many rounds, and in the
            last; validation sets likewise where nothing reads them (`running.evaluation_plan`).
        report_rounds: The summary averages each metric over this many last rounds.
        early_stop: End a run whose `metric` has not improved for `patience` rounds.
        stop_at_targets: A task that reaches its target is finished, and a run with it when
            all are.
        checkpoint_every: Rounds between checkpoints; after a kill the rounds since the last one are
            done again. Where an aggregation is quicker than a checkpoint, rarer ones save time.
        shard_cache: Bytes of shards that stay in memory, of data that are loaded client by client.
        client_metrics: Rows also hold the figures of `client_metrics`.
        callbacks: Functions of an `Event` that are called after each row.
        keep_models: Which trained models a run leaves: the last and the best by validation score of
            every task, the last alone, or none (then a finished run cannot be extended).
        extended_from: Numbers of rounds that the run had before it was extended, in order; written
            into a run's own copy.
    """

    title: str = ""
    algorithm: Name
    seeds: Annotated[Listed[Annotated[int, Field(ge=0, lt=2**63)]], Field(min_length=1)] = (0,)
    num_server_rounds: Count | None = None
    time_limit: Positive | None = None
    device: Device = "cpu"
    executor: Executors = "auto"
    threads: Annotated[int, Field(ge=1, le=LARGEST_THREADS)] = 1
    workers: Annotated[int, Field(ge=1, le=LARGEST_THREADS)] = 1
    clients_per_stack: Annotated[int, Field(ge=2, le=LARGEST_COUNT)] | None = None
    evaluate_every: Count = 1
    report_rounds: Count = 1
    early_stop: EarlyStopTable | None = None
    stop_at_targets: bool = False
    checkpoint_every: Count = 1
    shard_cache: Annotated[int, Field(ge=0)] | None = None
    client_metrics: bool = False
    callbacks: Listed[Choice] = ()
    keep_models: Literal["last+best", "last", "none"] = "last+best"
    extended_from: Listed[Count] = ()

    @model_validator(mode="after")
    def _ends(self) -> RunSection:
        """A run needs an end and different seeds."""
        if self.num_server_rounds is None and self.time_limit is None:
            raise InvalidInput("num_server_rounds", Unshown.MISSING, "a run needs it or time-limit")
        if len(set(self.seeds)) < len(self.seeds):
            raise InvalidInput("seeds", list(self.seeds), "seeds that differ")
        return self


class TaskSection(Section):
    """``[[task]]``: one model to train.

    Attributes:
        name: Unique name, used in metric names.
        data: Data set, see `fl_runtime.data.registry.load_dataset`.
        model: Model family, see `fl_runtime.training.models.build_model`.
        hidden: Widths of hidden layers.
        optimizer: Local optimiser: `sgd`, `adamw`, or ``package.module:object``.
        learning_rate: Its step size.
        momentum: Heavy-ball momentum of `sgd`.
        nesterov: Nesterov's form of the momentum.
        weight_decay: L2 penalty of `sgd`, decoupled decay of `adamw`.
        persist_optimizer: Clients keep the optimiser's state from job to job.
        schedule: How the step size changes, see `fl_runtime.training.schedules`.
        clip_gradient: Greatest length of a step's gradient.
        precision: `bfloat16` for mixed precision in local training.
        trainer: The user's own local training, see `fl_runtime.training.trainers`.
        loss: What is trained on, see `fl_runtime.training.losses.loss_of`; cross-entropy of labels
            by default.
        metrics: What is measured, see `fl_runtime.training.scores.metric_of`; the first one is the
            task's score. Accuracy by default.
        range: Worst and best score, which tasks are compared by: numbers, `initial` for that of the
            initial model on validation data, or `reference`. By default those of the metric, if it
            has such.
        reference: Score of a model that was trained for this task alone: a number, or
            ``"FOLDER#ARM"`` for that of a finished run, see `fl_runtime.running.references`.
        reference_score: What such a name stands for; written into a run's own copy.
        target: Test score whose first round the summary reports.
        target_accuracy: The same for a task that is scored by accuracy.
        validation_fraction: Share of the examples that feeds decisions.
        test_fraction: Share of the examples that is only reported.
        split: `official` for the parts that the data are marked with; `per-client` to cut what
            every client has made by the two fractions; otherwise all is pooled and cut by them.
        trainable: A regular expression: only entries of the model in whose names it is found are
            trained, sent, averaged and kept. All of them by default.
        weight_by: What an update weighs: its `examples`, or the `counts` of its targets.
        initial: A safetensors file with the numbers that the model begins with, such as a model
            that another run has left; drawn by the seed without one.
        initial_partial: The file has some of the model's entries only; the others are drawn.
    """

    name: Label
    data: Choice
    model: Choice
    hidden: Listed[Annotated[int, Field(ge=1, le=LARGEST_WIDTH)]] = ()
    optimizer: Choice = "sgd"
    learning_rate: Step = 0.05
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0.0, le=LARGEST_STEP)] = 0.0
    persist_optimizer: bool = False
    schedule: Choice | None = None
    clip_gradient: Positive | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    trainer: Choice | None = None
    loss: Choice | None = None
    metrics: Annotated[Listed[Choice], Field(min_length=1)] | None = None
    range: Annotated[Listed[End], Field(min_length=2, max_length=2)] | None = None
    reference: Finite | Name | None = None
    reference_score: Finite | None = None
    target: Finite | None = None
    target_accuracy: Fraction | None = None
    validation_fraction: HeldOut = 0.2
    test_fraction: HeldOut = 0.2
    split: Literal["pooled", "official", "per-client"] | None = None
    trainable: Name | None = None
    weight_by: Literal["examples", "counts"] | None = None
    initial: Name | None = None
    initial_partial: bool = False

    @model_validator(mode="after")
    def _begins(self) -> TaskSection:
        """Part of nothing is nothing."""
        if self.initial_partial and self.initial is None:
            raise InvalidInput("initial_partial", True, "false without initial")
        return self

    @model_validator(mode="after")
    def _fits(self) -> TaskSection:
        """One target, of the kind of the score."""
        if self.target_accuracy is not None and self.target is not None:
            raise InvalidInput("target", self.target, "absent beside target-accuracy")
        if self.target_accuracy is not None and self.metric_names[0] != ACC:
            requirement = f"absent for a task that is scored by {self.metric_names[0]}: use target"
            raise InvalidInput("target_accuracy", self.target_accuracy, requirement)
        return self

    @property
    def standard(self) -> float | None:
        """The reference as a number, where it is known."""
        return self.reference_score if isinstance(self.reference, str) else self.reference

    @property
    def goal(self) -> float | None:
        """The target, by either key."""
        return self.target_accuracy if self.target is None else self.target

    @property
    def measured(self) -> tuple[str | dict[str, Any], ...]:
        """The metrics that are named, or that of the loss."""
        return (default_metric(self.loss),) if self.metrics is None else self.metrics

    @property
    def metric_names(self) -> tuple[str, ...]:
        """What metrics are called in the history; the first one is the score."""
        return tuple(map(metric_name, self.measured))


class SpeedsTable(Section):
    """``[clients] speeds``: classes of fast and slow clients, dealt out by the seed.

    Attributes:
        shares: Share of the clients in each class; they add up to 1.
        factors: What multiplies the delays of each class.
    """

    shares: Annotated[Listed[Fraction], Field(min_length=1)]
    factors: Annotated[Listed[Factor], Field(min_length=1)]

    @model_validator(mode="after")
    def _fits(self) -> SpeedsTable:
        """One factor per share, and shares of a whole."""
        if len(self.shares) != len(self.factors):
            raise InvalidInput("factors", list(self.factors), f"{len(self.shares)} numbers")
        if abs(sum(self.shares) - 1.0) > SHARE_SLACK:
            raise InvalidInput("shares", list(self.shares), "numbers that add up to 1")
        return self


class SpeedChangeTable(SpeedsTable):
    """An entry of ``[clients] speed-changes``: classes that are dealt out anew at some time.

    Attributes:
        at: Virtual time from which on jobs that begin have these factors.
        shares: As in `speeds`.
        factors: As in `speeds`.
    """

    at: Positive


class ClientsSection(Section):
    """``[clients]``: the population, its data and its speed.

    Attributes:
        num_clients: Number of clients.
        task_sets: Names of the tasks that a client holds, one list per client; fewer lists repeat
            if their number divides that of the clients. Every client holds every task if empty.
        fraction_train: Share of the clients that is active in a round.
        sampling: By what weights active clients are drawn, see `training.client_sampling`.
        partition: How a task's examples are dealt to clients.
        concentration: Parameter of the `dirichlet` partition, per class.
        class_ratio: Share of the classes a client holds under `missing-classes`.
        min_examples: Under `natural`, clients with fewer training examples of a task take no part;
            other partitions give every client so many at least.
        local_epochs: Passes over a client's shard per job.
        batch_size: Examples per step.
        dropout: Chance that a client never answers a job.
        failures: Chance that a job is lost at a random time of its duration.
        over_selection: In rounds, this many times the active clients are selected, and the answers
            that come first count.
        delay: Duration of a job in virtual time, a table with `model` and its parameters.
        speeds: Speed classes, which multiply the delays of their clients.
        speed_changes: Classes that are dealt out anew at given times, in their order.
        task_delays: Factors of the delays, one per task; equal where none is given.
        availability: When a client can be given a job: a table with `model` and its parameters, or
            with `file`, a CSV of client, from, until.
    """

    num_clients: Count
    task_sets: Listed[Listed[Name]] = ()
    fraction_train: Fraction = 1.0
    sampling: Choice | None = None
    partition: Choice = "iid"
    concentration: Positive = 0.5
    class_ratio: Fraction = 0.8
    min_examples: Count | None = None
    local_epochs: Count = 1
    batch_size: Count = 32
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    failures: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    over_selection: Annotated[float, Field(ge=1.0, le=LARGEST_OVER_SELECTION)] = 1.0
    delay: Model = {"model": "constant"}
    speeds: SpeedsTable | None = None
    speed_changes: Listed[SpeedChangeTable] = ()
    task_delays: Listed[Factor] = ()
    availability: Model = {"model": "always"}

    @model_validator(mode="after")
    def _in_order(self) -> ClientsSection:
        """Changes of speed come one after the other."""
        times = [change.at for change in self.speed_changes]
        if any(later <= earlier for earlier, later in itertools.pairwise(times)):
            raise InvalidInput("speed-changes", times, "times `at` that increase")
        return self


class RecruitmentSection(Section):
    """``[recruitment]``: which clients agree to which tasks, and at what price.

    Attributes:
        rule: Auction or baseline; `everyone` recruits all clients, unpaid.
        budget: What the server may spend on a recruitment, or one number for each (the last one
            goes on).
        every: Rounds after which clients are recruited anew; never by default.
        drift: How costs move between recruitments: a table with `model` and its parameters.
        reserve: Price of an outside seller, one or one per task, for rules that take it.
        prices: Posted prices, one per task, for `posted-price`.
        unit: What payments are rounded down to multiples of, for rules that take it.
        capacity: Most tasks that a client is recruited for, for `capacity-max-min` (1 by default)
            and `greedy-max-min`.
        weights: Places of each task per level, for `capacity-max-min`.
        direction: Relative prices, one per task, for `participation-fee`; equal by default.
        fee: Participation fee in units of the direction.
        costs: Private cost of each client for each task: a table with `distribution` and its
            parameters (uniform by default), or with `file`, bids as `mechanisms.read_bids` takes
            them, and `name-column`.
    """

    rule: Choice = "everyone"
    budget: float | Annotated[Listed[float], Field(min_length=1)] | None = None
    every: Count | None = None
    drift: Model = {}
    reserve: float | Listed[float] | None = None
    prices: Listed[float] | None = None
    unit: float | None = None
    capacity: Count | None = None
    weights: Listed[Count] | None = None
    direction: Listed[float] | None = None
    fee: float | None = None
    costs: Law = {}


class ServerSection(Section):
    """``[server]``: what the server makes of the updates of a round.

    Attributes:
        optimizer: Makes a step of their mean, see `algorithms.server_optimizers`.
        clip_update: Greatest length of an update; longer ones are shortened to it.
        aggregation: What stands for the weighted mean, see `algorithms.robust_aggregation`.
    """

    optimizer: Choice | None = None
    aggregation: Choice | None = None
    clip_update: Positive | None = None


class ArmSection(BaseModel):
    """``[[arm]]``: a name, what to compare it with, and overrides by dotted key.

    Attributes:
        name: Unique name.
        versus: Arms that it is compared with, seed by seed; the first arm if none is given.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    name: Label
    versus: Listed[Name] = ()

    @property
    def overrides(self) -> dict[str, Any]:
        """Dotted keys and their values."""
        return dict(self.model_extra or {})


class ClaimSection(Section):
    """``[[claim]]``: a statement that the run tests, and what would show it.

    The figure is one number per seed: of `arm`, or of `arm` minus `versus` on the same seed. The
    claim is held when the 95 % interval of its mean lies wholly on the expected side of `margin`,
    not held when it lies wholly on the other side, and inconclusive otherwise.

    Attributes:
        statement: The claim in one sentence.
        source: Who claims it, and where.
        published: The source's own figure, in words.
        metric: A figure of a run (`metrics.run_figures`): a column of rows of rounds, averaged over
            the last `report-rounds`; one of the whole run, such as `spend` or `time-to-targets`,
            the virtual time at which every task has reached its target; or (with `versus`)
            `mean-task-change`, the mean over tasks of (a - b) / b in scores, positive where a is
            better; or `delta-m`, the same against the `reference` of every task; or
            `percent-worse`, mean over tasks of the per cent that scores are worse than those of the
            arm `alone` with the same seed; or `mean-rank`, over tasks, among all arms.
        arm: The arm it is about.
        versus: The arm to compare with; none to look at the figure itself.
        alone: The arm that trains every task alone, for `percent-worse`.
        expect: `greater` or `less` than `margin`, or `within` plus and minus `margin`.
        margin: In units of the metric, or as a share if `relative`.
        relative: Differences as shares of the other arm's value.
    """

    statement: Name
    source: Name
    published: str = ""
    metric: Name = "min_task_acc"
    arm: Name
    versus: Name | None = None
    alone: Name | None = None
    expect: Literal["greater", "less", "within"] = "greater"
    margin: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    relative: bool = False

    @model_validator(mode="after")
    def _fits(self) -> ClaimSection:
        """A band has a width, and a share needs something to be a share of."""
        if self.arm == self.versus:
            raise InvalidInput("versus", self.versus, "another arm")
        if self.expect == "within" and self.margin <= 0.0:
            raise InvalidInput("margin", self.margin, "> 0 with expect = within")
        if self.relative and self.versus is None:
            raise InvalidInput("relative", True, "used together with versus")
        if self.metric == "mean-task-change" and (self.versus is None or self.relative):
            raise InvalidInput("metric", self.metric, "used with versus and without relative")
        if self.metric == "percent-worse" and self.alone is None:
            raise InvalidInput("metric", self.metric, "used with alone, an arm")
        if self.metric != "percent-worse" and self.alone is not None:
            raise InvalidInput("alone", self.alone, "left out, except with percent-worse")
        return self


class Config(Section):
    """A whole configuration, before arms are expanded.

    Attributes:
        run: What and how long.
        task: The tasks.
        clients: The population.
        algorithm: Hyper-parameters of the chosen algorithm, checked against its record.
        recruitment: Who takes part, for how much.
        server: What becomes of the updates of a round.
        arm: Variants beside the configuration as it stands, see `toml_files.arm_configs`.
        claim: What the run tests, see `fl_runtime.reporting.claim_results`.
        versions: Of packages, written into a run's own copy.
        inputs: Fingerprints of the files and functions that data come from, likewise.
    """

    run: RunSection
    task: Annotated[Listed[TaskSection], Field(min_length=1)]
    clients: ClientsSection
    algorithm: dict[str, Any] = {}
    recruitment: RecruitmentSection = RecruitmentSection()
    server: ServerSection | None = None
    arm: Listed[ArmSection] = ()
    claim: Listed[ClaimSection] = ()
    versions: dict[str, str] = {}
    inputs: dict[str, str] = {}
