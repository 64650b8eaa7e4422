"""The estimate, with watts from CodeCarbon's tables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from energysweep.core.errors import MeterUnavailable
from energysweep.core.host import Processors, processors
from energysweep.meters.estimate import EstimateMeter, cpu_power, memory_watts, tdp_watts
from tests.support.fake_clock import FakeClock
from tests.support.fake_proc import write_proc, write_stat

EPYC = "AMD EPYC 7763 64-Core Processor"  # 280 W in CodeCarbon's table


def test_the_energy_since_boot_follows_from_uptime_and_busy_time(tmp_path: Path) -> None:
    clock = FakeClock(100.0)
    meter = EstimateMeter(write_proc(tmp_path), clock, ("cpu",), ticks_per_second=100)
    # 4000 ticks are 40 CPU seconds; waiting, stolen and idle time are not work, guest time is inside user.
    write_stat(
        tmp_path, user=1000, nice=500, system=1500, irq=400, softirq=600, idle=9999, iowait=77, steal=55, guest=900
    )
    # 28 W x 100 s + 252 W x 40 s / 4 CPUs
    assert meter.read()[0].energy_joules == pytest.approx(2800 + 2520)


def test_busy_cpus_draw_the_tdp_and_idle_ones_a_tenth(tmp_path: Path) -> None:
    clock = FakeClock()
    meter = EstimateMeter(write_proc(tmp_path), clock, ("cpu",), ticks_per_second=100)
    clock.advance(10.0)
    assert meter.read()[0].energy_joules == pytest.approx(280.0)
    write_stat(tmp_path, user=4000)  # 4 CPUs for 10 s
    clock.advance(10.0)
    assert meter.read()[0].energy_joules == pytest.approx(280.0 + 280.0 + 2520.0)
    assert meter.devices[0].idle_watts == pytest.approx(28.0)


def test_a_restarted_meter_goes_on_where_it_was(tmp_path: Path) -> None:
    clock = FakeClock(123.0)
    first = EstimateMeter(write_proc(tmp_path), clock)
    write_stat(tmp_path, user=777)
    second = EstimateMeter(tmp_path, clock)
    assert [r.energy_joules for r in first.read()] == [r.energy_joules for r in second.read()]


def test_one_tick_is_the_resolution(tmp_path: Path) -> None:
    meter = EstimateMeter(write_proc(tmp_path), FakeClock(), ("cpu",), ticks_per_second=100)
    before = meter.read()[0].energy_joules
    write_stat(tmp_path, user=1)
    after = meter.read()[0].energy_joules
    assert before is not None
    assert after is not None
    assert after - before == pytest.approx(meter.devices[0].resolution_joules)


def test_dram_draws_codecarbons_constant_for_its_size(tmp_path: Path) -> None:
    clock = FakeClock(100.0)
    meter = EstimateMeter(write_proc(tmp_path), clock, ("dram",))
    assert meter.read()[0].energy_joules == 1000.0  # 16 GiB: two modules of 5 W
    assert meter.devices[0].idle_watts == 10.0


def test_a_stat_file_that_fails_is_none_and_dram_goes_on(tmp_path: Path) -> None:
    meter = EstimateMeter(write_proc(tmp_path), FakeClock(1.0))
    (tmp_path / "stat").write_text("nonsense\n")
    cpu, dram = meter.read()
    assert cpu.energy_joules is None
    assert "not the sum over all CPUs" in (cpu.problem or "")
    assert dram.energy_joules == 10.0


def test_a_host_without_procfs_has_no_estimate(tmp_path: Path) -> None:
    with pytest.raises(MeterUnavailable, match="stat"):
        EstimateMeter(tmp_path)


def test_every_socket_counts(tmp_path: Path) -> None:
    cpus = processors(write_proc(tmp_path, logical_cpus=256, sockets=2))
    assert cpu_power(cpus).watts == 560.0
    assert cpu_power(cpus).origin == "280 W TDP each of 2 sockets"


def test_an_unknown_processor_gets_codecarbons_four_watts_per_logical_cpu() -> None:
    power = cpu_power(Processors("Invented 9000", 1, 6, is_virtual=False, memory_bytes=None))
    assert (power.watts, power.origin) == (24.0, "4 W for each of 6 logical CPUs")
    assert cpu_power(Processors(None, 1, 6, is_virtual=False, memory_bytes=None)).watts == 24.0


def test_a_small_virtual_machine_does_not_get_the_whole_processor() -> None:
    assert cpu_power(Processors(EPYC, 1, 2, is_virtual=True, memory_bytes=None)).watts == 8.0
    assert cpu_power(Processors(EPYC, 1, 128, is_virtual=True, memory_bytes=None)).watts == 280.0


@pytest.mark.parametrize(
    ("model", "watts"),
    [
        (EPYC, 280.0),
        ("Intel(R) Core(TM) i7-8650U CPU @ 1.90GHz", 15.0),
        ("Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz", 300.0),
        ("AMD EPYC", None),
    ],
)
def test_models_are_matched_as_the_kernel_writes_them(model: str, watts: float | None) -> None:
    assert tdp_watts(model) == watts


def test_every_match_agrees_with_codecarbons_own_lookup() -> None:
    from codecarbon.core.cpu import TDP

    for model in (
        EPYC,
        "AMD Ryzen 7 5800X 8-Core Processor",
        "Neoverse-N1",
        "Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz",
    ):
        assert tdp_watts(model) == TDP.__new__(TDP)._get_cpu_power_from_registry(model)


def test_memory_gets_five_watts_for_each_module() -> None:
    assert (memory_watts(16), memory_watts(64)) == (10.0, 20.0)


QUIET = """
import sys
from energysweep.meters.estimate import EstimateMeter
import energysweep.meters
print([name for name in ("pandas", "pynvml", "codecarbon") if name in sys.modules])
EstimateMeter().read()
print("pandas" in sys.modules)
"""


def test_the_estimate_is_quiet_leaves_no_files_and_does_not_load_pandas(tmp_path: Path) -> None:
    project = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", QUIET],
        cwd=project,
        env={"HOME": str(tmp_path), "PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("[]\nFalse\n", "")
    assert list(tmp_path.iterdir()) == []


# A procfs that is not the whole host's --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cpus", "siblings", "listed", "sockets", "watts"),
    [
        (4, 128, 4, 1, 280 * 4 / 128),  # lxcfs
        (4, 128, 4, 2, 560 * 4 / 256),  # of two packages, both of which it shows
        (4, 128, 128, 1, 280 * 4 / 128),  # of which only stat is the container's
        (128, 128, 4, 1, 280.0),  # only cpuinfo is: the host is seen
        (256, 128, 4, 1, 560.0),  # and a second package that cpuinfo does not list
        (128, 128, 128, 1, 280.0),
        (128, 64, 128, 2, 560.0),
        (128, None, 128, 1, 280.0),
        (8, 1, 8, 1, 280.0),  # firmware that says nonsense
    ],
)
def test_a_container_has_the_part_of_the_processor_that_it_is_shown(
    tmp_path: Path, cpus: int, siblings: int | None, listed: int, sockets: int, watts: float
) -> None:
    proc = write_proc(tmp_path, logical_cpus=cpus, siblings=siblings, listed_cpus=listed, sockets=sockets)
    assert cpu_power(processors(proc)).watts == pytest.approx(watts)


def test_the_part_of_a_container_is_said_and_its_own_load_fills_it(tmp_path: Path) -> None:
    clock = FakeClock(100.0)
    proc = write_proc(tmp_path, logical_cpus=4, siblings=128)
    meter = EstimateMeter(proc, clock, ("cpu",), ticks_per_second=100)
    assert meter.remarks("cpu") == ["8.75 W for 4 of 128 logical CPUs of 280 W TDP"]
    write_stat(proc, user=40_000)  # all four for 100 s
    assert meter.read()[0].energy_joules == pytest.approx(875.0)


@pytest.mark.parametrize("of_sockets", [2, 4, 128])
def test_a_virtual_machine_goes_by_its_cpus_whatever_packages_it_makes_up(of_sockets: int) -> None:
    cpus = Processors(EPYC, 1, 4, is_virtual=True, memory_bytes=None, cpus_of_sockets=of_sockets)
    assert (cpus.part, cpu_power(cpus).watts) == (1.0, 16.0)


def test_a_sandbox_that_shows_zeros_has_no_estimate_of_its_cpus_and_one_of_its_memory(tmp_path: Path) -> None:
    proc = write_proc(tmp_path)
    write_stat(proc, idle=0)
    with pytest.raises(MeterUnavailable, match="nothing but zeros, as sandboxes do"):
        EstimateMeter(proc, components=("cpu",))
    meter = EstimateMeter(proc, FakeClock(1.0))
    assert [device.name for device in meter.devices] == ["dram"]
    assert meter.lacking["cpu"].endswith("stat: it shows nothing but zeros, as sandboxes do")


@pytest.mark.parametrize("meminfo", ["", "MemTotal: lots\n", "MemTotal:  0 kB\n"])
def test_memory_that_is_not_known_is_said_to_be(tmp_path: Path, meminfo: str) -> None:
    proc = write_proc(tmp_path)
    (proc / "meminfo").write_text(meminfo)
    meter = EstimateMeter(proc)
    assert [device.name for device in meter.devices] == ["cpu"]
    assert "does not say how much memory" in meter.lacking["dram"]


def test_cpus_that_stat_does_not_list_are_those_of_cpuinfo(tmp_path: Path) -> None:
    proc = write_proc(tmp_path, logical_cpus=6)
    (proc / "stat").write_text("cpu  100 0 100 1000 0 0 0 0 0 0\nintr 0\n")
    assert processors(proc).logical_cpus == 6
