"""What a run folder says of its run: its key, its facts in the ledger, what has to be known before Ray is started."""

from __future__ import annotations

import getpass
import importlib.metadata
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from energysweep import sweepfile as specs
from energysweep.agent.proof import new_key
from energysweep.core import carbon
from energysweep.core.carbon import Intensity
from energysweep.core.errors import InputError, one_line
from energysweep.core.inputs import word
from energysweep.core.records import PILOT
from energysweep.core.runfolder import LEDGER, RUN_KEY, SWEEP_FILE
from energysweep.ledger.run_state import RunState
from energysweep.ledger.store import Ledger
from energysweep.searching.budgeting import check_begins, spending_of
from energysweep.sweepfile import Objective, SweepSpec, load_spec
from energysweep.sweepfile.defined import noted
from energysweep.sweepfile.reports import full_reports
from energysweep.sweepfile.trackers import without_secrets

# The key: whoever resumes the run needs it, a reader of its report does not -------------------------------------------


def key_of(folder: Path) -> str:
    """The key of the run in a folder; a new one if it has none yet.

    Raises:
        InputError: it has one that this user cannot read.
    """
    try:
        return (folder / RUN_KEY).read_text(encoding="ascii").strip() or new_key()
    except FileNotFoundError:
        return new_key()
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the run's key: {error}", file=str(folder / RUN_KEY)) from error


def keep_key(folder: Path, key: str) -> None:
    """Write it down, for this user only.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        descriptor = os.open(folder / RUN_KEY, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123 - a descriptor, not a path
            file.write(key + "\n")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=str(folder / RUN_KEY)) from error


# The facts: what the run is, in which parts it was worked on, how it ended -------------------------------------------


class RunFacts:
    """Notes them in the ledger.

    Args:
        ledger: of the run.
        before: what the ledger says of the run so far.
        spec: the sweep.
        started_at: Unix time of the beginning of this part.

    Attributes:
        owner: whose the run is since its beginning, whoever goes on with it.
    """

    def __init__(self, ledger: Ledger, before: Mapping[str, Any], spec: SweepSpec, started_at: float) -> None:
        self.owner: str = before.get("owner") or owner_of(spec)
        self._ledger = ledger
        self._earlier: Sequence[Mapping[str, Any]] = before.get("parts", [])
        self._started_at = started_at
        self._seconds = 0.0

    @property
    def earlier_seconds(self) -> float:
        """How long the parts before this one took."""
        return float(sum(part.get("duration_seconds") or 0.0 for part in self._earlier))

    def note_beginning(self, run_id: str, spec: SweepSpec, grid: Intensity) -> None:
        """What the run is."""
        started_at = self._earlier[0]["started_at"] if self._earlier else self._started_at
        facts = beginning(run_id, spec, grid, started_at, self._ledger.facts().get("pilot"))
        self._ledger.note(**facts | {"owner": self.owner})

    def note_part(self, seconds: float, meters: Mapping[str, str]) -> None:
        """How long this part has taken so far, and the meters of each node."""
        self._seconds = seconds
        self._ledger.note(
            parts=self._parts(ended=False), duration_seconds=self.earlier_seconds + seconds, meters=dict(meters)
        )

    def note_budget(self, end: Mapping[str, Any]) -> None:
        """What its budget has left open, if that has ended it."""
        self._ledger.note(budget=dict(end))

    def note_end(self, status: str, *, asked_all: bool) -> None:
        """How it ended, and whether every agent that answers has been asked to the end."""
        self._ledger.note(status=status, parts=self._parts(ended=asked_all))

    def _parts(self, *, ended: bool) -> list[Mapping[str, Any]]:
        this = {"started_at": self._started_at, "duration_seconds": self._seconds, "ended": ended}
        return [*self._earlier, this]


def beginning(
    run_id: str, spec: SweepSpec, grid: Intensity, started_at: float, pilot: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What the ledger says of a run that begins.

    Args:
        run_id: its id.
        spec: the sweep.
        grid: the carbon intensity.
        started_at: Unix time.
        pilot: with which it begins, if with one: how many ``trials`` it makes, of how many ``reports``.
    """
    judged = {name: rule for name, rule in objectives(spec).items() if name and (name != PILOT or pilot)}
    return {
        "id": run_id,
        "name": spec.name,
        "spec": spec.model_dump(mode="json"),
        "started_at": started_at,
        "status": "running",
        "planned_trials": specs.trial_count(spec).expected_trials,
        "full_reports": full_reports(spec),
        "objective": _noted(spec.objective),
        "stages": {name: {"objective": _noted(objective)} for name, objective in judged.items()},
        "varying": list(specs.varying(spec)),
        "space": None if spec.space is None else noted(spec),
        "carbon": asdict(grid),
        "owner": owner_of(spec),
        "versions": _versions(),
    } | ({"pilot": dict(pilot)} if pilot else {})


