"""A run folder that comes back by the sweep's storage, whoever else may write there."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from energysweep.core.errors import EnergysweepError, SweepError
from energysweep.core.runfolder import COPY, LEDGER
from energysweep.driver.storage import SUMS, Copied, copy_to_storage, inside, shown
from energysweep.jobs import fetch as fetching
from energysweep.jobs.fetch import bring
from energysweep.ledger.store import Ledger
from tests.support.fetching import Place
from tests.support.ports import free_port


@pytest.fixture
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("there") / "it"
    (folder / "tune" / "it").mkdir(parents=True)
    (folder / "tune" / "it" / "checkpoint").write_bytes(bytes(1000))
    (folder / "run.key").write_text("secret")
    (folder / "driver.lock").write_text("me")
    (folder / "pictures").mkdir()
    (folder / "pictures" / "größe 1.svg").write_text("<svg/>")
    (folder / "report.html").write_text("<html>≈</html>", encoding="utf-8")
    (folder / "passwd").symlink_to("/etc/passwd")
    (folder / "odd\nname").write_text("x")
    os.mkfifo(folder / "pipe")
    with Ledger.create(folder / LEDGER) as ledger:
        ledger.note(id="it")
    return folder


@pytest.fixture
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


def copied(folder: Path, storage: Path | str) -> Copied:
    with Ledger.open(folder / LEDGER) as ledger:
        return copy_to_storage(folder, ledger, str(storage), "it")


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("form", ["{}", "file://{}", "{}/", "{}/with a blank"])
def test_what_arrives_is_what_was_copied_without_checkpoints_key_and_links(
    run_folder: Path, storage: Path, tmp_path: Path, form: str
) -> None:
    said = copied(run_folder, form.format(storage))
    assert said.place == inside(form.format(storage), "it", COPY)
    assert Copied.said_in(f"first\n{Copied('/before', '0' * 64)}\n{said}\nlast") == said
    bring(inside(form.format(storage), "it", COPY), said.checksum, tmp_path / "back" / "it", "it")
    arrived = files(tmp_path / "back" / "it")
    assert set(arrived) == {LEDGER, "report.html", "pictures/größe 1.svg"}
    assert arrived["report.html"] == (run_folder / "report.html").read_bytes()
    with Ledger.open(tmp_path / "back" / "it" / LEDGER) as ledger:
        assert ledger.facts() == {"id": "it"}
    assert [path.name for path in (tmp_path / "back").iterdir()] == ["it"]  # nothing else is left there


def test_anybody_can_check_a_copy(run_folder: Path, storage: Path) -> None:
    copied(run_folder, storage)
    check = ["sha256sum", "--check", "--strict", SUMS]
    done = subprocess.run(check, cwd=storage / "it" / COPY, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["pictures/größe 1.svg: OK", "report.html: OK", f"{LEDGER}: OK"]


def test_a_ledger_that_is_written_to_is_copied_as_it_stands(storage: Path, tmp_path: Path) -> None:
    with Ledger.create(tmp_path / LEDGER) as ledger:
        ledger.note(id="it", status="running")
        assert (tmp_path / f"{LEDGER}-wal").stat().st_size > 0  # not all of it is in the file itself
        said = copy_to_storage(tmp_path, ledger, str(storage), "it")
    bring(said.place, said.checksum, tmp_path / "it", "it")
    with Ledger.open(tmp_path / "it" / LEDGER) as copy:
        assert copy.facts() == {"id": "it", "status": "running"}


def test_a_storage_that_is_the_results_folder_holds_the_copy_once(run_folder: Path) -> None:
    """Tune's state and the copy lie in the run folder itself then; a copy of the copy is none."""
    for _ in range(2):
        said = copied(run_folder, run_folder.parent)
    assert said.place == f"{run_folder}/{COPY}"
    assert set(files(run_folder / COPY)) == {LEDGER, "report.html", "pictures/größe 1.svg", SUMS}


def test_a_later_copy_takes_the_place_of_an_earlier_one_and_is_known_from_it(
    run_folder: Path, storage: Path, place: Place
) -> None:
    before = copied(run_folder, storage)
    (run_folder / "report.html").write_text("later")
    after = copied(run_folder, storage)
    with pytest.raises(SweepError, match="'SHA256SUMS' is not as the driver left it"):
        bring(before.place, before.checksum, place.run, "it")
    assert place.untouched()
    bring(after.place, after.checksum, place.run, "it")
    assert (place.run / "report.html").read_text() == "later"
    assert not (place.run / "old.csv").exists()


