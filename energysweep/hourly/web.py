"""Answers of public APIs over HTTP, for a caller who cannot wait: bounded in time, size and rate, and never followed.

Nothing here sleeps longer than a few seconds. Where an API is to be left alone for a while, ``Later`` says so at every
call until then, and nobody asks it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

import requests

from energysweep.core.errors import EnergysweepError, one_line

CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 15.0
MOST_BYTES: Final = 8 * 1024 * 1024
LEAST_BETWEEN_SECONDS: Final = 1.0  # two requests to one API
PATIENCE_SECONDS: Final = 5.0  # that is slept at most, where an API asks for it
FIRST_PAUSE_SECONDS: Final = 60.0
LONGEST_PAUSE_SECONDS: Final = 3600.0
_TRIES: Final = 2
_TELLS_LATER: Final = frozenset({429, 503})


class SourceError(EnergysweepError):
    """A source gave no answer that can be used. The text says why, in one line, and holds no secret."""


class Later(SourceError):
    """The source is not to be asked before ``not_before``."""

    def __init__(self, message: str, not_before: float) -> None:
        super().__init__(message)
        self.not_before = not_before


@dataclass
class Web:
    """One API.

    Attributes:
        clock: Unix time, by which pauses are kept.
        sleep: waits some seconds.
        get: as ``requests.get``.
        not_before: nothing is asked before that time.
    """

    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    get: Callable[..., requests.Response] = requests.get
    not_before: float = 0.0
    _failures: int = field(default=0, init=False)
    _asked_at: float | None = field(default=None, init=False)

    def json(self, url: str, headers: Mapping[str, str] | None = None, params: Mapping[str, str] | None = None) -> Any:
        """What the API answers.

        Raises:
            SourceError: nothing that could be used.
        """
        now = self.clock()
        # A clock that was put back by more than the longest pause is no reason to wait for ever.
        if now < self.not_before <= now + LONGEST_PAUSE_SECONDS:
            raise Later(f"{_host(url)} is left alone for a while after a failure", self.not_before)
        for this in range(1, _TRIES + 1):
            try:
                answer = self._ask(url, headers, params)
            except Later as error:
                wait = error.not_before - self.clock()
                if this < _TRIES and wait <= PATIENCE_SECONDS:
                    self.sleep(max(wait, 0.0))
                    continue
                raise self._pause(str(error), error.not_before) from None
            except _Transient as error:
                if this < _TRIES:
                    self.sleep(LEAST_BETWEEN_SECONDS)
                    continue
                raise self._pause(str(error)) from None
            except SourceError as error:
                raise self._pause(str(error)) from None
            self._failures = 0
            return answer
        raise AssertionError("unreachable")

    def _pause(self, message: str, not_before: float = 0.0) -> SourceError:
        """After a failure, the API is left alone for a time that doubles, or for as long as it has asked for."""
        now = self.clock()
        pause = min(FIRST_PAUSE_SECONDS * 2**self._failures, LONGEST_PAUSE_SECONDS)
        self._failures = min(self._failures + 1, 10)
        self.not_before = min(max(now + pause, not_before), now + LONGEST_PAUSE_SECONDS)
        return Later(message, self.not_before)

    def _ask(self, url: str, headers: Mapping[str, str] | None, params: Mapping[str, str] | None) -> Any:
        if self._asked_at is not None:
            since = self.clock() - self._asked_at
            if 0 <= since < LEAST_BETWEEN_SECONDS:
                self.sleep(LEAST_BETWEEN_SECONDS - since)
        self._asked_at = self.clock()
        host = _host(url)
        try:
            answer = self.get(
                url,
                headers=headers,
                params=params,
                timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
                stream=True,
                allow_redirects=False,  # a token goes to the host that it is for, and nowhere else
            )
            with answer:
                self._check(answer, host)
                body = self._body(answer, host)
        except (requests.RequestException, OSError) as error:
            raise _Transient(f"{host} does not answer ({type(error).__name__})") from None
        except ValueError as error:  # a header that none can be, such as a token of two lines
            raise SourceError(f"{host} cannot be asked ({type(error).__name__})") from None
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise SourceError(f"{host} answered with something that is no JSON") from None

    def _check(self, answer: requests.Response, host: str) -> None:
        status = answer.status_code
        if status == 200:
            return
        if status in (401, 403):
            raise SourceError(f"{host} refuses (status {status}): the token is missing, wrong, or not for this zone")
        if status in _TELLS_LATER:
            asked = _retry_after(answer.headers.get("Retry-After"), self.clock())
            if asked is not None:
                raise Later(f"{host} asks to come back later (status {status})", asked)
            if status == 429:
                raise SourceError(f"{host} has been asked too often (status 429)")
        if status >= 500:
            raise _Transient(f"{host} has a problem (status {status})")
        if 300 <= status < 400:
            raise SourceError(f"{host} sends on to another address (status {status}), which is not followed")
        raise SourceError(f"{host} refuses (status {status})")

    def _body(self, answer: requests.Response, host: str) -> bytes:
        """All of it, in the bounds of size and time, also where it drips."""
        begun, body = self.clock(), bytearray()
        for piece in answer.iter_content(64 * 1024):
            body += piece
            if len(body) > MOST_BYTES:
                raise SourceError(f"{host} answered with more than {MOST_BYTES} bytes")
            if self.clock() - begun > 2 * ANSWER_SECONDS:
                raise _Transient(f"{host} takes too long to answer")
        return bytes(body)


class _Transient(SourceError):
    """What may be better a second later."""


def _host(url: str) -> str:
    return one_line(urlsplit(url).hostname or "the source", 100)


def _retry_after(said: str | None, now: float) -> float | None:
    """Unix time of a Retry-After: seconds, or a date. None if it says neither."""
    if said is None:
        return None
    said = said.strip()
    if said.isascii() and said.isdigit():
        return now + min(float(said[:12]), LONGEST_PAUSE_SECONDS)
    try:
        date = parsedate_to_datetime(said)
        return min((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp(), now + LONGEST_PAUSE_SECONDS)
    except (TypeError, ValueError, OverflowError):
        return None
