"""What an agent answers over HTTP: /metrics, /healthz, /sd and, for drivers, /v1/totals."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs, urlsplit
from wsgiref.simple_server import WSGIRequestHandler

from prometheus_client import CollectorRegistry, make_wsgi_app

from energysweep.agent.agent import Agent
from energysweep.agent.exporter import AgentCollector
from energysweep.errors import LeaseRefused

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]

WsgiApplication = Callable[[Environ, StartResponse], Iterable[bytes]]


class Application:
    """The WSGI application of an agent.

    Args:
        agent: the agent.
        url: its own address, for service discovery.
        token: what ``/v1/`` asks for as a bearer token; None: nothing (loopback).
    """

    def __init__(self, agent: Agent, url: str, token: str | None) -> None:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(AgentCollector(agent))
        self._agent = agent
        self._url = url
        self._token = token
        self._metrics: WsgiApplication = make_wsgi_app(registry)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                return self._metrics(environ, start_response)
            case "/healthz":
                return self._healthz(start_response)
            case "/sd":
                targets = [{"targets": [urlsplit(self._url).netloc], "labels": {"job": "energysweep"}}]
                return _json(start_response, "200 OK", targets)
            case "/v1/totals":
                return self._totals(environ, start_response)
        return _json(start_response, "404 Not Found", {"error": "see /metrics, /healthz, /sd, /v1/totals"})

    def _healthz(self, start_response: StartResponse) -> Iterable[bytes]:
        seconds = self._agent.seconds_since_reading()
        status = "200 OK" if seconds < 10 else "503 Service Unavailable"
        return _json(start_response, status, {"node": self._agent.host.node, "seconds_since_reading": seconds})

    def _totals(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        given = environ.get("HTTP_AUTHORIZATION", "")
        if self._token is not None and not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
            return _json(start_response, "401 Unauthorized", {"error": "a bearer token is needed"})
        query = parse_qs(environ.get("QUERY_STRING", ""))
        run, since = query.get("run", [""])[0], query.get("since", ["0"])[0]
        if not since.isdecimal():
            return _json(start_response, "400 Bad Request", {"error": "since must be a whole number"})
        try:
            return _json(start_response, "200 OK", self._agent.totals(run, int(since)))
        except LeaseRefused as error:
            return _json(start_response, "404 Not Found", {"error": str(error)})


def _json(start_response: StartResponse, status: str, content: Any) -> list[bytes]:
    body = json.dumps(content).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


class QuietHandler(WSGIRequestHandler):
    """Does not write a log line per scrape."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""
