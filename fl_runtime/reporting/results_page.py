"""One page over several finished runs: per claim held, not held or inconclusive, with figures."""

from __future__ import annotations

import math
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairopt.errors import InvalidInput
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import digest
from fl_runtime.history import History
from fl_runtime.reporting.claim_results import (
    HELD,
    INCONCLUSIVE,
    NOT_HELD,
    ClaimResult,
    check_claims,
    confidence_text,
    expectation,
)
from fl_runtime.reporting.comparison import finished_part
from fl_runtime.reporting.intervals import as_interval, interval
from fl_runtime.reporting.report import read_run, summary_of
from fl_runtime.reporting.summary import percent_worse
from fl_runtime.reporting.tables import CLIENT_HEADERS, across, client_cells
from fl_runtime.running.run_folder import FIGURES, PICTURE, RunFolder

INTRODUCTION = """# What the experiments show

Made by `python -m fl_runtime results` from the histories of finished runs; not edited by hand.
Each section is one configuration, run as it stands with small models, so a result is about
that setting and not about the source's own, unless its title says so. A claim is **held** when the
whole interval lies where the claim expects it, **not held** when all of it lies elsewhere, and
**inconclusive** otherwise. Intervals: {intervals}.
They are per claim: among twenty true null effects one is expected to look like an effect.
"""

COLUMNS = ("minimum", "mean", "variance")
"""Figures across tasks that every section shows per arm."""


@dataclass(frozen=True)
class Experiment:
    """A finished run with the results of its claims.

    Attributes:
        name: Of its folder, which is the name of its file.
        config: Resolved.
        history: Finished parts only.
        summary: Of them, as in `summary.json`.
        results: Of its claims.
        pictures: The drawings of the run that there are, by what is added to the name.
        seconds: Wall-clock time of all its rounds, one after the other.
    """

    name: str
    config: Config
    history: History
    summary: Mapping[str, Any]
    results: tuple[ClaimResult, ...]
    pictures: Mapping[str, Path]
    seconds: float

    @classmethod
    def of(cls, folder: Path) -> Experiment:
        """Read a run folder and check its claims.

        Raises:
            InvalidInput: The folder is not a run with something finished.
        """
        config, history = read_run(folder)
        done = finished_part(str(folder), config, history)
        drawn = {"": folder / PICTURE, "-figures": folder / FIGURES}
        pictures = {suffix: path for suffix, path in drawn.items() if path.is_file()}
        results = tuple(check_claims(done, config))
        summary = summary_of(done, config)
        seconds = RunFolder(folder).seconds()
        return cls(folder.resolve().name, config, done, summary, results, pictures, seconds)


def write_results(
    folders: Sequence[Path],
    page: Path,
    *,
    update: bool = False,
    left_out: Mapping[str, str] | None = None,
) -> list[Experiment]:
    """Write the page, and copies of the pictures into a folder beside it named like it.

    Args:
        folders: Finished runs; each appears under the name of its folder.
        page: Markdown file; replaced.
        update: Keep the page's sections of other experiments, in their places.
        left_out: Experiments that could not be run, and why; the page says so.

    Raises:
        InvalidInput: A folder is not a finished run, two have one name, or there is no page to
            update.
    """
    experiments = [Experiment.of(folder) for folder in folders]
    names = [experiment.name for experiment in experiments]
    if len(set(names)) < len(names):
        raise InvalidInput("DIR", names, "folders with different names")
    if page.is_dir():
        raise InvalidInput("--out", str(page), "a file, such as results.md")
    pictures = page.with_suffix("")
    pictures.mkdir(parents=True, exist_ok=True)
    for experiment in experiments:
        for suffix, picture in experiment.pictures.items():
            shutil.copyfile(picture, pictures / f"{experiment.name}{suffix}.png")
    sections = sections_of(_read(page)) if update else {}
    sections |= {e.name: "\n".join(_section(e, pictures.name)) for e in experiments}
    temporary = page.with_name(page.name + ".partial")
    missing = {name: why for name, why in (left_out or {}).items() if name not in sections}
    temporary.write_text(render(sections, missing), encoding="utf-8")
    temporary.replace(page)
    return experiments


def render(sections: Mapping[str, str], left_out: Mapping[str, str]) -> str:
    """The page as Markdown, from the text of each experiment, and of why others are not there."""
    found = Counter(status for text in sections.values() for status in _statuses(text))
    totals = ", ".join(f"{found[name]} {name}" for name in (HELD, NOT_HELD, INCONCLUSIVE))
    minutes = sum(map(_minutes, sections.values()))
    lines = [
        INTRODUCTION.format(intervals=confidence_text()),
        f"{_some(found.total(), 'claim')}: {totals}. {_some(len(sections), 'experiment')}, whose "
        f"rounds took {minutes:.0f} minutes by the clock, one after the other on a core that was "
        "shared.",
        "",
        *(f"Not run: `{name}.toml`, {why}.\n" for name, why in left_out.items()),
        "\n\n".join(sections.values()),
    ]
    return "\n".join(lines) + "\n"


