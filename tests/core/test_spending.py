"""Which of the things that are metered ``energysweep.spent`` asks: blocks, and the trial of the process."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from energysweep import Measurement, spent
from energysweep.core import children, spending
from tests.conftest import need_root

# Of Python 3.12 and later: the thread that answers children is one more.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class Known:
    """Tells its name."""

    can_report = False
    added: Mapping[str, float] = {}

    def __init__(self, name: str) -> None:
        self.name = name

    def spent(self) -> Measurement | None:
        return Measurement(self.name, 1.0)

    def report(self, metrics: Mapping[str, Any]) -> None:
        raise NotImplementedError


_HELD: list[Known] = []


def begin(name: str) -> spending.Block:
    """A block whose owner stays."""
    _HELD.append(Known(name))
    return spending.begin_block(_HELD[-1])


def asked() -> str | None:
    measured = spent()
    return None if measured is None else measured.name


@pytest.fixture
def trial() -> Iterator[Known]:
    trial = Known("trial")
    spending.begin_trial(trial)
    yield trial
    spending.end_trial(trial)


def in_thread(do: Callable[[], object]) -> None:
    thread = threading.Thread(target=do)
    thread.start()
    thread.join()


def test_where_nothing_meters_nothing_is_known() -> None:
    assert spent() is None
    assert spending.trial() is None


def test_the_innermost_block_is_asked_and_then_the_one_around_it() -> None:
    outer = begin("outer")
    inner = begin("inner")
    assert asked() == "inner"
    spending.end_block(inner)
    assert asked() == "outer"
    spending.end_block(outer)
    assert asked() is None


def test_a_trial_is_that_of_all_threads_and_a_block_in_it_is_asked_before(trial: Known) -> None:
    seen: list[str | None] = []
    block = begin("block")
    in_thread(lambda: seen.append(asked()))  # in no block itself
    seen.append(asked())
    spending.end_block(block)
    seen.append(asked())
    assert seen == ["trial", "block", "trial"]
    assert spending.trial() is trial


def test_another_trial_that_ends_ends_not_this_one(trial: Known) -> None:
    spending.end_trial(Known("before"))
    assert spending.trial() is trial


def test_blocks_of_threads_are_their_own_and_a_thread_without_one_sees_the_longest_open() -> None:
    first = begin("first")
    seen: list[str | None] = []

    def work() -> None:
        seen.append(asked())
        block = begin("second")
        seen.append(asked())
        spending.end_block(block)

    in_thread(work)
    assert seen == ["first", "second"]
    assert asked() == "first"
    spending.end_block(first)


def test_a_block_that_ends_in_another_thread_is_asked_no_more() -> None:
    outer = begin("outer")
    inner = begin("inner")
    in_thread(lambda: spending.end_block(inner))
    assert asked() == "outer"
    in_thread(lambda: spending.end_block(outer))
    assert asked() is None


def test_a_block_that_nobody_holds_any_more_is_over() -> None:
    outer = begin("outer")
    lost = Known("lost")
    spending.begin_block(lost)
    assert asked() == "lost"
    del lost
    gc.collect()
    assert asked() == "outer"
    spending.end_block(outer)
    assert asked() is None


def test_blocks_that_end_in_the_order_of_their_beginning_leave_nothing() -> None:
    first, second = begin("first"), begin("second")
    spending.end_block(first)
    assert asked() == "second"
    spending.end_block(second)
    assert asked() is None


def test_a_block_that_is_open_at_a_yield_is_around_its_caller_until_the_generator_goes_on(trial: Known) -> None:
    def metered(name: str) -> Iterator[None]:
        block = begin(name)
        yield
        spending.end_block(block)

    with contextlib.contextmanager(metered)("manager"):
        assert asked() == "manager"
    assert asked() == "trial"
    steps = metered("generator")
    next(steps)
    assert asked() == "generator"  # as the docstring says: no context variable tells it from the other
    assert next(steps, None) is None
    assert asked() == "trial"


def test_each_task_sees_its_own_block() -> None:
    async def work(name: str, both: asyncio.Barrier) -> str | None:
        block = begin(name)
        await both.wait()  # the other one has begun, too
        found = asked()
        await both.wait()
        spending.end_block(block)
        return found

    async def both() -> list[str | None]:
        barrier = asyncio.Barrier(2)
        return list(await asyncio.gather(work("a", barrier), work("b", barrier)))

    assert asyncio.run(both()) == ["a", "b"]


def in_child(do: Callable[[], bool]) -> bool:
    """Whether a forked child finds it so."""
    child = os.fork()
    if child == 0:
        os._exit(0 if do() else 1)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


def test_a_forked_child_is_in_no_block_of_its_parent_s() -> None:
    block = begin("block")
    assert in_child(lambda: spent() is None and spending.trial() is None)
    assert asked() == "block"
    spending.end_block(block)


PROGRAM = """
import energysweep
measured = energysweep.spent()
print(measured.name, measured.energy_joules, measured.source)
"""


def run(program: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    return done.stdout


def test_a_child_of_a_trial_is_told_what_the_trial_has_spent(trial: Known) -> None:
    block = begin("block")
    assert in_child(lambda: asked() == "trial")
    assert run(PROGRAM) == "trial 1.0 \n"
    spending.end_block(block)
    spending.end_trial(trial)
    assert in_child(lambda: spent() is None and spending.trial() is None)  # it has ended
    assert spending.trial() is None


def test_another_user_s_process_is_told_nothing(trial: Known) -> None:
    need_root()

    def as_another() -> bool:
        os.setuid(65534)
        return spent() is None

    assert in_child(as_another)


@pytest.mark.parametrize("name", ["", "nobody", "x" * 1000, "\udcff", "bad/\x01"])
def test_where_no_trial_answers_nothing_is_known(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(children.TRIAL, name)
    assert in_child(lambda: spent() is None)


@pytest.mark.parametrize(
    "answer", [b"", b"no JSON\n", b"[1]\n", b'{"name": "x", "of": "another version"}\n', b"\xff\n"]
)
def test_an_answer_that_cannot_be_is_none(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0energysweep-test-{os.getpid()}")
        listener.listen()
        monkeypatch.setenv(children.TRIAL, f"energysweep-test-{os.getpid()}")

        def answer_once() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(answer)

        thread = threading.Thread(target=answer_once)
        thread.start()
        assert in_child(lambda: spent() is None)
        thread.join()


def test_the_program_of_a_trial_reports_by_a_line_and_no_other_child_does(trial: Known) -> None:
    program = """
import os
from energysweep.core.phases import output_name
os.environ["ENERGYSWEEP_COMMAND_OUTPUT"] = OUTPUT
from energysweep.core import children, spending
trial = spending.trial()
print(trial.can_report, end="")
if trial.can_report:
    trial.report({"loss": 0.5, "text": "a", "nothing": None, "many": [1, 2], 3: float("nan")})
print(trial.added)
"""
    printed = run(program.replace(" OUTPUT", " output_name(1)"))
    assert printed == 'True\n{"loss": 0.5, "text": "a", "nothing": null, "3": NaN}\n{}\n'
    assert run(program.replace(" OUTPUT", " ''")) == "False{}\n"
