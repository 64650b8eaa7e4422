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
from typing import Final

from energysweep.ledger.balance import Spread, joules_of
from energysweep.searching.arms import GO_ON, Arms, Course, Decision, Runner, State

SLACK: Final = 4.0
SPREAD: Final = 1.25  # by which a repeat may need more than the first one, as far as a budget provides for it


class Race(Arms):
    """A race for the target, which its objective has; the arguments are those of ``Arms``."""

    def _begin(self) -> None:
        self._ranked: list[tuple[float, int]] = []
        self._ready: list[tuple[float, int]] = []  # a heap of arms that wait, with what they had spent
        self._rank()

    def _decide(self, runner: Runner, *, is_measured: bool, pauses: bool) -> Decision:
        course = self._of(runner)
        if course.held.found:
            return self._end(runner, Decision("end", "reached", course.reached_joules))
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

    def ended(self, runner: Runner, *, failed: bool = False, pruned: bool = False) -> None:
        """As ``Arms`` says. One that has not reached the target never will."""
        super().ended(runner, failed=failed, pruned=pruned)
        self._rank_again(runner)

    def paused(self, runner: Runner) -> None:
        """As ``Arms`` says."""
        super().paused(runner)
        self._rank_again(runner)

    def learn(self, runner: Runner, value: float | None, joules: float | None, startup_joules: float | None) -> None:
        """As ``Arms`` says."""
        super().learn(runner, value, joules, startup_joules)
        if self._of(runner).held.found:
            self._rank()

    def _end(self, runner: Runner, decision: Decision) -> Decision:
        self._enter(runner, "over")
        self._rank_again(runner)
        return decision

    def _rank_again(self, runner: Runner) -> None:
        if runner.repeat > 0 or self._of(runner).held.found:  # others are in no rank
            self._rank()

    def _enter(self, runner: Runner, state: State) -> Course:
        course = super()._enter(runner, state)
        if state == "paused" and runner.repeat == 0:
            heapq.heappush(self._ready, (course.joules, runner.arm))
        return course

    def next(self) -> Runner | None:
        """As ``Arms`` says."""
        cap = self.cap_joules
        ready = None if self.closing else self._least_that_waits(cap)
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
    def cap_joules(self) -> float:
        """What the last of the winners has needed; infinite before there are so many."""
        return self._ranked[self._winners - 1][0] if len(self._ranked) >= self._winners else math.inf

    @property
    def answer(self) -> int | None:
        """The arm that has reached the target with all its repeats for the least joules in the mean."""
        return min(self._confirmed(), default=(math.inf, None))[1]

    @property
    def reserve_joules(self) -> float:
        """As ``Arms`` says: of the cheapest so far, what its repeats are still taken to need."""
        if self.answer is not None or not self._ranked:
            return 0.0
        needed, arm = self._ranked[0]
        courses = [self._of(Runner(arm, repeat)) for repeat in range(1, self._repeats)]
        rest = [max(0.0, SPREAD * needed - course.joules) for course in courses if course.state != "over"]
        return sum(rest) + self._usual_startup_joules * len(rest)

    # The rules -------------------------------------------------------------------------------------------------------

    def _ending(self, runner: Runner, course: Course) -> Decision | None:
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

    def _has_had_its_turn(self, course: Course) -> bool:
        """Whether starting it was worth while.

        Parts of q joules that each cost S to start need S * e / q for e joules, and overshoot by q / 2 in the mean: the
        sum is least at q = sqrt(2 * S * e). So turns grow with what was spent.
        """
        startup = course.startup_joules or self._usual_startup_joules
        turn = max(startup, math.sqrt(2 * startup * course.joules))
        return course.joules - course.begun_at_joules >= turn

    def _is_another_behind(self, runner: Runner, course: Course) -> bool:
        """Whether somebody waits who has spent less, or who confirms a winner."""
        if runner.repeat > 0:
            return False
        others = [each for each in self._waiting() if each != runner]
        return any(each.repeat > 0 or self._first[each.arm].joules < course.joules for each in others)

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
            spread = Spread.over(known)
            if spread is not None and len(known) == len(needed):
                mean = joules_of(spread)  # by which reports compare
                found.append((spread.mean if mean is None else mean, arm))
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
