"""A real agent is sent what nobody should send, at random: it answers, lets nobody in, and serves others meanwhile."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, get_args

import pytest

from energysweep.accounting.accounts import Sweep
from energysweep.agent.client import AgentClient
from energysweep.agent.protocol import PROTOCOL, Hello, Request
from energysweep.core.metrics import SWEEP_FAMILIES
from tests.agent.test_exporter import wrong_by_promtool
from tests.agent.test_server import TRACE, get, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

LINES = 20_000
REQUESTS = 3_000
MOST_LOGGED_BYTES = 4000  # what it says of itself at its start, and a line a minute of each kind of trouble
MOST_LINE_BYTES = 200_000
BIG = "9" * 5000


# The agent, and who needs it -----------------------------------------------------------------------------------------


@dataclass
class RealAgent:
    """An agent in a process of its own, with a log."""

    home: Path
    log: Path
    process: subprocess.Popen[bytes] | None = None
    url: str = ""
    lease_port: int = 0

    def start(self) -> None:
        said = self.log.stat().st_size if self.log.exists() else 0
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.lease_port = probe.getsockname()[1]
        command = [sys.executable, "-m", "energysweep", "agent", "--meter", f"replay:{self.home / 'trace.csv'}"]
        command += ["--port", "0", "--lease-port", str(self.lease_port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until(lambda: b"http://" in self.log.read_bytes()[said:])
        self.url = re.findall(rb"http://[^,\s]+", self.log.read_bytes()[said:])[0].decode()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def check(self) -> str:
        """What must hold at any time; returns what a scrape shows."""
        assert self.process is not None
        assert self.process.poll() is None
        text = get(f"{self.url}/metrics")[0].decode()
        assert wrong_by_promtool(text) == []
        assert "energysweep_agent_left_out_samples" in text
        assert re.search(r'^energysweep_agent_left_out_samples{node="[^"]*"} 0\.0$', text, re.MULTILINE)
        logged = self.log.read_text()
        assert "Traceback" not in logged
        assert len(logged) < MOST_LOGGED_BYTES
        return text


@pytest.fixture
def agent(agent_home: Path) -> Iterator[RealAgent]:
    (agent_home / "trace.csv").write_text(TRACE)
    agent = RealAgent(agent_home, agent_home / "log")
    agent.start()
    yield agent
    assert agent.process is not None
    agent.process.send_signal(signal.SIGTERM)
    assert agent.process.wait(60) == 0


@dataclass
class Honest:
    """A client that works all the while; what is wrong with how it is served is kept."""

    agent: RealAgent
    reports: int = 0
    joules: float = 0.0
    wrong: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Honest:
        self._client = AgentClient(self.agent.home / "agent.sock", Hello(run="honest", key="a secret"))
        self._lease = self._client.open("trial", cpus=1, config="lr=0.1")
        until(lambda: b'trial="trial"' in get(f"{self.agent.url}/metrics")[0])  # the next snapshot has it
        self._thread = threading.Thread(target=self._work)
        self._thread.start()
        return self

    def _work(self) -> None:
        while not self._over.wait(0.05):
            try:
                joules = self._lease.report({"loss": 0.5}).energy_joules
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told by the test
                self.wrong.append(repr(error))
                return
            if joules < self.joules:
                self.wrong.append(f"{joules} J after {self.joules} J")
            self.reports, self.joules = self.reports + 1, joules

    def check(self) -> None:
        """It has been served, and is."""
        reports = self.reports
        until(lambda: self.reports > reports or bool(self.wrong))
        assert self.wrong == []

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._client.close()


# What is said --------------------------------------------------------------------------------------------------------


def hostile_value(chance: Random, depth: int = 2) -> str:
    """A value as JSON, or almost."""
    if depth and chance.random() < 0.2:
        parts = [hostile_value(chance, depth - 1) for _ in range(chance.choice([0, 1, 3, 40]))]
        if chance.random() < 0.5:
            return f"[{','.join(parts)}]"
        return "{" + ",".join(f"{hostile_text(chance)}:{part}" for part in parts) + "}"
    if chance.random() < 0.4:
        return hostile_text(chance)
    numbers = ["0", "-1", "1e18", "1.1e18", "1e308", "1e309", "-1e999", "NaN", "Infinity", "-Infinity", "1" + "0" * 400]
    numbers += [BIG, "1e" + BIG, "0." + BIG, "-0", "00", "+1", "1.", ".5", "0x10", str(2**63), str(-(2**63) - 1)]
    return chance.choice([*numbers, "true", "null", "tru", "'x'", "[" * 300, "]" * 3, ""])


def hostile_text(chance: Random) -> str:
    texts = [
        "",
        "x",
        "x" * 199,
        "x" * 201,
        "x" * 5000,
        r"\ud800",
        r"\u0000",
        r"\n\r\u001b[2J\u2028",
        r"\\",
        r"\"",
        "é" * 90,
    ]
    texts += [
        "honest",
        "trial",
        "cpu",
        "gpu",
        "0",
        "../../etc/passwd",
        "{{7*7}}",
        '"} 1e9\\nenergysweep_fake{a=\\"',
        "\x01",
    ]
    return f'"{chance.choice(texts)}"' if chance.random() < 0.9 else chance.choice(['"', '"\\', '"\\ud8"', "'a'"])


REQUESTS_OF_CLIENTS: list[dict[str, str]] = [
    {"op": '"hello"', "run": '"evil"', "key": '"k"', "protocol": str(PROTOCOL), "quiet": "false", "sweep": "{}"},
    {"op": '"hello"', "run": '"honest"', "key": '"guessed"', "protocol": str(PROTOCOL)},
    {"op": '"hello"', "run": '"evil"', "idle_power_watts": '{"cpu":1}', "process": '{"pid":1,"started":1}'},
    {"op": '"prove"'},
    {
        "op": '"open"',
        "lease": '"l"',
        "trial": '"t"',
        "cpus": "1",
        "gpus": '{"0":1}',
        "config": '"c"',
        "hardware": '"h"',
        "in_startup": "true",
    },
    {"op": '"phase"', "lease": '"l"', "in_startup": "false"},
    {"op": '"phase"', "lease": '"l"', "in_startup": "true"},
    {"op": '"elsewhere"', "lease": '"l"'},
    {"op": '"report"', "lease": '"l"', "results": '{"loss":1}'},
    {"op": '"ask"', "lease": '"l"'},
    {"op": '"close"', "lease": '"l"'},
    {"op": '"close_trial"', "trial": '"trial"', "is_over": "true"},
    {"op": '"agents"', "agents": '{"10.0.0.1:9770":"n"}'},
    {"op": '"close_window"'},
    {"op": '"retire"'},
]
SWEEP = {
    "grams_per_kwh": "1",
    "zone": '"z"',
    "carbon_source": '"s"',
    "pue": "1",
    "samples": '[["energysweep_sweep_best",["loss"],-1],["energysweep_sweep_saved_energy_joules",[],1]]',
    "agents": '{"10.0.0.1:9770":"n"}',
}


def test_every_request_is_sent_with_each_of_its_fields() -> None:
    sent: dict[str, set[str]] = {"update": {"op", "sweep"}}
    for request in REQUESTS_OF_CLIENTS:
        sent.setdefault(json.loads(request["op"]), set()).update(request)
    known = {get_args(each.model_fields["op"].annotation)[0]: set(each.model_fields) for each in get_args(Request)}
    assert sent == known
    assert SWEEP.keys() == {field.name for field in dataclasses.fields(Sweep)}


def written(fields: dict[str, str]) -> str:
    return "{" + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}"


def hostile_samples(chance: Random) -> str:
    """Numbers of metrics of a sweep, in which a name, a label or a number is not what it should be."""
    samples = []
    for _ in range(chance.choice([1, 2, 40])):
        family = chance.choice([*SWEEP_FAMILIES.values()])
        labels = [f'"{chance.choice("abc")}"' for _ in family.labels[1:]]
        parts = [f'"{family.name}"', f"[{','.join(labels)}]", str(chance.random())]
        if chance.random() < 0.3:
            parts[chance.randrange(3)] = hostile_value(chance)
        samples.append(f"[{','.join(parts)}]")
    return f"[{','.join(samples)}]"


def hostile_line(chance: Random) -> bytes:
    kind = chance.random()
    if kind < 0.02:
        return bytes(chance.randrange(256) for _ in range(chance.choice([0, 1, 100]))).replace(b"\n", b"")
    if kind < 0.03:
        return chance.choice([b"[", b'{"a":', b'["', b"[{"]) * chance.choice([100, 1000, 15_000])
    fields = dict(chance.choice(REQUESTS_OF_CLIENTS))
    if kind < 0.5:
        sweep = dict(SWEEP)
        for name in chance.sample(sorted(SWEEP), chance.randint(0, 3)):
            sweep[name] = hostile_value(chance)
        if chance.random() < 0.5:
            sweep["samples"] = hostile_samples(chance)
        fields = {"op": '"update"', "sweep": written(sweep)}
    for name in chance.sample(sorted(fields), min(len(fields), chance.choice([0, 1, 1, 2]))):
        fields[name] = hostile_value(chance)
    if chance.random() < 0.1:
        fields[chance.choice(["pid", "x" * 300, "op", "\u2028"])] = hostile_value(chance)
    line = written(fields).encode("utf-8", "surrogatepass").replace(b"\n", b"")
    return line[: chance.randrange(len(line))] if chance.random() < 0.05 else line[:MOST_LINE_BYTES]


class Speaker:
    """A connection that says what it likes and reads every answer; it connects anew when it is hung up on."""

    def __init__(self, connect: Callable[[], socket.socket], first: bytes | None) -> None:
        self._connect, self._first = connect, first
        self._open()

    def _open(self) -> None:
        self._socket = self._connect()
        self._socket.settimeout(60)
        self._lines = self._socket.makefile("rb")
        if self._first is not None:
            assert self.say(self._first)["ok"]

    def say(self, line: bytes) -> dict[str, Any]:
        answer = self._answer_to(line)
        if not answer and self._first is None:  # who has not introduced himself is hung up on after 10 s
            self.close()
            self._open()
            answer = self._answer_to(line)
        assert answer, f"hung up on without an answer to {line[:200]!r}"
        content: dict[str, Any] = json.loads(answer)
        if not content["ok"] and content["error"].startswith("a line has at most"):
            self.close()
            self._open()
        return content

    def _answer_to(self, line: bytes) -> bytes:
        try:
            self._socket.sendall(line + b"\n")
            return self._lines.readline()
        except ConnectionError:
            return b""

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


def over_socket(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    return connection


# The tests -----------------------------------------------------------------------------------------------------------


def test_hostile_lines_are_answered_and_change_nothing_for_others(agent: RealAgent, chance: Random) -> None:
    with Honest(agent) as honest, contextlib.ExitStack() as speakers:
        hello = written({"op": '"hello"', "run": '"evil"', "key": '"k"'}).encode()
        inside = Speaker(lambda: over_socket(agent.home / "agent.sock"), hello)
        outside = Speaker(lambda: over_socket(agent.home / "agent.sock"), None)
        network = Speaker(lambda: socket.create_connection(("127.0.0.1", agent.lease_port)), None)
        for each in (inside, outside, network):
            speakers.callback(each.close)
        hellos = 0
        for number in range(LINES):
            line = hostile_line(chance)
            is_hello = b'"op":"hello"' in line
            hellos += is_hello
            if is_hello and hellos > 300:  # a peer has 400 at once, and then waits
                continue
            speaker = chance.choice([inside, inside, network, outside])
            if speaker is outside and is_hello and b'"honest"' not in line:
                continue  # over the socket everybody may begin a run of his own
            answer = speaker.say(line)
            if answer["ok"]:
                assert speaker is inside or "call_yourself" in answer, line
            else:
                assert 0 < len(answer["error"]) <= 304, line
                assert answer["error"].isprintable(), line
            if number % (LINES // 5) == 0:
                shown = agent.check()
                assert 'trial="trial"' in shown
        honest.check()

        shown = agent.check()
        runs = set(re.findall(r'sweep="((?:[^"\\]|\\.)*)"', shown))
        assert runs <= {"", "honest", "evil"}  # of the account, what no sweep has spent
        assert 'energysweep_trial_result{sweep="honest",trial="trial"' in shown

        # What has been said is in no state that could spoil the next agent.
        agent.kill()
        agent.start()
        assert 'sweep="honest",trial="trial"' in agent.check()


METHODS = ["GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "G\x00T", "get", "", "É"]
PATHS = ["/metrics", "/metrics", "/healthz", "/sd", "/v1/totals", "/v1/close", "/v1/agents", "/", "", "*", "//metrics"]
PATHS += ["/metrics/", "/%6detrics", "/%ff%00", "/%", "/../../etc/passwd", "/" + "a" * 10_000, "/" + "a" * 70_000]
QUERIES = [
    "",
    "run=honest",
    "run=honest&since=" + BIG,
    "run=honest&run=evil",
    "since=1e9",
    "run=%ff%",
    "run=" + "x" * 9000,
]
QUERIES += ["run=honest&trial=trial", "&=&;", "run=honest&since=%D9%A3", "since=-1&run=nobody", "run=nobody&is_over=1"]
HEADERS = ["Accept", "Accept-Encoding", "Content-Length", "Content-Type", "Authorization", "Host", "Transfer-Encoding"]
HEADERS += ["Expect", "Connection", "X" * 300, "", "É", "Range", "If-None-Match", "Content-Encoding"]
VALUES = ["", "0", "-1", "1", "2", BIG, "1e5", "NaN", "gzip;q=0", "gzip", "*;q=0.001", "text/plain;version=abc", "٣"]
VALUES += ["application/openmetrics-text; version=1.a", "application/openmetrics-text;q=" + BIG, "*/*;q=-1", ";;,,==;q"]
VALUES += ["Bearer", "Bearer guessed", "Basic x", "chunked", "100-continue", "a" * 70_000, "\x00", "é", "\t", "a\r\n b"]
BODIES = ["", "{}", "[" * 5000, '{"10.0.0.9:1":"n"}', "\xff" * 100, '{"a":' + BIG + "}"]


def hostile_request(chance: Random) -> bytes:
    if chance.random() < 0.03:
        return bytes(chance.randrange(256) for _ in range(chance.choice([0, 1, 200])))
    lines = [f"{chance.choice(METHODS)} {chance.choice(PATHS)}?{chance.choice(QUERIES)} {version(chance)}"]
    lines += [f"{chance.choice(HEADERS)}: {chance.choice(VALUES)}" for _ in range(chance.choice([0, 1, 2, 3, 3, 120]))]
    text = "\r\n".join([*lines, "", chance.choice(BODIES)])
    request = text.encode("latin-1", "replace")
    return request[: chance.randrange(len(request))] if chance.random() < 0.05 else request


def version(chance: Random) -> str:
    return chance.choice(
        ["HTTP/1.1"] * 8 + ["HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/" + BIG, "HTTP/1.²", "", "x y z"]
    )


def answer_to(request: bytes, port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        with contextlib.suppress(OSError):  # it may have enough before it has read all
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
        parts = []
        with contextlib.suppress(OSError):
            while part := connection.recv(65536):
                parts.append(part)
        return b"".join(parts)


def test_hostile_requests_get_a_status_below_500_and_change_nothing_for_others(
    agent: RealAgent, chance: Random
) -> None:
    port = int(agent.url.rpartition(":")[2])
    with Honest(agent) as honest:
        for number in range(REQUESTS):
            request = hostile_request(chance)
            answer = answer_to(request, port)
            if answer.startswith(b"HTTP/"):
                status = int(answer.split(b" ", 2)[1])
                assert status < 500 or status in (501, 505), (request[:500], answer[:500])  # a method, a version
            assert b"a secret" not in answer
            if number % (REQUESTS // 5) == 0:
                assert 'trial="trial"' in agent.check()
        # Who says half a request holds up nobody else.
        slow = [socket.create_connection(("127.0.0.1", port), 60) for _ in range(20)]
        for connection in slow:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: ")
        shown = agent.check()
        for connection in slow:
            connection.close()
        honest.check()
        assert 'energysweep_trial_result{sweep="honest",trial="trial"' in shown
        assert json.loads(get(f"{agent.url}/sd")[0])[0]["targets"] == [agent.url.removeprefix("http://")]
