"""What a submitted sweep brings along."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from energysweep.errors import InputError
from energysweep.spec import load_spec
from energysweep.tuning.upload import MAX_BYTES, Upload, upload_of

SWEEP = """
name: mine
workload: train.py:train
parameters: {learning_rate: {grid: [1e-3, 1e-2]}}
objective: {metric: score, mode: max}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    for name in ("train.py", "helpers/__init__.py", "data/small.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x = 1\n")
    (folder / "sweep.yaml").write_text(SWEEP)
    return folder


@pytest.fixture
def upload(folder: Path) -> Callable[..., Upload]:
    return lambda *overrides: upload_of(load_spec(folder / "sweep.yaml", overrides))


def unzipped(upload: Upload, folder: Path) -> Path:
    upload.write(folder / "sweep.zip")
    with zipfile.ZipFile(folder / "sweep.zip") as archive:
        archive.extractall(folder / "there")
    return folder / "there"


def test_the_folder_of_the_file_comes_along_and_is_the_same_sweep_there(
    upload: Callable[..., Upload], tmp_path: Path
) -> None:
    there = unzipped(upload("repeats=3"), tmp_path)
    files = {str(path.relative_to(there)) for path in there.rglob("*") if path.is_file()}
    assert files == {"train.py", "helpers/__init__.py", "data/small.csv", "sweep.yaml"}
    spec = load_spec(there / "sweep.yaml")
    assert spec.workload == f"{there}/train.py:train"
    assert spec.repeats == 3
    assert spec.working_dir is None


def test_the_same_code_makes_the_same_bytes(upload: Callable[..., Upload], folder: Path, tmp_path: Path) -> None:
    upload().write(tmp_path / "one.zip")
    os.utime(folder / "train.py", (1, 1))
    upload().write(tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_what_is_no_code_stays_at_home(upload: Callable[..., Upload], folder: Path) -> None:
    for name in (
        *(".git/config", ".venv/bin/python", "results/old/report.html", "__pycache__/train.pyc"),
        *("runs/of-mine/ledger.sqlite", "runs/of-mine/report.html", "notes/a.log", "big/weights.bin", "secret.env"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    (folder / ".gitignore").write_text("*.log\n*.env\n!keep.env\n")
    (folder / ".rayignore").write_text("/big/\n")
    (folder / "keep.env").write_text("x")
    names = set(upload("runtime_env={excludes: [data]}").files)
    assert names == {"train.py", "helpers/__init__.py", ".gitignore", ".rayignore", "keep.env"}


def test_the_working_dir_comes_along_instead_with_what_the_sweep_names(
    upload: Callable[..., Upload], folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "model.py").write_text("x = 1\n")
    (folder / "trace.csv").write_text("time_seconds\n")
    there = unzipped(upload("working_dir=../lib", 'meters=["replay:trace.csv?after=loop"]'), tmp_path)
    assert sorted(path.name for path in there.iterdir()) == ["model.py", "sweep.yaml", "trace.csv", "train.py"]
    spec = load_spec(there / "sweep.yaml")
    assert spec.workload == f"{there}/train.py:train"
    assert spec.meters == [f"replay:{there}/trace.csv?after=loop"]


def test_a_program_of_one_s_own_stays_executable(upload: Callable[..., Upload], folder: Path, tmp_path: Path) -> None:
    (folder / "train.sh").write_text("#!/bin/sh\n")
    with pytest.raises(InputError, match=r"train\.sh may not be executed"):
        upload("workload=null", "command=[./train.sh]")
    (folder / "train.sh").chmod(0o755)
    upload("workload=null", "command=[./train.sh]").write(tmp_path / "sweep.zip")
    with zipfile.ZipFile(tmp_path / "sweep.zip") as archive:
        assert archive.getinfo("train.sh").external_attr >> 16 & 0o777 == 0o755


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["workload=other.py:train"], "workload: there is no file .*other.py"),
        (["storage=checkpoints"], "storage: checkpoints would start from a folder of this machine"),
        (["working_dir=nowhere"], "working_dir: there is no folder .*nowhere"),
        (["working_dir=s3://bucket/code.zip"], "working_dir: submit uploads a folder of this machine"),
        (["workload=null", "command=[./no.sh]"], "no.sh is not among what is uploaded"),
        (['meters=["replay:no.csv"]'], r"meters\[0\]: there is no file .*no.csv"),
    ],
)
def test_what_cannot_come_along_is_told_with_its_key(
    upload: Callable[..., Upload], overrides: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        upload(*overrides)


def test_too_much_is_told_with_the_largest(upload: Callable[..., Upload], folder: Path) -> None:
    with (folder / "data" / "images.bin").open("wb") as stream:
        stream.truncate(MAX_BYTES)  # a hole: it takes no room
    with pytest.raises(InputError, match=r"200 MiB are too much to upload \(at most 200 MiB\): data/ 200 MiB"):
        upload()
