"""The parameters of a sweep one by one: what is nested in mappings and lists by a dotted name, with its conditions.

A mapping or list that holds a distribution is taken apart: ``optimizer: {name: adam, lr: {loguniform: [1e-4, 1e-1]}}``
makes the parameters ``optimizer.name`` and ``optimizer.lr``. By these names a configuration is kept and shown; the
workload gets it put together again. What holds no distribution is a value, whatever it is.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from energysweep.core.naming import exact_text
from energysweep.sweepfile.distributions import Distribution
from energysweep.sweepfile.parameters import Group, Items, Parameter
from energysweep.sweepfile.yaml import KeyPath

WHEN = "when"
NESTED_NAME = re.compile(r"[\w-]{1,100}")
"""A key inside of a parameter that is taken apart."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Others' values, with which something exists only.

    Attributes:
        path: where it is written, below ``parameters``.
        values: the allowed values by parameter.
    """

    path: KeyPath
    values: Mapping[str, Any]

    def allowed(self, name: str) -> Sequence[Any]:
        """The values of one of the parameters."""
        value = self.values[name]
        return value if isinstance(value, list) else [value]


@dataclass(frozen=True, slots=True)
class Leaf:
    """One parameter.

    Attributes:
        path: where it stands, below ``parameters``.
        value: its distribution, or a constant.
        conditions: all of them must hold; its own, and those of what it stands in.
    """

    path: KeyPath
    value: Any
    conditions: tuple[Condition, ...] = ()

    @property
    def name(self) -> str:
        """``optimizer.lr``, ``layers.0``."""
        return ".".join(map(str, self.path))

    @property
    def varies(self) -> bool:
        """Whether it may differ between configurations."""
        return bool(self.conditions) or (isinstance(self.value, Distribution) and self.value.varies)


def leaves(parameters: Mapping[str, Parameter]) -> list[Leaf]:
    """All of them, in the order of the file."""
    return [leaf for name, value in parameters.items() for leaf in _leaves((name,), value, ())]


def _leaves(path: KeyPath, value: Any, above: tuple[Condition, ...]) -> Iterator[Leaf]:
    own = getattr(value, WHEN, None)
    here = (*above, Condition((*path, WHEN), own)) if own else above
    if isinstance(value, Group):
        for key, item in value.items.items():
            yield from _leaves((*path, key), item, here)
    elif isinstance(value, Items):
        for index, item in enumerate(value.root):
            yield from _leaves((*path, index), item, here)
    else:
        yield Leaf(path, value, here)


def changed(parameter: Any, change: Callable[[Any], Any]) -> Any:
    """A parameter with something else in the place of each constant and distribution that it is, or holds."""
    if isinstance(parameter, Group):
        items = {key: changed(item, change) for key, item in parameter.items.items()}
        return parameter.model_copy(update={"items": items})
    if isinstance(parameter, Items):
        return Items.model_construct([changed(item, change) for item in parameter.root])
    return change(parameter)


def is_nested(value: Any) -> bool:
    """Whether a parameter is taken apart."""
    return isinstance(value, Group | Items)


def together(parameters: Mapping[str, Parameter], values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as the workload gets it: nested as it was written, without what does not exist in it.

    Args:
        parameters: as in the file.
        values: by dotted name.
    """
    found = {name: _together(name, value, values) for name, value in parameters.items()}
    return {name: value for name, value in found.items() if value is not _Missing}


class _Missing:
    """Stands for what does not exist."""


def _together(name: str, value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, Group):
        parts = {key: _together(f"{name}.{key}", item, values) for key, item in value.items.items()}
        found: Any = {key: part for key, part in parts.items() if part is not _Missing}
    elif isinstance(value, Items):
        items = (_together(f"{name}.{index}", item, values) for index, item in enumerate(value.root))
        found = [item for item in items if item is not _Missing]
    else:
        return values.get(name, _Missing)
    return found or _Missing


class Circle(ValueError):
    """Parameters that exist only where one another do.

    Attributes:
        names: the first of them.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(", ".join(names))
        self.names = names


@dataclass
class Space:
    """The parameters of a sweep, and which of them exist together.

    Attributes:
        leaves: in the order of the file.
        ordered: the same, each after those that its conditions are of.

    Raises:
        Circle: none of some parameters can be decided first.
    """

    leaves: Sequence[Leaf]
    ordered: Sequence[Leaf] = field(init=False)
    _needs: dict[str, list[tuple[str, frozenset[str]]]] = field(init=False)

    def __post_init__(self) -> None:
        self._needs = {
            leaf.name: [
                (name, frozenset(map(exact_text, condition.allowed(name))))
                for condition in leaf.conditions
                for name in condition.values
            ]
            for leaf in self.leaves
            if leaf.conditions
        }
        self.ordered = self._in_order() if self._needs else self.leaves

    @property
    def has_conditions(self) -> bool:
        """Whether some parameters exist only in some configurations."""
        return bool(self._needs)

    def exists(self, leaf: Leaf, values: Mapping[str, Any]) -> bool:
        """Whether a parameter does, beside the values of those before it."""
        needs = self._needs.get(leaf.name, ())
        return all(name in values and exact_text(values[name]) in allowed for name, allowed in needs)

    def exists_beside(self, leaf: Leaf, texts: Mapping[str, str]) -> bool:
        """The same, by the exact texts of the values."""
        return all(texts.get(name) in allowed for name, allowed in self._needs.get(leaf.name, ()))

    def existing(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Of values of all parameters those that exist together, in the order of the file."""
        if not self._needs:
            return {leaf.name: values[leaf.name] for leaf in self.leaves}
        found: dict[str, Any] = {}
        for leaf in self.ordered:
            if self.exists(leaf, found):
                found[leaf.name] = values[leaf.name]
        return {leaf.name: found[leaf.name] for leaf in self.leaves if leaf.name in found}

    def _in_order(self) -> list[Leaf]:
        place = {leaf.name: index for index, leaf in enumerate(self.leaves)}
        waits_for = {name: {each for each, _ in needs if each in place} for name, needs in self._needs.items()}
        waiting: dict[str, list[str]] = {}
        for name, others in waits_for.items():
            for each in others:
                waiting.setdefault(each, []).append(name)
        ready = [index for index, leaf in enumerate(self.leaves) if not waits_for.get(leaf.name)]
        heapq.heapify(ready)
        found = []
        while ready:
            leaf = self.leaves[heapq.heappop(ready)]
            found.append(leaf)
            for name in waiting.get(leaf.name, ()):
                waits_for[name].discard(leaf.name)
                if not waits_for[name]:
                    heapq.heappush(ready, place[name])
        if len(found) < len(self.leaves):
            raise Circle([name for name, others in waits_for.items() if others][:5])
        return found
