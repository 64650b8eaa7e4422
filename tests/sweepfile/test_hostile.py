"""Whatever a sweep's file holds, it is answered soon: a sweep, or lines that say what is wrong.

Soon is a few times what the largest good file takes: two seconds of CPU where that one takes half a second.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import random
import re
import string
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from energysweep.cli import main
from energysweep.core.errors import InputError
from energysweep.core.terminal import say
from energysweep.sweepfile import load_spec
from energysweep.sweepfile.load import MAX_BYTES
from tests.support.broken_specs import BROKEN, GOOD, WORK

MOST_TIMES = 5.0  # the CPU time of the largest good file
MUTATED = 4_000
HEAD = "name: a\nworkload: work.py:train\nobjective: {metric: s, mode: max}\n"
FULL = (
    HEAD.replace("objective: {metric: s, mode: max}\n", "")
    + """\
parameters:
  learning_rate: {loguniform: [1e-5, 1e-1]}
  momentum: {uniform: [0.5, 0.99]}
  layers: {randint: [1, 5]}
  nested: {width: {qlograndint: [8, 64, 8]}, list: [1, {normal: [0, 1]}], when: {batch: 16}}
  steps: {when: {nested.width: [8, 16], batch: 16}, quniform: [0, 1, 0.1]}
  optimizer: {choice: [adam, {name: sgd, nesterov: true}]}
  batch: &batch {grid: [16, 32]}
  other: *batch
  pretrained: {from: base, freeze_encoder: true}
  model: {name: cnn, sizes: [64, 32], deep: {er: [1, {x: null}]}}
stages:
  base: {parameters: {epochs: 3}, objective: {metric: loss, mode: min}, stop: {training_iteration: 2}}
