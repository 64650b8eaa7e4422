"""The code that a sweep trains: import a ``workload``, or fill in a ``command``."""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import json
import os
import shutil
import string
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from energysweep.core.inputs import is_file
from energysweep.sweepfile.leaves import NESTED_NAME
from energysweep.sweepfile.model import SweepSpec
from energysweep.sweepfile.yaml import KeyPath, did_you_mean

# Imported: under the name that a program beside it would use, in the driver and in every worker ----------------------
#
# What the workload's process pickles (``torch.save(model)``, what spawned pools and loaders get) names its classes by
# that module, and whoever unpickles it imports it by that name: so the name has to be the real one, with the module's
# folder first on ``sys.path``, which spawned processes inherit.

_DOUBTFUL_SECONDS: Final = 2.0
_lock = threading.RLock()
_FILES: dict[str, _Loaded] = {}  # by the name of a module that was imported from a workload's file


class NameTaken(ImportError):
    """The module cannot be imported by its name, because something else is."""


@dataclass(frozen=True)
class _Loaded:
    """A module of a workload's file, what was in that, and what the import has brought from the module's own folder."""

    source: bytes | None
    root: str
    modules: tuple[str, ...]


@dataclass(frozen=True)
class Imported:
    """Something that a module has, and how to get at it; travels to the workers, which import it when they get this.

    Attributes:
        module: its name.
        attribute: with dots, if it is inside of something else; empty: the module itself.
        folders: come first on ``sys.path``, as far as a host has them.
        file: the module's file; None: it is found by its name.
        source: what was in the file when the driver imported it. A host without the file, or with a newer one, gets
            it from here: all trials of a run run the same code, however long it takes.
    """

    module: str
    attribute: str
    folders: tuple[str, ...]
    file: str | None = None
    source: bytes | None = field(default=None, repr=False)

    @classmethod
    def of_file(cls, path: Path, attribute: str) -> Imported:
        """Of a Python file, which may be part of a package (a folder with ``__init__.py``).

        Raises:
            NameTaken: no program beside it could import it.
            OSError: it cannot be read.
        """
        parts = [path.stem] if path.stem != "__init__" else []
        folder = path.parent
        while (folder / "__init__.py").is_file() and "." not in folder.name and folder != folder.parent:
            parts.insert(0, folder.name)
            folder = folder.parent
        name = ".".join(parts)
        _check_name(path, parts)
        folders = dict.fromkeys((str(folder), str(path.parent)))
        return cls(name, attribute, tuple(folders), str(path), path.read_bytes())

    def load(self) -> Any:
        """Import it, once per process.

        Raises:
            Exception: whatever the import raises.
            NameTaken: another module has its name.
            AttributeError: the module has no such attribute.
        """
        with _lock:
            found: Any = self._import() if self.file is None else self._import_file(self.file)
        for name in filter(None, self.attribute.split(".")):
            found = getattr(found, name)
        return found

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type]:
        """A base class that is imported where the subclass is made anew (PEP 560; cloudpickle goes by it)."""
        return (self.load(),)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        with suppress(Exception):  # who calls it is told
            self.load()

    def _import(self) -> ModuleType:
        self._put_on_path()
        importlib.invalidate_caches()
        return importlib.import_module(self.module)

    def _import_file(self, file: str) -> ModuleType:
        loaded = _FILES.get(self.module)
        if loaded is not None and self.module in sys.modules and self._is_same(loaded):
            return sys.modules[self.module]
        _make_way(self)
        place = self._place(Path(file))
        if (other := _other(self.module, place)) is not None:
            raise NameTaken(f"{Path(file).name} has the name of {other}, which is imported already: rename it")
        self._put_on_path()
        if str(place) != file:
            _put_first(str(place.parent))
        importlib.invalidate_caches()
        _forget_doubtful_bytecode(place)
        before = set(sys.modules)
        try:
            module = importlib.import_module(self.module)
        finally:  # also if it failed: it may be mended
            own = {name for name in set(sys.modules) - before if _is_below(sys.modules[name], self.folders[0])}
            _FILES[self.module] = _Loaded(self.source, self.folders[0], (self.module, *own))
        if not _is_file(module, place):
            raise NameTaken(f"{Path(file).name} has the name of the module in {_file_of(module)}: rename it")
        return module

    def _is_same(self, loaded: _Loaded) -> bool:
        return (loaded.source, loaded.root) == (self.source, self.folders[0])

    def _place(self, file: Path) -> Path:
        """The file, if it still is what the driver imported; else a copy of that. A part of a package has no copy."""
        is_part = "." in self.module or file.stem == "__init__"
        if self.source is None or is_part or (file.is_file() and file.read_bytes() == self.source):
            return file
        copy = Path(_folder_of_copies(self.source)) / file.name
        copy.write_bytes(self.source)
        return copy

    def _put_on_path(self) -> None:
        for folder in reversed(self.folders):
            if Path(folder).is_dir():
                _put_first(folder)


