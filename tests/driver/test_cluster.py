"""A sweep on two raylets that play two hosts: each has an agent of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from ray._raylet import GcsClient  # type: ignore[attr-defined] # compiled, without stubs
from ray.exceptions import RayError

from energysweep.core.records import EnergyRow, LeaseRow
from energysweep.core.runfolder import LEDGER
from energysweep.ledger.store import LedgerData
from energysweep.report import summarise
from energysweep.report.not_measured import not_measured
from tests.driver.test_race import STEPS, check_race
from tests.driver.test_resume import read, wait_for
from tests.support.ledgers import window_seconds
from tests.support.ports import free_port
from tests.support.sweeps import PATIENT, TRACE, UNTIL, WORK

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.filterwarnings("default")]

WORKER_IP = "127.0.0.2"
STARTS_WITHIN = 600  # seconds, of a raylet or a driver
RAY = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1"]


@dataclass
class Cluster:
    """Two raylets; ``environments`` are what makes them two hosts to energysweep, ``folder`` has their trace."""

    address: str
    folder: Path
    environments: dict[str, dict[str, str]]
    processes: dict[str, subprocess.Popen[bytes]]

    @property
    def meters(self) -> str:
        """The setting by which every sweep is one for the same agents."""
        return f'meters=["replay:{self.folder}/trace.csv"]'

    def start(self, name: str, *options: str, ip: str = "127.0.0.1") -> None:
        self.processes[name] = subprocess.Popen(
            [*RAY, f"--node-ip-address={ip}", *options],
            env=self.environments[name],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def processes_of(self, name: str) -> list[int]:
        """All processes that were started with this host's environment: raylet, workers, agent."""
        needle = f"ENERGYSWEEP_HOST={self.environments[name]['ENERGYSWEEP_HOST']}".encode()
        found = []
        for process in Path("/proc").iterdir():
            if process.name.isdigit() and int(process.name) != os.getpid():
                try:
                    if needle in (process / "environ").read_bytes().split(b"\0"):
                        found.append(int(process.name))
                except OSError:
                    continue
        return found

    def lose(self, name: str) -> None:
        """What happens to a host whose power fails."""
        for pid in self.processes_of(name):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def command_of(pid: int) -> bytes:
    """A process's command line; nothing if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def agents_of(cluster: Cluster, name: str) -> list[int]:
    """The agent's processes on a host."""
    return [pid for pid in cluster.processes_of(name) if b"--detach" in command_of(pid)]


@contextlib.contextmanager
def two_hosts(worker: str = "worker") -> Iterator[Cluster]:
    """Two hosts at one address, or one host with two raylets."""
    with two_raylets(worker) as cluster:
        cluster.start("worker", f"--address={cluster.address}", "--labels=tier=second", '--resources={"scratch": 2}')
        wait_for_nodes(cluster)
        yield cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two hosts, for all tests that leave both as they are; their agents stay, too."""
    with two_hosts() as cluster:
        yield cluster


@pytest.fixture
def cluster_of_one_host() -> Iterator[Cluster]:
    """Two raylets of one host."""
    with two_hosts("head") as cluster:
        yield cluster


@contextlib.contextmanager
def two_raylets(worker: str = "worker", linger: str = "600") -> Iterator[Cluster]:
    """The head of a cluster; its other raylet, on the host of that name, is yet to be started.

    Args:
        worker: the other raylet's host.
        linger: seconds that agents stay for without leases, whoever starts them; they end with the cluster.
    """
    hosts = {"head": "head", "worker": worker}
    folder = Path(tempfile.mkdtemp(prefix="energysweep-"))
    port = free_port()
    environments = {
        name: os.environ
        | PATIENT
        | {
            "ENERGYSWEEP_HOST": f"{folder.name}-{hosts[name]}",
            "ENERGYSWEEP_NODE": hosts[name],
            "ENERGYSWEEP_SOCKET": f"{folder}/{hosts[name]}.sock",
            "ENERGYSWEEP_STATE": str(folder),
            "ENERGYSWEEP_LINGER": linger,
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        for name in ("head", "worker")
    }
    (folder / "trace.csv").write_text(TRACE)
    cluster = Cluster(f"127.0.0.1:{port}", folder, environments, {})
    try:
        cluster.start("head", "--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={folder}/ray")
        wait_for(lambda: listens(port))  # a raylet does not wait long for its head
        yield cluster
    finally:
        for name in environments:
            cluster.lose(name)
        for process in cluster.processes.values():
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True


# Begins when all are there: Tune may give a trial the worker of one that has ended, where its own is still to come.
TOGETHER = """

