"""What a report says, as plain values: a Summary with its trials and configurations.

Everything missing is None. Nothing is rounded. ``Summary.to_dict`` is summary.json, schema version 1.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from energysweep.analysis.multitask import TASKS
from energysweep.analysis.pretraining import PRETRAINED
from energysweep.carbon import Intensity
from energysweep.reporting.analyses import analyses
from energysweep.reporting.balance import MeterSummary, Part, Totals
from energysweep.reporting.values import Objective, Spread, finite, joined_sources, mean_of, spread_dict, total

SCHEMA_VERSION: Final = 1
ESTIMATE: Final = "estimate"  # the source whose numbers are a model's, not a counter's


@dataclass(frozen=True, slots=True)
class TrialSummary:
    """One trial.

    Attributes:
        config: the parameters that differ between configurations, as a short text.
        energy_joules: active energy and idle share over all its leases, failed attempts included.
        component_joules: the same by ``cpu``, ``dram`` and ``gpu``; what was not metered is left out.
        lost_joules: what its failed attempts spent after their last checkpoint.
        pruned_joules: all of its energy if a scheduler stopped it early, else 0.
        resolution_joules: the steps of the counters behind it, one for each device of each lease; None if unknown.
        relative_uncertainty: half width of the interval around its energy, as a part of it, that its meters' kinds
            give it; None if unknown.
        power_watts: mean power while a lease was held.
        coverage: part of its time with good readings.
        source: the kinds of meters its energy comes from, joined by ``+``.
        metrics: the last value of each reported metric.
        objective: the last finite value of the objective's metric.
        iterations: number of its last report.
        reached_target: None if the sweep has no target.
        energy_to_target_joules: its energy at the first of the reports that reached the target and held it for
            ``patience`` reports; None if it never did.
        iterations_to_target: the number of that report.
        stage: the stage that it belongs to; empty for a trial of the sweep's own configurations. A stage is judged by
            its own objective.
    """

    trial: str
    config: str
    parameters: dict[str, Any]
    seed: int | None
    hardware: str
    status: str
    attempts: int
    nodes: tuple[str, ...]
    energy_joules: float | None
    active_energy_joules: float | None
    idle_energy_joules: float | None
    component_joules: dict[str, float]
    lost_joules: float | None
    pruned_joules: float | None
    resolution_joules: float | None
    relative_uncertainty: float | None
    emissions_grams: float | None
    power_watts: float | None
    duration_seconds: float | None
    coverage: float | None
    source: str | None
    metrics: dict[str, Any]
    objective: float | None
    iterations: int | None
    reached_target: bool | None
    energy_to_target_joules: float | None
    iterations_to_target: int | None
    error: str | None
    stage: str = ""

    @property
    def joules_per_iteration(self) -> float | None:
        """Its whole energy over its reports; None without either."""
        return self.energy_joules / self.iterations if self.energy_joules is not None and self.iterations else None

    @property
    def estimated(self) -> bool:
        """Whether any of its energy is an estimate."""
        return self.source is not None and ESTIMATE in self.source.split("+")

    @property
    def ended_as_planned(self) -> bool:
        """Whether it ran to its end or was stopped by the scheduler; a crash says nothing about a configuration."""
        return self.status in ("completed", "pruned")


@dataclass(frozen=True, slots=True)
class ConfigurationSummary:
    """The repeats of one set of parameters on one hardware profile.

    Means are over the trials that ended as planned (``TrialSummary.ended_as_planned``); the energy to the target is
    over all trials that reached it and over no others, so read it together with ``reached_target`` of ``trials``.

    Attributes:
        config: the parameters that differ between configurations, as a short text.
        title: ``config``, with the hardware where the sweep has several.
        pareto: no other configuration has less energy and as good an objective, or a better one for no more energy.
        tied_with_cheapest: its energy cannot be told from that of the cheapest one (see ``ties``); False for that one.
    """

    config: str
    title: str
    parameters: dict[str, Any]
    hardware: str
    trials: tuple[TrialSummary, ...]
    pareto: bool = False
    tied_with_cheapest: bool = False

    @property
    def ended(self) -> tuple[TrialSummary, ...]:
        """The trials that the means are over."""
        return tuple(trial for trial in self.trials if trial.ended_as_planned)

    @property
    def reached_target(self) -> int | None:
        """How many of its trials reached the target; None if the sweep has none."""
        known = [trial.reached_target for trial in self.trials if trial.reached_target is not None]
        return sum(known) if known else None

    @property
    def energy_joules(self) -> Spread | None:
        """Energy of a trial."""
        return Spread.over(trial.energy_joules for trial in self.ended)

    @property
    def emissions_grams(self) -> Spread | None:
        """CO2e of a trial."""
        return Spread.over(trial.emissions_grams for trial in self.ended)

    @property
    def objective(self) -> Spread | None:
        """The objective's last value."""
        return Spread.over(trial.objective for trial in self.ended)

    @property
    def energy_to_target_joules(self) -> Spread | None:
        """Energy until the target, over the trials that reached it."""
        return Spread.over(trial.energy_to_target_joules for trial in self.trials)

    @property
    def iterations_to_target(self) -> Spread | None:
        """Reports until the target, over the trials that reached it."""
        return Spread.over(trial.iterations_to_target for trial in self.trials)

    @property
    def lost_joules(self) -> float | None:
        """What all its trials lost together, those that failed included."""
        return total(trial.lost_joules for trial in self.trials)

    @property
    def pruned_joules(self) -> float | None:
        """What all its pruned trials spent together."""
        return total(trial.pruned_joules for trial in self.trials)

    @property
    def power_watts(self) -> Spread | None:
        """Mean power of a trial."""
        return Spread.over(trial.power_watts for trial in self.ended)

    @property
    def joules_per_iteration(self) -> Spread | None:
        """Energy of one report's work."""
        return Spread.over(trial.joules_per_iteration for trial in self.ended)

    @property
    def source(self) -> str | None:
        """The kinds of meters behind its numbers, joined by ``+``."""
        return joined_sources(kind for trial in self.trials if trial.source for kind in trial.source.split("+"))

    @property
    def estimated(self) -> bool:
        """Whether any of its energy is an estimate."""
        return any(trial.estimated for trial in self.trials)

    def to_dict(self) -> dict[str, Any]:
        """Its entry in summary.json."""
        return {
            "config": self.config,
            "hardware": self.hardware,
            "parameters": self.parameters,
            "trials": len(self.trials),
            "reached_target": self.reached_target,
            "energy_joules": spread_dict(self.energy_joules),
            "emissions_grams": spread_dict(self.emissions_grams),
            "objective": spread_dict(self.objective),
            "energy_to_target_joules": spread_dict(self.energy_to_target_joules),
            "power_watts": mean_of(self.power_watts),
            "joules_per_iteration": mean_of(self.joules_per_iteration),
            "iterations_to_target": mean_of(self.iterations_to_target),
            "lost_joules": self.lost_joules,
            "pruned_joules": self.pruned_joules,
            "pareto": self.pareto,
            "tied_with_cheapest": self.tied_with_cheapest,
            "source": self.source,
        }


