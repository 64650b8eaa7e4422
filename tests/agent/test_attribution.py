from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.agent.attribution import SHARED, Owner, Usage, attribute
from energysweep.meters import Device

CPU = Device("package-0", "cpu", "rapl")
GPU = Device("GPU-1", "gpu", "nvml_counter")
A, B = Owner("lease", "a"), Owner("lease", "b")
RUN = Owner("run", "r")


def test_the_floor_is_idle_and_the_rest_follows_cpu_time() -> None:
    # 1000 J in 10 s over a floor of 20 W: 200 J idle, 800 J active. Half of the 8 busy seconds are a's.
    usage = Usage(10, busy_cpu_seconds=8, cpu_seconds={A: 4, RUN: 2}, reserved_cpu_seconds={A: 10, B: 20})
    shares = attribute(CPU, 1000, 20, usage, logical_cpus=4)
    assert shares.active == {A: 400, RUN: 200}
    assert shares.background == 200
    assert shares.idle == {A: 50, B: 100}  # 1 and 2 of 4 CPUs
    assert shares.unreserved_idle == 50


def test_a_lease_that_sleeps_pays_only_its_share_of_the_floor() -> None:
    usage = Usage(10, busy_cpu_seconds=10, cpu_seconds={A: 10}, reserved_cpu_seconds={A: 10, B: 10})
    shares = attribute(CPU, 1000, 20, usage, logical_cpus=4)
    assert shares.active == {A: 800}
    assert shares.idle == {A: 50, B: 50}


def test_less_energy_than_the_floor_is_all_idle() -> None:
    usage = Usage(10, busy_cpu_seconds=1, cpu_seconds={A: 1}, reserved_cpu_seconds={A: 20})
    shares = attribute(CPU, 150, 20, usage, logical_cpus=4)
    assert shares.active == {A: 0}
    assert shares.idle == {A: 75}
    assert shares.unreserved_idle == 75


def test_an_over_reserved_host_shares_its_floor_by_reservation() -> None:
    usage = Usage(10, reserved_cpu_seconds={A: 60, B: 20})  # 6 and 2 of 4 CPUs
    shares = attribute(CPU, 200, 20, usage, logical_cpus=4)
    assert shares.idle == {A: 150, B: 50}
    assert shares.unreserved_idle == 0


def test_nothing_reserved_is_no_share_of_the_floor() -> None:
    shares = attribute(CPU, 200, 20, Usage(10, held_seconds={A: 10}), logical_cpus=4)
    assert shares.idle == {}
    assert shares.unreserved_idle == 200


def test_the_trees_share_all_if_the_host_counts_less_busy_time_than_they_do() -> None:
    # /proc/stat and the processes' clocks are read at two moments
    usage = Usage(1, busy_cpu_seconds=0.5, cpu_seconds={A: 0.6, B: 0.4})
    shares = attribute(CPU, 100, None, usage, logical_cpus=4)
    assert shares.active == {A: 60, B: 40}
    assert shares.background == 0


def test_active_energy_of_a_host_that_was_not_busy_is_background() -> None:
    shares = attribute(CPU, 100, None, Usage(1, held_seconds={A: 1}, reserved_cpu_seconds={A: 1}), logical_cpus=4)
    assert shares == ({}, {A: 0}, 100, 0)


def test_with_an_unknown_floor_all_energy_is_active() -> None:
    usage = Usage(10, busy_cpu_seconds=5, cpu_seconds={A: 5}, reserved_cpu_seconds={A: 40})
    shares = attribute(CPU, 1000, None, usage, logical_cpus=4)
    assert shares.active == {A: 1000}
    assert shares.idle == {A: 0}
    assert shares.unreserved_idle == 0


def test_a_gpu_held_alone_is_its_lease_s_whatever_the_fraction() -> None:
    usage = Usage(10, gpu_seconds={A: 2.5}, held_seconds={A: 10, B: 10}, cpu_seconds={B: 40}, busy_cpu_seconds=40)
    shares = attribute(GPU, 3000, 50, usage, logical_cpus=4)
    assert shares == ({A: 2500}, {A: 500}, 0, 0)


def test_a_shared_gpu_follows_the_utilisation_of_its_processes() -> None:
    usage = Usage(
        10,
        gpu_seconds={A: 5, B: 5},
        held_seconds={A: 10, B: 10},
        gpu_utilisation={A: 60, B: 20, None: 20},  # a process of nobody's uses it, too
    )
    shares = attribute(GPU, 3000, 50, usage, logical_cpus=4)
    assert shares.active == {A: 1500, B: 500}
    assert shares.background == 500
    assert shares.idle == {A: 250, B: 250}


@pytest.mark.parametrize("utilisation", [None, {}, {A: 0.0}])
def test_a_shared_gpu_without_utilisation_follows_the_reserved_fractions(
    utilisation: dict[Owner | None, float] | None,
) -> None:
    usage = Usage(10, gpu_seconds={A: 5, B: 2.5}, held_seconds={A: 10, B: 10}, gpu_utilisation=utilisation)
    shares = attribute(GPU, 3500, 50, usage, logical_cpus=4)
    assert shares.active == {A: 2000, B: 1000}  # of 3000 J, normalised to those who are there
    assert shares.background == 0


def test_the_idle_energy_of_a_gpu_before_its_lease_is_nobody_s() -> None:
    usage = Usage(10, gpu_seconds={A: 4}, held_seconds={A: 4})
    shares = attribute(GPU, 500, 50, usage, logical_cpus=4)
    assert shares.idle == {A: 200}
    assert shares.unreserved_idle == 300


def test_a_gpu_without_a_holder_is_background_above_its_floor() -> None:
    usage = Usage(10, busy_cpu_seconds=10, cpu_seconds={A: 10}, held_seconds={A: 10}, reserved_cpu_seconds={A: 40})
    shares = attribute(GPU, 3000, 50, usage, logical_cpus=4)
    assert shares == ({}, {}, 2500, 500)


amounts = st.floats(0, 1e6)
owners = st.sampled_from([A, B, RUN, SHARED])
leases = st.sampled_from([A, B, Owner("lease", "c")])
usages = st.builds(
    Usage,
    seconds=st.floats(0, 1e5),
    busy_cpu_seconds=amounts,
    cpu_seconds=st.dictionaries(owners, amounts),
    reserved_cpu_seconds=st.dictionaries(leases, amounts),
    gpu_seconds=st.dictionaries(leases, amounts),
    held_seconds=st.dictionaries(leases, amounts),
    gpu_utilisation=st.none() | st.dictionaries(st.none() | owners, st.floats(0, 100)),
)


@given(
    device=st.sampled_from([CPU, Device("dram-0", "dram", "rapl"), GPU]),
    joules=st.floats(0, 1e9),
    floor_watts=st.none() | st.floats(0, 1e4),
    usage=usages,
    logical_cpus=st.integers(1, 512),
)
def test_every_joule_goes_to_exactly_one_place(
    device: Device, joules: float, floor_watts: float | None, usage: Usage, logical_cpus: int
) -> None:
    shares = attribute(device, joules, floor_watts, usage, logical_cpus)
    parts = [*shares.active.values(), *shares.idle.values(), shares.background, shares.unreserved_idle]
    assert all(part >= 0 for part in parts)
    assert sum(parts) == pytest.approx(joules, rel=1e-9, abs=1e-12)
