"""Nobody's text controls the terminal: escape sequences, other control characters, what turns or hides text."""

from __future__ import annotations

import ast
import io
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

import energysweep
from energysweep.cli import main
from energysweep.core.errors import printable
from energysweep.core.runfolder import LEDGER
from energysweep.core.terminal import console, note, say
from energysweep.ledger.store import Ledger
from tests.support.example import example
from tests.support.streams import Gone

HOSTILE = [
    "\x1b]0;title\x07",  # renames the window
    "\x1b[2J\x1b[H",  # clears the screen
    "\x1b]52;c;cm0gLXJm\x07",  # writes into the clipboard
    "\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\",
    "\x1bP+q544e\x1b\\",
    "\x9b31mC1\x9d0;title\x9c",
    "\u202edesrever\u202c\u2066isolated\u2069",
    "zero\u200bwidth\u200d\ufeff\u2060",
    "bell\x07 back\x08space \x7fdelete \x00null",
    "over\rwritten",
    "line\nbreak\u2028separator\x85next\x0b\x0c",
    "[bold red]markup[/bold red] [link=http://evil.example]x[/link]",
    "half \ud800",
    "tag \U000e0041 private \ue000",
]
ALL = " ".join(HOSTILE)


def is_harmless(text: str) -> bool:
    """Whether it holds nothing but line ends and what can be seen."""
    return all(letter == "\n" or letter.isprintable() for letter in text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("two\nlines\n", "two\nlines\n"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b2Jx\x9d0;t\x9cy", "xy"),
        ("\x1b]0;never ends", "0;never ends"),
        ("\x1b", ""),
        ("\x1bcreset", "reset"),
        ("10 %\r20 %\r\n", "10 %\n20 %\n"),
        ("a\tb\xa0c\u2028d", "a b c d"),
        ("\u202eabc\u200b", "abc"),
        ("größer ≈ 5", "größer ≈ 5"),
    ],
)
def test_what_is_left_of_a_text(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters() | st.sampled_from("\x1b\x9b\x9d[];:m\x07\\\r\n")))
def test_what_is_left_is_harmless_and_stays(text: str) -> None:
    left = printable(text)
    assert is_harmless(left)
    assert printable(left) == left
    assert not any(unicodedata.category(letter) in ("Cf", "Cs", "Co", "Zl", "Zp") for letter in left)


def test_a_long_text_of_beginnings_takes_no_longer_than_its_length() -> None:
    for beginning in ("\x1b]", "\x9d", "\x1b[", "\x1bP", "\x1b[0", "\x90"):
        assert is_harmless(printable(beginning * 200_000))


def test_a_table_is_as_wide_as_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    console().print(Text("a\x1b[2Jb\u202ec"))
    assert capsys.readouterr().out == "abc\n"


def test_the_two_streams(capsys: pytest.CaptureFixture[str]) -> None:
    say(ALL)
    note(ALL, end="")
    out, err = capsys.readouterr()
    assert out == f"{err}\n"
    assert is_harmless(out)


def test_a_terminal_that_knows_ascii_only_gets_question_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", stream)
    say("≈ 5 J")
    assert stream.buffer.getvalue() == b"? 5 J\n"
    monkeypatch.setattr("sys.stdout", None)  # closed by whoever started the program
    say("x")


def test_progress_that_nobody_can_read_any_more_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Gone())
    note("a trial has ended")
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr("sys.stderr", closed)
    note("another")


def test_nothing_else_writes_to_the_streams() -> None:
    package = Path(energysweep.__file__).parent
    # The second closes it for `| head`; the third is a program's own word to the trial that has started it.
    allowed = {"core/terminal.py", "cli/__init__.py", "core/phases.py"}
    for path in package.rglob("*.py"):
        if str(path.relative_to(package)) in allowed:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.Attribute) and node.attr in ("stdout", "stderr") and _is_sys(node)), path
            assert not (isinstance(node, ast.Name) and node.id == "print"), path
            assert not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Console"), path


def _is_sys(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id == "sys"


def hostile_run(folder: Path, hostile: str) -> Path:
    """A run folder in which every text that a sweep, its code or a cluster may choose is hostile."""
    data = example(
        extra={"note": hostile, hostile: hostile},
        name=hostile,
        objective={"metric": "accuracy", "mode": "max", "target": 0.92, "patience": 1},
        varying=["learning_rate", "batch_size", "note", hostile],
        meters=[hostile],
        versions={hostile: hostile},
    )
    facts = {key: value for key, value in data.run.items() if key != "version"}
    facts["carbon"] = {**facts["carbon"], "zone": hostile, "source": hostile}
    folder.mkdir()
    with Ledger.create(folder / LEDGER, **facts) as ledger:
        ledger.record(
            [row._replace(hardware=hostile, error=f"Error: {hostile}") for row in data.trials],
            [row._replace(error=hostile) for row in data.attempts],
            [row._replace(metrics={**row.metrics, hostile: hostile}) for row in data.results],
        )
        ledger.merge(
            [row._replace(device=hostile, component="cpu") for row in data.energy if row.component == "cpu"],
            [row._replace(node=hostile, device=hostile) for row in data.meters if row.component == "cpu"],
            [row._replace(node=hostile) for row in data.leases],
            data.samples,
        )
    return folder


@pytest.mark.parametrize("hostile", [*HOSTILE[:-2], ALL.replace("\ud800", "")])
def test_a_run_of_hostile_texts_is_shown_harmlessly(
    hostile: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, other = hostile_run(tmp_path / "run", hostile), hostile_run(tmp_path / "other", hostile)
    for arguments in (
        ["report", str(run)],
        ["explain", str(run), "t-0.1-16-0"],
        ["explain", str(run), f"no such\x1b[2J {hostile}"],
        ["compare", str(run), str(other)],
    ):
        code = main(arguments)
        out, err = capsys.readouterr()
        assert code == (2 if "no such" in str(arguments) else 0), err
        assert is_harmless(out + err), (arguments, out + err)
        assert out or err


def test_a_sweep_of_hostile_texts_is_told_harmlessly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "work.py").write_text(f"raise ValueError({ALL.encode('utf-8', 'replace').decode()!r})\n")
    good = "name: a\nworkload: work.py:train\nobjective: {metric: s, mode: max}\n"
    texts: list[dict[str, Any]] = [{"name": each} for each in HOSTILE]
    for number, changed in enumerate([*texts, *({each: 1} for each in HOSTILE), {}]):
        path = tmp_path / f"{number}.yaml"
        lines = "".join(f"{_quoted(key)}: {_quoted(value)}\n" for key, value in changed.items())
        path.write_text((good if "name" not in changed else good.split("\n", 1)[1]) + lines)
        assert main(["validate", str(path)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert is_harmless(err)


def _quoted(value: object) -> str:
    text = "".join(f"\\U{ord(letter):08x}" for letter in str(value))
    return f'"{text}"'
