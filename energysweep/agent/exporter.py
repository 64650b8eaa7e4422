"""A picture of an agent as the text that Prometheus reads, in the families of ``energysweep.metrics``.

prometheus_client writes such text, too. But a node with 2,000 live trials has 20,000 samples, for which it takes ten
times as long (``python -m benchmarks.run scrape``): so its objects are not built, and what a trial's samples have in
common is made into text once. Which format a scraper gets is prometheus_client's choice.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from prometheus_client.exposition import choose_encoder

from energysweep.agent.picture import Picture, Sample, TrialPicture
from energysweep.metrics import FAMILIES, Family

LONGEST_LABEL = 300  # characters; the rest of a longer text is cut off

_BY_NAME = {family.name: family for family in FAMILIES}


class Exposition(NamedTuple):
    """What a scraper gets."""

    content_type: str
    text: str


def exposition(picture: Picture, accept: str) -> Exposition:
    """The picture in the format that a scraper wants, OpenMetrics or Prometheus' own.

    Args:
        picture: of an agent.
        accept: the header ``Accept``; may be empty.
    """
    _, content_type = choose_encoder(accept)
    return Exposition(content_type, _text(picture, is_openmetrics="openmetrics" in content_type))


def _text(picture: Picture, *, is_openmetrics: bool) -> str:
    lines: dict[str, list[str]] = {name: [] for name in _BY_NAME}
    for sample in picture.samples:
        lines[sample.family].append(_line(sample))
    for trial in picture.trials:
        for family, line in _trial_lines(picture.node, trial):
            lines[family].append(line)
    parts = [part for family in FAMILIES for part in (_head(family, is_openmetrics), *lines[family.name])]
    return "".join([*parts, "# EOF\n"] if is_openmetrics else parts)


def _head(family: Family, is_openmetrics: bool) -> str:
    # In OpenMetrics a counter's family lacks the suffix that its samples have.
    name = family.name.removesuffix("_total") if is_openmetrics and family.kind == "counter" else family.name
    help_text = family.help.replace("\\", r"\\").replace("\n", r"\n")
    if is_openmetrics:
        help_text = help_text.replace('"', r"\"")
    return f"# HELP {name} {help_text}\n# TYPE {name} {family.kind}\n"


def _line(sample: Sample) -> str:
    family = _BY_NAME[sample.family]
    return f"{family.name}{{{_labels(family.labels, sample.labels)}}} {_number(sample.value)}\n"


def _trial_lines(node: str, trial: TrialPicture) -> Iterator[tuple[str, str]]:
    of_trial = _labels(("sweep", "trial", "node"), (trial.run, trial.trial, node))
    for key, joules in trial.joules.items():
        name = "energysweep_trial_energy_joules_total"
        labels = _cached_labels(("component", "bucket", "source"), key)
        yield name, f"{name}{{{of_trial},{labels}}} {_number(joules)}\n"
    for component, watts in trial.watts.items():
        name = "energysweep_trial_power_watts"
        yield name, f'{name}{{{of_trial},component="{component}"}} {_number(watts)}\n'
    if trial.grams is not None:
        name = "energysweep_trial_emissions_grams_total"
        yield name, f"{name}{{{of_trial}}} {_number(trial.grams)}\n"
    name = "energysweep_trial_info"
    labels = _labels(("config", "hardware"), (trial.config, trial.hardware))
    yield name, f"{name}{{{of_trial},{labels}}} 1.0\n"
    name = "energysweep_trial_reports_total"
    yield name, f"{name}{{{of_trial}}} {_number(trial.reports)}\n"
    for metric, value in trial.results.items():
        name = "energysweep_trial_result"
        yield name, f"{name}{{{of_trial},{_cached_labels(('metric',), (metric,))}}} {_number(value)}\n"


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    return ",".join([f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)])


_cached_labels = functools.lru_cache(maxsize=1000)(_labels)  # the same few over all trials


def _escaped(value: str) -> str:
    # A lone surrogate, of a name that was no UTF-8, cannot be sent.
    value = value[:LONGEST_LABEL].encode("utf-8", "replace").decode("utf-8")
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    """As Go reads it."""
    if math.isfinite(value):
        return repr(float(value))
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
