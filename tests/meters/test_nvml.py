"""NVML through a stand-in for nvidia-ml-py."""

from __future__ import annotations

import inspect
import re
import threading

import pynvml
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.core.errors import MeterUnavailable
from energysweep.meters import nvml as nvml_adapters
from energysweep.meters import nvml_library
from energysweep.meters.nvml import NvmlCounter, NvmlPower, PowerIntegral
from energysweep.meters.nvml_library import NvmlLibrary
from tests.support.fake_clock import FakeClock
from tests.support.fake_nvml import FakeGpu, FakeInstance, FakeNvml


def counter_of(nvml: FakeNvml, clock: FakeClock) -> NvmlCounter:
    library = NvmlLibrary(nvml, clock)
    meter = NvmlCounter(library)
    library.close()  # the meter holds it
    return meter


def test_a_counter_in_millijoules_is_read_in_joules_by_uuid() -> None:
    meter = NvmlCounter(FakeNvml(FakeGpu("GPU-a", 1_500), FakeGpu("GPU-b", 2_000_000)))
    assert [(r.device.name, r.device.index, r.energy_joules) for r in meter.read()] == [
        ("GPU-a", 0, 1.5),
        ("GPU-b", 1, 2000.0),
    ]
    assert meter.devices[0].maximum_watts == 800.0


def test_a_lost_gpu_is_none_with_the_drivers_reason_and_the_others_go_on() -> None:
    lost = FakeGpu("GPU-a", 1_000)
    meter = NvmlCounter(FakeNvml(lost, FakeGpu("GPU-b", 2_000)))
    lost.failure = pynvml.NVML_ERROR_GPU_IS_LOST
    first, second = meter.read()
    assert first.energy_joules is None
    assert "lost" in (first.problem or "").lower()
    assert second.energy_joules == 2.0


def test_a_reset_counter_is_read_as_it_is() -> None:
    gpu = FakeGpu("GPU-a", 5_000)
    meter = NvmlCounter(FakeNvml(gpu))
    gpu.reset()
    assert meter.read()[0].energy_joules == 0.0


def test_gpus_without_a_counter_are_left_to_the_power_adapter() -> None:
    nvml = FakeNvml(FakeGpu("GPU-new"), FakeGpu("GPU-old", has_counter=False))
    counter = NvmlCounter(nvml)
    power = NvmlPower(nvml, FakeClock(), without=["GPU-new"], interval_seconds=None)
    assert [device.name for device in counter.devices] == ["GPU-new"]
    assert [device.name for device in power.devices] == ["GPU-old"]


def test_a_constant_power_integrates_to_power_times_time() -> None:
    clock = FakeClock(50.0)
    meter = NvmlPower(FakeNvml(FakeGpu("GPU-a", power_milliwatts=100_000)), clock, interval_seconds=None)
    assert meter.read()[0].energy_joules == 0.0
    clock.advance(10.0)
    assert meter.read()[0].energy_joules == 1000.0


def test_a_power_that_rises_integrates_by_trapezoids() -> None:
    clock, gpu = FakeClock(), FakeGpu("GPU-a", power_milliwatts=100_000)
    meter = NvmlPower(FakeNvml(gpu), clock, interval_seconds=None)
    clock.advance(4.0)
    gpu.power_milliwatts = 200_000
    assert meter.read()[0].energy_joules == 600.0  # 150 W for 4 s


def test_a_short_failure_is_bridged_and_a_long_one_is_a_reset() -> None:
    clock, gpu = FakeClock(), FakeGpu("GPU-a", power_milliwatts=100_000)
    meter = NvmlPower(FakeNvml(gpu), clock, interval_seconds=None)
    clock.advance(4.0)
    gpu.failure = pynvml.NVML_ERROR_UNKNOWN
    assert meter.read()[0].energy_joules is None
    clock.advance(4.0)
    gpu.failure = None
    assert meter.read()[0].energy_joules == 800.0
    clock.advance(60.0)
    assert meter.read()[0].energy_joules == 0.0


def test_the_sampling_thread_samples_between_two_reads_and_ends_with_close() -> None:
    sampled = threading.Semaphore(0)
    readings = 0

    def clock() -> float:
        nonlocal readings
        readings += 1
        sampled.release()
        return float(readings)

    meter = NvmlPower(FakeNvml(FakeGpu("GPU-a", power_milliwatts=1_000)), clock, interval_seconds=0.001)
    for _ in range(5):
        assert sampled.acquire(timeout=60)
    meter.close()
    assert meter._integrals[0].joules == readings - 1  # 1 W for a second of this clock per sample
    assert not any(thread.name == "nvml-power" for thread in threading.enumerate())


