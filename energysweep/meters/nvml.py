"""NVIDIA GPUs through NVML, each by its UUID: the driver's energy counter, or its power reading integrated here.

A GPU in MIG mode is one device here: its counters belong to the whole board, and its instances are parts of it.

Source: https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceQueries.html
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

from energysweep.core.errors import MeterUnavailable
from energysweep.meters.base import Component, Device, GpuMeter, GpuPart, Reading
from energysweep.meters.nvml_library import Gpu, NvmlLibrary, whole_number

COUNTER_KIND = "nvml_counter"
POWER_KIND = "nvml_power"

# The counter moves every 20 to 100 ms, and a GPU that answers draws watts, also when it is idle.
MOVES_WITHIN_SECONDS = 10.0

SAMPLE_INTERVAL_SECONDS = 0.1
# What a GPU drew while it could not be asked for longer than this is unknown, not a trapezoid.
LONGEST_GAP_SECONDS = 10.0

_MILLIJOULES_PER_JOULE = 1000
_MILLIWATTS_PER_WATT = 1000


class _NvmlMeter(GpuMeter):
    """What both adapters share: their devices and the processes on them.

    ``nvml`` is nvidia-ml-py's module, a stand-in, None (imports it), or the library that another meter has open.
    """

    moves_within_seconds: float | None = None

    def __init__(self, nvml: Any, wanted: Callable[[NvmlLibrary, Gpu], bool], nothing: str) -> None:
        self._library = nvml.share() if isinstance(nvml, NvmlLibrary) else NvmlLibrary(nvml)
        self._api = self._library.api
        self._gpus = [gpu for gpu in self._library.gpus if wanted(self._library, gpu)]
        if not self._gpus:
            self._library.close()
            raise MeterUnavailable(nothing)
        self.devices = tuple(
            Device(
                gpu.uuid,
                "gpu",
                self.kind,
                moves_within_seconds=self.moves_within_seconds,
                maximum_watts=self._library.maximum_watts(gpu),
                index=gpu.index,
                is_partitioned=gpu.is_partitioned,
            )
            for gpu in self._gpus
        )
        self._silent: dict[str, str] = {}
        self._last_seen_microseconds = dict.fromkeys((gpu.uuid for gpu in self._gpus), 0)

    @property
    def missing(self) -> list[str]:
        """GPUs that did not answer at the opening, one clause each."""
        return [f"GPU {index} does not answer: {reason}" for index, reason in self._library.missing.items()]

    def remarks(self, component: Component) -> list[str]:
        """GPUs that did not answer at the opening, as ``Meter`` has it."""
        return self.missing if component == "gpu" else []

    @property
    def listed(self) -> dict[str, str]:
        """All GPUs that answered at the opening, whoever measures them: a text for people by UUID."""
        return {gpu.uuid: f"GPU {gpu.index} ({gpu.uuid})" for gpu in self._library.gpus}

    @property
    def boards(self) -> int:
        """How many GPUs the driver counted at the opening."""
        return len(self._library.gpus) + len(self._library.missing)

    def process_utilisation(self) -> dict[str, dict[int, float] | None]:
        """SM utilisation in percent by device and pid since the last call, as ``GpuMeter`` has it.

        The pids are those of the driver's, that is the host's, pid namespace. A driver does not tell the utilisation
        of a GPU in MIG mode, only which processes are in which instance.
        """
        return {
            gpu.uuid: self._in_instances(gpu) if gpu.is_partitioned else self._utilisation(gpu) for gpu in self._gpus
        }

    def processes(self, devices: Collection[str]) -> dict[str, frozenset[int] | None]:
        """The pids with a compute context on these devices, as ``GpuMeter`` has it."""
        wanted = [gpu for gpu in self._gpus if gpu.uuid in devices and not gpu.is_partitioned]
        return {gpu.uuid: self._computing(gpu.handle) for gpu in wanted}

    def instances(self) -> dict[str, GpuPart]:
        """The MIG instances of all GPUs, as ``GpuMeter`` has it."""
        found = {}
        for gpu in self._gpus:
            with suppress(self._api.NVMLError):  # a GPU that does not answer has no instance to hold
                for instance in self._library.instances(gpu, only_well=True):
                    found.update(dict.fromkeys(instance.names, GpuPart(gpu.uuid, instance.part)))
        return found

    def problems(self) -> list[str]:
        """GPUs that do not answer, or that came too late to be counted, as ``GpuMeter`` has it."""
        lost = [f"{uuid} does not answer: {reason}" for uuid, reason in self._silent.items()]
        late = self._library.found_since()
        return lost + [f"{uuid} came after the agent began and is measured from its next start" for uuid in late]

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

    def _in_instances(self, gpu: Gpu) -> dict[int, float] | None:
        percent_by_pid: dict[int, float] = {}
        try:
            for instance in self._library.instances(gpu):
                pids = self._computing(instance.handle)
                if pids is None:
                    return None
                for pid in pids:
                    percent_by_pid[pid] = percent_by_pid.get(pid, 0.0) + 100.0 * instance.part / len(pids)
        except self._api.NVMLError:
            return None
        return percent_by_pid

    def _computing(self, handle: Any) -> frozenset[int] | None:
        """The pids of compute processes on a GPU or in an instance; None if the driver does not say."""
        try:
            return frozenset(int(entry.pid) for entry in self._api.nvmlDeviceGetComputeRunningProcesses(handle))
        except self._api.NVMLError:
            return None

    def _ask(self, query: Callable[[Any], Any], gpu: Gpu, at_most: float = math.inf) -> int | str:
        """The driver's answer, or its reason for none. If it has one, the GPU is looked for anew."""
        try:
            answer = whole_number(query(gpu.handle))
        except self._api.NVMLError as error:
            self._silent[gpu.uuid] = str(error)
            self._library.recover()
            return str(error)
        except ValueError as error:
            self._silent[gpu.uuid] = str(error)
            return str(error)
        if answer > at_most:
            self._silent[gpu.uuid] = f"the driver says {answer}, which is impossible"
            return self._silent[gpu.uuid]
        self._silent.pop(gpu.uuid, None)
        return answer


