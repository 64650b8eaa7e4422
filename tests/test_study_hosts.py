"""The hardware's answer with all idle power of the host, on numbers that can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from energysweep.analysis import side_by_side
from energysweep.reporting import Summary, summarise
from energysweep.reporting.text import TIMES
from energysweep.reporting.trials import TrialSummary
from study.hosts import energy_parts_table, whole_host, whole_host_list
from tests.reporting import regimes

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
    (counted,), (whole,) = side_by_side(run().trials), whole_host(run())
    assert counted.ratio.energy.value == pytest.approx(20 / 22)
    assert whole.ratio.energy.value == pytest.approx(30 / 22)
    assert (counted.ratio.tied, whole.ratio.tied) == (False, False)
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


def test_energy_to_the_target_grows_as_all_energy_does() -> None:
    half = [
        replace(trial, energy_to_target_joules=(trial.energy_joules or 0) / 2) if trial.reached_target else trial
        for trial in run().trials
    ]
    (whole,) = whole_host(replace(run(), trials=tuple(half)))
    assert whole.ratio.energy.value == pytest.approx(15 / 11)


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


def test_the_parts_of_the_trials_energy_are_those_of_all_and_of_each_profile() -> None:
    # 9 trials on each profile: 9 * 20 = 180 J with 90 J idle, 9 * 22 = 198 J with 108 J idle; 198 of 378 J is 52.4 %
    rows = energy_parts_table([run()]).splitlines()[2:]
    assert rows == [
        "| hardware | all | ≈ 378 J | ≈ 180 J | ≈ 198 J | 52.4 % | 52.4 % |",
        "| hardware | one | ≈ 180 J | ≈ 90.0 J | ≈ 90.0 J | 50.0 % | 50.0 % |",
        "| hardware | two | ≈ 198 J | ≈ 90.0 J | ≈ 108 J | 54.5 % | 54.5 % |",
    ]


def test_a_part_that_is_not_known_of_every_trial_is_not_shown() -> None:
    trials = run().trials
    part = replace(run(), trials=(replace(trials[0], idle_energy_joules=None, component_joules={}), *trials[1:]))
    assert energy_parts_table([part]).splitlines()[2] == "| hardware | all | ≈ 378 J | ≈ 180 J | n/a | n/a | n/a |"
