"""Real NVML adapters over a stand-in of the driver: boards of 200 W, 50 W of which are their idle floor."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pynvml
import pytest

from energysweep.agent.agent import Agent
from energysweep.core.host import Host
from energysweep.core.records import LeaseRow, MeterRow
from energysweep.meters import Opened
from energysweep.meters.nvml import NvmlCounter, NvmlPower
from energysweep.meters.nvml_library import NvmlLibrary
from tests.support.fake_clock import FakeClock
from tests.support.fake_nvml import FakeGpu, FakeInstance, FakeNvml
from tests.support.fake_tree import FakeTree

MILLIJOULES = 1000


class GpuHost:
    """A host that only has GPUs, with one window in which their floor is 50 W each."""

    def __init__(self, folder: Path, *gpus: FakeGpu) -> None:
        self.gpus = gpus
        self.nvml = FakeNvml(*gpus)
        self.clock = FakeClock(500.0)
        self.tree = FakeTree(folder / "proc")
        host = Host(proc_root=self.tree.root, clock=self.clock, node="node-a", boot_id="boot-a", nvml=self.nvml)
        library = NvmlLibrary(self.nvml, self.clock)
        self.meter = NvmlCounter(library)
        library.close()  # the meter holds it
        self.agent = Agent(host, Opened([self.meter]), ("nvml",))
        self.agent.open_window("r", {"gpu": 50.0 * len(gpus)})

    def open(self, trial: str, gpus: Mapping[str, float]) -> int:
        """Opens the trial's lease, named like it; returns the pid of its process."""
        pid = self.tree.fork()
        self.agent.open_lease("r", trial, trial, self.tree.of(pid), 1, gpus)
        return pid

    def run(
        self, seconds: int, use: Mapping[int, int] | None = None, watts: int = 200, still: Sequence[FakeGpu] = ()
    ) -> None:
        """Ticks once a second; ``use`` is the SM utilisation of the first GPU by pid."""
        for _ in range(seconds):
            self.clock.advance(1.0)
            for gpu in self.gpus:
                if gpu not in still:
                    gpu.energy_millijoules += watts * MILLIJOULES
            if use is not None:
                self.gpus[0].samples = [(pid, int(self.clock.seconds * 1e6), percent) for pid, percent in use.items()]
            self.agent.tick()

    def buckets(self) -> dict[str, float]:
        sums: dict[str, float] = {}
        for row in self.agent.windows["r"].energy_rows(0):
            key = f"{row.lease} {row.bucket}".strip()
            sums[key] = sums.get(key, 0.0) + row.joules
        return sums

    def meters(self) -> list[MeterRow]:
        return self.agent.windows["r"].meter_rows()

    def lease(self, name: str) -> LeaseRow:
        return next(row for row in self.agent.windows["r"].lease_rows(0) if row.lease == name)


def test_two_trials_that_share_a_gpu_pay_by_their_utilisation_and_together_for_all_of_it(tmp_path: Path) -> None:
    host = GpuHost(tmp_path, FakeGpu("GPU-a"))
    a, b = host.open("a", {"0": 0.5}), host.open("b", {"GPU-a": 0.5})
    host.run(10, {a: 60, b: 20})
    # 2000 J: 500 J idle, by halves; 1500 J active, 3 to 1
    assert host.buckets() == pytest.approx({"a active": 1125, "a idle": 250, "b active": 375, "b idle": 250})
    assert sum(host.buckets().values()) == pytest.approx(2000)
    assert host.gpus[0].energy_millijoules == 2000 * MILLIJOULES


def test_a_trial_that_leaves_its_half_idle_pays_for_the_floor_only(tmp_path: Path) -> None:
    host = GpuHost(tmp_path, FakeGpu("GPU-a"))
    a, _asleep = host.open("a", {"0": 0.5}), host.open("b", {"0": 0.5})
    host.run(10, {a: 80})
    assert host.buckets() == pytest.approx({"a active": 1500, "a idle": 250, "b idle": 250})


def test_a_stranger_s_process_on_a_shared_gpu_is_background(tmp_path: Path) -> None:
    host = GpuHost(tmp_path, FakeGpu("GPU-a"))
    a, b, stranger = host.open("a", {"0": 0.5}), host.open("b", {"0": 0.5}), host.tree.fork()
    host.run(10, {a: 40, b: 20, stranger: 40})
    assert host.buckets() == pytest.approx(
        {"a active": 600, "a idle": 250, "b active": 300, "b idle": 250, "background": 600}
    )


