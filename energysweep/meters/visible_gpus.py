"""What the GPUs that a process was given are called in the world: by UUID, the name that every container shares.

A number is only CUDA's own: inside a container GPUs count from 0, and CUDA counts the fastest first, where NVML goes by
PCI address. Which board a number means is known

* from NVML, as this process sees it, if CUDA counts as NVML does: for one board, boards of one kind, or
  ``CUDA_DEVICE_ORDER=PCI_BUS_ID``, of which all answer and none is in MIG mode;
* from CUDA itself, asked in a process of its own, so that this one keeps its right to fork;
* from ``NVIDIA_VISIBLE_DEVICES``, if it names exactly the boards that are meant.

Nothing is guessed: what is not known keeps its number, with a reason.

Source: https://docs.nvidia.com/cuda/cuda-c-programming-guide/#cuda-environment-variables; for the forms of
CUDA_VISIBLE_DEVICES and what makes it invalid: torch/cuda/__init__.py, _parse_visible_devices
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from energysweep.core.errors import MeterUnavailable
from energysweep.meters.nvml_library import NvmlLibrary

CUDA_SECONDS = 30.0  # for CUDA to begin, with many boards and a driver without persistence

_UUID = re.compile(r"(?:GPU|MIG)-\S+")  # or the beginning of one
_WHOLE_UUID = re.compile(r"(?:GPU|MIG)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|MIG-GPU-[0-9a-f-]{36}/\d+/\d+")
_REMEDY = (
    "name GPUs by UUID in CUDA_VISIBLE_DEVICES, set CUDA_DEVICE_ORDER=PCI_BUS_ID, or give the container"
    " NVIDIA_DRIVER_CAPABILITIES=compute,utility"
)

_ASK_CUDA = """
import ctypes, json, uuid
cuda = ctypes.CDLL("libcuda.so.1")
get_uuid = getattr(cuda, "cuDeviceGetUuid_v2", cuda.cuDeviceGetUuid)
count, device, raw = ctypes.c_int(), ctypes.c_int(), (ctypes.c_ubyte * 16)()
if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
    raise SystemExit(1)
found = []
for index in range(count.value):
    if cuda.cuDeviceGet(ctypes.byref(device), index) or get_uuid(raw, device):
        raise SystemExit(1)
    found.append(str(uuid.UUID(bytes=bytes(raw))))
