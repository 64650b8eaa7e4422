"""A trial's receipt: every joule of it, and the balance of the windows in which they were booked."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from energysweep.core.buckets import BUCKETS, LEASE_APART, WORK_BUCKETS
from energysweep.core.carbon import Intensity
from energysweep.core.errors import InputError
from energysweep.core.jsontext import jsonable
from energysweep.core.naming import parse
from energysweep.core.records import AttemptRow, EnergyRow, LeaseRow
from energysweep.ledger.balance import MeterSummary, meter
from energysweep.ledger.decisions import Told, counted, told
from energysweep.ledger.model import Summary
from energysweep.ledger.run_state import RunState
from energysweep.ledger.store import LedgerData
from energysweep.ledger.summary import summary_of
from energysweep.ledger.trials import TrialSummary, lost_by_attempt, spent_by_attempt
from energysweep.meters.kinds import is_model

_MOST_NAMES: Final = 5
_OF_ROW: Final = ("device", "component", "bucket", "source", "joules")
_OF_LEASE: Final = (
    *("lease", "host", "window", "node", "pid", "opened_at", "closed_at", "held_seconds", "covered_seconds"),
    *("startup_seconds", "cpu_seconds", "reserved_cpus"),
)


@dataclass(frozen=True, slots=True)
class LeaseReceipt:
    """One lease and what was booked to it.

    Attributes:
        rows: its joules by device, component, bucket and source.
    """

    lease: LeaseRow
    rows: tuple[EnergyRow, ...]

    @property
    def joules(self) -> float | None:
        """All its energy, start-up included; None if nothing was booked."""
        return math.fsum(row.joules for row in self.rows) if self.rows else None

    @property
    def uncovered_seconds(self) -> float:
        """How much of its time lies between no two good readings of its devices."""
        return max(0.0, self.lease.held_seconds - self.lease.covered_seconds)

    def to_dict(self) -> dict[str, Any]:
        """Its entry in JSON."""
        lease = self.lease
        return {
            **{name: getattr(lease, name) for name in _OF_LEASE},
            "gpus": json.loads(lease.gpus),
            "works_elsewhere": None if lease.works_elsewhere is None else bool(lease.works_elsewhere),
            "joules": self.joules,
            "rows": [
                {**{name: getattr(row, name) for name in _OF_ROW}, "estimated": is_model(row.source)}
                for row in self.rows
            ],
        }


@dataclass(frozen=True, slots=True)
class AttemptReceipt:
    """One attempt at the trial with its leases.

    Attributes:
        row: what the driver noted of it; None if it noted nothing.
        lost_joules: what it spent after its last checkpoint if it did not end well, else 0.
    """

    number: int
    row: AttemptRow | None
    leases: tuple[LeaseReceipt, ...]
    lost_joules: float

    def to_dict(self) -> dict[str, Any]:
        """Its entry in JSON."""
        row = self.row
        return {
            "number": self.number,
            "outcome": None if row is None else row.outcome,
            "started_at": None if row is None else row.started_at,
            "ended_at": None if row is None else row.ended_at,
            "checkpoint_joules": None if row is None else row.checkpoint_joules,
            "error": None if row is None else row.error,
            "lost_joules": self.lost_joules,
            "leases": [lease.to_dict() for lease in self.leases],
        }


@dataclass(frozen=True, slots=True)
class DeviceBalance:
    """What a device's own counter saw in a window, and in which buckets it was booked.

    Attributes:
        meter: the counter, since the window was opened; None if the ledger has none of it.
        buckets: joules by name: this trial, what is apart of it, other trials, and the buckets of the host.
    """

    device: str
    component: str
    source: str
    meter: MeterSummary | None
    buckets: tuple[tuple[str, float], ...]

    @property
    def booked_joules(self) -> float:
        """The sum of the buckets."""
        return math.fsum(joules for _, joules in self.buckets)

    @property
    def difference_joules(self) -> float | None:
        """The counter's energy less what was booked; None without a counter."""
        return None if self.meter is None else self.meter.energy_joules - self.booked_joules

    def to_dict(self) -> dict[str, Any]:
        """Its entry in JSON."""
        return {
            "device": self.device,
            "component": self.component,
            "source": self.source,
            "estimated": is_model(self.source),
            "buckets": dict(self.buckets),
            "booked_joules": self.booked_joules,
            "metered_joules": None if self.meter is None else self.meter.energy_joules,
            "difference_joules": self.difference_joules,
            "meter": None if self.meter is None else asdict(self.meter),
        }