@pytest.mark.parametrize(
    "samples", [pynvml.NVML_ERROR_NO_PERMISSION, pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_NOT_FOUND]
)
def test_without_process_data_a_shared_gpu_goes_by_fraction(tmp_path: Path, samples: int) -> None:
    host = GpuHost(tmp_path, FakeGpu("GPU-a", samples=samples))
    host.open("a", {"0": 0.5})
    host.open("b", {"0": 0.25})
    host.run(9)
    # 1800 J: 450 J idle, 1350 J active, each two to one
    assert host.buckets() == pytest.approx({"a active": 900, "a idle": 300, "b active": 450, "b idle": 150})


@pytest.mark.parametrize("hidden", [0, 4_000_000])
def test_pids_that_the_agent_cannot_see_make_a_shared_gpu_go_by_fraction(tmp_path: Path, hidden: int) -> None:
    host = GpuHost(tmp_path, FakeGpu("GPU-a"))
    a, _b = host.open("a", {"0": 0.5}), host.open("b", {"0": 0.5})
    host.run(10, {a: 10, hidden: 90})
    assert host.buckets() == pytest.approx({"a active": 750, "a idle": 250, "b active": 750, "b idle": 250})


# A claim of a GPU, and the processes that the driver sees there -------------------------------------------------------

UNKNOWN = pynvml.NVML_ERROR_NO_PERMISSION


def test_a_lease_that_claims_a_gpu_and_never_shows_up_takes_nothing_from_the_one_that_works(tmp_path: Path) -> None:
    gpu = FakeGpu("GPU-a", samples=UNKNOWN)
    host = GpuHost(tmp_path, gpu)
    host.open("claims", {"0": 1.0})
    gpu.pids = [host.open("works", {"0": 1.0})]
    host.run(10)
    # who uses how much is not told: of 1500 J active the claim gets none; of 500 J idle it pays for its half
    assert host.buckets() == pytest.approx({"works active": 1500, "works idle": 250, "claims idle": 250})


@pytest.mark.parametrize("samples", ["told", UNKNOWN])
def test_a_gpu_that_only_others_work_on_is_theirs_whoever_claims_it(tmp_path: Path, samples: str | int) -> None:
    gpu = FakeGpu("GPU-a", samples=[] if samples == "told" else UNKNOWN)
    host = GpuHost(tmp_path, gpu, FakeGpu("GPU-b"))
    host.open("claims", {"GPU-a": 1.0})
    works, stranger = host.open("works", {"GPU-b": 1.0}), host.tree.fork()
    gpu.pids = [works, stranger]
    use = {works: 60, stranger: 20} if samples == "told" else None
    host.run(10, use)
    # 1500 J: 3 to 1 if the driver tells, else a half for each process
    theirs = 1125 if samples == "told" else 750
    booked = host.buckets()
    assert "claims active" not in booked
    assert booked["works active"] == pytest.approx(theirs + 1500)  # and all of its own GPU
    assert booked["background"] == pytest.approx(1500 - theirs)
    assert booked["claims idle"] == pytest.approx(500)  # it keeps the GPU from others, and pays for that


@pytest.mark.parametrize("others", [UNKNOWN, [], [4_000_000]])
def test_a_claim_counts_while_the_driver_shows_nobody_else(tmp_path: Path, others: list[int] | int) -> None:
    host = GpuHost(tmp_path, FakeGpu("GPU-a", pids=others))  # not told; nobody; a process that the agent cannot see
    host.open("a", {"0": 1.0})
    host.run(10)
    assert host.buckets() == pytest.approx({"a active": 1500, "a idle": 500})


def test_a_process_that_is_there_and_idle_takes_nothing_from_the_holder(tmp_path: Path) -> None:
    gpu = FakeGpu("GPU-a")
    host = GpuHost(tmp_path, gpu)
    a, stranger = host.open("a", {"0": 1.0}), host.tree.fork()
    gpu.pids = [a, stranger]
    host.run(5, {a: 50})
    assert host.buckets() == pytest.approx({"a active": 750, "a idle": 250})
    host.run(5, {a: 50, stranger: 50})  # it works now
    assert host.buckets() == pytest.approx({"a active": 1125, "a idle": 500, "background": 375})


