"""What one program may ask of an agent: a trial that wants to exhaust it is told no, and the others are served."""

from __future__ import annotations

import math
import socket
import socketserver
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from energysweep.accounting.accounts import Lease, Sweep, SweepSample
from energysweep.accounting.processes import Root
from energysweep.agent import guard, protocol
from energysweep.agent.guard import GuardedServer, RateLimiter
from energysweep.agent.lifecycle import connect
from energysweep.agent.protocol import PROTOCOL, Hello
from energysweep.agent.server import AgentServer
from energysweep.core.errors import LeaseRefused
from energysweep.core.metrics import SWEEP_FAMILIES
from tests.agent.test_server import AskRaw, get, has_ended, peer_pid, serve, server, standing, trace, until  # noqa: F401
from tests.support.fake_clock import FakeClock
from tests.support.fake_host import FakeHost

# Words ---------------------------------------------------------------------------------------------------------------


OUT_OF_RANGE = "samples must be metrics of a sweep, at most 32 series of each and none twice"
OUT_OF_BOUNDS: list[tuple[str, tuple[str, ...], float]] = [
    ("energysweep_sweep_trials", ("a",), 10**400),
    ("energysweep_sweep_trials", ("a",), -1.0),
    ("energysweep_sweep_trials", ("a",), 1.1e18),
    ("energysweep_sweep_trials", (), 1.0),
    ("energysweep_sweep_trials", ("a", "b"), 1.0),
    ("energysweep_sweep_best", ("loss",), 10**400),
    ("energysweep_sweep_best", ("loss",), math.nan),
    ("energysweep_sweep_best", ("loss",), -math.inf),
    ("energysweep_sweep_energy_joules_total", ("cpu", "trials", "rapl"), math.inf),
    ("energysweep_sweep_start_timestamp_seconds", (), math.nan),
    ("energysweep_node_power_watts", ("n", "d", "cpu"), 1.0),
    ("invented", (), 1.0),
]


