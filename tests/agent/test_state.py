"""An agent that was started again goes on where the one before has ended. The host draws 100 W."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from energysweep.accounting.accounts import Sweep, SweepSample
from energysweep.accounting.observer import REJOIN_SECONDS
from energysweep.agent.state import Address, StateFile
from energysweep.core.errors import LeaseRefused
from energysweep.meters import Device
from tests.support.fake_host import CPU, DRAM, GPU, FakeHost

WRAPPING = Device("package-0", "cpu", "rapl", wraps_at_joules=10_000.0, wraps_after_seconds=50.0)


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path, {CPU: 100.0, DRAM: 10.0})


def metered(host: FakeHost, run: str = "r") -> float:
    return sum(row.joules for row in host.agent.windows[run].meter_rows())


def test_the_gap_is_booked_as_one_long_interval_to_those_who_were_there(host: FakeHost) -> None:
    driver, trial = host.tree.fork(), host.tree.fork()
    window = host.agent.open_window("r", {"cpu": 20})
    host.agent.join("r", host.tree.of(driver))
    host.open("t", trial, cpus=2)
    host.work(1.0, {trial: 1.0})
    host.agent.tick()
    host.kill_agent()
    host.work(10.0, {trial: 0.75, driver: 0.25})
    host.start_agent()
    assert host.agent.windows["r"].id == window.id
    # CPU: 11 s, each 20 J idle, half of them reserved, and 80 J active: 80 J of the first second, then three quarters.
    # DRAM: its floor is not known, so all of its 10 W is active.
    assert host.buckets() == pytest.approx(
        {
            "lease-t active": (80 + 600) + (10 + 75),
            "lease-t idle": 110,
            "overhead": 200 + 25,
            "unreserved_idle": 110,
        }
    )
    assert metered(host) == pytest.approx(1210)
    (lease,) = host.agent.windows["r"].lease_rows(0)
    assert (lease.held_seconds, lease.covered_seconds, lease.closed_at) == (11.0, 11.0, None)
    assert lease.cpu_seconds == pytest.approx(8.5, abs=0.02)


def test_a_client_finds_its_lease_again_by_its_id(host: FakeHost) -> None:
    trial = host.tree.fork()
    host.agent.open_window("r")
    host.open("t", trial)
    host.work(1.0, {trial: 1.0})
    before = host.agent.report("lease-t")
    host.kill_agent()
    host.start_agent()
    host.open("t", trial)
    assert host.agent.report("lease-t") == before
    host.work(REJOIN_SECONDS, {trial: 1.0})
    host.agent.tick()
    assert host.agent.report("lease-t").joules == pytest.approx(before.joules + 110 * REJOIN_SECONDS)


def test_a_known_lease_is_refused_to_another_trial_or_process(host: FakeHost) -> None:
    trial = host.tree.fork()
    host.agent.open_window("r")
    host.open("t", trial)
    with pytest.raises(LeaseRefused, match="another trial or process"):
        host.open("u", trial, lease="lease-t")
    with pytest.raises(LeaseRefused, match="another trial or process"):
        host.open("t", host.tree.fork())


def test_who_does_not_come_back_within_a_minute_is_let_go(host: FakeHost) -> None:
    driver, trial = host.tree.fork(), host.tree.fork()
    host.agent.open_window("r")
    host.agent.join("r", host.tree.of(driver))
    host.open("t", trial)
    host.agent.tick()
    host.kill_agent()
    host.start_agent()
    host.wait(REJOIN_SECONDS - 1)
    host.agent.tick()
    assert host.agent.telling.open_leases == 1
    host.wait(1.0)
    host.agent.tick()
    assert host.agent.telling.open_leases == 0
    host.work(1.0, {driver: 1.0})
    host.agent.tick()
    assert host.buckets()["background"] == pytest.approx(110 * 61)  # a driver that has not come back is nobody's
    host.wait(61.0)
    host.agent.tick()
    assert host.agent.windows["r"].closed is not None


def test_a_lease_whose_process_died_in_the_gap_is_closed_and_keeps_its_joules(host: FakeHost) -> None:
    trial = host.tree.fork()
    host.agent.open_window("r")
    host.open("t", trial)
    host.work(1.0, {trial: 1.0})
    host.agent.tick()
    host.kill_agent()
    host.work(1.0, {trial: 1.0})
    host.tree.end(trial)  # its parent, which nobody owns, gets its time
    host.wait(1.0)
    host.start_agent()
    host.agent.tick()
    (row,) = host.agent.windows["r"].lease_rows(0)
    assert row.closed_at is not None
    assert row.cpu_seconds == pytest.approx(2.0, abs=0.02)
    assert host.buckets() == pytest.approx({"lease-t active": 330})
    assert metered(host) == pytest.approx(330)


def test_what_a_driver_was_told_is_never_more_than_what_the_next_agent_knows(host: FakeHost) -> None:
    trial = host.tree.fork()
    host.agent.open_window("r")
    host.open("t", trial)
    host.work(0.5, {trial: 1.0})
    host.agent.report("lease-t")
    told = host.agent.telling.totals("r", 0)
    host.kill_agent()
    host.start_agent()
    assert host.agent.windows["r"].revision > told["revision"]
    again = host.agent.telling.totals("r", told["revision"])
    assert again["window"] == told["window"]
    assert again["energy"] == []  # nothing was used since, and nothing is told twice
    host.work(0.5, {trial: 1.0})
    host.agent.tick()
    assert sum(row.joules for row in host.agent.telling.totals("r", again["revision"])["energy"]) == pytest.approx(110)


def test_an_interval_that_a_failed_reading_left_open_goes_over_the_restart(host: FakeHost) -> None:
    trial = host.tree.fork()
    host.agent.open_window("r")
    host.open("t", trial)
    host.meter.failing = {CPU}
    host.work(1.0, {trial: 1.0})
    host.agent.close_lease("r", "lease-t")
    host.kill_agent()
    host.wait(1.0)
    host.meter.failing = set()
    host.start_agent()
    assert host.buckets() == pytest.approx({"lease-t active": 200 + 10, "background": 10})  # CPU: 2 s, DRAM: 1 + 1 s
    counter = host.agent.counters["package-0"]
    assert (counter.failures, counter.covered_seconds) == (1, 2.0)


def test_trials_that_have_ended_what_a_driver_told_and_the_host_s_account_stay(host: FakeHost) -> None:
    trial = host.tree.fork()
    host.agent.open_window("r").sweep = Sweep(
        grams_per_kwh=380.0,
        zone="DEU",
        agents={"10.0.0.8:9770": "n"},
        samples=[
            SweepSample("energysweep_sweep_best", ("loss",), -0.5),
            SweepSample("energysweep_sweep_saved_energy_joules", (), 2.0),
        ],
    )
    host.agent.address = Address(0, 9770)
    for name in ("one", "two"):
        lease = host.open(name, trial)
        host.work(1.0, {trial: 1.0})
        host.agent.report(lease, {"accuracy": 0.5, "pairs": 1.0})
        host.agent.close_lease("r", lease)
    before = host.agent.windows["r"]
    host.agent.tick()
    node = dict(host.agent.node.joules)
    host.kill_agent()
    host.start_agent()
    after = host.agent.windows["r"]
    assert after is not before
    assert after.trials == before.trials
    assert after.sweep == before.sweep
    assert after.leases == before.leases
    assert host.agent.node.joules == node
    assert host.agent.address == Address(0, 9770)


def test_a_counter_that_restarts_with_the_agent_was_reset(host: FakeHost) -> None:
    host.agent.open_window("r")
    host.agent.tick()
    host.kill_agent()
    host.wait(5.0)
    host.meter.joules[CPU] = 0.0  # as one that integrates power
    host.start_agent()
    row = next(row for row in host.agent.windows["r"].meter_rows() if row.component == "cpu")
    assert (row.joules, row.resets, row.covered_seconds, row.window_seconds) == (0.0, 1, 0.0, 5.0)


@pytest.mark.parametrize(("gap_seconds", "joules", "resets"), [(49.0, 4900.0, 0), (50.0, 0.0, 1)])
def test_a_gap_in_which_a_counter_may_have_wrapped_unseen_is_not_booked(
    tmp_path: Path, gap_seconds: float, joules: float, resets: int
) -> None:
    host = FakeHost(tmp_path, {WRAPPING: 100.0})
    host.agent.open_window("r")
    host.agent.tick()
    host.kill_agent()
    host.wait(gap_seconds)
    host.start_agent()
    (row,) = host.agent.windows["r"].meter_rows()
    assert (row.joules, row.resets) == (joules, resets)


def test_a_device_that_the_next_agent_lacks_keeps_its_joules(host: FakeHost) -> None:
    host.agent.open_window("r")
    host.wait(1.0)
    host.agent.tick()
    host.kill_agent()
    del host.meter.watts[DRAM], host.meter.joules[DRAM]
    host.wait(1.0)
    host.start_agent()
    rows = {row.component: row for row in host.agent.windows["r"].meter_rows()}
    assert (rows["cpu"].joules, rows["dram"].joules) == (200, 10)
    assert rows["dram"].covered_seconds == 1
    host.agent.telling.totals("r", 0)


def test_a_device_that_the_next_agent_has_more_counts_from_there(host: FakeHost) -> None:
    host.agent.open_window("r")
    host.agent.tick()
    host.kill_agent()
    more = Device("dram-1", "dram", "rapl")
    host.meter.watts[more], host.meter.joules[more] = 5.0, 7.0
    host.start_agent()
    host.wait(2.0)
    host.agent.tick()
    assert host.buckets() == pytest.approx({"background": 2 * 115})
    assert metered(host) == pytest.approx(2 * 115)


def test_the_state_of_other_meters_is_ignored(host: FakeHost, caplog: pytest.LogCaptureFixture) -> None:
    host.agent.open_window("r")
    host.agent.tick()
    host.kill_agent()
    host.meter.watts = {replace(CPU, source="estimate"): 100.0}
    host.meter.joules = dict.fromkeys(host.meter.watts, 0.0)
    with caplog.at_level(logging.WARNING):
        host.start_agent()
    assert "of other meters: ignored" in caplog.text
    assert host.agent.windows == {}


def other(place: str, value: object) -> Callable[[str], str]:
    def change(text: str) -> str:
        first, *rest = text.splitlines()
        content = json.loads(first)
        *parts, key = place.split(".")
        part = content
        for each in parts:
            part = part[each]
        assert key in part
        part[key] = value
        return "\n".join([json.dumps(content), *rest])

    return change


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: "",
        lambda _: "[]",
        lambda _: "\x00\x01",
        lambda text: text[: len(text) // 2],
        lambda text: text + "\nnonsense",
        other("boot_id", "another"),
        other("format", 0),
        other("observer.counters", "none"),
        other("books.windows", [{"id": "w"}]),
        other("observer.processes", [[1]]),
    ],
)
def test_a_state_that_cannot_be_used_is_ignored_and_says_so(
    host: FakeHost, caplog: pytest.LogCaptureFixture, damage: Callable[[str], str]
) -> None:
    host.agent.open_window("r")
    host.agent.tick()
    host.state.write_text(damage(host.state.read_text()))
    with caplog.at_level(logging.WARNING):
        host.start_agent()
    assert str(host.state) in caplog.text
    assert host.agent.windows == {}


def test_what_no_scrape_could_show_is_not_taken_from_a_state_and_the_rest_is(host: FakeHost) -> None:
    trial = host.tree.fork()
    window = host.agent.open_window("r")
    host.open("t", trial)
    host.work(1.0, {trial: 1.0})
    shown = SweepSample("energysweep_sweep_trials", ("ENDED",), 2.0)
    others = [
        SweepSample("energysweep_sweep_trials", ("RUNNING",), math.inf),
        SweepSample("energysweep_sweep_saved_energy_joules", (), 1.0),
    ]
    window.sweep = Sweep(zone="z", samples=[*others, shown])  # by a laxer agent
    host.agent.tick()
    host.kill_agent()
    kept = host.state.read_text()
    assert "sweep_saved_energy" in kept
    host.state.write_text(kept.replace("sweep_saved_energy", "sweep_otherwise_called"))
    host.start_agent()
    assert host.agent.windows["r"].sweep == Sweep(zone="z", samples=[shown])
    assert host.agent.report("lease-t").joules == pytest.approx(110)


def test_a_state_that_cannot_be_written_leaves_no_old_one_and_stops_nothing(
    host: FakeHost, caplog: pytest.LogCaptureFixture
) -> None:
    host.agent.open_window("r")
    host.agent.tick()
    assert host.state.exists()
    host.state.with_suffix(".new").mkdir()  # stands where the new file is written
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            host.wait(1.0)
            host.agent.tick()
    assert caplog.text.count("cannot be kept") == 1
    assert not host.state.exists()
    assert metered(host) == pytest.approx(330)


def test_the_state_is_for_its_user_only(host: FakeHost) -> None:
    host.agent.open_window("r")
    assert host.state.stat().st_mode & 0o777 == 0o600


def test_an_agent_that_ends_leaves_its_state_or_takes_it_along(host: FakeHost) -> None:
    host.agent.open_window("r")
    host.wait(1.0)
    host.agent.end(keep_state=True)
    with pytest.raises(LeaseRefused, match="has ended"):
        host.agent.telling.totals("r", 0)
    host.start_agent()
    assert metered(host) == pytest.approx(110)
    host.agent.end(keep_state=False)
    assert not host.state.exists()
    assert StateFile(host.state).load("boot-a") is None


def test_changes_are_written_at_most_ten_times_a_second_and_idle_seconds_not_at_all(host: FakeHost) -> None:
    trial = host.tree.fork()

    def written() -> bool:
        is_new = host.state.exists()
        host.state.unlink(missing_ok=True)
        return is_new

    host.agent.tick()
    assert written()
    host.wait(1.0)
    host.agent.tick()
    assert not written()  # nobody is here
    host.agent.open_window("r")
    assert written()
    host.wait(0.05)
    host.open("t", trial)
    assert not written()
    host.wait(0.05)
    host.agent.save()
    assert written()
    host.agent.save()
    assert not written()
    host.wait(1.0)
    host.agent.tick()
    assert written()


def test_nobody_pays_for_what_a_device_drew_while_no_agent_found_it(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, {CPU: 100.0, GPU: 300.0})
    trial = host.tree.fork()
    host.agent.open_window("r")
    host.open("t", trial, GPU_1=1.0)
    host.work(1.0, {trial: 1.0})
    host.agent.tick()
    host.work(1.0, {trial: 1.0})
    host.kill_agent()
    del host.meter.watts[GPU], host.meter.joules[GPU]
    host.start_agent()
    host.open("t", trial, GPU_1=1.0)
    assert "a trial holds GPU GPU-1, which no meter here counts" in host.agent.telling.notes
    host.wait(12.0)
    host.agent.tick()
    answer = host.agent.telling.totals("r", 0)
    assert {name: (covered, age) for name, covered, age in answer["readings"]} == {
        "package-0": (14.0, 0.0),
        "GPU-1": (1.0, 13.0),
    }
    assert set(host.agent.windows["r"].trial("t").watts) == {"cpu"}
    host.agent.close_lease("r", "lease-t")
    host.agent.telling.totals("r", host.agent.telling.totals("r", 0)["revision"])
    assert host.agent.windows["r"].leases == {}  # nothing more will be booked to it
    host.agent.tick()
    for _ in range(2):
        host.kill_agent()
        host.wait(1.0)
        host.start_agent()
    host.kill_agent()
    host.meter.watts[GPU], host.meter.joules[GPU] = 300.0, 1000.0 + 300 * 16
    host.start_agent()
    host.wait(2.0)
    host.agent.tick()
    # The trial has its second, which its driver has in its ledger. Nobody was there in the 2 s since it was found
    # again, and of the 15 s between nobody knows.
    gpu = {row.lease: row.joules for row in host.agent.windows["r"].energy_rows(0) if row.component == "gpu"}
    assert gpu == pytest.approx({"": 600})
    (row,) = (row for row in host.agent.windows["r"].meter_rows() if row.component == "gpu")
    assert (row.joules, row.covered_seconds, row.window_seconds, row.resets) == (pytest.approx(900), 3.0, 18.0, 1)
    host.wait(1.0)
    host.agent.tick()
    assert host.agent.node_watts["GPU-1"] == pytest.approx(300)
