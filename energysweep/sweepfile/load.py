"""From a file to a checked ``SweepSpec``; every mistake in it becomes a line that says where and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from energysweep.core.errors import InputError, one_line
from energysweep.core.inputs import checked_path, read_text
from energysweep.meters.kinds import trace_path, with_trace
from energysweep.sweepfile.checks import check
from energysweep.sweepfile.distributions import DISTRIBUTIONS, Model
from energysweep.sweepfile.foreign import ELSEWHERE, TUNES_KEYS
from energysweep.sweepfile.model import (
    Budget,
    Carbon,
    Constraint,
    Hardware,
    Objective,
    Price,
    Results,
    Scheduler,
    Search,
    Stage,
    SweepSpec,
)
from energysweep.sweepfile.parameters import TAGS
from energysweep.sweepfile.stages import with_absolute_origins
from energysweep.sweepfile.trackers import (
    TRACKERS,
    Trackers,
    check_named,
    secret_key,
    with_absolute_file,
    without_secrets,
)
from energysweep.sweepfile.yaml import (
    MAX_DEPTH,
    Document,
    KeyPath,
    Problem,
    did_you_mean,
    key_text,
    read_document,
    shown,
)

# pydantic's errors in our own words ----------------------------------------------------------------------------------

_MODELS: dict[KeyPath, type[BaseModel]] = {
    (): SweepSpec,
    ("objective",): Objective,
    ("results",): Results,
    ("search",): Search,
    ("search", "constraints", "*"): Constraint,
    ("scheduler",): Scheduler,
    ("hardware", "*"): Hardware,
    ("stages", "*"): Stage,
    ("stages", "*", "objective"): Objective,
    ("carbon",): Carbon,
    ("budget",): Budget,
    ("price",): Price,
    ("trackers",): Trackers,
    **{("trackers", name): kind.model for name, kind in TRACKERS.items()},
}
_MAX_DETAILS = 100
_LISTS, _MAPPINGS = "be a list", "be a mapping"
_RULES = {  # by pydantic's type of error; completed from its context
    "bool_type": "be true or false",
    "dict_type": _MAPPINGS,
    "finite_number": "be a finite number",
    "float_type": "be a number",
    "greater_than": "be above {gt:g}",
    "greater_than_equal": "be at least {ge:g}",
    "int_from_float": "be a whole number",
    "int_type": "be a whole number",
    "is_instance_of": _LISTS,
    "less_than_equal": "be at most {le:g}",
    "list_type": _LISTS,
    "literal_error": "be one of {expected}",
    "mapping_type": _MAPPINGS,
    "model_attributes_type": _MAPPINGS,
    "model_type": _MAPPINGS,
    "sequence_str": _LISTS,
    "sequence_type": _LISTS,
    "string_pattern_mismatch": "be 1 to 60 letters, digits, dots, dashes or underscores, a letter or digit first",
    "string_too_short": "not be empty",
    "string_type": "be text",
    "too_long": "be {shape}",
    "too_short": "not be empty",
    "tuple_type": "be a list {shape}",
}


def _problems_from(error: ValidationError) -> list[Problem]:
    """pydantic's errors as problems of the file; of thousands, the first ones."""
    details = error.errors(include_url=False)
    # One at each place: a union tells once for each of its members.
    return list(dict.fromkeys(_problem(detail) for detail in details[:_MAX_DETAILS]))


def _problem(detail: ErrorDetails) -> Problem:
    path = _key_path(detail["loc"])
    match detail["type"]:
        case "missing":
            return _missing(path)
        case "extra_forbidden":
            return Problem(path, _unknown_key(path))
        case kind if kind in _RULES:
            return Problem(path, _must(kind, detail))
        case _:
            return Problem(path, detail["msg"])


def _key_path(location: KeyPath) -> KeyPath:
    """The location without what pydantic adds: the tag of a union's member, and [key] for an error of a key itself."""
    in_parameters = "parameters" in (location[:1], location[2:3])[location[:1] == ("stages",)]
    if in_parameters or location[:2] == ("scheduler", "hyperparam_mutations"):
        location = tuple(key for key in location if key not in TAGS)
    return location[:-1] if len(location) > 1 and location[-1] == "[key]" else location


def _must(kind: str, detail: ErrorDetails) -> str:
    context = {**detail.get("ctx", {}), "shape": _shape(_key_path(detail["loc"]))}
    given = detail["input"]
    told = without_secrets(shown(given)) if detail["loc"][:1] == ("trackers",) else shown(given)
    text = f"must {_RULES[kind].format_map(context)}, not {told}"
    if kind == "string_type" and isinstance(given, int | float):
        text += f'; write "{shown(given)}" in quotes'
    if kind == "literal_error":
        text += did_you_mean(str(given)[:100], str(context["expected"]).replace("'", " ").split())
    return text


