"""What the doctor says of a host."""

from __future__ import annotations

from pathlib import Path

import pynvml
import pytest

from energysweep.cli import doctor, main
from energysweep.core.errors import InputError
from energysweep.meters import Host
from tests.meters.test_choose import NO_NVML
from tests.support.answers import checked
from tests.support.fake_clock import FakeClock
from tests.support.fake_nvml import FakeGpu, FakeNvml
from tests.support.fake_powercap import FakePowercap, two_packages
from tests.support.fake_proc import write_proc


def examine(tmp_path: Path, tree: FakePowercap | None, nvml: FakeNvml, *, virtual: bool = False) -> doctor.Report:
    """Half a second passes per ``sleep``, in which package 0 uses 5 J."""
    clock = FakeClock(10.0)
    write_proc(tmp_path / "proc", virtual=virtual)
    host = Host(tmp_path / "sys", tmp_path / "proc", tmp_path / "no-mount", clock, nvml)

    def sleep(seconds: float) -> None:
        clock.advance(seconds)
        if tree is not None:
            tree.set("intel-rapl:0", 15_000_000)

    return doctor.examine(host=host, seconds=0.5, sleep=sleep, container_markers=[tmp_path / "proc"])


def test_counters_are_listed_with_the_watts_of_now(tmp_path: Path) -> None:
    text = doctor.render(examine(tmp_path, two_packages(tmp_path / "sys"), FakeNvml(FakeGpu("GPU-a"))))
    assert "rapl: available" in text
    assert "cpu package-0, by rapl: 10.0 W now" in text
    assert "gpu 0 = GPU-a, by nvml_counter: 0.0 W now" in text
    assert "boot_id: 11111111-2222-3333-4444-555555555555" in text
    assert "AMD EPYC 7763 64-Core Processor; sockets: 1; logical CPUs: 4" in text
    assert "in a container" in text


def test_what_is_lacking_is_named_with_the_way_to_get_it(tmp_path: Path) -> None:
    report = examine(tmp_path, None, NO_NVML, virtual=True)
    text = doctor.render(report)
    assert "rapl: not available" in text
    assert "to get it: virtual machines have none" in text
    assert "nvml_counter: not available: NVML library not found" in text
    assert "cpu cpu, by estimate: 1.6 W now (estimate)" in text  # a tenth of 4 W for each of 4 CPUs
    assert "a virtual machine, in a container" in text


def test_a_counter_that_fails_is_said_to_fail(tmp_path: Path) -> None:
    tree = two_packages(tmp_path / "sys")
    tree.make_unreadable("intel-rapl:1")
    assert "cpu package-1, by rapl: no reading (" in doctor.render(examine(tmp_path, tree, NO_NVML))


def test_other_programs_are_told_the_same(tmp_path: Path) -> None:
    tree = two_packages(tmp_path / "sys")
    tree.make_unreadable("intel-rapl:1")
    said = checked("doctor", doctor.answer(examine(tmp_path, tree, NO_NVML)))
    one, other = (device for device in said["devices"] if device["component"] == "cpu")
    assert (one["name"], one["source"], one["power_watts"], one["estimated"]) == ("package-0", "rapl", 10.0, False)
    assert (other["power_watts"], one["problem"]) == (None, None)
    assert other["problem"]
    nvml = next(each for each in said["kinds"] if each["kind"] == "nvml_counter")
    assert (nvml["available"], nvml["devices"], nvml["reason"]) == (False, [], "NVML library not found")


def test_a_meter_that_is_asked_for_and_not_there_is_no_error_for_the_doctor(tmp_path: Path) -> None:
    host = Host(tmp_path / "sys", write_proc(tmp_path / "proc"), tmp_path / "no-mount", FakeClock(), NO_NVML)
    report = doctor.examine(["rapl"], host, sleep=lambda _seconds: None)
    assert report.devices == ()
    assert "the meter rapl is not available here" in report.summary


def test_what_is_counted_once_and_what_is_not_counted_is_said(tmp_path: Path) -> None:
    tree = FakePowercap(tmp_path / "sys")
    for die in range(2):
        tree.zone(f"intel-rapl:{die}", f"package-0-die-{die}", 68_000_000)
    sick = FakeGpu("GPU-sick", failure=pynvml.NVML_ERROR_UNKNOWN)
    nvml = FakeNvml(sick, FakeGpu("GPU-display", has_counter=False, has_power=False), FakeGpu("GPU-a", 5_000))
    clock = FakeClock(10.0)
    host = Host(tmp_path / "sys", write_proc(tmp_path / "proc"), tmp_path / "no-mount", clock, nvml)
    text = doctor.render(doctor.examine(host=host, sleep=clock.advance))
    once = "package-0-die-0, package-0-die-1 read the same counter, which is counted once, as package-0"
    assert f"cpu by rapl (1 device; {once})" in text
    assert (
        "gpu by nvml_counter (1 device; GPU 0 does not answer: Unknown Error;"
        " GPU 1 (GPU-display) is not measured: NVML does not tell its energy)"
    ) in text


def test_what_is_hidden_from_a_program_stands_beside_the_host(tmp_path: Path) -> None:
    clock, proc = FakeClock(10.0), write_proc(tmp_path / "proc", siblings=128)
    host = Host(tmp_path / "sys", proc, tmp_path / "no-mount", clock, NO_NVML)
    text = doctor.render(doctor.examine(host=host, sleep=clock.advance))
    assert f"  note: {proc} shows 4 of the processor's 128 logical CPUs: an estimate is of what is shown" in text
    assert f"  note: {proc} hides other users' processes (hidepid)" in text
    (proc / "cpuinfo").unlink()
    (proc / "stat").unlink()
    text = doctor.render(doctor.examine(host=host, sleep=clock.advance))
    assert "procfs says nothing about its processors" in text
    assert "stat does not say how busy the host is (No such file or directory)" in text


def test_an_unknown_kind_is_an_input_error(tmp_path: Path) -> None:
    host = Host(tmp_path / "sys", write_proc(tmp_path / "proc"), tmp_path / "no-mount", FakeClock(), NO_NVML)
    with pytest.raises(InputError, match="must be one of auto, rapl"):
        doctor.examine(["watts"], host)


def test_the_doctor_of_this_very_machine_ends_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    assert "What a sweep would use here" in capsys.readouterr().out
