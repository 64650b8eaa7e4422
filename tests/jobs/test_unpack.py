"""What a hostile cluster sends in place of a run folder: refused in one line, and nothing is written anywhere else."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import io
import json
import os
import random
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from energysweep.core.errors import EnergysweepError, SweepError
from energysweep.core.runfolder import LEDGER
from energysweep.jobs import fetch as unpacking
from energysweep.jobs.fetch import MARK, pack, unpack
from energysweep.ledger.store import Ledger
from tests.support.fetching import Place

Member = tuple[str, dict[str, Any], bytes]
SECONDS_OF_CPU = 2.0
LINKS = (tarfile.SYMTYPE, tarfile.LNKTYPE)
ODD = (tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("ledger") / LEDGER
    with Ledger.create(path) as made:
        made.note(id="it")
        made.backup(path.with_name("copy"))
    return path.with_name("copy").read_bytes()


def archive(*members: Member, packed: bool = True, form: int = tarfile.PAX_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        for name, fields, data in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            for key, value in fields.items():
                setattr(entry, key, value)
            with contextlib.suppress(ValueError):  # a name that an older format cannot hold
                tar.addfile(entry, io.BytesIO(data))
    return gzip.compress(stream.getvalue(), 1) if packed else stream.getvalue()


def log(content: bytes, header: str | None = None) -> str:
    """As a job's log holds it."""
    told = json.dumps({"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    lines = [base64.b64encode(content[start : start + 750]).decode() for start in range(0, len(content), 750)]
    return "\n".join(["Running entrypoint", f"{MARK} {told if header is None else header}", *lines, f"{MARK} end"])


def path_max_chain() -> list[Member]:
    """CVE-2025-4517: a chain of links whose real path is longer than PATH_MAX."""
    inner, steps, members, path = "d" * 247, "abcdefghijklmnop", [], ""
    for step in steps:
        members.append((os.path.join(path, inner), {"type": tarfile.DIRTYPE, "mode": 0o755}, b""))  # noqa: PTH118
        members.append((os.path.join(path, step), {"type": tarfile.SYMTYPE, "linkname": inner}, b""))  # noqa: PTH118
        path = os.path.join(path, inner)  # noqa: PTH118
    link = "/".join(steps) + "/" + "l" * 254
    members.append((link, {"type": tarfile.SYMTYPE, "linkname": "../" * len(steps)}, b""))
    members.append(("escape", {"type": tarfile.SYMTYPE, "linkname": f"{link}/../../../../beside/pwned"}, b""))
    members.append(("flag", {"type": tarfile.LNKTYPE, "linkname": "escape"}, b""))
    members.append(("flag", {}, b"pwned\n"))
    return members


REFUSED: dict[str, list[Member]] = {
    "a name above": [("../../beside/precious", {}, b"x")],
    "a name above in the middle": [("a/../../../beside/precious", {}, b"x")],
    "an absolute name": [("/tmp/evil", {}, b"x")],
    "two slashes": [("a//b", {}, b"x")],
    "a dot": [("./a", {}, b"x")],
    "backslashes": [("..\\..\\evil", {}, b"x")],
    "an escape sequence": [("a\x1b[2J", {}, b"x")],
    "a line end": [("a\nb", {}, b"x")],
    "a name that turns": [("a\u202egpj.exe", {}, b"x")],
    "a name without a width": [("a\u200b", {}, b"x")],
    "no name": [("", {}, b"x")],
    "a long name": [("x" * 256, {}, b"x")],
    "a deep name": [("/".join("abcdefghijk"), {}, b"x")],
    "a long path": [("/".join(["x" * 250] * 5), {}, b"x")],
    "a name twice": [("a", {}, b"x"), ("a", {}, b"y")],
    "a name in two cases": [("a.csv", {}, b"x"), ("A.csv", {}, b"y")],
    "a letter put together": [("\u00e9", {}, b"x"), ("e\u0301", {}, b"y")],
    "a file and a folder": [("a", {}, b"x"), ("a/b", {}, b"y")],
    "a folder and a file": [("a/b", {}, b"x"), ("A", {}, b"y")],
    "the run's key": [("run.key", {}, b"attacker's")],
    "the run's key in capitals": [("RUN.KEY", {}, b"attacker's")],
    "checkpoints": [("tune/it/checkpoint", {}, b"x")],
    "a journal of the ledger": [(f"{LEDGER}-journal", {}, b"x")],
    "a second ledger": [(LEDGER.upper(), {}, b"x")],
    "a link to a folder": [
        ("l", {"type": tarfile.SYMTYPE, "linkname": "../../beside"}, b""),
        ("l/precious", {}, b"x"),
    ],
    "a chain of links longer than a path": path_max_chain(),
    **{f"a link of type {kind!r}": [("l", {"type": kind, "linkname": "/etc/passwd"}, b"")] for kind in LINKS},
    **{f"an entry of type {kind!r}": [("odd", {"type": kind}, b"")] for kind in ODD},
    "a device": [("null", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}, b"")],
    "pax: another size": [("a", {"pax_headers": {"size": "-5"}}, b"x")],
    "pax: a sparse file": [("a", {"pax_headers": {"GNU.sparse.size": "99999999999"}}, b"x")],
    "pax: another name": [("a", {"pax_headers": {"path": "../../beside/precious"}}, b"x")],
    "pax: a long header": [("a", {"pax_headers": {"comment": "x" * 100_000}}, b"x")],
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_pack_does_not_send_is_refused_and_nothing_is_written(case: str, ledger: bytes, place: Place) -> None:
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        for members in (
            [(LEDGER, {}, ledger), *REFUSED[case]],
            [*REFUSED[case], (LEDGER, {}, ledger)],
        ):
            if form == tarfile.GNU_FORMAT and case.startswith("pax"):
                continue
            with pytest.raises(EnergysweepError) as caught:
                unpack(log(archive(*members, form=form)), place.run, "it")
            assert str(caught.value).isprintable()
            assert place.untouched()


@pytest.mark.parametrize(
    "header",
    [
        *('{"a":' * 5000, "{", "{}", "{" + "}" * 100, '{"bytes": -1, "sha256": "x"}', '{"bytes": 1e9, "sha256": "x"}'),
        *('{"bytes": "9", "sha256": 1}', '{"bytes": ' + "9" * 5000 + "}", '{"bytes": 999999999999, "sha256": "x"}'),
        *('{"bytes": true, "sha256": ""}', "{\x1b[2J", '{"bytes": NaN, "sha256": "x"}'),
    ],
)
def test_a_nonsensical_first_line_is_refused(header: str, ledger: bytes, place: Place) -> None:
    with pytest.raises(SweepError, match="has not come") as caught:
        unpack(log(archive((LEDGER, {}, ledger)), header), place.run)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300
    assert place.untouched()


def test_modes_and_owners_are_of_this_machine(ledger: bytes, place: Place) -> None:
    fields = {"mode": 0o6777, "uid": 0, "gid": 0, "uname": "root"}
    unpack(log(archive((LEDGER, {}, ledger), ("suid", fields, b"x"))), place.run, "it")
    status = (place.run / "suid").stat()
    assert status.st_mode & 0o7777 == 0o644 & ~_umask()
    assert status.st_uid == os.geteuid()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_bomb_is_stopped_where_it_is_too_large(ledger: bytes, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    # 400 MiB of zeros in 0.4 MB; the bound is lowered, so that no test fills a disk.
    monkeypatch.setattr(unpacking, "MAX_TRAVELLING_BYTES", 50 * 2**20)
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1) as zipped:
        entry = tarfile.TarInfo("zeros")
        entry.size = 400 * 2**20
        zipped.write(entry.tobuf())
        for _ in range(400):
            zipped.write(bytes(2**20))
    began = time.process_time()
    with pytest.raises(SweepError, match="it has more than 0 GiB"):
        unpack(log(stream.getvalue()), place.run)
    assert time.process_time() - began < SECONDS_OF_CPU
    assert place.untouched()


def test_too_many_files_are_stopped(ledger: bytes, place: Place) -> None:
    with pytest.raises(SweepError, match="it has more than 10000 files"):
        unpack(log(archive(*((f"f{number}", {}, b"") for number in range(10_001)))), place.run)
    assert place.untouched()


def test_a_ledger_of_another_run_or_none_changes_nothing(ledger: bytes, place: Place) -> None:
    with pytest.raises(SweepError, match="its ledger is of another run than night"):
        unpack(log(archive((LEDGER, {}, ledger))), place.run, "night")
    members: list[Member] = [("a", {}, b"x"), (LEDGER, {}, b"no ledger"), (LEDGER, {}, b"")]
    for member in members:
        with pytest.raises(EnergysweepError):
            unpack(log(archive(member)), place.run)
    assert place.untouched()


def test_a_link_in_the_place_of_the_folder_is_not_followed(ledger: bytes, tmp_path: Path) -> None:
    (tmp_path / "beside").mkdir()
    (tmp_path / "it").symlink_to("beside")
    unpack(log(archive((LEDGER, {}, ledger))), tmp_path / "it")
    assert not (tmp_path / "it").is_symlink()
    assert list((tmp_path / "beside").iterdir()) == []


def test_odd_files_of_a_run_folder_stay_where_they_are_and_the_rest_travels(ledger: bytes, tmp_path: Path) -> None:
    run = tmp_path / "it"
    (run / "sub").mkdir(parents=True)
    (run / LEDGER).write_bytes(ledger)
    (run / "sub" / "notes.txt").write_text("x" * 3000)
    (run / ("n" * 200)).write_text("a name that ustar has no room for")
    (run / "größer.csv").write_text("x")
    (run / "odd\nname").write_text("x")
    (run / "passwd").symlink_to("/etc/passwd")
    (run / "etc").symlink_to("/etc")
    os.mkfifo(run / "pipe")
    unpack("\n".join(pack(run)), tmp_path / "back")
    arrived = {path.relative_to(tmp_path / "back").as_posix() for path in (tmp_path / "back").rglob("*")}
    assert arrived == {LEDGER, "sub", "sub/notes.txt", "n" * 200, "größer.csv"}
    assert (tmp_path / "back" / "sub" / "notes.txt").read_text() == "x" * 3000


def hostile(chance: random.Random, ledger: bytes) -> str:
    """One of many ways to be no run folder: odd entries, or a good log that was changed on its way."""
    names: list[Callable[[], str]] = [
        lambda: "/".join(
            chance.choice(["a", "..", ".", "", "b" * 260, "run.key", "\x00", "\\", "é"]) for _ in range(3)
        ),
        lambda: "".join(chance.choice("ab./\\\x00\x1b\n\u202e\U0001f600é") for _ in range(chance.randrange(12))),
        lambda: chance.choice([*REFUSED.values()])[0][0],
        lambda: f"f{chance.randrange(5)}",
    ]
    types = [tarfile.REGTYPE, *LINKS, *ODD, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, b"Z"]
    members: list[Member] = [(LEDGER, {}, ledger)] if chance.random() < 0.7 else []
    for _ in range(chance.randrange(1, 6)):
        fields: dict[str, Any] = {"mode": chance.randrange(0o10000), "mtime": chance.choice([0, 1e9, 1.5])}
        if chance.random() < 0.6:
            fields["type"] = chance.choice(types)
            fields["linkname"] = chance.choice(["/etc/passwd", "../../beside/precious", "it", "x" * 90])
        members.insert(
            chance.randrange(len(members) + 1), (chance.choice(names)(), fields, bytes(chance.randrange(2000)))
        )
    content = bytearray(archive(*members, packed=False, form=chance.choice([0, 1, 2])))
    for _ in range(chance.choice([0, 0, 1, 3, 20])):  # bits of the archive itself
        content[chance.randrange(len(content))] = chance.randrange(256)
    if chance.random() < 0.2:
        content = content[: chance.randrange(len(content))]
    packed = bytearray(gzip.compress(bytes(content), 1))
    if chance.random() < 0.2:
        packed[chance.randrange(len(packed))] ^= 1 << chance.randrange(8)
    text = log(bytes(packed))
    if chance.random() < 0.2:  # the log
        at = chance.randrange(len(text))
        text = text[:at] + chance.choice(["", "\n", "x", "é", MARK, f"\n{MARK} end\n", text[:100]]) + text[at + 1 :]
    return text


def _outside(folder: Path) -> Iterator[Path]:
    yield from (path for path in folder.parent.parent.rglob("*") if not path.is_relative_to(folder))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_hostile_archives_stay_inside_of_the_folder(
    chance: random.Random, ledger: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    refused = 0
    for number in range(500):
        place = Place(tmp_path_factory.mktemp("fetch"))
        outside = set(_outside(place.run))
        text = hostile(chance, ledger)
        began = time.process_time()
        try:
            unpack(text, place.run, "it")
        except EnergysweepError as error:
            refused += 1
            said = str(error)
        else:
            said = ""
            for path in place.run.rglob("*"):
                assert not path.is_symlink(), number
                assert path.is_dir() or path.is_file(), number
                assert not path.is_file() or path.stat().st_mode & 0o7777 == 0o644 & ~_umask(), number
        assert time.process_time() - began < SECONDS_OF_CPU, number
        assert said.isprintable(), number
        assert len(said) < 1000, number
        assert not said or place.untouched(), number
        assert set(_outside(place.run)) == outside, number
    assert 250 < refused < 500
