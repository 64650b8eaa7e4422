"""How a sweep stands while it runs: for the person who watches it, and for the dashboards."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from energysweep import spec as specs
from energysweep.agent.accounts import Cheapest, Sweep
from energysweep.analysis.early_stopping import Effort, saved_joules
from energysweep.analysis.intervals import geometric_mean
from energysweep.analysis.trials import canonical, grouped
from energysweep.carbon import Intensity
from energysweep.objective import Outcome, outcome
from energysweep.spec import SweepSpec
from energysweep.tuning.labels import trial_label
from energysweep.tuning.progress import RunningTrial, Status
from energysweep.tuning.recorder import Recorder, TrialRecord
from energysweep.tuning.totals import Poller


class Standing:
    """Puts together what Tune and what the agents have told so far.

    Args:
        spec: the sweep.
        grid: the carbon intensity.
        recorder: knows the trials.
        poller: knows their energy.
        began: the sweep's beginning on this process's monotonic clock.
    """

    def __init__(self, spec: SweepSpec, grid: Intensity, recorder: Recorder, poller: Poller, began: float) -> None:
        self._spec = spec
        self._varying = specs.varying(spec)
        self._grid = grid
        self._recorder = recorder
        self._poller = poller
        self._began = began

    def show_on(self, dashboard: Sweep) -> None:
        """Bring what dashboards show of the sweep up to now."""
        best, metric = self._recorder.best(), self._spec.objective.metric
        records = self._recorder.records()
        counts = self._recorder.counts()
        is_over = dashboard.ended_at is not None
        planned = specs.trial_count(self._spec).trials
        dashboard.trials = with_never_begun(counts, planned) if is_over else with_waiting(counts, planned)
        dashboard.best = {} if best is None else {metric: best}
        dashboard.cheapest = cheapest(records, self._varying)
        dashboard.charged = self._poller.totals.charged()
        dashboard.saved_joules = self._saved_joules(records)

    def status(self) -> Status:
        """For the progress display."""
        records = self._recorder.records()
        totals = self._poller.totals
        joules = totals.charged_joules
        metric = self._spec.objective.metric
        counts = self._recorder.counts()
        return Status(
            # More than planned, if a driver was killed before Tune had written its state: trials began anew.
            trials=max(specs.trial_count(self._spec).trials, sum(counts.values())),
            counts=counts,
            metric=metric,
            best=self._recorder.best(),
            cheapest_at_target=cheapest(records, self._varying),
            watts=totals.watts,
            joules=joules,
            grams=None if joules is None else self._grid.emissions_grams(joules),
            estimated=self._poller.estimated,
            elapsed_seconds=time.monotonic() - self._began,
            running=tuple(
                RunningTrial(
                    self._label(record),
                    record.iterations,
                    record.objective,
                    totals.trials.get(record.row.trial),
                )
                for record in records
                if record.row.status == "running"
            ),
        )

    def _label(self, record: TrialRecord) -> str:
        return trial_label(record.row, self._varying)

    def _saved_joules(self, records: Sequence[TrialRecord]) -> float | None:
        joules = self._poller.totals.trials
        efforts = (
            Effort(record.row.status, record.iterations, joules.get(record.row.trial))
            for record in records
            if not record.row.stage
        )
        return saved_joules(efforts, self._spec.scheduler)


def with_waiting(counts: Mapping[str, int], planned: int) -> dict[str, int]:
    """The states of a sweep that runs, with the trials that wait in it.

    Args:
        counts: number of trials by state. The recorder learns of a trial when it begins.
        planned: how many the sweep makes. Optuna, too, makes a fixed number.

    Returns:
        The same, where ``pending`` is all that neither run nor have ended: one that an earlier part of the run has
        left interrupted waits as well, because it goes on.
    """
    begun = {state: number for state, number in counts.items() if state not in ("pending", "interrupted")}
    waiting = planned - sum(begun.values())
    return {"pending": waiting} | begun if waiting > 0 else begun


def with_never_begun(counts: Mapping[str, int], planned: int) -> dict[str, int]:
    """The states of a sweep that has ended, with those trials ``pending`` that never began."""
    never = planned - sum(counts.values())
    return {**counts, "pending": counts.get("pending", 0) + never} if never > 0 else dict(counts)


def cheapest(records: Iterable[TrialRecord], varying: Sequence[str]) -> Cheapest | None:
    """The configuration whose trials took the least to reach the target, by their geometric mean, as reports rank them.

    One that sometimes fails to reach it is cheap only when it is lucky: those in which no trial has missed it are
    compared, if there are any.

    Args:
        records: the trials so far. A mean is over those that have reached the target.
        varying: the parameters that differ between configurations.
    """
    own = (record for record in records if not record.row.stage)
    always: list[Cheapest] = []
    sometimes: list[Cheapest] = []
    for trials in grouped(own, lambda record: (canonical(record.row.parameters), record.row.hardware)).values():
        joules = [record.joules_at_target for record in trials if record.joules_at_target is not None]
        if not joules:
            continue
        row = trials[0].row
        mean = geometric_mean(joules) if all(each > 0 for each in joules) else None
        if mean is None:
            continue
        missed = any(_outcome(record) == "missed" for record in trials)
        found = Cheapest(specs.label(row.parameters, varying), row.hardware, mean.value)
        (sometimes if missed else always).append(found)
    return min(always or sometimes, key=lambda each: each.energy_joules, default=None)


def _outcome(record: TrialRecord) -> Outcome:
    return outcome(record.row.status, reached=record.joules_at_target is not None)