def _check_name(path: Path, parts: list[str]) -> None:
    if not parts or "." in path.stem or path.stem == "__main__":
        raise NameTaken(f"no program could import {path.name} by its name: rename it")
    if parts[0] in sys.stdlib_module_names:
        raise NameTaken(f"{parts[0]} is the name of a module of Python's own, whose place it would take: rename it")


def _put_first(folder: str) -> None:
    if folder in sys.path:
        sys.path.remove(folder)
    sys.path.insert(0, folder)


def _other(name: str, place: Path) -> str | None:
    """A module that has this name, or that of the package, already, and is not in this place."""
    top = name.partition(".")[0]
    module = sys.modules.get(top)
    if module is None:
        return None
    above = name.count(".") - (place.stem != "__init__")  # folders between the file and the package's own
    is_it = _is_file(module, place) if above < 0 else _is_below(module, str(place.parents[above]))
    return None if is_it else f"the module {top} in {_file_of(module)}"


def _make_way(imported: Imported) -> None:
    """What another workload has imported from its own folder would be taken for what lies beside this one."""
    for name, loaded in list(_FILES.items()):
        if loaded.root != imported.folders[0] or name == imported.module:
            for module in loaded.modules:
                sys.modules.pop(module, None)
            if loaded.root in sys.path and loaded.root != imported.folders[0]:
                sys.path.remove(loaded.root)
            del _FILES[name]


