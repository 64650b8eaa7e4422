"""The JSON Schemas of all answers, made of their shapes: of models, and of the values that reports are made of.

What a field means is said once, under ``Attributes`` in the docstring of its class.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from energysweep.cli import shapes_of_runs, shapes_of_summary, shapes_of_sweeps, shapes_of_trials
from energysweep.cli.answering import VERSIONS
from energysweep.cli.shapes import Answer
from energysweep.core.jsontext import json_text

_SHAPES: Final[Mapping[str, Any]] = {
    "account": shapes_of_runs.AccountAnswer,
    "compare": shapes_of_runs.CompareAnswer,
    "doctor": shapes_of_sweeps.DoctorAnswer,
    "explain": shapes_of_trials.ExplainedTrial | shapes_of_trials.ExplainedRun,
    "list": shapes_of_runs.ListAnswer,
    "plan": shapes_of_sweeps.PlanAnswer,
    "rehearse": shapes_of_sweeps.RehearseAnswer,
    "report": shapes_of_runs.ReportAnswer,
    "summary": shapes_of_summary.SummaryAnswer,
    "validate": shapes_of_sweeps.ValidateAnswer,
}


_WORDS: Final = {"None": "null", "True": "true", "False": "false"}


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of an answer.

    Args:
        name: of ``VERSIONS``.
    """
    made = TypeAdapter(_SHAPES[name]).json_schema(schema_generator=_Closed, mode="serialization")
    what = "summary.json of a run" if name == "summary" else f"energysweep {name} --json"
    title = f"{what}, schema version {VERSIONS[name]}"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **made}


def schema_text(name: str) -> str:
    """The same as a file."""
    return json_text(schema(name)) + "\n"


def write(folder: Path) -> None:
    """Write all of them into a folder, as ``make docs`` does."""
    folder.mkdir(exist_ok=True)
    for name in VERSIONS:
        (folder / f"{name}.json").write_text(schema_text(name), encoding="utf-8")


class _Closed(GenerateJsonSchema):
    """Objects have all the fields of their class, and no others; each says what its class's docstring does."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        return _closed(schema["cls"], super().model_schema(schema))

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        return _closed(schema["cls"], super().dataclass_schema(schema))


def _closed(cls: type, made: JsonSchemaValue) -> JsonSchemaValue:
    about, fields = _said(cls)
    properties = made.get("properties", {})
    for name, text in fields.items():
        if name in properties:
            properties[name]["description"] = text[:1].upper() + text[1:]
    if issubclass(cls, Answer):
        properties["schema_version"] = {
            "const": VERSIONS[cls.answer_of],
            "description": "It is raised when a field goes or means another thing.",
        }
    made.pop("title", None)
    return {**made, "description": about, "required": list(properties), "additionalProperties": False}


def _said(cls: type) -> tuple[str, dict[str, str]]:
    """What a class's docstring says of it, and what that and its bases' say of each attribute."""
    found: dict[str, str] = {}
    about = ""
    for each in reversed(cls.__mro__):
        about, _, rest = inspect.cleandoc(each.__doc__ or "").partition("\nAttributes:\n")
        names: list[str] = []
        for line in rest.splitlines():
            if (entry := re.fullmatch(r" {4}(\w+(?:, \w+)*): (.+)", line)) is not None:
                names = entry[1].split(", ")
                found |= dict.fromkeys(names, _plain(entry[2]))
            elif line.strip():
                found |= {name: f"{found[name]} {_plain(line)}" for name in names}
    return _plain(" ".join(about.split())), found


def _plain(text: str) -> str:
    """In the words of JSON, and without the marks of code that a docstring has."""
    text = text.strip().replace("``", "`").replace("\\|", "|")
    return re.sub(r"\b(None|True|False)\b", lambda word: _WORDS[word[0]], text)
