"""What energysweep says to other programs: JSON that every reader takes."""

from __future__ import annotations

import json
import math
from typing import Any, Final

from energysweep.core.records import readable

_MOST_BITS: Final = 63  # of a whole number; what is longer, many readers round or refuse


def jsonable(value: Any) -> Any:
    """The same in what JSON has.

    NaN and infinity, of which a parameter may be one, become None; lone surrogates and NUL are spelled out; a whole
    number that 64 bits do not hold is a text, and so is what is no value of JSON.
    """
    match value:
        case dict():
            return {readable(str(key)): jsonable(item) for key, item in value.items()}
        case list() | tuple():
            return [jsonable(item) for item in value]
        case float():
            return value if math.isfinite(value) else None
        case int() if value.bit_length() > _MOST_BITS:
            return _digits(value)
        case None | int():  # truth values, too
            return value
    return readable(str(value))


def json_text(value: Any) -> str:
    """One JSON value, in ASCII."""
    return json.dumps(jsonable(value), indent=2, allow_nan=False)


def _digits(number: int) -> str:
    try:
        return str(number)
    except ValueError:  # more digits than Python writes out
        return hex(number)
