"""Rules of a sweep that concern several keys, or something outside the file."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

from energysweep.core.errors import InputError, one_line
from energysweep.core.inputs import is_file, word
from energysweep.core.objective import OUR_NAMES, TUNES_NAMES
from energysweep.core.records import MAX_CPUS
from energysweep.meters.kinds import AUTO, find_kind, trace_path
from energysweep.sweepfile.algorithms import ALGORITHMS, SAMPLERS, SCHEDULERS, Sampler, reading, those
from energysweep.sweepfile.conditions import check_conditions
from energysweep.sweepfile.distributions import Distribution, Grid, not_nan
from energysweep.sweepfile.foreign import check_foreign
from energysweep.sweepfile.leaves import NESTED_NAME, Leaf, leaves
from energysweep.sweepfile.model import MAX_TRIALS, Constraint, Scheduler, SweepSpec
from energysweep.sweepfile.population import check_population
from energysweep.sweepfile.space import TooMany, large_text, trial_count
from energysweep.sweepfile.stages import check_stages
from energysweep.sweepfile.trackers import check_named, why_not
from energysweep.sweepfile.workload import placeholders
from energysweep.sweepfile.yaml import KeyPath, Problem, listed, quoted, shown

_CURRENCY = 10

_WORKLOAD = re.compile(r"(?:.+\.py|[^\W\d]\w*(?:\.[^\W\d]\w*)*):[^\W\d]\w*(?:\.[^\W\d]\w*)*")


def check(spec: SweepSpec) -> Iterator[Problem]:
    """Everything that is wrong with a sweep whose keys are each right for themselves."""
    yield from _check_program(spec)
    yield from _check_words(spec)
    yield from _check_environment(("environment",), spec.environment)
    yield from _check_runtime_env(spec.runtime_env)
    yield from _check_parameters(spec, ("parameters",), spec.parameters)
    for leaf in leaves(spec.parameters):
        yield from _check_algorithm(spec, leaf)
    for stage, content in spec.stages.items():
        yield from _check_parameters(spec, ("stages", stage, "parameters"), content.parameters)
    yield from check_stages(spec)
    yield from _check_search(spec)
    if spec.space is not None:
        yield from _check_space(spec, spec.space)
    yield from _check_scheduler(spec)
    if spec.objective.stop_at_target and spec.objective.target is None:
        yield Problem(("objective", "stop_at_target"), "needs a target")
    for name, profile in spec.hardware.items():
        yield from _check_resources(("hardware", name, "resources"), profile.resources)
    yield from _check_carbon(spec)
    yield from _check_budget(spec)
    yield from _check_meters(spec)
    if spec.trackers is not None:
        yield from check_named(spec.trackers)
    yield from _check_count(spec)


def _check_words(spec: SweepSpec) -> Iterator[Problem]:
    owner: list[tuple[KeyPath, str]] = [] if spec.owner is None else [(("owner",), spec.owner)]
    for path, text in [*owner, *((("tags", index), tag) for index, tag in enumerate(spec.tags))]:
        try:
            word(text)
        except ValueError as error:
            yield Problem(path, str(error))


def _check_parameters(spec: SweepSpec, path: KeyPath, parameters: Mapping[str, Any]) -> Iterator[Problem]:
    for name in parameters:
        yield from _check_parameter_name(spec, (*path, name))
    for leaf in leaves(parameters):
        yield from _check_leaf(path, leaf)


def _check_count(spec: SweepSpec) -> Iterator[Problem]:
    wrong = False
    for problem in check_conditions(spec.parameters):
        wrong = True
        yield problem
    if wrong or (spec.space is not None and not spec.search.kind.draws):  # what a function makes is counted later
        return
    try:
        count = trial_count(spec)
    except TooMany as error:
        yield Problem(("parameters",), str(error))
        return
    if spec.scheduler.kind.changes and count.configurations < 2:
        yield Problem(("scheduler", "type"), f"{spec.scheduler.type} needs a population: two configurations at least")
    if count.trials > MAX_TRIALS:
        yield Problem(("parameters",), f"makes {large_text(count.trials)} trials; at most {MAX_TRIALS} are allowed")


def _check_program(spec: SweepSpec) -> Iterator[Problem]:
    if spec.workload is not None and spec.command is not None:
        yield Problem(("command",), "stands beside workload; a sweep has exactly one of the two")
    elif spec.workload is not None:
        if not _WORKLOAD.fullmatch(spec.workload):
            yield Problem(("workload",), f"must be module:attr or path.py:attr, not {quoted(spec.workload)}")
    elif spec.command is None:
        yield Problem((), "has neither workload (module:attr or path.py:attr) nor command; exactly one is needed")
    found = leaves(spec.parameters)
    known = dict.fromkeys([*spec.parameters, *(leaf.name for leaf in found), "seed", "hardware"])
    for index, argument in enumerate(spec.command or ()):
        names = yield from _check_placeholders(known, index, argument, is_defined=spec.space is not None)
        if index == 0 and (some := names & {leaf.name for leaf in found if leaf.conditions}):
            yield Problem(("command", 0), f"the program itself is always there: {min(some)} exists only with its when")
    if spec.results is not None:
        yield from _check_patterns(spec, spec.results.pattern)


def _check_patterns(spec: SweepSpec, patterns: Sequence[str]) -> Iterator[Problem]:
    if spec.command is None:
        yield Problem(("results",), "is for a command; a workload reports by itself")
    names: set[str] = set()
    for index, pattern in enumerate(patterns):
        path = ("results", "pattern", index)
        try:
            found = re.compile(pattern).groupindex
        except (re.error, OverflowError, RecursionError) as error:
            yield Problem(path, f"{quoted(pattern)} is no regular expression of Python: {error}")
            return
        if not found:
            yield Problem(
                path, f"{quoted(pattern)} has no named group: (?P<{spec.objective.metric}>[0-9.]+) is a metric"
            )
        for name in found:
            if name in TUNES_NAMES or name in OUR_NAMES:
                yield Problem(path, f"{name} is in every result already; give the group another name")
        names.update(found)
    metric = spec.objective.metric
    if names and metric not in names | OUR_NAMES:
        known = ", ".join(sorted(names))
        yield Problem(("objective", "metric"), f"no group of results.pattern is called {metric} (there is {known})")


def _check_placeholders(
    known: Mapping[str, None], index: int, argument: str, *, is_defined: bool
) -> Generator[Problem, None, set[str]]:
    """Yields problems; returns the names."""
    try:
        names = placeholders(argument)
    except ValueError as error:
        yield Problem(("command", index), f"{error} in {quoted(argument)}")
        return set()
    for name in dict.fromkeys(names):
        if name not in known and not is_defined:
            yield Problem(("command", index), f"{{{one_line(name)}}} is no parameter (known: {listed(known)})")
    return set(names)


def _check_environment(path: KeyPath, variables: Mapping[str, str]) -> Iterator[Problem]:
    for name in variables:
        if not name or "=" in name:
            yield Problem((*path, name), "no environment variable can have this name: it is empty, or holds an =")


def _check_runtime_env(given: Mapping[str, Any]) -> Iterator[Problem]:
    """The keys that are read here, too; the others are Ray's to judge."""
    variables = given.get("env_vars", {})
    if not isinstance(variables, dict) or not all(isinstance(value, str) for value in variables.values()):
        yield Problem(("runtime_env", "env_vars"), f"must be a mapping of names to texts, not {shown(variables)}")
    else:
        yield from _check_environment(("runtime_env", "env_vars"), variables)
    excludes = given.get("excludes", [])
    if not isinstance(excludes, list) or not all(isinstance(each, str) for each in excludes):
        yield Problem(("runtime_env", "excludes"), f"must be a list of patterns, not {shown(excludes)}")


