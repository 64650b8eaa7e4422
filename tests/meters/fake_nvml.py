"""A stand-in for nvidia-ml-py: its names, its exceptions, and a table of GPUs that a test changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pynvml


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

    def reset(self) -> None:
        """As after a reload of the driver."""
        self.energy_millijoules = 0


class FakeNvml:
    """What the meters call of the ``pynvml`` module."""

    def __init__(self, *gpus: FakeGpu, init_failure: int | None = None) -> None:
        self.gpus = gpus
        self.init_failure = init_failure
        self.initialised = 0

    def __getattr__(self, name: str) -> Any:
        """Constants and exceptions are the real ones."""
        if name.startswith(("NVML_", "NVMLError")):
            return getattr(pynvml, name)
        raise AttributeError(name)

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's own names
        if self.init_failure is not None:
            raise pynvml.NVMLError(self.init_failure)
        self.initialised += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        if not self.initialised:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNINITIALIZED)
        self.initialised -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:  # noqa: N802
        return self._answering(self.gpus[index])

    def nvmlDeviceGetUUID(self, gpu: FakeGpu) -> str:  # noqa: N802
        return self._answering(gpu).uuid

    def nvmlDeviceGetName(self, gpu: FakeGpu) -> str:  # noqa: N802
        self._answering(gpu)
        return "NVIDIA Stand-in"

    def nvmlDeviceGetPowerManagementLimitConstraints(self, gpu: FakeGpu) -> list[int]:  # noqa: N802
        return [100_000, self._answering(gpu).limit_milliwatts]

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: FakeGpu) -> int:  # noqa: N802
        if not self._answering(gpu).has_counter:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return gpu.energy_millijoules

    def nvmlDeviceGetPowerUsage(self, gpu: FakeGpu) -> int:  # noqa: N802
        if not self._answering(gpu).has_power:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return gpu.power_milliwatts

    def nvmlDeviceGetProcessUtilization(self, gpu: FakeGpu, since: int) -> list[SimpleNamespace]:  # noqa: N802
        self._answering(gpu)
        if isinstance(gpu.samples, int):
            raise pynvml.NVMLError(gpu.samples)
        found = [
            SimpleNamespace(pid=pid, timeStamp=stamp, smUtil=percent)
            for pid, stamp, percent in gpu.samples
            if stamp > since
        ]
        if not found:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return found

    def _answering(self, gpu: FakeGpu) -> FakeGpu:
        if not self.initialised:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNINITIALIZED)
        if gpu.failure is not None:
            raise pynvml.NVMLError(gpu.failure)
        return gpu