objective: {metric: accuracy, mode: max, target: 0.95, stop_at_target: true, patience: 2}
search: {algorithm: random, num_samples: 3, seed: 7}
scheduler: {type: asha, grace_period: 1, max_resource: 9, reduction_factor: 3}
stop: {training_iteration: 50}
repeats: 2
hardware: {small: {resources: {cpu: 1, disk: 0.5}, labels: {zone: a}}}
max_concurrent_trials: 4
max_failures: 1
storage: s3://bucket/path
environment: {OMP_PROC_BIND: "true"}
working_dir: .
runtime_env: {env_vars: {A: b}, excludes: [data], pip: [x]}
tags: [one, "two words"]
carbon: {grams_per_kwh: 380, pue: 1.2}
meters: ["replay:trace.csv?after=loop", estimate]
idle_power_watts: {cpu: 20}
"""
)
COMMAND = FULL.replace("workload: work.py:train\n", 'command: [python, "train.py", "--lr={learning_rate}"]\n')
TRACE = "time_seconds,device,component,energy_joules\n0,a,cpu,0\n1,a,cpu,5\n"

SNIPPETS = [
    *(
        "*x",
        "&x ",
        "<<: *x",
        "!!python/object:os.system",
        "!!binary aGk=",
        "!!set {a}",
        "!!omap [a: 1]",
        "!",
        "!<tag:x> 1",
    ),
    *(
        "%YAML 1.2\n---\n",
        "%TAG ! x\n",
        "---\n",
        "...\n",
        "\t",
        "\r",
        "\r\n",
        "\x85",
        "\u2028",
        "\ufeff",
        "\x07",
        "\x1b[2J",
    ),
    *(
        '"\\UFFFFFFFF"',
        '"\\U00110000"',
        '"\\ud800"',
        '"\\ud83d\\ude00"',
        '"\\0"',
        '"\\x"',
        "'",
        '"',
        "`",
        "@",
        "|9",
        ">-",
        "? ",
    ),
    *(
        "9" * 30,
        "9" * 5000,
        "0x" + "f" * 40,
        "0o" + "7" * 90,
        "1e999",
        "-1e999",
        ".inf",
        "-.inf",
        ".nan",
        "1_000",
        "12:30:45",
    ),
    *("-1", "0", "1e-320", "2001-01-01", "~", "null", "true", "NO", "~nouser/x", "~", "a\\0b", "/dev/zero", "x" * 5000),
    *(
        "[" * 70,
        "{a: " * 70,
        "- " * 70,
        "]",
        "}",
        ",",
        ":",
        "#",
        "{grid: [1]}",
        "{loguniform: [0, 0]}",
        "{min: 0, max: 1}",
    ),
    *(
        "{values: [1, 2]}",
        "choice(1,2)",
        "1,2",
        "{from: nowhere}",
        "{from: ../..}",
        "replay:/dev/zero",
        "replay:",
        "../../x.py:y",
    ),
    *(
        "{0}",
        "{learning_rate!r}",
        "{{",
        "}",
        "\u202e",
        "\u200b",
        "é",
        "\U0001f600",
        "\udcff",
        "\x00",
        "<<",
        "=",
        "[]",
        "{}",
        '""',
    ),
]
OPTIONS = [
    *(
        "",
        "=",
        "a",
        "a=",
        "=1",
        ".=1",
        "a..b=1",
        "name.x=1",
        "repeats=1e999",
        "repeats=9" + "9" * 4999,
        "x" * 100_000 + "=1",
    ),
    *("parameters" + ".x" * 1000 + "=1", "parameters" + ".x" * 58 + "=" + "[" * 58 + "]" * 58, "tags.a=1", "tags.0=x"),
    *(
        "tags.99999999999999999999=1",
        "tags.²=1",
        "tags.-1=1",
        "parameters.batch.grid.0=1e-4",
        'name="\\ud800"',
        'working_dir="\\0"',
    ),
    *(
        "\x1b[2J=1",
        "name=\x1b[2J",
        "parameters=null",
        "parameters=[",
        "objective=!!python/name:os.system",
        "a.b.c.d.e=*x",
    ),
    *("repeats=" + "1" * 100_000, "storage=~nouser/x", "working_dir=" + "x/" * 3000, "workload=" + "a." * 3000 + "b:c"),
]


def filled(text: str) -> str:
    return HEAD + text


def hand_made() -> Iterator[tuple[str, bytes]]:
    """Files that were written to break a reader, by name."""
    n = MAX_BYTES
    large = {
        "one word": "a" * n,
        "words": "a " * (n // 2),
        "quotes": "'" + "''" * (n // 2 - 1),
        "escapes": '"' + "\\x41" * (n // 4 - 1) + '"',
        "comments": "#\n" * (n // 2),
        "one comment": "#" * n,
        "line ends": "\n" * n,
        "spaces": " " * n,
        "carriage returns": "\r\n" * (n // 2),
        "folded": "a: >\n" + " x\n" * (n // 3 - 2),
        "literal": "a: |\n" + " x\n" * (n // 3 - 2),
        "continued": "a:\n" + " x\n" * (n // 3 - 2),
        "numbers": "[" + "1," * (n // 2 - 1) + "]",
        "items": "- 1\n" * (n // 4),
        "keys": "".join(f"k{i}: 1\n" for i in range(90_000)),
        "same keys": "k: 1\n" * (n // 5),
        "braces": "{" + "a," * (n // 2 - 1) + "}",
        "brackets": "[" * n,
        "dashes": "- " * (n // 2),
        "marks": "? " * (n // 2),
        "colons": ": " * (n // 2),
        "directives": "%A\n" * (n // 4) + "--- a",
        "documents": "---\n" * (n // 4),
        "an anchor": "&" + "a" * (n - 10) + " b",
        "anchors": "[" + "".join(f"&a{i} b," for i in range(80_000)) + "]",
        "aliases": "a: &a 1\nb: [" + "*a," * 300_000 + "]",
        "tags": "[" + "!!str a," * 100_000 + "]",
        "a tag": "!<" + "%41" * 300_000 + "> a",
        "a tag's handle": "%TAG !a! " + "x" * (n - 100) + "\n--- !a!b c",
        "a key": "? " + "a" * (n - 10) + "\n: b",
        "unknown keys": HEAD + "".join(f"u{i}: 1\n" for i in range(19_000)),
        "a long unknown key": HEAD + "? " + "x" * 900_000 + "\n: 1\n",
        "a grid": filled("parameters: {x: {grid: [" + ",".join(map(str, range(19_900))) + "]}}"),
        "a grid of one value": filled("parameters: {x: {grid: [" + "1," * 19_900 + "]}}"),
        "grids": filled("parameters:\n" + "".join(f" p{i}: {{grid: [1, 2, 3]}}\n" for i in range(3900))),
        "long twins": filled(f"parameters: {{x: {{grid: [{'y' * 450_000}, {'y' * 450_000}]}}}}"),
        "choices": filled("parameters: {x: {choice: [" + "{a: 1}," * 9_000 + "]}}"),
        "strings for numbers": filled("stop: {" + ",".join(f"m{i}: x" for i in range(9000)) + "}"),
        "environment": filled("environment: {" + ",".join(f"v{i}: 1" for i in range(9000)) + "}"),
        "meters": filled("meters: [" + "x," * 19_000 + "]"),
        "tag list": filled("tags: [" + "1," * 19_000 + "]"),
        "placeholders": filled("parameters: {x: 1}\n").replace(
            "workload: work.py:train", "command: [" + "'{a}{b}'," * 19_000 + "]"
        ),
        "one argument": HEAD.replace("workload: work.py:train", "command: ['" + "{a}" * 300_000 + "']"),
        "arguments": HEAD.replace("workload: work.py:train", "command: [" + "'{x}'," * 9_000 + "]")
        + "parameters: {"
        + ",".join(f"p{i}: 1" for i in range(9000))
        + "}",
        "hardware": filled("hardware: {" + ",".join(f"h{i}: {{resources: {{cpu: 0}}}}" for i in range(4500)) + "}"),
        "stages": filled("stages: {" + ",".join(f"s{i}: {{}}" for i in range(9000)) + "}"),
        "origins": filled(
            "parameters: {pretrained: {grid: ["
            + ",".join(f"{{from: n{i}}}" for i in range(4000))
            + "]}}\nstages: {"
            + ",".join(f"s{i}: {{}}" for i in range(4000))
            + "}"
        ),
        "nested constants": filled("parameters: {x: [" + "{lr: {loguniform: [1, 2]}}," * 3000 + "]}"),
        "deep distributions": filled(
            "parameters: {x: " + "{a: " * 50 + "[" + "{b: 1}," * 8000 + "{grid: [1]}]" + "}" * 51 + "\n"
        ),
        "a circle of conditions": filled(
            "parameters: {"
            + ",".join(f"p{i}: {{when: {{p{(i + 1) % 2500}: 1}}, grid: [1]}}" for i in range(2500))
            + "}"
        ),
        "a chain of conditions": filled(
            "parameters: {p0: {grid: [1, 2]}, "
            + ",".join(f"p{i}: {{when: {{p{i - 1}: 1}}, grid: [1, 2]}}" for i in range(1, 2200))
            + "}"
        ),
        "one for each value": filled(
            "parameters: {x: {grid: ["
            + ",".join(map(str, range(2000)))
            + "]}, "
            + ",".join(f"p{i}: {{when: {{x: {i}}}, grid: [1, 2]}}" for i in range(2000))
            + "}"
        ),
        "many values of a condition": filled(
            "parameters: {x: {grid: [1, 2]}, y: {when: {x: [" + "1," * 19_000 + "]}, grid: [1]}}"
        ),
        "conditions on nothing": filled(
            "parameters: {" + ",".join(f"p{i}: {{when: {{q{i}: 1}}, grid: [1]}}" for i in range(2500)) + "}"
        ),
        "steps without end": filled(
            "search: {algorithm: random, num_samples: 2}\nparameters: {x: {quniform: [-1e308, 1e308, 1e-308]},"
            " y: {qnormal: [1e307, 1, 1e-308]}, z: {qloguniform: [1e-308, 1e308, 1e-308]}}"
        ),
        "a long workload": "workload: " + "a." * 450_000 + "b:c\nname: a\nobjective: {metric: s, mode: max}\n",
        "a long file name": HEAD.replace("work.py", "x" * 900_000 + ".py"),
        "a workload of .py": HEAD.replace("work.py", ".py" * 300_000),
        "a long country": filled("carbon: {country: " + "x" * 900_000 + "}"),
        "a long name": HEAD.replace("name: a", "name: " + "x" * 900_000),
        "a long mode": HEAD.replace("max", "x" * 900_000),
        "a text with commas": filled("parameters: {x: '" + "1," * 450_000 + "'}"),
        "a long call": filled("parameters: {x: '" + "a." * 450_000 + "()'}"),
        "decimals": "a: " + "1" * 900_000 + ".5",
        "hex": "a: 0x" + "f" * 900_000,
        "octal": "a: 0o" + "7" * 900_000,
        "decimal": "a: " + "9" * 900_000,
        "exponent": "a: 1e" + "9" * 900_000,
        "dots": "a: " + "." * 900_000,
        "zeros": "a: " + "0" * 900_000,
        "emoji": "a: " + "\U0001f600" * 240_000,
        "separators": "a: " + "\u2028" * 300_000,
        "quoted line ends": 'a: "' + "\n" * 900_000 + '"',
        "plain line ends": "a: b" + "\n" * 900_000 + " c",
        "a directive's number": "%YAML 1." + "1" * 900_000 + "\n--- a",
        "merges": "a: &a {"
        + ",".join(f"k{i}: 1" for i in range(2000))
        + "}\n"
        + filled("parameters:\n  <<: [" + "*a," * 15_000 + "]\n"),
        "merges of merges": "a0: &a0 {k: 1}\n"
        + "".join(f"a{i}: &a{i} {{<<: [{','.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 30)),
        "a chain of merges": "a0: &a0 {k: 1}\n" + "".join(f"a{i}: &a{i} {{<<: *a{i - 1}}}\n" for i in range(1, 9000)),
        "laughs": "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)),
        "a merge of itself": "a: &a {<<: *a, b: 1}",
        "a list in itself": "a: &a [*a]",
        "a mapping in itself": "a: &a {b: *a}",
        "steps": "".join(" " * i + "a:\n" for i in range(1200)),
        "repeats": filled("parameters: {x: {grid: [1,2]}}\nrepeats: " + "9" * 4300),
        "many samples": filled(
            "search: {algorithm: random, num_samples: 18446744073709551615}\nrepeats: 18446744073709551615\n"
        ),
    }
    for name, text in large.items():
        yield name, text.encode()[:n]
    for snippet in SNIPPETS:
        for key in ("name", "workload", "tags", "repeats", "working_dir", "storage", "stop", "parameters", "meters"):
            if len(snippet) > 1000 and key not in ("repeats", "working_dir"):
                continue
            without = "".join(line for line in HEAD.splitlines(keepends=True) if not line.startswith(key))
            yield f"{key}: {snippet[:20]!r}", f"{without}{key}: {snippet}\n".encode("utf-8", "surrogatepass")
    yield "UTF-16", "\ufeffname: a\n".encode("utf-16-le")
    yield "UTF-16 without its mark", "name: a\n".encode("utf-16-be")
    yield "UTF-32", "name: a\n".encode("utf-32")
    yield "Latin-1", "name: größe\n".encode("latin-1")
    yield "null bytes", bytes(n)
    yield "all bytes", bytes(range(256)) * 100
    yield "too large", b"a" * (n + 1)


def mutated(chance: random.Random, texts: Sequence[str]) -> bytes:
    """One of the texts with a few of the changes that slips, editors and enemies make."""
    data = chance.choice(texts[:3] if chance.random() < 0.8 else texts)
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3, 8))):
        begin = chance.randrange(len(data) + 1)
        end = min(len(data), begin + chance.choice((0, 0, 1, 1, 2, 5, 20, 200)))
        match chance.randrange(6):
            case 0:
                data = data[:begin] + chance.choice(SNIPPETS) + data[end:]
            case 1:
                data = data[:begin] + data[end:]
            case 2:
                data = data[:begin] + data[begin:end] * chance.choice((2, 3, 30)) + data[end:]
            case 3:
                data = data[:begin] + chance.choice(string.printable) + data[end:]
            case 4:  # a value for another one
                words = [each.span() for each in re.finditer(r"[^\s:,{}\[\]]+", data)]
                if words:
                    (begin, end), (first, last) = chance.choice(words), chance.choice(words)
                    data = data[:begin] + data[first:last] + data[end:]
            case _:
                lines = data.splitlines(keepends=True)
                chance.shuffle(lines[: chance.randrange(len(lines) + 1)])
                lines.insert(chance.randrange(len(lines) + 1), chance.choice(lines or [""]))
                data = "".join(lines)
    encoded = data.encode("utf-8", "surrogatepass")
    if chance.random() < 0.05:
        place = chance.randrange(len(encoded) + 1)
        encoded = encoded[:place] + bytes([chance.randrange(256)]) + encoded[place:]
    return encoded


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "work.py").write_text(WORK)
    (tmp_path / "sweeps" / "trace.csv").write_text(TRACE)
    monkeypatch.chdir(tmp_path / "sweeps")
    return tmp_path / "sweeps"


def by_hand(path: Path, options: Sequence[str] = ()) -> str:
    """What ``load_spec`` says; empty if it is content."""
    try:
        load_spec(path, options)
    except InputError as error:
        return str(error)
    return ""


def by_command(arguments: Sequence[str]) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(list(arguments))
        except SystemExit as end:  # argparse's way out
            code = int(end.code or 0)
    return code, out.getvalue(), err.getvalue()


def validated(path: Path, options: Sequence[str]) -> str:
    """What the command says of a file: nothing if it is a sweep."""
    code, out, err = by_command(["validate", str(path), *(part for each in options for part in ("--set", each))])
    assert code in (0, 2), (code, err)
    assert (out == "") == (code == 2), (code, out)
    return err.removeprefix("energysweep: ").removesuffix("\n")


def cpu_seconds(answer: Callable[[], str]) -> tuple[str, float]:
    """What a file is answered, and what that takes."""
    began = time.process_time()
    words = answer()
    return words, time.process_time() - began


class Watch:
    """Compares what files take with what the largest good one takes, in the same minute on the same machine.

    Args:
        folder: where a file of that size may be.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder.parent / "large.yaml"
        self._path.write_text(filled("parameters: {x: {grid: [" + ",".join(map(str, range(19_900))) + "]}}"))
        self._large = self._of_the_largest()
        self.slowest: tuple[float, object] = (0.0, "")

    def _of_the_largest(self) -> float:
        words, took = cpu_seconds(functools.partial(by_hand, self._path))
        assert words == ""
        return took

    def ask(self, case: object, answer: Callable[[], str]) -> str:
        """What a file is answered. On a core that others share a second may do less than at another time: an answer
        that took too long is timed once more, and so is the largest.
        """
        words, took = cpu_seconds(answer)
        if took > MOST_TIMES * self._large:
            self._large = max(self._large, self._of_the_largest())
            took = min(took, cpu_seconds(answer)[1])
        self.slowest = max(self.slowest, (took / self._large, case), key=lambda each: each[0])
        assert took <= MOST_TIMES * self._large, (case, took, self._large)
        return words


