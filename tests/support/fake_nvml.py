"""A stand-in for nvidia-ml-py: its names, its exceptions, and a table of GPUs that a test changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pynvml


@dataclass
class FakeInstance:
    """A MIG instance: its compute slices, and the pids that work in it (or the error code of that query).

    ``failure`` is what every query of the instance raises (an NVML error code).
    """

    uuid: str
    slices: int
    gpu_instance: int
    pids: list[int] | int = field(default_factory=list)
    compute_instance: int = 0
    failure: int | None = None


@dataclass
class FakeGpu:
    """One row of the table. ``failure`` is what every query of the GPU raises (an NVML error code)."""

    uuid: str
    energy_millijoules: int = 0
    power_milliwatts: int = 0
    has_counter: bool = True
    has_power: bool = True
    limit_milliwatts: int = 400_000
    failure: int | None = None
    samples: list[tuple[int, int, int]] | int = field(default_factory=list)
    """(pid, time in µs, SM utilisation) of each process sample, or the error code that the query gives."""
    instances: list[FakeInstance] | None = None
    """The MIG instances by index; None if it is not in MIG mode."""
    slices: int = 7
    pids: list[int] | int = field(default_factory=list)
    """The pids with a compute context on the whole GPU, or the error code of that query."""
    generation: int = 0
    model: str = "NVIDIA H100 80GB HBM3"

    def reset(self) -> None:
        """The counter is at 0."""
        self.energy_millijoules = 0

    def come_back(self) -> None:
        """As after a reset of the board: it answers, its counter is at 0, and handles from before are void."""
        self.reset()
        self.generation += 1
        self.failure = None


@dataclass(frozen=True)
class Handle:
    """Of a GPU, or of an instance of it; void once the GPU was reset."""

    gpu: FakeGpu = field(hash=False)
    generation: int
    instance: FakeInstance | None = None


class FakeNvml:
    """What the meters call of the ``pynvml`` module."""

    def __init__(self, *gpus: FakeGpu, init_failure: int | None = None) -> None:
        self.gpus = gpus
        self.init_failure = init_failure
        self.initialised = 0
        self.is_loaded = True
        """False from the moment that the driver went away until the library is initialised again."""

    def __getattr__(self, name: str) -> Any:
        """Constants and exceptions are the real ones."""
        if name.startswith(("NVML_", "NVMLError")):
            return getattr(pynvml, name)
        raise AttributeError(name)

    def reload_driver(self) -> None:
        """Every counter is at 0, and the library does not work until it begins anew."""
        self.is_loaded = False
        for gpu in self.gpus:
            gpu.come_back()

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's own names
        if self.init_failure is not None:
            raise pynvml.NVMLError(self.init_failure)
        if self.initialised == 0:
            self.is_loaded = True
        self.initialised += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        if not self.initialised:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNINITIALIZED)
        self.initialised -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        self._check_loaded()
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Handle:  # noqa: N802
        self._check_loaded()
        gpu = self.gpus[index]
        if gpu.failure is not None:
            raise pynvml.NVMLError(gpu.failure)
        return Handle(gpu, gpu.generation)

    def nvmlDeviceGetUUID(self, handle: Handle) -> str:  # noqa: N802
        gpu = self._answering(handle)
        return gpu.uuid if handle.instance is None else self._instance(handle).uuid

    def nvmlDeviceGetName(self, handle: Handle) -> str:  # noqa: N802
        return self._answering(handle).model

    def nvmlDeviceGetPowerManagementLimitConstraints(self, device: Handle) -> list[int]:  # noqa: N802
        return [100_000, self._answering(device).limit_milliwatts]

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Handle) -> int:  # noqa: N802
        gpu = self._answering(handle)
        if not gpu.has_counter or handle.instance is not None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return gpu.energy_millijoules

    def nvmlDeviceGetPowerUsage(self, handle: Handle) -> int:  # noqa: N802
        gpu = self._answering(handle)
        if not gpu.has_power:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return gpu.power_milliwatts

    def nvmlDeviceGetProcessUtilization(self, handle: Handle, timeStamp: int) -> list[SimpleNamespace]:  # noqa: N802, N803
        gpu = self._answering(handle)
        if gpu.instances is not None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        if isinstance(gpu.samples, int):
            raise pynvml.NVMLError(gpu.samples)
        found = [
            SimpleNamespace(pid=pid, timeStamp=stamp, smUtil=percent)
            for pid, stamp, percent in gpu.samples
            if stamp > timeStamp
        ]
        if not found:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return found

    def nvmlDeviceGetMigMode(self, device: Handle) -> list[int]:  # noqa: N802
        mode = int(self._answering(device).instances is not None)
        return [mode, mode]

    def nvmlDeviceGetMaxMigDeviceCount(self, device: Handle) -> int:  # noqa: N802
        gpu = self._answering(device)
        return 0 if gpu.instances is None else gpu.slices

    def nvmlDeviceGetMigDeviceHandleByIndex(self, device: Handle, index: int) -> Handle:  # noqa: N802
        gpu = self._answering(device)
        if gpu.instances is None or index >= len(gpu.instances):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return Handle(gpu, gpu.generation, gpu.instances[index])

    def nvmlDeviceGetGpuInstanceId(self, device: Handle) -> int:  # noqa: N802
        return self._instance(device).gpu_instance

    def nvmlDeviceGetComputeInstanceId(self, device: Handle) -> int:  # noqa: N802
        return self._instance(device).compute_instance

    def nvmlDeviceGetAttributes(self, device: Handle) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(computeInstanceSliceCount=self._instance(device).slices)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: Handle) -> list[SimpleNamespace]:  # noqa: N802
        pids = self._answering(handle).pids if handle.instance is None else self._instance(handle).pids
        if isinstance(pids, int):
            raise pynvml.NVMLError(pids)
        return [SimpleNamespace(pid=pid) for pid in pids]

    def _instance(self, handle: Handle) -> FakeInstance:
        gpu = self._answering(handle)
        if handle.instance is None or handle.instance not in (gpu.instances or ()):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        if handle.instance.failure is not None:
            raise pynvml.NVMLError(handle.instance.failure)
        return handle.instance

    def _answering(self, handle: Handle) -> FakeGpu:
        self._check_loaded()
        if handle.gpu.failure is not None:
            raise pynvml.NVMLError(handle.gpu.failure)
        if handle.generation != handle.gpu.generation:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return handle.gpu

    def _check_loaded(self) -> None:
        if not self.initialised:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNINITIALIZED)
        if not self.is_loaded:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
