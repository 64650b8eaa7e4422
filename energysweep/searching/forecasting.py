"""What a sweep will spend: its trials drawn to their ends, and rehearsed under the real scheduler, many times over."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from energysweep.analysis.forecast import Curve, Forecast, Known, forecast_of, worlds
from energysweep.core.errors import InputError
from energysweep.core.objective import Objective, reached_limit
from energysweep.searching.curves import Curves, Report
from energysweep.searching.evidence import Evidence, Power
from energysweep.searching.ordering import Order, places_of
from energysweep.searching.rehearsal import Rehearsal, rehearse
from energysweep.sweepfile import SweepSpec
from energysweep.sweepfile.algorithms import SCHEDULERS

WORLDS: Final = 60  # each is rehearsed
_LEAST: Final = 0.03  # an interval's width to each side: meters and machines are not more constant than that
_MOST_REPORTS: Final = 50_000  # of all trials of a world: of more, drawing and rehearsing takes minutes
_PAUSES_KNOWN: Final = (0.5, 2.0)  # how long one takes, over what is between trials of runs that paused
_PAUSES_UNKNOWN: Final = (1.0, 4.0)  # the same of runs that did not
_REHEARSED: Final = ("fifo", "asha", "hyperband", "median", "race", "cap")


@dataclass(frozen=True)
class Way:
    """A way to run a sweep.

    Attributes:
        scheduler: its type.
        stops_at_target: trials end at the target.
    """

    scheduler: str
    stops_at_target: bool

    @property
    def name(self) -> str:
        """For a person."""
        is_said = self.stops_at_target and not SCHEDULERS[self.scheduler].needs_all  # these end there anyway
        return f"{self.scheduler}, each to the target" if is_said else self.scheduler


@dataclass(frozen=True)
class Planned:
    """What a way to run a sweep will cost: what the sweep is charged with, and how long it takes.

    Attributes:
        seconds: None if nobody knows how fast trials are, or how long the pauses take that it makes.
    """

    way: Way
    joules: Forecast
    seconds: Forecast | None


def ways(spec: SweepSpec) -> list[Way]:
    """The sweep's own first, then the others that could run it."""
    own = own_way(spec)
    found = [] if own is None else [own]
    found.append(Way("fifo", stops_at_target=False))
    has_target = spec.objective.target is not None
    if has_target:
        found.append(Way("fifo", stops_at_target=True))
    if spec.search.kind.made_by is None:  # they want all configurations before the first trial
        found.append(Way("race", stops_at_target=has_target))
        if has_target:
            found.append(Way("cap", stops_at_target=True))
    return list(dict.fromkeys(found))


def own_way(spec: SweepSpec) -> Way | None:
    """As the sweep's file says; None if that cannot be rehearsed."""
    kind = spec.scheduler.kind
    if kind.name not in _REHEARSED:
        return None
    stops = spec.objective.target is not None and (spec.objective.stop_at_target or kind.needs_all)
    return Way(kind.name, stops)


def planned(
    spec: SweepSpec,
    found: Evidence,
    way: Way,
    *,
    count: int = WORLDS,
    spent_joules: float = 0.0,
    pilot_joules: float = 0.0,
    pilot_seconds: float = 0.0,
    order: Order | None = None,
) -> Planned:
    """Forecast one way to run a sweep.

    Args:
        spec: the sweep.
        found: what is known.
        way: how it is run.
        count: in so many worlds.
        spent_joules: the sweep has been charged with so much already.
        pilot_joules: so much of it for its pilot, which goes on in no trial.
        pilot_seconds: how long that took.
        order: in which the configurations of a run that has begun begin, if it has noted one.

    Raises:
        InputError: its trials make more reports than can be drawn.
    """
    _check_size(spec, found)
    power = found.power
    at_once = spec.max_concurrent_trials or power.at_once
    kind = SCHEDULERS[way.scheduler]
    own = spec.scheduler.model_dump(exclude_defaults=True) if spec.scheduler.type == way.scheduler else {}
    settings: dict[str, Any] = {key: value for key, value in own.items() if key in kind.keys}
    stages = math.fsum(power.stage_joules.get(stage, 0.0) for stage in spec.stages) * spec.repeats * len(spec.profiles)
    joules: list[float] = []
    seconds: list[float] = []
    rng = random.Random(0)  # noqa: S311 - repeatable, not secret
    places = places_of(spec, found, way.scheduler, order)
    for curves in _worlds(spec, found, count):
        resume = rng.uniform(0.0, power.report_joules) if power.resume_joules is None else power.resume_joules
        played = rehearse(
            curves,
            spec.objective.rule,
            way.scheduler,
            at_once=at_once,
            order=places,
            startup_joules=power.startup_joules,
            resume_joules=resume,
            settings=settings,
            stops_at_target=way.stops_at_target,
        )
        # What pausing costs beside the trials is part of the overhead of runs that did; of others nobody knows it.
        between = 0.0 if power.resume_joules is not None else rng.uniform(0.0, power.report_joules)
        overhead = played.pauses * between
        if power.watts:
            lasts = (played.last_joules + stages / at_once) / power.watts
            overhead += lasts * power.overhead_watts
            pause = _seconds_of_a_pause(power, rng)
            if pause is not None or not played.pauses:
                seconds.append(lasts + played.pauses * (pause or 0.0) / at_once)
        joules.append(played.energy_joules + overhead + stages)
    return Planned(
        way,
        forecast_of(joules).at_least_as_wide(_LEAST).plus(pilot_joules).at_least(spent_joules),
        forecast_of(seconds).at_least_as_wide(_LEAST).plus(pilot_seconds) if len(seconds) == len(joules) else None,
    )