def check_words(words: str, file: Path, case: object) -> None:
    """Few lines of moderate length, that name the file and carry nothing into a terminal."""
    lines = words.splitlines()
    assert len(lines) <= 11, (case, words[:500])
    for line in lines:
        assert line.isprintable(), (case, line)
        assert len(line) < 3000 + len(str(file)), (case, line[:500])
        assert str(file) in line or "--set" in line or re.fullmatch(r"and (\d+ )?more", line), (case, line)


def snapshot(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if "__pycache__" not in path.parts}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_hand_made_files_are_answered_as_soon_as_large_ones(folder: Path) -> None:
    cases = list(hand_made())
    assert len(cases) >= 300
    watch, before = Watch(folder), snapshot(folder.parent)
    for name, content in cases:
        path = folder / "sweep.yaml"
        path.write_bytes(content)
        check_words(watch.ask(name, functools.partial(by_hand, path)), path, name)
        path.unlink()
    assert snapshot(folder.parent) == before
    say(f"{len(cases)} files, the slowest: {watch.slowest[1]}, {watch.slowest[0]:.2f} times the largest good one")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_mutated_files_are_answered(folder: Path, chance: random.Random) -> None:
    texts = [GOOD, FULL, COMMAND, *(case.content for case in BROKEN if isinstance(case.content, str))]
    watch, content_with = Watch(folder), 0
    before = snapshot(folder.parent)
    for number in range(MUTATED):
        path = folder / "sweep.yaml"
        content = mutated(chance, texts)
        path.write_bytes(content)
        options = [chance.choice(OPTIONS)] if number % 10 == 0 else []
        answer = validated if number % 20 == 1 and b"workload: work" in content else by_hand
        case = (number, content, options)
        words = watch.ask(case, functools.partial(answer, path, options))
        content_with += not words
        check_words(words, path, case)
        path.unlink()
    assert snapshot(folder.parent) == before
    assert MUTATED / 10 < content_with < MUTATED * 0.9  # neither all wrong nor all right
    say(f"the slowest took {watch.slowest[0]:.2f} times the largest good one; {content_with} were sweeps")


