"""Which files of a folder go to a cluster, and why the others stay: the one place that decides it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pathspec import GitIgnoreSpec

from energysweep.errors import InputError, one_line
from energysweep.inputs import is_there, read_text
from energysweep.ledger import FILE_NAME

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
            if FILE_NAME in names and here != self._folder:
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
        elif reason is None and not _is_text(name):
            reason, is_odd = "has a name that is not UTF-8", True
        if reason is not None:
            self._stay(path, reason, is_odd=is_odd, mark="/")
        return reason

    def _look_at(self, path: Path) -> None:
        ignored = self._ignored(path)
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
        if not _is_text(self._name(path)):
            return "has a name that is not UTF-8"
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


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
