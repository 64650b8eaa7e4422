"""Several connections of one process, and of processes in one another's trees. 4 CPUs, 100 W, no floor if not said."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.accounting.attribution import Owner, enclosing, inside, joined, layered, member
from energysweep.agent.agent import ABANDONED_SECONDS
from energysweep.core.errors import LeaseRefused
from energysweep.core.records import LeaseRow
from tests.support.fake_host import CPU, GPU, FakeHost

A, B, C = (Owner("lease", name, name.upper()) for name in "abc")
SECOND_OF_A = Owner("lease", "a2", "A")


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


def opened(host: FakeHost, run: str, pid: int, cpus: float = 0.0, connection: int = 0, **gpus: float) -> str:
    """The lease of a run of its own, as of a ``track`` block."""
    host.agent.open_window(run, {"cpu": 20, "gpu": 50} if cpus or gpus else None)
    host.agent.join(run, host.tree.of(pid), connection)
    named = {name.replace("_", "-"): fraction for name, fraction in gpus.items()}
    host.agent.open_lease(run, f"of {run}", "t", host.tree.of(pid), cpus, named, speaker=connection)
    return f"of {run}"


def node(host: FakeHost) -> dict[str, float]:
    return {bucket: joules for (_, bucket), joules in host.agent.node.joules.items() if joules > 1e-9}


# Who sees what -------------------------------------------------------------------------------------------------------


def test_nested_blocks_each_see_what_was_drawn_while_they_were_open(host: FakeHost) -> None:
    pid = host.tree.fork()
    opened(host, "outer", pid, connection=1)
    host.work(1.0, {pid: 1.0})
    opened(host, "inner", pid, connection=2)
    host.work(2.0, {pid: 1.0})
    assert host.agent.close_lease("inner", "of inner").joules == pytest.approx(200)
    host.agent.disconnect(2)
    for _ in range(4):
        host.work(60.0, {pid: 1.0})
        host.agent.tick()
    assert host.agent.close_lease("outer", "of outer").joules == pytest.approx(24_300)
    assert sum(node(host).values()) == pytest.approx(24_300)  # once


def test_blocks_in_threads_each_see_what_the_process_draws_whichever_ends_first(host: FakeHost) -> None:
    pid = host.tree.fork()
    opened(host, "first", pid, connection=1)
    host.work(1.0, {pid: 1.0})
    opened(host, "second", pid, connection=2)
    host.work(1.0, {pid: 1.0})
    assert host.agent.close_lease("first", "of first").joules == pytest.approx(200)
    host.agent.disconnect(1)
    host.work(1.0, {pid: 1.0})
    assert host.agent.close_lease("second", "of second").joules == pytest.approx(200)
    assert node(host) == pytest.approx({"trials": 300})


def test_a_block_inside_a_trial_takes_nothing_from_it_on_cpus_or_gpu(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, {CPU: 100.0, GPU: 300.0})
    worker, other = host.tree.fork(), host.tree.fork()
    opened(host, "sweep", worker, cpus=4, connection=1, GPU_1=1.0)
    opened(host, "block", host.tree.fork(worker), cpus=2, connection=2, GPU_1=1.0)
    opened(host, "stranger", other, cpus=4, connection=3)
    host.work(10.0, {worker: 1.0, other: 1.0})
    host.agent.tick()
    # CPU: 200 J idle and 800 J active by halves. GPU: 500 J idle and 2500 J active are the trial's, and the block's.
    assert host.buckets("sweep") == pytest.approx(
        {"of sweep active": 400 + 2500, "of sweep idle": 100 + 500, "other_sweeps": 500}
    )
    # The block's process has not worked; it holds 2 of the trial's 4 CPUs, and so half of its share of the floor.
    assert host.buckets("block") == pytest.approx(
        {"of block active": 2500, "of block idle": 50 + 500, "other_sweeps": 800 + 150}
    )


def test_a_block_of_a_child_and_the_block_around_it_both_have_the_child_s_work(host: FakeHost) -> None:
    parent = host.tree.fork()
    child = host.tree.fork(parent)
    opened(host, "outer", parent, connection=1)
    opened(host, "inner", child, connection=2)
    host.work(1.0, {parent: 1.0, child: 3.0})
    host.agent.tick()
    assert host.buckets("outer") == pytest.approx({"of outer active": 100})
    assert host.buckets("inner") == pytest.approx({"of inner active": 75, "other_sweeps": 25})
    assert {lease.lease: lease.cpu_seconds for run in ("outer", "inner") for lease in rows(host, run)} == {
        "of outer": 4.0,
        "of inner": 3.0,
    }


def rows(host: FakeHost, run: str) -> list[LeaseRow]:
    return host.agent.windows[run].lease_rows(0)


def test_a_block_around_a_sweep_sees_all_of_it_and_the_sweep_keeps_its_books(host: FakeHost) -> None:
    driver = host.tree.fork()
    worker, foreign = host.tree.fork(driver), host.tree.fork(driver)
    opened(host, "block", driver, connection=1)
    host.agent.open_window("sweep")
    host.agent.join("sweep", host.tree.of(driver), 2)
    opened(host, "sweep", worker, connection=3)
    opened(host, "another", foreign, connection=4)
    host.work(1.0, {driver: 1.0, worker: 2.0, foreign: 1.0})
    host.agent.tick()
    assert host.buckets("block") == pytest.approx({"of block active": 100})
    assert host.buckets("sweep") == pytest.approx({"of sweep active": 50, "overhead": 25, "other_sweeps": 25})
    assert host.buckets("another") == pytest.approx({"of another active": 25, "other_sweeps": 75})
    assert node(host) == pytest.approx({"trials": 100})


def test_runs_of_one_process_share_what_it_draws_without_a_lease(host: FakeHost) -> None:
    driver = host.tree.fork()
    for connection, run in enumerate(("r", "s")):
        host.agent.open_window(run)
        host.agent.join(run, host.tree.of(driver), connection)
    host.work(1.0, {driver: 1.0})
    host.agent.tick()
    for run in ("r", "s"):
        assert host.buckets(run) == pytest.approx({"overhead": 50, "other_sweeps": 50})
    assert node(host) == pytest.approx({"overhead": 100})


# Who is there --------------------------------------------------------------------------------------------------------


def test_a_process_stays_a_member_through_its_other_connection(host: FakeHost) -> None:
    driver = host.tree.fork()
    window = host.agent.open_window("r")
    host.agent.join("r", host.tree.of(driver), 1)
    host.agent.join("r", host.tree.of(driver), 2)
    host.agent.disconnect(2)
    host.work(1.0, {driver: 1.0})
    host.wait(ABANDONED_SECONDS + 1)
    host.agent.tick()
    assert window.closed is None
    assert host.buckets()["overhead"] == pytest.approx(6200)


def test_a_window_with_an_open_lease_of_a_living_process_is_not_abandoned(host: FakeHost) -> None:
    pid = host.tree.fork()
    window = host.agent.open_window("r")
    host.open("t", pid)  # nobody has joined
    for _ in range(3):
        host.work(ABANDONED_SECONDS, {pid: 1.0})
        host.agent.tick()
    assert window.closed is None
    assert host.agent.report("lease-t").joules == pytest.approx(18_000)
    host.tree.end(pid)
    host.agent.tick()
    host.wait(ABANDONED_SECONDS + 1)
    host.agent.tick()
    assert window.closed is not None


def test_a_dead_process_whose_connection_a_child_has_inherited_keeps_no_window(host: FakeHost) -> None:
    driver = host.tree.fork()
    window = host.agent.open_window("r")
    host.agent.join("r", host.tree.of(driver), 1)
    host.tree.end(driver)
    host.agent.tick()
    host.wait(ABANDONED_SECONDS + 1)
    host.agent.tick()
    assert window.closed is not None


def test_a_lease_goes_on_with_the_connection_that_opened_it_last(host: FakeHost) -> None:
    pid = host.tree.fork()
    opened(host, "r", pid, connection=1)
    opened(host, "r", pid, connection=2)  # the client had lost patience with the first one
    assert host.agent.telling.open_leases == 1
    for late in (
        lambda: opened(host, "r", pid, connection=1),
        lambda: host.agent.report("of r", speaker=1),
        lambda: host.agent.close_lease("r", "of r", 1),
    ):
        with pytest.raises(LeaseRefused, match="has gone on to a later connection"):
            late()
    host.agent.disconnect(1)
    host.work(1.0, {pid: 1.0})
    assert host.agent.report("of r", speaker=2).joules == pytest.approx(100)
    host.agent.disconnect(2)
    assert host.agent.telling.open_leases == 0


def test_a_closed_lease_that_is_opened_again_stays_closed(host: FakeHost) -> None:
    pid = host.tree.fork()
    opened(host, "r", pid, connection=1)
    host.work(1.0, {pid: 1.0})
    host.agent.close_lease("r", "of r")
    opened(host, "r", pid, connection=2)
    host.work(1.0, {pid: 1.0})
    assert host.agent.close_lease("r", "of r").joules == pytest.approx(100)


def test_all_of_them_find_themselves_again_after_a_restart(host: FakeHost) -> None:
    pid = host.tree.fork()
    opened(host, "outer", pid, connection=1)
    opened(host, "inner", host.tree.fork(pid), connection=2)
    host.work(1.0, {pid: 1.0})
    host.agent.tick()
    host.kill_agent()
    host.work(1.0, {pid: 1.0})
    host.start_agent()
    opened(host, "outer", pid, connection=0)
    host.work(1.0, {pid: 1.0})
    host.agent.tick()
    host.wait(100.0)
    host.agent.tick()
    assert host.agent.telling.open_leases == 1  # the other one has not come back
    assert host.agent.report("of outer").joules == pytest.approx(300)
    host.wait(ABANDONED_SECONDS + 1)
    host.agent.tick()
    assert host.agent.windows["inner"].closed is not None
    assert host.agent.windows["outer"].closed is None


def test_trees_that_somebody_nests_without_end_stop_nobody_s_books(host: FakeHost) -> None:
    pid, honest = host.tree.fork(), host.tree.fork()
    for number in range(100):
        for _ in range(12):
            pid = host.tree.fork(pid)
        opened(host, f"run {number}", pid, connection=number)
    opened(host, "honest", honest, connection=2000)
    host.work(1.0, {pid: 1.0, honest: 1.0})
    host.agent.tick()
    assert host.buckets("honest") == pytest.approx({"of honest active": 50, "other_sweeps": 50})
    assert host.buckets("run 99") == pytest.approx({"of run 99 active": 50, "other_sweeps": 50})


# The rules -----------------------------------------------------------------------------------------------------------


def test_an_owner_has_one_lease_of_each_run_and_runs_that_have_none() -> None:
    assert joined([A]) == A
    assert joined([SECOND_OF_A, A, B, member("B"), member("M"), member("M")]).all == (SECOND_OF_A, B, member("M"))
    assert inside(member("M"), A).all == (A, member("M"))
    assert inside(member("A"), A) == A
    assert inside(A, joined([B, member("M")])).all == (A, B)  # M's processes are those outside of A
    assert inside(member("M"), member("N")) == member("M")
    assert inside(A, None) == A


def test_what_is_held_inside_of_what_is_held_is_held_once() -> None:
    around = enclosing([joined([A, B]), joined([B])])
    assert layered({A: 2.0, B: 3.0}, around) == {joined([A, B]): 2.0, B: 1.0}
    assert layered({A: 3.0, B: 2.0}, around) == {joined([A, B]): 2.0, A: 1.0}
    assert layered({A: 3.0, B: 0.0}, around) == {A: 3.0}
    assert layered({A: 0.0, B: 2.0}, around) == {B: 2.0}
    beside = enclosing([joined([A, C]), joined([B, C])])
    assert layered({A: 1.0, B: 1.0, C: 4.0}, beside) == {joined([A, C]): 1.0, joined([B, C]): 1.0, C: 2.0}
    assert layered({A: 1.0, SECOND_OF_A: 2.0}, {A: SECOND_OF_A}) == {A: 1.0, SECOND_OF_A: 2.0}


amounts = st.lists(st.floats(0, 8), min_size=5, max_size=5)
links = st.lists(st.integers(0, 4), min_size=5, max_size=5)


@given(amounts, links, st.lists(st.sampled_from("ABC"), min_size=5, max_size=5))
def test_each_lease_holds_what_it_holds_however_they_are_nested(
    held: list[float], outer: list[int], run: list[str]
) -> None:
    leases = [Owner("lease", str(number), run[number]) for number in range(5)]
    around = {leases[number]: leases[out] for number, out in enumerate(outer) if out > number}
    result = layered(dict(zip(leases, held, strict=True)), around)
    for lease, amount in zip(leases, held, strict=True):
        assert sum(part for owner, part in result.items() if lease in owner.all) == pytest.approx(amount, abs=1e-9)
    assert all(len({each.run for each in owner.all}) == len(owner.all) for owner in result)
