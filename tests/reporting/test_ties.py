"""When configurations are called ties, with intervals worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from energysweep.ledger import LedgerData
from energysweep.records import EnergyRow, LeaseRow, MeterRow, TrialRow
from energysweep.reporting import summarise, terminal_table
from energysweep.reporting.groups import ConfigurationSummary
from energysweep.reporting.model import Summary
from energysweep.reporting.ties import Interval, interval, note
from tests.reporting.example import example
from tests.reporting.test_compare import printed

LEASE = LeaseRow("", "boot-1", "w", "laptop", "", 1, 7, 0.0, 10.0, 10.0, 10.0, 10.0, 1.0, "{}")
METER = MeterRow("boot-1", "w", "laptop", "cpu-0", "cpu", "rapl", 0, 10, 10, None, "unknown", None, 0, 0)


def sweep(
    energies: dict[str, list[float]],
    *,
    sources: dict[str, str] | None = None,
    covered_seconds: float = 10.0,
    resolution_joules: float | None = None,
) -> Summary:
    """A sweep without a target: the energies of each configuration's repeats."""
    trials, leases, energy = [], [], []
    for name, repeats in energies.items():
        for seed, joules in enumerate(repeats):
            trial = f"{name}-{seed}"
            source = (sources or {}).get(name, "rapl")
            trials.append(TrialRow(trial, {"x": name}, seed, "", "completed", 1, None, None, None))
            leases.append(LEASE._replace(lease=trial, trial=trial, covered_seconds=covered_seconds))
            energy.append(EnergyRow("boot-1", "w", trial, "cpu-0", "cpu", "active", source, joules))
    kinds = {row.source for row in energy}
    meters = [METER._replace(source=source, resolution_joules=resolution_joules) for source in kinds]
    return summarise(LedgerData({"varying": ["x"]}, energy, meters, leases, trials))


def ties(summary: Summary) -> list[str]:
    return [each.config for each in summary.configurations if each.tied_with_cheapest]


def first(summary: Summary) -> ConfigurationSummary:
    return summary.configurations[0]


def test_the_interval_over_repeats_is_student_s() -> None:
    # 10, 12, 14: mean 12, std 2, t(2) = 4.3027, so 4.3027 * 2 / sqrt(3) = 4.9683
    found = interval(first(sweep({"a": [10, 12, 14]})), None, absolute=False)
    assert found == Interval(12, pytest.approx(4.9683, abs=1e-4))


def test_overlapping_intervals_are_a_tie() -> None:
    # 12 +- 4.97 reaches 16.97; 20 +- 4.97 begins at 15.03; 23 +- 4.97 begins at 18.03
    assert ties(sweep({"a": [10, 12, 14], "b": [18, 20, 22], "c": [21, 23, 25]})) == ["x=b"]


def test_the_cheapest_is_not_tied_with_itself() -> None:
    summary = sweep({"a": [10, 12, 14], "b": [10, 12, 14]})
    assert summary.headline.cheapest is first(summary)
    assert ties(summary) == ["x=b"]


def test_one_repeat_has_only_its_meter_s_interval() -> None:
    found = interval(first(sweep({"a": [10]}, covered_seconds=9, resolution_joules=0.5)), None, absolute=False)
    assert found == Interval(10, pytest.approx(1.5))  # a tenth of the time unseen, and a step of the counter
    assert ties(sweep({"a": [10], "b": [10.1]})) == []
    assert ties(sweep({"a": [10], "b": [12]}, covered_seconds=9)) == ["x=b"]  # 11 and 10.8


def test_one_repeat_is_said_to_leave_ties_open() -> None:
    summary = sweep({"a": [10], "b": [10.1]})
    said = note(summary.configurations, None)
    assert said is not None
    assert "others may be tied as well" in said
    assert said in " ".join(printed(terminal_table(summary)).split())


def test_several_repeats_say_how_ties_are_called() -> None:
    said = note(sweep({"a": [10, 12], "b": [30, 31]}).configurations, None)
    assert said is not None
    assert "95 % intervals" in said


def test_a_single_configuration_needs_no_word_about_ties() -> None:
    assert note(sweep({"a": [10]}).configurations, None) is None


def test_what_a_kind_of_meter_gets_wrong_cancels_within_the_kind_only() -> None:
    energies = {"a": [100.0, 100.0], "b": [115.0, 115.0]}
    assert ties(sweep(energies)) == []
    # RAPL's 10 % of 100 J and the estimate's 100 % of 115 J: 110 J and 0 J overlap
    assert ties(sweep(energies, sources={"b": "estimate"})) == ["x=b"]
    assert ties(sweep(energies, sources={"b": "replay"})) == []  # 110 J and 115 J do not
    assert ties(sweep(energies, sources={"b": "crystal-ball"})) == ["x=b"]  # about which nothing is known


def test_the_headline_names_few_ties_and_counts_many() -> None:
    near, far = [10.0, 12.0, 14.0], [90.0, 90.0, 90.0]
    few = sweep({"a": near, "b": near, "c": far}).headline.sentence
    assert few.endswith("; cheapest: x=a, tied with x=b.")
    more = sweep({"a": near, "b": near, "c": near, "d": near, "e": far}).headline.sentence
    assert more.endswith("; cheapest: x=a, tied with 3 others.")
    every = sweep({"a": near, "b": near, "c": near, "d": near}).headline.sentence
    assert every.endswith("; cheapest: x=a, tied with all 3 others.")
    assert "tied" not in sweep({"a": near, "c": far}).headline.sentence


def test_a_configuration_that_does_not_always_arrive_is_in_no_tie() -> None:
    data = example()
    lucky = "t-0.1-64-1"  # without its results, one of two repeats arrives, for 30 J
    ties_of = [each for each in summarise(data).configurations if each.tied_with_cheapest]
    assert "learning_rate=0.1 batch_size=64" in [each.config for each in ties_of]
    without = replace(data, results=[row for row in data.results if row.trial != lucky])
    assert "learning_rate=0.1 batch_size=64" not in ties(summarise(without))


def test_the_example_s_ties_are_those_worked_out_by_hand() -> None:
    # Two repeats x and 1.1 x: mean 1.05 x, and 12.7062 * (0.1 x / sqrt(2)) / sqrt(2) = 0.6353 x to each side.
    # The cheapest, x = 20, reaches 33.71. x = 80 begins at 33.18, x = 160 at 66.35.
    assert ties(summarise(example())) == [
        "learning_rate=0.01 batch_size=16",
        "learning_rate=0.01 batch_size=64",
        "learning_rate=0.01 batch_size=256",
        "learning_rate=0.1 batch_size=16",
        "learning_rate=0.1 batch_size=64",
    ]


def test_the_table_and_summary_json_mark_ties() -> None:
    summary = sweep({"a": [10, 12, 14], "b": [18, 20, 22]})
    (row,) = [line for line in printed(terminal_table(summary)).splitlines() if line.startswith("x=b")]
    assert row.endswith("with cheapest")
    assert [each["tied_with_cheapest"] for each in summary.to_dict()["configurations"]] == [False, True]
