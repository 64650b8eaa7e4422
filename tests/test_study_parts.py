"""The idle part of the trials' energy, on numbers that can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace

from study.parts import energy_parts_table
from tests.report.test_whole_host import run


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
