"""What all tests share."""

from __future__ import annotations

import atexit
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes, or the making of one, is the machine's business: neither has a limit.
_ANY_MACHINE: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
# `make test`: the same examples each time. `make test-slow` looks for new ones: --hypothesis-profile=many. Where a seed
# is set, as in CI, these are the same each time, too: what fails there is of the change, and fails again.
_IS_SEEDED = bool(os.environ.get("ENERGYSWEEP_SEED"))
settings.register_profile("few", max_examples=25, derandomize=True, **_ANY_MACHINE)
settings.register_profile("many", max_examples=200, print_blob=True, derandomize=_IS_SEEDED, **_ANY_MACHINE)
settings.load_profile("few")

# Ray may write a token into HOME otherwise; and a process that has once asked for tokens can never again do without.
os.environ["RAY_AUTH_MODE"] = "disabled"

# A shell's background job, as CI may be one, is deaf to Ctrl-C, and so is all that it starts: tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SEED = int(os.environ.get("ENERGYSWEEP_SEED") or random.SystemRandom().randrange(2**32))


def pytest_report_header() -> str:
    """What repeats the random input of a run that has failed."""
    return f"random input: ENERGYSWEEP_SEED={SEED} makes the same again"


@pytest.hookimpl(trylast=True)  # when those that do not run are out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules with long tests first: then none of several processes waits for the last one of another.

    A test that takes long has a long limit. The tests of a module stay together, as what they share does.
    """
    limits: dict[Path, float] = {}
    for item in items:
        marker = item.get_closest_marker("timeout")
        limit = float(marker.args[0]) if marker is not None and marker.args else 0.0
        if item.get_closest_marker("ray") is not None:
            limit += 1.0
        limits[item.path] = max(limits.get(item.path, 0.0), limit)
    items.sort(key=lambda item: -limits[item.path])


_STATUS = pytest.StashKey[int]()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """How the tests ended."""
    session.config.stash[_STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends the process without the interpreter's own end where Ray was used: its threads may crash in there.

    The tests are over and reported by then, so the exit code shall be what they found.
    """
    if "ray" in sys.modules and _STATUS in config.stash:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.stash[_STATUS])


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Random input of this test's own, other at each run of pytest, the same whichever other tests run."""
    print(f"ENERGYSWEEP_SEED={SEED}")  # noqa: T201 - stands in the report of a failure
    return random.Random(f"{SEED} {request.node.name}")  # noqa: S311 - no secret


def need(program: str) -> str:
    """The path of a program; skips the test without it, or fails it where nothing may be skipped."""
    path = shutil.which(program)
    if path is None:
        do_without(f"{program} is not installed")
    return path


def need_root() -> None:
    """Skips the test for everybody but root, or fails it where nothing may be skipped."""
    if os.geteuid() != 0:
        do_without("needs root")


def do_without(reason: str) -> NoReturn:
    """Skips the test, or fails it where nothing may be skipped (.ci/run)."""
    if os.environ.get("ENERGYSWEEP_NO_SKIPS"):
        pytest.fail(reason)
    pytest.skip(reason)


def open_to_all(folder: Path) -> None:
    """Let other users into a test's folder, whichever folders of pytest's it is in."""
    everybodys = Path(tempfile.gettempdir())
    for each in (folder, *folder.parents):
        if each.is_relative_to(everybodys) and each != everybodys:
            each.chmod(0o755)


@contextmanager
def home_of_an_agent() -> Iterator[Path]:
    """A folder for an agent's socket and state, named to all processes that are started meanwhile.

    In the system's folder for temporary files, because the path of a socket must be short.
    """
    # An agent that ends may write while the folder is removed.
    temporary = tempfile.TemporaryDirectory(prefix="energysweep-", ignore_cleanup_errors=True)
    with temporary as folder, pytest.MonkeyPatch.context() as environment:
        environment.setenv("ENERGYSWEEP_SOCKET", f"{folder}/agent.sock")
        environment.setenv("ENERGYSWEEP_STATE", folder)
        environment.setenv("ENERGYSWEEP_LINGER", "1")
        yield Path(folder)


@pytest.fixture
def agent_home() -> Iterator[Path]:
    """An agent's home of this test's own."""
    with home_of_an_agent() as folder:
        yield folder
