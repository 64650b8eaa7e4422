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
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from energysweep.agent.accounts import Trial
from energysweep.agent.counters import Counter
from energysweep.agent.processes import Process, Root
from energysweep.agent.protocol import within_bounds
from energysweep.agent.windows import SavedWindow
from energysweep.errors import one_line
from energysweep.meters.base import Component

FORMAT = 4

log = logging.getLogger(__name__)


class Address(NamedTuple):
    """Where an agent's server is found, kept over a restart because drivers know it.

    Attributes:
        asked_port, port: what the server was to listen on, and does.
    """

    asked_port: int
    port: int


class Member(NamedTuple):
    """A process that works for a run."""

    root: Root
    run: str


@dataclass(slots=True)
class Saved:
    """All that an agent knows, at one moment between two readings.

    Attributes:
        boot_id: of the host; counters of two boots are never subtracted.
        first_window_at: the clock when the first window was opened (a replay's time 0), None before.
        advanced, read_at: the clock at the last scan and reading.
        busy_seconds: CPU time of the host at the last scan.
        counters, node_joules, windows: as the agent has them.
        members: the processes that work for a run.
        quiet_watts: the measured idle floors.
        processes: the last scan.
        address: where drivers find the agent's server.
    """

    boot_id: str
    first_window_at: float | None
    advanced: float
    read_at: float
    busy_seconds: float
    counters: list[Counter]
    node_joules: dict[tuple[Component, str], float]
    windows: list[SavedWindow]
    members: list[Member]
    quiet_watts: dict[str, float]
    processes: list[Process]
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
            windows = {window["id"]: window for window in content["windows"]}
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
        for window in saved.windows:
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
        return "\n".join([_json(dataclasses.replace(saved, windows=windows)), *lines])


def _checked(content: Any) -> Saved:
    saved = _adapter().validate_python(content)
    for window in saved.windows:  # an agent that was less strict may have kept what this one could not show
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