def _check_parameter_name(spec: SweepSpec, path: KeyPath) -> Iterator[Problem]:
    name = str(path[-1])
    if not name.isidentifier() or name.startswith("_"):
        yield Problem(path, "the name of a parameter is letters, digits and underscores, and begins with a letter")
    elif name == "seed" and spec.repeats > 1:
        yield Problem(path, f"seed is the number of the repeat (repeats: {spec.repeats}); use another name")
    elif name == "hardware" and spec.command is not None:
        yield Problem(path, "{hardware} in a command is the hardware profile; use another name")


def _check_leaf(path: KeyPath, leaf: Leaf) -> Iterator[Problem]:
    here = (*path, *leaf.path)
    for index, key in enumerate(leaf.path[1:], start=1):
        if isinstance(key, str) and not NESTED_NAME.fullmatch(key):
            text = "a name inside of a parameter that is searched is letters, digits, underscores and dashes"
            yield Problem((*path, *leaf.path[: index + 1]), text)
    if isinstance(leaf.value, Distribution):
        yield from (Problem((*here, leaf.value.key(), *below), text) for below, text in leaf.value.wrong())
    else:
        yield from (Problem((*here, *below), text) for below, text in not_nan((), leaf.value))
    yield from check_foreign(here, leaf.value)


def _check_algorithm(spec: SweepSpec, leaf: Leaf) -> Iterator[Problem]:
    kind, drawn = spec.search.kind, leaf.value
    if not isinstance(drawn, Distribution):
        return
    path = ("parameters", *leaf.path, drawn.key())
    if drawn.draws and not kind.draws:
        drawing = those([row for row in ALGORITHMS.values() if row.draws])
        text = (
            f"{drawn.key()} needs search.algorithm {drawing}; under algorithm {kind.name} only grid and constants work"
        )
        yield Problem(path, text)
    elif isinstance(drawn, Grid) and not kind.takes_grids:
        yield Problem(path, f"{kind.name} draws its values; use choice instead of grid")


