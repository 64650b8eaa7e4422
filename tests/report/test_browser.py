"""The report in a real Chromium."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from energysweep.report import combined_html, summarise, write_report
from tests.conftest import need
from tests.support import regimes
from tests.support.example import example

_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=5000",
]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str]]:
    """The page after its scripts have run, and every address that the browser asked for on its behalf."""
    chromium = need("chromium")
    folder = tmp_path_factory.mktemp("report")
    write_report(
        folder,
        example(extra={"attack": "<script>alert(1)</script>"}, varying=["attack", "learning_rate", "batch_size"]),
    )
    log = folder / "net.json"
    done = subprocess.run(
        [
            chromium,
            *_FLAGS,
            f"--user-data-dir={folder / 'profile'}",
            f"--log-net-log={log}",
            "--dump-dom",
            (folder / "report.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout, _requested(log)


def test_the_combined_report_draws_all_its_charts(tmp_path: Path) -> None:
    runs = [regimes.pretraining(), regimes.multitask(), regimes.hardware()]
    page = tmp_path / "study.html"
    page.write_text(combined_html([summarise(data) for data in runs]), encoding="utf-8")
    command = [need("chromium"), *_FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    drawn = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    charts = re.findall(r'<div id="(run-[^"]+)" class="js-plotly-plot"', drawn)
    assert {"run-0-break-even-0", "run-1-multitask", "run-2-hardware", "run-2-effects"} <= set(charts)
    assert len(charts) == drawn.count("<figure")


def _requested(log: Path) -> list[str]:
    events = json.loads(log.read_text())["events"]
    return [event["params"]["url"] for event in events if "url" in event.get("params", {})]


def test_the_charts_are_drawn(opened: tuple[str, list[str]]) -> None:
    page, _ = opened
    assert page.count('class="main-svg"') >= 5


def test_a_value_that_looks_like_a_script_is_shown_as_text(opened: tuple[str, list[str]]) -> None:
    page, _ = opened
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert(1)" not in page


def test_the_page_asks_the_network_for_nothing(opened: tuple[str, list[str]]) -> None:
    _, requested = opened
    # The browser itself may look for its maker's hosts; the page names none of its own.
    report = [url for url in requested if urlsplit(url).scheme in ("http", "https", "ws", "wss")]
    assert not [url for url in report if "google" not in urlsplit(url).netloc], report
