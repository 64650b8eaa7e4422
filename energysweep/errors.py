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
    └── LedgerError         the ledger's file is not one, is damaged, or cannot be written

Errors of other libraries are translated into one of these where the library is imported.
"""

from __future__ import annotations

_SHOWN_CHARACTERS = 300


def one_line(said: object) -> str:
    """Another program's words as a part of a message: one line, of at most 300 characters.

    What cannot be printed is left out: a terminal would carry it out.
    """
    text = "".join(letter for letter in str(said) if letter.isprintable() or letter.isspace())
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]} ..."


class EnergysweepError(Exception):
    """Base of all; its text is one message for a person, without a traceback."""


class InputError(EnergysweepError):
    """The user's input is wrong. The message names the place and what is allowed.

    Args:
        problem: what is wrong, and what would be right.
        file: the file it stands in, if it is in one.
        key: the key path inside that file, such as ``parameters.learning_rate.grid[0]``.
        line: the line in that file, counted from 1.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str | None = None,
        key: str | None = None,
        line: int | None = None,
    ) -> None:
        self.problem = problem
        self.file = file
        self.key = key
        self.line = line
        place = ":".join(str(part) for part in (file, line) if part is not None)
        super().__init__(": ".join(part for part in (place, key, problem) if part))


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
