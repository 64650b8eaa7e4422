"""What an agent answers over HTTP: /metrics, /healthz, /sd and, for drivers, /v1/totals."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler

from prometheus_client.exposition import gzip_accepted
from pydantic import ValidationError

from energysweep.agent import keys
from energysweep.agent.agent import Agent
from energysweep.agent.discovery import address_of, targets
from energysweep.agent.exporter import exposition
from energysweep.agent.peers import Peers
from energysweep.agent.protocol import AGENTS
from energysweep.errors import LeaseRefused

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]

_GZIP_LEVEL = 1  # a sixth of the time of the usual 9, for a third more bytes
_MOST_BYTES = 1_000_000  # of an order

WsgiApplication = Callable[[Environ, StartResponse], Iterable[bytes]]


class Application:
    """The WSGI application of an agent.

    Args:
        agent: the agent.
        url: its own address, for service discovery.
        peers: all agents of the cluster, where a name stands for them.
    """

    def __init__(self, agent: Agent, url: str, peers: Peers | None = None) -> None:
        self._agent = agent
        self._url = url
        self._peers = peers or Peers(None)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                return self._metrics(environ, start_response)
            case "/healthz":
                return self._healthz(start_response)
            case "/sd":
                return _json(start_response, "200 OK", targets(self.agents()))
            case "/v1/totals":
                return self._totals(environ, start_response)
            case "/v1/close" | "/v1/agents" as path if environ["REQUEST_METHOD"] == "POST":
                return self._carry_out(path, environ, start_response)
        return _json(start_response, "404 Not Found", {"error": "see /metrics, /healthz, /sd, /v1/totals"})

    def agents(self) -> dict[str, str]:
        """All that service discovery names: names of nodes by address.

        This agent and its peers, or, where nobody has named those, the agents that the drivers of its sweeps tell of.
        """
        others = self._peers.agents() if self._peers.are_named else self._agent.agents()
        return others | {address_of(self._url): self._agent.host.node}

    def _metrics(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        content_type, text = exposition(self._agent.picture(), environ.get("HTTP_ACCEPT", ""))
        body = text.encode()
        headers = [("Content-Type", content_type)]
        if gzip_accepted(environ.get("HTTP_ACCEPT_ENCODING", "")):
            body = gzip.compress(body, _GZIP_LEVEL)
            headers.append(("Content-Encoding", "gzip"))
        start_response("200 OK", [*headers, ("Content-Length", str(len(body)))])
        return [body]

    def _healthz(self, start_response: StartResponse) -> Iterable[bytes]:
        seconds = self._agent.seconds_since_reading()
        status = "200 OK" if seconds < 10 else "503 Service Unavailable"
        return _json(start_response, status, {"node": self._agent.host.node, "seconds_since_reading": seconds})

    def _totals(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """What has changed after revision ``since`` of ``window``; of any other window everything."""
        run, window, since = _query(environ, "run", "window", "since")
        if not self._is_driver(environ, run):
            return _json(start_response, "401 Unauthorized", _NEEDS_KEY)
        if not (since or "0").isdecimal():
            return _json(start_response, "400 Bad Request", {"error": "since must be a whole number"})
        known = self._agent.windows.get(run)
        # A number of another window's would acknowledge what the driver never had.
        if known is not None and window and window != known.id:
            since = ""
        try:
            return _json(start_response, "200 OK", self._agent.totals(run, int(since or "0")))
        except LeaseRefused as error:
            return _json(start_response, "404 Not Found", {"error": str(error)})

    def _carry_out(self, order: str, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """A driver on another host: a trial of its run has ended, or the run itself; or which agents serve it."""
        run, trial, is_over = _query(environ, "run", "trial", "is_over")
        if not self._is_driver(environ, run):
            return _json(start_response, "401 Unauthorized", _NEEDS_KEY)
        try:
            if order == "/v1/agents":
                self._agent.update_agents(run, AGENTS.validate_json(_content(environ)))
            elif trial:
                self._agent.close_trial(run, trial, is_over=bool(is_over))
            else:
                self._agent.close_window(run)
        except ValidationError as error:
            return _json(start_response, "400 Bad Request", {"error": error.errors(include_url=False)[0]["msg"]})
        except LeaseRefused as error:
            return _json(start_response, "404 Not Found", {"error": str(error)})
        return _json(start_response, "200 OK", {})

    def _is_driver(self, environ: Environ, run: str) -> bool:
        """Whether the request brings the key of the run, if there is such a run."""
        window = self._agent.windows.get(run)
        scheme, _, given = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        return window is None or keys.fits(given if scheme == "Bearer" else "", window.key)


_NEEDS_KEY = {"error": "the key of this run is needed, as a bearer token"}


def _query(environ: Environ, *names: str) -> list[str]:
    """The values of a request's parameters; empty where there is none."""
    query = parse_qs(environ.get("QUERY_STRING", ""))
    return [query.get(name, [""])[0] for name in names]


def _content(environ: Environ) -> bytes:
    """What a request brings; empty where it is too much, or does not say how much it is."""
    length = environ.get("CONTENT_LENGTH") or "0"
    if not length.isdecimal() or int(length) > _MOST_BYTES:
        return b""
    content: bytes = environ["wsgi.input"].read(int(length))
    return content


def _json(start_response: StartResponse, status: str, content: Any) -> list[bytes]:
    body = json.dumps(content).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


class QuietHandler(WSGIRequestHandler):
    """Does not write a log line per scrape."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""
