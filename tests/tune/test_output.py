"""Reports in what a program writes."""

from __future__ import annotations

import json
import math
import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.tune.command import LONGEST_LINE, SEARCHED_CHARACTERS, Line, Lines, Patterns, json_reports


def written(*pieces: bytes) -> list[str]:
    lines = Lines()
    return [line.text for piece in (*pieces, None) for line in lines.feed(piece or b"", is_end=piece is None)]


def reports(output: bytes, *patterns: str) -> list[dict[str, Any]]:
    lines = Lines()
    of_line = Patterns(patterns).reports if patterns else json_reports
    every = [*lines.feed(output), *lines.feed(b"", is_end=True)]
    return [report for line in every for report in of_line(line)]


@pytest.mark.parametrize(
    ("output", "found"),
    [
        (b'{"a": 1}\n', [{"a": 1}]),
        (b'{"a": 1}', [{"a": 1}]),
        (b'  {"a": 1}  \r\n\n{"a": 2}\r\n', [{"a": 1}, {"a": 2}]),
        (b'\xef\xbb\xbf{"a": 1}\n\xef\xbb\xbf{"a": 2}\n', [{"a": 1}, {"a": 2}]),
        (b'{"a": 1}{"a": 2} {"a": 3}\n', [{"a": 1}, {"a": 2}, {"a": 3}]),
        (b'\r 10%|#  | 1/10\r 20%|## | 2/10\r{"a": 1}\n', [{"a": 1}]),
        (b'\r  0%|   | 0/10\r 20%|## | 2/10 [00:01<00:04]{"a": 1}\n', [{"a": 1}]),
        (b'\r5it [00:01, 3.00it/s]{"a": 1}\r6it [00:02]', [{"a": 1}]),
        (b'\x1b[32m{"a": 1}\x1b[0m\n\x1b]0;title\x07{"a": 2}\n\r\x1b[2K{"a": 3}\n', [{"a": 1}, {"a": 2}, {"a": 3}]),
        (b'{"val": {"loss": 0.5}, "name": "\xc3\xa9", "ok": true, "none": null}\n',
         [{"val": {"loss": 0.5}, "name": "é", "ok": True, "none": None}]),
        (b'{"a": "0.5"}\n', [{"a": "0.5"}]),
        (b'{"a": -Infinity}\n', [{"a": -math.inf}]),
        (b'{"a": "\xff"}\n', [{"a": "\N{REPLACEMENT CHARACTER}"}]),
        (b'{"a": "\\udcff"}\n', [{"a": "\udcff"}]),
        (b'{"a": 1, "a": 2}\n', [{"a": 2}]),
        (b'config: {"a": 1}\n', []),
        (b'{"a": 1} and more\n', []),
        (b'{"a": 1}, {"a": 2}\n', []),
        (b"{'a': 1}\n", []),
        (b'{"a": 1\n}\n', []),
        (b'[{"a": 1}]\n', []),
        (b'{"a": 1} [2]\n', []),
        (b'{}\n3\nnull\n"text"\n', []),
        (b'{"a": ' + b"[" * 200_000 + b"\n", []),
        (b"\x00\xff\xfe\n", []),
    ],
)  # fmt: skip
def test_json_objects_of_a_line_of_their_own_are_reports(output: bytes, found: list[dict[str, Any]]) -> None:
    assert reports(output) == found


def test_nan_and_integers_longer_than_python_reads_are_no_numbers_but_no_loss_of_the_report() -> None:
    (report,) = reports(b'{"a": NaN, "b": ' + b"9" * 5000 + b', "c": 0.5, "d": ' + b"9" * 400 + b"}\n")
    assert math.isnan(report["a"])
    assert (report["b"], report["c"], report["d"]) == ("9" * 5000, 0.5, 10**400 - 1)


