"""What is hidden from a program, and what the doctor says of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from energysweep.core.errors import InputError
from energysweep.core.host import Host, confines
from tests.support.fake_proc import write_stat
from tests.support.fake_tree import FakeTree


def host(folder: Path, cgroup: str = "0::/\n", files: Mapping[str, str] = MappingProxyType({})) -> Host:
    """A host whose init can be seen, with its process's control groups and files of them."""
    tree = FakeTree(folder / "proc")
    (tree.root / "self").mkdir()
    (tree.root / "self/cgroup").write_text(cgroup)
    for name, text in files.items():
        path = folder / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    (folder / "sys/devices/system/cpu").mkdir(parents=True)
    (folder / "sys/devices/system/cpu/online").write_text("0-127\n")
    return Host(sys_root=folder / "sys", proc_root=tree.root)


def test_a_host_that_is_seen_as_a_whole_hides_nothing(tmp_path: Path) -> None:
    (here := host(tmp_path)).proc_root.joinpath("self/ns").mkdir()
    here.proc_root.joinpath("self/ns/pid").symlink_to("pid:[4026531836]")
    assert confines(here) == []


def test_processes_that_are_hidden_are_said_to_be(tmp_path: Path) -> None:
    here = host(tmp_path)
    (here.proc_root / "1/stat").unlink()  # as hidepid=2 does; hidepid=1 only forbids it
    (said,) = confines(here)
    assert said.startswith(f"{here.proc_root} hides other users' processes (hidepid)")


def test_a_pid_namespace_of_its_own_is_said_to_be_one(tmp_path: Path) -> None:
    (here := host(tmp_path)).proc_root.joinpath("self/ns").mkdir()
    here.proc_root.joinpath("self/ns/pid").symlink_to("pid:[4026532001]")
    (said,) = confines(here)
    assert said.startswith("a pid namespace of its own: ")


def test_a_procfs_of_zeros_is_said_to_be_none(tmp_path: Path) -> None:
    here = host(tmp_path, files={"cpu.max": "400000 100000"})
    write_stat(here.proc_root, idle=0)
    (said,) = confines(here)  # and no limit, which would say that the host is measured
    assert "does not say how busy the host is (it shows nothing but zeros, as sandboxes do): " in said


@pytest.mark.parametrize(
    ("cgroup", "files", "limit"),
    [
        ("0::/\n", {"cpu.max": "400000 100000"}, "4 CPUs"),
        ("0::/\n", {"cpu.max": "max 100000", "memory.max": "max"}, None),
        ("0::/\n", {"memory.max": str(8 * 1024**3)}, "8.0 GiB of memory"),
        ("0::/\n", {"cpuset.cpus.effective": "0-3,8"}, "5 CPUs"),
        ("0::/\n", {"cpuset.cpus.effective": "0-127"}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "150000 100000"}, "1.5 CPUs"),
        ("0::/../x\n", {"cpu.max": "100000 100000"}, None),
        (
            "3:cpu,cpuacct:/d\n",
            {"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"},
            "2 CPUs",
        ),
        ("3:cpu:/d\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("4:memory:/d\n", {"memory/d/memory.limit_in_bytes": "1073741824"}, "1.0 GiB of memory"),
        ("4:memory:/d\n", {"memory/memory.limit_in_bytes": "9223372036854771712"}, None),
        ("5:cpuset:/\n", {"cpuset/cpuset.cpus": "2"}, "1 CPUs"),
        ("0::/\n", {"cpu.max": "many few", "memory.max": "lots", "cpuset.cpus": "x-y"}, None),
        ("garbage\n", {"cpu.max": "garbage"}, None),
        (
            "0::/\n",
            {"cpu.max": "400000 100000", "memory.max": str(2**30)},
            "4 CPUs and 1.0 GiB of memory",
        ),
    ],
)
def test_limits_of_control_groups_are_said_with_what_they_mean(
    tmp_path: Path, cgroup: str, files: dict[str, str], limit: str | None
) -> None:
    said = confines(host(tmp_path, cgroup, files))
    assert [each.partition(" (cgroup): ")[0] for each in said] == ([f"limited to {limit}"] if limit else [])


def test_a_host_without_an_identity_asks_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENERGYSWEEP_HOST", raising=False)
    with pytest.raises(InputError, match=r"^ENERGYSWEEP_HOST: .*boot_id cannot be read: give each boot"):
        Host.here(tmp_path)
    monkeypatch.setenv("ENERGYSWEEP_HOST", "sandbox-7")
    assert Host.here(tmp_path).boot_id == "sandbox-7"
