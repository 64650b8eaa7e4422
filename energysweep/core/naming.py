"""How a configuration is written, and read again: the one text for it in tables, charts, files and on dashboards.

    learning_rate=0.001 optimizer=adam layers=[64,64] head={dropout:0.1,pooled:true} note="two words"

Each parameter is ``name=value``, and a space parts it from the next one. Numbers, ``true``, ``false`` and ``null`` are
as in JSON, and a float always has a point or an exponent: ``1``, ``1.0`` and ``"1"`` are three values. Lists and
mappings hold no spaces; a mapping is in the order of its names. A text stands bare where it cannot be mistaken for
anything else, and otherwise in quotes, as in JSON. So ``parse`` gives back the values that were written.

A value, and a text of all of them, has a bound. What is longer keeps its beginning and ends in ``…`` and twelve digits
of a hash of all of it, so that what differs only beyond the bound still has a text of its own.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final, NoReturn

from energysweep.core.objective import scalar
from energysweep.core.records import TrialRow

LONGEST: Final = 300
"""Characters of a configuration's text, at most."""
LONGEST_VALUE: Final = 60
"""Characters of one value, at most: a longer one is a path, a list or a document rather than a setting."""
DEFAULT: Final = "default"
"""The text of the configuration of a sweep in which no parameter differs."""

_DEEPEST: Final = 100  # levels of lists and mappings, in a text that is read
_CUT: Final = "…"  # stands in no text for itself, so it tells that something was cut
_HASH_DIGITS: Final = 12
_STAGE, _SEED, _ON, _TRIAL = "stage", "seed", "on", "·"

# Regular expressions, of which Python, RE2 (Prometheus) and JavaScript (Grafana) understand the same.
_QUOTED: Final = r'"(?:[^"\\]|\\.)*"'
_NAME: Final = rf'(?:[^" =]|{_QUOTED})+'
_VALUE: Final = rf'(?:[^" ]|{_QUOTED})*'
_NAME_BEFORE: Final = re.compile(rf'(?:{_QUOTED}|[^\s"=]+)=')
_WORDS: Final = re.compile(rf'(?:[^" ]|{_QUOTED}|")+')

NAMES_PATTERN: Final = rf"(?:^| )({_NAME})={_VALUE}(?= |$)"
"""Finds the names of all parameters in a configuration's text, one after the other."""


def value_pattern(name: str) -> str:
    """A regular expression of a whole configuration's text, whose group 1 is the value of a parameter.

    Args:
        name: the parameter's name as the text has it, made into a regular expression.
    """
    return rf'(?:(?:[^" ]|{_QUOTED})+ )*{name}=({_VALUE})(?: .*)?'


# Written -------------------------------------------------------------------------------------------------------------


def configuration_text(parameters: Mapping[str, Any], names: Iterable[str] | None = None, stage: str = "") -> str:
    """A configuration in one short line.

    Args:
        parameters: its values by name.
        names: those to show, usually the ones that differ between configurations; None for all.
        stage: the stage that it is the configuration of, if it is one's.

    Returns:
        ``learning_rate=0.001 batch_size=16``; ``default`` if none is shown; ``stage=base``.
    """
    if stage:
        return f"{_STAGE}={_bounded(_text(stage), LONGEST_VALUE)}"
    return settings_text(parameters, names) or DEFAULT


def settings_text(settings: Mapping[str, Any], names: Iterable[str] | None = None) -> str:
    """Some parameters' values in the same form; empty if none is shown."""
    names = settings if names is None else [name for name in names if name in settings]
    pairs = [setting_text(name, settings[name]) for name in names]
    text = " ".join(pairs)
    if len(text) <= LONGEST:
        return text
    shown, left = [], LONGEST - len(_CUT) - _HASH_DIGITS
    for pair in pairs:
        left -= len(pair) + 1
        if left < 0:
            break
        shown.append(pair)
    return " ".join([*shown, mark(text)])


def setting_text(name: str, value: Any) -> str:
    """``name=value``; a name is text here, whatever it is in one's own Tuner, which takes numbers too."""
    return f"{_name_text(str(name))}={value_text(value)}"


def value_text(value: Any) -> str:
    """A parameter's value: ``0.001``, ``64``, ``true``, ``adam``, ``[64,32]``, ``{rate:0.1}``, ``"two words"``."""
    return value.text if isinstance(value, Shortened) else _bounded(exact_text(value), LONGEST_VALUE)


