"""When configurations are called ties, with intervals worked out by hand, and that a report says one thing."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest

from energysweep.core.records import EnergyRow, LeaseRow, MeterRow, TrialRow
from energysweep.ledger.configurations import ConfigurationSummary
from energysweep.ledger.model import Summary
from energysweep.ledger.ranking import note, ratio_to_cheapest
from energysweep.ledger.store import LedgerData
from energysweep.report import summarise, terminal_table
from energysweep.report.answers.settings import setting_lines
from tests.report.test_compare import printed
from tests.support.example import example

LEASE = LeaseRow("", "boot-1", "w", "laptop", "", 1, 7, 0.0, 10.0, 10.0, 10.0, 10.0, 1.0, "{}", 0.0)
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


def test_the_interval_of_a_ratio_over_repeats_is_welch_s_of_the_logarithms() -> None:
    # logs of 10, 10 e^0.2 and of 20, 20 e^0.2: each has variance 0.02 and error 0.01, together 0.02 with 2 degrees of
    # freedom, so 4.3027 * sqrt(0.02) = 0.60849 to each side of ln 2.
    step = math.exp(0.2)
    both = sweep({"a": [10, 10 * step], "b": [20, 20 * step]}).configurations
    found = ratio_to_cheapest(both[1], both, None)
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((2, 2 / 1.83766, 2 * 1.83766), rel=1e-4)


def test_a_ratio_whose_interval_holds_1_is_a_tie() -> None:
    # The same interval to each side, a factor of 1.83766: it holds 1 for a ratio of 1.8, and not for one of 1.9.
    step = math.exp(0.2)
    near, far = ([factor * 10, factor * 10 * step] for factor in (1.8, 1.9))
    assert ties(sweep({"a": [10, 10 * step], "b": near})) == ["x=b"]
    assert ties(sweep({"a": [10, 10 * step], "b": far})) == []


def test_of_three_configurations_the_lowest_is_told_from_another_only_if_it_would_be_of_any_two() -> None:
    # 95 % of the studentised range of 3 groups for 2 degrees are 8.331: 8.331 / sqrt(2) * sqrt(0.02) = 0.833. The
    # typical variance of a group is 0.02 / 0.4549 (the median of a variance with 1 degree is so much of the true one),
    # with 3 degrees: 5.910 / sqrt(2) * sqrt(0.02 / 0.4549) = 0.876, the wider one: a factor of 2.40 instead of 1.84.
    step = math.exp(0.2)
    near, far = ([factor * 10, factor * 10 * step] for factor in (2.39, 2.41))
    assert ties(sweep({"a": [10, 10 * step], "b": near, "c": far})) == ["x=b"]


def test_the_cheapest_is_not_tied_with_itself() -> None:
    summary = sweep({"a": [10, 12, 14], "b": [10, 12, 14]})
    assert summary.headline.cheapest is first(summary)
    assert ties(summary) == ["x=b"]


def test_of_one_repeat_a_tie_is_only_known_where_the_meters_cannot_tell_them_apart() -> None:
    blind = sweep({"a": [10], "b": [12]}, covered_seconds=9)  # a tenth of the time unseen: 1.1 * 1.1 = 1.21 above 1.2
    assert [each.tied_with_cheapest for each in blind.configurations] == [False, True]
    sharp = sweep({"a": [10], "b": [10.1]})
    assert [each.tied_with_cheapest for each in sharp.configurations] == [False, None]
    assert sharp.to_dict()["configurations"][1]["tied_with_cheapest"] is None
    assert "tied" not in sharp.headline.sentence


def test_one_repeat_is_said_to_leave_ties_open() -> None:
    summary = sweep({"a": [10], "b": [10.1]})
    said = note(summary.configurations, None)
    assert said is not None
    assert "tied with the cheapest is not known" in said
    assert said in " ".join(printed(terminal_table(summary)).split())


def test_several_repeats_say_how_ties_are_called() -> None:
    said = note(sweep({"a": [10, 12], "b": [30, 31]}).configurations, None)
    assert said is not None
    assert "95 % interval" in said
    assert "all 2 configurations" in said


def test_a_single_configuration_needs_no_word_about_ties() -> None:
    assert note(sweep({"a": [10]}).configurations, None) is None


def test_what_a_kind_of_meter_gets_wrong_cancels_within_the_kind_only() -> None:
    energies = {"a": [100.0, 100.0], "b": [115.0, 115.0]}
    assert ties(sweep(energies)) == []
    # RAPL's 10 % and the estimate's 100 %: a factor of 1.1 * 2 to each side of 1.15
    assert ties(sweep(energies, sources={"b": "estimate"})) == ["x=b"]
    assert ties(sweep(energies, sources={"b": "replay"})) == []  # a factor of 1.1
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


def times_ten(data: LedgerData, trials: str) -> LedgerData:
    """The same, where these trials had spent ten times as much at each report."""
    rows = data.results
    many = [row._replace(energy_joules=10 * (row.energy_joules or 0)) if row.trial in trials else row for row in rows]
    return replace(data, results=many)


def test_a_configuration_that_does_not_always_arrive_is_in_no_tie() -> None:
    config = "learning_rate=0.1 batch_size=64"
    wide = times_ten(example(), "t-0.1-64-1")  # 30 and 330 J, of which nobody can tell 20 and 22 J
    assert config in ties(summarise(wide))
    without = replace(wide, results=[row for row in wide.results if row.trial != "t-0.1-64-1"])  # one arrives
    assert config not in ties(summarise(without))


def test_headline_table_and_answer_name_the_same_ties() -> None:
    summary = summarise(times_ten(example(), "t-0.1-64-1 t-0.01-64-1"))
    (line,) = setting_lines(summary)
    one, other = ties(summary)
    assert f", tied with {other} and {one};" in summary.headline.sentence
    assert f"{one} and {other} cannot be told from the cheapest." in line.detail
    assert "ties cannot be told" not in line.detail


def test_headline_and_answer_say_the_same_ratio_and_the_same_cheapest() -> None:
    # Spread repeats part the arithmetic from the geometric mean: 20 and 220 J are 120 or 66.3 J.
    summary = summarise(times_ten(example(), "t-0.1-256-1"))
    (line,) = setting_lines(summary)
    times = re.findall("\N{MULTIPLICATION SIGN}[0-9.]+", summary.headline.sentence)
    assert times
    assert times[0] in line.brief
    assert summary.headline.cheapest is not None
    assert line.brief.startswith(f"{summary.headline.cheapest.title} reaches")
    table = printed(terminal_table(summary))
    (row,) = [each for each in table.splitlines() if each.startswith(f"{summary.headline.cheapest.title} ")]
    joules = summary.headline.cheapest.energy_to_target_joules
    assert joules is not None
    assert joules.geometric_mean is not None
    assert f"for {joules.geometric_mean:.1f} J" in line.brief
    assert f"{joules.geometric_mean:.1f} J" in row


def test_the_table_and_summary_json_mark_ties() -> None:
    summary = sweep({"a": [10, 12, 14], "b": [12, 14, 16]})
    (row,) = [line for line in printed(terminal_table(summary)).splitlines() if line.startswith("x=b")]
    assert row.endswith("with cheapest")
    assert [each["tied_with_cheapest"] for each in summary.to_dict()["configurations"]] == [False, True]


@pytest.mark.parametrize("kind", ["pbt", "pb2"])
def test_a_population_s_report_says_whose_parameters_and_whose_energy_it_shows(kind: str) -> None:
    summary = summarise(example(spec={"name": "n", "workload": "w:t", "scheduler": {"type": kind}}))
    assert summary.changed_by == kind
    said = " ".join(printed(terminal_table(summary)).split())
    assert f"{kind} changed the parameters of trials while they ran" in said
    assert "Set repeats" not in said  # it has none
    assert summarise(example()).changed_by == ""
