"""The stages of a sweep: what runs before its configurations, and is gone on from by them.

A stage is a small sweep of one configuration: the sweep's constants, with its own in their place. It runs once for each
repeat and hardware profile, and the trials of the same repeat and profile go on from its last checkpoint.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from energysweep.core.inputs import checked_path, is_folder, is_there
from energysweep.sweepfile.distributions import Choice, Distribution, Grid
from energysweep.sweepfile.leaves import is_nested
from energysweep.sweepfile.model import Scheduler, Search, SweepSpec
from energysweep.sweepfile.yaml import KeyPath, Problem, did_you_mean, listed, quoted

PRETRAINED = "pretrained"  # the parameter that says what a trial goes on from
FROM = "from"
FREEZE = "freeze_encoder"  # by which the analyses tell frozen uses from others


def stage_spec(spec: SweepSpec, name: str) -> SweepSpec:
    """The sweep that a stage is.

    ``pretrained`` is the only constant that a stage does not take over: it says what its users go on from.
    """
    stage = spec.stages[name]
    constants = {
        key: value
        for key, value in spec.parameters.items()
        if not isinstance(value, Distribution) and not is_nested(value) and key != PRETRAINED
    }
    return spec.model_copy(
        update={
            "parameters": constants | dict(stage.parameters),
            "objective": stage.objective or spec.objective,
            "stop": spec.stop if stage.stop is None else stage.stop,
            "space": None,
            "search": Search(),
            "scheduler": Scheduler(),
            "stages": {},
        }
    )


def origin(parameters: Mapping[str, Any]) -> str | None:
    """What a trial goes on from: a stage's name or a checkpoint's path; None: it begins from scratch."""
    value = parameters.get(PRETRAINED)
    found = value.get(FROM) if isinstance(value, Mapping) else None
    return found if isinstance(found, str) else None


def with_origin(parameters: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The parameters of a trial that goes on from the checkpoint at this path."""
    return {**parameters, PRETRAINED: {**parameters[PRETRAINED], FROM: path}}


def with_absolute_origins(
    spec: SweepSpec, parameters: Mapping[str, Any], path: KeyPath, folder: Path
) -> dict[str, Any]:
    """The parameters, which stand at this key path, with the paths of checkpoints spelled out.

    Raises:
        InputError: no folder can have such a path.
    """
    changed = dict(parameters)
    here = (*path, PRETRAINED)

    def absolute(value: Any, *key: str | int) -> Any:
        return _absolute(spec, value, (*here, *key), folder)

    match changed.get(PRETRAINED):
        case Grid(grid=values):
            values = [absolute(value, "grid", index) for index, value in enumerate(values)]
            changed[PRETRAINED] = changed[PRETRAINED].model_copy(update={"grid": values})
        case Choice(choice=values):
            values = [absolute(value, "choice", index) for index, value in enumerate(values)]
            changed[PRETRAINED] = changed[PRETRAINED].model_copy(update={"choice": values})
        case Mapping() as value:
            changed[PRETRAINED] = absolute(value)
    return changed


def _absolute(spec: SweepSpec, value: Any, path: KeyPath, folder: Path) -> Any:
    where = origin({PRETRAINED: value})
    if where is None or where in spec.stages or "://" in where:
        return value
    try:
        place = folder / checked_path(where)
    except ValueError as error:
        raise spec.document.error(str(error), (*path, FROM)) from None
    return {**value, FROM: str(place.resolve())} if is_there(place) else value


def check_stages(spec: SweepSpec) -> Iterator[Problem]:
    """What is wrong with the stages, and with what goes on from them."""
    if spec.stages and spec.command is not None:
        yield Problem(("stages",), "a command writes no checkpoint that another trial could go on from; use workload")
    used = yield from _check_origins(spec, ("parameters",), spec.parameters, spec.stages)
    earlier: dict[str, None] = {}  # in their order
    for name, stage in spec.stages.items():
        path = ("stages", name, "parameters")
        for key, value in stage.parameters.items():
            if isinstance(value, Distribution) or is_nested(value):
                yield Problem((*path, key), "a stage is one configuration: give a constant")
        used |= yield from _check_origins(spec, path, stage.parameters, earlier)
        objective = stage.objective
        if objective is not None and objective.stop_at_target and objective.target is None:
            yield Problem(("stages", name, "objective", "stop_at_target"), "needs a target")
        earlier[name] = None
    for name in spec.stages:
        if name not in used:
            yield Problem(("stages", name), f"no trial goes on from it; one does with {PRETRAINED}: {{from: {name}}}")


def _check_origins(
    spec: SweepSpec, path: KeyPath, parameters: Mapping[str, Any], stages: Mapping[str, Any]
) -> Generator[Problem, None, set[str]]:
    """Yields problems; returns the names of the stages that are gone on from."""
    used: set[str] = set()
    if is_nested(parameters.get(PRETRAINED)):
        problem = (
            f"is one value, whole: {{grid: [null, {{from: base, {FREEZE}: true}}]}}; inside of it nothing is searched"
        )
        yield Problem((*path, PRETRAINED), problem)
        return used
    for where, value in _values((*path, PRETRAINED), parameters.get(PRETRAINED)):
        if not isinstance(value, Mapping) or FROM not in value:
            continue  # a workload of the user's own may mean something else by it
        yield from _check_keys(where, value)
        name = origin({PRETRAINED: value})
        if name is None:
            yield Problem((*where, FROM), "must be the name of a stage or the path of a checkpoint")
        elif name in stages:
            used.add(name)
        elif "://" not in name and not Path(name).is_absolute():
            yield Problem((*where, FROM), _unknown(name, stages, spec.stages))
        elif "://" not in name and not is_folder(name):
            yield Problem((*where, FROM), f"there is no checkpoint folder {name}")
    return used


def _check_keys(path: KeyPath, value: Mapping[str, Any]) -> Iterator[Problem]:
    """A use that is trained in one way and reported in another is worse than none."""
    frozen = value.get(FREEZE, False)
    if not isinstance(frozen, bool):
        yield Problem(
            (*path, FREEZE), f"must be true or false, not {quoted(frozen)} (in YAML 1.2, yes and no are text)"
        )
    for key in value:
        if key not in (FROM, FREEZE):
            hint = did_you_mean(str(key), (FROM, FREEZE), cutoff=0.5)
            yield Problem((*path, key), f"unknown key; allowed are {FROM} and {FREEZE}{hint}")


def _unknown(name: str, allowed: Mapping[str, Any], stages: Mapping[str, Any]) -> str:
    if name in stages:
        return f"the stage {name} runs later; a stage goes on from one that stands before it"
    hint = did_you_mean(name, allowed)
    return f"{quoted(name)} is neither a stage (there are: {listed(allowed)}) nor a folder{hint}"


def _values(path: KeyPath, parameter: Any) -> Iterator[tuple[KeyPath, Any]]:
    """Every value that a parameter may take, with its place."""
    match parameter:
        case Grid(grid=values):
            yield from (((*path, "grid", index), value) for index, value in enumerate(values))
        case Choice(choice=values):
            yield from (((*path, "choice", index), value) for index, value in enumerate(values))
        case _:
            yield path, parameter
