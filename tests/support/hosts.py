"""Hosts on one machine: each has its own network, processes, home and temporary folder, and an sshd on port 22.

So `ray up` can do what it does to real hosts, `ray stop` included, and no other Ray on this machine notices.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

NETWORK = "10.77.0"  # a private one: it exists only inside the namespaces
BIN = Path(sys.executable).parent

ROOT = Path(__file__).parents[2]

# $1 is the host's folder, $2 this checkout. /tmp and /run are its own; root's home is in its folder.
_BOOT = """
folder=$1
checkout=$2
mount --make-rprivate /
if [[ $checkout == /tmp/* ]]; then
    mkdir -p "$folder$checkout"
    mount --bind "$checkout" "$folder$checkout"
fi
sed "s|^root:.*|root:x:0:0:root:$folder/home:/bin/bash|" /etc/passwd > "$folder/passwd"
mount --bind "$folder/passwd" /etc/passwd
mount --rbind "$folder/tmp" /tmp
mount -t tmpfs tmpfs /run
mkdir -m 755 /run/sshd
ip link set lo up
/usr/sbin/sshd -D -f "$folder/sshd_config" -E "$folder/sshd.log" &
while :; do wait; sleep 1; done
"""

_SSHD = """
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
PidFile none
SetEnv {environment}
"""


class Host:
    """One host.

    Args:
        folder: its files.
        environment: what a login there has.
        key: the private key whose owner may log in.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], key: Path) -> None:
        self.folder = folder
        for name in ("home", "tmp"):
            (folder / name).mkdir(parents=True)
        (folder / "tmp").chmod(0o1777)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "host_key"], check=True)
        shutil.copy(key.with_suffix(".pub"), folder / "authorized_keys")
        settings = " ".join(f"{name}={value}" for name, value in environment.items())
        (folder / "sshd_config").write_text(_SSHD.format(folder=folder, environment=settings))
        self._outer = subprocess.Popen(
            [
                *("unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"),
                *("bash", "-ec", _BOOT, "boot", str(folder), str(ROOT)),
            ],
            stdin=subprocess.DEVNULL,
        )
        self.pid = self._first_process()

    def run(self, command: str, seconds: float = 300, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command line there, as its user with its home, without ssh."""
        return subprocess.run(
            [
                "nsenter",
                "--target",
                str(self.pid),
                "--net",
                "--mount",
                "--pid",
                "--uts",
                "--ipc",
                "bash",
                "-c",
                command,
            ],
            env={
                "HOME": f"{self.folder}/home",
                "PATH": f"{BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "USER": "root",
                "TERM": "dumb",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def end(self) -> None:
        """End it with all its processes."""
        self._outer.kill()  # its child, the first process there, is killed with it, and with that one all others
        self._outer.wait()

    def _first_process(self) -> int:
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children")
        deadline = time.monotonic() + 30
        while not (pids := children.read_text().split()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return int(pids[0])


class Hosts:
    """A client and some hosts on one network; ``shared`` is a folder that all of them see."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="energysweep-", dir="/var/tmp"))  # each has a /tmp of its own
        self.shared = self.folder / "shared"
        self.shared.mkdir()
        self.key = self.folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        self.hosts: dict[str, Host] = {}
        self.addresses: dict[str, str] = {}
        for name in ("client", *names):
            # Several hosts of one kernel: energysweep is told who is who.
            who = {"ENERGYSWEEP_HOST": f"{self.folder.name}-{name}", "ENERGYSWEEP_NODE": name}
            self.hosts[name] = Host(self.folder / name, who, self.key)
            self.addresses[name] = f"{NETWORK}.{len(self.hosts)}"
        self.client = self.hosts["client"]
        self._connect()

    def end(self) -> None:
        """End all of them."""
        for host in self.hosts.values():
            host.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _connect(self) -> None:
        """A bridge in the client's network, and a cable from it to every other host."""
        self._ip(self.client, "link add br0 type bridge", "link set br0 up", f"addr add {NETWORK}.1/24 dev br0")
        for number, (name, host) in enumerate(self.hosts.items()):
            if host is self.client:
                continue
            self._ip(
                self.client,
                f"link add port{number} type veth peer name eth0 netns {host.pid}",
                f"link set port{number} master br0 up",
            )
            self._ip(host, f"addr add {self.addresses[name]}/24 dev eth0", "link set eth0 up")
            self._ip(host, f"route add default via {NETWORK}.1")  # leads nowhere; a host without one is none to Ray

    @staticmethod
    def _ip(host: Host, *commands: str) -> None:
        for command in commands:
            subprocess.run(["nsenter", "--target", str(host.pid), "--net", "ip", *command.split()], check=True)


def may_make_hosts() -> bool:
    """Whether this process may make namespaces."""
    return os.getuid() == 0 and subprocess.run(["unshare", "--net", "--mount", "true"], check=False).returncode == 0
