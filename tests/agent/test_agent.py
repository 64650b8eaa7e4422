"""The host has 4 CPUs and draws 100 W, so that each second has 100 J to book."""

from __future__ import annotations

from pathlib import Path

import pytest

from energysweep.accounting.floors import FloorMemory
from energysweep.accounting.observer import Member
from energysweep.core.errors import LeaseRefused
from energysweep.core.records import LeaseRow, MeterRow
from energysweep.meters import Device
from tests.support.fake_host import CPU, DRAM, GPU, FakeHost


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


def lease_row(host: FakeHost, lease: str, run: str = "r") -> LeaseRow:
    return next(row for row in host.agent.windows[run].lease_rows(0) if row.lease == lease)


def meter_row(host: FakeHost, run: str = "r", device: Device = CPU) -> MeterRow:
    return next(row for row in host.agent.windows[run].meter_rows() if row.device == device.name)


def test_a_trial_that_sleeps_beside_one_that_computes_pays_only_its_idle_share(host: FakeHost) -> None:
    busy, asleep = host.tree.fork(), host.tree.fork()
    host.agent.open_window("r", {"cpu": 20})
    host.open("busy", busy, cpus=1)
    host.open("asleep", asleep, cpus=1)
    for _ in range(10):
        host.work(1.0, {busy: 1.0})
        host.agent.tick()
    # 1000 J: 200 J idle, of which each trial reserved a quarter; 800 J active
    assert host.buckets() == pytest.approx(
        {"lease-busy active": 800, "lease-busy idle": 50, "lease-asleep idle": 50, "unreserved_idle": 100}
    )
    assert meter_row(host).joules == pytest.approx(1000)
    assert lease_row(host, "lease-busy").cpu_seconds == 10
    assert lease_row(host, "lease-asleep").cpu_seconds == 0


def test_a_short_trial_gets_its_joules(host: FakeHost) -> None:
    pid = host.tree.fork()
    host.agent.open_window("r", {"cpu": 20})
    host.agent.tick()
    host.wait(0.4)
    lease = host.open("short", pid, cpus=2)
    host.work(0.3, {pid: 1.0})
    energy = host.agent.close_lease("r", lease)
    assert energy.active_joules == pytest.approx(24)  # 80 W for 0.3 s
    assert energy.idle_joules == pytest.approx(3)  # half of 20 W for 0.3 s
    assert lease_row(host, lease).held_seconds == pytest.approx(0.3)
    assert lease_row(host, lease).covered_seconds == pytest.approx(0.3)


def test_a_trial_that_opens_right_after_another_gets_none_of_its_cpu_time(host: FakeHost) -> None:
    pid = host.tree.fork()
    host.agent.open_window("r")
    first = host.open("first", pid)
    host.work(1.0, {pid: 1.0})
    host.agent.close_lease("r", first)
    host.work(0.05, {pid: 1.0})  # 5 J of the worker between its trials; the meters are not read again
    second = host.open("second", pid)
    readings = host.meter.readings
    host.work(0.5, {})
    host.agent.close_lease("r", second)
    assert host.meter.readings == readings + 1
    # of the 55 J since the first lease's end only the 0.05 CPU seconds before the second one are known of: nobody's
    assert host.buckets() == pytest.approx({f"{first} active": 100, "background": 55})


def test_reports_are_coalesced_and_a_close_is_not(host: FakeHost) -> None:
    pid = host.tree.fork()
    host.agent.open_window("r")
    lease = host.open("t", pid)
    before = host.meter.readings
    for _ in range(100):
        host.work(0.01, {pid: 1.0})
        host.agent.report(lease)
    assert 9 <= host.meter.readings - before <= 10
    host.work(0.01, {pid: 1.0})
    assert host.agent.close_lease("r", lease).joules == pytest.approx(101)