def together(config):
    import os, pathlib
    folder = pathlib.Path(config["meet"])
    folder.mkdir(exist_ok=True)
    (folder / str(os.getpid())).touch()
    end = time.monotonic() + 120
    while len(list(folder.iterdir())) < config["trials"]:
        assert time.monotonic() < end, "the others did not come"
        time.sleep(0.05)
    train(config)
"""


def together(sweep_folder: Path, trials: int) -> list[str]:
    """Overrides that make so many trials wait for each other: they have so many places at once."""
    (sweep_folder / "work.py").write_text(WORK + TOGETHER)
    meet = (f"parameters.meet={sweep_folder}/meet", f"parameters.trials={trials}")
    return ["workload=work.py:together", *meet]


def sweep_on(cluster: Cluster, sweep_folder: Path, run_id: str, *overrides: str) -> subprocess.Popen[str]:
    options = [part for override in (cluster.meters, *overrides) for part in ("--set", override)]
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "energysweep", "run", "sweep.yaml", "--run-id", run_id),
            *("--metrics-port", "0", "--address", cluster.address, *options),
        ],
        cwd=sweep_folder,
        env=cluster.environments["head"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def hosts_apart() -> Iterator[Cluster]:
    """Two hosts with addresses of their own, whose agents do not stay."""
    with two_raylets(linger="1") as cluster:
        yield cluster


@pytest.fixture
def apart(hosts_apart: Cluster) -> Cluster:
    """Two hosts with addresses of their own, and no agents yet, or no more. The test may lose the worker."""
    worker = hosts_apart.processes.get("worker")
    if worker is None or worker.poll() is not None:
        hosts_apart.start("worker", f"--address={hosts_apart.address}", ip=WORKER_IP)
        wait_for_nodes(hosts_apart)
    wait_for(lambda: not any(agents_of(hosts_apart, name) for name in hosts_apart.environments))
    return hosts_apart


def wait_for_nodes(cluster: Cluster) -> None:
    """Both raylets have registered: a driver that is quicker would only know one."""

    def both() -> bool:
        try:
            nodes = GcsClient(address=cluster.address).get_all_node_info(timeout=10)
        except RayError:  # the head does not answer yet
            return False
        return sum(node.state == 0 for node in nodes.values()) == 2  # GcsNodeInfo.ALIVE

    wait_for(both, STARTS_WITHIN)


def ended(sweep: subprocess.Popen[str], seconds: float = 300) -> tuple[str, str]:
    out, err = sweep.communicate(timeout=seconds)
    assert sweep.returncode == 0, err
    return out, err


def balanced(data: LedgerData) -> bool:
    error = summarise(data).totals.conservation_error_ratio
    return error is not None and error < 1e-3


def test_trials_on_two_hosts_are_measured_by_two_agents(cluster: Cluster, sweep_folder: Path) -> None:
    validate = [sys.executable, "-m", "energysweep", "validate", "sweep.yaml", "--address", cluster.address]
    for hardware, code in (("{x: {resources: {cpu: 1}}}", 0), ("{x: {resources: {cpu: 2}}}", 2)):
        checked = subprocess.run(
            [*validate, "--set", f"hardware={hardware}"],
            cwd=sweep_folder,
            env=cluster.environments["head"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert checked.returncode == code, checked.stderr
    assert "hardware.x: no node has CPU 2" in checked.stderr
    ended(sweep_on(cluster, sweep_folder, "two", "parameters.seconds=1.5", *together(sweep_folder, 2)))

    data = read(sweep_folder / "results" / "two")
    nodes = {lease.trial: lease.node for lease in data.leases}
    assert sorted(nodes.values()) == ["head", "worker"]
    assert {meter.node for meter in data.meters} == {"head", "worker"}
    for trial in summarise(data).trials:
        assert trial.energy_joules > 0
        assert trial.coverage == pytest.approx(1.0, abs=0.02)
    assert balanced(data)


def test_every_configuration_runs_on_each_profile_where_its_resources_and_labels_are(
    cluster: Cluster, sweep_folder: Path
) -> None:
    profiles = (
        "hardware={any: {resources: {cpu: 1}}, labelled: {resources: {cpu: 1}, labels: {tier: second}},"
        " custom: {resources: {cpu: 0.5, scratch: 2}}}"
    )
    ended(sweep_on(cluster, sweep_folder, "profiles", "parameters.seconds=0.1", profiles))

    data = read(sweep_folder / "results" / "profiles")
    node_of = {lease.trial: lease.node for lease in data.leases}
    placed = [(trial.hardware, node_of[trial.trial]) for trial in data.trials]
    assert sorted(hardware for hardware, _ in placed) == ["any", "any", "custom", "custom", "labelled", "labelled"]
    assert {node for hardware, node in placed if hardware != "any"} == {"worker"}
    configurations = summarise(data).configurations
    assert sorted((each.hardware, each.config) for each in configurations) == sorted(
        (hardware, f"kind={kind}") for hardware in ("any", "custom", "labelled") for kind in ("burn", "sleep")
    )


@pytest.mark.parametrize("named_by", ["--address", pytest.param("RAY_ADDRESS", marks=pytest.mark.variant)])
def test_a_cluster_s_other_nodes_are_asked_at_their_own_addresses(
    apart: Cluster, sweep_folder: Path, named_by: str
) -> None:
    targets = sweep_folder / "targets.json"
    changes = ("parameters.seconds=1.5", f"storage={sweep_folder}/tune", *together(sweep_folder, 2))
    options = ["--file-sd", str(targets), *(part for change in changes for part in ("--set", change))]
    given = ["--address", apart.address] if named_by == "--address" else []
    run = [sys.executable, "-m", "energysweep", "run", "sweep.yaml", "--run-id", "it", "--metrics-port", "0"]
    done = subprocess.run(
        [*run, *given, *options],
        cwd=sweep_folder,
        env=apart.environments["head"] | ({} if given else {"RAY_ADDRESS": apart.address}),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    data = read(sweep_folder / "results" / "it")
    assert sorted(lease.node for lease in data.leases) == ["head", "worker"]
    assert {meter.node for meter in data.meters} == {"head", "worker"}
    assert all(trial.energy_joules > 0 for trial in summarise(data).trials)
    assert balanced(data)
    # Here all hosts share a loopback, so that an agent that listens there only would have been heard, too.
    hosts = {target.rpartition(":")[0] for group in json.loads(targets.read_text()) for target in group["targets"]}
    assert len(hosts) == 2
    assert WORKER_IP in hosts
    assert "127.0.0.1" not in hosts


OWN_TUNER = """
import sys, time
import ray
from ray import tune
import energysweep
from energysweep.tune.registry import Registry


