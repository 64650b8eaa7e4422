"""Replay: a trace of counters in a CSV file, and the meter that plays it, for tests, demonstrations and made faults."""

from __future__ import annotations

import csv
import io
import itertools
import math
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn, cast, get_args

from energysweep.core.errors import InputError, one_line
from energysweep.core.inputs import read_text
from energysweep.meters.base import COMPONENTS, Component, Device, Meter, Reading

# The trace: a CSV file of recorded or invented counters --------------------------------------------------------------
#
# Columns: ``time_seconds,device,component`` and ``energy_joules`` (cumulative) or ``power_watts``; optional ``node``,
# ``max_energy_joules`` (where the counter wraps) and ``status`` (``ok``, ``missing``, ``error``).
#
# A row with a status other than ``ok`` says that from its time until the device's next row nothing can be read; its
# value may be empty. The counter itself goes on meanwhile, as a real one does.

Status = Literal["ok", "missing", "error"]
Quantity = Literal["energy_joules", "power_watts"]

MAX_BYTES = 500_000_000  # a day of ten devices at 10 Hz
MAX_NUMBER = 1e18  # joules, watts and seconds; products and sums of them stay finite
_REQUIRED = ("time_seconds", "device", "component")
_OPTIONAL = ("node", "max_energy_joules", "status")
_QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a trace. ``value`` is in joules or watts, by the trace's quantity; None if the line gives none."""

    line: int
    time_seconds: float
    device: str
    component: Component
    value: float | None
    node: str
    wraps_at_joules: float | None
    status: Status


class Curve:
    """The energy of one device over the trace's time: linear between points, or the integral of a linear power.

    Args:
        points: time in seconds, energy in joules and power in watts from there on; times never go down.
        slopes: how fast the power rises after each point, in watts per second.
    """

    def __init__(self, points: Sequence[tuple[float, float, float]], slopes: Sequence[float]) -> None:
        self._times = [point[0] for point in points]
        self._points = points
        self._slopes = slopes

    def joules_at(self, seconds: float) -> float:
        """The cumulative energy. Before the first point the counter has moved as it does at that point."""
        index = max(0, bisect_right(self._times, seconds) - 1)
        start_seconds, joules, watts = self._points[index]
        elapsed = seconds - start_seconds
        slope = self._slopes[index] if elapsed > 0 else 0.0
        return joules + (watts + slope * elapsed / 2) * elapsed


@dataclass(frozen=True, slots=True)
class Series:
    """What a trace says of one device.

    Attributes:
        is_reset: its counter goes down somewhere although it does not wrap.
        statuses: from which time on which status holds, in order of time.
    """

    device: str
    component: Component
    wraps_at_joules: float | None
    curve: Curve
    is_reset: bool
    statuses: tuple[tuple[float, Status], ...]

    def status_at(self, seconds: float) -> Status:
        """Whether the counter can be read at this time of the trace."""
        index = bisect_right(self.statuses, seconds, key=lambda entry: entry[0]) - 1
        return self.statuses[index][1] if index >= 0 else "ok"


@dataclass(frozen=True, slots=True)
class Trace:
    """The series of one node, in the order in which the file first names them, and the time of its last row."""

    series: tuple[Series, ...]
    duration_seconds: float


def load_trace(path: Path, node: str = "") -> Trace:
    """Reads the rows of one node: those that name it and those that name none.

    Raises:
        InputError: the file cannot be read or a line is wrong; it names the line and the column.
    """
    quantity, rows = _parse(path)
    own = [row for row in rows if row.node in ("", node)]
    if not own:
        named = ", ".join(sorted({row.node for row in rows})) or "none: it has no rows"
        raise InputError(f"it has no rows of node {node!r}; the nodes it names: {named}", file=str(path), key="node")
    by_device: dict[str, list[Row]] = {}
    for row in own:
        by_device.setdefault(row.device, []).append(row)
    return Trace(
        tuple(_series(path, quantity, rows) for rows in by_device.values()),
        duration_seconds=max(row.time_seconds for row in own),
    )


def _parse(path: Path) -> tuple[Quantity, list[Row]]:
    try:
        text = read_text(path, MAX_BYTES, "a trace")
    except InputError as error:
        problem = f"the trace cannot be read: {error.problem.removeprefix('cannot be read: ')}"
        raise InputError(problem, file=str(path), line=error.line) from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [name.strip() for name in next(reader, [])]
        quantity = _check_columns(path, columns)
        return quantity, [
            _Line(path, reader.line_num, columns, cells).row(quantity)
            for cells in reader
            if any(cell.strip() for cell in cells)
        ]
    except csv.Error as error:
        raise InputError(f"the trace is not a CSV file: {error}", file=str(path), line=reader.line_num) from error