class NvmlCounter(_NvmlMeter):
    """The driver's own energy counters (Volta and later). They count from the driver's start, in mJ.

    Args:
        nvml: nvidia-ml-py's module or a stand-in, or an open library.

    Raises:
        MeterUnavailable: no NVML, no GPU, or none that counts its energy.
    """

    kind = COUNTER_KIND
    moves_within_seconds = MOVES_WITHIN_SECONDS

    def __init__(self, nvml: Any = None) -> None:
        super().__init__(nvml, NvmlLibrary.counts_energy, "no GPU here counts its energy (NVIDIA does since Volta)")

    def read(self) -> list[Reading]:
        """Reads every counter; a GPU that does not answer gives None with the driver's reason."""
        return [self._read(gpu, device) for gpu, device in zip(self._gpus, self.devices, strict=True)]

    def _read(self, gpu: Gpu, device: Device) -> Reading:
        said = self._ask(self._api.nvmlDeviceGetTotalEnergyConsumption, gpu)
        return Reading(device, None, said) if isinstance(said, str) else Reading(device, said / _MILLIJOULES_PER_JOULE)


class NvmlPower(_NvmlMeter):
    """The driver's power readings, integrated by trapezoids from samples of its own at 10 Hz.

    The driver's reading is itself an average, over up to a second on many GPUs. The integral begins at 0 with this
    object, so that an agent that restarts sees a reset.

    Args:
        nvml: nvidia-ml-py's module or a stand-in, or an open library.
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
            return gpu.uuid not in without and library.says_power(gpu)

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
        at_most = (device.maximum_watts or math.inf) * _MILLIWATTS_PER_WATT
        said = self._ask(self._api.nvmlDeviceGetPowerUsage, gpu, at_most)
        if isinstance(said, str):
            return Reading(device, None, said)
        integral.add(self._clock(), said / _MILLIWATTS_PER_WATT)
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
