"""What earlier runs, a pilot, or the first reports of a run say about the trials that a sweep will make."""

from __future__ import annotations

import statistics
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any, Final

from energysweep.analysis.forecast import Known
from energysweep.core.errors import InputError
from energysweep.core.naming import exact_text
from energysweep.core.objective import Objective, first_held, number
from energysweep.core.records import OPEN, PILOT, LeaseRow, TrialRow
from energysweep.core.text import count_text
from energysweep.ledger.run_state import RunState
from energysweep.searching.curves import joules_of_a_start, joules_of_resuming
from energysweep.sweepfile import SweepSpec, points, trial_count, varying
from energysweep.sweepfile.distributions import Distribution
from energysweep.sweepfile.reports import EPOCHS, full_reports, is_built_in, only_values
from energysweep.sweepfile.space import all_leaves

_CHANGES_NO_CURVE: Final = frozenset((EPOCHS, "checkpoint_every"))  # of the built-in workloads


@dataclass(frozen=True)
class Evidence:
    """What is known of a sweep's trials before they have run.

    Attributes:
        configurations: of the sweep, in their order, by hardware profile; of each the trials that are known, by seed.
        others: configurations that are known and not the sweep's.
        length_is_known: somebody knows how many reports a trial makes that nobody stops; otherwise it is taken to be
            as many as the longest has made.
        power: what trials draw beyond their curves.
        estimated: some of it is of an estimate.
        again: it is of earlier runs, which are done anew; otherwise of this one.
        notes: what a person should know of it.
        places: in the space, of the configurations and then of the others: their parameters, and under the empty name
            the hardware profile. Empty where the search chooses the configurations as it goes.
    """

    configurations: Sequence[Mapping[int, Known]]
    others: Sequence[Mapping[int, Known]]
    length_is_known: bool
    power: Power
    estimated: bool
    again: bool
    notes: tuple[str, ...] = ()
    places: Sequence[Mapping[str, Any]] = ()

    @property
    def seen(self) -> int:
        """How many of the configurations have a known trial."""
        return sum(1 for own in self.configurations if own)

    @property
    def trials(self) -> int:
        """On how many trials it rests."""
        return sum(len(own) for own in (*self.configurations, *self.others))


@dataclass(frozen=True)
class Power:
    """What trials draw beyond their curves, and how fast.

    Attributes:
        startup_joules: of one start of a trial.
        resume_joules: of going on from a pause, as part of the trial's own energy; None if no trial has.
        report_joules: of a trial's first report, in the median: no more than that is going on from a pause taken to
            cost, if nobody knows.
        watts: of a trial at work, in the mean; None if nobody knows how long they took.
        overhead_watts: of the sweep beside its trials.
        at_once: how many trials worked at the same time.
        start_seconds: from a trial's end, or its pause, to the next one's beginning in its place, in the mean; None
            if no trial took another one's place.
        stage_joules: of one trial of each stage.
    """

    startup_joules: float = 0.0
    resume_joules: float | None = 0.0
    report_joules: float = 0.0
    watts: float | None = None
    overhead_watts: float = 0.0
    at_once: int = 1
    start_seconds: float | None = None
    stage_joules: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Trial:
    key: str | None  # of the configuration, as the sweep would write it; None: the sweep has none like it
    group: str
    parameters: Mapping[str, Any]
    hardware: str
    seed: int
    joules: list[float]
    values: list[float | None]
    ran_out: bool  # it ended by itself, and not at the target: no report is missing


def of_earlier_runs(spec: SweepSpec, runs: Sequence[tuple[str, RunState, Mapping[str, Any]]]) -> Evidence:
    """What earlier runs say about a sweep.

    Args:
        spec: the sweep.
        runs: the name of each, its rows, and what its driver noted.

    Raises:
        InputError: a run is of another workload, or of no use.
    """
    notes: list[str] = []
    trials: list[_Trial] = []
    for name, state, facts in runs:
        _check_workload(spec, name, facts)
        told = [*_trials(spec, state, facts), *_trials(spec, state, facts, PILOT)]
        if not told:
            raise InputError("no trial has reported with its energy: nobody can tell what others would cost", file=name)
        if facts.get("status") != "done" and state.of_stage(""):  # otherwise it is a pilot
            notes.append(f"{name} was not run to its end: what it has counts.")
        if differing := _differing_constants(spec, state):
            notes.append(f"{name} had other constants ({differing}): its trials may be like those of the sweep or not.")
        trials += told
    power = _power([state for _, state, _ in runs], [facts for *_, facts in runs], trials)
    if missing := [stage for stage in spec.stages if stage not in power.stage_joules]:
        raise InputError(f"none of the runs has a trial of stage {missing[0]}", key="--from")
    estimated = any(state.estimated for _, state, _ in runs)
    return _gathered(spec, trials, power, estimated=estimated, again=True, notes=notes)


