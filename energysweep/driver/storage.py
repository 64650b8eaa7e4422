"""The copy of a run folder in the sweep's storage, where others than the driver's node can reach it.

It has plain files with plain names only, in ``<storage>/<run id>/energysweep``: the ledger by SQLite's backup, the
report, tables, what a program has put beside them. Tune's state and the run's key stay. ``SHA256SUMS``, which
``sha256sum --check`` reads, is written last and names them all: a copy that is not whole does not agree with it.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow
from pyarrow.fs import FileSystem

from energysweep.core.errors import SweepError, one_line
from energysweep.core.runfolder import COPY, DRIVER_LOCK, LEDGER, RUN_KEY, TUNE_STATE
from energysweep.ledger.store import Ledger

SUMS: Final = "SHA256SUMS"
PIECE_BYTES: Final = 2**20
_SAID = re.compile(r"^copy: (?P<place>\S.*) \(SHA-256 of its SHA256SUMS: (?P<checksum>[0-9a-f]{64})\)$", re.MULTILINE)


def inside(storage: str, *names: str) -> str:
    """A place inside of the storage, a folder or a URI, whose options (``?region=...``) stay at its end."""
    place, mark, options = storage.partition("?") if "://" in storage else (storage, "", "")
    return "/".join([place.rstrip("/"), *names]) + mark + options


def shown(place: str) -> str:
    """A place as anybody may read it: a URI may hold a key to it."""
    if "://" not in place:
        return place
    scheme, mark, rest = place.partition("?")[0].partition("://")
    authority, slash, path = rest.partition("/")
    return scheme + mark + authority.rpartition("@")[2] + slash + path


@contextmanager
def opened(place: str) -> Iterator[tuple[Any, str]]:
    """The file system of a place, and its path there.

    Raises:
        SweepError: something goes wrong with it, here or in the block.
    """
    try:
        yield FileSystem.from_uri(place)
    except (OSError, pyarrow.ArrowException) as error:  # the second: of a URI that is none, of a key that is missing
        number = getattr(error, "errno", None)
        reason = os.strerror(number) if number else one_line(str(error).replace(place, shown(place)))
        raise SweepError(f"{shown(place)}: {reason}") from error


@dataclass(frozen=True)
class Copied:
    """A copy that is whole.

    Attributes:
        place: where, as anybody may read it.
        checksum: the SHA-256 of its ``SHA256SUMS``, by which a reader knows this copy from every other one.
    """

    place: str
    checksum: str

    def __str__(self) -> str:
        return f"copy: {self.place} (SHA-256 of its {SUMS}: {self.checksum})"

    @classmethod
    def said_in(cls, log: str) -> Copied | None:
        """The last one that a text tells of."""
        said = [cls(found["place"], found["checksum"]) for found in _SAID.finditer(log)]
        return said[-1] if said else None


def copy_to_storage(folder: Path, ledger: Ledger, storage: str, run_id: str) -> Copied:
    """Copy a run folder; an earlier copy is written over.

    Raises:
        SweepError: it cannot be written there, or is too much.
        LedgerError: the ledger cannot be copied.
    """
    place = inside(storage, run_id, COPY)
    sums = ""
    with opened(place) as (files, root), snapshot(ledger) as copy:
        files.create_dir(root, recursive=True)
        for name, source in [*travelling(folder), (LEDGER, copy)]:
            if "/" in name:
                files.create_dir(f"{root}/{name.rpartition('/')[0]}", recursive=True)
            with source.open("rb") as stream, files.open_output_stream(f"{root}/{name}") as target:
                sums += f"{_copied(stream, target)}  {name}\n"
        with files.open_output_stream(f"{root}/{SUMS}") as target:
            target.write(sums.encode())
    return Copied(shown(place), hashlib.sha256(sums.encode()).hexdigest())


def _copied(stream: BinaryIO, target: Any) -> str:
    checksum = hashlib.sha256()
    while piece := stream.read(PIECE_BYTES):
        checksum.update(piece)
        target.write(piece)
    return checksum.hexdigest()


# What of a run folder may travel, to the storage or in a job's log ----------------------------------------------------

MAX_TRAVELLING_BYTES: Final = 2 * 2**30
MAX_FILES: Final = 10_000
MAX_NAME_BYTES: Final = 1000
MAX_DEPTH: Final = 10
# Tune's checkpoints, the key that agents know the run by, what says which driver works here; and another copy.
STAYS: Final = (TUNE_STATE, RUN_KEY, DRIVER_LOCK, COPY, SUMS.casefold())


class Refused(SweepError):
    """No run folder that travels has such a file; the text says why, as the end of a sentence."""


class TooManyFiles(Refused):
    """A run folder has more files than may travel."""


class Names:
    """Which names a run folder that travels may have, each once."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def checked(self, name: str) -> str:
        """The name, if it stays inside of the folder, is no other's, and is one that travels.

        Raises:
            TooManyFiles: it is, and so many have come already.
            Refused: it is none of these.
        """
        parts = name.split("/")
        if not name.isprintable() or "\\" in name or any(part in ("", ".", "..") for part in parts):
            raise Refused(f"{quoted(name)} is no name of a file in it")
        if len(parts) > MAX_DEPTH or len(name.encode()) > MAX_NAME_BYTES or max(len(p.encode()) for p in parts) > 255:
            raise Refused(f"the name {quoted(name)} is too long")
        # Some file systems take names for the same that differ in case or in how a letter is put together.
        alike = [unicodedata.normalize("NFKC", part).casefold() for part in parts]
        if alike[0] in STAYS or (alike[0].startswith(LEDGER) and name != LEDGER):
            raise Refused(f"{quoted(name)} is a file that only this machine makes")
        own, above = "/".join(alike), {"/".join(alike[:end]) for end in range(1, len(alike))}
        if own in self._files or own in self._folders or above & self._files:
            raise Refused(f"{quoted(name)} comes twice")
        if len(self._files) >= MAX_FILES:
            raise TooManyFiles(f"it has more than {MAX_FILES} files")
        self._files.add(own)
        self._folders |= above
        return name


def quoted(name: str) -> str:
    """A name that somebody else gave, for a message."""
    return one_line(repr(name), 80)


def travelling(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files that travel beside the ledger: plain ones (a link would lead elsewhere there) with names it may have.

    Raises:
        SweepError: they are too many, or too large.
    """
    names, left = Names(), MAX_TRAVELLING_BYTES - (folder / LEDGER).stat().st_size
    names.checked(LEDGER)  # which travels as a copy
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        is_link = any((folder / each).is_symlink() for each in (name, *name.parents) if each.parts)
        if is_link or not path.is_file() or name.name.startswith(LEDGER):
            continue
        try:
            names.checked(name.as_posix())
            left -= path.stat().st_size
        except TooManyFiles:
            left = -1
        except Refused:
            continue
        if left < 0:
            limits = f"{MAX_FILES} files, {MAX_TRAVELLING_BYTES / 2**30:.0f} GiB"
            raise SweepError(f"{folder} is too much to bring elsewhere (at most {limits}); copy it by other means")
        yield name.as_posix(), path


@contextmanager
def snapshot(ledger: Ledger) -> Iterator[Path]:
    """A copy of the ledger as it stands, also while a driver writes to it."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / LEDGER
        ledger.backup(copy)
        yield copy