def exact_text(value: Any) -> str:
    """The same form without bounds: the one key by which values count as equal. Numbers of two types differ, and names
    in a mapping are texts.
    """
    value = scalar(value)
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int):
        return _integer_text(value)
    if isinstance(value, float):
        return json.dumps(value)
    if isinstance(value, Mapping):
        pairs = sorted(((str(key), each) for key, each in value.items()), key=itemgetter(0))
        return "{" + ",".join(f"{_key_text(key)}:{exact_text(each)}" for key, each in pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(exact_text, value)) + "]"
    return value.text if isinstance(value, Shortened) else _text(str(value))


def trial_text(config: str, seed: int | None = None, hardware: str = "") -> str:
    """A trial in one short line: ``learning_rate=0.001 seed=2 on gpu``.

    Args:
        config: the text of its configuration.
        seed: the number of the repeat; None where there is one only.
        hardware: its hardware profile; empty where there is one only, or none.
    """
    parts = [config]
    parts += [] if seed is None else [f"{_SEED}={seed}"]
    parts += [f"{_ON} {hardware}"] if hardware else []
    return " ".join(parts)


def rows(text: str) -> list[str]:
    """A text in parts that stand below each other where there is little room: ``lr=0.1``, ``seed=2``, ``on gpu``."""
    parts: list[str] = []
    for word in _WORDS.findall(text):
        if parts and word != _ON and not _NAME_BEFORE.match(word):
            parts[-1] += f" {word}"
        else:
            parts.append(word)
    return parts


def mark(text: str) -> str:
    """What stands for the rest of a text that is cut: no two texts have the same."""
    return _CUT + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]


def _integer_text(value: int) -> str:
    try:
        return json.dumps(value)
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return hex(value)


def _name_text(name: str) -> str:
    """A parameter's name; one that would read as a seed or a stage is in quotes."""
    return name if _is_bare(name) and "=" not in name and name not in (_SEED, _STAGE) else _quoted(name)


def _key_text(key: str) -> str:
    return key if _is_bare(key) and ":" not in key else _quoted(key)


def _text(text: str) -> str:
    return text if _is_bare(text) and isinstance(_scalar(text), str) else _quoted(text)


_BARE: Final = re.compile(r'[^\s"\\`,{}\[\]…]+')


def _is_bare(text: str) -> bool:
    return _BARE.fullmatch(text) is not None and text.isprintable()


def _quoted(text: str) -> str:
    """As JSON has it. Escaped is also what cannot be seen, and a second space, which browsers leave out."""
    content = json.dumps(text, ensure_ascii=False)[1:-1]
    before = ["", *content]
    shown = (
        _escaped(each) if not each.isprintable() or each in f"`{_CUT}" or each == last == " " else each
        for last, each in zip(before, content, strict=False)
    )
    return f'"{"".join(shown)}"'


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def tags_text(tags: Iterable[str]) -> str:
    """Tags as one text: the same for the same ones, in whatever order they stand; empty for none."""
    return _bounded(", ".join(sorted(set(tags))), LONGEST)


