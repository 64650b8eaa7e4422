"""What a submitted sweep brings along: which files of a folder go to a cluster, and a staged folder of them.

The staged folder holds the sweep's file and the code beside it, so that a cluster can run both. Ray packs it.
"""

from __future__ import annotations

import hashlib
import ntpath
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pathspec import GitIgnoreSpec

from energysweep.core.errors import InputError, SweepError, one_line
from energysweep.core.inputs import is_file, is_folder, is_there, read_text
from energysweep.core.runfolder import LEDGER
from energysweep.driver.run_facts import owner_of
from energysweep.meters.kinds import trace_path, with_trace
from energysweep.sweepfile import SweepSpec

# Which files of a folder go, and why the others stay -----------------------------------------------------------------

IGNORE_FILES: Final = (".gitignore", ".rayignore")  # in each folder; what the second says comes later, so it decides
_MAX_IGNORE_BYTES = 1_000_000

_NEVER = """
    .git/ .hg/ .svn/ .venv/ venv/ node_modules/ __pycache__/ *.egg-info/ .ipynb_checkpoints/
    .mypy_cache/ .pytest_cache/ .ruff_cache/ .tox/ /results/
"""
# What is known to hold passwords, keys and tokens, by its name (docs/security.md lists it). In lower case.
_SECRETS = """
    .env .env.* !.env.example !.env.sample !.env.template .envrc
    id_rsa* id_dsa* id_ecdsa* id_ed25519* !*.pub *.pem *.key *.p12 *.pfx *.jks *.keystore *.kdbx *.ppk
    .ssh/ .gnupg/ .aws/ .azure/ .kube/ .ray/ .docker/ .config/gcloud/ .terraform/ .kaggle/ .huggingface/
    .password-store/
    .netrc _netrc .npmrc .pypirc .git-credentials .dockercfg .pgpass .my.cnf .htpasswd .vault-token .databrickscfg
    .boto .s3cfg rclone.conf kaggle.json .bash_history .zsh_history .python_history .psql_history .mysql_history
    credentials credentials.* credentials-*.json *-credentials.json *_credentials.json client_secret*.json
    service-account*.json service_account*.json *-service-account.json secret.* secrets.* *.secret *.secrets
    token auth_token *.token token.json *.tfstate *.tfstate.* *.tfvars kubeconfig *.kubeconfig
"""
_IS_SECRET: Final = "looks like a secret"  # noqa: S105  it says so, it is none


@dataclass
class Leaving:
    """What goes, and what stays.

    Attributes:
        files: the files that go by their name, which begins at the folder; where a link leads in its place.
        stays: why the others stay, by name; a folder that stays as a whole is one entry.
        odd: the names of those that a person has to know of: secrets, links that lead out, what cannot be read.
    """

    files: dict[str, Path] = field(default_factory=dict)
    stays: dict[str, str] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)


def leaving(folder: Path, excludes: Sequence[str] = ()) -> Leaving:
    """Look at all files of a folder.

    Args:
        folder: which.
        excludes: patterns that decide before any file of patterns does (``runtime_env.excludes``).

    Raises:
        InputError: a file of patterns cannot be read, or holds what is no pattern: it may name what must not leave.
    """
    return _Look(folder.resolve(), excludes).all()


