from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.accounting.attribution import SHARED, Owner, Usage, attribute, by_owner
from energysweep.meters import Device

CPU = Device("package-0", "cpu", "rapl")
GPU = Device("GPU-1", "gpu", "nvml_counter")
A, B = Owner("lease", "a"), Owner("lease", "b")
MIG_GPU = Device("GPU-1", "gpu", "nvml_counter", is_partitioned=True)
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
    usage = Usage(
        10,
        gpu_seconds={A: 2.5},
        gpu_held_seconds=10,
        held_seconds={A: 10, B: 10},
        cpu_seconds={B: 40},
        busy_cpu_seconds=40,
    )
    shares = attribute(GPU, 3000, 50, usage, logical_cpus=4)
    assert shares == ({A: 2500}, {A: 500}, 0, 0)


def test_a_shared_gpu_follows_the_utilisation_of_its_processes() -> None:
    usage = Usage(
        10,
        gpu_seconds={A: 5, B: 5},
        gpu_held_seconds=10,
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
    usage = Usage(10, gpu_seconds={A: 5, B: 2.5}, gpu_held_seconds=10, gpu_utilisation=utilisation)
    shares = attribute(GPU, 3500, 50, usage, logical_cpus=4)
    assert shares.active == {A: 2000, B: 1000}  # of 3000 J, normalised to those who are there
    assert shares.background == 0


def test_the_idle_energy_of_a_gpu_before_its_lease_is_nobody_s() -> None:
    usage = Usage(10, gpu_seconds={A: 4}, gpu_held_seconds=4, held_seconds={A: 4})
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
    gpu_held_seconds=amounts,
    held_seconds=st.dictionaries(leases, amounts),
    gpu_utilisation=st.none() | st.dictionaries(st.none() | owners, st.floats(0, 100)),
)


@given(
    device=st.sampled_from(
        [CPU, Device("dram-0", "dram", "rapl"), GPU, Device("GPU-2", "gpu", "x", is_partitioned=True)]
    ),
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


def test_a_part_of_a_partitioned_gpu_pays_for_that_part_of_the_floor() -> None:
    usage = Usage(7, gpu_seconds={A: 3}, gpu_held_seconds=7, gpu_utilisation={A: 300 / 7})  # 3 of 7 slices
    shares = attribute(MIG_GPU, 1400, 50, usage, logical_cpus=4)
    assert shares == ({A: 1050}, {A: 150}, 0, 200)


def test_an_instance_of_strangers_on_a_partitioned_gpu_is_background_also_beside_one_lease() -> None:
    usage = Usage(7, gpu_seconds={A: 3}, gpu_held_seconds=7, gpu_utilisation={A: 30, None: 70})
    assert attribute(MIG_GPU, 1000, None, usage, logical_cpus=4) == ({A: 300}, {A: 0}, 700, 0)


def test_who_uses_a_shared_gpu_without_holding_it_pays_for_its_part() -> None:
    usage = Usage(10, gpu_seconds={A: 5, B: 5}, gpu_held_seconds=10, gpu_utilisation={A: 50, RUN: 50})
    assert attribute(GPU, 1000, None, usage, logical_cpus=4).active == {A: 500, RUN: 500}


def test_utilisation_is_summed_over_readings_and_a_silent_driver_changes_nothing() -> None:
    usage = Usage()
    usage.add_utilisation(None)
    assert usage.gpu_utilisation is None
    usage.add_utilisation({A: 60.0, None: 10.0})
    usage.add_utilisation(None)
    usage.add_utilisation({A: 20.0, B: 20.0})
    assert usage.gpu_utilisation == {A: 80.0, B: 20.0, None: 10.0}


def test_processes_are_added_up_by_their_owners_and_one_that_is_hidden_makes_all_unknown() -> None:
    owners = {10: A, 11: A, 12: B, 13: None}
    told = {10: 20.0, 11: 30.0, 12: 5.0, 13: 1.0}
    assert by_owner(told, owners.__contains__, owners.get) == {A: 50.0, B: 5.0, None: 1.0}
    assert by_owner({10: 20.0, 0: 80.0}, owners.__contains__, owners.get) is None
    assert by_owner(None, owners.__contains__, owners.get) is None
    assert by_owner({}, owners.__contains__, owners.get) == {}


def test_leases_that_held_a_gpu_one_after_the_other_pay_for_the_floor_of_the_whole_time() -> None:
    usage = Usage(10, gpu_seconds={A: 6, B: 4}, gpu_held_seconds=10, held_seconds={A: 6, B: 4})
    assert attribute(GPU, 500, 50, usage, logical_cpus=4) == ({A: 0, B: 0}, {A: 300, B: 200}, 0, 0)
