"""What an agent answers over HTTP: /metrics, /healthz, /sd and, for drivers, /v1/totals."""

from __future__ import annotations

import gzip
import io
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler

from pydantic import ValidationError

from energysweep.agent import operations, proof, protocol
from energysweep.agent.agent import Agent
from energysweep.agent.discovery import Peers, address_of, targets
from energysweep.agent.exporter import exposition, takes_gzip
from energysweep.agent.guard import COMPLAINTS, Complaints
from energysweep.core.errors import LeaseRefused, one_line

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]

_GZIP_LEVEL = 1  # a sixth of the time of the usual 9, for a third more bytes
_MOST_BYTES = 1_000_000  # of what is posted
_NUMBER = re.compile("[0-9]{1,18}")  # of bytes, or a revision: no more digits than any of them has
_PAGES = ("/metrics", "/healthz", "/sd", "/v1/totals")

WsgiApplication = Callable[[Environ, StartResponse], Iterable[bytes]]


class Application:
    """The WSGI application of an agent.

    Args:
        agent: the agent.
        url: its own address, for service discovery.
        peers: all agents of the cluster, where a name stands for them.
        complaints: where errors are noted.
    """

    def __init__(self, agent: Agent, url: str, peers: Peers | None = None, complaints: Complaints = COMPLAINTS) -> None:
        self._agent = agent
        self._url = url
        self._peers = peers or Peers(None)
        self._complaints = complaints

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request; what is wrong with it is told by a status of 400 and above, with the reason."""
        body: Iterable[bytes]
        try:
            body = self._answer(environ, start_response)
        except _Refused as refused:
            body = _json(start_response, refused.status, {"error": one_line(refused.reason)}, *refused.headers)
        except Exception as error:  # noqa: BLE001 - of one request; others are served
            self._complaints.note_error("a request over HTTP failed", error)
            body = _json(start_response, "500 Internal Server Error", {"error": "the agent's log says why"})
        return [] if environ["REQUEST_METHOD"] == "HEAD" else body

    def _answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path not in (*_PAGES, *protocol.POSTED_PATHS):
            raise _Refused("404 Not Found", "see /metrics, /healthz, /sd, /v1/totals")
        allowed = ("POST",) if path in protocol.POSTED_PATHS else ("GET", "HEAD")
        if method not in allowed:
            raise _Refused("405 Method Not Allowed", f"{path} takes {' and '.join(allowed)}", allowed)
        match path:
            case "/metrics":
                return self._metrics(environ, start_response)
            case "/healthz":
                return self._healthz(start_response)
            case "/sd":
                return _json(start_response, "200 OK", targets(self.agents()))
            case "/v1/totals":
                return self._totals(environ, start_response)
        return self._carry_out(path, environ, start_response)

    def agents(self) -> dict[str, str]:
        """All that service discovery names: names of nodes by address.

        This agent and its peers, or, where nobody has named those, the agents that the drivers of its sweeps tell of.
        """
        others = self._peers.agents() if self._peers.are_named else self._agent.telling.agents()
        return others | {address_of(self._url): self._agent.host.node}

    def _metrics(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        content_type, text = exposition(self._agent.telling.snapshot(), environ.get("HTTP_ACCEPT", ""))
        body = text.encode()
        headers = [("Content-Type", content_type), ("Vary", "Accept, Accept-Encoding")]
        if takes_gzip(environ.get("HTTP_ACCEPT_ENCODING", "")):
            body = gzip.compress(body, _GZIP_LEVEL)
            headers.append(("Content-Encoding", "gzip"))
        start_response("200 OK", [*headers, ("Content-Length", str(len(body)))])
        return [body]

    def _healthz(self, start_response: StartResponse) -> Iterable[bytes]:
        seconds = self._agent.telling.seconds_since_reading()
        status = "200 OK" if seconds < 10 else "503 Service Unavailable"
        return _json(start_response, status, {"node": self._agent.host.node, "seconds_since_reading": seconds})

    def _totals(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """What has changed after revision ``since`` of ``window``; of any other window everything."""
        run, window, since = _query(environ, "run", "window", "since")
        self._check_driver(environ, run)
        if since and not _NUMBER.fullmatch(since):
            raise _Refused("400 Bad Request", "since must be a whole number of at most 18 digits")
        known = self._agent.windows.get(run)
        # A number of another window's would acknowledge what the driver never had.
        if known is not None and window and window != known.id:
            since = ""
        try:
            return _json(start_response, "200 OK", self._agent.telling.totals(run, int(since or "0")))
        except LeaseRefused as error:
            raise _Refused("404 Not Found", str(error)) from error

    def _carry_out(self, path: str, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """What a driver on another host asks for its run."""
        run, trial, is_over = _query(environ, "run", "trial", "is_over")
        self._check_driver(environ, run)
        try:
            query = {"trial": trial, "is_over": is_over}
            request = protocol.request_of_post(path, query, lambda: _content(environ))
            operations.carry_out(self._agent, run, request)
        except ValidationError as error:
            raise _Refused("400 Bad Request", str(protocol.first_problem(error))) from error
        except LeaseRefused as error:
            raise _Refused("404 Not Found", str(error)) from error
        return _json(start_response, "200 OK", {})

    def _check_driver(self, environ: Environ, run: str) -> None:
        """Whether the request brings the key of the run, if there is such a run."""
        window = self._agent.windows.get(run)
        scheme, _, given = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if window is not None and not proof.fits(given if scheme == "Bearer" else "", window.key):
            raise _Refused("401 Unauthorized", "the key of this run is needed, as a bearer token")


class _Refused(Exception):
    """A request is answered by a status other than 200."""

    def __init__(self, status: str, reason: str, allowed: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason
        self.headers = [("Allow", ", ".join(allowed))] if allowed else []


def _query(environ: Environ, *names: str) -> list[str]:
    """The values of a request's parameters; empty where there is none."""
    query = parse_qs(environ.get("QUERY_STRING", ""))
    for name in names:
        if len(query.get(name, ())) > 1:
            raise _Refused("400 Bad Request", f"{name} is given twice")
    return [query.get(name, [""])[0] for name in names]


