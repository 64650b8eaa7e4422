"""YAML as people expect it: PyYAML's parser with the scalars of YAML 1.2's core schema, and the line of every key.

PyYAML alone reads ``1e-3`` as text, ``NO`` as false and ``12:30`` as 750. Source: https://yaml.org/spec/1.2.2/#103-core-schema.

What a file may hold is bounded here, once for everything that reads it: how many values, how deep, how large a number.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import islice
from typing import Any, NamedTuple

import yaml

from energysweep.core.errors import InputError, one_line

KeyPath = tuple[str | int, ...]

MAX_VALUES = 20_000  # a few aliases of aliases can stand for billions of values
MAX_DEPTH = 60  # what reads a sweep after this goes into its values by recursion
MAX_NUMBER = sys.float_info.max  # the one bound of whole and other numbers; a seed may have 128 bits
_MAX_LINES = 100_000  # of which each takes PyYAML a few microseconds, whatever it holds
_MAX_DIGITS = 400  # 1e308 written out has 309
_MAX_DIRECTIVES = 20
_MAX_KEY_CHARACTERS = 300  # of a key path in a message

_TAG = "tag:yaml.org,2002:"
_SCALARS = {  # first match wins
    "null": (r"~|null|Null|NULL|", "~nN\0"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    "merge": (r"<<", "<"),
}
_PATTERNS = {kind: re.compile(rf"(?:{pattern})\Z") for kind, (pattern, _) in _SCALARS.items()}


class _Composer(yaml.SafeLoader):
    """Only builds nodes; nothing in a file can make it construct an object.

    PyYAML bounds nothing and lets some of Python's own errors through; both end here as errors with a line.
    """

    yaml_implicit_resolvers: Any = {}  # noqa: RUF012  PyYAML's own class attribute, here without the 1.1 rules

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._values = self._depth = self._directives = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Counts, before it is built."""
        # A mapping's node without an index is a key; it has a value that counts.
        self._values += not (isinstance(parent, yaml.MappingNode) and index is None)
        if self._values > MAX_VALUES:
            raise yaml.MarkedYAMLError(problem=_TOO_MANY, problem_mark=self.get_mark())
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=_TOO_DEEP, problem_mark=self.get_mark())
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def scan_directive(self) -> Any:
        """A version of thousands of digits is a ValueError of Python's."""
        self._directives += 1
        mark = self.get_mark()
        if self._directives > _MAX_DIRECTIVES:
            raise yaml.MarkedYAMLError(problem=f"more than {_MAX_DIRECTIVES} directives", problem_mark=mark)
        try:
            return super().scan_directive()
        except ValueError:
            raise yaml.MarkedYAMLError(problem="a version of too many digits", problem_mark=mark) from None

    def scan_flow_scalar_non_spaces(self, double: bool, start_mark: yaml.Mark) -> Any:
        r"""``"\UFFFFFFFF"`` is no character, which is Python's own error."""
        try:
            return super().scan_flow_scalar_non_spaces(double, start_mark)
        except (ValueError, OverflowError):
            problem = "an escape beyond the last character, \\U0010FFFF"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=self.get_mark()) from None