def burn(config):
    for _ in range(4):
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            pass
        tune.report({"score": config["x"]})


address, folder = sys.argv[1:]
ray.init(address=address, log_to_driver=False)
results = tune.Tuner(
    energysweep.metered(burn, meters=(f"replay:{folder}/trace.csv",)),
    param_space={"x": tune.grid_search([1, 2])},
    run_config=tune.RunConfig(name="own", storage_path=f"{folder}/tune", verbose=0),
).fit()
assert all(result.metrics["energy_joules"] > 0 for result in results)
print("agents:", *Registry("own").agents())
"""


def test_a_tuner_of_one_s_own_on_a_cluster_has_agents_that_others_reach(apart: Cluster, sweep_folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OWN_TUNER, apart.address, str(sweep_folder)],
        env=apart.environments["head"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("agents: "))
    hosts = sorted(urlsplit(url).hostname or "" for url in line.split()[1:])
    assert len(hosts) == 2
    assert WORKER_IP in hosts


def test_several_raylets_on_one_host_are_one_host(cluster_of_one_host: Cluster, sweep_folder: Path) -> None:
    began = time.monotonic()
    # Three at once on two raylets of one CPU each.
    sweep = sweep_on(
        cluster_of_one_host,
        sweep_folder,
        "three",
        "parameters={kind: {grid: [burn, sleep, spawn]}}",
        "hardware={half: {resources: {cpu: 0.5}}}",
        *together(sweep_folder, 3),
    )
    ended(sweep)
    elapsed = time.monotonic() - began

    data = read(sweep_folder / "results" / "three")
    leases = sorted(data.leases, key=lambda lease: lease.opened_at)
    assert len(leases) == 3
    assert max(lease.opened_at for lease in leases) < min(lease.closed_at or 0 for lease in leases)  # at the same time
    assert {(lease.host, lease.window) for lease in leases} == {(leases[0].host, leases[0].window)}  # one agent
    totals = summarise(data).totals
    assert totals.conservation_error_ratio is not None
    assert totals.conservation_error_ratio < 1e-3
    # Half a second of 100 W: a busy host may make the agent wait between its look at the clock and at the meters.
    assert totals.energy_joules == pytest.approx(100 * window_seconds(data, elapsed), rel=1e-3, abs=50)


def test_two_sweeps_at_once_show_each_others_trials_apart(cluster: Cluster, sweep_folder: Path) -> None:
    changes = ("parameters={kind: burn, seconds: 2}", *together(sweep_folder, 2))
    one = sweep_on(cluster, sweep_folder, "one", "name=one", *changes)
    other = sweep_on(cluster, sweep_folder, "other", "name=other", *changes)
    ended(one)
    ended(other)

    runs = {name: read(sweep_folder / "results" / name) for name in ("one", "other")}
    for data in runs.values():
        assert balanced(data)
        assert {lease.trial for lease in data.leases} == {trial.trial for trial in data.trials}
    # What one sweep saw of the other on the driver's host is what the other's own report says, as far as their windows
    # were open at the same time. The agent, which serves both, is half of it in each.
    for mine, its in (("one", "other"), ("other", "one")):
        seen = bucket(runs[mine], "other_sweeps", "head")
        own = sum(row.joules for row in rows_of(runs[its], "head") if row.lease) + bucket(runs[its], "overhead", "head")
        assert 0 < seen <= own * 1.02 + 5


def rows_of(data: LedgerData, node: str) -> list[EnergyRow]:
    windows = {meter.window for meter in data.meters if meter.node == node}
    return [row for row in data.energy if row.window in windows]


def bucket(data: LedgerData, name: str, node: str) -> float:
    return sum(row.joules for row in rows_of(data, node) if row.bucket == name)


def test_a_trial_on_a_lost_host_goes_on_elsewhere_and_keeps_its_joules(apart: Cluster, sweep_folder: Path) -> None:
    (sweep_folder / "work.py").write_text(UNTIL)
    folder = sweep_folder / "results" / "lost"
    sweep = sweep_on(
        apart,
        sweep_folder,
        "lost",
        f"parameters={{file: {sweep_folder}/enough, number: {{grid: [1, 2]}}}}",
        "max_failures=2",
        f"storage={folder}-tune",
    )

    def well_on_its_way() -> bool:
        if not (folder / LEDGER).exists():
            return False
        data = read(folder)
        on_worker = {lease.trial: lease.lease for lease in data.leases if lease.node == "worker"}
        return any(row.iteration >= 8 for row in data.results if row.trial in on_worker) and any(
            row.joules > 0 for row in data.energy if row.lease in on_worker.values()
        )

    wait_for(well_on_its_way)
    apart.lose("worker")
    (sweep_folder / "enough").touch()
    ended(sweep)

    data = read(folder)
    (moved,) = {lease.trial for lease in data.leases if lease.node == "worker"}
    assert {lease.node for lease in data.leases if lease.trial == moved} == {"head", "worker"}
    energy = [row.energy_joules for row in data.results if row.trial == moved]
    assert energy == sorted(energy)
    summary = summarise(data)
    (trial,) = [each for each in summary.trials if each.trial == moved]
    assert (trial.status, trial.attempts) == ("completed", 2)
    on_worker = sum(
        row.joules
        for row in data.energy
        if row.lease in {lease.lease for lease in data.leases if (lease.trial, lease.node) == (moved, "worker")}
    )
    assert trial.energy_joules > on_worker > 0
    # It had reported what the driver had not polled yet: about the last second of 100 W, more where polls are late.
    assert energy[-1] - trial.energy_joules < 400
    assert "worker was lost: of what it drew in its last second or so nothing is booked." in not_measured(summary)
    assert balanced(data)


@pytest.mark.variant
def test_a_worker_that_is_killed_keeps_its_joules(cluster: Cluster, sweep_folder: Path) -> None:
    (sweep_folder / "work.py").write_text(UNTIL)
    folder = sweep_folder / "results" / "killed"
    sweep = sweep_on(cluster, sweep_folder, "killed", f"parameters={{file: {sweep_folder}/enough}}", "max_failures=1")

    def well_on_its_way() -> bool:
        if not (folder / LEDGER).exists():
            return False
        data = read(folder)
        return len(data.results) >= 8 and any(row.lease and row.joules > 0 for row in data.energy)

    wait_for(well_on_its_way)
    before = read(folder)
    (lease,) = before.leases
    reported = before.results[-1].energy_joules or 0
    os.kill(lease.pid, signal.SIGKILL)
    (sweep_folder / "enough").touch()
    ended(sweep)

    data = read(folder)
    (trial,) = summarise(data).trials
    assert (trial.status, trial.attempts) == ("completed", 2)
    energy = [row.energy_joules for row in data.results]
    assert energy == sorted(energy)
    first, second = sorted(data.leases, key=lambda each: each.opened_at)
    assert (first.attempt, second.attempt) == (1, 2)
    spent = {lease.lease: sum(row.joules for row in data.energy if row.lease == lease.lease) for lease in data.leases}
    assert spent[first.lease] >= reported > 0  # its work until it was killed; how much that is, other load decides
    assert trial.startup_joules is not None
    assert trial.energy_joules + trial.startup_joules == pytest.approx(sum(spent.values()))
    assert balanced(data)


@pytest.mark.variant
def test_a_race_goes_on_when_a_worker_is_killed_and_a_host_is_lost(apart: Cluster, sweep_folder: Path) -> None:
    # Nobody gets anywhere before there is a file, so that the race is not over before both hosts have taken part.
    steps = STEPS.replace("while at < 40:", "while at < 4000:")
    steps = steps.replace('at * config["rate"]', 'at * config["rate"] * pathlib.Path(config["file"]).exists()')
    (sweep_folder / "steps.py").write_text(steps)
    folder = sweep_folder / "results" / "race"
    sweep = sweep_on(
        apart,
        sweep_folder,
        "race",
        "workload=steps.py:train",
        f"parameters={{rate: {{grid: [0.02, 0.05, 0.15, 0.4]}}, file: {sweep_folder}/enough}}",
        "objective={metric: accuracy, mode: max, target: 0.8}",
        "repeats=2",
        "scheduler={type: race, winners: 2}",
        "max_concurrent_trials=2",
        "max_failures=4",
        f"storage={folder}-tune",
    )

    def reports_on(node: str) -> list[LeaseRow]:
        """Leases there of trials that have reported and may still work."""
        if not (folder / LEDGER).exists():
            return []
        data = read(folder)
        reported = Counter(row.trial for row in data.results)
        return [lease for lease in data.leases if lease.node == node and reported[lease.trial] >= 2]

    wait_for(lambda: reports_on("head") and reports_on("worker"))
    with contextlib.suppress(ProcessLookupError):  # a worker that was paused may have gone
        os.kill(reports_on("head")[-1].pid, signal.SIGKILL)
    reports = len(read(folder).results)
    wait_for(lambda: len(read(folder).results) > reports + 4)
    apart.lose("worker")
    (sweep_folder / "enough").touch()
    ended(sweep)

    data = read(folder)
    check_race(data)
    assert {lease.node for lease in data.leases} == {"head", "worker"}
    assert all(row.status in ("completed", "pruned") for row in data.trials)
    assert balanced(data)


@pytest.mark.variant
def test_an_agent_without_leases_lets_its_node_become_idle(cluster: Cluster, sweep_folder: Path) -> None:
    # Two at once: one on each host.
    changes = ("parameters={kind: sleep, seconds: {grid: [1, 1.1]}}", *together(sweep_folder, 2))
    ended(sweep_on(cluster, sweep_folder, "idle", *changes))

    agents = agents_of(cluster, "worker")
    assert agents, "the worker's agent is still there"
    code = (
        "import sys, time\n"
        "from ray.autoscaler.v2.sdk import get_cluster_status\n"
        "deadline = time.monotonic() + 120\n"
        f"while len(get_cluster_status('{cluster.address}').idle_nodes) < 2:\n"
        "    assert time.monotonic() < deadline\n"
        "    time.sleep(0.5)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=cluster.environments["head"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert set(agents) <= set(cluster.processes_of("worker"))
