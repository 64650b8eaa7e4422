"""A run folder through a job's log: a finished run is printed as text there, and made a folder again here.

Of what comes back nothing is believed.

Whoever runs the cluster writes the log. ``pack`` makes an archive of plain files with plain names, so that all else is
refused: links, folders, devices, names that lead elsewhere, files that only this machine makes. Size, number and depth
are bounded while it is unpacked, and it takes the place of an earlier copy as a whole or not at all.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import sys
import tarfile
import tempfile
import unicodedata
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn

from energysweep.core.errors import EnergysweepError, InputError, LedgerError, SweepError, one_line
from energysweep.core.runfolder import DRIVER_LOCK, LEDGER, RUN_KEY, TUNE_STATE
from energysweep.core.terminal import note, say
from energysweep.ledger.store import Ledger

MARK: Final = "energysweep-folder"
MAX_BYTES: Final = 200 * 2**20  # of the archive
MAX_UNPACKED_BYTES: Final = 2 * 2**30
MAX_FILES: Final = 10_000
MAX_NAME_BYTES: Final = 1000
MAX_DEPTH: Final = 10
# What is never sent: checkpoints, the key that agents know the run by, and what says which driver works here.
STAYS: Final = (TUNE_STATE, RUN_KEY, DRIVER_LOCK)

_HEADER_CHARACTERS = 300
_BLOCK = tarfile.BLOCKSIZE
_PIECE_BYTES = 2**20
_MAX_PAX_BYTES = 16 * 1024


def unpack(text: str, folder: Path, run_id: str | None = None) -> None:
    """Make the folder, or put what has come in the place of an earlier copy; all of it or nothing.

    Args:
        text: of a log that holds the lines.
        folder: the run folder to be.
        run_id: of the run that it must be; None: any.

    Raises:
        SweepError: the lines are not all there, or not as they were sent; they hold what no run folder does, or no
            ledger that can be read; or it cannot be written.
    """
    content = _content(text)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Nobody else can put a link into a folder that is new and of this user only.
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as place:
            new, old = Path(place) / "new", Path(place) / "old"
            new.mkdir()
            _write_files(content, new)
            _check_ledger(new / LEDGER, run_id)
            if os.path.lexists(folder):
                folder.rename(old)
            try:
                new.rename(folder)
            except OSError:
                if os.path.lexists(old):
                    old.rename(folder)
                raise
    except OSError as error:
        raise SweepError(f"{folder}: cannot be written ({error.strerror or error})") from error


def _content(text: str) -> bytes:
    """The archive: what stands between the last beginning and the last end, if size and checksum are right."""
    lines = text.splitlines()
    begins = [number for number, line in enumerate(lines) if line.startswith(f"{MARK} {{")]
    ends = [number for number, line in enumerate(lines) if line == f"{MARK} end"]
    if not begins or not ends or ends[-1] < begins[-1]:
        raise SweepError("the run folder has not come whole: its beginning or its end is missing")
    size, checksum = _told(lines[begins[-1]].removeprefix(MARK))
    content = bytearray()
    try:
        for line in lines[begins[-1] + 1 : ends[-1]]:
            content += base64.b64decode(line, validate=True)
            if len(content) > size:
                raise SweepError(f"the run folder has not come whole: more than its {size} bytes")
    except ValueError as error:
        raise SweepError(f"the run folder has not come whole: {error}") from error
    if len(content) != size:
        raise SweepError(f"the run folder has not come whole: {len(content)} of {size} bytes")
    if hashlib.sha256(content).hexdigest() != checksum:
        raise SweepError("the run folder has come damaged: its checksum differs")
    return bytes(content)


def _told(header: str) -> tuple[int, str]:
    """Size and checksum, as the first line tells them."""
    try:
        told = json.loads(header) if len(header) <= _HEADER_CHARACTERS else None
    except ValueError:
        told = None
    match told:
        case {"bytes": int(size), "sha256": str(checksum)} if 0 <= size <= MAX_BYTES:
            return size, checksum
    raise SweepError(f"the run folder has not come whole: its first line is none of pack's ({one_line(header, 60)})")


def _write_files(content: bytes, folder: Path) -> None:
    """All files of the archive, into an empty folder of this user only."""
    names = _Names()
    stream = _Unzipped(content)
    for name, size in _entries(stream):
        path = folder / names.checked(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            left = size
            while left:
                piece = stream.read(min(left, _PIECE_BYTES))
                file.write(piece)
                left -= len(piece)
        stream.read(-size % _BLOCK)


def _entries(stream: _Unzipped) -> Iterator[tuple[str, int]]:
    """Name and size of each file; its bytes are for the caller to read. Format: POSIX.1-2001 (pax), as tarfile's."""
    longer: dict[str, str] = {}
    while any(block := stream.read(_BLOCK)):
        try:
            entry = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        except (tarfile.TarError, ValueError):
            _refuse("its archive is damaged")
        if entry.type == tarfile.XHDTYPE:  # what does not fit into the entry that follows
            if not 0 <= entry.size <= _MAX_PAX_BYTES:
                _refuse("its archive has a header that is too long")
            longer = _pax(stream.read(entry.size))
            stream.read(-entry.size % _BLOCK)
            continue
        name = longer.get("path", entry.name)
        if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            _refuse(f"{_quoted(name)} is no plain file")
        if entry.size < 0:
            _refuse(f"{_quoted(name)} has no size")
        longer = {}
        yield name, entry.size


