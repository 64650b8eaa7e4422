"""A picture of an agent as the text that Prometheus reads, in the families of ``energysweep.metrics``.

prometheus_client writes such text, too. But a node with 2,000 live trials has 20,000 samples, for which it takes ten
times as long (``python -m benchmarks.run scrape``): so its objects are not built, and what a trial's samples have in
common is made into text once.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from energysweep.agent.negotiation import OPENMETRICS, content_type
from energysweep.agent.picture import Picture, TrialPicture
from energysweep.metrics import FAMILIES, Family

LONGEST_LABEL = 300  # characters; the rest of a longer text is cut off

_LEFT_OUT = "energysweep_agent_left_out_samples"
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
    kind = content_type(accept)
    return Exposition(kind, _text(picture, is_openmetrics=kind == OPENMETRICS))


def _text(picture: Picture, *, is_openmetrics: bool) -> str:
    lines: dict[str, list[str]] = {name: [] for name in _BY_NAME}
    series: set[str] = set()
    left_out = 0
    for family, labels, value in _samples(picture):
        named = f"{family}{{{labels}}}"
        number = _number(value)
        if number is None or named in series:  # one such sample must not cost a scraper all the others
            left_out += 1
            continue
        series.add(named)
        lines[family].append(f"{named} {number}\n")
    node = _labels(("node",), (picture.node,))
    lines[_LEFT_OUT].append(f"{_LEFT_OUT}{{{node}}} {left_out}.0\n")
    parts = [part for family in FAMILIES for part in (_head(family, is_openmetrics), *lines[family.name])]
    return "".join([*parts, "# EOF\n"] if is_openmetrics else parts)


def _samples(picture: Picture) -> Iterator[tuple[str, str, float]]:
    """The family, the labels and the number of each."""
    for sample in picture.samples:
        yield sample.family, _labels(_BY_NAME[sample.family].labels, sample.labels), sample.value
    for trial in picture.trials:
        yield from _trial_samples(picture.node, trial)


def _head(family: Family, is_openmetrics: bool) -> str:
    # In OpenMetrics a counter's family lacks the suffix that its samples have.
    name = family.name.removesuffix("_total") if is_openmetrics and family.kind == "counter" else family.name
    help_text = family.help.replace("\\", r"\\").replace("\n", r"\n")
    if is_openmetrics:
        help_text = help_text.replace('"', r"\"")
    return f"# HELP {name} {help_text}\n# TYPE {name} {family.kind}\n"


def _trial_samples(node: str, trial: TrialPicture) -> Iterator[tuple[str, str, float]]:
    of_trial = _labels(("sweep", "trial", "node"), (trial.run, trial.trial, node))
    for key, joules in trial.joules.items():
        component, bucket, source = key
        if bucket == "startup":
            labels = _cached_labels(("component", "source"), (component, source))
            yield "energysweep_trial_startup_energy_joules_total", f"{of_trial},{labels}", joules
        else:
            labels = _cached_labels(("component", "bucket", "source"), key)
            yield "energysweep_trial_energy_joules_total", f"{of_trial},{labels}", joules
    for component, watts in trial.watts.items():
        yield "energysweep_trial_power_watts", f'{of_trial},component="{component}"', watts
    if trial.grams is not None:
        yield "energysweep_trial_emissions_grams_total", of_trial, trial.grams
    if trial.startup_grams is not None:
        yield "energysweep_trial_startup_emissions_grams_total", of_trial, trial.startup_grams
    labels = _labels(("config", "hardware"), (trial.config, trial.hardware))
    yield "energysweep_trial_info", f"{of_trial},{labels}", 1.0
    yield "energysweep_trial_reports_total", of_trial, trial.reports
    for metric, value in trial.results.items():
        yield "energysweep_trial_result", f"{of_trial},{_cached_labels(('metric',), (metric,))}", value


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    return ",".join([f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)])


_cached_labels = functools.lru_cache(maxsize=1000)(_labels)  # the same few over all trials


def _escaped(value: str) -> str:
    # A lone surrogate, of a name that was no UTF-8, cannot be sent.
    value = value[:LONGEST_LABEL].encode("utf-8", "replace").decode("utf-8")
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str | None:
    """As Go reads it; None of an integer beyond all floats."""
    try:
        number = float(value)
    except OverflowError:
        return None
    if math.isfinite(number):
        return repr(number)
    return "NaN" if math.isnan(number) else "+Inf" if number > 0 else "-Inf"