@given(st.lists(st.tuples(st.floats(0, 9), st.floats(0, 1000)), min_size=1, max_size=30))
def test_an_integral_never_goes_down_without_a_gap(samples: list[tuple[float, float]]) -> None:
    integral, now, before = PowerIntegral(), 0.0, 0.0
    for seconds, watts in samples:
        now += seconds
        integral.add(now, watts)
        assert before <= integral.joules
        before = integral.joules


def test_processes_are_given_by_pid_and_each_sample_once() -> None:
    gpu = FakeGpu("GPU-a", samples=[(10, 1_000, 60), (10, 2_000, 40), (11, 2_000, 30)])
    meter = NvmlCounter(FakeNvml(gpu))
    assert meter.process_utilisation() == {"GPU-a": {10: 50.0, 11: 30.0}}
    assert meter.process_utilisation() == {"GPU-a": {}}
    gpu.samples = [*gpu.samples, (11, 3_000, 80)]  # type: ignore[misc]
    assert meter.process_utilisation() == {"GPU-a": {11: 80.0}}


def test_a_sample_that_was_never_filled_in_is_left_out() -> None:
    meter = NvmlCounter(FakeNvml(FakeGpu("GPU-a", samples=[(10, 1_000, 60), (4_000_000_000, 1_000, 3_000_000_000)])))
    assert meter.process_utilisation() == {"GPU-a": {10: 60.0}}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (pynvml.NVML_ERROR_NOT_FOUND, {}),
        (pynvml.NVML_SUCCESS, {}),
        (pynvml.NVML_ERROR_NOT_SUPPORTED, None),
        (pynvml.NVML_ERROR_NO_PERMISSION, None),
    ],
)
def test_an_idle_gpu_has_no_processes_and_a_silent_driver_none(code: int, expected: dict[int, float] | None) -> None:
    meter = NvmlCounter(FakeNvml(FakeGpu("GPU-a", samples=code)))
    assert meter.process_utilisation() == {"GPU-a": expected}


@pytest.mark.parametrize(
    ("nvml", "reason"),
    [
        (FakeNvml(init_failure=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND), "NVML library not found"),
        (FakeNvml(init_failure=pynvml.NVML_ERROR_DRIVER_NOT_LOADED), "NVML does not start"),
        (FakeNvml(), "NVML lists no GPU"),
        (FakeNvml(FakeGpu("GPU-a", has_counter=False)), "no GPU here counts its energy"),
        (FakeNvml(FakeGpu("GPU-a", failure=pynvml.NVML_ERROR_GPU_IS_LOST)), "NVML lists no GPU"),
    ],
)
def test_a_host_without_counters_says_why_and_lets_go_of_the_library(nvml: FakeNvml, reason: str) -> None:
    with pytest.raises(MeterUnavailable, match=reason):
        NvmlCounter(nvml)
    assert nvml.initialised == 0


def test_two_meters_share_the_library_and_the_last_one_ends_it() -> None:
    nvml = FakeNvml(FakeGpu("GPU-a"))
    first, second = NvmlCounter(nvml), NvmlCounter(nvml)
    first.close()
    assert second.read()[0].energy_joules == 0.0
    second.close()
    assert nvml.initialised == 0


def test_what_is_called_of_nvidia_ml_py_exists_there_and_takes_those_arguments() -> None:
    called = {name for name in vars(FakeNvml) if name.startswith("nvml")}
    for module in (nvml_adapters, nvml_library):
        named = set(re.findall(r"\bnvml[A-Z]\w+", inspect.getsource(module)))
        assert {name for name in named if hasattr(pynvml, name)} <= called
        for constant in re.findall(r"\b(?:NVML_[A-Z_]+|NVMLError\w*)\b", inspect.getsource(module)):
            assert hasattr(pynvml, constant), constant
    for name in called:
        real = list(inspect.signature(getattr(pynvml, name)).parameters)
        stand_in = list(inspect.signature(getattr(FakeNvml, name)).parameters)[1:]
        assert len(real) >= len(stand_in), name
        required = [
            parameter
            for parameter in inspect.signature(getattr(pynvml, name)).parameters.values()
            if parameter.default is parameter.empty
        ]
        assert len(required) <= len(stand_in), name
    assert {"computeInstanceSliceCount"} <= {name for name, _ in pynvml.c_nvmlDeviceAttributes._fields_}
    assert {"pid", "timeStamp", "smUtil"} <= {name for name, _ in pynvml.c_nvmlProcessUtilizationSample_t._fields_}


def test_nvidia_s_own_library_is_refused_with_a_reason_where_there_is_no_driver() -> None:
    try:
        NvmlLibrary().close()
    except MeterUnavailable as error:
        assert str(error).startswith("NVML ")  # noqa: PT017 - a host with a GPU raises nothing, and that is right, too


