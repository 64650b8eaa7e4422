"""What a process's GPUs are called, in all the ways in which it may be told of them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pynvml
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.meters.visible_gpus import ask_cuda, name_gpus, visible_ids
from tests.conftest import need
from tests.support.fake_nvml import FakeGpu, FakeInstance, FakeNvml

WHOLE = "GPU-11111111-2222-3333-4444-555555555555"
OTHER = "GPU-aaaaaaaa-2222-3333-4444-555555555555"


def no_cuda(_environment: Mapping[str, str]) -> list[str]:
    return []


def never(_environment: Mapping[str, str]) -> list[str]:
    raise AssertionError("CUDA was asked, and need not be")


def nothing() -> FakeNvml:
    return FakeNvml(init_failure=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        (None, None),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("none", []),
        ("0", ["0"]),
        ("2,0", ["2", "0"]),
        (" 2 , 0 ", ["2", "0"]),
        ("0,-1,1", ["0"]),
        ("0,1,", ["0", "1"]),
        ("1,x,0", ["1"]),
        ("01,2x", ["1", "2"]),  # CUDA reads as far as it can
        ("0,0", []),
        ("0,1,0", []),
        ("GPU-a,GPU-b", ["GPU-a", "GPU-b"]),
        ("GPU-a,0", ["GPU-a"]),
        ("0,GPU-a", ["0"]),
        ("GPU-a,GPU-a", []),
        ("MIG-a,MIG-b", ["MIG-a", "MIG-b"]),
        ("MIG-GPU-a/1/0", ["MIG-GPU-a/1/0"]),
        ("GPU-a,MIG-b", ["GPU-a"]),
    ],
)
def test_the_forms_of_cuda_visible_devices(value: str | None, ids: list[str] | None) -> None:
    assert visible_ids({} if value is None else {"CUDA_VISIBLE_DEVICES": value}) == ids


@given(st.text(alphabet="01-,GPUMIGabcx ", max_size=30))
def test_no_value_leaves_the_same_device_twice_or_none_by_name(value: str) -> None:
    ids = visible_ids({"CUDA_VISIBLE_DEVICES": value})
    assert ids is not None
    assert len(set(ids)) == len(ids)
    assert all(ids)


def test_whole_names_are_taken_as_they_are_without_asking_anybody() -> None:
    ids = [WHOLE, "MIG-11111111-2222-3333-4444-555555555555", f"MIG-{WHOLE}/1/0"]
    assert name_gpus(ids, {}, FakeNvml(init_failure=pynvml.NVML_ERROR_UNKNOWN), never) == (tuple(ids), None)
    assert name_gpus([], {}, nothing(), never) == ((), None)
    assert name_gpus(["", " "], {}, nothing(), never) == ((), None)


def test_in_a_pod_the_only_gpu_is_number_0_whatever_the_host_calls_it() -> None:
    nvml = FakeNvml(FakeGpu("GPU-second-of-the-host"))
    assert name_gpus(["0"], {}, nvml, never) == (("GPU-second-of-the-host",), None)
    assert nvml.initialised == 0


def test_boards_of_one_kind_are_counted_as_nvml_counts_them() -> None:
    nvml = FakeNvml(FakeGpu("GPU-a"), FakeGpu("GPU-b"), FakeGpu("GPU-c"))
    assert name_gpus(["2", "0"], {}, nvml, never).names == ("GPU-c", "GPU-a")


def test_boards_of_several_kinds_are_counted_as_cuda_says() -> None:
    nvml = FakeNvml(FakeGpu("GPU-slow", model="T4"), FakeGpu("GPU-fast", model="H100"))
    assert name_gpus(["0"], {}, nvml, lambda _: ["fast", "slow"]) == (("GPU-fast",), None)
    assert name_gpus(["0"], {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, nvml, never) == (("GPU-slow",), None)
    names, problem = name_gpus(["0", "GPU-slow"], {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, nvml, no_cuda)
    assert names == ("0", "GPU-slow")
    assert problem == (
        "GPU 0 may be any board of the host (the GPUs here are of several kinds, and CUDA counts the fastest first);"
        " name GPUs by UUID in CUDA_VISIBLE_DEVICES, set CUDA_DEVICE_ORDER=PCI_BUS_ID, or give the container"
        " NVIDIA_DRIVER_CAPABILITIES=compute,utility"
    )
    assert nvml.initialised == 0


def test_a_board_that_does_not_answer_leaves_the_numbers_to_cuda() -> None:
    nvml = FakeNvml(FakeGpu("GPU-a", failure=pynvml.NVML_ERROR_GPU_IS_LOST), FakeGpu("GPU-b"), FakeGpu("GPU-c"))
    assert name_gpus(["0"], {}, nvml, lambda _: ["b", "c"]).names == ("GPU-b",)
    names, problem = name_gpus(["0"], {}, nvml, no_cuda)
    assert names == ("0",)
    assert "not all GPUs here answer" in (problem or "")


def test_the_beginning_of_a_uuid_is_completed_where_it_is_visible() -> None:
    nvml = FakeNvml(
        FakeGpu("GPU-aa11"), FakeGpu("GPU-aa22"), FakeGpu("GPU-bb", instances=[FakeInstance("MIG-x1", 3, 1)])
    )
    assert name_gpus(["GPU-aa2", "MIG-x", "GPU-aa", "GPU-zz"], {}, nvml, never).names == (
        "GPU-aa22",
        "MIG-x1",
        "GPU-aa",  # of two: the agent refuses it
        "GPU-zz",
    )


def test_the_only_mig_instance_of_a_pod_is_its_number_0() -> None:
    board = FakeGpu("GPU-a", instances=[FakeInstance("MIG-x", 3, 1)])
    assert name_gpus(["0"], {}, FakeNvml(board), never).names == ("MIG-x",)
    board.instances = [FakeInstance("MIG-x", 3, 1), FakeInstance("MIG-y", 3, 2)]
    assert name_gpus(["0"], {}, FakeNvml(board), lambda _: ["y"]).names == ("MIG-y",)
    names, problem = name_gpus(["0"], {}, FakeNvml(board), no_cuda)
    assert names == ("0",)
    assert "a number names no instance" in (problem or "")


def test_without_nvml_cuda_names_the_boards() -> None:
    assert name_gpus(["1"], {}, nothing(), lambda _: ["a", "b"]) == (("GPU-b",), None)


@pytest.mark.parametrize(
    ("value", "ids", "names"),
    [
        ("GPU-x", ["0"], ("GPU-x",)),
        ("GPU-x, GPU-y", ["1", "0"], ("GPU-y", "GPU-x")),  # both, whichever is which
        ("GPU-x,GPU-y", ["0"], ("0",)),
        ("MIG-x", ["0"], ("MIG-x",)),
        ("0", ["0"], ("0",)),  # the host's number, which is no name
        ("all", ["0"], ("0",)),
        ("void", ["0"], ("0",)),
        ("none", ["0"], ("0",)),
        ("", ["0"], ("0",)),
        ("GPU-x", ["3"], ("3",)),
    ],
)
def test_what_the_runtime_was_told_names_the_boards_if_all_are_meant(
    value: str, ids: list[str], names: tuple[str, ...]
) -> None:
    found = name_gpus(ids, {"NVIDIA_VISIBLE_DEVICES": value}, nothing(), no_cuda)
    assert found.names == names
    assert (found.problem is None) == (names != tuple(ids))
    assert found.problem is None or "NVML library not found" in found.problem


@pytest.mark.parametrize("number", ["2", "-1", "NoDevFiles"])
def test_a_number_that_no_board_has_is_said(number: str) -> None:
    names, problem = name_gpus(["0", number], {}, FakeNvml(FakeGpu("GPU-a"), FakeGpu("GPU-b")), never)
    assert names == ("GPU-a", number)
    assert (problem or "").startswith(f"GPU {number} may be any board of the host (there are 2 GPUs here)")


@given(
    uuids=st.lists(st.uuids(), min_size=1, max_size=5, unique=True),
    kinds=st.lists(st.sampled_from(["T4", "H100"]), min_size=5, max_size=5),
    lost=st.sets(st.integers(0, 4)),
    order=st.sampled_from([None, "PCI_BUS_ID", "FASTEST_FIRST"]),
    data=st.data(),
)
def test_a_name_is_the_one_that_cuda_means_or_none(
    uuids: list[str], kinds: list[str], lost: set[int], order: str | None, data: st.DataObject
) -> None:
    """CUDA leaves out what is lost, and counts H100s before T4s unless it is told to go by the bus."""
    gone = pynvml.NVML_ERROR_GPU_IS_LOST
    gpus = [
        FakeGpu(f"GPU-{uuid}", model=kind, failure=gone if index in lost else None)
        for index, (uuid, kind) in enumerate(zip(uuids, kinds, strict=False))
    ]
    counted = [gpu for gpu in gpus if gpu.failure is None]
    if order != "PCI_BUS_ID":
        counted.sort(key=lambda gpu: gpu.model)  # stable: boards of a kind stay as they are
    ids = data.draw(st.lists(st.sampled_from([str(index) for index in range(len(gpus))]), unique=True, min_size=1))
    answers = data.draw(st.booleans())
    named = name_gpus(
        ids,
        {"CUDA_DEVICE_ORDER": order} if order else {},
        FakeNvml(*gpus),
        lambda _: [gpu.uuid.removeprefix("GPU-") for gpu in counted] if answers else [],
    )
    for number, name in zip(ids, named.names, strict=True):
        if name != number:
            assert name == counted[int(number)].uuid
        else:
            assert named.problem
        assert not answers or not counted or int(number) >= len(counted) or name != number


STUB = """
#include <string.h>
int cuInit(unsigned flags) { return 0; }
int cuDeviceGetCount(int *count) { *count = 2; return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetUuid(char *uuid, int device) { memset(uuid, 0x10 + device, 16); return 0; }
"""


def test_cuda_is_asked_in_a_process_of_its_own_without_what_hides_boards(tmp_path: Path) -> None:
    (tmp_path / "cuda.c").write_text(
        "#include <stdlib.h>\n" + STUB.replace("return 0; }", 'return getenv("CUDA_VISIBLE_DEVICES") != 0; }', 1)
    )
    subprocess.run(
        [need("cc"), "-shared", "-fPIC", "-o", str(tmp_path / "libcuda.so.1"), str(tmp_path / "cuda.c")], check=True
    )
    environment = os.environ | {"LD_LIBRARY_PATH": str(tmp_path), "CUDA_VISIBLE_DEVICES": "1"}
    uuids = ["10101010-1010-1010-1010-101010101010", "11111111-1111-1111-1111-111111111111"]
    assert ask_cuda(environment) == uuids


def test_where_there_is_no_cuda_nothing_is_said(tmp_path: Path) -> None:
    assert ask_cuda({"LD_LIBRARY_PATH": str(tmp_path)}) == []
