"""What all tests share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def need(program: str) -> str:
    """The path of a program; skips the test without it, or fails it where nothing may be skipped (.ci/run)."""
    path = shutil.which(program)
    if path is None:
        reason = f"{program} is not installed"
        if os.environ.get("ENERGYSWEEP_NO_SKIPS"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture
def agent_home() -> Iterator[Path]:
    """A folder of this test's own for an agent's socket and state, named to all processes that the test starts.

    In the system's folder for temporary files, because the path of a socket must be short.
    """
    names = ("ENERGYSWEEP_SOCKET", "ENERGYSWEEP_STATE")
    before = {name: os.environ.get(name) for name in names}
    with tempfile.TemporaryDirectory(prefix="energysweep-") as folder:
        os.environ["ENERGYSWEEP_SOCKET"] = f"{folder}/agent.sock"
        os.environ["ENERGYSWEEP_STATE"] = folder
        try:
            yield Path(folder)
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name)
                else:
                    os.environ[name] = value