@pytest.mark.parametrize(
    ("request_line", "reason"),
    [
        ({"op": "open", "lease": "l", "trial": "t", "gpus": {"0": 1.5}}, "less than or equal to 1"),
        ({"op": "open", "lease": "l", "trial": "t", "gpus": {"0": -0.5}}, "greater than or equal to 0"),
        ({"op": "open", "lease": "l", "trial": "t", "gpus": dict.fromkeys(map(str, range(65)), 1)}, "at most 64"),
        ({"op": "open", "lease": "l", "trial": "t", "config": "x" * 301}, "at most 300"),
        ({"op": "open", "lease": "l" * 201, "trial": "t"}, "at most 200"),
        ({"op": "report", "lease": "l", "results": dict.fromkeys("abcdefghi", 1.0)}, "at most 8"),
        ({"op": "report", "lease": "l", "results": {"x" * 201: 1.0}}, "at most 200"),
        ({"op": "update", "sweep": {"samples": [["energysweep_sweep_best", ["x" * 301], 1.0]]}}, OUT_OF_RANGE),
        ({"op": "update", "sweep": {"zone": "x" * 301}}, "zone is too long"),
        ({"op": "update", "sweep": {"agents": {"10.0.0.8:9770": "x" * 301}}}, "agents is too long"),
        ({"op": "update", "sweep": {"agents": dict.fromkeys(map(str, range(1025)), "n")}}, "agents is too long: 1024"),
        ({"op": "prove"}, "say hello first"),
        ({"op": "x" * 1000 + "\n"}, "Input tag 'xxx"),
        ({"op": "open", "lease": "l", "trial": "t", "cpus": 1e7}, "less than or equal to 1000000"),
        ({"op": "hello", "run": "r", "idle_power_watts": {"cpu": 1e13}}, "less than or equal to 1000000000000"),
        ({"op": "report", "lease": "l", "results": {"loss": 10**400}}, "finite number"),
        ({"op": "report", "lease": "l", "results": {"loss": math.nan}}, "finite number"),
        ({"op": "update", "sweep": {"pue": 1e300, "grams_per_kwh": 1e300}}, "out of range"),
        (
            {"op": "update", "sweep": {"grams_per_kwh": math.nan}},
            "grams_per_kwh is out of range: 0 to 1e+18",
        ),
        ({"op": "update", "sweep": {"pue": "much"}}, "sweep.pue: Input should be a valid number"),
        ({"op": "update", "sweep": {"samples": [["energysweep_sweep_trials", ["a"], "b"]]}}, "valid number"),
        ({"op": "update", "sweep": {"samples": [["energysweep_sweep_trials", 1, 1.0]]}}, "valid array"),
        ({"op": "update", "sweep": {"samples": [["energysweep_sweep_trials", ["a"]]]}}, "Field required"),
        *(({"op": "update", "sweep": {"samples": [sample]}}, OUT_OF_RANGE) for sample in OUT_OF_BOUNDS),
        ({"op": "hello", "run": "limits", "sweep": {"samples": OUT_OF_BOUNDS[:1]}}, OUT_OF_RANGE),
        ({"op": "hello", "run": "limits", "idle_power_watts": {"cpu": 10**400}}, "idle_power_watts.cpu: "),
        ({"op": "hello", "run": "limits", "process": {"pid": 2**63, "started": 1}}, "process.pid: "),
    ],
)
def test_what_would_become_series_and_labels_is_short(
    standing: AgentServer,  # noqa: F811 - the fixture
    request_line: dict[str, Any],
    reason: str,
) -> None:
    with AskRaw(standing.socket_path) as connection:
        assert connection.ask({"op": "hello", "run": "limits"})["ok"]
        answer = connection.ask(request_line)
        assert answer["ok"] is False
        assert reason in answer["error"]
        assert len(answer["error"]) <= 304
        assert answer["error"].isprintable()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"[" * 60_000, "recursion limit"),
        (b'{"a":' * 10_000, "recursion limit"),
        (b'{"op": "hello", "run": "limits", "protocol": ' + b"9" * 5000 + b"}", "number out of range"),
        (b'{"op": "hello", "run": "\\ud800"}', "Invalid JSON"),
    ],
)
def test_what_no_parser_takes_is_answered(standing: AgentServer, line: bytes, reason: str) -> None:  # noqa: F811
    with AskRaw(standing.socket_path) as connection:
        assert reason in connection.ask(line)["error"]
        assert connection.ask({"op": "hello", "run": "limits"})["ok"]


numbers = st.floats() | st.just(10**400)
texts = st.text(st.characters(), max_size=20) | st.sampled_from(["x" * 400, "\ud800", "a\nb\0"])  # surrogates, too


@given(
    st.builds(
        Sweep,
        grams_per_kwh=numbers,
        zone=texts,
        pue=numbers,
        samples=st.lists(
            st.builds(
                SweepSample,
                st.sampled_from([*SWEEP_FAMILIES]) | texts,
                st.lists(texts, max_size=3).map(tuple),
                numbers | st.integers(),
            ),
            max_size=80,
        ),
        agents=st.dictionaries(texts, texts, max_size=5),
    )
)
def test_a_driver_s_update_is_taken_whatever_its_sweep_has_come_to(sweep: Sweep) -> None:
    update = protocol.Update(sweep=protocol.within_bounds(sweep))
    assert protocol.REQUEST.validate_json(update.model_dump_json()) == update


def test_what_has_no_place_in_an_update_is_left_out_and_the_rest_is_told() -> None:
    fitting = [
        SweepSample("energysweep_sweep_best", ("loss",), -2.5),
        SweepSample("energysweep_sweep_trials", ("b",), 3),
        SweepSample("energysweep_sweep_energy_joules_total", ("cpu", "trials", "rapl"), 10.0),
        SweepSample("energysweep_sweep_saved_energy_joules", (), 0.0),
    ]
    others = [SweepSample(*parts) for parts in OUT_OF_BOUNDS]
    told = protocol.within_bounds(Sweep(zone="z" * 301, pue=math.inf, samples=[*others, *fitting, *fitting]))
    assert told == Sweep(zone="z" * 300, pue=1.0, samples=fitting)


