"""What a submitted sweep brings along: one zip with its file and the code beside it, so that a cluster can run both."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from energysweep.errors import InputError, one_line
from energysweep.inputs import is_file, is_folder
from energysweep.spec import SweepSpec
from energysweep.tuning.leaving import Leaving, leaving

MAX_BYTES = 200 * 2**20  # before compression; Ray itself takes no more than 512 MiB
_DATE = (1980, 1, 1, 0, 0, 0)  # the zip of the same code has the same bytes: a cluster that has it keeps it


@dataclass
class Upload:
    """What goes into the zip.

    Attributes:
        folder: what is uploaded: the spec's ``working_dir``, or the folder of its file.
        sweep: the sweep's file inside the zip, with all overrides, and paths that start from the zip's root.
        files: the files by their name inside the zip.
        stays: why other files of the folder stay, by name.
        odd: which of these a person has to know of.
    """

    folder: Path
    sweep: str
    text: str
    files: dict[str, Path] = field(repr=False)
    stays: dict[str, str] = field(default_factory=dict, repr=False)
    odd: list[str] = field(default_factory=list, repr=False)

    @property
    def size_bytes(self) -> int:
        """Size of all files before compression."""
        return sum(_size(path) for path in self.files.values())

    def write(self, path: Path) -> None:
        """Write the zip. Executable programs stay executable.

        Raises:
            InputError: a file has gone, or changed into something else, since it was looked at.
        """
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, source in sorted(self.files.items()):
                self._add(archive, name, *_read(source))
            self._add(archive, self.sweep, self.text.encode(), 0o644)

    def listing(self) -> Iterator[str]:
        """What goes and what stays, for a person."""
        yield f"{self.folder}: {len(self.files) + 1} files, {self.size_bytes + len(self.text.encode()):,} bytes"
        sizes = {name: _size(path) for name, path in self.files.items()} | {self.sweep: len(self.text.encode())}
        yield from (f"  {size:>12,}  {one_line(name)}" for name, size in sorted(sizes.items()))
        if self.stays:
            yield "stays here:"
            yield from (f"  {one_line(name)}: {why}" for name, why in sorted(self.stays.items()))

    def warning(self) -> str | None:
        """What stays that a person may have counted on, in one line; None: nothing."""
        if not self.odd:
            return None
        names = ", ".join(f"{one_line(name, 80)} ({self.stays[name]})" for name in self.odd[:10])
        more = f" and {len(self.odd) - 10} more" if len(self.odd) > 10 else ""
        return (
            f"stays here: {names}{more}; --dry-run lists all. Values reach trials by runtime_env:"
            " {env_vars: {...}}, and a line !NAME in .rayignore takes along what looks like a secret"
        )

    @staticmethod
    def _add(archive: zipfile.ZipFile, name: str, content: bytes, mode: int) -> None:
        entry = zipfile.ZipInfo(name, _DATE)
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = (0o100000 | mode) << 16
        archive.writestr(entry, content)


def upload_of(spec: SweepSpec) -> Upload:
    """What a sweep has to bring along.

    Raises:
        InputError: a file that it names is not there or cannot come along, or all together is too large.
    """
    _check_storage(spec)
    folder = _folder(spec).resolve()
    excludes = spec.runtime_env.get("excludes")
    look = leaving(folder, [str(each) for each in excludes] if isinstance(excludes, list) else [])
    files = dict(look.files)
    changes: dict[str, Any] = {"working_dir": None, "meters": _meters(spec, folder, files)}
    if spec.workload is not None:
        where, _, attribute = spec.workload.rpartition(":")
        if where.endswith(".py"):
            changes["workload"] = f"{_bring(spec, Path(where), ('workload',), folder, files)}:{attribute}"
    elif spec.command is not None:
        _check_program(spec, folder, look)
    name = spec.source.name if spec.source is not None else "sweep.yaml"
    files.pop(name, None)  # its place is taken by the text with all overrides
    stays = {each: why for each, why in look.stays.items() if each not in files and each != name}
    odd = sorted(each for each in look.odd if each in stays)
    upload = Upload(folder, name, spec.model_copy(update=changes).to_bare_yaml(), files, stays, odd)
    _check_size(upload)
    return upload


def _folder(spec: SweepSpec) -> Path:
    if spec.working_dir is None:
        return spec.folder
    if "://" in spec.working_dir:
        problem = "submit uploads a folder of this machine; a URI works with `ray job submit --working-dir`"
        raise spec.document.error(problem, ("working_dir",))
    if not is_folder(spec.working_dir):
        raise spec.document.error(f"there is no folder {spec.working_dir}", ("working_dir",))
    return Path(spec.working_dir)


def _check_storage(spec: SweepSpec) -> None:
    """A folder of this machine is none of the cluster."""
    value = spec.document.value.get("storage") if isinstance(spec.document.value, dict) else None
    if isinstance(value, str) and "://" not in value and not value.startswith("/"):
        problem = f"{value} would start from a folder of this machine; write the path that all nodes share, or a URI"
        raise spec.document.error(problem, ("storage",))


def _bring(spec: SweepSpec, path: Path, key: tuple[str | int, ...], folder: Path, files: dict[str, Path]) -> str:
    """Its name inside the zip; it comes along even if it is outside of the folder or excluded."""
    if not is_file(path):
        raise spec.document.error(f"there is no file {path}", key)
    path = path.resolve()
    name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
    if files.setdefault(name, path) != path:
        problem = f"{path} cannot come along: there is another {name} in {folder}, which is uploaded"
        raise spec.document.error(problem, key)
    return name


def _meters(spec: SweepSpec, folder: Path, files: dict[str, Path]) -> list[str]:
    """The meters, with replayed traces as they are named in the zip."""
    meters = []
    for number, meter in enumerate(spec.meters):
        kind, _, rest = meter.partition(":")
        trace, mark, query = rest.partition("?")
        if kind == "replay" and trace:
            name = _bring(spec, Path(trace), ("meters", number), folder, files)
            meters.append(f"{kind}:{name}{mark}{query}")
        else:
            meters.append(meter)
    return meters


def _check_program(spec: SweepSpec, folder: Path, look: Leaving) -> None:
    """A program of one's own has to come along; one on the PATH has to be on the cluster's."""
    program = (spec.command or [""])[0]
    if "/" not in program or program.startswith("/") or "{" in program:
        return
    name = Path(os.path.normpath(program)).as_posix()
    if name not in look.files:
        why = f": it {look.stays[name]}" if name in look.stays else ""
        raise spec.document.error(f"{program} is not among what is uploaded of {folder}{why}", ("command", 0))
    if not os.access(look.files[name], os.X_OK):
        raise spec.document.error(f"{look.files[name]} may not be executed (chmod +x makes it so)", ("command", 0))


def _check_size(upload: Upload) -> None:
    if upload.size_bytes <= MAX_BYTES:
        return
    sizes: dict[str, int] = {}
    for name, path in upload.files.items():
        top = name.partition("/")[0] + ("/" if "/" in name else "")
        sizes[top] = sizes.get(top, 0) + _size(path)
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:5]
    listed = ", ".join(f"{name} {size / 2**20:.0f} MiB" for name, size in largest)
    raise InputError(
        f"{upload.size_bytes / 2**20:.0f} MiB are too much to upload (at most {MAX_BYTES / 2**20:.0f} MiB): {listed};"
        " name what is not code in .rayignore or runtime_env.excludes, and put data where the nodes can reach it",
        file=str(upload.folder),
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # gone: it is told when it is read


def _read(path: Path) -> tuple[bytes, int]:
    """Content and permissions of a file that was found to be a plain one."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            content = stream.read(MAX_BYTES + 1)
            mode = os.fstat(stream.fileno()).st_mode & 0o777
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=str(path)) from error
    if len(content) > MAX_BYTES:
        raise InputError("has grown too large to upload", file=str(path))
    return content, mode
