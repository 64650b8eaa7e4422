"""How Prometheus finds the agents: the same targets over HTTP (``/sd``) and in a file (file_sd).

A target carries the label ``job`` and, for relabelling, ``__meta_energysweep_node``. It has no label ``node``: every
series says itself which node it is about, and a target's label of that name would push it aside (``exported_node``).
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from energysweep.core.errors import InputError
from energysweep.core.inputs import host_and_port

JOB = "energysweep"
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.%a-z]+\]|[A-Za-z0-9.-]{1,253}):[0-9]{1,5}")
_LONGEST_NODE = 200  # characters
_SUFFIXES = (".json", ".yml", ".yaml")  # what Prometheus reads; JSON is YAML

log = logging.getLogger(__name__)


def targets(agents: Mapping[str, str]) -> list[dict[str, Any]]:
    """The agents as Prometheus' http_sd and file_sd want them: one group each, in a steady order.

    Args:
        agents: names of nodes by address (host:port). What is no address is left out: drivers say these.
    """
    return [
        {"targets": [address], "labels": {"job": JOB, "__meta_energysweep_node": node[:_LONGEST_NODE]}}
        for address, node in sorted(agents.items())
        if _ADDRESS.fullmatch(address)
    ]


def address_of(url: str) -> str:
    """The target of an agent that answers at ``url``."""
    return urlsplit(url).netloc


def url_of(address: str, port: int) -> str:
    """Where an agent answers that is bound to ``address``, as others reach it."""
    host = _reachable(address)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _reachable(address: str) -> str:
    """An address of this host to which one answers who is bound to ``address``, perhaps to all."""
    probes = {"0.0.0.0": ("192.0.2.1", socket.AF_INET), "::": ("2001:db8::1", socket.AF_INET6)}  # noqa: S104
    if address not in probes:
        return address
    elsewhere, family = probes[address]
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))  # sends nothing; it makes the kernel choose where it would send from
            return str(probe.getsockname()[0])
    except OSError:  # this host has no network
        return "127.0.0.1" if family == socket.AF_INET else "::1"


class TargetsFile:
    """A file for Prometheus' file_sd, replaced whole whenever the agents change.

    Args:
        path: of the file; its folder must be there.

    Raises:
        InputError: Prometheus would not read a file of this name, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._written: str | None = None
        self._failed = False
        if path.suffix not in _SUFFIXES:
            raise InputError(
                f"{path}: Prometheus reads only files that end with {', '.join(_SUFFIXES)}", key="--file-sd"
            )
        try:
            self._replace(targets({}))
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror or error})", key="--file-sd") from error

    def write(self, agents: Mapping[str, str]) -> None:
        """Let it name these agents. If it cannot be written, that is logged and tried again at the next call."""
        try:
            self._replace(targets(agents))
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.warning("%s cannot be written: %s", self._path, error)
            self._failed = True

    def _replace(self, content: list[dict[str, Any]]) -> None:
        text = json.dumps(content, indent=2) + "\n"
        if text == self._written and self._path.exists():
            return
        # No suffix that a pattern such as *.json would match: Prometheus must not read it half written.
        unfinished = self._path.with_name(f".{self._path.name}.new")
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(self._path)
        self._written = text


# Which agents of a run Prometheus should scrape: those that answer, and for a while those that do not ----------------

SILENT_SECONDS = 10.0  # several polls
KEPT_SECONDS = 300.0  # an agent that is down is an alert, which needs its target


class ScrapeTargets:
    """Who has answered the driver, and when last.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._answered: dict[str, tuple[str, float]] = {}

    def note(self, url: str, node: str) -> None:
        """An agent has just answered."""
        self._answered[url] = (node, self._clock())

    def keep(self, urls: Iterable[str]) -> None:
        """Forget the others: another agent has taken their place."""
        known = set(urls)
        self._answered = {url: answered for url, answered in self._answered.items() if url in known}

    def listed(self, lost_addresses: Callable[[], set[str]]) -> dict[str, str]:
        """The names of nodes by address (host:port) of the agents to scrape.

        One that has not answered for a while has left if its node has; otherwise it is kept for five minutes, so that
        its being down is seen.

        Args:
            lost_addresses: of nodes that the cluster has lost; asked only if somebody is silent.
        """
        now = self._clock()
        silent = {url: now - at for url, (_, at) in self._answered.items() if now - at > SILENT_SECONDS}
        lost = lost_addresses() if silent else set()
        return {
            address_of(url): node
            for url, (node, _) in self._answered.items()
            if url not in silent or (silent[url] <= KEPT_SECONDS and urlsplit(url).hostname not in lost)
        }


# Peers: the agents behind one name, as a headless Service of Kubernetes has them -------------------------------------
#
# Drivers tell an agent only of those that serve their sweeps (``Telling.agents``). With this every agent names all,
# also those of nodes where nothing runs, and Prometheus gets the same answer whichever it asks. What drivers say
# counts no longer, so no sweep can have Prometheus scrape what it likes.

VARIABLE = "ENERGYSWEEP_PEERS"


class Peers:
    """All agents behind a name.

    Args:
        name: HOST:PORT; None: there is no such name. Every address of the host is an agent that answers at the port.

    Raises:
        InputError: it is not of that form.
    """

    def __init__(self, name: str | None) -> None:
        self._host, self._port = host_and_port(name, VARIABLE) if name else ("", 0)
        self._failed = False

    @classmethod
    def of_environment(cls) -> Peers:
        """Those that ENERGYSWEEP_PEERS names."""
        return cls(os.environ.get(VARIABLE))

    @property
    def are_named(self) -> bool:
        """Whether there is such a name."""
        return bool(self._host)

    def agents(self) -> dict[str, str]:
        """What stands for the names of nodes, by address; none while the name is not found."""
        if not self._host:
            return {}
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:  # UnicodeError: no name can be that
            if not self._failed:
                log.warning("%s %s: %s", VARIABLE, self._host, error)
            self._failed = True
            return {}
        self._failed = False
        hosts = sorted({str(address[0]) for *_, address in found})
        return {f"[{host}]:{self._port}" if ":" in host else f"{host}:{self._port}": host for host in hosts}
