"""The account of a host by who answers for it: sweeps and their hardware profiles, or nobody."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.accounting.accounts import Sweep
from energysweep.core.metrics import ACCOUNT_EMISSIONS, ACCOUNT_ENERGY, ACCOUNT_METERED, ACCOUNT_START
from energysweep.meters import Device
from tests.accounting.test_series import Series, scrape
from tests.support.fake_host import CPU, DRAM, FakeHost

MEMORY = Device("memory", "dram", "estimate")


def shown(series: Series, family: str, *labels: str) -> dict[tuple[str, ...], float]:
    """A family's sums, by some labels, without what is 0."""
    sums: dict[tuple[str, ...], list[float]] = {}
    for (name, pairs), value in series.items():
        if name == family:
            found = dict(pairs)
            sums.setdefault(tuple(found[label] for label in labels), []).append(value)
    return {key: math.fsum(values) for key, values in sums.items() if any(values)}


def joules(host: FakeHost, *labels: str) -> dict[tuple[str, ...], float]:
    host.agent.save()
    return shown(scrape(host.agent), ACCOUNT_ENERGY.name, *labels)


def open_trial(host: FakeHost, run: str, trial: str, hardware: str, pid: int, *, loads: bool = False) -> str:
    lease = f"{run}-{trial}"
    host.agent.open_lease(run, lease, trial, host.tree.of(pid), 1.0, {}, hardware=hardware, in_startup=loads)
    return lease


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """100 W, of which 20 W are the idle floor of four CPUs; nobody works yet."""
    host = FakeHost(tmp_path, {CPU: 100.0})
    host.agent.tick()
    return host


def open_window(host: FakeHost, run: str, grams_per_kwh: float | None = 360.0) -> None:
    host.agent.open_window(run, {"cpu": 20.0}).sweep = Sweep(grams_per_kwh=grams_per_kwh)


def test_each_joule_of_a_host_is_a_sweep_s_and_its_hardware_s_or_nobody_s(tmp_path: Path) -> None:
    floors = Device("package-0", "cpu", "rapl", idle_watts=20.0)
    host = FakeHost(tmp_path, {floors: 100.0})
    host.agent.tick()
    for run in "ab":
        open_window(host, run)
    pids = [host.tree.fork() for _ in range(4)]
    open_trial(host, "a", "t", "small", pids[0])
    open_trial(host, "b", "t", "", pids[1])
    host.agent.join("b", host.tree.of(pids[2]))
    host.work(10.0, {pids[0]: 1.0, pids[1]: 0.5, pids[2]: 0.25, pids[3]: 0.25})
    host.agent.tick()
    # 800 J above the floor by CPU time, and 50 J of the floor for each lease of one of four CPUs.
    assert joules(host, "sweep", "hardware", "bucket") == pytest.approx(
        {
            ("a", "small", "trials"): 450,
            ("b", "", "trials"): 250,
            ("b", "", "overhead"): 100,
            ("", "", "background"): 100,
            ("", "", "unreserved_idle"): 100,
        }
    )
    series = scrape(host.agent)
    assert shown(series, ACCOUNT_METERED.name, "node", "source") == {("node-a", "rapl"): pytest.approx(1000)}
    # 0.1 g/kJ
    grams = shown(series, ACCOUNT_EMISSIONS.name, "sweep", "hardware", "bucket")
    assert grams == pytest.approx(
        {("a", "small", "trials"): 0.045, ("b", "", "trials"): 0.025, ("b", "", "overhead"): 0.01}
    )
    assert shown(series, ACCOUNT_START.name, "node") == {("node-a",): 1_000_500.0}


def test_what_loads_is_start_up_and_an_unknown_grid_has_no_grams(host: FakeHost) -> None:
    open_window(host, "a", None)
    pid = host.tree.fork()
    open_trial(host, "a", "t", "small", pid, loads=True)
    host.work(1.0, {pid: 4.0})
    host.agent.tick()
    assert joules(host, "sweep", "hardware", "bucket") == {("a", "small", "startup"): pytest.approx(100)}
    assert shown(scrape(host.agent), ACCOUNT_EMISSIONS.name, "sweep") == {}


