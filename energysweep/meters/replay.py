"""A meter that replays a trace: for tests, demonstrations, and faults on purpose."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import parse_qsl

from energysweep.errors import InputError
from energysweep.meters.base import Component, Device, Reading
from energysweep.meters.trace import Series, load_trace

KIND = "replay"

After = Literal["hold", "loop"]


def parse_argument(argument: str) -> tuple[Path, After]:
    """Splits ``PATH[?after=hold|loop]``.

    Raises:
        InputError: no path, or an option that does not exist.
    """
    path, _, query = argument.partition("?")
    if not path:
        raise InputError("replay needs a trace: replay:PATH[?after=hold|loop]", key="meters")
    after: After = "hold"
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name != "after" or value not in get_args(After):
            raise InputError(f"replay knows no option {name}={value}; there is after=hold and after=loop", key="meters")
        after = value  # type: ignore[assignment]  # checked in the line above
    return Path(path), after


class ReplayMeter:
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

    def remarks(self, component: Component) -> list[str]:
        """Nothing is to be said."""
        return []

    def read(self) -> list[Reading]:
        """What the trace says for now; before ``start``, what it says for its time 0."""
        elapsed_seconds = 0.0 if self._zero_seconds is None else max(0.0, self._clock() - self._zero_seconds)
        together = zip(self._series, self.devices, strict=True)
        return [self._read(series, device, elapsed_seconds) for series, device in together]

    def close(self) -> None:
        """Nothing is held open."""

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
