"""Trials taken together: the repeats of a configuration, and those of a stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from energysweep.core.objective import Outcome
from energysweep.core.text import NOT_AVAILABLE
from energysweep.ledger.balance import Spread, joined_sources, joules_of, mean_of, spread_dict, total
from energysweep.ledger.trials import TrialSummary


@dataclass(frozen=True, slots=True)
class ConfigurationSummary:
    """The repeats of one set of parameters on one hardware profile.

    Means are over the trials that ended as planned (``TrialSummary.ended_as_planned``); the energy to the target is
    over all trials that reached it and over no others, so read it together with ``arrival_text``.

    Attributes:
        config: the parameters that differ between configurations, as a short text.
        title: ``config``, with the hardware where the sweep has several.
        pareto: no other configuration has less energy and as good an objective, or a better one for no more energy.
        tied_with_cheapest: its energy cannot be told from that of the cheapest one (see ``analysis/extremes.py``);
            False for that one, None where a single repeat leaves it open. Both are None in a sweep whose
            configurations do not do the same work: its energies are not ranked.
        unconfirmed: the sweep repeats only its winners, and this is none: one lucky trial makes it no answer.
    """

    config: str
    title: str
    parameters: dict[str, Any]
    hardware: str
    trials: tuple[TrialSummary, ...]
    pareto: bool | None = False
    tied_with_cheapest: bool | None = False
    unconfirmed: bool = False

    @property
    def ended(self) -> tuple[TrialSummary, ...]:
        """The trials that the means are over."""
        return tuple(trial for trial in self.trials if trial.ended_as_planned)

    @property
    def reached_target(self) -> int | None:
        """How many of its trials reached the target; None if the sweep has none."""
        return self._counted("reached")

    @property
    def missed_target(self) -> int | None:
        """How many of its trials ran to their end, or were pruned, and did not reach it; None without a target."""
        return self._counted("missed")

    @property
    def stopped_early(self) -> bool:
        """Whether it has missed the target only because others were better: what it would have taken is not known."""
        missed = [trial.status for trial in self.trials if trial.outcome == "missed"]
        return bool(missed) and set(missed) == {"pruned"}

    @property
    def cut_short(self) -> bool:
        """Whether one of its trials was stopped for being worse than others: its energy is not that of a whole one."""
        return any(trial.status == "pruned" for trial in self.trials)

    def _counted(self, outcome: Outcome) -> int | None:
        outcomes = [trial.outcome for trial in self.trials]
        return None if None in outcomes else outcomes.count(outcome)

    @property
    def open(self) -> int:
        """How many of its trials have not ended, and have not reached the target before."""
        return sum(1 for trial in self.trials if trial.is_open and trial.outcome != "reached")

    @property
    def failed(self) -> int:
        """How many of its trials crashed, and have not reached the target before."""
        return sum(1 for trial in self.trials if trial.status == "failed" and trial.outcome != "reached")

    @property
    def arrives(self) -> bool:
        """Whether every trial that says anything of the target reached it, and there is one."""
        return bool(self.reached_target) and not self.missed_target

    @property
    def arrival_text(self) -> str:
        """How many trials reached the target, of those that say; and what the others are: ``1 of 1, 2 open``.

        Without a target: how many trials have ended.
        """
        if self.reached_target is None:
            counted = [f"{len(self.ended)} ended"] if self.ended else []
        else:
            known = self.reached_target + (self.missed_target or 0)
            counted = [f"{self.reached_target} of {known}"] if known else []
        return ", ".join([*counted, *self._rest()]) or NOT_AVAILABLE

    @property
    def to_target_text(self) -> str | None:
        """What stands in place of an energy to the target where there is none; None where a trial reached it."""
        if self.reached_target:
            return None
        if self.stopped_early:
            return "stopped before"
        return "not reached" if self.missed_target else ", ".join(self._rest()) or NOT_AVAILABLE

    def _rest(self) -> list[str]:
        parts = ((self.open, "open"), (self.failed, "failed"))
        return [f"{number} {name}" for number, name in parts if number]

    @property
    def energy_joules(self) -> Spread | None:
        """Energy of a trial."""
        return Spread.over(trial.energy_joules for trial in self.ended)

    @property
    def startup_joules(self) -> Spread | None:
        """What a trial's start-up drew; apart from its energy."""
        return Spread.over(trial.startup_joules for trial in self.ended)

    @property
    def all_startup_joules(self) -> float | None:
        """What the start-up of all its trials drew together."""
        return total(trial.startup_joules for trial in self.trials)

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
            "missed_target": self.missed_target,
            "open": self.open,
            "failed": self.failed,
            "energy_joules": with_geometric_mean(self.energy_joules),
            "startup_joules": spread_dict(self.startup_joules),
            "emissions_grams": with_geometric_mean(self.emissions_grams),
            "objective": spread_dict(self.objective),
            "energy_to_target_joules": with_geometric_mean(self.energy_to_target_joules),
            "power_watts": joules_of(self.power_watts),
            "joules_per_iteration": joules_of(self.joules_per_iteration),
            "iterations_to_target": mean_of(self.iterations_to_target),
            "lost_joules": self.lost_joules,
            "pruned_joules": self.pruned_joules,
            "pareto": self.pareto,
            "tied_with_cheapest": self.tied_with_cheapest,
            "source": self.source,
            "estimated": self.estimated,
        }


def with_geometric_mean(spread: Spread | None) -> dict[str, Any] | None:
    found = spread_dict(spread)
    return None if spread is None or found is None else found | {"geometric_mean": spread.geometric_mean}


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
            "energy_joules": with_geometric_mean(self.energy_joules),
            "total_energy_joules": self.total_energy_joules,
            "estimated": self.estimated,
        }
