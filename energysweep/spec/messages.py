"""pydantic's errors in our own words: what is wrong at which key, and what is allowed there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from energysweep.spec.model import Budget, Carbon, Hardware, Objective, Scheduler, Search, Stage, SweepSpec
from energysweep.spec.problems import Problem
from energysweep.spec.yaml import KeyPath

_MODELS: dict[KeyPath, type[BaseModel]] = {
    (): SweepSpec,
    ("objective",): Objective,
    ("search",): Search,
    ("scheduler",): Scheduler,
    ("hardware", "*"): Hardware,
    ("stages", "*"): Stage,
    ("stages", "*", "objective"): Objective,
    ("carbon",): Carbon,
    ("budget",): Budget,
}
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


def problem_from(detail: ErrorDetails) -> Problem:
    """One of ``ValidationError.errors()`` as a problem of the file."""
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
    text = f"must {_RULES[kind].format_map(context)}, not {_shown(given)}"
    if kind == "string_type" and isinstance(given, int | float):
        text += f'; write "{_shown(given)}" in quotes'
    if kind == "literal_error":
        near = get_close_matches(str(given), str(context["expected"]).replace("'", " ").split(), n=1)
        text += f"; did you mean {near[0]}?" if near else ""
    return text


def _missing(path: KeyPath) -> Problem:
    if path and isinstance(path[-1], int):  # [low, high] of one number
        return Problem(path[:-1], "must be [low, high]")
    description = _model_at(path[:-1]).model_fields[str(path[-1])].description or ""
    return Problem(path, f"is missing ({description.rstrip('.')})")


def _unknown_key(path: KeyPath) -> str:
    allowed = sorted(_model_at(path[:-1]).model_fields)
    near = get_close_matches(str(path[-1]), allowed, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"unknown key{hint} (allowed: {', '.join(allowed)})"


def _model_at(path: KeyPath) -> type[BaseModel]:
    named = path[:1] in (("hardware",), ("stages",))  # by names of the user's
    return _MODELS[(path[0], "*", *path[2:]) if named else path]


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
