"""Draws the dashboards with Grafana's own code (npm's @grafana/data and @grafana/ui) over a real Prometheus.

    python -m tests.support.screen http://127.0.0.1:9090 FROM TO FOLDER [--widths 1326 1580] [--interval SECONDS]

FROM and TO are Unix times. Writes an HTML page and a PNG by Chromium for each dashboard. Field overrides,
transformations, tables, bars, numbers, lines and frames of panels are Grafana's; the page around them and the XY chart
are not, because they are not on npm. What it shows is also what tests/monitoring/test_screen.py measures.
"""

from __future__ import annotations

import argparse
import hashlib
import html
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from energysweep.monitoring import dashboards
from tests.conftest import need
from tests.support.grafana import Json, View, panels

SOURCES = Path(__file__).parent / "screen"
BUILDS = Path(__file__).parents[2] / "build" / "screen"

# What a dashboard has of a window: less Grafana's padding of 16 px and its scroll bar, and less its menu of 300 px,
# which is docked beside the page from 1440 px on unless a person closes it.
WIDTHS = {1366: 1326, 1600: 1260, 1920: 1580}


def bundle() -> Path:
    """The folder with screen.js and screen.css, made anew when a source of theirs has changed."""
    sources = sorted(path for path in SOURCES.iterdir() if path.is_file())
    state = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    done = BUILDS / state
    if not done.is_dir():
        BUILDS.mkdir(parents=True, exist_ok=True)
        packages = BUILDS / "packages"
        lock = (SOURCES / "package-lock.json").read_text(encoding="utf-8")
        packages.mkdir(exist_ok=True)
        if not (packages / "installed").exists() or (packages / "installed").read_text() != lock:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(SOURCES / name, packages)
            _npm(packages, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=5")
            (packages / "installed").write_text(lock)
        for path in sources:
            shutil.copy(path, packages)
        with tempfile.TemporaryDirectory(dir=BUILDS) as folder:
            _run(packages, need("node"), "build.js", str(Path(folder) / "made"))
            (Path(folder) / "made").rename(done)
    return done


def _npm(folder: Path, *arguments: str) -> None:
    _run(folder, need("npm"), *arguments)


def _run(folder: Path, program: str, *arguments: str) -> None:
    done = subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def page(dashboard: Json, view: View, widths: Sequence[int], **chosen: str) -> str:
    """A dashboard as HTML that draws itself."""
    filled = view.choose(dashboard) | chosen
    answers = {
        panel["id"]: [
            {"target": target, "result": view.ask(target, filled)} for target in panel["targets"] if "expr" in target
        ]
        for panel in panels(dashboard)
    }
    content = {
        "dashboard": dashboard,
        "answers": answers,
        "chosen": filled,
        "widths": widths,
        "range": {"from": view.start, "to": view.end},
    }
    text = json.dumps(content).replace("<", "\\u003c")
    made = bundle()
    return (
        f"<!doctype html><meta charset=utf-8><title>{html.escape(dashboard['title'])}</title>"
        f"<link rel=stylesheet href='{(made / 'screen.css').as_uri()}'>"
        "<style>body {background: #f4f5f5; overflow: auto}</style>"
        f"<script id=input type=application/json>{text}</script><div id=root></div>"
        f"<script id=measured type=application/json></script><script src='{(made / 'screen.js').as_uri()}'></script>"
    )


def _chromium(folder: Path, page: Path, *arguments: str) -> str:
    command = [
        *(need("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
        *("--allow-file-access-from-files", "--virtual-time-budget=20000", f"--user-data-dir={folder / 'chromium'}"),
        *(*arguments, page.as_uri()),
    ]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=180).stdout


def measured(file: Path, width: int) -> list[Json]:
    """What a person would see of a page: see screen/measure.js."""
    text = _chromium(file.parent, file, "--dump-dom", f"--window-size={width + 60},1200")
    found = re.search(r"<script id=\"measured\" type=\"application/json\">(.*?)</script>", text, re.DOTALL)
    assert found is not None
    assert found[1], "the page has not drawn itself: " + text[-2000:]
    result: Any = json.loads(found[1])
    assert isinstance(result, list), result
    return result


def picture(file: Path, width: int, height: int) -> Path:
    """A PNG of a page."""
    png = file.with_suffix(".png")
    _chromium(file.parent, file, f"--screenshot={png}", f"--window-size={width + 40},{height}")
    return png


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("start", type=float)
    parser.add_argument("end", type=float)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--widths", type=int, nargs="+", default=[1580], help="pixels of a dashboard")
    parser.add_argument("--interval", type=int, default=2, help="seconds between scrapes")
    arguments = parser.parse_args()
    view = View(arguments.url, arguments.start, arguments.end, arguments.interval)
    for dashboard in dashboards():
        for width in arguments.widths:
            file = arguments.folder.resolve() / f"{dashboard['uid']}-{width}.html"
            file.write_text(page(dashboard, view, [width]), encoding="utf-8")
            height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"]) * 38 + 40
            print(picture(file, width, height))  # noqa: T201


if __name__ == "__main__":
    main()
