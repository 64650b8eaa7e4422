"""What a joule is booked as: the one table of buckets, from which ledger, reports, metrics and dashboards take them.

Every joule of a window is in exactly one of them. A further bucket is a row here, and is booked in ``accounting/``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

TRIALS: Final = "trials"
"""What the work of trials is called where it is told as a whole: of a host, and of what a sweep is charged with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """One row of the table.

    Attributes:
        name: as it is booked, and as the label ``bucket`` of a metric.
        title: as people read it.
        about: what is in it, as the end of a sentence.
        color: on dashboards and in reports; of Okabe and Ito's, which colour-blind people tell apart, and of greys.
        total: its name among the totals of summary.json.
        of: whose: of a ``lease``, or of the ``host`` where no lease holds it.
        is_work: it is part of a trial's energy, which configurations are compared by.
        is_charged: a sweep has to answer for it.
        is_in_host_account: the account of a host has it; else it only divides one sweep from the others.
    """

    name: str
    title: str
    about: str
    color: str
    total: str
    of: Literal["lease", "host"]
    is_work: bool = False
    is_charged: bool = False
    is_in_host_account: bool = True

    @property
    def account(self) -> str:
        """What its joules are told as where trials are told as a whole."""
        return TRIALS if self.is_work else self.name


BUCKETS: Final = (
    Bucket(
        name="active",
        title="active",
        about="what the work of trials drew",
        color="#0072B2",
        total="active_joules",
        of="lease",
        is_work=True,
        is_charged=True,
    ),
    Bucket(
        name="idle",
        title="idle share",
        about="the part of the idle floor that trials had reserved while they worked",
        color="#56B4E9",
        total="idle_share_joules",
        of="lease",
        is_work=True,
        is_charged=True,
    ),
    Bucket(
        name="startup",
        title="start-up",
        about="what trials loaded before they worked, with its part of the idle floor",
        color="#F0E442",
        total="startup_joules",
        of="lease",
        is_charged=True,
    ),
    Bucket(
        name="overhead",
        title="overhead",
        about="drivers, Ray and agents",
        color="#E69F00",
        total="overhead_joules",
        of="host",
        is_charged=True,
    ),
    Bucket(
        name="other_sweeps",
        title="other sweeps",
        about="what other sweeps on the same hosts drew",
        color="#CC79A7",
        total="other_sweeps_joules",
        of="host",
        is_in_host_account=False,
    ),
    Bucket(
        name="background",
        title="background",
        about="everything else that ran",
        color="#66727f",
        total="background_joules",
        of="host",
    ),
    Bucket(
        name="unreserved_idle",
        title="unreserved idle",
        about="the idle floor that no trial had reserved",
        color="#c3cbd4",
        total="unreserved_idle_joules",
        of="host",
    ),
)

BY_NAME: Final = {bucket.name: bucket for bucket in BUCKETS}

# Their names, by what they are.
WORK_BUCKETS: Final = tuple(bucket.name for bucket in BUCKETS if bucket.is_work)
"""Together a trial's energy: what configurations are compared by."""
LEASE_BUCKETS: Final = tuple(bucket.name for bucket in BUCKETS if bucket.of == "lease")
HOST_BUCKETS: Final = tuple(bucket.name for bucket in BUCKETS if bucket.of == "host")
CHARGED_APART: Final = tuple(bucket.name for bucket in BUCKETS if bucket.is_charged and not bucket.is_work)
APART: Final = tuple(bucket for bucket in BUCKETS if not bucket.is_work)
"""The rows of those that are in no trial's energy; of leases, and those that a host's own account has."""
LEASE_APART: Final = tuple(bucket for bucket in APART if bucket.of == "lease")
ACCOUNT_APART: Final = tuple(bucket for bucket in APART if bucket.is_in_host_account)
CHARGED: Final = (TRIALS, *CHARGED_APART)
"""What a sweep has to answer for: its trials' work as a whole, and what is charged apart from that."""
HOST_ACCOUNT: Final = tuple(dict.fromkeys(bucket.account for bucket in BUCKETS if bucket.is_in_host_account))
"""Where a host's energy went, over all sweeps and between them."""
