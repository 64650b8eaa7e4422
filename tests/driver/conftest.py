"""The fixtures of tests that run sweeps."""

from tests.support.sweeps import run_sweep, sweep_folder  # noqa: F401
