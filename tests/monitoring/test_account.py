"""The account of a cluster: simulated agents, a real Prometheus, the recording rules, and the dashboard *Account*."""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from energysweep.accounting.accounts import Sweep, SweepSample
from energysweep.core.metrics import SWEEP_INFO
from energysweep.meters import Device
from energysweep.monitoring.account import account_dashboard
from tests.support.account import Point, openmetrics, recorded, rules, scraped, sums
from tests.support.fake_host import FakeHost
from tests.support.grafana import View, cells, escaped, numbers, panels, rows, target
from tests.support.prometheus import Prometheus, bring_back
from tests.support.web import DIRECT

BEGAN = 1_000_500.0  # where a FakeHost's clock stands
SCRAPE = 15
HOURS = 2.0
ENERGY, GRAMS, METERED = (
    "energysweep_account_energy_joules",
    "energysweep_account_emissions_grams",
    ("energysweep_account_metered_joules"),
)
DASHBOARD = account_dashboard()
HOSTILE = "Ada's team (x|y).*{}"
ODD = 'a "name" \\ {with="all"} <b>'
INFO = {"s": (ODD, HOSTILE, "nlp, urgent"), "r": (ODD, "bob", ""), "t": ("text", "bob", "nlp, urgent")}
CPU = Device("package-0", "cpu", "rapl", idle_watts=20.0)
MEMORY = Device("memory", "dram", "estimate", idle_watts=2.0)


class Node:
    """A host of a simulated cluster, and what Prometheus has of it."""

    def __init__(self, folder: Path, name: str, devices: Mapping[Device, float]) -> None:
        folder.mkdir()
        self.name, self.address = name, f"{name}:9770"
        self.host = FakeHost(folder, devices)
        self.agent_is_there = True
        self.pids = [self.host.tree.fork() for _ in range(3)]
        self.points: list[Point] = []

    def step(self, seconds: float, busy: Mapping[int, float], *, answers: bool) -> None:
        """Time passes; then the agent is scraped, if it answers."""
        self.host.work(seconds, {self.pids[number]: cpus for number, cpus in busy.items()})
        if self.agent_is_there:
            self.host.agent.tick()
            self.host.agent.save()
            if answers:
                self.points += scraped(self.host, self.name, self.address, self.host.wall_clock())

    def open(self, run: str, trial: str, hardware: str, number: int, *, loads: bool = False) -> None:
        """A trial begins, and its sweep, if that was not there."""
        info = [SweepSample(SWEEP_INFO.name, INFO[run], 1.0)]
        grid = 360.0 if run != "t" else None
        self.host.agent.open_window(run).sweep = Sweep(grams_per_kwh=grid, samples=info)
        root = self.host.tree.of(self.pids[number])
        self.host.agent.open_lease(run, f"{run}-{trial}", trial, root, 1.0, {}, hardware=hardware, in_startup=loads)

    def end_agent(self, *, anew: bool = False) -> None:
        self.host.agent.save()
        self.host.kill_agent()
        self.agent_is_there = False
        if anew:
            self.host.state.unlink(missing_ok=True)

    def start_agent(self, address: str) -> None:
        self.host.own = self.host.tree.of(self.pids[0])  # what an agent draws is overhead
        self.host.start_agent()
        self.agent_is_there, self.address = True, address


def simulated(folder: Path) -> list[Node]:
    """Two hours of two hosts. Agents are killed, moved, begun anew, and not reached; two sweeps are resumed."""
    a = Node(folder / "a", "a", {CPU: 100.0, MEMORY: 5.0})
    b = Node(folder / "b", "b", {CPU: 60.0})
    happens: dict[int, list[Callable[[], object]]] = {
        300: [lambda: a.open("s", "1", "small", 0), lambda: b.open("s", "2", "large", 0, loads=True)],
        600: [lambda: b.host.agent.change_phase("s-2", in_startup=False), lambda: a.open("r", "1", "", 1)],
        900: [lambda: a.host.agent.join("s", a.host.tree.of(a.pids[2]))],
        1200: [lambda: a.host.agent.close_window("s")],
        1800: [lambda: a.host.agent.close_window("r")],
        1860: [lambda: a.open("r", "1", "", 1)],  # within the five minutes in which its series are shown
        2400: [a.end_agent],
        2700: [lambda: a.start_agent("a:9771")],
        2880: [lambda: b.host.agent.close_window("s")],
        3000: [lambda: b.end_agent(anew=True)],
        3120: [lambda: b.start_agent("b:9770"), lambda: b.open("t", "1", "large", 2)],
        4200: [lambda: b.host.agent.close_window("t")],
        4800: [lambda: b.open("t", "1", "large", 2)],  # when nothing of it was shown any more
        5400: [lambda: b.host.agent.close_window("t")],
    }
    for number in range(int(HOURS * 3600 / SCRAPE)):
        for happen in happens.get(number * SCRAPE, ()):
            happen()
        busy = {0: 1.0, 1: 0.5 + number % 3, 2: 0.25 * (number % 5)}
        # Scrapes of b come some seconds later, and fail for seven minutes.
        a.step(SCRAPE, busy, answers=True)
        b.step(SCRAPE if number else SCRAPE + 7.5, busy, answers=not 3900 <= number * SCRAPE < 4320)
    return [a, b]


