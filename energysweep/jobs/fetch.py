"""A run folder that a cluster has made becomes one here: from the sweep's storage, or out of a job's log.

Of what comes back nothing is believed.

Whoever runs the cluster writes the log, and the storage. Plain files with plain names travel
(``driver/storage.py``), so that all else is refused: links, folders, devices, names that lead elsewhere, files that
only this machine makes. Size, number and depth are bounded while it comes, and it takes the place of an earlier copy as
a whole or not at all.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import stat
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

from pyarrow.fs import LocalFileSystem

from energysweep.core.errors import EnergysweepError, InputError, LedgerError, SweepError, one_line
from energysweep.core.runfolder import LEDGER
from energysweep.core.terminal import note, say
from energysweep.driver.storage import (
    MAX_FILES,
    MAX_NAME_BYTES,
    MAX_TRAVELLING_BYTES,
    PIECE_BYTES,
    SUMS,
    Names,
    Refused,
    opened,
    quoted,
    snapshot,
    travelling,
)
from energysweep.ledger.store import Ledger

MARK: Final = "energysweep-folder"
MAX_BYTES: Final = 200 * 2**20  # of the archive

_HEADER_CHARACTERS = 300
_BLOCK = tarfile.BLOCKSIZE
_MAX_PAX_BYTES = 16 * 1024


def _arrive(folder: Path, run_id: str | None, fill: Callable[[Path], None]) -> None:
    """Make the folder, or put what has come in the place of an earlier copy; all of it or nothing.

    Args:
        folder: the run folder to be.
        run_id: of the run that it must be; None: any.
        fill: writes all files into a new folder.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Nobody else can put a link into a folder that is new and of this user only.
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as place:
            new, old = Path(place) / "new", Path(place) / "old"
            new.mkdir()
            fill(new)
            _check_ledger(new / LEDGER, run_id)
            try:
                if os.path.lexists(folder):
                    folder.rename(old)
                new.rename(folder)
            except BaseException:  # Ctrl-C, too: the earlier copy is put back
                if os.path.lexists(old) and not os.path.lexists(folder):
                    old.rename(folder)
                raise
    except Refused as error:
        raise SweepError(f"the run folder that the cluster sent is refused: {error}") from error
    except OSError as error:
        raise SweepError(f"{folder}: cannot be written ({error.strerror or error})") from error


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


def _write(path: Path, pieces: Iterator[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "wb") as file:
        for piece in pieces:
            file.write(piece)


def _refuse(why: str) -> NoReturn:
    raise Refused(why)


# Out of the sweep's storage ------------------------------------------------------------------------------------------

_SUM = re.compile(r"([0-9a-f]{64})  (.+)")
_MAX_SUMS_BYTES = MAX_FILES * (64 + 2 + MAX_NAME_BYTES + 1)


def bring(place: str, checksum: str, folder: Path, run_id: str | None = None) -> None:
    """Make the folder of the copy that a driver has left in the sweep's storage, as ``unpack`` does of a log.

    Args:
        place: of the copy: a folder or a URI.
        checksum: of its ``SHA256SUMS``, as the driver told it: what is there of another run, or of an earlier part of
            this one, is not taken for it.
        folder, run_id: as for ``unpack``.

    Raises:
        SweepError: there is no such copy, it cannot be reached from here, or it is refused; or it cannot be written.
    """

    def fill(new: Path) -> None:
        with opened(place) as (files, root):
            left = MAX_TRAVELLING_BYTES
            sums = b"".join(_pieces(files, f"{root}/{SUMS}", checksum, _MAX_SUMS_BYTES))
            names = Names()
            for line in sums.decode("utf-8", "replace").split("\n")[:-1]:
                match = _SUM.fullmatch(line)
                if match is None:
                    _refuse(f"{quoted(line)} is no line of {SUMS}")
                name = names.checked(match[2])
                _write(new / name, _pieces(files, f"{root}/{name}", match[1], left))
                left -= (new / name).stat().st_size

    _arrive(folder, run_id, fill)


def _pieces(files: Any, path: str, checksum: str, at_most: int) -> Iterator[bytes]:
    """What a file of the storage holds, if it is a plain one, of that checksum and not larger."""
    name, found, left = quoted(path.rpartition("/")[2]), hashlib.sha256(), at_most
    with _stream(files, path, name) as stream:
        while piece := stream.read(min(left + 1, PIECE_BYTES)):
            left -= len(piece)
            if left < 0:
                _refuse(f"with {name} it has more than {at_most} bytes")
            found.update(piece)
            yield piece
    if found.hexdigest() != checksum:
        _refuse(f"{name} is not as the driver left it: its checksum differs")


def _stream(files: Any, path: str, name: str) -> BinaryIO:
    if not isinstance(files, LocalFileSystem):
        return files.open_input_stream(path)  # an object, which is nothing else than bytes
    # A pipe that nobody writes into does not hold this up.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        _refuse(f"{name} is no plain file")
    return os.fdopen(descriptor, "rb")


# Out of a job's log --------------------------------------------------------------------------------------------------


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
    _arrive(folder, run_id, lambda new: _write_files(content, new))


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
    names = Names()
    stream = _Unzipped(content)
    for name, size in _entries(stream):
        _write(folder / names.checked(name), stream.pieces(size))
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
            _refuse(f"{quoted(name)} is no plain file")
        if entry.size < 0:
            _refuse(f"{quoted(name)} has no size")
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


class _Unzipped:
    """The bytes of a gzip stream, never more than ``MAX_TRAVELLING_BYTES`` of them, a piece at a time."""

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

    def pieces(self, size: int) -> Iterator[bytes]:
        """The same, a few at a time."""
        for start in range(0, size, PIECE_BYTES):
            yield self.read(min(size - start, PIECE_BYTES))

    def _piece(self) -> bytes:
        given = self._zip.unconsumed_tail
        if not given:
            given, self._content = bytes(self._content[:PIECE_BYTES]), self._content[PIECE_BYTES:]
        try:
            piece = self._zip.decompress(given, PIECE_BYTES)
        except zlib.error:
            _refuse("its archive is damaged")
        if not (piece or self._content or self._zip.unconsumed_tail) or (self._zip.eof and not piece):
            _refuse("its archive ends too early")
        self._total += len(piece)
        if self._total > MAX_TRAVELLING_BYTES:
            _refuse(f"it has more than {MAX_TRAVELLING_BYTES / 2**30:.0f} GiB")
        return piece


# There: ``python -m energysweep.jobs.fetch RUN_DIR`` prints a run folder as text -------------------------------------
#
# A cluster's job API carries a job's log and nothing else; so where no storage does, a folder travels as lines of
# base64 in one, with its size and its checksum.

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
        for name, path in travelling(folder):
            archive.add(path, name, filter=_nobodys)
        with Ledger.open(folder / LEDGER) as ledger, snapshot(ledger) as copy:
            archive.add(copy, LEDGER, filter=_nobodys)
    return stream.getvalue()


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