def test_options_are_answered_as_files_are(folder: Path) -> None:
    path, watch = folder / "sweep.yaml", Watch(folder)
    path.write_text(FULL)
    for option in [
        *OPTIONS,
        *(f"{key}={snippet}" for key in ("name", "parameters.x", "tags.0") for snippet in SNIPPETS),
    ]:
        check_words(watch.ask(option[:200], functools.partial(by_hand, path, [option])), path, option[:200])


def test_what_is_no_plain_file_is_told_and_nobody_waits_for_it(folder: Path) -> None:
    os.mkfifo(folder / "pipe.yaml")
    (folder / "folder.yaml").mkdir()
    (folder / "zero.yaml").symlink_to("/dev/zero")
    (folder / "loop.yaml").symlink_to("loop.yaml")
    (folder / "nowhere.yaml").symlink_to("/nowhere/x")
    for name, problem in {
        "pipe.yaml": "is a pipe or a device, not a sweep YAML",
        "zero.yaml": "is a pipe or a device, not a sweep YAML",
        "folder.yaml": "is a folder, not a sweep YAML",
        "loop.yaml": "cannot be read: Too many levels of symbolic links",
        "nowhere.yaml": "there is no such file",
        "x" * 300: "cannot be read: File name too long",
        "a\0b": "cannot be read: embedded null byte",
        "b\udcff": "there is no such file",
        "a\ud800": "cannot be read: its name holds half of a character",
    }.items():
        with pytest.raises(InputError) as caught:
            load_spec(folder / name)
        assert caught.value.problem == problem, name
        assert str(caught.value).isprintable()
