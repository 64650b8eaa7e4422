"""Sweeps as jobs of a cluster that asks for a token."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from energysweep.cli import main
from energysweep.report import summarise
from tests.driver.test_cluster import balanced
from tests.driver.test_resume import read, wait_for
from tests.support.ports import free_port
from tests.support.sweeps import PATIENT
from tests.support.web import get

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("default")]

BIN = Path(sys.executable).parent
SUBMIT = [sys.executable, "-m", "energysweep", "submit"]
QUICK = "parameters={kind: sleep, seconds: 0.2, reports: 2, gain: {grid: [1, 2]}}"
UNTIL = '''
import time
from pathlib import Path
from ray import tune


def train(config):
    """Reports once; or until a file is there."""
    tune.report({"score": 0})
    while config["long"] and not Path(config["file"]).exists():
        time.sleep(0.2)
        tune.report({"score": 1})
'''


def slow(test: Callable[..., None]) -> Callable[..., None]:
    """Marks what needs a cluster; the start of that is part of the first test's time."""
    return pytest.mark.slow(pytest.mark.timeout(1800)(test))


@dataclass
class JobCluster:
    """A head with its dashboard. ``environment`` is a client's, with the token."""

    url: str
    folder: Path
    environment: Mapping[str, str]

    def submit(self, cwd: Path, *options: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*SUBMIT, *options, "--address", self.url],
            cwd=cwd,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def jobs(self) -> list[str]:
        """The ids of all jobs that were submitted."""
        token = Path(self.environment["RAY_AUTH_TOKEN_PATH"]).read_text()
        known = json.loads(get(f"{self.url}/api/jobs/", Authorization=f"Bearer {token}"))
        return [job["submission_id"] for job in known if job["submission_id"]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[JobCluster]:
    folder = Path(tempfile.mkdtemp(prefix="energysweep-"))
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    client = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "ENERGYSWEEP_"))},
        "HOME": str(folder),
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    head = (
        client
        | PATIENT
        | {
            "ENERGYSWEEP_SOCKET": f"{folder}/agent.sock",
            "ENERGYSWEEP_STATE": str(folder),
            "ENERGYSWEEP_LINGER": "1",
            "ENERGYSWEEP_RESULTS": f"{folder}/results",
            "ENERGYSWEEP_TEST": str(folder),
        }
    )
    port, dashboard = free_port(), free_port()
    process = subprocess.Popen(
        [
            *(BIN / "ray", "start", "--head", "--block", "--node-ip-address=127.0.0.1", "--num-cpus=2"),
            *(f"--port={port}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"),
            *(f"--dashboard-agent-listen-port={free_port()}", f"--dashboard-agent-grpc-port={free_port()}"),
            *(f"--ray-client-server-port={free_port()}", f"--temp-dir={folder}/ray"),
        ],
        env=head,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    cluster = JobCluster(f"http://127.0.0.1:{dashboard}", folder, client)
    try:
        wait_for(lambda: _takes_jobs(cluster))
        yield cluster
    finally:
        _end_all(f"ENERGYSWEEP_TEST={folder}")
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _takes_jobs(cluster: JobCluster) -> bool:
    try:
        return cluster.jobs() == []
    except OSError:
        return False


def _end_all(variable: str) -> None:
    """End all processes that were started with this variable in their environment."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                if variable.encode() in (process / "environ").read_bytes().split(b"\0"):
                    os.kill(int(process.name), signal.SIGKILL)
            except OSError:
                continue


def ended(process: subprocess.Popen[str], code: int, seconds: float = 300) -> tuple[str, str]:
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == code, err
    assert "Traceback" not in err
    return out, err


@slow
def test_a_sweep_and_its_code_go_to_a_cluster_and_the_run_folder_comes_back(
    cluster: JobCluster, sweep_folder: Path
) -> None:
    (sweep_folder / "work.py").write_text((sweep_folder / "work.py").read_text() + "\nimport helper\n")
    (sweep_folder / "helper.py").write_text("")  # a module beside it: workers have to find it, too
    # A variable that Ray would refuse to have from both a job and its driver, and a working folder of one's own.
    both = ("runtime_env={env_vars: {A: '1'}}", "environment={A: '2'}", "working_dir=.")
    options = [part for override in (QUICK, *both) for part in ("--set", override)]
    out, err = ended(cluster.submit(sweep_folder, "sweep.yaml", "--run-id", "it", "--fetch", "back", *options), 0)
    assert out == "report: back/it/report.html\n"
    assert "completed: gain=2" in err  # its log

    back = sweep_folder / "back" / "it"
    there = cluster.folder / "results" / "it"
    assert {path.name for path in back.iterdir()} == {
        path.name
        for path in there.iterdir()
        if path.name not in ("tune", "run.key", "driver.lock", "ledger.sqlite-wal", "ledger.sqlite-shm")
    }
    for name in ("report.html", "trials.csv", "configurations.csv", "summary.json"):
        assert (back / name).read_bytes() == (there / name).read_bytes()
    data = read(back)
    assert [trial.status for trial in data.trials] == ["completed", "completed"]
    assert balanced(data)


@slow
def test_a_run_folder_comes_from_the_sweep_s_storage_and_by_the_log_where_that_does_not_hold_it(
    cluster: JobCluster, sweep_folder: Path, tmp_path: Path
) -> None:
    storage = tmp_path / "shared"
    copy, back = storage / "stored" / "energysweep", sweep_folder / "back" / "stored"
    again = ("sweep.yaml", "--run-id", "stored", "--set", QUICK, "--set", f"storage={storage}")
    by_log = "fetching the run folder by a job's log"

    def fetched(*options: str) -> str:
        out, err = ended(cluster.submit(sweep_folder, *options, "--fetch", "back"), 0)
        assert out == "report: back/stored/report.html\n"
        assert balanced(read(back))
        return err

    err = fetched(*again)
    assert f"the run folder has come from the sweep's storage, {copy}\n" in err
    assert by_log not in err
    there = cluster.folder / "results" / "stored"
    for name in ("sweep.yaml", "report.html", "trials.csv", "configurations.csv", "summary.json"):
        assert (back / name).read_bytes() == (there / name).read_bytes() == (copy / name).read_bytes()
    assert by_log not in fetched("--job", "stored")

    # Of what somebody has changed there nothing is taken; nor is anything missed where all has gone.
    (copy / "sweep.yaml").write_text("workload: evil:main")
    err = fetched("--job", "stored")
    assert (
        "does not come from the sweep's storage: the run folder that the cluster sent is refused: 'sweep.yaml'" in err
    )
    assert by_log in err
    assert (back / "sweep.yaml").read_bytes() == (there / "sweep.yaml").read_bytes()
    shutil.rmtree(copy)
    err = fetched("--job", "stored")
    assert f"does not come from the sweep's storage: {copy}: No such file or directory" in err
    assert by_log in err

    # The same id again: nothing is left to do, the run is the same, and it leaves its copy once more.
    spent = summarise(read(back)).totals.trials_energy_joules
    assert by_log not in fetched(*again)
    assert summarise(read(back)).totals.trials_energy_joules == spent


@slow
@pytest.mark.variant
def test_a_uri_is_read_where_the_sweep_s_file_names_it_and_not_where_only_the_cluster_does(
    cluster: JobCluster, sweep_folder: Path, tmp_path: Path
) -> None:
    options = ("sweep.yaml", "--run-id", "uri", "--set", QUICK, "--set", f"storage=file://{tmp_path}/shared")
    _, err = ended(cluster.submit(sweep_folder, *options, "--fetch", "back"), 0)
    assert f"the run folder has come from the sweep's storage, file://{tmp_path}/shared/uri/energysweep\n" in err
    _, err = ended(cluster.submit(sweep_folder, "--job", "uri", "--fetch", "back"), 0)
    assert "the sweep's storage is not asked: only the cluster has named it, and it is no folder" in err
    assert "fetching the run folder by a job's log" in err
    assert balanced(read(sweep_folder / "back" / "uri"))


@slow
@pytest.mark.variant
def test_a_failed_trial_is_exit_code_1_here_as_there_and_its_report_comes_back(
    cluster: JobCluster, sweep_folder: Path
) -> None:
    wrong = ("--set", "parameters={kind: {grid: [sleep, nonsense]}, seconds: 0.1}")
    _, err = ended(cluster.submit(sweep_folder, "sweep.yaml", "--run-id", "bad", "--fetch", "back", *wrong), 1)
    assert "KeyError: 'nonsense'" in err
    assert sorted(trial.status for trial in read(sweep_folder / "back" / "bad").trials) == ["completed", "failed"]


@slow
def test_what_is_wrong_is_exit_code_2_before_anything_is_uploaded_or_there(
    cluster: JobCluster, sweep_folder: Path
) -> None:
    before = cluster.jobs()
    _, err = ended(cluster.submit(sweep_folder, "sweep.yaml", "--set", "objective.mode=most"), 2)
    assert "objective.mode" in err
    assert cluster.jobs() == before
    # Only the cluster can know this.
    _, err = ended(cluster.submit(sweep_folder, "sweep.yaml", "--set", "hardware={x: {resources: {cpu: 4096}}}"), 2)
    assert "hardware.x: no node has CPU 4096" in err
    _, err = ended(cluster.submit(sweep_folder, "sweep.yaml", "--set", "workload=work.py:trane", "--fetch", "back"), 2)
    assert "did you mean train or tune?" in err
    assert not list((sweep_folder / "back").iterdir())


@slow
def test_a_job_that_nobody_waits_for_can_be_joined_stopped_fetched_and_gone_on_with(
    cluster: JobCluster, sweep_folder: Path
) -> None:
    (sweep_folder / "until.py").write_text(UNTIL)
    parameters = f"parameters={{long: {{grid: [false, true]}}, file: {cluster.folder}/enough}}"
    options = ("sweep.yaml", "--run-id", "later", "--set", "workload=until.py:train", "--set", parameters)
    out, err = ended(cluster.submit(sweep_folder, *options, "--no-wait"), 0)
    assert out == "later\n"
    assert f"energysweep submit --job later --address {cluster.url}" in err
    there = cluster.folder / "results" / "later"
    wait_for(lambda: (there / "ledger.sqlite").exists() and len(read(there).results) > 5)

    _, err = ended(cluster.submit(sweep_folder, *options, "--set", "repeats=2"), 2)
    assert "works on later with another sweep" in err

    joined = cluster.submit(sweep_folder, *options)  # submitted twice: it follows the one that is there
    seen = _until(joined, "completed: ")
    assert "the job later already works on later" in seen
    joined.send_signal(signal.SIGINT)
    _, err = ended(joined, 130)
    assert "the job goes on" in err

    following = cluster.submit(sweep_folder, "--job", "later", "--fetch", "back")
    _until(following, "completed: ")
    stop = [str(BIN / "ray"), "job", "stop", "later", "--no-wait", "--address", cluster.url]
    subprocess.run(stop, env=cluster.environment, capture_output=True, check=True)
    ended(following, 130)
    part = read(sweep_folder / "back" / "later")  # with a report: it had time to write one
    assert json.loads((sweep_folder / "back" / "later" / "summary.json").read_text())["status"] == "interrupted"

    shorter = ("--set", "max_failures=1")
    _, err = ended(cluster.submit(sweep_folder, *options, *shorter), 2)
    assert "holds a run of another sweep" in err
    (cluster.folder / "enough").touch()
    (sweep_folder / "note.txt").write_text("other code, another folder there")
    ended(cluster.submit(sweep_folder, *options, "--fetch", "back"), 0)
    data = read(sweep_folder / "back" / "later")
    assert [trial.status for trial in data.trials] == ["completed", "completed"]
    assert len(data.run["parts"]) == 2
    assert balanced(data)
    spent = {row[:-1]: row.joules for row in part.energy if row.lease}
    kept = {row[:-1]: row.joules for row in data.energy if row.lease}
    assert spent
    assert all(kept[key] >= joules for key, joules in spent.items())


def _until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stderr is not None
    seen = ""
    for line in process.stderr:
        seen += line
        if text in line:
            return seen
    raise AssertionError(seen)


@slow
@pytest.mark.variant
def test_any_program_comes_along(cluster: JobCluster, sweep_folder: Path) -> None:
    program = sweep_folder / "train.sh"
    program.write_text('#!/bin/sh\nprintf \'{"score": %s}\\n\' "$(cat number.txt)"\n')
    program.chmod(0o755)
    (sweep_folder / "number.txt").write_text("7")
    options = [part for each in ("workload=null", "command=[./train.sh]", "parameters={}") for part in ("--set", each)]
    ended(cluster.submit(sweep_folder, "sweep.yaml", "--run-id", "sh", "--fetch", "back", *options), 0)
    assert [row.metrics["score"] for row in read(sweep_folder / "back" / "sh").results] == [7]


@slow
def test_what_helm_test_runs_on_a_cluster_says_what_measured_its_trials(cluster: JobCluster) -> None:
    program = Path(__file__).parents[2] / "helm" / "energysweep" / "files" / "test.py"
    environment = {**cluster.environment, "DASHBOARD": cluster.url, "SETTINGS": "[]"}
    command = [sys.executable, str(program)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stderr
    assert re.search(r"2 trials have run and cost ≈[0-9.]+ J, by: .*cpu by estimate", done.stdout)


@slow
def test_ray_job_submit_runs_a_sweep_too_and_fails_where_a_trial_has(cluster: JobCluster, sweep_folder: Path) -> None:
    done = subprocess.run(
        [
            *(BIN / "ray", "job", "submit", "--address", cluster.url, "--working-dir", ".", "--"),
            *("python", "-m", "energysweep", "run", "sweep.yaml", "--address", "auto"),
            *("--output", cluster.folder / "results", "--run-id", "ray"),
            *("--set", "parameters={kind: {grid: [sleep, nonsense]}, seconds: 0.1}"),
        ],
        cwd=sweep_folder,
        env=cluster.environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    data = read(cluster.folder / "results" / "ray")
    assert sorted(trial.status for trial in data.trials) == ["completed", "failed"]


@slow
def test_a_cluster_opens_to_its_token_only(cluster: JobCluster, sweep_folder: Path) -> None:
    for change, said in (
        ({"RAY_AUTH_MODE": "disabled"}, "wants a token: set RAY_AUTH_MODE=token"),
        ({"RAY_AUTH_TOKEN": "0" * 64, "RAY_AUTH_TOKEN_PATH": ""}, "refused the token"),
        ({"RAY_AUTH_TOKEN_PATH": "/nowhere"}, "no token for the cluster at"),
    ):
        _, err = ended(cluster.submit(sweep_folder, "sweep.yaml", **change), 2)
        assert said in err.splitlines()[-1]
    # Ray itself would take this address before any other.
    _, err = ended(cluster.submit(sweep_folder, "--job", "no", RAY_ADDRESS="http://127.0.0.1:1"), 2)
    assert "knows no job no" in err


@slow
def test_a_job_that_names_a_folder_outside_is_not_fetched(
    cluster: JobCluster, sweep_folder: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "autostart"
    told = json.dumps({"energysweep_run": str(outside)})
    command = [str(BIN / "ray"), "job", "submit", "--submission-id", "hostile", "--no-wait", "--address", cluster.url]
    subprocess.run(
        [*command, "--metadata-json", told, "--", "true"], env=cluster.environment, capture_output=True, check=True
    )
    _, err = ended(cluster.submit(sweep_folder, "--job", "hostile", "--fetch", "back"), 2)
    assert f"--job: '{outside}' is no run id" in err
    assert not outside.exists()


@slow
def test_a_cluster_without_energysweep_is_told_as_that(cluster: JobCluster, sweep_folder: Path) -> None:
    hidden = sweep_folder / "energysweep"  # what the job's Python finds first, and cannot run
    hidden.mkdir()
    (hidden / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'energysweep'\")")
    # From another folder: here, this side's Python must not find it.
    code, err = ended_as_it_may(cluster.submit(cluster.folder, str(sweep_folder / "sweep.yaml")))
    assert code == 1
    assert "energysweep is not installed where the cluster" in err.splitlines()[-1]


def ended_as_it_may(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, err = process.communicate(timeout=300)
    return process.returncode, err


class _Answers(BaseHTTPRequestHandler):
    """Something that is no Ray, or an old one."""

    def do_GET(self) -> None:
        old = self.path == "/old/api/version"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"ray_version": "2.9.3"}' if old else b"<html>Welcome</html>")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("{web}", "what answers at {web} is no Ray dashboard (HTTP status 200)"),
        ("{web}/old", "runs Ray 2.9.3; needed is 2.50 or newer"),
        ("http://127.0.0.1:{closed}", "no Ray dashboard answers at http://127.0.0.1:{closed}: Connection refused"),
        ("ray://127.0.0.1:10001", "is the address of the Ray client; give the address of the cluster's dashboard"),
        ("ftp://head", "ftp://head is no address of a cluster; give the address of the cluster's dashboard"),
        ("http://head:99999", "Port out of range 0-65535"),
        ("auto:x", "auto:x: "),
    ],
)
def test_what_is_no_cluster_is_one_clear_message(
    sweep_folder: Path, web: str, capsys: pytest.CaptureFixture[str], address: str, message: str
) -> None:
    values = {"web": web, "closed": free_port()}
    assert main(["submit", str(sweep_folder / "sweep.yaml"), "--address", address.format(**values)]) == 2
    assert message.format(**values) in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["sweep.yaml"], "submit needs the address"),
        (["--address", "http://head"], "submit needs a sweep's file, or --job ID"),
        (["sweep.yaml", "--job", "x", "--address", "http://head"], "submit needs a sweep's file, or --job ID"),
        (["--job", "x", "--no-wait", "--address", "http://head"], "no --set, --run-id or --no-wait with it"),
        (["sweep.yaml", "--no-wait", "--fetch", "d", "--address", "http://head"], "nothing to fetch yet"),
        (["sweep.yaml", "--run-id", "../x", "--address", "http://head"], "'../x' is no run id"),
        (["sweep.yaml", "--run-id", "x\n", "--address", "http://head"], "is no run id"),
        (["sweep.yaml", "--fetch", "taken", "--run-id", "r", "--address", "http://head"], "is no run folder"),
        (["sweep.yaml", "--fetch", "/proc", "--address", "http://head"], "--fetch: cannot be written"),
        (["missing.yaml", "--address", "http://head"], "missing.yaml: there is no such file"),
    ],
)
def test_options_that_do_not_go_together_are_told(
    sweep_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(sweep_folder)
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    (sweep_folder / "taken" / "r").mkdir(parents=True)
    assert main(["submit", *options]) == 2
    assert message in capsys.readouterr().err