def _check_space(spec: SweepSpec, space: str) -> Iterator[Problem]:
    if not _WORKLOAD.fullmatch(space):
        yield Problem(("space",), f"must be module:attr or path.py:attr, not {quoted(space)}")
    if spec.scheduler.kind.changes:
        text = f"{spec.scheduler.type} changes parameters that the sweep's file has; write them in parameters"
        yield Problem(("space",), text)
    for leaf in leaves(spec.parameters):
        if isinstance(leaf.value, Distribution) or leaf.conditions:
            yield Problem(("parameters", *leaf.path), "stands beside space, so it is a constant; the function draws")


def _check_search(spec: SweepSpec) -> Iterator[Problem]:
    search, kind = spec.search, spec.search.kind
    if not kind.draws and search.num_samples is not None:
        text = f"has no meaning for algorithm {kind.name}, which tries every combination"
        yield Problem(("search", "num_samples"), text)
    if kind.draws and search.num_samples is None:
        yield Problem(("search", "num_samples"), f"algorithm {kind.name} needs it: how many configurations")
    if kind.largest_seed is not None and not 0 <= search.seed <= kind.largest_seed:
        yield Problem(("search", "seed"), f"{kind.name} takes a seed from 0 to {kind.largest_seed}")
    if not kind.several_metrics and search.metrics is not None:
        able = those([row for row in ALGORITHMS.values() if row.several_metrics])
        yield Problem(("search", "metrics"), f"only algorithm {able} optimises several metrics")
    sampler = SAMPLERS[search.sampler]
    if kind.name != "optuna":
        for key in ("sampler", "sampler_settings", "constraints"):
            if key in search.model_fields_set:
                yield Problem(("search", key), "is Optuna's; it needs algorithm optuna")
    elif len(search.metrics or ()) > 1 and not sampler.several_metrics:
        able = those([row for row in SAMPLERS.values() if row.several_metrics])
        yield Problem(("search", "sampler"), f"{sampler.name} optimises one metric only; of several, {able}")
    if kind.name == "optuna" and search.constraints is not None:
        yield from _check_constraints(sampler, search.constraints)


def _check_constraints(sampler: Sampler, constraints: Mapping[str, Constraint]) -> Iterator[Problem]:
    if not sampler.constraints:
        able = those([row for row in SAMPLERS.values() if row.constraints])
        yield Problem(("search", "constraints"), f"{sampler.name} knows no constraints; {able} do")
    for metric, limits in constraints.items():
        path = ("search", "constraints", metric)
        if limits.at_most is None and limits.at_least is None:
            yield Problem(path, "has no limit: give at_most or at_least, a number")
        elif limits.at_most is not None and limits.at_least is not None and limits.at_most < limits.at_least:
            yield Problem(path, f"can never be met: at_most {limits.at_most:g} is below at_least {limits.at_least:g}")


def _check_scheduler(spec: SweepSpec) -> Iterator[Problem]:
    scheduler, kind = spec.scheduler, spec.scheduler.kind
    for key in sorted(scheduler.model_fields_set - {"type", *kind.keys}):
        yield Problem(("scheduler", key), f"has no meaning for type {kind.name}, only for {those(reading(key))}")
    if kind.needs_target and spec.objective.target is None:
        yield Problem(("objective", "target"), f"is missing; {kind.name} compares what it takes to reach it")
    if kind.needs_all and spec.search.kind.made_by is not None:
        known = those([row for row in ALGORITHMS.values() if row.made_by is None])
        yield Problem(
            ("scheduler", "type"),
            f"{kind.name} needs all configurations before the first trial: algorithm {known}, not"
            f" {spec.search.algorithm}",
        )
    yield from _check_needs(spec)
    if kind.changes:
        yield from check_population(spec)
    if kind.ends_at_max_resource:
        yield from _check_max_resource(scheduler)


def _check_needs(spec: SweepSpec) -> Iterator[Problem]:
    scheduler, kind = spec.scheduler, spec.scheduler.kind
    for key in kind.needs:
        if getattr(scheduler, key) is None:
            described = (Scheduler.model_fields[key].description or "").partition(": ")[2].rstrip(".")
            yield Problem(("scheduler", key), f"{kind.name} needs it: {described}")
    pauses = kind.needs_pauses or not scheduler.hard_stop
    what = kind.name if kind.needs_pauses else "hard_stop: false"
    if pauses and spec.search.kind.made_by is not None and not kind.changes and spec.max_concurrent_trials is not None:
        text = (
            f"under algorithm {spec.search.algorithm} it would count the trials that {what} pauses, too; leave it out"
        )
        yield Problem(("max_concurrent_trials",), text)
    if spec.command is not None and pauses:
        able = those([row for row in SCHEDULERS.values() if row.keys and not row.needs_pauses])
        key = "type" if kind.needs_pauses else "hard_stop"
        text = f"{what} pauses trials, and a command has no checkpoint to go on from; {able} can stop it"
        yield Problem(("scheduler", key), text)


