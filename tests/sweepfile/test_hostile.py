"""Whatever a sweep's file holds, it is answered within two seconds of CPU: a sweep, or lines that say what is wrong."""

from __future__ import annotations

import contextlib
import functools
import io
import math
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

SECONDS_OF_CPU = 2.0
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


def timed(answer: Callable[[], str]) -> tuple[str, float]:
    """What a file is answered, and the CPU seconds. On a core that others share a second may do less than at another
    time: an answer that took too long is timed once more.
    """
    took = math.inf
    for _ in range(2):
        began = time.process_time()
        words = answer()
        took = min(took, time.process_time() - began)
        if took < SECONDS_OF_CPU:
            break
    return words, took


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
def test_hand_made_files_are_answered_in_two_seconds_of_cpu(folder: Path) -> None:
    cases = list(hand_made())
    assert len(cases) >= 300
    before, slowest = snapshot(folder.parent), (0.0, "")
    for name, content in cases:
        path = folder / "sweep.yaml"
        path.write_bytes(content)
        words, took = timed(functools.partial(by_hand, path))
        slowest = max(slowest, (took, name))
        check_words(words, path, name)
        assert took < SECONDS_OF_CPU, (name, took)
        path.unlink()
    assert snapshot(folder.parent) == before
    say(f"{len(cases)} files, the slowest: {slowest[1]}, {slowest[0]:.2f} s of CPU")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_mutated_files_are_answered(folder: Path, chance: random.Random) -> None:
    texts = [GOOD, FULL, COMMAND, *(case.content for case in BROKEN if isinstance(case.content, str))]
    before, slowest, content_with = snapshot(folder.parent), 0.0, 0
    for number in range(10_000):
        path = folder / "sweep.yaml"
        content = mutated(chance, texts)
        path.write_bytes(content)
        options = [chance.choice(OPTIONS)] if number % 10 == 0 else []
        answer = validated if number % 20 == 1 and b"workload: work" in content else by_hand
        words, took = timed(functools.partial(answer, path, options))
        slowest = max(slowest, took)
        content_with += not words
        check_words(words, path, (number, content, options))
        assert took < SECONDS_OF_CPU, (number, content)
        path.unlink()
    assert snapshot(folder.parent) == before
    assert 1000 < content_with < 9000  # neither all wrong nor all right
    say(f"the slowest took {slowest:.2f} s of CPU; {content_with} were sweeps")


def test_options_are_answered_as_files_are(folder: Path) -> None:
    path = folder / "sweep.yaml"
    path.write_text(FULL)
    for option in [
        *OPTIONS,
        *(f"{key}={snippet}" for key in ("name", "parameters.x", "tags.0") for snippet in SNIPPETS),
    ]:
        words, took = timed(functools.partial(by_hand, path, [option]))
        check_words(words, path, option[:200])
        assert took < SECONDS_OF_CPU, option[:200]


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
