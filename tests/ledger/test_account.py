"""Runs on simulated hosts are added up: what their devices drew is in the account once, and every part has its owner.

A host draws 25 W, and 20 W for each busy CPU: a trial keeps one busy, its driver and what is none of ours a tenth each.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.core.runfolder import LEDGER
from energysweep.ledger.account import BY, Account, By, account
from energysweep.ledger.folders import runs_below
from energysweep.ledger.run_state import RunState
from energysweep.ledger.store import Ledger, LedgerData, read_ledger
from energysweep.meters.base import Component
from energysweep.simulation.node import IDLE_WATTS
from tests.support.accounted import NOVEMBER_ENDS, Hosts, SharedRun, as_before_schema_5, run_over_midnight

CARBON = {"grams_per_kwh": 360.0, "zone": "DEU", "year": 2023, "source": "CodeCarbon", "pue": 1.0}  # 0.0001 g/J


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with closing(Hosts(tmp_path, hosts=2)) as made:
        yield made


def added(hosts: Hosts, by: By = "owner") -> Account:
    found = runs_below([hosts.results])
    assert found.problems == []
    return account(found.read, by)


def parts_of(found: Account) -> float:
    apart = [joules for joules in found.apart.values() if joules is not None]
    return math.fsum([*(each.energy_joules or 0.0 for each in found.groups.values()), *apart])


def of_groups(found: Account) -> dict[str | None, float | None]:
    return {key: charges.energy_joules for key, charges in found.groups.items()}


def test_twenty_runs_five_resumed_and_two_at_the_same_time_add_up_to_what_the_meters_saw(hosts: Hosts) -> None:
    for number in range(20):
        facts: dict[str, Any] = {"owner": ["Ada", "Grace", "Alan"][number % 3], "carbon": CARBON}
        if number == 19:
            break  # it has run beside number 18
        run = hosts.run(f"run-{number}", number % 2, **facts)
        run.begin()
        hosts.wait(1)
        run.work("t0", "small")
        hosts.wait(2)
        if number < 5:  # interrupted, or killed and resumed before its window is closed, or after
            run.die() if number > 2 else run.end("interrupted")
            hosts.wait(70 if number == 4 else 5)
            run.begin()
            run.work("t1", "large")
            hosts.wait(2)
        if number == 18:
            other = hosts.run("run-19", 0, **facts)
            other.begin()
            other.work("t0")
            hosts.wait(3)
            run.end()
            hosts.wait(2)
            other.end()
        else:
            run.end()
        hosts.wait(1)
    for by in BY:
        found = added(hosts, by)
        assert found.once is not None
        assert found.charged.runs == 20
        assert parts_of(found) == pytest.approx(hosts.metered_joules, rel=1e-6)


# By hand -------------------------------------------------------------------------------------------------------------


def test_of_two_runs_at_the_same_time_idle_floor_and_background_count_once(hosts: Hosts) -> None:
    one, other = hosts.run("one", owner="Ada"), hosts.run("other", owner="Grace")
    for run in (one, other):
        run.begin()
        run.work("t0")
    hosts.wait(10)
    one.end()
    other.end()
    found = added(hosts)
    # Each: a CPU of its own for 10 s, a driver's tenth, an eighth of the floor of CPU and memory. 25 W are the floor.
    assert of_groups(found) == {name: pytest.approx(200 + 20 + 250 / 8) for name in ("Ada", "Grace")}
    assert found.apart == pytest.approx(
        {"background": 20, "unreserved_idle": 250 * 6 / 8, "other_sweeps": 0, "booked_twice": 0}
    )
    assert found.once is not None
    assert found.once.metered_joules == pytest.approx(250 + 2 * 220 + 20)
    assert (found.once.divided_joules, found.once.estimated_joules, found.notes) == (0, 0, NO_GRID)
    alone = account(runs_below([one.folder]).read, "owner")
    assert alone.apart["other_sweeps"] == pytest.approx(200 + 20 + 250 / 8)
    assert parts_of(alone) == pytest.approx(parts_of(found))


NO_GRID = ("2 runs of 2 noted no grid: the grams are without.",)


def test_a_run_within_the_time_of_another_leaves_the_rest_of_the_floor_to_be_told_exactly(hosts: Hosts) -> None:
    long, short = hosts.run("long"), hosts.run("short")
    long.begin()
    hosts.wait(3)
    short.begin()
    short.work("t0")
    hosts.wait(4)
    short.end()
    hosts.wait(2)
    long.work("t0")
    hosts.wait(1)
    long.end()
    found = added(hosts)
    assert found.apart == pytest.approx(
        {"background": 20, "unreserved_idle": 250 - 5 * 25 / 8, "other_sweeps": 0, "booked_twice": 0}
    )
    assert found.once is not None
    assert found.once.divided_joules == 0


def test_where_runs_overlap_in_part_the_sum_is_exact_and_the_rest_is_called_divided(hosts: Hosts) -> None:
    one, other = hosts.run("one"), hosts.run("other")
    one.begin()
    one.work("t0")
    hosts.wait(4)
    other.begin()
    other.work("t0")
    hosts.wait(3)
    one.end()
    hosts.wait(4)
    other.end()
    found = added(hosts)
    assert found.once is not None
    # 25 W are the floor, of which a trial has reserved an eighth, 2 W background, and 22 W each run's own.
    assert found.once.metered_joules == pytest.approx(4 * 49 + 3 * 71 + 4 * 49)
    assert found.once.divided_joules == pytest.approx(3 * 71)
    apart = found.apart
    assert apart["background"] == pytest.approx(22, abs=0.5)
    assert apart["unreserved_idle"] == pytest.approx(11 * 25 - 14 * 25 / 8, abs=1.5)
    assert (apart["other_sweeps"], apart["booked_twice"]) == (0, 0)
    assert parts_of(found) == pytest.approx(found.once.metered_joules)
    assert found.notes[0].startswith("Of 213 J that runs have both seen")


def test_what_a_run_inside_of_another_has_drawn_is_charged_to_both_and_taken_off_once(hosts: Hosts) -> None:
    outer, inner = hosts.run("outer"), hosts.run("inner")
    outer.begin()
    outer.work("t0")
    hosts.wait(2)
    inner.begin(inside=outer)
    inner.work("t0")
    hosts.wait(5)
    inner.end()
    hosts.wait(1)
    outer.end()
    found = added(hosts)
    assert parts_of(found) == pytest.approx(hosts.metered_joules)
    assert found.apart["booked_twice"] == pytest.approx(-(5 * 20 + 5 * 2 + 5 * 25 / 8))
    assert any("charged to several runs" in note for note in found.notes)


def test_runs_with_other_idle_floors_add_up_all_the_same(hosts: Hosts) -> None:
    high: dict[Component, float] = {"cpu": 20.0, "dram": 5.0}
    one, other = hosts.run("one", floors={}), hosts.run("other", floors=high)
    one.begin()
    one.work("t0")
    other.begin()
    other.work("t0")
    hosts.wait(5)
    one.end()
    other.end()
    found = added(hosts)
    assert parts_of(found) == pytest.approx(hosts.metered_joules)
    assert found.conservation_error_ratio == pytest.approx(0, abs=1e-9)


def test_joules_of_a_run_over_a_month_s_end_are_in_the_month_in_which_they_were_drawn(tmp_path: Path) -> None:
    with closing(Hosts(tmp_path, now=NOVEMBER_ENDS - 10)) as hosts:
        second = run_over_midnight(hosts)
        found = added(hosts, "month")
        assert of_groups(found) == pytest.approx({"2025-11": 7 * second, "2025-12": 2 * second}, rel=1e-9)
        assert [(each.runs, each.trials) for each in found.groups.values()] == [(1, 2), (1, 1)]
        assert found.groups["2025-12"].emissions_grams == pytest.approx(2 * second * 0.0001)
        assert found.notes[0].startswith("1 run went on over the end of a month (UTC)")
        assert parts_of(found) == pytest.approx(hosts.metered_joules)


def test_a_time_beyond_all_clocks_is_in_the_last_month(hosts: Hosts) -> None:
    run = hosts.run("run")
    run.begin()
    run.work("t0")
    hosts.wait(5)
    run.end()
    run.ledger.note(parts=[{"started_at": 2.4e11, "duration_seconds": 1e11}])
    joules = [each.energy_joules or 0.0 for each in added(hosts, "month").groups.values()]
    assert math.fsum(joules) == pytest.approx(5 * (22 + 25 / 8))


def test_without_samples_a_lease_and_the_time_of_the_run_tell_the_month(tmp_path: Path) -> None:
    with closing(Hosts(tmp_path, now=NOVEMBER_ENDS - 4)) as hosts:
        run = hosts.run("run")
        run.begin()
        hosts.wait(2)
        run.work("t0")
        hosts.wait(6)  # 2 of them in November
        run.end()
        with run.ledger._transaction() as connection:
            connection.execute("DELETE FROM samples")
        assert of_groups(added(hosts, "month")) == pytest.approx(
            {"2025-11": 2 * (20 + 25 / 8) + 8, "2025-12": 4 * (20 + 25 / 8) + 8}
        )


def test_a_trial_is_of_its_hardware_profile_and_overhead_of_none(hosts: Hosts) -> None:
    run = hosts.run("run")
    run.begin()
    run.work("t0", "small")
    run.work("t1", "large")
    run.work("t2")
    hosts.wait(4)
    run.end()
    found = added(hosts, "hardware")
    each = 4 * (20 + 25 / 8)
    assert of_groups(found) == pytest.approx({"small": each, "large": each, None: each + 8})
    assert {key: (charges.runs, charges.trials) for key, charges in found.groups.items()} == {
        "large": (1, 1),
        "small": (1, 1),
        None: (1, 1),
    }


def test_runs_with_the_same_tags_are_a_group_and_each_run_is_in_one(hosts: Hosts) -> None:
    for name, tags in {"a": ["nlp"], "b": ["urgent", "nlp", "nlp"], "c": ["nlp", "urgent"], "d": []}.items():
        run = hosts.run(name, spec={"tags": tags})
        run.begin()
        run.work("t0")
        hosts.wait(1)
        run.end()
    assert {key: each.runs for key, each in added(hosts, "tag").groups.items()} == {"nlp, urgent": 2, "nlp": 1, None: 1}


def test_a_tag_with_a_comma_is_not_two(hosts: Hosts) -> None:
    for name, tags in {"a": ["nlp, urgent"], "b": ["urgent", "nlp"], "c": ['"x"']}.items():
        hosts.run(name, spec={"tags": tags})
    assert set(added(hosts, "tag").groups) == {'"nlp, urgent"', "nlp, urgent", r'"\"x\""'}


def test_joules_that_were_booked_and_metered_differently_are_the_balance(hosts: Hosts) -> None:
    for name in ("one", "other"):
        run = hosts.run(name)
        run.begin()
        run.work("t0")
        hosts.wait(5)
        run.end()
        hosts.wait(1)
    assert added(hosts).conservation_error_ratio == pytest.approx(0, abs=1e-12)
    with run.ledger._transaction() as connection:
        connection.execute("UPDATE meters SET joules = joules / 2")
    found = added(hosts)
    assert found.once is not None
    assert found.once.metered_joules == pytest.approx(1.5 * 5 * 49)
    assert found.conservation_error_ratio == pytest.approx(0.5 / 1.5)
    with run.ledger._transaction() as connection:
        connection.execute("DELETE FROM meters")
    assert added(hosts).conservation_error_ratio == pytest.approx(1)


def test_grams_and_money_are_of_the_runs_that_know_them_and_the_others_are_told(hosts: Hosts) -> None:
    facts: list[dict[str, Any]] = [
        {"carbon": CARBON, "spec": {"price": {"per_kwh": 3.6, "currency": "EUR"}}},
        {"carbon": CARBON | {"pue": 2.0}, "spec": {"price": {"per_kwh": 3.6, "currency": "USD"}}},
        {},
    ]
    for number, each in enumerate(facts):
        run = hosts.run(f"run-{number}", **each)
        run.begin()
        run.work("t0")
        hosts.wait(8)
        run.end()
    found = added(hosts, "name")
    joules = 8 * (20 + 2) + 25
    assert found.charged.emissions_grams == pytest.approx(3 * joules * 0.0001)
    assert found.charged.cost == pytest.approx({"EUR": joules * 1e-6, "USD": 2 * joules * 1e-6})
    assert (found.charged.runs_without_grid, found.charged.runs_without_price) == (1, 1)
    assert (found.groups["run-2"].emissions_grams, found.groups["run-2"].cost) == (None, {})


def test_a_run_of_which_nothing_was_measured_is_n_a_and_not_nothing(hosts: Hosts) -> None:
    hosts.run("run", owner="Ada")
    found = added(hosts)
    assert of_groups(found) == {"Ada": None}
    assert (found.once, found.conservation_error_ratio, set(found.apart.values())) == (None, None, {None})
    assert found.to_dict()["totals"]["energy_joules"] is None
    assert found.notes[0] == "Of 1 run nothing was measured."


# Copies, links, older ledgers ----------------------------------------------------------------------------------------


def test_a_copy_that_went_on_apart_is_the_same_run_and_its_joules_count(hosts: Hosts) -> None:
    run = hosts.run("run", owner="Ada")
    run.begin()
    run.work("t0")
    hosts.wait(3)
    run.end("interrupted")
    copy = hosts.results / "copy"
    copy.mkdir()
    run.ledger.backup(copy / LEDGER)
    assert parts_of(added(hosts)) == pytest.approx(hosts.metered_joules)
    went_on = hosts.run("elsewhere", owner="Ada", started_at=read_ledger(copy / LEDGER).run["started_at"])
    went_on.ledger.close()
    shutil.rmtree(went_on.folder)
    copy.rename(went_on.folder)
    went_on.ledger = Ledger.create(went_on.folder / LEDGER)
    for part in (run, went_on):
        part.begin()
        part.work("t1")
        hosts.wait(2)
        part.end()
    found = added(hosts)
    assert found.charged.runs == 1
    assert parts_of(found) == pytest.approx(hosts.metered_joules)
    assert "hold the same run, run: it is counted once, as in" in found.notes[0]


def test_a_copy_that_has_lost_its_run_s_id_is_known_by_its_window(hosts: Hosts) -> None:
    run = hosts.run("run", owner="Ada")
    run.begin()
    run.work("t0")
    hosts.wait(3)
    run.end()
    copy = hosts.results / "copy"
    copy.mkdir()
    run.ledger.backup(copy / LEDGER)
    with Ledger.create(copy / LEDGER) as ledger, ledger._transaction() as connection:
        connection.execute("DELETE FROM run WHERE key = 'id'")
    found = added(hosts)
    assert found.charged.runs == 1
    assert parts_of(found) == pytest.approx(hosts.metered_joules)
    nameless = [replace(read_ledger(copy / LEDGER), leases=(), meters=(), energy=()) for _ in range(2)]
    assert account([("a", nameless[0]), ("b", nameless[1])], "owner").charged.runs == 2


def test_an_agent_that_is_started_again_goes_on_with_the_same_books(tmp_path: Path) -> None:
    with closing(Hosts(tmp_path, keeps_state=True)) as hosts:
        one, other = hosts.run("one"), hosts.run("other")
        one.begin()
        one.work("t0")
        hosts.wait(3)
        other.begin()
        other.work("t0")
        hosts.wait(3)
        hosts.nodes[0].kill_agent()
        hosts.wait(4)
        hosts.nodes[0].start_agent()
        hosts.wait(2)
        one.end()
        hosts.wait(3)
        other.end()
        found = added(hosts)
        assert parts_of(found) == pytest.approx(hosts.metered_joules)
        assert found.once is not None
        assert (found.once.estimated_joules, found.apart["other_sweeps"], found.apart["booked_twice"]) == (0, 0, 0)


def test_a_run_whose_agent_was_started_again_without_its_state_loses_nothing_of_any_window(tmp_path: Path) -> None:
    with closing(Hosts(tmp_path)) as hosts:
        run = hosts.run("run", owner="Ada")
        run.begin()
        run.work("t0")
        for _ in range(3):
            hosts.wait(10)
            hosts.kill_agent()
            hosts.start_agent()  # the lease goes on by its id, in another window
        hosts.wait(20)
        run.end()
        found = added(hosts)
        kept = read_ledger(run.folder / LEDGER)
        assert len({row.books for row in kept.meters}) == len({row.window for row in kept.leases}) == 4
        assert sum(row.held_seconds for row in kept.leases) == pytest.approx(50)
        # 25 W are the floor, of which an eighth is the trial's, 22 W its own and its driver's, 2 W background.
        assert of_groups(found) == {"Ada": pytest.approx(50 * (22 + 25 / 8))}
        assert found.apart == pytest.approx(
            {"background": 100, "unreserved_idle": 50 * 25 * 7 / 8, "other_sweeps": 0, "booked_twice": 0}
        )
        assert found.once is not None
        assert (found.once.metered_joules, hosts.metered_joules) == pytest.approx((50 * 49, 50 * 49))
        assert (found.once.shared_joules, found.once.estimated_joules) == (0, 0)
        as_before_schema_5(hosts.folders)
        assert added(hosts).once == found.once


def test_agents_without_books_in_common_are_told_apart_by_their_times(tmp_path: Path) -> None:
    with closing(Hosts(tmp_path)) as hosts:
        for name in ("one", "other"):
            run = hosts.run(name)
            run.begin()
            run.work("t0")
            hosts.wait(5)
            run.end()
            hosts.nodes[0].kill_agent()
            hosts.nodes[0].start_agent()
        found = added(hosts)
        assert len({row.books for folder in hosts.folders for row in read_ledger(folder / LEDGER).meters}) == 2
        assert parts_of(found) == pytest.approx(hosts.metered_joules)
        assert found.once is not None
        assert found.once.estimated_joules == 0


def test_ledgers_of_an_older_energysweep_are_told_apart_by_their_times(hosts: Hosts) -> None:
    one, other, later = hosts.run("one"), hosts.run("other"), hosts.run("later")
    for run in (one, other):
        run.begin()
        run.work("t0")
    hosts.wait(20)
    one.end()
    other.end()
    hosts.wait(1)
    later.begin()
    later.work("t0")
    hosts.wait(5)
    later.end()
    assert parts_of(added(hosts)) == pytest.approx(hosts.metered_joules, rel=1e-9)
    as_before_schema_5(hosts.folders)
    found = added(hosts)
    assert parts_of(found) == pytest.approx(hosts.metered_joules, rel=1e-6)
    assert found.once is not None
    assert found.once.estimated_joules == pytest.approx(20 * (25 + 2 * 22 + 2))
    assert "is an estimate by their times and mean power" in found.notes[0]


def test_the_same_folder_counts_once_however_it_is_named(hosts: Hosts, tmp_path: Path) -> None:
    run = hosts.run("run")
    run.begin()
    hosts.wait(1)
    run.end()
    link, loop = tmp_path / "link", run.folder.parent / "loop"
    link.symlink_to(run.folder)
    loop.symlink_to(tmp_path)
    for folders in ([run.folder, run.folder], [link, hosts.results], [tmp_path], [tmp_path, run.folder / ".", link]):
        found = runs_below(folders)
        assert (len(found.read), found.problems) == (1, [])


def test_what_cannot_be_read_is_a_line_each_and_hides_nothing_else(hosts: Hosts) -> None:
    run, damaged = hosts.run("run"), hosts.run("damaged")
    for each in (run, damaged):
        each.begin()
        each.work("t0")
        hosts.wait(1)
        each.end()
    with damaged.ledger._transaction() as connection:
        connection.execute("UPDATE trials SET status = 'sleeping'")
    for name in ("empty", "newer", "torn"):
        (hosts.results / name).mkdir()
    (hosts.results / "empty" / "run.key").touch()
    (hosts.results / "torn" / LEDGER).write_bytes((run.folder / LEDGER).read_bytes()[:3000])
    Ledger.create(hosts.results / "newer" / LEDGER, id="newer").close()
    with Ledger.create(hosts.results / "newer" / LEDGER) as ledger, ledger._transaction() as connection:
        connection.execute("PRAGMA user_version = 99")
    found = runs_below([hosts.results])
    assert sorted(Path(path).name for path, _ in found.read) == ["damaged", "run"]
    said = "\n".join(found.problems)
    assert "empty: a run folder without its ledger.sqlite: this run is left out" in said
    assert "damaged/ledger.sqlite: trials: 1 row left out" in said
    assert "newer/ledger.sqlite: written with schema 99" in said
    assert any("torn/ledger.sqlite" in line and line.endswith(": this run is left out") for line in found.problems)
    assert all("\n" not in line for line in found.problems)
    assert parts_of(account(found.read, "owner")) == pytest.approx(hosts.metered_joules)


# Always --------------------------------------------------------------------------------------------------------------


class Part(NamedTuple):
    """A run's part: after how many seconds it begins, how long it takes, whether its driver is killed at its end."""

    pause: int
    seconds: int
    is_killed: bool