def _check_max_resource(scheduler: Scheduler) -> Iterator[Problem]:
    kind = scheduler.kind
    if kind.needs_pauses and scheduler.max_resource is not None and scheduler.max_resource < 1:
        yield Problem(("scheduler", "max_resource"), f"{kind.name} counts in whole units: at least 1")
    if scheduler.max_resource is None:
        if scheduler.resource != "training_iteration":
            yield Problem(
                ("scheduler", "max_resource"), f"{kind.name} needs it: the most {scheduler.resource} of a trial"
            )
    elif "grace_period" in kind.keys and scheduler.max_resource < scheduler.grace_period:
        text = f"must not be below grace_period ({scheduler.grace_period:g})"
        yield Problem(("scheduler", "max_resource"), text)


def _check_resources(path: KeyPath, resources: Any) -> Iterator[Problem]:
    for name, amount in resources.items():
        if name != name.lower() and name.lower() in ("cpu", "gpu"):
            yield Problem((*path, name), f"is written {name.lower()}")
        if name.lower() in ("cpu", "gpu") and amount > MAX_CPUS:
            yield Problem((*path, name), f"must be at most {MAX_CPUS:g}, not {amount:g}")
        elif name.lower() == "gpu" and amount > 1 and amount != int(amount):
            yield Problem((*path, name), f"above 1 it must be a whole number, not {amount:g}")


def _check_carbon(spec: SweepSpec) -> Iterator[Problem]:
    given = spec.carbon
    if given.grams_per_kwh is not None and (given.country or given.region):
        yield Problem(("carbon", "grams_per_kwh"), "stands beside country or region; give one or the other")
    elif given.region is not None and given.country is None:
        yield Problem(("carbon", "region"), "needs a country")
    elif given.country is not None:
        from energysweep.core import carbon  # noqa: PLC0415  its tables are slow to load; most sweeps name no country

        key = "country"
        try:
            carbon.resolve(country=given.country, pue=given.pue)
            key = "region"
            carbon.resolve(country=given.country, region=given.region, pue=given.pue)
        except InputError as error:
            yield Problem(("carbon", key), error.problem)


def _check_budget(spec: SweepSpec) -> Iterator[Problem]:
    if spec.price is not None and (len(spec.price.currency) > _CURRENCY or not spec.price.currency.isprintable()):
        yield Problem(("price", "currency"), f"must be a word of at most {_CURRENCY} characters")
    budget = spec.budget
    if budget is None:
        return
    if not budget.limits:
        yield Problem(("budget",), f"has no limit: give one or more of {', '.join(type(budget).model_fields)}")
    if budget.emissions_grams is not None:
        if spec.carbon.country is None and spec.carbon.grams_per_kwh is None:
            text = "needs carbon: {country: ...} or {grams_per_kwh: ...}; the world's average is no grid to stop by"
            yield Problem(("budget", "emissions_grams"), text)
        elif spec.carbon.grams_per_kwh == 0:
            yield Problem(("budget", "emissions_grams"), "can never be spent: carbon.grams_per_kwh is 0")
    if budget.cost is not None and spec.price is None:
        yield Problem(("budget", "cost"), "needs price: {per_kwh: ..., currency: ...}")


def _check_meters(spec: SweepSpec) -> Iterator[Problem]:
    for index, meter in enumerate(spec.meters):
        if meter == AUTO:
            continue
        try:
            find_kind(meter)
        except InputError as error:
            yield Problem(("meters", index), error.problem)
            continue
        trace = trace_path(meter)
        if trace is not None and not is_file(trace):
            yield Problem(("meters", index), f"there is no file {trace}")
    if AUTO in spec.meters and len(spec.meters) > 1:
        yield Problem(("meters",), f"{AUTO} takes the best meter of every device; it stands alone")


def check_trackers(spec: SweepSpec) -> None:
    """Whether this Python has what the sweep's trackers need. Nothing is imported.

    Raises:
        InputError: a package is not installed, or nobody says where it is.
    """
    if spec.trackers is None:
        return
    for name, why in ((name, why_not(name, model)) for name, model in spec.trackers.named.items()):
        if why is not None:
            raise spec.document.error(why, ("trackers", name))
