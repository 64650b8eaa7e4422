"""From a file to a checked ``SweepSpec``; every mistake in it becomes a line that says where and what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from energysweep.errors import InputError
from energysweep.inputs import checked_path, read_text
from energysweep.spec.checks import check
from energysweep.spec.messages import problems_from
from energysweep.spec.model import SweepSpec
from energysweep.spec.overrides import override
from energysweep.spec.problems import Problem
from energysweep.spec.stages import with_absolute_origins
from energysweep.spec.yaml import Document, KeyPath, read_document

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
        raise _all_in_one(document, problems_from(error)) from None
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
        kind, colon, rest = meter.partition(":")
        trace, mark, query = rest.partition("?")
        is_path = colon and kind == "replay" and trace
        return f"{kind}:{absolute(trace, 'meters', index)}{mark}{query}" if is_path else meter

    changes: dict[str, Any] = {"meters": [absolute_meter(meter, index) for index, meter in enumerate(spec.meters)]}
    if spec.workload is not None:
        where, colon, attribute = spec.workload.rpartition(":")
        if where.endswith(".py"):
            changes["workload"] = absolute(where, "workload") + colon + attribute
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
    return spec.model_copy(update={key: new for key, new in changes.items() if new != getattr(spec, key)})


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
