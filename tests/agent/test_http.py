from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from energysweep.accounting.accounts import Sweep
from energysweep.agent.discovery import Peers
from energysweep.agent.guard import Complaints
from energysweep.agent.web import Application
from tests.support.fake_clock import FakeClock
from tests.support.fake_host import FakeHost


class Browser:
    """Asks an application without a network."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self.status = ""

    def get(self, path: str, query: str = "", authorization: str | None = None, body: bytes | None = None) -> Any:
        environ: dict[str, Any] = {"PATH_INFO": path, "QUERY_STRING": query}
        if body is not None:
            environ |= {"REQUEST_METHOD": "POST", "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        setup_testing_defaults(environ)
        if authorization is not None:
            environ["HTTP_AUTHORIZATION"] = authorization
        return json.loads(b"".join(self._application(environ, self._start)))

    def _start(self, status: str, _headers: list[tuple[str, str]]) -> None:
        self.status = status.split(" ", maxsplit=1)[0]


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    host = FakeHost(tmp_path)
    host.agent.open_window("a run & more", key="secret")
    host.wait(1.0)
    host.agent.tick()
    return host


@pytest.fixture
def browser(host: FakeHost) -> Browser:
    return Browser(Application(host.agent, "http://10.0.0.7:9770"))


def test_health_is_how_old_the_newest_reading_is(host: FakeHost, browser: Browser) -> None:
    host.clock.advance(9.5)
    assert browser.get("/healthz") == {"node": "node-a", "seconds_since_reading": 9.5}
    assert browser.status == "200"
    host.clock.advance(1.0)
    browser.get("/healthz")
    assert browser.status == "503"


def test_service_discovery_names_the_agent_s_address(browser: Browser) -> None:
    assert browser.get("/sd") == [target("10.0.0.7:9770", "node-a")]


def test_service_discovery_names_all_agents_of_all_sweeps(host: FakeHost) -> None:
    browser = Browser(Application(host.agent, "http://10.0.0.7:9770"))
    own, peer, third = (f"10.0.0.{number}:9770" for number in (7, 8, 9))
    host.agent.update_sweep("a run & more", Sweep(agents={own: "node-a", peer: "node-b"}))
    assert browser.get("/sd") == [target(own, "node-a"), target(peer, "node-b")]
    host.agent.open_window("another", key="secret")
    told = json.dumps({peer: "node-b", third: "node-c"}).encode()
    assert browser.get("/v1/agents", "run=another", "Bearer secret", told) == {}
    assert browser.status == "200"
    assert browser.get("/sd") == [target(own, "node-a"), target(peer, "node-b"), target(third, "node-c")]
    host.agent.update_agents("another", {third: "node-c"})
    host.agent.update_sweep("a run & more", Sweep())  # one has left
    assert browser.get("/sd") == [target(own, "node-a"), target(third, "node-c")]
    host.agent.close_window("another")
    host.wait(301.0)
    host.agent.tick()
    assert browser.get("/sd") == [target(own, "node-a")]


@pytest.mark.parametrize(
    ("query", "authorization", "body", "status"),
    [
        ("run=a+run+%26+more", "Bearer secret", b'{"10.0.0.8:9770": "node-b"}', "200"),
        ("run=a+run+%26+more", "Bearer wrong", b'{"10.0.0.8:9770": "node-b"}', "401"),
        ("run=a+run+%26+more", None, b"{}", "401"),
        ("run=other", "Bearer secret", b"{}", "404"),
        ("run=a+run+%26+more", "Bearer secret", b"", "400"),
        ("run=a+run+%26+more", "Bearer secret", b'["10.0.0.8:9770"]', "400"),
        ("run=a+run+%26+more", "Bearer secret", b'{"10.0.0.8:9770": 1}', "400"),
        ("run=a+run+%26+more", "Bearer secret", b'{"10.0.0.8:9770": "' + b"x" * 301 + b'"}', "400"),
        ("run=a+run+%26+more", "Bearer secret", json.dumps(dict.fromkeys(map(str, range(1025)), "n")).encode(), "400"),
        ("run=a+run+%26+more", "Bearer secret", b'{"10.0.0.8:9770": "node-b"}' + b" " * 1_000_000, "400"),
    ],
)
def test_only_a_driver_says_which_agents_there_are(
    host: FakeHost, query: str, authorization: str | None, body: bytes, status: str
) -> None:
    browser = Browser(Application(host.agent, "http://10.0.0.7:9770"))
    browser.get("/v1/agents", query, authorization, body)
    assert browser.status == status
    assert len(browser.get("/sd")) == (2 if status == "200" else 1)


def target(address: str, node: str) -> dict[str, Any]:
    return {"targets": [address], "labels": {"job": "energysweep", "__meta_energysweep_node": node}}


def test_the_totals_are_those_of_the_run_since_a_revision(browser: Browser) -> None:
    first = browser.get("/v1/totals", "run=a+run+%26+more&since=0", "Bearer secret")
    assert [row[-1] for row in first["energy"]] == [pytest.approx(100)]
    again = browser.get("/v1/totals", f"run=a+run+%26+more&since={first['revision']}", "Bearer secret")
    assert again["energy"] == []
    assert len(again["meters"]) == 1


@pytest.mark.parametrize(
    ("path", "query", "status", "reason"),
    [
        ("/v1/totals", "run=other", "404", "no window"),
        ("/v1/totals", "", "404", "no window"),
        ("/v1/totals", "run=r&since=-1", "400", "whole number"),
        ("/v1/totals", "run=r&since=%C2%B2", "400", "whole number"),
        ("/favicon.ico", "", "404", "/metrics"),
    ],
)
def test_a_wrong_question_gets_its_reason(browser: Browser, path: str, query: str, status: str, reason: str) -> None:
    assert reason in browser.get(path, query)["error"]
    assert browser.status == status


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer wrong", "secret", "Basic secret", "Bearer ü"])
def test_only_who_brings_a_run_s_key_gets_its_totals(
    host: FakeHost, browser: Browser, authorization: str | None
) -> None:
    host.agent.open_window("other", key="wrong")
    query = "run=a+run+%26+more"
    assert "error" in browser.get("/v1/totals", query, authorization)
    assert browser.status == "401"
    assert "energy" in browser.get("/v1/totals", query, "Bearer secret")
    browser.get("/healthz")
    assert browser.status == "200"


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("run=r&since=" + "9" * 5000, "whole number of at most 18 digits"),
        ("run=r&since=-1", "whole number"),
        ("run=r&since=1e3", "whole number"),
        ("run=r&since=%D9%A3", "whole number"),  # a digit, though not of these
        ("run=r&run=s", "run is given twice"),
        ("run=r&since=1&since=2", "since is given twice"),
    ],
)
def test_a_question_that_makes_no_sense_is_told_so(browser: Browser, query: str, reason: str) -> None:
    assert reason in browser.get("/v1/totals", query)["error"]
    assert browser.status == "400"


def test_a_run_that_nobody_could_have_is_not_found(browser: Browser) -> None:
    for query in ("run=%ff%00%", "run=" + "x" * 200, "run=%", "&&&=;", ""):
        assert "has no window" in browser.get("/v1/totals", query)["error"]
        assert browser.status == "404"


def test_a_page_is_read_and_an_order_is_posted(browser: Browser) -> None:
    assert browser.get("/v1/close", "run=r") == {"error": "/v1/close takes POST"}
    assert browser.status == "405"
    assert browser.get("/metrics", body=b"") == {"error": "/metrics takes GET and HEAD"}
    assert browser.get("/v2/close", "run=r") == {"error": "see /metrics, /healthz, /sd, /v1/totals"}
    assert browser.status == "404"


@pytest.mark.parametrize(
    ("length", "status"),
    [("", "411"), ("x", "400"), ("-1", "400"), ("٣", "400"), ("9" * 5000, "400"), ("1000001", "400"), ("2", "200")],
)
def test_a_content_says_how_long_it_is(host: FakeHost, browser: Browser, length: str, status: str) -> None:
    host.agent.open_window("open to all")
    environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "PATH_INFO": "/v1/agents", "QUERY_STRING": "run=open+to+all"}
    setup_testing_defaults(environ)
    environ |= {"CONTENT_LENGTH": length, "wsgi.input": io.BytesIO(b"{}")}
    assert json.loads(b"".join(browser._application(environ, browser._start))).get("error") != ""
    assert browser.status == status


@pytest.mark.parametrize("body", [b"", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}", b"\xff", b'{"a": 1}', b"null"])
def test_agents_that_are_none_are_refused_in_one_line(host: FakeHost, browser: Browser, body: bytes) -> None:
    host.agent.open_window("open to all")
    reason = browser.get("/v1/agents", "run=open+to+all", body=body)["error"]
    assert browser.status == "400"
    assert 0 < len(reason) <= 304
    assert host.agent.telling.agents() == {}


def test_an_error_of_ours_is_one_line_in_the_log_and_ends_one_request(
    host: FakeHost, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Peers):
        def agents(self) -> dict[str, str]:
            raise ZeroDivisionError("a fault\nof ours")

        @property
        def are_named(self) -> bool:
            return True

    clock = FakeClock(0.0)
    browser = Browser(Application(host.agent, "http://10.0.0.7:9770", Broken(None), Complaints(clock)))
    with caplog.at_level(logging.WARNING):
        for seconds in (0.0, 59.0, 1.0):
            clock.advance(seconds)
            assert browser.get("/sd") == {"error": "the agent's log says why"}
            assert browser.status == "500"
    assert browser.get("/healthz")["node"] == "node-a"
    first, second = caplog.messages
    assert first.startswith("a request over HTTP failed: ZeroDivisionError: a fault of ours (agents, line ")
    assert second == f"{first} (1 more like it before)"