def test_a_gpu_that_was_reset_is_looked_up_again_while_the_others_go_on() -> None:
    clock, gpus = FakeClock(), (FakeGpu("GPU-a", 9_000), FakeGpu("GPU-b", 1_000))
    nvml = FakeNvml(*gpus)
    meter = counter_of(nvml, clock)
    gpus[0].failure = pynvml.NVML_ERROR_GPU_IS_LOST
    assert meter.read()[0].energy_joules is None
    assert meter.problems() == ["GPU-a does not answer: GPU is lost"]
    gpus[0].come_back()
    assert meter.read()[0].energy_joules is None  # the old handle; a new one is looked for at most every 10 s
    clock.advance(10.0)
    meter.read()
    gpus[0].energy_millijoules = 500
    assert [reading.energy_joules for reading in meter.read()] == [0.5, 1.0]
    assert meter.problems() == []
    assert nvml.initialised == 1  # never let go of, for the sake of the other GPU


def test_a_driver_that_stays_away_is_asked_again_and_again_and_may_be_closed() -> None:
    clock, nvml = FakeClock(), FakeNvml(FakeGpu("GPU-a", 9_000))
    meter = counter_of(nvml, clock)
    nvml.reload_driver()
    nvml.init_failure = pynvml.NVML_ERROR_DRIVER_NOT_LOADED
    for _ in range(3):
        assert meter.read()[0].energy_joules is None
        clock.advance(10.0)
    nvml.init_failure = None
    meter.read()
    assert meter.read()[0].energy_joules == 0.0
    meter.close()
    assert nvml.initialised == 0


SICK = [
    pynvml.NVML_ERROR_UNKNOWN,
    pynvml.NVML_ERROR_GPU_IS_LOST,
    pynvml.NVML_ERROR_NO_PERMISSION,
    pynvml.NVML_ERROR_INVALID_ARGUMENT,
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    pynvml.NVML_ERROR_INSUFFICIENT_POWER,
    pynvml.NVML_ERROR_IRQ_ISSUE,
]


@pytest.mark.parametrize("code", SICK)
def test_whatever_is_wrong_with_one_gpu_is_said_of_it_and_the_others_are_measured(code: int) -> None:
    meter = NvmlCounter(FakeNvml(FakeGpu("GPU-sick", failure=code), FakeGpu("GPU-well", 5_000)))
    assert [(reading.device.name, reading.energy_joules) for reading in meter.read()] == [("GPU-well", 5.0)]
    assert meter.remarks("gpu") == [f"GPU 0 does not answer: {pynvml.NVMLError(code)}"]
    assert meter.remarks("cpu") == []
    assert meter.boards == 2


@pytest.mark.parametrize("code", SICK)
def test_a_host_whose_only_gpu_is_sick_says_what_it_has(code: int) -> None:
    with pytest.raises(MeterUnavailable, match=re.escape(f"GPU 0 does not answer: {pynvml.NVMLError(code)}")):
        NvmlCounter(FakeNvml(FakeGpu("GPU-sick", failure=code)))


@pytest.mark.parametrize(("uuid", "reason"), [("GPU-a", "its UUID is that of another one: GPU-a"), ("", "no UUID")])
def test_a_gpu_that_cannot_be_told_from_another_one_is_missing(uuid: str, reason: str) -> None:
    meter = NvmlCounter(FakeNvml(FakeGpu("GPU-a", 1_000), FakeGpu(uuid, 2_000)))
    assert [reading.energy_joules for reading in meter.read()] == [1.0]
    assert reason in meter.missing[0]


def test_a_counter_that_was_never_begun_is_left_to_the_power_adapter() -> None:
    nvml = FakeNvml(FakeGpu("GPU-still", 0, power_milliwatts=60_000), FakeGpu("GPU-new", 0))
    assert [device.name for device in NvmlCounter(nvml).devices] == ["GPU-new"]
    power = NvmlPower(nvml, FakeClock(), without=["GPU-new"], interval_seconds=None)
    assert [device.name for device in power.devices] == ["GPU-still"]


@pytest.mark.parametrize("said", [-5, "N/A", "[Not Supported]", None, 2**64 - 1])
def test_what_is_no_number_of_a_counter_is_a_failed_reading(said: object) -> None:
    gpus = FakeGpu("GPU-a", 1_000, power_milliwatts=1_000), FakeGpu("GPU-b", 2_000, power_milliwatts=1_000)
    counter = NvmlCounter(FakeNvml(*gpus))
    power = NvmlPower(FakeNvml(*gpus), FakeClock(), interval_seconds=None)
    gpus[0].energy_millijoules = gpus[0].power_milliwatts = said  # type: ignore[assignment]
    for meter in (counter, power):
        first, second = meter.read()
        assert (first.energy_joules, first.problem) == (None, f"the driver says {said!r}")
        assert second.problem is None
        assert meter.problems() == [f"GPU-a does not answer: the driver says {said!r}"]


