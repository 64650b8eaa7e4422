"""The shapes of what validate, plan, rehearse and doctor answer."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from energysweep.analysis.forecast import Forecast
from energysweep.cli.shapes import Answer, Shape

# validate ------------------------------------------------------------------------------------------------------------


class MadeShape(Shape):
    """The parameters that a function of `space` makes.

    Attributes:
        always: in every configuration.
        sometimes: in some.
    """

    always: list[str]
    sometimes: list[str]


class ValidateAnswer(Answer):
    """A sweep's file that can be run. (One that cannot is exit code 2, and nothing on standard output.)

    Attributes:
        sweep: its name.
        sentence: how many trials it makes, for a person.
        configurations: how many.
        repeats: of each.
        hardware: how many profiles.
        stages: how many run before the configurations.
        trials: how many it makes at most, those of its stages included.
        expected_trials: how many run, unless a winner of a race has to be replaced.
        estimated: the last is about: only winners are repeated.
        varying: the names of the parameters that may differ between configurations.
        made: null without a function.
        objective: the metric's name.
        target: the value to reach; null if it names none.
        search, scheduler: as the file names them.
        address: the Ray cluster that was asked, and can run it; null if none was.
    """

    answer_of: ClassVar[str] = "validate"
    sweep: str
    sentence: str
    configurations: int
    repeats: int
    hardware: int
    stages: int
    trials: int
    expected_trials: int
    estimated: bool
    varying: list[str]
    made: MadeShape | None
    objective: str
    target: float | None
    search: str
    scheduler: str
    address: str | None


# plan and rehearse ---------------------------------------------------------------------------------------------------


class OrderShape(Shape):
    """In which order a cap's configurations begin.

    Attributes:
        places: theirs, among the sweep's configurations.
        known: by how many configurations that are known.
        untried: how many of the sweep's are none of these.
        of: where these are known from.
    """

    places: list[int]
    known: int
    untried: int
    of: list[str]


class PilotShape(Shape):
    """The run that has begun with a pilot.

    Attributes:
        run: its folder.
        energy_joules: what the pilot was charged with; null if nothing was measured.
    """

    run: str
    energy_joules: float | None


class PlanShape(Shape):
    """What the sweep will cost in one way: all of it an estimate, each with an interval that holds 9 of 10 cases.

    Attributes:
        scheduler: its type.
        stops_at_target: each trial ends at the target.
        is_own: the file says this way.
        energy_joules: what it will be charged.
        emissions_grams: CO2e of that.
        cost: in the currency of the file's price; null without one.
        budget: by kind of limit, whether it holds the sweep.
        duration_seconds: how long it takes; null if nobody can tell.
    """

    scheduler: str
    stops_at_target: bool
    is_own: bool
    energy_joules: Forecast
    emissions_grams: Forecast
    cost: Forecast | None
    budget: dict[str, Literal["holds", "may not", "does not", "unknown"]]
    duration_seconds: Forecast | None


class PlanAnswer(Answer):
    """What a sweep will cost under each scheduler.

    Attributes:
        sweep: its name.
        unknown: why there is no forecast, and what would tell; null if there is one.
        from: the folders of the runs that it rests on.
        pilot: null without one.
        trials, configurations: how many of the runs, and of the sweep; null if nothing is known.
        seen: of how many of the sweep's configurations something is known.
        estimated: the joules that the forecast rests on are partly of an estimate; null if nothing is known.
        notes: what has to be known of the forecast.
        order: null unless a cap begins in an order that is known.
        level: of all intervals.
        plans: one for each scheduler.
    """

    answer_of: ClassVar[str] = "plan"
    sweep: str
    unknown: str | None
    from_: list[str] = Field(serialization_alias="from")
    pilot: PilotShape | None
    trials: int | None
    configurations: int | None
    seen: int | None
    estimated: bool | None
    notes: list[str]
    order: OrderShape | None
    level: float
    plans: list[PlanShape]


class RehearseAnswer(Answer):
    """What a finished run, or a table of curves, would have cost under a scheduler.

    Attributes:
        of: the table or the folder of the run.
        metric, mode, target: the objective; `target` is null without one.
        scheduler: its type.
        energy_joules: spent by all trials, their starts included.
        low, high: what another run of it would spend in 9 of 10 cases: an estimate, always.
        grid_joules: what the full grid spends, each trial to the target if there is one.
        ratio: energy over that of the grid; null if the grid has spent nothing.
        chosen: the configuration that it finds; null if none.
        regret: what the chosen one needs to the target over what the best one needs; null if it does not always reach
            it, or without a target.
        simple_regret: without a target, by how much the chosen one's objective is worse than the best one's.
        trials: how many began.
        pauses: how often one was paused.
        open: how many had begun and not ended when the budget ended it.
        budget_joules: null without one.
        stopped_by_budget: it has ended it.
        startup_joules: of each start.
        resume_joules: of going on from a pause; null if nobody has measured it.
        stopped: how many trials of the run had been stopped early: these energies are at least so high.
        left_out: how many configurations with fewer seeds than others did not run.
        estimated: the joules are partly of an estimate; null of a table, which does not tell.
        order: null unless it is one of earlier runs.
    """

    answer_of: ClassVar[str] = "rehearse"
    of: str
    metric: str
    mode: Literal["min", "max"]
    target: float | None
    scheduler: str
    energy_joules: float
    low: float
    high: float
    grid_joules: float
    ratio: float | None
    chosen: str | None
    regret: float | None
    simple_regret: float | None
    trials: int
    pauses: int
    open: int
    budget_joules: float | None
    stopped_by_budget: bool
    startup_joules: float
    resume_joules: float | None
    stopped: int
    left_out: int
    estimated: bool | None
    order: OrderShape | None


# doctor --------------------------------------------------------------------------------------------------------------


class ProcessorsShape(Shape):
    """What the kernel says of the host's processors and memory.

    Attributes:
        model: the processor's name; null if the kernel gives none.
        sockets: how many packages there are.
        logical_cpus: how many are online.
        is_virtual: the host is seen to be a virtual machine.
        memory_bytes: null if unknown.
    """

    model: str | None
    sockets: int
    logical_cpus: int
    is_virtual: bool
    memory_bytes: int | None


class HostShape(Shape):
    """The host, as far as a program sees it here.

    Attributes:
        kernel: its release.
        boot_id: null if the kernel does not say.
        processors: null if procfs says nothing of them.
        in_container: this program is in one.
        confines: what is hidden from a program here, and what that means for the numbers.
    """

    kernel: str
    boot_id: str | None
    processors: ProcessorsShape | None
    in_container: bool
    confines: list[str]


class DeviceShape(Shape):
    """One counter.

    Attributes:
        name: unique on its host.
        component: cpu, dram or gpu.
        index: the number by which CUDA and nvidia-smi call a GPU; null of other devices.
    """

    name: str
    component: str
    index: int | None


class KindShape(Shape):
    """One kind of meter.

    Attributes:
        kind: as a sweep's file names it.
        gives: what it gives.
        available: this host has it.
        devices: what it would read.
        reason: why it is not available.
        hint: what would make it available.
    """

    kind: str
    gives: str
    available: bool
    devices: list[DeviceShape]
    reason: str | None
    hint: str | None


class UsedShape(DeviceShape):
    """One counter that a sweep would use.

    Attributes:
        source: the kind of meter that reads it.
        power_watts: its mean over a second just now; null if a reading failed.
        estimated: that is of a model, and not measured.
        problem: why there is no reading.
    """

    source: str
    power_watts: float | None
    estimated: bool
    problem: str | None


class DoctorAnswer(Answer):
    """Which meters this host has, which it lacks, and how to get them.

    Attributes:
        host: what it is.
        kinds: each kind that was tried.
        meters: what a sweep would use, in a sentence, or why it would use none.
        devices: what it would use.
        packages: their versions; null if one is not installed.
    """

    answer_of: ClassVar[str] = "doctor"
    host: HostShape
    kinds: list[KindShape]
    meters: str
    devices: list[UsedShape]
    packages: dict[str, str | None]
