"""The code that a sweep trains: import a ``workload``, or fill in a ``command``."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from energysweep.inputs import is_file
from energysweep.spec.imported import Imported, NameTaken
from energysweep.spec.model import SweepSpec
from energysweep.spec.problems import did_you_mean


def check_workload(spec: SweepSpec) -> None:
    """Import the sweep's workload, or find its command's program, to know early that it is there.

    Raises:
        InputError: it is not.
    """
    if spec.workload is not None:
        load_workload(spec)
    else:
        _check_program(spec)


def check_search(spec: SweepSpec) -> None:
    """Whether this Python has what the sweep's search needs.

    Raises:
        InputError: optuna is not installed, or cannot be imported.
    """
    if spec.search.algorithm != "optuna":
        return
    try:
        importlib.import_module("optuna")  # an extra
    except ImportError:
        raise spec.document.error(
            "optuna is not installed: pip install 'energysweep[optuna]'", ("search", "algorithm")
        ) from None


def load_workload(spec: SweepSpec) -> Callable[..., Any]:
    """Import the function or class that the sweep's ``workload`` names.

    Raises:
        InputError: as ``find_workload``.
    """
    return find_workload(spec)[0]


def find_workload(spec: SweepSpec) -> tuple[Callable[..., Any], Imported]:
    """Import the function or class that the sweep's ``workload`` names. Returns it, and how a worker gets it.

    Modules are searched for in ``working_dir``, then the file's folder, then where Python looks anyway. A file is
    imported under its own name, as a program beside it would do it, once per process. The folders are put on
    ``sys.path`` and stay there, for what the code imports later.

    Raises:
        InputError: no such file, module or attribute, its import fails, its name is taken, or it cannot be called.
    """
    if spec.workload is None:
        raise ValueError("the sweep runs a command, it has no workload")
    where, _, attribute = spec.workload.rpartition(":")
    module = _module_of_file(spec, Path(where)) if where.endswith(".py") else _module_of_name(spec, where)
    found: Any = module.load()
    for name in attribute.split("."):
        if not hasattr(found, name):
            hint = did_you_mean(name, (n for n in dir(found) if not n.startswith("_")), most=3, looked_at=5000)
            raise spec.document.error(f"{where} has no {name}{hint}", ("workload",))
        found = getattr(found, name)
    if not callable(found):
        problem = f"{spec.workload} is a {type(found).__name__}, not a function or a class"
        raise spec.document.error(problem, ("workload",))
    return found, replace(module, attribute=attribute)


def render_command(command: Sequence[str], values: Mapping[str, object]) -> list[str]:
    """Fill the values into a command's arguments; ``{{`` and ``}}`` become braces.

    Texts go in as they are, everything else as JSON (``true``, ``0.001``, ``[1, 2]``).

    Raises:
        KeyError: a placeholder without a value.
        ValueError: braces that do not match, or a placeholder that is not a plain name.
    """
    return [_render(argument, values) for argument in command]


def placeholders(argument: str) -> list[str]:
    """The names in braces of one argument.

    Raises:
        ValueError: braces that do not match, or a placeholder that is not a plain name.
    """
    names = []
    for _, name, form, conversion in string.Formatter().parse(argument):
        if name is None:
            continue
        if not name.isidentifier() or form or conversion:
            raise ValueError("a placeholder is a plain {name}; write {{ and }} for braces")
        names.append(name)
    return names


def _render(argument: str, values: Mapping[str, object]) -> str:
    placeholders(argument)  # refuses what format() would understand in its own way
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
    return argument.format_map(texts)


def _module_of_name(spec: SweepSpec, name: str) -> Imported:
    folders = [str(spec.folder)]
    if spec.working_dir is not None and "://" not in spec.working_dir:
        folders.insert(0, spec.working_dir)
    module = Imported(name, "", tuple(dict.fromkeys(folders)))
    try:
        module.load()
    except ModuleNotFoundError as error:
        # A module that the workload itself needs is another problem than a workload that is not there.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _import_failed(spec, name, error) from error
        problem = f"there is no module {error.name} (looked in {spec.folder} and among the installed packages)"
        raise spec.document.error(problem, ("workload",)) from None
    except (Exception, SystemExit) as error:
        raise _import_failed(spec, name, error) from error
    return module


def _module_of_file(spec: SweepSpec, path: Path) -> Imported:
    if not is_file(path):
        raise spec.document.error(f"there is no file {path}", ("workload",))
    try:
        module = Imported.of_file(path, "")
        module.load()
    except NameTaken as error:
        raise spec.document.error(str(error), ("workload",)) from None
    except (Exception, SystemExit) as error:
        raise _import_failed(spec, path.name, error) from error
    return module


def _import_failed(spec: SweepSpec, name: str, error: BaseException) -> Exception:
    last_line = f"{type(error).__name__}: {error}".strip().splitlines()[-1]
    return spec.document.error(f"importing {name} failed: {last_line}", ("workload",))


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