def test_of_one_metric_an_update_has_so_many_series_and_no_more() -> None:
    many = [SweepSample("energysweep_sweep_trials", (str(number),), 1.0) for number in range(40)]
    last = SweepSample("energysweep_sweep_start_timestamp_seconds", (), 1.0)
    assert protocol.within_bounds(Sweep(samples=[*many, last])).samples == [*many[:32], last]
    with pytest.raises(ValidationError, match="at most 32 series"):
        protocol.Update(sweep=Sweep(samples=many))
    with pytest.raises(ValidationError, match="none twice"):
        protocol.Update(sweep=Sweep(samples=[last, last]))


def test_a_driver_may_tell_of_a_thousand_agents(standing: AgentServer) -> None:  # noqa: F811 - the fixture
    agents = {f"10.0.{number // 256}.{number % 256}:9770": f"node-{number}" for number in range(1000)}
    with AskRaw(standing.socket_path) as connection:
        assert connection.ask({"op": "hello", "run": "large"})["ok"]
        assert connection.ask({"op": "update", "sweep": {"agents": agents}})["ok"]


def test_a_line_that_does_not_end_is_not_waited_for(standing: AgentServer) -> None:  # noqa: F811 - the fixture
    with AskRaw(standing.socket_path) as connection:
        answer = connection.ask(b'{"op": "hello", "run": "' + b"x" * guard.LONGEST_LINE_BYTES)
        assert answer["error"] == "a line has at most 65536 bytes"


