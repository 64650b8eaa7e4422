"""How much of the trials' energy is idle power, and what hardware costs if a trial pays for all of its host's.

A trial pays for the idle power of what it reserves. The rest of the host idles as well, for as long as the trial runs,
and is booked to nobody: a boundary that favours the profile that reserves little.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from energysweep.analysis import Estimate, Ratio, SideBySide, side_by_side
from energysweep.analysis.trials import grouped
from energysweep.reporting import Summary
from energysweep.reporting.answers_settings import settings_text
from energysweep.reporting.markdown import escape, table
from energysweep.reporting.text import energy_text, percent_text, ratio_text
from energysweep.reporting.trials import TrialSummary


def energy_parts_table(summaries: Sequence[Summary]) -> str:
    """The trials' energy of each run, those of its stages included, in its active and its idle part."""
    head = ("run", "hardware", "trials' energy", "active", "share of idle power", "idle part", "memory's part")
    rows = []
    for run in summaries:
        by_hardware = grouped(run.trials, lambda trial: trial.hardware)
        rows.append([run.name, "all", *_parts(run.trials, run.estimated)])
        if len(by_hardware) > 1:
            rows += [[run.name, name, *_parts(trials, run.estimated)] for name, trials in by_hardware.items()]
    return table(head, rows)


def _parts(trials: Sequence[TrialSummary], estimated: bool) -> list[str]:
    whole = _total(trial.energy_joules for trial in trials)
    active = _total(trial.active_energy_joules for trial in trials)
    idle = _total(trial.idle_energy_joules for trial in trials)
    memory = _total(trial.component_joules.get("dram") for trial in trials)
    return [
        *(energy_text(joules, estimated=estimated, brief=True) for joules in (whole, active, idle)),
        *(percent_text(part / whole if whole and part is not None else None) for part in (idle, memory)),
    ]


def whole_host_list(summaries: Sequence[Summary]) -> str:
    """Every two hardware profiles, as counted and with all idle power of the host, and whether that turns the answer.

    Only of runs where the idle power of the host while a trial ran is known.
    """
    head = ("run", "first over second", "setting", "as counted (95 %)", "with all idle power of the host (95 %)")
    rows, said = [], []
    for run in summaries:
        whole = whole_host(run)
        counted = side_by_side(run.trials) if whole else ()
        for one, other in zip(counted, whole, strict=True):
            names = f"{one.first} over {one.second}"
            ratios = [(f"all {len(one.configurations)}", one.ratio, other.ratio)]
            for (parameters, mine), (_, theirs) in zip(one.configurations, other.configurations, strict=True):
                own = {name: value for name, value in parameters.items() if name in run.varying}
                ratios.append((settings_text(own) or "default", mine, theirs))
            rows += [[run.name, names, name, _text(mine, run), _text(theirs, run)] for name, mine, theirs in ratios]
            said.append(f"- **{_turned(one, other)}** ({escape(run.name)}): {escape(_sentence(one, other, run))}")
    return "\n\n".join(part for part in ("\n".join(said), table(head, rows)) if part)


def whole_host(run: Summary) -> tuple[SideBySide, ...]:
    """The profiles of a run side by side, each trial with all idle power of its host for as long as it ran.

    Empty where that cannot be told: more than one host or window, an idle power that is not known, trials that must
    have run at the same time, or a trial without its parts.
    """
    floors = [meter.idle_floor_watts for meter in run.meters]
    known = [watts for watts in floors if watts is not None]
    if not known or len(known) < len(floors) or len({meter.component for meter in run.meters}) < len(floors):
        return ()
    if math.fsum(trial.duration_seconds or 0.0 for trial in run.trials) > (run.duration_seconds or 0.0):
        return ()
    found = [_with_idle_host(trial, math.fsum(known)) for trial in run.trials]
    trials = [trial for trial in found if trial is not None]
    return side_by_side(trials) if len(trials) == len(found) else ()


def _with_idle_host(trial: TrialSummary, idle_watts: float) -> TrialSummary | None:
    """Its energy to the target grows by the same factor as all of its energy."""
    if trial.active_energy_joules is None or not trial.duration_seconds or not trial.energy_joules:
        return None
    joules = trial.active_energy_joules + idle_watts * trial.duration_seconds
    to_target = trial.energy_to_target_joules
    return replace(
        trial,
        energy_joules=joules,
        energy_to_target_joules=None if to_target is None else to_target * joules / trial.energy_joules,
    )


def _turned(counted: SideBySide, whole: SideBySide) -> str:
    cheaper = [_cheaper(each) for each in (counted, whole)]
    if None not in cheaper:
        return "the same answer" if cheaper[0] == cheaper[1] else "the opposite answer"
    return "no clear answer either way" if cheaper == [None, None] else "clear with one boundary only"


def _cheaper(each: SideBySide) -> str | None:
    if each.ratio.tied is not False:
        return None
    return each.second if each.ratio.energy.value > 1 else each.first


def _sentence(counted: SideBySide, whole: SideBySide, run: Summary) -> str:
    return (
        f"paying for the idle power that it reserves, {counted.first} takes {_text(counted.ratio, run)} of what"
        f" {counted.second} takes; paying for all of the host's, {_text(whole.ratio, run)}."
    )


def _text(ratio: Ratio, run: Summary) -> str:
    energy: Estimate = ratio.energy
    return ratio_text(energy, estimated=run.estimated)


def _total(values: Iterable[float | None]) -> float | None:
    """None if any is not known: a part of a sum is not the sum."""
    known = list(values)
    return None if not known or None in known else math.fsum(value for value in known if value is not None)