_TOO_MANY = f"stands for more than {MAX_VALUES} values"
_TOO_DEEP = f"is nested too deeply (more than {MAX_DEPTH} levels), or contains itself"


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.1 or 1.2 would read as something other than text."""

    yaml_implicit_resolvers: Any = {}  # noqa: RUF012  as above

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _kind, (_, _first) in _SCALARS.items():
    for _class in (_Composer, _Dumper):
        # PyYAML looks an empty scalar up under "".
        _class.add_implicit_resolver(_TAG + _kind, _PATTERNS[_kind], [c.replace("\0", "") for c in _first])
for _letter, _resolvers in yaml.SafeDumper.yaml_implicit_resolvers.items():
    _Dumper.yaml_implicit_resolvers.setdefault(_letter, []).extend(_resolvers)


@dataclass(frozen=True, slots=True)
class Document:
    """What a YAML file says, and where.

    Attributes:
        value: mappings, lists, texts, numbers, booleans and None.
        file: the name that messages call it by, None if it came from no file.
        lines: the line of every key path, counted from 1.
        overrides: the ``--set`` options that changed it, by key path.
    """

    value: Any = None
    file: str | None = None
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    overrides: Mapping[KeyPath, str] = field(default_factory=dict)

    def error(self, problem: str, path: KeyPath = (), others: Iterable[InputError | str] = ()) -> InputError:
        """An error about a key, with the place where it stands (or where its nearest ancestor does)."""
        file, line = self.place(path)
        return InputError(problem, file=file, key=key_text(path) or None, line=line, others=others)

    def place(self, path: KeyPath) -> tuple[str | None, int | None]:
        """The file (or ``--set`` option) and line of a key path."""
        for changed, option in reversed(list(self.overrides.items())):
            made_by_it = path not in self.lines and changed[: len(path)] == path
            if path and (path[: len(changed)] == changed or made_by_it):
                return option, None
        while path and path not in self.lines:
            path = path[:-1]
        return self.file, self.lines.get(path)


def key_text(path: KeyPath) -> str:
    """A key path as people write it: ``parameters.learning_rate.grid[0]``. A very long one is cut."""
    text = ""
    for key in path:
        if len(text) > _MAX_KEY_CHARACTERS:
            return f"{text} ..."
        if isinstance(key, int):
            text += f"[{key}]"
        elif len(key) <= _MAX_KEY_CHARACTERS and re.fullmatch(r"[\w-]+", key):
            text += f".{key}" if text else key
        else:
            text += f'["{one_line(key)}"]'
    return text


def read_document(text: str, file: str | None = None) -> Document:
    """Parse one YAML document.

    Raises:
        InputError: not YAML, a key twice, a tag other than YAML's own, a number beyond all bounds, half of a character,
            or too many values or levels when its aliases are followed.
    """
    node = _compose(text, file)
    if node is None:
        return Document(None, file)
    reader = _Reader(file)
    value = reader.read(node, ())
    return Document(value, file, reader.lines)


def write_document(value: Any) -> str:
    """YAML that ``read_document`` (and any reader of YAML 1.1) reads as the same value."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=120)


