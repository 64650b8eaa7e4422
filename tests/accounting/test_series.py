"""How long series stay, what they go on from, and how many there are."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import parser

from benchmarks.scrape import busy_node
from energysweep.accounting.accounts import Sweep
from energysweep.agent.agent import Agent
from energysweep.agent.exporter import exposition
from energysweep.core.errors import LeaseRefused
from energysweep.core.metrics import FAMILIES
from tests.support.fake_host import CPU, GPU, FakeHost

COUNTERS = {family.name for family in FAMILIES if family.kind == "counter"}
Series = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(agent: Agent) -> Series:
    text = exposition(agent.telling.snapshot(), "").text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def of_trial(series: Series, trial: str) -> dict[str, float]:
    """The sums over a trial's series, by family."""
    sums: dict[str, float] = {}
    for (name, labels), value in series.items():
        if ("trial", trial) in labels:
            sums[name] = sums.get(name, 0.0) + value
    return sums


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """A trial of one second at 100 W has just ended in a sweep that goes on."""
    host = FakeHost(tmp_path)
    host.agent.open_window("r").sweep = Sweep(grams_per_kwh=360.0)
    host.agent.join("r", host.tree.of(host.tree.fork()))
    pid = host.tree.fork()
    lease = host.open("t", pid, cpus=1)
    host.work(1.0, {pid: 4.0})
    host.agent.report(lease, {"accuracy": 0.5})
    host.agent.close_lease("r", lease)
    host.agent.close_trial("r", "t", is_over=True)
    return host


def pass_by(host: FakeHost, seconds: float) -> None:
    """Time passes, and a driver has everything in its ledger."""
    host.wait(seconds)
    host.agent.tick()
    host.agent.telling.totals("r", host.agent.telling.totals("r", 0)["revision"])
    host.agent.tick()


def test_an_ended_trial_s_series_stay_for_five_minutes(host: FakeHost) -> None:
    pass_by(host, 300.0)
    shown = of_trial(scrape(host.agent), "t")
    assert shown["energysweep_trial_energy_joules_total"] == pytest.approx(100)
    assert shown["energysweep_trial_power_watts"] == 0
    assert shown["energysweep_trial_emissions_grams_total"] == pytest.approx(0.01)  # 100 J x 360 g / 3.6 MJ
    assert shown["energysweep_trial_result"] == 0.5
    assert shown["energysweep_trial_reports_total"] == 1
    pass_by(host, 1.0)
    assert of_trial(scrape(host.agent), "t") == {}
    assert host.agent.windows["r"].trials == {}


def test_a_trial_that_may_go_on_keeps_its_joules_without_series(host: FakeHost) -> None:
    pid = host.tree.fork()
    lease = host.open("again", pid)
    host.work(1.0, {pid: 4.0})
    host.agent.close_lease("r", lease)  # its worker was killed, say
    pass_by(host, 1000.0)
    assert of_trial(scrape(host.agent), "again") == {}
    host.open("again", pid, lease="second")
    host.wait(0.2)
    host.agent.save()
    assert of_trial(scrape(host.agent), "again")["energysweep_trial_energy_joules_total"] == pytest.approx(100)


