"""All the energy of a run, where it went and what metered it, in the small values that a summary is made of."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from energysweep.analysis.intervals import geometric_mean
from energysweep.core.buckets import BUCKETS, WORK_BUCKETS
from energysweep.core.carbon import Intensity
from energysweep.core.objective import mean_value
from energysweep.core.records import EnergyRow, LeaseRow, MeterRow
from energysweep.ledger.run_state import RunState
from energysweep.meters.kinds import Uncertainty, is_model, uncertainty

# Small values: a spread over repeats, sources ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spread:
    """Values over repeats.

    Attributes:
        mean: the arithmetic mean.
        std: the sample standard deviation; None for a single value.
        n: how many values there are.
        geometric_mean: 0 if all are; None if a value is not positive.
    """

    mean: float
    std: float | None
    n: int
    geometric_mean: float | None = field(default=None, compare=False)  # it follows from the same values

    @classmethod
    def over(cls, values: Iterable[float | None]) -> Spread | None:
        """The spread of the values that are known and finite; None if none is."""
        known = [value for value in values if value is not None and math.isfinite(value)]
        if not known:
            return None
        return cls(mean_value(known), _std(known), len(known), _geometric_mean(known))


def quotient(numerator: float | None, denominator: float) -> float | None:
    """What of it comes to one of the denominator; None if that is nothing, or so little that no float holds it."""
    found = numerator / denominator if numerator is not None and denominator > 0 else None
    return found if found is not None and math.isfinite(found) else None


def _std(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    try:
        return statistics.stdev(values)
    except OverflowError:  # beyond all floats, as that of the largest one and its negative
        return None


def _geometric_mean(values: Sequence[float]) -> float | None:
    if min(values) <= 0:
        return 0.0 if min(values) == max(values) == 0 else None
    found = geometric_mean(values)
    return found.value if found else None


def joined_sources(sources: Iterable[str]) -> str | None:
    """Each source once, in order, joined by ``+``; None if there is none."""
    return "+".join(sorted(set(sources))) or None


def mean_of(spread: Spread | None) -> float | None:
    """The mean of a spread, None if there is none."""
    return None if spread is None else spread.mean


def joules_of(spread: Spread | None) -> float | None:
    """The one mean of energies, and of what is in proportion to them: the geometric one."""
    return None if spread is None else spread.geometric_mean


def total(values: Iterable[float | None]) -> float | None:
    """The sum of what is known; None if nothing is."""
    known = [value for value in values if value is not None]
    return math.fsum(known) if known else None


def spread_dict(spread: Spread | None) -> dict[str, Any] | None:
    """A spread for summary.json."""
    return None if spread is None else {"mean": spread.mean, "std": spread.std, "n": spread.n}


# The balance: where the energy went, what metered it, and when nobody looked -----------------------------------------


@dataclass(frozen=True, slots=True)
class Totals:
    """Where all the energy went, over the windows that held a lease.

    Attributes:
        energy_joules: what the meters' own counters saw; the other side of the balance.
        trials_energy_joules: of the trials' work, the buckets of it together.
        buckets: joules by the names of ``core.buckets``; of start-up as far as it is known, None where nobody told any
            of it apart from work.
        lost_joules: of the trials' energy, what failed attempts spent after their last checkpoint.
        pruned_joules: of the trials' energy, what went into trials that a scheduler stopped early.
        conservation_error_ratio: \\|booked - metered\\| / metered.
        emissions_grams: of what the sweep is charged with, by the grid (location-based).
        market_emissions_grams: of the same by contract (market-based); None if no such figure was given.
        untold_startup_trials: how many trials had a lease whose start-up nobody told apart: it is in their energy.
    """

    energy_joules: float | None
    trials_energy_joules: float | None
    buckets: Mapping[str, float | None]
    lost_joules: float | None
    pruned_joules: float | None
    conservation_error_ratio: float | None
    emissions_grams: float | None
    untold_startup_trials: int | None = None
    market_emissions_grams: float | None = None

    @property
    def charged_joules(self) -> float | None:
        """What the sweep is charged with."""
        return total(self.buckets[bucket.name] for bucket in BUCKETS if bucket.is_charged)

    def to_dict(self) -> dict[str, Any]:
        """Its entry in summary.json, where each bucket has a key."""
        return {
            "energy_joules": self.energy_joules,
            "trials_energy_joules": self.trials_energy_joules,
            **{bucket.total: self.buckets[bucket.name] for bucket in BUCKETS},
            "lost_joules": self.lost_joules,
            "pruned_joules": self.pruned_joules,
            "conservation_error_ratio": self.conservation_error_ratio,
            "emissions_grams": self.emissions_grams,
            "market_emissions_grams": self.market_emissions_grams,
            "untold_startup_trials": self.untold_startup_trials,
        }


@dataclass(frozen=True, slots=True)
class MeterSummary:
    """One device's counter in one window.

    Attributes:
        energy_joules: what the counter moved by.
        uncovered_seconds: the part of the window that lies between no two good readings.
        coverage: the rest of it, as a part of the window; None for a window of no length.
        resolution_joules: one step of the counter, None if unknown.
        uncertainty: how far its kind may be from the truth, and why.
    """

    node: str
    device: str
    component: str
    source: str
    energy_joules: float
    uncovered_seconds: float
    coverage: float | None
    resolution_joules: float | None
    uncertainty: Uncertainty
    idle_floor_watts: float | None
    idle_floor_from: str
    failures: int
    resets: int

    @property
    def estimated(self) -> bool:
        """Whether its energy is a model's."""
        return is_model(self.source)