print(json.dumps(found))
"""


class GpuNames(NamedTuple):
    """The names of GPUs, in the order that was asked for.

    Attributes:
        names: UUIDs, or names of MIG instances; what could not be named keeps its number.
        problem: why not, and what helps, in one line; None if all have names.
    """

    names: tuple[str, ...]
    problem: str | None = None


def ask_cuda(environment: Mapping[str, str]) -> list[str]:
    """The UUIDs of all boards (or instances) that CUDA sees, in its order, bare; empty if it does not say."""
    variables = {name: value for name, value in environment.items() if name != "CUDA_VISIBLE_DEVICES"}
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _ASK_CUDA],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=CUDA_SECONDS,
            check=True,
        )
        return [str(uuid) for uuid in json.loads(done.stdout)]
    except (OSError, ValueError, subprocess.SubprocessError):
        return []


def visible_ids(environment: Mapping[str, str]) -> list[str] | None:
    """What ``CUDA_VISIBLE_DEVICES`` leaves, as CUDA understands it; None if it leaves everything."""
    value = environment.get("CUDA_VISIBLE_DEVICES")
    if value is None:
        return None
    entries = [entry.strip() for entry in value.split(",")]
    kind = next((kind for kind in ("GPU-", "MIG-") if entries[0].startswith(kind)), "")
    found: list[str] = []
    for entry in entries:
        number = re.match(r"\+?(\d+)", entry)
        if not (entry.startswith(kind) if kind else number):
            break  # the first that is none (-1, NoDevFiles, nothing) ends the list
        name = entry if kind else str(int(number[1])) if number else ""
        if name in found:
            return []  # a device that stands there twice leaves none
        found.append(name)
    return found


def name_gpus(
    ids: Sequence[str],
    environment: Mapping[str, str],
    nvml: Any = None,
    cuda: Callable[[Mapping[str, str]], list[str]] = ask_cuda,
) -> GpuNames:
    """The names of GPUs.

    Args:
        ids: as ``CUDA_VISIBLE_DEVICES`` takes them, and as Ray's GPU ids are: numbers, UUIDs, unique beginnings of
            UUIDs, MIG instances.
        environment: of the process that was given the GPUs.
        nvml: nvidia-ml-py's module or a stand-in; None imports it.
        cuda: asks CUDA, see ``ask_cuda``.
    """
    wanted = [each.strip() for each in ids if each.strip()]
    if all(_WHOLE_UUID.fullmatch(each) for each in wanted):
        return GpuNames(tuple(wanted))
    here = _seen_by_nvml(environment, nvml)
    names = tuple(_completed(each, here.all) if _UUID.fullmatch(each) else each for each in wanted)
    numbers = [name for name in names if not _UUID.fullmatch(name)]
    if not numbers:
        return GpuNames(names)
    in_order = here.in_order or _asked(cuda(environment), here.all) or _given(environment, numbers)
    by_number = {str(index): name for index, name in enumerate(in_order)}
    unknown = [number for number in numbers if number not in by_number]
    names = tuple(by_number.get(name, name) for name in names)
    if not unknown:
        return GpuNames(names)
    reason = f"there are {len(in_order)} GPUs here" if in_order else here.reason
    return GpuNames(names, f"GPU {', '.join(unknown)} may be any board of the host ({reason}); {_REMEDY}")


class _Seen(NamedTuple):
    """What NVML lists here.

    Attributes:
        all: boards and MIG instances.
        in_order: by CUDA's number, if that is certain; else there is a reason why it is not.
    """

    all: tuple[str, ...] = ()
    in_order: tuple[str, ...] = ()
    reason: str = ""


def _seen_by_nvml(environment: Mapping[str, str], nvml: Any) -> _Seen:
    try:
        library = NvmlLibrary(nvml)
    except MeterUnavailable as error:
        return _Seen(reason=error.reason)
    try:
        boards, instances = tuple(gpu.uuid for gpu in library.gpus), _instances(library)
        in_order, reason = boards, ""
        if library.missing:
            in_order, reason = (), "not all GPUs here answer, and CUDA does not count those that do not"
        elif any(gpu.is_partitioned for gpu in library.gpus):
            # Of one board with one instance there is no doubt: CUDA takes no board that is partitioned.
            in_order = instances if len(boards) == len(instances) == 1 else ()
            reason = "a GPU here is in MIG mode, and a number names no instance"
        elif not (environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID" or library.are_of_one_kind()):
            in_order, reason = (), "the GPUs here are of several kinds, and CUDA counts the fastest first"
        return _Seen((*boards, *instances), in_order, reason)
    finally:
        library.close()


def _completed(name: str, known: Sequence[str]) -> str:
    """The one name that begins so; as it is if there is none, because the agent may know it."""
    found = [each for each in known if each.startswith(name)]
    return found[0] if len(found) == 1 and name not in known else name


def _asked(bare: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The names of what CUDA has said: boards, or the MIG instances among those that NVML lists."""
    return tuple(f"MIG-{uuid}" if f"MIG-{uuid}" in known else f"GPU-{uuid}" for uuid in bare)


def _given(environment: Mapping[str, str], numbers: Sequence[str]) -> tuple[str, ...]:
    """The container's boards as its runtime was told them, if all of them are meant.

    Then it makes no difference which number is whose: Ray gives the same part of each.
    """
    given = [entry.strip() for entry in environment.get("NVIDIA_VISIBLE_DEVICES", "").split(",")]
    are_all = set(numbers) == {str(index) for index in range(len(given))}
    return tuple(given) if are_all and all(_UUID.fullmatch(entry) for entry in given) else ()


def _instances(library: NvmlLibrary) -> tuple[str, ...]:
    """The MIG instances that are visible here."""
    found: list[str] = []
    for gpu in library.gpus:
        with suppress(library.api.NVMLError):  # a GPU that does not answer has no instance to hold
            found += [instance.names[0] for instance in library.instances(gpu, only_well=True)]
    return tuple(found)
