"""A run's result and a trial's receipt on a terminal; plain text where there is none (rich decides)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from energysweep.core.naming import setting_text
from energysweep.core.records import PILOT
from energysweep.core.text import (
    NOT_AVAILABLE,
    count_text,
    emissions_text,
    energy_text,
    number_text,
    percent_text,
    power_text,
    uncertainty_text,
)
from energysweep.ledger.balance import MeterSummary, joules_of, mean_of
from energysweep.ledger.configurations import ConfigurationSummary, StageSummary
from energysweep.ledger.model import Summary
from energysweep.ledger.ranking import compared_mean, note, some_open
from energysweep.ledger.receipt import AttemptReceipt, DeviceBalance, LeaseReceipt, Receipt, RunChoices, WindowBalance
from energysweep.ledger.saving import saved_text
from energysweep.ledger.trials import TrialSummary
from energysweep.meters.kinds import is_model
from energysweep.report.answers import hourly_text, scored, sentence
from energysweep.report.not_measured import ELSEWHERE_NOTE, not_measured, untold_note

# The receipt: one line per joule that can be told apart, and every sum below its lines -------------------------------

_COLUMN: Final = "\0"  # stands before the joules until all lines are there and the widest is known


def receipt_text(receipt: Receipt) -> RenderableType:
    """The receipt for a terminal, plain where there is none."""
    # Text, not str: rich would read a user's [brackets] as its own markup.
    return Group(*(Text(line, style="" if line.startswith(" ") else "bold") for line in receipt_lines(receipt)))


def receipt_lines(receipt: Receipt) -> list[str]:
    """The receipt, line by line; what stands at the margin is a heading."""
    lines = [f"Receipt of trial {receipt.trial.trial} of {receipt.sweep or NOT_AVAILABLE}", *_trial(receipt.trial)]
    lines += [f"The ledger is damaged: {each}" for each in receipt.damage]
    if receipt.decisions:
        lines += ["", "What became of it", *(f"  {_utc(each.row.at)}  {each.sentence}" for each in receipt.decisions)]
    for attempt in receipt.attempts:
        lines += ["", *_attempt(attempt)]
    lines += ["", *_sums(receipt)]
    for window in receipt.windows:
        lines += ["", *_window(window)]
    width = max(line.find(_COLUMN) for line in lines)
    return [_aligned(line, width) for line in lines]


def choices_text(choices: RunChoices) -> RenderableType:
    """What a run has decided, for a terminal."""
    lines = [f"Decisions of {choices.sweep or NOT_AVAILABLE}"]
    lines += [f"The ledger is damaged: {each}" for each in choices.damage]
    lines += [f"  {_utc(each.row.at)}  {each.sentence}" for each in choices.of_run]
    if not choices.counts:
        lines.append("  None about a trial is noted: the run is of an older energysweep, or no trial has begun.")
    else:
        lines += ["", "Of trials"]
        lines += [f"  {number:>7,} {what}{f' ({why})' if why else ''}" for what, why, number in choices.counts]
    return Group(*(Text(line, style="" if line.startswith(" ") else "bold") for line in lines))


def _aligned(line: str, width: int) -> str:
    name, column, joules = line.partition(_COLUMN)
    return f"{name:<{width}} {joules}" if column else line


def _trial(trial: TrialSummary) -> Iterator[str]:
    yield f"  configuration   {trial.config}"
    parameters = " ".join(setting_text(name, value) for name, value in trial.parameters.items())
    yield f"  parameters      {parameters or 'none'}"
    if trial.seed is not None:
        yield f"  seed            {trial.seed}"
    if trial.hardware:
        yield f"  hardware        {trial.hardware}"
    yield f"  status          {trial.status} after {count_text(trial.attempts, 'attempt')}"
    yield from _error(trial.error)


def _attempt(attempt: AttemptReceipt) -> Iterator[str]:
    row = attempt.row
    estimated = any(is_model(each.source) for lease in attempt.leases for each in lease.rows)
    if row is None:
        yield f"Attempt {attempt.number}: the driver noted nothing of it"
    else:
        yield f"Attempt {attempt.number}: {row.outcome}, {_utc(row.started_at)} to {_utc(row.ended_at)}"
        if row.checkpoint_joules is not None:
            yield _joules("  the trial's energy at its last checkpoint", row.checkpoint_joules, estimated=estimated)
        yield from _error(row.error)
    if not attempt.leases:
        yield "  no lease: nothing of it was measured"
    for lease in attempt.leases:
        yield from _lease(lease)
    if attempt.lost_joules > 0:
        yield _joules("  of it lost after the last checkpoint", attempt.lost_joules, estimated=estimated)


def _lease(receipt: LeaseReceipt) -> Iterator[str]:
    lease = receipt.lease
    coverage = lease.covered_seconds / lease.held_seconds if lease.held_seconds > 0 else None
    yield f"  Lease {lease.lease} on {lease.node} (host {lease.host}, window {lease.window}), process {lease.pid}"
    yield f"    open            {_utc(lease.opened_at)} to {_utc(lease.closed_at)}, held {lease.held_seconds:,.3f} s"
    if lease.startup_seconds is None:
        yield "    start-up        not told apart from work"
    else:
        yield f"    start-up        {lease.startup_seconds:,.3f} s of it"
    if lease.works_elsewhere:
        yield f"    not measured    {ELSEWHERE_NOTE}"
    yield f"    good readings   {lease.covered_seconds:,.3f} s ({percent_text(coverage)})" + (
        f"; {receipt.uncovered_seconds:,.3f} s were not measured" if receipt.uncovered_seconds >= 0.0005 else ""
    )
    gpus = "  ".join(f"{name} x {fraction:g}" for name, fraction in json.loads(lease.gpus).items())
    yield (
        f"    CPUs            {lease.cpu_seconds:,.2f} s of CPU time; {lease.reserved_cpus:g} reserved;"
        f" GPUs: {gpus or 'none'}"
    )
    if not receipt.rows:
        yield "    nothing was booked to it"
        return
    for row in receipt.rows:
        name = f"    {row.device}  {row.component}  {row.bucket}  ({row.source})"
        yield _joules(name, row.joules, estimated=is_model(row.source))
    estimated = any(is_model(row.source) for row in receipt.rows)
    yield _joules("    = this lease", receipt.joules, estimated=estimated)


def _sums(receipt: Receipt) -> Iterator[str]:
    trial = receipt.trial
    yield "Sum"
    if trial.energy_joules is None:
        yield "  No energy was measured for this trial."
        return
    for attempt in receipt.attempts:
        for lease in attempt.leases:
            estimated = any(is_model(row.source) for row in lease.rows)
            yield _joules(f"  lease {lease.lease.lease}", lease.joules, estimated=estimated)
    estimated = trial.estimated
    yield _joules("  of it start-up, apart", trial.startup_joules, estimated=estimated)
    if not trial.startup_is_apart:
        untold = [lease for each in receipt.attempts for lease in each.leases if lease.lease.startup_seconds is None]
        yield f"  that of {count_text(len(untold), 'lease')} was not told apart from work: it is in what follows"
    yield _joules("  = this trial", trial.energy_joules, estimated=estimated)
    yield _joules("    of it active", trial.active_energy_joules, estimated=estimated)
    yield _joules("    of it idle share", trial.idle_energy_joules, estimated=estimated)
    yield _joules("    of it lost", trial.lost_joules, estimated=estimated)
    yield _joules("    of it pruned", trial.pruned_joules, estimated=estimated)
    yield f"  CO2e {emissions_text(trial.emissions_grams, estimated=estimated)}"
    relative = trial.relative_uncertainty
    yield f"  uncertainty of its meters {uncertainty_text(relative)}; read all sums with it"


def _window(window: WindowBalance) -> Iterator[str]:
    yield f"Balance of window {window.window} on {window.node} (host {window.host}), since it was opened"
    for device in window.devices:
        yield f"  {device.device} ({device.component}, {device.source})"
        yield from _provenance(device.meter)
        yield from _balance(
            device.buckets,
            counter="the device's own counter",
            metered_joules=None if device.meter is None else device.meter.energy_joules,
            estimated=is_model(device.source),
        )
    if len(window.devices) > 1:
        yield "  all devices"
        yield from _balance(
            _summed(window.devices),
            counter="the devices' own counters",
            metered_joules=_all_metered(window.devices),
            estimated=any(is_model(device.source) for device in window.devices),
        )


def _provenance(meter: MeterSummary | None) -> Iterator[str]:
    if meter is None:
        yield "    the ledger has no reading of its own counter"
        return
    step = "unknown" if meter.resolution_joules is None else f"{meter.resolution_joules:.3g} J"
    yield (
        f"    coverage {percent_text(meter.coverage)} ({meter.uncovered_seconds:,.3f} s not covered;"
        f" {count_text(meter.failures, 'failed reading')}, {count_text(meter.resets, 'reset')})"
    )
    floor = power_text(meter.idle_floor_watts, estimated=is_model(meter.source))
    yield f"    resolution {step}; idle power {floor} ({meter.idle_floor_from})"
    yield f"    uncertainty {uncertainty_text(meter.uncertainty.relative)}: {meter.uncertainty.reason}"


def _balance(
    buckets: Iterable[tuple[str, float]], *, counter: str, metered_joules: float | None, estimated: bool
) -> Iterator[str]:
    booked = list(buckets)
    booked_joules = math.fsum(joules for _, joules in booked)
    for name, joules in booked:
        yield _joules(f"    {name}", joules, estimated=estimated)
    yield _joules("    = booked", booked_joules, estimated=estimated)
    yield _joules(f"    {counter}", metered_joules, estimated=estimated)
    if metered_joules is not None:
        difference_joules = metered_joules - booked_joules
        share = percent_text(abs(difference_joules) / metered_joules) if metered_joules else NOT_AVAILABLE
        yield _joules("    difference", difference_joules, estimated=estimated) + f"  ({share})"


def _summed(devices: Iterable[DeviceBalance]) -> list[tuple[str, float]]:
    sums: dict[str, float] = {}
    for device in devices:
        for name, joules in device.buckets:
            sums[name] = sums.get(name, 0.0) + joules
    return list(sums.items())


def _all_metered(devices: Iterable[DeviceBalance]) -> float | None:
    readings = [device.meter.energy_joules for device in devices if device.meter is not None]
    return math.fsum(readings) if readings else None


def _joules(name: str, joules: float | None, *, estimated: bool) -> str:
    """Thousandths of a joule, one below the other, so that a person can add them up."""
    if joules is None:
        return f"{name}{_COLUMN}{NOT_AVAILABLE:>18}"
    shown = joules + 0.0 if abs(joules) >= 0.0005 else 0.0  # never -0.000
    return f"{name}{_COLUMN}{'≈ ' if estimated else ''}{shown:>{16 if estimated else 18},.3f} J" + (
        " (est.)" if estimated else ""
    )


def _error(error: str | None) -> Iterator[str]:
    for number, line in enumerate((error or "").splitlines()):
        yield f"  {'error           ' if number == 0 else ' ' * 16}{line}"


def _utc(seconds: float | None) -> str:
    if seconds is None:
        return "still open"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"


# The result ----------------------------------------------------------------------------------------------------------


def terminal_table(summary: Summary) -> RenderableType:
    """The headline, and the configurations by energy to the target (without a target: by energy)."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("configuration", overflow="fold", min_width=20)
    estimated = " (est.)" if summary.estimated else ""
    columns = [f"energy{estimated}", f"CO2e{estimated}"]
    if summary.objective is not None:
        columns.insert(0, summary.objective.metric)
    if summary.has_target:
        columns = [f"to target{estimated}", "reached", *columns]
    elif some_open(summary.configurations):
        columns.insert(0, "trials")
    if any(each.tied_with_cheapest for each in summary.configurations):
        columns.append("tie")
    for column in columns:
        table.add_column(Text(column), justify="right", no_wrap=True)
    for each in sorted(summary.configurations, key=lambda each: (_rank(each, summary), each.title)):
        table.add_row(*(Text(cell) for cell in _cells(each, summary)))
    # Text, not str: rich would read a user's [brackets] as its own markup.
    stages = [_stage_note(stage) for stage in summary.stages]
    startup = [_startup_note(summary), untold_note(summary), _saved_note(summary)]
    notes = [
        *stages,
        *startup,
        note(summary.configurations, summary.objective, summary.changed_by),
        *not_measured(summary),
    ]
    below = [Text(f"Note: {each}", style="dim") for each in notes if each]
    below[:0] = [Text(said) for said in (scored(summary), hourly_text(summary)) if said is not None]
    return Group(Text(sentence(summary), style="bold"), Text(), table, *([Text(), *below] if below else []))


