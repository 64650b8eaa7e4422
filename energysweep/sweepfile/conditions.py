"""What may be wrong with the conditions of parameters: ``{when: {optimizer.name: sgd}, uniform: [0.5, 0.99]}``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from energysweep.core.errors import one_line
from energysweep.core.naming import exact_text
from energysweep.sweepfile.distributions import Distribution, Grid
from energysweep.sweepfile.leaves import Circle, Condition, Leaf, Space, leaves
from energysweep.sweepfile.yaml import KeyPath, Problem, did_you_mean, listed, quoted, shown


def check_conditions(parameters: Mapping[str, Any]) -> Iterator[Problem]:
    """Conditions on what does not exist, or never has these values, or on one another."""
    found = leaves(parameters)
    by_name = {leaf.name: leaf for leaf in found}
    if len(by_name) < len(found):  # a name has a dot itself
        twice = next(leaf for leaf in found if by_name[leaf.name] is not leaf)
        yield Problem(("parameters", *twice.path), f"two parameters have the name {one_line(twice.name, 200)}")
        return
    conditions = {id(each.values): each for leaf in found for each in leaf.conditions}  # a mapping's is of all it holds
    asked: dict[str, list[tuple[KeyPath, Any]]] = {}
    for condition in conditions.values():
        for name in condition.values:
            path = ("parameters", *condition.path, name)
            if name not in by_name:
                yield Problem(path, _unknown(name, by_name))
            elif not condition.allowed(name):
                yield Problem(path, "must be a value, or a list of some")
            else:
                asked.setdefault(name, []).extend((path, value) for value in condition.allowed(name))
    for name, pairs in asked.items():
        yield from _check_values(name, by_name[name].value, pairs)
    for leaf in [leaf for leaf in found if isinstance(leaf.value, Grid)]:
        for condition in leaf.conditions:
            yield from _check_grid(condition, by_name)
    try:
        Space(found)
    except Circle as error:
        first = by_name[error.names[0]].conditions[0].path
        names = one_line(", ".join(error.names), 200)
        yield Problem(("parameters", *first), f"each of these exists only where another one does: {names}")


def _unknown(name: str, by_name: Mapping[str, Leaf]) -> str:
    if any(each.startswith(f"{name}.") for each in by_name):
        return f"{quoted(name)} holds several parameters: name one, as in {listed(by_name)}"
    return f"{quoted(name)} is no parameter{did_you_mean(name, by_name)} (there are: {listed(by_name)})"


def _check_values(name: str, parameter: Any, asked: Sequence[tuple[KeyPath, Any]]) -> Iterator[Problem]:
    """Of a parameter, all values that conditions ask for, with their places."""
    never = _never(parameter, [value for _, value in asked])
    if never is None:
        problem = f"{name} is a number from a range: a condition is on one with values to choose from"
        yield from (Problem(path, problem) for path in dict.fromkeys(path for path, _ in asked))
        return
    texts = set(map(exact_text, never))
    for path, value in asked:
        if exact_text(value) in texts:
            yield Problem(path, f"{name} is never {shown(value)}: it is {_values(parameter)}")


def _never(parameter: Any, values: Sequence[Any]) -> Sequence[Any] | None:
    """Those of the values that the parameter does not have."""
    if isinstance(parameter, Distribution):
        return parameter.never(values)
    own = exact_text(parameter)
    return [value for value in values if exact_text(value) != own]


def _values(parameter: Any) -> str:
    given = parameter.given if isinstance(parameter, Distribution) else parameter
    key = f"{parameter.key()} " if isinstance(parameter, Distribution) else ""
    return f"{key}{shown(given)}"


def _check_grid(condition: Condition, by_name: Mapping[str, Leaf]) -> Iterator[Problem]:
    """All values of a grid are tried: with what was drawn, it would be of no certain number of trials."""
    for name in condition.values:
        other = by_name.get(name)
        if other is not None and isinstance(other.value, Distribution) and other.value.draws:
            problem = f"{name} is drawn, and a grid is tried whole: draw with choice instead of this grid"
            yield Problem(("parameters", *condition.path, name), problem)
