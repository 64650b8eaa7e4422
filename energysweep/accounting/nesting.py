"""Whose a process tree is where several claim it: a block inside a trial, nested blocks, blocks in several threads.

One rule: whoever opens a lease sees what its tree draws while the lease is open, all of it. A lease that another run
opens inside the tree, deeper down or later on the same process, takes nothing away: what is drawn there belongs to
both. Each run books it once in its own window, the host once in its account. Of two leases of one run the inner one
counts, because a window books a joule once. A run's processes without a lease (its driver, its workers between trials)
are what no deeper process of another run's is; where the same process speaks for several runs, they share it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping

from energysweep.accounting.attribution import Owner

MOST_NESTED = 64  # leases around a process that count; those further out lose what is deeper


def joined(owners: Iterable[Owner]) -> Owner:
    """One owner that stands for several, the innermost first."""
    leases: dict[str, Owner] = {}
    members: list[Owner] = []
    for owner in owners:
        if owner.kind == "lease":
            leases.setdefault(owner.run, owner)
        elif owner not in members:
            members.append(owner)
    first, *others = [*list(leases.values())[:MOST_NESTED], *(member for member in members if member.run not in leases)]
    return first._replace(also=tuple(others))


def inside(inner: Owner, outer: Owner | None) -> Owner:
    """Whose the processes of a claimed tree are.

    Args:
        inner: who claims this tree.
        outer: whose its processes would be otherwise; None: nobody's.
    """
    if outer is None or inner.kind == "shared":
        return inner
    leases = [each for each in outer.all if each.kind == "lease"]
    return joined([*inner.all, *leases]) if leases else inner


def enclosing(owners: Iterable[Owner]) -> dict[Owner, Owner]:
    """By lease the next one around it.

    Args:
        owners: whose the root of each lease's tree is.
    """
    around: dict[Owner, Owner] = {}
    for owner in owners:
        leases = [each for each in owner.all if each.kind == "lease"]
        for inner, outer in itertools.pairwise(leases):
            around.setdefault(inner, outer)
    return around


def layered(amounts: Mapping[Owner, float], around: Mapping[Owner, Owner]) -> dict[Owner, float]:
    """What leases hold, where one may be inside another: a CPU or GPU that both hold is held once, by both.

    Args:
        amounts: what each lease holds.
        around: by lease the next one around it, see ``enclosing``.

    Returns:
        By owner; an owner of several leases holds what all of these do.
    """
    if not around:
        return dict(amounts)
    held: dict[Owner, float] = {}
    below: dict[Owner, dict[Owner, float]] = {}
    for lease in _innermost_first(amounts, around):
        parts = below.pop(lease, {})
        common = {owner: part for owner, part in parts.items() if all(each.run != lease.run for each in owner.all)}
        amount, of_common = amounts.get(lease, 0.0), sum(common.values())
        share = min(1.0, amount / of_common) if of_common > 0 else 0.0
        above = held if lease not in around else below.setdefault(around[lease], {})
        _add(above, lease, max(0.0, amount - of_common))
        for owner, part in parts.items():
            shared = part * share if owner in common else 0.0
            _add(above, joined([*owner.all, lease]), shared)
            _add(above, owner, part - shared)
    return held


def _add(sums: dict[Owner, float], owner: Owner, amount: float) -> None:
    if amount > 0:
        sums[owner] = sums.get(owner, 0.0) + amount


def _innermost_first(leases: Iterable[Owner], around: Mapping[Owner, Owner]) -> Iterator[Owner]:
    depths: dict[Owner, int] = {}
    for lease in [*leases, *around.values()]:
        path = []
        at: Owner | None = lease
        while at is not None and at not in depths:
            path.append(at)
            at = around.get(at)
        depth = depths[at] if at is not None else 0
        for each in reversed(path):
            depth += 1
            depths[each] = depth
    return iter(sorted(depths, key=lambda each: -depths[each]))