def test_utilisation_is_kept_over_readings_that_fail(tmp_path: Path) -> None:
    host = GpuHost(tmp_path, FakeGpu("GPU-a"))
    a, b = host.open("a", {"0": 0.5}), host.open("b", {"0": 0.5})
    gpu = host.gpus[0]
    gpu.has_counter = False
    host.run(3, {a: 80})
    gpu.has_counter = True
    host.run(1, {b: 80})
    # one interval of 800 J: 200 J idle; 600 J active, of which a worked three of four seconds
    assert host.buckets() == pytest.approx({"a active": 450, "a idle": 100, "b active": 150, "b idle": 100})
    assert host.meters()[0].failures == 3
    assert host.meters()[0].covered_seconds == 4.0


def test_a_gpu_that_nobody_holds_is_background_above_its_floor(tmp_path: Path) -> None:
    host = GpuHost(tmp_path, FakeGpu("GPU-a"), FakeGpu("GPU-b"))
    host.open("a", {"GPU-a": 1.0})
    host.run(10)
    assert host.buckets() == pytest.approx(
        {"a active": 1500, "a idle": 500, "background": 1500, "unreserved_idle": 500}
    )


def test_a_lost_gpu_comes_back_from_zero_and_nothing_is_negative(tmp_path: Path) -> None:
    host = GpuHost(tmp_path, FakeGpu("GPU-a", energy_millijoules=10**9), FakeGpu("GPU-b"))
    host.open("a", {"GPU-a": 1.0})
    host.run(10)
    lost, _ = host.gpus
    lost.failure = pynvml.NVML_ERROR_GPU_IS_LOST
    host.run(20, still=[lost])
    assert "GPU-a does not answer: GPU is lost" in host.agent.telling.notes
    lost.come_back()
    host.run(20)  # the first 10 s at most pass until it is looked for again
    row = host.meters()[0]
    assert "does not answer" not in host.agent.telling.notes
    assert (row.resets, host.agent.counters["GPU-a"].events) == (1, {"reset": 1})
    unknown_seconds = row.window_seconds - row.covered_seconds
    assert 20.0 < unknown_seconds <= 31.0  # lost for 20 s, then looked for at most every 10 s
    assert host.buckets()["a active"] == pytest.approx(150 * row.covered_seconds)
    assert row.joules == pytest.approx(200 * row.covered_seconds)
    assert host.lease("a").covered_seconds == pytest.approx(row.covered_seconds)
    # the other one was counted all the time
    assert host.meters()[1].covered_seconds == 50.0
    assert host.buckets()["background"] == pytest.approx(150 * 50)


def test_a_reloaded_driver_is_found_again(tmp_path: Path) -> None:
    host = GpuHost(tmp_path, FakeGpu("GPU-a", energy_millijoules=10**9))
    host.open("a", {"0": 1.0})
    host.run(10)
    host.nvml.reload_driver()
    host.run(10)
    row = host.meters()[0]
    assert row.resets == 1
    assert (row.failures, row.covered_seconds) == (1, 18.0)  # one reading failed, the next began from 0
    assert host.buckets() == pytest.approx({"a active": 18 * 150, "a idle": 18 * 50})
    host.meter.close()
    assert host.nvml.initialised == 0


# What a lease calls a GPU ---------------------------------------------------------------------------------------------


def test_a_number_is_taken_for_no_board_where_there_are_several(tmp_path: Path) -> None:
    first, second = FakeGpu("GPU-first"), FakeGpu("GPU-second")
    host = GpuHost(tmp_path, first, second)
    second.pids = [host.open("a", {"0": 1.0})]  # in its pod the host's second board is the only one
    host.run(10)
    # nobody pays for the wrong board: 1500 J active and 500 J idle of each are nobody's
    assert host.buckets() == pytest.approx({"background": 3000, "unreserved_idle": 1000})
    lease = host.lease("a")
    assert (lease.held_seconds, lease.covered_seconds, lease.gpus) == (10.0, 0.0, '{"0": 1.0}')
    assert host.agent.telling.notes.endswith(
        "; a trial holds GPU 0 (a number alone, which may be another board's elsewhere), which no meter here counts"
    )
    host.agent.close_lease("r", "a")
    assert "a trial holds" not in host.agent.telling.notes


def test_two_pods_that_name_their_boards_by_uuid_pay_for_their_own(tmp_path: Path) -> None:
    first, second = FakeGpu("GPU-first"), FakeGpu("GPU-second")
    host = GpuHost(tmp_path, first, second)
    first.pids, second.pids = [host.open("a", {"GPU-first": 1.0})], [host.open("b", {"GPU-second": 1.0})]
    for _ in range(10):
        second.energy_millijoules -= 100 * MILLIJOULES  # it draws 100 W, the other one 200 W
        host.run(1)
    assert host.buckets() == pytest.approx({"a active": 1500, "a idle": 500, "b active": 500, "b idle": 500})


