from __future__ import annotations

import json
from pathlib import Path

import pytest

from energysweep.accounting.accounts import Floor
from energysweep.accounting.floors import FloorMemory, freeze_floors
from energysweep.meters import Component, Device

PACKAGE_0 = Device("package-0", "cpu", "rapl")
PACKAGE_1 = Device("package-1", "cpu", "rapl")
DRAM = Device("dram-0", "dram", "rapl")
ESTIMATE = Device("cpu", "cpu", "estimate", idle_watts=8.5)


def seen(*watts: float, path: Path | None = None, device: Device = PACKAGE_0) -> FloorMemory:
    memory = FloorMemory(path)
    for each in watts:
        memory.observe(device, each)
    return memory


def test_the_lowest_of_two_steady_seconds_is_remembered() -> None:
    memory = seen(50, 50, 21, 20, 60, 90, 19)
    assert memory.lowest_watts(PACKAGE_0) == 21  # 19 was not steady; of 21 and 20 the higher one
    assert memory.lowest_watts(PACKAGE_1) is None


def test_a_counter_that_stands_still_says_nothing() -> None:
    assert seen(0, 0, 0).lowest_watts(PACKAGE_0) is None


@pytest.mark.parametrize("source", ["replay", "estimate"])
def test_an_invented_device_says_nothing_of_the_host(source: str) -> None:
    device = Device("package-0", "cpu", source)
    assert seen(20, 20, device=device).lowest_watts(device) is None


def test_the_lowest_second_is_kept_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "state" / "floors.json"
    seen(20, 20, path=path)
    assert json.loads(path.read_text()) == {"rapl:package-0": 20}
    assert FloorMemory(path).lowest_watts(PACKAGE_0) == 20
    assert [file.name for file in path.parent.iterdir()] == ["floors.json"]


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[1]", "7"),
        *(f'{{"rapl:package-0": {watts}}}' for watts in ("null", '"x"', "NaN", "-3", "0", "Infinity")),
    ],
)
def test_a_damaged_file_means_that_the_floor_has_to_be_seen_again(tmp_path: Path, content: str) -> None:
    path = tmp_path / "floors.json"
    path.write_text(content)
    memory = FloorMemory(path)
    assert memory.lowest_watts(PACKAGE_0) is None
    memory.observe(PACKAGE_0, 20)
    memory.observe(PACKAGE_0, 20)
    assert FloorMemory(path).lowest_watts(PACKAGE_0) == 20


def test_a_file_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of the folder")
    assert seen(20, 20, path=tmp_path / "file" / "floors.json").lowest_watts(PACKAGE_0) == 20


def test_floors_are_taken_in_their_order() -> None:
    memory = seen(20, 20)
    given: dict[Component, float] = {"cpu": 30}
    quiet = {"package-0": 25.0, "dram-0": 3.0}
    assert freeze_floors([PACKAGE_0], given, memory, quiet) == {"package-0": Floor(30, "given")}
    assert freeze_floors([ESTIMATE], {}, memory, quiet) == {"cpu": Floor(8.5, "model")}
    assert freeze_floors([PACKAGE_0], {}, memory, quiet) == {"package-0": Floor(20, "lowest second")}
    assert freeze_floors([DRAM], {}, memory, quiet) == {"dram-0": Floor(3, "quiet seconds")}
    assert freeze_floors([DRAM], {}, memory, {}) == {"dram-0": Floor(None, "unknown")}


def test_a_given_floor_is_shared_by_the_devices_of_its_component() -> None:
    floors = freeze_floors([PACKAGE_0, PACKAGE_1, DRAM], {"cpu": 30}, FloorMemory(None), {})
    assert floors == {
        "package-0": Floor(15, "given"),
        "package-1": Floor(15, "given"),
        "dram-0": Floor(None, "unknown"),
    }
