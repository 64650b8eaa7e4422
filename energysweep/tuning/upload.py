"""What a submitted sweep brings along: one zip with its file and the code beside it, so that a cluster can run both."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pathspec import GitIgnoreSpec

from energysweep.errors import InputError
from energysweep.ledger import FILE_NAME
from energysweep.spec import SweepSpec

MAX_BYTES = 200 * 2**20  # before compression; Ray itself takes no more than 512 MiB
IGNORE_FILES = (".gitignore", ".rayignore")  # in the uploaded folder itself, as Ray reads them
NEVER = (
    *(
        ".git/",
        ".hg/",
        ".svn/",
        ".venv/",
        "venv/",
        "node_modules/",
        "__pycache__/",
        "*.egg-info/",
        ".ipynb_checkpoints/",
    ),
    *(".mypy_cache/", ".pytest_cache/", ".ruff_cache/", ".tox/", "/results/"),
)
_DATE = (1980, 1, 1, 0, 0, 0)  # the zip of the same code has the same bytes: a cluster that has it keeps it


@dataclass
class Upload:
    """What goes into the zip.

    Attributes:
        folder: what is uploaded: the spec's ``working_dir``, or the folder of its file.
        sweep: the sweep's file inside the zip, with all overrides, and paths that start from the zip's root.
        files: the files by their name inside the zip.
    """

    folder: Path
    sweep: str
    text: str
    files: dict[str, Path] = field(repr=False)

    @property
    def size_bytes(self) -> int:
        """Size of all files before compression."""
        return sum(path.stat().st_size for path in self.files.values())

    def write(self, path: Path) -> None:
        """Write the zip. Executable programs stay executable."""
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, source in sorted(self.files.items()):
                self._add(archive, name, source.read_bytes(), source.stat().st_mode & 0o777)
            self._add(archive, self.sweep, self.text.encode(), 0o644)

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
    folder = _folder(spec)
    files = dict(_files(spec, folder))
    changes: dict[str, Any] = {"working_dir": None, "meters": _meters(spec, folder, files)}
    if spec.workload is not None:
        where, _, attribute = spec.workload.rpartition(":")
        if where.endswith(".py"):
            changes["workload"] = f"{_bring(spec, Path(where), ('workload',), folder, files)}:{attribute}"
    elif spec.command is not None:
        _check_program(spec, folder, files)
    name = spec.source.name if spec.source is not None else "sweep.yaml"
    files.pop(name, None)  # its place is taken by the text with all overrides
    upload = Upload(folder, name, spec.model_copy(update=changes).to_bare_yaml(), files)
    _check_size(upload)
    return upload


def _folder(spec: SweepSpec) -> Path:
    if spec.working_dir is None:
        return spec.folder
    if "://" in spec.working_dir:
        problem = "submit uploads a folder of this machine; a URI works with `ray job submit --working-dir`"
        raise spec.document.error(problem, ("working_dir",))
    if not Path(spec.working_dir).is_dir():
        raise spec.document.error(f"there is no folder {spec.working_dir}", ("working_dir",))
    return Path(spec.working_dir)


def _check_storage(spec: SweepSpec) -> None:
    """A folder of this machine is none of the cluster."""
    value = spec.document.value.get("storage") if isinstance(spec.document.value, dict) else None
    if isinstance(value, str) and "://" not in value and not value.startswith("/"):
        problem = f"{value} would start from a folder of this machine; write the path that all nodes share, or a URI"
        raise spec.document.error(problem, ("storage",))


def _files(spec: SweepSpec, folder: Path) -> Iterator[tuple[str, Path]]:
    """All files of the folder that nothing excludes. Links to files are followed, links to folders are not."""
    ignored = _ignored(spec, folder)
    for root, folders, names in os.walk(folder):
        here = Path(root)
        inside = here.relative_to(folder)
        if FILE_NAME in names and here != folder:
            folders.clear()  # a run folder
            continue
        folders[:] = sorted(each for each in folders if not ignored.match_file(f"{(inside / each).as_posix()}/"))
        for name in names:
            path = here / name
            if path.is_file() and not ignored.match_file((inside / name).as_posix()):
                yield (inside / name).as_posix(), path


def _ignored(spec: SweepSpec, folder: Path) -> GitIgnoreSpec:
    lines = list(NEVER)
    for name in IGNORE_FILES:
        if (folder / name).is_file():
            lines += (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()
    excludes = spec.runtime_env.get("excludes")
    lines += [str(each) for each in excludes] if isinstance(excludes, list) else []
    return GitIgnoreSpec.from_lines(lines)


def _bring(spec: SweepSpec, path: Path, key: tuple[str | int, ...], folder: Path, files: dict[str, Path]) -> str:
    """Its name inside the zip; it comes along even if it is outside of the folder or excluded."""
    if not path.is_file():
        raise spec.document.error(f"there is no file {path}", key)
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


def _check_program(spec: SweepSpec, folder: Path, files: dict[str, Path]) -> None:
    """A program of one's own has to come along; one on the PATH has to be on the cluster's."""
    program = (spec.command or [""])[0]
    if "/" not in program or program.startswith("/") or "{" in program:
        return
    name = Path(os.path.normpath(program)).as_posix()
    if name not in files:
        raise spec.document.error(f"{program} is not among what is uploaded of {folder}", ("command", 0))
    if not os.access(files[name], os.X_OK):
        raise spec.document.error(f"{files[name]} may not be executed (chmod +x makes it so)", ("command", 0))


def _check_size(upload: Upload) -> None:
    if upload.size_bytes <= MAX_BYTES:
        return
    sizes: dict[str, int] = {}
    for name, path in upload.files.items():
        top = name.partition("/")[0] + ("/" if "/" in name else "")
        sizes[top] = sizes.get(top, 0) + path.stat().st_size
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:5]
    listed = ", ".join(f"{name} {size / 2**20:.0f} MiB" for name, size in largest)
    raise InputError(
        f"{upload.size_bytes / 2**20:.0f} MiB are too much to upload (at most {MAX_BYTES / 2**20:.0f} MiB): {listed};"
        " name what is not code in .rayignore or runtime_env.excludes, and put data where the nodes can reach it",
        file=str(upload.folder),
    )
