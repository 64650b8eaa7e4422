"""The NVML library and the GPUs that it lists: opened once, found again after a loss, with their MIG instances.

The only module that imports ``pynvml`` (nvidia-ml-py), and only when it is used.

Source: https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceQueries.html and group__nvmlMultiInstanceGPU.html
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from energysweep.core.errors import MeterUnavailable

# Boards exceed their limit for milliseconds; what a counter shows over a second stays well below twice the limit.
LIMIT_FACTOR = 2.0

# Above this it is no limit of a board, but all bits for "none". No board sold today has more than half of it.
HIGHEST_LIMIT_WATTS = 3000.0

RETRY_SECONDS = 10.0

_MILLIWATTS_PER_WATT = 1000
_ALL_BITS = 2**63


@dataclass(slots=True, eq=False)
class Gpu:
    """A GPU as NVML lists it.

    Attributes:
        handle: NVML's; another one after the GPU was lost and found again.
        uuid: unique in the world.
        index: NVML's and nvidia-smi's number.
        is_partitioned: whether it is in MIG mode.
    """

    handle: Any
    uuid: str
    index: int
    is_partitioned: bool


@dataclass(frozen=True, slots=True)
class Instance:
    """A MIG instance of a GPU.

    Attributes:
        names: its own UUID, and ``MIG-<UUID of the GPU>/<GPU instance>/<compute instance>`` as older drivers have it.
        part: its compute slices as a part of the board's.
    """

    handle: Any
    names: tuple[str, ...]
    part: float


@dataclass(slots=True, eq=False)
class NvmlLibrary:
    """NVML, initialised. Meters of one process share it by ``share``; the last ``close`` ends it.

    Args:
        api: nvidia-ml-py's module or a stand-in; None imports it.
        clock: monotonic seconds.

    Attributes:
        gpus: all that answered at the opening.
        missing: why a GPU that NVML counts is none of them, by index.

    Raises:
        MeterUnavailable: no library, no driver, or no GPU.
    """

    api: Any = None
    clock: Callable[[], float] = time.monotonic
    gpus: list[Gpu] = field(init=False, default_factory=list)
    missing: dict[int, str] = field(init=False, default_factory=dict)
    _users: int = field(init=False, default=1)
    _tried: float | None = field(init=False, default=None)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.api = _pynvml() if self.api is None else self.api
        try:
            self.api.nvmlInit()
        except self.api.NVMLError_LibraryNotFound:
            raise MeterUnavailable("NVML library not found", "install NVIDIA's driver") from None
        except self.api.NVMLError as error:
            raise MeterUnavailable(f"NVML does not start: {error}", "see whether nvidia-smi works") from error
        try:
            self.gpus = list(self._list(self.missing))
        except self.api.NVMLError as error:
            self.close()
            raise MeterUnavailable(f"NVML does not list its GPUs: {error}", "see whether nvidia-smi works") from error
        if not self.gpus:
            self.close()
            silent = "; ".join(f"GPU {index} does not answer: {reason}" for index, reason in self.missing.items())
            raise MeterUnavailable(f"NVML lists no GPU that answers ({silent})" if silent else "NVML lists no GPU")

    def share(self) -> NvmlLibrary:
        """The library for one more user, who closes it, too."""
        self._users += 1
        return self

    def close(self) -> None:
        """Ends this use of the library."""
        self._users -= 1
        if self._users == 0:
            with suppress(self.api.NVMLError):  # if the driver went away, there is nothing left to let go of
                self.api.nvmlShutdown()

    def recover(self) -> None:
        """Looks for GPUs that no longer answer, at most every 10 s.

        A GPU that was reset has a new handle. Only if no GPU at all answers (a driver that was reloaded), the library
        begins anew: that would take a driver without persistence away from the GPUs that nobody uses, and reset them.
        """
        with self._lock:
            now = self.clock()
            if self._tried is not None and now - self._tried < RETRY_SECONDS:
                return
            self._tried = now
            found = self._find()
            if not found:
                with suppress(self.api.NVMLError):
                    self.api.nvmlShutdown()
                with suppress(self.api.NVMLError):
                    self.api.nvmlInit()
                found = self._find()
            for gpu in self.gpus:
                gpu.handle = found.get(gpu.uuid, gpu.handle)

    def maximum_watts(self, gpu: Gpu) -> float:
        """What the GPU can draw, with room for short peaks; as any board, if the driver knows no limit of this one."""
        try:
            _lowest, highest = self.api.nvmlDeviceGetPowerManagementLimitConstraints(gpu.handle)
            limit_watts = float(highest) / _MILLIWATTS_PER_WATT
        except (self.api.NVMLError, TypeError, ValueError):
            limit_watts = 0.0
        return LIMIT_FACTOR * (limit_watts if 1.0 <= limit_watts <= HIGHEST_LIMIT_WATTS else HIGHEST_LIMIT_WATTS)

    def counts_energy(self, gpu: Gpu) -> bool:
        """Whether the GPU has an energy counter that counts, also if it only fails for now."""
        said = self._said(self.api.nvmlDeviceGetTotalEnergyConsumption, gpu)
        if said in ("zero", "error"):
            # A counter at 0 of a board that draws power was never begun; and a power is better than an error.
            return self._said(self.api.nvmlDeviceGetPowerUsage, gpu) != "number"
        return said == "number"

    def says_power(self, gpu: Gpu) -> bool:
        """Whether the driver knows the GPU's power, also if it only fails for now."""
        return self._said(self.api.nvmlDeviceGetPowerUsage, gpu) != "nothing"

    def _said(self, query: Callable[[Any], Any], gpu: Gpu) -> Literal["number", "zero", "error", "nothing"]:
        try:
            return "zero" if whole_number(query(gpu.handle)) == 0 else "number"
        except (self.api.NVMLError_NotSupported, self.api.NVMLError_FunctionNotFound, self.api.NVMLError_NoPermission):
            return "nothing"
        except self.api.NVMLError:
            return "error"
        except ValueError:
            return "nothing"

    def instances(self, gpu: Gpu, *, only_well: bool = False) -> list[Instance]:
        """The MIG instances that the GPU has now; they come and go while it works.

        Args:
            gpu: the board.
            only_well: leave out an instance that answers with an error; or else all of them are unknown.

        Raises:
            NVMLError: the GPU, an instance of it, or the driver does not answer.
        """
        if not gpu.is_partitioned:
            return []
        # The greatest number of instances is that of the board's compute slices: 7 of an A100 or H100, 4 of an A30.
        slices = self.api.nvmlDeviceGetMaxMigDeviceCount(gpu.handle)
        left_out = (self.api.NVMLError,) if only_well else ()
        found = []
        for index in range(slices):
            # There is no instance at such an index, or it has just gone.
            with suppress(self.api.NVMLError_NotFound, self.api.NVMLError_InvalidArgument, *left_out):
                handle = self.api.nvmlDeviceGetMigDeviceHandleByIndex(gpu.handle, index)
                found.append(self._instance(gpu, handle, slices))
        return found

    def are_of_one_kind(self) -> bool:
        """Whether all GPUs are of one model."""
        try:
            return len({text(self.api.nvmlDeviceGetName(gpu.handle)) for gpu in self.gpus}) == 1
        except self.api.NVMLError:
            return False

    def _instance(self, gpu: Gpu, handle: Any, slices: int) -> Instance:
        uuid = text(self.api.nvmlDeviceGetUUID(handle))
        place = f"{self.api.nvmlDeviceGetGpuInstanceId(handle)}/{self.api.nvmlDeviceGetComputeInstanceId(handle)}"
        part = self.api.nvmlDeviceGetAttributes(handle).computeInstanceSliceCount / slices
        return Instance(handle, tuple(dict.fromkeys((uuid, f"MIG-{gpu.uuid}/{place}"))), part)

    def found_since(self) -> list[str]:
        """UUIDs of GPUs that did not answer at the opening and do now."""
        found = []
        for index in self.missing:
            with suppress(self.api.NVMLError):
                found.append(text(self.api.nvmlDeviceGetUUID(self.api.nvmlDeviceGetHandleByIndex(index))))
        return [uuid for uuid in found if uuid and uuid not in {gpu.uuid for gpu in self.gpus}]

    def _find(self) -> dict[str, Any]:
        try:
            return {gpu.uuid: gpu.handle for gpu in self._list({})}
        except self.api.NVMLError:
            return {}

    def _list(self, missing: dict[int, str]) -> Iterator[Gpu]:
        uuids: set[str] = set()
        for index in range(self.api.nvmlDeviceGetCount()):
            try:
                handle = self.api.nvmlDeviceGetHandleByIndex(index)
                uuid = text(self.api.nvmlDeviceGetUUID(handle))
            except self.api.NVMLError as error:
                # Lost, fallen off the bus, not ours in this container, ...: that must not hide the others.
                missing[index] = str(error)
                continue
            if not uuid or uuid in uuids:
                missing[index] = f"its UUID is that of another one: {uuid}" if uuid else "it has no UUID"
                continue
            uuids.add(uuid)
            yield Gpu(handle, uuid, index, self._is_partitioned(handle))

    def _is_partitioned(self, handle: Any) -> bool:
        try:
            current, _pending = self.api.nvmlDeviceGetMigMode(handle)
        except self.api.NVMLError:
            return False  # most GPUs know no MIG
        return bool(current == self.api.NVML_DEVICE_MIG_ENABLE)


def whole_number(said: Any) -> int:
    """What the driver said, if it is a number that a counter can have.

    Raises:
        ValueError: it is none (drivers write -1, or all bits, for what they do not know).
    """
    try:
        number = int(said)
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number < _ALL_BITS:
        raise ValueError(f"the driver says {said!r}")
    return number


def text(said: str | bytes) -> str:
    """What the driver said; older bindings leave it as bytes."""
    return said.decode(errors="replace") if isinstance(said, bytes) else said


def _pynvml() -> Any:
    import pynvml  # noqa: PLC0415 - hosts without a GPU need not load it

    return pynvml
