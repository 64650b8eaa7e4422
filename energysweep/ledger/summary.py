"""From a ledger to a Summary: pure functions, no clock, no files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from energysweep.analysis.extremes import stands_out, worst_to_best
from energysweep.analysis.intervals import Estimate
from energysweep.analysis.trials import grouped, varying
from energysweep.core.carbon import Intensity
from energysweep.core.naming import exact_text, trial_text
from energysweep.core.objective import Objective
from energysweep.core.records import EnergyRow, MeterRow
from energysweep.core.text import TIMES, count_text, energy_text, number_text, or_more_text
from energysweep.hourly.grid import NamedSource
from energysweep.ledger.balance import joules_of, meter, parts, total, totals
from energysweep.ledger.budget import STOPPED, Budget
from energysweep.ledger.by_hour import by_the_hour
from energysweep.ledger.configurations import ConfigurationSummary, StageSummary
from energysweep.ledger.model import Extent, Headline, RunForecast, Summary, extent, open_text
from energysweep.ledger.ranking import ranked, ratio_to_cheapest, same_work, with_ties
from energysweep.ledger.run_state import RunState
from energysweep.ledger.saving import Plan, saved
from energysweep.ledger.store import LedgerData
from energysweep.ledger.trials import TrialSummary, order, summarise_trials
from energysweep.sweepfile.algorithms import SCHEDULERS, SchedulerType


def summarise(data: LedgerData, carbon: Intensity | None = None, hours: NamedSource | None = None) -> Summary:
    """Everything the report says about a run.

    Args:
        data: the run's ledger.
        carbon: the grid to count emissions for; without it the one that the run noted, and none if it noted none.
        hours: who knows those of that grid, to count the run's emissions by the hour besides.
    """
    return summary_of(RunState.of(data), data, carbon, hours)


def summary_of(
    state: RunState, data: LedgerData, carbon: Intensity | None = None, hours: NamedSource | None = None
) -> Summary:
    """The same of a ledger that has been folded already."""
    run = data.run
    intensity = carbon or (Intensity(**run["carbon"]) if run.get("carbon") else None)
    objective = state.objectives[""]
    names = shown_parameters(data)
    trials = summarise_trials(state, names, intensity)
    plan = Plan.noted(run)
    own_trials = [trial for trial in trials if not trial.stage]
    found = extent(run, trials)
    kind = _scheduler(run)
    groups = configurations_of(own_trials, objective, names, only_winners_repeat=kind is not None and kind.needs_all)
    configurations = with_ties(groups, objective)
    return Summary(
        sweep=str(run.get("id", "")),
        name=str(run.get("name", run.get("id", ""))),
        status=found.status,
        started_at=run.get("started_at"),
        duration_seconds=run.get("duration_seconds"),
        objective=objective,
        varying=names,
        totals=totals(
            state,
            lost_joules=total(trial.lost_joules for trial in trials),
            pruned_joules=total(trial.pruned_joules for trial in trials),
            intensity=intensity,
        ),
        trials=trials,
        configurations=configurations,
        headline=headline(configurations, objective, found),
        meters=tuple(meter(row) for row in state.in_windows_with_leases()[1]),
        carbon=intensity,
        extent=found,
        parts=parts(run),
        lost_nodes=_nodes_left_open(run, state, heard=True),
        unheard_nodes=_nodes_left_open(run, state, heard=False),
        unmeasured_gpus=_unmeasured_gpus(state),
        stages=stages_of(trials, state.objectives),
        damage=tuple(data.damage),
        saved=None if plan is None else saved(state, plan, is_over=found.status != "running"),
        budget=Budget.noted(run, intensity),
        budget_end=run.get("budget") if found.status == STOPPED else None,
        workload=_workload(run.get("spec") or {}),
        changed_by=kind.name if kind is not None and kind.changes else "",
        forecast=RunForecast.noted(run, state.charged_joules),
        owner=run.get("owner"),
        tags=tuple((run.get("spec") or {}).get("tags") or ()),
        sources=state.sources(),
        hourly=None if hours is None else by_the_hour(data, state, hours, intensity),
    )


def shown_parameters(data: LedgerData) -> tuple[str, ...]:
    """The parameters that differ between the sweep's configurations: as it noted, or else as its trials show."""
    if "varying" in data.run:
        return tuple(data.run["varying"])
    return varying(row.parameters for row in data.trials if not row.stage)


