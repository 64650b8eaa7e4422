"""Which connections speak for a process: by them it is a member of a run, and holds its leases."""

from __future__ import annotations

import math
from collections.abc import Callable

from energysweep.agent.observer import Observer
from energysweep.agent.processes import Root
from energysweep.agent.state import Member
from energysweep.errors import LeaseRefused

REJOIN_SECONDS = 60.0  # how long a restarted agent waits for those that it knows to be back

Speaker = int | Member
"""A connection by its number, later ones have higher ones; or a process, whoever speaks for it."""


class Presence:
    """Who is there for whom.

    Membership and leases belong to connections, of which a process may have several: it is a member of a run as long as
    one of them says so, and a lease is closed by the end of the connection that has opened it last, and of no other.

    Args:
        observer: its members are kept here.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._members: dict[Speaker, Member] = {}
        self._holders: dict[str, int] = {}  # the connection that has each open lease
        self._awaited: set[str | Member] = set()
        self._awaited_until = -math.inf

    def join(self, root: Root, run: str, speaker: int | None) -> None:
        """A process is a member of a run."""
        member = Member(root, run)
        self._members.pop(member, None)  # whom an earlier agent has known is back
        self._awaited.discard(member)
        self._members[member if speaker is None else speaker] = member
        self._tell()

    def leave(self, is_meant: Callable[[Speaker, Member], bool]) -> None:
        """These members are none any more."""
        self._members = {speaker: each for speaker, each in self._members.items() if not is_meant(speaker, each)}
        self._tell()

    def _tell(self) -> None:
        self._observer.members = set(self._members.values())

    def hold(self, lease: str, speaker: int | None) -> None:
        """A connection has the lease from now on.

        Raises:
            LeaseRefused: see ``check_holder``.
        """
        self.check_holder(lease, speaker)
        if speaker is not None:
            self._holders[lease] = speaker
        self._awaited.discard(lease)

    def check_holder(self, lease: str, speaker: int | None) -> None:
        """Whether a connection may speak for a lease.

        Raises:
            LeaseRefused: a later one has it. What a client said before it lost patience and connected anew may be read
                after what it says since.
        """
        holder = self._holders.get(lease)
        if speaker is not None and holder is not None and holder > speaker:
            raise LeaseRefused(f"lease {lease} has gone on to a later connection")

    def holds(self, speaker: Speaker, lease: str) -> bool:
        """Whether it is this connection that has the lease."""
        return self._holders.get(lease) == speaker

    def release(self, lease: str) -> None:
        """The lease is closed."""
        self._holders.pop(lease, None)

    def await_all(self, now: float) -> None:
        """A restarted agent knows members and leases: they have a minute to come back."""
        self._members = {member: member for member in self._observer.members}
        self._awaited = {*self._observer.leases, *self._observer.members}
        self._awaited_until = now + REJOIN_SECONDS

    def missing(self, now: float) -> set[str | Member]:
        """Those who have not come back in time; told once."""
        if not self._awaited or now < self._awaited_until:
            return set()
        missing, self._awaited = self._awaited, set()
        return missing