def _some(count: int, noun: str) -> str:
    """A count with its noun."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _minutes(section: str) -> float:
    """What a section says of how long its rounds took; 0 where it says nothing."""
    found = re.search(r"rounds took ([0-9.]+) minutes", section)
    return float(found[1]) if found else 0.0


def sections_of(page: str) -> dict[str, str]:
    """The text of each experiment on a page, by name."""
    texts = (f"## {text.strip()}" for text in re.split(r"^## ", page, flags=re.MULTILINE)[1:])
    named = (
        (re.search(r"^`(.+?)\.toml`, fingerprint", text, re.MULTILINE), text) for text in texts
    )
    return {match[1]: text for match, text in named if match}


def _statuses(section: str) -> list[str]:
    """The status of every claim of a section: how the last cells of its rows begin."""
    return re.findall(
        rf"\| ({HELD}|{NOT_HELD}|{INCONCLUSIVE})(?::[^|]*)? \|$", section, re.MULTILINE
    )


def _read(page: Path) -> str:
    """The page as it is."""
    try:
        return page.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInput("out", str(page), f"a page to update ({error.strerror})") from None


def claim_rows(results: Sequence[ClaimResult]) -> Iterator[tuple[str, ...]]:
    """Statement, what was measured, expectation, the source's figure, and the result, as words."""
    for result in results:
        claim = result.claim
        compared = f"{claim.arm} − {claim.versus}" if claim.versus else claim.arm
        unit = f" / {claim.versus}" if claim.relative else ""
        than = f" than {claim.alone}" if claim.alone else ""
        yield (
            claim.statement,
            f"{claim.metric}{than}: {compared}{unit}",
            found_text(result),
            expectation(claim),
            f"{claim.published} ({claim.source})" if claim.published else claim.source,
            result.status + (f": {result.reason}" if result.reason else ""),
        )


def found_text(result: ClaimResult) -> str:
    """The figure with its interval, three significant digits; a dash without one."""
    found = result.found
    if not math.isfinite(found.mean):
        return "–"
    sign = "+" if result.claim.versus else ""
    digits = max(0, 2 - math.floor(math.log10(max(abs(found.mean), found.half_width, 1e-12))))
    return format(found, f"{sign}.{min(digits, 6)}f")


CLAIM_HEADERS = ("claim", "figure", "measured", "expected", "source", "result")


def _section(experiment: Experiment, pictures: str) -> Iterator[str]:
    """One run."""
    config = experiment.config
    yield f"## {config.run.title or experiment.name}"
    yield ""
    yield (
        f"`{experiment.name}.toml`, fingerprint `{digest(config)[:12]}`: "
        f"{len(config.task)} tasks, {config.clients.num_clients} clients, "
        f"{len(config.run.seeds)} paired seeds; rounds took {experiment.seconds / 60:.1f} minutes."
    )
    yield ""
    yield from _table(CLAIM_HEADERS, claim_rows(experiment.results))
    yield ""
    yield from _table(_arm_headers(experiment), _arm_rows(experiment))
    clients = list(_client_rows(experiment))
    if clients:
        yield ""
        yield from _table(("arm", *CLIENT_HEADERS), iter(clients))
    if experiment.summary["signs"]:
        yield ""
        yield from (f"- {sign['arm']}: {sign['sign']}." for sign in experiment.summary["signs"])
    for suffix in experiment.pictures:
        yield ""
        yield f"![{experiment.name}{suffix}]({pictures}/{experiment.name}{suffix}.png)"


def _arm_headers(experiment: Experiment) -> tuple[str, ...]:
    """Columns of the table of arms: across tasks, or task by task where these have no scale."""
    than = _single_tasks(experiment)
    scores = experiment.summary.get("scores", {})
    tasks = [f"{task} ({score['metric']})" for task, score in scores.items()]
    columns = COLUMNS if _is_comparable(experiment) else tasks
    worse = [f"% worse than {than}"] if than else []
    return ("arm", *columns, *worse, "mean rank", "rounds")


def _arm_rows(experiment: Experiment) -> Iterator[tuple[str, ...]]:
    """Test scores, per arm."""
    than, last = _single_tasks(experiment), experiment.config.run.report_rounds
    for arm, figures in experiment.summary["arms"].items():
        cells = [
            format(as_interval(figures[key]), spec)
            for key, spec in across(experiment.summary).items()
        ]
        if not _is_comparable(experiment):
            cells = [format(as_interval(record), ".3g") for record in figures["score"].values()]
        if than:
            worse = percent_worse(experiment.history, arm, than, last).values()
            cells.append("–" if arm == than else format(interval([*worse] or [math.nan]), ".1f"))
        rounds = sorted(set(figures["rounds"]))
        rank = format(as_interval(figures["mean_rank"]), ".2f")
        yield (arm, *cells, rank, f"{rounds[0]}" + (f"–{rounds[-1]}" if len(rounds) > 1 else ""))


def _single_tasks(experiment: Experiment) -> str | None:
    """The arm that trains every task alone, if a claim names one."""
    return next((claim.alone for claim in experiment.config.claim if claim.alone), None)


def _is_comparable(experiment: Experiment) -> bool:
    """Whether scores of all tasks are on one scale."""
    keys = list(across(experiment.summary))
    arms = experiment.summary["arms"].values()
    return "scores" not in experiment.summary or any(
        math.isfinite(as_interval(arm[key]).mean) for arm in arms for key in keys
    )


def _client_rows(experiment: Experiment) -> Iterator[tuple[str, ...]]:
    """What clients see and what it cost, per arm, where it was measured."""
    for arm, figures in experiment.summary["arms"].items():
        if "clients" in figures:
            yield (arm, *client_cells(figures))


def _table(headers: Sequence[str], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    """A Markdown table."""
    yield "| " + " | ".join(headers) + " |"
    yield "|" + "---|" * len(headers)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
