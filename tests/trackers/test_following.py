"""The process beside a driver: what it brings, what is told of a tracker that is away, and that nobody waits for it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from energysweep.core.errors import TrackerError
from energysweep.core.runfolder import LEDGER
from energysweep.driver.tracking import Tracking
from energysweep.ledger.store import read_ledger
from energysweep.sweepfile.trackers import Mlflow, Tensorboard, Trackers
from energysweep.trackers.following import catch_up
from energysweep.trackers.tracker import alone
from tests.support.example import example
from tests.support.ledgers import write_ledger
from tests.support.ports import free_port
from tests.support.tracked import check_equal, in_tensorboard

LONG_SECONDS = 900.0
pytestmark = pytest.mark.filterwarnings("ignore")  # of others' libraries


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_ledger(tmp_path / "run", example())


def test_a_tracker_that_is_away_is_told_once_and_the_others_get_all(folder: Path) -> None:
    said: list[str] = []
    away = Mlflow(tracking_uri=f"http://127.0.0.1:{free_port()}")
    with Tracking(Trackers(mlflow=away, tensorboard=Tensorboard()), said.append, last_seconds=LONG_SECONDS) as tracking:
        tracking.begin(folder)
    check_equal(in_tensorboard(folder), folder)
    lines = [line for line in said if not line.startswith("the last numbers go to")]
    assert len(lines) == 2
    assert lines[0].startswith("MLflow: ")
    assert lines[0].endswith("; the sweep goes on, and what is missing comes later")
    assert lines[1].startswith("MLflow: not all of the run is there (")
    assert lines[1].endswith(f"energysweep export {folder} --format mlflow brings it")
    assert not any("\n" in line for line in said)


def test_nobody_waits_for_it_if_the_run_is_in_a_hurry(folder: Path) -> None:
    said: list[str] = []
    with _silent_server() as url:
        trackers = Trackers(mlflow=Mlflow(tracking_uri=url))
        with Tracking(trackers, said.append, last_seconds=0.0) as tracking:
            tracking.begin(folder)
    assert said == [
        "MLflow: not all of the run is there; it is in the ledger:"
        f" energysweep export {folder} --format mlflow brings it"
    ]
    with alone("mlflow", folder) as is_alone:  # its process has gone
        assert is_alone


def test_a_sweep_without_trackers_starts_nothing(folder: Path) -> None:
    said: list[str] = []
    with Tracking(None, said.append) as tracking:
        tracking.begin(folder)
    assert said == []


DRIVER = """
import sys
from pathlib import Path
from energysweep.driver.tracking import Tracking
from energysweep.sweepfile.trackers import Tensorboard, Trackers

with Tracking(Trackers(tensorboard=Tensorboard()), print) as tracking:
    tracking.begin(Path(sys.argv[1]))
    print("begun", flush=True)
    sys.stdin.read()
"""


def test_of_a_driver_that_is_killed_all_that_the_ledger_has_is_brought(folder: Path) -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert driver.stdout is not None
    assert driver.stdout.readline() == "begun\n"
    driver.kill()
    # The process beside it holds the other end of its output until it has ended, too.
    driver.stdout.read()
    driver.wait()
    catch_up("tensorboard", Tensorboard(), folder, read_ledger(folder / LEDGER))
    check_equal(in_tensorboard(folder), folder)


def test_a_token_that_is_refused_is_one_line_without_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "geheim")
    with _refusing_server() as (url, tokens), pytest.raises(TrackerError) as error:
        catch_up("mlflow", Mlflow(tracking_uri=url), folder, read_ledger(folder / LEDGER))
    assert tokens[0] == "Bearer geheim"
    assert str(error.value) == "MLflow: UNAUTHENTICATED: no such token"


@contextmanager
def _refusing_server() -> Iterator[tuple[str, list[str | None]]]:
    tokens: list[str | None] = []

    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            tokens.append(self.headers.get("Authorization"))
            body = b'{"error_code": "UNAUTHENTICATED", "message": "no such token"}'
            self.send_response(401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with _serving(Refuses) as url:
        yield url, tokens


@contextmanager
def _silent_server() -> Iterator[str]:
    """It takes a request, and never answers."""
    ended = threading.Event()

    class Hangs(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ended.wait()

    with _serving(Hangs) as url:
        try:
            yield url
        finally:
            ended.set()


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
