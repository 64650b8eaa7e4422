"""The original study's findings beside ours, with verdicts that follow from the intervals by rule.

What is known of the original: the abstract of arXiv 2401.01851 in its own words, and second-hand summaries of the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from energysweep.analysis import (
    BreakEven,
    Extremes,
    frozen_or_not,
    multitask,
    pretraining,
    side_by_side,
    worst_to_best,
)
from energysweep.analysis.effects import Acts, acts_by
from energysweep.analysis.trials import grouped
from energysweep.core.text import count_text, or_more_text, ratio_text
from energysweep.report import Summary
from energysweep.report.answers.regimes import reuses_text
from energysweep.report.answers.settings import cause, surely_text
from study.verdicts import Verdict, acts_as_said, below_one, pays_after, reaches, sooner

ABSTRACT: Final = "abstract"
SECOND_HAND: Final = "second-hand"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding in one of our runs.

    Attributes:
        claim: what the original says.
        known_from: ``abstract`` or ``second-hand``.
        run: ours; empty if no run can tell.
        ours: what it shows.
        verdict, why: the verdict and the rule that led to it.
    """

    claim: str
    known_from: str
    run: str
    ours: str
    verdict: Verdict
    why: str


def findings(summaries: Sequence[Summary]) -> list[Finding]:
    """All of them, in the order of the original's topics."""
    return [
        *_or_untestable(_times(summaries), _UP_TO, ABSTRACT),
        *_or_untestable(_acting(summaries, "batch_size"), _CLAIMS["batch_size"], SECOND_HAND),
        *_or_untestable(_acting(summaries, "learning_rate"), _CLAIMS["learning_rate"], SECOND_HAND),
        *_or_untestable(_reuses(summaries), _PAYS, SECOND_HAND),
        *_or_untestable(_frozen(summaries), _SOONER, SECOND_HAND),
        *_or_untestable(_shared(summaries), _LESS, SECOND_HAND),
        *_or_untestable(_fewer_epochs(summaries), _FEWER, SECOND_HAND),
        *_hardware(summaries),
    ]


_UP_TO: Final = "With the same model, hardware and accuracy, badly set hyperparameters take up to 5 times the energy"
_CLAIMS: Final = {
    "batch_size": "Batch size acts on the energy of an epoch",
    "learning_rate": "Learning rate acts on the number of epochs",
}
_WANTED: Final[dict[str, Acts]] = {"batch_size": "joules_per_epoch", "learning_rate": "epochs"}
_PAYS: Final = "Pretraining pays after about 10 to 13 reuses"
_SOONER: Final = "It pays sooner with a frozen encoder"
_LESS: Final = "A multitask model takes less than separate models"
_FEWER: Final = "... because it needs fewer epochs"


def _or_untestable(found: Iterator[Finding], claim: str, known_from: str) -> list[Finding]:
    return list(found) or [Finding(claim, known_from, "", "n/a", "not testable here", "no run of ours can tell")]


def _times(summaries: Sequence[Summary]) -> Iterator[Finding]:
    for run in summaries:
        by_hardware = grouped(run.configurations, lambda each: each.hardware) if run.comparable else {}
        for hardware, members in by_hardware.items():
            found = worst_to_best([(each.config, each.trials) for each in members])
            if found is not None:
                name = f"{run.name} on {hardware}" if len(by_hardware) > 1 else run.name
                yield Finding(_UP_TO, ABSTRACT, name, _extremes_text(found, run), *reaches(found))


def _extremes_text(found: Extremes[str], run: Summary) -> str:
    ours = ratio_text(found.ratio.energy, estimated=run.estimated)
    if found.at_least is None:
        return ours
    bound = f"{or_more_text(found.at_least, estimated=run.estimated)} ({surely_text(found.at_least, run)})"
    return f"{ours}; of {count_text(len(found.censored), 'setting')} that did not always arrive, one takes {bound}"


