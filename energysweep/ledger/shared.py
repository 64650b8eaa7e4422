"""What several windows on one host have seen together: every joule once, also where they were open at the same time.

A ledger holds for each window and device what its counter moved by (the meter), and into which buckets that went. Two
windows that are open at the same time both have it all: what one of them books to its own trials and overhead is
``other_sweeps`` in the other, and both have the same idle floor and background.

How much they share is known exactly where both ledgers say where the counter stood when the window was opened, in the
same books of one agent: the windows are then ranges of one counter, and never compared by time. Otherwise the times
tell when both were open, and what was drawn then is worked out from the mean power: an estimate, and called one. The
windows of one run are never open at the same time: whatever their times say, none of them takes joules off another.

So each window's joules are spread over its own time, and of several that have the same moment the largest counts. What
runs have seen together is therefore never less than what one of them has seen, never more than all of them one by one,
and of one run alone exactly the sum of its meters.

Of windows of which one lies in the others, the longest tells what was idle floor and what background, exactly. Where
they overlap only in part, ledgers do not say how much of either was drawn in that part: it is divided as in the mean of
the two, and so that other sweeps have none of it if that can be.

What stands beside the charges comes from what was booked, and is no more than that allows: other sweeps drew no more
than the ledgers book to them, and nothing was charged twice but what several runs have seen. Where the meters' side was
wrong, the two sides would differ.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Final, NamedTuple

from energysweep.core.buckets import BUCKETS

NOBODYS: Final = tuple(bucket.name for bucket in BUCKETS if not bucket.is_charged and bucket.is_in_host_account)
"""The buckets of what no sweep is charged with."""
_CHARGED: Final = frozenset(bucket.name for bucket in BUCKETS if bucket.is_charged)
_CLOCKS_SECONDS: Final = 2.0  # by which times that were noted by several clocks, or once a second, may differ
_ROUNDING: Final = 1e-9  # of sums; what is less of all that was seen is none
_LAST_DIGITS: Final = 1e-12  # of where a counter stands: one window ends where the next one begins


@dataclass(frozen=True, slots=True)
class Seen:
    """What one device's counter has seen in one window.

    Attributes:
        run: which of the runs it is of, by any number; no two windows of one are open at the same time.
        place: host, device and kind of meter.
        books: the books of the host's agent; empty if nobody told.
        opened_joules: where the counter stood in them at the opening; None if nobody told.
        joules: what it moved by.
        booked: of these, by bucket.
        opened_at, closed_at: Unix time, as near as the ledger tells.
    """

    run: int
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
        runs_joules: what each run's own counters moved by, added up: the same with ``shared_joules`` and
            ``estimated_joules``.
        nobodys: by bucket, what no sweep is charged with.
        other_sweeps: what other sweeps drew, which are not among these runs.
        booked_twice: below 0: what several of these runs were charged with, each of them (one ran inside of the other,
            or their windows were opened with different idle floors), and was drawn once.
        shared_joules: what more than one of them has seen, exactly: as often as it was seen but once.
        estimated_joules: the same, where only the times tell it.
        divided_joules: what windows that overlap in part have seen together, exactly, of which nobody knows how much
            was idle floor and how much background.
    """

    metered_joules: float
    runs_joules: float
    nobodys: Mapping[str, float]
    other_sweeps: float
    booked_twice: float
    shared_joules: float
    estimated_joules: float
    divided_joules: float


class _Piece(NamedTuple):
    """Joules and the time in which they were drawn; of no length where nobody knows it."""

    begin: float
    end: float
    joules: float


@dataclass(frozen=True, slots=True)
class _Block:
    """One window, or several taken together.

    Attributes:
        books, opened_joules: as of a window.
        pieces: when its joules were drawn, in order and never at the same time.
        joules: what it has seen, each joule once.
        seen: the same, as often as a window has seen it.
        booked: what the windows have booked, all that each of them has.
        charged: of these, what their runs are charged with.
        nobodys: by bucket, each joule once.
        others: what other sweeps drew at the most, by what is booked to them.
        claimed: by run, what it has booked as charged or nobody's.
        estimated, divided: as in ``Once``.
    """

    books: str
    opened_joules: float
    pieces: tuple[_Piece, ...]
    joules: float
    seen: float
    booked: float
    charged: float
    nobodys: Mapping[str, float]
    others: float
    claimed: Mapping[int, float]
    estimated: float = 0.0
    divided: float = 0.0

    @property
    def rest(self) -> float:
        """What was booked and is neither charged nor nobody's: other sweeps; below 0 what is charged twice.

        What several have seen all of them have booked: it goes once, as in what was seen.
        """
        once = math.fsum([self.booked, self.joules, -self.seen])
        rest = math.fsum([once, -self.charged, *(-joules for joules in self.nobodys.values())])
        if abs(rest) <= _ROUNDING * self.booked:
            return 0.0
        if rest > 0:
            return min(rest, self.others)
        # A joule that is claimed more than once was seen more than once; and what one run claims is claimed once.
        claims = math.fsum([self.charged, *self.nobodys.values(), -max(self.claimed.values())])
        return -min(-rest, max(0.0, self.seen - self.joules), max(0.0, claims))


