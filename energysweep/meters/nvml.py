"""NVIDIA GPUs through NVML, each by its UUID: the driver's energy counter, or its power reading integrated here.

The only module that imports ``pynvml`` (nvidia-ml-py), and only when it is used.
A GPU in MIG mode is one device here: its counters belong to the whole board.

Source: https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceQueries.html
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from energysweep.errors import MeterUnavailable
from energysweep.meters.base import Device, Reading

COUNTER_KIND = "nvml_counter"
POWER_KIND = "nvml_power"

# Boards exceed their limit for milliseconds; what a counter shows over a second stays well below twice the limit.
LIMIT_FACTOR = 2.0

SAMPLE_INTERVAL_SECONDS = 0.1
# What a GPU drew while it could not be asked for longer than this is unknown, not a trapezoid.
LONGEST_GAP_SECONDS = 10.0

_MILLIJOULES_PER_JOULE = 1000
_MILLIWATTS_PER_WATT = 1000


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as NVML lists it. ``index`` is NVML's and nvidia-smi's number."""

    handle: Any
    uuid: str
    index: int
    name: str


class NvmlLibrary:
    """NVML, initialised; it counts initialisations, so every meter has its own.

    Args:
        nvml: nvidia-ml-py's module or a stand-in; None imports it.

    Raises:
        MeterUnavailable: no library, no driver, or no GPU.
    """

    def __init__(self, nvml: Any = None) -> None:
        self.api = _pynvml() if nvml is None else nvml
        try:
            self.api.nvmlInit()
        except self.api.NVMLError_LibraryNotFound:
            raise MeterUnavailable("NVML library not found", "install NVIDIA's driver") from None
        except self.api.NVMLError as error:
            raise MeterUnavailable(f"NVML does not start: {error}", "see whether nvidia-smi works") from error
        try:
            self.gpus = self._list()
        except self.api.NVMLError as error:
            self.close()
            raise MeterUnavailable(f"NVML does not list its GPUs: {error}", "see whether nvidia-smi works") from error
        if not self.gpus:
            self.close()
            raise MeterUnavailable("NVML lists no GPU")

    def close(self) -> None:
        """Ends this use of the library."""
        with suppress(self.api.NVMLError):  # if the driver went away, there is nothing left to let go of
            self.api.nvmlShutdown()

    def maximum_watts(self, gpu: Gpu) -> float | None:
        """What the GPU can draw, with room for short peaks; None if the driver knows no limit."""
        try:
            _lowest, highest_milliwatts = self.api.nvmlDeviceGetPowerManagementLimitConstraints(gpu.handle)
        except self.api.NVMLError:
            return None
        return LIMIT_FACTOR * float(highest_milliwatts) / _MILLIWATTS_PER_WATT if highest_milliwatts else None

    def _list(self) -> list[Gpu]:
        gpus = []
        for index in range(self.api.nvmlDeviceGetCount()):
            try:
                handle = self.api.nvmlDeviceGetHandleByIndex(index)
                uuid, name = self.api.nvmlDeviceGetUUID(handle), self.api.nvmlDeviceGetName(handle)
            except (self.api.NVMLError_GpuIsLost, self.api.NVMLError_NoPermission):
                continue  # one that is lost, or not ours in this container, must not hide the others
            gpus.append(Gpu(handle, uuid, index, name))
        return gpus


class _NvmlMeter:
    """What both adapters share: their devices and the processes on them."""

    kind: str

    def __init__(self, nvml: Any, wanted: Callable[[NvmlLibrary, Gpu], bool], nothing: str) -> None:
        self._library = NvmlLibrary(nvml)
        self._api = self._library.api
        self._gpus = [gpu for gpu in self._library.gpus if wanted(self._library, gpu)]
        if not self._gpus:
            self._library.close()
            raise MeterUnavailable(nothing)
        self.devices = tuple(
            Device(gpu.uuid, "gpu", self.kind, maximum_watts=self._library.maximum_watts(gpu), index=gpu.index)
            for gpu in self._gpus
        )
        self._last_seen_microseconds = dict.fromkeys((gpu.uuid for gpu in self._gpus), 0)

    def process_utilisation(self) -> dict[str, dict[int, float] | None]:
        """SM utilisation in percent by device and pid since the last call, as ``GpuProcesses`` has it.

        The pids are those of the driver's, that is the host's, pid namespace.
        """
        return {gpu.uuid: self._utilisation(gpu) for gpu in self._gpus}

    def close(self) -> None:
        """Ends this use of the library."""
        self._library.close()

    def _utilisation(self, gpu: Gpu) -> dict[int, float] | None:
        since = self._last_seen_microseconds[gpu.uuid]
        try:
            samples = self._api.nvmlDeviceGetProcessUtilization(gpu.handle, since)
        except self._api.NVMLError_NotFound:
            return {}
        except self._api.NVMLError as error:
            # nvidia-ml-py raises "success" when the driver has no sample at all.
            return {} if error.value == self._api.NVML_SUCCESS else None
        # Drivers repeat old samples and now and then give one that was never filled in.
        fresh = [sample for sample in samples if sample.timeStamp > since and sample.smUtil <= 100]
        by_pid: dict[int, list[int]] = {}
        for sample in fresh:
            by_pid.setdefault(int(sample.pid), []).append(int(sample.smUtil))
        self._last_seen_microseconds[gpu.uuid] = max((int(sample.timeStamp) for sample in fresh), default=since)
        return {pid: sum(values) / len(values) for pid, values in by_pid.items()}


