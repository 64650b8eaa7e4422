"""Learning curves, played to the real schedulers: figures worked out by hand, and what is wrong with a table."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from energysweep.analysis.early_stopping import saved_at_target
from energysweep.cli import main
from energysweep.core.errors import InputError
from energysweep.core.objective import Objective
from energysweep.searching.curves import Curves, Report, read_table
from energysweep.searching.rehearsal import rehearse
from energysweep.searching.schedulers import Decided
from energysweep.sweepfile.algorithms import SCHEDULERS

ACCURACY = Objective("accuracy", "max", 0.9)
HEAD = "configuration,seed,energy_joules,accuracy\n"


def rising(joules: float, reports: int, to_target: int) -> list[Report]:
    """A curve whose report ``to_target`` reaches the target, each report for as many joules."""
    return [Report(joules * n, min(0.99, 0.9 * n / to_target)) for n in range(1, reports + 1)]


# b is the best, for 6 J; a needs 8 J, c 12 J, d 40 J, and e never arrives.
FIVE = Curves(
    "five",
    {
        (name, seed): rising(joules, 20, to_target)
        for seed in range(2)
        for name, joules, to_target in [("a", 2.0, 4), ("b", 1.0, 6), ("c", 4.0, 3), ("d", 4.0, 10), ("e", 2.0, 30)]
    },
)


def test_the_grid_pays_for_every_trial_up_to_the_target() -> None:
    found = rehearse(FIVE, ACCURACY, "fifo")
    assert found.energy_joules == found.grid_joules == 2 * (8 + 6 + 12 + 40 + 40)
    assert (found.chosen, found.regret, found.ratio, found.trials, found.pauses) == ("b", 1.0, 1.0, 10, 0)


def test_a_cap_pays_for_the_winners_and_for_what_the_others_spend_until_they_are_over_it() -> None:
    found = rehearse(FIVE, ACCURACY, "cap", winners=3)
    # a, b and c reach it for 8, 6 and 12 J; d and e are over 12 J after one more report, at 12 J; 26 J confirm.
    assert found.energy_joules == (8 + 6 + 12) + (12 + 12) + (8 + 6 + 12)
    assert (found.chosen, found.regret, found.trials, found.pauses) == ("b", 1.0, 8, 0)


def test_a_race_of_one_winner_pays_each_what_the_winner_had_needed_at_the_most() -> None:
    found = rehearse(FIVE, ACCURACY, "race", winners=1)
    # All begin: 2, 1, 4, 4, 2 J. Then b goes to 3, a and e to 4, b to 5; with all others at 4 J, a and e go to 6, c and
    # d to 8. Now b is behind, and arrives at 6 J, where the others stay. Its repeat needs 6 J, too.
    assert found.chosen == "b"
    assert found.energy_joules == (6 + 6 + 8 + 8 + 6) + 6
    assert found.trials == 6
    assert found.pauses > 0


def test_a_configuration_that_one_seed_misses_is_no_answer() -> None:
    curves = dict(FIVE.by_trial)
    curves["b", 1] = [Report(joules, 0.5) for joules, _ in curves["b", 1]]
    for scheduler in ("fifo", "cap", "race"):
        found = rehearse(Curves("five", curves), ACCURACY, scheduler, winners=2)
        assert (found.chosen, found.regret) == ("a", 1.0), scheduler


def test_what_starts_cost_is_paid_at_each_start_and_makes_pauses_fewer() -> None:
    free = rehearse(FIVE, ACCURACY, "race", winners=2)
    dear = rehearse(FIVE, ACCURACY, "race", winners=2, startup_joules=5.0)
    assert dear.pauses < free.pauses
    assert dear.energy_joules >= 5.0 * (dear.trials + dear.pauses - 5)  # at the end, some are still paused
    assert dear.grid_joules == free.grid_joules + 5.0 * 10


def test_what_going_on_from_a_pause_costs_is_part_of_the_trial_s_own_energy() -> None:
    free = rehearse(FIVE, ACCURACY, "race", winners=1)
    dear = rehearse(FIVE, ACCURACY, "race", winners=1, resume_joules=3.0)
    assert dear.energy_joules > free.energy_joules
    assert rehearse(FIVE, ACCURACY, "cap", resume_joules=9.0) == rehearse(FIVE, ACCURACY, "cap")  # it never pauses


def test_trials_may_run_beyond_the_target_and_the_time_is_that_of_the_last_one() -> None:
    whole = rehearse(FIVE, ACCURACY, "fifo", stops_at_target=False, at_once=10)
    assert whole.energy_joules == 2 * 20 * (2 + 1 + 4 + 4 + 2)
    assert whole.last_joules == 80  # the longest, side by side with the others
    assert rehearse(FIVE, ACCURACY, "fifo").last_joules == 212


def test_nobody_reaches_a_target_beyond_all() -> None:
    found = rehearse(FIVE, Objective("accuracy", "max", 2.0), "race")
    assert (found.chosen, found.regret) == (None, None)
    assert found.energy_joules <= found.grid_joules


def test_a_target_that_is_reached_for_nothing_has_no_regret_over_nothing() -> None:
    free, dear = [Report(0.0, 0.95)], [Report(2.0, 0.95)]
    found = rehearse(Curves("two", {("a", 0): free, ("b", 0): dear}), ACCURACY, "fifo")
    assert (found.chosen, found.regret, found.ratio) == ("a", 1.0, 1.0)
    alone = rehearse(Curves("one", {("a", 0): free}), ACCURACY, "race")
    assert (alone.chosen, alone.regret, alone.ratio) == ("a", 1.0, None)


def test_configurations_that_lack_a_seed_are_left_out_and_counted(tmp_path: Path) -> None:
    table = write(tmp_path / "table.csv", HEAD + "a,0,10,1\na,1,10,1\nb,0,1,1\n")
    curves = read_table(table, "accuracy")
    assert (curves.configurations, curves.left_out) == (["a"], 1)
    found = rehearse(curves, ACCURACY, "race")
    assert (found.chosen, found.regret, found.trials) == ("a", 1.0, 2)


def test_the_order_is_that_of_the_seed() -> None:
    orders = [rehearse(FIVE, ACCURACY, "cap", winners=1, order_seed=seed).energy_joules for seed in (1, 1, 2, 3, 4)]
    assert orders[0] == orders[1]
    assert len(set(orders)) > 1


@pytest.mark.parametrize("kind", ["fifo", "asha", "hyperband", "median", "race", "cap"])
@given(
    budget=st.integers(1, 400),
    at_once=st.integers(1, 4),
    startup=st.integers(0, 3),
    resume=st.integers(0, 2),
    joules=st.lists(st.integers(1, 6), min_size=2, max_size=6),
    to_target=st.lists(st.integers(1, 30), min_size=6, max_size=6),
    target=st.sampled_from([0.9, None]),
)
def test_whatever_a_budget_holds_it_is_kept_and_nobody_waits_for_ever(
    kind: str,
    budget: int,
    at_once: int,
    startup: int,
    resume: int,
    joules: list[int],
    to_target: list[int],
    target: float | None,
) -> None:
    assume(target is not None or not SCHEDULERS[kind].needs_target)
    curves = Curves(
        "any",
        {(str(n), seed): rising(float(each), 9, to_target[n]) for n, each in enumerate(joules) for seed in (0, 1)},
    )
    costs: dict[str, Any] = {"startup_joules": float(startup), "resume_joules": float(resume)}
    objective = Objective("accuracy", "max", target)
    free = rehearse(curves, objective, kind, at_once=at_once, **costs)
    assert (free.is_stopped, free.open) == (False, 0)
    found = rehearse(curves, objective, kind, at_once=at_once, budget_joules=float(budget), **costs)
    assert found.is_stopped or found.open == 0
    assert found.energy_joules <= budget + at_once * (startup + resume + max(joules))
    enough = rehearse(curves, objective, kind, at_once=at_once, budget_joules=1e9, **costs)
    assert not enough.is_stopped


def write(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
def test_a_table_is_read_with_its_columns_in_any_order(tmp_path: Path, name: str) -> None:
    table = write(
        tmp_path / name, "seed,accuracy,epoch,energy_joules,configuration\n7,0.5,1,2,x\n7,,2,3.5,x\n9,1,1,4,x\n"
    )
    assert read_table(table, "accuracy").by_trial == {
        ("x", 0): [Report(2.0, 0.5), Report(3.5, None)],
        ("x", 1): [Report(4.0, 1.0)],
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column configuration"),
        ("a,b\n1,2\n", "no column configuration (there is a, b)"),
        ("configuration,seed,energy_joules\n1,0,2\n", "no column accuracy"),
        (HEAD, "has no rows"),
        (HEAD + "1,0,two,0.5\n", ":2: energy_joules: must be joules"),
        (HEAD + "1,0,5,0.5\n1,0,4,0.6\n", ":3: energy_joules: must be joules"),
        (HEAD + "1,0,nan,0.5\n", ":2: energy_joules"),
        (HEAD + "1,0,1e19,0.5\n", ":2: energy_joules: must be joules since the trial began: a number up to 1e+18"),
        (HEAD + "1\n", ":2: seed: is missing"),
        ("seed,energy_joules,accuracy,configuration\n0,1,1\n", ":2: configuration: is missing"),
        ("x" * 200_000 + "\n", "is no CSV"),
        (HEAD + "1,0," + "9" * 200_000 + ",1\n", "is no CSV"),
    ],
)
def test_a_table_that_is_none_is_told_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    table = write(tmp_path / "table.csv", text)
    with pytest.raises(InputError) as told:
        read_table(table, "accuracy")
    assert said in str(told.value)
    assert str(told.value).startswith(str(table))
    assert "\n" not in str(told.value)


def test_a_packed_table_that_is_damaged_or_no_text_is_told(tmp_path: Path) -> None:
    whole = gzip.compress((HEAD + "1,0,1,0.5\n" * 100).encode())
    for content in (whole[:40], whole[:-9] + b"x" * 9, b"\x1f\x8b", gzip.compress(b"\xff\xfe\x00"), b"\xff\xff"):
        (tmp_path / "table.csv.gz").write_bytes(content)
        with pytest.raises(InputError, match=r"table\.csv\.gz"):
            read_table(tmp_path / "table.csv.gz", "accuracy")


def table_of(curves: Curves, path: Path) -> Path:
    lines = [
        f"{name},{seed},{report.joules},{report.value}"
        for (name, seed), reports in curves.by_trial.items()
        for report in reports
    ]
    return write(path, HEAD + "\n".join(lines))


def test_the_command_tells_one_json_object_or_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = str(table_of(FIVE, tmp_path / "five.csv.gz"))
    command = ["rehearse", "--table", table, "--metric", "accuracy", "--target", "0.9", "--scheduler", "cap"]
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    expected = {"scheduler": "cap", "energy_joules": 76.0, "grid_joules": 212.0, "chosen": "b", "regret": 1.0}
    assert {name: told[name] for name in expected} == expected
    assert told["ratio"] == pytest.approx(76 / 212)
    documented = "scheduler energy_joules low high grid_joules ratio chosen regret simple_regret trials pauses stopped"
    documented += " left_out startup_joules resume_joules estimated budget_joules stopped_by_budget open order"
    documented += " schema_version of metric mode target"
    assert set(told) == set(documented.split())
    assert (told["budget_joules"], told["stopped_by_budget"], told["open"]) == (None, False, 0)
    assert 50 < told["low"] <= 76 < told["high"] < 212
    assert (told["startup_joules"], told["resume_joules"]) == (0.0, 0.0)
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "spends 76.0 J in 8 trials" in said
    assert "Another run of it would spend ≈ " in said
    assert "It chooses b, which needs 6.00 J: 1.00 times what the best one needs." in said


def test_the_command_tells_what_a_budget_would_have_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = str(table_of(FIVE, tmp_path / "five.csv"))
    command = ["rehearse", "--table", table, "--metric", "accuracy", "--target", "0.9", "--scheduler", "fifo"]
    assert main([*command, "--budget", "30", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    # One of a, b and c need 8, 6 and 12 J. No other that may need 12 J, as the dearest of these, is held by 4 J.
    assert (told["energy_joules"], told["stopped_by_budget"], told["open"]) == (26.0, True, 0)
    assert (told["budget_joules"], told["chosen"]) == (30.0, "b")
    assert told["high"] < 34
    assert main([*command, "--budget", "30"]) == 0
    assert "Its budget stops it there, with 0 trials begun and not ended." in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*command, "--budget", "-1"])
    assert "'-1' is no number of joules above 0" in capsys.readouterr().err


def test_without_a_target_the_command_tells_how_much_worse_the_chosen_one_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    curves = {(name, 0): [Report(1.0, early), Report(9.0, late)] for name, early, late in [("a", 3, 4), ("b", 1, 5)]}
    table = str(table_of(Curves("two", curves), tmp_path / "two.csv"))
    command = ["rehearse", "--table", table, "--metric", "accuracy", "--winners", "1"]
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    # One of the two is kept after 1 J, where b has not yet overtaken.
    expected = {"energy_joules": 10.0, "grid_joules": 18.0, "chosen": "a", "regret": None, "simple_regret": 1.0}
    assert {name: told[name] for name in expected} == expected
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "1 seed, without a target for accuracy" in said
    assert "the full grid spends 18.0 J" in said
    assert "It chooses a: accuracy 4.00 in the mean of its seeds, 1.00 worse than the best one." in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "either the folder of a run, or --table"),
        (["--table", "there-is-none.csv", "--target", "1"], "there is no such file"),
        (["--table", "a-table.csv", "--metric", "x", "--scheduler", "cap"], "--target: there is no target for x"),
        (["--table", "x.csv", "--target", "nan"], "no number from -1e+300 to 1e+300"),
        (["--table", "x.csv", "--target", "1e308"], "no number from"),
        (["--table", "a-table.csv", "--target", "1", "--metric", ""], "--metric: '' is no metric"),
        (["--table", "a-table.csv", "--target", "1", "--metric", "should_checkpoint"], "is no metric"),
        (
            ["--table", "x.csv", "--target", "1", "--scheduler", "best"],
            "none of fifo, asha, hyperband, median, pbt, pb2, race, cap",
        ),
        (["--table", "x.csv", "--target", "1", "--scheduler", "pbt"], "no curve tells what comes of that"),
        (["--table", "x.csv", "--target", "1", "--concurrent", "0"], "at least 1"),
        (["there-is-none"], "there is no such folder"),
    ],
)
def test_what_it_cannot_rehearse_is_told_in_one_line(
    options: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a-table.csv", "configuration,seed,energy_joules,,should_checkpoint,x\n1,0,1,1,1,1\n")
    try:
        code = main(["rehearse", *options])
    except SystemExit as error:
        code = int(str(error.code))
    assert code == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def told(kind: str, winners: int = 3) -> list[Decided]:
    return [*rehearse(FIVE, ACCURACY, kind, winners=winners).decided]


def test_a_cap_tells_by_which_numbers_it_ends_a_trial() -> None:
    ends = [each for each in told("cap") if each.what == "ended" and each.why != "reached"]
    # d and e are over 12 J after one more report, at 12 J.
    assert [(each.why, each.joules, each.limit_joules) for each in ends] == [("capped", 12.0, 12.0)] * 2
    assert [each.numbers for each in ends] == [{"winners": 3}] * 2
    # What reaches the target is ended by the sweep's own rule here; the winners are repeated.
    assert sorted(each.joules or 0.0 for each in told("cap") if each.why == "reached") == [6, 6, 8, 8, 12, 12]
    assert [each.what for each in told("cap") if each.why == "repeat"] == ["started"] * 3


def test_every_pause_of_a_race_is_told_and_every_end() -> None:
    decided = told("race", winners=1)
    pauses = [each for each in decided if each.what == "paused"]
    assert len(pauses) == rehearse(FIVE, ACCURACY, "race", winners=1).pauses
    assert {(each.why, each.limit_joules) for each in pauses} <= {("turn", None), ("capped", 6.0)}
    ends = [each for each in decided if each.what == "ended"]
    assert len({each.trial for each in ends}) == len(ends) == 6
    # b and its repeat arrive, one was slower; the others are ended where they are paused when the race is over.
    assert sorted(each.why for each in ends) == ["over"] * 3 + ["reached"] * 2 + ["slower"]


def test_asha_tells_whom_it_ends() -> None:
    decided = told("asha")
    assert {(each.what, each.why) for each in decided} <= {("ended", "asha"), ("ended", "reached"), ("ended", "enough")}
    assert any(each.why == "asha" and each.joules for each in decided)


@pytest.mark.parametrize("kind", ["race", "cap"])
def test_what_a_race_saves_lies_in_the_interval_that_it_tells(kind: str) -> None:
    found = rehearse(FIVE, ACCURACY, kind)
    saved = saved_at_target(found.tried, FIVE.seeds, full_reports=20)
    assert saved is not None
    assert saved.high is not None
    assert saved.low <= found.grid_joules - found.energy_joules <= saved.high
    least = saved_at_target(found.tried, FIVE.seeds)
    assert least is not None
    assert least.low <= found.grid_joules - found.energy_joules
