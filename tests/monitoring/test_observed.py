"""The ledger beside what a Prometheus holds: the sums, and servers that are none."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from energysweep.cli import main
from energysweep.errors import EnergysweepError, InputError, SweepError
from energysweep.ledger import FILE_NAME, Ledger
from energysweep.monitoring.observed import Observed, ObservedTrial, observe
from energysweep.monitoring.observed_table import sentence
from energysweep.reporting import summarise
from tests.reporting.example import example


@contextmanager
def server(status: int, body: str) -> Iterator[str]:
    """A web server that always says the same."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None: ...

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=web.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{web.server_address[1]}"
    web.shutdown()
    web.server_close()


@pytest.mark.parametrize(
    ("status", "body", "kind", "fragment"),
    [
        (404, "not found", InputError, "is no Prometheus server (404)"),
        (401, "", InputError, "set PROMETHEUS_TOKEN"),
        (403, "", InputError, "set PROMETHEUS_TOKEN"),
        (200, "<html>", InputError, "does not answer in JSON"),
        (200, "[]", InputError, "is no Prometheus server"),
        (200, '{"status": "error"}', InputError, "is no Prometheus server"),
        (422, '{"status": "error", "error": "too many samples"}', SweepError, "answered 422: too many samples"),
        (503, "busy", SweepError, "answered 503"),
    ],
)
def test_what_is_no_prometheus_is_told(status: int, body: str, kind: type[EnergysweepError], fragment: str) -> None:
    with server(status, body) as url, pytest.raises(kind) as raised:
        observe(summarise(example()), url)
    assert fragment in str(raised.value)


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
        "Prometheus holds 99.0 J of the trials, the ledger 150 J: a difference of -51 J (-34.0 %)."
        " 1 of 2 trials are missing there."
    )


def test_a_prometheus_that_knows_nothing_of_the_run_is_told_plainly() -> None:
    observed = Observed((ObservedTrial("a", "x=1", 100.0, None),), estimated=True)
    assert sentence(observed) == "Prometheus holds nothing of this run; the ledger has ≈ 100 J (est.)."


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    data = example()
    with Ledger.create(tmp_path / FILE_NAME) as ledger:
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
    assert "-1 J (-0.5 %)" in out
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