def test_who_asks_is_told_what_a_report_would_tell_and_reports_nothing(host: FakeHost) -> None:
    pid = host.tree.fork()
    host.agent.open_window("r", {"cpu": 20})
    host.agent.open_lease("r", "l", "t", host.tree.of(pid), 4, {}, in_startup=True)
    host.work(1.0, {pid: 1.0})
    assert host.agent.spent("l") == (0.0, 0.0, 100.0, None)  # all of it is start-up
    host.agent.change_phase("l", in_startup=False)
    host.agent.report("l")
    told = []
    for _ in range(4):
        host.work(0.5, {pid: 1.0})
        told.append(host.agent.spent("l"))
    readings = host.meter.readings
    assert host.agent.spent("l") == told[-1]
    assert host.meter.readings == readings  # it was read at this moment
    assert [each.joules for each in told] == pytest.approx([50, 100, 150, 200])
    host.wait(0.01)
    report = host.agent.report("l")
    assert (report.joules, report.active_joules) == (told[-1].joules, told[-1].active_joules)
    assert report.power_watts == pytest.approx(100)  # since the report before, whoever has asked in between
    assert host.agent.windows["r"].trials["t"].reports == 2


def test_asking_reads_the_meters_at_most_ten_times_a_second(host: FakeHost) -> None:
    pid = host.tree.fork()
    host.agent.open_window("r")
    lease = host.open("t", pid)
    before = host.meter.readings
    told = []
    for _ in range(100):
        host.work(0.01, {pid: 1.0})
        told.append(host.agent.spent(lease).joules)
    assert 9 <= host.meter.readings - before <= 10
    assert told == sorted(told)
    assert host.agent.report(lease).joules >= told[-1]


def test_a_lease_gets_the_work_of_its_children_also_of_those_that_no_scan_saw(host: FakeHost) -> None:
    worker, other = host.tree.fork(), host.tree.fork()
    host.agent.open_window("r")
    lease = host.open("t", worker)
    child = host.tree.fork(worker)
    host.work(1.0, {child: 1.0, other: 1.0})
    host.tree.end(child)
    assert host.agent.close_lease("r", lease).active_joules == pytest.approx(50)
    assert host.buckets()["background"] == pytest.approx(50)


def test_a_trial_s_totals_go_on_over_its_leases(host: FakeHost) -> None:
    pid, again = host.tree.fork(), host.tree.fork()
    host.agent.open_window("r")
    first = host.open("t", pid, lease="one")
    host.work(1.0, {pid: 1.0})
    assert host.agent.close_lease("r", first).joules == pytest.approx(100)
    host.agent.open_lease("r", "other", "u", host.tree.of(pid), 0, {})
    host.agent.close_lease("r", "other")
    second = host.agent.open_lease("r", "two", "t", host.tree.of(again), 0, {})
    assert second.joules == pytest.approx(100)
    host.work(1.0, {again: 1.0})
    assert host.agent.report("two").joules == pytest.approx(200)


def test_a_repeated_open_opens_one_lease_and_a_repeated_close_only_tells(host: FakeHost) -> None:
    pid = host.tree.fork()
    host.agent.open_window("r")
    host.open("t", pid)
    host.work(1.0, {pid: 1.0})
    host.open("t", pid)
    assert host.agent.telling.open_leases == 1
    first = host.agent.close_lease("r", "lease-t")
    host.work(1.0, {pid: 1.0})
    assert host.agent.close_lease("r", "lease-t") == first
    assert host.agent.telling.open_leases == 0


def test_what_does_not_exist_is_refused(host: FakeHost) -> None:
    root = host.tree.of(host.tree.fork())
    with pytest.raises(LeaseRefused, match="'r' has no open window"):
        host.agent.open_lease("r", "l", "t", root, 1, {})
    with pytest.raises(LeaseRefused, match="lease l is not open"):
        host.agent.report("l")
    with pytest.raises(LeaseRefused, match="lease l is not open"):
        host.agent.spent("l")
    with pytest.raises(LeaseRefused, match="has no lease l"):
        host.agent.close_lease("r", "l")
    with pytest.raises(LeaseRefused, match="has no window"):
        host.agent.telling.totals("r", 0)
    host.agent.open_window("r")
    host.agent.close_window("r")
    with pytest.raises(LeaseRefused, match="no open window"):
        host.agent.open_lease("r", "l", "t", root, 1, {})


