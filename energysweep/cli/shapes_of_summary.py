"""The shape of summary.json, which answers about runs have in them, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from energysweep.analysis import BreakEven, Effects, Multitask, SideBySide
from energysweep.cli.shapes import Answer, Shape, Values
from energysweep.core.buckets import BUCKETS
from energysweep.core.carbon import Intensity
from energysweep.core.objective import Objective
from energysweep.ledger.balance import MeterSummary


class OfBuckets(Shape):
    """One that has a field of joules for each of some buckets besides, named in ``joules_of`` with what is in it."""

    joules_of: ClassVar[Mapping[str, str]]

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """With these fields."""
        made = handler.resolve_ref_schema(handler(core))
        joules = {"anyOf": [{"type": "number"}, {"type": "null"}]}
        made["properties"] |= {
            name: {**joules, "description": f"Joules: {about}."} for name, about in cls.joules_of.items()
        }
        made["required"] = list(made["properties"])
        return made


class SpreadShape(Shape):
    """Values over repeats.

    Attributes:
        mean: the arithmetic mean.
        std: the sample standard deviation; null for a single value.
        n: how many values there are.
    """

    mean: float
    std: float | None
    n: int


class EnergySpread(SpreadShape):
    """Values over repeats, of an energy or of what is in proportion to one.

    Attributes:
        geometric_mean: what configurations are compared by; 0 if all values are; null if one is not positive.
    """

    geometric_mean: float | None


class TrialCounts(Shape):
    """The trials of a run.

    Attributes:
        planned: how many it makes, those of its stages included; at least as many as it has begun.
        ended: how many ran to their end or were stopped for being worse than others.
        failed: how many gave up.
        open: the others: never begun, running, or interrupted.
    """

    planned: int
    ended: int
    failed: int
    open: int


class TotalsShape(OfBuckets):
    """Where all the energy went. Null is what nobody measured.

    Attributes:
        energy_joules: what the meters' own counters saw while trials held a lease.
        trials_energy_joules: of the trials' work; start-up is apart.
        lost_joules: of the trials' energy, what failed attempts spent after their last checkpoint.
        pruned_joules: of the trials' energy, what went into trials that a scheduler stopped early.
        conservation_error_ratio: |booked - metered| / metered.
        emissions_grams: CO2e of what the sweep is charged with, by the grid (location-based).
        market_emissions_grams: CO2e of the same by contract (market-based); null if no such figure was given.
        untold_startup_trials: how many trials had a lease whose start-up nobody told apart: it is in their energy.
    """

    joules_of: ClassVar[Mapping[str, str]] = {bucket.total: bucket.about for bucket in BUCKETS}
    energy_joules: float | None
    trials_energy_joules: float | None
    lost_joules: float | None
    pruned_joules: float | None
    conservation_error_ratio: float | None
    emissions_grams: float | None
    market_emissions_grams: float | None
    untold_startup_trials: int | None


class ConfigurationShape(Shape):
    """The repeats of one configuration on one hardware profile.

    Attributes:
        config: the parameters that differ between configurations, as a short text.
        hardware: the profile; empty if the sweep names none.
        parameters: all of them, by name.
        trials: how many it has.
        reached_target: how many of them reached the target; null without a target.
        missed_target: how many ran to their end, or were pruned, and did not; null without a target.
        open: how many have not ended, and have not reached the target before.
        failed: how many crashed, and have not reached the target before.
        energy_joules: of a trial's work, over those that ended.
        startup_joules: of a trial's start-up, which is apart from its energy.
        emissions_grams: CO2e of a trial's work.
        objective: the last value of the objective.
        energy_to_target_joules: of a trial until the target, over those that reached it.
        power_watts: of a trial, the geometric mean.
        joules_per_iteration: of one report's work, the geometric mean.
        iterations_to_target: reports until the target, the mean over those that reached it.
        lost_joules: what all its trials lost together.
        pruned_joules: what its pruned trials spent together.
        pareto: no other configuration has less energy and as good an objective; null where energies are not ranked.
        tied_with_cheapest: its energy cannot be told from the cheapest one's; null where nobody can tell.
        source: the kinds of meters behind its numbers, joined by +; null if nothing was measured.
        estimated: some of its energy is an estimate.
    """

    config: str
    hardware: str
    parameters: Values
    trials: int
    reached_target: int | None
    missed_target: int | None
    open: int
    failed: int
    energy_joules: EnergySpread | None
    startup_joules: SpreadShape | None
    emissions_grams: EnergySpread | None
    objective: SpreadShape | None
    energy_to_target_joules: EnergySpread | None
    power_watts: float | None
    joules_per_iteration: float | None
    iterations_to_target: float | None
    lost_joules: float | None
    pruned_joules: float | None
    pareto: bool | None
    tied_with_cheapest: bool | None
    source: str | None
    estimated: bool


class StageShape(Shape):
    """What ran before the configurations and serves them, such as a pretraining, or the pilot.

    Attributes:
        stage: its name in the sweep.
        trials: how many it has.
        metric: of its objective.
        objective: the last value of that.
        energy_joules: of one of its trials.
        total_energy_joules: of all of them together.
        estimated: some of that is an estimate.
    """

    stage: str
    trials: int
    metric: str | None
    objective: SpreadShape | None
    energy_joules: EnergySpread | None
    total_energy_joules: float | None
    estimated: bool


class ConfigurationReference(Shape):
    """A configuration that the headline names.

    Attributes:
        config, hardware: as among the configurations.
        energy_to_target_joules: until the target, over the trials that reached it.
        energy_joules: of a trial.
    """

    config: str
    hardware: str
    energy_to_target_joules: EnergySpread | None
    energy_joules: EnergySpread | None


class HeadlineShape(Shape):
    """The sweep in a sentence.

    Attributes:
        sentence: for a person; an estimate is marked in it.
        worst_to_best_energy_ratio: energy to the target of the dearest configuration over the cheapest one's.
        worst_to_best_interval: its 95 % interval.
        compared: how many configurations the cheapest is the lowest of.
        cheapest, dearest: what needs the least and the most energy to the target (without a target: in all); null if
            the configurations do not do the same work.
    """

    sentence: str
    worst_to_best_energy_ratio: float | None
    worst_to_best_interval: tuple[float, float] | None
    compared: int
    cheapest: ConfigurationReference | None
    dearest: ConfigurationReference | None


class SavedShape(Shape):
    """What stopping trials early has not spent: an estimate, always.

    Attributes:
        joules: the estimate; null where nobody knows how long a full run is.
        low, high: the ends of its 90 % interval.
        against: what it is compared with, in words.
    """

    joules: float | None
    low: float
    high: float | None
    against: str


class AnalysesShape(Shape):
    """What trials say of settings and training regimes; docs/analysis.md says how.

    Attributes:
        effects: by quantity, of which there are energy, epochs and joules_per_epoch; null if they cannot be told.
        pretraining, multitask, hardware: empty if the run has no such thing.
    """

    effects: dict[str, Effects] | None
    pretraining: list[BreakEven]
    multitask: list[Multitask]
    hardware: list[SideBySide]


class PartShape(Shape):
    """One driver's work on a run; a resumed run has several.

    Attributes:
        started: UTC, ISO 8601.
        duration_seconds: how long it worked, as far as it noted that.
    """

    started: str
    duration_seconds: float | None


class ScoredShape(Shape):
    """What came of a forecast.

    Attributes:
        charged_joules: what the run was charged with.
        ratio: that over what was forecast.
        held: it lies in the interval.
    """

    charged_joules: float
    ratio: float | None
    held: bool


class RunForecastShape(Shape):
    """What the run was forecast to be charged, before it began: an estimate, always.

    Attributes:
        joules: that.
        low, high: the ends of its 90 % interval.
        scored: null while it has not ended as planned.
    """

    joules: float
    low: float
    high: float
    scored: ScoredShape | None


class ChargeShape(Shape):
    """One limit of a budget.

    Attributes:
        limit: in the unit of its kind.
        charged: what of it is spent.
    """

    limit: float
    charged: float | None


class HourlyShape(Shape):
    """A run's emissions by the hour, beside those by the grid's yearly mean, which all else goes by.

    Attributes:
        source: who knows the hours: the name of the file, or of the API with its zone.
        emissions_grams: CO2e of what the sweep is charged with; null if nobody knows the grid of an hour of it.
        measured_joules: what was drawn in hours whose grid was measured.
        forecast_joules: in those of which a forecast alone is known, or what its source has filled in.
        yearly_joules: in those that count by the yearly mean, because the source does not know them.
        untimed_joules: of which nobody knows the hour; they count by the yearly mean.
    """

    source: str
    emissions_grams: float | None
    measured_joules: float
    forecast_joules: float
    yearly_joules: float
    untimed_joules: float


class HourShape(Shape):
    """One hour.

    Attributes:
        hour: its beginning, UTC, ISO 8601.
        joules: what the sweep was charged with in it, as far as its samples tell.
        grams_per_kwh: of the hour's grid; null if nobody knows.
        kind: measured, forecast or yearly; null likewise.
        source: who says so; null likewise.
        emissions_grams: CO2e; null likewise.
    """

    hour: str
    joules: float
    grams_per_kwh: float | None
    kind: str | None
    source: str | None
    emissions_grams: float | None


class PriceShape(Shape):
    """Of energy.

    Attributes:
        per_kwh: what a kilowatt-hour costs.
        currency: of that.
    """

    per_kwh: float
    currency: str


class SummaryAnswer(Answer):
    """All that a report says of a run. Numbers are not rounded; what is missing is null, and never 0.

    Attributes:
        sweep: the run id.
        name: of the sweep.
        workload: what was trained, as the sweep names it.
        owner: who answers for it.
        tags: what people sort runs by.
        status: running, done, failed, interrupted, or stopped by budget.
        estimated: a meter of it is an estimate, a model and not a measurement.
        started: UTC, ISO 8601.
        duration_seconds: of all its parts together.
        trials, totals, configurations, stages, headline, analyses, parts, meters: each says what it is.
        saved: null if nothing was, or if it cannot be told.
        carbon: the grid that emissions are counted for.
        hourly: null if nobody asked for it (``report --carbon hourly=...``).
        hours: those in which the sweep was charged with something; empty likewise.
        forecast: null if nothing was forecast.
        damage: what of the ledger could not be read and is left out.
        budget: by kind: energy_joules, emissions_grams, cost, duration_seconds; null without one.
    """

    answer_of: ClassVar[str] = "summary"
    sweep: str
    name: str
    workload: str | None
    owner: str | None
    tags: list[str]
    status: str
    estimated: bool
    started: str | None
    duration_seconds: float | None
    objective: Objective | None
    trials: TrialCounts
    totals: TotalsShape
    configurations: list[ConfigurationShape]
    stages: list[StageShape]
    headline: HeadlineShape
    saved: SavedShape | None
    analyses: AnalysesShape
    parts: list[PartShape]
    meters: list[MeterSummary]
    carbon: Intensity | None
    hourly: HourlyShape | None
    hours: list[HourShape]
    forecast: RunForecastShape | None
    damage: list[str]
    budget: dict[str, ChargeShape] | None
    price: PriceShape | None
