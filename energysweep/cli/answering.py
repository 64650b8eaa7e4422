"""Answers for other programs: one JSON object on standard output, of a shape that has a version and a schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from energysweep.core.jsontext import json_text
from energysweep.core.terminal import say

VERSIONS: Final[Mapping[str, int]] = {
    "account": 1,
    "compare": 1,
    "doctor": 1,
    "explain": 1,
    "list": 1,
    "plan": 1,
    "rehearse": 1,
    "report": 1,
    "summary": 1,
    "validate": 1,
}
"""By what is answered: a command, or the file summary.json. Raise one when a field goes, or means another thing.

``cli/schemas.py`` has their shapes.
"""


def add_json(parser: Any) -> None:
    """The option --json."""
    parser.add_argument(
        "--json", action="store_true", help="One JSON object is printed; energysweep schema says what is in it."
    )


def say_answer(name: str, said: Mapping[str, Any]) -> None:
    """Print an answer: everything that is missing is null, and nothing else is on standard output."""
    say(json_text({"schema_version": VERSIONS[name], **said}))
