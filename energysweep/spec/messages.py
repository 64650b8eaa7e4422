"""pydantic's errors in our own words: what is wrong at which key, and what is allowed there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from energysweep.spec.foreign import ELSEWHERE
from energysweep.spec.model import Budget, Carbon, Hardware, Objective, Results, Scheduler, Search, Stage, SweepSpec
from energysweep.spec.problems import Problem, did_you_mean, shown
from energysweep.spec.yaml import KeyPath

_MODELS: dict[KeyPath, type[BaseModel]] = {
    (): SweepSpec,
    ("objective",): Objective,
    ("results",): Results,
    ("search",): Search,
    ("scheduler",): Scheduler,
    ("hardware", "*"): Hardware,
    ("stages", "*"): Stage,
    ("stages", "*", "objective"): Objective,
    ("carbon",): Carbon,
    ("budget",): Budget,
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
    "too_long": "be [low, high]",
    "too_short": "not be empty",
    "tuple_type": "be a list [low, high]",
}


def problems_from(error: ValidationError) -> list[Problem]:
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
    for depth in (0, 2):  # the sweep's parameters, and a stage's
        if location[depth : depth + 1] == ("parameters",) and (depth == 0 or location[0] == "stages"):
            location = (*location[: depth + 2], *location[depth + 3 :])
    return location[:-1] if len(location) > 1 and location[-1] == "[key]" else location


def _must(kind: str, detail: ErrorDetails) -> str:
    context: Mapping[str, Any] = detail.get("ctx", {})
    given = detail["input"]
    text = f"must {_RULES[kind].format_map(context)}, not {shown(given)}"
    if kind == "string_type" and isinstance(given, int | float):
        text += f'; write "{shown(given)}" in quotes'
    if kind == "literal_error":
        text += did_you_mean(str(given)[:100], str(context["expected"]).replace("'", " ").split())
    return text


def _missing(path: KeyPath) -> Problem:
    if path and isinstance(path[-1], int):  # [low, high] of one number
        return Problem(path[:-1], "must be [low, high]")
    description = _model_at(path[:-1]).model_fields[str(path[-1])].description or ""
    return Problem(path, f"is missing ({description.rstrip('.')})")


def _unknown_key(path: KeyPath) -> str:
    allowed = sorted(_model_at(path[:-1]).model_fields)
    hint = did_you_mean(str(path[-1]), allowed)
    if len(path) == 1 and path[0] in ELSEWHERE:
        hint = f"; {ELSEWHERE[str(path[0])]}"
    return f"unknown key{hint} (allowed: {', '.join(allowed)})"


def _model_at(path: KeyPath) -> type[BaseModel]:
    named = path[:1] in (("hardware",), ("stages",))  # by names of the user's
    return _MODELS[(path[0], "*", *path[2:]) if named else path]
