"""Which meters a host gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pynvml
import pytest

from energysweep.core.errors import InputError, MeterUnavailable
from energysweep.meters import Host, open_meters
from tests.support.fake_clock import FakeClock
from tests.support.fake_nvml import FakeGpu, FakeInstance, FakeNvml
from tests.support.fake_powercap import FakePowercap, two_packages
from tests.support.fake_proc import write_proc, write_stat

NO_NVML = FakeNvml(init_failure=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)


def host(tmp_path: Path, nvml: FakeNvml = NO_NVML, **proc: int) -> Host:
    write_proc(tmp_path / "proc", **proc)  # type: ignore[arg-type]
    return Host(
        sys_root=tmp_path / "sys",
        proc_root=tmp_path / "proc",
        mounted_powercap=tmp_path / "no-mount",
        clock=FakeClock(),
        nvml=nvml,
    )


def trace(tmp_path: Path, component: str) -> str:
    path = tmp_path / "trace.csv"
    path.write_text(f"time_seconds,device,component,power_watts\n0,one,{component},100\n")
    return f"replay:{path}"


def taken(tmp_path: Path, *kinds: str, nvml: FakeNvml = NO_NVML) -> list[tuple[str, str]]:
    opened = open_meters(kinds, host(tmp_path, nvml))
    opened.close()
    return [(device.name, device.source) for device in opened.devices]


def test_auto_on_a_bare_host_estimates_and_says_why_in_one_line(tmp_path: Path) -> None:
    opened = open_meters(["auto"], host(tmp_path))
    assert opened.summary() == (
        f"meters: cpu by estimate (280 W TDP; no RAPL: {tmp_path}/sys/class/powercap does not exist), "
        "dram by estimate (10 W for its size), no GPU (NVML library not found)"
    )
    assert all(note.hint for note in opened.notes if note.reason)


def test_auto_takes_counters_where_there_are_any(tmp_path: Path) -> None:
    two_packages(tmp_path / "sys")
    nvml = FakeNvml(FakeGpu("GPU-new"), FakeGpu("GPU-old", has_counter=False))
    assert taken(tmp_path, "auto", nvml=nvml) == [
        ("package-0", "rapl"),
        ("package-1", "rapl"),
        ("dram-0", "rapl"),
        ("dram-1", "rapl"),
        ("GPU-new", "nvml_counter"),
        ("GPU-old", "nvml_power"),
    ]
    assert nvml.initialised == 0


def test_auto_estimates_dram_that_rapl_does_not_show_and_says_so(tmp_path: Path) -> None:
    FakePowercap(tmp_path / "sys").zone("intel-rapl:0", "package-0", 0)
    opened = open_meters(["auto"], host(tmp_path))
    assert [(device.component, device.source) for device in opened.devices] == [("cpu", "rapl"), ("dram", "estimate")]
    assert "dram by estimate (10 W for its size; RAPL has no DRAM zone here" in opened.summary()


def test_auto_adds_no_dram_to_a_psys_that_contains_it(tmp_path: Path) -> None:
    FakePowercap(tmp_path / "sys").zone("intel-rapl:0", "psys", 0)
    opened = open_meters(["auto"], host(tmp_path))
    assert [device.name for device in opened.devices] == ["psys"]
    assert "no DRAM (psys contains it)" in opened.summary()


def test_auto_never_fails_not_even_without_procfs(tmp_path: Path) -> None:
    opened = open_meters(["auto"], Host(tmp_path, tmp_path, tmp_path / "no-mount", FakeClock(), NO_NVML))
    assert opened.meters == []
    assert "no CPU" in opened.summary()


def test_auto_fills_in_what_a_replay_leaves_out(tmp_path: Path) -> None:
    two_packages(tmp_path / "sys")
    assert taken(tmp_path, trace(tmp_path, "cpu"), "auto") == [
        ("one", "replay"),
        ("dram-0", "rapl"),
        ("dram-1", "rapl"),
    ]


def test_kinds_that_are_asked_for_are_opened_in_that_order(tmp_path: Path) -> None:
    two_packages(tmp_path / "sys")
    kinds = [source for _, source in taken(tmp_path, "nvml", "rapl", nvml=FakeNvml(FakeGpu("GPU-a")))]
    assert kinds == ["nvml_counter", "rapl", "rapl", "rapl", "rapl"]


@pytest.mark.parametrize("kind", ["rapl", "nvml", "nvml_counter", "nvml_power"])
def test_a_kind_that_is_asked_for_and_not_there_is_refused_with_its_reason(tmp_path: Path, kind: str) -> None:
    with pytest.raises(MeterUnavailable, match=f"the meter {kind} is not available here: ") as caught:
        taken(tmp_path, kind)
    assert caught.value.hint


def test_a_refusal_closes_the_meters_that_were_open_already(tmp_path: Path) -> None:
    nvml = FakeNvml(FakeGpu("GPU-a"))
    with pytest.raises(MeterUnavailable, match="rapl"):
        taken(tmp_path, "nvml", "rapl", nvml=nvml)
    assert nvml.initialised == 0


def test_no_component_is_measured_twice(tmp_path: Path) -> None:
    two_packages(tmp_path / "sys")
    with pytest.raises(InputError, match="rapl and estimate both measure cpu"):
        taken(tmp_path, "rapl", "estimate")


def test_no_gpu_is_measured_twice(tmp_path: Path) -> None:
    nvml = FakeNvml(FakeGpu("GPU-a"))
    with pytest.raises(InputError, match="nvml_counter and nvml_power both measure GPU-a"):
        taken(tmp_path, "nvml_counter", "nvml_power", nvml=nvml)
    assert nvml.initialised == 0


@pytest.mark.parametrize("kinds", [["watts"], [], ["rapl:0"], ["replay"], ["replay:"]])
def test_an_unknown_kind_is_an_input_error_under_meters(tmp_path: Path, kinds: list[str]) -> None:
    with pytest.raises(InputError, match=r"^meters: "):
        taken(tmp_path, *kinds)


def test_the_first_window_starts_the_replays(tmp_path: Path) -> None:
    here = host(tmp_path)
    clock = here.clock
    assert isinstance(clock, FakeClock)
    opened = open_meters([trace(tmp_path, "gpu")], here)
    clock.advance(60.0)
    opened.start(clock())
    clock.advance(2.0)
    opened.start(clock())
    assert opened.meters[0].read()[0].energy_joules == 200.0


def test_meters_that_know_gpu_processes_are_named(tmp_path: Path) -> None:
    opened = open_meters(["auto"], host(tmp_path, FakeNvml(FakeGpu("GPU-a", samples=[(7, 1, 50)]))))
    assert [meter.process_utilisation() for meter in opened.gpu_details] == [{"GPU-a": {7: 50.0}}]
    opened.close()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("GPU-aa11", ("GPU-aa11", 1.0)),
        ("1", None),
        ("GPU-bb", ("GPU-bb33", 1.0)),  # CUDA takes a unique beginning, too
        ("GPU-aa", None),
        ("MIG-x", ("GPU-bb33", 2 / 7)),
        ("MIG-GPU-bb33/5/0", ("GPU-bb33", 2 / 7)),
        ("MIG-GPU-bb33/5", ("GPU-bb33", 2 / 7)),
        ("MIG-", None),
        ("3", None),
        ("", None),
    ],
)
def test_a_gpu_is_found_by_its_names(tmp_path: Path, name: str, expected: tuple[str, float] | None) -> None:
    instances = [FakeInstance("MIG-x", 2, 5), FakeInstance("MIG-y", 1, 6)]
    nvml = FakeNvml(FakeGpu("GPU-aa11"), FakeGpu("GPU-aa22", has_counter=False), FakeGpu("GPU-bb33"))
    nvml.gpus[2].instances = instances
    opened = open_meters(["auto"], host(tmp_path, nvml))
    assert opened.gpu(name) == expected
    opened.close()
    assert nvml.initialised == 0


def test_a_gpu_that_does_not_answer_is_told_at_the_opening_and_one_that_is_lost_later_too(tmp_path: Path) -> None:
    lost = pynvml.NVML_ERROR_GPU_IS_LOST
    nvml = FakeNvml(FakeGpu("GPU-a"), FakeGpu("GPU-b", failure=lost))
    opened = open_meters(["nvml"], host(tmp_path, nvml))
    assert opened.summary() == "meters: gpu by nvml_counter (1 device; GPU 1 does not answer: GPU is lost)"
    nvml.gpus[0].failure = lost
    opened.meters[0].read()
    assert opened.summary().endswith("GPU is lost); GPU-a does not answer: GPU is lost")
    opened.close()


def test_a_gpu_without_any_reading_is_named_and_can_be_held(tmp_path: Path) -> None:
    nvml = FakeNvml(FakeGpu("GPU-display", has_counter=False, has_power=False), FakeGpu("GPU-a100", 5_000))
    opened = open_meters(["auto"], host(tmp_path, nvml))
    assert opened.summary().endswith(
        "gpu by nvml_counter (1 device; GPU 0 (GPU-display) is not measured: NVML does not tell its energy)"
    )
    assert opened.held({"GPU-display": 1.0}) == {"GPU-display": 1.0}
    assert opened.held({"GPU-a1": 0.5}) == {"GPU-a100": 0.5}
    assert opened.held({"GPU-": 0.5}) == {"GPU-": 0.5}  # it could be either
    opened.close()


def test_the_only_gpu_of_a_trace_is_number_0(tmp_path: Path) -> None:
    opened = open_meters([trace(tmp_path, "gpu")], host(tmp_path))
    assert opened.held({"0": 0.5}) == {"one": 0.5}
    assert opened.held({"1": 0.5}) == {"1": 0.5}


def test_an_agent_that_sees_one_of_two_boards_takes_no_number_for_it(tmp_path: Path) -> None:
    for place, vendor, kind in (
        ("0000:01:00.0", "0x10de", "0x030200"),
        ("0000:01:00.1", "0x10de", "0x040300"),  # a board's sound
        ("0000:02:00.0", "0x10de", "0x030000"),
        ("0000:03:00.0", "0x1a03", "0x030000"),  # a server's own display
    ):
        folder = tmp_path / "sys/bus/pci/devices" / place
        folder.mkdir(parents=True)
        (folder / "vendor").write_text(f"{vendor}\n")
        (folder / "class").write_text(f"{kind}\n")
    opened = open_meters(["nvml"], host(tmp_path, FakeNvml(FakeGpu("GPU-a"))))
    assert opened.boards == 2
    assert opened.held({"0": 1.0}) == {"0": 1.0}
    assert opened.held({"GPU-a": 1.0}) == {"GPU-a": 1.0}
    opened.close()


PARTS: dict[str, tuple[dict[str, Any], str | None, str]] = {
    "lxcfs": ({"logical_cpus": 4, "siblings": 128}, None, "shows 4 of the processor's 128 logical CPUs"),
    "zeros": ({}, "cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n", "it shows nothing but zeros"),
    "no cpus": ({}, "intr 0\nctxt 5\n", "its first line is not the sum over all CPUs"),
    "nothing": ({}, "", "its first line is not the sum over all CPUs"),
    "none": ({}, None, "No such file or directory"),
}


@pytest.mark.parametrize("kind", PARTS)
def test_a_counter_of_the_whole_host_is_not_shared_out_among_the_few_who_are_shown(tmp_path: Path, kind: str) -> None:
    cpus, stat, said = PARTS[kind]
    two_packages(tmp_path / "sys")
    here = host(tmp_path, **cpus)
    if stat is not None:
        (here.proc_root / "stat").write_text(stat)
    elif kind == "none":
        (here.proc_root / "stat").unlink()
    opened = open_meters(["auto"], here)
    assert "rapl" not in {device.source for device in opened.devices}
    assert ("cpu" in {device.component for device in opened.devices}) == (kind == "lxcfs")
    assert "no RAPL: it counts the whole host, and " in opened.summary()
    assert said in opened.summary()
    assert "dram by estimate (10 W for its size" in opened.summary()
    asked = open_meters(["rapl"], here)  # who asks for it has it, and is told
    assert asked.summary().count("it counts the whole host, whose other users are not seen: ") == 2


def test_what_an_estimate_that_was_asked_for_lacks_is_said(tmp_path: Path) -> None:
    here = host(tmp_path)
    write_stat(here.proc_root, idle=0)
    summary = open_meters(["estimate"], here).summary()
    assert summary.startswith("meters: no CPU (")
    assert "it shows nothing but zeros" in summary
    assert "dram by estimate (10 W for its size)" in summary


def test_an_old_gpu_beside_a_new_one_is_named_where_only_counters_were_asked_for(tmp_path: Path) -> None:
    nvml = FakeNvml(FakeGpu("GPU-new"), FakeGpu("GPU-old", has_counter=False))
    opened = open_meters(["nvml_counter"], host(tmp_path, nvml))
    assert "GPU 1 (GPU-old) is not measured" in opened.summary()
    opened.close()


def test_both_adapters_of_a_mixed_host_share_one_library_and_find_a_reloaded_driver(tmp_path: Path) -> None:
    nvml = FakeNvml(FakeGpu("GPU-new"), FakeGpu("GPU-old", has_counter=False, power_milliwatts=1_000))
    opened = open_meters(["nvml"], host(tmp_path, nvml))
    assert nvml.initialised == 1
    nvml.reload_driver()
    for meter in opened.meters:
        meter.read()
    assert [reading.problem for meter in opened.meters for reading in meter.read()] == [None, None]
    opened.close()
    assert nvml.initialised == 0