@dataclass(frozen=True, slots=True)
class StageSummary:
    """The trials of one stage: what ran before the sweep's own configurations and serves them, such as a pretraining.

    Attributes:
        stage: its name in the sweep.
        metric: the metric of its objective.
    """

    stage: str
    metric: str | None
    trials: tuple[TrialSummary, ...]

    @property
    def energy_joules(self) -> Spread | None:
        """Energy of one of its trials, over those that ended as planned."""
        return Spread.over(trial.energy_joules for trial in self.trials if trial.ended_as_planned)

    @property
    def total_energy_joules(self) -> float | None:
        """Energy of all its trials together, a part of the totals' ``trials_energy_joules``."""
        return total(trial.energy_joules for trial in self.trials)

    @property
    def objective(self) -> Spread | None:
        """The last value of its own objective."""
        return Spread.over(trial.objective for trial in self.trials if trial.ended_as_planned)

    @property
    def estimated(self) -> bool:
        """Whether any of its energy is an estimate."""
        return any(trial.estimated for trial in self.trials)

    def to_dict(self) -> dict[str, Any]:
        """Its entry in summary.json."""
        return {
            "stage": self.stage,
            "trials": len(self.trials),
            "metric": self.metric,
            "objective": spread_dict(self.objective),
            "energy_joules": spread_dict(self.energy_joules),
            "total_energy_joules": self.total_energy_joules,
        }