@given(st.text(st.characters(exclude_characters="\x1b\ufeff"), max_size=50), st.lists(st.integers(0, 200), max_size=6))
def test_lines_are_the_same_however_the_output_is_cut_into_pieces(text: str, cuts: list[int]) -> None:
    output = text.encode("utf-8", "surrogatepass")
    places = sorted({min(cut, len(output)) for cut in cuts} | {0, len(output)})
    pieces = [output[start:end] for start, end in pairwise(places)]
    whole, cut_up = written(output), written(*pieces)
    assert [line for line in cut_up if line] == [line for line in whole if line]  # CR and LF may come apart


def test_a_line_without_an_end_is_not_kept_beyond_its_limit() -> None:
    lines = Lines()
    for _ in range(100):
        assert list(lines.feed(b'{"a": 1}' * 10_000)) == []
        assert sum(map(len, lines._parts)) <= LONGEST_LINE
    assert list(lines.feed(b"\n")) == [Line("")]
    assert list(lines.feed(b'{"a": 1}\n')) == [Line('{"a": 1}')]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_whatever_a_program_writes_is_read(chance: random.Random) -> None:
    parts = [b"{", b"}", b'"a"', b":", b"1", b",", b"\r", b"\n", b"\x1b[", b"\x1b]", b"\x07", b"\xef\xbb\xbf", b"\xff",
             b"NaN", b"[", b"]", b" ", b'{"a": 0.5}', b"val_acc 0.5", b"\0", b"\\u", b"e999", b"9" * 500]  # fmt: skip
    for _ in range(20_000):
        output = b"".join(chance.choices(parts, k=chance.randrange(30)))
        for report in reports(output) + reports(output, r"val_acc (?P<a>\S+)"):
            assert report
            json.dumps(report)


@pytest.mark.parametrize(
    ("patterns", "output", "found"),
    [
        ([r"val_acc (?P<accuracy>[0-9.]+)"], b"epoch 1 val_acc 0.5\nval_acc 1\n", [{"accuracy": 0.5}, {"accuracy": 1}]),
        ([r"acc=(?P<accuracy>\S+)"], b"acc=0.1 acc=0.2\n", [{"accuracy": 0.1}, {"accuracy": 0.2}]),
        ([r"acc=(?P<accuracy>\S+)"], b"\r 10%| acc=0.1\r 20%| acc=0.2", [{"accuracy": 0.1}, {"accuracy": 0.2}]),
        ([r"acc=(?P<accuracy>\S+)"], b"acc=nope\nacc=1e-3\nacc=\x1b[1m5\x1b[0m\nacc=1_0x\n",
         [{"accuracy": "nope"}, {"accuracy": 0.001}, {"accuracy": 5}, {"accuracy": "1_0x"}]),
        ([r"loss (?P<loss>\S+)(?: acc (?P<accuracy>\S+))?"], b"loss 1\nloss 0.5 acc 0.9\n",
         [{"loss": 1}, {"loss": 0.5, "accuracy": 0.9}]),
        # The last one makes the report; it has what the others have found since the one before.
        ([r"loss (?P<loss>\S+)", r"acc (?P<accuracy>\S+)"],
         b"loss 3\nloss 2\nacc 0.5\nacc 0.6\nacc 0.7 loss 1\nloss 0\n",
         [{"loss": 2, "accuracy": 0.5}, {"accuracy": 0.6}, {"loss": 1, "accuracy": 0.7}]),
        ([r"loss (?P<loss>\S+)", r"(?P<epoch>\d+) done"], b"loss 1 loss 2 / 1 done\n2 done\n",
         [{"loss": 2, "epoch": 1}, {"epoch": 2}]),
        ([r"acc (?P<accuracy>\S+)"], b'{"accuracy": 1}\n', []),
    ],
)  # fmt: skip
def test_patterns_find_reports_in_lines(patterns: list[str], output: bytes, found: list[dict[str, Any]]) -> None:
    assert reports(output, *patterns) == found


def test_patterns_are_looked_for_in_the_beginning_of_a_line_only() -> None:
    assert reports(b"x" * SEARCHED_CHARACTERS + b"acc 1\nacc 2\n", r"acc (?P<a>\d)") == [{"a": 2}]
