"""The agents of a cluster in which one name stands for all of them, as a headless Service of Kubernetes does.

Drivers tell an agent only of those that serve their sweeps (``Telling.agents``). With this every agent names all, also
those of nodes where nothing runs, and Prometheus gets the same answer whichever it asks. What drivers say counts no
longer, so no sweep can have Prometheus scrape what it likes.
"""

from __future__ import annotations

import logging
import os
import socket

from energysweep.inputs import host_and_port

VARIABLE = "ENERGYSWEEP_PEERS"

log = logging.getLogger(__name__)


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
