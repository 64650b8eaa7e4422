"""What a report says of a whole sweep, as plain values: a Summary.

Everything missing is None. Nothing is rounded. ``Summary.to_dict`` is summary.json, schema version 1.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from energysweep.carbon import Intensity
from energysweep.objective import Objective
from energysweep.reporting.analyses import analyses
from energysweep.reporting.balance import MeterSummary, Part, Totals
from energysweep.reporting.extent import Extent
from energysweep.reporting.groups import ConfigurationSummary, StageSummary, with_geometric_mean
from energysweep.reporting.ranking import same_work
from energysweep.reporting.trials import ESTIMATE, TrialSummary
from energysweep.reporting.values import finite, spread_dict

SCHEMA_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Headline:
    """The sweep in a sentence.

    Attributes:
        sentence: for a person.
        worst_to_best_energy_ratio: energy to the target of the dearest configuration over that of the cheapest; None if
            fewer than two reached it, without a target, or if the configurations do not do the same work.
        cheapest: the configuration that needs the least energy to the target (without a target: in all); None, too, if
            they do not do the same work.
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
        lost_nodes: where an agent stopped answering before the end, and took the end of a lease with it.
        unheard_nodes: where trials ran when the driver was killed: nobody asked their agents any more.
        unmeasured_gpus: GPUs that trials held and no meter counted: node, name, and how many trials.
        extent: how far it has come; what is open.
        damage: what of the ledger could not be read and is left out, one line for each table.
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
    extent: Extent
    parts: tuple[Part, ...] = ()
    lost_nodes: tuple[str, ...] = ()
    unheard_nodes: tuple[str, ...] = ()
    unmeasured_gpus: tuple[tuple[str, str, int], ...] = ()
    stages: tuple[StageSummary, ...] = ()
    workload: str = ""
    damage: tuple[str, ...] = ()

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
            "trials": self.extent.to_dict(),
            "totals": asdict(self.totals),
            "configurations": [configuration.to_dict() for configuration in self.configurations],
            "stages": [stage.to_dict() for stage in self.stages],
            "headline": self.headline.to_dict(),
            "analyses": analyses(self.trials, comparable=self.comparable),
            "parts": [part.to_dict() for part in self.parts],
            "meters": [asdict(meter) for meter in self.meters],
            "carbon": None if self.carbon is None else asdict(self.carbon),
            "damage": list(self.damage),
        }
        said: dict[str, Any] = finite(summary)
        return said


def _reference(configuration: ConfigurationSummary | None) -> dict[str, Any] | None:
    if configuration is None:
        return None
    return {
        "config": configuration.config,
        "hardware": configuration.hardware,
        "energy_to_target_joules": with_geometric_mean(configuration.energy_to_target_joules),
        "energy_joules": spread_dict(configuration.energy_joules),
    }