@cache
def _folder_of_copies(source: bytes) -> str:
    """Of this process; it goes with it."""
    folder = tempfile.mkdtemp(prefix="energysweep-workload-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _file_of(module: ModuleType) -> str | None:
    return getattr(module, "__file__", None)


def _forget_doubtful_bytecode(file: Path) -> None:
    """What Python has compiled within seconds of a change of the file.

    Python knows by the file's second and size whether compiled code is of it, and takes that of a moment before for a
    text of the same length that was written in the same second.
    """
    with suppress(OSError, NotImplementedError):
        compiled = Path(importlib.util.cache_from_source(str(file)))
        if compiled.stat().st_mtime < file.stat().st_mtime + _DOUBTFUL_SECONDS:
            compiled.unlink()


def _is_file(module: ModuleType, place: Path) -> bool:
    file = _file_of(module)
    return file is not None and Path(file).resolve() == place.resolve()


def _is_below(module: ModuleType, folder: str) -> bool:
    """Whether it is of this folder, and not of an environment inside of it."""
    file = _file_of(module)
    if file is None:
        return False
    parents = Path(file).parents
    return Path(folder) in parents and not any(parent.name in ("site-packages", "dist-packages") for parent in parents)


# The workload or the command of a sweep ------------------------------------------------------------------------------


def check_workload(spec: SweepSpec) -> None:
    """Import the sweep's workload, or find its command's program, to know early that it is there.

    Raises:
        InputError: it is not.
    """
    if spec.workload is not None:
        load_workload(spec)
    else:
        _check_program(spec)


def load_workload(spec: SweepSpec) -> Callable[..., Any]:
    """Import the function or class that the sweep's ``workload`` names.

    Raises:
        InputError: as ``find_workload``.
    """
    return find_workload(spec)[0]


def find_workload(spec: SweepSpec) -> tuple[Callable[..., Any], Imported]:
    """Import the function or class that the sweep's ``workload`` names. Returns it, and how a worker gets it.

    Raises:
        InputError: as ``find_function``.
    """
    if spec.workload is None:
        raise ValueError("the sweep runs a command, it has no workload")
    return find_function(spec, spec.workload, ("workload",))


def find_function(spec: SweepSpec, named: str, key: KeyPath) -> tuple[Callable[..., Any], Imported]:
    """Import a function or class that a sweep names. Returns it, and how another process gets it.

    Modules are searched for in ``working_dir``, then the file's folder, then where Python looks anyway. A file is
    imported under its own name, as a program beside it would do it, once per process. The folders are put on
    ``sys.path`` and stay there, for what the code imports later.

    Args:
        spec: the sweep.
        named: ``module:attr`` or ``path.py:attr``.
        key: where the sweep names it.

    Raises:
        InputError: no such file, module or attribute, its import fails, its name is taken, or it cannot be called.
    """
    where, _, attribute = named.rpartition(":")
    module = _module_of_file(spec, Path(where), key) if where.endswith(".py") else _module_of_name(spec, where, key)
    found: Any = module.load()
    for name in attribute.split("."):
        if not hasattr(found, name):
            hint = did_you_mean(name, (n for n in dir(found) if not n.startswith("_")), most=3, looked_at=5000)
            raise spec.document.error(f"{where} has no {name}{hint}", key)
        found = getattr(found, name)
    if not callable(found):
        raise spec.document.error(f"{named} is a {type(found).__name__}, not a function or a class", key)
    return found, replace(module, attribute=attribute)


def render_command(command: Sequence[str], values: Mapping[str, object]) -> list[str]:
    """Fill the values into a command's arguments; ``{{`` and ``}}`` become braces.

    Texts go in as they are, everything else as JSON (``true``, ``0.001``, ``[1, 2]``). An argument that names a
    parameter which the configuration does not have is left out.

    Args:
        command: the program and its arguments.
        values: the configuration; ``{optimizer.lr}`` is what it holds at ``optimizer`` under ``lr``.

    Raises:
        ValueError: braces that do not match, or a placeholder that is not a plain name.
    """
    return [text for argument in command if (text := _render(argument, values)) is not None]


def placeholders(argument: str) -> list[str]:
    """The names in braces of one argument.

    Raises:
        ValueError: braces that do not match, or a placeholder that is not a plain name.
    """
    return [name for _, name in _parts(argument) if name is not None]


def _parts(argument: str) -> Iterator[tuple[str, str | None]]:
    """Text, and the name that follows it."""
    for text, name, form, conversion in string.Formatter().parse(argument):
        first, *others = ("",) if name is None else name.split(".")
        if name is not None and (
            not first.isidentifier() or not all(NESTED_NAME.fullmatch(each) for each in others) or form or conversion
        ):
            raise ValueError("a placeholder is a plain {name}; write {{ and }} for braces")
        yield text, name


def _render(argument: str, values: Mapping[str, object]) -> str | None:
    found = []
    for text, name in _parts(argument):
        found.append(text)
        if name is not None:
            try:
                value = _at(values, name)
            except (LookupError, TypeError):  # it does not exist, or what should hold it does not
                return None
            found.append(value if isinstance(value, str) else json.dumps(value))
    return "".join(found)


def _at(values: Any, name: str) -> Any:
    for key in name.split("."):
        values = values[int(key) if isinstance(values, list) and key.isdecimal() else key]
    return values


def _module_of_name(spec: SweepSpec, name: str, key: KeyPath) -> Imported:
    folders = [str(spec.folder)]
    if spec.working_dir is not None and "://" not in spec.working_dir:
        folders.insert(0, spec.working_dir)
    module = Imported(name, "", tuple(dict.fromkeys(folders)))
    try:
        module.load()
    except ModuleNotFoundError as error:
        # A module that the workload itself needs is another problem than a workload that is not there.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _import_failed(spec, name, error, key) from error
        problem = f"there is no module {error.name} (looked in {spec.folder} and among the installed packages)"
        raise spec.document.error(problem, key) from None
    except (Exception, SystemExit) as error:
        raise _import_failed(spec, name, error, key) from error
    return module


def _module_of_file(spec: SweepSpec, path: Path, key: KeyPath) -> Imported:
    if not is_file(path):
        raise spec.document.error(f"there is no file {path}", key)
    try:
        module = Imported.of_file(path, "")
        module.load()
    except NameTaken as error:
        raise spec.document.error(str(error), key) from None
    except (Exception, SystemExit) as error:
        raise _import_failed(spec, path.name, error, key) from error
    return module


def _import_failed(spec: SweepSpec, name: str, error: BaseException, key: KeyPath) -> Exception:
    last_line = f"{type(error).__name__}: {error}".strip().splitlines()[-1]
    return spec.document.error(f"importing {name} failed: {last_line}", key)


def _check_program(spec: SweepSpec) -> None:
    if not spec.command or placeholders(spec.command[0]):
        return  # it is known when a trial starts
    [program] = render_command(spec.command[:1], {})
    if "/" in program:
        path = Path(spec.working_dir or spec.folder) / program
        if not is_file(path):
            raise spec.document.error(f"there is no program {path}", ("command", 0))
        if not os.access(path, os.X_OK):
            raise spec.document.error(f"{path} may not be executed (chmod +x makes it so)", ("command", 0))
    elif shutil.which(program, path=spec.environment.get("PATH")) is None:
        problem = f"there is no program {program} on the PATH (write ./{program} for one in the working folder)"
        raise spec.document.error(problem, ("command", 0))
