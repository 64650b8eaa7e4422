"""What several windows on one host have seen together: every joule once, also where they were open at the same time.

A ledger holds for each window and device what its counter moved by (the meter), and into which buckets that went. Two
windows that are open at the same time both have it all: what one of them books to its own trials and overhead is
``other_sweeps`` in the other, and both have the same idle floor and background. How much they share is known exactly
where both ledgers say where the counter stood when the window was opened, in the same books of one agent: the windows
are then ranges of one counter. Otherwise the times tell when both were open, and what was drawn then is worked out
from the mean power: an estimate, and called one.

Of windows of which one lies in the others, the longest tells what was idle floor and what background, exactly. Where
they overlap only in part, ledgers do not say how much of either was drawn in that part: it is divided as in the mean of
the two, and so that other sweeps have none of it if that can be. The sum is exact all the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Final, NamedTuple

from energysweep.core.buckets import BUCKETS

NOBODYS: Final = tuple(bucket.name for bucket in BUCKETS if not bucket.is_charged and bucket.is_in_host_account)
"""The buckets of what no sweep is charged with."""
_CHARGED: Final = frozenset(bucket.name for bucket in BUCKETS if bucket.is_charged)
_CLOCKS_SECONDS: Final = 2.0  # by which times of two drivers, and what they noted once a second, may differ
_ROUNDING: Final = 1e-9  # of sums; what is less of all that was seen is none


@dataclass(frozen=True, slots=True)
class Seen:
    """What one device's counter has seen in one window.

    Attributes:
        place: host, device and kind of meter.
        books: the books of the host's agent; empty if nobody told.
        opened_joules: where the counter stood in them at the opening; None if nobody told.
        joules: what it moved by.
        booked: of these, by bucket.
        opened_at, closed_at: Unix time, as near as the ledger tells.
    """

    place: tuple[str, str, str]
    books: str
    opened_joules: float | None
    joules: float
    booked: Mapping[str, float]
    opened_at: float
    closed_at: float


@dataclass(frozen=True, slots=True)
class Once:
    """What several windows have seen, each joule once.

    Attributes:
        metered_joules: what the counters moved by.
        nobodys: by bucket, what no sweep is charged with.
        other_sweeps: what other sweeps drew, which are not among these runs.
        booked_twice: below 0: what several of these runs were charged with, each of them (one ran inside of the other,
            or their windows were opened with different idle floors), and was drawn once.
        estimated_joules: what several windows have seen together, where only the times tell it.
        divided_joules: what windows that overlap in part have seen together, exactly, of which nobody knows how much
            was idle floor and how much background.
    """

    metered_joules: float
    nobodys: Mapping[str, float]
    other_sweeps: float
    booked_twice: float
    estimated_joules: float
    divided_joules: float


@dataclass(frozen=True, slots=True)
class _Block:
    """One window, or several taken together; the sums have each joule once but ``charged``, which has all."""

    books: str
    opened_joules: float
    opened_at: float
    closed_at: float
    joules: float
    booked: float
    charged: float
    nobodys: Mapping[str, float]
    estimated: float = 0.0
    divided: float = 0.0


def once(seen: Iterable[Seen]) -> Once:
    """What they have seen together.

    Args:
        seen: any windows and devices, of any hosts.
    """
    by_place: dict[tuple[str, str, str], list[_Block]] = {}
    for each in seen:
        by_place.setdefault(each.place, []).append(_block(each))
    blocks = [block for place in sorted(by_place) for block in _of_device(by_place[place])]
    rests = [_rest(block) for block in blocks]
    return Once(
        metered_joules=math.fsum(block.joules for block in blocks),
        nobodys={name: math.fsum(block.nobodys[name] for block in blocks) for name in NOBODYS},
        other_sweeps=math.fsum(rest for rest in rests if rest > 0),
        booked_twice=math.fsum(rest for rest in rests if rest < 0),
        estimated_joules=math.fsum(block.estimated for block in blocks),
        divided_joules=math.fsum(block.divided for block in blocks),
    )


def _block(seen: Seen) -> _Block:
    return _Block(
        books="" if seen.opened_joules is None else seen.books,
        opened_joules=seen.opened_joules or 0.0,
        opened_at=seen.opened_at,
        closed_at=seen.closed_at,
        joules=seen.joules,
        booked=math.fsum(seen.booked.values()),
        charged=math.fsum(joules for bucket, joules in seen.booked.items() if bucket in _CHARGED),
        nobodys={name: seen.booked.get(name, 0.0) for name in NOBODYS},
    )


def _rest(block: _Block) -> float:
    """What was booked and is neither charged nor nobody's: other sweeps; below 0 what is charged twice."""
    rest = math.fsum([block.booked, -block.charged, *(-joules for joules in block.nobodys.values())])
    return 0.0 if abs(rest) <= _ROUNDING * block.booked else rest


def _of_device(blocks: Sequence[_Block]) -> list[_Block]:
    """Those of one device as blocks that have nothing in common."""
    by_books: dict[str, list[_Block]] = {}
    for block in blocks:
        by_books.setdefault(block.books, []).append(block)
    alone = by_books.pop("", [])
    exact = [_exactly(group) for books in sorted(by_books) for group in _overlapping(by_books[books], _range, 0.0)]
    return [_by_time(group) for group in _overlapping([*exact, *alone], _time, _CLOCKS_SECONDS)]


