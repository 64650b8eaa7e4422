"""Runs a program so that none of its processes can escape: ``python -m energysweep.tune.supervisor PROGRAM ARG...``

It is a child subreaper: what the program leaves behind becomes its child, is charged to the trial, and ends with it.
Imports nothing but the standard library, to start fast.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_GRACE_SECONDS = 2.0


def main(arguments: list[str]) -> int:
    """Run the program to its end, then end what it left behind. Returns its exit code, 128 + n if signal n ended it."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        program = subprocess.Popen(arguments)
        code = program.wait()
    finally:
        _end_children()
    return code if code >= 0 else 128 - code


def _end_children() -> None:
    """SIGTERM to all that is left, SIGKILL to those that have not ended in time."""
    deadline = time.monotonic() + _GRACE_SECONDS
    number = signal.SIGTERM
    while children := _children():
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        while _reap() and time.monotonic() < deadline:
            time.sleep(0.01)
        number = signal.SIGKILL
        deadline = time.monotonic() + _GRACE_SECONDS


def _children() -> list[int]:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return listed_children(Path("/proc"), os.getpid())


def listed_children(proc_root: Path, parent: int) -> list[int]:
    """The children of a process; where the kernel keeps no list of them, those that name it as their parent."""
    with contextlib.suppress(OSError):
        return [int(pid) for pid in (proc_root / f"{parent}/task/{parent}/children").read_text().split()]
    found = []
    for file in proc_root.glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):  # it has ended
            line = file.read_bytes()
            if line[line.rfind(b")") + 2 :].split()[1] == str(parent).encode():
                found.append(int(file.parent.name))
    return found


def _reap() -> bool:
    """Whether a child is still there."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except OSError as error:
        sys.exit(f"{sys.argv[1]}: {error.strerror}")
