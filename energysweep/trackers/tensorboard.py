"""TensorBoard: a folder of event files for each trial, and one for the sweep, in the run folder.

All values of a report are one event, so that one is there whole or not at all; what is there is read again when a run
is gone on with. Values are written as doubles: the files hold the ledger's numbers to the last digit, and TensorBoard
shows them as single floats. ``tensorboard`` is imported when it is needed; it needs no TensorFlow.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from energysweep.core.records import OPEN, readable
from energysweep.core.runfolder import TENSORBOARD
from energysweep.core.text import NOT_AVAILABLE
from energysweep.sweepfile.trackers import Tensorboard
from energysweep.trackers.records import FINAL, ITERATION, Record
from energysweep.trackers.tracker import Tracker, flat, numbers, plain

log = logging.getLogger(__name__)

_LABELS: Final = "energysweep"  # the tag of the texts
_SWEEP: Final = "sweep"
_LONGEST_NAME: Final = 100
_HPARAMS: Final = "_hparams_/session_start_info"
_END: Final = "_hparams_/session_end_info"


@dataclass(slots=True)
class _There:
    """What a folder's event files hold.

    Attributes:
        iteration: the last report.
        final: the final numbers.
        text: the labels, and the final numbers if they were told.
        has_parameters, has_end: whether its beginning and its end are told to the plugin HParams.
    """

    folder: Path
    iteration: int = 0
    final: dict[str, float] = field(default_factory=dict)
    text: str = ""
    has_parameters: bool = False
    has_end: bool = False


class TensorboardTracker(Tracker):
    """TensorBoard; arguments and errors as of ``Tracker``."""

    settings: Tensorboard

    def __init__(self, settings: Tensorboard, folder: Path) -> None:
        super().__init__(settings, folder)
        import tensorboard  # noqa: F401, PLC0415  that it is missing is told at once

        self._there: dict[str, _There] = {}

    def forget(self) -> None:
        """What is there is read anew."""
        super().forget()
        self._there.clear()

    def bring(self, record: Record, records: Sequence[Record]) -> None:
        """As ``Tracker.bring``."""
        there = self._there.get(record.trial)
        if there is None:
            there = self._there[record.trial] = _found(self._folder_of(record))
        events = [*self._events(record, there)]
        if not events:
            return
        from tensorboard.summary.writer.event_file_writer import EventFileWriter  # noqa: PLC0415

        # Opened for this and closed again: a thousand trials are a thousand files that nobody holds open.
        writer = EventFileWriter(str(there.folder), filename_suffix=f".{time.time_ns()}")
        try:
            for event in events:
                writer.add_event(event)
        finally:
            writer.close()

    def _folder_of(self, record: Record) -> Path:
        """The one that it has; else a new one, called by its id and its configuration."""
        place = self.folder / TENSORBOARD
        first = _file_name(record.trial or _SWEEP)
        for each in place.glob(f"{_escaped(first)}*"):
            if each.is_dir() and (each.name == first or each.name.startswith(f"{first} ")):
                return each
        folder = place / _file_name(f"{first} {record.labels['configuration']}" if record.trial else first)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _events(self, record: Record, there: _There) -> Iterator[Any]:
        if record.trial and not there.has_parameters:
            yield _event(record.started_at or 0.0, 0, _hparams(record))
            there.has_parameters = True
        for report in record.reports:
            if report.iteration > there.iteration:
                yield _event(report.at, report.iteration, _scalars(numbers(report.values)))
                there.iteration = report.iteration
        at = record.ended_at or (record.reports[-1].at if record.reports else record.started_at or 0.0)
        final = {FINAL + name: value for name, value in (record.final or {}).items()}
        new = {name: value for name, value in numbers(final).items() if repr(value) != repr(there.final.get(name))}
        if new:
            yield _event(at, there.iteration, _scalars(new))
            there.final |= new
        text = _table({**record.labels, "status": record.status, **final}) if record.final is not None else ""
        text = text or _table(record.labels)
        if text != there.text and (record.final is not None or not there.text):
            yield _event(at, there.iteration, _text(text))
            there.text = text
        if record.trial and record.final is not None and record.status not in OPEN and not there.has_end:
            yield _event(at, there.iteration, _end(record))
            there.has_end = True


def _found(folder: Path) -> _There:
    from tensorboard.util.tensor_util import make_ndarray  # noqa: PLC0415

    there = _There(folder)
    for event in _read(folder):
        for value in event.summary.value:
            if value.tag == ITERATION:
                there.iteration = max(there.iteration, int(event.step))
            elif value.tag.startswith(FINAL):
                there.final[value.tag] = float(make_ndarray(value.tensor).item())
            elif value.tag == _LABELS:
                there.text = make_ndarray(value.tensor).item().decode()
            elif value.tag == _HPARAMS:
                there.has_parameters = True
            elif value.tag == _END:
                there.has_end = True
    return there


def _read(folder: Path) -> Iterator[Any]:
    """All events of a folder; of a file that was cut off or is damaged, those before that place."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader  # noqa: PLC0415

    for path in sorted(folder.glob("*tfevents*"), key=written_at):
        try:
            yield from EventFileLoader(str(path)).Load()
        except Exception:
            log.exception("%s", path)


