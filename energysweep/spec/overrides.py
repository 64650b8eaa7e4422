"""``--set key.path=value``: change a sweep without editing its file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from energysweep.errors import InputError, one_line
from energysweep.spec.yaml import MAX_DEPTH, Document, KeyPath, key_text, read_document

_SHOWN_CHARACTERS = 200  # of an option in a message


def override(document: Document, options: Sequence[str]) -> Document:
    """The document with each ``key.path=value`` set, in order.

    The value is YAML (``1e-3`` is a number, ``[1, 2]`` a list). Mappings on the way are made if they are missing; an
    item of a list is named by its number. A key that holds a dot itself can only be set with the mapping it stands in.

    Raises:
        InputError: an option that is not of this form, or a path that leads through a plain value.
    """
    value, set_by = document.value, dict(document.overrides)
    for option in options:
        name = f"--set {one_line(option, _SHOWN_CHARACTERS)}"
        left, equals, text = option.partition("=")
        keys = left.strip().split(".")
        if not equals or not all(keys):
            raise InputError("write it as key.path=value", file=name)
        if len(keys) > MAX_DEPTH:
            raise InputError(f"the key is nested too deeply (more than {MAX_DEPTH} levels)", file=name)
        if not left.isprintable():
            raise InputError("the key holds a character that cannot be printed", file=name)
        value = _with(value, keys, read_document(text, name).value, 0, name)
        set_by[_path_in(value, keys)] = name
    return replace(document, value=value, overrides=set_by)


def _with(old: Any, keys: Sequence[str], new: Any, depth: int, name: str) -> Any:
    """``old`` with ``new`` at the rest of the keys, as a new value."""
    if depth == len(keys):
        return new
    key, here = keys[depth], key_text(tuple(keys[:depth]))
    if isinstance(old, list):
        if not re.fullmatch(r"[0-9]{1,9}", key) or int(key) >= len(old):
            allowed = f"0 to {len(old) - 1}" if old else "none, it is empty"
            raise InputError(f"is a list; its items are {allowed}", file=name, key=here)
        index = int(key)
        return [*old[:index], _with(old[index], keys, new, depth + 1, name), *old[index + 1 :]]
    if old is None:
        old = {}
    if not isinstance(old, dict):
        raise InputError(f"holds the plain value {one_line(repr(old), 60)}, no keys", file=name, key=here)
    return {**old, key: _with(old.get(key), keys, new, depth + 1, name)}


def _path_in(value: Any, keys: Sequence[str]) -> KeyPath:
    path: list[str | int] = []
    for key in keys:
        path.append(int(key) if isinstance(value, list) else key)
        value = value[path[-1]]
    return tuple(path)
