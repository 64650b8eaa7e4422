"""Every error that energysweep raises on purpose.

    EnergysweepError
    ├── InputError          what the user gave is wrong (exit code 2)
    ├── SweepError          the sweep, or one of its steps, failed (exit code 1)
    ├── MeterError
    │   └── MeterUnavailable    this host lacks it; says why and how to get it
    ├── AgentError
    │   ├── AgentUnreachable
    │   ├── AgentRunning        another agent already serves this host
    │   └── LeaseRefused        the agent says no, with its reason
    │       └── OtherVersion        it speaks another version's protocol
    ├── TrackerError        a tracker is away, or refuses something
    ├── NotWritten          a report is known, and cannot be written
    └── LedgerError         the ledger's file is not one, is damaged, or cannot be written

Errors of other libraries are translated into one of these where the library is imported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

_SHOWN_CHARACTERS = 300
_PLACE_CHARACTERS = 4200  # the longest path that Linux opens has 4095 bytes
_PROBLEM_CHARACTERS = 2000
# ECMA-48: control sequences (colours, the cursor), control strings (titles, links, the clipboard), the rest.
_ESCAPE_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[PX\]^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x80-\x9f\n]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"
)


def one_line(said: object, at_most: int = _SHOWN_CHARACTERS) -> str:
    """Somebody else's words as a part of a message: one line, of at most so many characters.

    What cannot be printed is left out: a terminal would carry it out.
    """
    # A text of megabytes is no message: its beginning is enough.
    text = "".join(letter for letter in str(said)[: 10 * at_most] if letter.isprintable() or letter.isspace())
    text = " ".join(text.split())
    return text if len(text) <= at_most else f"{text[:at_most]} ..."


def because(error: str | None) -> str:
    """The error as the rest of a line."""
    text = one_line(error or "")
    return f": {text}" if text else ""


def printable(text: str) -> str:
    """A text of several lines without what a terminal would carry out, or show as something else than it is.

    Out go escape sequences as a whole, and every other character that controls, turns the direction of writing or has
    no width. Line ends stay: a carriage return is one, too, or what follows it would hide what stands before it.
    """
    if text.isprintable():
        return text
    text = _ESCAPE_SEQUENCE.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return "".join(
        letter if letter.isprintable() or letter == "\n" else " " if letter.isspace() else "" for letter in text
    )


class EnergysweepError(Exception):
    """Base of all; its text is one message for a person, without a traceback."""


class InputError(EnergysweepError):
    """The user's input is wrong. The message names the place and what is allowed.

    Args:
        problem: what is wrong, and what would be right.
        file: the file it stands in, if it is in one.
        key: the key path inside that file, such as ``parameters.learning_rate.grid[0]``.
        line: the line in that file, counted from 1.
        others: more of them that were found at the same time; each is a line of its own in the message.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str | None = None,
        key: str | None = None,
        line: int | None = None,
        others: Iterable[InputError | str] = (),
    ) -> None:
        self.problem = problem
        self.file = file
        self.key = key
        self.line = line
        place = ":".join(one_line(part, _PLACE_CHARACTERS) for part in (file, line) if part is not None)
        first = ": ".join(part for part in (place, one_line(key or ""), one_line(problem, _PROBLEM_CHARACTERS)) if part)
        super().__init__("\n".join([first, *map(str, others)]))


class SweepError(EnergysweepError):
    """The sweep, or one of its steps, failed."""


class MeterError(EnergysweepError):
    """Base of what a meter raises."""


class MeterUnavailable(MeterError):
    """A kind of meter does not exist here.

    Args:
        reason: why not, in one clause ("/sys/class/powercap does not exist").
        hint: the command or the step that would make it available, if there is one.
    """

    def __init__(self, reason: str, hint: str | None = None) -> None:
        self.reason = reason
        self.hint = hint
        super().__init__(reason)


class AgentError(EnergysweepError):
    """Base of what goes wrong between a program and its host's agent."""


class AgentUnreachable(AgentError):
    """No agent answers on this host."""


class AgentRunning(AgentError):
    """Another agent already serves this host; this one steps back."""


class LeaseRefused(AgentError):
    """The agent refused a request; the text is its reason."""


class OtherVersion(LeaseRefused):
    """The agent speaks the protocol of another version of energysweep."""


class LedgerError(EnergysweepError):
    """The ledger's file is not one, is damaged, or cannot be written."""


class TrackerError(EnergysweepError):
    """A tracker is away, or refuses something; nothing is lost, the ledger has it all."""


class NotWritten(EnergysweepError):
    """Files of a report could not be written; what they would say is known all the same.

    Args:
        reason: in words.
        summary: what they would say, a ``reporting.Summary``.
        missing: the names of the files.
    """

    def __init__(self, reason: str, summary: Any, missing: Sequence[str]) -> None:
        self.summary = summary
        self.missing = tuple(missing)
        super().__init__(reason)