class Plan(NamedTuple):
    host: int
    owner: str | None
    tags: Sequence[str]
    knows_floors: bool
    parts: Sequence[Part]


class Outage(NamedTuple):
    """An agent is killed, perhaps with its state, and started again."""

    host: int
    at: int
    seconds: int
    forgets: bool


PLANS = st.lists(
    st.builds(
        Plan,
        st.integers(0, 1),
        st.sampled_from(["Ada", "Grace", None]),
        st.lists(st.sampled_from(["nlp", "urgent"]), max_size=2),
        st.integers(0, 3).map(bool),
        st.lists(st.builds(Part, st.integers(0, 4), st.integers(1, 5), st.booleans()), min_size=1, max_size=2),
    ),
    min_size=1,
    max_size=3,
)
OUTAGES = st.lists(
    st.builds(Outage, st.integers(0, 1), st.integers(1, 6), st.integers(0, 3), st.integers(0, 2).map(bool)), max_size=3
)


def steps_of(run: SharedRun, plan: Plan) -> Iterator[None]:
    """What becomes of a run, second by second; it waits for its host's agent."""
    for place, part in enumerate(plan.parts):
        for _ in range(part.pause):
            yield
        while run.node.agent is None:
            yield
        run.begin()
        run.work(f"t{place}", ["", "small", "large"][place])
        for _ in range(part.seconds):
            yield
        # A window is heard to its end if somebody resumes the run.
        if part.is_killed and place < len(plan.parts) - 1:
            run.die()
        else:
            run.end()


