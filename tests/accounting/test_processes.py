from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.accounting.attribution import Owner
from energysweep.accounting.processes import TICKS_PER_SECOND, CpuClocks, Proc, Root, read_process, scan
from energysweep.core.errors import AgentError
from tests.support.fake_tree import INIT, FakeTree

A, B, RUN = Owner("lease", "a"), Owner("lease", "b"), Owner("run", "r")


@pytest.fixture
def tree(tmp_path: Path) -> FakeTree:
    return FakeTree(tmp_path / "proc")


class Clocks:
    """CpuClocks of a simulated host, in ticks."""

    def __init__(self, tree: FakeTree, owners: dict[int, Owner]) -> None:
        self.roots = {tree.of(pid): owner for pid, owner in owners.items()}
        self.clocks = CpuClocks(Proc(tree.root))
        self.advance()

    def advance(self) -> dict[Owner, int]:
        return {owner: round(seconds * TICKS_PER_SECOND) for owner, seconds in self.clocks.advance(self.roots).items()}


def test_a_process_is_read_with_a_name_of_spaces_and_parentheses(tree: FakeTree) -> None:
    pid = tree.fork()
    tree.work(pid, 7)
    process = read_process(tree.root, pid)
    assert process is not None
    assert (process.pid, process.parent, process.own_ticks, process.reaped_ticks, process.alive) == (
        2,
        INIT,
        7,
        0,
        True,
    )
    assert scan(tree.root)[pid] == process
    assert read_process(tree.root, 77) is None


@pytest.mark.parametrize("text", ["", "2 (a)", "2 (a) S x 0 0", f"2 (a) S 1 {'0 ' * 17}soon 0"])
def test_a_process_that_procfs_says_nothing_of_is_not_there(tree: FakeTree, text: str) -> None:
    pid, other = tree.fork(), tree.fork()
    (tree.root / str(pid) / "stat").write_text(text)
    assert read_process(tree.root, pid) is None
    assert set(scan(tree.root)) == {INIT, other}


def test_a_process_that_goes_in_the_middle_of_a_scan_is_not_there(tree: FakeTree) -> None:
    (tree.root / "77").mkdir()  # it was listed, and its file has gone
    assert set(scan(tree.root)) == {INIT}


@pytest.mark.parametrize("stat", [None, "", "intr 0\n", "cpu  0 0 0 0 0 0 0 0 0 0\n"])
def test_a_procfs_that_does_not_tell_how_busy_the_host_is_says_0_for_good(tree: FakeTree, stat: str | None) -> None:
    file = tree.root / "stat"
    told = file.read_text()
    file.unlink() if stat is None else file.write_text(stat)
    table = Proc(tree.root)
    assert (table.busy_seconds(), table.logical_cpus) == (0.0, 4)
    file.write_text(told.replace("cpu  0", "cpu  500"))
    assert table.busy_seconds() == 0.0  # no work of years in one second


def test_where_no_procfs_is_mounted_an_agent_says_so(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match=r"none cannot be read \(No such file .*\): an agent needs a procfs"):
        Proc(tmp_path / "none")


def test_a_reading_of_the_busy_time_that_fails_once_is_made_good_by_the_next(tree: FakeTree) -> None:
    tree.work(INIT, 3 * TICKS_PER_SECOND)
    table = Proc(tree.root)
    told = (tree.root / "stat").read_text()
    (tree.root / "stat").unlink()
    assert table.busy_seconds() == 3.0
    (tree.root / "stat").write_text(told)
    tree.work(INIT, TICKS_PER_SECOND)
    assert table.busy_seconds() == 4.0


def test_the_first_scan_only_sets_the_clocks(tree: FakeTree) -> None:
    tree.work(INIT, 100)
    assert CpuClocks(Proc(tree.root)).advance({tree.of(INIT): A}) == {}


def test_a_tree_is_charged_for_all_its_processes_and_nobody_else_s(tree: FakeTree) -> None:
    worker, other = tree.fork(), tree.fork()
    child = tree.fork(worker)
    clocks = Clocks(tree, {worker: A})
    for pid, used in ((worker, 3), (child, 5), (other, 11), (tree.fork(child), 2)):
        tree.work(pid, used)
    assert clocks.advance() == {A: 10}
    assert clocks.advance() == {}


def test_the_nearest_owned_ancestor_owns_a_process(tree: FakeTree) -> None:
    driver = tree.fork()
    worker = tree.fork(driver)
    inner = tree.fork(worker)
    clocks = Clocks(tree, {driver: RUN, worker: A, inner: B})
    for pid, used in ((driver, 1), (worker, 2), (inner, 4), (tree.fork(inner), 8)):
        tree.work(pid, used)
    assert clocks.advance() == {RUN: 1, A: 2, B: 12}