def of_this_run(spec: SweepSpec, state: RunState, facts: Mapping[str, Any]) -> Evidence | None:
    """What the trials of a run have told so far of those to come; None if nothing."""
    trials = _trials(spec, state, facts)
    if not trials:
        return None
    return _gathered(spec, trials, _power([state], [facts], trials), estimated=state.estimated, again=False, notes=())


def _gathered(
    spec: SweepSpec, trials: Sequence[_Trial], power: Power, *, estimated: bool, again: bool, notes: Sequence[str]
) -> Evidence:
    groups: dict[str, list[_Trial]] = defaultdict(list)
    for trial in trials:
        groups[trial.group].append(trial)
    ran_out = {group: [len(each.joules) for each in members if each.ran_out] for group, members in groups.items()}
    usual = max((made for lengths in ran_out.values() for made in lengths), default=None)
    longest = max(len(trial.joules) for trial in trials)
    known_by_group: dict[str, dict[int, Known]] = {}
    for group, members in groups.items():
        wanted = [
            full_reports(spec, trial.parameters) or max(ran_out[group], default=usual) or longest for trial in members
        ]
        known_by_group[group] = {
            place if again else trial.seed: _known(trial, length, spec)
            for place, (trial, length) in enumerate(zip(members, wanted, strict=True))
        }
    arms = _arms(spec)
    found: list[Mapping[int, Known]] = []
    places: list[Mapping[str, Any]] = []
    if arms is None:  # the search chooses them as it goes
        count = trial_count(spec)
        found = [] if again else [*known_by_group.values()]
        found += [{}] * max(0, count.configurations * count.hardware - len(found))
        others = [*known_by_group.values()] if again else []
    else:
        by_key = {members[0].key: known_by_group[group] for group, members in groups.items()}
        found = [by_key.get(arm, {}) for arm in arms]
        outside = {group: members[0] for group, members in groups.items() if members[0].key not in arms}
        others = [known_by_group[group] for group in outside]
        places = [*arms.values(), *(_place(spec, trial.parameters, trial.hardware) for trial in outside.values())]
    for metric in spec.stop:
        if metric not in ("training_iteration", "energy_joules", spec.objective.metric):
            notes = [*notes, f"When stop.{metric} ends a trial, no forecast knows: each is taken to go on without it."]
    is_known = usual is not None or all(full_reports(spec, trial.parameters) is not None for trial in trials)
    return Evidence(found, others, is_known, power, estimated, again, tuple(dict.fromkeys(notes)), places)


def _known(trial: _Trial, length: int, spec: SweepSpec) -> Known:
    most = full_reports(spec, trial.parameters)
    made = len(trial.joules) if most is None else min(len(trial.joules), most)
    whole = (
        made if trial.ran_out and (most is None or most >= len(trial.joules)) and most is None else max(length, made)
    )
    return Known(trial.joules[:made], trial.values[:made], whole)


def of_those(spec: SweepSpec, found: Evidence, places: Sequence[Mapping[str, Any]]) -> Evidence:
    """The same of a sweep that had these configurations alone, by their places in the space."""
    every = [*found.configurations, *found.others]
    at = {exact_text(place): number for number, place in enumerate(found.places)}
    wanted = [_place(spec, {name: each[name] for name in each if name}, each[""]) for each in places]
    numbers = [at.get(exact_text(place)) for place in wanted]
    rest = [number for number in range(len(found.places)) if number not in set(numbers) and every[number]]
    return replace(
        found,
        configurations=[{} if number is None else every[number] for number in numbers],
        others=[every[number] for number in rest],
        places=[*wanted, *(found.places[number] for number in rest)],
    )


def tells_length(spec: SweepSpec) -> bool:
    """Whether the sweep itself says how many reports a trial makes that nobody stops."""
    return full_reports(spec, {EPOCHS: 1}) is not None


