"""What an agent needs, tried on this kernel: for the counters root's uid, and no capability at all.

The kernel makes ``energy_uj`` readable by its owner only, and root owns it. So the chart's agent has uid 0, every
capability dropped, no way to new privileges, and the counters mounted read-only. Here it runs exactly so, on files with
the same owner and mode.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import do_without, need, need_root
from tests.support.charts import AGENT, one, render
from tests.support.fake_powercap import two_packages

NO_CAPABILITY = ("--no-new-privs", "--bounding-set", "-all", "--inh-caps", "-all")

# The root file system of this host, read-only, with the counters at /host/powercap and a folder that can be written.
# Arguments: an empty folder, the counters, the folder to be written, the command.
CONTAINER = """
root=$1; counters=$2; state=$3; shift 3
mount -t tmpfs none "$root"
for folder in /*; do
  if [ -L "$folder" ]; then cp -P "$folder" "$root$folder"
  elif [ -d "$folder" ]; then
    mkdir -p "$root$folder"; mount --rbind "$folder" "$root$folder"
    case $folder in /proc | /dev | /sys) ;; *) mount -o remount,bind,ro "$root$folder" ;; esac
  fi
done
mkdir -p "$root/host/powercap" "$root/state"
mount --bind "$counters" "$root/host/powercap"
mount -o remount,bind,ro "$root/host/powercap"
mount --bind "$state" "$root/state"
mount -o remount,ro "$root"
exec chroot "$root" "$@"
"""


@pytest.fixture
def counters() -> Iterator[Path]:
    """A powercap tree with the owner and the modes that Linux gives it, in a folder that everybody may enter."""
    need_root()  # only it can make files of root
    with tempfile.TemporaryDirectory(prefix="energysweep-powercap-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        tree = two_packages(folder)
        for file in tree.devices.rglob("energy_uj"):
            file.chmod(0o400)
        yield tree.devices


def as_user(uid: int, *command: str) -> subprocess.CompletedProcess[str]:
    """Run it as that user, without a capability."""
    who = ["--reuid", str(uid), "--regid", str(uid), "--clear-groups"]
    arguments = [need("setpriv"), *who, *NO_CAPABILITY, *command]
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=300)


def test_root_without_any_capability_reads_a_counter_and_another_user_does_not(counters: Path) -> None:
    file = str(counters / "intel-rapl" / "intel-rapl:0" / "energy_uj")
    assert "CapEff:\t0000000000000000\n" in as_user(0, "grep", "CapEff", "/proc/self/status").stdout
    assert as_user(0, "cat", file).stdout == "10000000\n"
    refused = as_user(1000, "cat", file)
    assert refused.returncode == 1
    assert "Permission denied" in refused.stderr
    assert as_user(1000, "cat", file.replace("energy_uj", "name")).stdout == "package-0\n"  # it gets that far


def test_an_agent_as_in_the_charts_container_reads_rapl_and_serves(counters: Path, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "state").mkdir()
    daemon_set = one(render(AGENT, settings=("meters={rapl}",)), "DaemonSet", "energysweep-agent-cpu")
    (container,) = daemon_set["spec"]["template"]["spec"]["containers"]
    here = {"0.0.0.0": "127.0.0.1", "$(POD_IP)": "127.0.0.1", "=9770": "=0", "=9771": "=0"}
    here["/var/lib/energysweep"] = "/state"  # this host's /var stays as it is
    program = [sys.executable, "-m", *container["command"], *(_replaced(word, here) for word in container["args"])]
    command = [
        *(need("unshare"), "--mount", "--propagation", "private", "sh", "-euc", CONTAINER, "container"),
        *(str(tmp_path / "root"), str(counters), str(tmp_path / "state")),
        *(need("setpriv"), *NO_CAPABILITY, *program),
    ]
    environment = {**os.environ, "ENERGYSWEEP_STATE": "/state", "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process, _ended(process):
        url, said = _url(process)
        if url is None and "mount" in said:
            do_without(f"no mounts here: {said}")
        assert url is not None, said
        status = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines()
            if ":\t" in line
        )
        assert {status[key] for key in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {16 * "0"}
        assert status["NoNewPrivs"] == "1"
        assert status["Uid"].split() == ["0"] * 4
        with urllib.request.urlopen(f"{url}/healthz", timeout=10) as answer:
            assert answer.status == 200
        with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
            metrics = answer.read().decode()
        counted = [line for line in metrics.splitlines() if line.startswith("energysweep_node_energy_joules_total{")]
        assert len([line for line in counted if 'component="cpu"' in line and 'source="rapl"' in line]) == 2
        with urllib.request.urlopen(f"{url}/sd", timeout=10) as answer:
            assert json.load(answer)
    names = {file.name.partition("-")[0] for file in (tmp_path / "state").iterdir() if file.is_file()}
    assert "agent" in names  # its state, keyed by the boot


def _replaced(word: str, here: dict[str, str]) -> str:
    for old, new in here.items():
        word = word.replace(old, new)
    return word


@contextmanager
def _ended(process: subprocess.Popen[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def _url(process: subprocess.Popen[str]) -> tuple[str | None, str]:
    """Where it serves, None if it has ended; and what it said."""
    assert process.stderr is not None
    said = ""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        line = process.stderr.readline()
        said += line
        if line.startswith("serving "):
            return next(word.strip(",\n") for word in line.split() if word.startswith("http")), said
        if not line:
            break
    return None, said


def test_what_a_proof_of_a_process_needs_to_see_and_what_the_strict_one() -> None:
    """A process of another user in a network of its own: which of its files a pod's root without capabilities reads."""
    need_root()  # only it can start processes of others
    other = [need("setpriv"), "--reuid", "1000", "--regid", "1000", "--clear-groups", "sleep", "60"]
    with subprocess.Popen([need("unshare"), "--net", *other]) as process, _ended(process):
        folder = f"/proc/{process.pid}"
        deadline = time.monotonic() + 30
        while Path(f"{folder}/comm").read_text(encoding="utf-8") != "sleep\n":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for file in ("stat", "status", "cgroup", "comm", "net/tcp"):
            assert as_user(0, "cat", f"{folder}/{file}").returncode == 0, file
        assert as_user(0, "ls", f"{folder}/fd").returncode != 0  # which sockets it holds
        assert not sees_sockets(process.pid, "sys_ptrace")
        assert not sees_sockets(process.pid, "dac_read_search")
        added = one(render(AGENT, settings=("strictProof=true",)), "DaemonSet", "energysweep-agent-cpu")
        (container,) = added["spec"]["template"]["spec"]["containers"]
        capabilities = container["securityContext"]["capabilities"]["add"]
        assert sees_sockets(process.pid, *(capability.lower() for capability in capabilities))


def sees_sockets(pid: int, *capabilities: str) -> bool:
    """Whether root with these capabilities alone sees what a process's first descriptor is."""
    kept = ",".join(["-all", *(f"+{capability}" for capability in capabilities)])
    look = ["sh", "-c", f"ls /proc/{pid}/fd && readlink /proc/{pid}/fd/0"]
    command = [need("setpriv"), "--no-new-privs", "--bounding-set", kept, "--inh-caps", "-all", *look]
    return subprocess.run(command, capture_output=True, check=False, timeout=300).returncode == 0
