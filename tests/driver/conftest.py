"""The fixtures of tests that run sweeps."""

from tests.support.sweeps import done, run_sweep, sweep_folder, sweep_of_this_session  # noqa: F401