def _compose(text: str, file: str | None) -> yaml.Node | None:
    if text.count("\n") + text.count("\r") > 2 * _MAX_LINES:  # a line may end with both
        raise InputError(f"has more than {_MAX_LINES} lines; that is no sweep", file=file)
    try:
        return _Composer(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = None if mark is None else mark.line + 1
        if error.problem in (_TOO_MANY, _TOO_DEEP):
            raise InputError(error.problem, file=file, line=line) from None
        if mark is not None and _indented_by_tab(text, mark.line):
            raise InputError("a tab indents this line; YAML allows only spaces there", file=file, line=line) from None
        problem = f"is not valid YAML: {one_line(error.problem)}"
        if error.context:
            problem += f" ({one_line(error.context)})"
        raise InputError(problem, file=file, line=line) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = f"is not valid YAML: it holds the character U+{ord(text[error.position]):04X}, which YAML forbids"
        raise InputError(problem, file=file, line=line) from None


def _indented_by_tab(text: str, line: int) -> bool:
    lines = text.splitlines()
    return line < len(lines) and re.match(r" *\t", lines[line]) is not None


class _Reader:
    """Turns nodes into values and remembers their lines."""

    def __init__(self, file: str | None) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._file = file
        self._values = 0

    def read(self, node: yaml.Node, path: KeyPath) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        self._count(node, path)
        if len(path) > MAX_DEPTH:
            raise self._error(_TOO_DEEP, node, ())
        if isinstance(node, yaml.MappingNode):
            self._check_tag(node, path, "map")
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            self._check_tag(node, path, "seq")
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        self._check_tag(node, path, "str", "null", "bool", "int", "float")
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        own: dict[str, yaml.Node] = {}
        inherited: dict[str, tuple[int, yaml.Node]] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            if key in own:
                first = self.lines[*path, key]
                raise self._error(f"stands here twice (first on line {first})", key_node, (*path, key))
            own[key] = value_node
            self.lines[*path, key] = key_node.start_mark.line + 1
            if key_node.tag == _TAG + "merge":
                inherited = dict(self._merged(own.pop(key), path))
        for key, (line, value_node) in inherited.items():
            if key not in own:
                own[key] = value_node
                self.lines[*path, key] = line
        return {key: self.read(value_node, (*path, key)) for key, value_node in own.items()}

    def _merged(self, node: yaml.Node, path: KeyPath, depth: int = 0) -> Iterator[tuple[str, tuple[int, yaml.Node]]]:
        """The pairs that ``<<: *anchor`` or ``<<: [*anchor, ...]`` brings along; the first of several wins.

        Each counts as a value, also if another one takes its place.
        """
        if depth > MAX_DEPTH:
            raise self._error(_TOO_DEEP, node, path[:1])
        mappings = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for mapping in reversed(mappings):
            self._count(mapping, path)
            if not isinstance(mapping, yaml.MappingNode):
                raise self._error("a merge (<<) needs a mapping", mapping, path)
            for key_node, value_node in mapping.value:
                if key_node.tag == _TAG + "merge":
                    yield from self._merged(value_node, path, depth + 1)
            for key_node, value_node in mapping.value:
                if key_node.tag != _TAG + "merge":
                    self._count(key_node, path)
                    yield self._key(key_node, path), (key_node.start_mark.line + 1, value_node)

    def _key(self, node: yaml.Node, path: KeyPath) -> str:
        if node.tag not in (_TAG + "str", _TAG + "merge") or not isinstance(node.value, str):
            shown = one_line(node.value, 60) if isinstance(node, yaml.ScalarNode) else "a list or mapping"
            raise self._error(f"a key must be text, not {shown}; quote it", node, path)
        return self._text(node, path)

    def _scalar(self, node: yaml.Node, path: KeyPath) -> Any:
        kind = node.tag.removeprefix(_TAG)
        text = self._text(node, path)
        if kind == "str":
            return text
        if len(text) > _MAX_DIGITS:
            raise self._error("has too many digits", node, path)
        if _PATTERNS[kind].match(text) is None and not (kind == "float" and _PATTERNS["int"].match(text)):
            raise self._error(f"{one_line(repr(text), 60)} is not a value of !!{kind}", node, path)
        value = _value(kind, text)
        if kind in ("int", "float") and abs(value) > MAX_NUMBER and "inf" not in text.lower():
            raise self._error(f"is too large: a number is at most {MAX_NUMBER:.3g}, or .inf", node, path)
        return value

    def _text(self, node: yaml.Node, path: KeyPath) -> str:
        """The text of a scalar, of whole characters."""
        text = str(node.value)
        if text.isascii():
            return text
        try:
            # JSON writes a character beyond U+FFFF as two halves, and every JSON is YAML.
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            raise self._error("holds half of a character (\\ud800 to \\udfff)", node, path) from None

    def _count(self, node: yaml.Node, path: KeyPath) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            raise self._error(_TOO_MANY, node, path[:1])

    def _check_tag(self, node: yaml.Node, path: KeyPath, *allowed: str) -> None:
        if node.tag == _TAG + "merge" and "str" in allowed:
            node.tag = _TAG + "str"  # << as a value is text
        if node.tag.removeprefix(_TAG) not in allowed:
            tag = one_line(node.tag.replace(_TAG, "!!"), 100)
            raise self._error(f"the tag {tag} is not allowed; a sweep holds plain values only", node, path)

    def _error(self, problem: str, node: yaml.Node, path: KeyPath) -> InputError:
        line = node.start_mark.line + 1
        return InputError(problem, file=self._file, key=key_text(path) or None, line=line)


def _value(kind: str, text: str) -> Any:
    match kind:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        case _:
            return float(re.sub(r"\.(?=inf|nan)", "", text.lower()))


# Problems, before they become an error with a file and a line --------------------------------------------------------


class Problem(NamedTuple):
    """What is wrong at one key path, and what is allowed there."""

    path: KeyPath
    text: str


def shown(value: Any, at_most: int = 60) -> str:
    """A value as a message shows it: JSON, or its beginning."""
    if isinstance(value, str):
        value = value[: 2 * at_most]  # a text of a megabyte is not made into one of two
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= at_most else f"{text[: at_most - 3]}..."


def quoted(text: Any) -> str:
    """A text in quotes, or its beginning."""
    return one_line(repr(text), 100)


def did_you_mean(word: str, allowed: Iterable[str], cutoff: float = 0.6, most: int = 1, looked_at: int = 200) -> str:
    """``; did you mean NAME?`` where allowed words are near, else nothing. Of many, the first are looked at."""
    near = get_close_matches(word[:100], list(islice(allowed, looked_at)), n=most, cutoff=cutoff)
    return f"; did you mean {' or '.join(one_line(each, 100) for each in near)}?" if near else ""


def listed(words: Iterable[str]) -> str:
    """Names, with commas between them; of many, the first ones. ``none`` if there are none."""
    first = list(islice(words, 21))
    text = ", ".join(one_line(word, 60) for word in first[:20]) or "none"
    return f"{text}, ..." if len(first) > 20 else text
