"""One driver at a time works on a run."""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from energysweep.cli import main
from energysweep.core.errors import InputError, SweepError
from energysweep.core.host import Host
from energysweep.core.runfolder import DRIVER_LOCK, LEDGER
from energysweep.driver.run_lock import BEAT_SECONDS, WATCH_SECONDS, RunLock, held
from tests.driver.test_resume import STEPS, read, start, wait_for
from tests.support.sweeps import end_of_orphans

HERE = Host(node="here", boot_id="boot-1", wall_clock=lambda: 1_790_000_000.0)
ELSEWHERE = Host(node="there", boot_id="boot-2", wall_clock=lambda: 1_000.0)  # its clock is wrong: it does not matter


def no_flock(_descriptor: int, _operation: int) -> None:
    """As on a file system that has none."""
    raise OSError(errno.EOPNOTSUPP, "Operation not supported")


def flock_of_this_host_only(_descriptor: int, _operation: int) -> None:
    """As on a file system that does not tell other hosts: everybody gets it."""


class Waiting:
    """A clock that goes on by what is slept, and others that do something meanwhile."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.slept = 0.0
        self.said: list[str] = []
        self._meanwhile = meanwhile

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self._meanwhile()


def take(folder: Path, host: Host, waiting: Waiting | None = None, flock: object = fcntl.flock) -> RunLock:
    waiting = waiting or Waiting()
    return RunLock.take(folder, waiting.said.append, host=host, sleep=waiting.sleep, flock=flock)  # type: ignore[arg-type]


def test_a_second_driver_is_told_who_works_on_the_run_and_the_folder_is_free_afterwards(tmp_path: Path) -> None:
    first = take(tmp_path, HERE)
    with pytest.raises(InputError) as refused:
        take(tmp_path, HERE)
    assert str(refused.value) == (
        f"{tmp_path}: another driver works on this run (process {os.getpid()} on here since 2026-09-21 14:13:20 UTC):"
        " wait for its end, or end it and resume"
    )
    first.release()
    assert list(tmp_path.iterdir()) == []
    take(tmp_path, HERE).release()


def test_what_a_killed_driver_of_this_host_left_is_taken_over_without_waiting(tmp_path: Path) -> None:
    left = take(tmp_path, HERE)
    os.close(left._descriptor)
    waiting = Waiting()
    lock = take(tmp_path, HERE, waiting)
    assert (waiting.slept, waiting.said) == (0.0, [])
    assert lock.beat() is None
    assert left._holder.token not in (tmp_path / DRIVER_LOCK).read_text()


@pytest.mark.parametrize("flock", [flock_of_this_host_only, no_flock])
def test_a_driver_of_another_host_is_alive_if_its_number_moves_while_it_is_watched(
    tmp_path: Path, flock: object
) -> None:
    other = take(tmp_path, ELSEWHERE, flock=flock)
    waiting = Waiting(meanwhile=other.beat)
    with pytest.raises(InputError, match=r"another driver works on this run .* on there since 1970-01-01 00:16:40 UTC"):
        take(tmp_path, HERE, waiting, flock)
    assert waiting.slept == BEAT_SECONDS / 2  # seen at once
    assert other.beat() is None


@pytest.mark.parametrize("flock", [flock_of_this_host_only, no_flock])
def test_what_another_host_left_or_a_folder_that_was_copied_is_taken_over_after_a_while(
    tmp_path: Path, flock: object
) -> None:
    other = take(tmp_path, ELSEWHERE, flock=flock)
    waiting = Waiting()
    lock = take(tmp_path, HERE, waiting, flock)
    assert WATCH_SECONDS <= waiting.slept <= WATCH_SECONDS + 2 * BEAT_SECONDS
    assert waiting.said == [
        f"{tmp_path} was left by process {os.getpid()} on there since 1970-01-01 00:16:40 UTC;"
        " watching for 15 s whether it still works on it"
    ]
    assert lock.beat() is None
    # The other one was only away for a while, such as a suspended machine: it notices, and takes nothing back.
    assert "another driver has taken over this run" in str(other.beat())
    other.release()
    assert lock.beat() is None


def test_a_lock_that_is_given_back_while_it_is_watched_is_taken(tmp_path: Path) -> None:
    other = take(tmp_path, ELSEWHERE, flock=no_flock)
    lock = take(tmp_path, HERE, Waiting(meanwhile=other.release), no_flock)
    assert lock.beat() is None
    assert list(tmp_path.iterdir()) == [tmp_path / DRIVER_LOCK]


def test_of_two_that_take_over_at_once_the_last_one_has_it(tmp_path: Path) -> None:
    take(tmp_path, ELSEWHERE, flock=no_flock)
    third = Host(node="third", boot_id="boot-3", wall_clock=lambda: 1_000.0)
    locks: list[RunLock] = []

    def meanwhile() -> None:  # both have watched to the end: the other one writes itself in while the first one waits
        if waiting.slept > WATCH_SECONDS and not locks:
            locks.append(take(tmp_path, third, Waiting(), no_flock))

    waiting = Waiting(meanwhile)
    with pytest.raises(InputError, match="on third since"):
        take(tmp_path, HERE, waiting, no_flock)
    assert locks[0].beat() is None


def test_of_many_starters_in_one_moment_exactly_one_gets_the_lock(tmp_path: Path) -> None:
    took: list[RunLock] = []
    refused: list[InputError] = []
    gate = threading.Barrier(16)

    def starter() -> None:
        gate.wait()
        try:
            took.append(take(tmp_path, HERE))
        except InputError as error:
            refused.append(error)

    for _ in range(20):
        threads = [threading.Thread(target=starter) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(took), len(refused)) == (1, 15)
        took.pop().release()  # removes the file while others may be opening it
        refused.clear()


def test_a_lock_is_given_back_while_others_try_to_get_it_and_never_two_have_it(tmp_path: Path) -> None:
    turns, holders = dict.fromkeys(range(8), 0), set[int]()
    together: list[set[int]] = []
    refused = [0]

    def starter(number: int) -> None:
        while turns[number] < 4:
            try:
                lock = take(tmp_path, HERE)
            except InputError:
                refused[0] += 1
                continue
            holders.add(number)
            for _ in range(50):  # its work, in which each of the others gets its turn
                time.sleep(0)
                if holders != {number}:
                    together.append(set(holders))
            holders.remove(number)
            turns[number] += 1
            lock.release()

    threads = [threading.Thread(target=starter, args=(number,)) for number in turns]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == []
    assert set(turns.values()) == {4}
    assert refused[0] > 0


def test_whatever_stands_in_the_file_it_can_be_taken(tmp_path: Path, chance: random.Random) -> None:
    good = {"node": "n", "boot_id": "b", "pid": 1, "since": 1.0, "token": "t", "beats": 0}
    contents = [b"", b"\0" * 1024, b"null", b"[]", b"{}", json.dumps(good | {"since": 1e300}).encode()]
    contents += [json.dumps(good | {"since": None}).encode(), json.dumps(good | {"more": 1}).encode()]
    contents += [chance.randbytes(chance.randrange(1, 300)) for _ in range(50)]
    for content in contents:
        (tmp_path / DRIVER_LOCK).write_bytes(content)
        lock = take(tmp_path, HERE)
        assert lock.beat() is None
        lock.release()


def test_a_driver_notices_that_its_folder_has_gone_or_is_another_one(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    lock = take(folder, HERE)
    shutil.rmtree(folder)
    with pytest.raises(SweepError, match=r"the run folder has gone .*run: No such file or directory"):
        lock.check()
    folder.mkdir()
    (folder / DRIVER_LOCK).touch()
    assert "the run folder was replaced" in str(lock.beat())
    lock.release()
    assert (folder / DRIVER_LOCK).exists()  # of somebody else


def test_a_lock_that_somebody_removed_is_no_folder_that_has_gone(tmp_path: Path) -> None:
    lock = take(tmp_path, HERE)
    (tmp_path / LEDGER).touch()
    (tmp_path / DRIVER_LOCK).unlink()
    assert lock.beat() == f"its driver.lock was removed ({tmp_path}): another driver could work on the run"
    lock.release()


def test_a_beat_that_tells_nothing_ends_no_run(tmp_path: Path) -> None:
    """Here because no file may be opened any more; a server that does not answer is of the same kind."""
    lock = take(tmp_path, HERE)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            (tmp_path / DRIVER_LOCK).read_bytes()
        assert lock.beat() is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    before = json.loads((tmp_path / DRIVER_LOCK).read_text())["beats"]
    assert lock.beat() is None
    assert json.loads((tmp_path / DRIVER_LOCK).read_text())["beats"] == before + 1
    lock.release()


def test_a_new_folder_that_stays_empty_is_removed_and_another_one_stays(tmp_path: Path) -> None:
    for is_new in (True, False):
        folder = tmp_path / str(is_new)
        folder.mkdir()
        with held(folder, print, is_new=is_new):
            assert [path.name for path in folder.iterdir()] == [DRIVER_LOCK]
        assert folder.exists() is not is_new


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / DRIVER_LOCK).mkdir()
    with pytest.raises(InputError, match=r"cannot be written: Is a directory"), held(tmp_path, print, is_new=False):
        pass


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.filterwarnings("default")
def test_of_two_drivers_that_go_on_with_a_killed_run_one_is_refused_and_nothing_is_trained_twice(
    sweep_folder: Path,
) -> None:
    (sweep_folder / "work.py").write_text(STEPS)
    folder = sweep_folder / "results" / "it"
    overrides = ["parameters={steps: {grid: [2, 24]}}", "max_concurrent_trials=1"]
    killed = start(sweep_folder, *overrides)
    wait_for(lambda: (folder / LEDGER).exists() and len(read(folder).results) > 2)
    killed.kill()
    killed.wait()
    end_of_orphans()
    assert (folder / DRIVER_LOCK).exists()

    options = [part for override in overrides for part in ("--set", override)]
    drivers = [
        subprocess.Popen(
            [sys.executable, "-m", "energysweep", *command, "--metrics-port", "0"],
            cwd=sweep_folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in (["resume", str(folder)], ["run", "sweep.yaml", "--run-id", "it", *options])
    ]
    told = [driver.communicate(timeout=300) for driver in drivers]
    assert sorted(driver.returncode for driver in drivers) == [0, 2]
    loser = next(number for number, driver in enumerate(drivers) if driver.returncode == 2)
    message = told[loser][1].splitlines()[-1]
    winner = drivers[1 - loser].pid
    assert message.startswith(f"energysweep: {folder}: another driver works on this run (process {winner} on ")
    data = read(folder)
    assert len(data.run["parts"]) == 2
    long = max(data.trials, key=lambda trial: trial.parameters["steps"])
    assert [attempt.outcome for attempt in data.attempts if attempt.trial == long.trial] == ["interrupted", "completed"]
    steps = [row.metrics["score"] for row in data.results if row.trial == long.trial]
    assert steps[-1] == 23
    assert sum(after <= before for before, after in itertools.pairwise(steps)) <= 1  # where it went on
    assert not (folder / DRIVER_LOCK).exists()
    assert main(["resume", str(folder)]) == 0  # it is done


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.filterwarnings("default")
def test_a_driver_refuses_another_one_while_it_lives_and_reports_can_be_read(
    sweep_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sweep_folder / "work.py").write_text(STEPS)
    folder = sweep_folder / "results" / "it"
    driver = start(sweep_folder, "parameters={steps: 4000}")
    wait_for(lambda: (folder / LEDGER).exists() and len(read(folder).results) > 2)
    before = time.time()
    assert main(["resume", str(folder)]) == 2
    assert f"another driver works on this run (process {driver.pid} on " in capsys.readouterr().err
    assert main(["report", str(folder)]) == 0
    assert read(folder).run["started_at"] < before
    os.killpg(driver.pid, signal.SIGINT)
    assert driver.wait(timeout=300) == 130
    assert not (folder / DRIVER_LOCK).exists()
