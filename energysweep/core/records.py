"""The rows that travel from agents to the ledger and from the ledger to the report.

Plain tuples with names: an agent sends them as JSON lists, the ledger stores them as they are, the report reads them.
Times called ``*_at`` are seconds since the Unix epoch (for people); everything called ``*_seconds`` was measured on a
monotonic clock.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import Ge, Le

# What a number can be. ``ledger.rows`` holds what comes out of a ledger to it, ``sweepfile`` what comes out of a
# sweep's file, and ``agent.protocol`` what a process says: nothing is accepted there that would be called damaged here.
MAX_JOULES = 1e18
Joules = Annotated[float, Ge(0), Le(MAX_JOULES)]
Watts = Annotated[float, Ge(0), Le(1e12)]
Seconds = Annotated[float, Ge(0), Le(1e11)]
UnixTime = Annotated[float, Ge(0), Le(2.5e11)]  # until the year 9892
Count = Annotated[int, Ge(0), Le(2**53)]
MAX_CPUS = 1e6
Cpus = Annotated[float, Ge(0), Le(MAX_CPUS)]
MAX_TARGET = 1e300
Target = Annotated[float, Ge(-MAX_TARGET), Le(MAX_TARGET)]
Patience = Annotated[int, Ge(1), Le(10**9)]
MAX_GRAMS_PER_KWH = 1e9
GramsPerKwh = Annotated[float, Ge(0), Le(MAX_GRAMS_PER_KWH)]
MAX_PUE = 1e3
Pue = Annotated[float, Ge(1), Le(MAX_PUE)]
MAX_BUDGET = 1e18  # in each of its units
MAX_PRICE = 1e9  # of a kilowatt-hour, in any currency

# An agent reads its meters at most so often, but always when a lease closes: below the counters' own resolution a
# reading says nothing. The energy that a trial is told at a report may be that of a reading so long ago.
READ_AT_MOST_EVERY_SECONDS = 0.1

TrialStatus = Literal["pending", "running", "completed", "pruned", "failed", "interrupted"]
Standing = TrialStatus | Literal["paused"]  # a running attempt may be paused: the last decision about it tells
OPEN: frozenset[str] = frozenset({"pending", "running", "paused", "interrupted"})  # it goes on, now or on a resume
PILOT = "pilot"
"""The stage of a run that its pilot is. No sweep with stages of its own has a pilot, and nothing goes on from one."""


class EnergyRow(NamedTuple):
    """One grow-only counter. Everything but ``joules`` is its key.

    Attributes:
        host: boot_id of the host.
        window: the accounting window on that host.
        lease: the lease it was booked to; empty for a bucket of the host.
        device, component, source: as in ``meters.Device``.
        bucket: one of ``core.buckets``, of a lease or of the host.
        joules: energy since the window was opened.
    """

    host: str
    window: str
    lease: str
    device: str
    component: str
    bucket: str
    source: str
    joules: Joules


class MeterRow(NamedTuple):
    """What a device's own counter saw in a window; the other side of the balance.

    Attributes:
        joules: what the counter moved by since the window was opened (grow-only).
        window_seconds: how long the window has been open at its last reading.
        covered_seconds: the part of it that lies between good readings.
        idle_floor_watts: the frozen floor, None if unknown.
        idle_floor_from: ``given``, ``model``, ``lowest second``, ``quiet seconds`` or ``unknown``.
        resolution_joules: one step of the counter, None if unknown.
        failures: how many readings failed.
        resets: how often the counter was reset or jumped.
        books: which books of the host's agent the window is in; they outlive an agent that leaves its state. Empty if
            nobody told (before schema 5).
        opened_joules: what these books had seen of the device when the window was opened: where the ranges from there
            on of two windows in the same books overlap, both have the same joules. None if nobody told.
        opened_at: when the window was opened, by the host's wall clock; it was open until ``window_seconds`` later.
            None if nobody told (before schema 5).
    """

    host: str
    window: str
    node: str
    device: str
    component: str
    source: str
    joules: Joules
    window_seconds: Seconds
    covered_seconds: Seconds
    idle_floor_watts: Watts | None
    idle_floor_from: str
    resolution_joules: Joules | None
    failures: Count
    resets: Count
    books: str = ""
    opened_joules: Joules | None = None
    opened_at: UnixTime | None = None


class LeaseRow(NamedTuple):
    """One lease: a process tree that worked for a trial, with what it had reserved.

    Attributes:
        closed_at: None while it is open.
        held_seconds: how long it was open.
        covered_seconds: the part of it with good readings, as the mean over its devices and GPUs.
        cpu_seconds: CPU time of its process tree.
        reserved_cpus: logical CPUs it had reserved.
        gpus: JSON object, device name to fraction. A name that no meter of the window has was held and not measured.
        startup_seconds: how long it was in start-up; None if nobody told that apart from work (before schema 3).
        works_elsewhere: its process had others work that held no lease (Ray tasks, actors, Ray Train); None if nobody
            looked (before schema 3).
    """

    lease: str
    host: str
    window: str
    node: str
    trial: str
    attempt: Count
    pid: Count
    opened_at: UnixTime
    closed_at: UnixTime | None
    held_seconds: Seconds
    covered_seconds: Seconds
    cpu_seconds: Seconds
    reserved_cpus: Cpus
    gpus: str
    startup_seconds: Seconds | None = None
    works_elsewhere: Literal[0, 1] | None = None  # as SQLite keeps a truth value


class TrialRow(NamedTuple):
    """One trial as the driver knows it.

    Attributes:
        parameters: what the workload got (without ``seed``), by name.
        seed: ``config["seed"]``, None if the sweep has no repeats.
        hardware: name of the hardware profile; empty if the sweep names none.
        error: the end of what it failed with, None if it did not.
        stage: the stage that it belongs to, empty for one of the sweep's own configurations.
    """

    trial: str
    parameters: dict[str, Any]
    seed: int | None
    hardware: str
    status: TrialStatus
    attempts: Count
    started_at: UnixTime | None
    ended_at: UnixTime | None
    error: str | None
    stage: str = ""


class ResultRow(NamedTuple):
    """One report of a trial.

    Attributes:
        iteration: counts the trial's reports from 1.
        elapsed_seconds: since the sweep began.
        energy_joules: the trial's energy when it reported, None if it was not measured.
        metrics: what the workload reported.
        power_watts: mean power of the trial's work since the report before; None if it is not known (before schema 6
            nobody told).
    """

    trial: str
    iteration: Count
    elapsed_seconds: Seconds
    energy_joules: Joules | None
    active_energy_joules: Joules | None
    metrics: dict[str, Any]
    power_watts: Watts | None = None


class AttemptRow(NamedTuple):
    """One attempt at a trial; it may have several leases.

    Attributes:
        number: counts from 1, by the driver.
        outcome: ``running``, ``completed``, ``failed`` or ``interrupted``.
        checkpoint_joules: the trial's energy at the attempt's last checkpoint, None without one.
    """

    trial: str
    number: Count
    started_at: UnixTime
    ended_at: UnixTime | None
    outcome: Literal["running", "completed", "failed", "interrupted"]
    checkpoint_joules: Joules | None
    error: str | None


What = Literal["started", "resumed", "paused", "ended", "failed", "waiting", "stopped", "interrupted"]


class DecisionRow(NamedTuple):
    """One choice of the sweep: what became of a trial, or of the whole, and by which rule and numbers.

    Attributes:
        number: counts a run's decisions from 1, in the order in which they were made.
        trial: empty for one about the sweep as a whole.
        why: the rule, by one word, such as ``capped``; empty where there is none.
        joules: what the rule looked at: what the trial had spent, or what the sweep had been charged with.
        limit_joules: what it was compared with; None if the rule has no joules to compare with.
        sweep_joules: what the sweep had been charged with by then, as of the last poll; None if nothing was metered.
        numbers: what else the rule went by, by names with units.
    """

    number: Count
    at: UnixTime
    trial: str
    what: What
    why: str
    joules: Joules | None
    limit_joules: Joules | None
    sweep_joules: Joules | None
    numbers: dict[str, Any]


class SampleRow(NamedTuple):
    """Energy over time, for the picture: the running total of a trial or of a bucket, on one device.

    Attributes:
        series: a trial's id, or ``bucket:overhead`` and so on; then a window and a device, whose readings it is of. (Of
            an older energysweep the first alone.)
        elapsed_seconds: of the device's reading, since the sweep began.
        joules: cumulative, from 0 at the reading after which the series drew its first.
    """

    series: str
    elapsed_seconds: Seconds
    joules: Joules


def readable(text: str) -> str:
    """A text as every file, database and terminal takes it: lone surrogates and NUL are spelled out, as ``\\udcff``."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
