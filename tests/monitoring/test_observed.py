"""The ledger beside what a Prometheus holds: the sums, and servers that are none."""

from __future__ import annotations

import io
import json
import re
import socket
import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from energysweep.cli import main
from energysweep.core.errors import EnergysweepError, InputError, SweepError
from energysweep.core.runfolder import LEDGER
from energysweep.ledger.store import Ledger
from energysweep.monitoring.observed import Observed, ObservedTrial, observe, observed_table, sentence
from energysweep.report import summarise
from tests.support.example import example


@contextmanager
def server(
    status: int, body: str, headers: Mapping[str, str] | None = None, asked: list[Message] | None = None
) -> Iterator[str]:
    """A web server that always says the same; ``asked`` gets the headers of each request."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if asked is not None:
                asked.append(self.headers)
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_POST  # noqa: N815 - the library's name

        def log_message(self, *_: Any) -> None: ...

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=web.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{web.server_address[1]}"
    web.shutdown()
    web.server_close()


def _result(series: str) -> str:
    return f'{{"status": "success", "data": {{"result": [{series}]}}}}'


@pytest.mark.parametrize(
    ("status", "body", "kind", "fragment"),
    [
        (404, "not found", InputError, "is no Prometheus server (404)"),
        (401, "", InputError, "set PROMETHEUS_TOKEN"),
        (403, "", InputError, "set PROMETHEUS_TOKEN"),
        (200, "<html>", InputError, "does not answer in JSON"),
        (200, "[]", InputError, "is no Prometheus server"),
        (200, "[" * 100_000, InputError, "does not answer in JSON"),
        (200, '{"status": "error"}', InputError, "is no Prometheus server"),
        (200, '{"status": "success"}', InputError, "answers something else"),
        (200, '{"status": "error", "data": {"result": []}}', InputError, "answers something else"),
        (200, '{"status": "success", "data": null}', InputError, "answers something else"),
        (200, '{"status": "success", "data": {"result": 1}}', InputError, "answers something else"),
        (200, _result("[]"), InputError, "answers something else"),
        (200, _result('{"value": [0, "1"]}'), InputError, "answers something else"),
        (200, _result('{"metric": ["trial"], "value": [0, "1"]}'), InputError, "answers something else"),
        (200, _result('{"metric": {"trial": "a"}, "value": [0]}'), InputError, "answers something else"),
        (200, _result('{"metric": {"trial": "a"}, "value": [0, "many"]}'), InputError, "answers something else"),
        (200, _result('{"metric": {"trial": "a"}, "value": [0, null]}'), InputError, "answers something else"),
        (200, _result('{"metric": {"trial": "a"}, "value": [0, "NaN"]}'), InputError, "answers something else"),
        (422, '{"status": "error", "error": "too many samples"}', SweepError, "answered 422: too many samples"),
        (422, json.dumps({"error": "a\x1b[31m\nb"}), SweepError, "answered 422: a[31m b"),
        (503, "busy", SweepError, "answered 503: Service Unavailable"),
        (503, "[" * 100_000, SweepError, "answered 503: Service Unavailable"),
        (302, "", InputError, "redirects to elsewhere; give the address that answers itself"),
    ],
)
def test_what_is_no_prometheus_is_told(status: int, body: str, kind: type[EnergysweepError], fragment: str) -> None:
    with server(status, body) as url, pytest.raises(kind) as raised:
        observe(summarise(example()), url)
    assert fragment in str(raised.value)
    assert str(raised.value).isprintable()


def test_a_token_is_not_taken_to_where_a_server_redirects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_TOKEN", "secret")
    first: list[Message] = []
    second: list[Message] = []
    with server(200, _result(""), asked=second) as other:
        for status in (301, 302, 303, 307, 308):
            with (
                server(status, "", {"Location": f"{other}/\x1b[2J"}, asked=first) as url,
                pytest.raises(InputError) as raised,
            ):
                observe(summarise(example()), url)
            assert f"{url} redirects to {other}/[2J; give the address that answers itself" in str(raised.value)
    assert [each["Authorization"] for each in first] == ["Bearer secret"] * 5
    assert second == []


@pytest.mark.parametrize("location", ["http://[", "file:///etc/passwd", "\xff"])
def test_a_redirect_to_nowhere_is_told(location: str) -> None:
    with server(302, "", {"Location": location}) as url, pytest.raises(InputError, match="redirects to"):
        observe(summarise(example()), url)


@pytest.mark.parametrize("token", ["a\nb", "secret\n", "sécret", "\u20ac"])
def test_what_is_no_token_is_told_before_anything_is_sent(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_TOKEN", token)
    asked: list[Message] = []
    with server(200, _result(""), asked=asked) as url, pytest.raises(InputError, match=r"^PROMETHEUS_TOKEN: a token"):
        observe(summarise(example()), url)
    assert asked == []


@contextmanager
def greeter(greeting: bytes) -> Iterator[str]:
    """A server that says one thing to whoever comes, whatever they ask, and hangs up."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(greeting)
            self.request.shutdown(socket.SHUT_WR)
            while self.rfile.read(1):  # a connection closed over unread bytes would be reset
                pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as tcp:
        threading.Thread(target=tcp.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{tcp.server_address[1]}"
        tcp.shutdown()


@pytest.mark.parametrize(
    ("greeting", "kind", "fragment"),
    [
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", InputError, "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", SweepError, "broke off in the middle"),
        (b"HTTP/1.1 503 \x1b[31mred\r\nContent-Length: 0\r\n\r\n", SweepError, "answered 503: [31mred"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\n{", SweepError, "answered 503: Busy"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", InputError, "does not speak HTTP"),
        (b"", SweepError, "cannot be reached"),
    ],
    ids=["ssh", "broken off", "reason with an escape", "broken off while refusing", "too long a line", "nothing"],
)
def test_what_speaks_no_good_http_is_told(greeting: bytes, kind: type[EnergysweepError], fragment: str) -> None:
    with greeter(greeting) as url, pytest.raises(kind) as raised:
        observe(summarise(example()), url)
    assert fragment in str(raised.value)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/ü", "http://127.0.0.1:9/a b"])
def test_an_address_that_no_request_can_carry_is_told(url: str) -> None:
    with pytest.raises(InputError, match="no web address"):
        observe(summarise(example()), url)


@pytest.mark.parametrize("url", ["localhost:9090", "file:///etc/passwd", "http://", "http://x:port", "http://a/?b"])
def test_what_is_no_address_is_told(url: str) -> None:
    with pytest.raises(InputError, match="no web address"):
        observe(summarise(example()), url)


def test_nobody_there_is_told() -> None:
    with server(200, "{}") as url:
        pass
    with pytest.raises(SweepError, match="cannot be reached"):
        observe(summarise(example()), url)


def test_differences_are_prometheus_less_the_ledger_and_missing_is_no_difference() -> None:
    observed = Observed(
        (ObservedTrial("a", "x=1", 100.0, 99.0), ObservedTrial("b", "x=2", 50.0, None)), estimated=False
    )
    assert [each.difference_joules for each in observed.trials] == [-1.0, None]
    assert sentence(observed) == (
        "Prometheus holds 99.0 J of the trials, the ledger 150 J: a difference of -51.0 J (-34.0 %)."
        " 1 of 2 trials are missing there."
    )


def test_differences_of_estimates_are_marked_as_estimates_are() -> None:
    observed = Observed((ObservedTrial("a", "x=1", 100.0, 99.0), ObservedTrial("b", "x=2", 50.0, 56.0)), estimated=True)
    assert sentence(observed).endswith("a difference of ≈ +5.00 J (est.) (3.3 %).")
    console = Console(width=120, file=io.StringIO())
    with console.capture() as captured:
        console.print(observed_table(observed))
    rows = captured.get().splitlines()[1:3]
    assert [row.count("≈") for row in rows] == [3, 3]
    assert [row.split("≈ ")[-1].rstrip() for row in rows] == ["-1.00 J (-1.0 %)", "+6.00 J (12.0 %)"]


def test_a_prometheus_that_knows_nothing_of_the_run_is_told_plainly() -> None:
    observed = Observed((ObservedTrial("a", "x=1", 100.0, None),), estimated=True)
    assert sentence(observed) == "Prometheus holds nothing of this run; the ledger has ≈ 100 J (est.)."


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    data = example()
    with Ledger.create(tmp_path / LEDGER) as ledger:
        ledger.note(**data.run)
        ledger.merge(data.energy, data.meters, data.leases, data.samples)
        ledger.record(data.trials, data.attempts, data.results)
    return tmp_path


def test_the_command_line_compares_after_the_report_is_written(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = [{"metric": {"trial": "t-0.1-16-0"}, "value": [0, "199"]}]
    body = json.dumps({"status": "success", "data": {"result": held}})
    with server(200, body) as url:
        assert main(["report", str(run_folder), "--prometheus", url]) == 0
    out = capsys.readouterr().out
    assert "-1.00 J (-0.5 %)" in out
    assert "17 of 18 trials are missing there" in out
    assert main(["report", str(run_folder), "--prometheus", url]) == 1
    assert (run_folder / "report.html").is_file()


def test_the_series_are_written_for_the_grid_of_the_report(run_folder: Path) -> None:
    series = run_folder / "run.om"
    # The run itself noted 360 g/kWh.
    carbon = ["--carbon", "grams_per_kwh=36,pue=1.5"]
    assert main(["report", str(run_folder), *carbon, "--openmetrics", str(series)]) == 0
    intensities = re.findall(r'grams_per_kwh\{source="given by the user",zone="given"\} (\S+)', series.read_text())
    assert set(intensities) == {"36.0"}
    assert json.loads((run_folder / "summary.json").read_text())["carbon"]["grams_per_kwh"] == 36.0


def test_the_report_links_to_grafana_with_the_run_s_time(run_folder: Path) -> None:
    assert main(["report", str(run_folder), "--grafana", "https://grafana.example.org/g/"]) == 0
    page = (run_folder / "report.html").read_text()
    link = (
        "https://grafana.example.org/g/d/energysweep-sweep?var-sweep=mnist-20231114T221320Z"
        "&amp;from=1699999940000&amp;to=1700000180000"
    )
    assert f'href="{link}"' in page


def test_a_link_that_would_run_a_script_is_refused_and_the_old_report_stays(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(run_folder)]) == 0
    before = (run_folder / "report.html").read_text()
    assert main(["report", str(run_folder), "--grafana", "javascript:alert(1)"]) == 2
    assert "no web address" in capsys.readouterr().err
    assert (run_folder / "report.html").read_text() == before


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        (["--prometheus", "localhost:9090"], "--prometheus: 'localhost:9090' is no web address"),
        (["--prometheus", ""], "--prometheus: '' is no web address"),
        (["--grafana", "localhost:3000"], "--grafana: 'localhost:3000' is no web address"),
        (
            ["--openmetrics", "{tmp}/missing/x.om"],
            "--openmetrics: {tmp}/missing/x.om: cannot be written (No such",
        ),
        (["--openmetrics", "{tmp}"], "--openmetrics: {tmp} is no file"),
        (["--openmetrics", ""], "--openmetrics: . is no file"),
        (["--openmetrics", "/proc/x.om"], "--openmetrics: /proc/x.om"),
        (["--openmetrics", "{tmp}/x.om", "--prometheus", "http://"], "--prometheus: 'http://' is no web address"),
    ],
)
def test_a_wrong_option_of_report_is_told_before_anything_is_written(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], fragment: str
) -> None:
    before = sorted(tmp_path.iterdir())
    assert main(["report", str(run_folder), *(each.format(tmp=tmp_path) for each in options)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"energysweep: {fragment.format(tmp=tmp_path)}")
    assert sorted(tmp_path.iterdir()) == before


def test_a_wrong_token_for_prometheus_is_told_before_the_report_is_written(
    run_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_TOKEN", "a\nb")
    assert main(["report", str(run_folder), "--prometheus", "http://127.0.0.1:9"]) == 2
    assert capsys.readouterr().err.startswith("energysweep: PROMETHEUS_TOKEN: ")
    assert not (run_folder / "report.html").exists()


@pytest.mark.parametrize("option", ["--html", "--markdown"])
def test_a_wrong_file_of_compare_is_told_before_anything_is_written(
    run_folder: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    assert main(["compare", str(run_folder), option, "/nonexistent/x"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"energysweep: {option}: /nonexistent/x: cannot be written (No such file or directory)\n"
