"""MLflow: a run for the sweep, and inside of it one for each trial, found again by their tags.

``mlflow-skinny`` is imported when it is needed: that takes seconds. Ray Tune's own logger would do it in Tune's loop,
which then waits for the server, and would make a new run for each trial of a resumed sweep.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from energysweep.core.errors import TrackerError
from energysweep.core.text import NOT_AVAILABLE
from energysweep.sweepfile.trackers import Mlflow
from energysweep.trackers.records import FINAL, ITERATION, Record, Report
from energysweep.trackers.tracker import PATIENT_SECONDS, RecordRefused, Tracker, flat, numbers, plain

# MLflow's own bounds (3.17): of a request, of a name, of a text.
_METRICS_AT_ONCE: Final = 1000
_OTHERS_AT_ONCE: Final = 100
_LONGEST_NAME: Final = 250
_LONGEST_TEXT: Final = 5000
_TAG: Final = "energysweep."
_OF_ONE_RECORD: Final = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE", "BAD_REQUEST")
_FINISHED, _FAILED, _KILLED, _RUNNING = "FINISHED", "FAILED", "KILLED", "RUNNING"
_STATUS: Final[Mapping[str, str]] = {
    "completed": _FINISHED,
    "pruned": _FINISHED,
    "done": _FINISHED,
    "stopped by budget": _FINISHED,
    "failed": _FAILED,
    "interrupted": _KILLED,
}
# What MLflow goes by unless the user says otherwise: it waits for 14 minutes for a server that is away, and tells its
# makers that it is used.
_ENVIRONMENT: Final[Mapping[str, str]] = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": str(PATIENT_SECONDS),
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


@dataclass(slots=True)
class _There:
    """A run as MLflow has it.

    Attributes:
        iteration: the last report that is there.
        metrics: the last value of each, as far as they are known.
    """

    id: str
    status: str
    iteration: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class MlflowTracker(Tracker):
    """MLflow; arguments and errors as of ``Tracker``."""

    settings: Mlflow

    def __init__(self, settings: Mlflow, folder: Path) -> None:
        super().__init__(settings, folder)
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient  # noqa: PLC0415

        logging.getLogger("mlflow").setLevel(logging.CRITICAL)
        logging.getLogger("alembic").setLevel(logging.CRITICAL)
        self._client = MlflowClient(tracking_uri=settings.tracking_uri)
        self._experiment: str | None = None
        self._there: dict[str, _There] | None = None

    def forget(self) -> None:
        """What is there is asked for anew."""
        super().forget()
        self._there = None

    def bring(self, record: Record, records: Sequence[Record]) -> None:
        """As ``Tracker.bring``."""
        if self._there is None:
            self._there = self._find(records[0])
        try:
            there = self._there.get(record.trial) or self._made(record, self._there)
            self._there[record.trial] = there
            self._bring(record, there)
        except Exception as error:
            if getattr(error, "error_code", None) in _OF_ONE_RECORD:
                raise RecordRefused(str(error)) from error
            raise

    # What is there ---------------------------------------------------------------------------------------------------

    def _find(self, sweep: Record) -> dict[str, _There]:
        """The runs of this sweep by their trials; should there be two of one, the first that was begun."""
        self._experiment = self._experiment_of(self.settings.experiment or sweep.labels["sweep"])
        if "'" in sweep.run:
            raise TrackerError("the run id holds a quotation mark")
        found: dict[str, _There] = {}
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment],
                f"tags.`{_TAG}run` = '{sweep.run}'",
                order_by=["attributes.start_time DESC"],
                page_token=token,
            )
            for run in page:
                data = run.data
                iteration = int(data.metrics.get(ITERATION, 0))
                trial = data.tags.get(f"{_TAG}trial", "")
                found[trial] = _There(
                    run.info.run_id, run.info.status, iteration, dict(data.metrics), dict(data.params), dict(data.tags)
                )
            token = page.token
            if not token:
                return found

    def _experiment_of(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name))
        except Exception:  # another sweep has made it in this moment
            found = self._client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)

    def _made(self, record: Record, there: Mapping[str, _There]) -> _There:
        tags = {f"{_TAG}run": record.run, "mlflow.runName": _text(record.name)}
        if record.trial:
            tags |= {f"{_TAG}trial": record.trial, "mlflow.parentRunId": there[""].id}
        run = self._client.create_run(self._experiment, start_time=_milliseconds(record.started_at), tags=tags)
        return _There(run.info.run_id, _RUNNING, tags=tags)

    # What is missing -------------------------------------------------------------------------------------------------

    def _bring(self, record: Record, there: _There) -> None:
        new = [report for report in record.reports if report.iteration > there.iteration]
        params = {_name(name): _text(plain(value)) for name, value in flat(record.parameters).items()}
        tags = {f"{_TAG}{name}": _text(text) for name, text in record.labels.items() if name not in ("run", "trial")}
        tags |= {f"{_TAG}status": record.status}
        tags |= {f"{_TAG}tags": _text(", ".join(record.tags))} if record.tags else {}
        final = {_name(FINAL + name): value for name, value in (record.final or {}).items()}
        metrics = {name: _size(value) for name, value in numbers(final).items()}
        tags |= {name: _said(value) for name, value in final.items() if name not in metrics}
        # What was said once of a parameter stays: MLflow lets nobody change it.
        params = {name: text for name, text in params.items() if name not in there.params}
        tags = {name: text for name, text in tags.items() if there.tags.get(name) != text}
        metrics = {name: value for name, value in metrics.items() if not _same(there.metrics.get(name), value)}
        if self._needs_to_be_opened(record, there, is_new=bool(new or params or tags or metrics)):
            self._client.update_run(there.id, status=_RUNNING)
            there.status = _RUNNING
        self._log(there, [*_batches(new), [*_final_metrics(record, metrics)]], params, tags)
        for name in metrics.keys() & there.tags.keys():
            self._client.delete_tag(there.id, name)  # it was n/a before
            del there.tags[name]
        there.iteration = record.reports[-1].iteration if record.reports else there.iteration
        there.metrics |= metrics
        there.params |= params
        there.tags |= tags
        status = _STATUS.get(record.status, _KILLED) if record.is_over else _RUNNING
        if status != there.status:
            self._client.set_terminated(there.id, status, _milliseconds(record.ended_at))
            there.status = status

    @staticmethod
    def _needs_to_be_opened(record: Record, there: _There, *, is_new: bool) -> bool:
        return there.status != _RUNNING and (is_new or not record.is_over)

    def _log(
        self, there: _There, batches: Sequence[Sequence[Any]], params: Mapping[str, str], tags: Mapping[str, str]
    ) -> None:
        from mlflow.entities import Param, RunTag  # noqa: PLC0415

        for some in _pieces([Param(name, text) for name, text in params.items()]):
            self._client.log_batch(there.id, params=some)
        for some in _pieces([RunTag(name, text) for name, text in tags.items()]):
            self._client.log_batch(there.id, tags=some)
        for batch in batches:
            if batch:
                self._client.log_batch(there.id, metrics=batch)


def _batches(reports: Sequence[Report]) -> Iterator[list[Any]]:
    """The metrics of reports, whole reports as far as they fit. The number of each is its last metric, so that one is
    known to be there whole; what is sent once more is the same, and MLflow keeps it once.
    """
    from mlflow.entities import Metric  # noqa: PLC0415

    batch: list[Any] = []
    for report in reports:
        at = _milliseconds(report.at)
        own = [
            Metric(_name(name), _size(value), at, report.iteration) for name, value in numbers(report.values).items()
        ]
        if len(batch) + len(own) > _METRICS_AT_ONCE:
            yield batch
            batch = []
        while len(own) > _METRICS_AT_ONCE:
            yield own[:_METRICS_AT_ONCE]
            own = own[_METRICS_AT_ONCE:]
        batch += own
    yield batch


def _final_metrics(record: Record, metrics: Mapping[str, float]) -> Iterator[Any]:
    """Of two values of one step MLflow shows the later one: a number that has changed since is newer."""
    from mlflow.entities import Metric  # noqa: PLC0415

    step = record.reports[-1].iteration if record.reports else 0
    now = _milliseconds(time.time())
    yield from (Metric(name, value, now, step) for name, value in metrics.items())


def _pieces(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), _OTHERS_AT_ONCE):
        yield items[start : start + _OTHERS_AT_ONCE]


def _name(name: str) -> str:
    """As MLflow takes it; one that is not the same any more has a piece of a hash of it, so that no two become one."""
    kept = re.sub(r"[^\w\-. /]", "_", name)
    kept = "/".join(part for part in kept.split("/") if part not in ("", ".", ".."))
    if kept == name and len(kept) <= _LONGEST_NAME:
        return name
    return f"{kept[: _LONGEST_NAME - 10]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _text(value: object) -> str:
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


def _said(value: object) -> str:
    """A final value that is no number."""
    if value is None:
        return NOT_AVAILABLE
    return str(value).lower() if isinstance(value, bool) else _text(value)


def _size(value: float) -> float:
    """A number as MLflow keeps it: its infinities are the largest floats."""
    return math.copysign(sys.float_info.max, value) if math.isinf(value) else value


def _same(known: float | None, value: float) -> bool:
    return known is not None and (known == value or (math.isnan(known) and math.isnan(value)))


def _milliseconds(at: float | None) -> int | None:
    return None if at is None else round(at * 1000)
