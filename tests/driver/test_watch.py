"""Who ends a run: its own thread, or the watch because Ray has gone; and what the two do when both may."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from energysweep.core.errors import LedgerError
from energysweep.driver.ray_process import RayProcess
from energysweep.driver.run_lock import held
from energysweep.driver.session import StopSignals
from energysweep.driver.watch import Watch

GONE = "Ray's raylet was ended by SIGKILL"
NODE = "aa" * 28


class Process:
    """The end of a process that may not end here: who ends it waits for ever."""

    def __init__(self) -> None:
        self.left: list[tuple[int, str]] = []
        self.has_ended = threading.Event()

    def leave(self, code: int, words: str) -> None:
        self.left.append((code, words))
        self.has_ended.set()
        threading.Event().wait()


class OwnRay:
    """A Ray that lives until it is said to have gone."""

    def __init__(self) -> None:
        self.is_local = True
        self.gone: str | None = None
        self.has_been_asked = threading.Event()

    def lost(self) -> str | None:
        self.has_been_asked.set()
        return self.gone

    lost_for_sure = lost

    def end(self) -> None:
        pass


class Begun:
    """A run that has begun; abandoning it takes until it is let go."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.abandoned: list[str] = []
        self.is_being_abandoned, self.may_end = threading.Event(), threading.Event()
        if at_once:
            self.may_end.set()

    def problem(self) -> LedgerError | None:
        return None

    def abandon(self, reason: str, *, is_ours: bool) -> int:
        assert is_ours
        self.abandoned.append(reason)
        self.is_being_abandoned.set()
        self.may_end.wait()
        return 1


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    (tmp_path / "it").mkdir()
    return tmp_path / "it"


@pytest.fixture
def watch(run_folder: Path, process: Process) -> Iterator[Watch]:
    with ExitStack() as stack:
        lock = stack.enter_context(held(run_folder, print, is_new=True))
        yield Watch(lock, StopSignals(), None, process.leave)


def over(watch: Watch, own: OwnRay) -> None:
    watch._ray = own  # type: ignore[assignment]  # what the block of `over` does at its beginning


def in_a_thread(work: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_tune_that_gives_up_because_ray_has_gone_does_not_end_the_run_as_one_that_failed(
    watch: Watch, process: Process
) -> None:
    own, run = OwnRay(), Begun()
    over(watch, own)
    with watch.beginning() as begun:
        begun(run)
    own.gone = GONE  # and Tune, which lives on that Ray, raises at once
    tune = in_a_thread(watch.finishing)
    assert process.has_ended.wait(60)
    assert run.abandoned == [GONE]
    assert process.left[0] == (1, "")
    tune.join(0.2)
    assert tune.is_alive()  # and Tune's thread writes nothing of its own


def test_a_run_that_the_watch_has_begun_to_end_is_not_ended_by_its_own_thread_as_well(
    watch: Watch, process: Process
) -> None:
    own, run = OwnRay(), Begun(at_once=False)
    over(watch, own)
    with watch.beginning() as begun:
        begun(run)
    own.gone = GONE
    assert run.is_being_abandoned.wait(60)
    own.gone = None  # whatever Ray says now
    tune = in_a_thread(watch.finishing)
    tune.join(0.2)
    assert tune.is_alive()
    run.may_end.set()
    assert process.has_ended.wait(60)


def test_a_run_that_ends_itself_is_not_ended_by_the_watch_when_its_ray_goes(watch: Watch, process: Process) -> None:
    own, run = OwnRay(), Begun()
    over(watch, own)
    with watch.beginning() as begun:
        begun(run)
    watch.finishing()
    own.gone = GONE
    watch.finishing()  # as at the end of the block: it is decided
    own.has_been_asked.clear()
    watch.close()
    assert (run.abandoned, process.left) == ([], [])


def test_a_ray_that_goes_before_the_run_has_begun_leaves_no_folder(
    watch: Watch, process: Process, run_folder: Path
) -> None:
    own = OwnRay()
    own.gone = GONE
    over(watch, own)
    assert process.has_ended.wait(60)
    assert process.left[0] == (2, f"energysweep: {GONE}")
    assert not run_folder.exists()


def test_a_ray_that_goes_while_the_folder_is_filled_leaves_a_run_that_has_ended(
    watch: Watch, process: Process, run_folder: Path
) -> None:
    own, run = OwnRay(), Begun()
    over(watch, own)
    with watch.beginning() as begun:
        (run_folder / "ledger.sqlite").touch()
        own.gone = GONE
        own.has_been_asked.clear()
        assert own.has_been_asked.wait(60)
        assert process.left == []
        begun(run)
    assert process.has_ended.wait(60)
    assert run.abandoned == [GONE]
    assert process.left[0] == (1, "")


class Head:
    """A cluster's head that answers, or not, by a clock that goes on while it is asked or slept."""

    def __init__(self, *, silent_until: float = 0.0, state: int = 0) -> None:
        self.now, self.asked = 0.0, 0
        self._silent_until, self._state = silent_until, state

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def get_all_node_info(self, timeout: float) -> dict[Any, Any]:
        self.asked += 1
        if self.now < self._silent_until:
            self.now += timeout
            raise ray.exceptions.RpcError("no answer")
        return {ray.NodeID(bytes.fromhex(NODE)): SimpleNamespace(state=self._state)}

    def process(self) -> RayProcess:
        return RayProcess("10.0.0.1:6379", lambda: self.now, self.sleep, self, NODE)


def test_before_a_failure_is_believed_the_cluster_is_asked_however_short_ago_that_was() -> None:
    head = Head(state=1)  # dead
    process = head.process()
    assert process.lost() is None  # asked every 5 s only
    assert head.asked == 0
    assert process.lost_for_sure() == "the cluster at 10.0.0.1:6379 has lost the node that this driver is on"


def test_a_head_that_is_silent_is_asked_until_it_answers_before_a_failure_is_believed() -> None:
    head = Head(silent_until=15.0)  # restarted
    assert head.process().lost_for_sure() is None
    assert head.asked == 5  # each takes 3 s, and 1 s between
    assert head.now == 16.0


def test_a_head_that_is_silent_for_too_long_is_lost() -> None:
    head = Head(silent_until=1e9)
    reason = head.process().lost_for_sure()
    assert reason is not None
    assert reason.startswith("the head of the cluster at 10.0.0.1:6379 has not answered for 27 s (")
