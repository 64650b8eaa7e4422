"""What is wrong with a sweep, before it becomes an error with a file and a line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice
from typing import Any, NamedTuple

from energysweep.errors import one_line
from energysweep.spec.yaml import KeyPath


class Problem(NamedTuple):
    """What is wrong at one key path, and what is allowed there."""

    path: KeyPath
    text: str


def shown(value: Any, at_most: int = 60) -> str:
    """A value as a message shows it: JSON, or its beginning."""
    if isinstance(value, str):
        value = value[: 2 * at_most]  # a text of a megabyte is not made into one of two
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= at_most else f"{text[: at_most - 3]}..."


def quoted(text: Any) -> str:
    """A text in quotes, or its beginning."""
    return one_line(repr(text), 100)


def did_you_mean(word: str, allowed: Iterable[str], cutoff: float = 0.6, most: int = 1, looked_at: int = 200) -> str:
    """``; did you mean NAME?`` where allowed words are near, else nothing. Of many, the first are looked at."""
    near = get_close_matches(word[:100], list(islice(allowed, looked_at)), n=most, cutoff=cutoff)
    return f"; did you mean {' or '.join(one_line(each, 100) for each in near)}?" if near else ""


def listed(words: Iterable[str]) -> str:
    """Names, with commas between them; of many, the first ones. ``none`` if there are none."""
    first = list(islice(words, 21))
    text = ", ".join(one_line(word, 60) for word in first[:20]) or "none"
    return f"{text}, ..." if len(first) > 20 else text
