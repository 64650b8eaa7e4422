"""Who is believed: which process speaks over a TCP connection, and that it belongs to a run.

The agent takes nobody's word for either.

Over a Unix socket the kernel names the process. Over TCP a process says who it is (its pid as it sees it, and when it
began), and everything that it says must fit what /proc shows, which the agent sees as the host does:

* A process of this host has that pid in its own pid namespace, and began then.
* The connection's other end is an established socket in that process's network namespace: so it is a process of this
  host. Only its own address is compared: what it has connected to may be a Service's address, which was rewritten.
* Where the agent may read which sockets the process holds (the same user, or CAP_SYS_PTRACE and
  CAP_DAC_READ_SEARCH), this is one of them.
* It calls itself by a name that the agent has just made up, which only the process itself can do (comm in proc(5)).
  This tells two processes of one pod apart, needs no privilege, and holds wherever the connection really comes from.

Nothing here is cached: a hello costs one scan of /proc, and of few processes more.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from energysweep.accounting.processes import Process, Root, read_process, scan
from energysweep.accounting.windows import Window
from energysweep.agent.protocol import Claim
from energysweep.core.errors import LeaseRefused

_ESTABLISHED = b"01"  # TCP_ESTABLISHED in include/net/tcp_states.h
_MOST_ALIKE = 16  # processes with one pid and one beginning: more is somebody who wants to keep the agent busy


class Proof:
    """Finds the process at the other end of a TCP connection.

    Args:
        proc_root: the host's procfs.
        peer: address and port of the other end, as the agent's socket has them.
        claim: who it says to be.

    Raises:
        LeaseRefused: no process of this host fits.

    Attributes:
        name: what the process has to call itself.
    """

    def __init__(self, proc_root: Path, peer: tuple[str, int], claim: Claim) -> None:
        self._proc_root = proc_root
        self.name = f"es-{secrets.token_urlsafe(9)}"  # 15 bytes, as many as a name can have
        alike = _processes_alike(proc_root, claim)
        if not alike:
            raise LeaseRefused(
                f"no process of this host has pid {claim.pid} in its pid namespace and began at tick {claim.started}:"
                " it is on another node, or in a time namespace"
            )
        inodes = {process: _inode(proc_root, process.pid, peer) for process in alike}
        connected = [process for process in alike if inodes[process] is not None]
        if not connected:
            raise LeaseRefused(
                f"the connection from {peer[0]}:{peer[1]} is not of process {claim.pid}'s network namespace:"
                " its address was rewritten on the way, or it is another's"
            )
        self._candidates = [
            process for process in connected if _holds(proc_root, process.pid, inodes[process]) is not False
        ]
        if not self._candidates:
            raise LeaseRefused(
                f"process {claim.pid} does not hold the connection from {peer[0]}:{peer[1]}: a proxy or another"
                " process does"
            )

    def root(self) -> Root:
        """The process, once it says that it calls itself as it was asked to.

        Raises:
            LeaseRefused: none of those that it may be does, or several do.
        """
        found = [process.root for process in self._candidates if self._is_called(process)]
        if len(found) != 1:
            raise LeaseRefused("it is not the process that it says to be: that one did not take the name it was given")
        return found[0]

    def _is_called(self, process: Process) -> bool:
        if _read(self._proc_root / str(process.pid) / "comm").rstrip(b"\n") != self.name.encode():
            return False
        now = read_process(self._proc_root, process.pid)
        return now is not None and now.alive and now.root == process.root


def _processes_alike(proc_root: Path, claim: Claim) -> Sequence[Process]:
    alike = [
        process
        for process in _started_at(proc_root, claim.started)
        if _pid_in_its_namespace(proc_root, process.pid) == claim.pid
    ]
    if len(alike) > _MOST_ALIKE:
        raise LeaseRefused(f"more than {_MOST_ALIKE} processes of this host have pid {claim.pid} and began then")
    return alike


def _started_at(proc_root: Path, started: int) -> list[Process]:
    return [process for process in scan(proc_root).values() if process.started == started and process.alive]


def _pid_in_its_namespace(proc_root: Path, pid: int) -> int | None:
    """The last number of NSpid: from the namespace of the procfs down to the process's own."""
    for line in _read(proc_root / str(pid) / "status").splitlines():
        if line.startswith(b"NSpid:"):
            return int(line.split()[-1])
    return None


def _inode(proc_root: Path, pid: int, peer: tuple[str, int]) -> int | None:
    """The inode of the socket that has this address, in the process's network namespace; None if there is none."""
    for file, local in _local_addresses(peer):
        for line in _read(proc_root / str(pid) / "net" / file).splitlines():
            fields = line.split(None, 10)
            if len(fields) > 9 and fields[1] == local and fields[3] == _ESTABLISHED:
                return int(fields[9])
    return None


def _local_addresses(peer: tuple[str, int]) -> list[tuple[str, bytes]]:
    """How /proc/net/tcp and tcp6 write an address: 32-bit words in the host's byte order."""
    host = ipaddress.ip_address(peer[0].partition("%")[0])
    if isinstance(host, ipaddress.IPv6Address) and host.ipv4_mapped is not None:
        host = host.ipv4_mapped
    packed, port = host.packed, peer[1]
    if host.version == 6:
        return [("tcp6", _written(packed, port))]
    # A socket of both families has an IPv4 address mapped.
    return [("tcp", _written(packed, port)), ("tcp6", _written(bytes(10) + b"\xff\xff" + packed, port))]


def _written(packed: bytes, port: int) -> bytes:
    words = [packed[start : start + 4] for start in range(0, len(packed), 4)]
    return ("".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words) + f":{port:04X}").encode()


def _holds(proc_root: Path, pid: int, inode: int | None) -> bool | None:
    """Whether the process holds the socket; None if the agent may not see that."""
    try:
        return any(
            str(descriptor.readlink()) == f"socket:[{inode}]" for descriptor in (proc_root / str(pid) / "fd").iterdir()
        )
    except OSError:  # another user's, or it is closing files just now
        return None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process has gone
        return b""


# The key of a run: whoever has it belongs to the run -----------------------------------------------------------------
#
# A driver makes it, and its workers get it with their trainable. The first hello of a run binds the run to it; later
# ones, and every request about the run over HTTP, have to bring it. The agent keeps only its hash.

REBIND_SECONDS = 30.0  # how long a closed window waits for its driver's last poll before its run may get another key


def new_key() -> str:
    """128 random bits."""
    return secrets.token_hex(16)


def fingerprint(key: str) -> str:
    """What an agent remembers of a key; empty for none: a run without a key is open to everybody."""
    return hashlib.sha256(key.encode()).hexdigest() if key else ""


def fits(key: str, known: str) -> bool:
    """Whether it is the key with this fingerprint; takes as long whatever the answer is."""
    return hmac.compare_digest(fingerprint(key), known)


def check(run: str, key: str, peer: str, window: Window | None, now: float) -> None:
    """Whether somebody may open a run's window, or join it.

    Args:
        run, key: what is said.
        peer: who says it.
        window: the run's, None if it has none.
        now: the host's clock.

    Raises:
        LeaseRefused: the run has another key.
    """
    if window is None or fits(key, window.key):
        return
    # Its owner may begin again under the same name once nothing of it can be lost.
    if window.closed is None or window.peer != peer or now - window.closed < REBIND_SECONDS:
        raise LeaseRefused(
            f"run {run!r} on this host has another key: it is somebody else's, or was begun by another driver less"
            " than two minutes ago"
        )
