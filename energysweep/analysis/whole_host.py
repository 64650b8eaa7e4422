"""Hardware side by side if each trial pays for all idle power of its host, and not only for what it has reserved.

The rest of a host idles as well, for as long as a trial runs there, and is booked to nobody: a boundary that favours
the profile that reserves little. It is right if others use the rest meanwhile. If nobody does, this is the other one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, Protocol, TypeVar

from energysweep.analysis.hardware import SideBySide, side_by_side
from energysweep.analysis.trials import Observation, TrialLike

Turn = Literal["the same answer", "the opposite answer", "clear with one boundary only", "no clear answer either way"]


class HostTrialLike(TrialLike, Protocol):
    """A trial with its active energy, its time and its start-up; see ``Observation``."""

    @property
    def active_energy_joules(self) -> float | None: ...
    @property
    def duration_seconds(self) -> float | None: ...
    @property
    def startup_seconds(self) -> float | None: ...


_Trial = TypeVar("_Trial", bound=HostTrialLike)


@dataclass(frozen=True, slots=True)
class BothBoundaries:
    """Two hardware profiles: as counted, and with all idle power of the host."""

    counted: SideBySide
    whole: SideBySide

    @property
    def turn(self) -> Turn:
        """Whether the boundary turns the answer; one that is a tie, or has no interval, is not clear."""
        cheaper = [each.cheaper if each.ratio.tied is False else None for each in (self.counted, self.whole)]
        if None not in cheaper:
            return "the same answer" if cheaper[0] == cheaper[1] else "the opposite answer"
        return "no clear answer either way" if cheaper == [None, None] else "clear with one boundary only"

    @property
    def weaker(self) -> bool:
        """Whether less is left of the answer, or nothing, or its opposite, if each trial pays for its whole host."""
        if self.counted.cheaper != self.whole.cheaper:
            return True
        logs = [abs(math.log(each.ratio.energy.value)) for each in (self.counted, self.whole)]
        return logs[1] < logs[0] * (1 - 1e-6)


def both_boundaries(
    trials: Sequence[_Trial], idle_watts: float, run_seconds: float | None
) -> tuple[BothBoundaries, ...]:
    """Every two profiles that a sweep's own trials ran on, all on one host and one after the other.

    A trial's whole energy is then its active energy, and the idle power of the host for as long as it worked: start-up
    is apart with either boundary. Its energy to the target is taken to grow by the same factor.

    Args:
        trials: all of the sweep, those of its stages included.
        idle_watts: of the whole host.
        run_seconds: how long the sweep took.

    Returns:
        Nothing where it cannot be told: a trial without its parts, or trials that ran at the same time, because their
        times add up to more than the sweep's.
    """
    if math.fsum(trial.duration_seconds or 0.0 for trial in trials) > (run_seconds or 0.0):
        return ()
    found = [_with_idle_host(trial, idle_watts) for trial in trials]
    whole = [trial for trial in found if trial is not None]
    if len(whole) < len(found):
        return ()
    pairs = zip(side_by_side(trials), side_by_side(whole), strict=True)
    return tuple(BothBoundaries(counted, other) for counted, other in pairs)


def _with_idle_host(trial: HostTrialLike, idle_watts: float) -> Observation | None:
    worked_seconds = (trial.duration_seconds or 0.0) - (trial.startup_seconds or 0.0)
    if trial.active_energy_joules is None or worked_seconds <= 0 or not trial.energy_joules:
        return None
    joules = trial.active_energy_joules + idle_watts * worked_seconds
    to_target = trial.energy_to_target_joules
    said = {each.name: getattr(trial, each.name) for each in fields(Observation)}
    return Observation(
        **said
        | {
            "energy_joules": joules,
            "energy_to_target_joules": None if to_target is None else to_target * joules / trial.energy_joules,
        }
    )