def _check_columns(path: Path, columns: Sequence[str]) -> Quantity:
    def wrong(problem: str, key: str | None = None) -> NoReturn:
        raise InputError(problem, file=str(path), line=1, key=key)

    if not columns:
        wrong(f"the trace is empty; its first line names the columns {', '.join(_REQUIRED)} and energy_joules")
    for name in columns:
        if name not in (*_REQUIRED, *_QUANTITIES, *_OPTIONAL):
            wrong(f"unknown column; known are {', '.join((*_REQUIRED, *_QUANTITIES, *_OPTIONAL))}", name)
        if columns.count(name) > 1:
            wrong("the column is there twice", name)
    for name in _REQUIRED:
        if name not in columns:
            wrong("this column is missing", name)
    present = [quantity for quantity in _QUANTITIES if quantity in columns]
    if len(present) != 1:
        wrong("one of these two columns is needed, and not both", " | ".join(_QUANTITIES))
    return present[0]


@dataclass(frozen=True, slots=True)
class _Line:
    """One line while it is parsed: every complaint names its file, line and column."""

    path: Path
    number: int
    columns: Sequence[str]
    cells: Sequence[str]

    def row(self, quantity: Quantity) -> Row:
        if len(self.cells) != len(self.columns):
            self.wrong(f"{len(self.cells)} values for {len(self.columns)} columns")
        status = self._one_of("status", get_args(Status), default="ok")
        value = self._number(quantity)
        time_seconds = self._number("time_seconds")
        if time_seconds is None:
            self.wrong("a number of seconds is needed", "time_seconds")
        if value is None and status == "ok":
            self.wrong("a number is needed, or a status other than ok", quantity)
        wraps_at_joules = self._number("max_energy_joules")
        if wraps_at_joules == 0:
            self.wrong("must be more than 0", "max_energy_joules")
        device = self._text("device") or self.wrong("a name is needed", "device")
        return Row(
            line=self.number,
            time_seconds=time_seconds,
            device=device,
            component=cast("Component", self._one_of("component", COMPONENTS)),
            value=value,
            node=self._text("node"),
            wraps_at_joules=wraps_at_joules,
            status=cast("Status", status),
        )

    def wrong(self, problem: str, column: str | None = None) -> NoReturn:
        raise InputError(problem, file=str(self.path), line=self.number, key=column)

    def _text(self, column: str) -> str:
        return self.cells[self.columns.index(column)].strip() if column in self.columns else ""

    def _one_of(self, column: str, allowed: Sequence[str], default: str = "") -> str:
        text = self._text(column) or default
        if text not in allowed:
            self.wrong(f"{one_line(repr(text), 60)} is none of {', '.join(allowed)}", column)
        return text

    def _number(self, column: str) -> float | None:
        text = self._text(column)
        if not text:
            return None
        try:
            number = float(text)
        except ValueError:
            self.wrong(f"{one_line(repr(text), 60)} is not a number", column)
        if not 0 <= number <= MAX_NUMBER:
            self.wrong(f"{one_line(text, 60)} must be a finite number of 0 or more, at most {MAX_NUMBER:g}", column)
        return number


def _series(path: Path, quantity: Quantity, rows: Sequence[Row]) -> Series:
    _check_series(path, rows)
    known = [row for row in rows if row.value is not None]
    if not known:
        raise InputError(f"device {rows[0].device} has no value in any row", file=str(path), key=quantity)
    wraps_at_joules = next((row.wraps_at_joules for row in rows if row.wraps_at_joules is not None), None)
    is_reset = False
    if quantity == "power_watts":
        curve = _power_curve(known)
    else:
        _check_range(path, known, wraps_at_joules)
        curve, is_reset = _energy_curve(known, wraps_at_joules)
    first = rows[0]
    statuses = tuple((row.time_seconds, row.status) for row in rows)
    return Series(first.device, first.component, wraps_at_joules, curve, is_reset, statuses)


def _check_series(path: Path, rows: Sequence[Row]) -> None:
    for earlier, later in itertools.pairwise(rows):
        if later.time_seconds < earlier.time_seconds:
            key, problem = "time_seconds", f"{later.time_seconds:g} is before its row at {earlier.time_seconds:g}"
        elif later.component != earlier.component:
            key, problem = "component", f"it was a {earlier.component} in line {earlier.line}"
        elif later.wraps_at_joules != earlier.wraps_at_joules:
            key, problem = "max_energy_joules", f"it had another range in line {earlier.line}"
        else:
            continue
        raise InputError(f"device {later.device}: {problem}", file=str(path), line=later.line, key=key)


def _check_range(path: Path, rows: Sequence[Row], wraps_at_joules: float | None) -> None:
    for row in rows:
        if wraps_at_joules is not None and row.value is not None and row.value > wraps_at_joules:
            problem = f"{row.value:g} is beyond max_energy_joules, {wraps_at_joules:g}"
            raise InputError(problem, file=str(path), line=row.line, key="energy_joules")


