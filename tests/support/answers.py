"""What commands answer with ``--json``, held to their schemas."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from energysweep.cli import main
from energysweep.cli.answering import VERSIONS
from energysweep.cli.schemas import schema
from energysweep.core.jsontext import json_text


@functools.cache
def _validator(name: str) -> Draft202012Validator:
    made = schema(name)
    Draft202012Validator.check_schema(made)
    return Draft202012Validator(made)


def held(name: str, text: str) -> dict[str, Any]:
    """An answer as it was printed, read as strictly as any program may: one object, in UTF-8, of its schema."""

    def no_number(word: str) -> float:
        raise AssertionError(f"{word} is no JSON")

    said: dict[str, Any] = json.loads(text.encode(), parse_constant=no_number)
    text.encode("ascii")
    json.dumps(said, ensure_ascii=False).encode()  # no half of a character
    assert [f"{error.json_path}: {error.message[:300]}" for error in _validator(name).iter_errors(said)] == []
    return said


def checked(name: str, said: dict[str, Any]) -> dict[str, Any]:
    """What an answer is made of, as it is printed."""
    return held(name, json_text({"schema_version": VERSIONS[name], **said}))


def answer(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> dict[str, Any]:
    """What a command answers."""
    capsys.readouterr()
    assert main([*map(str, arguments), "--json"]) == code
    return held(str(arguments[0]), capsys.readouterr().out)