def _pax(content: bytes) -> dict[str, str]:
    """The records of an extended header: ``length key=value`` and a line end each. Of them only names are taken."""
    records: dict[str, str] = {}
    while content:
        length, _, _ = content.partition(b" ")
        if not (length.isdigit() and len(length) <= 6 and len(length) + 2 <= int(length) <= len(content)):
            _refuse("its archive is damaged")
        record, content = content[len(length) + 1 : int(length)], content[int(length) :]
        key, equals, value = record.removesuffix(b"\n").partition(b"=")
        if not equals or key == b"size" or key.startswith(b"GNU.sparse"):
            _refuse("its archive holds a file that pack does not send")
        if key == b"path":
            try:
                records["path"] = value.decode("utf-8")
            except UnicodeDecodeError:
                _refuse("it holds a name that is no text")
    return records


class TooManyFiles(SweepError):
    """A run folder has more files than may travel."""


class _Names:
    """Which names a run folder that travels may have, each once."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def checked(self, name: str) -> str:
        """The name, if it stays inside of the folder, is no other's, and is one that ``pack`` sends.

        Raises:
            TooManyFiles: it is, and so many have come already.
            SweepError: it is none of these.
        """
        parts = name.split("/")
        if not name.isprintable() or "\\" in name or any(part in ("", ".", "..") for part in parts):
            _refuse(f"{_quoted(name)} is no name of a file in it")
        if len(parts) > MAX_DEPTH or len(name.encode()) > MAX_NAME_BYTES or max(len(p.encode()) for p in parts) > 255:
            _refuse(f"the name {_quoted(name)} is too long")
        # Some file systems take names for the same that differ in case or in how a letter is put together.
        alike = [unicodedata.normalize("NFKC", part).casefold() for part in parts]
        if alike[0] in STAYS or (alike[0].startswith(LEDGER) and name != LEDGER):
            _refuse(f"{_quoted(name)} is a file that only this machine makes")
        own, above = "/".join(alike), {"/".join(alike[:end]) for end in range(1, len(alike))}
        if own in self._files or own in self._folders or above & self._files:
            _refuse(f"{_quoted(name)} comes twice")
        if len(self._files) >= MAX_FILES:
            raise TooManyFiles(_refusal(f"it has more than {MAX_FILES} files"))
        self._files.add(own)
        self._folders |= above
        return name


class _Unzipped:
    """The bytes of a gzip stream, never more than ``MAX_UNPACKED_BYTES`` of them, a piece at a time."""

    def __init__(self, content: bytes) -> None:
        self._zip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        self._content = memoryview(content)
        self._ready = bytearray()
        self._total = 0

    def read(self, size: int) -> bytes:
        """Exactly so many bytes."""
        while len(self._ready) < size:
            self._ready += self._piece()
        taken = bytes(self._ready[:size])
        del self._ready[:size]
        return taken

    def _piece(self) -> bytes:
        given = self._zip.unconsumed_tail
        if not given:
            given, self._content = bytes(self._content[:_PIECE_BYTES]), self._content[_PIECE_BYTES:]
        try:
            piece = self._zip.decompress(given, _PIECE_BYTES)
        except zlib.error:
            _refuse("its archive is damaged")
        if not (piece or self._content or self._zip.unconsumed_tail) or (self._zip.eof and not piece):
            _refuse("its archive ends too early")
        self._total += len(piece)
        if self._total > MAX_UNPACKED_BYTES:
            _refuse(f"it has more than {MAX_UNPACKED_BYTES / 2**30:.0f} GiB")
        return piece


def _check_ledger(path: Path, run_id: str | None) -> None:
    if not path.is_file():
        _refuse(f"it has no {LEDGER}")
    try:
        with Ledger.open(path) as ledger:  # whole and readable
            found = ledger.facts().get("id")
    except LedgerError as error:
        _refuse(f"its ledger cannot be read ({one_line(str(error).removeprefix(f'{path}: '))})")
    if run_id is not None and found != run_id:
        _refuse(f"its ledger is of another run than {run_id}")


def _quoted(name: str) -> str:
    return one_line(repr(name), 80)


def _refuse(why: str) -> NoReturn:
    raise SweepError(_refusal(why))


def _refusal(why: str) -> str:
    return f"the run folder that the cluster sent is refused: {why}"


# There: ``python -m energysweep.jobs.fetch RUN_DIR`` prints a run folder as text -------------------------------------
#
# A cluster's job API carries a job's log and nothing else; so a folder travels as lines of base64 in one, with its
# size and its checksum. The ledger is copied by SQLite's backup, also while a driver writes to it. Tune's own folder
# (checkpoints) stays where it is, and so does the run's key: a log has many readers.

_LINE_BYTES = 750  # 1000 characters


def pack(folder: Path) -> Iterator[str]:
    """The lines.

    Raises:
        InputError: there is no such run.
        SweepError: it is too large for a log.
    """
    if not (folder / LEDGER).is_file():
        raise InputError(f"there is no run folder {folder} here")
    content = _archive(folder)
    if len(content) > MAX_BYTES:
        raise SweepError(f"{folder} has {len(content) / 2**20:.0f} MiB: too much for a log; copy it by other means")
    yield f"{MARK} {json.dumps({'bytes': len(content), 'sha256': hashlib.sha256(content).hexdigest()})}"
    for start in range(0, len(content), _LINE_BYTES):
        yield base64.b64encode(content[start : start + _LINE_BYTES]).decode()
    yield f"{MARK} end"


def _archive(folder: Path) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for path in _files(folder):
            if archive.offset > MAX_UNPACKED_BYTES:
                raise _too_much(folder)
            archive.add(path, str(path.relative_to(folder)), filter=_nobodys)
        with tempfile.TemporaryDirectory() as place:
            copy = Path(place) / LEDGER
            with Ledger.open(folder / LEDGER) as ledger:
                ledger.backup(copy)
            archive.add(copy, LEDGER, filter=_nobodys)
    return stream.getvalue()


def _files(folder: Path) -> Iterator[Path]:
    """The files that travel: plain ones (a link would lead elsewhere on the other machine) with names it may have."""
    names = _Names()
    names.checked(LEDGER)  # which travels as a copy
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        is_link = any((folder / each).is_symlink() for each in (name, *name.parents) if each.parts)
        if is_link or not path.is_file() or name.name.startswith(LEDGER):
            continue
        try:
            names.checked(name.as_posix())
        except TooManyFiles:
            raise _too_much(folder) from None
        except SweepError:
            continue
        yield path


def _too_much(folder: Path) -> SweepError:
    limits = f"{MAX_FILES} files, {MAX_UNPACKED_BYTES / 2**30:.0f} GiB"
    return SweepError(f"{folder} is too much for a log (at most {limits}); copy it by other means")


def _nobodys(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """The files become the fetcher's own; who ran them there is nobody's business."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode, entry.mtime = 0o644, int(entry.mtime)
    return entry


def main(arguments: list[str]) -> int:
    """Print the lines. Returns the exit code."""
    try:
        for line in pack(Path(arguments[0])):
            say(line)
    except EnergysweepError as error:
        note(f"energysweep: {error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
