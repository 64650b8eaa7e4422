"""A run folder as text: ``python -m energysweep.tuning.pack RUN_DIR`` prints it, ``unpack`` makes a folder of it.

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
from energysweep.tuning import run_key

MARK = "energysweep-folder"
MAX_BYTES = 200 * 2**20
STAYS = ("tune", run_key.FILE_NAME)
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


def unpack(text: str, folder: Path) -> None:
    """Make the folder, or put what has come in the place of an earlier copy; all of it or nothing.

    Args:
        text: of a log that holds the lines.
        folder: the run folder to be.

    Raises:
        SweepError: the lines are not all there, or not as they were sent; or it cannot be written.
    """
    content = _content(text)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as place:
            new = Path(place) / "new"
            with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
                archive.extractall(new, filter="data")
            Ledger.open(new / FILE_NAME).close()  # whole and readable
            if folder.exists():
                folder.rename(Path(place) / "old")
            new.rename(folder)
    except (OSError, tarfile.TarError) as error:
        raise SweepError(f"{folder}: cannot be written ({error})") from error


def _archive(folder: Path) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            if name.parts[0] in STAYS or not path.is_file() or name.name.startswith(FILE_NAME):
                continue
            archive.add(path, str(name), filter=_nobodys)
        with tempfile.TemporaryDirectory() as place:
            copy = Path(place) / FILE_NAME
            with Ledger.open(folder / FILE_NAME) as ledger:
                ledger.backup(copy)
            archive.add(copy, FILE_NAME, filter=_nobodys)
    return stream.getvalue()


def _nobodys(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """The files become the fetcher's own; who ran them there is nobody's business."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o644
    return entry


def _content(text: str) -> bytes:
    lines = text.splitlines()
    begins = [number for number, line in enumerate(lines) if line.startswith(f"{MARK} {{")]
    ends = [number for number, line in enumerate(lines) if line == f"{MARK} end"]
    if not begins or not ends or ends[-1] < begins[-1]:
        raise SweepError("the run folder has not come whole: its beginning or its end is missing")
    try:
        told = json.loads(lines[begins[-1]].removeprefix(MARK))
        content = b"".join(base64.b64decode(line, validate=True) for line in lines[begins[-1] + 1 : ends[-1]])
        size, checksum = told["bytes"], told["sha256"]
    except (ValueError, KeyError) as error:
        raise SweepError(f"the run folder has not come whole: {error}") from error
    if len(content) != size:
        raise SweepError(f"the run folder has not come whole: {len(content)} of {size} bytes")
    if hashlib.sha256(content).hexdigest() != checksum:
        raise SweepError("the run folder has come damaged: its checksum differs")
    return content


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