def once(seen: Iterable[Seen]) -> Once:
    """What they have seen together.

    Args:
        seen: any windows and devices, of any hosts.
    """
    by_place: dict[tuple[str, str, str], list[Seen]] = {}
    for each in seen:
        by_place.setdefault(each.place, []).append(each)
    blocks = [block for place in sorted(by_place) for block in _of_device(by_place[place])]
    rests = [block.rest for block in blocks]
    everything, metered = math.fsum(block.seen for block in blocks), math.fsum(block.joules for block in blocks)
    estimated = math.fsum(block.estimated for block in blocks)
    shared = everything - metered - estimated
    return Once(
        metered_joules=metered,
        runs_joules=everything,
        nobodys={name: math.fsum(block.nobodys[name] for block in blocks) for name in NOBODYS},
        other_sweeps=math.fsum(rest for rest in rests if rest > 0),
        booked_twice=math.fsum(rest for rest in rests if rest < 0),
        shared_joules=shared if shared > _ROUNDING * everything else 0.0,
        estimated_joules=estimated,
        divided_joules=math.fsum(block.divided for block in blocks),
    )


def _of_device(seen: Sequence[Seen]) -> list[_Block]:
    """Those of one device as blocks that have nothing in common."""
    by_books: dict[str, list[_Block]] = {}
    for each in _one_at_a_time(seen):
        block = _block(each)
        by_books.setdefault(block.books, []).append(block)
    blocks = by_books.pop("", [])
    for books in sorted(by_books):
        blocks += _exactly(by_books[books])
    return [block for group in _overlapping(blocks, _time, 0.0) for block in _by_time(group)]


def _block(seen: Seen) -> _Block:
    charged = math.fsum(joules for bucket, joules in seen.booked.items() if bucket in _CHARGED)
    nobodys = {name: seen.booked.get(name, 0.0) for name in NOBODYS}
    claimed = math.fsum([charged, *nobodys.values()])
    booked = math.fsum(seen.booked.values())
    return _Block(
        books="" if seen.opened_joules is None else seen.books,
        opened_joules=seen.opened_joules or 0.0,
        pieces=(_Piece(seen.opened_at, seen.closed_at, seen.joules),),
        joules=seen.joules,
        seen=seen.joules,
        booked=booked,
        charged=charged,
        nobodys=nobodys,
        others=max(0.0, booked - claimed),
        claimed={seen.run: claimed},
    )


def _one_at_a_time(seen: Iterable[Seen]) -> Iterator[Seen]:
    """The same, each ended where the next window of its run begins.

    One of another run, in other books, it may overlap by no more than clocks differ: then the two did not.
    """
    ordered = sorted(seen, key=lambda each: (each.opened_at, each.closed_at, each.joules, each.opened_joules or 0.0))
    for place, one in enumerate(ordered):
        end = max(one.opened_at, one.closed_at)
        for other in ordered[place + 1 :]:
            if other.opened_at >= end:
                break
            has_books = one.opened_joules is not None and one.books and one.books == other.books
            is_next = end - other.opened_at <= _CLOCKS_SECONDS and other.closed_at > end
            if one.run == other.run or (is_next and not has_books):
                end = other.opened_at
        # To a microsecond: shorter times would only make powers that no float holds.
        yield replace(one, opened_at=round(one.opened_at, 6), closed_at=round(end, 6))


_Axis = Callable[[_Block], tuple[float, float]]
_Amount = Callable[[_Block], float]


def _joules(block: _Block) -> float:
    return block.joules


def _in_bucket(name: str, block: _Block) -> float:
    return block.nobodys[name]


def _range(block: _Block) -> tuple[float, float]:
    return block.opened_joules, block.opened_joules + block.joules


def _time(block: _Block) -> tuple[float, float]:
    return block.pieces[0].begin, block.pieces[-1].end


def _overlapping(blocks: Iterable[_Block], axis: _Axis, last_digits: float) -> list[list[_Block]]:
    """In groups, those together that overlap on an axis, also by way of others; one of no length is alone."""
    groups: list[list[_Block]] = []
    group: list[_Block] = []
    end = -math.inf
    for block in sorted(blocks, key=lambda each: (*axis(each), each.joules, each.booked, each.charged)):
        begin, its_end = axis(block)
        if its_end <= begin:
            groups.append([block])
        elif group and end - begin > last_digits * abs(end):
            group.append(block)
            end = max(end, its_end)
        else:
            group, end = [block], its_end
            groups.append(group)
    return groups


