"""What environment variables say to agents, and to who starts them."""

from __future__ import annotations

import math
import os

from energysweep.errors import InputError


def seconds_of(variable: str, default: float) -> float:
    """A duration that an environment variable may give.

    Raises:
        InputError: it is no number of seconds.
    """
    text = os.environ.get(variable) or str(default)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InputError(f"{text!r} is no number of seconds", key=variable)
    return seconds
