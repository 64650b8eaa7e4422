"""The rules by which an interval leads to a verdict on what the original says."""

from __future__ import annotations

from typing import Final, Literal

from energysweep.analysis import BreakEven, Estimate, Extremes, FrozenOrNot
from energysweep.analysis.effects import Acts

Verdict = Literal["confirmed", "in part", "compatible", "not confirmed", "not testable here"]

_TIMES: Final = 5.0  # "up to 5 times the energy of the optimal setup"
_REUSES: Final = (10.0, 13.0)  # after how many pretraining is said to pay
_OTHER: Final[dict[Acts, str]] = {"epochs": "joules_per_epoch", "joules_per_epoch": "epochs"}


def reaches(found: Extremes[str]) -> tuple[Verdict, str]:
    """Whether badly set hyperparameters take up to 5 times the energy.

    An interval that begins at 5 or more confirms it, also that of a setting that did not always arrive; one that only
    holds 5 may be wide because little is known. What did not arrive may take any number of times: it contradicts none.
    """
    ratio, bound = found.ratio.energy, found.at_least
    if ratio.low is None or ratio.high is None:
        return "not testable here", "one repeat has no interval"
    if ratio.low >= _TIMES:
        return "confirmed", "the interval begins at 5 or more"
    if bound is not None and bound.low is not None and bound.low >= _TIMES:
        return "confirmed", "of a setting that did not always arrive the interval begins at 5 or more"
    if ratio.low > 1 and ratio.high >= _TIMES:
        return "compatible", "the interval lies above 1 and holds 5, but begins below it"
    if found.censored:
        return "compatible", "the interval begins below 5, and what did not always arrive may take 5 times or more"
    return "not confirmed", "the interval holds 1" if ratio.low <= 1 else "the interval ends below 5"


def acts_as_said(acts: Acts | None, wanted: Acts, factor: Estimate | None) -> tuple[Verdict, str]:
    """Whether a parameter acts on what it is said to act on, alone or beside the other."""
    if acts is None or factor is None:
        return "not testable here", "one repeat has no interval"
    if acts == wanted:
        return "confirmed", "that factor is at least the other's square"
    if acts == "neither":
        return "not confirmed", "no factor can be told from 1"
    other = _OTHER[wanted].replace("_", " ")
    if factor.contains(1.0):
        return "not confirmed", f"it acts on the {other}; that factor's interval holds 1"
    if acts == "both":
        return "in part", f"it acts on it, and on the {other} as well"
    return "in part", f"it acts on it, and more on the {other}"


def pays_after(found: BreakEven) -> tuple[Verdict, str]:
    """Whether pretraining pays after as many reuses as the original's."""
    fewest, most = _REUSES
    if found.verdict == "unknown":
        return "not testable here", "a trial never reached the target, or there is no interval"
    if found.verdict != "pays":
        return "not confirmed", _PAYS_NOT[found.verdict]
    if found.reuses is not None and fewest <= found.reuses <= most:
        return "confirmed", "it pays after 10 to 13 reuses"
    if (found.low or 0.0) <= most and (found.high is None or found.high >= fewest):
        return "compatible", "only the interval holds a number from 10 to 13"  # a wide one holds nearly every number
    return "not confirmed", "it pays, after another number of reuses"


_PAYS_NOT: Final = {
    "may pay": "its saving cannot be told from none",
    "never pays": "training from scratch takes less",
}


def sooner(found: FrozenOrNot) -> tuple[Verdict, str]:
    """Whether a pretraining pays sooner with a frozen encoder.

    The pretraining and the trials from scratch are the same, so it does if it pays and a frozen use needs less.
    """
    if found.ratio is None or not found.ratio.energy.has_interval:
        return "not testable here", "a trial never reached the target, or there is no interval"
    if found.frozen.verdict == "never pays":
        return "not confirmed", "the frozen one never pays"
    verdict, why = below_one(found.ratio.energy)
    if verdict == "confirmed" and found.frozen.verdict != "pays":
        return "compatible", "a frozen use takes less, but that it pays at all is not shown"
    return verdict, f"what a use takes to the same target: {why}"


def below_one(ratio: Estimate) -> tuple[Verdict, str]:
    """Whether one side takes less."""
    if ratio.low is None or ratio.high is None:
        return "not testable here", "one repeat has no interval"
    if ratio.high < 1:
        return "confirmed", "the interval lies below 1"
    if ratio.low > 1:
        return "not confirmed", "the interval lies above 1"
    return "compatible", "the interval holds 1"
