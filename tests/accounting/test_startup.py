"""Start-up is booked apart. The host has 4 CPUs and draws 100 W, so that each second has 100 J to book."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from energysweep.accounting.attribution import Owner, Usage, startup_parts
from energysweep.core.buckets import LEASE_BUCKETS, WORK_BUCKETS
from energysweep.core.errors import LeaseRefused
from tests.support.fake_host import CPU, DRAM, GPU, FakeHost


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


def begin(host: FakeHost, trial: str, pid: int, cpus: float = 0.0, **gpus: float) -> str:
    """Opens a lease in start-up; returns its id."""
    lease = f"lease-{trial}"
    held = {name.replace("_", "-"): fraction for name, fraction in gpus.items()}
    host.agent.open_lease("r", lease, trial, host.tree.of(pid), cpus, held, in_startup=True)
    return lease


def test_the_first_trial_of_a_process_costs_what_the_second_one_costs(host: FakeHost) -> None:
    pid = host.tree.fork()
    host.agent.open_window("r", {"cpu": 20})
    spent = []
    for trial, import_seconds in (("first", 3.0), ("second", 0.0)):
        lease = begin(host, trial, pid, cpus=2)
        host.work(import_seconds, {pid: 1.0})
        host.agent.change_phase(lease, in_startup=False)
        host.work(2.0, {pid: 1.0})
        spent.append(host.agent.close_lease("r", lease))
    # of 100 W: 80 W active, and half of the floor of 20 W
    assert [each.joules for each in spent] == pytest.approx([180, 180])
    assert [each.active_joules for each in spent] == pytest.approx([160, 160])
    assert [each.startup_joules for each in spent] == pytest.approx([270, 0])
    assert host.buckets() == pytest.approx(
        {
            "lease-first active": 160,
            "lease-first idle": 20,
            "lease-first startup": 270,
            "lease-second active": 160,
            "lease-second idle": 20,
            "unreserved_idle": 70,
        }
    )
    rows = {row.trial: row for row in host.agent.windows["r"].lease_rows(0)}
    assert {trial: row.startup_seconds for trial, row in rows.items()} == pytest.approx({"first": 3.0, "second": 0.0})
    assert rows["first"].held_seconds == pytest.approx(5.0)


def test_a_change_between_two_readings_divides_cpu_time_and_the_floor_by_time(host: FakeHost) -> None:
    pid, other = host.tree.fork(), host.tree.fork()
    host.agent.open_window("r", {"cpu": 20})
    lease = begin(host, "t", pid, cpus=4)
    before = host.meter.readings
    host.work(0.05, {pid: 2.0, other: 1.0})
    host.agent.change_phase(lease, in_startup=False)  # too soon for another reading
    assert host.meter.readings == before
    host.work(0.15, {pid: 1.0})
    spent = host.agent.close_lease("r", lease)
    # 0.2 s: 4 J floor, 16 J active over 0.1 s of start-up, 0.15 s of work and 0.05 s of the other's
    assert spent.startup_joules == pytest.approx(16 * 0.1 / 0.3 + 1)
    assert spent.active_joules == pytest.approx(16 * 0.15 / 0.3)
    assert spent.idle_joules == pytest.approx(3)
    assert host.buckets()["background"] == pytest.approx(16 * 0.05 / 0.3)


def test_the_meters_are_read_at_a_change_if_that_is_due(host: FakeHost) -> None:
    pid = host.tree.fork()
    host.agent.open_window("r")
    lease = begin(host, "t", pid)
    host.work(0.5, {pid: 1.0})
    host.meter.watts[CPU] = 300.0
    host.agent.change_phase(lease, in_startup=False)
    host.work(0.5, {pid: 1.0})
    spent = host.agent.close_lease("r", lease)
    assert (spent.startup_joules, spent.joules) == pytest.approx((50, 150))  # not half of 200 J each


def test_start_up_may_come_back(host: FakeHost) -> None:
    pid = host.tree.fork()
    host.agent.open_window("r")
    lease = begin(host, "t", pid)
    for in_startup in (False, True, False, False):
        host.agent.change_phase(lease, in_startup=in_startup)
        host.work(1.0, {pid: 1.0})
    spent = host.agent.close_lease("r", lease)
    assert (spent.startup_joules, spent.joules) == pytest.approx((100, 300))


def test_of_a_gpu_start_up_pays_by_time_and_the_gpu_stays_one_lease_s(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, {CPU: 100.0, GPU: 300.0})
    pid = host.tree.fork()
    host.agent.open_window("r", {"gpu": 50})
    lease = begin(host, "t", pid, GPU_1=1.0)
    host.work(0.05, {pid: 1.0})
    host.agent.change_phase(lease, in_startup=False)
    host.work(0.15, {})
    host.agent.close_lease("r", lease)
    joules = {row.bucket: row.joules for row in host.agent.windows["r"].energy_rows(0) if row.component == "gpu"}
    # 60 J, of which 10 J are floor: a quarter of both is start-up's
    assert joules == pytest.approx({"startup": 15, "active": 37.5, "idle": 7.5})


def test_memory_follows_cpu_time_in_start_up_too() -> None:
    lease = Owner("lease", "l")
    usage = Usage(
        seconds=4.0,
        busy_cpu_seconds=8.0,
        cpu_seconds={lease: 4.0},
        reserved_cpu_seconds={lease: 8.0},
        held_seconds={lease: 4.0},
        startup_seconds={lease: 1.0},
        startup_cpu_seconds={lease: 3.0},
    )
    assert startup_parts(DRAM, usage) == {lease: (0.75, 0.25)}
    assert startup_parts(GPU, usage) == {lease: (0.25, 0.25)}


def test_a_block_that_is_tracked_within_a_trial_divides_nothing_twice() -> None:
    # 6 CPU seconds are the trial's, 2 of them within the block, 3 in its start-up
    trial, block = Owner("lease", "trial", "r"), Owner("lease", "block", "track", also=(Owner("lease", "trial", "r"),))
    usage = Usage(
        cpu_seconds={trial: 4.0, block: 2.0},
        held_seconds={trial: 8.0, block: 2.0},
        startup_seconds={trial: 4.0},
        startup_cpu_seconds={trial: 3.0},
    )
    assert startup_parts(CPU, usage) == {trial: (0.5, 0.5)}


def test_start_up_of_another_sweep_is_that_sweep_s(host: FakeHost) -> None:
    pid = host.tree.fork()
    host.agent.open_window("r")
    host.agent.open_window("other")
    begin(host, "t", pid)
    host.work(1.0, {pid: 1.0})
    host.agent.tick()
    assert host.buckets("other") == pytest.approx({"other_sweeps": 100})
    assert host.agent.node.joules["cpu", "startup"] == pytest.approx(100)
    assert host.agent.node.joules["cpu", "trials"] == 0


def test_start_up_is_over_for_nobody_else(host: FakeHost) -> None:
    one, two = host.tree.fork(), host.tree.fork()
    host.agent.open_window("r")
    first, second = begin(host, "one", one), begin(host, "two", two)
    host.agent.change_phase(first, in_startup=False)
    host.work(1.0, {one: 1.0, two: 3.0})
    host.agent.tick()
    assert host.buckets() == pytest.approx({f"{first} active": 25, f"{second} startup": 75})


def test_only_an_open_lease_changes_its_phase(host: FakeHost) -> None:
    host.agent.open_window("r")
    lease = begin(host, "t", host.tree.fork())
    host.agent.close_lease("r", lease)
    with pytest.raises(LeaseRefused, match="lease-t is not open"):
        host.agent.change_phase(lease, in_startup=False)


def test_a_restarted_agent_knows_who_is_in_start_up(host: FakeHost) -> None:
    pid = host.tree.fork()
    host.agent.open_window("r")
    lease = begin(host, "t", pid)
    host.work(1.0, {pid: 1.0})
    host.agent.tick()
    host.kill_agent()
    host.work(2.0, {pid: 1.0})  # nobody looks
    host.start_agent()
    assert host.buckets() == pytest.approx({f"{lease} startup": 300})
    # the process comes back, and says that it works by now
    host.agent.open_lease("r", lease, "t", host.tree.of(pid), 0, {}, in_startup=False)
    host.work(1.0, {pid: 1.0})
    spent = host.agent.close_lease("r", lease)
    assert (spent.startup_joules, spent.joules) == pytest.approx((300, 100))


def test_start_up_of_a_restored_trial_is_added_up(host: FakeHost) -> None:
    first, second = host.tree.fork(), host.tree.fork()
    host.agent.open_window("r")
    for pid, lease in ((first, "one"), (second, "two")):
        host.agent.open_lease("r", lease, "t", host.tree.of(pid), 0, {}, in_startup=True)
        host.work(1.0, {pid: 1.0})
        host.agent.change_phase(lease, in_startup=False)
        host.work(2.0, {pid: 1.0})
        spent = host.agent.close_lease("r", lease)
    assert (spent.startup_joules, spent.joules) == pytest.approx((200, 400))


def test_however_phases_change_every_joule_is_booked_once(tmp_path: Path, chance: random.Random) -> None:
    host = FakeHost(tmp_path, {CPU: 100.0, DRAM: 7.0, GPU: 50.0})
    pids = [host.tree.fork() for _ in range(3)]
    host.agent.open_window("r", {"cpu": 20, "gpu": 10})
    for pid in pids:
        host.agent.join("r", host.tree.of(pid))
    leases = [begin(host, f"t{n}", pid, cpus=n, GPU_1=0.3) for n, pid in enumerate(pids)]
    held = dict.fromkeys(leases, 0.0)
    loaded = dict.fromkeys(leases, 0.0)
    is_loading = dict.fromkeys(leases, True)
    for _ in range(300):
        seconds = chance.choice([0.01, 0.03, 0.2, 1.0])
        host.work(seconds, {pid: chance.random() for pid in pids})
        for lease in leases:
            held[lease] += seconds
            loaded[lease] += seconds if is_loading[lease] else 0.0
        lease = chance.choice(leases)
        match chance.randrange(3):
            case 0:
                is_loading[lease] = not is_loading[lease]
                host.agent.change_phase(lease, in_startup=is_loading[lease])
            case 1:
                host.agent.report(lease)
            case 2:
                host.agent.tick()
    for lease in leases:
        host.agent.close_lease("r", lease)
    window = host.agent.windows["r"]
    booked: dict[str, float] = {}
    for row in window.energy_rows(0):
        booked[row.device] = booked.get(row.device, 0.0) + row.joules
        assert (row.lease != "") == (row.bucket in LEASE_BUCKETS)
    assert booked == pytest.approx({row.device: row.joules for row in window.meter_rows()})
    rows = {row.lease: row for row in window.lease_rows(0)}
    assert {lease: rows[lease].startup_seconds for lease in leases} == pytest.approx(loaded)
    assert {lease: rows[lease].held_seconds for lease in leases} == pytest.approx(held)
    for lease, held_by in rows.items():
        in_rows = sum(
            each.joules for each in window.energy_rows(0) if each.lease == lease and each.bucket in WORK_BUCKETS
        )
        assert window.trial(held_by.trial).energy().joules == pytest.approx(in_rows)


def test_that_ray_works_elsewhere_stays_with_the_lease_over_a_restart(host: FakeHost) -> None:
    host.agent.open_window("r")
    lease, other = begin(host, "t", host.tree.fork()), begin(host, "u", host.tree.fork())
    host.agent.note_elsewhere(lease)
    host.agent.tick()
    host.kill_agent()
    host.start_agent()
    rows = {row.lease: row.works_elsewhere for row in host.agent.windows["r"].lease_rows(0)}
    assert rows == {lease: True, other: False}
    host.agent.close_lease("r", lease)
    with pytest.raises(LeaseRefused, match="not open"):
        host.agent.note_elsewhere(lease)


def test_a_late_import_takes_no_power_from_the_work_before_it(host: FakeHost) -> None:
    pid = host.tree.fork()
    host.agent.open_window("r")
    lease = begin(host, "t", pid)
    host.work(1.0, {pid: 1.0})
    host.agent.change_phase(lease, in_startup=False)
    host.work(10.0, {pid: 1.0})
    host.agent.change_phase(lease, in_startup=True)
    host.work(0.02, {pid: 1.0})
    host.agent.change_phase(lease, in_startup=False)
    host.work(0.01, {pid: 1.0})
    assert host.agent.report(lease).power_watts == pytest.approx(100)


def test_the_power_of_a_result_is_that_of_all_work_since_the_last_one_and_of_no_start_up(host: FakeHost) -> None:
    pid = host.tree.fork()
    host.agent.open_window("r")
    lease = begin(host, "t", pid)
    host.work(1.0, {pid: 1.0})
    assert host.agent.report(lease).power_watts is None  # it has not worked yet
    host.agent.change_phase(lease, in_startup=False)
    host.work(10.0, {pid: 1.0})
    host.agent.change_phase(lease, in_startup=True)
    host.meter.watts[CPU] = 500.0
    host.work(0.3, {pid: 1.0})
    host.agent.change_phase(lease, in_startup=False)
    host.meter.watts[CPU] = 20.0
    host.work(0.2, {pid: 1.0})
    assert host.agent.report(lease).power_watts == pytest.approx((1000 + 4) / 10.2)
    host.agent.change_phase(lease, in_startup=True)
    host.work(5.0, {pid: 1.0})
    host.agent.change_phase(lease, in_startup=False)
    host.work(1.0, {pid: 1.0})
    assert host.agent.report(lease).power_watts == pytest.approx(20)  # of the second after 5 s of start-up


def test_work_beside_an_idle_start_up_has_no_more_power_than_its_device(host: FakeHost) -> None:
    pid = host.tree.fork()
    host.agent.open_window("r")
    lease = begin(host, "t", pid)
    host.meter.failing = {CPU}  # so that one interval holds all of it
    host.wait(3.0)
    host.agent.change_phase(lease, in_startup=False)
    host.work(1.0, {pid: 1.0})
    host.meter.failing = set()
    assert host.agent.report(lease).power_watts == pytest.approx(100)  # and not 400 J / 1 s


def test_the_power_of_a_trial_with_two_leases_counts_each_second_once(host: FakeHost) -> None:
    first, second = host.tree.fork(), host.tree.fork()
    host.agent.open_window("r")
    for pid, lease in ((first, "one"), (second, "two")):
        host.agent.open_lease("r", lease, "t", host.tree.of(pid), 0, {}, in_startup=True)
    host.agent.change_phase("one", in_startup=False)
    host.work(1.0, {first: 1.0})
    host.agent.change_phase("two", in_startup=False)
    host.work(1.0, {first: 1.0, second: 1.0})
    assert host.agent.report("two").power_watts == pytest.approx(100)


@pytest.mark.parametrize("is_over_a_restart", [False, True])
def test_the_power_of_a_result_has_nothing_of_a_device_that_has_told_nothing_for_long(
    tmp_path: Path, *, is_over_a_restart: bool
) -> None:
    host = FakeHost(tmp_path, {CPU: 100.0, GPU: 300.0})
    pid = host.tree.fork()
    host.agent.open_window("r")
    host.open("t", pid, GPU_1=1.0)
    host.work(1.0, {pid: 1.0})
    assert host.agent.report("lease-t").power_watts == pytest.approx(400)
    if is_over_a_restart:
        host.agent.tick()
        host.kill_agent()
        del host.meter.watts[GPU], host.meter.joules[GPU]
        host.start_agent()
        host.open("t", pid, GPU_1=1.0)
    else:
        host.meter.failing = {GPU}
    for _ in range(11):
        host.work(1.0, {pid: 1.0})
        host.agent.tick()
    assert host.agent.windows["r"].trial("t").watts == pytest.approx({"cpu": 100})
    assert host.agent.report("lease-t").power_watts == pytest.approx(100)
    host.meter.failing = {CPU, GPU}
    for _ in range(11):
        host.work(1.0, {pid: 1.0})
        host.agent.tick()
    assert host.agent.report("lease-t").power_watts is None


def test_however_phases_change_no_result_has_more_power_than_the_devices_draw(
    tmp_path: Path, chance: random.Random
) -> None:
    host = FakeHost(tmp_path, {CPU: 100.0, GPU: 50.0})
    pids = [host.tree.fork() for _ in range(3)]
    host.agent.open_window("r", {"cpu": 20, "gpu": 10})
    leases = [begin(host, f"t{n}", pid, cpus=n, GPU_1=0.3) for n, pid in enumerate(pids)]
    is_loading = dict.fromkeys(leases, True)
    seen = 0
    for _ in range(300):
        host.work(chance.choice([0.01, 0.03, 0.2, 1.0]), {pid: chance.choice([0.0, 0.5, 1.0]) for pid in pids})
        host.meter.failing = {device for device in (CPU, GPU) if chance.random() < 0.3}
        lease = chance.choice(leases)
        if chance.random() < 0.5:
            is_loading[lease] = not is_loading[lease]
            host.agent.change_phase(lease, in_startup=is_loading[lease])
        watts = host.agent.report(lease).power_watts
        seen += watts is not None
        assert watts is None or 0 <= watts <= 150 * (1 + 1e-9)
    assert seen > 100
