"""A parameter of the sweep file: a constant, a distribution, or a mapping or list that holds some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, Union

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    RootModel,
    Tag,
    WithJsonSchema,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from energysweep.sweepfile.distributions import DISTRIBUTIONS, Distribution, Model, When
from energysweep.sweepfile.translation import ANY, here
from energysweep.sweepfile.yaml import listed

_FOREIGN = {
    "min",
    "max",
    "low",
    "high",
    "lower",
    "upper",
    "value",
    "values",
    "distribution",
    "range",
    "log",
    "q",
    "step",
}
_WHEN = "when"
_WORDS = frozenset({"normal"})  # of distributions that also are the names of constants: those with a list are meant


class Group(Model):
    """A mapping that holds distributions, or exists only under a condition."""

    model_config = ConfigDict(populate_by_name=True)

    when: When | None = None
    """It exists only where these parameters have these values."""
    items: Mapping[str, Parameter] = Field(alias="<items>")
    """What it holds."""

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "<items>" in value:
            return value  # is one already
        own = {_WHEN} if isinstance(value.get(_WHEN), dict) else set()
        return {**{key: value[key] for key in own}, "<items>": {k: item for k, item in value.items() if k not in own}}

    @model_serializer
    def _write(self) -> dict[str, Any]:
        return {**({} if self.when is None else {_WHEN: self.when}), **self.items}


class Items(RootModel[Sequence["Parameter"]]):
    """A list that holds distributions."""

    model_config = ConfigDict(frozen=True)


def is_written_as_distribution(value: Any) -> bool:
    """Whether a mapping has a key of a distribution, rightly or not."""
    if not isinstance(value, dict):
        return False
    return any(key not in _WORDS or isinstance(value[key], list | tuple) for key in value.keys() & DISTRIBUTIONS.keys())


def _known_distribution(value: Any) -> Any:
    value = _marked(value)
    if not isinstance(value, dict) or isinstance(value, _Mapping) or _is_distribution(value):
        return value
    near = [match for key in islice(value, 10) for match in get_close_matches(key[:30], DISTRIBUTIONS, n=1)]
    near = [match for match in near if match not in _WORDS or isinstance(next(iter(value.values())), list)]
    if value and not near and not is_written_as_distribution(value) and not _looks_like_a_distribution(value):
        return value
    hint = f"; did you mean {near[0]}?" if near and len(value) == 1 else ""
    if not hint and (written := here(value)) != ANY:
        hint = f"; here it is written {written}"
    allowed = ", ".join(DISTRIBUTIONS)
    message = f"has the keys {listed(value) if value else '(none)'}{hint}"
    message += f" (allowed: a constant, or a mapping with exactly one of {allowed}, and when; a constant that looks"
    message += " like one: {grid: [{...}]})"
    # Braces would be taken for fields of the message.
    raise PydanticCustomError("distribution", "{message}", {"message": message})


def _looks_like_a_distribution(value: dict[str, Any]) -> bool:
    """``{values: [1, 2]}``, ``{min: 0, max: 1}``: how other tools write one, and no constant."""
    return (len(value) == 1 and isinstance(next(iter(value.values())), list)) or set(value) <= _FOREIGN


def _is_distribution(value: dict[str, Any]) -> bool:
    keys = value.keys() - {_WHEN}
    return len(keys) == 1 and is_written_as_distribution(value)


class _Mapping(dict[str, Any]):
    """One that is taken apart."""


class _List(list[Any]):
    """One that is taken apart."""


def _marked(value: Any) -> Any:
    """The value, with what holds distributions, or has a condition, made one of these two. Looks at each value once."""
    if isinstance(value, _Mapping | _List) or is_written_as_distribution(value):
        return value
    if isinstance(value, dict):
        items = {key: item if key == _WHEN else _marked(item) for key, item in value.items()}
        is_nested = isinstance(value.get(_WHEN), dict) or any(map(_holds_one, items.values()))
        return _Mapping(items) if is_nested else value
    if isinstance(value, list):
        parts = [_marked(item) for item in value]
        return _List(parts) if any(map(_holds_one, parts)) else value
    return value


def _holds_one(value: Any) -> bool:
    return isinstance(value, _Mapping | _List) or is_written_as_distribution(value)


def _kind(value: Any) -> str:
    if isinstance(value, Distribution):
        return f"<{value.key()}>"
    if isinstance(value, Group | Items):
        return "<mapping>" if isinstance(value, Group) else "<list>"
    if isinstance(value, dict) and _is_distribution(value):
        return f"<{next(key for key in value if key != _WHEN)}>"
    if isinstance(value, _Mapping | _List):
        return "<mapping>" if isinstance(value, _Mapping) else "<list>"
    return "<constant>"


_NOT_IN_THE_SCHEMA = WithJsonSchema(
    {"not": {}}
)  # JSON Schema cannot say "holds a distribution": they pass as constants
_CONSTANT = WithJsonSchema(
    {
        "description": "A constant, or a mapping or list that holds distributions.",
        "anyOf": [
            {"type": ["string", "number", "boolean", "null", "array"]},
            {
                "type": "object",
                "minProperties": 1,
                "propertyNames": {"not": {"enum": list(DISTRIBUTIONS)}},
                "not": {"maxProperties": 1, "additionalProperties": {"type": "array"}},
            },
        ],
    }
)
if TYPE_CHECKING:
    Parameter: TypeAlias = Distribution | Group | Items | JsonValue
else:
    _MEMBERS = [Annotated[kind, Tag(f"<{key}>")] for key, kind in DISTRIBUTIONS.items()]
    _MEMBERS += [
        Annotated[Group, Tag("<mapping>"), _NOT_IN_THE_SCHEMA],
        Annotated[Items, Tag("<list>"), _NOT_IN_THE_SCHEMA],
    ]
    _MEMBERS += [Annotated[JsonValue, Tag("<constant>"), _CONSTANT]]
    Parameter = Annotated[
        Annotated[Union[tuple(_MEMBERS)], Discriminator(_kind)],  # noqa: UP007  of a list
        BeforeValidator(_known_distribution),
    ]
Group.model_rebuild()
Items.model_rebuild()
TAGS = frozenset({*(f"<{key}>" for key in DISTRIBUTIONS), "<mapping>", "<items>", "<list>", "<constant>"})
