"""RAPL on a tree of files."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from energysweep.core.errors import MeterUnavailable
from energysweep.meters import Host, energy_between, rapl
from energysweep.meters.rapl import RaplMeter
from tests.support.fake_powercap import FakePowercap, two_packages


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
    assert meter.contained == {"dram"}


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
    assert dram.maximum_watts == 2000.0  # the tree has no limit of it: four times 500 W


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


# Trees that are not what they seem ------------------------------------------------------------------------------------


def mount(tmp_path: Path, tree: FakePowercap) -> tuple[Path, ...]:
    """The roots of a container that has the tree mounted, and whose own /sys/class/powercap leads nowhere."""
    own = tmp_path / "container/class/powercap"
    own.mkdir(parents=True)
    for link in tree.flat.iterdir():
        (own / link.name).symlink_to(f"../../devices/virtual/powercap/intel-rapl/{link.name}")
    (own / "intel-rapl").symlink_to("../../devices/virtual/powercap/intel-rapl")
    return Host(sys_root=tmp_path / "container", mounted_powercap=tree.devices).powercap_roots


def test_links_that_lead_nowhere_do_not_hide_the_tree_that_is_mounted(tmp_path: Path) -> None:
    meter = RaplMeter(mount(tmp_path, two_packages(tmp_path / "host")))
    assert joules(meter) == {"package-0": 10.0, "package-1": 20.0, "dram-0": 1.0, "dram-1": 2.0}
    assert meter.remarks("cpu") == meter.remarks("dram") == []


def test_links_that_lead_nowhere_and_no_mount_are_said_with_the_way_out(tmp_path: Path) -> None:
    roots = mount(tmp_path, two_packages(tmp_path / "host"))[:2]
    with pytest.raises(MeterUnavailable, match="are links that lead nowhere") as caught:
        RaplMeter([*roots, tmp_path / "host/powercap"])
    assert f"mount the host's /sys/devices/virtual/powercap at {tmp_path}/host/powercap" in (caught.value.hint or "")


def test_a_zone_that_leads_nowhere_beside_others_is_named(tmp_path: Path) -> None:
    tree = two_packages(tmp_path)
    (tree.flat / "intel-rapl:4").symlink_to(tmp_path / "gone")
    meter = RaplMeter([tree.flat])
    assert set(joules(meter)) == {"package-0", "package-1", "dram-0", "dram-1"}
    assert meter.remarks("cpu") == ["intel-rapl:4 leads nowhere and is not counted"]


def test_a_zone_is_read_where_it_can_be(tmp_path: Path) -> None:
    tree, masked = two_packages(tmp_path / "host"), two_packages(tmp_path / "masked")
    masked.make_unreadable("intel-rapl:1")
    masked.set("intel-rapl:0", 11_000_000)
    assert joules(RaplMeter([masked.flat, tree.flat])) == {
        "package-0": 11.0,
        "package-1": 20.0,
        "dram-0": 1.0,
        "dram-1": 2.0,
    }


def dies(tree: FakePowercap, *energies_uj: int, socket: int = 0, first: int = 0, **options: int) -> None:
    for die, energy_uj in enumerate(energies_uj):
        tree.zone(f"intel-rapl:{first + die}", f"package-{socket}-die-{die}", energy_uj, **options)


def test_dies_that_all_read_the_counter_of_their_socket_are_counted_once(tmp_path: Path) -> None:
    tree = FakePowercap(tmp_path)
    dies(tree, 68_000_000, 68_000_000, 68_000_000, 68_000_000, range_uj=65_532_610_987)
    dies(tree, 68_000_000, 68_000_000, 68_000_000, 68_000_000, range_uj=65_532_610_987, socket=1, first=4)
    meter = open_at(tmp_path)
    assert joules(meter) == {"package-0": 68.0, "package-1": 68.0}  # two sockets are never one
    assert meter.remarks("cpu")[0] == (
        "package-0-die-0, package-0-die-1, package-0-die-2, package-0-die-3 read the same counter, which is counted"
        " once, as package-0"
    )
    for zone in range(4):
        tree.set(f"intel-rapl:{zone}", 70_000_000)
    assert joules(meter) == {"package-0": 70.0, "package-1": 68.0}


def test_one_counter_moves_while_it_is_looked_at_and_may_wrap_meanwhile(tmp_path: Path) -> None:
    tree, span = FakePowercap(tmp_path), 65_532_610_987
    dies(tree, span - 100_000, span - 50_000, 20_000, range_uj=span)  # each is read a moment after the one before
    assert joules(open_at(tmp_path)) == {"package-0": pytest.approx((span - 100_000) / 1e6)}


def test_dies_with_counters_of_their_own_are_all_counted(tmp_path: Path) -> None:
    tree = FakePowercap(tmp_path)
    dies(tree, 1_000_000, 2_000_000)
    dies(tree, 5_000_000, 5_000_000, socket=1, first=2)
    (tree.flat / "intel-rapl:3/max_energy_range_uj").write_text("65532610987\n")  # alike, and of another range
    assert joules(open_at(tmp_path)) == {
        "package-0-die-0": 1.0,
        "package-0-die-1": 2.0,
        "package-1-die-0": 5.0,
        "package-1-die-1": 5.0,
    }


def test_dies_that_are_alike_by_chance_part_while_they_are_looked_at(tmp_path: Path) -> None:
    tree = FakePowercap(tmp_path)
    dies(tree, 3_000_000, 3_000_000)
    seconds = []

    def pause(for_seconds: float) -> None:
        seconds.append(for_seconds)
        tree.set("intel-rapl:0", 4_000_000)

    meter = RaplMeter([tree.flat], pause=pause)
    assert joules(meter) == {"package-0-die-0": 4.0, "package-0-die-1": 3.0}
    assert seconds == [0.02]
    assert meter.remarks("cpu") == []


def test_dies_that_part_later_are_no_reading_until_they_are_counted_apart(tmp_path: Path) -> None:
    tree = FakePowercap(tmp_path)
    dies(tree, 3_000_000, 3_000_000)
    meter = open_at(tmp_path)
    tree.set("intel-rapl:0", 13_000_000)
    tree.set("intel-rapl:1", 23_000_000)
    [reading] = meter.read()
    assert reading.energy_joules is None
    assert (reading.problem or "").startswith("package-0-die-1 read what package-0 did and no longer does")
    assert joules(open_at(tmp_path)) == {"package-0-die-0": 13.0, "package-0-die-1": 23.0}


def test_a_die_that_cannot_be_read_beside_others_that_are_one_counter_is_of_it(tmp_path: Path) -> None:
    tree = FakePowercap(tmp_path)
    dies(tree, 3_000_000, 3_000_000, 3_000_000)
    tree.make_unreadable("intel-rapl:1")
    meter = open_at(tmp_path)
    tree.make_unreadable("intel-rapl:2")  # says nothing, so it says nothing against it
    assert joules(meter) == {"package-0": 3.0}


def test_two_zones_of_one_name_are_both_counted_unless_they_are_one(tmp_path: Path) -> None:
    tree = FakePowercap(tmp_path)
    tree.zone("intel-rapl:0", "package-0", 7_000_000)
    tree.zone("intel-rapl:0:0", "dram", 1_000_000)
    tree.zone("intel-rapl:0:1", "dram", 2_000_000)
    tree.zone("intel-rapl:1", "package-0", 9_000_000)
    tree.zone("intel-rapl:10", "package-1", 4_000_000)
    tree.zone("intel-rapl:11", "package-1", 4_000_000)
    tree.zone("intel-rapl-mmio:0", "package-0", 7_000_000)
    assert joules(open_at(tmp_path)) == {
        "package-0": 7.0,
        "package-0-zone-1": 9.0,
        "package-1": 4.0,
        "dram-0": 1.0,
        "dram-0-zone-0-1": 2.0,
    }


def test_psys_of_several_sockets_are_all_counted_unless_they_are_one(tmp_path: Path) -> None:
    tree = FakePowercap(tmp_path)
    tree.zone("intel-rapl:0", "psys", 90_000_000)
    tree.zone("intel-rapl:1", "psys-1", 50_000_000)
    meter = open_at(tmp_path)
    assert joules(meter) == {"psys": 90.0, "psys-1": 50.0}
    assert meter.contained == {"dram"}
    tree.set("intel-rapl:1", 90_000_000)
    meter = open_at(tmp_path)
    assert joules(meter) == {"psys": 90.0}
    assert meter.remarks("cpu") == ["psys, psys-1 read the same counter, which is counted once, as psys"]


@pytest.mark.parametrize("name", ["", "mystery", None])
def test_a_zone_that_does_not_say_what_it_counts_is_named_and_not_counted(tmp_path: Path, name: str | None) -> None:
    tree = two_packages(tmp_path)
    tree.zone("intel-rapl:7", name or "", 5_000_000)
    if name is None:
        (tree.flat / "intel-rapl:7/name").unlink()
    meter = open_at(tmp_path)
    assert set(joules(meter)) == {"package-0", "package-1", "dram-0", "dram-1"}
    assert meter.remarks("cpu") == [
        "intel-rapl:7 is called 'mystery' and is not counted" if name else "intel-rapl:7 has no name and is not counted"
    ]


def test_dram_of_a_package_without_a_name_is_counted(tmp_path: Path) -> None:
    tree = two_packages(tmp_path)
    (tree.flat / "intel-rapl:1/name").write_text("\n")
    assert joules(open_at(tmp_path)) == {"package-0": 10.0, "dram-0": 1.0, "dram-1-1": 2.0}


def test_dram_that_cannot_be_read_is_said_and_one_of_two_stays_in_sight(tmp_path: Path) -> None:
    tree = two_packages(tmp_path)
    tree.make_unreadable("intel-rapl:0:1")
    assert joules(open_at(tmp_path))["dram-0"] is None
    tree.make_unreadable("intel-rapl:1:1")
    meter = open_at(tmp_path)
    assert set(joules(meter)) == {"package-0", "package-1"}
    assert "RAPL's DRAM is not counted: " in meter.remarks("dram")[0]


@pytest.mark.parametrize("text", [None, "", "0\n", "-1\n", "garbage\n", "5000000\n", "18446744073709551615 µJ\n"])
def test_a_range_that_is_none_makes_a_counter_that_never_wraps(tmp_path: Path, text: str | None) -> None:
    tree = two_packages(tmp_path)  # package 0 stands at 10 J, beyond a range of 5 J
    file = tree.flat / "intel-rapl:0/max_energy_range_uj"
    file.unlink() if text is None else file.write_text(text)
    device = open_at(tmp_path).devices[0]
    assert (device.wraps_at_joules, device.wraps_after_seconds) == (None, None)
    assert energy_between(device, 100.0, 90.0, 1.0).event == "reset"


@pytest.mark.parametrize("limit_uw", [0, 1, 4_294_967_295_000_000, -5])
def test_a_limit_that_is_none_leaves_that_of_the_largest_sockets(tmp_path: Path, limit_uw: int) -> None:
    tree = FakePowercap(tmp_path)
    tree.zone("intel-rapl:0", "package-0", 0, limit_uw=limit_uw)
    [device] = open_at(tmp_path).devices
    assert device.maximum_watts == 2000.0
    assert device.wraps_after_seconds == pytest.approx(524.3, abs=0.1)


@pytest.mark.parametrize("text", ["-5\n", "12.5\n", "12 13\n", "n/a\n"])
def test_garbage_is_no_reading_and_a_number_beyond_any_socket_no_energy(tmp_path: Path, text: str) -> None:
    tree = FakePowercap(tmp_path)
    tree.zone("intel-rapl:0", "package-0", 1_000_000)
    meter = open_at(tmp_path)
    (tree.flat / "intel-rapl:0/energy_uj").write_text(text)
    assert joules(meter) == {"package-0": None}
    tree.set("intel-rapl:0", 99_999_999_999)
    [reading] = meter.read()
    assert energy_between(reading.device, 1.0, reading.energy_joules or 0.0, 1.0).event == "jump"


def test_a_tree_of_nothing_that_counts_says_what_there_is(tmp_path: Path) -> None:
    FakePowercap(tmp_path).zone("intel-rapl:0", "", 0)
    with pytest.raises(MeterUnavailable, match="neither packages nor psys; intel-rapl:0 has no name"):
        open_at(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_of_any_tree_each_counter_is_counted_once(tmp_path: Path, chance: random.Random) -> None:
    """Sockets of one zone, of dies, mirrored or not, with DRAM; shown again by other interfaces, in any order."""
    for number in range(300):
        tree = FakePowercap(tmp_path / str(number))
        zones: list[tuple[str, str, int]] = []  # interface, name, energy
        expected_uj = 0

        def counter() -> int:
            return chance.randrange(10**9, 10**10, 10**6)  # no two are within a step of each other

        for socket in range(chance.randint(1, 4)):
            dies = chance.choice([1, 1, 2, 4])
            is_mirrored = dies > 1 and chance.random() < 0.5
            energies = [counter()] * dies if is_mirrored else [counter() for _ in range(dies)]
            expected_uj += energies[0] if is_mirrored else sum(energies)
            for die, energy_uj in enumerate(energies):
                name = f"package-{socket}" + (f"-die-{die}" if dies > 1 else "")
                zones += [("intel-rapl", name, energy_uj)]
                zones += [("intel-rapl-mmio", name, energy_uj)] if chance.random() < 0.3 else []
        zones += [("intel-rapl", "psys", counter())] if chance.random() < 0.3 else []
        chance.shuffle(zones)
        for index, (interface, name, energy_uj) in enumerate(zones):
            tree.zone(f"{interface}:{index}", name, energy_uj)
            if interface == "intel-rapl" and name.startswith("package") and chance.random() < 0.5:
                dram_uj = counter()
                expected_uj += dram_uj
                tree.zone(f"{interface}:{index}:0", "core", energy_uj // 2)
                tree.zone(f"{interface}:{index}:1", "dram", dram_uj)
        roots = [tree.flat, tree.devices]
        chance.shuffle(roots)
        meter = RaplMeter(roots, pause=lambda _seconds: None)
        assert sum(value or 0.0 for value in joules(meter).values()) == pytest.approx(expected_uj / 1e6), zones
        assert len({device.name for device in meter.devices}) == len(meter.devices)
