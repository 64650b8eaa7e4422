"""The forecast of a run, revised by what its own trials have told."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from typing import Final

from energysweep.analysis.forecast import FIRST_REPORTS
from energysweep.core.records import PILOT
from energysweep.ledger.model import RunForecast
from energysweep.ledger.run_state import RunState
from energysweep.searching.evidence import Evidence, of_this_run
from energysweep.searching.forecasting import own_way, planned
from energysweep.searching.ordering import Order
from energysweep.sweepfile import SweepSpec, trial_count, varying

log = logging.getLogger("ray.energysweep")  # into the run folder's ray.log, with Ray's own words

_WORLDS: Final = 20  # it is made beside the trials, and charged to the sweep


def _in_a_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="energysweep-forecast", daemon=True).start()


class Revising:
    """Revises a forecast once every configuration has told its first reports, and whenever there are twice as many.

    Before that, the first forecast knows more of those that have not begun.

    Args:
        spec: the sweep.
        state: what its trials have told.
        first: made before the run began; None: there is none, and none is made.
        seconds: how long the run has lasted.
        aside: carries work out, while trials go on.
        order: in which its configurations begin, if it has noted one.
    """

    def __init__(
        self,
        spec: SweepSpec,
        state: RunState,
        first: RunForecast | None,
        seconds: Callable[[], float],
        aside: Callable[[Callable[[], None]], None] = _in_a_thread,
        order: Order | None = None,
    ) -> None:
        self._spec, self._state, self._latest, self._seconds, self._aside = spec, state, first, seconds, aside
        self._order = order
        self._way = None if first is None else own_way(spec)
        count = trial_count(spec)
        self._from = count.configurations * count.hardware * FIRST_REPORTS  # so many reports it takes
        self._is_at_work = False

    def latest(self) -> RunForecast | None:
        """The forecast as it stands; what has been reported since may have a new one made."""
        if self._way is not None and not self._is_at_work:
            reports = sum(trial.iterations for trial in self._state.all_trials() if not trial.row.stage)
            if reports >= self._from:
                self._from = 2 * reports
                self._is_at_work = True
                self._aside(self._revise)
        return self._latest

    def _revise(self) -> None:
        try:
            facts = {"varying": varying(self._spec), "duration_seconds": self._seconds()}
            found = of_this_run(self._spec, self._state, facts)
            if self._way is not None and found is not None and _tells_all(found):
                spent = self._state.charged_joules or 0.0
                joules = planned(
                    self._spec,
                    found,
                    self._way,
                    count=_WORLDS,
                    spent_joules=spent,
                    pilot_joules=self._pilot_joules(),
                    order=self._order,
                ).joules
                self._latest = RunForecast(joules.value, joules.low, joules.high, None)
        except Exception as error:  # noqa: BLE001 - the sweep is worth more than what is said of its end
            log.warning("the forecast was not revised: %s", error)
        finally:
            self._is_at_work = False

    def _pilot_joules(self) -> float:
        """What the run was charged with when its pilot ended; of one that was broken off, its trials and starts."""
        for each in self._state.decisions_of(""):
            if each.why == PILOT and each.sweep_joules is not None:
                return each.sweep_joules
        pilot = self._state.of_stage(PILOT)
        startup = (sums["startup"] for row in pilot for sums in self._state.booked(row.trial).values())
        return math.fsum([*startup, *(self._state.joules(row.trial) or 0.0 for row in pilot)])


def _tells_all(found: Evidence) -> bool:
    """Whether a trial of each configuration has told its first reports, or all that it has."""
    return all(
        any(len(known.joules) >= min(FIRST_REPORTS, known.length) for known in own.values())
        for own in found.configurations
    )