class _Look:
    def __init__(self, folder: Path, excludes: Sequence[str]) -> None:
        self._folder = folder
        self._never = GitIgnoreSpec.from_lines(_NEVER.split())
        self._secrets = GitIgnoreSpec.from_lines(_SECRETS.split())
        self._excludes = _spec(excludes, "runtime_env.excludes")
        self._specs: dict[Path, GitIgnoreSpec] = dict(self._above())
        self._allowed: dict[Path, GitIgnoreSpec] = {}  # .rayignore alone: it may take a secret along
        self._found = Leaving()

    def all(self) -> Leaving:
        for root, folders, names in os.walk(self._folder, onerror=self._unreadable):
            here = Path(root)
            if LEDGER in names and here != self._folder:
                self._stay(here, "is a run folder", is_odd=False, mark="/")
                folders.clear()
                continue
            self._read_patterns(here)
            for name in sorted(folders):
                reason = self._why_folder(here / name)
                if reason is not None:
                    folders.remove(name)
            folders.sort()
            for name in sorted(names):
                self._look_at(here / name)
        return self._found

    def _why_folder(self, path: Path) -> str | None:
        name = self._name(path)
        reason, is_odd = self._ignored(path, is_folder=True), False
        if reason is None and path.is_symlink():
            reason, is_odd = "is a link to a folder", True
        elif reason is None and self._is_secret(path, is_folder=True):
            reason, is_odd = _IS_SECRET, True
        elif reason is None and (odd := _why_name(name)) is not None:
            reason, is_odd = odd, True
        if reason is not None:
            self._stay(path, reason, is_odd=is_odd, mark="/")
        return reason

    def _look_at(self, path: Path) -> None:
        ignored = self._ignored(path)
        if path.name == IGNORE_FILES[1]:
            ignored = "says what goes"  # and would say it once more to Ray, which reads it otherwise than git
        if ignored is not None:
            self._stay(path, ignored, is_odd=False)
            return
        try:
            target = path.resolve(strict=True)
            mode = target.stat().st_mode
        except (OSError, RuntimeError):  # the second: a loop of links
            self._stay(path, "leads nowhere" if path.is_symlink() else "cannot be read")
            return
        reason = self._why_odd(path, target, mode)
        if reason is None:
            self._found.files[self._name(path)] = target
        else:
            self._stay(path, reason)

    def _why_odd(self, path: Path, target: Path, mode: int) -> str | None:
        if (odd := _why_name(self._name(path))) is not None:
            return odd
        if path.is_symlink() and not target.is_relative_to(self._folder):
            return "is a link that leads out of the folder"
        if not stat.S_ISREG(mode):
            return "is a link to a folder" if stat.S_ISDIR(mode) else "is no plain file (a pipe, socket or device)"
        if self._is_secret(path) or (target != path and (self._is_secret(target) or self._ignored(target))):
            return _IS_SECRET if self._is_secret(path) or self._is_secret(target) else "is a link to a file that stays"
        return None if os.access(target, os.R_OK) else "may not be read"

    def _ignored(self, path: Path, *, is_folder: bool = False) -> str | None:
        """Which patterns name it: those nearest to it decide, as git has it."""
        mark = "/" if is_folder else ""
        inside = path.relative_to(self._folder).as_posix() + mark
        if self._excludes.check_file(inside).include:
            return "is named by runtime_env.excludes"
        for above in path.parents:
            spec = self._specs.get(above)
            said = None if spec is None else spec.check_file(path.relative_to(above).as_posix() + mark).include
            if said is not None:
                return f"is named by {' or '.join(IGNORE_FILES)}" if said else None
        return "is never code" if self._never.check_file(inside).include else None

    def _is_secret(self, path: Path, *, is_folder: bool = False) -> bool:
        mark = "/" if is_folder else ""  # by which a pattern such as `.aws/` knows it
        if not self._secrets.check_file(path.relative_to(self._folder).as_posix().lower() + mark).include:
            return False
        allowed = (
            spec.check_file(path.relative_to(above).as_posix() + mark).include
            for above, spec in self._allowed.items()
            if path.is_relative_to(above)
        )
        return not any(said is False for said in allowed)

    def _read_patterns(self, here: Path) -> None:
        lines = [line for name in IGNORE_FILES for line in _lines(here / name)]
        if lines:
            earlier = self._specs.get(here)
            own = _spec(lines, str(here / IGNORE_FILES[0]))
            self._specs[here] = own if earlier is None else earlier + own
        if allowed := _lines(here / IGNORE_FILES[1]):
            self._allowed[here] = _spec(allowed, str(here / IGNORE_FILES[1]))

    def _above(self) -> Iterator[tuple[Path, GitIgnoreSpec]]:
        """The patterns of the folders above, up to the repository's root, unless they name the folder itself."""
        roots = (self._folder, *self._folder.parents)
        root = next((each for each in roots if is_there(each / ".git")), None)
        if root is None:
            return
        found: dict[Path, list[str]] = {root: _lines(root / ".git" / "info" / "exclude")}
        for above in self._folder.parents:
            if above.is_relative_to(root):
                own = [line for name in IGNORE_FILES for line in _lines(above / name)]
                found[above] = [*found.get(above, []), *own]
        specs = {above: _spec(lines, str(above)) for above, lines in found.items() if lines}
        for above, spec in specs.items():
            inside = self._folder.relative_to(above).parts
            if any(spec.match_file("/".join(inside[:end]) + "/") for end in range(1, len(inside) + 1)):
                return  # who names the folder wants its files
        yield from specs.items()

    def _unreadable(self, error: OSError) -> None:
        self._stay(Path(os.fsdecode(error.filename)), "may not be read", mark="/")

    def _stay(self, path: Path, why: str, *, is_odd: bool = True, mark: str = "") -> None:
        name = self._name(path) + mark
        self._found.stays[name] = why
        if is_odd:
            self._found.odd.append(name)

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()


def _lines(path: Path) -> list[str]:
    return read_text(path, _MAX_IGNORE_BYTES, "a file of patterns").splitlines() if path.is_file() else []


def _spec(lines: Sequence[str], where: str) -> GitIgnoreSpec:
    try:
        return GitIgnoreSpec.from_lines(lines)
    except ValueError as error:
        raise InputError(f"holds what is no pattern: {one_line(error)}", file=where) from None