_Axis = Callable[[_Block], tuple[float, float]]
_Amount = Callable[[_Block], float]


def _joules(block: _Block) -> float:
    return block.joules


def _in_bucket(name: str, block: _Block) -> float:
    return block.nobodys[name]


def _range(block: _Block) -> tuple[float, float]:
    return block.opened_joules, block.opened_joules + block.joules


def _time(block: _Block) -> tuple[float, float]:
    return block.opened_at, block.closed_at


def _overlapping(blocks: Sequence[_Block], axis: _Axis, more_than: float) -> list[list[_Block]]:
    """In groups, those together that overlap on an axis, also by way of others."""
    groups: list[list[_Block]] = []
    end = -math.inf
    for block in sorted(blocks, key=lambda each: (*axis(each), each.joules, each.booked)):
        begin, its_end = axis(block)
        if groups and end - begin > more_than:
            groups[-1].append(block)
            end = max(end, its_end)
        else:
            groups.append([block])
            end = its_end
    return groups


def _exactly(group: Sequence[_Block]) -> _Block:
    """Windows that are ranges of one counter."""
    if len(group) == 1:
        return group[0]
    joules = max(_range(block)[1] for block in group) - min(block.opened_joules for block in group)
    seams = math.fsum(seam.length for seam in _seams(group, _range))
    return replace(_joined(group, _range, joules), divided=seams)


def _by_time(group: Sequence[_Block]) -> _Block:
    """Windows of which only the times tell whether they overlap."""
    if len(group) == 1:
        return group[0]
    joules = _in_all(group, _time, _joules)
    together = math.fsum(block.joules for block in group) - joules
    joined = _joined(group, _time, joules)
    return replace(joined, estimated=joined.estimated + together)


def _joined(group: Sequence[_Block], axis: _Axis, joules: float) -> _Block:
    # What several have seen all of them have booked: it goes once, as the meters' side does.
    booked = math.fsum([*(block.booked - block.joules for block in group), joules])
    charged = math.fsum(block.charged for block in group)
    return _Block(
        books=group[0].books,
        opened_joules=min(block.opened_joules for block in group),
        opened_at=min(block.opened_at for block in group),
        closed_at=max(block.closed_at for block in group),
        joules=joules,
        booked=booked,
        charged=charged,
        nobodys=_nobodys(group, axis, booked - charged),
        estimated=math.fsum(block.estimated for block in group),
        divided=math.fsum(block.divided for block in group),
    )


def _nobodys(group: Sequence[_Block], axis: _Axis, rest: float) -> dict[str, float]:
    """What no sweep is charged with, of overlapping blocks: each bucket once.

    Args:
        group: the blocks.
        axis: on which they overlap.
        rest: what is charged to none of them; what is more than can be nobody's are other sweeps.
    """
    cover, seams = _cover(group, axis), _seams(group, axis)
    likely = {name: _in_all(group, axis, partial(_in_bucket, name)) for name in NOBODYS}
    if not seams:
        return likely
    # Nothing of a seam may have been in a bucket, or all that both have in it.
    most = {name: math.fsum(block.nobodys[name] for block in cover) for name in NOBODYS}
    least = {
        name: most[name]
        - math.fsum(
            min(seam.one.nobodys[name], seam.other.nobodys[name], _of_seam(seam, axis, _joules)) for seam in seams
        )
        for name in NOBODYS
    }
    ends = most if rest > math.fsum(likely.values()) else least
    missing, room = rest - math.fsum(likely.values()), math.fsum(ends.values()) - math.fsum(likely.values())
    part = min(1.0, missing / room) if missing * room > 0 else 0.0
    return {name: likely[name] + part * (ends[name] - likely[name]) for name in NOBODYS}


class _Seam(NamedTuple):
    """Where one block ends after the next one has begun."""

    one: _Block
    other: _Block
    length: float


def _cover(group: Sequence[_Block], axis: _Axis) -> list[_Block]:
    """As few as can be that reach from the beginning to the end: of one inside of another, the longer."""
    ordered = sorted(group, key=lambda block: (axis(block)[0], -axis(block)[1]))
    cover, candidate = [ordered[0]], ordered[0]
    for block in ordered[1:]:
        begin, end = axis(block)
        if candidate is not cover[-1] and begin > axis(cover[-1])[1]:
            cover.append(candidate)
        if end > axis(candidate)[1]:
            candidate = block
    return cover if candidate is cover[-1] else [*cover, candidate]


def _seams(group: Sequence[_Block], axis: _Axis) -> list[_Seam]:
    pairs = pairwise(_cover(group, axis))
    seams = [_Seam(one, other, axis(one)[1] - axis(other)[0]) for one, other in pairs]
    return [seam for seam in seams if seam.length > 0]


def _in_all(group: Sequence[_Block], axis: _Axis, amount: _Amount) -> float:
    """An amount of the blocks together; where two overlap in part, that part has the mean of what it is in each."""
    twice = [-_of_seam(seam, axis, amount) for seam in _seams(group, axis)]
    return math.fsum([*(amount(block) for block in _cover(group, axis)), *twice])


def _of_seam(seam: _Seam, axis: _Axis, amount: _Amount) -> float:
    """What a seam has of an amount, as in the mean of the two."""

    def density(block: _Block) -> float:
        begin, end = axis(block)
        return amount(block) / (end - begin) if end > begin else 0.0

    return seam.length * (density(seam.one) + density(seam.other)) / 2