def test_a_lease_on_a_gpu_that_is_not_there_is_one_for_the_rest(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, {CPU: 100.0, GPU: 300.0})
    pid = host.tree.fork()
    host.agent.open_window("r", {"gpu": 50})
    host.agent.open_lease("r", "l", "t", host.tree.of(pid), 0, {"0": 1.0})
    host.work(10.0, {})
    energy = host.agent.close_lease("r", "l")
    assert (energy.active_joules, energy.idle_joules) == pytest.approx((2500, 500))
    host.agent.open_lease("r", "m", "u", host.tree.of(pid), 4, {"GPU-gone\x1b[2J": 1.0})
    assert host.agent.telling.notes.endswith(r"; a trial holds GPU 'GPU-gone\x1b[2J', which no meter here counts")
    host.work(10.0, {pid: 4})
    assert host.agent.close_lease("r", "m").joules == pytest.approx(1000)  # of the CPU
    row = next(row for row in host.agent.windows["r"].lease_rows(0) if row.lease == "m")
    assert (row.held_seconds, row.covered_seconds) == (10.0, 5.0)  # the CPU was covered, the GPU not


def test_a_gpu_without_a_meter_is_held_and_not_measured(host: FakeHost) -> None:
    pid = host.tree.fork()
    host.agent.open_window("r")
    host.agent.open_lease("r", "l", "t", host.tree.of(pid), 0, {"0": 1.0})
    host.work(1.0, {pid: 1.0})
    assert host.agent.close_lease("r", "l").joules == pytest.approx(100)
    assert lease_row(host, "l").gpus == '{"0": 1.0}'


def test_a_dead_process_s_lease_is_closed_by_the_next_tick(host: FakeHost) -> None:
    pid = host.tree.fork()
    host.agent.open_window("r")
    lease = host.open("t", pid)
    host.work(1.0, {pid: 1.0})
    host.agent.tick()
    host.work(0.5, {pid: 1.0})
    host.tree.end(pid)
    host.agent.tick()
    assert host.agent.telling.open_leases == 0
    row = lease_row(host, lease)
    assert row.closed_at == 1_000_501.5
    assert row.cpu_seconds == 1.5
    assert host.buckets() == pytest.approx({f"{lease} active": 150})


def test_a_closed_trial_s_leases_are_closed(host: FakeHost) -> None:
    pid, other = host.tree.fork(), host.tree.fork()
    host.agent.open_window("r")
    host.open("t", pid, lease="one")
    host.open("t", pid, lease="two")
    host.open("u", other)
    host.agent.close_trial("r", "t")
    assert host.agent.telling.open_leases == 1


def test_a_lease_inside_a_lease_of_the_same_process_takes_over_for_its_time(host: FakeHost) -> None:
    pid = host.tree.fork()
    host.agent.open_window("r")
    host.open("outer", pid)
    host.work(1.0, {pid: 1.0})
    host.open("inner", pid)
    host.work(2.0, {pid: 1.0})
    host.agent.close_lease("r", "lease-inner")
    host.work(4.0, {pid: 1.0})
    host.agent.close_lease("r", "lease-outer")
    assert host.buckets() == pytest.approx({"lease-outer active": 500, "lease-inner active": 200})


def test_a_run_s_own_processes_are_its_overhead_until_they_leave(host: FakeHost) -> None:
    driver = host.tree.fork()
    worker = host.tree.fork(driver)
    host.agent.open_window("r")
    host.agent.join("r", host.tree.of(driver))
    host.open("t", worker)
    host.work(1.0, {driver: 1.0, worker: 3.0})
    host.agent.tick()
    host.agent.disconnect(Member(host.tree.of(driver), "r"))
    host.work(1.0, {driver: 1.0})
    host.agent.tick()
    assert host.buckets() == pytest.approx({"overhead": 25, "lease-t active": 75, "background": 100})