@pytest.mark.parametrize(
    ("names", "held"),
    [
        ({"0": 0.5, "1": 0.5}, {"GPU-a": 0.5, "GPU-b": 0.5}),  # all of them, alike: whose is whose makes no difference
        ({"0": 1.0, "1": 0.5}, {"0": 1.0, "1": 0.5}),
        ({"1": 1.0}, {"1": 1.0}),
        ({"0": 1.0, "1": 1.0, "2": 1.0}, {"0": 1.0, "1": 1.0, "2": 1.0}),
        ({"0": 1.0, "GPU-b": 1.0}, {"0": 1.0, "GPU-b": 1.0}),
        ({"GPU-b": 0.25, "GPU-c": 1.0, "GPU-": 1.0}, {"GPU-b": 0.25, "GPU-c": 1.0, "GPU-": 1.0}),
        ({"GPU-a": 0.0}, {}),
    ],
)
def test_what_a_lease_holds_by_the_names_that_it_gives(
    tmp_path: Path, names: dict[str, float], held: dict[str, float]
) -> None:
    host = GpuHost(tmp_path, FakeGpu("GPU-a"), FakeGpu("GPU-b"))
    host.open("t", names)
    assert json.loads(host.lease("t").gpus) == held


@pytest.mark.parametrize("other", [FakeGpu("GPU-b", failure=15), FakeGpu("GPU-b", has_counter=False, has_power=False)])
def test_a_board_that_is_not_measured_counts_where_a_number_could_be_meant(tmp_path: Path, other: FakeGpu) -> None:
    host = GpuHost(tmp_path, FakeGpu("GPU-a"), other)
    host.open("t", {"0": 1.0})
    assert json.loads(host.lease("t").gpus) == {"0": 1.0}


def mig(*instances: FakeInstance) -> FakeGpu:
    return FakeGpu("GPU-a", instances=list(instances))


def test_two_mig_instances_pay_by_their_slices_and_the_seventh_slice_is_nobody_s(tmp_path: Path) -> None:
    small, large = FakeInstance("MIG-3g", 3, 2), FakeInstance("MIG-3h", 3, 1)
    host = GpuHost(tmp_path, mig(small, large))
    small.pids, large.pids = [host.open("a", {"MIG-3g": 1.0})], [host.open("b", {"MIG-3h": 1.0})]
    host.run(7)
    # 1400 J: 350 J idle, 3/7 each and 1/7 of nobody; 1050 J active by halves
    assert host.buckets() == pytest.approx(
        {"a active": 525, "a idle": 150, "b active": 525, "b idle": 150, "unreserved_idle": 50}
    )


def test_mig_instances_of_3_and_4_slices_share_3_to_4(tmp_path: Path) -> None:
    small, large = FakeInstance("MIG-3g", 3, 2), FakeInstance("MIG-4g", 4, 1)
    host = GpuHost(tmp_path, mig(small, large))
    small.pids = [host.open("a", {"MIG-GPU-a/2/0": 1.0})]  # as older drivers call it
    large.pids = [host.open("b", {"MIG-4g": 1.0})]
    host.run(7)
    assert host.buckets() == pytest.approx({"a active": 450, "a idle": 150, "b active": 600, "b idle": 200})
    assert sum(host.buckets().values()) == pytest.approx(1400)
    assert host.lease("a").gpus == '{"GPU-a": 0.42857142857142855}'


def test_a_mig_instance_beside_an_empty_one_pays_for_all_that_is_above_the_floor(tmp_path: Path) -> None:
    small = FakeInstance("MIG-3g", 3, 2)
    host = GpuHost(tmp_path, mig(small, FakeInstance("MIG-4g", 4, 1)))
    small.pids = [host.open("a", {"MIG-3g": 1.0})]
    host.run(7)
    assert host.buckets() == pytest.approx({"a active": 1050, "a idle": 150, "unreserved_idle": 200})


def test_a_stranger_in_the_other_mig_instance_is_background(tmp_path: Path) -> None:
    small, large = FakeInstance("MIG-3g", 3, 2), FakeInstance("MIG-4g", 4, 1)
    host = GpuHost(tmp_path, mig(small, large))
    small.pids, large.pids = [host.open("a", {"MIG-3g": 1.0})], [host.tree.fork()]
    host.run(7)
    assert host.buckets() == pytest.approx({"a active": 450, "a idle": 150, "background": 600, "unreserved_idle": 200})