# A run's trials ------------------------------------------------------------------------------------------------------


def _trials(spec: SweepSpec, state: RunState, facts: Mapping[str, Any], stage: str = "") -> list[_Trial]:
    """Those of a run's own configurations, or of its pilot, that have told what a report cost."""
    found = (_trial(spec, state, row, facts) for row in sorted(state.of_stage(stage), key=lambda row: row.seed or 0))
    return [trial for trial in found if trial is not None]


def _trial(spec: SweepSpec, state: RunState, row: TrialRow, facts: Mapping[str, Any]) -> _Trial | None:
    objective = spec.objective.rule
    joules: list[float] = []
    values: list[float | None] = []
    for report in state.reports_of(row.trial):
        if report.energy_joules is None:  # by the next one it is known
            continue
        joules.append(max(report.energy_joules, joules[-1] if joules else 0.0))
        values.append(objective.value(report.metrics))
    if not joules:
        return None
    group = exact_text((_compared(spec, row.parameters), row.hardware))
    key = group if _is_told_apart(spec, row, facts) else None
    at_target = _at_target(objective, values) or _at_their_target(spec, state, row, facts)
    ended = row.status == "completed" and row.stage != PILOT and not at_target and not _stopped_otherwise(spec, facts)
    return _Trial(key, group, row.parameters, row.hardware, row.seed or 0, joules, values, ended)


def _at_target(objective: Objective, values: Sequence[float | None]) -> bool:
    """Whether its last report was the one that held the target."""
    place = first_held((objective.reached_by(value) for value in values), objective.patience)
    return place is not None and place + objective.patience >= len(values)


def _at_their_target(spec: SweepSpec, state: RunState, row: TrialRow, facts: Mapping[str, Any]) -> bool:
    """The same of the target that the run itself had, which may be another one."""
    noted = facts.get("objective") or {}
    target, metric = number(noted.get("target")), noted.get("metric")
    if target is None or not isinstance(metric, str):
        return False
    mode, patience = noted.get("mode") or spec.objective.mode, noted.get("patience") or 1
    theirs = Objective(metric, mode, target, patience)
    return _at_target(theirs, [theirs.value(report.metrics) for report in state.reports_of(row.trial)])


def _stopped_otherwise(spec: SweepSpec, facts: Mapping[str, Any]) -> bool:
    stop = (facts.get("spec") or {}).get("stop") or {}
    return bool(stop) and stop != dict(spec.stop)