def _seconds_of_a_pause(power: Power, rng: random.Random) -> float | None:
    """How long a place stands still over a pause, drawn: about as long as it did between trials.

    If none of these has paused, longer: then a checkpoint is written and read, too. None: nobody knows.
    """
    if power.start_seconds is None:
        return None
    least, most = _PAUSES_KNOWN if power.resume_joules is not None else _PAUSES_UNKNOWN
    return rng.uniform(least, most) * power.start_seconds


def _check_size(spec: SweepSpec, found: Evidence) -> None:
    longest = max((known.length for own in (*found.configurations, *found.others) for known in own.values()), default=0)
    lengths = (max((known.length for known in own.values()), default=longest) for own in found.configurations)
    check_reports(spec.repeats * sum(lengths))


def check_reports(reports: int) -> None:
    """Whether so many reports of all trials together can be drawn.

    Raises:
        InputError
    """
    if reports > _MOST_REPORTS:
        raise InputError(
            f"all trials together would make {reports:,} reports; a forecast draws at most {_MOST_REPORTS:,}:"
            " report less often, or plan fewer configurations or repeats"
        )


def _worlds(spec: SweepSpec, found: Evidence, count: int) -> Iterator[Curves]:
    drawn = worlds(found.configurations, spec.repeats, count, others=found.others, again=found.again)
    for world in drawn:
        by_trial = {(str(place), seed): _up_to_stop(spec, reports) for (place, seed), reports in _reports(world)}
        yield Curves("a world", by_trial)


def _up_to_stop(spec: SweepSpec, reports: list[Report]) -> list[Report]:
    """A trial's reports to the one at which a rule of ``stop`` ends it, as far as a curve has what that looks at."""
    for number, report in enumerate(reports, start=1):
        told = {"training_iteration": number, "energy_joules": report.joules, spec.objective.metric: report.value}
        if any(metric in told and reached_limit(told[metric], limit) for metric, limit in spec.stop.items()):
            return reports[:number]
    return reports


def _reports(world: Sequence[Sequence[Curve]]) -> Iterator[tuple[tuple[int, int], list[Report]]]:
    for place, own in enumerate(world):
        for seed, curve in enumerate(own):
            yield (place, seed), [Report(*report) for report in zip(curve.joules, curve.values, strict=True)]


# A rehearsal's own interval ------------------------------------------------------------------------------------------


def rehearsed(
    curves: Curves,
    objective: Objective,
    scheduler_type: str,
    *,
    winners: int = 3,
    at_once: int = 1,
    order_seed: int | None = None,
    order: Sequence[int] | None = None,
    budget_joules: float | None = None,
    count: int = WORLDS,
) -> tuple[Rehearsal, Forecast]:
    """Rehearse, and tell what another run would spend: in other orders, with other seeds of those that there are.

    What going on from a pause costs, where nobody has measured it, is between nothing and a first report: half of that
    in the rehearsal itself.

    Args:
        curves, objective, scheduler_type, winners, at_once, order_seed, order, budget_joules: as of ``rehearse``. If an
            order is given, others have it, too.
        count: of how many other runs.
    """
    first = statistics.median(reports[0].joules for reports in curves.by_trial.values())
    rng = random.Random(0)  # noqa: S311 - repeatable, not secret

    def played(of: Curves, drawn: int | None, part: float) -> Rehearsal:
        return rehearse(
            of,
            objective,
            scheduler_type,
            winners=winners,
            at_once=at_once,
            order_seed=drawn,
            order=order,
            startup_joules=curves.startup_joules,
            resume_joules=part * first if curves.resume_joules is None else curves.resume_joules,
            budget_joules=budget_joules,
        )

    found = played(curves, order_seed, 0.5)
    names = curves.configurations
    known = [
        {
            seed: Known([each.joules for each in own], [each.value for each in own], len(own))
            for seed in range(curves.seeds)
            if (own := curves.by_trial.get((name, seed)))
        }
        for name in names
    ]
    spent = [found.energy_joules]
    for number, world in enumerate(worlds(known, curves.seeds, count, again=True)):
        other = Curves(curves.of, {(names[place], seed): reports for (place, seed), reports in _reports(world)})
        drawn = number if order_seed is None and order is None else order_seed
        spent.append(played(other, drawn, rng.random()).energy_joules)
    interval = forecast_of(spent)
    low, high = min(interval.low, found.energy_joules), max(interval.high, found.energy_joules)
    return found, Forecast(found.energy_joules, low, high)
