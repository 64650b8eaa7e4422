"""Who runs next, and who no longer, where configurations race for the target by joules: pure rules, without Ray.

The field calls it algorithm configuration with a runtime objective; here the runtime is energy. Every configuration is
an *arm* with several *repeats* (seeds). Arms race with their first repeat; the others confirm the ``winners`` that
reached the target for the least joules, and the answer is among those. Two rules end a trial:

- ``capped``: it has spent what the last of the winners had needed, or would have after one more report. This is the
  adaptive capping of ParamILS and irace, with joules for time.
- ``slower``: ``winners`` other arms have exceeded the best value that it has reached by now, each for less than a
  ``SLACK``-th of the joules that it has spent. This is the same rule with its own best value for the target; the slack
  lets a configuration that begins slowly overtake others later.

A repeat of a winner runs until it reaches the target, too. One that has spent ``SLACK`` times as much as the last of
the winners without it is ``capped``: its arm does not reach the target reliably. Unless another winner has by then been
confirmed, the next arm takes its place; without pausing, if there is one that was not ended. A crash says nothing of an
arm: it is judged by its other repeats. Nor does a report whose energy nobody knows.

With pausing, whoever has spent the least goes next, so that all arms have had about the same joules at any time.
"""

from __future__ import annotations

import heapq
import math
import statistics
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from energysweep.core.objective import FirstHeld, Objective

SLACK: Final = 4.0

Why = Literal["reached", "capped", "slower"]
_State = Literal["new", "running", "paused", "over"]


class Runner(NamedTuple):
    """One trial of a race: a repeat of an arm, both counted from 0."""

    arm: int
    repeat: int


class Decision(NamedTuple):
    """What is to happen to a trial after its report.

    Attributes:
        what: ``go on``, ``pause``, or ``end``.
        why: the rule by which it ends.
        joules: what it has spent.
        limit_joules: what the rule compares that with.
    """

    what: Literal["go on", "pause", "end"]
    why: Why | None = None
    joules: float | None = None
    limit_joules: float | None = None


GO_ON: Final = Decision("go on")


@dataclass(slots=True)
class _Course:
    """What is known of a trial."""

    held: FirstHeld[float]
    state: _State = "new"
    joules: float = 0.0
    begun_at_joules: float = 0.0  # when it was last started
    reports: int = 0
    least_report_joules: float = 0.0  # of the second report on: the first may hold more than training
    startup_joules: float = 0.0  # of its last start
    _startup_before: float = 0.0
    best: float = -math.inf  # the higher, the better, whatever the objective
    records: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))  # values, joules; both rise
    has_failed: bool = False

    @property
    def reached_joules(self) -> float | None:
        return self.held.report if self.held.report is not None and self.held.report < math.inf else None

    @property
    def needs_joules(self) -> float:
        """What it takes to the target, at least: one more report, or none if it is confirming that it is there."""
        candidate = self.held.candidate
        if candidate is not None and candidate < math.inf:
            return candidate
        return self.joules + self.least_report_joules

    def see(self, joules: float | None, startup_joules: float | None) -> float | None:
        """Take what a report says of energy, which never falls; returns what has been spent by now, if it is known."""
        if joules is None:
            return None
        spent = max(self.joules, joules)
        if self.reports > 0:
            took = spent - self.joules
            self.least_report_joules = min(self.least_report_joules, took) if self.reports > 1 else took
        self.reports += 1
        self.joules = spent
        if startup_joules is not None and startup_joules > self._startup_before:
            self.startup_joules, self._startup_before = startup_joules - self._startup_before, startup_joules
        return spent

    def exceeded_at(self, value: float) -> float:
        """The joules by which it had exceeded a value; infinite if it has not."""
        values, joules = self.records
        place = bisect_right(values, value)
        return joules[place] if place < len(joules) else math.inf


