"""``space: space.py:space``: configurations that a Python function makes (Optuna's define-by-run, Tune's sample_from).

The function gets a trial with Optuna's ``suggest_float``, ``suggest_int`` and ``suggest_categorical``. A configuration
is what it suggests and, over that, what it returns. A search that learns asks with its own trials; otherwise a trial of
ours stands in, which draws at random or tries one value after the other, so that nothing has to be installed.
"""

from __future__ import annotations

import hashlib
import inspect
import random
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from energysweep.core.errors import one_line
from energysweep.core.naming import exact_text
from energysweep.core.objective import number, scalar
from energysweep.sweepfile.distributions import Choice
from energysweep.sweepfile.leaves import NESTED_NAME, Condition, Leaf
from energysweep.sweepfile.model import MAX_TRIALS, SweepSpec
from energysweep.sweepfile.parameters import is_written_as_distribution
from energysweep.sweepfile.suggesting import (
    LONGEST,
    METHODS,
    MOST_PARAMETERS,
    OTHERS,
    Drawer,
    Trial,
    Tried,
    Wrong,
    check_name,
    said,
)
from energysweep.sweepfile.workload import Imported, find_function, placeholders
from energysweep.sweepfile.yaml import MAX_VALUES, did_you_mean, listed, shown

KEY: Final = ("space",)
_PROBED: Final = 200  # configurations that are drawn to know a function whose values follow from results
_DEEPEST: Final = 20
_LONGEST_TEXT: Final = 100_000
_ONLY_NAMES: Final = Condition(KEY, {})  # of a parameter that some configurations lack: the function alone knows when


# What a function makes in one call -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class DefinedSpace:
    """A sweep's function. Travels with a saved search.

    Attributes:
        imported: the function.
        taken: the names that it may not use.
    """

    imported: Imported
    taken: frozenset[str]

    @classmethod
    def of(cls, spec: SweepSpec) -> DefinedSpace:
        """That of a sweep with ``space``; the file is read once for a sweep that was loaded.

        Raises:
            InputError: there is no such function.
        """
        named = str(spec.space)
        if named not in spec.functions:
            spec.functions[named] = find_function(spec, named, KEY)[1]
        taken = {*spec.parameters, *(("seed",) if spec.repeats > 1 else ()), *(("hardware",) if spec.command else ())}
        return cls(spec.functions[named], frozenset({*taken, "pretrained"}))

    def __call__(self, trial: Any) -> dict[str, Any]:
        """A configuration, by dotted names.

        Args:
            trial: Optuna's, or one with its three methods.

        Raises:
            Wrong: the function does what it may not, or fails.
        """
        return self._made(self.imported.load(), Trial(trial))

    def each(self, trials: Iterator[Any], *, alike: bool) -> Iterator[dict[str, Any]]:
        """The configurations of some trials.

        Args:
            trials: as those of ``__call__``.
            alike: a name has to have the same choices, or the same kind of range, in all of them, as Optuna wants it.
        """
        function, kinds = self.imported.load(), dict[str, str]()
        for trial in trials:
            asked = Trial(trial)
            yield self._made(function, asked)
            for name, kind in asked.kinds.items():
                if alike and kinds.setdefault(name, kind) != kind:
                    raise Wrong(
                        f"suggests {shown(name)} now from {kinds[name]}, now from {kind}; for optuna a name has one set"
                        " of choices, or one kind of range: use another name in each branch"
                    )

    def _made(self, function: Callable[..., Any], asked: Trial) -> dict[str, Any]:
        try:
            return self._checked(function(asked), asked)
        except (Wrong, KeyboardInterrupt):
            raise
        except BaseException as error:  # also of classes of the user's own, when they are looked at
            text = one_line(" ".join(traceback.format_exception_only(error)), LONGEST)
            raise Wrong(f"failed{self._place(error)}: {text}") from error

    def _checked(self, returned: Any, asked: Trial) -> dict[str, Any]:
        if inspect.iscoroutine(returned):
            returned.close()  # it would tell that nobody has awaited it
        if returned is not None and not isinstance(returned, Mapping):
            raise Wrong(f"must return a mapping of parameters, or None for what it suggests, not {said(returned)}")
        plain = _Plain()
        found = {name: plain.value(name, value) for name, value in asked.values.items()}
        found |= plain.parts("", returned or {})
        if len(found) > MOST_PARAMETERS:
            raise Wrong(f"makes {len(found)} parameters; at most {MOST_PARAMETERS} are allowed")
        for name in found:
            first, *others = name.split(".")
            if first in self.taken:
                raise Wrong(f"makes {first}, {_why_taken(first)}; use another name")
            for end in range(1, len(others) + 1):
                if (above := ".".join([first, *others[: end - 1]])) in found:
                    raise Wrong(f"makes {above}, and {name} inside of it; a parameter is a value or a mapping")
        _check_places(found)
        return found

    def _place(self, error: BaseException) -> str:
        """Where in the function's own file."""
        if self.imported.file is None:
            return ""
        own = Path(self.imported.file).resolve()
        frames = traceback.extract_tb(error.__traceback__)
        lines = [each.lineno for each in frames if Path(each.filename).resolve() == own]
        return f" in line {lines[-1]}" if lines else ""


