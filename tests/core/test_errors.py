"""Messages for a person."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.core.errors import one_line


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("disk full", "disk full"),
        ("  two\n\n lines\t", "two lines"),
        ("a\x1b[2Jb", "a[2Jb"),
        ("a \x00 b", "a b"),
        ("a\u202eb\x9bc\u2028d", "abc d"),
        ("größer", "größer"),
        (None, "None"),
        ("", ""),
        ("x" * 300, "x" * 300),
        ("x" * 301, "x" * 300 + " ..."),
    ],
)
def test_another_program_s_words_are_one_line_that_does_nothing_to_a_terminal(said: object, shown: str) -> None:
    assert one_line(said) == shown


@given(st.text())
def test_one_line_is_printable_and_one_line_of_itself(said: str) -> None:
    shown = one_line(said)
    assert shown.isprintable()
    assert "  " not in shown
    assert one_line(shown) == shown or len(shown) > 300
