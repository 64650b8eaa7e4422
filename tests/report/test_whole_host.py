"""The hardware's answer with all idle power of the host, on numbers that can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from html import unescape

import pytest

from energysweep.core.text import TIMES
from energysweep.ledger.trials import TrialSummary
from energysweep.report import Summary, combined_html, combined_markdown, summarise
from energysweep.report.answers.regimes import hardware_lines, whole_host, whole_host_list
from energysweep.report.html import report_html
from tests.support import regimes

IDLE_WATTS = 2.0


def run(one_seconds: float = 10.0) -> Summary:
    """A host of 2 W idle power. On `one`, half of it, a trial takes 10 s; on `two`, all of it, it takes 6 s.

    Active are 10 J on both. Counted are 10 + 2 * 10 / 2 = 20 J on `one` and 10 + 2 * 6 = 22 J on `two`; with all idle
    power of the host it is 10 + 2 * 10 = 30 J on `one`.
    """
    summary = summarise(regimes.hardware("estimate"))
    trials = []
    for trial in summary.trials:
        seconds, share = (one_seconds, 0.5) if trial.hardware == "one" else (6.0, 1.0)
        trials.append(with_parts(trial, 10.0, IDLE_WATTS * share * seconds, seconds))
    meters = tuple(replace(meter, idle_floor_watts=IDLE_WATTS) for meter in summary.meters)
    return replace(summary, trials=tuple(trials), meters=meters, duration_seconds=1000.0)


def with_parts(trial: TrialSummary, active: float, idle: float, seconds: float) -> TrialSummary:
    return replace(
        trial,
        energy_joules=active + idle,
        active_energy_joules=active,
        idle_energy_joules=idle,
        component_joules={"cpu": active, "dram": idle},
        energy_to_target_joules=None if trial.energy_to_target_joules is None else active + idle,
        duration_seconds=seconds,
        resolution_joules=None,
    )


def test_paying_for_all_of_the_host_may_turn_the_answer() -> None:
    (both,) = whole_host(run())
    assert both.counted.ratio.energy.value == pytest.approx(20 / 22)
    assert both.whole.ratio.energy.value == pytest.approx(30 / 22)
    assert (both.counted.ratio.tied, both.whole.ratio.tied) == (False, False)
    text = whole_host_list([run()])
    assert "- **the opposite answer** (hardware): " in text
    assert f"≈ {TIMES}1.36" in text
    assert "| hardware | one over two | all 2 | " in text


@pytest.mark.parametrize(
    ("one_seconds", "said"),
    [
        (4.0, "the same answer"),  # 14 and 18 J against 22 J
        (6.0, "clear with one boundary only"),  # 16 and 22 J against 22 J
        (12.0, "clear with one boundary only"),  # 22 and 34 J
    ],
)
def test_what_the_boundary_does_is_said_by_rule(one_seconds: float, said: str) -> None:
    assert f"**{said}**" in whole_host_list([run(one_seconds)])


@pytest.mark.parametrize(
    ("one_seconds", "short", "brief"),
    [
        # 20 J against 22 J, and 30 J against 22 J
        (
            10.0,
            "depends on the boundary",
            ["two takes", "1.10", "what one takes", "one takes", "1.36", "two takes."],
        ),
        # 14 J against 22 J, and 18 J against 22 J: still `one`, by less
        (4.0, "one", ["two takes", "1.57", "of what one takes", "two takes", "1.22", "one takes."]),
        # 16 J against 22 J, and 22 J on both
        (6.0, "depends on the boundary", ["two takes", "1.38", "1.00", "which cannot be told from no difference."]),
        # 22 J on both, and 34 J against 22 J
        (
            12.0,
            "depends on the boundary",
            ["which cannot be told from no difference;", "one takes", "1.55", "two takes."],
        ),
    ],
)
def test_the_answer_says_what_is_left_of_it_if_each_trial_pays_for_its_whole_host(
    one_seconds: float, short: str, brief: list[str]
) -> None:
    (line,) = hardware_lines(run(one_seconds))
    assert line.short == short
    rest = line.brief
    for part in brief:
        assert part in rest
        rest = rest.partition(part)[2]
    assert rest == ""
    assert "; if each trial pays for its whole host's idle power, " in line.brief


def test_the_first_screen_of_every_report_has_the_qualified_answer() -> None:
    (line,) = hardware_lines(run())
    assert line.brief in combined_markdown([run()])
    for page in (combined_html([run()]), report_html(run(), regimes.hardware("estimate"))):
        assert line.brief in unescape(page)
    assert "the opposite answer" in combined_markdown([run()])


def test_an_answer_that_the_boundary_makes_stronger_stands_as_it_is() -> None:
    # 28 J against 22 J as counted (18 s at 1 W and 10 J), 46 J against 22 J with the whole host
    (line,) = hardware_lines(run(18.0))
    assert line.short == "two"
    assert "whole host" not in line.brief
    assert f"If each trial pays for its whole host's idle power, one takes ≈ {TIMES}2.09" in line.detail


def test_where_the_whole_host_is_not_known_the_answer_says_what_was_counted() -> None:
    (line,) = hardware_lines(replace(run(), meters=()))
    assert line.short == "one"
    assert line.detail.endswith(
        "A trial pays for the idle power that it reserves; what its whole host's changes is unknown."
    )


def test_a_trial_of_which_nothing_is_left_with_the_whole_host_ends_no_report() -> None:
    first, *others = run().trials
    # 10 s at 2 W are 20 J
    odd = replace(run(), trials=(replace(first, active_energy_joules=-20.0), *others))
    assert whole_host_list([odd]) == ""
    (line,) = hardware_lines(odd)
    assert line.short == "one"


def test_two_profiles_that_the_other_boundary_cannot_compare_still_have_their_line() -> None:
    first, *others = run().trials
    assert first.hardware == "one"
    beyond = replace(first, energy_to_target_joules=1.5e308)  # it grows by 30 J / 20 J
    third = [replace(trial, hardware="third") for trial in others if trial.hardware == "two"]
    odd = replace(run(), trials=(beyond, *others, *third))
    assert [(each.counted.first, each.counted.second) for each in whole_host(odd)] == [("two", "third")]
    assert len(hardware_lines(odd)) == 3
    assert whole_host_list([odd])


def test_energy_to_the_target_grows_as_all_energy_does() -> None:
    half = [
        replace(trial, energy_to_target_joules=(trial.energy_joules or 0) / 2) if trial.reached_target else trial
        for trial in run().trials
    ]
    (both,) = whole_host(replace(run(), trials=tuple(half)))
    assert both.whole.ratio.energy.value == pytest.approx(15 / 11)


def test_where_the_host_is_not_known_nothing_is_said() -> None:
    known = run()
    meter = known.meters[0]
    for unknown in (
        replace(known, meters=(replace(meter, idle_floor_watts=None),)),
        replace(known, meters=()),
        replace(known, meters=(meter, replace(meter, node="another"))),
        replace(known, duration_seconds=5.0),  # the trials ran at the same time
        replace(known, duration_seconds=None),
        replace(known, trials=(replace(known.trials[0], active_energy_joules=None), *known.trials[1:])),
    ):
        assert whole_host(unknown) == ()
        assert whole_host_list([unknown]) == ""
    assert whole_host_list([summarise(regimes.multitask())]) == ""
