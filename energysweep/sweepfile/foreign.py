"""Search spaces as other tools write them, and distributions where none is searched: never taken for constants.

A trial that gets the mapping ``{loguniform: [1e-5, 0.1]}`` as its learning rate fails late, or trains with nonsense.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from energysweep.sweepfile.distributions import Choice, Distribution, Grid
from energysweep.sweepfile.parameters import is_written_as_distribution
from energysweep.sweepfile.translation import CALL, ENDS, NUMBERS, VALUES, here, plain
from energysweep.sweepfile.yaml import KeyPath, Problem, shown

# Other tools' keys of a whole sweep, and what they are here.
ELSEWHERE = {
    "method": "W&B's method is search.algorithm here",
    "metric": "the metric is objective.metric here",
    "goal": "W&B's goal is objective.mode here",
    "direction": "Optuna's direction is objective.mode here: min or max",
    "program": "W&B's program is workload or command here",
    "early_terminate": "early stopping is scheduler here",
    "run_cap": "the number of runs is search.num_samples here",
    "num_samples": "it is search.num_samples here",
    "n_trials": "Optuna's n_trials is search.num_samples here",
    "trials": "the number of configurations is search.num_samples here, that of their repeats is repeats",
    "param_space": "Tune's param_space is parameters here; space names a function that makes them",
    "search_space": "the search space is parameters here; space names a function that makes them",
    "hyperparameters": "they are parameters here",
    "sampler": "it is search.algorithm here",
    "pruner": "early stopping is scheduler here",
    "hydra": "Hydra's hydra.sweeper.params are parameters here: name: {grid: [1, 2]}",
    "defaults": "Hydra's defaults have no place here: parameters are one mapping",
}

# Tune's keys of a scheduler that have another name here, or none.
TUNES_KEYS = {
    "time_attr": "Tune's time_attr is resource here",
    "max_t": "Tune's max_t is max_resource here",
    "metric": "the metric is objective.metric here",
    "mode": "it is objective.mode here",
    "synch": "a population is never synchronous here: no trial waits for all others",
    "custom_explore_fn": "what changes is written in hyperparam_mutations here",
}

# What Ray Tune, Hyperopt, W&B, Optuna, Hydra, Ax, NNI and Katib call what is drawn; in lower case without _, -.
_DRAWN_NAMES = """
    gridsearch choice choices categorical uniform quniform loguniform qloguniform loguniformvalues invloguniform
    reverseloguniform intuniform randint qrandint lograndint qlograndint randn qrandn normal qnormal lognormal
    qlognormal samplefrom suggestfloat suggestint suggestcategorical suggestuniform suggestloguniform interval
    grid sample beta qbeta discreteuniform discrete pchoice uniformint
"""
_TYPE_NAMES = """
    range float double int integer categorical discrete ordinal choice uniform loguniform normal lognormal randint
    float64 int64
"""
_OTHER_NAMES = (
    "type value log q step mu sigma mean std scale base logscale isint default probabilities count prior dtype"
)
_DRAWN, _TYPES, _OTHERS = (frozenset(names.split()) for names in (_DRAWN_NAMES, _TYPE_NAMES, _OTHER_NAMES))
CALLED = _DRAWN | {"range", "arange", "linspace", "logspace"}  # Hydra's range(1, 10); a key of that name is none
# Keys that describe a distribution, and the pairs of them that are its ends.
_NAMES = frozenset({"distribution", "parametertype", "feasiblespace"})
_DESCRIBING = {*VALUES, *_NAMES, *_OTHERS, *(end for pair in ENDS for end in pair)}
_ELSEWHERE = "a distribution as other tools write one"

_LONGEST = 10_000  # characters of a text that may be a call: nobody writes a longer one


def check_foreign(path: KeyPath, parameter: Any) -> Iterator[Problem]:
    """What in a parameter is a distribution that nobody would draw from, with its own path.

    A grid or a choice of a single value is how a constant is written that looks like one: it is not looked into. Of
    several values, those are looked into that only a search can mean.
    """
    match parameter:
        case Grid(grid=values) | Choice(choice=values):
            key = "grid" if isinstance(parameter, Grid) else "choice"
            if len(values) > 1:
                for index, value in enumerate(values):
                    yield from _in(path, (*path, key, index), value, certain=True)
        case _ if not isinstance(parameter, Distribution):
            yield from _in(path, path, parameter, certain=False)


def _in(name: KeyPath, path: KeyPath, value: Any, *, certain: bool) -> Iterator[Problem]:
    """Every distribution in a value; ``certain``: only what cannot be a constant as well."""
    kind = _kind(value, certain=certain, nested=path != name)
    if kind is not None:
        yield Problem(path, f"{shown(value)} is {kind}; {_instead(name, path, here(value))}")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _in(name, (*path, key), item, certain=certain)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _in(name, (*path, index), item, certain=certain)


def _instead(name: KeyPath, path: KeyPath, written: str) -> str:
    as_it_is = f"to give it as it is, write {name[-1]}: {{grid: [...]}}, a grid of one value, around the whole value"
    inside = path[len(name) :]
    if inside and inside[0] in ("grid", "choice"):
        of = name[-1]
        return (
            f"inside one of several values nothing is searched: write {of}: {{name: {{{inside[0]}: [a, b]}},"
            f" {inside[-1]}: {{when: {{{of}.name: a}}, {written.removeprefix('{')}}}; {as_it_is}"
        )
    return f"here it is written {path[-1]}: {written}; {as_it_is}"


def _kind(value: Any, *, certain: bool, nested: bool) -> str | None:
    if isinstance(value, str):
        return _kind_of_text(value, certain=certain)
    if not isinstance(value, Mapping):
        return None
    if nested and is_written_as_distribution(value):
        return "a distribution"
    if len(value) == 1:
        return _kind_of_one(*next(iter(value.items())), certain=certain)
    return _ELSEWHERE if _is_described({plain(key): item for key, item in value.items()}, certain=certain) else None


def _kind_of_one(key: str, held: Any, *, certain: bool) -> str | None:
    """Of a mapping with a single key."""
    if plain(key) in _DRAWN and isinstance(held, list | Mapping):
        return "a distribution"
    if key == "parameters" and isinstance(held, Mapping):
        return "a nested search space, as W&B writes one"
    return _ELSEWHERE if plain(key) in VALUES and isinstance(held, list) and not certain else None


def _is_described(value: Mapping[str, Any], *, certain: bool) -> bool:
    """Whether a mapping of several keys describes a distribution: ``{min: 0, max: 1}``, ``{type: float, low: ...}``."""
    if "type" in value and "value" in value and isinstance(value["value"], list):  # NNI's _type and _value
        return True
    if not value.keys() <= _DESCRIBING:
        return False
    has_ends = any(low in value and high in value for low, high in ENDS)
    has_values = any(isinstance(value.get(key), list) for key in VALUES)
    named = plain(value.get("distribution", value.get("type", "")))
    if value.keys() & _NAMES or (named in _TYPES and (has_ends or has_values)):
        return True
    return not certain and (has_ends or has_values)


def _kind_of_text(text: str, *, certain: bool) -> str | None:
    if len(text) > _LONGEST or not (text.rstrip().endswith(")") or "," in text):
        return None
    call = CALL.fullmatch(text)
    if call is not None and plain(call[1]) in CALLED:
        return "a text that looks like a call of Ray Tune's, Optuna's or Hydra's"
    if not certain and NUMBERS.fullmatch(text):
        return "a text, and no list: numbers with commas between them need brackets, and a decimal has a point"
    return None
