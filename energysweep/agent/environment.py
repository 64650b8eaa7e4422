"""What environment variables say to agents, and to who starts them."""

from __future__ import annotations

import os

from energysweep.errors import InputError
from energysweep.inputs import seconds


def seconds_of(variable: str, default: float) -> float:
    """A duration that an environment variable may give.

    Raises:
        InputError: it is no number of seconds.
    """
    try:
        return seconds(os.environ.get(variable) or str(default))
    except ValueError as error:
        raise InputError(str(error), key=variable) from None
