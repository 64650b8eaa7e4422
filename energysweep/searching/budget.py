"""Whether a sweep's budget holds one more trial, or one more report: pure rules, without Ray and without a clock.

What a trial takes is forecast from what this run's trials have taken, by stage and hardware profile:

- the high quantile (nine of ten take no more; of fewer than nine, the dearest) of all that have ended;
- before one has, of the reports so far: of as many as ``most_reports`` if the sweep says how many there are at most,
  else twice what the dearest has spent;
- before the first report, nothing is known: one such trial starts, and no other beside it.

A trial starts if its forecast fits into what is left beside the reservations of those at work: what they are still
forecast to take, and at least their next report. Where trials pause at any report and lose nothing (a race), a start
and the next reports are reserved alone. After each report the trial goes on if what is left holds one more report of
all at work; so a budget is exceeded by at most one report of each. Once it has ended one, none starts any more, but
those for which a reserve was kept.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Protocol

from energysweep.ledger.budget import Budget, Charge

_QUANTILE: Final = 0.9
_END_SECONDS: Final = 2.0  # last readings, after the last trial
_TELLING_SECONDS: Final = 5.0  # of trials at work, from which the rate of overhead can be told
_UNKNOWN_LENGTH: Final = 2.0  # of the dearest so far, while none has ended

Group = tuple[str, str]
"""The stage, empty for the configurations, and the hardware profile."""


class Amount(NamedTuple):
    """Of energy and of time."""

    joules: float
    seconds: float

    def plus(self, other: Amount) -> Amount:
        """Both, one after the other."""
        return Amount(self.joules + other.joules, self.seconds + other.seconds)

    def beside(self, other: Amount) -> Amount:
        """Both at the same time."""
        return Amount(self.joules + other.joules, max(self.seconds, other.seconds))

    def less(self, other: Amount) -> Amount:
        """What is left of it."""
        return Amount(max(0.0, self.joules - other.joules), max(0.0, self.seconds - other.seconds))

    def at_least(self, other: Amount) -> Amount:
        """The more of each."""
        return Amount(max(self.joules, other.joules), max(self.seconds, other.seconds))

    def times(self, factor: float) -> Amount:
        """So many of it."""
        return Amount(self.joules * factor, self.seconds * factor)

    def fits(self, left: Amount) -> bool:
        """Whether it is no more than what is left."""
        return self.joules <= left.joules and self.seconds <= left.seconds


NOTHING: Final = Amount(0.0, 0.0)


class Accounts(Protocol):
    """What the ledger has, and the time."""

    def charged_joules(self) -> float:
        """All that the sweep is charged with."""

    def overhead_joules(self) -> float:
        """The part of it that is of no trial."""

    def booked_joules(self, trial: str) -> float:
        """A trial's work and start-up."""

    def elapsed_seconds(self) -> float:
        """For how long the sweep has run, all its parts together."""


class _Seen:
    """Amounts that were seen, and a high quantile of them."""

    def __init__(self) -> None:
        self._joules: list[float] = []
        self._seconds: list[float] = []

    def __len__(self) -> int:
        return len(self._joules)

    def add(self, amount: Amount) -> None:
        insort(self._joules, amount.joules)
        insort(self._seconds, amount.seconds)

    @property
    def high(self) -> Amount | None:
        return Amount(_high(self._joules), _high(self._seconds)) if self._joules else None


def _high(ordered: list[float]) -> float:
    return ordered[min(math.ceil(_QUANTILE * (len(ordered) + 1)), len(ordered)) - 1]


@dataclass(slots=True)
class _Usual:
    """What the trials of a group have taken."""

    starts: _Seen = field(default_factory=_Seen)  # from a start to its first report, start-up included
    steps: _Seen = field(default_factory=_Seen)  # from a report to the next one
    wholes: _Seen = field(default_factory=_Seen)  # trials that have ended
    dearest: Amount = NOTHING  # of any so far


@dataclass(slots=True)
class _Course:
    """A trial; what it has taken is as of its last report, start-up included."""

    trial: str
    group: Group
    state: Literal["waiting", "at work", "over"] = "waiting"
    taken: Amount = NOTHING
    last: Amount = NOTHING  # from the report before the last one
    reports: int = 0
    fresh: bool = True  # it has not reported since it was started
    since: float = 0.0  # the sweep's time of its start, or last report


