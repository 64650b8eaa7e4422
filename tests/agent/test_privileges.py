"""What an agent needs, tried by programs that may do less than this one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.meters.fake_powercap import FakePowercap
from tests.meters.fake_proc import write_proc
from tests.namespaces import RESTRICTED, WITHOUT_CAPABILITIES, need_namespaces

READ = """
import sys
from pathlib import Path
from energysweep.errors import MeterUnavailable
from energysweep.host import Host
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
    for folder in [tmp_path, *tmp_path.parents][:3]:
        folder.chmod(0o755)
    return [sys.executable, "-c", READ, str(tmp_path / "sys"), str(tmp_path / "proc")]


def read(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_root_without_any_capability_reads_rapl_s_counters(counters: list[str]) -> None:
    assert read([*WITHOUT_CAPABILITIES, *counters]) == "[5.0]"


def test_another_user_does_not_and_is_told_why(counters: list[str]) -> None:
    assert "energy_uj" in read([*RESTRICTED, *counters])