def _workload(spec: Mapping[str, Any]) -> str:
    command = spec.get("command")
    return " ".join(str(part) for part in command) if command else str(spec.get("workload") or "")


def _nodes_left_open(run: Mapping[str, Any], state: RunState, *, heard: bool) -> tuple[str, ...]:
    """The nodes of leases whose end nobody told.

    Args:
        run: what was noted of it.
        state: the run.
        heard: of parts of the run whose drivers asked all agents to the end, so that these were gone; else of parts
            whose drivers were killed before.
    """
    noted = sorted(run.get("parts") or (), key=lambda part: float(part["started_at"]))
    status = run.get("status", "running")

    def was_heard(opened_at: float) -> bool:
        begun = [place for place, part in enumerate(noted) if part["started_at"] <= opened_at]
        place = begun[-1] if begun else 0
        is_last = place >= len(noted) - 1
        # A driver of an older energysweep noted of a part only how the last one ended.
        ended = noted[place].get("ended") if noted else None
        return bool(ended) if ended is not None else is_last and status != "running"

    open_leases = [lease for lease in state.leases.values() if lease.closed_at is None]
    if status == "running" and heard:
        return ()
    if status == "running":  # those of its last part may just be running
        last = float(noted[-1]["started_at"]) if noted else 0.0
        open_leases = [lease for lease in open_leases if lease.opened_at < last]
    return tuple(sorted({lease.node for lease in open_leases if was_heard(lease.opened_at) is heard}))


def _unmeasured_gpus(state: RunState) -> tuple[tuple[str, str, int], ...]:
    rows: list[MeterRow | EnergyRow] = [*state.meters.values(), *state.energy()]  # rows of meters may be lost
    measured = {(row.host, row.window, row.device) for row in rows}
    trials: dict[tuple[str, str], set[str]] = {}
    for lease in state.leases.values():
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


def _scheduler(run: Mapping[str, Any]) -> SchedulerType | None:
    return SCHEDULERS.get(((run.get("spec") or {}).get("scheduler") or {}).get("type", ""))


