"""A real Prometheus, configured with nothing but /sd, watches a sweep on two nodes in which much goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from ray.util import get_node_ip_address

from energysweep.core.metrics import EXPRESSIONS, FAMILIES
from energysweep.core.runfolder import LEDGER
from energysweep.ledger.store import LedgerData
from energysweep.monitoring import Json
from energysweep.monitoring.panels import OWNERS
from energysweep.report import summarise
from tests.conftest import need
from tests.driver.test_cluster import Cluster, command_of, two_raylets, wait_for_nodes
from tests.driver.test_resume import STEPS, read, wait_for
from tests.monitoring.test_rules import ALERTS, OF_MINUTES, RECORDS
from tests.support.brought_back import brought_back, charged, differing
from tests.support.expressions import DASHBOARDS, EMPTY_WHILE_IT_RUNS, TARGETS, VARIABLES
from tests.support.grafana import View, numbers, summed, target
from tests.support.ledgers import booked
from tests.support.ports import free_port
from tests.support.prometheus import Prometheus, http_sd
from tests.support.sweeps import SWEEP, TRACE
from tests.support.watched import just_after_the_end, rules, shortly_before_the_end
from tests.support.web import get

# No data, and why.
NOT_HERE = {
    **{("≈ Saved", query): "no scheduler stops a trial early" for query in "ABC"},
    ("Left of the budget", "A"): "the sweep has no budget",
    ("$measured_sweeps Sweeps", "saved"): "no scheduler stops a trial early",
}

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),
    pytest.mark.timeout(1800),
]

HEAD_IP = get_node_ip_address()  # what Ray tells a driver that runs here
WORKER_IP = "127.0.0.2"


def sd(port: int, host: str = HEAD_IP) -> set[str]:
    """The targets that an agent names."""
    return {target["targets"][0] for target in json.loads(get(f"http://{host}:{port}/sd"))}


def prepare(folder: Path) -> None:
    (folder / "work.py").write_text(dedent(STEPS))
    (folder / "trace.csv").write_text(TRACE)
    (folder / "sweep.yaml").write_text(dedent(SWEEP))


def start_sweep(cluster: Cluster, folder: Path, port: int, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "energysweep", "run", "sweep.yaml", "--run-id", "watched"),
            *("--metrics-port", str(port), "--address", cluster.address, "--set", "max_failures=3", *options),
            *("--set", f"storage={folder}/tune"),
        ],
        cwd=folder,
        env=cluster.environments["head"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def agent_of(cluster: Cluster, name: str) -> int:
    """The pid of a host's agent."""
    (pid,) = [pid for pid in cluster.processes_of(name) if b"--detach" in command_of(pid)]
    return pid