def objectives(spec: SweepSpec) -> dict[str, Objective]:
    """By stage, of which a pilot is one; the sweep's own under the empty name."""
    of_stages = {name: stage.objective or spec.objective for name, stage in spec.stages.items()}
    return {"": spec.objective, PILOT: spec.objective} | of_stages


def shown_first(spec: SweepSpec) -> tuple[str, ...]:
    """The metrics that dashboards show before others: of the objectives, then those that the search learns from."""
    asked_for = [objective.metric for objective in objectives(spec).values()]
    return tuple(dict.fromkeys([*asked_for, *spec.search.learns_from]))


OWNER_VARIABLE: Final = "ENERGYSWEEP_OWNER"


def owner_of(spec: SweepSpec) -> str:
    """Whose a run is that begins now: as its sweep says, or the environment, else the user who runs the driver.

    Raises:
        InputError: the environment says nothing that an owner can be called.
    """
    if spec.owner is not None:
        return spec.owner
    if given := os.environ.get(OWNER_VARIABLE):
        try:
            return word(given)
        except ValueError as error:
            raise InputError(str(error), key=OWNER_VARIABLE) from None
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())


def _noted(objective: Objective) -> dict[str, Any]:
    return objective.model_dump(include={"metric", "mode", "target", "patience"})


def _versions() -> dict[str, str]:
    names = ("energysweep", "ray", "torch", "codecarbon")
    found = {"python": sys.version.split()[0]}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


# Before Ray is started -----------------------------------------------------------------------------------------------


CHANGEABLE: Final = ("budget", "price", "trackers")
"""The keys of a sweep that a run can go on with other values of."""


def to_resume(folder: Path, overrides: Sequence[str] = ()) -> tuple[str, SweepSpec]:
    """The id and the sweep of a run that is to go on.

    Args:
        folder: of the run.
        overrides: as after ``--set``, of the keys in ``CHANGEABLE``.

    Raises:
        InputError: this is no run folder, its sweep is wrong, another key is to change, or its budget is spent.
        LedgerError: its ledger is damaged: what is written on top of it could not be trusted.
    """
    if not (folder / LEDGER).is_file():
        raise InputError(f"this is no run folder: it has no {LEDGER}", file=str(folder))
    for option in overrides:
        key = option.partition("=")[0].strip().partition(".")[0]
        if key not in CHANGEABLE:
            raise InputError(
                f"a run goes on as it began: only {', '.join(CHANGEABLE)} can change",
                file=f"--set {one_line(without_secrets(option), 200)}",
            )
    with Ledger.open(folder / LEDGER) as ledger:
        data = ledger.read_whole()
    spec = load_spec(folder / SWEEP_FILE, overrides)
    if spec.budget is not None and data.run.get("status") != "done":
        state = RunState.of(data)
        grid = carbon.resolve(**spec.carbon.model_dump())
        seconds = float(data.run.get("duration_seconds") or 0.0)
        spending = spending_of(spec, grid, state, lambda: seconds)
        if spending is not None:
            check_begins(spending, spec, str(folder), estimated=state.estimated)
    return str(data.run["id"]), spec