def _shape(path: KeyPath) -> str:
    """How the distribution at a key is written."""
    if path[-1:] == ("perturbation_factors",):
        return "[factor, other factor]"
    found = DISTRIBUTIONS.get(str(path[-1])) if path else None
    return found.shape if found else "[low, high]"


def _missing(path: KeyPath) -> Problem:
    if path and isinstance(path[-1], int):  # [low, high] of one number
        return Problem(path[:-1], f"must be {_shape(path[:-1])}")
    description = _model_at(path[:-1]).model_fields[str(path[-1])].description or ""
    return Problem(path, f"is missing ({description.rstrip('.')})")


def _unknown_key(path: KeyPath) -> str:
    allowed = sorted(_model_at(path[:-1]).model_fields)
    hint = did_you_mean(str(path[-1]), allowed)
    if path[:1] == ("scheduler",) and path[-1] in TUNES_KEYS:
        hint = f"; {TUNES_KEYS[str(path[-1])]}"
    if (why := secret_key(path)) is not None:
        return f"{why} (allowed: {', '.join(allowed) or 'none'})"
    if len(path) == 1 and path[0] in ELSEWHERE:
        hint = f"; {ELSEWHERE[str(path[0])]}"
    return f"unknown key{hint} (allowed: {', '.join(allowed) or 'none'})"


def _model_at(path: KeyPath) -> type[BaseModel]:
    for above in (("hardware",), ("stages",), ("search", "constraints")):  # what is below has names of the user's
        if path[: len(above)] == above and len(path) > len(above):
            path = (*above, "*", *path[len(above) + 1 :])
    return _MODELS[path]


# ``--set key.path=value``: change a sweep without editing its file ---------------------------------------------------

_SHOWN_CHARACTERS = 200  # of an option in a message


def override(document: Document, options: Sequence[str]) -> Document:
    """The document with each ``key.path=value`` set, in order.

    The value is YAML (``1e-3`` is a number, ``[1, 2]`` a list). Mappings on the way are made if they are missing; an
    item of a list is named by its number. A key that holds a dot itself can only be set with the mapping it stands in.

    Raises:
        InputError: an option that is not of this form, or a path that leads through a plain value.
    """
    value, set_by = document.value, dict(document.overrides)
    for option in options:
        name = f"--set {one_line(without_secrets(option), _SHOWN_CHARACTERS)}"
        left, equals, text = option.partition("=")
        keys = left.strip().split(".")
        if not equals or not all(keys):
            raise InputError("write it as key.path=value", file=name)
        if len(keys) > MAX_DEPTH:
            raise InputError(f"the key is nested too deeply (more than {MAX_DEPTH} levels)", file=name)
        if not left.isprintable():
            raise InputError("the key holds a character that cannot be printed", file=name)
        value = _with(value, keys, read_document(text, name).value, 0, name)
        set_by[_path_in(value, keys)] = name
    return replace(document, value=value, overrides=set_by)


def _with(old: Any, keys: Sequence[str], new: Any, depth: int, name: str) -> Any:
    """``old`` with ``new`` at the rest of the keys, as a new value."""
    if depth == len(keys):
        return new
    key, here = keys[depth], key_text(tuple(keys[:depth]))
    if isinstance(old, list):
        if not re.fullmatch(r"[0-9]{1,9}", key) or int(key) >= len(old):
            allowed = f"0 to {len(old) - 1}" if old else "none, it is empty"
            raise InputError(f"is a list; its items are {allowed}", file=name, key=here)
        index = int(key)
        return [*old[:index], _with(old[index], keys, new, depth + 1, name), *old[index + 1 :]]
    if old is None:
        old = {}
    if not isinstance(old, dict):
        raise InputError(f"holds the plain value {one_line(repr(old), 60)}, no keys", file=name, key=here)
    return {**old, key: _with(old.get(key), keys, new, depth + 1, name)}


def _path_in(value: Any, keys: Sequence[str]) -> KeyPath:
    path: list[str | int] = []
    for key in keys:
        path.append(int(key) if isinstance(value, list) else key)
        value = value[path[-1]]
    return tuple(path)


# Load ----------------------------------------------------------------------------------------------------------------

MAX_BYTES = 1_000_000
MAX_PROBLEMS = 10  # that are listed
MAX_COLLECTED = 50  # that are looked for


