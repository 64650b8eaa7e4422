"""A real Prometheus (Debian's) for tests: configured, started on a free port, asked, and stopped."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.conftest import need
from tests.support.ports import free_port
from tests.support.web import DIRECT


def http_sd(*ports: int, host: str = "127.0.0.1", refresh: str = "1s", **settings: Any) -> dict[str, Any]:
    """A scrape config that knows nothing but the agents' ``/sd`` on these ports."""
    urls = [f"http://{host}:{port}/sd" for port in ports]
    discovery = [{"url": url, "refresh_interval": refresh} for url in urls]
    return {"job_name": "energysweep", "http_sd_configs": discovery, **settings}


def bring_back(folder: Path, openmetrics: str) -> None:
    """Make blocks of it with promtool, for a Prometheus of this folder."""
    (folder / "series.om").write_text(openmetrics)
    command = [need("promtool"), "tsdb", "create-blocks-from", "openmetrics", "series.om", "tsdb"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class Prometheus:
    """A Prometheus that runs until ``stop``, or until the end of a ``with``.

    Args:
        folder: for its configuration and its data; one that has data goes on with it.
        scrape_configs: as in its configuration file; none: it only answers.
        rule_files: recording and alerting rules.
        interval: of scrapes and rules.
        lookback: how long a sample stands for what follows. What was brought back has no marks of where a series ended.
    """

    def __init__(
        self,
        folder: Path,
        scrape_configs: Sequence[Mapping[str, Any]] = (),
        rule_files: Sequence[Path] = (),
        interval: str = "1s",
        lookback: str = "5m",
    ) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.config = folder / "prometheus.yml"
        timeout = "1s" if interval == "1s" else "10s"
        every = {"scrape_interval": interval, "scrape_timeout": timeout, "evaluation_interval": interval}
        content = {"global": every, "rule_files": [str(path) for path in rule_files]}
        self.config.write_text(json.dumps(content | {"scrape_configs": list(scrape_configs)}))  # JSON is YAML
        checked = subprocess.run(
            [need("promtool"), "check", "config", str(self.config)], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr
        self._log = (folder / "prometheus.log").open("ab")
        self._process = subprocess.Popen(
            [
                need("prometheus"),
                f"--config.file={self.config}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--query.lookback-delta={lookback}",
                "--storage.tsdb.retention.time=10y",  # also what a test brings back from the past
                f"--web.listen-address={self.url.removeprefix('http://')}",
            ],
            stdout=self._log,
            stderr=self._log,
        )
        self._wait_until_ready()

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """The result of an instant query: a list of ``metric`` and ``value``.

        Args:
            expression: PromQL; a wrong one fails the test with Prometheus' own message.
            at: Unix time; now if None.
        """
        return self._ask("query", {"query": expression} | ({} if at is None else {"time": f"{at:.3f}"}))

    def query_range(self, expression: str, start: float, end: float, step: float = 1.0) -> list[dict[str, Any]]:
        """The result of a range query: a list of ``metric`` and ``values``."""
        times = {"start": f"{start:.3f}", "end": f"{end:.3f}", "step": str(step)}
        return self._ask("query_range", {"query": expression, **times})

    def values(self, expression: str, label: str) -> dict[str, float]:
        """An instant query's numbers by one label."""
        return {each["metric"].get(label, ""): float(each["value"][1]) for each in self.query(expression)}

    def wait_for(self, expression: str, seconds: float = 300.0) -> list[dict[str, Any]]:
        """Ask until there is a result; fails the test after so many seconds."""
        deadline = time.monotonic() + seconds
        while not (result := self.query(expression)):
            assert time.monotonic() < deadline, f"nothing for {expression}"
            time.sleep(0.2)
        return result

    def targets(self) -> list[dict[str, Any]]:
        """What it scrapes: ``scrapeUrl``, ``labels``, ``health``, ``lastError`` and more of each."""
        active: list[dict[str, Any]] = self._get("targets?state=active")["activeTargets"]
        return active

    def rules(self) -> list[dict[str, Any]]:
        """The groups of its rules, with the health of each rule."""
        groups: list[dict[str, Any]] = self._get("rules")["groups"]
        return groups

    def stop(self) -> None:
        """End it; its data stays in the folder."""
        self._process.terminate()
        self._process.wait()
        self._log.close()

    def __enter__(self) -> Prometheus:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                with DIRECT.open(f"{self.url}/-/ready", timeout=5):
                    return
            except OSError:
                assert self._process.poll() is None, Path(self._log.name).read_text()
                assert time.monotonic() < deadline, "Prometheus does not get ready"
                time.sleep(0.1)

    def _ask(self, path: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = self._get(f"{path}?{urllib.parse.urlencode(query)}")["result"]
        return result

    def _get(self, path: str) -> Any:
        try:
            with DIRECT.open(f"{self.url}/api/v1/{path}", timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                message = json.load(error).get("error", error.reason)
            raise AssertionError(f"Prometheus refuses {urllib.parse.unquote_plus(path)}: {message}") from None