@contextmanager
def carried_out(plans: Sequence[Plan], outages: Sequence[Outage], now: float) -> Iterator[Hosts]:
    """Runs as planned, all beginning at once."""
    with tempfile.TemporaryDirectory() as folder, closing(Hosts(Path(folder), 2, now, keeps_state=True)) as hosts:
        steps = []
        for number, plan in enumerate(plans):
            facts: dict[str, Any] = {"spec": {"tags": plan.tags}} | (
                {} if plan.owner is None else {"owner": plan.owner}
            )
            run = hosts.run(f"run-{number}", plan.host, IDLE_WATTS if plan.knows_floors else {}, **facts)
            steps.append(steps_of(run, plan))
        ends: dict[int, int] = {}
        second = 0
        while steps:
            for host in [host for host, end in ends.items() if end <= second]:
                hosts.start_agent(host)
                del ends[host]
            for outage in outages:
                if outage.at == second and outage.host not in ends:
                    hosts.kill_agent(outage.host, and_its_state=outage.forgets)
                    ends[outage.host] = second + outage.seconds
            steps = [each for each in steps if next(each, steps) is None]
            hosts.wait(1)
            second += 1
        yield hosts


def seen_by(data: LedgerData) -> float:
    """What the meters of a run saw in windows with leases, window by window."""
    return math.fsum(meter.joules for meter in RunState.of(data).in_windows_with_leases()[1])


