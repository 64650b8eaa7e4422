"""The account of a host itself: what all sweeps together, and everybody else, have used of it."""

from __future__ import annotations

from collections.abc import Mapping

from energysweep.agent.attribution import Owner, Shares, StartupParts
from energysweep.meters.base import Component, Device


class NodeAccount:
    """The account of the host itself, over all sweeps and also between them, since the agent began.

    Attributes:
        joules: by component and bucket (``trials``, ``startup``, ``overhead``, ``background``,
            ``unreserved_idle``).
    """

    def __init__(self) -> None:
        self.joules: dict[tuple[Component, str], float] = {}

    def book(self, device: Device, shares: Shares, startup: Mapping[Owner, StartupParts]) -> None:
        """Book what one device saw over one interval.

        Args:
            device: the device.
            shares: where its joules went.
            startup: which part of that was start-up, by lease.
        """
        # From the first interval on, so that Prometheus sees them begin at 0.
        for bucket in ("trials", "startup", "overhead"):
            self._add(device, bucket, 0.0)
        for bucket, owners in (("active", shares.active), ("idle", shares.idle)):
            for owner, joules in owners.items():
                parts = startup.get(owner.all[0])
                loading = joules * getattr(parts, bucket) if parts else 0.0
                self._add(device, "trials" if owner.kind == "lease" else "overhead", joules - loading)
                self._add(device, "startup", loading)
        self._add(device, "background", shares.background)
        self._add(device, "unreserved_idle", shares.unreserved_idle)

    def _add(self, device: Device, bucket: str, joules: float) -> None:
        key = (device.component, bucket)
        self.joules[key] = self.joules.get(key, 0.0) + joules
