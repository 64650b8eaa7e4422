"""The study's document: its figures are those of the extracts, and its verdicts follow from the intervals."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from energysweep.analysis import Estimate, FrozenOrNot, Observation, frozen_or_not, pretraining, worst_to_best
from energysweep.analysis.effects import Acts
from energysweep.core.text import TIMES
from energysweep.ledger.store import LedgerData
from energysweep.report import combined_markdown, summarise
from energysweep.report.answers import MEANS_NOTE
from study.document import BLOCKS, DOCUMENT, EXTRACTS, filled
from study.duration import took_list, took_seconds
from study.extracts import read_extract, read_extracts, write_extract
from study.findings import Finding, findings
from study.parts import memory_part
from study.verdicts import acts_as_said, below_one, pays_after, reaches, sooner
from tests.support import regimes
from tests.support.example import example
from tests.support.table import arrived, censored


def test_the_document_is_what_its_extracts_make_of_it() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text == filled(text, read_extracts(EXTRACTS)), "run `make study-docs`"


def test_the_readme_says_how_long_the_study_takes() -> None:
    minutes = round(took_seconds(read_extracts(EXTRACTS)) / 60)
    readme = (DOCUMENT.parent.parent / "README.md").read_text(encoding="utf-8")
    assert f"five sweeps, about {minutes} minutes on two cores" in " ".join(readme.split())


def test_the_study_s_duration_is_from_the_first_beginning_to_the_last_end() -> None:
    first = replace(summarise(regimes.multitask()), started_at=1000.0, duration_seconds=60.0, parts=())
    second = replace(summarise(regimes.hardware("estimate")), started_at=1100.0, duration_seconds=25.0, parts=())
    assert took_seconds([first, second]) == 125
    text = took_list([first, second])
    assert "**2 min 5 s** from" in text
    assert f"| all | {len(first.trials) + len(second.trials)} | 1 min 25 s |" in text


def test_the_memory_s_constant_is_said_where_it_is_an_estimate_only() -> None:
    run = summarise(regimes.hardware("estimate"))
    [meter, *_] = run.meters
    memory = replace(meter, component="dram", source="estimate", idle_floor_watts=20.0)
    trials = tuple(
        replace(trial, energy_joules=8.0, component_joules={"cpu": 2.0, "dram": 6.0}) for trial in run.trials
    )
    estimated = replace(run, trials=trials, meters=(memory,))
    assert memory_part(estimated.trials) == 0.75
    assert "constant, busy or idle: ≈ 20.0 W (est.).** By this estimate it makes ≈ 75.0 % to ≈ 75.0 %" in took_list(
        [estimated]
    )
    measured = replace(estimated, meters=(replace(memory, source="rapl"),))
    assert "constant" not in took_list([measured])
    unknown = replace(estimated, trials=(replace(trials[0], component_joules={}), *trials[1:]))
    assert memory_part(unknown.trials) is None
    assert "constant" not in took_list([unknown])


def test_the_document_shows_every_block() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert [name for name in BLOCKS if f"<!-- generated: {name} -->" not in text] == []


def test_the_extracts_are_small_and_name_no_machine() -> None:
    files = sorted(EXTRACTS.glob("*.json"))
    assert sum(file.stat().st_size for file in files) < 1_000_000
    for file in files:
        said = json.loads(file.read_text(encoding="utf-8"))
        assert {meter["node"] for meter in said["meters"]} <= {""}
        assert all(trial["nodes"] == [] and trial["error"] is None for trial in said["trials"])


def test_whatever_of_a_run_names_its_machine_is_in_no_extract(tmp_path: Path) -> None:
    data, name = example(extra={"size": 1}), "machine-7"
    first, second, *others = [lease._replace(node=name) for lease in data.leases]
    here = replace(
        data,
        run=data.run
        | {"spec": {"command": [f"/home/{name}/python", "train.py", f"--data=/{name}/data"]}}
        | {"parts": [{"started_at": 0.0, "ended": False}, {"started_at": second.opened_at + 9, "ended": True}]}
        | {"status": "done"},
        meters=[meter._replace(node=name, device=f"{name}-0") for meter in data.meters],
        leases=[
            first._replace(closed_at=None, gpus='{"GPU-1": 1.0}'),  # of a killed driver
            second._replace(closed_at=None, opened_at=second.opened_at + 10),  # of a lost agent
            *others,
        ],
        trials=[trial._replace(error=f"no file on {name}") for trial in data.trials],
        results=[result._replace(metrics={**result.metrics, "host": name}) for result in data.results],
        damage=[f"meters: 1 row left out (boot w {name} cpu-0: joules: nan)"],
    )
    summary = summarise(here)
    assert (summary.lost_nodes, summary.unheard_nodes) == ((name,), (name,))
    assert summary.unmeasured_gpus == ((name, "GPU-1", 1),)
    text = write_extract(summary, tmp_path).read_text(encoding="utf-8")
    assert name in repr(summary)
    assert name not in text
    again = read_extract(tmp_path / f"{summary.name}.json")
    assert again.workload == "python train.py --data=data"
    assert again.damage == ("meters: 1 row left out",)


def test_a_made_up_block_is_refused() -> None:
    with pytest.raises(KeyError):
        filled("<!-- generated: nonsense -->\n<!-- end -->", [summarise(example())])


@pytest.mark.parametrize("data", [example(), regimes.pretraining(), regimes.multitask(), regimes.hardware("estimate")])
def test_an_extract_says_what_its_run_says(data: LedgerData, tmp_path: Path) -> None:
    summary = summarise(data)
    again = read_extract(write_extract(summary, tmp_path))
    assert combined_markdown([again]) == combined_markdown([summary])
    assert again.headline.sentence == summary.headline.sentence


def test_making_the_document_twice_changes_nothing(tmp_path: Path) -> None:
    write_extract(summarise(regimes.pretraining()), tmp_path)
    write_extract(summarise(example()), tmp_path)
    text = DOCUMENT.read_text(encoding="utf-8")
    once = filled(text, read_extracts(tmp_path))
    assert "encoder frozen" in once
    assert filled(once, read_extracts(tmp_path)) == once


def verdicts(*data: LedgerData) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for each in findings([summarise(one) for one in data]):
        found.setdefault(each.claim, []).append(each)
    return found


def test_a_claim_that_no_run_can_tell_is_not_testable() -> None:
    found = verdicts(regimes.multitask())
    for claim in ("Batch size acts on the energy of an epoch", "Pretraining pays after about 10 to 13 reuses"):
        assert [each.verdict for each in found[claim]] == ["not testable here"]


def test_break_evens_are_judged_by_their_intervals() -> None:
    found = verdicts(regimes.pretraining())
    # 10 and 12.5 reuses, for all seeds alike
    pays = found["Pretraining pays after about 10 to 13 reuses"]
    assert [each.verdict for each in pays] == ["confirmed", "confirmed"]


def uses(
    frozen: Sequence[float], unfrozen: Sequence[float], scratch: Sequence[float] = (1000.0, 1000.0)
) -> FrozenOrNot:
    """A pretraining of 10 J, and what each seed then needs to the target."""
    trials = [Observation(stage="base", seed=seed, energy_joules=10.0) for seed in range(len(scratch))]
    for side, use in ((scratch, None), (frozen, regimes.FROZEN), (unfrozen, regimes.UNFROZEN)):
        trials += [arrived(joules, 1, seed, parameters={"pretrained": use}) for seed, joules in enumerate(side)]
    (found,) = frozen_or_not(trials)
    return found


@pytest.mark.parametrize(
    ("found", "verdict", "why"),
    [
        # 0.9 and 0.9 of what the same seed needs unfrozen, whose own spread of ten times makes the break-evens overlap
        (
            uses((9.0, 90.0), (10.0, 100.0)),
            "confirmed",
            "what a use takes to the same target: the interval lies below 1",
        ),
        (
            uses((11.0, 110.0), (10.0, 100.0)),
            "not confirmed",
            "what a use takes to the same target: the interval lies above 1",
        ),
        # 0.5 and 1.5 times: no telling
        (uses((5.0, 15.0), (10.0, 10.0)), "compatible", "what a use takes to the same target: the interval holds 1"),
        # less than unfrozen, and more than from scratch: it never pays
        (uses((9.0, 9.0), (10.0, 10.0), (5.0, 5.0)), "not confirmed", "the frozen one never pays"),
        # savings of 1 and 11 J, 6 +- 12.7 * 5
        (
            uses((9.0, 9.0), (10.0, 10.0), (10.0, 20.0)),
            "compatible",
            "a frozen use takes less, but that it pays at all is not shown",
        ),
        (
            uses((9.0,), (10.0,), (20.0,)),
            "not testable here",
            "a trial never reached the target, or there is no interval",
        ),
        (uses((9.0, 9.0), (10.0,)), "not testable here", "a trial never reached the target, or there is no interval"),
    ],
)
def test_a_frozen_encoder_pays_sooner_if_its_uses_take_less_by_seed(found: FrozenOrNot, verdict: str, why: str) -> None:
    assert sooner(found) == (verdict, why)


def test_what_a_frozen_use_takes_stands_beside_both_break_evens() -> None:
    # 10 J against 12 J, in all seeds alike, so that both may be half a report off; 0.1 s of each were not seen
    (found,) = verdicts(regimes.pretraining())["It pays sooner with a frozen encoder"]
    assert found.verdict == "confirmed"
    assert found.ours.startswith(f"energy to target, frozen over unfrozen, by seed: {TIMES}0.833 (0.731 to 0.955)")
    assert found.ours.endswith(", unfrozen 12.5 (10.0 to 16.7)")


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [
        (Estimate(0.8, 0.7, 0.9, 3), "confirmed"),
        (Estimate(0.8, 0.7, 1.1, 3), "compatible"),
        (Estimate(1.2, 1.1, 1.3, 3), "not confirmed"),
        (Estimate(0.8, None, None, 1), "not testable here"),
    ],
)
def test_less_is_what_lies_below_one_for_sure(ratio: Estimate, verdict: str) -> None:
    assert below_one(ratio)[0] == verdict


def test_the_runs_sentences_stand_beside_the_note_on_their_means() -> None:
    assert BLOCKS["runs"]([summarise(example())]).endswith(f"|\n\n{MEANS_NOTE}")


@pytest.mark.parametrize(
    ("reuses", "low", "high", "verdict"),
    [
        (11.0, 9.0, 14.0, "confirmed"),
        (4.2, 2.2, 373.0, "compatible"),
        (4.2, 2.2, None, "compatible"),
        (4.2, 2.2, 9.9, "not confirmed"),
        (20.0, 13.1, 30.0, "not confirmed"),
    ],
)
def test_a_wide_interval_confirms_no_number_of_reuses(
    reuses: float, low: float, high: float | None, verdict: str
) -> None:
    found = pretraining(summarise(regimes.pretraining()).trials)[0]
    assert pays_after(replace(found, reuses=reuses, low=low, high=high))[0] == verdict


def test_a_pretraining_that_costs_three_times_as_much_pays_after_other_numbers() -> None:
    data = regimes.pretraining()
    stage = {row.trial for row in data.trials if row.stage}
    dear = replace(
        data, energy=[row._replace(joules=3 * row.joules) if row.lease in stage else row for row in data.energy]
    )
    pays = verdicts(dear)["Pretraining pays after about 10 to 13 reuses"]
    assert [each.verdict for each in pays] == ["not confirmed", "not confirmed"]


def test_multitask_is_judged_by_whether_its_interval_lies_below_one() -> None:
    found = verdicts(regimes.multitask())
    assert [each.verdict for each in found["A multitask model takes less than separate models"]] == ["confirmed"]
    assert [each.verdict for each in found["... because it needs fewer epochs"]] == ["confirmed"]


def test_the_largest_ratio_is_judged_on_each_hardware() -> None:
    data = regimes.hardware()
    found = [each for claim, all_ in verdicts(data).items() if "5 times" in claim for each in all_]
    # 16 J against 8 J on the one, 8 J against 4 J on the other: twice as much, within a quarter; a third rate never
    # arrives, so nobody knows what it needs
    why = "the interval begins below 5, and what did not always arrive may take 5 times or more"
    assert [(each.run, each.verdict, each.why) for each in found] == [
        ("hardware on one", "compatible", why),
        ("hardware on two", "compatible", why),
    ]
    arrives = replace(data, trials=[row for row in data.trials if row.parameters["lr"] != 10.0])
    found = [each for claim, all_ in verdicts(arrives).items() if "5 times" in claim for each in all_]
    assert [each.why for each in found] == ["the interval ends below 5"] * 2


def group(*joules: float) -> list[Observation]:
    return [arrived(each, 1, seed) for seed, each in enumerate(joules)]


def missed_group(*joules: float) -> list[Observation]:
    return [censored(each, 1, seed) for seed, each in enumerate(joules)]


@pytest.mark.parametrize(
    ("dearest", "missed", "verdict", "why"),
    [
        ((6.0, 6.0), (), "confirmed", "the interval begins at 5 or more"),
        # e^1.7 with the logarithms 1.6 and 1.8 beside 0 and 0: Welch's 1 degree, 1.7 +- 12.706 * 0.1, 1.54 to 19.5
        (
            (math.exp(1.6), math.exp(1.8)),
            (),
            "compatible",
            "the interval lies above 1 and holds 5, but begins below it",
        ),
        # a censored setting that spent 10 times as much needs at least that; 20 times, where others spread by 0.1: of
        # the variances 0 and 0.02 / 0.4549 the median is 0.022: from 20 / exp(8.331 / sqrt(2) * sqrt(0.022)) = 8.3 on
        ((math.exp(1.6), math.exp(1.8)), (20.0, 20.0), "confirmed", "of a setting that did not always arrive"),
        ((2.0, 2.0), (10.0, 10.0), "confirmed", "of a setting that did not always arrive"),
        # 10 times within 12.706 * 0.1 in logarithms, so from 2.81 times on; or with one repeat, which has no interval
        ((2.0, 2.0), (10 * math.exp(-0.1), 10 * math.exp(0.1)), "compatible", "the interval begins below 5, and what"),
        ((2.0, 2.0), (10.0,), "compatible", "the interval begins below 5, and what"),
        # it may need any number of times
        ((2.0, 2.0), (4.0, 4.0), "compatible", "the interval begins below 5, and what"),
        ((2.0, 2.0), (1.5, 1.5), "compatible", "the interval begins below 5, and what"),
        ((2.0, 2.0), (), "not confirmed", "the interval ends below 5"),
        ((math.exp(0.5), math.exp(1.0)), (), "not confirmed", "the interval holds 1"),
        ((6.0,), (), "not testable here", "one repeat has no interval"),
    ],
)
def test_five_times_is_confirmed_by_where_an_interval_begins_and_not_by_a_wide_one(
    dearest: tuple[float, ...], missed: tuple[float, ...], verdict: str, why: str
) -> None:
    groups = [("cheap", group(1.0, 1.0)), ("dear", group(*dearest))]
    if missed:
        groups.append(("missed", missed_group(*missed)))
    found = worst_to_best(groups)
    assert found is not None
    said, because = reaches(found)
    assert said == verdict
    assert because.startswith(why)


def test_what_a_setting_that_never_arrived_takes_at_least_is_said_beside_the_ratio() -> None:
    # the third rate spent 10 epochs of 2 J (1 J) without arriving, the cheapest takes 4 of them: 2.5 times as much. The
    # factors 1, 1.1, 0.9 vary by 0.01008 in logarithms, and one of 3 was picked. The typical spread is that over ln 2
    # (the median of a variance with 2 degrees): 5.040 / sqrt(2) * sqrt(2 / 3 * 0.01008 / ln 2) = 0.3509, 4 degrees
    found = [each for claim, all_ in verdicts(regimes.hardware()).items() if "5 times" in claim for each in all_]
    bound = f"; of 1 setting that did not always arrive, one takes {TIMES}2.50 or more (95 %: at least {TIMES}1.76)"
    assert [each.ours.endswith(bound) for each in found] == [True, True]


EXACT = Estimate(1.2, 1.1, 1.3, 3)
TIED = Estimate(1.2, 0.9, 1.6, 3)


@pytest.mark.parametrize(
    ("acts", "factor", "verdict", "why"),
    [
        ("joules_per_epoch", EXACT, "confirmed", "that factor is at least the other's square"),
        ("epochs", EXACT, "in part", "it acts on it, and more on the epochs"),
        ("both", EXACT, "in part", "it acts on it, and on the epochs as well"),
        ("epochs", TIED, "not confirmed", "it acts on the epochs; that factor's interval holds 1"),
        ("neither", TIED, "not confirmed", "no factor can be told from 1"),
        (None, EXACT, "not testable here", "one repeat has no interval"),
    ],
)
def test_a_parameter_that_acts_more_on_the_other_acts_in_part(
    acts: Acts | None, factor: Estimate, verdict: str, why: str
) -> None:
    assert acts_as_said(acts, "joules_per_epoch", factor) == (verdict, why)


def test_one_repeat_decides_nothing() -> None:
    data = example()
    one = replace(data, trials=[row for row in data.trials if row.seed == 0])
    found = verdicts(one)
    (finding,) = found["Learning rate acts on the number of epochs"]
    assert finding.verdict == "not testable here"


def test_the_parameters_of_the_example_act_as_the_original_says() -> None:
    # an epoch costs 20, 10, 5 J for the batch sizes; the epochs follow the learning rate, and the batch size a little
    found = verdicts(example())
    (finding,) = found["Learning rate acts on the number of epochs"]
    assert finding.verdict == "confirmed"
