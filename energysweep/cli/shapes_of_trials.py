"""The shapes of what explain answers, of a trial and of a run."""

from __future__ import annotations

from typing import ClassVar

from energysweep.cli.shapes import Answer, Shape, Values
from energysweep.core.records import Standing, What
from energysweep.ledger.balance import MeterSummary


class DecisionShape(Shape):
    """One choice of the sweep.

    Attributes:
        number: counts a run's decisions from 1.
        at: Unix time.
        trial: empty for one about the sweep as a whole.
        what: what became of it.
        why: the rule, by one word; empty where there is none.
        joules: what the rule looked at: what the trial had spent, or the sweep had been charged with.
        limit_joules: what it was compared with.
        sweep_joules: what the sweep had been charged with by then.
        numbers: what else the rule went by, by names with units.
        sentence: all that for a person; an estimate is marked in it.
    """

    number: int
    at: float
    trial: str
    what: What
    why: str
    joules: float | None
    limit_joules: float | None
    sweep_joules: float | None
    numbers: Values
    sentence: str


class BookedShape(Shape):
    """What was booked to a lease in one place.

    Attributes:
        device: the counter.
        component: cpu, dram or gpu.
        bucket: active, idle or startup.
        source: the kind of meter.
        estimated: that is a model.
    """

    device: str
    component: str
    bucket: str
    source: str
    joules: float
    estimated: bool


class LeaseShape(Shape):
    """The claim of a process of the trial on a host's energy.

    Attributes:
        lease, host, window, node, pid: whose, and where.
        opened_at, closed_at: Unix time; null while it is open.
        held_seconds: for how long it was open.
        covered_seconds: for how long of that there are readings.
        startup_seconds: for how long it was in start-up; null if nobody told.
        cpu_seconds: CPU time that its processes used.
        reserved_cpus: how many it had reserved.
        gpus: fractions that it had reserved, by name.
        works_elsewhere: Ray tasks or actors worked for it in other processes, unmetered; null if nobody told.
        joules: all its energy, start-up included; null if nothing was booked.
        rows: the same, by where it was drawn.
    """

    lease: str
    host: str
    window: str
    node: str
    pid: int
    opened_at: float
    closed_at: float | None
    held_seconds: float
    covered_seconds: float
    startup_seconds: float | None
    cpu_seconds: float
    reserved_cpus: float
    gpus: dict[str, float]
    works_elsewhere: bool | None
    joules: float | None
    rows: list[BookedShape]


class AttemptShape(Shape):
    """One attempt at the trial. What its driver did not note is null.

    Attributes:
        number: counts from 1.
        outcome: running, completed, failed or interrupted.
        started_at, ended_at: Unix time.
        checkpoint_joules: the trial's energy at the attempt's last checkpoint.
        error: the end of what it failed with.
        lost_joules: what it spent after its last checkpoint if it did not end well, else 0.
        leases: in the order in which they were opened.
    """

    number: int
    outcome: str | None
    started_at: float | None
    ended_at: float | None
    checkpoint_joules: float | None
    error: str | None
    lost_joules: float
    leases: list[LeaseShape]


class DeviceBalanceShape(Shape):
    """What a device's own counter saw in a window, and in which buckets it was booked.

    Attributes:
        device: the counter.
        component: cpu, dram or gpu.
        source: the kind of meter.
        estimated: that is a model.
        buckets: joules by name: this trial, what is apart of it, other trials, and the buckets of the host.
        booked_joules: these together.
        metered_joules: what the counter moved by; null if the ledger has none of it.
        difference_joules: that less what was booked.
        meter: the counter, since the window was opened.
    """

    device: str
    component: str
    source: str
    estimated: bool
    buckets: dict[str, float]
    booked_joules: float
    metered_joules: float | None
    difference_joules: float | None
    meter: MeterSummary | None


class WindowShape(Shape):
    """All devices of a window in which the trial held a lease."""

    host: str
    window: str
    node: str
    devices: list[DeviceBalanceShape]


class ReceiptShape(Shape):
    """Every joule of the trial, down to the meter readings.

    Attributes:
        attempts: in order; every lease is in one of them.
        windows: those in which it held a lease, each balanced.
    """

    attempts: list[AttemptShape]
    windows: list[WindowShape]


class ExplainedTrial(Answer):
    """What became of a trial, and what it cost.

    Attributes:
        run_id: of its run.
        trial: its id.
        configuration: its text.
        parameters: by name, without the seed.
        seed: null if the sweep has no repeats.
        hardware: the profile; empty if the sweep names none.
        status: what has become of it.
        attempts: how often Tune has tried.
        energy_joules: of its work; null if it was not measured.
        startup_joules: of its start-up, which is apart.
        lost_joules: what failed attempts spent after their last checkpoint.
        energy_to_target_joules: null if it never reached the target.
        estimated: some of its energy is an estimate.
        decisions: what became of it and why, in order.
        receipt: its energy by attempts, leases and meters.
        damage: what of the ledger could not be read and is left out.
    """

    answer_of: ClassVar[str] = "explain"
    run_id: str
    trial: str
    configuration: str
    parameters: Values
    seed: int | None
    hardware: str
    status: Standing
    attempts: int
    energy_joules: float | None
    startup_joules: float | None
    lost_joules: float | None
    energy_to_target_joules: float | None
    estimated: bool
    decisions: list[DecisionShape]
    receipt: ReceiptShape
    damage: list[str]


class DecisionCount(Shape):
    """How often something was decided of trials.

    Attributes:
        what: what became of them.
        why: the rule; empty where there is none.
        number: how often.
    """

    what: str
    why: str
    number: int


class ExplainedRun(Answer):
    """What a whole run has decided: `explain` without a trial.

    Attributes:
        run_id: of the run.
        estimated: the joules of its decisions are partly of an estimate.
        counts: of decisions about trials.
        decisions: about the run itself, in order.
        damage: what of the ledger could not be read and is left out.
    """

    answer_of: ClassVar[str] = "explain"
    run_id: str
    estimated: bool
    counts: list[DecisionCount]
    decisions: list[DecisionShape]
    damage: list[str]
