"""The one way to a terminal: whatever is printed goes through here, so that nobody's text can control it.

A trial's exception, a parameter's value or a line of a cluster's log may hold escape sequences, which a terminal
carries out: they rename its window, write into the clipboard, hide lines. ``errors.printable`` says what is left out.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO

from energysweep.core.errors import printable

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 160  # a file or a pipe has no width to fit into


def say(text: object, *, end: str = "\n") -> None:
    """Results, to standard output."""
    _write(sys.stdout, f"{text}{end}")


def note(text: object, *, end: str = "\n") -> None:
    """Progress and messages, to standard error. Nothing ends because nobody can read them any more."""
    with contextlib.suppress(OSError, ValueError):
        _write(sys.stderr, f"{text}{end}")


def flush() -> None:
    """What anybody has printed, before this program ends at once or becomes another one."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def console(*, stderr: bool = False) -> Console:
    """A console for tables, in which only rich's own styles control the terminal."""
    # Not before a table is printed: rich takes a tenth of a second, and an agent needs none.
    from rich.console import Console, ConsoleOptions, RenderableType  # noqa: PLC0415
    from rich.segment import Segment  # noqa: PLC0415

    class Clean(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                if segment.control or segment.text.isprintable():
                    yield segment
                else:
                    yield Segment(printable(segment.text), segment.style)

        def on_broken_pipe(self) -> None:
            """As with any other text: rich would end the program and turn its standard output off."""
            raise  # noqa: PLE0704 - called where the error is handled

    made = Clean(stderr=stderr)
    if not made.is_terminal:
        made.width = WIDTH
    return made


def show(table: Any) -> None:
    """A table, or anything else of rich's, to standard output."""
    console().print(table)


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:  # it was closed before this program began
        return
    text = printable(text)
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "replace").decode(encoding))  # a terminal may know ASCII only
    stream.flush()