def nested(parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """A configuration as the workload gets it; None: as it is, because no name has a dot."""
    if not any("." in name for name in parameters):
        return None
    whole = _Holder()
    for name, value in parameters.items():
        *above, last = name.split(".")
        holder = whole
        for key in above:
            holder = holder.setdefault(key, _Holder())
        holder[last] = value
    return {key: _without_holders(value) for key, value in whole.items()}


class _Holder(dict[str, Any]):
    """What names with dots are inside of; no value."""


def _without_holders(value: Any) -> Any:
    if not isinstance(value, _Holder):
        return value
    if all(map(_is_place, value)):
        return [_without_holders(value[str(place)]) for place in range(len(value))]
    return {key: _without_holders(each) for key, each in value.items()}


def _is_place(key: str) -> bool:
    """Whether a name inside of a parameter is a place in a list: layers.0."""
    return key.isascii() and key.isdecimal()


def _check_places(names: Iterable[str]) -> None:
    inside: dict[str, dict[str, None]] = {}
    for name in names:
        parts = name.split(".")
        for end in range(1, len(parts)):
            inside.setdefault(".".join(parts[:end]), {})[parts[end]] = None
    for above, keys in inside.items():
        if any(map(_is_place, keys)) and set(keys) != {str(place) for place in range(len(keys))}:
            raise Wrong(
                f"makes {listed(f'{above}.{key}' for key in keys)}; names that are numbers are places in a list, all"
                f" from {above}.0 on"
            )


def _why_taken(name: str) -> str:
    if name == "seed":
        return "which is the number of the repeat"
    if name == "hardware":
        return "which is the hardware profile in a command"
    if name == "pretrained":
        return "which belongs under parameters"
    return "which stands under parameters, too"


class _Plain:
    """Makes values of such as a ledger holds, and counts them."""

    def __init__(self) -> None:
        self._count = 0

    def parts(self, above: str, values: Mapping[Any, Any], depth: int = 0) -> dict[str, Any]:
        """What a returned mapping holds, by dotted names."""
        if depth > _DEEPEST:
            raise Wrong(f"makes {above.split('.', maxsplit=1)[0]} of mappings that are nested too deeply")
        found: dict[str, Any] = {}
        for key, value in values.items():
            if above and not (isinstance(key, str) and NESTED_NAME.fullmatch(key)):
                raise Wrong(
                    f"makes {said(key)} inside of {above}; a name inside of a parameter is letters, digits,"
                    " underscores and dashes"
                )
            if above and _is_place(key):
                raise Wrong(f"makes {said(key)} inside of {above}; return a list, or a name that is no number")
            name = f"{above}.{key}" if above else key
            check_name(name)
            if isinstance(value, Mapping) and value:
                if is_written_as_distribution(value) or set(value) == {"grid_search"}:
                    raise Wrong(f"makes {name} {said(dict(value))}, which nobody draws: call trial.{METHODS}")
                found |= self.parts(name, value, depth + 1)
            else:
                found[name] = self.value(name, value)
        return found

    def value(self, name: str, value: Any, depth: int = 0) -> Any:
        """A value without anything that is no JSON."""
        value = scalar(value)
        self._count += 1
        if depth > _DEEPEST or self._count > MAX_VALUES:
            raise Wrong(f"makes {shown(name)} of too much: {_DEEPEST} levels and {MAX_VALUES:,} values are allowed")
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            if "\0" in value or len(value) > _LONGEST_TEXT or any("\ud800" <= each <= "\udfff" for each in value):
                raise Wrong(
                    f"makes {shown(name)} a text of over {_LONGEST_TEXT:,} characters, or of such as no text may hold"
                )
            return str(value)
        if isinstance(value, int | float):
            if number(value) is None:
                raise Wrong(f"makes {shown(name)} {said(value)}; a number is finite, at most 1.8e308")
            return int(value) if isinstance(value, int) else float(value)
        if isinstance(value, list | tuple):
            return [self.value(name, each, depth + 1) for each in value]
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            return {key: self.value(name, each, depth + 1) for key, each in value.items()}
        hint = ""
        if callable(value) or type(value).__module__.startswith(("ray.", "optuna.")):
            hint = f"; what is drawn is asked for: trial.{METHODS}; what follows from that is computed"
        raise Wrong(
            f"makes {shown(name)} a {type(value).__name__}; a parameter is a finite number, a text, true, false, null,"
            f" or a list or mapping of such{hint}"
        )


# What a function makes in a sweep ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """What a function makes.

    Attributes:
        configurations: without the constants beside them; all of a grid, those that random search draws, and of a
            search that learns from results 200 that are drawn.
        leaves: the parameters in them, each with the values that it has there.
    """

    configurations: Sequence[Mapping[str, Any]]
    leaves: Sequence[Leaf]


def made(spec: SweepSpec) -> Made:
    """What the function of a sweep with ``space`` makes; the same on every call.

    Raises:
        InputError: the function fails, or makes what no configuration may hold, or something else each time.
    """
    kind = spec.search.kind
    number = (_PROBED if kind.made_by is not None else spec.search.num_samples or 1) if kind.draws else None
    try:
        return _made(DefinedSpace.of(spec), number, spec.search.seed, alike=kind.made_by is not None)
    except Wrong as error:
        raise spec.document.error(f"{named(spec)} {error}", KEY) from None


def named(spec: SweepSpec) -> str:
    """The function, without the folder of its file."""
    return str(spec.space).rpartition("/")[2]


def made_names(spec: SweepSpec) -> tuple[list[str], list[str]]:
    """The parameters that the function makes: in every configuration, and in some."""
    always, sometimes = (
        [leaf.name for leaf in made(spec).leaves if bool(leaf.conditions) is some] for some in (False, True)
    )
    return always, sometimes


def names_sentence(spec: SweepSpec) -> str:
    """``space.py:space makes optimizer.name, layers.0; in some configurations layers.1``."""
    always, sometimes = made_names(spec)
    return f"{named(spec)} makes {listed(always)}" + (
        f"; in some configurations {listed(sometimes)}" if sometimes else ""
    )


@lru_cache(maxsize=8)
def _made(space: DefinedSpace, number: int | None, seed: int, *, alike: bool) -> Made:
    def once() -> list[dict[str, Any]]:
        rng = random.Random(seed)  # noqa: S311  repeatable, not secret
        trials = Tried().trials() if number is None else (Drawer(rng) for _ in range(number))
        found: list[dict[str, Any]] = []
        for each in space.each(trials, alike=alike):
            found.append(each)
            if len(found) > MAX_TRIALS:
                raise Wrong(f"makes more than {MAX_TRIALS} configurations of a grid; at most so many are allowed")
        return found

    first, second = once(), once()
    if list(map(exact_text, first)) != list(map(exact_text, second)):
        raise Wrong(OTHERS)
    if number is None:  # what is suggested may not be in what is made
        first = list({exact_text(each): each for each in first}.values())
    values: dict[str, list[Any]] = {}
    for configuration in first:
        for name, value in configuration.items():
            values.setdefault(name, []).append(value)
    leaves = [
        Leaf(
            tuple(name.split(".")),
            Choice(choice=list({exact_text(each): each for each in having}.values())),
            () if len(having) == len(first) else (_ONLY_NAMES,),
        )
        for name, having in values.items()
    ]
    return Made(first, leaves)


def digest(spec: SweepSpec) -> str:
    """By which a run that is resumed knows that the function still makes the same; on another machine, too."""
    text = "\n".join(exact_text(_rounded(each)) for each in made(spec).configurations)
    return hashlib.sha256(text.encode()).hexdigest()


def _rounded(value: Any) -> Any:
    """Logarithms of two C libraries may differ in the last digit."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, Mapping):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


def noted(spec: SweepSpec) -> dict[str, str | None]:
    """What a ledger keeps of a sweep's function: its digest, and the text of its file, which may go or change."""
    imported = DefinedSpace.of(spec).imported
    source = imported.source
    if source is None:
        with suppress(OSError, TypeError):
            source = Path(inspect.getfile(imported.load())).read_bytes()
    whole = source is not None and len(source) <= _LONGEST_TEXT
    return {"digest": digest(spec), "source": (source or b"").decode(errors="replace") if whole else None}


def check_defined(spec: SweepSpec) -> None:
    """Whether the function of a sweep with ``space`` does what it should, and its command gets what it names.

    Raises:
        InputError
    """
    found = made(spec)
    everything = len(found.configurations) * spec.repeats * len(spec.profiles)
    if not spec.search.kind.draws and everything > MAX_TRIALS:
        raise spec.document.error(f"makes {everything} trials; at most {MAX_TRIALS} are allowed", KEY)
    names = {leaf.name: bool(leaf.conditions) for leaf in found.leaves}
    known = dict.fromkeys([*spec.parameters, *names, *(name.partition(".")[0] for name in names), "seed", "hardware"])
    for index, argument in enumerate(spec.command or ()):
        for name in placeholders(argument):
            if name not in known:
                text = f"{{{one_line(name)}}} is no parameter{did_you_mean(name, known)} (known: {listed(known)})"
                raise spec.document.error(text, ("command", index))
            if index == 0 and names.get(name):
                text = f"the program itself is always there: {name} is not in every configuration"
                raise spec.document.error(text, ("command", 0))
