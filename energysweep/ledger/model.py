"""What a report says of a whole sweep, as plain values: a Summary.

Everything missing is None. Nothing is rounded. ``Summary.to_dict`` is summary.json, schema version 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

from energysweep.analysis import Effects, Quantity, all_effects, multitask, pretraining, side_by_side
from energysweep.analysis.early_stopping import Saved
from energysweep.analysis.intervals import Estimate
from energysweep.core.carbon import Intensity
from energysweep.core.jsontext import jsonable
from energysweep.core.objective import Objective
from energysweep.core.records import OPEN, PILOT
from energysweep.core.text import count_text
from energysweep.ledger.balance import MeterSummary, Part, Totals
from energysweep.ledger.budget import STOPPED, Budget, Charge
from energysweep.ledger.by_hour import ByTheHour
from energysweep.ledger.configurations import ConfigurationSummary, StageSummary, with_geometric_mean
from energysweep.ledger.ranking import same_work
from energysweep.ledger.trials import TrialSummary
from energysweep.meters.kinds import is_model

# Plan: which trials the run was to make, which have ended, and what is open ------------------------------------------


@dataclass(frozen=True, slots=True)
class Extent:
    """The trials of a run, counted.

    Attributes:
        status: of the run: ``running``, ``done``, ``failed``, ``interrupted`` or ``stopped by budget``.
        planned: how many trials it makes, those of its stages included; at least as many as it has begun.
        ended: how many ran to their end or were stopped for being worse than others.
        failed: how many gave up.
        open: the others: never begun, running, or interrupted.
    """

    status: str
    planned: int
    ended: int
    failed: int
    open: int

    def to_dict(self) -> dict[str, int]:
        """Its entry in summary.json."""
        return {"planned": self.planned, "ended": self.ended, "failed": self.failed, "open": self.open}


def extent(run: Mapping[str, Any], trials: Sequence[TrialSummary]) -> Extent:
    """How far a run has come.

    Args:
        run: what the driver noted. A trial that never began is in no row of the ledger: only the plan knows of it.
        trials: all that began.
    """
    status = str(run.get("status", "running"))
    if status != "running":  # a pilot that was broken off stays so
        trials = [trial for trial in trials if trial.stage != PILOT or trial.status not in OPEN]
    pilot = sum(1 for trial in trials if trial.stage == PILOT)
    ended = sum(1 for trial in trials if trial.ended_as_planned)
    failed = sum(1 for trial in trials if trial.status == "failed")
    planned = planned_trials(run, len(trials) - pilot, pilot)
    return Extent(status, planned, ended, failed, planned - ended - failed)


def planned_trials(run: Mapping[str, Any], begun: int, pilot: int) -> int:
    """How many trials there are, or are to be: more than planned, if a driver was killed before Tune had written its
    state, so that trials began anew.

    Args:
        run: what the driver noted.
        begun: how many of the sweep's trials the ledger has, but for those of a pilot.
        pilot: how many of those it has.
    """
    noted = run.get("planned_trials")
    return max(noted if isinstance(noted, int) and run.get("status") != "done" else 0, begun) + pilot


def open_text(found: Extent) -> str:
    """What is open, and how it goes on; empty if nothing is."""
    if not found.open:
        return ""
    many = f"{found.open} of {count_text(found.planned, 'trial')} {'is' if found.open == 1 else 'are'} open"
    how = "energysweep resume RUN_DIR goes on with what is left"
    if found.status == "running":
        return f"The run has not ended: {many}. If its driver was killed, {how}."
    if found.status == STOPPED:
        return f"Stopped by its budget: {many}; energysweep resume RUN_DIR --set budget.KIND=MORE goes on."
    return f"{'Interrupted' if found.status == 'interrupted' else 'Not all was run'}: {many}; {how}."


# Summary -------------------------------------------------------------------------------------------------------------

SCHEMA_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Headline:
    """The sweep in a sentence.

    Attributes:
        sentence: for a person.
        worst_to_best: energy to the target of the dearest configuration over that of the cheapest, with its interval;
            None if fewer than two reached it, without a target, or if the configurations do not do the same work.
        cheapest: the configuration that needs the least energy to the target (without a target: in all); None, too, if
            they do not do the same work.
        dearest: the one that needs the most.
        compared: how many configurations the cheapest is the lowest of.
    """

    sentence: str
    worst_to_best: Estimate | None = None
    cheapest: ConfigurationSummary | None = None
    dearest: ConfigurationSummary | None = None
    compared: int = 0

    @property
    def worst_to_best_energy_ratio(self) -> float | None:
        """The value of ``worst_to_best``."""
        return self.worst_to_best.value if self.worst_to_best else None

    def to_dict(self) -> dict[str, Any]:
        """Its entry in summary.json."""
        return {
            "sentence": self.sentence,
            "worst_to_best_energy_ratio": self.worst_to_best_energy_ratio,
            "worst_to_best_interval": _ends(self.worst_to_best),
            "compared": self.compared,
            "cheapest": _reference(self.cheapest),
            "dearest": _reference(self.dearest),
        }


@dataclass(frozen=True, slots=True)
class RunForecast:
    """What was forecast of the run before it began, and what came of it.

    Attributes:
        joules: that it would be charged; ``low`` and ``high`` are the ends of the 90 % interval.
        charged_joules: that it was; None while it has not ended as planned, or if nobody knows.
    """

    joules: float
    low: float
    high: float
    charged_joules: float | None

    @property
    def ratio(self) -> float | None:
        """What it was charged over what was forecast."""
        return None if self.charged_joules is None or self.joules <= 0 else self.charged_joules / self.joules

    @property
    def held(self) -> bool | None:
        """Whether what it was charged lies in the interval."""
        return None if self.charged_joules is None else self.low <= self.charged_joules <= self.high

    @classmethod
    def noted(cls, run: Mapping[str, Any], charged_joules: float | None) -> RunForecast | None:
        """As the driver noted it; None if it did not, or if that is damaged."""
        told = run.get("forecast")
        ends = [told.get(name) for name in ("joules", "low", "high")] if isinstance(told, dict) else []
        numbers = [float(end) for end in ends if isinstance(end, int | float)]
        if len(numbers) != 3:
            return None
        joules, low, high = numbers
        return cls(joules, low, high, charged_joules if run.get("status") == "done" else None)

    def to_dict(self) -> dict[str, Any]:
        """Its entry in summary.json."""
        scored = None
        if self.charged_joules is not None:
            scored = {"charged_joules": self.charged_joules, "ratio": self.ratio, "held": self.held}
        return {"joules": self.joules, "low": self.low, "high": self.high, "scored": scored}


@dataclass(frozen=True)
class Summary:
    """A whole sweep.

    Attributes:
        sweep: the run id.
        started_at: seconds since the Unix epoch.
        varying: the parameters that differ between configurations.
        trials: those of its stages, too; their ``stage`` tells them apart.
        configurations: ordered by the values of their varying parameters; no stage is in one.
        stages: what ran before them and serves them; their energy is part of the totals.
        parts: one for each time that a driver worked on the run; empty if it noted none.
        lost_nodes: where an agent stopped answering before the end, and took the end of a lease with it.
        unheard_nodes: where trials ran when the driver was killed: nobody asked their agents any more.
        unmeasured_gpus: GPUs that trials held and no meter counted: node, name, and how many trials.
        extent: how far it has come; what is open.
        forecast: what was forecast of it before it began; None if nothing was.
        damage: what of the ledger could not be read and is left out, one line for each table.
        saved: what stopping trials early has not spent, an estimate; None if nothing was, or it cannot be told.
        budget: what it may spend, and the price of energy; None if it has neither.
        budget_end: what a budget that ended it has left open, as its driver noted; None if it did not.
        workload: what was trained, as the sweep names it; empty if it is not known.
        changed_by: the scheduler that changes the parameters of trials while they run; empty if none does.
        owner: who answers for it; None if nobody noted that.
        tags: what people sort runs by.
        sources: the kinds of meters behind its energy, by what was metered and by what was booked.
        hourly: its grams by the hour; None if nobody asked for them.
    """

    sweep: str
    name: str
    status: str
    started_at: float | None
    duration_seconds: float | None
    objective: Objective | None
    varying: tuple[str, ...]
    totals: Totals
    trials: tuple[TrialSummary, ...]
    configurations: tuple[ConfigurationSummary, ...]
    headline: Headline
    meters: tuple[MeterSummary, ...]
    carbon: Intensity | None
    extent: Extent
    parts: tuple[Part, ...] = ()
    lost_nodes: tuple[str, ...] = ()
    unheard_nodes: tuple[str, ...] = ()
    unmeasured_gpus: tuple[tuple[str, str, int], ...] = ()
    stages: tuple[StageSummary, ...] = ()
    workload: str = ""
    saved: Saved | None = None
    damage: tuple[str, ...] = ()
    forecast: RunForecast | None = None
    budget: Budget | None = None
    budget_end: Mapping[str, Any] | None = None
    changed_by: str = ""
    owner: str | None = None
    tags: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    hourly: ByTheHour | None = None

    @property
    def budget_charges(self) -> Mapping[str, Charge]:
        """Each limit of its budget, and what is charged against it; empty without one."""
        if self.budget is None:
            return {}
        return self.budget.charges(self.totals.charged_joules, self.duration_seconds)

    @property
    def has_target(self) -> bool:
        """Whether the sweep names a target to reach."""
        return self.objective is not None and self.objective.target is not None

    def span(self) -> tuple[float, float]:
        """Unix time of its beginning and of the end of its last part, pauses between parts included."""
        begin = self.started_at or 0.0
        ends = [part.started_at + (part.duration_seconds or 0.0) for part in self.parts]
        return begin, max([begin + (self.duration_seconds or 0.0), *ends])

    @property
    def comparable(self) -> bool:
        """Whether its configurations do the same work up to a target, so that the cheapest is a recommendation."""
        return self.has_target and same_work(self.configurations)

    @cached_property
    def effects(self) -> Mapping[Quantity, Effects]:
        """What the parameters do to each quantity; empty if that cannot be told, or is of no use."""
        return all_effects(self.trials) if self.comparable else {}

    @property
    def estimated(self) -> bool:
        """Whether any of its energy is an estimate."""
        return any(map(is_model, self.sources))

    def to_dict(self) -> dict[str, Any]:
        """summary.json. Numbers are not rounded; what is missing, and what is no finite number, is null."""
        summary = {
            "schema_version": SCHEMA_VERSION,
            "sweep": self.sweep,
            "name": self.name,
            "workload": self.workload or None,
            "owner": self.owner,
            "tags": list(self.tags),
            "status": self.status,
            "estimated": self.estimated,
            "started": None if self.started_at is None else datetime.fromtimestamp(self.started_at, UTC).isoformat(),
            "duration_seconds": self.duration_seconds,
            "objective": None if self.objective is None else asdict(self.objective),
            "trials": self.extent.to_dict(),
            "totals": self.totals.to_dict(),
            "configurations": [configuration.to_dict() for configuration in self.configurations],
            "stages": [stage.to_dict() for stage in self.stages],
            "headline": self.headline.to_dict(),
            "saved": None if self.saved is None else self.saved.to_dict(),
            "analyses": self._analyses(),
            "parts": [part.to_dict() for part in self.parts],
            "meters": [asdict(meter) for meter in self.meters],
            "carbon": None if self.carbon is None else asdict(self.carbon),
            "hourly": None if self.hourly is None else self.hourly.to_dict(),
            "hours": [] if self.hourly is None else [each.to_dict() for each in self.hourly.hours],
            "forecast": None if self.forecast is None else self.forecast.to_dict(),
            "damage": list(self.damage),
            "budget": {kind: each._asdict() for kind, each in self.budget_charges.items()} or None,
            "price": self.budget.price if self.budget is not None else None,
        }
        said: dict[str, Any] = jsonable(summary)
        return said

    def _analyses(self) -> dict[str, Any]:
        """What the run does not have is null or empty."""
        return {
            "effects": {quantity: asdict(each) for quantity, each in self.effects.items()} or None,
            "pretraining": [asdict(each) for each in pretraining(self.trials)],
            "multitask": [asdict(each) for each in multitask(self.trials)],
            "hardware": [asdict(each) for each in side_by_side(self.trials)],
        }


def _ends(ratio: Estimate | None) -> list[float] | None:
    return None if ratio is None or ratio.low is None or ratio.high is None else [ratio.low, ratio.high]


def _reference(configuration: ConfigurationSummary | None) -> dict[str, Any] | None:
    if configuration is None:
        return None
    return {
        "config": configuration.config,
        "hardware": configuration.hardware,
        "energy_to_target_joules": with_geometric_mean(configuration.energy_to_target_joules),
        "energy_joules": with_geometric_mean(configuration.energy_joules),
    }