def test_a_short_lived_child_that_no_scan_saw_is_charged_to_its_tree(tree: FakeTree) -> None:
    worker = tree.fork()
    clocks = Clocks(tree, {worker: A})
    for _ in range(5):
        child = tree.fork(worker)
        tree.work(child, 4)
        tree.end(child)
    assert clocks.advance() == {A: 20}


def test_a_child_that_a_scan_saw_is_not_charged_again_when_it_is_reaped(tree: FakeTree) -> None:
    worker = tree.fork()
    child = tree.fork(worker)
    clocks = Clocks(tree, {worker: A})
    tree.work(child, 10)
    assert clocks.advance() == {A: 10}
    tree.work(child, 3)
    tree.exit(child)
    assert clocks.advance() == {A: 3}  # as a zombie
    tree.reap(child)
    assert clocks.advance() == {}


def test_the_last_ticks_of_a_reaped_grandchild_are_charged(tree: FakeTree) -> None:
    worker = tree.fork()
    child = tree.fork(worker)
    grandchild = tree.fork(child)
    clocks = Clocks(tree, {worker: A})
    tree.work(grandchild, 10)
    tree.work(child, 5)
    assert clocks.advance() == {A: 15}
    tree.work(grandchild, 2)
    tree.end(grandchild)
    tree.work(child, 1)
    tree.end(child)
    assert clocks.advance() == {A: 3}


def test_a_worker_that_dies_is_not_charged_to_who_reaps_it(tree: FakeTree) -> None:
    raylet = tree.fork()
    worker = tree.fork(raylet)
    clocks = Clocks(tree, {raylet: RUN, worker: A})
    tree.work(worker, 500)
    tree.work(raylet, 1)
    assert clocks.advance() == {A: 500, RUN: 1}
    tree.work(worker, 6)
    tree.end(worker)
    assert clocks.advance() == {A: 6}


def test_an_orphan_that_a_subreaper_reaps_is_charged_once(tree: FakeTree) -> None:
    supervisor = tree.fork(reaper=True)
    shell = tree.fork(supervisor)
    step = tree.fork(shell)
    helper = tree.fork(step)
    clocks = Clocks(tree, {supervisor: A})
    tree.work(helper, 1000)
    assert clocks.advance() == {A: 1000}
    tree.work(step, 2)
    tree.end(step)  # the shell reaps it, the supervisor inherits the helper
    tree.work(helper, 5)
    tree.end(helper)
    assert clocks.advance() == {A: 7}


def test_an_orphan_that_nobody_owns_is_nobody_s(tree: FakeTree) -> None:
    worker = tree.fork()
    child = tree.fork(worker)
    clocks = Clocks(tree, {worker: A})
    tree.end(worker)
    tree.work(child, 50)
    assert clocks.advance() == {}


def test_a_pid_that_is_used_again_is_another_process(tree: FakeTree) -> None:
    worker = tree.fork()
    clocks = Clocks(tree, {worker: A})
    tree.work(worker, 40)
    assert clocks.advance() == {A: 40}
    owner_before = tree.of(worker)
    tree.end(worker)
    tree.fork(pid=worker)
    tree.work(worker, 90)
    assert clocks.advance() == {}
    assert not clocks.clocks.alive(owner_before)
    assert clocks.clocks.alive(tree.of(worker))


def test_the_children_of_an_ended_process_are_not_those_of_the_next_one_with_its_pid(tree: FakeTree) -> None:
    worker = tree.fork()
    step = tree.fork(worker)
    helper = tree.fork(step)
    clocks = Clocks(tree, {worker: A})
    tree.work(helper, 100)
    assert clocks.advance() == {A: 100}
    tree.end(helper)
    tree.end(step)
    tree.fork(worker, pid=step)
    unseen = tree.fork(worker)
    tree.work(unseen, 30)
    tree.end(unseen)
    assert clocks.advance() == {A: 30}


def test_a_zombie_is_not_alive(tree: FakeTree) -> None:
    worker = tree.fork()
    clocks = Clocks(tree, {worker: A})
    assert clocks.clocks.alive(tree.of(worker))
    tree.exit(worker)
    clocks.advance()
    assert not clocks.clocks.alive(tree.of(worker))


