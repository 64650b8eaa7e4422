"""Notices that a trial has Ray tasks or actors work for it: these are in other processes, which hold no lease.

Everything that has others work on Ray comes through three methods: Ray Data, Ray Train and whole trainers within a
trial do. Each is another one while a trial is watched; it tells, and goes on as it was.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from ray.actor import ActorClass, ActorMethod
from ray.remote_function import RemoteFunction

_PLACES: Final[tuple[type, ...]] = (RemoteFunction, ActorClass, ActorMethod)
_METHOD: Final = "_remote"


class Elsewhere:
    """Calls back, once, when this process has Ray work in another process while it is watched.

    Args:
        tell: called in the thread that does so, before Ray is asked.
    """

    def __init__(self, tell: Callable[[], object]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._before: dict[type, Any] = {}
        self.has_told = False

    def watch(self) -> None:
        """From now on."""
        with self._lock:
            if not self._before:
                self._before = {place: getattr(place, _METHOD) for place in _PLACES}
                for place, before in self._before.items():
                    setattr(place, _METHOD, self._telling(before))

    def unwatch(self) -> None:
        """No more."""
        with self._lock:
            for place, before in self._before.items():
                setattr(place, _METHOD, before)
            self._before = {}

    def _telling(self, before: Callable[..., Any]) -> Callable[..., Any]:
        def _remote(*args: Any, **kwargs: Any) -> Any:
            if not self.has_told:
                self.has_told = True
                self._tell()
            return before(*args, **kwargs)

        return _remote
