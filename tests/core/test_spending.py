"""Which of the things that are metered ``energysweep.spent`` asks: blocks, and the trial of the process."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from energysweep import Measurement, spent
from energysweep.core import spending


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


def test_a_forked_child_asks_nothing_of_its_parent_s(trial: Known) -> None:
    block = begin("block")
    child = os.fork()
    if child == 0:
        os._exit(0 if spent() is None and spending.trial() is None else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert asked() == "block"
    spending.end_block(block)
