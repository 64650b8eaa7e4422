"""A run folder that travels as text."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.core.errors import InputError, SweepError
from energysweep.core.runfolder import LEDGER
from energysweep.driver.storage import MAX_FILES
from energysweep.jobs import fetch as packing
from energysweep.jobs.fetch import pack, unpack
from energysweep.ledger.store import Ledger


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "it"
    (folder / "tune" / "it").mkdir(parents=True)
    (folder / "tune" / "it" / "checkpoint").write_bytes(bytes(1000))
    (folder / "run.key").write_text("secret")
    (folder / "pictures").mkdir()
    (folder / "pictures" / "one.svg").write_text("<svg/>")
    (folder / "report.html").write_text("<html>≈</html>", encoding="utf-8")
    with Ledger.create(folder / LEDGER) as ledger:
        ledger.note(id="it")
    return folder


@pytest.fixture(scope="module")
def text(run_folder: Path) -> str:
    """What a job's log holds: the lines between others."""
    return "\n".join(["Running entrypoint for job x", *pack(run_folder), "bye"])


def test_what_arrives_is_what_was_sent_without_checkpoints_and_key(run_folder: Path, text: str, tmp_path: Path) -> None:
    unpack(text, tmp_path / "new" / "it")
    arrived = {str(p.relative_to(tmp_path / "new" / "it")) for p in (tmp_path / "new" / "it").rglob("*") if p.is_file()}
    assert arrived == {LEDGER, "report.html", "pictures/one.svg"}
    assert (tmp_path / "new" / "it" / "report.html").read_bytes() == (run_folder / "report.html").read_bytes()
    with Ledger.open(tmp_path / "new" / "it" / LEDGER) as ledger:
        assert ledger.facts() == {"id": "it"}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["it"]  # nothing else is left there


def test_a_ledger_that_is_written_to_arrives_as_it_stood(tmp_path: Path) -> None:
    with Ledger.create(tmp_path / LEDGER) as ledger:
        ledger.note(id="it", status="running")
        assert (tmp_path / f"{LEDGER}-wal").stat().st_size > 0  # not all of it is in the file itself
        unpack("\n".join(pack(tmp_path)), tmp_path / "copy")
    with Ledger.open(tmp_path / "copy" / LEDGER) as copy:
        assert copy.facts() == {"id": "it", "status": "running"}
    assert not list((tmp_path / "copy").glob("*-wal"))


def test_an_earlier_copy_is_replaced_as_a_whole(text: str, tmp_path: Path) -> None:
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / "stale.csv").write_text("old")
    unpack(text, tmp_path / "it")
    assert (tmp_path / "it" / "report.html").exists()
    assert not (tmp_path / "it" / "stale.csv").exists()


@given(st.data())
def test_a_text_that_has_not_come_whole_changes_nothing(
    text: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    begin, end = text.index(packing.MARK), text.rindex(packing.MARK)
    if data.draw(st.booleans()):
        broken = text[: data.draw(st.integers(0, end))]  # the connection broke
    else:
        at = data.draw(st.integers(text.index("\n", begin) + 1, end - 2))
        changed = data.draw(st.sampled_from("AZaz09+/ é"))
        if text[at] in ("\n", "=", changed):
            return
        broken = text[:at] + changed + text[at + 1 :]
    target = tmp_path_factory.mktemp("back") / "it"
    target.mkdir()
    (target / "old.csv").write_text("old")
    with contextlib.suppress(SweepError):
        unpack(broken, target)
        raise AssertionError("it was taken for whole")
    assert [path.name for path in target.parent.rglob("*")] == ["it", "old.csv"]


def test_a_damaged_ledger_is_refused(run_folder: Path, tmp_path: Path) -> None:
    for path in ("report.html", LEDGER):
        (tmp_path / path).write_bytes((run_folder / path).read_bytes())
    connection = sqlite3.connect(tmp_path / LEDGER)
    connection.execute("PRAGMA application_id = 1")
    connection.commit()
    connection.close()
    done = subprocess.run(
        [sys.executable, "-m", "energysweep.jobs.fetch", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "this is no ledger of energysweep" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_of_too_many_files_is_refused_and_never_sent_without_some_of_them(tmp_path: Path) -> None:
    with Ledger.create(tmp_path / LEDGER) as ledger:
        ledger.note(id="it")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "tune").mkdir()
    for number in range(MAX_FILES - 1):  # and the ledger
        (tmp_path / "pictures" / f"{number}.svg").touch()
        if number < 10:
            (tmp_path / "tune" / f"{number}").touch()  # these stay, and are not counted
    unpack("\n".join(pack(tmp_path)), tmp_path / "copy")
    assert len(list((tmp_path / "copy").rglob("*.svg"))) == MAX_FILES - 1
    shutil.rmtree(tmp_path / "copy")
    (tmp_path / "one more").touch()
    with pytest.raises(
        SweepError, match=r"is too much to bring elsewhere \(at most 10000 files, 2 GiB\); copy it by other means"
    ):
        list(pack(tmp_path))


def test_the_program_says_that_there_is_no_such_folder(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "energysweep.jobs.fetch", tmp_path / "no"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"energysweep: there is no run folder {tmp_path / 'no'} here\n"
    with pytest.raises(InputError):
        list(pack(tmp_path / "no"))