@dataclass(frozen=True, slots=True)
class Part:
    """One driver's work on a run; a resumed run has several.

    Attributes:
        started_at: seconds since the Unix epoch.
        duration_seconds: how long it worked, as far as it noted that; None if it did not.
    """

    started_at: float
    duration_seconds: float | None

    def to_dict(self) -> dict[str, Any]:
        """Its entry in summary.json."""
        started = datetime.fromtimestamp(self.started_at, UTC).isoformat()
        return {"started": started, "duration_seconds": self.duration_seconds}


def totals(
    state: RunState, lost_joules: float | None, pruned_joules: float | None, intensity: Intensity | None
) -> Totals:
    booked, metered = state.in_windows_with_leases()
    leases = state.leases.values()
    metered_joules = math.fsum(row.joules for row in metered) if metered else None
    buckets = {
        bucket.name: math.fsum(row.joules for row in booked if row.bucket == bucket.name) if booked else None
        for bucket in BUCKETS
    }
    charged_joules = total(buckets[bucket.name] for bucket in BUCKETS if bucket.is_charged)
    error_ratio = None
    if metered_joules and booked:
        error_ratio = abs(math.fsum(row.joules for row in booked) - metered_joules) / metered_joules
    return Totals(
        energy_joules=metered_joules,
        trials_energy_joules=total(buckets[bucket] for bucket in WORK_BUCKETS),
        buckets=buckets | {"startup": startup_joules(leases, booked)},
        untold_startup_trials=len({lease.trial for lease in leases if lease.startup_seconds is None})
        if leases
        else None,
        lost_joules=lost_joules,
        pruned_joules=pruned_joules,
        conservation_error_ratio=error_ratio,
        emissions_grams=emissions_grams(charged_joules, intensity),
        market_emissions_grams=None
        if charged_joules is None or intensity is None
        else intensity.market_emissions_grams(charged_joules),
    )


def startup_joules(leases: Iterable[LeaseRow], rows: Sequence[EnergyRow]) -> float | None:
    """What start-up drew, as far as it was told apart from work.

    Args:
        leases: some.
        rows: what was booked to them.

    Returns:
        None if nobody told it apart in any of them, or if nothing was metered.
    """
    told = [row.joules for row in rows if row.bucket == "startup"]
    seconds = [lease.startup_seconds for lease in leases]
    nobody_told = bool(seconds) and all(each is None for each in seconds)
    return math.fsum(told) if told or (rows and not nobody_told) else None


def meter(row: MeterRow) -> MeterSummary:
    """What a report says of one device in one window."""
    return MeterSummary(
        node=row.node,
        device=row.device,
        component=row.component,
        source=row.source,
        energy_joules=row.joules,
        uncovered_seconds=max(0.0, row.window_seconds - row.covered_seconds),
        coverage=row.covered_seconds / row.window_seconds if row.window_seconds > 0 else None,
        resolution_joules=row.resolution_joules,
        uncertainty=uncertainty(row.source, row.component),
        idle_floor_watts=row.idle_floor_watts,
        idle_floor_from=row.idle_floor_from,
        failures=row.failures,
        resets=row.resets,
    )


def parts(run: dict[str, Any]) -> tuple[Part, ...]:
    """The parts that the drivers noted, in the order of time."""
    noted = [Part(part["started_at"], part.get("duration_seconds")) for part in run.get("parts") or ()]
    return tuple(sorted(noted, key=lambda part: part.started_at))


def seconds_between(all_parts: Sequence[Part]) -> float | None:
    """How long nobody worked on the run, from its first part to its last; None if a part's end is not known."""
    gaps = [
        None if earlier.duration_seconds is None else later.started_at - earlier.started_at - earlier.duration_seconds
        for earlier, later in pairwise(all_parts)
    ]
    known = [max(0.0, gap) for gap in gaps if gap is not None]
    return math.fsum(known) if len(known) == len(gaps) else None


def emissions_grams(energy_joules: float | None, intensity: Intensity | None) -> float | None:
    """CO2e of this energy; None without a grid."""
    if energy_joules is None or intensity is None:
        return None
    return intensity.emissions_grams(energy_joules)
