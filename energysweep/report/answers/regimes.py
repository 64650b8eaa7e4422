"""Answers on training regimes and hardware: do pretraining and multitask training pay, which hardware needs less?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from energysweep.analysis import (
    BothBoundaries,
    BreakEven,
    FrozenOrNot,
    Multitask,
    Ratio,
    SideBySide,
    both_boundaries,
    frozen_or_not,
    multitask,
    pretraining,
    side_by_side,
)
from energysweep.core.naming import configuration_text, exact_text, settings_text
from energysweep.core.text import count_text, energy_text, escape, number_text, ratio_text, table
from energysweep.ledger.model import Summary
from energysweep.report.answers.settings import Line, bare_ratio, cause, product


def whole_host(run: Summary) -> tuple[BothBoundaries, ...]:
    """Every two hardware profiles of a run with both boundaries.

    Empty where that cannot be told: more than one host or window, an idle power that is not known, trials that must
    have run at the same time, or a trial without its parts.
    """
    floors = [meter.idle_floor_watts for meter in run.meters]
    known = [watts for watts in floors if watts is not None]
    if not known or len(known) < len(floors) or len({meter.component for meter in run.meters}) < len(floors):
        return ()
    return both_boundaries(run.trials, math.fsum(known), run.duration_seconds)


def whole_host_list(summaries: Sequence[Summary]) -> str:
    """Whether the other boundary turns the answer, and a table of every setting; empty if no run can tell."""
    head = ("run", "first over second", "setting", "as counted (95 %)", "with all idle power of the host (95 %)")
    rows, said = [], []
    for run in summaries:
        for both in whole_host(run):
            one, other = both.counted, both.whole
            names = f"{one.first} over {one.second}"
            ratios = [(f"all {len(one.configurations)}", one.ratio, other.ratio)]
            for (parameters, mine), (_, theirs) in zip(one.configurations, other.configurations, strict=True):
                own = {name: value for name, value in parameters.items() if name in run.varying}
                ratios.append((configuration_text(own), mine, theirs))
            rows += [[run.name, names, name, _text(mine, run), _text(theirs, run)] for name, mine, theirs in ratios]
            said.append(f"- **{both.turn}** ({escape(run.name)}): {escape(_sentence(both, run))}")
    return "\n\n".join(part for part in ("\n".join(said), table(head, rows)) if part)


def _sentence(both: BothBoundaries, run: Summary) -> str:
    return (
        f"paying for the idle power that it reserves, {both.counted.first} takes {_text(both.counted.ratio, run)} of"
        f" what {both.counted.second} takes; paying for all of the host's, {_text(both.whole.ratio, run)}."
    )


def _text(ratio: Ratio, run: Summary) -> str:
    return ratio_text(ratio.energy, estimated=run.estimated)


# Lines of the answers ------------------------------------------------------------------------------------------------

_TIED: Final = ", which cannot be told from no difference"


def pretraining_lines(summary: Summary) -> list[Line]:
    """One for each use of a pretraining."""
    beside = {_key(each.frozen): each for each in frozen_or_not(summary.trials)}
    return [
        Line(_break_even_short(each), _brief(each, beside.get(_key(each)), summary), _detail(each, summary))
        for each in pretraining(summary.trials)
    ]


def _key(each: BreakEven) -> str:
    return exact_text([each.stage, each.frozen, each.settings, each.hardware])


def _break_even_short(each: BreakEven) -> str:
    """``after 12.3 reuses``, ``never here``, ``cannot be told``."""
    if each.verdict == "never pays":
        return "never here"
    if each.verdict == "may pay":
        return "cannot be told"
    if each.reuses is None:
        return "n/a" if each.saving_joules is None else "no saving seen"
    bound = f" {each.bound}" if each.bound else ""
    return f"after{bound} {number_text(each.reuses)} reuses"


def reuses_text(each: BreakEven) -> str:
    """The break-even with its interval: ``12.3 (10.1 to 15.0)``, ``8.2 (3.1 to no end)``, or why there is none."""
    if each.reuses is None:
        return "none: no saving" if each.saving_joules is not None else "n/a"
    text = f"{each.bound} {number_text(each.reuses)}".strip()
    if each.low is None:
        return text
    return f"{text} ({number_text(each.low)} to {'no end' if each.high is None else number_text(each.high)})"


def use_text(each: BreakEven) -> str:
    """``encoder frozen`` or ``encoder unfrozen``, with what else it was compared at."""
    return "encoder frozen" if each.frozen else "encoder unfrozen"


def _brief(each: BreakEven, beside: FrozenOrNot | None, summary: Summary) -> str:
    metric = summary.objective.metric if summary.objective else "objective"
    scores = f"{number_text(each.finetuned_objective)} (from scratch {number_text(each.scratch_objective)})"
    what = f"{use_text(each)}{_where(each.settings, each.hardware, summary)}"
    ratio = beside.ratio if beside else None
    over = f", a use takes {ratio_text(ratio.energy, estimated=summary.estimated)} of an unfrozen one" if ratio else ""
    return f"{what}: break-even {reuses_text(each)}{over}; {metric} {scores}."


_SIDES: Final = ("beforehand", "from scratch", "with it")


def _detail(each: BreakEven, summary: Summary) -> str:
    joules = [
        f"{count_text(trials, 'training')} {kind} took {energy_text(value, estimated=summary.estimated, brief=True)}"
        for kind, value, trials in zip(_SIDES, each.sums_joules, each.trained, strict=True)
    ]
    text = f"{', '.join(joules)} (together)."
    if each.verdict == "may pay":
        text += " Its saving cannot be told from none."
    if each.ratio is not None:
        text += f" With it over from scratch: {product(each.ratio, summary.estimated)}."
    if each.censored:
        text += f" {each.censored} of its trials never reached the target."
    return text


def multitask_lines(summary: Summary) -> list[Line]:
    """One for each shared model."""
    return [_shared(each, summary) for each in multitask(summary.trials)]


def _shared(each: Multitask, summary: Summary) -> Line:
    what = f"one model for {' + '.join(each.tasks)}{_where(each.settings, each.hardware, summary)}"
    if each.ratio is None:
        missed = f"{each.censored} trials never reached the target, or seeds or energies are missing"
        return Line("n/a", f"{what} cannot be set against separate ones: {missed}.")
    energy, estimated = each.ratio.energy, summary.estimated
    brief = f"{what} takes {ratio_text(energy, estimated=estimated)} of what separate ones take{_because(each.ratio)}."
    shared = energy_text(each.shared_joules, estimated=estimated, brief=True)
    separate = energy_text(each.separate_joules, estimated=estimated, brief=True)
    detail = f"{shared} against {separate}: {product(each.ratio, estimated)}, against the sum of the separate epochs."
    if each.ratio.tied is None:
        detail += " One repeat: no interval."
    return Line(bare_ratio(energy, summary), brief, detail)


def _because(ratio: Ratio) -> str:
    if ratio.tied:
        return _TIED
    return {"epochs": ", because of the epochs", "joules per epoch": ", because of the joules per epoch"}.get(
        cause(ratio), ""
    )


def hardware_lines(summary: Summary) -> list[Line]:
    """One for each two profiles, with what is left of it if each trial pays for its whole host."""
    both = {(each.counted.first, each.counted.second): each for each in whole_host(summary)}
    return [_side_by_side(each, summary, both.get((each.first, each.second))) for each in side_by_side(summary.trials)]


def _side_by_side(each: SideBySide, summary: Summary, both: BothBoundaries | None) -> Line:
    short, brief = each.cheaper or "a tie", f"{_takes(each, summary)}{_because(each.ratio)}"
    *_, ratio = each.of_the_dearer
    detail = [f"Over {count_text(len(each.configurations), 'common setting')}: {product(ratio, summary.estimated)}."]
    if ratio.tied is None:
        detail.append("One repeat: no interval.")
    if each.left_out:
        detail.append(f"{each.left_out} did not always arrive on both.")
    if both is not None:
        remark = _TIED if both.whole.ratio.tied else ""
        whole = f"if each trial pays for its whole host's idle power, {_takes(both.whole, summary)}{remark}"
        if both.weaker:
            brief += f"; {whole}"
        else:
            detail.append(f"{whole[0].upper()}{whole[1:]}.")
        if each.cheaper != both.whole.cheaper:
            short = "depends on the boundary"
    elif any(trial.idle_energy_joules for trial in summary.trials):
        detail.append("A trial pays for the idle power that it reserves; what its whole host's changes is unknown.")
    return Line(short, f"{brief}.", " ".join(detail))


def _takes(each: SideBySide, summary: Summary) -> str:
    dearer, cheaper, ratio = each.of_the_dearer
    return f"{dearer} takes {ratio_text(ratio.energy, estimated=summary.estimated)} of what {cheaper} takes"


def _where(settings: Mapping[str, Any], hardware: str, summary: Summary) -> str:
    """The settings that tell this comparison from others of the run."""
    own = settings_text(settings, summary.varying)
    several = len({trial.hardware for trial in summary.trials}) > 1
    parts = [part for part in (own, f"on {hardware}" if several and hardware else "") if part]
    return f" at {' '.join(parts)}" if own else f" {parts[0]}" if parts else ""