def configurations_of(
    trials: Iterable[TrialSummary],
    objective: Objective | None,
    names: Sequence[str],
    *,
    only_winners_repeat: bool = False,
) -> tuple[ConfigurationSummary, ...]:
    """The trials by their parameters and hardware, in order, with the Pareto front marked.

    Where they do not do the same work there is no front, and no tie.

    Args:
        trials: the sweep's own.
        objective: of the sweep.
        names: the parameters that differ.
        only_winners_repeat: others have fewer trials because they are none, and not because the sweep is not over.
    """
    groups = grouped(trials, lambda trial: (exact_text(trial.parameters), trial.hardware))
    most = max((len(members) for members in groups.values()), default=0)
    several_hardware = len({hardware for _, hardware in groups}) > 1
    configurations = [
        ConfigurationSummary(
            config=members[0].config,
            title=trial_text(members[0].config, hardware=hardware if several_hardware else ""),
            parameters=members[0].parameters,
            hardware=hardware,
            trials=tuple(members),
            unconfirmed=only_winners_repeat and len(members) < most,
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
        (joules, sign * each.objective.mean, number)
        for number, each in enumerate(configurations)
        if each.objective and (joules := joules_of(each.energy_joules)) is not None
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


# The sweep in one sentence: what the same target cost at most and at least -------------------------------------------


def headline(configurations: Sequence[ConfigurationSummary], objective: Objective | None, extent: Extent) -> Headline:
    """Compare the configurations at equal target; without a target, their whole energy; other work, not at all.

    Args:
        configurations: of the sweep.
        objective: its.
        extent: how far it has come; what is open is said.
    """
    if not same_work(configurations):
        found = _of_other_work(configurations, objective, extent)
    elif objective is None or objective.target is None:
        found = _without_target(configurations, objective, extent)
    else:
        found = _at_target(configurations, objective, objective.target, extent)
    return replace(found, sentence=f"{found.sentence} {open_text(extent)}".rstrip())


def _at_target(
    configurations: Sequence[ConfigurationSummary], objective: Objective, target: float, extent: Extent
) -> Headline:
    goal = f"{objective.metric} {target:g}"
    members = ranked(configurations, objective)
    failed = _failed(configurations)
    if not members:
        if any(each.reached_target for each in configurations):
            return Headline(f"{goal} was reached, but no energy was measured on the way{failed}.")
        tried = any(each.missed_target for each in configurations)
        so_far = " so far" if extent.open else ""
        text = f"No configuration reached {goal}{so_far}" if tried else f"No trial has ended that could reach {goal}"
        return Headline(f"{text}{failed}.")
    (low_joules, cheapest), (_, dearest) = members[0], members[-1]
    low = _energy(low_joules, cheapest)
    missed = _missed(configurations)
    if len(members) == 1:
        only = "So far only" if extent.open else "Only"
        how_often = "in every trial" if cheapest.arrives and not _undecided(cheapest) else f"in {_k_of_n(cheapest)}"
        remarks = _remarks(None, [cheapest])
        sentence = f"{only} {cheapest.title} reached {goal} {how_often}, for {low}{remarks}{missed}{failed}."
        return Headline(sentence, None, cheapest, dearest, 1)
    ratio = ratio_to_cheapest(dearest, configurations, objective)
    begin = f"So far, reaching {goal}" if extent.open else f"Reaching {goal}"
    sentence = f"{begin} {_between(members, ratio)}{missed}{_bound(configurations)}{failed}."
    return Headline(sentence, ratio, cheapest, dearest, len(members))


def _of_other_work(
    configurations: Sequence[ConfigurationSummary], objective: Objective | None, extent: Extent
) -> Headline:
    why = "They differ in their tasks or in a pretraining of their own, so their energies are not ranked."
    count = len(configurations)
    if objective is None or objective.target is None:
        return Headline(f"{count} configurations ran. {why}")
    always = sum(1 for each in configurations if each.arrives)
    goal = f"{objective.metric} {objective.target:g}"
    begin = "So far, " if extent.open else ""
    return Headline(f"{begin}{always} of {count} configurations reached {goal} in every trial. {why}")


def _without_target(
    configurations: Sequence[ConfigurationSummary], objective: Objective | None, extent: Extent
) -> Headline:
    members = ranked(configurations, objective)
    best = _best(configurations, objective)
    failed = _failed(configurations)
    if not members:
        return Headline(f"No trial has ended with a measured energy yet{failed}.")
    (low_joules, cheapest), (_, dearest) = members[0], members[-1]
    begin = "So far, a trial" if extent.open else "A trial"
    if len(members) == 1:
        sentence = f"{begin} took {_energy(low_joules, cheapest)}{_remarks(None, [cheapest])}"
    else:
        sentence = f"{begin} {_between(members, ratio_to_cheapest(dearest, configurations, objective))}"
    if best is not None and best.objective is not None and objective is not None:
        sentence += f"; best {objective.metric}: {number_text(best.objective.mean)} with {best.title}"
    return Headline(f"{sentence}{_cut_short(configurations)}{failed}.", None, cheapest, dearest, len(members))


def _cut_short(configurations: Sequence[ConfigurationSummary]) -> str:
    """Those that are not compared because a scheduler ended a trial of theirs, where there are others."""
    cut = sum(1 for each in configurations if each.cut_short)
    if cut in (0, len(configurations)):
        return ""
    were = "was stopped before its end" if cut == 1 else "were stopped before their end"
    return f"; {cut} of {len(configurations)} configurations {were}, and not compared"


def _best(configurations: Sequence[ConfigurationSummary], objective: Objective | None) -> ConfigurationSummary | None:
    if objective is None:
        return None
    sign = 1.0 if objective.mode == "max" else -1.0
    known = [(sign * each.objective.mean, each) for each in configurations if each.objective is not None]
    return max(known, key=lambda pair: pair[0])[1] if known else None


def _missed(configurations: Sequence[ConfigurationSummary]) -> str:
    """Those that ran to their end, and did not arrive in every trial; and those that a scheduler ended before."""
    stopped = sum(1 for each in configurations if each.stopped_early)
    missed = sum(1 for each in configurations if each.missed_target) - stopped
    of_all = f" of {len(configurations)} configurations "
    text = f"; {missed}{of_all}did not reach it in every trial" if missed else ""
    if not stopped:
        return text
    before = "was stopped before it reached it" if stopped == 1 else "were stopped before they reached it"
    return f"{text}; {stopped}{' ' if missed else of_all}{before}"


def _bound(configurations: Sequence[ConfigurationSummary]) -> str:
    """What one of those that missed it takes at least, where that is more than the dearest; as the answers say it."""
    found = worst_to_best([(each, each.trials) for each in configurations])
    if found is None or found.at_least is None or not stands_out(found.at_least):
        return ""
    estimated = any(each.estimated for each in configurations)
    return f", one of them takes {or_more_text(found.at_least, estimated=estimated)}"


def _failed(configurations: Sequence[ConfigurationSummary]) -> str:
    count = sum(each.failed for each in configurations)
    return f"; {count_text(count, 'trial')} failed" if count else ""


def _undecided(configuration: ConfigurationSummary) -> bool:
    return any(trial.reached_target is None for trial in configuration.trials)


def _ties(members: Sequence[tuple[float, ConfigurationSummary]]) -> str:
    """Which of them cannot be told from the cheapest: by name, if they are few."""
    tied = [each.title for _, each in members if each.tied_with_cheapest]
    if not tied:
        return ""
    if len(tied) == len(members) - 1 and len(tied) > 2:
        return f", tied with all {len(tied)} others"
    if len(tied) > 2:
        return f", tied with {len(tied)} others"
    return f", tied with {' and '.join(tied)}"


def _energy(joules: float, configuration: ConfigurationSummary) -> str:
    return energy_text(joules, estimated=configuration.estimated, brief=True)


def _between(members: Sequence[tuple[float, ConfigurationSummary]], ratio: Estimate | None) -> str:
    """The lowest and the highest of the compared energies. The lowest of many is lower than a repeat of it would be."""
    (low_joules, cheapest), (high_joules, dearest) = members[0], members[-1]
    low, high = _energy(low_joules, cheapest), _energy(high_joules, dearest)
    remarks = _remarks(ratio, (cheapest, dearest))
    return (
        f"took between {low}, the lowest of {len(members)} configurations, and {high}{remarks};"
        f" cheapest: {cheapest.title}{_ties(members)}"
    )


def _remarks(ratio: Estimate | None, members: Sequence[ConfigurationSummary]) -> str:
    """What stands in brackets after the energies: how many times, and whether they are estimates."""
    remarks = [] if ratio is None else [f"{TIMES}{number_text(ratio.value)}"]
    if ratio is not None and ratio.low is not None and ratio.high is not None:
        remarks.append(f"95 %: {number_text(ratio.low)} to {number_text(ratio.high)}")
    if any(each.estimated for each in members):
        remarks.append("estimated")
    return f" ({', '.join(remarks)})" if remarks else ""


def _k_of_n(configuration: ConfigurationSummary) -> str:
    known = (configuration.reached_target or 0) + (configuration.missed_target or 0)
    rest = f" of {len(configuration.trials)}" if known < len(configuration.trials) else ""
    if not configuration.missed_target:
        return f"{configuration.reached_target}{rest} trials"
    return f"{configuration.reached_target} of {known} trials"