def test_nothing_stays_of_ten_thousand_trials(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.agent.open_window("r")
    host.agent.join("r", host.tree.of(host.tree.fork()))
    pid = host.tree.fork()
    for number in range(10_000):
        lease = host.open(f"trial-{number}", pid)
        host.agent.close_lease("r", lease)
        host.agent.close_trial("r", f"trial-{number}", is_over=True)
        if number % 1000 == 999:
            host.work(1.0, {pid: 1.0})
            host.agent.tick()
    pass_by(host, 0.0)
    assert exposition(host.agent.telling.snapshot(), "").text.count("energysweep_trial_info{") == 10_000
    pass_by(host, 301.0)
    assert 'trial="' not in exposition(host.agent.telling.snapshot(), "").text
    window = host.agent.windows["r"]
    assert (window.trials, window.leases) == ({}, {})
    assert len(host.state.read_text()) < 10_000


def test_an_ended_trial_s_series_go_on_over_the_agent_s_restart(host: FakeHost) -> None:
    host.wait(0.2)
    host.agent.save()
    before = of_trial(scrape(host.agent), "t")
    host.kill_agent()
    host.wait(200.0)
    host.start_agent()
    assert of_trial(scrape(host.agent), "t") == before
    host.wait(101.0)
    host.agent.tick()
    assert of_trial(scrape(host.agent), "t") == {}


def test_a_resumed_run_s_series_go_on_from_where_its_closed_window_stood(host: FakeHost) -> None:
    host.agent.close_window("r")
    host.agent.open_window("r").sweep = Sweep(grams_per_kwh=360.0)
    pid = host.tree.fork()
    lease = host.open("t", pid, cpus=1)
    host.work(0.5, {pid: 4.0})
    # The driver adds what earlier windows know; the agent only says what this one does.
    assert host.agent.close_lease("r", lease).joules == pytest.approx(50)
    host.wait(0.2)
    host.agent.save()
    shown = of_trial(scrape(host.agent), "t")
    assert shown["energysweep_trial_energy_joules_total"] == pytest.approx(150)
    assert shown["energysweep_trial_emissions_grams_total"] == pytest.approx(0.015)
    host.kill_agent()
    host.start_agent()
    assert of_trial(scrape(host.agent), "t") == shown


def test_what_a_failed_reading_left_open_is_not_lost_by_a_restart(host: FakeHost) -> None:
    pid = host.tree.fork()
    lease = host.open("u", pid)
    host.meter.failing = set(host.meter.watts)
    host.work(1.0, {pid: 4.0})
    host.agent.close_lease("r", lease)
    host.agent.tick()  # saved with nothing booked
    host.meter.failing = set()
    host.wait(1.0)
    host.agent.tick()
    before = of_trial(scrape(host.agent), "u")
    assert before["energysweep_trial_energy_joules_total"] > 0
    host.kill_agent()
    host.start_agent()
    assert of_trial(scrape(host.agent), "u") == before


def test_a_refused_lease_leaves_no_series(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, {GPU: 100.0})
    host.agent.open_window("r")
    lease = host.open("other", host.tree.fork())
    with pytest.raises(LeaseRefused, match="of another trial or process"):
        host.open("refused", host.tree.fork(), lease=lease)
    host.agent.tick()
    assert of_trial(scrape(host.agent), "refused") == {}


def test_a_scrape_never_shows_what_the_next_agent_would_not_know(host: FakeHost) -> None:
    one, other = host.tree.fork(), host.tree.fork()
    lease = host.open("one", one)
    host.open("other", other)
    host.wait(0.2)
    host.agent.tick()
    host.meter.watts[CPU] = 1000.0
    host.work(0.05, {one: 4.0})
    # 50 J, booked at once; but the state was saved less than 0.1 s ago.
    assert host.agent.close_lease("r", lease).joules == pytest.approx(50)
    before = of_trial(scrape(host.agent), "one")
    host.kill_agent()
    host.meter.watts[CPU] = 10.0
    host.work(10.0, {other: 4.0})
    host.start_agent()
    # The gap is one interval of 150 J, of which the one used a 200th of the CPU time.
    after = of_trial(scrape(host.agent), "one")
    assert after["energysweep_trial_energy_joules_total"] == pytest.approx(0.75, rel=0.01)
    assert before["energysweep_trial_energy_joules_total"] == 0


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["work", "tick", "open", "report", "close", "kill", "end", "close window", "scrape"]),
        st.floats(0.01, 30.0),
        st.integers(0, 3),
    ),
    max_size=30,
)


@given(STEPS)
def test_no_counter_ever_goes_down_whenever_the_agent_is_killed(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, float, int]]
) -> None:
    host = FakeHost(tmp_path_factory.mktemp("host"))
    pids = [host.tree.fork() for _ in range(4)]
    shown: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}

    def look() -> None:
        for key, value in scrape(host.agent).items():
            if key[0] in COUNTERS and key[0] != "energysweep_agent_cpu_seconds_total":
                assert value >= shown.get(key, 0.0), key
                shown[key] = value

    for step, seconds, number in steps:
        if step == "work":
            host.work(seconds, {pids[number]: 1.0, pids[0]: 0.5})
        elif step == "scrape":
            look()
        else:
            with contextlib.suppress(LeaseRefused):  # what is refused changes nothing
                DO[step](host, f"t{number}", pids[number])
    look()


def kill(host: FakeHost, _trial: str, _pid: int) -> None:
    host.kill_agent()
    host.start_agent()


def end(host: FakeHost, _trial: str, _pid: int) -> None:
    host.agent.end(keep_state=True)
    host.start_agent()


def open_lease(host: FakeHost, trial: str, pid: int) -> None:
    host.agent.open_window("r")
    host.open(trial, pid, cpus=1.0)


DO: dict[str, Callable[[FakeHost, str, int], object]] = {
    "tick": lambda host, _trial, _pid: host.agent.tick(),
    "open": open_lease,
    "report": lambda host, trial, _pid: host.agent.report(f"lease-{trial}"),
    "close": lambda host, trial, _pid: host.agent.close_lease("r", f"lease-{trial}"),
    "close window": lambda host, _trial, _pid: host.agent.close_window("r"),
    "kill": kill,
    "end": end,
}


def test_a_scrape_of_2000_live_trials_is_below_a_megabyte() -> None:
    text = exposition(busy_node(2000).telling.snapshot(), "application/openmetrics-text").text
    lines = [line for line in text.splitlines() if 'trial="' in line]
    # Of two components: 4 energies, 2 of start-up, 2 powers; emissions of both, info, reports and a result.
    assert len(lines) == 2000 * 13
    energies = [line for line in lines if line.startswith("energysweep_trial_energy") and 'bucket="active"' in line]
    assert len({line.rpartition(" ")[2] for line in energies}) >= 7  # not all the same: it would be easy to compress
    assert len(gzip.compress(text.encode(), 1)) < 1_000_000