def test_mig_processes_that_the_driver_does_not_tell_leave_the_holders_slices(tmp_path: Path) -> None:
    hidden = pynvml.NVML_ERROR_NO_PERMISSION
    host = GpuHost(tmp_path, mig(FakeInstance("MIG-3g", 3, 2, hidden), FakeInstance("MIG-4g", 4, 1, hidden)))
    host.open("a", {"MIG-3g": 1.0})
    host.open("b", {"MIG-4g": 0.5})
    host.run(10)
    # 3/7 and 2/7 of the board: 1500 J active 3 to 2, of 500 J idle 2/7 are nobody's
    assert host.buckets() == pytest.approx(
        {"a active": 900, "a idle": 1500 / 7, "b active": 600, "b idle": 1000 / 7, "unreserved_idle": 1000 / 7}
    )


def test_an_instance_that_was_made_after_the_agent_began_can_be_held(tmp_path: Path) -> None:
    board = mig()
    host = GpuHost(tmp_path, board)
    host.open("a", {"MIG-new": 1.0})
    assert "a trial holds GPU MIG-new, which no meter here counts" in host.agent.telling.notes
    host.agent.close_lease("r", "a")
    board.instances = [FakeInstance("MIG-new", 7, 0)]
    host.open("b", {"MIG-new": 1.0})
    host.run(10)
    assert host.buckets() == pytest.approx({"b active": 1500, "b idle": 500})


def test_a_frozen_counter_covers_no_time_until_it_tells_what_it_missed(tmp_path: Path) -> None:
    gpu = FakeGpu("GPU-a")
    host = GpuHost(tmp_path, gpu)
    host.open("a", {"0": 1.0})
    host.run(10)
    host.run(15, still=[gpu])
    assert host.meters()[0].covered_seconds == 10.0
    assert host.lease("a").covered_seconds == 10.0
    gpu.energy_millijoules += 15 * 200 * MILLIJOULES
    host.run(1)
    assert host.meters()[0].covered_seconds == 26.0
    assert host.buckets() == pytest.approx({"a active": 26 * 150, "a idle": 26 * 50})


def test_a_reading_between_two_updates_of_the_counter_leaves_the_interval_open(tmp_path: Path) -> None:
    host = GpuHost(tmp_path, FakeGpu("GPU-a"))
    host.open("a", {"0": 1.0})
    host.run(10)
    host.clock.advance(0.05)
    assert host.agent.close_lease("r", "a").joules == pytest.approx(2000)
    host.open("b", {"0": 1.0})
    host.clock.advance(0.05)
    host.gpus[0].energy_millijoules += 20 * MILLIJOULES  # 200 W for the 0.1 s of one update
    host.agent.tick()
    # the 20 J of that step are of both leases, each of which was there for half of its time
    booked = host.buckets()
    assert booked["a active"] + booked["a idle"] == pytest.approx(2010)
    assert booked["b active"] + booked["b idle"] == pytest.approx(10)


def test_two_gpus_one_with_a_counter_and_one_without_are_both_counted(tmp_path: Path) -> None:
    clock, nvml = FakeClock(500.0), FakeNvml(FakeGpu("GPU-new"), FakeGpu("GPU-old", has_counter=False))
    nvml.gpus[1].power_milliwatts = 100_000
    tree = FakeTree(tmp_path / "proc")
    library = NvmlLibrary(nvml, clock)
    meters = Opened([NvmlCounter(library), NvmlPower(library, clock, ["GPU-new"], interval_seconds=None)])
    agent = Agent(Host(proc_root=tree.root, clock=clock, node="n", boot_id="b"), meters, ("nvml",))
    agent.open_window("r")
    agent.open_lease("r", "a", "a", tree.of(tree.fork()), 1, {"0": 1.0, "1": 1.0})
    clock.advance(5.0)
    nvml.gpus[0].energy_millijoules += 1000 * MILLIJOULES
    assert agent.close_lease("r", "a").joules == pytest.approx(1000 + 500)
    assert [(row.device, row.source, row.joules) for row in agent.windows["r"].meter_rows()] == [
        ("GPU-new", "nvml_counter", 1000.0),
        ("GPU-old", "nvml_power", 500.0),
    ]