def test_two_sweeps_see_each_other_as_other_sweeps_and_share_the_agent(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    agent_pid, a, b, driver = (host.tree.fork() for _ in range(4))
    host.own = host.tree.of(agent_pid)
    host.start_agent()
    host.agent.open_window("r")
    host.agent.open_window("s", {"cpu": 20})
    host.agent.join("s", host.tree.of(driver))
    host.open("a", a, run="r", cpus=4)
    host.open("b", b, run="s", cpus=2)
    host.work(10.0, {agent_pid: 0.4, a: 2.0, b: 1.0, driver: 0.6})
    host.agent.tick()
    # r knows no floor: 1000 J active, 250 J per CPU; the agent's 100 J are shared by two
    assert host.buckets("r") == pytest.approx({"lease-a active": 500, "other_sweeps": 250 + 150 + 50, "overhead": 50})
    # s: 200 J idle, 6 CPUs reserved on 4; 800 J active, 200 J per CPU; the agent's 80 J are shared by two
    assert host.buckets("s") == pytest.approx(
        {
            "lease-b active": 200,
            "lease-b idle": 200 / 3,
            "other_sweeps": 400 + 400 / 3 + 40,
            "overhead": 120 + 40,
        }
    )


def test_a_closed_window_counts_no_further_on_either_side(host: FakeHost) -> None:
    pid = host.tree.fork()
    host.agent.open_window("r")
    host.open("t", pid)
    host.work(2.0, {pid: 1.0})
    host.agent.close_window("r")
    assert host.agent.telling.open_leases == 0
    host.work(5.0, {pid: 1.0})
    host.agent.tick()
    answer = host.agent.telling.totals("r", 0)
    assert [row.joules for row in answer["energy"]] == pytest.approx([200])
    assert [(row.joules, row.window_seconds) for row in answer["meters"]] == [pytest.approx((200, 2.0))]
    host.agent.close_window("r")  # again: changes nothing
    assert host.buckets() == pytest.approx({"lease-t active": 200})


def test_a_run_that_comes_back_gets_a_new_window_from_zero(host: FakeHost) -> None:
    first = host.agent.open_window("r")
    host.wait(3.0)
    assert host.agent.open_window("r") is first
    host.agent.close_window("r")
    second = host.agent.open_window("r")
    assert second.id != first.id
    host.wait(1.0)
    host.agent.tick()
    assert host.buckets() == pytest.approx({"background": 100})


def test_a_closed_window_is_dropped_with_its_series(host: FakeHost) -> None:
    host.agent.open_window("r")
    host.agent.close_window("r")
    host.wait(299.0)
    host.agent.tick()
    assert "r" in host.agent.windows
    host.wait(2.0)
    host.agent.tick()
    assert "r" not in host.agent.windows


def test_a_failed_reading_loses_no_joule_of_a_lease_that_closes_meanwhile(host: FakeHost) -> None:
    pid = host.tree.fork()
    host.agent.open_window("r")
    lease = host.open("t", pid)
    host.work(1.0, {pid: 1.0})
    host.meter.failing = {CPU}
    assert host.agent.close_lease("r", lease).joules == 0
    revision = host.agent.telling.totals("r", 0)["revision"]
    host.work(1.0, {})
    host.agent.tick()
    assert lease in host.agent.windows["r"].leases
    assert host.agent.telling.totals("r", revision)["revision"] == revision + 1
    assert lease in host.agent.windows["r"].leases  # acknowledged, but its last interval is still open
    host.meter.failing = set()
    host.work(2.0, {})
    host.agent.tick()
    # 400 J in 4 s, all by the lease's CPU second; it says so although it was acknowledged before
    answer = host.agent.telling.totals("r", revision + 1)
    assert [(row.lease, row.joules) for row in answer["energy"]] == [(lease, pytest.approx(400))]
    assert [(row.held_seconds, row.covered_seconds) for row in answer["leases"]] == [(1.0, 1.0)]
    assert [(row.joules, row.failures) for row in answer["meters"]] == [(pytest.approx(400), 2)]


def test_only_acknowledged_leases_are_dropped_and_their_trial_keeps_its_total(host: FakeHost) -> None:
    pid = host.tree.fork()
    host.agent.open_window("r")
    lease = host.open("t", pid)
    host.work(1.0, {pid: 1.0})
    host.agent.close_lease("r", lease)
    first = host.agent.telling.totals("r", 0)
    assert [row.lease for row in first["energy"]] == [lease]
    lost = host.agent.telling.totals("r", 0)  # the answer was lost: asked again, told again
    assert lost["energy"] == first["energy"]
    assert lost["leases"] == first["leases"]
    after = host.agent.telling.totals("r", lost["revision"])
    assert after["energy"] == []
    assert after["leases"] == []
    assert host.agent.windows["r"].leases == {}
    assert host.agent.open_lease("r", "again", "t", host.tree.of(pid), 0, {}).joules == pytest.approx(100)


def test_only_changed_rows_are_told_again(host: FakeHost) -> None:
    a, b = host.tree.fork(), host.tree.fork()
    host.agent.open_window("r")
    host.open("a", a)
    host.open("b", b)
    host.work(1.0, {a: 1.0, b: 1.0})
    host.agent.tick()
    revision = host.agent.telling.totals("r", 0)["revision"]
    host.work(1.0, {b: 1.0})
    host.agent.tick()
    answer = host.agent.telling.totals("r", revision)
    assert [(row.lease, row.joules) for row in answer["energy"]] == [("lease-b", pytest.approx(150))]


def test_the_coverage_of_a_lease_counts_only_the_devices_it_can_use(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, {CPU: 100.0, DRAM: 10.0, GPU: 300.0})
    pid = host.tree.fork()
    host.agent.open_window("r")
    lease = host.open("t", pid)
    host.meter.failing = {DRAM, GPU}
    host.work(4.0, {pid: 1.0})
    host.agent.close_lease("r", lease)
    assert lease_row(host, lease).covered_seconds == pytest.approx(2.0)  # all of the CPU, nothing of the DRAM
    assert host.agent.coverage("r", lease) == pytest.approx((4.0, 2.0, 0.0))
    assert meter_row(host, device=CPU).covered_seconds == pytest.approx(4.0)
    assert meter_row(host, device=GPU).covered_seconds == 0
    assert meter_row(host, device=GPU).failures == 1
    host.meter.failing = set()
    held = host.open("u", pid, GPU_1=0.5)
    host.work(1.0, {pid: 1.0})
    host.agent.tick()
    host.meter.failing = {GPU}
    host.work(3.0, {pid: 1.0})
    host.agent.close_lease("r", held)
    assert host.agent.coverage("r", held) == pytest.approx((4.0, 3.0, 1.0))


def test_a_device_that_was_lost_before_a_lease_began_says_nothing_of_it(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, {CPU: 100.0, DRAM: 10.0})
    pid = host.tree.fork()
    host.agent.open_window("r")
    before = host.open("t", pid)
    host.work(1.0, {pid: 1.0})
    host.agent.tick()
    host.kill_agent()
    del host.meter.watts[DRAM], host.meter.joules[DRAM]
    host.start_agent()
    host.open("t", pid)
    after = host.open("u", pid)
    host.work(1.0, {pid: 1.0})
    host.agent.close_lease("r", after)
    host.agent.close_lease("r", before)
    assert host.agent.coverage("r", before) == pytest.approx((2.0, 1.5, 1.0))
    assert host.agent.coverage("r", after) == pytest.approx((1.0, 1.0, 1.0))


def test_a_trial_s_series_begin_at_zero(host: FakeHost) -> None:
    host.agent.open_window("r")
    host.open("t", host.tree.fork())
    buckets = ("active", "idle", "startup")
    assert host.agent.windows["r"].trials["t"].joules == {("cpu", bucket, "rapl"): 0.0 for bucket in buckets}


def test_power_is_the_mean_since_the_last_tick_also_after_a_pause(host: FakeHost) -> None:
    pid = host.tree.fork()
    window = host.agent.open_window("r")
    host.wait(1.0)
    host.agent.tick()
    host.open("t", pid, lease="one")
    host.work(2.0, {pid: 1.0})
    host.agent.tick()
    trial = window.trials["t"]
    assert trial.watts == pytest.approx({"cpu": 100})
    assert host.agent.node_watts == pytest.approx({"package-0": 100})
    host.work(1.5, {pid: 1.0})
    host.agent.close_lease("r", "one")
    assert trial.watts == {"cpu": 0.0}
    host.wait(10.0)
    host.agent.tick()
    host.open("t", pid, lease="two")
    host.work(1.0, {pid: 0.5})
    host.tree.work_elsewhere(50)
    host.agent.tick()
    assert trial.watts == pytest.approx({"cpu": 50})  # not the 350 J of the lease before


def test_two_quiet_seconds_give_the_floor(host: FakeHost) -> None:
    host.meter.watts[CPU] = 12.0
    host.agent.measure_quiet(host.wait)
    host.agent.open_window("r")
    row = meter_row(host)
    assert row.idle_floor_from == "quiet seconds"
    assert row.idle_floor_watts == pytest.approx(12.0)


def test_seconds_in_which_somebody_works_are_not_quiet(host: FakeHost) -> None:
    pid = host.tree.fork()
    host.agent.measure_quiet(lambda seconds: host.work(seconds, {pid: 1.0}))
    host.agent.open_window("r")
    row = meter_row(host)
    assert (row.idle_floor_watts, row.idle_floor_from) == (None, "unknown")


def test_a_counter_that_stands_still_gives_no_floor(host: FakeHost) -> None:
    host.meter.watts[CPU] = 0.0
    host.agent.measure_quiet(host.wait)
    host.agent.open_window("r")
    assert meter_row(host).idle_floor_from == "unknown"


def test_the_floor_is_not_measured_where_it_is_known_or_somebody_works(host: FakeHost) -> None:
    slept: list[float] = []
    host.agent.measure_quiet(slept.append, without=["cpu"])
    host.agent.open_window("r")
    host.open("t", host.tree.fork())
    host.agent.measure_quiet(slept.append)
    assert slept == []


def test_the_floor_of_a_window_is_frozen(tmp_path: Path) -> None:
    memory = FloorMemory(None)
    host = FakeHost(tmp_path, floors=memory)
    memory.observe(CPU, 40.0)
    memory.observe(CPU, 40.0)
    host.agent.open_window("r")
    host.meter.watts[CPU] = 30.0
    for _ in range(4):
        host.wait(1.0)
        host.agent.tick()
    assert memory.lowest_watts(CPU) == pytest.approx(30.0)
    assert meter_row(host).idle_floor_watts == 40.0
    host.agent.open_window("s")
    assert meter_row(host, "s").idle_floor_watts == pytest.approx(30.0)


def test_the_host_s_own_account_goes_on_between_windows(host: FakeHost) -> None:
    pid = host.tree.fork()
    host.wait(1.0)
    host.agent.tick()
    host.agent.open_window("r")
    lease = host.open("t", pid)
    host.work(1.0, {pid: 1.0})
    host.agent.close_lease("r", lease)
    host.agent.close_window("r")
    host.wait(1.0)
    host.agent.tick()
    joules = {bucket: joules for (_, bucket), joules in host.agent.node.joules.items() if joules}
    assert joules == pytest.approx({"background": 200, "trials": 100})


def test_a_sweep_whose_processes_have_all_gone_keeps_its_window_for_a_minute(host: FakeHost) -> None:
    driver = host.tree.fork()
    window = host.agent.open_window("r")
    host.agent.join("r", host.tree.of(driver))
    host.wait(100.0)
    host.agent.tick()
    assert window.closed is None
    host.agent.disconnect(Member(host.tree.of(driver), "r"))
    host.wait(59.0)
    host.agent.tick()
    assert window.closed is None
    host.wait(2.0)
    host.agent.tick()
    assert window.closed == host.clock()