class NvmlCounter(_NvmlMeter):
    """The driver's own energy counters (Volta and later). They count from the driver's start, in mJ.

    Args:
        nvml: nvidia-ml-py's module or a stand-in.

    Raises:
        MeterUnavailable: no NVML, no GPU, or none that counts its energy.
    """

    kind = COUNTER_KIND

    def __init__(self, nvml: Any = None) -> None:
        super().__init__(nvml, _counts_energy, "no GPU here counts its energy (NVIDIA does since Volta)")

    def read(self) -> list[Reading]:
        """Reads every counter; a GPU that does not answer gives None with the driver's reason."""
        return [self._read(gpu, device) for gpu, device in zip(self._gpus, self.devices, strict=True)]

    def _read(self, gpu: Gpu, device: Device) -> Reading:
        try:
            millijoules = int(self._api.nvmlDeviceGetTotalEnergyConsumption(gpu.handle))
        except self._api.NVMLError as error:
            return Reading(device, None, str(error))
        return Reading(device, millijoules / _MILLIJOULES_PER_JOULE)


class NvmlPower(_NvmlMeter):
    """The driver's power readings, integrated by trapezoids from samples of its own at 10 Hz.

    The driver's reading is itself an average, over up to a second on many GPUs. The integral begins at 0 with this
    object, so that an agent that restarts sees a reset.

    Args:
        nvml: nvidia-ml-py's module or a stand-in.
        clock: monotonic seconds.
        without: UUIDs that another meter has already.
        interval_seconds: time between samples; None takes one at each ``read`` only.

    Raises:
        MeterUnavailable: no NVML, no GPU, or none that says its power.
    """

    kind = POWER_KIND

    def __init__(
        self,
        nvml: Any = None,
        clock: Callable[[], float] = time.monotonic,
        without: Collection[str] = (),
        interval_seconds: float | None = SAMPLE_INTERVAL_SECONDS,
    ) -> None:
        def wanted(library: NvmlLibrary, gpu: Gpu) -> bool:
            return gpu.uuid not in without and _says_power(library, gpu)

        super().__init__(nvml, wanted, "no GPU here says its power")
        self._clock = clock
        self._integrals = [PowerIntegral() for _ in self._gpus]
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._sample()
        if interval_seconds is not None:
            self._thread = threading.Thread(
                target=self._keep_sampling, args=(interval_seconds,), name="nvml-power", daemon=True
            )
            self._thread.start()

    def read(self) -> list[Reading]:
        """Samples once more, so that the integrals reach until now."""
        return self._sample()

    def close(self) -> None:
        """Stops sampling and ends this use of the library."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        super().close()

    def _keep_sampling(self, interval_seconds: float) -> None:
        while not self._stopped.wait(interval_seconds):
            self._sample()

    def _sample(self) -> list[Reading]:
        with self._lock:
            together = zip(self._gpus, self.devices, self._integrals, strict=True)
            return [self._sample_one(gpu, device, integral) for gpu, device, integral in together]

    def _sample_one(self, gpu: Gpu, device: Device, integral: PowerIntegral) -> Reading:
        try:
            milliwatts = int(self._api.nvmlDeviceGetPowerUsage(gpu.handle))
        except self._api.NVMLError as error:
            return Reading(device, None, str(error))
        integral.add(self._clock(), milliwatts / _MILLIWATTS_PER_WATT)
        return Reading(device, integral.joules)


class PowerIntegral:
    """Energy from samples of power, by trapezoids.

    After a gap that is too long to bridge it begins again at 0: a reader sees a counter that was reset, and knows that
    it does not know.
    """

    def __init__(self, longest_gap_seconds: float = LONGEST_GAP_SECONDS) -> None:
        self.joules = 0.0
        self._longest_gap_seconds = longest_gap_seconds
        self._last: tuple[float, float] | None = None

    def add(self, at_seconds: float, watts: float) -> None:
        """Adds a sample; its time is never before the last one's."""
        if self._last is not None:
            last_seconds, last_watts = self._last
            if at_seconds - last_seconds > self._longest_gap_seconds:
                self.joules = 0.0
            else:
                self.joules += (at_seconds - last_seconds) * (last_watts + watts) / 2
        self._last = (at_seconds, watts)


def _pynvml() -> Any:
    import pynvml  # noqa: PLC0415 - hosts without a GPU need not load it

    return pynvml


def _counts_energy(library: NvmlLibrary, gpu: Gpu) -> bool:
    return _supports(library, library.api.nvmlDeviceGetTotalEnergyConsumption, gpu)


def _says_power(library: NvmlLibrary, gpu: Gpu) -> bool:
    return _supports(library, library.api.nvmlDeviceGetPowerUsage, gpu)


def _supports(library: NvmlLibrary, function: Callable[[Any], int], gpu: Gpu) -> bool:
    try:
        function(gpu.handle)
    except (
        library.api.NVMLError_NotSupported,
        library.api.NVMLError_FunctionNotFound,
        library.api.NVMLError_NoPermission,
    ):
        return False
    except library.api.NVMLError:
        return True  # it failed this time; the readings will say so
    return True