def _power_curve(rows: Sequence[Row]) -> Curve:
    times, watts = [row.time_seconds for row in rows], [row.value or 0.0 for row in rows]
    # Before its first row the device draws what it says there.
    points, slopes = [(times[0], watts[0] * times[0], watts[0])], []
    for index in range(1, len(rows)):
        seconds = times[index] - times[index - 1]
        joules = points[-1][1] + seconds * (watts[index - 1] + watts[index]) / 2
        slopes.append((watts[index] - watts[index - 1]) / seconds if seconds else 0.0)
        points.append((times[index], joules, watts[index]))
    return Curve(points, [*slopes, 0.0])


def _energy_curve(rows: Sequence[Row], wraps_at_joules: float | None) -> tuple[Curve, bool]:
    """The curve without its wraps, and whether the counter is reset anywhere.

    After the last row the power of the last stretch goes on. Before a reset the earlier value stays.
    """
    points: list[tuple[float, float, float]] = []
    is_reset = False
    wrapped_joules = 0.0
    for earlier, later in itertools.pairwise(rows):
        before, after = earlier.value or 0.0, later.value or 0.0
        seconds = later.time_seconds - earlier.time_seconds
        start_joules = before + wrapped_joules
        if after < before and wraps_at_joules is not None:
            wrapped_joules += wraps_at_joules
        moved_joules = after + wrapped_joules - start_joules
        is_reset = is_reset or moved_joules < 0
        watts = moved_joules / seconds if seconds and moved_joules > 0 else 0.0
        points.append((earlier.time_seconds, start_joules, watts))
    last = rows[-1]
    last_watts = points[-1][2] if points else 0.0
    points.append((last.time_seconds, (last.value or 0.0) + wrapped_joules, last_watts))
    if points[0][0] > 0:
        points.insert(0, (0.0, points[0][1], 0.0))
    return Curve(points, [0.0] * len(points)), is_reset


# The meter -----------------------------------------------------------------------------------------------------------

KIND = "replay"

After = Literal["hold", "loop"]


USAGE = f"{KIND}:PATH[?after=hold|loop]"


def parse_argument(argument: str) -> tuple[Path, After]:
    """Splits ``PATH[?after=hold|loop]``.

    Raises:
        InputError: no path, or an option that does not exist.
    """
    path, mark, query = argument.partition("?")
    if not path:
        raise InputError(f"{KIND} needs a trace: {USAGE}", key="meters")
    for after in get_args(After):
        if query == f"after={after}" or not mark:
            return Path(path), after
    raise InputError(f"after the path comes ?after=hold or ?after=loop, not {one_line(mark + query)!r}", key="meters")


class ReplayMeter(Meter):
    """The devices of a trace.

    Args:
        path: the trace, as described in ``meters.trace``.
        clock: monotonic seconds.
        node: whose rows to take, beside those without a node.
        after: when the trace ends, ``hold`` the last power or ``loop`` from its beginning (the counters go on).

    Raises:
        InputError: the trace is wrong.
    """

    kind = KIND

    def __init__(
        self, path: Path, clock: Callable[[], float] = time.monotonic, node: str = "", after: After = "hold"
    ) -> None:
        trace = load_trace(path, node)
        self._series = trace.series
        self._clock = clock
        # A trace of one moment has nothing to repeat.
        self._period_seconds = trace.duration_seconds if after == "loop" and trace.duration_seconds > 1e-6 else math.inf
        reset = next((series.device for series in trace.series if series.is_reset), None)
        if after == "loop" and reset is not None:
            raise InputError(
                f"the counter of {reset} goes down without max_energy_joules, and such a trace cannot loop",
                file=str(path),
                key="energy_joules",
            )
        self._zero_seconds: float | None = None
        self.devices = tuple(
            Device(series.device, series.component, KIND, wraps_at_joules=series.wraps_at_joules)
            for series in self._series
        )

    def start(self, now_seconds: float) -> None:
        """Time 0 of the trace is now (on the meter's clock). Only the first call counts."""
        if self._zero_seconds is None:
            self._zero_seconds = now_seconds

    def read(self) -> list[Reading]:
        """What the trace says for now; before ``start``, what it says for its time 0."""
        elapsed_seconds = 0.0 if self._zero_seconds is None else max(0.0, self._clock() - self._zero_seconds)
        together = zip(self._series, self.devices, strict=True)
        return [self._read(series, device, elapsed_seconds) for series, device in together]

    def _read(self, series: Series, device: Device, elapsed_seconds: float) -> Reading:
        laps, seconds = 0.0, elapsed_seconds
        if math.isfinite(self._period_seconds):
            laps, seconds = divmod(elapsed_seconds, self._period_seconds)
        status = series.status_at(seconds)
        if status != "ok":
            return Reading(device, None, f"{status} in the trace at {seconds:g} s")
        joules = series.curve.joules_at(seconds)
        if laps:
            lap_joules = series.curve.joules_at(self._period_seconds) - series.curve.joules_at(0.0)
            joules += laps * lap_joules
        return Reading(device, joules if device.wraps_at_joules is None else joules % device.wraps_at_joules)