def test_no_part_of_a_copy_is_taken_for_the_whole(run_folder: Path, storage: Path, place: Place) -> None:
    said = copied(run_folder, storage)
    whole = files(Path(said.place))
    order = ["pictures/größe 1.svg", "report.html", LEDGER, SUMS]  # as they are written
    for number, last in enumerate(order):
        for length in {0, 1, len(whole[last]) // 2, len(whole[last]) - 1}:
            for name in order:
                path = Path(said.place) / name
                path.unlink(missing_ok=True)
                if name in order[:number]:
                    path.write_bytes(whole[name])
            (Path(said.place) / last).write_bytes(whole[last][:length])
            with pytest.raises(SweepError):
                bring(said.place, said.checksum, place.run, "it")
            assert place.untouched()


def relisted(copy: Path, change: Callable[[list[str]], list[str]]) -> str:
    """Change the list of a copy's files; its checksum, as a hostile driver would tell it."""
    lines = change((copy / SUMS).read_text(encoding="utf-8").splitlines())
    (copy / SUMS).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return hashlib.sha256((copy / SUMS).read_bytes()).hexdigest()


def line_of(content: bytes, name: str) -> str:
    return f"{hashlib.sha256(content).hexdigest()}  {name}"


NAMES = [
    *("../../../beside/precious", "/etc/hostname", "a//b", "./a", "a/../report.html", "..\\x", "a\x1b[2J", "a\u202eb"),
    *("x" * 256, "/".join("abcdefghijk"), "REPORT.HTML", "report.html", "report.html/x", "run.key", "RUN.KEY"),
    *("tune/it/x", f"{LEDGER}-journal", LEDGER.upper(), "driver.lock", f"{COPY}/report.html", SUMS, SUMS.lower(), " "),
]


@pytest.mark.parametrize("name", NAMES)
def test_a_list_of_files_that_no_driver_writes_is_refused(
    run_folder: Path, storage: Path, place: Place, name: str
) -> None:
    said = copied(run_folder, storage)
    content = (place.root / "beside" / "precious").read_bytes()
    for at in (0, 3):
        checksum = relisted(
            Path(said.place),
            lambda lines, at=at: [*lines[:at], line_of(content, name), *lines[at:]],  # type: ignore[misc]
        )
        with pytest.raises(EnergysweepError) as caught:
            bring(said.place, checksum, place.run, "it")
        assert str(caught.value).isprintable()
        assert place.untouched()
        said = copied(run_folder, storage)


@pytest.mark.parametrize(
    "line", ["", "x", "0" * 64, "0" * 64 + " report.html", "0" * 63 + "  a", "Z" * 64 + "  a", "0" * 64 + "  "]
)
def test_a_line_that_is_none_is_refused(run_folder: Path, storage: Path, place: Place, line: str) -> None:
    said = copied(run_folder, storage)
    checksum = relisted(Path(said.place), lambda lines: [line, *lines])
    with pytest.raises(SweepError, match="is no line of SHA256SUMS"):
        bring(said.place, checksum, place.run, "it")
    assert place.untouched()


def _linked(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("name", ["report.html", LEDGER, SUMS])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: _linked(path, "/etc/passwd"), "symbolic links"),
        (lambda path: _linked(path, "/dev/zero"), "symbolic links"),
        (lambda path: _linked(path, path.name), "symbolic links"),
        (_pipe, "is no plain file"),
        (_folder, "is no plain file"),
        (Path.unlink, "No such file or directory"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "its checksum differs"),
        (lambda path: path.write_bytes(b""), "its checksum differs"),
    ],
    ids=["a link", "a link to a device", "a link to itself", "a pipe", "a folder", "nothing", "more", "empty"],
)
def test_what_is_no_file_of_the_copy_is_refused_and_nothing_is_waited_for(
    run_folder: Path, storage: Path, place: Place, name: str, change: Callable[[Path], object], reason: str
) -> None:
    said = copied(run_folder, storage)
    change(Path(said.place) / name)
    with pytest.raises(SweepError, match=reason) as caught:
        bring(said.place, said.checksum, place.run, "it")
    assert str(caught.value).isprintable()
    assert place.untouched()