def _acting(summaries: Sequence[Summary], parameter: str) -> Iterator[Finding]:
    claim, wanted = _CLAIMS[parameter], _WANTED[parameter]
    for run in summaries:
        parts = [run.effects.get(quantity) for quantity in ("epochs", "joules_per_epoch")]
        ranges = [fitted.of(parameter) if fitted else None for fitted in parts]
        if not run.comparable or ranges[0] is None or ranges[1] is None:
            continue
        ours = (
            f"epochs {ratio_text(ranges[0].range)}, joules per epoch"
            f" {ratio_text(ranges[1].range, estimated=run.estimated)}"
        )
        range_ = ranges[("epochs", "joules_per_epoch").index(wanted)]
        verdict, why = acts_as_said(acts_by(run.effects, parameter), wanted, range_.range if range_ else None)
        yield Finding(claim, SECOND_HAND, run.name, ours, verdict, why)


def _reuses(summaries: Sequence[Summary]) -> Iterator[Finding]:
    for run, each in _break_evens(summaries):
        name, ours = f"{run.name}, {_use(each)}", f"{reuses_text(each)} reuses"
        yield Finding(_PAYS, SECOND_HAND, name, ours, *pays_after(each))


def _frozen(summaries: Sequence[Summary]) -> Iterator[Finding]:
    for run in summaries:
        for each in frozen_or_not(run.trials):
            both = f"break-even: frozen {reuses_text(each.frozen)}, unfrozen {reuses_text(each.unfrozen)}"
            energy = ratio_text(each.ratio.energy, estimated=run.estimated) if each.ratio else "n/a"
            ours = f"energy to target, frozen over unfrozen, by seed: {energy}; {both}"
            yield Finding(_SOONER, SECOND_HAND, f"{run.name}{_where(each.frozen)}", ours, *sooner(each))


def _shared(summaries: Sequence[Summary]) -> Iterator[Finding]:
    for run in summaries:
        for each in multitask(run.trials):
            name = f"{run.name}, {' + '.join(each.tasks)}"
            if each.ratio is None:
                why = "a trial never reached the target"
                yield Finding(_LESS, SECOND_HAND, name, "n/a", "not testable here", why)
                continue
            ours = ratio_text(each.ratio.energy, estimated=run.estimated)
            yield Finding(_LESS, SECOND_HAND, name, ours, *below_one(each.ratio.energy))


def _fewer_epochs(summaries: Sequence[Summary]) -> Iterator[Finding]:
    for run in summaries:
        for each in multitask(run.trials):
            if each.ratio is None:
                continue
            name = f"{run.name}, {' + '.join(each.tasks)}"
            ours = (
                f"epochs {ratio_text(each.ratio.epochs)} of all separate epochs, joules per epoch"
                f" {ratio_text(each.ratio.joules_per_epoch, estimated=run.estimated)}"
            )
            verdict, why = below_one(each.ratio.epochs)
            if verdict == "confirmed" and cause(each.ratio) != "epochs":
                verdict, why = "not confirmed", "fewer epochs, but they do not make the difference"
            yield Finding(_FEWER, SECOND_HAND, name, ours, verdict, why)


def _hardware(summaries: Sequence[Summary]) -> Iterator[Finding]:
    claim = "The setups were evaluated on three different hardware systems"
    why = "our profiles are shares of one kind of machine, without a GPU and without an energy counter"
    found = [
        f"{run.name}: {each.first} over {each.second} {ratio_text(each.ratio.energy, estimated=run.estimated)}"
        for run in summaries
        for each in side_by_side(run.trials)
    ]
    yield Finding(claim, ABSTRACT, "", "; ".join(found) or "n/a", "not testable here", why)


def _break_evens(summaries: Sequence[Summary]) -> Iterator[tuple[Summary, BreakEven]]:
    return ((run, each) for run in summaries for each in pretraining(run.trials))


def _use(each: BreakEven) -> str:
    return f"{'frozen' if each.frozen else 'unfrozen'}{_where(each)}"


def _where(each: BreakEven) -> str:
    return f" on {each.hardware}" if each.hardware else ""
