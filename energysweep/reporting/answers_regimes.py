"""Whether pretraining and multitask training pay, and which hardware needs less."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from energysweep.analysis import BreakEven, Multitask, SideBySide, multitask, pretraining, side_by_side
from energysweep.reporting.answers_settings import Line, cause, product, settings_text
from energysweep.reporting.model import Summary
from energysweep.reporting.text import energy_text, number_text, ratio_text


def pretraining_lines(summary: Summary) -> list[Line]:
    """One for each use of a pretraining."""
    return [Line(break_even_short(each), _break_even(each, summary)) for each in pretraining(summary.trials)]


def break_even_short(each: BreakEven) -> str:
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
    """The break-even with its interval: ``12.3 [10.1 to 15.0]``, ``8.2 [3.1 to no end]``, or why there is none."""
    if each.reuses is None:
        return "none: no saving" if each.saving_joules is not None else "n/a"
    text = f"{each.bound} {number_text(each.reuses)}".strip()
    if each.low is None:
        return text
    return f"{text} [{number_text(each.low)} to {'no end' if each.high is None else number_text(each.high)}]"


def use_text(each: BreakEven) -> str:
    """``encoder frozen`` or ``encoder trained on``, with what else it was compared at."""
    return "encoder frozen" if each.frozen else "encoder trained on"


def _break_even(each: BreakEven, summary: Summary) -> str:
    joules = [
        energy_text(value, estimated=summary.estimated, brief=True)
        for value in (each.pretrain_joules, each.scratch_joules, each.finetuned_joules)
    ]
    scores = [number_text(value) for value in (each.scratch_objective, each.finetuned_objective)]
    text = (
        f"{use_text(each)}{_where(each.settings, each.hardware, summary)}: {joules[0]} of pretraining against"
        f" {joules[1]} from scratch and {joules[2]} with it; break-even {reuses_text(each)} reuses over"
        f" {each.repeats} repeats."
    )
    if each.verdict == "may pay":
        text += " Its saving cannot be told from none."
    if each.ratio is not None:
        text += f" With it: {product(each.ratio, summary.estimated)}."
    if each.censored:
        text += f" {each.censored} of its trials never reached the target."
    metric = summary.objective.metric if summary.objective else "objective"
    return f"{text} {metric[:1].upper()}{metric[1:]} in the end: {scores[0]} from scratch, {scores[1]} with it."


def multitask_lines(summary: Summary) -> list[Line]:
    """One for each shared model."""
    return [Line(_shared_short(each, summary), _shared(each, summary)) for each in multitask(summary.trials)]


def _shared_short(each: Multitask, summary: Summary) -> str:
    if each.ratio is None:
        return "n/a"
    return ratio_text(replace(each.ratio.energy, low=None, high=None), estimated=summary.estimated)


def _shared(each: Multitask, summary: Summary) -> str:
    tasks = " + ".join(each.tasks)
    where = _where(each.settings, each.hardware, summary)
    if each.ratio is None:
        return (
            f"one model for {tasks}{where} cannot be set against separate ones: {each.censored} trials never reached"
            " the target, or seeds or energies are missing."
        )
    estimated = summary.estimated
    shared = energy_text(each.shared_joules, estimated=estimated, brief=True)
    separate = energy_text(each.separate_joules, estimated=estimated, brief=True)
    told = "cannot be told from" if each.ratio.tied else "against"
    reason = "" if cause(each.ratio) == "no difference" else f"; what differs: {cause(each.ratio)}"
    text = (
        f"one model for {tasks}{where} takes {shared} {told} {separate} of separate ones,"
        f" {ratio_text(each.ratio.energy, estimated=estimated)}: {product(each.ratio, estimated)}{reason}."
    )
    return text if each.ratio.tied is not None else f"{text} One repeat: no interval."


def hardware_lines(summary: Summary) -> list[Line]:
    """One for each two profiles."""
    return [Line(_cheaper(each), _side_by_side(each, summary)) for each in side_by_side(summary.trials)]


def _cheaper(each: SideBySide) -> str:
    if each.ratio.tied:
        return "a tie"
    return each.second if each.ratio.energy.value > 1 else each.first


def _side_by_side(each: SideBySide, summary: Summary) -> str:
    n = len(each.configurations)
    text = (
        f"{each.first} takes {ratio_text(each.ratio.energy, estimated=summary.estimated)} of what {each.second} takes"
        f" ({n} common setting{'s' if n > 1 else ''}): {product(each.ratio, summary.estimated)}."
    )
    if each.ratio.tied is None:
        text += " One repeat of one setting: no interval."
    if each.left_out:
        text += f" {each.left_out} settings did not always arrive on both."
    return text


def _where(settings: Mapping[str, Any], hardware: str, summary: Summary) -> str:
    """The settings that tell this comparison from others of the run."""
    own = settings_text({name: value for name, value in settings.items() if name in summary.varying})
    several = len({trial.hardware for trial in summary.trials}) > 1
    parts = [part for part in (own, f"on {hardware}" if several and hardware else "") if part]
    return f" at {' '.join(parts)}" if own else f" {parts[0]}" if parts else ""