def test_a_copy_is_bounded_in_size_and_number(
    run_folder: Path, storage: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = copied(run_folder, storage)
    copy = Path(said.place)
    line = line_of(b"", "f")
    checksum = relisted(copy, lambda lines: [*lines, *(f"{line}{number}" for number in range(10_001))])
    for number in range(10_001):
        (copy / f"f{number}").touch()
    with pytest.raises(SweepError, match="it has more than 10000 files"):
        bring(said.place, checksum, place.run, "it")
    # A hole of a terabyte takes no room, and its reader stops at the bound, which is lowered: no test fills a disk.
    monkeypatch.setattr(fetching, "MAX_TRAVELLING_BYTES", 2**20)
    with (copy / "f0").open("wb") as stream:
        stream.truncate(2**40)
    checksum = relisted(copy, lambda lines: [line_of(b"x", "f0")])
    with pytest.raises(SweepError, match="with 'f0' it has more than 1048576 bytes"):
        bring(said.place, checksum, place.run, "it")
    with (copy / SUMS).open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(SweepError, match="with 'SHA256SUMS' it has more than"):
        bring(said.place, checksum, place.run, "it")
    assert place.untouched()


def test_a_copy_of_another_run_or_without_a_ledger_changes_nothing(
    run_folder: Path, storage: Path, place: Place
) -> None:
    said = copied(run_folder, storage)
    with pytest.raises(SweepError, match="its ledger is of another run than night"):
        bring(said.place, said.checksum, place.run, "night")
    checksum = relisted(Path(said.place), lambda lines: lines[:-1])
    with pytest.raises(SweepError, match=f"it has no {LEDGER}"):
        bring(said.place, checksum, place.run, "it")
    (Path(said.place) / LEDGER).write_bytes(b"none")
    checksum = relisted(Path(said.place), lambda lines: [*lines[:-1], line_of(b"none", LEDGER)])
    with pytest.raises(SweepError, match="its ledger cannot be read"):
        bring(said.place, checksum, place.run, "it")
    assert place.untouched()


def test_modes_and_owners_are_of_this_machine(run_folder: Path, storage: Path, tmp_path: Path) -> None:
    said = copied(run_folder, storage)
    (Path(said.place) / "report.html").chmod(0o6777)
    bring(said.place, said.checksum, tmp_path / "it", "it")
    assert (tmp_path / "it" / "report.html").stat().st_mode & 0o7111 == 0


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("{}/nowhere", "{}/nowhere: No such file or directory"),
        ("memory://a/b", "memory://a/b: Unrecognized filesystem type"),
        ("s3://[", "s3://[: "),
        ("s3://b/p?nonsense=1", "s3://b/p: "),
        (
            "s3://KEY:SECRET@b/p?scheme=http&endpoint_override=127.0.0.1:{port}&region=x&access_token=TOKEN",
            "s3://b/p: ",
        ),
    ],
)
def test_a_storage_that_cannot_be_reached_is_one_line_without_its_keys(
    run_folder: Path, tmp_path: Path, place: str, message: str
) -> None:
    there = place.format(tmp_path, port=free_port())
    said = []
    with pytest.raises(SweepError) as caught:
        bring(there, "0" * 64, tmp_path / "it", "it")
    said.append(str(caught.value))
    if not there.startswith("/"):
        with pytest.raises(SweepError) as caught:
            copied(run_folder, there)
        said.append(str(caught.value).replace("/it/energysweep", ""))
    for each in said:
        assert message.format(tmp_path).removesuffix(" ") in each
        assert each.isprintable()
        assert not any(key in each for key in ("KEY", "SECRET", "TOKEN"))
    assert not (tmp_path / "it").exists()


def test_places_keep_their_options_and_show_no_keys() -> None:
    assert inside("/mnt/a?b/", "it", "x") == "/mnt/a?b/it/x"
    assert inside("s3://b/p/?region=x&k=v", "it", "x") == "s3://b/p/it/x?region=x&k=v"
    assert inside("s3://b", "it") == "s3://b/it"
    assert shown("/mnt/a?b@c/it") == "/mnt/a?b@c/it"
    assert shown("s3://key:secret@b/p@q/it?session=x") == "s3://b/p@q/it"


def changed(chance: random.Random, copy: Path, checksum: str) -> str:
    """Put something else in the place of a file, or into the list; the checksum that is told of it."""
    path = copy / chance.choice(["report.html", LEDGER, SUMS, "pictures/größe 1.svg"])
    what = chance.randrange(6)
    if what < 4 and os.path.lexists(path):
        path.unlink()
    if what == 1:
        path.symlink_to("../../../beside/precious")
    elif what == 2:
        os.mkfifo(path)
    elif what == 3:
        path.write_bytes(chance.randbytes(chance.randrange(300)))
    elif what > 3 and (copy / SUMS).is_file() and not (copy / SUMS).is_symlink():
        line = line_of(b"mine", chance.choice([*NAMES, "new.txt", "pictures"]))
        before = chance.choice([(copy / SUMS).read_bytes(), b""])
        (copy / SUMS).write_bytes(before + f"{line}\n".encode())
        return chance.choice([checksum, hashlib.sha256((copy / SUMS).read_bytes()).hexdigest()])
    return checksum


@pytest.mark.slow
def test_hostile_storages_stay_inside_of_the_folder(
    chance: random.Random, run_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    refused = 0
    for number in range(300):
        root = tmp_path_factory.mktemp("fetch")
        place = Place(root)
        said = copied(run_folder, root / "shared")
        copy, checksum = Path(said.place), said.checksum
        for _ in range(chance.choice([0, 1, 1, 3])):
            checksum = changed(chance, copy, checksum)
        outside = {path for path in root.rglob("*") if not path.is_relative_to(place.run)}
        try:
            bring(said.place, checksum, place.run, "it")
        except EnergysweepError as error:
            refused, message = refused + 1, str(error)
        else:
            message = ""
        assert message.isprintable(), number
        if message:
            assert files(place.run.parent) == {"it/old.csv": b"old"}, number
        else:
            assert files(place.run)["report.html"] == (run_folder / "report.html").read_bytes(), number
            assert not any(path.is_symlink() for path in place.run.rglob("*")), number
        assert {path for path in root.rglob("*") if not path.is_relative_to(place.run)} == outside, number
    assert 100 < refused < 300
