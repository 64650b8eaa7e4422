"""A run that works elsewhere, as its agents' metrics tell of it: no key is needed, and no folder.

Source of the format: Prometheus' text format 0.0.4, and HTTP service discovery.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from energysweep.agent.remote import page
from energysweep.core.errors import AgentUnreachable, InputError, SweepError, one_line
from energysweep.core.inputs import web_address
from energysweep.core.metrics import (
    NODE_POWER,
    SWEEP_BEST,
    SWEEP_BUDGET_CHARGED,
    SWEEP_BUDGET_LIMIT,
    SWEEP_CHEAPEST,
    SWEEP_DECISIONS,
    SWEEP_EMISSIONS,
    SWEEP_END,
    SWEEP_ENERGY,
    SWEEP_INFO,
    SWEEP_START,
    SWEEP_TRIALS,
    TRIAL_ENERGY,
    TRIAL_INFO,
    TRIAL_POWER,
    TRIAL_REPORTS,
    TRIAL_RESULT,
    Family,
)
from energysweep.core.naming import trial_text
from energysweep.ledger.budget import Budget, Charge, left_text
from energysweep.ledger.sweep_metrics import Cheapest
from energysweep.meters.kinds import is_model
from energysweep.monitoring.watching import Seen
from energysweep.report.live import RunningTrial, Status

KEY: Final = "RUN_DIR|URL"
_SILENT_SECONDS: Final = 30.0  # an agent that is started again is back before
_MOST_AGENTS: Final = 500  # that are asked


class Sample(NamedTuple):
    """One number that was told, with its labels."""

    labels: Mapping[str, str]
    value: float


class WatchedAgents:
    """A run by the agent of its driver's host, and by those that this one names.

    Args:
        url: the agent's address; what follows its port, such as ``/metrics``, is left out.
        run_id: of the run; empty: the only one that works there.
        clock: Unix time.
        page: what an address tells at a path.

    Raises:
        InputError: that is no web address.
    """

    def __init__(
        self,
        url: str,
        run_id: str = "",
        clock: Callable[[], float] = time.time,
        page: Callable[[str, str], bytes] = page,
    ) -> None:
        parts = web_address(url, KEY)
        self._url = f"{parts.scheme}://{parts.netloc}"
        self.run_id = run_id
        self._clock = clock
        self._page = page
        self._last: tuple[float, Seen] | None = None
        self._is_silent = False

    def look(self) -> Seen:
        """How it stands now; an agent that is silent for half a minute is waited for.

        Raises:
            InputError: it never answered, or it tells of no sweep, or of several.
            SweepError: it does not answer any more, or tells no more of the run.
        """
        try:
            told = self._told()
        except AgentUnreachable as error:
            if self._last is None:
                raise InputError(one_line(error), key=KEY) from error
            return self._waiting(*self._last, error)
        self._is_silent = False
        self.run_id = self.run_id or _only_run(told, self._url)
        if not any(each.labels.get("sweep") == self.run_id for each in told.get(SWEEP_INFO.name, ())):
            if self._last is None:
                raise InputError(f"{self._url} tells nothing of a sweep {one_line(self.run_id)!r}", key=KEY)
            raise SweepError(f"{self._url} tells no more of {one_line(self.run_id)}: its series are gone")
        seen = _seen_of(told, self.run_id, self._clock())
        self._last = (self._clock(), seen)
        return seen

    def _waiting(self, at: float, seen: Seen, error: AgentUnreachable) -> Seen:
        if self._clock() - at > _SILENT_SECONDS:
            raise SweepError(f"{one_line(error)}; it did until {round(self._clock() - at)} s ago") from error
        first, self._is_silent = not self._is_silent, True
        return Seen(seen.status, None, (f"{one_line(error)}; asking again",) if first else ())

    def _told(self) -> dict[str, list[Sample]]:
        """All samples by the names of their families, of all agents."""
        found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
        for url in [self._url, *self._others()]:
            try:
                text = self._page(url, "/metrics").decode("utf-8", "replace")
            except AgentUnreachable:
                if url == self._url:
                    raise
                continue  # what it would tell is missing meanwhile
            for name, sample in _samples(text, url):
                key = tuple(sorted(sample.labels.items()))
                of_family = found.setdefault(name, {})
                of_family[key] = max(sample.value, of_family.get(key, -math.inf))
        return {name: [Sample(dict(key), value) for key, value in each.items()] for name, each in found.items()}

    def _others(self) -> list[str]:
        """The other agents of the sweeps there, as service discovery names them."""
        try:
            groups = json.loads(self._page(self._url, "/sd"))
            targets = [str(target) for group in groups for target in group["targets"]]
        except (AgentUnreachable, ValueError, LookupError, TypeError):
            return []  # an agent behind a proxy that lets /metrics through alone
        own = self._url.partition("://")[2]
        return [f"http://{target}" for target in targets[:_MOST_AGENTS] if target != own and "/" not in target]


def _samples(text: str, url: str) -> Iterator[tuple[str, Sample]]:
    try:
        for family in text_string_to_metric_families(text):
            for each in family.samples:
                if math.isfinite(each.value):
                    yield each.name, Sample(each.labels, each.value)
    except (ValueError, LookupError, AttributeError) as error:  # what this parser says of a text that is none
        raise InputError(f"{url} is no agent: /metrics is not in Prometheus' format", key=KEY) from error


def _only_run(told: Mapping[str, Sequence[Sample]], url: str) -> str:
    """The run that works there; if none does, the one that has ended there."""
    every = [each.labels.get("sweep", "") for each in told.get(SWEEP_INFO.name, ())]
    ended = {each.labels.get("sweep", "") for each in told.get(SWEEP_END.name, ())}
    working = [run for run in every if run not in ended] or every
    if not working:
        raise InputError(
            f"{url} tells of no sweep; give the address that the run has printed (metrics: http://...), of its"
            " driver's host",
            key=KEY,
        )
    if len(working) > 1:
        names = ", ".join(one_line(run, 100) for run in sorted(working)[:10])
        raise InputError(f"{url} tells of several sweeps: {names}; say which with --run-id", key=KEY)
    return working[0]


def _seen_of(told: Mapping[str, Sequence[Sample]], run_id: str, now: float) -> Seen:
    """How a run stands, by what its agents tell.

    Args:
        told: samples by the names of their families.
        run_id: its id.
        now: Unix time.
    """

    def of(family: Family) -> list[Sample]:
        return [each for each in told.get(family.name, ()) if each.labels.get("sweep") == run_id]

    counts = {each.labels.get("state", ""): int(each.value) for each in of(SWEEP_TRIALS)}
    best = next(iter(of(SWEEP_BEST)), None)
    metric = best.labels.get("metric", "") if best is not None else ""
    cheapest = [
        Cheapest(each.labels.get("config", ""), each.labels.get("hardware", ""), each.value)
        for each in of(SWEEP_CHEAPEST)
    ]
    energy, grams = of(SWEEP_ENERGY), of(SWEEP_EMISSIONS)
    start, end = (max((each.value for each in of(family)), default=None) for family in (SWEEP_START, SWEEP_END))
    estimated = any(is_model(each.labels.get("source", "")) for each in energy)
    seconds = 0.0 if start is None else max(0.0, (now if end is None else end) - start)
    watts = [each.value for each in told.get(NODE_POWER.name, ())]
    status = Status(
        trials=sum(counts.values()),
        counts=counts,
        metric=metric or "objective",
        best=None if best is None else best.value,
        cheapest_at_target=min(cheapest, key=lambda each: each.energy_joules, default=None),
        watts=math.fsum(watts) if watts and end is None else None,
        # Before a trial has held a lease nothing is known; the series begin at 0 all the same.
        joules=math.fsum(each.value for each in energy) or None,
        grams=math.fsum(each.value for each in grams) or None,
        estimated=estimated,
        elapsed_seconds=seconds,
        running=tuple(_running(of, metric)) if end is None else (),
        # A scheduler that pauses may begin more trials, or fewer.
        is_about="paused" in counts or any(each.labels.get("what") == "paused" for each in of(SWEEP_DECISIONS)),
        budget=_left(of(SWEEP_BUDGET_LIMIT), of(SWEEP_BUDGET_CHARGED), seconds, estimated=estimated),
    )
    return Seen(status, None if end is None else "ended")


def _running(of: Callable[[Family], list[Sample]], metric: str) -> Iterator[RunningTrial]:
    """The trials that draw power now: the series of those that have ended stay for a while."""

    def by_trial(family: Family, **labels: str) -> dict[str, float]:
        found: dict[str, float] = {}
        for each in of(family):
            if labels.items() <= each.labels.items():
                trial = each.labels.get("trial", "")
                found[trial] = found.get(trial, 0.0) + each.value
        return found

    power, energy, reports = by_trial(TRIAL_POWER), by_trial(TRIAL_ENERGY), by_trial(TRIAL_REPORTS)
    value = by_trial(TRIAL_RESULT, metric=metric) if metric else {}
    names: dict[str, Any] = {each.labels.get("trial", ""): each.labels for each in of(TRIAL_INFO)}
    for trial, labels in sorted(names.items()):
        if power.get(trial, 0.0) > 0:
            name = trial_text(labels.get("config") or trial, hardware=labels.get("hardware", ""))
            yield RunningTrial(name, int(reports.get(trial, 0.0)), value.get(trial), energy.get(trial))


def _left(limits: Sequence[Sample], charged: Sequence[Sample], seconds: float, *, estimated: bool) -> str | None:
    if not limits:
        return None
    spent = {each.labels.get("kind", ""): each.value for each in charged}
    kinds = {each.labels.get("kind", ""): each.value for each in limits if each.value > 0}
    charges = {kind: Charge(limit, spent.get(kind)) for kind, limit in kinds.items()}
    return left_text(Budget(kinds), charges, seconds, estimated=estimated) or None
