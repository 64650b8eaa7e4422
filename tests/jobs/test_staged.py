"""What Ray makes of a staged folder: what ``--dry-run`` lists is what arrives, through Ray's own client."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private.runtime_env.packaging import unzip_package

from energysweep.cli import main
from energysweep.core.errors import InputError
from energysweep.jobs.submit import submit
from energysweep.sweepfile import load_spec

SWEEP = """
name: mine
workload: train.py:train
parameters: {learning_rate: {grid: [1e-3, 1e-2]}}
objective: {metric: score, mode: max}
"""


@dataclass
class Dashboard:
    """As much of a cluster's dashboard as takes a job: it keeps packages by their URI, as Ray's does."""

    url: str = ""
    packages: dict[str, bytes] = field(default_factory=dict)
    uploads: int = 0
    jobs: list[dict[str, Any]] = field(default_factory=list)

    def arrived(self, folder: Path) -> Path:
        """The working folder of the last job, as a node unpacks it."""
        uri = self.jobs[-1]["runtime_env"]["working_dir"]
        folder.mkdir()
        (folder / "package.zip").write_bytes(self.packages[uri.removeprefix("gcs://")])
        unzip_package(str(folder / "package.zip"), str(folder / "there"), False, False)
        return folder / "there"


@pytest.fixture
def dashboard() -> Iterator[Dashboard]:
    state = Dashboard()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/api/version":
                return self._say(
                    200, {"ray_version": ray.__version__, "version": "4", "ray_commit": "", "session_name": ""}
                )
            if self.path.startswith("/api/packages/"):
                return self._say(200 if self._package() in state.packages else 404, {})
            return self._say(200, [])  # no jobs yet

        def do_PUT(self) -> None:
            state.packages[self._package()] = self._body()
            state.uploads += 1
            self._say(200, {})

        def do_POST(self) -> None:
            state.jobs.append(json.loads(self._body()))
            self._say(200, {"job_id": "j", "submission_id": "j"})

        def _package(self) -> str:
            return self.path.rpartition("/")[2]

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers["Content-Length"]))

        def _say(self, status: int, answer: Any) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Code with everything that Ray leaves out of folders by rules of its own."""
    folder = tmp_path / "code"
    files = {
        "train.py": "x = 1\n",
        "sweep.yaml": SWEEP,
        # Ray knows no order of patterns over folders, and would leave the first out.
        ".gitignore": "*.csv\n/deep/ignored\n!venv/\n",
        "data/.gitignore": "!small.csv\n",
        "data/small.csv": "x",
        "data/large.csv": "x",
        "data/.rayignore": "*.bin\n",
        "data/weights.bin": "x",
        "outputs/.gitignore": "*\n!.gitignore\n",  # a folder that is to be there
        "outputs/old.txt": "x",
        "venv/lib.py": "x",  # taken along by a pattern; Ray leaves out all that is called so
        "deep/ignored/x": "x",
        ".hidden/file": "x",
        ".git": "gitdir: /elsewhere\n",  # of a worktree
        "empty.txt": "",
        "größe.txt": "x",
        "new\nline": "x",
        ".env": "SECRET=1",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "nothing").mkdir()
    (folder / "link.py").symlink_to("train.py")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o750)
    return folder


def listed(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, int]:
    """The sizes that a dry run lists, by name."""
    assert main(["submit", str(path), "--dry-run", *options]) == 0
    lines = capsys.readouterr().out.partition("stays here:")[0].splitlines()[1:]
    return {line[16:]: int(line[:14].replace(",", "")) for line in lines}


def test_what_a_dry_run_lists_is_what_arrives(
    folder: Path,
    dashboard: Dashboard,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "0")
    expected = listed(folder / "sweep.yaml", capsys)
    submit(load_spec(folder / "sweep.yaml", []), dashboard.url, "it", lambda _: None)
    there = dashboard.arrived(tmp_path / "node")
    arrived = {path.relative_to(there).as_posix(): path for path in there.rglob("*") if not path.is_dir()}
    assert {" ".join(name.split()): path.stat().st_size for name, path in arrived.items()} == expected
    assert set(arrived) == {
        *("train.py", "sweep.yaml", ".gitignore", "data/.gitignore", "data/small.csv", "outputs/.gitignore", ".git"),
        *("venv/lib.py", ".hidden/file", "empty.txt", "größe.txt", "new\nline", "link.py", "run.sh"),
    }
    assert not any(path.is_symlink() for path in arrived.values())
    assert (there / "run.sh").stat().st_mode & 0o777 == 0o750
    assert (there / "link.py").read_text() == "x = 1\n"
    spec = load_spec(there / "sweep.yaml")
    assert spec.workload == f"{there}/train.py:train"
    assert "RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES" not in os.environ


def test_what_a_pattern_of_the_sweep_leaves_out_does_not_arrive(
    folder: Path, dashboard: Dashboard, tmp_path: Path
) -> None:
    excludes = "runtime_env={excludes: ['*.txt', venv, .git], env_vars: {A: '1'}}"
    submit(load_spec(folder / "sweep.yaml", [excludes]), dashboard.url, "it", lambda _: None)
    there = dashboard.arrived(tmp_path / "node")
    assert not list(there.rglob("*.txt"))
    assert not (there / "venv").exists()
    assert not (there / ".git").exists()
    assert dashboard.jobs[-1]["runtime_env"]["env_vars"]["A"] == "1"


@pytest.mark.parametrize(
    ("change", "uploads"),
    [
        (lambda _: None, 1),
        (lambda folder: os.utime(folder / "train.py", (1, 1)), 1),
        (lambda folder: (folder / "data" / "large.csv").write_text("stays"), 1),
        (lambda folder: (folder / "train.py").write_text("x = 2\n"), 2),
        (lambda folder: (folder / "more.py").touch(), 2),
        (lambda folder: (folder / "train.py").chmod(0o755), 2),
    ],
    ids=["nothing", "a time", "what stays", "a content", "a name", "permissions"],
)
def test_a_cluster_keeps_a_folder_that_it_has_and_takes_one_that_has_changed(
    folder: Path, dashboard: Dashboard, tmp_path: Path, change: Callable[[Path], object], uploads: int
) -> None:
    submit(load_spec(folder / "sweep.yaml", []), dashboard.url, "it", lambda _: None)
    change(folder)
    submit(load_spec(folder / "sweep.yaml", []), dashboard.url, "it", lambda _: None)
    assert dashboard.uploads == uploads
    there = dashboard.arrived(tmp_path / "node")
    assert (there / "train.py").read_bytes() == (folder / "train.py").read_bytes()
    assert (there / "train.py").stat().st_mode == (folder / "train.py").stat().st_mode
    first, second = (job["metadata"]["energysweep_sweep"] for job in dashboard.jobs)
    assert first == second  # the sweep is the same, whatever became of its code


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("pip: 5", "runtime_env: Ray cannot use it: runtime_env['pip'] must be of type str or List[str]"),
        ("pip: [a], conda: b", "cannot be specified at the same time"),
        ("pip: nowhere.txt", "nowhere.txt is not a valid file"),
        ("py_modules: 3", "`py_modules` must be a list of strings"),
    ],
)
def test_a_runtime_environment_that_ray_cannot_use_is_told_before_anything_is_uploaded(
    folder: Path, dashboard: Dashboard, value: str, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        submit(load_spec(folder / "sweep.yaml", [f"runtime_env={{{value}}}"]), dashboard.url, "it", lambda _: None)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not dashboard.packages