def _exactly(blocks: Sequence[_Block]) -> Iterator[_Block]:
    """Windows that are ranges of one counter."""
    at = -math.inf
    for group in _overlapping(blocks, _range, _LAST_DIGITS):
        pieces = _pieces(group, at)
        at = max(pieces[-1].end, at) if pieces[-1].joules else at
        if len(group) == 1:
            yield replace(group[0], pieces=pieces)
            continue
        joules = max(_range(block)[1] for block in group) - min(block.opened_joules for block in group)
        seams = math.fsum(seam.length for seam in _seams(group, _range))
        yield replace(_joined(group, _range, joules), pieces=pieces, divided=seams)


def _pieces(group: Sequence[_Block], at: float) -> tuple[_Piece, ...]:
    """When a range of a counter was drawn, between the openings and the ends of the windows in it.

    Each piece lies in the time of every window that has it. Where the times of two do not allow that, a clock was set
    meanwhile: then it has no length.

    Args:
        group: the windows.
        at: what the counter showed before was drawn by then.
    """
    spans = [(*_range(block), *_time(block)) for block in group]
    times = [(low, begin) for low, _, begin, _ in spans] + [(high, end) for _, high, _, end in spans]
    marks = sorted({mark for mark, _ in times})
    known: list[float] = []
    for mark in marks:
        at = max([at, *(time for where, time in times if where == mark)])
        known.append(at)
    pieces = []
    for (low, begin), (high, end) in pairwise(zip(marks, known, strict=True)):
        ends = [its_end for first, last, _, its_end in spans if first <= low and last >= high]
        pieces.append(_Piece(begin, max(begin, min([end, *ends])), high - low))
    return tuple(pieces) or (_Piece(known[-1], known[-1], 0.0),)


def _by_time(group: Sequence[_Block]) -> Sequence[_Block]:
    """Windows of which only the times tell whether they overlap."""
    if len(group) == 1:
        return group
    pieces = tuple(sorted(piece for block in group for piece in block.pieces))
    joules = _at_any_time(pieces)
    together = math.fsum(block.joules for block in group) - joules
    if together <= _ROUNDING * joules:
        return group
    return [replace(_joined(group, _time, joules), pieces=pieces, estimated=together)]


def _at_any_time(pieces: Iterable[_Piece]) -> float:
    """Joules of pieces that may be of the same time, of which each is spread over its own and the largest counts.

    A longer one has in the time of a shorter one what that says, and the rest evenly in the rest of its time.
    """
    timed = [piece for piece in pieces if piece.end > piece.begin]
    cuts = sorted({at for piece in timed for at in (piece.begin, piece.end)})
    lengths = [end - begin for begin, end in pairwise(cuts)]
    watts: list[float | None] = [None] * len(lengths)
    for piece in sorted(timed, key=lambda each: (each.end - each.begin, each.joules, each.begin)):
        places = range(bisect_left(cuts, piece.begin), bisect_left(cuts, piece.end))
        told = math.fsum((watts[place] or 0.0) * lengths[place] for place in places)
        untold = [place for place in places if watts[place] is None]
        if untold and told <= piece.joules:
            mean = (piece.joules - told) / math.fsum(lengths[place] for place in untold)
            for place in untold:
                watts[place] = mean
        elif told >= piece.joules:
            continue
        elif told > 0:
            for place in places:
                watts[place] = (watts[place] or 0.0) * piece.joules / told
        else:
            for place in places:
                watts[place] = piece.joules / (piece.end - piece.begin)
    untimed = (piece.joules for piece in pieces if piece.end <= piece.begin)
    return math.fsum([*((each or 0.0) * length for each, length in zip(watts, lengths, strict=True)), *untimed])


def _joined(group: Sequence[_Block], axis: _Axis, joules: float) -> _Block:
    booked, seen = math.fsum(block.booked for block in group), math.fsum(block.seen for block in group)
    charged = math.fsum(block.charged for block in group)
    claimed: dict[int, float] = {}
    for run, claim in (each for block in group for each in block.claimed.items()):
        claimed[run] = claimed.get(run, 0.0) + claim
    return _Block(
        books=group[0].books,
        opened_joules=min(block.opened_joules for block in group),
        pieces=(),
        joules=joules,
        seen=seen,
        booked=booked,
        charged=charged,
        nobodys=_nobodys(group, axis, math.fsum([booked, joules, -seen, -charged])),
        others=math.fsum(block.others for block in _cover(group, axis)),
        claimed=claimed,
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
    """As few as can be that reach from the beginning to the end: of one inside of another, the longer.

    Of two that are alike it is the one that has told more apart: without an idle floor all is the sweeps'.
    """
    ordered = sorted(group, key=lambda block: (axis(block)[0], -axis(block)[1], block.others))
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