@pytest.mark.parametrize("said", [-5, "N/A", None])
def test_a_gpu_that_says_no_number_from_the_beginning_has_no_counter(said: object) -> None:
    gpus = FakeGpu("GPU-a", said, said), FakeGpu("GPU-b", said, power_milliwatts=5_000)  # type: ignore[arg-type]
    with pytest.raises(MeterUnavailable, match="no GPU here counts its energy"):
        NvmlCounter(FakeNvml(*gpus))
    power = NvmlPower(FakeNvml(*gpus), FakeClock(), interval_seconds=None)
    assert [device.name for device in power.devices] == ["GPU-b"]


def test_a_power_beyond_what_the_board_can_draw_is_a_failed_sample() -> None:
    clock, gpu = FakeClock(), FakeGpu("GPU-a", power_milliwatts=100_000, limit_milliwatts=400_000)
    meter = NvmlPower(FakeNvml(gpu), clock, interval_seconds=None)
    clock.advance(1.0)
    gpu.power_milliwatts = 2**32 - 1
    assert meter.read()[0].problem == "the driver says 4294967295, which is impossible"
    clock.advance(1.0)
    gpu.power_milliwatts = 100_000
    assert meter.read()[0].energy_joules == 200.0


@pytest.mark.parametrize("limit", [0, 2**32 - 1, "N/A", -1])
def test_a_limit_that_is_none_leaves_what_any_board_can_draw(limit: object) -> None:
    gpu = FakeGpu("GPU-a", limit_milliwatts=limit)  # type: ignore[arg-type]
    assert NvmlCounter(FakeNvml(gpu)).devices[0].maximum_watts == 6000.0


def test_older_bindings_that_give_bytes_are_understood() -> None:
    gpu = FakeGpu(b"GPU-a", 1_000)  # type: ignore[arg-type]
    assert [device.name for device in NvmlCounter(FakeNvml(gpu)).devices] == ["GPU-a"]


def test_a_gpu_that_comes_later_is_named_and_not_measured() -> None:
    late = FakeGpu("GPU-late", failure=pynvml.NVML_ERROR_GPU_IS_LOST)
    meter = NvmlCounter(FakeNvml(FakeGpu("GPU-a"), late))
    assert meter.missing == ["GPU 1 does not answer: GPU is lost"]
    assert meter.problems() == []
    late.failure = None
    assert meter.problems() == ["GPU-late came after the agent began and is measured from its next start"]
    assert [device.name for device in meter.devices] == ["GPU-a"]


def test_a_board_in_mig_mode_is_one_device_with_instances_by_both_their_names() -> None:
    board = FakeGpu("GPU-a", 5_000, instances=[FakeInstance("MIG-x", 3, 2), FakeInstance("MIG-y", 4, 1)])
    meter = NvmlCounter(FakeNvml(board, FakeGpu("GPU-b")))
    assert [(device.name, device.is_partitioned) for device in meter.devices] == [("GPU-a", True), ("GPU-b", False)]
    assert meter.instances() == {
        "MIG-x": ("GPU-a", 3 / 7),
        "MIG-GPU-a/2/0": ("GPU-a", 3 / 7),
        "MIG-y": ("GPU-a", 4 / 7),
        "MIG-GPU-a/1/0": ("GPU-a", 4 / 7),
    }
    board.failure = pynvml.NVML_ERROR_GPU_IS_LOST
    assert meter.instances() == {}


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_UNKNOWN, pynvml.NVML_ERROR_NOT_SUPPORTED])
def test_a_sick_mig_instance_does_not_hide_the_others_of_its_board(code: int) -> None:
    sick, well = FakeInstance("MIG-x", 3, 2, failure=code), FakeInstance("MIG-y", 4, 1, [11])
    meter = NvmlCounter(FakeNvml(FakeGpu("GPU-a", instances=[sick, well])))
    assert set(meter.instances()) == {"MIG-y", "MIG-GPU-a/1/0"}
    # but who is on the board is unknown as long as one of them is
    assert meter.process_utilisation() == {"GPU-a": None}


def test_processes_in_mig_instances_count_with_the_part_of_their_instance() -> None:
    small, large = FakeInstance("MIG-x", 2, 2, [10, 11]), FakeInstance("MIG-y", 4, 1, [11])
    board = FakeGpu("GPU-a", slices=8, instances=[small, large])
    meter = NvmlCounter(FakeNvml(board))
    # 2 of 8 slices for two processes, 4 of 8 for one
    assert meter.process_utilisation() == {"GPU-a": {10: 12.5, 11: 62.5}}
    small.pids = large.pids = []
    assert meter.process_utilisation() == {"GPU-a": {}}
    large.pids = pynvml.NVML_ERROR_NO_PERMISSION
    assert meter.process_utilisation() == {"GPU-a": None}
