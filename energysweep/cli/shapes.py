"""What the shapes of answers have in common; ``cli/schemas.py`` makes their JSON Schemas."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel

# Values as a sweep or a workload has them: any JSON.
Values = dict[str, Any]


class Shape(BaseModel):
    """A JSON object with these fields and no others. Its docstring says what they mean, as the schema does."""


class Answer(Shape):
    """One that is printed, or a file, by itself: that of a command, or of summary.json (``summary``)."""

    answer_of: ClassVar[str]
    schema_version: int
