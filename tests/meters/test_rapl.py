"""RAPL on a tree of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from energysweep.errors import MeterUnavailable
from energysweep.meters import Host, energy_between, rapl
from energysweep.meters.rapl import RaplMeter

from .fake_powercap import FakePowercap, two_packages


def open_at(sys_root: Path) -> RaplMeter:
    return RaplMeter(Host(sys_root=sys_root, mounted_powercap=sys_root / "no-mount").powercap_roots)


def joules(meter: RaplMeter) -> dict[str, float | None]:
    return {reading.device.name: reading.energy_joules for reading in meter.read()}


def test_packages_and_their_dram_are_read_and_nothing_inside_them_twice(tmp_path: Path) -> None:
    two_packages(tmp_path)
    assert joules(open_at(tmp_path)) == {"package-0": 10.0, "package-1": 20.0, "dram-0": 1.0, "dram-1": 2.0}


def test_a_wrap_and_a_file_that_fails_once_give_the_energy_worked_out_by_hand(tmp_path: Path) -> None:
    tree = FakePowercap(tmp_path)
    tree.zone("intel-rapl:0", "package-0", 999_000_000, range_uj=1_000_000_000, limit_uw=100_000_000)
    tree.zone("intel-rapl:1", "package-1", 5_000_000, range_uj=1_000_000_000, limit_uw=100_000_000)
    meter = open_at(tmp_path)
    booked = dict.fromkeys(("package-0", "package-1"), 0.0)
    last: dict[str, float] = {}
    events = []

    def tick() -> None:
        for reading in meter.read():
            name = reading.device.name
            if reading.energy_joules is None:
                events.append((name, "failed"))
                continue
            if name in last:
                step = energy_between(reading.device, last[name], reading.energy_joules, 1.0)
                assert step.joules is not None
                booked[name] += step.joules
                if step.event:
                    events.append((name, step.event))
            last[name] = reading.energy_joules

    tick()
    tree.set("intel-rapl:0", 40_000_000)  # 1 J up to the range, and 40 J after it
    tree.make_unreadable("intel-rapl:1")
    tick()
    tree.set("intel-rapl:0", 90_000_000)  # 50 J
    tree.set("intel-rapl:1", 125_000_000)  # 120 J over both seconds
    tick()
    assert events == [("package-0", "wrap"), ("package-1", "failed")]
    assert booked == {"package-0": 91.0, "package-1": 120.0}


def test_a_failed_reading_is_none_and_says_why(tmp_path: Path) -> None:
    tree = two_packages(tmp_path)
    meter = open_at(tmp_path)
    tree.make_unreadable("intel-rapl:1")
    readings = {reading.device.name: reading for reading in meter.read()}
    assert readings["package-1"].energy_joules is None
    assert "intel-rapl:1/energy_uj" in (readings["package-1"].problem or "")
    assert readings["package-0"].energy_joules == 10.0


@pytest.mark.parametrize("text", ["", "garbage\n"])
def test_a_file_without_a_number_is_a_failed_reading(tmp_path: Path, text: str) -> None:
    tree = two_packages(tmp_path)
    meter = open_at(tmp_path)
    (tree.flat / "intel-rapl:0/energy_uj").write_text(text)
    assert joules(meter)["package-0"] is None


def test_psys_counts_only_where_there_are_no_packages(tmp_path: Path) -> None:
    tree = FakePowercap(tmp_path)
    tree.zone("intel-rapl:0", "psys", 90_000_000)
    meter = open_at(tmp_path)
    assert joules(meter) == {"psys": 90.0}
    assert meter.includes_dram


def test_a_package_that_only_mmio_shows_is_read_there(tmp_path: Path) -> None:
    FakePowercap(tmp_path).zone("intel-rapl-mmio:0", "package-0", 77_000_000)
    assert joules(open_at(tmp_path)) == {"package-0": 77.0}


def test_the_same_package_is_taken_from_the_interface_that_can_be_read(tmp_path: Path) -> None:
    two_packages(tmp_path).make_unreadable("intel-rapl:0")
    assert joules(open_at(tmp_path))["package-0"] == 77.0


def test_a_package_that_cannot_be_read_beside_one_that_can_stays_in_sight(tmp_path: Path) -> None:
    two_packages(tmp_path).make_unreadable("intel-rapl:1")
    assert joules(open_at(tmp_path))["package-1"] is None


def test_a_package_of_several_dies_has_a_counter_for_each(tmp_path: Path) -> None:
    tree = FakePowercap(tmp_path)
    tree.zone("intel-rapl:0", "package-0-die-0", 1_000_000)
    tree.zone("intel-rapl:1", "package-0-die-1", 2_000_000)
    assert joules(open_at(tmp_path)) == {"package-0-die-0": 1.0, "package-0-die-1": 2.0}


def test_the_counter_knows_its_range_and_four_times_its_long_term_limit(tmp_path: Path) -> None:
    two_packages(tmp_path)
    package, _, dram, _ = open_at(tmp_path).devices
    assert package.wraps_at_joules == 262_143.328850
    assert package.maximum_watts == 800.0
    assert dram.maximum_watts is None


def test_a_nested_tree_that_a_container_has_mounted_is_found(tmp_path: Path) -> None:
    tree = two_packages(tmp_path / "host")
    masked = tmp_path / "container" / "class" / "powercap"
    masked.mkdir(parents=True)
    host = Host(sys_root=tmp_path / "container", mounted_powercap=tree.devices)
    assert joules(RaplMeter(host.powercap_roots))["dram-1"] == 2.0


def test_a_host_without_a_tree_says_so(tmp_path: Path) -> None:
    with pytest.raises(MeterUnavailable, match="class/powercap does not exist") as caught:
        open_at(tmp_path)
    assert "modprobe intel_rapl_msr" in (caught.value.hint or "")


def test_an_empty_tree_says_so(tmp_path: Path) -> None:
    FakePowercap(tmp_path)
    with pytest.raises(MeterUnavailable, match="has no RAPL zones"):
        open_at(tmp_path)


def test_packages_that_cannot_be_read_make_it_unavailable(tmp_path: Path) -> None:
    tree = FakePowercap(tmp_path)
    tree.zone("intel-rapl:0", "package-0", 0)
    tree.make_unreadable("intel-rapl:0")
    with pytest.raises(MeterUnavailable, match="energy_uj cannot be read"):
        open_at(tmp_path)


def test_a_counter_that_only_root_may_read_comes_with_the_command() -> None:
    # Called directly: the tests may run as root, who may read everything.
    error = rapl._unreadable(Path("energy_uj"), PermissionError(13, "Permission denied"))
    assert str(error) == "energy_uj may be read by root only"
    assert "sudo chmod a+r" in (error.hint or "")


def test_only_the_components_that_were_asked_for_are_read(tmp_path: Path) -> None:
    two_packages(tmp_path)
    roots = Host(sys_root=tmp_path).powercap_roots
    assert [device.name for device in RaplMeter(roots, ("dram",)).devices] == ["dram-0", "dram-1"]


def test_a_counter_cannot_wrap_sooner_than_at_its_limit_or_at_that_of_the_largest_sockets(tmp_path: Path) -> None:
    two_packages(tmp_path)
    package, _, dram, _ = open_at(tmp_path).devices
    assert package.wraps_after_seconds == pytest.approx(1310.7, abs=0.1)  # 262 143 J at 200 W
    assert dram.wraps_after_seconds == pytest.approx(524.3, abs=0.1)  # the tree has no limit of it: 500 W
    assert package.moves_within_seconds == 10.0


def test_a_file_that_vanishes_is_a_failed_reading_until_it_returns(tmp_path: Path) -> None:
    tree = two_packages(tmp_path)
    meter = open_at(tmp_path)
    tree.make_unreadable("intel-rapl:0")
    assert joules(meter)["package-0"] is None
    assert joules(meter)["package-1"] == 20.0
    tree.set("intel-rapl:0", 15_000_000)
    assert joules(meter)["package-0"] == 15.0