def _why_name(name: str) -> str | None:
    """Why nothing of this name can go."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "has a name that is not UTF-8"
    # It skips what could lead elsewhere on Windows: backslashes, and what begins like a drive.
    return "has a name that Ray does not unpack" if "\\" in name or ntpath.splitdrive(name)[0] else None


# A staged folder of what goes ----------------------------------------------------------------------------------------

MAX_BYTES = 200 * 2**20  # Ray itself takes no more than 512 MiB


@dataclass
class Upload:
    """What goes into the staged folder.

    Attributes:
        folder: what is uploaded: the spec's ``working_dir``, or the folder of its file.
        sweep: the name of the sweep's file in the staged folder.
        text: the sweep with all overrides, and paths that start from the staged folder; it names its owner.
        ownerless: the same without the owner: what a run id holds, whoever submits it.
        files: the files by their name in the staged folder.
        stays: why other files of the folder stay, by name.
        odd: which of these a person has to know of.
    """

    folder: Path
    sweep: str
    text: str
    ownerless: str
    files: dict[str, Path] = field(repr=False)
    stays: dict[str, str] = field(default_factory=dict, repr=False)
    odd: list[str] = field(default_factory=list, repr=False)

    @property
    def size_bytes(self) -> int:
        """Size of all files but the sweep's."""
        return sum(_size(path) for path in self.files.values())

    def stage(self, folder: Path) -> None:
        """Copy all that goes into an empty folder. Executable programs stay executable.

        Raises:
            InputError: a file has gone, or changed into something else, since it was looked at.
            SweepError: the folder cannot be written.
        """
        try:
            for name in [*self.files, self.sweep]:
                content, mode = (self._sweep_file(), 0o644) if name == self.sweep else _read(self.files[name])
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                path.chmod(mode | stat.S_IRUSR)
        except OSError as error:
            raise SweepError(f"what is to be uploaded cannot be staged: {one_line(error)}") from error

    def _sweep_file(self) -> bytes:
        """The sweep's text with a comment by which a folder with other permissions is another one.

        Ray keeps a folder that it has by the names and contents of its files alone, and would keep one whose program
        may not be executed yet.
        """
        modes = sorted((name, _mode(path)) for name, path in self.files.items())
        return f"{self.text}# permissions: {hashlib.sha256(repr(modes).encode()).hexdigest()[:16]}\n".encode()

    def listing(self) -> Iterator[str]:
        """What goes and what stays, for a person."""
        sizes = {name: _size(path) for name, path in self.files.items()} | {self.sweep: len(self._sweep_file())}
        yield f"{self.folder}: {len(sizes)} files, {sum(sizes.values()):,} bytes"
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


def upload_of(spec: SweepSpec) -> Upload:
    """What a sweep has to bring along.

    Raises:
        InputError: a file that it names is not there or cannot come along, or all together is too large.
    """
    _check_storage(spec)
    _check_modules(spec)
    folder = _folder(spec).resolve()
    excludes = spec.runtime_env.get("excludes")
    look = leaving(folder, [str(each) for each in excludes] if isinstance(excludes, list) else [])
    files = dict(look.files)
    changes: dict[str, Any] = {"owner": None, "working_dir": None, "meters": _meters(spec, folder, files)}
    for key, named in (("workload", spec.workload), ("space", spec.space)):
        where, _, attribute = (named or "").rpartition(":")
        if where.endswith(".py"):
            changes[key] = f"{_bring(spec, Path(where), (key,), folder, files)}:{attribute}"
    if spec.command is not None:
        _check_program(spec, folder, look)
    name = spec.source.name if spec.source is not None else "sweep.yaml"
    for each in [*files, name]:
        if (why := _why_name(each)) is not None:
            raise InputError(f"{why}; rename it", file=each)
    files.pop(name, None)  # its place is taken by the text with all overrides
    stays = {each: why for each, why in look.stays.items() if each not in files and each != name}
    odd = sorted(each for each in look.odd if each in stays)
    ownerless = spec.model_copy(update=changes)
    text = ownerless.model_copy(update={"owner": owner_of(spec)}).to_bare_yaml()
    return _checked_size(Upload(folder, name, text, ownerless.to_bare_yaml(), files, stays, odd))


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


def _check_modules(spec: SweepSpec) -> None:
    """Ray would pack a folder of modules by rules of its own: with its secrets, and listed nowhere."""
    modules = spec.runtime_env.get("py_modules")
    for number, module in enumerate(modules if isinstance(modules, list) else []):
        if "://" not in str(module):
            problem = f"{module} is of this machine; put it into the folder that is uploaded, where trials find it"
            raise spec.document.error(f"{problem}, or give a URI", ("runtime_env", "py_modules", number))


def _bring(spec: SweepSpec, path: Path, key: tuple[str | int, ...], folder: Path, files: dict[str, Path]) -> str:
    """Its name in the staged folder; it comes along even if it is outside of the folder or excluded."""
    if not is_file(path):
        raise spec.document.error(f"there is no file {path}", key)
    path = path.resolve()
    name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
    if files.setdefault(name, path) != path:
        problem = f"{path} cannot come along: there is another {name} in {folder}, which is uploaded"
        raise spec.document.error(problem, key)
    return name


def _meters(spec: SweepSpec, folder: Path, files: dict[str, Path]) -> list[str]:
    """The meters, with replayed traces as they are named in the staged folder."""
    meters = []
    for number, meter in enumerate(spec.meters):
        trace = trace_path(meter)
        if trace is None:
            meters.append(meter)
        else:
            meters.append(with_trace(meter, _bring(spec, Path(trace), ("meters", number), folder, files)))
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


def _checked_size(upload: Upload) -> Upload:
    if upload.size_bytes <= MAX_BYTES:
        return upload
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


def _mode(path: Path) -> int:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return 0


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
