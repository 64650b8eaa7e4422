"""Start-up in reports: shown apart, in no number that is compared. One lease had 2 s of it, in which it drew 50 J."""

from __future__ import annotations

from dataclasses import replace
from html import unescape

import pytest

from energysweep.core.records import EnergyRow
from energysweep.ledger.receipt import explain
from energysweep.ledger.store import LedgerData
from energysweep.report import combined_html, combined_markdown, combined_table, compare, summarise, terminal_table
from energysweep.report.answers import cost_line
from energysweep.report.answers.tables import cost_table
from energysweep.report.files import configurations_csv, trials_csv
from energysweep.report.html import limits
from energysweep.report.not_measured import not_measured
from energysweep.report.terminal import receipt_lines
from tests.report.test_compare import printed
from tests.report.test_files import rows_of
from tests.support.example import CRASHED, HOST, WINDOW, example

TRIAL = "t-0.1-16-0"


def with_startup(joules: float = 50.0) -> LedgerData:
    data = example()
    leases = [
        lease._replace(startup_seconds=2.0, held_seconds=lease.held_seconds + 2.0) if lease.trial == TRIAL else lease
        for lease in data.leases
    ]
    (lease,) = [lease.lease for lease in leases if lease.trial == TRIAL]
    row = EnergyRow(HOST, WINDOW, lease, "cpu-0", "cpu", "startup", "rapl", joules)
    cpu, dram = data.meters
    return replace(
        data, energy=[*data.energy, row], leases=leases, meters=[cpu._replace(joules=cpu.joules + joules), dram]
    )


def test_start_up_is_in_no_number_that_is_compared() -> None:
    before, after = summarise(example()), summarise(with_startup())
    assert [each.energy_joules for each in after.trials] == [each.energy_joules for each in before.trials]
    assert [each.power_watts for each in after.trials] == pytest.approx([each.power_watts for each in before.trials])
    compared = [
        [(each.energy_joules, each.energy_to_target_joules, each.emissions_grams) for each in summary.configurations]
        for summary in (before, after)
    ]
    assert compared[0] == compared[1]
    assert after.headline.sentence == before.headline.sentence


def test_start_up_stands_beside_it_and_every_joule_is_still_in_one_place() -> None:
    before, after = summarise(example()).totals, summarise(with_startup()).totals
    assert (before.buckets["startup"], after.buckets["startup"]) == (0.0, 50.0)
    assert after.energy_joules == pytest.approx(before.energy_joules + 50)
    assert after.trials_energy_joules == before.trials_energy_joules
    assert after.conservation_error_ratio == pytest.approx(0, abs=1e-12)
    assert after.emissions_grams == pytest.approx(before.emissions_grams + 50 * 1e-4)  # the sweep is charged with it
    rows = {row["trial"]: row for row in rows_of(trials_csv(summarise(with_startup())))}
    assert (float(rows[TRIAL]["startup_joules"]), float(rows[CRASHED]["startup_joules"])) == (50.0, 0.0)
    (configuration,) = [
        row
        for row in rows_of(configurations_csv(summarise(with_startup())))
        if row["config"] == "learning_rate=0.1 batch_size=16"
    ]
    assert float(configuration["startup_joules.mean"]) == 25.0


def test_a_receipt_tells_start_up_from_the_trial_s_energy() -> None:
    lines = [line.split() for line in receipt_lines(explain(with_startup(), TRIAL))]
    assert ["start-up", "2.000", "s", "of", "it"] in lines
    assert [*["of", "it", "start-up,", "apart"], "50.000", "J"] in lines
    assert [*["=", "this", "trial"], "200.000", "J"] in lines
    assert [*["its", "start-up"], "50.000", "J"] in lines


def test_what_failed_attempts_lost_is_work_alone() -> None:
    data = example()
    startup = [
        EnergyRow(HOST, WINDOW, lease.lease, "cpu-0", "cpu", "startup", "rapl", 30.0)
        for lease in data.leases
        if lease.trial == CRASHED
    ]
    lost = {
        each.trial: each.lost_joules
        for each in summarise(replace(data, energy=[*data.energy, *startup])).trials
        if each.trial == CRASHED
    }
    assert lost == {CRASHED: pytest.approx(11)}


def test_a_trial_that_failed_while_it_loaded_took_no_joule_of_work_and_all_of_start_up() -> None:
    data = with_startup()
    energy = [row for row in data.energy if not row.lease.startswith(TRIAL) or row.bucket == "startup"]
    (trial,) = [each for each in summarise(replace(data, energy=energy)).trials if each.trial == TRIAL]
    assert (trial.energy_joules, trial.startup_joules) == (0.0, 50.0)


def untold(data: LedgerData, *trials: str) -> LedgerData:
    """The same as an older energysweep wrote it down: start-up is in the energy of these trials, by default of all."""
    leases = [
        lease._replace(startup_seconds=None) if not trials or lease.trial in trials else lease for lease in data.leases
    ]
    return replace(data, leases=leases)


def test_an_older_ledger_does_not_know() -> None:
    data = untold(example())
    summary = summarise(data)
    assert summary.totals.buckets["startup"] is None
    assert {each.startup_joules for each in summary.trials} == {None}
    assert rows_of(trials_csv(summary))[0]["startup_joules"] == "n/a"
    assert [each for each in limits(summary) if each.startswith("Start-up was not told apart from work")]
    assert not [each for each in limits(summarise(example())) if "Start-up" in each]


