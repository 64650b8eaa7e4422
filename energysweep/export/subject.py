"""What a report for others is of: one training, the mean training of a configuration, or the whole sweep."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from energysweep.core.errors import InputError, one_line
from energysweep.core.records import EnergyRow, LeaseRow, MeterRow, readable
from energysweep.core.text import count_text
from energysweep.export.run import Exported, Options
from energysweep.ledger.balance import Spread, joined_sources, joules_of, mean_of
from energysweep.ledger.configurations import ConfigurationSummary
from energysweep.ledger.model import Summary
from energysweep.ledger.receipt import find_trial
from energysweep.ledger.trials import TrialSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """It, with what a report for others says of it.

    Attributes:
        name: what it is called.
        scope: which part of the sweep it is, and what its energy is, as a clause.
        energy_joules, emissions_grams: of that; None if it was not measured, or if no grid is known.
        duration_seconds: of a training, how long it held its hardware; of a sweep, how long it was worked on.
        estimated: whether any of it is an estimate.
        relative_uncertainty: half width of the interval that the meters' kinds give; None if unknown.
        objective: the last value of its objective, for a training; None if there is none.
        trials: that it is of.
        is_sweep: it is the whole sweep.
    """

    name: str
    scope: str
    energy_joules: float | None
    emissions_grams: float | None
    duration_seconds: float | None
    estimated: bool
    relative_uncertainty: float | None
    objective: float | None
    trials: tuple[TrialSummary, ...]
    is_sweep: bool = False

    def started_at(self, run: Exported) -> float | None:
        """Unix time at which the first of its trainings began, or the sweep."""
        if self.is_sweep:
            return run.summary.started_at
        own = {trial.trial for trial in self.trials}
        return min((row.started_at for row in run.data.trials if row.trial in own and row.started_at), default=None)

    def sources(self, run: Exported, component: str = "") -> str | None:
        """The kinds of meters behind its energy, or that of one component, joined by ``+``; None without any."""
        return joined_sources(row.source for row in self._metered(run) if component in ("", row.component))

    def devices(self, run: Exported, component: str) -> int:
        """How many devices of a component it has energy of."""
        return len({(row.host, row.device) for row in self._metered(run) if row.component == component})

    def hardware(self, run: Exported) -> str | None:
        """What each of its trainings had reserved, and of how many hosts; None if that is not known."""
        leases = self._leases(run)
        if not leases:
            return None
        cpus = max(lease.reserved_cpus for lease in leases)
        gpus = max(math.fsum(json.loads(lease.gpus).values()) for lease in leases)
        held = [
            f"{number:g} {noun}{'' if number == 1 else 's'}"
            for number, noun in ((cpus, "CPU"), (gpus, "GPU"))
            if number
        ]
        profiles = sorted({_shown(trial.hardware) for trial in self.trials if trial.hardware})
        named = f" ({', '.join(profiles)})" if profiles else ""
        hosts = count_text(len({lease.host for lease in leases}), "host")
        return f"{' and '.join(held) or 'nothing'} reserved by each training{named}, on {hosts}"

    def _metered(self, run: Exported) -> Sequence[MeterRow | EnergyRow]:
        """Rows of its devices."""
        if self.is_sweep:
            return run.data.meters
        leases = {lease.lease for lease in self._leases(run)}
        return [row for row in run.data.energy if row.lease in leases]

    def _leases(self, run: Exported) -> list[LeaseRow]:
        """What its trials held."""
        own = {trial.trial for trial in self.trials}
        return [lease for lease in run.data.leases if lease.trial in own]


def subject(run: Exported, options: Options, default: Literal["sweep", "trial"]) -> Subject:
    """What is asked for: of a training, the one that is named, or else of the configuration that the report recommends.

    Args:
        run: the run.
        options: ``of`` and ``trial``; a trial that is named says that it is of one.
        default: what it is of if nobody says.

    Raises:
        InputError: the run has no such trial or configuration, or recommends none; nothing was measured of it; or a
            trial is named for the whole sweep.
    """
    of = options.of or ("trial" if options.trial is not None else default)
    if of == "sweep":
        if options.trial is not None:
            raise InputError("no trial is named for --of sweep", key="--trial")
        found = _of_sweep(run.summary)
    elif options.trial is None:
        found = _of_configuration(_recommended(run.summary))
    else:
        found = _named(run.summary, options.trial)
    if found.energy_joules is None:
        raise InputError(f"nothing was measured of {found.name}", file=str(run.folder))
    return found


def _named(summary: Summary, text: str) -> Subject:
    for each in summary.configurations:
        if text in (each.config, each.title):
            return _of_configuration(each)
    try:
        return _of_trial(find_trial(summary, text))
    except InputError as error:
        raise InputError(error.problem, key="--trial") from None


def _recommended(summary: Summary) -> ConfigurationSummary:
    if summary.headline.cheapest is None:
        problem = "the report recommends no configuration; --trial names one, --of sweep is of all"
        raise InputError(f"{problem} ({one_line(summary.headline.sentence)})", key="--of trial")
    return summary.headline.cheapest


def _of_sweep(summary: Summary) -> Subject:
    ended = sum(1 for trial in summary.trials if trial.ended_as_planned)
    trainings = f"{count_text(len(summary.trials), 'training')}, of which {ended} ended as planned"
    uncertain = [meter.uncertainty.relative for meter in summary.meters if meter.energy_joules > 0]
    known = [relative for relative in uncertain if relative is not None]
    return Subject(
        name=f"the sweep {_shown(summary.name)}",
        scope=f"the whole sweep: {trainings}, with their start-up and the sweep's overhead",
        energy_joules=summary.totals.charged_joules,
        emissions_grams=summary.totals.emissions_grams,
        duration_seconds=summary.duration_seconds,
        estimated=summary.estimated,
        relative_uncertainty=max(known) if known and len(known) == len(uncertain) else None,
        objective=None,
        trials=summary.trials,
        is_sweep=True,
    )


def _of_trial(trial: TrialSummary) -> Subject:
    return Subject(
        name=_shown(trial.name),
        scope=f"one training of a sweep, {_shown(trial.name)}; without its start-up",
        energy_joules=trial.energy_joules,
        emissions_grams=trial.emissions_grams,
        duration_seconds=trial.duration_seconds,
        estimated=trial.estimated,
        relative_uncertainty=trial.relative_uncertainty,
        objective=trial.objective,
        trials=(trial,),
    )


def _of_configuration(configuration: ConfigurationSummary) -> Subject:
    ended = configuration.ended
    if not ended:
        raise InputError(f"no training of {_shown(configuration.title)} has ended as planned", key="--trial")
    if len(configuration.trials) == len(ended) == 1:
        return _of_trial(ended[0])
    uncertain = [trial.relative_uncertainty for trial in ended]
    known = [relative for relative in uncertain if relative is not None]
    mean = f"the geometric mean of {count_text(len(ended), 'training')}"
    return Subject(
        name=_shown(configuration.title),
        scope=f"one training of a sweep, {_shown(configuration.title)}: {mean}; without their start-up",
        energy_joules=joules_of(configuration.energy_joules),
        emissions_grams=joules_of(configuration.emissions_grams),
        duration_seconds=mean_of(Spread.over(trial.duration_seconds for trial in ended)),
        estimated=configuration.estimated,
        relative_uncertainty=max(known) if known and len(known) == len(uncertain) else None,
        objective=mean_of(configuration.objective),
        trials=ended,
    )


def _shown(text: str) -> str:
    return one_line(readable(text))