class Race:
    """A race, from its first trial to its answer.

    Args:
        objective: with a target.
        arms: how many configurations there are.
        repeats: trials of each winner.
        winners: how many of the cheapest are confirmed.
        pauses: a trial can be paused and go on later; otherwise each runs until a rule ends it.
    """

    def __init__(
        self, objective: Objective, arms: int, repeats: int = 1, *, winners: int = 3, pauses: bool = True
    ) -> None:
        self._objective = objective
        self._repeats = repeats
        self._winners = winners
        self._pauses = pauses
        self._sign = 1.0 if objective.mode == "max" else -1.0
        self._first = [self._course() for _ in range(arms)]
        self._confirming: dict[Runner, _Course] = {}
        self._ranked: list[tuple[float, int]] = []
        self._running: set[Runner] = set()
        self._ready: list[tuple[float, int]] = []  # a heap of arms that wait, with what they had spent
        self._rank()

    # What trials tell ------------------------------------------------------------------------------------------------

    def started(self, runner: Runner) -> None:
        """A trial begins, or goes on."""
        course = self._enter(runner, "running")
        course.begun_at_joules, course.has_failed = course.joules, False

    def reported(
        self,
        runner: Runner,
        value: float | None,
        joules: float | None,
        startup_joules: float | None = None,
        *,
        can_pause: bool = True,
    ) -> Decision:
        """What becomes of a trial after a report.

        Args:
            runner: the trial.
            value: of the objective; None if the report has none.
            joules: that it has spent since its beginning, without start-up; None if nobody knows.
            startup_joules: of all its starts.
            can_pause: it has left a checkpoint with this report.
        """
        self.learn(runner, value, joules, startup_joules)
        course = self._of(runner)
        if course.held.found:
            return self._end(runner, Decision("end", "reached", course.reached_joules))
        pauses = self._pauses and can_pause
        decision = self._ending(runner, course)
        if (
            decision is not None and decision.why == "capped" and pauses and runner.repeat == 0
        ):  # it may yet be needed, should a winner fail
            decision = decision._replace(what="pause")
        elif decision is None and pauses and self._has_had_its_turn(course) and self._is_another_behind(runner, course):
            decision = Decision("pause", joules=course.joules)
        if decision is None:
            return GO_ON
        if decision.what == "pause":
            self._enter(runner, "paused")
            return decision
        return self._end(runner, decision)

    def ended(self, runner: Runner, *, failed: bool = False) -> None:
        """A trial has ended. One that has not reached the target never will; but ``failed`` says nothing of its arm."""
        self._enter(runner, "over").has_failed = failed
        self._rank_again(runner)

    def paused(self, runner: Runner) -> None:
        """A trial waits to go on, whatever was decided of it: it was interrupted, or failed and is tried again."""
        self._enter(runner, "paused").has_failed = False
        self._rank_again(runner)

    def learn(self, runner: Runner, value: float | None, joules: float | None, startup_joules: float | None) -> None:
        """Take a report for known, of which nothing is to be decided any more. Arguments as of ``reported``."""
        course = self._of(runner)
        spent = course.see(joules, startup_joules)
        if value is not None and self._sign * value > course.best:
            course.best = self._sign * value
            if spent is not None:
                course.records[0].append(course.best)
                course.records[1].append(spent)
        if course.held.see(self._objective.reached_by(value), math.inf if spent is None else spent):
            self._enter(runner, "over")
            self._rank()

    def _end(self, runner: Runner, decision: Decision) -> Decision:
        self._enter(runner, "over")
        self._rank_again(runner)
        return decision

    def _rank_again(self, runner: Runner) -> None:
        if runner.repeat > 0 or self._of(runner).held.found:  # others are in no rank
            self._rank()

    def _enter(self, runner: Runner, state: _State) -> _Course:
        course = self._of(runner)
        course.state = state
        if state == "running":
            self._running.add(runner)
        else:
            self._running.discard(runner)
        if state == "paused" and runner.repeat == 0:
            heapq.heappush(self._ready, (course.joules, runner.arm))
        return course

    # What others ask -------------------------------------------------------------------------------------------------

    def next(self) -> Runner | None:
        """Who is to run beside those that run: a new trial, or a paused one. None: nobody before something changes."""
        cap = self.cap_joules
        ready = self._least_that_waits(cap)
        at_work = (self._first[runner.arm] for runner in self._running if runner.repeat == 0)
        racing = [course.joules for course in at_work if course.needs_joules <= cap]
        behind = min([*racing, math.inf if ready is None else self._first[ready].joules], default=math.inf)
        sure = [arm for joules, arm in self._ranked[: self._winners] if joules <= behind or ready is None]
        confirming = next(self._unconfirmed(sure), None)
        if confirming is not None or ready is None:
            return confirming
        return Runner(ready, 0)

    def _least_that_waits(self, cap: float) -> int | None:
        """The arm that has spent the least of those that wait, the first of several; none that is over the cap."""
        while self._ready:
            joules, arm = self._ready[0]
            course = self._first[arm]
            if course.state in ("new", "paused") and course.joules == joules and course.needs_joules <= cap:
                return arm
            heapq.heappop(self._ready)  # if the cap rises, it comes back
        return None

    @property
    def running(self) -> int:
        """How many run."""
        return len(self._running)

    @property
    def is_over(self) -> bool:
        """Whether nobody runs, and nobody is to run."""
        return self.running == 0 and self.next() is None

    def is_open(self, runner: Runner) -> bool:
        """Whether a trial has not ended."""
        return self._of(runner).state != "over"

    @property
    def cap_joules(self) -> float:
        """What the last of the winners has needed; infinite before there are so many."""
        return self._ranked[self._winners - 1][0] if len(self._ranked) >= self._winners else math.inf

    @property
    def answer(self) -> int | None:
        """The arm that has reached the target with all its repeats for the least joules in the mean."""
        return min(self._confirmed(), default=(math.inf, None))[1]

    # The rules -------------------------------------------------------------------------------------------------------

    def _ending(self, runner: Runner, course: _Course) -> Decision | None:
        cap = self.cap_joules if runner.repeat == 0 else self._limit_of_repeats(runner.arm)
        if course.needs_joules > cap:
            return Decision("end", "capped", course.joules, cap)
        if runner.repeat > 0 or course.held.candidate is not None:
            return None
        needed = self._kth_exceeding(course.best, course.joules / SLACK)
        return None if needed is None else Decision("end", "slower", course.joules, SLACK * needed)

    def _kth_exceeding(self, value: float, within_joules: float) -> float | None:
        """The joules by which ``winners`` arms had exceeded a value, if that is less than so many."""
        if value == -math.inf:  # it has reported no value: others that have are no better for it
            return None
        found = (course.exceeded_at(value) for course in self._first if course.best > value)
        sooner = sorted(joules for joules in found if joules < within_joules)
        return sooner[self._winners - 1] if len(sooner) >= self._winners else None

    def _has_had_its_turn(self, course: _Course) -> bool:
        """Whether starting it was worth while.

        Parts of q joules that each cost S to start need S * e / q for e joules, and overshoot by q / 2 in the mean: the
        sum is least at q = sqrt(2 * S * e). So turns grow with what was spent.
        """
        startup = course.startup_joules or self._usual_startup_joules
        turn = max(startup, math.sqrt(2 * startup * course.joules))
        return course.joules - course.begun_at_joules >= turn

    @property
    def _usual_startup_joules(self) -> float:
        known = [course.startup_joules for course in self._first if course.startup_joules > 0]
        return statistics.median(known) if known else 0.0

    def _is_another_behind(self, runner: Runner, course: _Course) -> bool:
        """Whether somebody waits who has spent less, or who confirms a winner."""
        waiting = self.next()
        if waiting is None or waiting == runner:
            return False
        return runner.repeat == 0 and (waiting.repeat > 0 or self._first[waiting.arm].joules < course.joules)

    def _unconfirmed(self, arms: Iterable[int]) -> Iterator[Runner]:
        """Repeats of winners that do not run yet."""
        for arm in arms:
            for repeat in range(1, self._repeats):
                runner = Runner(arm, repeat)
                if self._of(runner).state in ("new", "paused"):
                    yield runner

    def _limit_of_repeats(self, arm: int) -> float:
        cap = self.cap_joules
        own = self._first[arm].reached_joules or math.inf
        return SLACK * max(own, cap if cap < math.inf else 0.0)

    def _confirmed(self) -> list[tuple[float, int]]:
        """Arms that reached the target with all repeats that did not crash: the mean of their joules, and which."""
        found = []
        for _, arm in self._ranked:
            courses = [self._of(Runner(arm, repeat)) for repeat in range(self._repeats)]
            needed = [course.reached_joules for course in courses if not course.has_failed]
            known = [joules for joules in needed if joules is not None]
            if known and len(known) == len(needed):
                found.append((statistics.fmean(known), arm))
        return found

    def _rank(self) -> None:
        """The arms that have reached the target with their first repeat, the cheapest first.

        Unless one is confirmed, without those of which another repeat has ended before it reached the target.
        """
        reached = ((course.reached_joules, arm) for arm, course in enumerate(self._first))
        self._ranked = sorted((joules, arm) for joules, arm in reached if joules is not None)
        if self.answer is None:
            unreliable = {
                runner.arm
                for runner, course in self._confirming.items()
                if course.state == "over" and not course.held.found and not course.has_failed
            }
            self._ranked = [(joules, arm) for joules, arm in self._ranked if arm not in unreliable]
        self._ready = [
            (course.joules, arm) for arm, course in enumerate(self._first) if course.state in ("new", "paused")
        ]
        heapq.heapify(self._ready)

    def _course(self) -> _Course:
        return _Course(FirstHeld(self._objective.patience))

    def _of(self, runner: Runner) -> _Course:
        if runner.repeat == 0:
            return self._first[runner.arm]
        if runner not in self._confirming:
            self._confirming[runner] = self._course()
        return self._confirming[runner]
