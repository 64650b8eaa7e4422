"""The account of a host itself: what all sweeps together, and everybody else, have used of it."""

from __future__ import annotations

from energysweep.agent.attribution import Shares
from energysweep.meters.base import Component, Device


class NodeAccount:
    """The account of the host itself, over all sweeps and also between them, since the agent began.

    Attributes:
        joules: by component and bucket (``trials``, ``overhead``, ``background``, ``unreserved_idle``).
    """

    def __init__(self) -> None:
        self.joules: dict[tuple[Component, str], float] = {}

    def book(self, device: Device, shares: Shares) -> None:
        """Book what one device saw over one interval."""
        for bucket in ("trials", "overhead"):  # from the first interval on, so that Prometheus sees them begin at 0
            self._add(device, bucket, 0.0)
        for owners in (shares.active, shares.idle):
            for owner, joules in owners.items():
                self._add(device, "trials" if owner.kind == "lease" else "overhead", joules)
        self._add(device, "background", shares.background)
        self._add(device, "unreserved_idle", shares.unreserved_idle)

    def _add(self, device: Device, bucket: str, joules: float) -> None:
        key = (device.component, bucket)
        self.joules[key] = self.joules.get(key, 0.0) + joules
