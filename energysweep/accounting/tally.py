"""What a window has booked, row by row, so that its driver can ask for what is new."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import NamedTuple

from energysweep.meters.base import Component, Device


class Key(NamedTuple):
    """What one row of a tally counts."""

    lease: str
    device: str
    component: Component
    bucket: str
    source: str


@dataclass(slots=True)
class Row:
    """One row of a tally, and the revision of its last change."""

    joules: float
    revision: int


class Tally:
    """Sums of joules, each with the revision of its last change.

    Attributes:
        rows: the sums.
    """

    def __init__(self) -> None:
        self.rows: dict[Key, Row] = {}

    def add(self, device: Device, lease: str, bucket: str, joules: float, revision: int) -> None:
        """Book more joules of a device.

        Args:
            device: the device.
            lease: whose; empty if no lease's.
            bucket: what for.
            joules: nothing is booked unless there are some.
            revision: of the window, now.
        """
        if joules <= 0:
            return
        key = Key(lease, device.name, device.component, bucket, device.source)
        row = self.rows.get(key)
        if row is None:
            self.rows[key] = Row(joules, revision)
        else:
            row.joules += joules
            row.revision = revision

    def changed(self, since: int) -> Iterator[tuple[Key, float]]:
        """The sums that have changed after a revision."""
        return ((key, row.joules) for key, row in self.rows.items() if row.revision > since)

    def newest(self) -> dict[str, int]:
        """The revision of the last change, by lease."""
        newest: dict[str, int] = {}
        for key, row in self.rows.items():
            newest[key.lease] = max(newest.get(key.lease, 0), row.revision)
        return newest

    def forget(self, leases: Set[str]) -> None:
        """Let go of all that is of these leases."""
        self.rows = {key: row for key, row in self.rows.items() if key.lease not in leases}
