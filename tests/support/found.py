"""What a test looks for and may not find: then the test fails, instead of going on without it."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Found = TypeVar("_Found")


def there(found: _Found | None) -> _Found:
    """It itself, which is not missing."""
    assert found is not None
    return found


def values_of(found: DataclassInstance | None) -> tuple[Any, ...]:
    """The values of the fields by which two of a dataclass differ, in order: `pytest.approx` takes a tuple."""
    known = there(found)
    return tuple(getattr(known, field.name) for field in fields(known) if field.compare)


def group(pattern: str, text: str, number: int = 1) -> str:
    """What a group of a regular expression matches at the first place in a text; a dot also matches line ends."""
    return str(there(re.search(pattern, text, re.DOTALL))[number])