@dataclass(frozen=True, slots=True)
class WindowBalance:
    """All devices of a window in which the trial held a lease."""

    host: str
    window: str
    node: str
    devices: tuple[DeviceBalance, ...]

    def to_dict(self) -> dict[str, Any]:
        """Its entry in JSON."""
        devices = [device.to_dict() for device in self.devices]
        return {"host": self.host, "window": self.window, "node": self.node, "devices": devices}


@dataclass(frozen=True, slots=True)
class Receipt:
    """Everything about one trial's energy.

    Attributes:
        sweep: the run id.
        damage: what of the ledger could not be read, so that it is in no line.
        attempts: in order; every lease is in one of them.
        windows: those in which it held a lease, in the order of their first lease.
        decisions: what became of it and why, in order; empty for a run of an older energysweep.
    """

    sweep: str
    trial: TrialSummary
    damage: tuple[str, ...]
    attempts: tuple[AttemptReceipt, ...]
    windows: tuple[WindowBalance, ...]
    decisions: tuple[Told, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As one object of JSON; numbers are not rounded, and what is missing is null."""
        trial = self.trial
        said: dict[str, Any] = jsonable(
            {
                "run_id": self.sweep,
                "trial": trial.trial,
                "configuration": trial.config,
                "parameters": trial.parameters,
                "seed": trial.seed,
                "hardware": trial.hardware,
                "status": trial.status,
                "attempts": trial.attempts,
                "energy_joules": trial.energy_joules,
                "startup_joules": trial.startup_joules,
                "lost_joules": trial.lost_joules,
                "energy_to_target_joules": trial.energy_to_target_joules,
                "estimated": trial.estimated,
                "decisions": [each.to_dict() for each in self.decisions],
                "receipt": {
                    "attempts": [each.to_dict() for each in self.attempts],
                    "windows": [each.to_dict() for each in self.windows],
                },
                "damage": list(self.damage),
            }
        )
        return said


@dataclass(frozen=True, slots=True)
class RunChoices:
    """What a whole run has decided.

    Attributes:
        counts: how often what was decided of trials, and by which rule.
        of_run: what was decided of the run itself, in order.
        estimated: their joules are partly of an estimate.
    """

    sweep: str
    counts: tuple[tuple[str, str, int], ...]
    of_run: tuple[Told, ...]
    damage: tuple[str, ...]
    estimated: bool

    def to_dict(self) -> dict[str, Any]:
        """As one object of JSON."""
        said: dict[str, Any] = jsonable(
            {
                "run_id": self.sweep,
                "estimated": self.estimated,
                "counts": [{"what": what, "why": why, "number": number} for what, why, number in self.counts],
                "decisions": [each.to_dict() for each in self.of_run],
                "damage": list(self.damage),
            }
        )
        return said


def explain_run(data: LedgerData) -> RunChoices:
    """What a run has decided, counted by rule."""
    state = RunState.of(data)
    counts = counted(state.decisions())
    return RunChoices(
        sweep=str(data.run.get("id", "")),
        counts=tuple((what, why, number) for (what, why), number in counts.items()),
        of_run=told(state.decisions_of(""), estimated=state.estimated),
        damage=tuple(data.damage),
        estimated=state.estimated,
    )


def explain(data: LedgerData, name: str, carbon: Intensity | None = None) -> Receipt:
    """The receipt of one trial.

    Args:
        data: the run's ledger.
        name: the trial's id, a beginning of it that no other trial has, or a text that ``core.naming`` reads: its
            configuration, and where that leaves several its seed, hardware or id.
        carbon: another grid to count emissions for than the run's own.

    Raises:
        InputError: no trial, or more than one, is called so.
    """
    state = RunState.of(data)
    summary = summary_of(state, data, carbon)
    trial = find_trial(summary, name)
    own = state.leases_of(trial.trial)
    leases = [LeaseReceipt(lease, tuple(state.energy_of(lease.lease))) for lease in own]
    windows = dict.fromkeys((lease.host, lease.window) for lease in own)
    return Receipt(
        sweep=summary.sweep,
        trial=trial,
        damage=summary.damage,
        attempts=_attempts(state, trial, leases),
        windows=tuple(_window(state, host, window, own) for host, window in windows),
        decisions=told(state.decisions_of(trial.trial), estimated=trial.estimated),
    )


def _attempts(state: RunState, trial: TrialSummary, leases: Sequence[LeaseReceipt]) -> tuple[AttemptReceipt, ...]:
    noted = state.attempts_of(trial.trial)
    by_number = {row.number: row for row in noted}
    spent = spent_by_attempt([(each.lease, each.rows) for each in leases])
    lost = lost_by_attempt(trial.status, spent, noted)
    return tuple(
        AttemptReceipt(
            number=number,
            row=by_number.get(number),
            leases=tuple(each for each in leases if each.lease.attempt == number),
            lost_joules=lost.get(number, 0.0),
        )
        for number in sorted({*by_number, *(each.lease.attempt for each in leases)})
    )


def _window(state: RunState, host: str, window: str, own: Sequence[LeaseRow]) -> WindowBalance:
    own_leases = {lease.lease for lease in own}
    here = [row for row in state.energy() if (row.host, row.window) == (host, window)]
    metered = [row for row in state.meters.values() if (row.host, row.window) == (host, window)]
    summaries = {(row.device, row.component, row.source): meter(row) for row in metered}
    counters = dict.fromkeys([*summaries, *((row.device, row.component, row.source) for row in here)])
    nodes = [row.node for row in metered] or [
        lease.node for lease in own if (lease.host, lease.window) == (host, window)
    ]
    return WindowBalance(
        host=host,
        window=window,
        node=nodes[0],
        devices=tuple(
            DeviceBalance(
                *counter,
                meter=summaries.get(counter),
                buckets=_buckets(
                    [row for row in here if (row.device, row.component, row.source) == counter], own_leases
                ),
            )
            for counter in counters
        ),
    )


def _buckets(rows: Sequence[EnergyRow], own_leases: set[str]) -> tuple[tuple[str, float], ...]:
    own = [row for row in rows if row.lease in own_leases]
    of_host = [row for row in rows if not row.lease]

    def booked(among: Sequence[EnergyRow], *names: str) -> float:
        return math.fsum(row.joules for row in among if row.bucket in names)

    return (
        ("this trial", booked(own, *WORK_BUCKETS)),
        *((f"its {bucket.title}", booked(own, bucket.name)) for bucket in LEASE_APART),
        ("other trials", math.fsum(row.joules for row in rows if row.lease and row.lease not in own_leases)),
        *((bucket.title, booked(of_host, bucket.name)) for bucket in BUCKETS if bucket.of == "host"),
    )


# Which trial is meant ------------------------------------------------------------------------------------------------


def find_trial(summary: Summary, name: str) -> TrialSummary:
    """The trial that is called so; argument and errors as of ``explain``."""
    for found in (
        [trial for trial in summary.trials if trial.trial == name],
        [trial for trial in summary.trials if name and trial.trial.startswith(name)],
        _called(summary, name),
    ):
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(f"{name!r} is the name of {len(found)} trials: {_named(found)}", key="TRIAL")
    if not summary.trials:
        raise InputError(f"the run has no trial {name!r}: it has none at all", key="TRIAL")
    near = _near(summary, name) or list(summary.trials)
    raise InputError(f"the run has no trial {name!r}; there are {_named(near)}", key="TRIAL")


def _called(summary: Summary, text: str) -> list[TrialSummary]:
    """The trials that a text may mean, which names a configuration and perhaps a seed, a hardware profile, an id."""
    try:
        named = parse(text)
    except ValueError:
        return []
    wanted = named.configuration
    return [
        trial
        for trial in summary.trials
        if parse(trial.config).configuration == wanted
        and named.seed in (None, trial.seed)
        and named.hardware in ("", trial.hardware)
        and named.trial in ("", trial.trial)
    ]


def _near(summary: Summary, name: str) -> list[TrialSummary]:
    names = {text: trial for trial in summary.trials for text in (trial.config, trial.name, trial.trial)}
    return [names[text] for text in difflib.get_close_matches(name, names, n=_MOST_NAMES, cutoff=0.5)]


def _named(trials: Sequence[TrialSummary]) -> str:
    shown = [f"{trial.trial} ({trial.name})" for trial in trials[:_MOST_NAMES]]
    more = len(trials) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
