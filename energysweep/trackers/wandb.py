"""Weights & Biases: a run for each trial, and one for the sweep, in a group that is called by the run id.

Online a run is found again by its id, which is made of the run's and the trial's, and goes on behind its last step.
Offline it is a folder of files, written whole once the trial has ended, and written anew should it have gone on since:
W&B's own files cannot be gone on with. ``wandb`` is imported when it is needed: that takes a second.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from energysweep.core.runfolder import TRACKERS_STATE, WANDB
from energysweep.sweepfile.trackers import Wandb
from energysweep.trackers.records import FINAL, Record
from energysweep.trackers.tracker import PATIENT_SECONDS, Tracker, flat, plain

_LONGEST_ID: Final = 64
_LONGEST_GROUP: Final = 128
_ENVIRONMENT: Final[Mapping[str, str]] = {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}


class WandbTracker(Tracker):
    """W&B; arguments and errors as of ``Tracker``."""

    settings: Wandb

    def __init__(self, settings: Wandb, folder: Path) -> None:
        super().__init__(settings, folder)
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        import wandb  # noqa: PLC0415

        self._wandb = wandb
        self._settings = wandb.Settings(
            console="off",
            disable_code=True,
            disable_git=True,
            init_timeout=3 * PATIENT_SECONDS,
            root_dir=str(folder),  # in which it makes its folder ``wandb``
            save_code=False,
            silent=True,
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_disable_stats=True,  # what the hardware draws is what energysweep tells
            x_save_requirements=False,
        )
        self._open: dict[str, Any] = {}
        self._steps: dict[str, int] = {}
        self._state = folder / TRACKERS_STATE / "wandb.json"
        self._whole: dict[str, str] = _read(self._state)

    def forget(self) -> None:
        """Runs that are open are let go of, and found again by their ids."""
        super().forget()
        self._steps.clear()
        runs, self._open = self._open, {}
        for run in runs.values():
            with suppress(Exception):  # whatever it is, the run is opened again
                run.finish(exit_code=1)
        with suppress(Exception):  # its service believes that a run which it could not open is in use
            self._wandb.teardown(exit_code=0)

    def bring(self, record: Record, records: Sequence[Record]) -> None:
        """As ``Tracker.bring``."""
        is_offline = self.settings.mode == "offline"
        if is_offline and not (record.is_over and record.final is not None):
            return
        digest = self._digest(record)
        if self._is_whole(record, digest):
            return
        if is_offline:
            self._remove(record)
        run = self._open.get(record.trial) or self._begun(record)
        self._open[record.trial] = run
        for report in record.reports:
            if report.iteration >= self._steps[record.trial]:
                run.log(
                    {name: value for name, value in report.values.items() if value is not None}, step=report.iteration
                )
                self._steps[record.trial] = report.iteration + 1
        run.config.update(_config(record), allow_val_change=True)
        if record.final is None:
            return
        run.summary.update({FINAL + name: value for name, value in record.final.items()} | {"status": record.status})
        del self._open[record.trial]
        run.finish(exit_code=1 if record.status == "failed" else 0)
        self._whole[record.trial] = digest
        self._state.parent.mkdir(exist_ok=True)
        unfinished = self._state.with_suffix(".new")
        unfinished.write_text(json.dumps(self._whole), encoding="utf-8")
        unfinished.replace(self._state)

    def _begun(self, record: Record) -> Any:
        run = self._wandb.init(
            project=self.settings.project or record.labels["sweep"],
            entity=self.settings.entity,
            mode=self.settings.mode,
            id=run_id(record),
            resume="allow",
            reinit="create_new",
            group=record.run[:_LONGEST_GROUP],
            job_type=(record.labels.get("stage") or "trial") if record.trial else "sweep",
            name=record.name,
            tags=[tag[:_LONGEST_ID] for tag in record.tags] or None,
            config=_config(record),
            settings=self._settings,
        )
        self._steps[record.trial] = int(run.step)
        return run

    # What is there ---------------------------------------------------------------------------------------------------

    def _digest(self, record: Record) -> str:
        """Of all that is told of a record, and where."""
        told = [
            self.settings.model_dump(),
            record.status,
            _config(record),
            record.final,
            [report.values for report in record.reports],
        ]
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()

    def _is_whole(self, record: Record, digest: str) -> bool:
        """Whether all of it is there already."""
        if record.final is None or self._whole.get(record.trial) != digest:
            return False
        return self.settings.mode == "online" or len(self._folders(record)) == 1

    def _folders(self, record: Record) -> list[Path]:
        """Of a record's offline runs."""
        return sorted((self.folder / WANDB).glob(f"offline-run-*-{run_id(record)}"))

    def _remove(self, record: Record) -> None:
        for folder in self._folders(record):
            shutil.rmtree(folder)


def run_id(record: Record) -> str:
    """The id of a record's run in W&B, which takes plain and short ones only."""
    text = f"{record.run}-{record.trial or 'sweep'}"
    plain_text = re.sub(r"[^A-Za-z0-9._-]", "_", text)
    if plain_text == text and len(text) <= _LONGEST_ID:
        return text
    mark = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{plain_text[: _LONGEST_ID - 13]}-{mark}"


def _config(record: Record) -> dict[str, Any]:
    labels = {f"energysweep.{name}": text for name, text in record.labels.items()}
    return {name: plain(value) for name, value in flat(record.parameters).items()} | labels


def _read(path: Path) -> dict[str, str]:
    """What was noted; nothing if that is damaged, and then all is brought again."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}