def load_spec(path: str | Path, overrides: Sequence[str] = ()) -> SweepSpec:
    """Read and check a sweep YAML. Imports nothing that it names (``check_workload`` does).

    Args:
        path: the file. Relative paths inside it start from its folder.
        overrides: ``key.path=value`` each, as after ``--set``; the value is YAML.

    Raises:
        InputError: the file cannot be read or is wrong somewhere; the message lists up to ten problems by line.
    """
    path = Path(path)
    document = override(read_document(read_text(path, MAX_BYTES, "a sweep YAML"), str(path)), overrides)
    _check_texts(document, document.value, ())
    if document.value is None:
        raise document.error("is empty; a sweep needs at least name, objective, and workload or command")
    if not isinstance(document.value, dict):
        raise document.error("must be a mapping of keys such as name and parameters")
    try:
        spec = SweepSpec.model_validate(document.value)
    except ValidationError as error:
        raise _all_in_one(document, _problems_from(error)) from None
    source = path.resolve()
    spec._document, spec._source = document, source  # noqa: SLF001  private to users, set here once
    spec = _with_absolute_paths(spec, source.parent)
    # Each is found as it is asked for: of a file with thousands, the first are enough to work on.
    problems = list(islice(check(spec), MAX_COLLECTED))
    if problems:
        raise _all_in_one(document, problems)
    return spec


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a sweep YAML, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **SweepSpec.model_json_schema()}


def _check_texts(document: Document, value: Any, path: KeyPath) -> None:
    """No file name, environment variable or argument of a program can hold a null character; so no text here does."""
    if isinstance(value, dict):
        for key, item in value.items():
            _check_texts(document, key, path)
            _check_texts(document, item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_texts(document, item, (*path, index))
    elif isinstance(value, str) and "\0" in value:
        raise document.error("holds a null character, which no text of a sweep may", path)


def _with_absolute_paths(spec: SweepSpec, folder: Path) -> SweepSpec:
    """The same sweep with its paths spelled out: later it may be read in another folder."""

    def absolute(text: str, *key: str | int) -> str:
        try:
            return str((folder / checked_path(text)).resolve())
        except ValueError as error:
            raise spec.document.error(str(error), key) from None

    def absolute_meter(meter: str, index: int) -> str:
        trace = trace_path(meter)
        return meter if trace is None else with_trace(meter, absolute(trace, "meters", index))

    changes: dict[str, Any] = {"meters": [absolute_meter(meter, index) for index, meter in enumerate(spec.meters)]}
    for key, named in (("workload", spec.workload), ("space", spec.space)):
        where, colon, attribute = (named or "").rpartition(":")
        if where.endswith(".py"):
            changes[key] = absolute(where, key) + colon + attribute
    changes["parameters"] = with_absolute_origins(spec, spec.parameters, ("parameters",), folder)
    if spec.stages:
        changes["stages"] = {
            name: stage.model_copy(
                update={
                    "parameters": with_absolute_origins(spec, stage.parameters, ("stages", name, "parameters"), folder)
                }
            )
            for name, stage in spec.stages.items()
        }
    for key, value in (("storage", spec.storage), ("working_dir", spec.working_dir)):
        if value is not None and "://" not in value:
            changes[key] = absolute(value, key)
    if spec.trackers is not None:
        changes["trackers"] = _with_absolute_file(spec.document, spec.trackers, folder)
    return spec.model_copy(update={key: new for key, new in changes.items() if new != getattr(spec, key)})


def _with_absolute_file(document: Document, trackers: Trackers, folder: Path) -> Trackers:
    try:
        return with_absolute_file(trackers, folder)
    except ValueError as error:
        raise document.error(str(error), ("trackers", "mlflow", "tracking_uri")) from None


class _OnlyTrackers(Model):
    trackers: Trackers


def load_trackers(noted: Any, overrides: Sequence[str]) -> Trackers:
    """The trackers of a run that has begun, as its ledger notes them, with what is to be otherwise.

    Args:
        noted: the key ``trackers`` of its sweep, None if it has none.
        overrides: ``trackers.KEY=VALUE`` each, as after ``--set``; relative paths start from the current folder.

    Raises:
        InputError: they are wrong somewhere, or name another key.
    """
    document = override(Document({"trackers": noted or {}}), overrides)
    others = [option for path, option in document.overrides.items() if path[:1] != ("trackers",)]
    if others:
        raise InputError("a run is as it was: only trackers can be others", file=others[0])
    try:
        trackers = _OnlyTrackers.model_validate(document.value).trackers
    except ValidationError as error:
        raise _all_in_one(document, _problems_from(error)) from None
    if problems := [*check_named(trackers)]:
        raise _all_in_one(document, problems)
    return _with_absolute_file(document, trackers, Path.cwd())


def _all_in_one(document: Document, problems: Sequence[Problem]) -> InputError:
    """One error that stands at the first problem and lists the others below it."""

    def line(problem: Problem) -> int:
        return document.place(problem.path)[1] or 0

    ordered = sorted(dict.fromkeys(problems), key=line)
    first, others = ordered[0], ordered[1:]
    more: list[InputError | str] = [document.error(each.text, each.path) for each in others[: MAX_PROBLEMS - 1]]
    if len(problems) >= MAX_COLLECTED:
        more.append("and more")
    elif len(others) >= MAX_PROBLEMS:
        more.append(f"and {len(others) - MAX_PROBLEMS + 1} more")
    return document.error(first.text, first.path, more)