def last(points: list[Point], name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """What agents have counted in all: of each series the last value, wherever it was scraped."""
    ends: dict[tuple[tuple[str, str], ...], float] = {}
    for point in points:
        if point.name == f"{name}_total":
            key = tuple(pair for pair in point.labels if pair[0] != "instance")
            ends[key] = max(ends.get(key, 0.0), point.value)
    found: dict[tuple[str, ...], float] = {}
    for key, value in ends.items():
        of = dict(key)
        by = tuple(of.get(label, "") for label in labels)
        found[by] = found.get(by, 0.0) + value
    return {by: value for by, value in found.items() if value}


class Seen:
    """What was simulated, what the rules recorded of it, and a view of a Prometheus that has that."""

    def __init__(self, folder: Path, raw: list[Point]) -> None:
        self.raw = raw
        (folder / "raw").mkdir()
        bring_back(folder / "raw", openmetrics(raw))
        with Prometheus(folder / "raw", lookback="16s") as prometheus:
            self.minutes = recorded(prometheus.url, BEGAN, BEGAN + HOURS * 3600 + 240)


@pytest.fixture(scope="module")
def seen() -> Iterator[tuple[Seen, View]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = Seen(folder, [point for node in simulated(folder) for point in node.points])
        (folder / "kept").mkdir()
        bring_back(folder / "kept", openmetrics(found.minutes))
        with Prometheus(folder / "kept") as prometheus:
            yield found, View(prometheus.url, BEGAN - 60, BEGAN + HOURS * 3600 + 300, SCRAPE)


def test_all_that_the_meters_saw_is_recorded_over_restarts_gaps_and_new_addresses(seen: tuple[Seen, View]) -> None:
    found, _ = seen
    recorded = sums(found.minutes, METERED, "node", "source")
    assert recorded == pytest.approx(last(found.raw, METERED, "node", "source"), rel=1e-9)
    # 105 W and 60 W, but for the two minutes in which b had no agent.
    drawn = {"a": 105 * HOURS * 3600, "b": 60 * (HOURS * 3600 - 120)}
    of_node = sums(found.minutes, METERED, "node")
    assert {node: of_node[node,] for node in drawn} == pytest.approx(drawn, rel=0.005)


def test_the_parts_are_the_meters_to_a_billionth(seen: tuple[Seen, View]) -> None:
    found, _ = seen
    parts, metered = sums(found.minutes, ENERGY, "node"), sums(found.minutes, METERED, "node")
    assert parts == pytest.approx(metered, rel=1e-9)
    assert sums(found.minutes, ENERGY, "node", "source") == pytest.approx(
        sums(found.minutes, METERED, "node", "source"), rel=1e-9
    )


def test_each_minute_s_parts_are_its_meters(seen: tuple[Seen, View]) -> None:
    found, _ = seen
    minutes = sorted({point.at for point in found.minutes})
    assert len(minutes) > 110
    for at in minutes:
        of_minute = [point for point in found.minutes if point.at == at]
        parts, metered = sums(of_minute, ENERGY, "node"), sums(of_minute, METERED, "node")
        assert {node: parts.get(node, 0.0) for node in metered} == pytest.approx(metered, rel=1e-9, abs=1e-6)


def test_a_sweep_is_charged_with_all_that_its_windows_have_counted(seen: tuple[Seen, View]) -> None:
    found, _ = seen
    by = ("sweep", "hardware", "bucket", "node")
    charged = {key: joules for key, joules in sums(found.minutes, ENERGY, *by).items() if key[0]}
    expected = {key: joules for key, joules in last(found.raw, ENERGY, *by).items() if key[0]}
    assert charged == pytest.approx(expected, rel=1e-9)
    assert {sweep for sweep, *_ in charged} == {"s", "r", "t"}
    grams = sums(found.minutes, GRAMS, "sweep")
    assert grams == pytest.approx(last(found.raw, GRAMS, "sweep"), rel=1e-9)
    assert grams.keys() == {("s",), ("r",)}  # the grid of t is not known


def test_every_joule_of_a_sweep_has_the_owner_the_name_and_the_tags_of_it(seen: tuple[Seen, View]) -> None:
    found, _ = seen
    by = sums(found.minutes, ENERGY, "sweep", "name", "owner", "tags")
    assert by.keys() == {("", "", "", ""), *((sweep, *info) for sweep, info in INFO.items())}


def test_hours_are_the_sums_of_their_minutes(seen: tuple[Seen, View]) -> None:
    found, view = seen
    at = BEGAN + 17.0  # whenever the group of hours has its turn
    hours: dict[str, float] = {}
    for name, expression in rules("energysweep-account-hours").items():
        for number in range(1, 4):
            for series in replace(view, end=at + 3600 * number).instant(f"sum({expression})"):
                hours[name] = hours.get(name, 0.0) + float(series["value"][1])
    assert hours == pytest.approx(
        {
            name: sum(point.value for point in found.minutes if point.name == name.replace("1h", "1m"))
            for name in rules("energysweep-account-hours")
        }
    )


# The dashboard -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "reference"),
    [(panel["title"], query["refId"]) for panel in panels(DASHBOARD) for query in panel["targets"]],
)
def test_every_query_of_the_dashboard_finds_something(seen: tuple[Seen, View], title: str, reference: str) -> None:
    _, view = seen
    assert view.ask(target(DASHBOARD, title, reference), view.choose(DASHBOARD))


def number(view: View, title: str, **chosen: str) -> float:
    (series,) = view.ask(target(DASHBOARD, f"$measured {title}", "A"), view.choose(DASHBOARD) | chosen)
    return float(series["value"][1])


def column(view: View, title: str, name: str, by: str, **chosen: str) -> dict[str, float]:
    return {key: value for (key,), value in cells(view, DASHBOARD, f"$measured {title}", name, by, **chosen).items()}


def charged(found: Seen, by: str) -> dict[str, float]:
    each = sums(found.minutes, ENERGY, by, "sweep")
    groups: dict[str, float] = {}
    for (key, sweep), joules in each.items():
        if sweep:
            groups[key or "(none)"] = groups.get(key or "(none)", 0.0) + joules
    return groups


@pytest.mark.parametrize(
    ("title", "by", "label"),
    [
        ("By owner", "Owner", "owner"),
        ("By tags", "Tags", "tags"),
        ("By name", "Name", "name"),
        ("By hardware", "Hardware", "hardware"),
        ("By node", "Node", "node"),
        ("Sweeps", "Sweep", "sweep"),
    ],
)
def test_each_group_has_what_it_is_charged_with(seen: tuple[Seen, View], title: str, by: str, label: str) -> None:
    found, view = seen
    energy = column(view, title, "Energy", by)
    assert energy == pytest.approx(charged(found, label), rel=1e-9)
    if by != "Node":  # whose names need the room
        kwh = {key: joules / 3.6e6 for key, joules in energy.items()}
        assert column(view, title, "In kWh", by) == pytest.approx(kwh)
    assert number(view, "Charged") == pytest.approx(sum(energy.values()))
    if by == "Owner":
        parts = [column(view, title, part, by) for part in ("Trials", "Start-up", "Overhead")]
        assert {key: sum(part.get(key, 0.0) for part in parts) for key in energy} == pytest.approx(energy, rel=1e-9)
    assert 3.6e6 * number(view, "Charged, in kWh") == pytest.approx(number(view, "Charged"))


def test_what_is_estimated_and_what_has_no_grid_is_told(seen: tuple[Seen, View]) -> None:
    _, view = seen
    estimated = column(view, "By owner", "Estimated", "Owner")
    assert estimated.keys() == {HOSTILE, "bob"}
    assert all(0 < part < 1 for part in estimated.values())
    grams = column(view, "Sweeps", "CO2e", "Sweep")
    assert grams.keys() == {"s", "r"}
    joules = column(view, "Sweeps", "Energy", "Sweep")
    assert grams == pytest.approx({sweep: joules[sweep] * 360 / 3.6e6 for sweep in grams}, rel=1e-9)
    assert view.choose(DASHBOARD)["measured:text"] == "≈ partly estimated"


def test_the_dashboard_says_that_its_parts_are_the_meters(seen: tuple[Seen, View]) -> None:
    _, view = seen
    found = rows(view, DASHBOARD, "$measured Parts and meters")
    for row in found:
        own = ("Trials", "Start-up", "Overhead", "Background", "Unreserved idle", "Other")
        assert sum(row.get(name, 0.0) for name in own) == pytest.approx(row["All parts"], rel=1e-9)
        assert row["All parts"] == pytest.approx(row["Meters"], rel=1e-9)
        assert row["Difference"] == 0
    assert number(view, "Parts less meters") == 0
    assert number(view, "Charged") + number(view, "Nobody's") == pytest.approx(number(view, "Meters"), rel=1e-9)


def test_a_choice_of_anything_is_taken_as_it_is(seen: tuple[Seen, View]) -> None:
    found, view = seen
    assert number(view, "Charged", owner=escaped(HOSTILE)) == pytest.approx(charged(found, "owner")[HOSTILE])
    assert column(view, "By node", "Energy", "Node", sweep=escaped("s"), node=escaped("b")).keys() == {"b"}
    assert column(view, "Sweeps", "Energy", "Sweep", hardware=escaped("large")).keys() == {"s", "t"}


def test_days_are_those_of_utc_and_lack_nothing(seen: tuple[Seen, View]) -> None:
    found, view = seen
    query = target(DASHBOARD, "$measured Days of owners", "A")
    assert query["interval"] == "1d"
    chosen = view.choose(DASHBOARD) | {"__interval": "1d"}
    days: dict[str, float] = {}
    for day in range(int(BEGAN // 86400), int((BEGAN + HOURS * 3600) // 86400) + 1):
        at = replace(view, end=day * 86400.0)
        expression = view.fill(query["expr"].replace("$__interval", "1d"), chosen)
        for (owner,), joules in numbers(at.instant(expression), "owner").items():
            days[owner] = days.get(owner, 0.0) + joules
    assert days == pytest.approx(charged(found, "owner"))


# A team that sees its own only ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def enforcing(upstream: str, owner: str) -> Iterator[str]:
    """What prom-label-proxy does with ``-label owner -label-value OWNER -enable-label-apis``.

    It puts a matcher into every selector. A stand-in for the queries of our dashboard, whose selectors all have braces.
    """
    matcher = f"owner={json.dumps(owner)}"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, asked = self.path.partition("?")
            pairs = [
                (name, re.sub(r"(energysweep_\w+(?::\w+)?)\{", r"\1{@@, ", value).replace("@@", matcher))
                for name, value in urllib.parse.parse_qsl(asked)
            ]
            with DIRECT.open(f"{upstream}{path}?{urllib.parse.urlencode(pairs)}") as answer:
                content = answer.read()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_through_a_data_source_that_enforces_its_owner_a_team_sees_its_own_only(seen: tuple[Seen, View]) -> None:
    found, view = seen
    with enforcing(view.url, HOSTILE) as url:
        own = replace(view, url=url)
        chosen = own.choose(DASHBOARD)
        for variable in DASHBOARD["templating"]["list"]:
            if variable["type"] == "query":
                assert not {"bob", "r", "t", "text"} & own.options(variable, chosen).keys()
        answers = {
            (panel["title"], query["refId"]): own.ask(query, chosen)
            for panel in panels(DASHBOARD)
            for query in panel["targets"]
        }
        assert column(own, "By owner", "Energy", "Owner") == pytest.approx({HOSTILE: charged(found, "owner")[HOSTILE]})
        assert number(own, "Charged") == pytest.approx(charged(found, "owner")[HOSTILE])
    labels = {label for answer in answers.values() for series in answer for label in series["metric"].items()}
    assert not {("owner", "bob"), ("sweep", "r"), ("sweep", "t"), ("name", "text")} & labels
    assert ("sweep", "s") in labels
    # Nothing of the hosts as such: neither what nobody is charged with nor the meters.
    assert answers["$measured Nobody's", "A"] == answers["$measured Meters", "A"] == []
