"""What all tests share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes is the machine's business.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


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
    with tempfile.TemporaryDirectory(prefix="energysweep-") as folder, pytest.MonkeyPatch.context() as environment:
        environment.setenv("ENERGYSWEEP_SOCKET", f"{folder}/agent.sock")
        environment.setenv("ENERGYSWEEP_STATE", folder)
        environment.setenv("ENERGYSWEEP_LINGER", "1")
        environment.setenv("RAY_AUTH_MODE", "disabled")  # or Ray may write a token into HOME
        yield Path(folder)
