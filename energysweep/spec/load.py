"""From a file to a checked ``SweepSpec``; every mistake in it becomes a line that says where and what is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from energysweep.errors import InputError
from energysweep.spec.checks import check
from energysweep.spec.messages import problem_from
from energysweep.spec.model import SweepSpec
from energysweep.spec.overrides import override
from energysweep.spec.problems import Problem
from energysweep.spec.stages import with_absolute_origins
from energysweep.spec.yaml import Document, read_document

MAX_BYTES = 1_000_000
MAX_PROBLEMS = 10


def load_spec(path: str | Path, overrides: Sequence[str] = ()) -> SweepSpec:
    """Read and check a sweep YAML. Imports nothing that it names (``check_workload`` does).

    Args:
        path: the file. Relative paths inside it start from its folder.
        overrides: ``key.path=value`` each, as after ``--set``; the value is YAML.

    Raises:
        InputError: the file cannot be read or is wrong somewhere; the message lists up to ten problems by line.
    """
    document = override(read_document(_read_text(Path(path)), str(path)), overrides)
    if document.value is None:
        raise document.error("is empty; a sweep needs at least name, objective, and workload or command")
    if not isinstance(document.value, dict):
        raise document.error("must be a mapping of keys such as name and parameters")
    try:
        spec = SweepSpec.model_validate(document.value)
    except ValidationError as error:
        raise _all_in_one(document, [problem_from(detail) for detail in error.errors(include_url=False)]) from None
    source = Path(path).resolve()
    spec = _with_absolute_paths(spec, source.parent)
    spec._document, spec._source = document, source  # noqa: SLF001  private to users, set here once
    problems = list(check(spec))
    if problems:
        raise _all_in_one(document, problems)
    return spec


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a sweep YAML, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **SweepSpec.model_json_schema()}


def _read_text(path: Path) -> str:
    file = str(path)
    try:
        if path.is_dir():
            raise InputError("is a folder, not a sweep YAML", file=file)
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InputError("there is no such file", file=file) from None
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"cannot be read: {reason}", file=file) from None
    if len(data) > MAX_BYTES:
        raise InputError(f"is larger than {MAX_BYTES} bytes; that is no sweep YAML", file=file)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError("is not a text in UTF-8", file=file, line=line) from None


def _with_absolute_paths(spec: SweepSpec, folder: Path) -> SweepSpec:
    """The same sweep with its paths spelled out: later it may be read in another folder."""
    changes: dict[str, Any] = {"meters": [_absolute_meter(meter, folder) for meter in spec.meters]}
    if spec.workload is not None:
        where, colon, attribute = spec.workload.rpartition(":")
        if where.endswith(".py"):
            changes["workload"] = _absolute(where, folder) + colon + attribute
    changes["parameters"] = with_absolute_origins(spec.parameters, spec.stages, folder)
    if spec.stages:
        changes["stages"] = {
            name: stage.model_copy(update={"parameters": with_absolute_origins(stage.parameters, spec.stages, folder)})
            for name, stage in spec.stages.items()
        }
    for key, value in (("storage", spec.storage), ("working_dir", spec.working_dir)):
        if value is not None and "://" not in value:
            changes[key] = _absolute(value, folder)
    return spec.model_copy(update={key: new for key, new in changes.items() if new != getattr(spec, key)})


def _absolute_meter(meter: str, folder: Path) -> str:
    kind, colon, rest = meter.partition(":")
    trace, mark, query = rest.partition("?")
    return f"{kind}:{_absolute(trace, folder)}{mark}{query}" if colon and kind == "replay" and trace else meter


def _absolute(path: str, folder: Path) -> str:
    return str((folder / Path(path).expanduser()).resolve())


def _all_in_one(document: Document, problems: Iterable[Problem]) -> InputError:
    """One error that stands at the first problem and lists the others below it."""

    def line(problem: Problem) -> int:
        return document.place(problem.path)[1] or 0

    ordered = sorted(dict.fromkeys(problems), key=line)
    first, others = ordered[0], ordered[1:]
    more = [f"\n{document.error(problem.text, problem.path)}" for problem in others[: MAX_PROBLEMS - 1]]
    if len(others) >= MAX_PROBLEMS:
        more.append(f"\nand {len(others) - MAX_PROBLEMS + 1} more")
    return document.error(first.text + "".join(more), first.path)
