"""What every meter keeps to, whatever it reads."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pynvml
import pytest

from energysweep.meters import COMPONENTS, KINDS, Meter, ReplayMeter
from energysweep.meters.estimate import EstimateMeter
from energysweep.meters.kinds import BY_NAME
from energysweep.meters.nvml import NvmlCounter, NvmlPower
from energysweep.meters.rapl import RaplMeter
from tests.support.fake_clock import FakeClock
from tests.support.fake_nvml import FakeGpu, FakeNvml
from tests.support.fake_powercap import two_packages
from tests.support.fake_proc import write_proc, write_stat


@dataclass
class Bench:
    """A meter, how to let its host work for a second, and how to break its hardware."""

    meter: Meter
    work: Callable[[], None]
    break_hardware: Callable[[], None]


def rapl(folder: Path) -> Bench:
    tree = two_packages(folder)
    energy_uj = 50_000_000

    def work() -> None:
        nonlocal energy_uj
        energy_uj += 10_000_000
        for zone in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:1", "intel-rapl:1:1"):
            tree.set(zone, energy_uj)

    return Bench(RaplMeter([tree.flat]), work, lambda: tree.make_unreadable("intel-rapl:0"))


def nvml_counter(_folder: Path) -> Bench:
    gpus = [FakeGpu("GPU-a"), FakeGpu("GPU-b")]

    def work() -> None:
        for gpu in gpus:
            gpu.energy_millijoules += 300_000

    def lose() -> None:
        gpus[0].failure = pynvml.NVML_ERROR_GPU_IS_LOST

    return Bench(NvmlCounter(FakeNvml(*gpus)), work, lose)


def nvml_power(_folder: Path) -> Bench:
    clock, gpus = FakeClock(), [FakeGpu("GPU-a", power_milliwatts=9_000), FakeGpu("GPU-b", power_milliwatts=1)]

    def lose() -> None:
        gpus[0].failure = pynvml.NVML_ERROR_GPU_IS_LOST

    return Bench(NvmlPower(FakeNvml(*gpus), clock, interval_seconds=None), lambda: clock.advance(1.0), lose)


def estimate(folder: Path) -> Bench:
    clock, ticks = FakeClock(10.0), 0
    write_proc(folder)

    def work() -> None:
        nonlocal ticks
        ticks += 50
        clock.advance(1.0)
        write_stat(folder, user=ticks)

    return Bench(EstimateMeter(folder, clock), work, (folder / "stat").unlink)


def replay(folder: Path) -> Bench:
    clock = FakeClock()
    path = folder / "trace.csv"
    path.write_text(
        "time_seconds,device,component,power_watts,status\n0,cpu,cpu,10,ok\n0,dram,dram,5,ok\n50,cpu,cpu,10,error\n"
    )
    meter = ReplayMeter(path, clock)
    meter.start(0.0)
    return Bench(meter, lambda: clock.advance(1.0), lambda: clock.advance(50.0))


BENCHES = {make.__name__: make for make in (rapl, nvml_counter, nvml_power, estimate, replay)}


def test_every_kind_of_the_table_is_held_to_this_contract() -> None:
    assert set(BENCHES) == {kind.name for kind in KINDS if kind.is_source}


@pytest.fixture(params=list(BENCHES.values()), ids=list(BENCHES))
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    made: Bench = request.param(tmp_path)
    yield made
    made.meter.close()


class TestEveryMeter:
    def test_reads_its_devices_in_their_order(self, bench: Bench) -> None:
        assert [reading.device for reading in bench.meter.read()] == list(bench.meter.devices)

    def test_has_devices_with_unique_names_known_components_and_its_own_kind(self, bench: Bench) -> None:
        devices = bench.meter.devices
        assert devices
        assert len({device.name for device in devices}) == len(devices)
        assert {device.component for device in devices} <= set(COMPONENTS)
        assert {device.source for device in devices} == {bench.meter.kind}
        assert {device.component for device in devices} <= set(BY_NAME[bench.meter.kind].components)

    def test_counts_up_while_its_host_works(self, bench: Bench) -> None:
        totals = []
        for _ in range(5):
            bench.work()
            readings = bench.meter.read()
            assert all(reading.problem is None for reading in readings)
            totals.append([reading.energy_joules for reading in readings])
        for earlier, later in itertools.pairwise(totals):
            for before, after in zip(earlier, later, strict=True):
                assert before is not None
                assert after is not None
                assert after > before

    def test_gives_none_and_a_reason_when_its_hardware_fails_and_never_raises(self, bench: Bench) -> None:
        bench.work()
        bench.break_hardware()
        first, second, *_ = bench.meter.read()
        assert first.energy_joules is None
        assert first.problem
        assert second.energy_joules is not None
        assert second.problem is None