def written_at(path: Path) -> int:
    """When an event file was begun, in nanoseconds; its name begins with seconds, of which one has several files."""
    last = path.name.rpartition(".")[2]
    return int(last) if last.isascii() and last.isdigit() else 0


def _event(at: float, step: int, summary: Any) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event  # noqa: PLC0415

    return Event(wall_time=at, step=step, summary=summary)


def _scalars(values: Mapping[str, float]) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary  # noqa: PLC0415
    from tensorboard.compat.proto.tensor_pb2 import TensorProto  # noqa: PLC0415
    from tensorboard.compat.proto.types_pb2 import DT_DOUBLE  # noqa: PLC0415
    from tensorboard.plugins.scalar.metadata import create_summary_metadata  # noqa: PLC0415

    about = create_summary_metadata(display_name="", description="")
    return Summary(
        value=[
            Summary.Value(tag=readable(name), metadata=about, tensor=TensorProto(dtype=DT_DOUBLE, double_val=[value]))
            for name, value in values.items()
        ]
    )


def _text(text: str) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary  # noqa: PLC0415
    from tensorboard.compat.proto.tensor_pb2 import TensorProto  # noqa: PLC0415
    from tensorboard.compat.proto.types_pb2 import DT_STRING  # noqa: PLC0415
    from tensorboard.plugins.text.metadata import create_summary_metadata  # noqa: PLC0415

    about = create_summary_metadata(display_name="", description="")
    tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()])
    return Summary(value=[Summary.Value(tag=_LABELS, metadata=about, tensor=tensor)])


def _hparams(record: Record) -> Any:
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb  # noqa: PLC0415

    values = {readable(name): plain(value) for name, value in flat(record.parameters).items()}
    return hparams_pb(values, trial_id=record.trial, start_time_secs=record.started_at)


def _end(record: Record) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary  # noqa: PLC0415
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2  # noqa: PLC0415

    status = api_pb2.STATUS_FAILURE if record.status == "failed" else api_pb2.STATUS_SUCCESS
    end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=record.ended_at or 0.0)
    about = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=end))
    return Summary(value=[Summary.Value(tag=_END, metadata=about, tensor=metadata.NULL_TENSOR)])


def _table(values: Mapping[str, Any]) -> str:
    """As Markdown, which TensorBoard shows; what is in the cells is shown as it is."""
    rows = [f"| {_cell(name)} | {_cell(value)} |" for name, value in values.items()]
    return "\n".join(["| what | value |", "|---|---|", *rows])


def _cell(value: object) -> str:
    text = NOT_AVAILABLE if value is None else readable(str(value))
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~$-])", r"\\\1", " ".join(text.split()))


def _file_name(text: str) -> str:
    """A name that every file system takes; one that was changed has a piece of a hash of it."""
    kept = re.sub(r"[^\w.=,+ -]", "_", text).strip()
    if kept == text and len(text) <= _LONGEST_NAME and not text.startswith("."):
        return text
    return f"{kept[: _LONGEST_NAME - 9].lstrip('.')}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _escaped(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)
