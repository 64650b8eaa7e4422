"""How a distribution that another tool writes is written in a sweep: ``tune.choice([1, 2])``, ``{min: 0, max: 1}``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from energysweep.sweepfile.distributions import DISTRIBUTIONS
from energysweep.sweepfile.yaml import shown

ENDS = (("min", "max"), ("low", "high"), ("lower", "upper"), ("minval", "maxval"), ("minvalue", "maxvalue"))
VALUES = ("values", "choices", "vals", "bounds", "categories")

# What others call the distributions that there are here.
_OURS = {
    **{_key: _key for _key in DISTRIBUTIONS},
    "gridsearch": "grid",
    "choices": "choice",
    "categorical": "choice",
    "suggestcategorical": "choice",
    "interval": "uniform",
    "double": "uniform",
    "float": "uniform",
    "suggestfloat": "uniform",
    "suggestuniform": "uniform",
    "suggestloguniform": "loguniform",
    "loguniformvalues": "loguniform",
    "qloguniformvalues": "qloguniform",
    "intuniform": "randint",
    "int": "randint",
    "integer": "randint",
    "suggestint": "randint",
    "randn": "normal",
    "qrandn": "qnormal",
}
ANY = f"{{grid: [1, 2]}}, or with {', '.join(list(DISTRIBUTIONS)[1:-1])} or {list(DISTRIBUTIONS)[-1]}"
_SHOWN_ARGUMENTS = 60  # characters

CALL = re.compile(r"\s*(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w*)\s*\(.*\)\s*", re.DOTALL)
NUMBERS = re.compile(r"\s*[-+]?[\d.]+(?:[eE][-+]?\d+)?\s*(?:,\s*[-+]?[\d.]+(?:[eE][-+]?\d+)?\s*)+")


def here(value: Any) -> str:
    """How a distribution is written in a sweep, as far as its other spelling tells."""
    if isinstance(value, str):
        return f"{{grid: [{shown(value)[1:-1]}]}}" if NUMBERS.fullmatch(value) else _of_call(value) or ANY
    if not isinstance(value, Mapping):
        return ANY
    others = {plain(key): item for key, item in value.items()}
    if "type" in others and isinstance(others.get("value"), list):  # NNI's
        others = {plain(others["type"]): others["value"]}
    return _of_values(others) or _of_ends(others) or ANY


def _of_values(others: Mapping[str, Any]) -> str | None:
    for name, item in others.items():
        ours = "grid" if name in VALUES and name != "bounds" else _OURS.get(name)
        if ours and isinstance(item, list):
            return f"{{{ours}: {shown(item)}}}"
    return None


def _of_ends(others: Mapping[str, Any]) -> str | None:
    """``{distribution: q_log_uniform_values, min: 1, max: 64, q: 1}``, ``{type: int, low: 1, high: 64, log: true}``."""
    known = [pair for pair in ENDS if set(pair) <= others.keys()]
    bell = [pair for pair in (("mu", "sigma"), ("mean", "std")) if set(pair) <= others.keys()]
    if not known and not bell:
        return None
    named = plain(others.get("distribution", others.get("type", "")))
    is_whole = named in ("int", "integer", "intuniform", "randint", "lograndint")
    is_log = others.get("log") is True or "log" in named
    step = others.get("q", others.get("step"))
    first, second = (others[key] for key in (known or bell)[0])
    if step is None and is_whole and known and isinstance(second, int):
        second += 1  # others' whole numbers end with the highest
    if step is not None and known and not _are_multiples((first, second), step):
        return None  # others count the steps from the lowest value
    kind = ("lograndint" if is_log else "randint") if is_whole else ("loguniform" if is_log else "uniform")
    quantized = "" if step is None else "q"
    return f"{{{quantized}{kind if known else 'normal'}: {shown([first, second, *([] if step is None else [step])])}}}"


def _are_multiples(ends: Sequence[Any], step: Any) -> bool:
    try:
        q = Fraction(repr(step))
        return q > 0 and all((Fraction(repr(end)) / q).denominator == 1 for end in ends)
    except ValueError:  # no number
        return False


def _of_call(text: str) -> str | None:
    """``tune.qloguniform(1e-4, 1e-1, 1e-4)``, ``choice(1, 2)``; None if its arguments are no plain values."""
    call = CALL.fullmatch(text)
    ours = _OURS.get(plain(call[1])) if call else None
    if call is None or ours is None:
        return None
    arguments = text[text.index("(") + 1 : text.rindex(")")].strip()
    if len(arguments) > _SHOWN_ARGUMENTS or "=" in arguments or "(" in arguments:
        return None
    if plain(call[1]).startswith("suggest"):
        arguments = arguments.partition(",")[2].strip()  # behind the name
    if arguments.startswith("[") and arguments.endswith("]"):
        arguments = arguments[1:-1]
    ends = re.fullmatch(r"(-?\d{1,15}), *(-?\d{1,15})", arguments)
    if ends is not None and plain(call[1]) == "suggestint":
        arguments = f"{ends[1]}, {int(ends[2]) + 1}"  # Optuna's end with the highest
    return f"{{{ours}: [{arguments}]}}"


def plain(name: Any) -> str:
    return str(name)[:60].lower().replace("_", "").replace("-", "")