def assert_it_can_be(found: Account, alone: Sequence[float]) -> None:
    """Of runs of which one by one these are the joules."""
    assert found.once is not None
    metered = found.once.metered_joules
    assert max(alone) * (1 - 1e-12) <= metered <= math.fsum(alone) * (1 + 1e-12)
    assert found.once.runs_joules == pytest.approx(math.fsum(alone), rel=1e-12)
    counted_once = found.once.shared_joules + found.once.estimated_joules
    assert metered + counted_once == pytest.approx(found.once.runs_joules, rel=1e-9)
    charged = found.charged.energy_joules
    assert charged is not None
    assert charged <= (metered - found.once.booked_twice) * (1 + 1e-9)
    assert found.conservation_error_ratio == pytest.approx(0, abs=1e-9)


def assert_it_is_the_same(hosts: Hosts, found: Account, seed: int) -> None:
    """In whatever order the folders are given, and with a copy of one of them."""
    shuffled = [*hosts.folders, hosts.results, hosts.folders[0]]
    Random(seed).shuffle(shuffled)  # noqa: S311 - of no secret
    assert account(runs_below(shuffled).read, "owner") == found
    original = hosts.runs[seed % len(hosts.runs)]
    copy = hosts.results / f"{['a', 'z'][seed % 2]}-copy"
    copy.mkdir()
    original.ledger.backup(copy / LEDGER)
    with_copy = account(runs_below([hosts.results]).read, "owner")
    assert replace(with_copy, notes=()) == replace(found, notes=())
    shutil.rmtree(copy)


