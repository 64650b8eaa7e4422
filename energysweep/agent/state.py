"""What an agent leaves for the one that comes after it on the same boot of the host.

Hardware counters and CPU clocks go on while no agent runs. So an agent that finds the state of an earlier one goes on
from its last reading and books the gap as one long interval: nothing is lost, nothing is reset, nothing counts twice.

The file lives as long as the boot. The kernel keeps what was written when a process is killed, and after a crash of
the host the file is void: it need not be synced to the disk, and writing it costs a few milliseconds at most.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from energysweep.accounting.accounts import Trial
from energysweep.accounting.books import Booked, Books
from energysweep.accounting.observer import Observed, Observer
from energysweep.agent.protocol import within_bounds
from energysweep.core.errors import one_line
from energysweep.core.host import Host

FORMAT = 7

log = logging.getLogger(__name__)


class Address(NamedTuple):
    """Where an agent's server is found, kept over a restart because drivers know it.

    Attributes:
        asked_port, port: what the server was to listen on, and does.
    """

    asked_port: int
    port: int


@dataclass(slots=True)
class Saved:
    """All that an agent knows, at one moment between two readings.

    Attributes:
        boot_id: of the host; counters of two boots are never subtracted.
        observer, books: what they know.
        address: where drivers find the agent's server.
    """

    boot_id: str
    observer: Observed
    books: Booked
    address: Address | None = None
    format: int = FORMAT


class StateFile:
    """Where an agent keeps its state. The first line holds what is alive, each further one a trial that has ended.

    Args:
        path: the file; its name should have the boot's id.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # An ended trial's line, and what it depends on: few of them still change.
        self._ended: dict[tuple[str, str], tuple[_Mark, str]] = {}
        self._failed = False

    def load(self, boot_id: str) -> Saved | None:
        """What was saved last on this boot; None if there is nothing that can be used."""
        try:
            if self._path.stat().st_uid != os.getuid():
                log.warning("%s belongs to another user: ignored", self._path)
                return None
            first, *ended = self._path.read_text(encoding="utf-8").splitlines()
            content = json.loads(first, object_hook=_mapping)
            if (content["format"], content["boot_id"]) != (FORMAT, boot_id):
                log.warning("%s is of another version or another boot: ignored", self._path)
                return None
            windows = {window["id"]: window for window in content["books"]["windows"]}
            for line in ended:
                window, name, trial = json.loads(line, object_hook=_mapping)
                windows[window]["trials"][name] = trial
            return _checked(content)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            log.warning("%s cannot be used, the agent begins anew: %s", self._path, one_line(error))
            return None

    def save(self, saved: Saved) -> None:
        """Replace the file. If it cannot be written, there is none any more: an old one would tell of the past."""
        temporary = self._path.with_suffix(".new")  # one agent writes: it holds the lock
        try:
            text = self._text(saved)
            # For this user only: it tells of everybody's runs.
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor, not a path
                file.write(text)
            temporary.replace(self._path)
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.warning("the agent's state cannot be kept, a restart would begin anew: %s", error)
            self._failed = True
            self.remove()
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def remove(self) -> None:
        """Nobody shall go on from here."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _text(self, saved: Saved) -> str:
        windows, lines, known = [], [], self._ended
        self._ended = {}
        for window in saved.books.windows:
            alive: dict[str, Trial] = {}
            for name, trial in window.trials.items():
                if trial.ended is None:
                    alive[name] = trial
                    continue
                key, mark = (window.id, name), _mark(trial)
                written, line = known.get(key, (None, ""))
                if written != mark:
                    line = _json([window.id, name, trial])
                self._ended[key] = (mark, line)
                lines.append(line)
            windows.append(dataclasses.replace(window, trials=alive))
        return "\n".join(
            [_json(dataclasses.replace(saved, books=dataclasses.replace(saved.books, windows=windows))), *lines]
        )


def _checked(content: Any) -> Saved:
    saved = _adapter().validate_python(content)
    for window in saved.books.windows:  # an agent that was less strict may have kept what this one could not show
        window.sweep = within_bounds(window.sweep)
    return saved


_Mark = tuple[float | None, bool, float]


def _mark(trial: Trial) -> _Mark:
    # A reading that failed at its end is made up for by the next one.
    return trial.ended, trial.is_over, sum(trial.joules.values())


@functools.cache
def _adapter() -> TypeAdapter[Saved]:
    return TypeAdapter(Saved)


def _json(content: Any) -> str:
    return json.dumps(content, default=_fields, separators=(",", ":"))


def _fields(record: Any) -> dict[str, Any]:
    """A dataclass as JSON knows it; a mapping whose keys are tuples becomes a list of pairs."""
    return {field.name: _pairs(getattr(record, field.name)) for field in dataclasses.fields(record)}


def _pairs(value: Any) -> Any:
    if isinstance(value, dict) and value and not all(isinstance(key, str) for key in value):
        return {"pairs": list(value.items())}
    return value


def _mapping(content: dict[str, Any]) -> dict[Any, Any]:
    pairs = content.get("pairs")
    if len(content) == 1 and isinstance(pairs, list):
        return {_key(key): value for key, value in pairs}
    return content


def _key(key: Any) -> Any:
    return tuple(map(_key, key)) if isinstance(key, list) else key


# When it is saved, and how the next agent takes it up ----------------------------------------------------------------

SAVE_AT_MOST_EVERY_SECONDS = 0.1
_SAVE_IDLE_EVERY_SECONDS = 60.0
_SAVE_PART = 0.05  # of the time goes into saving, at most


class Keeper:
    """Saves and restores what an observer and its books know.

    Args:
        host: the host.
        observer, books: what is kept.
        state: where; None keeps nothing.

    Attributes:
        address: where the agent's server is found; None if it has none.
        changed: whether there is anything new to save.
        has_ended: nothing is saved any more, so nobody may be told anything new.
        after_saving: called after each saving.
    """

    def __init__(self, host: Host, observer: Observer, books: Books, state: StateFile | None) -> None:
        self.address: Address | None = None
        self.changed = False
        self.has_ended = False
        self.after_saving: Callable[[], object] = lambda: None
        self._host = host
        self._observer = observer
        self._books = books
        self._state = state
        self._saved_at, self._save_seconds = -math.inf, 0.0

    @property
    def keeps(self) -> bool:
        """Whether anything is kept (still)."""
        return self._state is not None

    def restore(self) -> bool:
        """Take up what an earlier agent of this boot has left; False if there is nothing that fits."""
        saved = self._state.load(self._host.boot_id) if self._state is not None else None
        if saved is None:
            return False
        if not self._observer.can_restore(saved.observer):
            log.warning("the state of an earlier agent is of other meters: ignored")
            return False
        self.address = saved.address
        self._observer.restore(saved.observer)
        self._books.restore(saved.books)
        for window in self._books.windows.values():
            self._observer.leases.update((lease.id, lease) for lease in window.leases.values() if lease.closed is None)
        self.changed = True
        return True

    def save_if_due(self) -> None:
        """Save, if anything changed: at most ten times a second."""
        pause = max(SAVE_AT_MOST_EVERY_SECONDS, self._save_seconds / _SAVE_PART)
        if self.changed and self._host.clock() - self._saved_at >= pause:
            self.save()

    def save_at_tick(self, began: float) -> None:
        """Save, once a second while anything counts or has changed, else once a minute."""
        if self._books.open_windows() or self.changed or began - self._saved_at >= _SAVE_IDLE_EVERY_SECONDS:
            self.save()

    def save(self) -> None:
        """Save now."""
        self._saved_at = self._host.clock()
        self.changed = False
        if self._state is not None:
            self._state.save(self._saved())
        self.after_saving()
        self._save_seconds = self._host.clock() - self._saved_at

    def end(self, *, keep_state: bool) -> None:
        """Save for the last time, or leave nothing."""
        if self._state is None:
            return
        if keep_state:
            self.save()
        else:
            self._state.remove()
        self._state = None
        self.has_ended = True

    def _saved(self) -> Saved:
        return Saved(
            boot_id=self._host.boot_id,
            observer=self._observer.state(),
            books=self._books.state(),
            address=self.address,
        )
