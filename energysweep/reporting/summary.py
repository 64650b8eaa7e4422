"""From a ledger to a Summary: pure functions, no clock, no files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from energysweep.analysis.trials import canonical, grouped, varying
from energysweep.carbon import Intensity
from energysweep.ledger import LedgerData
from energysweep.objective import Objective
from energysweep.reporting.balance import in_windows_with_leases, meter, parts, totals
from energysweep.reporting.extent import extent
from energysweep.reporting.groups import ConfigurationSummary, StageSummary
from energysweep.reporting.headline import headline
from energysweep.reporting.keys import order
from energysweep.reporting.model import Summary
from energysweep.reporting.ranking import same_work
from energysweep.reporting.ties import with_ties
from energysweep.reporting.trials import TrialSummary, summarise_trials
from energysweep.reporting.values import total


def summarise(data: LedgerData, carbon: Intensity | None = None) -> Summary:
    """Everything the report says about a run.

    Args:
        data: the run's ledger.
        carbon: the grid to count emissions for; without it the one that the run noted, and none if it noted none.
    """
    run = data.run
    intensity = carbon or (Intensity(**run["carbon"]) if run.get("carbon") else None)
    objective = Objective(**run["objective"]) if run.get("objective") else None
    own = [row.parameters for row in data.trials if not row.stage]
    names = tuple(run["varying"]) if "varying" in run else varying(own)
    objectives = {"": objective} | {
        name: Objective(**stage["objective"]) for name, stage in run.get("stages", {}).items()
    }
    trials = summarise_trials(data, objectives, names, intensity)
    own_trials = [trial for trial in trials if not trial.stage]
    found = extent(run, trials)
    configurations = with_ties(configurations_of(own_trials, objective, names), objective)
    return Summary(
        sweep=str(run.get("id", "")),
        name=str(run.get("name", run.get("id", ""))),
        status=found.status,
        started_at=run.get("started_at"),
        duration_seconds=run.get("duration_seconds"),
        objective=objective,
        varying=names,
        totals=totals(
            data,
            lost_joules=total(trial.lost_joules for trial in trials),
            pruned_joules=total(trial.pruned_joules for trial in trials),
            intensity=intensity,
        ),
        trials=trials,
        configurations=configurations,
        headline=headline(configurations, objective, found),
        meters=tuple(meter(row) for row in in_windows_with_leases(data, data.meters)),
        carbon=intensity,
        extent=found,
        parts=parts(run),
        lost_nodes=_nodes_left_open(data, heard=True),
        unheard_nodes=_nodes_left_open(data, heard=False),
        unmeasured_gpus=_unmeasured_gpus(data),
        stages=stages_of(trials, objectives),
        damage=tuple(data.damage),
        workload=_workload(run.get("spec") or {}),
    )


def _workload(spec: Mapping[str, Any]) -> str:
    command = spec.get("command")
    return " ".join(str(part) for part in command) if command else str(spec.get("workload") or "")


def _nodes_left_open(data: LedgerData, *, heard: bool) -> tuple[str, ...]:
    """The nodes of leases whose end nobody told.

    Args:
        data: the run's ledger.
        heard: of parts of the run whose drivers asked all agents to the end, so that these were gone; else of parts
            whose drivers were killed before.
    """
    noted = sorted(data.run.get("parts") or (), key=lambda part: float(part["started_at"]))
    status = data.run.get("status", "running")

    def was_heard(opened_at: float) -> bool:
        begun = [place for place, part in enumerate(noted) if part["started_at"] <= opened_at]
        place = begun[-1] if begun else 0
        is_last = place >= len(noted) - 1
        # A driver of an older energysweep noted of a part only how the last one ended.
        ended = noted[place].get("ended") if noted else None
        return bool(ended) if ended is not None else is_last and status != "running"

    open_leases = [lease for lease in data.leases if lease.closed_at is None]
    if status == "running" and heard:
        return ()
    if status == "running":  # those of its last part may just be running
        last = float(noted[-1]["started_at"]) if noted else 0.0
        open_leases = [lease for lease in open_leases if lease.opened_at < last]
    return tuple(sorted({lease.node for lease in open_leases if was_heard(lease.opened_at) is heard}))


def _unmeasured_gpus(data: LedgerData) -> tuple[tuple[str, str, int], ...]:
    measured = {(row.host, row.window, row.device) for row in data.meters}
    trials: dict[tuple[str, str], set[str]] = {}
    for lease in data.leases:
        for name in json.loads(lease.gpus):
            if (lease.host, lease.window, name) not in measured:
                trials.setdefault((lease.node, name), set()).add(lease.trial)
    return tuple((node, name, len(held)) for (node, name), held in sorted(trials.items()))


def stages_of(trials: Iterable[TrialSummary], objectives: Mapping[str, Objective | None]) -> tuple[StageSummary, ...]:
    """In the order in which they ran: that of the sweep."""
    groups = grouped((trial for trial in trials if trial.stage), lambda trial: trial.stage)
    names = [*(name for name in objectives if name in groups), *(name for name in groups if name not in objectives)]
    metrics = {name: objective.metric for name, objective in objectives.items() if objective}
    return tuple(StageSummary(name, metrics.get(name), tuple(groups[name])) for name in names)


def configurations_of(
    trials: Iterable[TrialSummary], objective: Objective | None, names: Sequence[str]
) -> tuple[ConfigurationSummary, ...]:
    """The trials by their parameters and hardware, in order, with the Pareto front marked.

    Where they do not do the same work there is no front, and no tie.
    """
    groups = grouped(trials, lambda trial: (canonical(trial.parameters), trial.hardware))
    several_hardware = len({hardware for _, hardware in groups}) > 1
    configurations = [
        ConfigurationSummary(
            config=members[0].config,
            title=f"{members[0].config} on {hardware}" if several_hardware else members[0].config,
            parameters=members[0].parameters,
            hardware=hardware,
            trials=tuple(members),
        )
        for (_, hardware), members in groups.items()
    ]
    configurations.sort(key=lambda each: (order(each.parameters, names), each.hardware))
    if not same_work(configurations):
        return tuple(replace(each, pareto=None, tied_with_cheapest=None) for each in configurations)
    return _with_pareto_front(configurations, objective)


def _with_pareto_front(
    configurations: Sequence[ConfigurationSummary], objective: Objective | None
) -> tuple[ConfigurationSummary, ...]:
    """Mark those that nobody beats: from the cheapest on, each that is better than everything cheaper."""
    if objective is None:
        return tuple(configurations)
    sign = 1.0 if objective.mode == "max" else -1.0
    points = [
        (each.energy_joules.mean, sign * each.objective.mean, number)
        for number, each in enumerate(configurations)
        if each.energy_joules and each.objective
    ]
    front: set[int] = set()
    best_cheaper = float("-inf")
    for _, equals in groupby(sorted(points), key=lambda point: point[0]):
        same_energy = list(equals)
        best = max(value for _, value, _ in same_energy)
        if best > best_cheaper:
            front |= {number for _, value, number in same_energy if value == best}
            best_cheaper = best
    return tuple(replace(each, pareto=number in front) for number, each in enumerate(configurations))