class Spending:
    """A sweep's budget while it runs.

    Args:
        budget: the limits.
        accounts: what is spent.
        most_reports: how many a trial makes at most, by stage; None where nobody knows.

    Attributes:
        closing: it has ended a trial before its end, or holds no other: none starts any more.
        stopped: it has ended the sweep.
        ended: the trials that it has ended early, or that it did not let go on.
    """

    def __init__(self, budget: Budget, accounts: Accounts, most_reports: dict[str, int] | None = None) -> None:
        self.budget = budget
        self.closing = False
        self.stopped = False
        self.ended: list[str] = []
        self._accounts = accounts
        self._most_reports = most_reports or {}
        self._usual: dict[Group, _Usual] = {}
        self._courses: dict[str, _Course] = {}
        self._at_work: dict[str, _Course] = {}
        self._began: Amount | None = None  # overhead and time when the first trial started here
        self._ahead: set[str] = set()  # trials that have told of more than their agents have

    # What trials tell ------------------------------------------------------------------------------------------------

    def learn(self, trial: str, group: Group, reports: Iterable[Amount], *, has_ended: bool) -> None:
        """Take over a trial of the parts of the run before.

        Args:
            trial: its id.
            group: its stage and hardware profile.
            reports: what each took.
            has_ended: to its end, or pruned.
        """
        course = self._courses[trial] = _Course(trial, group)
        usual = self._of(group)
        for number, amount in enumerate(reports):
            (usual.steps if number else usual.starts).add(amount)
            course.taken, course.last, course.reports = course.taken.plus(amount), amount, number + 1
        booked = self._accounts.booked_joules(trial)
        course.taken = course.taken.at_least(Amount(booked, 0.0))
        self._note_dearest(course)
        if has_ended:
            course.state = "over"
            usual.wholes.add(course.taken)

    def started(self, trial: str, group: Group) -> None:
        """It is to start, or to go on: from now on it is at work."""
        course = self._courses.setdefault(trial, _Course(trial, group))
        course.state, course.fresh = "at work", True
        course.since = self._accounts.elapsed_seconds()
        self._at_work[trial] = course
        if self._began is None:
            self._began = Amount(self._accounts.overhead_joules(), course.since)

    def begun(self, trial: str) -> None:
        """Its worker is there."""
        if trial in self._at_work:
            self._at_work[trial].since = self._accounts.elapsed_seconds()

    def reported(self, trial: str, joules: float | None) -> None:
        """It has reported.

        Args:
            trial: the trial.
            joules: its work and start-up so far; None if nobody knows: then what is booked of it.
        """
        course = self._courses[trial]
        now = self._accounts.elapsed_seconds()
        spent = max(joules or 0.0, self._accounts.booked_joules(trial), course.taken.joules)
        amount = Amount(spent - course.taken.joules, max(0.0, now - course.since))
        usual = self._of(course.group)
        (usual.starts if course.fresh else usual.steps).add(amount)
        course.taken, course.last = course.taken.plus(amount), amount
        course.reports, course.fresh, course.since = course.reports + 1, False, now
        self._ahead.add(trial)
        self._note_dearest(course)

    def paused(self, trial: str) -> None:
        """It waits to go on: by its scheduler's word, or because an attempt failed."""
        self._leave(trial, "waiting")

    def over(self, trial: str, *, failed: bool = False) -> None:
        """It has ended."""
        course = self._leave(trial, "over")
        if course is not None and not failed:
            self._of(course.group).wholes.add(course.taken)

    def held(self, trial: str) -> None:
        """It is ended here, because the budget does not hold its next report."""
        self.closing = True
        self.ended.append(trial)
        self._leave(trial, "waiting")

    def _leave(self, trial: str, state: Literal["waiting", "over"]) -> _Course | None:
        self._at_work.pop(trial, None)
        course = self._courses.get(trial)
        if course is None or course.state == "over":
            return None
        booked = self._accounts.booked_joules(trial)
        course.taken = course.taken.at_least(Amount(booked, 0.0))
        course.state = state
        self._ahead.add(trial)
        self._note_dearest(course)
        return course

    def _note_dearest(self, course: _Course) -> None:
        usual = self._of(course.group)
        usual.dearest = usual.dearest.at_least(course.taken)

    def _of(self, group: Group) -> _Usual:
        return self._usual.setdefault(group, _Usual())

    # What others ask -------------------------------------------------------------------------------------------------

    @property
    def at_work(self) -> tuple[str, ...]:
        """Those that have started, and not ended."""
        return tuple(self._at_work)

    @property
    def waiting(self) -> list[tuple[str, Group]]:
        """Those that have begun, and may go on."""
        return [(each.trial, each.group) for each in self._courses.values() if each.state == "waiting"]

    def charged_joules(self) -> float:
        """What is charged, with what trials have told of since their agents have."""
        ahead = 0.0
        for trial in [*self._ahead]:
            more = self._courses[trial].taken.joules - self._accounts.booked_joules(trial)
            ahead += max(0.0, more)
            if more <= 0 and trial not in self._at_work:
                self._ahead.discard(trial)
        return self._accounts.charged_joules() + ahead

    def left(self) -> Amount:
        """What is left; below 0 if more was spent."""
        return Amount(
            self.budget.most_joules() - self.charged_joules(),
            self.budget.most_seconds() - self._accounts.elapsed_seconds(),
        )

    def forecast(self, group: Group) -> Amount | None:
        """What a whole trial is taken to need; None before anything is known of one."""
        usual = self._of(group)
        start, step = usual.starts.high, usual.steps.high
        if usual.wholes.high is not None:
            return usual.wholes.high.at_least(start or NOTHING)
        if start is None:
            return None
        most = self._most_reports.get(group[0])
        if most is not None:
            return start.plus((step or start).times(max(0, most - 1))).at_least(usual.dearest)
        return usual.dearest.times(_UNKNOWN_LENGTH)

    def rest_joules(self, trial: str, group: Group) -> float | None:
        """What a trial that has not ended is taken to need to its end; None before anything is known."""
        forecast, course = self.forecast(group), self._courses.get(trial)
        if forecast is None:
            return None
        start = (self._of(group).starts.high or NOTHING).joules
        return max(start, forecast.joules - (course.taken.joules if course is not None else 0.0))

    def charges(self) -> dict[str, Charge]:
        """Each limit and what is charged against it."""
        return self.budget.charges(self.charged_joules(), self._accounts.elapsed_seconds())

    def known(self, group: Group) -> int:
        """How many trials its forecast is from that have ended."""
        return len(self._of(group).wholes)

    def may_start(
        self,
        trial: str | None,
        group: Group,
        *,
        pauses: bool = False,
        reserve_joules: float = 0.0,
        is_reserved: bool = False,
    ) -> bool:
        """Whether a trial may start beside those at work.

        Args:
            trial: one that goes on; None: a new one.
            group: its stage and hardware profile.
            pauses: trials pause at any report, and lose nothing.
            reserve_joules: what has to be left for others.
            is_reserved: it is one of these others.
        """
        if self.closing and not is_reserved:
            return False
        left = self._without(0.0 if is_reserved else reserve_joules)
        if min(left) <= 0:
            return False
        forecast = self.forecast(group)
        if forecast is None and any(self.forecast(course.group) is None for course in self._at_work.values()):
            return False
        need = NOTHING
        for course in self._at_work.values():
            need = need.beside(self._next(course) if pauses else self._rest(course))
        return self._with_overhead(need.beside(self._of_start(trial, group, forecast, pauses=pauses))).fits(left)

    def could_hold(self, trial: str | None, group: Group) -> bool:
        """Whether what is left holds a trial by itself, whatever else is drawn. Arguments as of ``may_start``."""
        left = self.left()
        return min(left) > 0 and self._of_start(trial, group, self.forecast(group), pauses=False).fits(left)

    def may_go_on(self, *, reserve_joules: float = 0.0, is_reserved: bool = False) -> bool:
        """Whether what is left holds the next report of all at work, the one that has just reported among them."""
        need = NOTHING
        for course in self._at_work.values():
            need = need.beside(self._next(course))
        left = self._without(0.0 if is_reserved else reserve_joules)
        return min(left) > 0 and self._with_overhead(need).fits(left)

    def _without(self, reserve_joules: float) -> Amount:
        left = self.left()
        return Amount(left.joules - reserve_joules, left.seconds)

    def _of_start(self, trial: str | None, group: Group, forecast: Amount | None, *, pauses: bool) -> Amount:
        """What a start is taken to need: of a whole trial, or to its first report."""
        start = self._of(group).starts.high or NOTHING
        if pauses or forecast is None:
            return start
        course = self._courses.get(trial or "")
        taken = course.taken if course is not None else NOTHING
        return forecast.less(taken).at_least(start)

    def _rest(self, course: _Course) -> Amount:
        """What one at work is still taken to need: to its end, and at least to its next report."""
        forecast = self.forecast(course.group)
        rest = NOTHING if forecast is None else forecast.less(course.taken).less(self._since(course))
        return rest.at_least(self._next(course))

    def _next(self, course: _Course) -> Amount:
        """What one at work is still taken to need to its next report."""
        usual = self._of(course.group)
        if course.fresh:
            whole = usual.starts.high or NOTHING
        else:
            whole = (usual.steps.high or course.last).at_least(course.last if course.reports > 1 else NOTHING)
        return whole.less(self._since(course))

    def _since(self, course: _Course) -> Amount:
        """What one at work has taken since its last report, as far as that is charged already."""
        booked = self._accounts.booked_joules(course.trial)
        return Amount(max(0.0, booked - course.taken.joules), self._accounts.elapsed_seconds() - course.since)

    def _with_overhead(self, need: Amount) -> Amount:
        """With what is drawn beside the trials while they take their time, and while the sweep ends.

        At the rate since trials are at work, if that can be told yet: before, a driver and Ray begin, which comes once.
        Until then it is taken to be no more than the rate so far; and where nobody is at work, nothing is known of it.
        """
        now = Amount(self._accounts.overhead_joules(), self._accounts.elapsed_seconds())
        since = NOTHING if self._began is None else now.less(self._began)
        if since.seconds < _TELLING_SECONDS:
            since = now if self._at_work else NOTHING
        watts = since.joules / since.seconds if since.seconds > 0 else 0.0
        return Amount(need.joules + watts * (need.seconds + _END_SECONDS), need.seconds)