def _stage_note(stage: StageSummary) -> str:
    energy = energy_text(stage.total_energy_joules, estimated=stage.estimated)
    trials = "1 trial" if len(stage.trials) == 1 else f"{len(stage.trials)} trials"
    name = "the pilot" if stage.stage == PILOT else f"stage {stage.stage}"
    return f"{name} took {energy} in {trials} before these."


def _saved_note(summary: Summary) -> str | None:
    if summary.saved is None:
        return None
    return f"saved {saved_text(summary.saved, estimated=summary.estimated)}, against {summary.saved.against}."


def _startup_note(summary: Summary) -> str | None:
    joules = summary.totals.buckets["startup"]
    if not joules:
        return None
    energy = energy_text(joules, estimated=summary.estimated)
    return f"start-up of the trials (imports, first loading) took {energy}; it is measured apart and in none of these."


def _cells(each: ConfigurationSummary, summary: Summary) -> list[str]:
    cells = [each.title]
    if summary.has_target:
        joules = compared_mean(each, summary.objective)
        cells.append(each.to_target_text or energy_text(joules, estimated=each.estimated, brief=True))
        cells.append(each.arrival_text)
    elif some_open(summary.configurations):
        cells.append(each.arrival_text)
    if summary.objective is not None:
        cells.append(number_text(mean_of(each.objective)))
    return [
        *cells,
        energy_text(joules_of(each.energy_joules), estimated=each.estimated, brief=True),
        emissions_text(joules_of(each.emissions_grams), estimated=each.estimated, brief=True),
        *(["with cheapest"] if each.tied_with_cheapest else []),
    ]


def _rank(each: ConfigurationSummary, summary: Summary) -> float:
    mean = compared_mean(each, summary.objective)
    return float("inf") if mean is None else mean
