"""What a report for others is of: one training, the mean training of a configuration, or the whole sweep."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from energysweep.core.errors import InputError, one_line
from energysweep.core.records import EnergyRow, LeaseRow, MeterRow, Standing, readable
from energysweep.core.text import count_text
from energysweep.export.run import Exported, Options
from energysweep.ledger.balance import Spread, joined_sources, joules_of, mean_of
from energysweep.ledger.configurations import ConfigurationSummary
from energysweep.ledger.model import Summary
from energysweep.ledger.receipt import find_trial
from energysweep.ledger.run_state import RunState
from energysweep.ledger.trials import TrialSummary
from energysweep.meters.kinds import uncertainty

_STANDINGS: Final[Mapping[Standing, str]] = {  # of one training, after its name
    "completed": "",
    "pruned": ", stopped early",
    "failed": ", which failed",
    "interrupted": ", interrupted, as far as it has come",
    "paused": ", paused, as far as it has come",
    "running": ", running, as far as it has come",
    "pending": ", pending, as far as it has come",
}


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
        metered: rows of the devices that it has energy of.
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
    metered: Sequence[MeterRow | EnergyRow]
    is_sweep: bool = False

    def started_at(self, run: Exported) -> float | None:
        """Unix time at which the first of its trainings began, or the sweep."""
        if self.is_sweep:
            return run.summary.started_at
        own = {trial.trial for trial in self.trials}
        return min((row.started_at for row in run.data.trials if row.trial in own and row.started_at), default=None)

    def sources(self, component: str = "") -> str | None:
        """The kinds of meters behind its energy, or that of one component, joined by ``+``; None without any."""
        return joined_sources(row.source for row in self.metered if component in ("", row.component))

    def devices(self, component: str) -> int:
        """How many devices of a component it has energy of."""
        return len({(row.host, row.device) for row in self.metered if row.component == component})

    def hardware(self, run: Exported) -> str | None:
        """What each of its trainings had reserved, and of how many hosts; None if that is not known."""
        leases = _leases(run, self.trials)
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
        found = _of_sweep(run)
    elif options.trial is None:
        found = _of_configuration(run, _recommended(run.summary))
    else:
        found = _named(run, options.trial)
    if found.energy_joules is None:
        raise InputError(f"nothing was measured of {found.name}", file=str(run.folder))
    return found


def _named(run: Exported, text: str) -> Subject:
    for each in run.summary.configurations:
        if text in (each.config, each.title):
            return _of_configuration(run, each)
    try:
        return _of_trial(run, find_trial(run.summary, text))
    except InputError as error:
        raise InputError(error.problem, key="--trial") from None


def _recommended(summary: Summary) -> ConfigurationSummary:
    if summary.headline.cheapest is None:
        problem = "the report recommends no configuration; --trial names one, --of sweep is of all"
        raise InputError(f"{problem} ({one_line(summary.headline.sentence)})", key="--of trial")
    return summary.headline.cheapest


def _of_sweep(run: Exported) -> Subject:
    summary = run.summary
    ended = sum(1 for trial in summary.trials if trial.ended_as_planned)
    trainings = f"{count_text(len(summary.trials), 'training')}, of which {ended} ended as planned"
    energy, meters = RunState.of(run.data).in_windows_with_leases()
    metered: list[MeterRow | EnergyRow] = [*meters, *energy]  # both, as a ledger may have lost rows of its meters
    uncertain = [
        uncertainty(*kind).relative for kind in {(row.source, row.component) for row in metered if row.joules > 0}
    ]
    known = [relative for relative in uncertain if relative is not None]
    return Subject(
        name=f"the sweep {_shown(summary.name)}",
        scope=f"the whole sweep{_so_far(summary)}: {trainings}, with their start-up and the sweep's overhead",
        energy_joules=summary.totals.charged_joules,
        emissions_grams=summary.totals.emissions_grams,
        duration_seconds=summary.duration_seconds,
        estimated=summary.estimated,
        relative_uncertainty=max(known) if known and len(known) == len(uncertain) else None,
        objective=None,
        trials=summary.trials,
        metered=metered,
        is_sweep=True,
    )


def _so_far(summary: Summary) -> str:
    """How a sweep stands that is not done."""
    if summary.status == "done":
        return ""
    return f"{', as far as it has come' if summary.extent.open else ''} ({_shown(summary.status)})"


def _of_trial(run: Exported, trial: TrialSummary) -> Subject:
    return Subject(
        name=_shown(trial.name),
        scope=f"one training of a sweep, {_shown(trial.name)}{_STANDINGS[trial.status]}; without its start-up",
        energy_joules=trial.energy_joules,
        emissions_grams=trial.emissions_grams,
        duration_seconds=trial.duration_seconds,
        estimated=trial.estimated,
        relative_uncertainty=trial.relative_uncertainty,
        objective=trial.objective,
        trials=(trial,),
        metered=_metered(run, (trial,)),
    )


def _of_configuration(run: Exported, configuration: ConfigurationSummary) -> Subject:
    ended = configuration.ended
    if not ended:
        raise InputError(f"no training of {_shown(configuration.title)} has ended as planned", key="--trial")
    if len(configuration.trials) == len(ended) == 1:
        return _of_trial(run, ended[0])
    uncertain = [trial.relative_uncertainty for trial in ended]
    known = [relative for relative in uncertain if relative is not None]
    mean = f"the geometric mean of {_trainings(configuration)}"
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
        metered=_metered(run, ended),
    )


def _trainings(configuration: ConfigurationSummary) -> str:
    """Those that its mean is of, and how they ended if not all as planned and by themselves."""
    ended, begun = configuration.ended, len(configuration.trials)
    pruned = sum(1 for trial in ended if trial.status == "pruned")
    many = count_text(len(ended), "training")
    if len(ended) < begun:
        many = f"{len(ended)} of {count_text(begun, 'training')} (the others failed or have not ended)"
    return f"{many}, {pruned} of them stopped early" if pruned else many


def _metered(run: Exported, trials: Sequence[TrialSummary]) -> list[MeterRow | EnergyRow]:
    """What was booked to them."""
    leases = {lease.lease for lease in _leases(run, trials)}
    return [row for row in run.data.energy if row.lease in leases]


def _leases(run: Exported, trials: Sequence[TrialSummary]) -> list[LeaseRow]:
    """What they held."""
    own = {trial.trial for trial in trials}
    return [lease for lease in run.data.leases if lease.trial in own]


def _shown(text: str) -> str:
    return one_line(readable(text))