@dataclass(frozen=True, slots=True)
class Headline:
    """The sweep in a sentence.

    Attributes:
        sentence: for a person.
        worst_to_best_energy_ratio: energy to the target of the dearest configuration over that of the cheapest; None if
            fewer than two reached it, or without a target.
        cheapest: the configuration that needs the least energy to the target (without a target: in all).
        dearest: the one that needs the most.
    """

    sentence: str
    worst_to_best_energy_ratio: float | None
    cheapest: ConfigurationSummary | None
    dearest: ConfigurationSummary | None

    def to_dict(self) -> dict[str, Any]:
        """Its entry in summary.json."""
        return {
            "sentence": self.sentence,
            "worst_to_best_energy_ratio": self.worst_to_best_energy_ratio,
            "cheapest": _reference(self.cheapest),
            "dearest": _reference(self.dearest),
        }


@dataclass(frozen=True, slots=True)
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
        lost_nodes: where an agent took the end of a lease with it.
        workload: what was trained, as the sweep names it; empty if it is not known.
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
    parts: tuple[Part, ...] = ()
    lost_nodes: tuple[str, ...] = ()
    stages: tuple[StageSummary, ...] = ()
    workload: str = ""

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
        """Whether its configurations do the same work, so that the cheapest is a recommendation.

        Models for other tasks do other work. A pretrained one has had its pretraining beforehand.
        """
        return self.has_target and not {TASKS, PRETRAINED} & set(self.varying)

    @property
    def sources(self) -> tuple[str, ...]:
        """The kinds of meters that were read."""
        return tuple(sorted({meter.source for meter in self.meters}))

    @property
    def estimated(self) -> bool:
        """Whether any meter is an estimate."""
        return ESTIMATE in self.sources

    def to_dict(self) -> dict[str, Any]:
        """summary.json. Numbers are not rounded; what is missing, and what is no finite number, is null."""
        summary = {
            "schema_version": SCHEMA_VERSION,
            "sweep": self.sweep,
            "name": self.name,
            "workload": self.workload or None,
            "status": self.status,
            "started": None if self.started_at is None else datetime.fromtimestamp(self.started_at, UTC).isoformat(),
            "duration_seconds": self.duration_seconds,
            "objective": None if self.objective is None else asdict(self.objective),
            "totals": asdict(self.totals),
            "configurations": [configuration.to_dict() for configuration in self.configurations],
            "stages": [stage.to_dict() for stage in self.stages],
            "headline": self.headline.to_dict(),
            "analyses": analyses(self.trials, comparable=self.comparable),
            "parts": [part.to_dict() for part in self.parts],
            "meters": [asdict(meter) for meter in self.meters],
            "carbon": None if self.carbon is None else asdict(self.carbon),
        }
        said: dict[str, Any] = finite(summary)
        return said


def _reference(configuration: ConfigurationSummary | None) -> dict[str, Any] | None:
    if configuration is None:
        return None
    return {
        "config": configuration.config,
        "hardware": configuration.hardware,
        "energy_to_target_joules": spread_dict(configuration.energy_to_target_joules),
        "energy_joules": spread_dict(configuration.energy_joules),
    }