def _compared(spec: SweepSpec, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters by which configurations are the same, by name."""
    ignored = _CHANGES_NO_CURVE - set(varying(spec)) if is_built_in(spec) else frozenset()
    known = only_values(spec)
    return {name: parameters[name] for name in sorted(parameters) if name in known and name not in ignored}


def _is_told_apart(spec: SweepSpec, row: TrialRow, facts: Mapping[str, Any]) -> bool:
    """Whether a trial has all that varies here, and nothing varied there that is not a parameter here."""
    always = {leaf.name for leaf in all_leaves(spec) if leaf.varies and not leaf.conditions}
    return always <= set(row.parameters) and set(facts.get("varying") or ()) <= set(only_values(spec))


def _arms(spec: SweepSpec) -> dict[str, dict[str, Any]] | None:
    """The sweep's configurations in their order, as they are compared; of each its place in the space."""
    if spec.search.kind.made_by is not None:
        return None
    found: dict[str, dict[str, Any]] = {}
    for each in points(spec):
        key = exact_text((_compared(spec, each.parameters), each.hardware))
        found.setdefault(key, _place(spec, each.parameters, each.hardware))
    return found


def _place(spec: SweepSpec, parameters: Mapping[str, Any], hardware: str) -> dict[str, Any]:
    return {**_compared(spec, parameters), "": hardware}


def _check_workload(spec: SweepSpec, name: str, facts: Mapping[str, Any]) -> None:
    theirs = _program(facts.get("spec") or {})
    ours = _program(spec.model_dump(mode="json"))
    if theirs != ours:
        raise InputError(f"is a run of another workload ({theirs or 'unknown'}; the sweep's is {ours})", file=name)


def _program(spec: Mapping[str, Any]) -> str:
    """The workload, wherever its file lies."""
    if command := spec.get("command"):
        return f"command {' '.join(str(part) for part in command)}"
    path, colon, attribute = str(spec.get("workload") or "").rpartition(":")
    return f"{PurePath(path).name}{colon}{attribute}"


def _differing_constants(spec: SweepSpec, state: RunState) -> str:
    ours = {
        name: value for name, value in _compared(spec, only_values(spec)).items() if not isinstance(value, Distribution)
    }
    theirs: dict[str, set[str]] = defaultdict(set)
    for row in state.of_stage(""):
        for name, value in _compared(spec, row.parameters).items():
            if name in ours and exact_text(value) != exact_text(ours[name]):
                theirs[name].add(str(value))
    return ", ".join(f"{name} {' and '.join(sorted(found))}" for name, found in theirs.items())


def _power(states: Sequence[RunState], facts: Sequence[Mapping[str, Any]], trials: Sequence[_Trial]) -> Power:
    held = startup = work = overhead = seconds = stood = 0.0
    gaps, at_once = 0, 1
    stages: dict[str, list[float]] = defaultdict(list)
    for state, noted in zip(states, facts, strict=True):
        of_run = 0.0
        of_all: list[LeaseRow] = []
        for row in state.all_rows():
            leases = state.leases_of(row.trial)
            of_all += leases
            own_startup = sum(sums["startup"] for sums in state.booked(row.trial).values())
            own = state.joules(row.trial) or 0.0
            startup += own_startup
            work, of_run = work + own, of_run + own + own_startup
            if row.stage and row.status not in OPEN:
                stages[row.stage].append(own + own_startup)
        places = _side_by_side(of_all)
        at_once = max(at_once, places)
        for leases in _by_part(of_all, noted):
            between = places * (max(map(_end, leases)) - min(lease.opened_at for lease in leases))
            gaps += max(0, len(leases) - places)
            stood += max(0.0, between - sum(lease.held_seconds for lease in leases))
        lasted, held_here = noted.get("duration_seconds") or 0.0, sum(lease.held_seconds for lease in of_all)
        seconds, held = seconds + lasted, held + held_here
        overhead += max(0.0, (state.charged_joules or 0.0) - of_run)
    resuming = (joules_of_resuming(state, noted) for state, noted in zip(states, facts, strict=True))
    known = [joules for joules in resuming if joules is not None]
    return Power(
        startup_joules=joules_of_a_start(states),
        resume_joules=statistics.median(known) if known else None,
        report_joules=statistics.median(trial.joules[0] for trial in trials),
        watts=(work + startup) / held if held > 0 and work > 0 else None,
        overhead_watts=overhead / seconds if seconds > 0 else 0.0,
        at_once=at_once,
        start_seconds=stood / gaps if gaps else None,
        stage_joules={stage: sum(each) / len(each) for stage, each in stages.items()},
    )


def _end(lease: LeaseRow) -> float:
    return lease.opened_at + lease.held_seconds


def _by_part(leases: Sequence[LeaseRow], facts: Mapping[str, Any]) -> list[list[LeaseRow]]:
    """Those of each part of a run, between which nobody worked."""
    begins = sorted(part.get("started_at") or 0.0 for part in facts.get("parts") or ())
    found: dict[int, list[LeaseRow]] = defaultdict(list)
    for lease in leases:
        found[bisect_right(begins, lease.opened_at)].append(lease)
    return [*found.values()]


def _side_by_side(leases: Sequence[LeaseRow]) -> int:
    """How many worked at the same time: more did for a twentieth of the time at most, as at a trial's handing over."""
    changes = [(lease.opened_at, 1) for lease in leases]
    changes += [(_end(lease), -1) for lease in leases]
    seconds: dict[int, float] = defaultdict(float)
    level, since = 0, 0.0
    for at, change in sorted(changes):
        seconds[level] += at - since
        level, since = level + change, at
    seconds.pop(0, None)
    rest = 0.95 * sum(seconds.values())
    for level in sorted(seconds):
        rest -= seconds[level]
        if rest <= 0:
            return level
    return 1


def said(found: Evidence, source: str) -> str:
    """On what it rests, in a sentence."""
    seen = f"{found.seen} of {count_text(len(found.configurations), 'configuration')}"
    rest = "" if found.seen == len(found.configurations) else "; the others are taken to be like those that are known"
    return f"From {source}: {count_text(found.trials, 'trial')}, of {seen} of the sweep{rest}."