@dataclass
class Watched:
    """A sweep that has ended, and what was seen of it."""

    data: LedgerData
    folder: Path
    prometheus: Prometheus
    every_minute: Prometheus
    port: int
    sd_of_worker: set[str]
    targets: set[str]
    killed: str
    agents: dict[str, list[int]]
    began: float
    well: float
    moment: float

    def while_it_ran(self) -> View:
        """As an operator sees it shortly before the last trial ends."""
        return View(self.prometheus.url, self.began - 5, self.well)

    def just_after(self) -> View:
        """As an operator sees it when the sweep has ended, and its series are still there."""
        return View(self.prometheus.url, self.began - 5, self.moment)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Three trials: one of half a second, one whose worker is killed; and the agents of both nodes are restarted."""
    need("prometheus")
    folder = tmp_path_factory.mktemp("watched")
    prepare(folder)
    seconds, minutes = folder / "prometheus-1s", folder / "prometheus-60s"
    seconds.mkdir()
    minutes.mkdir()
    port = free_port()
    with (
        two_raylets(linger="300") as cluster,  # as it is for everybody
        Prometheus(seconds, [http_sd(port, host=HEAD_IP)], rules(seconds)) as prometheus,
        Prometheus(minutes, [http_sd(port, host=HEAD_IP, refresh="60s")], interval="60s") as every_minute,
    ):
        cluster.start("worker", f"--address={cluster.address}", ip=WORKER_IP)
        wait_for_nodes(cluster)
        began = time.time()
        sweep = start_sweep(
            cluster,
            folder,
            port,
            # Long enough for all that follows: Prometheus may take a quarter of it to find both agents.
            *("--set", "parameters={steps: {grid: [2, 200, 201]}}", "--file-sd", str(folder / "targets.json")),
            *("--set", "objective={metric: score, mode: max, target: 1}"),
        )
        run = folder / "results" / "watched"

        def reports(node: str) -> Callable[[], bool]:
            """A trial on the node has got on well by now, under an agent that is there."""
            results = read(run).results if (run / LEDGER).exists() else []
            seen = {(row.trial, row.iteration) for row in results}

            def enough() -> bool:
                assert sweep.poll() is None, sweep.stderr and sweep.stderr.read()
                if not (run / LEDGER).exists():
                    return False
                data = read(run)
                on_node = {lease.trial for lease in data.leases if lease.node == node and lease.closed_at is None}
                new = (row for row in data.results if (row.trial, row.iteration) not in seen)
                return sum(row.trial in on_node for row in new) >= 8

            return enough

        wait_for(reports("worker"))
        wait_for(lambda: len(prometheus.targets()) == 2)
        targets = {target["labels"]["instance"] for target in prometheus.targets()}
        sd_of_worker = sd(port, WORKER_IP)
        victim = max(
            (lease for lease in read(run).leases if lease.node == "worker" and lease.closed_at is None),
            key=lambda lease: lease.opened_at,
        )
        os.kill(victim.pid, signal.SIGKILL)
        wait_for(reports("head"))
        agents = {node: [agent_of(cluster, node)] for node in ("head", "worker")}
        os.kill(agents["head"][0], signal.SIGTERM)
        wait_for(reports("head"))
        os.kill(agents["worker"][0], signal.SIGKILL)
        _, messages = sweep.communicate(timeout=300)
        assert sweep.returncode == 0, messages
        for node, pids in agents.items():
            pids.append(agent_of(cluster, node))
        data = read(run)
        with suppress(AssertionError):  # a test says what differs
            wait_for(lambda: prometheus.values(PER_TRIAL, "trial") == close_to(booked(data)))
        moment = just_after_the_end(prometheus, time.time())
        yield Watched(
            *(data, folder, prometheus, every_minute, port, sd_of_worker, targets, victim.trial, agents),
            *(began, shortly_before_the_end(prometheus, data, began), moment),
        )


PER_TRIAL = 'sum by (trial) (max_over_time(energysweep_trial_energy_joules_total{sweep="watched"}[15m]))'


def close_to(joules: dict[str, float]) -> dict[str, Any]:
    return {trial: pytest.approx(value, rel=0.01) for trial, value in joules.items()}


def test_what_was_meant_to_go_wrong_did(watched: Watched) -> None:
    assert {meter.node for meter in watched.data.meters} == {"head", "worker"}
    assert "failed" in {row.outcome for row in watched.data.attempts if row.trial == watched.killed}
    for killed, later in watched.agents.values():
        assert killed != later
    cpu_seconds = watched.prometheus.values(
        "max by (node) (max_over_time(energysweep_agent_cpu_seconds_total[15m]))", "node"
    )
    assert cpu_seconds.keys() == {"head", "worker"}


def test_every_trial_s_value_equals_the_ledger_s(watched: Watched) -> None:
    scraped, joules = watched.prometheus.values(PER_TRIAL, "trial"), booked(watched.data)
    assert len(joules) == 3
    assert scraped == close_to(joules)
    (short,) = (row.trial for row in watched.data.trials if row.parameters["steps"] == 2)
    held_seconds = sum(lease.held_seconds for lease in watched.data.leases if lease.trial == short)
    assert 0 < scraped[short] <= 100 * held_seconds + 10
    assert scraped[watched.killed] > 0


def test_no_series_went_down_or_changed_its_name_in_a_restart(watched: Watched) -> None:
    for family in FAMILIES:
        # An agent's own are of its process.
        if family.kind == "counter" and not family.name.startswith("energysweep_agent_"):
            assert watched.prometheus.query(f"resets({family.name}[15m]) > 0") == []
            assert watched.prometheus.query(f"max_over_time({family.name}[15m])"), family.name
    # The same addresses before and after, so the same instances.
    instances = watched.prometheus.values("count by (instance) (last_over_time(up[15m]))", "instance")
    assert instances.keys() == watched.targets == {f"{HEAD_IP}:{watched.port}", f"{WORKER_IP}:{watched.port}"}


def test_each_agent_names_both_and_so_does_the_file(watched: Watched) -> None:
    assert watched.sd_of_worker == watched.targets
    assert sd(watched.port) == watched.targets
    groups = json.loads((watched.folder / "targets.json").read_text())
    assert {target for group in groups for target in group["targets"]} == watched.targets
    assert {group["labels"]["__meta_energysweep_node"] for group in groups} == {"head", "worker"}


def test_the_sweep_is_told_of_by_the_driver_s_agent_alone(watched: Watched) -> None:
    for family in ("info", "start_timestamp_seconds", "end_timestamp_seconds"):
        (series,) = watched.prometheus.query(f"last_over_time(energysweep_sweep_{family}[15m])")
        assert series["metric"]["instance"] == f"{HEAD_IP}:{watched.port}"
    states = watched.prometheus.values("last_over_time(energysweep_sweep_trials[15m])", "state")
    assert states["completed"] == 3
    reports = watched.prometheus.values("sum by (trial) (max_over_time(energysweep_trial_reports_total[15m]))", "trial")
    assert set(reports) == set(booked(watched.data))
    assert min(reports.values()) >= 2


@pytest.mark.parametrize(("question", "expression"), EXPRESSIONS)
def test_the_document_s_expressions_have_an_answer(watched: Watched, question: str, expression: str) -> None:
    answer = watched.prometheus.wait_for(expression, 30)
    if question == "joules per configuration":
        joules = {each["metric"]["config"]: float(each["value"][1]) for each in answer}
        of_trial = booked(watched.data)
        assert joules == {
            f"steps={row.parameters['steps']}": pytest.approx(of_trial[row.trial], rel=0.01)
            for row in watched.data.trials
        }


@pytest.mark.parametrize("moment", ["while_it_ran", "just_after"])
@pytest.mark.parametrize(("dashboard", "title", "query"), TARGETS)
def test_a_query_of_a_panel_finds_data(watched: Watched, dashboard: Json, title: str, query: Json, moment: str) -> None:
    view: View = getattr(watched, moment)()
    found = view.ask(query, view.choose(dashboard))
    where = (title, query["refId"])
    has_ended = moment == "just_after"
    is_empty = where in NOT_HERE or (not has_ended and where in EMPTY_WHILE_IT_RUNS)
    assert bool(found) != is_empty


@pytest.mark.parametrize(("dashboard", "variable"), VARIABLES)
def test_a_variable_has_the_values_of_both_nodes(watched: Watched, dashboard: Json, variable: Json) -> None:
    view = watched.just_after()
    options = view.options(variable, view.choose(dashboard))
    found = list(options)
    expected = {
        "sweep": ["watched"],
        "hardware": [],  # the sweep names none
        "node": ["head", "worker"],
        "parameter": ["steps"],
        "metric": ["score"],
    }
    if variable["name"].startswith("measured"):
        assert (found[0], options[found[0]]) == ("↻", "↻ replayed")
    else:
        assert found == expected[variable["name"]]


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=list(DASHBOARDS))
def test_the_annotations_are_where_the_sweep_began_and_ended(watched: Watched, dashboard: Json) -> None:
    view = watched.just_after()
    chosen = view.choose(dashboard)
    start, end = (view.lines(view.fill(mark["expr"], chosen)) for mark in dashboard["annotations"]["list"][:2])
    (began,), (ended,) = ({float(value) / 1000 for _, value in series["values"]} for (series,) in (start, end))
    assert watched.began < began < ended < watched.moment


@pytest.mark.parametrize(
    "rule", [rule for rule in RECORDS if rule not in OF_MINUTES], ids=lambda rule: str(rule["record"])
)
def test_a_recording_rule_has_recorded_every_node_that_it_tells_of(watched: Watched, rule: dict[str, Any]) -> None:
    recorded = watched.while_it_ran().lines(rule["record"])
    assert recorded
    level = str(rule["record"]).split(":")[0].split("_")
    if "node" in level:
        assert {series["metric"]["node"] for series in recorded} == {"head", "worker"}


def test_every_rule_can_be_worked_out_on_two_nodes(watched: Watched) -> None:
    health = {
        rule["name"]: (rule["health"], rule.get("lastError", ""))
        for group in watched.prometheus.rules()
        for rule in group["rules"]
    }
    assert {alert["alert"] for alert in ALERTS} | {rule["record"] for rule in RECORDS} == health.keys()
    assert {name: each for name, each in health.items() if each != ("ok", "")} == {}


def test_on_both_nodes_the_joules_of_all_owners_are_those_of_the_meters(watched: Watched) -> None:
    view, dashboard = watched.just_after(), DASHBOARDS["energysweep-nodes"]

    def of(reference: str) -> dict[tuple[str, ...], float]:
        query = target(dashboard, "$measured Energy by owner against the meters", reference)
        return numbers(view.ask(query, view.choose(dashboard)), "node")

    owners = [of(bucket) for bucket in OWNERS]
    metered = of("metered")
    assert metered.keys() == {("head",), ("worker",)}
    assert min(metered.values()) > 0
    for node, joules in metered.items():
        assert sum(owner[node] for owner in owners) == pytest.approx(joules, rel=1e-9)
    assert of("booked") == pytest.approx(metered, rel=1e-9)
    assert of("difference") == pytest.approx(dict.fromkeys(metered, 0.0), abs=1e-6)


def test_what_the_sweep_has_cost_is_what_its_report_charges_on_both_nodes(watched: Watched) -> None:
    totals = summarise(watched.data).totals
    view, dashboard = watched.just_after(), DASHBOARDS["energysweep-sweep"]

    joules = charged(totals)
    assert summed(view, dashboard, "$measured Energy") == pytest.approx(joules)
    found = numbers(view.ask(target(dashboard, "$measured CO2e", "A"), view.choose(dashboard)))
    assert found == {(): pytest.approx(totals.emissions_grams)}


def test_brought_back_weeks_later_every_number_is_that_of_the_report(watched: Watched, tmp_path: Path) -> None:
    with brought_back(tmp_path, watched.data) as view:
        assert differing(view, watched.data, "steps") == {}


def test_promtool_finds_nothing_wrong_with_a_real_scrape(watched: Watched) -> None:
    text = get(f"http://{WORKER_IP}:{watched.port}/metrics")
    done = subprocess.run(
        [need("promtool"), "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if "energysweep_meter_counter_resets_total" not in line]
    assert (done.stdout, complaints) == ("", [])


def test_at_a_scrape_a_minute_the_final_values_are_there_as_well(watched: Watched) -> None:
    joules = booked(watched.data)
    # It may hear of an agent a minute late, two if /sd was being restarted, and then waits another for the scrape.
    deadline = watched.moment + 240
    while True:
        scraped = watched.every_minute.values(PER_TRIAL, "trial")
        if scraped == close_to(joules):
            return
        assert time.time() < deadline, (scraped, joules)
        time.sleep(1.0)


@pytest.mark.variant
def test_an_agent_that_joins_is_found_and_one_that_leaves_is_dropped(tmp_path: Path) -> None:
    prepare(tmp_path)
    port = free_port()
    own, other = f"{HEAD_IP}:{port}", f"{WORKER_IP}:{port}"

    def named() -> set[str]:
        try:
            return sd(port)
        except OSError:
            return set()

    with two_raylets() as cluster:
        sweep = start_sweep(cluster, tmp_path, port, "--set", "parameters={steps: {grid: [4000, 4001]}}")
        wait_for(lambda: named() == {own})
        cluster.start("worker", f"--address={cluster.address}", ip=WORKER_IP)
        wait_for(lambda: named() == {own, other})
        cluster.lose("worker")
        wait_for(lambda: named() == {own})
        sweep.send_signal(signal.SIGINT)
        sweep.communicate(timeout=300)