def resumed() -> LedgerData:
    """A run that an older energysweep began: the crashed trial's first lease is of it, all others are of this one.

    Both leases of that trial worked for as long as before, the new one after 3 s of start-up that drew 20 J.
    """
    data = with_startup()
    first, second = [lease for lease in data.leases if lease.trial == CRASHED]
    others = [lease for lease in data.leases if lease.trial != CRASHED]
    second = second._replace(startup_seconds=3.0, held_seconds=second.held_seconds + 3.0)
    row = EnergyRow(HOST, WINDOW, second.lease, "cpu-0", "cpu", "startup", "rapl", 20.0)
    cpu, dram = data.meters
    return replace(
        data,
        leases=[first._replace(startup_seconds=None), second, *others],
        energy=[*data.energy, row],
        meters=[cpu._replace(joules=cpu.joules + 20), dram],
    )


def test_every_joule_of_a_run_that_an_older_energysweep_began_is_in_one_place() -> None:
    totals = summarise(resumed()).totals
    assert (totals.buckets["startup"], totals.untold_startup_trials) == (70.0, 1)
    assert totals.energy_joules == pytest.approx(
        sum(
            joules or 0.0
            for joules in (
                totals.trials_energy_joules,
                totals.buckets["startup"],
                totals.buckets["overhead"],
                totals.buckets["other_sweeps"],
                totals.buckets["background"],
                totals.buckets["unreserved_idle"],
            )
        )
    )


def test_a_trial_with_leases_of_two_energysweeps_has_all_that_is_known_and_says_that_it_is_not_all() -> None:
    summary = summarise(resumed())
    before = {each.trial: each for each in summarise(example()).trials}[CRASHED]
    (trial,) = [each for each in summary.trials if each.trial == CRASHED]
    assert (trial.startup_joules, trial.startup_seconds, trial.untold_startup) == (20.0, 3.0, True)
    assert trial.power_watts == pytest.approx(before.power_watts)  # over its work, as far as that is told apart
    row = next(row for row in rows_of(trials_csv(summary)) if row["trial"] == CRASHED)
    worked_seconds = float(row["duration_seconds"]) - float(row["startup_seconds"])
    assert float(row["energy_joules"]) == pytest.approx(float(row["power_watts"]) * worked_seconds)
    assert row["untold_startup"] == "true"
    receipt = receipt_lines(explain(resumed(), CRASHED))
    assert "  that of 1 lease was not told apart from work: it is in what follows" in receipt
    note = "Start-up was not told apart from work in 1 of 18 trials, so their energy includes it"
    assert [each for each in limits(summary) if each.startswith(note)]
    assert note in " ".join(printed(terminal_table(summary)).split())


def test_power_times_the_time_of_work_is_energy_for_whoever_reads_the_table() -> None:
    for row in rows_of(trials_csv(summarise(with_startup()))):
        worked_seconds = float(row["duration_seconds"]) - float(row["startup_seconds"])
        assert float(row["energy_joules"]) == pytest.approx(float(row["power_watts"]) * worked_seconds)


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (example(id="a"), example(id="b"), ""),
        (
            untold(example(id="a")),
            example(id="b"),
            "Start-up was not told apart from work, at least in some trials, in a, whose energy includes it; it is"
            " apart from that of b. A ratio between them sets trials with their start-up against trials without it.",
        ),
        (
            example(id="a"),
            untold(example(id="b"), TRIAL),
            "Start-up was not told apart from work, at least in some trials, in b, whose energy includes it; it is"
            " apart from that of a. A ratio between them sets trials with their start-up against trials without it.",
        ),
        (
            untold(example(id="a")),
            untold(example(id="b")),
            "Start-up was not told apart from work, at least in some trials, in a, b: their energy includes it.",
        ),
    ],
)
def test_runs_whose_start_up_is_in_their_energy_are_set_side_by_side_with_a_warning(
    one: LedgerData, other: LedgerData, said: str
) -> None:
    summaries = [summarise(one), summarise(other)]
    found = [each for each in compare(summaries).warnings if "Start-up" in each]
    assert found == ([said] if said else [])
    for text in (printed(combined_table(summaries)), combined_html(summaries), combined_markdown(summaries)):
        plain = " ".join(unescape(text).replace("\\", "").split())
        assert said in plain if said else "Start-up was not told apart" not in plain


@pytest.mark.parametrize(
    ("runs", "charged"),
    [
        ([example(id="a"), example(id="b")], "trials, their start-up and overhead"),
        (
            [untold(example(id="a"))],
            "trials, their start-up (not told apart, within the trials' energy) and overhead",
        ),
        (
            [untold(example(id="a")), example(id="b"), example(id="c")],
            "trials, their start-up (not told apart in 1 of 3 runs, within the trials' energy) and overhead",
        ),
    ],
)
def test_what_runs_have_cost_says_where_start_up_is_in_the_trials_energy(runs: list[LedgerData], charged: str) -> None:
    summaries = [summarise(run) for run in runs]
    assert f" T{charged[1:]}: " in cost_line(summaries).brief
    assert f"CO2e of {charged} |" in cost_table(summaries).replace("\\", "")


def test_trials_that_have_ray_work_elsewhere_are_named() -> None:
    data = example()
    leases = [
        lease._replace(works_elsewhere=None if lease.trial == CRASHED else 1 if lease.trial == TRIAL else 0)
        for lease in data.leases
    ]
    summary = summarise(replace(data, leases=leases))
    assert [each for each in not_measured(summary) if "Ray" in each] == [
        f"Only part of 1 trial was measured: {TRIAL}. Ray tasks or actors that it had work in other processes hold no"
        " lease: what they drew is overhead or background."
    ]
    said = {row["trial"]: row["unmetered_ray_work"] for row in rows_of(trials_csv(summary))}
    assert (said[TRIAL], said[CRASHED], said["t-0.1-16-1"]) == ("true", "n/a", "false")
    receipt = "\n".join(receipt_lines(explain(replace(data, leases=leases), TRIAL)))
    assert "not measured    Ray tasks or actors" in receipt
