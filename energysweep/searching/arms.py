"""The configurations of a race, what is known of their trials, and who runs: what all rules of racing share.

Every configuration is an *arm* with several *repeats* (seeds). Arms race with their first repeat; the others confirm
the winners.
"""

from __future__ import annotations

import math
import statistics
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from energysweep.core.objective import FirstHeld, Objective

Why = Literal["reached", "capped", "slower", "halved"]
State = Literal["new", "called", "starting", "running", "paused", "over"]


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
class Course:
    """What is known of a trial."""

    held: FirstHeld[float]
    state: State = "new"
    joules: float = 0.0
    begun_at_joules: float = 0.0  # when it was last started
    reports: int = 0
    first_report_joules: float | None = None
    least_report_joules: float = 0.0  # of the second report on: the first may hold more than training
    startup_joules: float = 0.0  # of its last start
    _startup_before: float = 0.0
    best: float = -math.inf  # the higher, the better, whatever the objective
    records: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))  # values, joules; both rise
    has_failed: bool = False
    was_pruned: bool = False

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
        if self.reports == 0:
            self.first_report_joules = spent
        else:
            took = spent - self.joules
            self.least_report_joules = min(self.least_report_joules, took) if self.reports > 1 else took
        self.reports += 1
        self.joules = spent
        if startup_joules is not None and startup_joules > self._startup_before:
            self.startup_joules, self._startup_before = startup_joules - self._startup_before, startup_joules
        return spent

    def best_by(self, joules: float) -> float:
        """The best value that it had reported when it had spent so much; of its first reports, if that was before."""
        values, spent = self.records
        place = bisect_right(spent, max(joules, self.first_report_joules or 0.0))
        return values[place - 1] if place > 0 else -math.inf

    def exceeded_at(self, value: float) -> float:
        """The joules by which it had exceeded a value; infinite if it has not."""
        values, joules = self.records
        place = bisect_right(values, value)
        return joules[place] if place < len(joules) else math.inf


class Arms(ABC):
    """A race, from its first trial to its answer.

    Args:
        objective: what is raced for.
        arms: how many configurations there are.
        repeats: trials of each winner.
        winners: how many are confirmed with the other seeds.
        pauses: a trial can be paused and go on later; otherwise each runs until a rule ends it.

    Attributes:
        closing: the budget holds no other than those that confirm a winner.
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
        self._confirming: dict[Runner, Course] = {}
        self._running: set[Runner] = set()
        self.closing = False
        self._begin()

    @abstractmethod
    def _begin(self) -> None:
        """Set up what the rule keeps beside these."""

    # What trials tell ------------------------------------------------------------------------------------------------

    def called(self, runner: Runner) -> None:
        """A trial is to begin, or to go on, as soon as there is a worker for it."""
        self._enter(runner, "called")

    def starting(self, runner: Runner) -> None:
        """One that was called is getting a worker of its own: nobody has to make way for it."""
        self._enter(runner, "starting")

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
        return self._decide(runner, is_measured=joules is not None, pauses=self._pauses and can_pause)

    @abstractmethod
    def _decide(self, runner: Runner, *, is_measured: bool, pauses: bool) -> Decision:
        """What becomes of a trial whose last report is known: with its joules, if it is measured."""

    def ended(self, runner: Runner, *, failed: bool = False, pruned: bool = False) -> None:
        """A trial has ended: by itself, or ``pruned`` by a rule; ``failed`` says nothing of its arm."""
        course = self._enter(runner, "over")
        course.has_failed, course.was_pruned = failed, pruned

    def paused(self, runner: Runner) -> None:
        """A trial waits to go on, whatever was decided of it: it was interrupted, or failed and is tried again."""
        self._enter(runner, "paused").has_failed = False

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

    # What others ask -------------------------------------------------------------------------------------------------

    @abstractmethod
    def next(self) -> Runner | None:
        """Who is to run beside those that run: a new trial, or a paused one. None: nobody before something changes."""

    @property
    @abstractmethod
    def answer(self) -> int | None:
        """The arm that has won."""

    @property
    def reserve_joules(self) -> float:
        """What it takes to confirm the answer, which a budget keeps for that."""
        return 0.0

    @property
    def running(self) -> int:
        """How many run, or were called to."""
        return len(self._running)

    @property
    def is_over(self) -> bool:
        """Whether nobody runs, and nobody is to run."""
        return self.running == 0 and self.next() is None

    def joules_of(self, runner: Runner) -> float:
        """What a trial has spent, as far as it is known."""
        return self._of(runner).joules

    def is_open(self, runner: Runner) -> bool:
        """Whether a trial has not ended."""
        return self._of(runner).state != "over"

    # ------------------------------------------------------------------------------------------------------------------

    def _enter(self, runner: Runner, state: State) -> Course:
        course = self._of(runner)
        course.state = state
        if state in ("called", "starting", "running"):
            self._running.add(runner)
        else:
            self._running.discard(runner)
        return course

    def _waiting(self) -> list[Runner]:
        """Those that would run if there were more workers: who was called, and who would be called next."""
        called = [runner for runner in self._running if self._of(runner).state == "called"]
        following = self.next()
        return called if following is None else [*called, following]

    @property
    def _usual_startup_joules(self) -> float:
        known = [course.startup_joules for course in self._first if course.startup_joules > 0]
        return statistics.median(known) if known else 0.0

    def _unconfirmed(self, arms: Iterable[int]) -> Iterator[Runner]:
        """Repeats of winners that do not run yet."""
        for arm in arms:
            for repeat in range(1, self._repeats):
                runner = Runner(arm, repeat)
                if self._of(runner).state in ("new", "paused"):
                    yield runner

    def _course(self) -> Course:
        return Course(FirstHeld(self._objective.patience))

    def _of(self, runner: Runner) -> Course:
        if runner.repeat == 0:
            return self._first[runner.arm]
        if runner not in self._confirming:
            self._confirming[runner] = self._course()
        return self._confirming[runner]