def test_a_child_that_is_reaped_while_the_scan_runs_is_charged_once(tree: FakeTree) -> None:
    worker = tree.fork()
    child = tree.fork(worker)
    clocks = Clocks(tree, {worker: A})
    tree.work(child, 100)
    assert clocks.advance() == {A: 100}
    tree.work(child, 5)
    # The parent reaps after it was read: a pipe in place of its file says what was, and makes way for what is now.
    stat = tree.root / str(worker) / "stat"
    before = stat.read_bytes()
    tree.end(child)
    now = stat.rename(tree.root / "now")
    os.mkfifo(stat)

    def say() -> None:
        with stat.open("wb", buffering=0) as pipe:  # waits for the reader
            now.replace(stat)
            pipe.write(before)

    speaker = threading.Thread(target=say)
    speaker.start()
    try:
        assert clocks.advance() == {A: 5}
    finally:
        speaker.join(5)


def test_a_parent_that_does_not_wait_takes_nothing_from_others_for_long(tree: FakeTree) -> None:
    worker = tree.fork()
    child, other = tree.fork(worker), tree.fork(worker)
    clocks = Clocks(tree, {worker: A})
    tree.work(child, 100)
    clocks.advance()
    tree.exit(child)
    tree.reap(child, waited_for=False)
    assert clocks.advance() == {}
    assert clocks.advance() == {}
    tree.work(other, 1)
    grandchild = tree.fork(worker)
    tree.work(grandchild, 30)
    tree.end(grandchild)
    assert clocks.advance() == {A: 31}


steps = st.lists(
    st.tuples(
        st.sampled_from(["fork", "reuse", "work", "work", "exit", "reap", "end", "scan"]),
        st.integers(0, 10),
        st.integers(1, 50),
    ),
    max_size=60,
)


def _carry_out(tree: FakeTree, step: str, choice: int, amount: int) -> None:
    living = [process.pid for process in tree.processes.values() if not process.zombie]
    mortal = [pid for pid in living if pid != INIT]
    zombies = [
        process.pid
        for process in tree.processes.values()
        if process.zombie and not tree.processes[process.parent].zombie
    ]
    match step:
        case "fork":
            tree.fork(living[choice % len(living)], reaper=amount % 3 == 0)
        case "reuse":
            pid = 2 + amount % 8
            if pid not in tree.processes:
                tree.fork(living[choice % len(living)], pid=pid)
        case "work":
            tree.work(living[choice % len(living)], amount)
        case "exit" if mortal:
            tree.exit(mortal[choice % len(mortal)])
        case "reap" if zombies:
            tree.reap(zombies[choice % len(zombies)])
        case "end" if mortal:
            tree.end(mortal[choice % len(mortal)])


@given(steps)
def test_all_cpu_time_is_charged_exactly_once(schedule: list[tuple[str, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tree = FakeTree(Path(folder))
        driver = tree.fork()
        first, second = tree.fork(driver), tree.fork(driver)
        # Everything has an owner, so that nothing is lost to nobody.
        clocks = Clocks(tree, {INIT: Owner("shared"), driver: RUN, first: A, second: B})
        charged = 0
        for step, choice, amount in schedule:
            if step == "scan":
                shares = clocks.advance()
                assert all(count > 0 for count in shares.values())
                charged += sum(shares.values())
                assert charged == tree.used
            else:
                _carry_out(tree, step, choice, amount)
        assert charged + sum(clocks.advance().values()) == tree.used


BURN = "import time\nwhile time.process_time() < {seconds}: pass\n"
THREAD_AND_CHILDREN = f"""
import subprocess, sys, threading

def burn():
    {BURN.format(seconds=0.5).strip().replace(chr(10), chr(10) + "    ")}
    for _ in range(8):
        subprocess.run([sys.executable, "-S", "-c", {BURN.format(seconds=0.05)!r}], check=True)

print("ready", flush=True)
sys.stdin.readline()
thread = threading.Thread(target=burn)
thread.start()
thread.join()
print("done", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def start() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def run(program: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def test_a_real_tree_is_charged_for_its_thread_and_its_short_lived_children(
    start: Callable[[str], subprocess.Popen[str]],
) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = start(THREAD_AND_CHILDREN)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    found = read_process(Path("/proc"), process.pid)
    assert found is not None
    roots = {Root(found.pid, found.started): A}
    clocks = CpuClocks(Proc(Path("/proc")))
    clocks.advance(roots)
    already = (found.own_ticks + found.reaped_ticks) / TICKS_PER_SECOND
    process.stdin.write("go\n")
    process.stdin.flush()
    charged = 0.0
    for _ in range(10):  # scans at moments that the children know nothing of
        time.sleep(0.03)
        charged += clocks.advance(roots).get(A, 0.0)
    assert process.stdout.readline() == "done\n"
    charged += clocks.advance(roots).get(A, 0.0)
    process.communicate("end\n")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime - already
    assert used > 0.8
    assert charged == pytest.approx(used, rel=0.15, abs=0.05)
