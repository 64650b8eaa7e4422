"""What an agent needs, tried by programs that may do less than this one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import open_to_all
from tests.support.fake_powercap import FakePowercap
from tests.support.fake_proc import write_proc
from tests.support.namespaces import REPOSITORY, RESTRICTED, WITHOUT_CAPABILITIES, need_namespaces

READ = """
import sys
from pathlib import Path
from energysweep.core.errors import MeterUnavailable
from energysweep.core.host import Host
from energysweep.meters import open_meters
try:
    (meter,) = open_meters(["rapl"], Host(sys_root=Path(sys.argv[1]), proc_root=Path(sys.argv[2]))).meters
    print([reading.energy_joules for reading in meter.read()])
except MeterUnavailable as error:
    print(error)
"""


@pytest.fixture
def counters(tmp_path: Path) -> list[str]:
    """A powercap tree whose counter only its owner may read, as Linux has it since 5.10."""
    need_namespaces()
    FakePowercap(tmp_path / "sys").zone("intel-rapl:0", "package-0", 5_000_000)
    write_proc(tmp_path / "proc")
    for path in (tmp_path / "sys").rglob("energy_uj"):
        path.chmod(0o400)
    open_to_all(tmp_path)
    return [sys.executable, "-c", READ, str(tmp_path / "sys"), str(tmp_path / "proc")]


def read(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_root_without_any_capability_reads_rapl_s_counters(counters: list[str]) -> None:
    assert read([*WITHOUT_CAPABILITIES, *counters]) == "[5.0]"


def test_another_user_does_not_and_is_told_why(counters: list[str]) -> None:
    assert "energy_uj" in read([*RESTRICTED, *counters])


HIDDEN = """
import os, sys
from pathlib import Path
from energysweep.accounting.processes import Proc, read_process, scan
from energysweep.core.host import confines
from energysweep.core.host import Host
seen = scan(Path("/proc"))
print(os.getpid() in seen, 1 in seen, read_process(Path("/proc"), 1), Proc(Path("/proc")).busy_seconds() > 0)
print([said for said in confines(Host()) if "hidepid" in said])
"""


@pytest.mark.parametrize("option", ["hidepid=0", "hidepid=1", "hidepid=2"])
def test_processes_that_procfs_hides_are_left_out_and_said_to_be(option: str) -> None:
    need_namespaces()
    mount = f'mount -t proc -o {option} proc /proc && exec "$@"'
    command = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", f"{mount} & wait", "sh"]
    done = subprocess.run(
        [*command, *RESTRICTED, sys.executable, "-c", HIDDEN],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
    )
    first, said = done.stdout.splitlines()
    assert first.split()[0] == "True"
    assert first.split()[-1] == "True"
    if option == "hidepid=0":
        assert said == "[]"
    else:
        assert first == "True False None True"
        assert "a process that a trial runs as another user is not charged to it" in said
