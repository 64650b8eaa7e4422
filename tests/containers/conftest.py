"""The images of this tree, built once; without a Docker engine the tests are skipped, or fail in CI."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.conftest import do_without
from tests.support.engine import AGENT, DOCKER, SWEEP, build, docker, ran


@pytest.fixture(scope="session")
def engine() -> None:
    """There is a Docker engine, and this is root: some files and processes are looked at from outside."""
    if shutil.which(DOCKER) is None:
        missing = f"{DOCKER} is not installed"
    elif os.getuid() != 0:
        missing = "these tests need root"
    else:
        asked = ran(DOCKER, "info")
        missing = f"no Docker engine answers: {asked.stderr.strip()[:200]}" if asked.returncode else ""
    if missing:
        do_without(missing)


@pytest.fixture(scope="session")
def images(engine: None) -> dict[str, int]:
    """Both images are built; their sizes in bytes by name."""
    for target, tag in (("agent", AGENT), ("sweep", SWEEP)):
        build(target, tag)
    return {tag: int(docker("image", "inspect", "--format={{.Size}}", tag)) for tag in (AGENT, SWEEP)}