def test_what_serves_all_sweeps_is_divided_among_those_that_are_there_or_is_nobody_s(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    agent = host.tree.fork()
    host.own = host.tree.of(agent)
    host.start_agent()
    host.work(1.0, {agent: 4.0})
    host.agent.tick()
    assert joules(host, "sweep", "bucket") == {("", "overhead"): pytest.approx(100)}
    for run in "abcd":
        host.agent.open_window(run)
    host.work(1.0, {agent: 4.0})
    host.agent.tick()
    expected = {("", "overhead"): 100.0} | {(run, "overhead"): 25.0 for run in "abcd"}
    assert joules(host, "sweep", "bucket") == pytest.approx(expected)


def test_a_joule_of_a_trial_in_a_trial_is_the_inner_one_s(host: FakeHost) -> None:
    """Each of the two sweeps is charged with it in its own window; the host has seen it once."""
    for run in ("outer", "inner"):
        host.agent.open_window(run)
    outer = host.tree.fork()
    inner = host.tree.fork(outer)
    open_trial(host, "outer", "t", "", outer)
    open_trial(host, "inner", "t", "", inner)
    host.work(1.0, {outer: 1.0, inner: 3.0})
    host.agent.tick()
    assert joules(host, "sweep") == pytest.approx({("outer",): 25, ("inner",): 75})


def test_a_resumed_run_goes_on_with_its_series_while_they_are_shown_and_begins_others_later(host: FakeHost) -> None:
    pid = host.tree.fork()

    def part() -> dict[tuple[str, ...], float]:
        open_window(host, "a")
        open_trial(host, "a", "t", "", pid)
        host.work(1.0, {pid: 4.0})
        host.agent.close_window("a")
        return {key: value for key, value in joules(host, "window", "sweep").items() if key[1]}

    [(name, first)] = part().items()
    host.wait(200.0)
    [(same, both)] = part().items()
    assert (same, both) == (name, pytest.approx(2 * first))
    host.wait(0.2)
    host.agent.save()
    host.kill_agent()
    host.start_agent()
    assert joules(host, "window", "sweep")[name] == both
    host.wait(301.0)
    host.agent.tick()
    assert not [key for key in joules(host, "window", "sweep") if key[1]]
    [(other, third)] = part().items()
    assert other != name
    assert third == pytest.approx(first)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["open", "join", "close", "close window", "kill", "tick", "anew"]),
        st.sampled_from("abc"),
        st.integers(0, 3),
        st.floats(0.01, 200.0),
    ),
    max_size=25,
)


@given(STEPS)
def test_at_every_scrape_new_joules_are_the_meters_whatever_begins_ends_or_is_killed(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, int, float]]
) -> None:
    """So are what the recording rules make of them: sums of differences of each series, of which none goes down."""
    host = FakeHost(tmp_path_factory.mktemp("host"), {CPU: 100.0, DRAM: 10.0, MEMORY: 5.0})
    pids = [host.tree.fork() for _ in range(4)]
    before: dict[tuple[str, ...], float] = {}
    metered: dict[tuple[str, ...], float] = {}

    def look() -> None:
        host.agent.save()
        series = scrape(host.agent)
        now = {
            tuple(value for _, value in sorted(pairs)): value
            for (name, pairs), value in series.items()
            if name == ACCOUNT_ENERGY.name
        }
        assert all(value >= before.get(key, 0.0) for key, value in now.items())
        grown = math.fsum(value - before.get(key, 0.0) for key, value in now.items())
        total = shown(series, ACCOUNT_METERED.name, "books")
        drawn = math.fsum(value - metered.get(key, 0.0) for key, value in total.items())
        assert grown == pytest.approx(drawn, rel=1e-9, abs=1e-6)
        before.update(now)
        metered.update(total)

    look()
    for step, run, number, seconds in steps:
        if step == "open":
            open_window(host, run)
            if not host.agent.windows[run].leases.get(f"{run}-t{number}"):
                open_trial(host, run, f"t{number}", f"hw{number % 2}", pids[number], loads=number == 3)
        elif step == "join":
            open_window(host, run)
            host.agent.join(run, host.tree.of(pids[number]))
        elif step == "close":
            host.agent.close_trial(run, f"t{number}")
        elif step == "close window":
            host.agent.close_window(run)
        elif step in ("kill", "anew"):
            host.kill_agent()
            if step == "anew":
                host.state.unlink(missing_ok=True)
            host.start_agent()
        host.work(seconds, {pids[number]: 1.0, pids[0]: 0.5})
        host.agent.tick()
        look()