@given(PLANS, OUTAGES, st.integers(0, 20), st.integers(0, 100))
def test_every_account_of_any_runs_adds_up_to_what_the_meters_saw(
    plans: list[Plan], outages: list[Outage], after: int, seed: int
) -> None:
    with carried_out(plans, outages, NOVEMBER_ENDS - after) as hosts:
        read = runs_below([hosts.results]).read
        alone = [hosts.metered([run]) for run in hosts.runs]
        assert [seen_by(data) for _, data in read] == pytest.approx(alone, rel=1e-9)
        found = {by: account(read, by) for by in BY}
        for each in found.values():
            assert each.charged == found["owner"].charged
            assert each.once == found["owner"].once
            assert each.once is not None
            assert parts_of(each) == pytest.approx(hosts.metered_joules, rel=1e-9)
            assert each.once.metered_joules == pytest.approx(hosts.metered_joules, rel=1e-9)
            assert each.once.estimated_joules == 0
            assert_it_can_be(each, [seen_by(data) for _, data in read])
            # Of a run that ended while its agent was away the agent heard later than its ledger.
            if all(plan.knows_floors for plan in plans) and not outages:
                assert each.apart["other_sweeps"] == each.apart["booked_twice"] == 0
                if not each.once.divided_joules:
                    assert each.apart["background"] == pytest.approx(hosts.background_joules)
        assert_it_is_the_same(hosts, found["owner"], seed)
        assert_some_add_up(hosts, exactly=True)


@given(PLANS, OUTAGES, st.integers(0, 100))
def test_an_account_of_older_ledgers_loses_nothing_and_is_no_more_than_each_run_saw(
    plans: list[Plan], outages: list[Outage], seed: int
) -> None:
    with carried_out(plans, outages, NOVEMBER_ENDS) as hosts:
        as_before_schema_5(hosts.folders)
        assert_it_is_the_same(hosts, account(runs_below([hosts.results]).read, "owner"), seed)
        assert_some_add_up(hosts, exactly=False)


def assert_some_add_up(hosts: Hosts, *, exactly: bool) -> None:
    """Each run alone, and any of them together."""
    for number in range(1, len(hosts.runs) + 1):
        for some in combinations(hosts.runs, number):
            read = runs_below([run.folder for run in some]).read
            found = account(read, "owner")
            assert_it_can_be(found, [seen_by(data) for _, data in read])
            if exactly:
                assert parts_of(found) == pytest.approx(hosts.metered(some), rel=1e-9)
            if number == 1:
                assert found.once is not None
                assert (found.once.shared_joules, found.once.estimated_joules, found.once.booked_twice) == (0, 0, 0)
