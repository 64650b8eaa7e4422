"""Optuna's sampler of a sweep, with its settings by Optuna's own names. Optuna is an extra, imported when it is needed.

Which settings there are, and of which kind, its signature says: so they are those of the Optuna that is installed.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any, Final

from energysweep.core.errors import one_line
from energysweep.core.objective import number
from energysweep.sweepfile.algorithms import SAMPLERS
from energysweep.sweepfile.defined import check_defined
from energysweep.sweepfile.model import SweepSpec
from energysweep.sweepfile.suggesting import LONGEST
from energysweep.sweepfile.yaml import Problem, did_you_mean, listed, shown

# What a sweep file can hold, by the words of a signature.
_KINDS: Final = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "text", "None": "null"}


def check_search(spec: SweepSpec) -> None:
    """Whether this Python has what the sweep's search and scheduler need.

    Raises:
        InputError: a package is not installed, or cannot be imported; or the sampler refuses its settings, or
            the function of its space does what it may not.
    """
    needed = spec.scheduler.kind.package
    if needed is not None and find_spec(needed[0]) is None:
        problem = f"{spec.scheduler.type} needs what is not installed: pip install {needed[1]}"
        raise spec.document.error(problem, ("scheduler", "type"))
    if spec.space is not None:
        check_defined(spec)
    package = spec.search.kind.package
    if package is None:
        return
    try:
        importlib.import_module(package)  # an extra
    except ImportError:
        problem = f"{package} is not installed: pip install 'energysweep[{package}]'"
        raise spec.document.error(problem, ("search", "algorithm")) from None
    sampler = SAMPLERS[spec.search.sampler]
    missing = [each for each in sampler.packages if find_spec(each) is None]
    if missing:
        problem = f"{sampler.name} needs what is not installed: pip install {' '.join(missing)}"
        raise spec.document.error(problem, ("search", "sampler"))
    make_sampler(spec)


def make_sampler(spec: SweepSpec, **also: Any) -> Any:
    """The sampler that the sweep names, with its settings.

    Args:
        spec: a sweep with search.algorithm optuna.
        also: what it is made with beside them.

    Raises:
        InputError: a setting that it does not have, or whose value it refuses.
    """
    row, settings = SAMPLERS[spec.search.sampler], spec.search.sampler_settings
    made_by = getattr(importlib.import_module("optuna.samplers"), row.made_by)
    for problem in _problems(row.name, settings_of(made_by), settings):
        raise spec.document.error(problem.text, problem.path)
    quiet = {"warn_independent_sampling": False} if row.name in ("cmaes", "qmc") else {}
    try:
        with warnings.catch_warnings(action="ignore"):  # some are called experimental, years after they came
            return made_by(seed=spec.search.seed, **{**quiet, **settings}, **also)
    except (ValueError, TypeError, NotImplementedError) as error:
        if not settings:
            raise
        said = f"Optuna refuses them for {row.name}: {one_line(str(error), LONGEST)}"
        raise spec.document.error(said, ("search", "sampler_settings")) from None


def settings_of(sampler: Callable[..., Any]) -> dict[str, list[str]]:
    """The kinds of value of each setting that a sweep file can hold, by its name; ``search.seed`` is none of them."""
    found = {}
    for name, parameter in inspect.signature(sampler).parameters.items():
        words = inspect.formatannotation(parameter.annotation).strip("'").split("|")
        kinds = [word.strip() for word in words]
        if name != "seed" and _KINDS.keys() >= set(kinds):
            found[name] = kinds
    return found


def _problems(sampler: str, known: Mapping[str, list[str]], given: Mapping[str, Any]) -> Iterator[Problem]:
    for name, value in given.items():
        path = ("search", "sampler_settings", name)
        if name not in known:
            there = f"allowed: {listed(known)}" if known else "it has none"
            yield Problem(path, f"is no setting of {sampler}{did_you_mean(name, known)} ({there})")
        elif not any(_is(kind, value) for kind in known[name]):
            kinds = " or ".join(_KINDS[kind] for kind in known[name])
            yield Problem(path, f"must be {kinds}, not {shown(value)}")


def _is(kind: str, value: Any) -> bool:
    match kind:
        case "None":
            return value is None
        case "bool":
            return isinstance(value, bool)
        case "int":
            return isinstance(value, int) and not isinstance(value, bool)
        case "float":
            return number(value) is not None
        case _:
            return isinstance(value, str)
