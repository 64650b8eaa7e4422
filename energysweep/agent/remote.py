"""The agent of another host, or of this one, as a sweep's driver asks it: over HTTP, with the run's key."""

from __future__ import annotations

import http.client
import json
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from energysweep.agent import protocol
from energysweep.core.errors import AgentUnreachable, one_line

_ANSWER_SECONDS = 3.0  # a lost node must not hold up the others
_WHOLE_ANSWER_SECONDS = 10.0  # for one that comes in many pieces
_MAX_ANSWER_BYTES = 2**28
_PIECE_BYTES = 2**16
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # an agent is never behind http_proxy


class RemoteAgent:
    """An agent as a run's driver asks it over HTTP, on whichever host it is. Thread-safe.

    Args:
        url: where it answers.
        run, key: the driver's.
    """

    def __init__(self, url: str, run: str, key: str) -> None:
        self._url, self._run, self._key = url, run, key

    def totals(self, window: str, since: int) -> dict[str, Any]:
        """What the run has drawn there, as ``Telling.totals`` gives it.

        Args:
            window: the window that it had in the last answer that is safe in the ledger; empty if there was none.
            since: the revision of that answer, which is acknowledged by this.

        Raises:
            AgentUnreachable
        """
        return self._ask("/v1/totals", {"window": window, "since": f"{since}"})

    def tell(self, request: protocol.CloseTrial | protocol.Agents | protocol.CloseWindow) -> None:
        """Ask something for the run.

        Raises:
            AgentUnreachable
        """
        path, query, content = protocol.posted(request)
        self._ask(path, query, json.dumps(content).encode())

    def _ask(self, path: str, query: Mapping[str, str], content: bytes | None = None) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 - an agent's own address
            f"{self._url}{path}?{urllib.parse.urlencode({'run': self._run, **query})}",
            headers={"Authorization": f"Bearer {self._key}"},
            data=content,
        )
        try:
            answer: dict[str, Any] = json.loads(_answered(request))
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise AgentUnreachable(f"{self._url} does not answer: {error}") from error
        return answer


def page(url: str, path: str) -> bytes:
    """What an agent tells everybody, such as ``/metrics``.

    Raises:
        AgentUnreachable
    """
    try:
        return _answered(urllib.request.Request(f"{url}{path}"))  # noqa: S310 - an address that a person gave
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise AgentUnreachable(f"{url} does not answer: {one_line(error)}") from error


def _answered(request: urllib.request.Request) -> bytes:
    until = time.monotonic() + _WHOLE_ANSWER_SECONDS
    with _DIRECT.open(request, timeout=_ANSWER_SECONDS) as answered:
        return whole(answered, until)


def whole(answered: http.client.HTTPResponse, until: float) -> bytes:
    """An answer; the timeout of a connection is of each piece, and a peer may send its bytes one by one."""
    pieces, size = [], 0
    while piece := answered.read1(_PIECE_BYTES):
        pieces.append(piece)
        size += len(piece)
        if size > _MAX_ANSWER_BYTES:
            raise ValueError(f"more than {_MAX_ANSWER_BYTES} bytes")
        if time.monotonic() > until:
            raise TimeoutError("it has not come to its end in time")
    return b"".join(pieces)