def _bounded(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    # What is left of it holds neither spaces nor quotes, so that it reads as one word.
    beginning = re.sub(r'[\s"\\]', "_", text[: longest - len(_CUT) - _HASH_DIGITS])
    return beginning + mark(text)


# Read ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shortened:
    """A value that was too long: its beginning, and a hash of all of it."""

    text: str


@dataclass(slots=True)
class Named:
    """What a text names.

    Attributes:
        parameters: the values; one that was too long is ``Shortened``.
        left_out: stands for the parameters for which there was no room.
        stage: the stage, if it names one's configuration.
        seed, hardware, trial: what stands behind the configuration; None or empty where nothing does.
    """

    parameters: dict[str, Any] = field(default_factory=dict)
    left_out: str = ""
    stage: str = ""
    seed: int | None = None
    hardware: str = ""
    trial: str = ""

    @property
    def configuration(self) -> tuple[str, str, dict[str, str]]:
        """Equal for texts of the same configuration, in whatever order its parameters stand."""
        values = {name: value_text(value) for name, value in self.parameters.items()}
        return self.stage, self.left_out, values


def parse(text: str) -> Named:
    """Read a text of a configuration or a trial.

    Behind the configuration may stand ``seed=2``, the hardware (``on gpu`` or ``gpu``) and a trial's id
    (``· 3f2a_00001``), as people find them in reports and in the legends of dashboards.

    Raises:
        ValueError: it is no such text.
    """
    named = Named()
    reader = _Reader(text)
    begins = True
    while not reader.is_at_end():
        if cut := reader.take(_LEFT_OUT):
            named.left_out = cut
        elif name := reader.take(_NAME_BEFORE):
            _add(named, name.removesuffix("="), reader.value())
        else:
            word = reader.word()
            if word in (_ON, _TRIAL) and not reader.is_at_end():
                setattr(named, "hardware" if word == _ON else "trial", reader.word())
            elif word != DEFAULT or not begins:
                named.hardware = word
        begins = False
    return named


def _add(named: Named, name: str, value: Any) -> None:
    if name == _SEED and type(value) is int:
        named.seed = value
    elif name == _STAGE and isinstance(value, str | Shortened):
        named.stage = value_text(value)
    else:
        name = str(_JSON.decode(name)) if name.startswith('"') else name
        if name in named.parameters:
            raise ValueError(f"{name} stands there twice")
        named.parameters[name] = value


_JSON: Final = json.JSONDecoder(strict=False)
_END: Final = r"(?!\S)"
_LEFT_OUT: Final = re.compile(rf"{_CUT}[0-9a-f]{{{_HASH_DIGITS}}}{_END}")
_SHORTENED: Final = re.compile(rf'[^\s"]*{_CUT}[0-9a-f]{{{_HASH_DIGITS}}}{_END}')
_WORD: Final = re.compile(rf'[^\s"=]+{_END}')
_KEY: Final = re.compile(r'[^\s"\\`,{}\[\]…:]+')
_SPACE: Final = re.compile(r"\s*")


class _Reader:
    """Reads a text from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def is_at_end(self) -> bool:
        self.take(_SPACE)
        return self._at == len(self._text)

    def take(self, pattern: re.Pattern[str]) -> str:
        """What is there, if it is of this form; else nothing."""
        found = pattern.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return found.group() if found else ""

    def word(self) -> str:
        self.take(_SPACE)
        return self.take(_WORD) or self._missing("a word")

    def value(self) -> Any:
        """A parameter's value, up to a space."""
        if cut := self.take(_SHORTENED):
            return Shortened(cut)
        value = self._nested(0)
        if self._text[self._at : self._at + 1].strip():
            self._missing("a space")
        return value

    def _nested(self, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError(f"it is nested too deeply (more than {_DEEPEST} levels)")
        if self._next('"'):
            return self._quoted()
        if self._skip("["):
            items = []
            while not self._skip("]"):
                items.append(self._nested(depth + 1))
                self._comma_before("]")
            return items
        if self._skip("{"):
            mapping = {}
            while not self._skip("}"):
                key = self._quoted() if self._next('"') else self.take(_KEY) or self._missing("a name")
                if not self._skip(":"):
                    self._missing("a colon")
                mapping[key] = self._nested(depth + 1)
                self._comma_before("}")
            return mapping
        return _scalar(self.take(_BARE) or self._missing("a value"))

    def _quoted(self) -> str:
        """A text in quotes.

        Raises:
            ValueError: it does not end, or has an escape that JSON does not know.
        """
        content, self._at = _JSON.raw_decode(self._text, self._at)
        return str(content)

    def _next(self, sign: str) -> bool:
        self.take(_SPACE)
        return self._text.startswith(sign, self._at)

    def _skip(self, sign: str) -> bool:
        found = self._next(sign)
        self._at += found
        return found

    def _comma_before(self, closing: str) -> None:
        if not self._skip(",") and not self._next(closing):
            self._missing("a comma")

    def _missing(self, what: str) -> NoReturn:
        raise ValueError(f"{what} is missing before {self._text[self._at :]!r}")


def _scalar(word: str) -> Any:
    """A word without quotes: a number, a truth value or null where it is one in JSON, else a text."""
    try:
        return json.loads(word)
    except ValueError:
        return word


def row_text(row: TrialRow, varying: Sequence[str]) -> str:
    """A trial in one short line: its configuration, its seed, its hardware."""
    return trial_text(configuration_text(row.parameters, varying, row.stage), row.seed, row.hardware)
