"""A real head of Ray, as the chart's pod has it: its health answers to the probes without the token, jobs do not."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.charts import TEAM, render
from tests.support.pods import pods
from tests.support.ports import free_port

pytestmark = [pytest.mark.ray, pytest.mark.slow]

RAY = Path(sys.executable).with_name("ray")
TOKEN = "a-token-of-at-least-thirty-two-characters"  # noqa: S105 - of this test's own head


def head(home: Path, **environment: str) -> dict[str, str]:
    """The environment of the head's container, as the chart has it, in a home of its own."""
    container = next(pod for pod in pods(render(TEAM)) if pod.name.endswith("/head")).spec["containers"][0]
    own = {v["name"]: v["value"] for v in container["env"] if "value" in v}
    return {"PATH": os.environ["PATH"], "HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0", **own, **environment}


def test_a_head_that_has_not_got_its_token_does_not_start(tmp_path: Path) -> None:
    command = [str(RAY), "start", "--head", "--port=0", "--include-dashboard=false", "--num-cpus=0"]
    environment = head(tmp_path)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode != 0
    assert "no authentication token was found" in done.stderr


@pytest.fixture
def short_folder() -> Iterator[str]:
    """For Ray's sockets, whose paths must be short."""
    with tempfile.TemporaryDirectory(prefix="head-", ignore_cleanup_errors=True) as folder:
        yield folder


def test_the_probes_need_no_token_and_jobs_do(tmp_path: Path, short_folder: str) -> None:
    gcs, dashboard, agent, agent_grpc, client = (free_port() for _ in range(5))
    command = [
        *(str(RAY), "start", "--head", "--block", "--num-cpus=0", f"--temp-dir={short_folder}"),
        *(f"--port={gcs}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"),
        *(f"--dashboard-agent-listen-port={agent}", f"--dashboard-agent-grpc-port={agent_grpc}"),
    ]
    container = next(pod for pod in pods(render(TEAM)) if pod.name.endswith("/head")).spec["containers"][0]
    path = container["readinessProbe"]["httpGet"]["path"]
    with subprocess.Popen(command, env=head(tmp_path, RAY_AUTH_TOKEN=TOKEN), stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 120
            while status(agent, path) != 200:
                assert process.poll() is None, "the head has ended"
                assert time.monotonic() < deadline, "the head does not become healthy"
                time.sleep(1)
            assert answered(dashboard, "/api/jobs/") == 401
            assert answered(dashboard, "/api/jobs/", TOKEN) == 200
        finally:
            process.terminate()
            process.wait(60)


def status(port: int, path: str, token: str | None = None) -> int | None:
    """The HTTP status of an answer; None if there is none."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def answered(port: int, path: str, token: str | None = None) -> int | None:
    """The status of its first answer; asked again while there is none, for a minute at most."""
    deadline = time.monotonic() + 60
    while (found := status(port, path, token)) is None and time.monotonic() < deadline:
        time.sleep(1)
    return found