def _content(environ: Environ) -> bytes:
    """What a request brings."""
    length = environ.get("CONTENT_LENGTH") or ""
    if not length:
        raise _Refused("411 Length Required", "the request must say how long its content is")
    if not length.isascii() or not length.isdecimal():
        raise _Refused("400 Bad Request", "Content-Length is no number")
    if not _NUMBER.fullmatch(length) or int(length) > _MOST_BYTES:
        raise _Refused("400 Bad Request", f"Content-Length is too large: at most {_MOST_BYTES} bytes")
    content: bytes = environ["wsgi.input"].read(int(length))
    return content


def _json(start_response: StartResponse, status: str, content: Any, *headers: tuple[str, str]) -> list[bytes]:
    body = json.dumps(content).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers])
    return [body]


class _Errors(io.StringIO):
    """Where wsgiref writes the traceback of a request: its last line is noted."""

    def flush(self) -> None:
        said = self.getvalue().strip().splitlines()
        self.seek(0)
        self.truncate()
        if said:
            COMPLAINTS.note("a request over HTTP broke off", f"a request over HTTP broke off: {said[-1]}")


class QuietHandler(WSGIRequestHandler):
    """Does not write a log line per scrape, nor a traceback per request."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""

    def get_stderr(self) -> io.StringIO:
        """Where an error of this request is written."""
        return _Errors()


# Scrapes: an agent that is told to end can serve its last values once ------------------------------------------------

_SCRAPER_SECONDS = 60.0  # a scraper that has not come for so long is gone


class Scrapes:
    """When ``/metrics`` was asked for, and when the answer was out.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._newest_began: float | None = None  # of those that have been answered
        self._answered = threading.Condition()

    def of(self, application: WsgiApplication) -> WsgiApplication:
        """The application, watched."""

        def watched(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            if environ["PATH_INFO"] != "/metrics":
                return application(environ, start_response)
            began = self._clock()
            return _Told(application(environ, start_response), lambda: self._note(began))

        return watched

    def wait_for_one(self, seconds: float) -> bool:
        """Wait until a scrape that begins from now on is answered; not at all if nobody has scraped for a minute.

        Returns:
            There was one.
        """
        since = self._clock()
        with self._answered:
            if self._newest_began is None or since - self._newest_began > _SCRAPER_SECONDS:
                return False
            return self._answered.wait_for(lambda: (self._newest_began or 0.0) >= since, seconds)

    def _note(self, began: float) -> None:
        with self._answered:
            self._newest_began = max(began, self._newest_began or began)
            self._answered.notify_all()


class _Told:
    """A WSGI answer; the server calls ``close`` when it is out (PEP 3333)."""

    def __init__(self, body: Iterable[bytes], told: Callable[[], Any]) -> None:
        self._body = body
        self._told = told

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def __len__(self) -> int:  # of one part the server knows the Content-Length
        return len(self._body) if isinstance(self._body, list) else 2

    def close(self) -> None:
        """The answer is out."""
        self._told()
