"""Pods without Kubernetes: network, pid and mount namespaces of their own, joined to this host by a pair of devices."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import do_without, need, need_root

_NUMBERS = itertools.count()
REPOSITORY = Path(__file__).parents[2]

# A restricted pod's process: no root, no capability, and no way to get one.
RESTRICTED = ["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups", "--no-new-privs"]
RESTRICTED += ["--inh-caps=-all", "--bounding-set=-all"]
WITHOUT_CAPABILITIES = ["setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]
OWN_PIDS = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]


def need_namespaces() -> None:
    """Skips the test where namespaces cannot be made, or fails it where nothing may be skipped."""
    for program in ("ip", "unshare", "setpriv"):
        need(program)
    need_root()
    tried = [*OWN_PIDS, *RESTRICTED, sys.executable, "-c", "import pydantic"]
    made = subprocess.run(tried, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        do_without(f"no namespaces here, or no Python for other users: {made.stderr.strip()}")


class Pod:
    """A network namespace; each container in it has pids and mounts of its own.

    Attributes:
        host_address: this host, as the pod reaches it.
        address: of the pod.
    """

    def __init__(self) -> None:
        number = next(_NUMBERS)
        subnet = (os.getpid() * 8 + number) % (64 * 256)
        network = f"10.{192 + subnet // 256}.{subnet % 256}"
        self.host_address, self.address = f"{network}.1", f"{network}.2"
        self.name = f"es{os.getpid()}p{number}"
        self.device = f"{self.name}h"

    def make(self) -> None:
        _ip("netns", "add", self.name)
        _ip("link", "add", self.device, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        _ip("address", "add", f"{self.host_address}/24", "dev", self.device)
        _ip("link", "set", self.device, "up")
        _ip("-n", self.name, "address", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", self.name, "link", "set", device, "up")
        _ip("-n", self.name, "route", "add", "default", "via", self.host_address)

    def remove(self) -> None:
        subprocess.run(["ip", "netns", "delete", self.name], capture_output=True, check=False)
        subprocess.run(["ip", "link", "delete", self.device], capture_output=True, check=False)

    def start(self, code: str, *arguments: str, restricted: bool = True) -> subprocess.Popen[str]:
        """Runs Python code as process 1 of a new container."""
        command = ["ip", "netns", "exec", self.name, *OWN_PIDS, *(RESTRICTED if restricted else [])]
        return start([*command, sys.executable, "-c", code, *arguments])


def start(command: list[str]) -> subprocess.Popen[str]:
    """A process that can be talked to by lines."""
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY
    )


@contextmanager
def pods(count: int = 1) -> Iterator[list[Pod]]:
    """So many pods, which end with the block."""
    made = [Pod() for _ in range(count)]
    try:
        for pod in made:
            pod.make()
        yield made
    finally:
        for pod in made:
            pod.remove()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