def test_a_trial_has_eight_metrics_on_dashboards_however_many_reports_it_makes(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.agent.open_window("r")
    lease = host.open("t", host.tree.fork())
    for number in range(20):
        host.agent.report(lease, {f"metric-{number}": 1.0, "metric-0": float(number)})
    assert len(host.agent.windows["r"].trials["t"].results) == 8
    assert host.agent.windows["r"].trials["t"].results["metric-0"] == 19.0


def test_who_reserves_more_cpus_than_there_are_pays_for_all_and_takes_no_joule_of_anybody_s(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)  # 4 CPUs, 100 W
    host.agent.open_window("r", {"cpu": 40.0})
    liar, honest = host.tree.fork(), host.tree.fork()
    host.open("liar", liar, cpus=1e9)
    host.open("honest", honest, cpus=4)
    host.work(10.0, {honest: 2.0})
    host.agent.tick()
    # 1000 J: 400 J idle by halves, 600 J active of the one that worked
    assert host.buckets() == pytest.approx(
        {"lease-liar idle": 200, "lease-honest idle": 200, "lease-honest active": 600}
    )


# Numbers -------------------------------------------------------------------------------------------------------------


def test_a_connection_holds_so_many_leases(standing: AgentServer) -> None:  # noqa: F811 - the fixture
    with AskRaw(standing.socket_path) as connection:
        connection.ask({"op": "hello", "run": "many"})
        for number in range(guard.MOST_LEASES_OF_CONNECTION):
            assert connection.ask({"op": "open", "lease": f"l{number}", "trial": "t"})["ok"]
        one_more = {"op": "open", "lease": "one more", "trial": "t"}
        assert connection.ask(one_more)["error"] == "a connection holds at most 64 leases"
        assert connection.ask({"op": "close", "lease": "l0"})["ok"]
        assert connection.ask(one_more)["ok"]


def test_a_peer_has_so_many_open_leases_and_another_one_is_served(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.agent.open_window("greedy", peer="10.0.0.7")
    host.agent.open_window("modest", peer="10.0.0.8")
    process = host.tree.fork()
    for number in range(guard.MOST_OPEN_LEASES_OF_PEER):
        host.open("t", process, run="greedy", lease=f"l{number}")
    with pytest.raises(LeaseRefused, match=r"2500 of 10\.0\.0\.7 are open"):
        host.open("t", process, run="greedy", lease="one more")
    host.open("t", process, run="modest", lease="another")
    host.agent.close_lease("greedy", "l0")
    host.open("t", process, run="greedy", lease="one more")


def test_a_peer_cannot_fill_the_memory_with_leases_and_trials_that_no_driver_settles(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    window = host.agent.open_window("r", peer="10.0.0.7")
    lease = Lease("l", "r", "t", Root(1, 1), 1.0, {}, opened=0.0, opened_at=0.0, closed=1.0)
    window.leases.update((f"l{number}", lease) for number in range(guard.MOST_UNSETTLED_LEASES_OF_PEER))
    with pytest.raises(LeaseRefused, match="no driver has settled the last 20000"):
        host.open("t", host.tree.fork())
    window.leases.clear()
    for number in range(guard.MOST_TRIALS_OF_PEER):
        window.trial(f"t{number}")
    with pytest.raises(LeaseRefused, match=r"too many trials: 50000 of 10\.0\.0\.7"):
        host.open("one more", host.tree.fork())
    host.open("t7", host.tree.fork())  # a trial that is known goes on
    assert host.agent.open_window("s", peer="10.0.0.8").leases == {}


def test_a_peer_s_oldest_closed_run_makes_room_and_nobody_else_s(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.agent.open_window("of somebody else", peer="user 2")
    host.agent.close_window("of somebody else")
    for number in range(guard.MOST_WINDOWS_OF_PEER):
        host.agent.open_window(f"r{number}", peer="user 1")
    with pytest.raises(LeaseRefused, match="too many runs at once: 256 of user 1, 257 on this host"):
        host.agent.open_window("one more", peer="user 1")
    for run in ("r5", "r3"):
        host.clock.advance(0.1)
        host.agent.close_window(run)
    host.agent.open_window("one more", peer="user 1")
    assert "r5" not in host.agent.windows
    assert {"r3", "of somebody else", "one more"} <= host.agent.windows.keys()


def test_hellos_come_at_a_pace_and_each_peer_has_its_own() -> None:
    clock, slept = FakeClock(100.0), list[float]()
    limiter = RateLimiter(per_second=10.0, at_once=5.0, clock=clock, sleep=slept.append)
    for _ in range(5):
        limiter.wait_turn("greedy")
    assert slept == []
    limiter.wait_turn("greedy")
    limiter.wait_turn("greedy")
    assert slept == pytest.approx([0.1, 0.2])
    limiter.wait_turn("modest")
    assert len(slept) == 2
    clock.advance(10.0)
    limiter.wait_turn("greedy")
    assert len(slept) == 2


# Connections ---------------------------------------------------------------------------------------------------------


class Echo(socketserver.StreamRequestHandler):
    """Repeats what it is told; who says "stay" may."""

    server: Small

    def handle(self) -> None:
        while line := self.rfile.readline():
            if line == b"stay\n":
                self.server.stay(self.connection)
            self.wfile.write(line)


class Small(GuardedServer, socketserver.TCPServer):
    most = 3
    most_of_peer = 2
    patience_seconds = 10.0
    refusal = b"too many\n"


@contextmanager
def small(kind: type[Small] = Small) -> Iterator[tuple[str, int]]:
    guarded = kind(("127.0.0.1", 0), Echo)
    thread = Thread(target=guarded.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield "127.0.0.1", guarded.server_address[1]
    finally:
        guarded.shutdown()
        guarded.server_close()
        thread.join()


def said(connection: socket.socket, line: bytes = b"") -> bytes:
    """What comes back; empty if the other side has disconnected."""
    connection.sendall(line)
    return connection.recv(100)


def from_address(address: str, server_address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(server_address, 10, source_address=(address, 0))


def test_a_peer_has_so_many_connections_and_another_one_is_served() -> None:
    class Patient(Small):
        patience_seconds = 60.0

    with small(Patient) as address:
        first, second = from_address("127.0.0.1", address), from_address("127.0.0.1", address)
        assert (said(first, b"a\n"), said(second, b"b\n")) == (b"a\n", b"b\n")
        with from_address("127.0.0.1", address) as third:
            assert said(third) == b"too many\n"
            assert said(third) == b""
        other = from_address("127.0.0.2", address)
        assert said(other, b"c\n") == b"c\n"
        with from_address("127.0.0.3", address) as fourth:
            assert said(fourth) == b"too many\n"  # of all
        first.close()
        until(lambda: _is_served(address))
        second.close()
        other.close()


def _is_served(address: tuple[str, int]) -> bool:
    with from_address("127.0.0.1", address) as connection:
        connection.sendall(b"x\n")
        return connection.recv(100) == b"x\n"


def test_who_does_not_come_to_the_point_is_hung_up_on_and_who_may_stay_stays() -> None:
    with small() as address:
        stays = from_address("127.0.0.2", address)
        assert said(stays, b"stay\n") == b"stay\n"
        slow = from_address("127.0.0.1", address)  # later, so that its time is up last
        until(lambda: not _takes_a_byte(slow))  # one now and then, and never a line
        assert said(stays, b"y\n") == b"y\n"
        slow.close()
        stays.close()


def _takes_a_byte(connection: socket.socket) -> bool:
    try:
        connection.sendall(b"x")
    except OSError:
        return False
    return True


def test_scrapers_get_through_after_somebody_has_held_connections_open(server: AgentServer) -> None:  # noqa: F811
    port = int(server.url.rpartition(":")[2])
    held = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(32)]
    with socket.create_connection(("127.0.0.1", port), 10) as one_more:
        assert one_more.recv(1000).startswith(b"HTTP/1.0 503 Service Unavailable\r\n")
    for connection in held:
        connection.close()
    until(lambda: _answers(server.url))


def _answers(url: str) -> bool:
    try:
        return b"energysweep" in get(f"{url}/metrics")[0]
    except OSError:
        return False


# Versions ------------------------------------------------------------------------------------------------------------


def test_a_program_of_another_version_is_told_so(standing: AgentServer) -> None:  # noqa: F811 - the fixture
    with AskRaw(standing.socket_path) as connection:
        answer = connection.ask({"op": "hello", "run": "r", "protocol": 99, "what nobody knows yet": 1})
        assert (answer["ok"], answer["protocol"]) == (False, PROTOCOL)
        assert answer["error"] == f"the agent is of another version of energysweep: it speaks protocol {PROTOCOL}"
        assert connection.ask({"op": "hello", "run": "r", "protocol": 99})["protocol"] == PROTOCOL


OTHER_VERSION = """
import sys
from energysweep.agent import protocol
protocol.PROTOCOL = 0  # stands for the code of another version
from energysweep.cli import main
sys.exit(main(sys.argv[1:]))
"""

# Listens until three connections have come and gone: of a hello, of the request to make way, and of another hello.
ENDS_LATE = """
from threading import Semaphore
from energysweep.agent.connection import Connection
from energysweep.agent.server import AgentServer
gone, finish, stop = Semaphore(0), Connection.finish, AgentServer.stop
Connection.finish = lambda self: (finish(self), gone.release())
AgentServer.stop = lambda self: ([gone.acquire(timeout=60) for _ in range(3)], stop(self))
"""


@pytest.mark.parametrize("is_daemon", [False, True])
def test_an_agent_of_another_version_that_nobody_needs_is_replaced(
    agent_home: Path,
    trace: str,  # noqa: F811 - the fixture
    is_daemon: bool,
) -> None:
    linger = [] if is_daemon else ["--linger", "60"]
    command = [sys.executable, "-c", OTHER_VERSION, "agent", "--detach", "--meter", trace, "--port", "0", *linger]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    old = peer_pid(agent_home / "agent.sock")
    try:
        if is_daemon:
            with pytest.raises(LeaseRefused, match="speaks protocol 0; it cannot be replaced: it was started as a"):
                connect(Hello(run="r"), [trace], port=0)
            return
        client = connect(Hello(run="r"), [trace], port=0)
        assert peer_pid(agent_home / "agent.sock") != old
        until(lambda: has_ended(old))
        client.close()
    finally:
        if is_daemon:
            subprocess.run(["kill", str(old)], check=True)
            until(lambda: has_ended(old))


def test_an_agent_of_another_version_that_takes_its_time_to_end_is_waited_for(
    agent_home: Path,
    trace: str,  # noqa: F811 - the fixture
) -> None:
    command = [sys.executable, "-c", OTHER_VERSION.replace("from energysweep.cli", f"{ENDS_LATE}from energysweep.cli")]
    command += ["agent", "--detach", "--meter", trace, "--port", "0", "--linger", "60"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    client = connect(Hello(run="r"), [trace], port=0)
    assert client.agent["meters"] == [trace]
    client.close()
