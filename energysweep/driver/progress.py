"""How a sweep stands while its driver works: for the person who watches it, and for the dashboards."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from energysweep import sweepfile as specs
from energysweep.accounting.accounts import SweepSample
from energysweep.core.carbon import Intensity
from energysweep.core.records import PILOT
from energysweep.driver.poller import Poller
from energysweep.ledger.model import RunForecast
from energysweep.ledger.run_state import RunState
from energysweep.ledger.saving import Plan
from energysweep.ledger.sweep_metrics import About, sweep_numbers
from energysweep.report.live import Status, status_of
from energysweep.searching.budgeting import budget_of
from energysweep.sweepfile import SweepSpec


class Standing:
    """Puts together what Tune and what the agents have told so far.

    Args:
        spec: the sweep.
        grid: the carbon intensity.
        state: what they have told.
        poller: knows the power of now.
        began: the sweep's beginning on ``clock``.
        started_at: of this part of the run, in Unix time.
        owner: whose the run is.
        clock: monotonic seconds.
        forecast: tells what the run is expected to be charged, as far as anybody knows.
    """

    def __init__(
        self,
        spec: SweepSpec,
        grid: Intensity,
        state: RunState,
        poller: Poller,
        began: float,
        started_at: float,
        owner: str,
        clock: Callable[[], float] = time.monotonic,
        forecast: Callable[[], RunForecast | None] = lambda: None,
    ) -> None:
        self._spec = spec
        self._forecast = forecast
        self._state = state
        self._poller = poller
        self._began = began
        self._clock = clock
        self._about = About(
            name=spec.name,
            owner=owner,
            planned=self._planned,
            varying=specs.varying(spec),
            plan=Plan.of(spec),
            intensity=grid,
            started_at=started_at,
            budget=budget_of(spec, grid),
            tags=spec.tags,
        )

    @property
    def _planned(self) -> int:
        """How many trials there will be, those of a pilot included."""
        return specs.trial_count(self._spec).expected_trials + len(self._state.of_stage(PILOT))

    def samples(self, ended_at: float | None) -> list[SweepSample]:
        """What dashboards show of the sweep now; ``ended_at`` is None while it runs."""
        numbers = sweep_numbers(self._state, self._about_now(ended_at))
        return [SweepSample(family.name, labels, value) for family, labels, value in numbers]

    def status(self) -> Status:
        """For the progress display."""
        return status_of(self._state, self._about_now(), self._poller.watts, self._forecast())

    def _about_now(self, ended_at: float | None = None) -> About:
        seconds = self._clock() - self._began
        return replace(self._about, ended_at=ended_at, duration_seconds=seconds, planned=self._planned)
