"""The fixtures of tests that run sweeps, and that fetch run folders."""

from pathlib import Path

import pytest

from tests.support.fetching import Place
from tests.support.sweeps import run_sweep, sweep_folder  # noqa: F401


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder to fetch into."""
    return Place(tmp_path)
