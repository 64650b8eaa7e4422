"""A run folder as text: ``python -m energysweep.tuning.pack RUN_DIR`` prints it, ``unpack.py`` makes a folder of it.

A cluster's job API carries a job's log and nothing else; so a folder travels as lines of base64 in one, with its size
and its checksum. The ledger is copied by SQLite's backup, also while a driver writes to it. Tune's own folder
(checkpoints) stays where it is, and so does the run's key: a log has many readers.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from energysweep.errors import EnergysweepError, InputError, SweepError
from energysweep.ledger import FILE_NAME, Ledger
from energysweep.terminal import note, say
from energysweep.tuning.unpack import MARK, MAX_BYTES, MAX_FILES, MAX_UNPACKED_BYTES, Names, TooManyFiles

_LINE_BYTES = 750  # 1000 characters


def pack(folder: Path) -> Iterator[str]:
    """The lines.

    Raises:
        InputError: there is no such run.
        SweepError: it is too large for a log.
    """
    if not (folder / FILE_NAME).is_file():
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
            copy = Path(place) / FILE_NAME
            with Ledger.open(folder / FILE_NAME) as ledger:
                ledger.backup(copy)
            archive.add(copy, FILE_NAME, filter=_nobodys)
    return stream.getvalue()


def _files(folder: Path) -> Iterator[Path]:
    """The files that travel: plain ones (a link would lead elsewhere on the other machine) with names it may have."""
    names = Names()
    names.checked(FILE_NAME)  # which travels as a copy
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        is_link = any((folder / each).is_symlink() for each in (name, *name.parents) if each.parts)
        if is_link or not path.is_file() or name.name.startswith(FILE_NAME):
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
