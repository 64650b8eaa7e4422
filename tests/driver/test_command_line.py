"""``energysweep run`` in a process of its own, with real signals."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from energysweep.cli import main
from energysweep.core.runfolder import LEDGER
from energysweep.report import summarise
from tests.conftest import do_without
from tests.driver.test_resume import read, wait_for
from tests.support.ledgers import window_seconds
from tests.support.sweeps import UNTIL

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1200)]

RUN = [sys.executable, "-m", "energysweep", "run", "sweep.yaml", "--run-id", "it", "--metrics-port", "0"]


def processes_named_in_environment(folder: Path) -> list[str]:
    """Processes that were started with the test's own agent socket and are still there."""
    found = []
    needle = f"ENERGYSWEEP_SOCKET={os.environ['ENERGYSWEEP_SOCKET']}".encode()
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                if needle in (process / "environ").read_bytes().split(b"\0"):
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found


def wait_until_gone(folder: Path, seconds: float) -> list[str]:
    deadline = time.monotonic() + seconds
    while (left := processes_named_in_environment(folder)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


@pytest.mark.slow
def test_results_go_to_standard_output_and_progress_to_standard_error(sweep_folder: Path) -> None:
    done = subprocess.run(
        [*RUN, "--set", "parameters.seconds=0.05"],
        cwd=sweep_folder,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "kind=burn" in done.stdout
    assert "report: " in done.stdout
    assert "Traceback" not in done.stderr
    ours = ("test: ", "meters: ", "metrics: ", "completed: ", "trials ", "waiting for ")  # the last on a busy machine
    for line in done.stderr.splitlines():  # and none of Ray's chatter
        assert line.startswith(ours), line
    assert wait_until_gone(sweep_folder, 60) == []

    again = subprocess.run(RUN, cwd=sweep_folder, capture_output=True, text=True, timeout=180, check=False)
    assert again.returncode == 2
    assert "holds a run of another sweep" in again.stderr


def ray_log(folder: Path) -> str:
    path = folder / "ray.log"
    return path.read_text() if path.exists() else ""


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once(sweep_folder: Path) -> None:
    sweep = subprocess.Popen(
        # A shell's background jobs, and so perhaps these tests, ignore it; who presses Ctrl-C is in the foreground.
        ["env", "--default-signal=INT", *RUN, "--set", "parameters={kind: burn, seconds: 600}"],
        cwd=sweep_folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    folder = sweep_folder / "results" / "it"
    wait_for(
        lambda: (folder / LEDGER).exists() and any(trial.status == "running" for trial in read(folder).trials), 180
    )
    os.killpg(sweep.pid, signal.SIGINT)
    # Tune has heard it, and takes the next one for another. From here on it would wait for the trial, some 10 s.
    wait_for(lambda: "Wrote the latest version" in ray_log(folder))
    os.killpg(sweep.pid, signal.SIGINT)
    _, err = sweep.communicate(timeout=300)
    assert sweep.returncode == 130, err
    assert "Stop signal received" in ray_log(folder)
    assert "Experiment has been interrupted" not in ray_log(folder)  # Tune's last word when it could end as it wanted
    assert wait_until_gone(sweep_folder, 60) == []


@pytest.mark.slow
def test_ctrl_c_stops_the_trials_and_writes_the_report_of_what_there_is(sweep_folder: Path) -> None:
    sweep = subprocess.Popen(
        [*RUN, "--set", "parameters={kind: sleep, seconds: 0.2, reports: {grid: [1, 1000, 1001]}}"],
        cwd=sweep_folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert sweep.stderr is not None
    for line in sweep.stderr:
        if line.startswith("completed: "):
            break
    folder = sweep_folder / "results" / "it"
    wait_for(lambda: len({row.trial for row in read(folder).results}) > 1)  # another one works
    os.killpg(sweep.pid, signal.SIGINT)  # as a terminal does
    out, err = sweep.communicate(timeout=300)

    assert sweep.returncode == 130, err
    assert "Traceback" not in err
    assert "the sweep was interrupted" in err
    assert "report: " in out
    summary = json.loads((sweep_folder / "results" / "it" / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert summary["totals"]["trials_energy_joules"] > 0
    assert wait_until_gone(sweep_folder, 60) == []


@pytest.mark.slow  # the rule is held by test_placement; here it is a person who asks
def test_a_profile_that_no_node_can_serve_is_refused_at_once(sweep_folder: Path) -> None:
    done = subprocess.run(
        [*RUN, "--set", "hardware={big: {resources: {cpu: 4096}}}"],
        cwd=sweep_folder,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 2
    assert "hardware.big" in done.stderr
    assert "no node has CPU 4096" in done.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=False)
    if mounted.returncode != 0:
        do_without("mounting a file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Write until there is no room for another page."""
    with (disk / "other").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


@pytest.mark.slow
def test_a_full_disk_is_one_clear_error_and_what_there_is_survives(sweep_folder: Path, small_disk: Path) -> None:
    sweep = subprocess.Popen(
        [*RUN, "--output", str(small_disk), "--set", "parameters.reports=100"],
        cwd=sweep_folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    folder = small_disk / "it"
    wait_for(lambda: (folder / LEDGER).exists() and any(row.lease and row.joules for row in read(folder).energy))
    fill(small_disk)
    _, err = sweep.communicate(timeout=300)
    assert sweep.returncode == 1
    assert "Traceback" not in err
    assert "ledger.sqlite: database or disk is full" in err.splitlines()[-1]

    shutil.copytree(small_disk / "it", sweep_folder / "saved")
    assert main(["report", str(sweep_folder / "saved")]) == 0
    summary = json.loads((sweep_folder / "saved" / "summary.json").read_text())
    assert summary["totals"]["trials_energy_joules"] > 0


@pytest.mark.slow  # in simulated time by test_simulated, a real agent by test_restart
def test_an_agent_that_is_killed_in_mid_sweep_goes_on_and_no_joule_is_lost(sweep_folder: Path) -> None:
    (sweep_folder / "work.py").write_text(UNTIL)
    began = time.monotonic()
    sweep = subprocess.Popen(
        [*RUN, "--set", f"parameters={{file: {sweep_folder}/enough}}"],
        cwd=sweep_folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    folder = sweep_folder / "results" / "it"
    wait_for(lambda: (folder / LEDGER).exists() and len(read(folder).results) >= 8)
    (agent,) = [
        int(process.name)
        for process in Path("/proc").iterdir()
        if process.name.isdigit() and b"\0agent\0--detach\0--socket\0" in _command_line(process)
        if os.environ["ENERGYSWEEP_SOCKET"].encode() in _command_line(process)
    ]
    os.kill(agent, signal.SIGKILL)
    before = len(read(folder).results)
    wait_for(lambda: len(read(folder).results) >= before + 8)
    (sweep_folder / "enough").touch()
    _, err = sweep.communicate(timeout=300)
    elapsed = time.monotonic() - began
    assert sweep.returncode == 0, err

    data = read(folder)
    assert [row.metrics["score"] for row in data.results] == list(range(1, len(data.results) + 1))
    energy = [row.energy_joules for row in data.results]
    assert energy == sorted(energy)
    assert len(data.leases) == 1  # the same one, also after the agent's restart
    summary = summarise(data)
    assert summary.totals.conservation_error_ratio < 1e-3
    # 100 W over the whole time: the gap is booked, for it lies within the lease. Half a second of it: a busy host may
    # make the agent wait between its look at the clock and at the meters.
    seconds = window_seconds(data, elapsed)
    assert summary.totals.energy_joules == pytest.approx(100 * seconds, rel=1e-3, abs=50)


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:1", "nothing answers at 127.0.0.1:1"),
        ("a..b:6379", "nothing answers at a..b:6379"),
        ("http://127.0.0.1:8265", "give the address of its GCS"),
        ("ray://127.0.0.1:10001", "give the address of its GCS"),
    ],
)
@pytest.mark.parametrize("named_by", ["--address", "RAY_ADDRESS"])
def test_an_address_where_no_cluster_is_is_refused_by_the_name_that_gave_it(
    sweep_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    address: str,
    words: str,
    named_by: str,
) -> None:
    arguments = ["run", str(sweep_folder / "sweep.yaml"), "--output", str(sweep_folder / "results")]
    if named_by == "RAY_ADDRESS":
        monkeypatch.setenv("RAY_ADDRESS", address)
    else:
        monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:2")
        arguments += ["--address", address]
    assert main(arguments) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert named_by in message
    assert words in message
