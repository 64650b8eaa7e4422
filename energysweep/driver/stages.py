"""The stages of a sweep: what runs first, and leaves a checkpoint to go on from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from energysweep.core.records import TrialRow
from energysweep.sweepfile import SweepSpec, points, stage_spec
from energysweep.tune.points import Checkpoints

_NOT_RUN = "the configurations were not run, because some of them go on from stage"

# Runs the trials of a spec that have not ended yet, for a stage; returns the last checkpoints by trial id.
Fit = Callable[[SweepSpec, str, Checkpoints], Mapping[str, str]]


def run_stages(
    spec: SweepSpec, fit: Fit, trials_of: Callable[[str], Sequence[TrialRow]]
) -> tuple[Checkpoints | None, list[str]]:
    """Run all stages of a sweep.

    Args:
        spec: the sweep.
        fit: runs one of them.
        trials_of: the trials of a stage, as far as they have come.

    Returns:
        What they have left, None if some trial of a stage has left nothing: then none may go on from it. And what a
        person must know.
    """
    checkpoints: dict[tuple[str, str, int | None], str] = {}
    for stage in spec.stages:
        part = stage_spec(spec, stage)
        places = fit(part, stage, checkpoints)
        rows = trials_of(stage)
        for row in rows:
            if row.status == "completed" and row.trial in places:
                checkpoints[stage, row.hardware, row.seed] = places[row.trial]
        if any((stage, point.hardware, point.seed) not in checkpoints for point in points(part)):
            without = [row.trial for row in rows if row.status == "completed" and row.trial not in places]
            failed = [row.trial for row in rows if row.status == "failed"]
            problems = [_left_nothing(stage, trial) for trial in without]
            return None, [*problems, *([f"{_NOT_RUN} {stage}"] if without or failed else [])]
    return checkpoints, []


def _left_nothing(stage: str, trial: str) -> str:
    return (
        f"trial {trial} of stage {stage} left no checkpoint, so no trial can go on from it: the workload has"
        " to report one, by tune.report(metrics, checkpoint=...); the built-in ones do with checkpoint_every: 1"
    )
